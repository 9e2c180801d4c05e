// cilium_ct4_global (TCP) and cilium_ct_any4_global: connection tracking, and the same for IPv6. Twins in agent/bpf/lib/maps.h and maps6.h.

import {ipv4, ipv6, portBe, struct, structCodec, u16, u32, u64, u8} from './layout.js';

/** In packet order of the packet that created the entry: `source` opened the connection. */
export const CT_TUPLE = struct('ipv4_ct_tuple', 14, {
  destination: ipv4(0, 'daddr'),
  source: ipv4(4, 'saddr'),
  destinationPort: portBe(8, 'dport'),
  sourcePort: portBe(10, 'sport'),
  protocol: u8(12, 'nexthdr'),
  flags: u8(13, 'flags'),
});

export const CT_TUPLE6 = struct('ipv6_ct_tuple', 38, {
  destination: ipv6(0, 'daddr'),
  source: ipv6(16, 'saddr'),
  destinationPort: portBe(32, 'dport'),
  sourcePort: portBe(34, 'sport'),
  protocol: u8(36, 'nexthdr'),
  flags: u8(37, 'flags'),
});

export const CT_ENTRY = struct('ct_entry', 56, {
  /** Epoch and peer of the last judgement (docs/adr/0005); 0: packets are judged one by one. */
  judged: u64(0, 'judged'),
  backendId: u64(8, 'backend_id'),
  packets: u64(16, 'packets'),
  bytes: u64(24, 'bytes'),
  /** Seconds of CLOCK_MONOTONIC after which the entry is garbage. */
  lifetime: u32(32, 'lifetime'),
  flags: u16(36, 'flags'),
  revNat: u16(38, 'rev_nat_index'),
  ifindex: u16(40, 'ifindex'),
  txFlagsSeen: u8(42, 'tx_flags_seen'),
  rxFlagsSeen: u8(43, 'rx_flags_seen'),
  sourceIdentity: u32(44, 'src_sec_id'),
  lastTxReport: u32(48, 'last_tx_report'),
  lastRxReport: u32(52, 'last_rx_report'),
});

/** `flags` of the tuple. OUT and IN are seen from the endpoint that the entry was made for. */
export const TUPLE_OUT = 0;
export const TUPLE_IN = 1;
export const TUPLE_RELATED = 2;
export const TUPLE_SERVICE = 4;

/** `flags` of the entry. */
export const CT_RX_CLOSING = 1;
export const CT_TX_CLOSING = 2;
export const CT_SEEN_NON_SYN = 0x10;
export const CT_PROXY_REDIRECT = 0x40;
export const CT_FROM_TUNNEL = 0x400;

export const ctTcpCodec = structCodec('cilium_ct4_global', CT_TUPLE, CT_ENTRY);
export const ctAnyCodec = structCodec('cilium_ct_any4_global', CT_TUPLE, CT_ENTRY);
export const ctTcp6Codec = structCodec('cilium_ct6_global', CT_TUPLE6, CT_ENTRY);
export const ctAny6Codec = structCodec('cilium_ct_any6_global', CT_TUPLE6, CT_ENTRY);
