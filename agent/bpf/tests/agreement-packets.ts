// The first packet of a flow, of either family, for the test of agreement.

import {parseAddress} from '../../../lib/core/ip.js';
import {PROTOCOL_NUMBERS} from '../../../lib/domain/policy.js';
import {A, B} from './datapath.js';
import {ethernet, icmp, rawIp, tcp, TCP_FLAGS, udp} from './packets.js';

export interface L4 {
  readonly protocol: number;
  readonly port: number;
}

interface Ends {
  readonly source: string;
  readonly peer: string;
  /** What `Datapath.pod` is to be told besides. */
  readonly a: object;
  readonly b: object;
  /** Protocol and type of an echo request. */
  readonly icmp: number;
  readonly echo: number;
}

const A6 = 'fd00:98:1::11';
const B6 = 'fd00:98:1::12';

/** The two pods of the test, by family. */
export const ENDS: Readonly<Record<4 | 6, Ends>> = {
  4: {source: A.ip, peer: B.ip, a: {}, b: {}, icmp: PROTOCOL_NUMBERS.ICMP, echo: 8},
  6: {source: A6, peer: B6, a: {ipv6: A6}, b: {ipv6: B6}, icmp: PROTOCOL_NUMBERS.ICMPv6, echo: 128},
};

export function agreementPacket(destination: string, {protocol, port}: L4, sourcePort: number): Uint8Array {
  if (destination.includes(':')) return ipv6(destination, protocol, segment(protocol, sourcePort, port));
  const flow = {source: ENDS[4].source, destination, sourcePort, destinationPort: port};
  switch (protocol) {
    case PROTOCOL_NUMBERS.TCP:
      return tcp(flow, TCP_FLAGS.SYN);
    case PROTOCOL_NUMBERS.UDP:
      return udp(flow);
    case PROTOCOL_NUMBERS.ICMP:
      return icmp(flow, {type: port, id: sourcePort});
    default:
      return rawIp(flow, protocol, segment(protocol, sourcePort, port));
  }
}

/** 20 bytes that begin as the protocol's header does. Checksums above IP are nobody's business here. */
function segment(protocol: number, sourcePort: number, port: number): Uint8Array {
  const bytes = new Uint8Array(20);
  const view = new DataView(bytes.buffer);
  if (protocol === PROTOCOL_NUMBERS.ICMPv6) {
    view.setUint8(0, port);
    view.setUint16(4, sourcePort);
    return bytes;
  }
  view.setUint16(0, sourcePort);
  view.setUint16(2, port);
  if (protocol === PROTOCOL_NUMBERS.UDP) view.setUint16(4, bytes.length);
  if (protocol === PROTOCOL_NUMBERS.TCP) {
    view.setUint8(12, 0x50);
    view.setUint8(13, TCP_FLAGS.SYN);
  }
  return bytes;
}

function ipv6(destination: string, protocol: number, payload: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(40 + payload.length);
  const view = new DataView(bytes.buffer);
  bytes[0] = 0x60;
  view.setUint16(4, payload.length);
  bytes[6] = protocol;
  bytes[7] = 64;
  for (const [text, at] of [[ENDS[6].source, 8], [destination, 24]] as const) {
    const address = parseAddress(text);
    if (address === null) throw new Error(`not an address: ${text}`);
    bytes.set(address.bytes, at);
  }
  bytes.set(payload, 40);
  return ethernet(0x86dd, bytes);
}
