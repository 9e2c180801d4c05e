// Packets for tests: built from fields, taken apart again, every checksum worked out here and not by the kernel.

import {MACS} from '../probe/macs.js';
import {formatAddress, parseAddress} from '../../../lib/core/ip.js';
import {parseMac} from '../../maps/layout.js';

export const TCP_FLAGS = {FIN: 0x01, SYN: 0x02, RST: 0x04, PSH: 0x08, ACK: 0x10} as const;
export const PROTO = {icmp: 1, tcp: 6, udp: 17, gre: 47, sctp: 132} as const;
const ETH = 14;

export interface IpOptions {
  readonly sourceMac?: string;
  readonly destinationMac?: string;
  readonly ttl?: number;
  readonly id?: number;
  /** In bytes. */
  readonly fragmentOffset?: number;
  readonly moreFragments?: boolean;
  /** Instead of the real length. */
  readonly totalLength?: number;
  readonly versionIhl?: number;
}

export interface Flow {
  readonly source: string;
  readonly destination: string;
  readonly sourcePort: number;
  readonly destinationPort: number;
}

export function reversed(flow: Flow): Flow {
  return {source: flow.destination, destination: flow.source, sourcePort: flow.destinationPort, destinationPort: flow.sourcePort};
}

export function tcp(flow: Flow, flags: number, options: IpOptions & {payload?: Uint8Array} = {}): Uint8Array {
  const payload = options.payload ?? new Uint8Array(0);
  const segment = new Uint8Array(20 + payload.length);
  const view = new DataView(segment.buffer);
  view.setUint16(0, flow.sourcePort);
  view.setUint16(2, flow.destinationPort);
  view.setUint32(4, 1000);
  view.setUint8(12, 0x50);
  view.setUint8(13, flags);
  view.setUint16(14, 64_000);
  segment.set(payload, 20);
  view.setUint16(16, pseudoChecksum(flow, PROTO.tcp, segment));
  return ethernet(0x0800, ip(flow, PROTO.tcp, segment, options), options);
}

export function udp(flow: Flow, options: IpOptions & {payload?: Uint8Array; checksum?: false} = {}): Uint8Array {
  const payload = options.payload ?? Uint8Array.of(1, 2, 3, 4);
  const datagram = new Uint8Array(8 + payload.length);
  const view = new DataView(datagram.buffer);
  view.setUint16(0, flow.sourcePort);
  view.setUint16(2, flow.destinationPort);
  view.setUint16(4, datagram.length);
  datagram.set(payload, 8);
  if (options.checksum !== false) view.setUint16(6, pseudoChecksum(flow, PROTO.udp, datagram) || 0xffff);
  return ethernet(0x0800, ip(flow, PROTO.udp, datagram, options), options);
}

/** Like `udp`, ports of the first fragment only: `part` of a datagram of which the rest follows or went before. */
export function rawIp(flow: Pick<Flow, 'source' | 'destination'>, protocol: number, payload: Uint8Array, options: IpOptions = {}): Uint8Array {
  return ethernet(0x0800, ip(flow, protocol, payload, options), options);
}

export function icmp(flow: Pick<Flow, 'source' | 'destination'>, message: {type: number; code?: number; id?: number; body?: Uint8Array},
  options: IpOptions = {}): Uint8Array {
  const body = message.body ?? Uint8Array.of(0xab, 0xcd);
  const bytes = new Uint8Array(8 + body.length);
  const view = new DataView(bytes.buffer);
  bytes[0] = message.type;
  bytes[1] = message.code ?? 0;
  view.setUint16(4, message.id ?? 0);
  bytes.set(body, 8);
  view.setUint16(2, checksum(bytes));
  return ethernet(0x0800, ip(flow, PROTO.icmp, bytes, options), options);
}

export const echo = (flow: Pick<Flow, 'source' | 'destination'>, id: number, options: IpOptions = {}): Uint8Array =>
  icmp(flow, {type: 8, id}, options);
export const echoReply = (flow: Pick<Flow, 'source' | 'destination'>, id: number, options: IpOptions = {}): Uint8Array =>
  icmp(flow, {type: 0, id}, options);

/** An error about `about` (a whole frame): quotes its IP header and `quote` bytes after it. */
export function icmpError(flow: Pick<Flow, 'source' | 'destination'>, kind: {type: number; code: number}, about: Uint8Array, quote = 8): Uint8Array {
  return icmp(flow, {...kind, body: about.slice(ETH, ETH + 20 + quote)});
}

export interface ArpFields {
  readonly operation: number;
  readonly senderMac: string;
  readonly sender: string;
  readonly target: string;
}

export function arp(fields: ArpFields, options: IpOptions = {}): Uint8Array {
  const bytes = new Uint8Array(28);
  const view = new DataView(bytes.buffer);
  view.setUint16(0, 1);
  view.setUint16(2, 0x0800);
  bytes[4] = 6;
  bytes[5] = 4;
  view.setUint16(6, fields.operation);
  bytes.set(macBytes(fields.senderMac), 8);
  bytes.set(addressBytes(fields.sender), 14);
  bytes.set(addressBytes(fields.target), 24);
  return ethernet(0x0806, bytes, {destinationMac: 'ff:ff:ff:ff:ff:ff', ...options});
}

export function ethernet(type: number, payload: Uint8Array, options: IpOptions = {}): Uint8Array {
  const frame = new Uint8Array(ETH + payload.length);
  frame.set(macBytes(options.destinationMac ?? MACS.lxc), 0);
  frame.set(macBytes(options.sourceMac ?? MACS.pod), 6);
  new DataView(frame.buffer).setUint16(12, type);
  frame.set(payload, ETH);
  return frame;
}

function ip(flow: Pick<Flow, 'source' | 'destination'>, protocol: number, payload: Uint8Array, options: IpOptions): Uint8Array {
  const bytes = new Uint8Array(20 + payload.length);
  const view = new DataView(bytes.buffer);
  bytes[0] = options.versionIhl ?? 0x45;
  view.setUint16(2, options.totalLength ?? bytes.length);
  view.setUint16(4, options.id ?? 0);
  view.setUint16(6, (options.moreFragments === true ? 0x2000 : 0) | ((options.fragmentOffset ?? 0) >> 3));
  bytes[8] = options.ttl ?? 64;
  bytes[9] = protocol;
  bytes.set(addressBytes(flow.source), 12);
  bytes.set(addressBytes(flow.destination), 16);
  view.setUint16(10, checksum(bytes.subarray(0, 20)));
  bytes.set(payload, 20);
  return bytes;
}

export interface Parsed {
  readonly destinationMac: string;
  readonly sourceMac: string;
  readonly source: string;
  readonly destination: string;
  readonly protocol: number;
  readonly ttl: number;
  readonly sourcePort: number;
  readonly destinationPort: number;
  /** ICMP only. */
  readonly icmpId: number;
  /** Of the IP header, and of TCP, UDP or ICMP (a UDP checksum of zero is right). */
  readonly checksumsRight: boolean;
  /** IP packet quoted by an ICMP error, with its own header checksum judged. */
  readonly inner: {readonly source: string; readonly destination: string; readonly sourcePort: number; readonly destinationPort: number;
    readonly icmpId: number; readonly headerChecksumRight: boolean} | null;
}

export function parse(frame: Uint8Array): Parsed {
  const view = new DataView(frame.buffer, frame.byteOffset, frame.length);
  const address = (at: number): string => formatAddress({family: 4, bytes: frame.slice(at, at + 4)});
  const protocol = view.getUint8(ETH + 9);
  const l4 = frame.subarray(ETH + 20);
  const flow = {source: address(ETH + 12), destination: address(ETH + 16)};
  const ports = protocol === PROTO.tcp || protocol === PROTO.udp;
  const isError = protocol === PROTO.icmp && [3, 11, 12].includes(l4[0] ?? 0);
  return {
    ...flow, protocol, ttl: view.getUint8(ETH + 8),
    destinationMac: macText(frame.subarray(0, 6)), sourceMac: macText(frame.subarray(6, 12)),
    sourcePort: ports ? view.getUint16(ETH + 20) : 0,
    destinationPort: ports ? view.getUint16(ETH + 22) : 0,
    icmpId: protocol === PROTO.icmp ? view.getUint16(ETH + 24) : 0,
    checksumsRight: checksum(frame.subarray(ETH, ETH + 20)) === 0 && l4Right(flow, protocol, l4),
    inner: isError ? parseInner(l4.subarray(8)) : null,
  };
}

function parseInner(bytes: Uint8Array): Parsed['inner'] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  return {
    source: formatAddress({family: 4, bytes: bytes.slice(12, 16)}), destination: formatAddress({family: 4, bytes: bytes.slice(16, 20)}),
    sourcePort: view.getUint16(20), destinationPort: view.getUint16(22), icmpId: view.getUint16(24),
    headerChecksumRight: checksum(bytes.subarray(0, 20)) === 0,
  };
}

function l4Right(flow: Pick<Flow, 'source' | 'destination'>, protocol: number, l4: Uint8Array): boolean {
  if (protocol === PROTO.icmp) return checksum(l4) === 0;
  if (protocol === PROTO.udp && l4[6] === 0 && l4[7] === 0) return true;
  return pseudoChecksum(flow, protocol, l4) === 0;
}

/** RFC 1071: 0 over bytes that hold their own right checksum. */
export function checksum(bytes: Uint8Array, start = 0): number {
  let sum = start;
  for (let i = 0; i < bytes.length; i += 2) sum += ((bytes[i] ?? 0) << 8) | (bytes[i + 1] ?? 0);
  while (sum > 0xffff) sum = (sum & 0xffff) + Math.floor(sum / 0x10000);
  return ~sum & 0xffff;
}

function pseudoChecksum(flow: Pick<Flow, 'source' | 'destination'>, protocol: number, l4: Uint8Array): number {
  let sum = protocol + l4.length;
  for (const text of [flow.source, flow.destination]) {
    const [a = 0, b = 0, c = 0, d = 0] = addressBytes(text);
    sum += ((a << 8) | b) + ((c << 8) | d);
  }
  return checksum(l4, sum);
}

export function addressBytes(text: string): Uint8Array {
  const address = parseAddress(text);
  if (address === null) throw new Error(`not an address: ${text}`);
  return address.bytes;
}

export function macBytes(text: string): Uint8Array {
  const bytes = parseMac(text);
  if (bytes === null) throw new Error(`not a MAC: ${text}`);
  return bytes;
}

export function macText(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join(':');
}
