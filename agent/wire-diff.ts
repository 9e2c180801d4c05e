// What is desired of the maps against what the kernel holds now: `GET /v1/state/diff`.

import {StentorError} from '../lib/core/errors.js';
import type {StateDiff} from '../lib/domain/agent-api.js';
import type {MapSet} from './apply/map-set.js';
import type {Compiled} from './compile/compile.js';
import type {MapContent, PolicyMapContent} from './compile/kernel-state.js';
import {BpfMap} from './kernel/bpf.js';

/** Keys in hex, at most this many per map; of policies with the endpoint's number before them. */
const DIFF_KEYS_MAX = 100;
const POLICY = 'cilium_policy';

interface Keys {
  readonly missing: string[];
  readonly different: string[];
  readonly extra: string[];
}

export function stateDiff(compiled: Compiled | null, maps: MapSet): StateDiff {
  if (compiled === null) return {maps: []};
  const {kernel} = compiled;
  const held = new Set<string>(kernel.holds.map(({map}) => map));
  const plain = [...kernel.maps].map(([name, content]): [string, Keys] => [name, compare(content, maps.get(name)?.entries() ?? [])]);
  return {maps: [...plain, [POLICY, comparePolicies(kernel.policySlots, maps.get(POLICY))] as const].map(([name, {missing, different, extra}]) => ({
    name, held: held.has(name), missing: missing.slice(0, DIFF_KEYS_MAX), different: different.slice(0, DIFF_KEYS_MAX), extra: extra.slice(0, DIFF_KEYS_MAX),
  }))};
}

type Entries = readonly (readonly [Uint8Array, Uint8Array])[];

function compare(content: MapContent, entries: Entries): Keys {
  const actual = new Map(entries.map(([key, value]) => [hexOf(key), value]));
  const [missing, different]: [string[], string[]] = [[], []];
  for (const [key, {value}] of content) {
    const there = actual.get(key);
    if (there === undefined) missing.push(key);
    else if (Buffer.compare(there, value) !== 0) different.push(key);
  }
  // Arrays have all their keys; all zero stands for absent.
  const extra = [...actual].filter(([key, value]) => !content.has(key) && value.some((byte) => byte !== 0)).map(([key]) => key);
  return {missing, different, extra};
}

/** Slot by slot, and in each the entries of its inner map. */
function comparePolicies(slots: ReadonlyMap<number, PolicyMapContent>, outer: BpfMap | undefined): Keys {
  const innerIds = new Map((outer?.entries() ?? []).map(([key, value]) => [wordOf(key), wordOf(value)] as const).filter(([, id]) => id !== 0));
  const all: Keys = {missing: [], different: [], extra: []};
  for (const [slot, content] of slots) {
    const id = innerIds.get(slot);
    const entries = id === undefined ? null : innerEntries(id);
    if (entries === null) {
      all.missing.push(String(slot));
      continue;
    }
    const found = compare(content.entries, entries);
    for (const kind of ['missing', 'different', 'extra'] as const) all[kind].push(...found[kind].map((key) => `${slot} ${key}`));
  }
  all.extra.push(...[...innerIds.keys()].filter((slot) => !slots.has(slot)).map(String));
  return all;
}

/** Null when the map has gone since its number was read: the slot is being changed. */
function innerEntries(id: number): Entries | null {
  let map: BpfMap;
  try {
    map = BpfMap.byId(id);
  } catch (error) {
    if (error instanceof StentorError && error.code === 'ENOENT') return null;
    throw error;
  }
  try {
    return map.entries();
  } finally {
    map.close();
  }
}

function wordOf(bytes: Uint8Array): number {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength).getUint32(0, true);
}

function hexOf(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('hex');
}
