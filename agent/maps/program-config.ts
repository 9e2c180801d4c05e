// The `.rodata` values of the programs, by C name. Twin of agent/bpf/lib/config.h; a change means a new object set and LINK_UPDATE.

import {parseAddress, parsePrefix, prefixOf} from '../../lib/core/ip.js';
import type {Family, Prefix} from '../../lib/core/ip.js';
import {invariant} from '../../lib/core/invariant.js';
import {IDENTITY_WORLD} from '../../lib/domain/identity.js';

export const MAX_POD_CIDRS = 4;
export const MAX_DEVICES = 8;

/** Default UDP port of the tunnel, as Cilium's. */
export const DEFAULT_TUNNEL_PORT = 8472;

/** One uplink: packets that leave through it are masqueraded to these. Null = it has none of the family. */
export interface DeviceAddress {
  readonly ifindex: number;
  readonly ipv4: string | null;
  readonly ipv6: string | null;
}

export interface ProgramConfig {
  /** Internal address of this node. */
  readonly nodeIpv4: string;
  readonly routingMode: 'native' | 'tunnel';
  readonly tunnelPort: number;
  /** ifindex of cilium_vxlan; 0 in native mode. */
  readonly overlayIfindex: number;
  /** PodCIDRs of this node: an address inside without an endpoint is dropped. */
  readonly podCidrs: readonly string[];
  readonly devices: readonly DeviceAddress[];
  readonly masquerade: boolean;
  /** No masquerading towards these: `ipv4-native-routing-cidr` when it is set, else the node's PodCIDRs. */
  readonly masqueradeExclusions: readonly string[];
  /** Also masquerade towards other nodes (`enable-remote-node-masquerade`). */
  readonly masqueradeRemoteNodes: boolean;
  readonly snatPorts: {readonly min: number; readonly max: number};
  readonly timeouts: {readonly tcpSeconds: number; readonly tcpSynSeconds: number; readonly tcpCloseSeconds: number; readonly anySeconds: number};
  /** Bytes of the packet in an event, at most EVENT_CAPTURE_MAX. */
  readonly captureBytes: number;
  /** Null: IPv6 is off, and pods' packets of it are dropped. */
  readonly ipv6: Ipv6ProgramConfig | null;
}

export interface Ipv6ProgramConfig {
  readonly podCidrs: readonly string[];
  readonly masquerade: boolean;
  readonly masqueradeExclusions: readonly string[];
  /** What addresses are that nobody knows: with two families there are two worlds. */
  readonly worldIpv4: number;
  readonly worldIpv6: number;
}

/** Cilium's defaults for what is not of this node. */
export const PROGRAM_DEFAULTS = {
  tunnelPort: DEFAULT_TUNNEL_PORT,
  snatPorts: {min: 32_768, max: 65_535},
  timeouts: {tcpSeconds: 8_000, tcpSynSeconds: 60, tcpCloseSeconds: 10, anySeconds: 60},
  captureBytes: 128,
  masqueradeRemoteNodes: false,
  ipv6: null,
} as const;

/** Every variable: C type size in bytes and what it means (the same words as in config.h). */
export const PROGRAM_VARIABLES = {
  config_node_ipv4: {size: 4, description: 'Internal address of this node'},
  config_tunnel_mode: {size: 1, description: 'Pods of other nodes are reached through the tunnel'},
  config_tunnel_port: {size: 2, description: 'UDP port of the tunnel'},
  config_overlay_ifindex: {size: 4, description: 'ifindex of cilium_vxlan'},
  config_pod_cidrs: {size: 8 * MAX_POD_CIDRS, description: 'PodCIDRs of this node'},
  config_pod_cidr_count: {size: 1, description: 'How many of config_pod_cidrs count'},
  config_devices: {size: 8 * MAX_DEVICES, description: 'Uplinks and the address each masquerades to'},
  config_device_count: {size: 1, description: 'How many of config_devices count'},
  config_masquerade: {size: 1, description: 'Masquerade pod traffic that leaves through an uplink'},
  config_snat_exclusions: {size: 8 * MAX_POD_CIDRS, description: 'Destinations that are never masqueraded'},
  config_snat_exclusion_count: {size: 1, description: 'How many of config_snat_exclusions count'},
  config_masquerade_remote_nodes: {size: 1, description: 'Masquerade towards other nodes as well'},
  config_snat_port_min: {size: 2, description: 'First port for masquerading'},
  config_snat_port_max: {size: 2, description: 'Last port for masquerading'},
  config_ct_tcp_timeout: {size: 4, description: 'Seconds an idle TCP connection is remembered'},
  config_ct_syn_timeout: {size: 4, description: 'Seconds a TCP connection without an answer is remembered'},
  config_ct_close_timeout: {size: 4, description: 'Seconds a closing TCP connection is remembered'},
  config_ct_any_timeout: {size: 4, description: 'Seconds an idle flow of another protocol is remembered'},
  config_capture_bytes: {size: 4, description: 'Bytes of the packet in an event'},
  config_ipv6: {size: 1, description: 'IPv6 is on'},
  config_pod_cidrs6: {size: 32 * MAX_POD_CIDRS, description: 'IPv6 PodCIDRs of this node'},
  config_pod_cidr6_count: {size: 1, description: 'How many of config_pod_cidrs6 count'},
  config_device_ipv6: {size: 16 * MAX_DEVICES, description: 'IPv6 address that each of config_devices masquerades to; zero: none'},
  config_masquerade6: {size: 1, description: 'Masquerade IPv6 pod traffic that leaves through an uplink'},
  config_snat_exclusions6: {size: 32 * MAX_POD_CIDRS, description: 'IPv6 destinations that are never masqueraded'},
  config_snat_exclusion6_count: {size: 1, description: 'How many of config_snat_exclusions6 count'},
  config_world_ipv4: {size: 4, description: 'Identity of IPv4 addresses nobody knows'},
  config_world_ipv6: {size: 4, description: 'Identity of IPv6 addresses nobody knows'},
} as const;
export type ProgramVariable = keyof typeof PROGRAM_VARIABLES;

/** The values for `BpfObject.open({rodata})`. Addresses are bytes in network order. */
export function encodeProgramConfig(config: ProgramConfig): ReadonlyMap<ProgramVariable, number | Uint8Array> {
  invariant(config.captureBytes <= 128, 'capture fits the ring record', {bytes: config.captureBytes});
  invariant(config.snatPorts.min <= config.snatPorts.max, 'a port range', config.snatPorts);
  return new Map<ProgramVariable, number | Uint8Array>([
    ['config_node_ipv4', address(config.nodeIpv4, 4)],
    ['config_tunnel_mode', config.routingMode === 'tunnel' ? 1 : 0],
    ['config_tunnel_port', config.tunnelPort],
    ['config_overlay_ifindex', config.overlayIfindex],
    ['config_pod_cidrs', prefixes(config.podCidrs)],
    ['config_pod_cidr_count', config.podCidrs.length],
    ['config_devices', devices(config.devices)],
    ['config_device_count', config.devices.length],
    ['config_masquerade', config.masquerade ? 1 : 0],
    ['config_snat_exclusions', prefixes(config.masqueradeExclusions)],
    ['config_snat_exclusion_count', config.masqueradeExclusions.length],
    ['config_masquerade_remote_nodes', config.masqueradeRemoteNodes ? 1 : 0],
    ['config_snat_port_min', config.snatPorts.min],
    ['config_snat_port_max', config.snatPorts.max],
    ['config_ct_tcp_timeout', config.timeouts.tcpSeconds],
    ['config_ct_syn_timeout', config.timeouts.tcpSynSeconds],
    ['config_ct_close_timeout', config.timeouts.tcpCloseSeconds],
    ['config_ct_any_timeout', config.timeouts.anySeconds],
    ['config_capture_bytes', config.captureBytes],
    ...encodeIpv6(config),
  ]);
}

const IPV6_OFF: Ipv6ProgramConfig = {
  podCidrs: [], masquerade: false, masqueradeExclusions: [], worldIpv4: IDENTITY_WORLD, worldIpv6: IDENTITY_WORLD,
};

function encodeIpv6({ipv6, devices: list}: ProgramConfig): readonly (readonly [ProgramVariable, number | Uint8Array])[] {
  const {podCidrs, masquerade, masqueradeExclusions, worldIpv4, worldIpv6} = ipv6 ?? IPV6_OFF;
  const deviceAddresses = new Uint8Array(16 * MAX_DEVICES);
  for (const [i, device] of list.entries()) if (device.ipv6 !== null) deviceAddresses.set(address(device.ipv6, 6), 16 * i);
  return [
    ['config_ipv6', ipv6 === null ? 0 : 1],
    ['config_pod_cidrs6', prefixes6(podCidrs)],
    ['config_pod_cidr6_count', podCidrs.length],
    ['config_device_ipv6', deviceAddresses],
    ['config_masquerade6', masquerade ? 1 : 0],
    ['config_snat_exclusions6', prefixes6(masqueradeExclusions)],
    ['config_snat_exclusion6_count', masqueradeExclusions.length],
    ['config_world_ipv4', worldIpv4],
    ['config_world_ipv6', worldIpv6],
  ];
}

function address(text: string, family: Family): Uint8Array {
  const parsed = parseAddress(text);
  invariant(parsed !== null && parsed.family === family, `an IPv${family} address`, {text});
  return parsed.bytes;
}

/** `struct cidr6 {struct ipv6_address addr; struct ipv6_address mask;}` each. */
function prefixes6(texts: readonly string[]): Uint8Array {
  invariant(texts.length <= MAX_POD_CIDRS, 'no more prefixes than the programs have room for', {texts});
  const bytes = new Uint8Array(32 * MAX_POD_CIDRS);
  for (const [i, text] of texts.entries()) {
    const prefix = parsePrefix(text);
    invariant(prefix !== null && prefix.family === 6, 'an IPv6 prefix', {text});
    bytes.set(prefix.bytes, 32 * i);
    const all = {family: 6, bytes: new Uint8Array(16).fill(0xff)} as const;
    bytes.set(prefixOf(all, prefix.length).bytes, 32 * i + 16);
  }
  return bytes;
}

/** `struct cidr4 {__be32 addr; __be32 mask;}` each. */
function prefixes(texts: readonly string[]): Uint8Array {
  invariant(texts.length <= MAX_POD_CIDRS, 'no more prefixes than the programs have room for', {texts});
  const bytes = new Uint8Array(8 * MAX_POD_CIDRS);
  for (const [i, text] of texts.entries()) {
    const prefix = parsePrefix(text);
    invariant(prefix !== null && prefix.family === 4, 'an IPv4 prefix', {text});
    bytes.set(prefix.bytes, 8 * i);
    new DataView(bytes.buffer).setUint32(8 * i + 4, mask(prefix));
  }
  return bytes;
}

function mask(prefix: Prefix): number {
  return prefix.length === 0 ? 0 : (0xffffffff << (32 - prefix.length)) >>> 0;
}

/** `struct device_address {__u32 ifindex; __be32 ipv4;}` each. */
function devices(list: readonly DeviceAddress[]): Uint8Array {
  invariant(list.length <= MAX_DEVICES, 'no more uplinks than the programs have room for', {count: list.length});
  const bytes = new Uint8Array(8 * MAX_DEVICES);
  for (const [i, device] of list.entries()) {
    new DataView(bytes.buffer).setUint32(8 * i, device.ifindex, true);
    if (device.ipv4 !== null) bytes.set(address(device.ipv4, 4), 8 * i + 4);
  }
  return bytes;
}
