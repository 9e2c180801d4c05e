// Drained nodes: from Nodes and time to what they announce.

import {describe, expect, test} from '@jest/globals';
import fc from 'fast-check';
import type {Advertisement, Speaker} from '../../lib/domain/bgp.js';
import {decoders} from '../model/decoders.js';
import type {NodeHealthFact} from '../model/facts.js';
import {applyBatch, applyRows, emptyTables, type Tables} from '../model/tables.js';
import type {Change, KubeObject} from '../watch/feed-types.js';
import {BY_ANNOTATION, Drains, drainedSpeaker, GRACEFUL_SHUTDOWN, type DrainOptions} from './bgp-drain.js';
import {CompiledSpeakers} from './bgp-compiled.js';
import {Speakers} from './bgp-speakers.js';

const DECODERS = decoders({clusterName: 'default', masquerade: {namespace: 'kube-system', name: 'ip-masq-agent'}, invalidPolicy: 'isolate'});
const MINUTE = 60_000;

interface NodeState {
  readonly cordoned?: boolean;
  readonly ready?: 'True' | 'False' | 'Unknown';
  readonly drain?: string;
}

const NAMES = ['a', 'b', 'c'] as const;
type Cluster = Readonly<Record<(typeof NAMES)[number], NodeState>>;

const node = (name: string, {cordoned, ready, drain}: NodeState): KubeObject => ({
  metadata: {name, uid: name, ...(drain === undefined ? {} : {annotations: {'bgp.stentor.io/drain': drain}})},
  spec: {podCIDR: `10.98.${NAMES.findIndex((one) => one === name)}.0/24`, ...(cordoned === true ? {unschedulable: true} : {})},
  status: {addresses: [{type: 'InternalIP', address: '10.1.5.10'}], ...(ready === undefined ? {} : {conditions: [{type: 'Ready', status: ready}]})},
});
const POLICY: KubeObject = {metadata: {name: 'p', uid: 'p'}, spec: {virtualRouters: [{
  localASN: 65005, exportPodCIDR: true, serviceSelector: {}, neighbors: [{peerAddress: '10.1.5.1/24', peerASN: 65005}, {peerAddress: '10.1.6.1/24', peerASN: 65005}]}]}};
const VIP: KubeObject = {metadata: {name: 's', namespace: 'd', uid: 's'}, spec: {type: 'LoadBalancer'}, status: {loadBalancer: {ingress: [{ip: '10.20.0.1'}]}}};

function tablesOf(cluster: Cluster): Tables {
  const changes: Change[] = [
    ...NAMES.map((name): Change => ({kind: 'Node', key: name, object: node(name, cluster[name])})),
    {kind: 'CiliumBGPPeeringPolicy', key: 'p', object: POLICY}, {kind: 'Service', key: 'd/s', object: VIP},
  ];
  return applyBatch(emptyTables(), {changes, inSync: true, receivedAtMs: 0}, DECODERS).tables;
}

function everything(tables: Tables): Parameters<Speakers['update']>[1] {
  return Object.fromEntries(Object.entries(tables).map(([name, rows]) => [name, new Set(rows.keys())]));
}

/** What each node announces, by its state and how long it has been so. */
function announced(cluster: Cluster, options: Partial<DrainOptions>, ageMs: number): Record<string, readonly string[]> {
  const drains = new Drains({...BY_ANNOTATION, ...options});
  let tables = tablesOf(cluster);
  for (const nowMs of [0, ageMs]) tables = applyRows(tables, 'bgpDrains', drains.update(tables, nowMs, nowMs === 0).rows).tables;
  const speakers = new Speakers();
  speakers.update(tables, everything(tables));
  return Object.fromEntries(NAMES.map((name) => [name, (speakers.all.get(name)?.speaker.instances ?? []).flatMap(({advertisements}) => advertisements.map(text))]));
}

function text({prefix, communities, localPreference}: Advertisement): string {
  const draining = communities.includes(GRACEFUL_SHUTDOWN) && localPreference === 1;
  return `${prefix}${draining ? ' draining' : ''}`;
}

const STAYS: Cluster = {a: {}, b: {}, c: {}};
const VIP_PREFIX = '10.20.0.1/32';
const WHOLE = {a: [VIP_PREFIX, '10.98.0.0/24'], b: [VIP_PREFIX, '10.98.1.0/24'], c: [VIP_PREFIX, '10.98.2.0/24']};
const A_DRAINS = {...WHOLE, a: [`${VIP_PREFIX} draining`, '10.98.0.0/24 draining']};

describe('which nodes, and what becomes of their routes', () => {
  test.each<[string, readonly [NodeState, Partial<DrainOptions>, number], Record<string, readonly string[]>]>([
    ['nothing', [{}, {cordoned: true, notReady: 'withdraw'}, MINUTE], WHOLE],
    ['the annotation, at once', [{drain: ''}, {}, 0], A_DRAINS],
    ['the annotation, a moment before', [{drain: ''}, {}, MINUTE - 1], A_DRAINS],
    ['the annotation, later: what others announce goes', [{drain: ''}, {}, MINUTE], {...A_DRAINS, a: ['10.98.0.0/24 draining']}],
    ['the annotation says all', [{drain: 'all'}, {}, MINUTE], {...A_DRAINS, a: []}],
    ['the annotation says never', [{drain: 'never'}, {withdraw: 'all'}, MINUTE], A_DRAINS],
    ['the option says all', [{drain: 'true'}, {withdraw: 'all'}, MINUTE], {...A_DRAINS, a: []}],
    ['cordoned, and that is nothing', [{cordoned: true}, {}, MINUTE], WHOLE],
    ['cordoned', [{cordoned: true}, {cordoned: true}, 0], A_DRAINS],
    ['cordoned, and the annotation says no', [{cordoned: true, drain: 'false'}, {cordoned: true}, MINUTE], WHOLE],
    ['not ready: kept', [{ready: 'False'}, {}, MINUTE], WHOLE],
    ['not ready: depreferred, for good', [{ready: 'Unknown'}, {notReady: 'deprefer'}, 10 * MINUTE], A_DRAINS],
    ['not ready: withdrawn, but not what nobody else has', [{ready: 'False'}, {notReady: 'withdraw', withdraw: 'all'}, MINUTE], {...A_DRAINS, a: ['10.98.0.0/24 draining']}],
  ])('%s', (_what, [a, options, ageMs], expected) => {
    expect(announced({...STAYS, a}, options, ageMs)).toEqual(expected);
  });

  test('all nodes at once: nobody else announces anything, so nothing is withdrawn', () => {
    const gone: NodeState = {ready: 'Unknown'};
    expect(Object.values(announced({a: gone, b: gone, c: gone}, {notReady: 'withdraw'}, MINUTE)).flat()).toHaveLength(6);
    // A node that is not ready is no reason to rely on it, whatever becomes of its own routes.
    expect(announced({a: {drain: ''}, b: gone, c: gone}, {}, MINUTE)['a']).toEqual(A_DRAINS.a);
  });
});

describe('time', () => {
  const health = (drain: string | null): NodeHealthFact => ({ready: true, unschedulable: false, drain});
  const withNode = (fact: NodeHealthFact, tables = emptyTables()): Tables => applyRows(tables, 'nodeHealth', [['a', fact]]).tables;

  test('it runs from the first look; taken back and asked for again it runs anew', () => {
    const drains = new Drains(BY_ANNOTATION);
    expect(drains.update(withNode(health('')), 1000, true)).toMatchObject({rows: [['a', {withdrawn: false, sinceMs: 1000}]], holdMs: MINUTE});
    expect(drains.update(withNode(health('')), 1000 + MINUTE, false)).toMatchObject({rows: [['a', {withdrawn: true}]], holdMs: null});
    expect(drains.update(withNode(health(null)), 2000 + MINUTE, false)).toEqual({rows: [['a', null]], holdMs: null});
    expect(drains.update(withNode(health('')), 3000 + MINUTE, false)).toMatchObject({rows: [['a', {withdrawn: false, sinceMs: 3000 + MINUTE}]]});
  });

  test('the operator after a restart goes on where the condition says that the drain began; only then', () => {
    const marked = applyBatch(withNode(health('')), {inSync: true, receivedAtMs: 0, changes: [{kind: 'CiliumBGPNodeConfig', key: 'a', object: {
      metadata: {name: 'a'}, spec: {}, status: {conditions: [{type: 'stentor.io/Draining', status: 'True', lastTransitionTime: '1970-01-01T00:00:30Z'}]}}}]}, DECODERS).tables;
    expect(new Drains(BY_ANNOTATION).update(marked, 2 * MINUTE, true).rows).toMatchObject([['a', {withdrawn: true, sinceMs: 30_000}]]);
    expect(new Drains(BY_ANNOTATION).update(marked, 2 * MINUTE, false).rows).toMatchObject([['a', {withdrawn: false}]]);
  });

  test('a node that is gone has no drain', () => {
    const drained = applyRows(emptyTables(), 'bgpDrains', [['a', {cause: 'annotation', withdraw: 'all', sinceMs: 0, timeMs: 0, withdrawn: true}]]).tables;
    expect(new Drains(BY_ANNOTATION).update(drained, 0, false).rows).toEqual([['a', null]]);
  });
});

describe('properties', () => {
  const state = fc.record({cordoned: fc.boolean(), ready: fc.constantFrom('True', 'False', 'Unknown'), drain: fc.constantFrom('', 'false', 'never', 'redundant')}, {requiredKeys: []}) as fc.Arbitrary<NodeState>;
  const options = fc.record({cordoned: fc.boolean(), notReady: fc.constantFrom('keep', 'deprefer', 'withdraw'), withdraw: fc.constantFrom('never', 'redundant')}) as fc.Arbitrary<Partial<DrainOptions>>;

  test('unless all is asked for, no prefix is ever gone from the cluster', () => {
    fc.assert(fc.property(fc.record({a: state, b: state, c: state}), options, (cluster, given) => {
      const left = new Set(Object.values(announced(cluster, given, MINUTE)).flat().map((one) => one.replace(' draining', '')));
      expect([...left].sort()).toEqual([VIP_PREFIX, '10.98.0.0/24', '10.98.1.0/24', '10.98.2.0/24']);
    }));
  });

  test('the order in which it came about does not matter: nodes change one by one, or all at once', () => {
    fc.assert(fc.property(fc.array(fc.tuple(fc.constantFrom(...NAMES), state), {maxLength: 8}), (steps) => {
      const drains = new Drains({...BY_ANNOTATION, timeMs: 0, cordoned: true, notReady: 'withdraw'});
      const speakers = new Speakers();
      let cluster = STAYS;
      let tables = emptyTables();
      const follow = (changes: readonly Change[]): void => {
        const applied = applyBatch(tables, {changes, inSync: true, receivedAtMs: 0}, DECODERS);
        const drained = applyRows(applied.tables, 'bgpDrains', drains.update(applied.tables, 0, false).rows);
        tables = drained.tables;
        speakers.update(tables, {...applied.changed, ...drained.changed});
      };
      follow([...NAMES.map((name): Change => ({kind: 'Node', key: name, object: node(name, {})})),
        {kind: 'CiliumBGPPeeringPolicy', key: 'p', object: POLICY}, {kind: 'Service', key: 'd/s', object: VIP}]);
      for (const [name, now] of steps) {
        cluster = {...cluster, [name]: now};
        follow([{kind: 'Node', key: name, object: node(name, now)}]);
      }
      const fresh = announced(cluster, {timeMs: 0, cordoned: true, notReady: 'withdraw'}, 0);
      expect(Object.fromEntries(NAMES.map((name) => [name, (speakers.all.get(name)?.speaker.instances ?? []).flatMap(({advertisements}) => advertisements.map(text))]))).toEqual(fresh);
    }));
  });

  test('a peer of another AS is told the community, and no other local preference', () => {
    const [speaker] = [CompiledSpeakers.of(tablesOf(STAYS)).all.get('a')?.speaker].flatMap((one) => one ?? []);
    const mixed: Speaker = {source: null, instances: (speaker?.instances ?? []).map((instance) => ({...instance, peers: instance.peers.map((peer, i) => ({...peer, asn: 65005 + i}))}))};
    const drained = drainedSpeaker(mixed, {cause: 'cordoned', withdraw: 'never', sinceMs: 0, timeMs: 0, withdrawn: false}, () => true);
    expect(drained.instances[0]?.advertisements.map(({prefix, peers, communities, localPreference}) => [prefix, peers, communities, localPreference])).toEqual([VIP_PREFIX, '10.98.0.0/24'].flatMap((prefix) => [
      [prefix, ['10.1.5.1'], [GRACEFUL_SHUTDOWN], 1], [prefix, ['10.1.6.1'], [GRACEFUL_SHUTDOWN], null],
    ]));
  });

  test('what a peer is told apart stays apart, and other attributes are not lost', () => {
    const advertisement = (peers: readonly string[], communities: readonly number[]): Advertisement =>
      ({prefix: '10.98.0.0/24', peers, localPreference: 150, communities, largeCommunities: ['1:2:3'], origin: {kind: 'Node', namespace: '', name: 'a', uid: ''}});
    const compiled = CompiledSpeakers.of(tablesOf(STAYS)).all.get('a')?.speaker;
    const speaker: Speaker = {source: null, instances: (compiled?.instances ?? []).map((instance) => ({...instance, advertisements: [advertisement(['10.1.5.1'], [7]), advertisement([], [])]}))};
    const drained = drainedSpeaker(speaker, {cause: 'cordoned', withdraw: 'never', sinceMs: 0, timeMs: 0, withdrawn: false}, () => true);
    expect(drained.instances[0]?.advertisements.map(({peers, communities, largeCommunities}) => [peers, communities, largeCommunities])).toEqual([
      [['10.1.5.1'], [7, GRACEFUL_SHUTDOWN], ['1:2:3']], [[], [GRACEFUL_SHUTDOWN], ['1:2:3']],
    ]);
  });
});
