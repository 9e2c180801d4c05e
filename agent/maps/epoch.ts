// cilium_policy_epoch: which state of what verdicts depend on the maps hold (docs/adr/0005). Twin of agent/bpf/lib/ct.h.

import {decodeU32, decodeU64, encodeU32, encodeU64} from './layout.js';
import type {MapCodec} from './layout.js';

/** A connection's entry has room for so many bits of it. */
export const EPOCH_BITS = 37;
/** Beside the epoch before: it is being changed, and nothing that is remembered counts. */
export const EPOCH_CLOSED = 1n << 63n;

/** One value, under key 0; 0 is as good as closed. */
export const policyEpochCodec: MapCodec<number, bigint> = {
  map: 'cilium_policy_epoch', keyStruct: null, valueStruct: null,
  encodeKey: encodeU32, decodeKey: decodeU32, encodeValue: encodeU64, decodeValue: decodeU64,
};
