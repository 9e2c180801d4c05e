// Wire → what agents say, in our types. Bounded: nothing an agent sends makes us hold more than these limits.

import {StentorError} from '../../lib/core/errors.js';
import {formatAddress, parseAddress} from '../../lib/core/ip.js';
import type {ApplyError, EndpointReport, NodeReport, PeerReport} from '../../lib/domain/reports.js';
import type {stentor} from '../../proto/gen/session.js';

export interface HelloMessage {
  readonly node: string;
  readonly agentVersion: string;
  readonly held: readonly {readonly kind: string; readonly key: string; readonly version: string}[];
}

export interface AckMessage {
  readonly sequence: number;
  readonly version: string;
  readonly errors: readonly ApplyError[];
}

export type FromAgent =
  | {readonly kind: 'hello'; readonly hello: HelloMessage}
  | {readonly kind: 'ack'; readonly ack: AckMessage}
  | {readonly kind: 'node'; readonly report: NodeReport}
  | {readonly kind: 'endpoint'; readonly report: EndpointReport}
  | {readonly kind: 'peers'; readonly peers: readonly PeerReport[]}
  | {readonly kind: 'snapshot-request'; readonly reason: string};

const ERRORS_MAX = 1000;
const ADDRESSES_MAX = 16;
const ITEMS_MAX = 1000;
/** What an object of Kubernetes can hold: a number beyond is none. */
const COUNT_MAX = 2 ** 31 - 1;
const YEAR_10000_SECONDS = 253_402_300_799;
const FAMILIES: ReadonlySet<string> = new Set(['ipv4/unicast', 'ipv6/unicast']);
const TEXT_MAX = 1024;

/** Throws `STREAM_PROTOCOL` when the message says nothing we know. */
export function decodeAgentMessage(message: stentor.v1.AgentMessage.$Properties): FromAgent {
  const {hello, ack, nodeReport, endpointReport, peerReport, snapshotRequest} = message;
  if (hello) return {kind: 'hello', hello: {node: cut(hello.node), agentVersion: cut(hello.agentVersion), held: (hello.held ?? []).map(heldOf)}};
  if (ack) return {kind: 'ack', ack: decodeAck(ack)};
  if (nodeReport) return {kind: 'node', report: decodeNode(nodeReport)};
  if (endpointReport) return {kind: 'endpoint', report: decodeEndpoint(endpointReport)};
  if (peerReport) return {kind: 'peers', peers: (peerReport.peers ?? []).slice(0, ITEMS_MAX).map(decodePeer)};
  if (snapshotRequest) return {kind: 'snapshot-request', reason: cut(snapshotRequest.reason)};
  throw new StentorError('STREAM_PROTOCOL', 'a message without a known body');
}

function heldOf({kind, key, version}: stentor.v1.HeldVersion.$Properties): HelloMessage['held'][number] {
  return {kind: kind ?? '', key: key ?? '', version: version ?? ''};
}

function decodeAck(ack: stentor.v1.Ack.$Properties): AckMessage {
  const errors = (ack.errors ?? []).slice(0, ERRORS_MAX);
  return {
    sequence: ack.sequence ?? 0, version: ack.version ?? '',
    errors: errors.map(({kind, key, code, message}) => ({kind: cut(kind), key: cut(key), code: cut(code), message: cut(message)})),
  };
}

function decodeNode(report: stentor.v1.NodeReport.$Properties): NodeReport {
  const [router6] = canonical([report.routerAddress6 ?? '']);
  return {
    devices: (report.devices ?? []).slice(0, ITEMS_MAX).map(cut),
    addresses: canonical(report.addresses),
    routerAddress: canonical([report.routerAddress ?? ''])[0] ?? null,
    ...(router6 === undefined ? {} : {routerAddress6: router6}),
    routerMac: cut(report.routerMac),
    kernel: cut(report.kernel),
    features: (report.features ?? []).slice(0, ITEMS_MAX).map(cut),
  };
}

function decodeEndpoint(report: stentor.v1.EndpointReport.$Properties): EndpointReport {
  const {namespace, name, uid, endpointId, addresses, containerId, state} = report;
  if ((namespace ?? '') === '' || (name ?? '') === '') throw new StentorError('STREAM_PROTOCOL', 'an endpoint report names no pod');
  return {
    namespace: cut(namespace), name: cut(name), uid: cut(uid), endpointId: endpointId ?? 0, addresses: canonical(addresses),
    containerId: cut(containerId),
    state: state === 'disconnected' ? 'disconnected' : state === 'creating' ? 'creating' : 'ready',
  };
}

function decodePeer(peer: stentor.v1.BgpPeerState.$Properties): PeerReport {
  return {
    instance: cut(peer.instance), localAsn: peer.localAsn ?? 0, address: cut(peer.address), peerAsn: peer.peerAsn ?? 0,
    session: cut(peer.session), reason: cut(peer.reason), received: peer.received ?? 0, advertised: peer.advertised ?? 0,
    uptimeSeconds: peer.uptimeSeconds ?? 0, establishedAt: within(peer.establishedAt, YEAR_10000_SECONDS),
    holdTimeSeconds: within(peer.holdTimeSeconds, 0xffff), keepaliveSeconds: within(peer.keepaliveSeconds, 0xffff),
    families: (peer.families ?? []).filter(({family}) => FAMILIES.has(family ?? '')).slice(0, FAMILIES.size).map(({family, received, advertised}) => (
      {family: family ?? '', received: within(received, COUNT_MAX), advertised: within(advertised, COUNT_MAX)})),
  };
}

function within(value: number | null | undefined, most: number): number {
  return value !== null && value !== undefined && Number.isInteger(value) && value >= 0 && value <= most ? value : 0;
}

function canonical(addresses: readonly string[] | null | undefined): string[] {
  return (addresses ?? []).slice(0, ADDRESSES_MAX).flatMap((text) => {
    const address = parseAddress(text);
    return address === null ? [] : [formatAddress(address)];
  });
}

function cut(text: string | null | undefined): string {
  return (text ?? '').slice(0, TEXT_MAX);
}
