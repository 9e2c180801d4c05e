// What every compile step reads, and the words they share.

import type {Family} from '../../lib/core/ip.js';
import type {NodeConfigResource, NodeIpv6, ResourceKind, ResourceName} from '../../lib/desired/node-state.js';
import type {NodeTables} from '../../lib/desired/tables.js';
import {DUAL_STACK, hasFamily, IDENTITY_INIT, IPV4_ONLY} from '../../lib/domain/identity.js';
import type {Families, IdentityId} from '../../lib/domain/identity.js';
import type {LocalEndpoint, LocalFacts, LocalLink} from '../model/local.js';
import {endpointOwner} from '../model/local.js';
import {routerAddress} from '../model/pod-cidrs.js';
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
  /** Whether the maps of IPv6 have room: without, the cluster's IPv6 is off on this node. */
  readonly enableIpv6: boolean;
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

/** Without lengths. Addresses of a link alone are nobody's to name. */
export function addressesOf(link: LocalLink, family: Family = 4): readonly string[] {
  return link.addresses.map((text) => text.slice(0, text.indexOf('/'))).filter((text) => familyOf(text) === family && !text.startsWith('fe80:'));
}

export function familyOf(text: string): Family {
  return text.includes(':') ? 6 : 4;
}

type FamilyInput = Pick<CompileInput, 'config' | 'options'>;

/** Null: IPv6 is off, in the cluster or here. */
export function ipv6Of({config, options}: FamilyInput): NodeIpv6 | null {
  return options.enableIpv6 ? config.ipv6 ?? null : null;
}

/** Families that this node takes part in. */
export function familiesOf(input: FamilyInput): Families {
  return ipv6Of(input) === null ? IPV4_ONLY : DUAL_STACK;
}

export function isActive(input: FamilyInput, text: string): boolean {
  return hasFamily(familiesOf(input), familyOf(text));
}

/** The node's PodCIDRs, without those of a family that is off. */
export function activePodCidrs(input: FamilyInput): readonly string[] {
  return input.config.podCidrs.filter((cidr) => isActive(input, cidr));
}

export function podCidrsOf(input: FamilyInput, family: Family): readonly string[] {
  return activePodCidrs(input).filter((cidr) => familyOf(cidr) === family);
}

/** The CiliumInternalIP of each family, IPv4 first. */
export function routerAddresses(input: FamilyInput): readonly string[] {
  return ([4, 6] as const).map((family) => routerAddress(podCidrsOf(input, family), family)).filter((address) => address !== null);
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
