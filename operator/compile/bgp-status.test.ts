import {describe, expect, test} from '@jest/globals';
import type {PeerReport} from '../../lib/domain/reports.js';
import {decoders} from '../model/decoders.js';
import {applyBatch, emptyTables} from '../model/tables.js';
import type {Change, KubeObject, WatchedKind} from '../watch/feed-types.js';
import {Speakers} from './bgp-speakers.js';
import {bgpStatus, NO_SESSION_YET, type BgpNodeReport, type BgpStatus} from './bgp-status.js';

const DECODERS = decoders({clusterName: 'default', masquerade: {namespace: 'kube-system', name: 'ip-masq-agent'}, invalidPolicy: 'isolate'});
const object = (kind: WatchedKind, name: string, content: object, uid = name): [WatchedKind, KubeObject] =>
  [kind, {metadata: {name, uid, generation: 3, creationTimestamp: '2026-01-01T00:00:00Z'}, ...content}];
const node = (name: string): [WatchedKind, KubeObject] => object('Node', name, {spec: {podCIDRs: ['10.98.0.0/24']}, status: {addresses: [{type: 'InternalIP', address: '10.1.5.10'}]}});
const CONFIG = object('CiliumBGPClusterConfig', 'rack', {spec: {bgpInstances: [{name: 'main', localASN: 65000, peers: [
  {name: 'leaf', peerASN: 65001, peerAddress: '10.1.5.1', peerConfigRef: {name: 'leaf'}},
]}]}});
const PEER_CONFIG = object('CiliumBGPPeerConfig', 'leaf', {spec: {authSecretRef: 'password'}});
const report = (session: string, reason = ''): PeerReport => ({
  instance: 'main', localAsn: 65000, address: '10.1.5.1', peerAsn: 65001, session, reason, received: 0, advertised: 1, uptimeSeconds: 7,
  establishedAt: session === 'established' ? 1_790_000_000 : 0, holdTimeSeconds: 9, keepaliveSeconds: 3, families: [{family: 'ipv4/unicast', received: 0, advertised: 1}],
});
const heard = (...peers: PeerReport[]): BgpNodeReport => ({connected: true, peers, faults: []});

function statusOf(items: readonly [WatchedKind, KubeObject][], reports: Readonly<Record<string, BgpNodeReport>>): BgpStatus {
  const changes = items.map(([kind, one]): Change => ({kind, key: one.metadata.name, object: one}));
  const tables = applyBatch(emptyTables(), {changes, inSync: true, receivedAtMs: 0}, DECODERS).tables;
  const speakers = new Speakers();
  speakers.update(tables, {nodes: new Set(tables.nodes.keys())});
  return bgpStatus({tables, speakers: speakers.all, reportOf: (name) => reports[name]});
}

function condition(status: BgpStatus, uid: string, type: string): string {
  const found = status.statuses.find(({object: {uid: one}}) => one === uid)?.conditions.find((one) => one.type === type);
  return found === undefined ? 'absent' : `${found.status} ${found.reason} ${found.message}`.trim();
}

const BOTH = [node('a'), node('b'), CONFIG, PEER_CONFIG];
const ESTABLISHED = 'stentor.io/Established';

describe('established', () => {
  test.each<[string, Readonly<Record<string, BgpNodeReport>>, string]>([
    ['all are up', {a: heard(report('established')), b: heard(report('established'))}, 'True Established 2/2'],
    ['one is down, and why', {a: heard(report('established')), b: heard(report('active', 'hold timer expired'))}, 'False SessionsDown 1/2: b 10.1.5.1: hold timer expired'],
    ['an agent is out of reach', {a: heard(report('established')), b: {connected: false, peers: [], faults: []}}, 'False SessionsDown 1/2: b 10.1.5.1: the agent is out of reach'],
    ['a node was not heard of yet', {a: heard(report('established'))}, 'absent'],
  ])('%s', (_what, reports, expected) => expect(condition(statusOf(BOTH, reports), 'rack', ESTABLISHED)).toBe(expected));

  test('a session that went down is an Event; one that has not come up yet is none', () => {
    const {events} = statusOf(BOTH, {a: heard(report('idle', 'received notification: cease')), b: heard(report('active', NO_SESSION_YET))});
    expect(events).toMatchObject([{object: {name: 'rack'}, reason: 'BGPSessionDown', message: 'node a, peer 10.1.5.1 (AS 65001): received notification: cease'}]);
  });
});

test('Cilium’s conditions', () => {
  const missing = statusOf([node('a'), CONFIG], {a: heard()});
  expect(condition(missing, 'rack', 'cilium.io/MissingPeerConfigs')).toBe('True MissingPeerConfigs Referenced CiliumBGPPeerConfig(s) are missing: leaf');
  expect(condition(missing, 'rack', 'cilium.io/NoMatchingNode')).toBe('False NoNoMatchingNode');
  expect(condition(statusOf([CONFIG], {}), 'rack', 'cilium.io/NoMatchingNode')).toMatch(/^True/);
  expect(condition(statusOf(BOTH, {}), 'leaf', 'cilium.io/MissingAuthSecret')).toMatch(/^True .*password is missing/);
  const policy = object('CiliumBGPPeeringPolicy', 'old-kind', {spec: {virtualRouters: [{localASN: 1, neighbors: [{peerAddress: '10.1.5.1/24', peerASN: 1}]}]}});
  const both = statusOf([...BOTH, policy], {});
  expect(condition(both, 'rack', 'cilium.io/ConflictingClusterConfig')).toBe('True Conflict on a, b CiliumBGPPeeringPolicy old-kind is in force');
  expect(condition(both, 'old-kind', 'stentor.io/Conflict')).toBe('True Conflict on a, b this one is in force');
});

test('a CiliumBGPNodeConfig for each node: what is wanted, and how it stands', () => {
  const {nodeConfigs} = statusOf(BOTH, {a: heard(report('established')), b: {...heard(report('idle', 'refused')), faults: [{kind: 'speaker', key: 'speaker', code: 'X', message: 'main: broken'}]}});
  expect(nodeConfigs.get('a')).toMatchObject({
    name: 'a', owner: {name: 'rack'},
    spec: {bgpInstances: [{name: 'main', localASN: 65000, routerID: '10.1.5.10', peers: [{name: 'leaf', peerASN: 65001, peerAddress: '10.1.5.1', peerConfigRef: {name: 'leaf'}}]}]},
    status: {bgpInstances: [{name: 'main', localASN: 65000, peers: [{
      name: 'leaf', peeringState: 'established', establishedTime: '2026-09-21T14:13:20Z', timers: {appliedHoldTimeSeconds: 9, appliedKeepaliveSeconds: 3},
      routeCount: [{afi: 'ipv4', safi: 'unicast', received: 0, advertised: 1}],
    }]}]},
    conditions: [{type: ESTABLISHED, status: 'True'}, {type: 'cilium.io/BGPReconcileError', status: 'False'}, {type: 'stentor.io/Draining', status: 'False'}],
  });
  expect(nodeConfigs.get('b')).toMatchObject({
    status: {bgpInstances: [{peers: [{peeringState: 'idle', reason: 'refused'}]}]},
    conditions: [{status: 'False'}, {type: 'cilium.io/BGPReconcileError', status: 'True', message: 'main: broken'}, {status: 'False'}],
  });
});
