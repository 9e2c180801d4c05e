// cilium_events: records of the ring buffer, in Cilium's message layouts. Twins in agent/bpf/lib/events.h.

import {addressIn16, bits, encodeU32, i32, struct, u16, u32, u64, u8} from './layout.js';
import type {ValueOf} from './layout.js';

const COMMON = {
  type: u8(0, 'type'),
  subtype: u8(1, 'subtype'),
  /** Endpoint id at which it happened; 0 = none. */
  source: u16(2, 'source'),
  hash: u32(4, 'hash'),
  originalLength: u32(8, 'len_orig'),
  capturedLength: u16(12, 'len_cap'),
  version: u8(14, 'version'),
  extensionVersion: u8(15, 'ext_version'),
};

/** `subtype` is the drop reason. The last eight bytes are extension 1 of this project: direction and policy cookie. */
export const DROP_MESSAGE = struct('drop_notify', 56, {
  ...COMMON,
  sourceIdentity: u32(16, 'src_label'),
  destinationIdentity: u32(20, 'dst_label'),
  destinationEndpoint: u32(24, 'dst_id'),
  line: u16(28, 'line'),
  file: u8(30, 'file'),
  extendedError: u8(31, 'ext_error'),
  ifindex: u32(32, 'ifindex'),
  flags: u8(36, 'flags'),
  ipTraceId: u64(40, 'ip_trace_id'),
  cookie: u32(48, 'cookie'),
  direction: u8(52, 'dir'),
});

/** Of the `flags` of drops and traces. */
export const EVENT_FLAG_IPV6 = 1;

/** `subtype` is the observation point. */
export const TRACE_MESSAGE = struct('trace_notify', 56, {
  ...COMMON,
  sourceIdentity: u32(16, 'src_label'),
  destinationIdentity: u32(20, 'dst_label'),
  destinationEndpoint: u16(24, 'dst_id'),
  reason: u8(26, 'reason'),
  flags: u8(27, 'flags'),
  ifindex: u32(28, 'ifindex'),
  originalAddress: addressIn16(32, 'orig_addr', (view) => ((view.getUint8(27) & EVENT_FLAG_IPV6) === 0 ? 4 : 6)),
  ipTraceId: u64(48, 'ip_trace_id'),
});

export const VERDICT_MESSAGE = struct('policy_verdict_notify', 40, {
  ...COMMON,
  remoteIdentity: u32(16, 'remote_label'),
  /** < 0: minus the drop reason; 0: allowed; > 0: proxy port. */
  verdict: i32(20, 'verdict'),
  destinationPort: u16(24, 'dst_port'),
  protocol: u8(26, 'proto'),
  direction: bits(27, 'dir', 0, 2),
  ipv6: bits(27, 'ipv6', 2, 1),
  matchType: bits(27, 'match_type', 3, 3),
  audited: bits(27, 'audited', 6, 1),
  authType: u8(28, 'auth_type'),
  cookie: u32(32, 'cookie'),
});

export const EVENT_DROP = 1;
export const EVENT_TRACE = 4;
export const EVENT_POLICY_VERDICT = 5;

/** Keys of `cilium_events_lost`. */
export const EVENT_NUMBERS = {'drop': EVENT_DROP, 'trace': EVENT_TRACE, 'policy-verdict': EVENT_POLICY_VERDICT} as const;
export type EventsLost = Readonly<Record<keyof typeof EVENT_NUMBERS, number>>;

/** `cilium_events_lost`: a count per type and processor. */
interface LostMap {
  lookup(key: Uint8Array): Uint8Array | null;
}

/** Events for which the ring had no room, over all processors. */
export function eventsLost(map: LostMap): EventsLost {
  return {'drop': lostOf(map, EVENT_NUMBERS.drop), 'trace': lostOf(map, EVENT_NUMBERS.trace), 'policy-verdict': lostOf(map, EVENT_NUMBERS['policy-verdict'])};
}

export function eventsLostCount(lost: EventsLost): number {
  return Object.values(lost).reduce((sum, count) => sum + count, 0);
}

function lostOf(map: LostMap, type: number): number {
  const value = map.lookup(encodeU32(type));
  if (value === null) return 0;
  const view = new DataView(value.buffer, value.byteOffset, value.byteLength);
  let sum = 0n;
  for (let at = 0; at + 8 <= value.length; at += 8) sum += view.getBigUint64(at, true);
  return Number(sum);
}

/** Most bytes of a packet that follow a message. */
export const EVENT_CAPTURE_MAX = 128;

export type DropMessage = ValueOf<typeof DROP_MESSAGE.fields>;
export type TraceMessage = ValueOf<typeof TRACE_MESSAGE.fields>;
export type VerdictMessage = ValueOf<typeof VERDICT_MESSAGE.fields>;

export type DatapathEvent =
  | {readonly kind: 'drop'; readonly message: DropMessage; readonly packet: Uint8Array}
  | {readonly kind: 'trace'; readonly message: TraceMessage; readonly packet: Uint8Array}
  | {readonly kind: 'policy-verdict'; readonly message: VerdictMessage; readonly packet: Uint8Array};

/** Cilium's names of observation points (`subtype` of a trace), by number. */
export const OBSERVATION_POINTS = ['to-endpoint', 'to-proxy', 'to-host', 'to-stack', 'to-overlay', 'from-endpoint', 'from-proxy', 'from-host',
  'from-stack', 'from-overlay', 'from-network', 'to-network', 'from-crypto', 'to-crypto'] as const;

/** Cilium's names of connection states (`reason` of a trace), by number. */
export const TRACE_REASONS = ['new', 'established', 'reply', 'related', 'reopened', 'unknown'] as const;

/** Cilium's names of match types of a verdict, by number. */
export const MATCH_TYPES = ['none', 'L3-Only', 'L3-L4', 'L4-Only', 'all', 'L3-Proto', 'Proto-Only'] as const;

/** Null when it is not a record this project's datapath writes. The packet is a view into `record`. */
export function decodeEvent(record: Uint8Array): DatapathEvent | null {
  const type = record[0];
  if (type === EVENT_DROP && record.length >= DROP_MESSAGE.size) {
    const message = DROP_MESSAGE.decode(record);
    return {kind: 'drop', message, packet: captured(record, DROP_MESSAGE.size, message.capturedLength)};
  }
  if (type === EVENT_TRACE && record.length >= TRACE_MESSAGE.size) {
    const message = TRACE_MESSAGE.decode(record);
    return {kind: 'trace', message, packet: captured(record, TRACE_MESSAGE.size, message.capturedLength)};
  }
  if (type === EVENT_POLICY_VERDICT && record.length >= VERDICT_MESSAGE.size) {
    const message = VERDICT_MESSAGE.decode(record);
    return {kind: 'policy-verdict', message, packet: captured(record, VERDICT_MESSAGE.size, message.capturedLength)};
  }
  return null;
}

/** Records have one fixed size in the ring: what was captured may be shorter than what was reserved. */
function captured(record: Uint8Array, from: number, length: number): Uint8Array {
  return record.subarray(from, Math.min(record.length, from + length));
}
