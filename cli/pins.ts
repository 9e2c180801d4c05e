// The pinned maps of a node, read without its agent.

import {statSync} from 'node:fs';
import {join} from 'node:path';
import {BpfMap} from '../agent/kernel/bpf.js';
import {endpointConfigCodec} from '../agent/maps/endpoint.js';
import {eventsLost, type EventsLost} from '../agent/maps/events.js';
import type {MapCodec} from '../agent/maps/layout.js';
import {ipmasq6Codec, ipmasqCodec} from '../agent/maps/masq.js';
import {decodePolicyKey, decodePolicyValue, policySlotCodec} from '../agent/maps/policy.js';
import {MAPS, pinName, type MapDefinition} from '../agent/maps/registry.js';
import {CliError, EXIT} from './errors.js';
import {byPrefix, type PolicySlot} from './rows.js';

export function readMap<K, V>(bpfRoot: string, codec: MapCodec<K, V>): readonly (readonly [K, V])[] {
  const definition = definitionOf(codec.map);
  return withMap(bpfRoot, definition, (map) => map.entries().map(([key, value]) => [codec.decodeKey(key), codec.decodeValue(value)] as const));
}

/** Destinations that are not masqueraded, of both families in order. */
export function readIpmasq(bpfRoot: string): readonly string[] {
  return [ipmasqCodec, ipmasq6Codec].flatMap((codec) => readMap(bpfRoot, codec).map(([prefix]) => prefix)).sort(byPrefix);
}

/** Events for which the ring had no room, by type. */
export function readEventsLost(bpfRoot: string): EventsLost {
  return withMap(bpfRoot, definitionOf('cilium_events_lost'), eventsLost);
}

/** The inner map of every endpoint that has one. */
export function readPolicies(bpfRoot: string, only: number | null): readonly PolicySlot[] {
  const identities = new Map(readMap(bpfRoot, endpointConfigCodec).map(([id, config]) => [id, Number(config?.identity ?? 0)]));
  return readMap(bpfRoot, policySlotCodec).filter(([id, inner]) => inner !== 0 && (only === null || id === only)).flatMap(([id, inner]) => {
    const map = openById(inner);
    if (map === null) return [];
    try {
      const entries = map.entries().map(([key, value]) => [decodePolicyKey(key), decodePolicyValue(value)] as const);
      return [{id, identity: identities.get(id) ?? 0, entries}];
    } finally {
      map.close();
    }
  });
}

export interface PinnedMap {
  readonly name: string;
  readonly type: string;
  readonly pinned: boolean;
  readonly entries: number | null;
  readonly maxEntries: number;
}

export function listMaps(bpfRoot: string): readonly PinnedMap[] {
  return [...MAPS.values()].map((definition) => {
    const pinned = exists(pinPath(bpfRoot, definition.name));
    const counted = pinned && !['array', 'percpu_array', 'ringbuf'].includes(definition.type);
    const entries = counted ? withMap(bpfRoot, definition, (map) => map.entries().length) : null;
    const maxEntries = pinned ? withMap(bpfRoot, definition, (map) => map.info().maxEntries) : definition.maxEntries;
    return {name: definition.name, type: definition.type, pinned, entries, maxEntries};
  });
}

/** Keys and values as bytes, for a map that has no reader of its own. */
export function readRaw(bpfRoot: string, name: string): readonly {readonly key: string; readonly value: string}[] {
  return withMap(bpfRoot, definitionOf(name), (map) => map.entries().map(([key, value]) => ({key: hex(key), value: hex(value)})));
}

export function pinPath(bpfRoot: string, name: string): string {
  const definition = [...MAPS.values()].find((one) => one.name === name);
  return join(bpfRoot, 'maps', definition === undefined ? name : pinName(definition));
}

function withMap<T>(bpfRoot: string, definition: MapDefinition, use: (map: BpfMap) => T): T {
  const path = pinPath(bpfRoot, definition.name);
  const map = openPin(path);
  if (map === null) throw new CliError(EXIT.unreachable, `no map is pinned at ${path} (--bpf-root or STENTOR_BPF_ROOT names another folder)`);
  try {
    const {keySize, valueSize} = map.info();
    if (keySize !== definition.keySize || valueSize !== definition.valueSize) {
      throw new CliError(EXIT.unreachable, `${path} has another layout (${keySize}+${valueSize} bytes) than this stentorctl knows (${definition.keySize}+${definition.valueSize})`);
    }
    return use(map);
  } finally {
    map.close();
  }
}

function openPin(path: string): BpfMap | null {
  try {
    return BpfMap.openPinned(path);
  } catch (error) {
    const {code} = error as {code?: unknown};
    const hint = code === 'EPERM' || code === 'EACCES' ? ': reading maps needs root' : `: ${String(error)}`;
    throw new CliError(EXIT.unreachable, `cannot open ${path}${hint}`, {cause: error});
  }
}

/** Null when the map has just been replaced by a policy change. */
function openById(id: number): BpfMap | null {
  try {
    return BpfMap.byId(id);
  } catch (error) {
    if ((error as {code?: unknown}).code === 'ENOENT') return null;
    throw error;
  }
}

function definitionOf(name: string): MapDefinition {
  const definition = [...MAPS.values()].find((one) => one.name === name);
  if (definition === undefined) throw new CliError(EXIT.usage, `no such map: ${name}; there are ${[...MAPS.keys()].join(', ')}`);
  return definition;
}

function exists(path: string): boolean {
  return statSync(path, {throwIfNoEntry: false}) !== undefined;
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex');
}
