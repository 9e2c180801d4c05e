// cilium_metrics, cilium_forwarded: packets and bytes by reason, direction and place in the source, per CPU. Twins in agent/bpf/lib/maps.h.

import {bits, decodeU32, encodeU32, struct, u16, u64, u8} from './layout.js';
import type {MapCodec, ValueOf} from './layout.js';

export const METRICS_KEY = struct('metrics_key', 8, {
  reason: u8(0, 'reason'),
  direction: bits(1, 'dir', 0, 2),
  line: u16(2, 'line'),
  file: u8(4, 'file'),
});

export const METRICS_VALUE = struct('metrics_value', 16, {
  packets: u64(0, 'count'),
  bytes: u64(8, 'bytes'),
});

/** Values of `direction`. */
export const METRIC_INGRESS = 1;
export const METRIC_EGRESS = 2;
export const METRIC_SERVICE = 3;

export interface MetricCount {
  readonly packets: bigint;
  readonly bytes: bigint;
}

type MetricKey = ValueOf<typeof METRICS_KEY.fields>;
type MetricCodec = MapCodec<MetricKey, MetricCount>;

/** The value holds one struct per possible CPU, as the kernel hands it over; decoding adds them up. */
const METRIC_VALUES: Pick<MetricCodec, 'valueStruct' | 'encodeValue' | 'decodeValue'> = {
  valueStruct: METRICS_VALUE,
  encodeValue: (value) => METRICS_VALUE.encode(value),
  decodeValue(bytes) {
    let packets = 0n;
    let total = 0n;
    for (let at = 0; at + METRICS_VALUE.size <= bytes.length; at += METRICS_VALUE.size) {
      const one = METRICS_VALUE.decode(bytes.subarray(at));
      packets += one.packets;
      total += one.bytes;
    }
    return {packets, bytes: total};
  },
};

/** Drops; and what earlier versions forwarded. */
export const metricsCodec: MetricCodec = {
  map: 'cilium_metrics', keyStruct: METRICS_KEY, ...METRIC_VALUES,
  encodeKey: (key) => METRICS_KEY.encode(key), decodeKey: (bytes) => METRICS_KEY.decode(bytes),
};

/** What was forwarded, by direction: the rows of reason 0 that `cilium_metrics` would have. */
export const forwardedCodec: MetricCodec = {
  map: 'cilium_forwarded', keyStruct: null, ...METRIC_VALUES,
  encodeKey: ({direction}) => encodeU32(direction), decodeKey: (bytes) => ({reason: 0, direction: decodeU32(bytes), line: 0, file: 0}),
};
