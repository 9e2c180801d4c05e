// cilium_runtime_config: what may change without loading programs anew. Twin of `enum runtime_config` in agent/bpf/lib/config.h.

import {decodeU32, decodeU64, encodeU32, encodeU64} from './layout.js';
import type {MapCodec} from './layout.js';

/** Index of each value. */
export const RUNTIME_CONFIG = {
  /** 0 none: every packet at every point; 1 low: no from-*; 3 medium (the default written by the agent): new connections and flag changes. */
  monitorAggregation: 0,
  /** 1: no policy-verdict events. */
  policyVerdictOff: 1,
  /** Seconds of CLOCK_MONOTONIC: written by the agent while it lives, for tools. */
  agentAlive: 2,
} as const;
export const RUNTIME_CONFIG_ENTRIES = 16;

export const MONITOR_AGGREGATION = {none: 0, low: 1, medium: 3} as const;

export const runtimeConfigCodec: MapCodec<number, bigint> = {
  map: 'cilium_runtime_config', keyStruct: null, valueStruct: null,
  encodeKey: encodeU32, decodeKey: decodeU32,
  encodeValue: encodeU64, decodeValue: decodeU64,
};
