// IPv6 packets for tests: built from fields, extension headers included, taken apart again, every checksum worked out here.

import {formatAddress} from '../../../lib/core/ip.js';
import {MACS} from '../probe/macs.js';
import {addressBytes, checksum, ethernet, macBytes, macText, PROTO} from './packets.js';
import type {Flow, IpOptions} from './packets.js';

const ETH = 14;
const IPV6 = 40;
export const ICMPV6 = 58;
export const EXTENSION = {hop: 0, routing: 43, fragment: 44, auth: 51, none: 59, destination: 60} as const;

export interface Extension {
  readonly type: number;
  /** The whole header; its first byte, the next header, is filled in. */
  readonly bytes: Uint8Array;
}

export interface Ip6Options extends Pick<IpOptions, 'sourceMac' | 'destinationMac'> {
  readonly hopLimit?: number;
  readonly extensions?: readonly Extension[];
  /** Instead of the real length. */
  readonly payloadLength?: number;
  readonly version?: number;
}

type Ends = Pick<Flow, 'source' | 'destination'>;

export function tcp6(flow: Flow, flags: number, options: Ip6Options & {payload?: Uint8Array} = {}): Uint8Array {
  const payload = options.payload ?? new Uint8Array(0);
  const segment = new Uint8Array(20 + payload.length);
  const view = new DataView(segment.buffer);
  view.setUint16(0, flow.sourcePort);
  view.setUint16(2, flow.destinationPort);
  view.setUint8(12, 0x50);
  view.setUint8(13, flags);
  segment.set(payload, 20);
  view.setUint16(16, pseudoChecksum6(flow, PROTO.tcp, segment));
  return rawIp6(flow, PROTO.tcp, segment, options);
}

export function udp6(flow: Flow, options: Ip6Options & {payload?: Uint8Array} = {}): Uint8Array {
  return rawIp6(flow, PROTO.udp, udpDatagram(flow, options.payload ?? Uint8Array.of(1, 2, 3, 4)), options);
}

export function udpDatagram(flow: Flow, payload: Uint8Array): Uint8Array {
  const datagram = new Uint8Array(8 + payload.length);
  const view = new DataView(datagram.buffer);
  view.setUint16(0, flow.sourcePort);
  view.setUint16(2, flow.destinationPort);
  view.setUint16(4, datagram.length);
  datagram.set(payload, 8);
  view.setUint16(6, pseudoChecksum6(flow, PROTO.udp, datagram) || 0xffff);
  return datagram;
}

export function icmp6(flow: Ends, message: {type: number; code?: number; id?: number; body?: Uint8Array}, options: Ip6Options = {}): Uint8Array {
  return rawIp6(flow, ICMPV6, icmp6Message(flow, message), options);
}

export function icmp6Message(flow: Ends, message: {type: number; code?: number; id?: number; body?: Uint8Array}): Uint8Array {
  const body = message.body ?? Uint8Array.of(0xab, 0xcd);
  const bytes = new Uint8Array(8 + body.length);
  const view = new DataView(bytes.buffer);
  bytes[0] = message.type;
  bytes[1] = message.code ?? 0;
  view.setUint16(4, message.id ?? 0);
  bytes.set(body, 8);
  view.setUint16(2, pseudoChecksum6(flow, ICMPV6, bytes));
  return bytes;
}

export const echo6 = (flow: Ends, id: number, options: Ip6Options = {}): Uint8Array => icmp6(flow, {type: 128, id}, options);
export const echoReply6 = (flow: Ends, id: number, options: Ip6Options = {}): Uint8Array => icmp6(flow, {type: 129, id}, options);

/** An error about `about` (a whole frame): quotes its IPv6 header and `quote` bytes after it. */
export function icmp6Error(flow: Ends, kind: {type: number; code: number}, about: Uint8Array, quote = 8): Uint8Array {
  return icmp6(flow, {...kind, body: about.slice(ETH, ETH + IPV6 + quote)});
}

/** A neighbour solicitation (135) or advertisement (136), with the link-layer address as option unless `mac` is null. */
export function neighbour(flow: Ends, message: {type: 135 | 136; target: string; mac?: string | null; flags?: number}, options: Ip6Options = {}): Uint8Array {
  const mac = message.mac === undefined ? MACS.pod : message.mac;
  const body = new Uint8Array(mac === null ? 16 : 24);
  body.set(addressBytes(message.target), 0);
  if (mac !== null) body.set([message.type === 135 ? 1 : 2, 1, ...macBytes(mac)], 16);
  const bytes = icmp6Message(flow, {type: message.type, body});
  new DataView(bytes.buffer).setUint32(4, message.flags ?? 0);
  new DataView(bytes.buffer).setUint16(2, 0);
  new DataView(bytes.buffer).setUint16(2, pseudoChecksum6(flow, ICMPV6, bytes));
  return rawIp6(flow, ICMPV6, bytes, {hopLimit: 255, ...options});
}

/** Eight bytes of padding options, as hop-by-hop (0) or destination (60) options. */
export const padding = (type: 0 | 60): Extension => ({type, bytes: Uint8Array.of(0, 0, 1, 4, 0, 0, 0, 0)});

/** A routing header; `segmentsLeft` says whether somebody is still to be visited. */
export const routing = (type: number, segmentsLeft: number): Extension => ({type: EXTENSION.routing, bytes: Uint8Array.of(0, 2, type, segmentsLeft, ...new Uint8Array(20))});

export const authentication = (): Extension => ({type: EXTENSION.auth, bytes: Uint8Array.of(0, 4, ...new Uint8Array(22))});

/** `offset` in bytes. */
export function fragment(id: number, offset: number, more: boolean): Extension {
  const bytes = new Uint8Array(8);
  const view = new DataView(bytes.buffer);
  view.setUint16(2, offset | (more ? 1 : 0));
  view.setUint32(4, id);
  return {type: EXTENSION.fragment, bytes};
}

export function rawIp6(flow: Ends, protocol: number, payload: Uint8Array, options: Ip6Options = {}): Uint8Array {
  const extensions = options.extensions ?? [];
  const types = [...extensions.map(({type}) => type), protocol];
  const chain = extensions.flatMap(({bytes}, i) => [types[i + 1] ?? 0, ...bytes.subarray(1)]);
  const bytes = new Uint8Array(IPV6 + chain.length + payload.length);
  const view = new DataView(bytes.buffer);
  bytes[0] = (options.version ?? 6) << 4;
  view.setUint16(4, options.payloadLength ?? chain.length + payload.length);
  bytes[6] = types[0] ?? 0;
  bytes[7] = options.hopLimit ?? 64;
  bytes.set(addressBytes(flow.source), 8);
  bytes.set(addressBytes(flow.destination), 24);
  bytes.set(chain, IPV6);
  bytes.set(payload, IPV6 + chain.length);
  return ethernet(0x86dd, bytes, options);
}

export interface Parsed6 {
  readonly destinationMac: string;
  readonly sourceMac: string;
  readonly source: string;
  readonly destination: string;
  readonly hopLimit: number;
  readonly protocol: number;
  readonly sourcePort: number;
  readonly destinationPort: number;
  /** ICMPv6 only. */
  readonly icmpId: number;
  /** Of TCP, UDP or ICMPv6, with the addresses that the packet has. */
  readonly checksumRight: boolean;
  readonly inner: {readonly source: string; readonly destination: string; readonly sourcePort: number; readonly destinationPort: number; readonly icmpId: number} | null;
}

/** Without extension headers. */
export function parse6(frame: Uint8Array): Parsed6 {
  const view = new DataView(frame.buffer, frame.byteOffset, frame.length);
  const address = (at: number): string => formatAddress({family: 6, bytes: frame.slice(at, at + 16)});
  const protocol = view.getUint8(ETH + 6);
  const l4 = frame.subarray(ETH + IPV6);
  const flow = {source: address(ETH + 8), destination: address(ETH + 24)};
  const ports = protocol === PROTO.tcp || protocol === PROTO.udp;
  const isError = protocol === ICMPV6 && (l4[0] ?? 0) >= 1 && (l4[0] ?? 0) <= 4;
  const inner = ETH + IPV6 + 8;
  return {
    ...flow, protocol, hopLimit: view.getUint8(ETH + 7),
    destinationMac: macText(frame.subarray(0, 6)), sourceMac: macText(frame.subarray(6, 12)),
    sourcePort: ports ? view.getUint16(ETH + IPV6) : 0,
    destinationPort: ports ? view.getUint16(ETH + IPV6 + 2) : 0,
    icmpId: protocol === ICMPV6 ? view.getUint16(ETH + IPV6 + 4) : 0,
    checksumRight: pseudoChecksum6(flow, protocol, l4) === 0,
    inner: isError ? {
      source: address(inner + 8), destination: address(inner + 24), sourcePort: view.getUint16(inner + IPV6), destinationPort: view.getUint16(inner + IPV6 + 2),
      icmpId: view.getUint16(inner + IPV6 + 4),
    } : null,
  };
}

export function pseudoChecksum6(flow: Ends, protocol: number, l4: Uint8Array): number {
  let sum = protocol + l4.length;
  for (const text of [flow.source, flow.destination]) {
    const bytes = addressBytes(text);
    for (let i = 0; i < 16; i += 2) sum += ((bytes[i] ?? 0) << 8) | (bytes[i + 1] ?? 0);
  }
  return checksum(l4, sum);
}
