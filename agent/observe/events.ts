// Ring-buffer records → monitor records: numbers get their names, cookies the objects that decided.

import type {MonitorPeer, MonitorRecord} from '../../lib/domain/agent-api.js';
import {dropReasonText} from '../../lib/domain/drop-reasons.js';
import {PROTOCOL_NUMBERS} from '../../lib/domain/policy.js';
import type {Direction, Origin} from '../../lib/domain/policy.js';
import type {DatapathEvent, DropMessage, TraceMessage, VerdictMessage} from '../maps/events.js';
import {MATCH_TYPES, OBSERVATION_POINTS, TRACE_REASONS} from '../maps/events.js';
import type {PacketSummary} from './packet.js';
import {summarisePacket} from './packet.js';

/** What the agent knows of numbers. */
export interface EventNames {
  readonly node: string;
  labelsOf(identity: number): readonly string[];
  /** A pod of this node, by address. */
  podAt(ip: string): string | null;
  identityOfEndpoint(endpointId: number): number;
  originsOf(cookie: number): readonly Origin[];
  /** The rules that isolate an endpoint: nothing passes in this direction but what they allow. */
  isolatorsOf(endpointId: number, direction: Direction): readonly Origin[];
}

const PROTOCOL_NAMES: ReadonlyMap<number, string> = new Map(Object.entries(PROTOCOL_NUMBERS).map(([name, number]) => [number, name]));
const NOWHERE: PacketSummary = {source: '', destination: '', protocol: 0, sourcePort: 0, destinationPort: 0, icmpType: null};
const [INGRESS, EGRESS] = [1, 2];
/** `Policy denied`: no entry let the packet through. */
const DROP_POLICY = 133;

export function monitorRecord(event: DatapathEvent, names: EventNames, timeMs: number): MonitorRecord {
  const packet = summarisePacket(event.packet) ?? NOWHERE;
  const context: Context = {names, packet, timeMs};
  switch (event.kind) {
    case 'drop':
      return dropRecord(event.message, context);
    case 'trace':
      return traceRecord(event.message, context);
    case 'policy-verdict':
      return verdictRecord(event.message, context);
  }
}

/** Events that nobody could be told. */
export function lostRecord(count: number, names: EventNames, timeMs: number): MonitorRecord {
  const nobody = {identity: 0, labels: [], ip: '', port: 0};
  return {
    time: new Date(timeMs).toISOString(), node: names.node, type: 'lost', direction: 'unknown', source: nobody, destination: nobody, protocol: '',
    endpointId: 0, ifindex: 0, derivedFrom: [], bytes: 0, count,
  };
}

interface Context {
  readonly names: EventNames;
  readonly packet: PacketSummary;
  readonly timeMs: number;
}

function common({names, packet, timeMs}: Context, identities: {readonly source: number; readonly destination: number}) {
  const peer = (identity: number, ip: string, port: number): MonitorPeer => {
    const pod = names.podAt(ip);
    return {identity, labels: names.labelsOf(identity), ip, port, ...(pod === null ? {} : {pod})};
  };
  return {
    time: new Date(timeMs).toISOString(), node: names.node,
    source: peer(identities.source, packet.source, packet.sourcePort), destination: peer(identities.destination, packet.destination, packet.destinationPort),
    protocol: PROTOCOL_NAMES.get(packet.protocol) ?? String(packet.protocol),
    ...(packet.icmpType === null ? {} : {icmpType: packet.icmpType}),
  };
}

function directionOf(direction: number): MonitorRecord['direction'] {
  return direction === INGRESS ? 'ingress' : direction === EGRESS ? 'egress' : 'unknown';
}

/** The objects of the entry that decided; where no entry matched, those that isolate the endpoint in this direction. */
function derivedFrom(names: EventNames, decided: Decided): MonitorRecord['derivedFrom'] {
  const origins = decided.cookie !== 0 ? names.originsOf(decided.cookie)
    : decided.reason === DROP_POLICY ? names.isolatorsOf(decided.endpointId, decided.direction === INGRESS ? 'ingress' : 'egress') : [];
  return origins.map(({kind, namespace, name, ruleIndex}) => ({kind, namespace, name, ruleIndex}));
}

interface Decided {
  readonly cookie: number;
  /** Drop code, 0 when nothing was dropped. */
  readonly reason: number;
  readonly endpointId: number;
  readonly direction: number;
}

function dropRecord(message: DropMessage, context: Context): MonitorRecord {
  return {
    ...common(context, {source: message.sourceIdentity, destination: message.destinationIdentity}), type: 'drop',
    reason: message.subtype, reasonText: dropReasonText(message.subtype), direction: directionOf(message.direction),
    endpointId: message.source, ifindex: message.ifindex, bytes: message.originalLength,
    derivedFrom: derivedFrom(context.names, {cookie: message.cookie, reason: message.subtype, endpointId: message.source, direction: message.direction}),
  };
}

function traceRecord(message: TraceMessage, context: Context): MonitorRecord {
  const point = OBSERVATION_POINTS[message.subtype] ?? String(message.subtype);
  return {
    ...common(context, {source: message.sourceIdentity, destination: message.destinationIdentity}), type: 'trace', point,
    reason: message.reason, reasonText: TRACE_REASONS[message.reason & 0x7f] ?? 'unknown',
    direction: point === 'to-endpoint' ? 'ingress' : point === 'from-endpoint' ? 'egress' : 'unknown',
    endpointId: message.source, ifindex: message.ifindex, derivedFrom: [], bytes: message.originalLength,
  };
}

function verdictRecord(message: VerdictMessage, context: Context): MonitorRecord {
  const own = context.names.identityOfEndpoint(message.source);
  const isIngress = message.direction === INGRESS;
  const identities = isIngress ? {source: message.remoteIdentity, destination: own} : {source: own, destination: message.remoteIdentity};
  const denied = message.verdict < 0;
  return {
    ...common(context, identities), type: 'policy-verdict', direction: directionOf(message.direction),
    ...(denied ? {reason: -message.verdict, reasonText: dropReasonText(-message.verdict)} : {}),
    verdict: denied ? 'denied' : message.verdict > 0 ? 'redirected' : 'allowed', matchType: MATCH_TYPES[message.matchType] ?? String(message.matchType),
    endpointId: message.source, ifindex: 0, bytes: message.originalLength,
    derivedFrom: derivedFrom(context.names, {cookie: message.cookie, reason: denied ? -message.verdict : 0, endpointId: message.source, direction: message.direction}),
  };
}
