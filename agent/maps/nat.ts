// cilium_snat_v4_external: both halves of every masqueraded flow; cilium_snat_v4_alloc_retries; the same for IPv6. Twins in agent/bpf/lib/maps.h and maps6.h.

import {CT_TUPLE, CT_TUPLE6} from './ct.js';
import {decodeU32, encodeU32, ipv4, ipv6, portBe, struct, structCodec, u64} from './layout.js';
import type {MapCodec} from './layout.js';

export const NAT_ENTRY = struct('ipv4_nat_entry', 40, {
  /** Nanoseconds of CLOCK_MONOTONIC. */
  created: u64(0, 'created'),
  needsCt: u64(8, 'needs_ct'),
  toAddress: ipv4(32, 'to_addr'),
  toPort: portBe(36, 'to_port'),
});

export const NAT_ENTRY6 = struct('ipv6_nat_entry', 56, {
  created: u64(0, 'created'),
  needsCt: u64(8, 'needs_ct'),
  toAddress: ipv6(32, 'to_addr'),
  toPort: portBe(48, 'to_port'),
});

/** `flags` of the key: a packet on its way out (rewrite its source), or an answer (rewrite its destination). */
export const NAT_OUT = 0;
export const NAT_IN = 1;

export const snatCodec = structCodec('cilium_snat_v4_external', CT_TUPLE, NAT_ENTRY);
export const snat6Codec = structCodec('cilium_snat_v6_external', CT_TUPLE6, NAT_ENTRY6);

/** Key: how many ports had to be tried; value (per CPU): how often. */
export const snatRetriesCodec: MapCodec<number, number> = {
  map: 'cilium_snat_v4_alloc_retries', keyStruct: null, valueStruct: null,
  encodeKey: encodeU32, decodeKey: decodeU32, encodeValue: encodeU32, decodeValue: decodeU32,
};
export const snat6RetriesCodec: MapCodec<number, number> = {...snatRetriesCodec, map: 'cilium_snat_v6_alloc_retries'};
