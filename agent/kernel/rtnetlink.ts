// rtnetlink's objects: links, addresses, routes, rules, neighbours. Types of ours ↔ bytes of the kernel, nothing else.

import {formatAddress, parseAddress, parseInterfaceAddress, type Address as IpAddress, type Family} from '../../lib/core/ip.js';
import {invariant} from '../../lib/core/invariant.js';
import {attributes, Payload, viewOf, type Answer, type Attributes} from './netlink-message.js';

export const RTM = {
  NEWLINK: 16, DELLINK: 17, GETLINK: 18, SETLINK: 19,
  NEWADDR: 20, DELADDR: 21, GETADDR: 22,
  NEWROUTE: 24, DELROUTE: 25, GETROUTE: 26,
  NEWNEIGH: 28, DELNEIGH: 29, GETNEIGH: 30,
  NEWRULE: 32, DELRULE: 33, GETRULE: 34,
  NEWQDISC: 36, DELQDISC: 37, GETQDISC: 38,
  NEWTFILTER: 44, DELTFILTER: 45, GETTFILTER: 46,
} as const;

const AF_UNSPEC = 0;
const AF_INET = 2;
const AF_INET6 = 10;

const IFLA = {
  ADDRESS: 1, IFNAME: 3, MTU: 4, LINK: 5, MASTER: 10, OPERSTATE: 16, LINKINFO: 18, NET_NS_FD: 28, EXT_MASK: 29, LINK_NETNSID: 37,
  INFO_KIND: 1, INFO_DATA: 2, VETH_INFO_PEER: 1, VXLAN_LEARNING: 7, VXLAN_PORT: 15, VXLAN_COLLECT_METADATA: 25,
} as const;
const IFF_UP = 0x1;
const IFF_LOOPBACK = 0x8;
const IFF_NOARP = 0x80;
const RTEXT_FILTER_SKIP_STATS = 8;
const OPER_STATES = ['unknown', 'notpresent', 'down', 'lowerlayerdown', 'testing', 'dormant', 'up'] as const;

export interface Link {
  readonly ifindex: number;
  readonly name: string;
  /** `veth`, `vxlan`, `bridge`, …; null for what no driver made (lo, physical devices). */
  readonly kind: string | null;
  readonly mtu: number;
  /** `aa:bb:cc:dd:ee:ff`; empty when the device has none. */
  readonly mac: string;
  readonly up: boolean;
  readonly operState: typeof OPER_STATES[number];
  readonly loopback: boolean;
  readonly noArp: boolean;
  /** The peer of a veth, the device below of others; in the namespace `peerNetnsId` when that is not null. */
  readonly peerIfindex: number | null;
  readonly peerNetnsId: number | null;
  readonly masterIfindex: number | null;
  readonly vxlan: {readonly port: number; readonly external: boolean} | null;
}

export interface VethOptions {
  readonly name: string;
  readonly peer: string;
  readonly mtu: number;
  readonly mac?: string;
  readonly peerMac?: string;
  /** Descriptor of the namespace in which the peer is made. */
  readonly peerNetnsFd?: number;
}

export interface VxlanOptions {
  readonly name: string;
  readonly port: number;
  readonly mtu: number;
  readonly mac?: string;
}

export interface LinkChange {
  readonly up?: boolean;
  readonly mtu?: number;
  readonly mac?: string;
  readonly name?: string;
  readonly netnsFd?: number;
  readonly noArp?: boolean;
}

export interface InterfaceAddress {
  readonly ifindex: number;
  /** With prefix length. */
  readonly address: string;
  readonly scope: string;
}

export interface Route {
  readonly family: Family;
  /** `0.0.0.0/0` is the default route. */
  readonly prefix: string;
  readonly table: number;
  /** 78 = ours, 2 = kernel, 3 = boot, 4 = static, 12 = BIRD, 186 = BGP (FRR). */
  readonly protocol: number;
  readonly scope: 'global' | 'site' | 'link' | 'host' | 'nowhere';
  readonly type: number;
  readonly ifindex: number | null;
  readonly via: string | null;
  /** Preferred source. */
  readonly source: string | null;
  readonly mtu: number | null;
  readonly priority: number | null;
  /** The gateway is reached directly although no route says so. */
  readonly onLink: boolean;
  /** Of a multipath route; empty otherwise. */
  readonly nextHops: readonly {readonly ifindex: number; readonly via: string | null}[];
}

export interface Rule {
  readonly family: Family;
  readonly priority: number;
  readonly table: number;
  readonly mark: number | null;
  readonly mask: number | null;
  readonly protocol: number;
}

export interface Neighbour {
  readonly ifindex: number;
  readonly address: string;
  /** Null while it is not resolved. */
  readonly mac: string | null;
  readonly permanent: boolean;
  readonly state: number;
}

export const RT_TABLE_MAIN = 254;
export const RTPROT_STENTOR = 78;
export const RTN_UNICAST = 1;
const RTNH_F_ONLINK = 4;
const RTA = {DST: 1, OIF: 4, GATEWAY: 5, PRIORITY: 6, PREFSRC: 7, METRICS: 8, MULTIPATH: 9, TABLE: 15, VIA: 18} as const;
const RTAX_MTU = 2;
const SCOPES: ReadonlyMap<number, Route['scope']> = new Map([[0, 'global'], [200, 'site'], [253, 'link'], [254, 'host'], [255, 'nowhere']]);
const SCOPE_NUMBERS: ReadonlyMap<string, number> = new Map([...SCOPES].map(([number, name]) => [name, number]));

function familyNumber(family: Family): number {
  return family === 4 ? AF_INET : AF_INET6;
}

function familyOf(number: number): Family | null {
  return number === AF_INET ? 4 : number === AF_INET6 ? 6 : null;
}

function address(text: string): IpAddress {
  const parsed = parseAddress(text);
  invariant(parsed !== null, 'an IP address', {text});
  return parsed;
}

function interfaceAddress(text: string): {address: IpAddress; length: number} {
  const parsed = parseInterfaceAddress(text);
  invariant(parsed !== null, 'an IP address with its prefix length', {text});
  return parsed;
}

function addressText(bytes: Uint8Array | null): string | null {
  if (bytes === null || (bytes.length !== 4 && bytes.length !== 16)) return null;
  return formatAddress({family: bytes.length === 4 ? 4 : 6, bytes});
}

export function formatMac(bytes: Uint8Array): string {
  return [...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join(':');
}

export function parseMac(text: string): Uint8Array {
  invariant(/^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/i.test(text), 'a MAC address', {text});
  return Uint8Array.from(text.split(':'), (part) => Number.parseInt(part, 16));
}

/** struct ifinfomsg */
function linkHeader(ifindex: number, flags = 0, change = 0): Payload {
  return new Payload().u8(AF_UNSPEC).u8(0).u16(0).u32(ifindex).u32(flags).u32(change);
}

/** Without counters, which are most of an answer. */
export function encodeLinkQuery(which: {readonly ifindex?: number; readonly name?: string}): Uint8Array {
  const payload = encodeWhich(which);
  return payload.attributeU32(IFLA.EXT_MASK, RTEXT_FILTER_SKIP_STATS).bytes();
}

export function encodeLinkRemoval(which: {readonly ifindex?: number; readonly name?: string}): Uint8Array {
  return encodeWhich(which).bytes();
}

function encodeWhich(which: {readonly ifindex?: number; readonly name?: string}): Payload {
  const payload = linkHeader(which.ifindex ?? 0);
  if (which.name !== undefined) payload.attributeString(IFLA.IFNAME, which.name);
  return payload;
}

export function encodeVeth(options: VethOptions): Uint8Array {
  const payload = linkHeader(0).attributeString(IFLA.IFNAME, options.name).attributeU32(IFLA.MTU, options.mtu);
  if (options.mac !== undefined) payload.attribute(IFLA.ADDRESS, parseMac(options.mac));
  return payload.nest(IFLA.LINKINFO, (info) => info.attributeString(IFLA.INFO_KIND, 'veth').nest(IFLA.INFO_DATA, (data) => data
    .nest(IFLA.VETH_INFO_PEER, (peer) => {
      peer.raw(linkHeader(0).bytes()).attributeString(IFLA.IFNAME, options.peer).attributeU32(IFLA.MTU, options.mtu);
      if (options.peerMac !== undefined) peer.attribute(IFLA.ADDRESS, parseMac(options.peerMac));
      if (options.peerNetnsFd !== undefined) peer.attributeU32(IFLA.NET_NS_FD, options.peerNetnsFd);
    }))).bytes();
}

/** Metadata mode: the programs choose the remote end and the VNI per packet. */
export function encodeVxlan(options: VxlanOptions): Uint8Array {
  const payload = linkHeader(0).attributeString(IFLA.IFNAME, options.name).attributeU32(IFLA.MTU, options.mtu);
  if (options.mac !== undefined) payload.attribute(IFLA.ADDRESS, parseMac(options.mac));
  return payload.nest(IFLA.LINKINFO, (info) => info.attributeString(IFLA.INFO_KIND, 'vxlan').nest(IFLA.INFO_DATA, (data) => data
    .attributeU8(IFLA.VXLAN_COLLECT_METADATA, 1).attributeU8(IFLA.VXLAN_LEARNING, 0).attributeU16Be(IFLA.VXLAN_PORT, options.port))).bytes();
}

export function encodeLinkChange(ifindex: number, change: LinkChange): Uint8Array {
  let flags = 0;
  let mask = 0;
  if (change.up !== undefined) mask |= IFF_UP;
  if (change.up === true) flags |= IFF_UP;
  if (change.noArp !== undefined) mask |= IFF_NOARP;
  if (change.noArp === true) flags |= IFF_NOARP;
  const payload = linkHeader(ifindex, flags, mask);
  if (change.mtu !== undefined) payload.attributeU32(IFLA.MTU, change.mtu);
  if (change.mac !== undefined) payload.attribute(IFLA.ADDRESS, parseMac(change.mac));
  if (change.name !== undefined) payload.attributeString(IFLA.IFNAME, change.name);
  if (change.netnsFd !== undefined) payload.attributeU32(IFLA.NET_NS_FD, change.netnsFd);
  return payload.bytes();
}

export function decodeLink(answer: Answer): Link {
  const view = viewOf(answer.payload);
  const flags = view.getUint32(8, true);
  const all = attributes(answer.payload, 16);
  const info = all.nested(IFLA.LINKINFO);
  const kind = info.string(IFLA.INFO_KIND);
  const mac = all.bytes(IFLA.ADDRESS);
  return {
    ifindex: view.getInt32(4, true),
    name: all.string(IFLA.IFNAME) ?? '',
    kind,
    mtu: all.u32(IFLA.MTU) ?? 0,
    mac: mac === null ? '' : formatMac(mac),
    up: (flags & IFF_UP) !== 0,
    operState: OPER_STATES[all.u8(IFLA.OPERSTATE) ?? 0] ?? 'unknown',
    loopback: (flags & IFF_LOOPBACK) !== 0,
    noArp: (flags & IFF_NOARP) !== 0,
    peerIfindex: all.u32(IFLA.LINK),
    peerNetnsId: all.u32(IFLA.LINK_NETNSID),
    masterIfindex: all.u32(IFLA.MASTER),
    vxlan: kind === 'vxlan' ? decodeVxlan(info.nested(IFLA.INFO_DATA)) : null,
  };
}

function decodeVxlan(data: Attributes): Link['vxlan'] {
  return {port: data.u16Be(IFLA.VXLAN_PORT) ?? 0, external: (data.u8(IFLA.VXLAN_COLLECT_METADATA) ?? 0) !== 0};
}

const IFA = {ADDRESS: 1, LOCAL: 2} as const;
/** Usable at once: nobody else can have what we give out. */
const IFA_F_NODAD = 0x02;

/** struct ifaddrmsg. An empty query lists all. */
export function encodeAddressQuery(ifindex: number): Uint8Array {
  return new Payload().u8(AF_UNSPEC).u8(0).u8(0).u8(0).u32(ifindex).bytes();
}

export function encodeAddress(ifindex: number, text: string): Uint8Array {
  const {address: ip, length} = interfaceAddress(text);
  return new Payload().u8(familyNumber(ip.family)).u8(length).u8(ip.family === 6 ? IFA_F_NODAD : 0).u8(0).u32(ifindex)
    .attribute(IFA.LOCAL, ip.bytes).attribute(IFA.ADDRESS, ip.bytes).bytes();
}

export function decodeAddress(answer: Answer): InterfaceAddress {
  const view = viewOf(answer.payload);
  const all = attributes(answer.payload, 8);
  const text = addressText(all.bytes(IFA.LOCAL) ?? all.bytes(IFA.ADDRESS)) ?? '';
  return {ifindex: view.getUint32(4, true), address: `${text}/${view.getUint8(1)}`, scope: SCOPES.get(view.getUint8(3)) ?? 'global'};
}

/** struct rtmsg */
function routeHeader(family: number, length: number, fields: {table: number; protocol: number; scope: number; type: number; flags: number}): Payload {
  return new Payload().u8(family).u8(length).u8(0).u8(0).u8(fields.table > 255 ? 0 : fields.table).u8(fields.protocol)
    .u8(fields.scope).u8(fields.type).u32(fields.flags);
}

export interface RouteFilter {
  readonly family?: Family;
  readonly table?: number;
  readonly protocol?: number;
}

export function encodeRouteQuery(filter: RouteFilter): Uint8Array {
  const family = filter.family === undefined ? AF_INET : familyNumber(filter.family);
  const payload = routeHeader(family, 0, {table: 0, protocol: filter.protocol ?? 0, scope: 0, type: 0, flags: 0});
  if (filter.table !== undefined) payload.attributeU32(RTA.TABLE, filter.table);
  return payload.bytes();
}

/** Asks for the one route that a packet to `text` would take. */
export function encodeRouteTo(text: string): Uint8Array {
  const {family, bytes} = address(text);
  const payload = routeHeader(familyNumber(family), 8 * bytes.length, {table: 0, protocol: 0, scope: 0, type: 0, flags: 0});
  payload.attribute(RTA.DST, bytes);
  return payload.bytes();
}

export type RouteInput = Pick<Route, 'prefix' | 'table' | 'protocol' | 'scope'> &
  Partial<Pick<Route, 'type' | 'ifindex' | 'via' | 'source' | 'mtu' | 'priority' | 'onLink'>>;

export function encodeRoute(route: RouteInput): Uint8Array {
  const {address: destination, length} = interfaceAddress(route.prefix);
  const payload = routeHeader(familyNumber(destination.family), length, {
    table: route.table,
    protocol: route.protocol,
    scope: SCOPE_NUMBERS.get(route.scope) ?? 0,
    type: route.type ?? RTN_UNICAST,
    flags: route.onLink === true ? RTNH_F_ONLINK : 0,
  });
  payload.attributeU32(RTA.TABLE, route.table);
  if (length > 0) payload.attribute(RTA.DST, destination.bytes);
  if (typeof route.ifindex === 'number') payload.attributeU32(RTA.OIF, route.ifindex);
  if (typeof route.via === 'string') payload.attribute(RTA.GATEWAY, address(route.via).bytes);
  if (typeof route.source === 'string') payload.attribute(RTA.PREFSRC, address(route.source).bytes);
  if (typeof route.priority === 'number') payload.attributeU32(RTA.PRIORITY, route.priority);
  const {mtu} = route;
  if (typeof mtu === 'number') payload.nest(RTA.METRICS, (metrics) => metrics.attributeU32(RTAX_MTU, mtu), 0);
  return payload.bytes();
}

/** Null for a family that is not IP (multicast routing, MPLS). */
export function decodeRoute(answer: Answer): Route | null {
  const view = viewOf(answer.payload);
  const family = familyOf(view.getUint8(0));
  if (family === null) return null;
  const all = attributes(answer.payload, 12);
  const destination = addressText(all.bytes(RTA.DST)) ?? (family === 4 ? '0.0.0.0' : '::');
  return {
    family,
    prefix: `${destination}/${view.getUint8(1)}`,
    table: all.u32(RTA.TABLE) ?? view.getUint8(4),
    protocol: view.getUint8(5),
    scope: SCOPES.get(view.getUint8(6)) ?? 'global',
    type: view.getUint8(7),
    ifindex: all.u32(RTA.OIF),
    via: gatewayOf(all),
    source: addressText(all.bytes(RTA.PREFSRC)),
    mtu: all.nested(RTA.METRICS).u32(RTAX_MTU),
    priority: all.u32(RTA.PRIORITY),
    onLink: (view.getUint32(8, true) & RTNH_F_ONLINK) !== 0,
    nextHops: decodeNextHops(all.bytes(RTA.MULTIPATH)),
  };
}

/** A gateway of the other family comes as struct rtvia. */
function gatewayOf(all: Attributes): string | null {
  return addressText(all.bytes(RTA.GATEWAY)) ?? addressText(all.bytes(RTA.VIA)?.subarray(2) ?? null);
}

/** struct rtnexthop, one after the other. */
function decodeNextHops(bytes: Uint8Array | null): Route['nextHops'] {
  const hops: {ifindex: number; via: string | null}[] = [];
  if (bytes === null) return hops;
  const view = viewOf(bytes);
  for (let at = 0; at + 8 <= bytes.length;) {
    const length = view.getUint16(at, true);
    if (length < 8) break;
    hops.push({ifindex: view.getInt32(at + 4, true), via: gatewayOf(attributes(bytes.subarray(at, at + length), 8))});
    at += (length + 3) & ~3;
  }
  return hops;
}

const FRA = {PRIORITY: 6, FWMARK: 10, TABLE: 15, FWMASK: 16, PROTOCOL: 21} as const;
const FR_ACT_TO_TBL = 1;

/** struct fib_rule_hdr */
export function encodeRuleQuery(family: Family): Uint8Array {
  return new Payload().u8(familyNumber(family)).u8(0).u8(0).u8(0).u8(0).u8(0).u8(0).u8(0).u32(0).bytes();
}

export function encodeRule(rule: Rule): Uint8Array {
  const payload = new Payload().u8(familyNumber(rule.family)).u8(0).u8(0).u8(0).u8(rule.table > 255 ? 0 : rule.table).u8(0).u8(0)
    .u8(FR_ACT_TO_TBL).u32(0);
  payload.attributeU32(FRA.PRIORITY, rule.priority).attributeU32(FRA.TABLE, rule.table).attributeU8(FRA.PROTOCOL, rule.protocol);
  if (rule.mark !== null) payload.attributeU32(FRA.FWMARK, rule.mark);
  if (rule.mask !== null) payload.attributeU32(FRA.FWMASK, rule.mask);
  return payload.bytes();
}

export function decodeRule(answer: Answer): Rule | null {
  const family = familyOf(answer.payload[0] ?? 0);
  if (family === null) return null;
  const all = attributes(answer.payload, 12);
  const mark = all.u32(FRA.FWMARK);
  return {
    family,
    priority: all.u32(FRA.PRIORITY) ?? 0,
    table: all.u32(FRA.TABLE) ?? answer.payload[4] ?? 0,
    mark,
    mask: mark === null ? null : all.u32(FRA.FWMASK),
    protocol: all.u8(FRA.PROTOCOL) ?? 0,
  };
}

const NDA = {DST: 1, LLADDR: 2} as const;
const NUD_PERMANENT = 0x80;

/** struct ndmsg */
export function encodeNeighbourQuery(family: Family): Uint8Array {
  return new Payload().u8(familyNumber(family)).u8(0).u16(0).u32(0).u16(0).u8(0).u8(0).bytes();
}

/** Permanent: what we write is known, not learned. */
export function encodeNeighbour(ifindex: number, text: string, mac: string | null): Uint8Array {
  const ip = address(text);
  const payload = new Payload().u8(familyNumber(ip.family)).u8(0).u16(0).u32(ifindex).u16(mac === null ? 0 : NUD_PERMANENT).u8(0).u8(0)
    .attribute(NDA.DST, ip.bytes);
  if (mac !== null) payload.attribute(NDA.LLADDR, parseMac(mac));
  return payload.bytes();
}

export function decodeNeighbour(answer: Answer): Neighbour {
  const view = viewOf(answer.payload);
  const all = attributes(answer.payload, 12);
  const mac = all.bytes(NDA.LLADDR);
  const state = view.getUint16(8, true);
  return {
    ifindex: view.getInt32(4, true),
    address: addressText(all.bytes(NDA.DST)) ?? '',
    mac: mac === null ? null : formatMac(mac),
    permanent: (state & NUD_PERMANENT) !== 0,
    state,
  };
}
