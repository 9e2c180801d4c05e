// KernelState: what the kernel and the speaker of one node should hold. Printable; made by pure functions, made true by `apply`.

import type {Speaker} from '../../lib/domain/bgp.js';
import type {ResourceName} from '../../lib/desired/node-state.js';

/** Cilium's map names, as pinned. */
export type ReconciledMap = 'cilium_ipcache' | 'cilium_lxc' | 'cilium_ipmasq_v4' | 'cilium_ipmasq_v6' | 'cilium_announced_v4' | 'cilium_announced_v6' | 'cilium_ep_config' | 'cilium_if_to_ep' | 'cilium_runtime_config';

/** Bytes as the map holds them. `because` names the resources to blame when it cannot be written. */
export interface MapEntry {
  readonly key: Uint8Array;
  readonly value: Uint8Array;
  readonly because: readonly ResourceName[];
}

/** By key in hex. */
export type MapContent = ReadonlyMap<string, MapEntry>;

/** The inner policy map of one subject identity, shared by its endpoints; slots of `cilium_policy` point to it. */
export interface PolicyMapContent {
  readonly subject: number;
  readonly entries: MapContent;
}

export interface Attachment {
  readonly device: string;
  readonly direction: 'ingress' | 'egress';
  /** Program of the object set: `cil_from_container`, `cil_from_netdev`, `cil_to_netdev`, `cil_from_host`, `cil_to_host`, `cil_from_overlay`, `cil_to_overlay`. */
  readonly program: string;
  readonly because?: readonly ResourceName[];
}

export interface LinkSpec {
  readonly name: string;
  readonly kind: 'veth' | 'vxlan';
  readonly peer?: string;
  readonly mtu: number;
  /** With prefix length. */
  readonly addresses: readonly string[];
  readonly noArp?: boolean;
  readonly vxlanPort?: number;
  readonly because?: readonly ResourceName[];
}

/** `table` 254 unless said; ours are recognisable by protocol 78 (`RTPROT_STENTOR`). */
export interface RouteSpec {
  readonly prefix: string;
  readonly device: string;
  readonly via: string | null;
  readonly source: string | null;
  readonly scope: 'global' | 'link';
  readonly mtu: number | null;
  readonly table?: number;
  /** The gateway is reached directly although no route says so. */
  readonly onLink?: boolean;
  readonly because?: readonly ResourceName[];
}

export interface KernelState {
  readonly maps: ReadonlyMap<ReconciledMap, MapContent>;
  /** By endpoint id; a slot that is missing here is emptied (the endpoint then drops everything). */
  readonly policySlots: ReadonlyMap<number, PolicyMapContent>;
  readonly links: readonly LinkSpec[];
  readonly routes: readonly RouteSpec[];
  readonly sysctls: ReadonlyMap<string, string>;
  readonly attachments: readonly Attachment[];
  /** `.rodata` variables by name; a change means a new object set and LINK_UPDATE. */
  readonly programConfig: ReadonlyMap<string, number | bigint | Uint8Array>;
  readonly speaker: Speaker;
  /** Masquerade or the speaker is held: leave its map as it is. */
  readonly holds: readonly {readonly map: ReconciledMap; readonly reason: string}[];
}
