// What every compile step reads, and the words they share.

import type {NodeConfigResource, ResourceKind, ResourceName} from '../../lib/desired/node-state.js';
import type {NodeTables} from '../../lib/desired/tables.js';
import {IDENTITY_INIT} from '../../lib/domain/identity.js';
import type {IdentityId} from '../../lib/domain/identity.js';
import type {LocalEndpoint, LocalFacts, LocalLink} from '../model/local.js';
import {endpointOwner} from '../model/local.js';
import {toHex} from '../maps/layout.js';
import type {MapCodec} from '../maps/layout.js';
import type {MapContent, MapEntry} from './kernel-state.js';

/** From the agent's own configuration. */
export interface CompileOptions {
  /** Uplinks by name; empty = the devices that hold the node's address. */
  readonly devices: readonly string[];
  readonly policyEntriesMax: number;
  readonly monitorAggregation: number;
  readonly masqueradeRemoteNodes: boolean;
  readonly snatPorts: {readonly min: number; readonly max: number};
  readonly timeouts: {readonly tcpSeconds: number; readonly tcpSynSeconds: number; readonly tcpCloseSeconds: number; readonly anySeconds: number};
  readonly captureBytes: number;
  /** 0 = that of the uplinks. */
  readonly mtu: number;
}

export interface CompileInput {
  readonly config: NodeConfigResource;
  readonly tables: NodeTables;
  readonly facts: LocalFacts;
  readonly options: CompileOptions;
}

/** Something desired that the kernel cannot hold. What is left out is closed. */
export interface Finding extends ResourceName {
  readonly code: string;
  readonly message: string;
}

/** Bytes that VXLAN over IPv4 puts around a packet. */
export const TUNNEL_OVERHEAD = 50;
const DEFAULT_MTU = 1500;

export function because(kind: ResourceKind, key: string): readonly ResourceName[] {
  return [{kind, key}];
}

export function mapEntry<K, V>(codec: MapCodec<K, V>, key: K, value: V, blame: readonly ResourceName[]): readonly [string, MapEntry] {
  const bytes = codec.encodeKey(key);
  return [toHex(bytes), {key: bytes, value: codec.encodeValue(value), because: blame}];
}

export const NO_ENTRIES: MapContent = new Map();

/** The identity of a pod that the operator does not know (any more, or under another uid) is init. */
export function identityOf(tables: NodeTables, endpoint: LocalEndpoint): IdentityId {
  const known = tables.endpoint.get(endpointOwner(endpoint))?.value;
  if (known === undefined) return IDENTITY_INIT;
  return endpoint.uid !== '' && known.uid !== '' && endpoint.uid !== known.uid ? IDENTITY_INIT : known.identity;
}

/** Uplinks that exist, in order. */
export function uplinks(input: Pick<CompileInput, 'config' | 'facts' | 'options'>): readonly LocalLink[] {
  const {facts, options, config} = input;
  if (options.devices.length > 0) return options.devices.map((name) => facts.links.get(name)).filter((link) => link !== undefined);
  return [...facts.links.values()].filter((link) => !isOurs(link.name) && addressesOf(link).includes(config.nodeAddress));
}

export function isOurs(name: string): boolean {
  return name.startsWith('cilium_') || name.startsWith('lxc');
}

/** Without lengths; IPv4. */
export function addressesOf(link: LocalLink): readonly string[] {
  return link.addresses.map((text) => text.slice(0, text.indexOf('/'))).filter((text) => !text.includes(':'));
}

export function deviceMtu(input: Pick<CompileInput, 'config' | 'facts' | 'options'>): number {
  if (input.options.mtu > 0) return input.options.mtu;
  const sizes = uplinks(input).map((link) => link.mtu);
  return sizes.length === 0 ? DEFAULT_MTU : Math.min(...sizes);
}

/** What a pod may send in one packet to any other node. */
export function routeMtu(input: Pick<CompileInput, 'config' | 'facts' | 'options'>): number {
  return deviceMtu(input) - (input.config.routingMode === 'tunnel' ? TUNNEL_OVERHEAD : 0);
}
