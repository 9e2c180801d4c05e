// The first bytes of a captured packet: addresses, protocol, ports. Whatever the bytes are, it answers or says null.

import {formatAddress} from '../../lib/core/ip.js';

export interface PacketSummary {
  readonly source: string;
  readonly destination: string;
  readonly protocol: number;
  /** 0 where the protocol has none, or in a later fragment. */
  readonly sourcePort: number;
  readonly destinationPort: number;
  readonly icmpType: number | null;
}

const ETHERNET_BYTES = 14;
const ETHERTYPE_IPV4 = 0x0800;
const ETHERTYPE_IPV6 = 0x86dd;
const IPV4_BYTES = 20;
const IPV6_BYTES = 40;
const [ICMP, TCP, UDP, ICMPV6, SCTP] = [1, 6, 17, 58, 132];
const [HOP_BY_HOP, ROUTING, FRAGMENT, AUTHENTICATION, DESTINATION] = [0, 43, 44, 51, 60];
const EXTENSIONS_MAX = 4;

/** What the IP headers say, and where the next one begins. */
interface Network {
  readonly source: string;
  readonly destination: string;
  readonly protocol: number;
  readonly payload: number;
  readonly isLaterFragment: boolean;
}

/** Null when it is not IP in Ethernet. */
export function summarisePacket(bytes: Uint8Array): PacketSummary | null {
  const network = networkOf(bytes);
  if (network === null) return null;
  const {payload, isLaterFragment, ...ends} = network;
  const {protocol} = ends;
  const view = viewOf(bytes);
  const hasPorts = (protocol === TCP || protocol === UDP || protocol === SCTP) && !isLaterFragment && bytes.length >= payload + 4;
  const hasType = (protocol === ICMP || protocol === ICMPV6) && !isLaterFragment && bytes.length > payload;
  return {
    ...ends, sourcePort: hasPorts ? view.getUint16(payload) : 0, destinationPort: hasPorts ? view.getUint16(payload + 2) : 0,
    icmpType: hasType ? view.getUint8(payload) : null,
  };
}

function networkOf(bytes: Uint8Array): Network | null {
  if (bytes.length < ETHERNET_BYTES + IPV4_BYTES) return null;
  const view = viewOf(bytes);
  const version = view.getUint8(ETHERNET_BYTES) >> 4;
  if (view.getUint16(12) === ETHERTYPE_IPV4 && version === 4) return ipv4Of(bytes, view);
  if (view.getUint16(12) === ETHERTYPE_IPV6 && version === 6 && bytes.length >= ETHERNET_BYTES + IPV6_BYTES) return ipv6Of(bytes, view);
  return null;
}

function ipv4Of(bytes: Uint8Array, view: DataView): Network {
  const address = (at: number): string => formatAddress({family: 4, bytes: bytes.subarray(at, at + 4)});
  return {
    source: address(ETHERNET_BYTES + 12), destination: address(ETHERNET_BYTES + 16), protocol: view.getUint8(ETHERNET_BYTES + 9),
    payload: ETHERNET_BYTES + (view.getUint8(ETHERNET_BYTES) & 0xf) * 4, isLaterFragment: (view.getUint16(ETHERNET_BYTES + 6) & 0x1fff) !== 0,
  };
}

function ipv6Of(bytes: Uint8Array, view: DataView): Network {
  const address = (at: number): string => formatAddress({family: 6, bytes: bytes.subarray(at, at + 16)});
  const ends = {source: address(ETHERNET_BYTES + 8), destination: address(ETHERNET_BYTES + 24)};
  let protocol = view.getUint8(ETHERNET_BYTES + 6);
  let payload = ETHERNET_BYTES + IPV6_BYTES;
  let isLaterFragment = false;
  for (let i = 0; i < EXTENSIONS_MAX && bytes.length >= payload + 8; i++) {
    const units = view.getUint8(payload + 1);
    if (protocol === FRAGMENT) isLaterFragment = (view.getUint16(payload + 2) & 0xfff8) !== 0;
    else if (protocol !== HOP_BY_HOP && protocol !== ROUTING && protocol !== AUTHENTICATION && protocol !== DESTINATION) break;
    const length = protocol === FRAGMENT ? 8 : protocol === AUTHENTICATION ? (units + 2) * 4 : (units + 1) * 8;
    protocol = view.getUint8(payload);
    payload += length;
    if (isLaterFragment) break;
  }
  return {...ends, protocol, payload, isLaterFragment};
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
