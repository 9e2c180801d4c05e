// Changes that would withdraw too much: what waits, what goes on, and what lets it through.

import {describe, expect, test} from '@jest/globals';
import fc from 'fast-check';
import {peerPaths} from '../../lib/domain/bgp-advertisements.js';
import {CONFIRM_ANNOTATION} from '../../lib/domain/bgp-names.js';
import {planBgpAccepted} from '../apply/bgp-accepted.js';
import {ACCEPTED_ROW, decoders} from '../model/decoders.js';
import {applyBatch, emptyTables, type Tables} from '../model/tables.js';
import type {Change, KubeObject, WatchedKind} from '../watch/feed-types.js';
import {CompiledSpeakers} from './bgp-compiled.js';
import {Speakers} from './bgp-speakers.js';

const RECORD = {namespace: 'kube-system', name: 'accepted'};
const DECODERS = decoders({clusterName: 'default', masquerade: {namespace: 'kube-system', name: 'ip-masq-agent'}, bgpAccepted: RECORD, invalidPolicy: 'isolate'});
const NODES = ['a', 'b', 'c', 'd', 'e'];

type Item = readonly [WatchedKind, KubeObject | {readonly gone: string}];
const node = (name: string): Item => ['Node', {metadata: {name, uid: name, labels: {name}}, spec: {podCIDR: `10.98.${NODES.indexOf(name)}.0/24`}, status: {addresses: [{type: 'InternalIP', address: '10.1.5.10'}]}}];
const object = (kind: WatchedKind, name: string, spec: object, metadata: object = {}): Item => [kind, {metadata: {name, uid: `${kind}-${name}`, ...metadata}, spec}];
const policy = (name: string, nodes: readonly string[], router: object = {}, annotations: object = {}): Item => object('CiliumBGPPeeringPolicy', name, {
  nodeSelector: {matchExpressions: [{key: 'name', operator: 'In', values: nodes}]},
  virtualRouters: [{localASN: 65005, exportPodCIDR: true, neighbors: [{peerAddress: '10.1.5.1/24', peerASN: 65005}], ...router}],
}, {annotations});
const service = (name: string, ip: string): Item => ['Service', {metadata: {name, namespace: 'd', uid: name}, spec: {type: 'LoadBalancer'}, status: {loadBalancer: {ingress: [{ip}]}}}];
const gone = (kind: WatchedKind, name: string): Item => [kind, {gone: name}];

/** An operator's guard, batch by batch; `restart` leaves what the ConfigMap says. */
class World {
  tables: Tables = emptyTables();
  speakers: Speakers;
  readonly #share: number;

  constructor(share = 0.2) {
    this.#share = share;
    this.speakers = new Speakers({maxWithdraw: share});
  }

  apply(...items: readonly Item[]): this {
    const changes = items.map(([kind, one]): Change => {
      if ('gone' in one) return {kind, key: String(one.gone), object: null};
      const {namespace, name} = one.metadata;
      return {kind, key: namespace === undefined ? name : `${namespace}/${name}`, object: one};
    });
    const {tables, changed} = applyBatch(this.tables, {changes, inSync: true, receivedAtMs: 0}, DECODERS);
    this.tables = tables;
    this.speakers.update(tables, changed);
    return this;
  }

  /** What the operator writes, as it is read back. */
  record(annotations: Readonly<Record<string, string>> = {}): Item {
    const record = this.speakers.guard?.record;
    const plan = planBgpAccepted(record === undefined ? undefined : {record}, undefined, `${RECORD.namespace}/${RECORD.name}`);
    if (plan.verb !== 'apply') throw new Error('nothing is recorded');
    return ['ConfigMap', {...plan.object, metadata: {...plan.object.metadata, annotations: {...plan.object.metadata.annotations, ...annotations}}}];
  }

  /** Between the two the cluster may change. */
  restart(...meanwhile: readonly Item[]): this {
    this.apply(this.record());
    this.speakers = new Speakers();
    this.apply(...meanwhile);
    this.speakers = new Speakers({maxWithdraw: this.#share});
    this.speakers.update(this.tables, Object.fromEntries(Object.entries(this.tables).map(([name, rows]) => [name, new Set(rows.keys())])));
    return this;
  }

  get told(): string[] {
    return [...this.speakers.all].flatMap(([name, {speaker}]) => speaker.instances.flatMap((instance) => peerPaths(instance).map(({peer, prefix}) => `${name} ${instance.name} ${peer} ${prefix}`))).sort();
  }

  get waiting(): string[] {
    return (this.speakers.guard?.state.held ?? []).map(({id, gone: isGone}) => `${id}${isGone ? ' gone' : ''}`);
  }

  get hash(): string {
    return this.speakers.guard?.state.held[0]?.hash ?? '';
  }
}

/** Two racks: three nodes, and two. */
const start = (): World => new World().apply(...NODES.map(node), policy('p', ['a', 'b', 'c']), policy('q', ['d', 'e']));
const ALL = NODES.map((name, i) => `${name} asn-65005 10.1.5.1 10.98.${i}.0/24`);

describe('what waits', () => {
  test('within the share nothing does', () => {
    const world = start().apply(policy('p', ['a', 'b']));
    expect([world.waiting, world.told]).toEqual([[], ALL.filter((one) => !one.startsWith('c '))]);
  });

  test.each<[string, Item, string]>([
    ['an object that is deleted', gone('CiliumBGPPeeringPolicy', 'p'), 'CiliumBGPPeeringPolicy/p gone'],
    ['a selector that selects less', policy('p', ['a']), 'CiliumBGPPeeringPolicy/p'],
    ['an export that is switched off', policy('p', ['a', 'b', 'c'], {exportPodCIDR: false}), 'CiliumBGPPeeringPolicy/p'],
    ['a peer that is another one', policy('p', ['a', 'b', 'c'], {neighbors: [{peerAddress: '10.1.5.2/24', peerASN: 65005}]}), 'CiliumBGPPeeringPolicy/p'],
    ['another AS number', policy('p', ['a', 'b', 'c'], {localASN: 65006}), 'CiliumBGPPeeringPolicy/p'],
    ['a family that goes', policy('p', ['a', 'b', 'c'], {neighbors: [{peerAddress: '10.1.5.1/24', peerASN: 65005, families: [{afi: 'ipv6', safi: 'unicast'}]}]}), 'CiliumBGPPeeringPolicy/p'],
  ])('%s: the routes stay, additions come, and it is told what to do', (_what, change, waiting) => {
    const world = start().apply(change);
    expect(world.waiting).toEqual([waiting]);
    expect(world.told).toEqual(expect.arrayContaining(ALL));
    const [finding] = world.speakers.findings().filter(({reason}) => reason === 'BGPWithdrawalHeld');
    expect(finding).toMatchObject({object: {kind: 'CiliumBGPPeeringPolicy', name: 'p'}, message: expect.stringMatching(/[23] of 5 paths would be withdrawn \([46]0%, more than 20%\): they stay; if that is meant: stentorctl bgp confirm CiliumBGPPeeringPolicy\/p --change [0-9a-f]{12}$/)});
    // Taken back, it is as if nothing had been.
    world.apply(policy('p', ['a', 'b', 'c']));
    expect([world.waiting, world.told]).toEqual([[], ALL]);
  });

  test('additions, attributes and other timers never do', () => {
    const world = start().apply(policy('p', ['a', 'b', 'c'], {neighbors: [
      {peerAddress: '10.1.5.1/24', peerASN: 65005, holdTimeSeconds: 9, keepAliveTimeSeconds: 3, advertisedPathAttributes: [{selectorType: 'PodCIDR', localPreference: 7}]}, {peerAddress: '10.1.5.2/24', peerASN: 65005}]}));
    expect([world.waiting, world.told.length]).toEqual([[], 8]);
  });

  test('a broken object holds, so it withdraws nothing and need not wait', () => {
    const world = start().apply(policy('p', ['a', 'b', 'c'], {neighbors: []}), policy('q', ['d', 'e'], {neighbors: [{peerAddress: '10.1.5.1/24', peerASN: 65005, holdTimeSeconds: 9}]}));
    expect(world.waiting).toEqual(['CiliumBGPPeeringPolicy/p']);
    expect(world.speakers.all.get('d')?.speaker).toMatchObject({instances: [], holds: [{instance: null}]});
  });

  test('the same routes under another name are no withdrawal: all of it at once, or the new one first', () => {
    const renamed = [policy('r', ['a', 'b', 'c']), gone('CiliumBGPPeeringPolicy', 'p')];
    expect(start().apply(...renamed).waiting).toEqual([]);
    expect(start().apply(...renamed.slice(0, 1)).apply(...renamed.slice(1)).waiting).toEqual([]);
    const deletedFirst = start().apply(...renamed.slice(1));
    expect(deletedFirst.waiting).toEqual(['CiliumBGPPeeringPolicy/p gone']);
    expect(deletedFirst.apply(...renamed.slice(0, 1)).waiting).toEqual([]);
  });

  test('while one waits the others go on: additions, other objects, services that come and go', () => {
    const world = start().apply(service('s', '10.20.0.1'), policy('p', ['a'], {serviceSelector: {}}));
    expect(world.waiting).toEqual(['CiliumBGPPeeringPolicy/p']);
    expect(world.told).toEqual([...ALL, 'a asn-65005 10.1.5.1 10.20.0.1/32'].sort());
    world.apply(policy('q', ['d']));
    expect(world.waiting).toEqual(['CiliumBGPPeeringPolicy/p']);
    expect(world.told).toEqual([...ALL.slice(0, 4), 'a asn-65005 10.1.5.1 10.20.0.1/32'].sort());
    world.apply(gone('Service', 'd/s'), gone('Node', 'c'));
    expect(world.told).toEqual([...ALL.slice(0, 2), ...ALL.slice(3, 4)]);
  });

  test('an advertisement: its paths stay, and what else the peer is told follows', () => {
    const advertisement = (items: readonly object[]): Item => object('CiliumBGPAdvertisement', 'pods', {advertisements: items}, {labels: {advertise: 'bgp'}});
    const v2 = new World().apply(node('a'), node('b'), advertisement([{advertisementType: 'PodCIDR'}]), service('s', '10.20.0.1'),
      object('CiliumBGPPeerConfig', 'leaf', {families: [{afi: 'ipv4', safi: 'unicast', advertisements: {matchLabels: {advertise: 'bgp'}}}]}),
      object('CiliumBGPClusterConfig', 'c', {bgpInstances: [{name: 'i', localASN: 65005, peers: [{name: 'leaf', peerASN: 65005, peerAddress: '10.1.5.1', peerConfigRef: {name: 'leaf'}}]}]}));
    v2.apply(advertisement([{advertisementType: 'Service', service: {addresses: ['LoadBalancerIP']}, selector: {}}]));
    expect([v2.waiting, v2.told.length]).toEqual([['CiliumBGPAdvertisement/pods'], 4]);
  });
});

describe('what lets it through', () => {
  const LEFT = ALL.slice(0, 1).concat(ALL.slice(3));

  test('the hash of this very change, on the object', () => {
    const world = start().apply(policy('p', ['a']));
    world.apply(policy('p', ['a'], {}, {[CONFIRM_ANNOTATION]: '000000000000'}));
    expect(world.waiting).toEqual(['CiliumBGPPeeringPolicy/p']);
    const {hash} = world;
    world.apply(policy('p', ['a'], {}, {[CONFIRM_ANNOTATION]: hash}));
    expect([world.waiting, world.told]).toEqual([[], LEFT]);
    // The next one has another hash.
    world.apply(policy('p', [], {}, {[CONFIRM_ANNOTATION]: hash}));
    expect([world.waiting, world.told]).toEqual([['CiliumBGPPeeringPolicy/p'], LEFT]);
  });

  test('of an object that is gone: the hash on the ConfigMap, or the word on the object before', () => {
    const world = start().apply(gone('CiliumBGPPeeringPolicy', 'p'));
    world.apply(world.record({[CONFIRM_ANNOTATION]: `x, ${world.hash}`}));
    expect([world.waiting, world.told]).toEqual([[], ALL.slice(3)]);
    const before = start().apply(policy('p', ['a', 'b', 'c'], {}, {[CONFIRM_ANNOTATION]: 'delete'}));
    expect(before.waiting).toEqual([]);
    expect(before.apply(gone('CiliumBGPPeeringPolicy', 'p')).told).toEqual(ALL.slice(3));
  });
});

describe('the operator after it', () => {
  test('what waits waits on, also when its share has become smaller', () => {
    const world = start().apply(policy('p', ['a']));
    const [{waiting, hash, told}, before] = [world, world.told];
    world.restart();
    expect([world.waiting, world.hash, world.told]).toEqual([waiting, hash, told]);
    world.restart(...Array.from({length: 9}, (_, i) => service(`s${i}`, `10.20.0.${i}`)), policy('q', ['d', 'e'], {serviceSelector: {}}));
    expect(world.waiting).toEqual(waiting);
    expect(world.told).toEqual(expect.arrayContaining(before));
  });

  test('what was changed while there was no operator is compared with what was let through', () => {
    const world = start().restart(gone('CiliumBGPPeeringPolicy', 'p'));
    expect([world.waiting, world.told]).toEqual([['CiliumBGPPeeringPolicy/p gone'], ALL]);
    expect(start().restart(policy('q', ['d'])).waiting).toEqual([]);
  });

  test('without a ConfigMap all is as it is; one that cannot be read is none', () => {
    const world = new World();
    world.apply(['ConfigMap', {metadata: {...RECORD}, data: {x: '{', waiting: '7', 'CiliumBGPPeeringPolicy.p': 'null'}}]);
    expect(world.tables.bgpAccepted.get(ACCEPTED_ROW)).toEqual({manifests: {}, held: {}, confirmed: []});
    expect(world.apply(...NODES.map(node), policy('p', ['a'])).waiting).toEqual([]);
  });
});

describe('properties', () => {
  const change = fc.oneof(
    fc.tuple(fc.constantFrom('p', 'q', 'r'), fc.subarray(NODES), fc.boolean()).map(([name, nodes, exportPodCIDR]) => policy(name, nodes, {exportPodCIDR})),
    fc.constantFrom('p', 'q', 'r').map((name) => gone('CiliumBGPPeeringPolicy', name)),
    fc.constantFrom(service('s', '10.20.0.1'), gone('Service', 'd/s')),
  );
  const batches = fc.array(fc.array(change, {minLength: 1, maxLength: 3}), {maxLength: 6});

  /** What all would say without a guard. */
  const wantedOf = (tables: Tables): Set<string> => new Set([...CompiledSpeakers.of(tables).all].flatMap(([name, {speaker}]) =>
    speaker.instances.flatMap((instance) => peerPaths(instance).map(({peer, prefix}) => `${name} ${instance.name} ${peer} ${prefix}`))));

  test('one batch never withdraws more than the share, and never keeps back what is new', () => {
    fc.assert(fc.property(batches, fc.constantFrom(0, 0.2, 0.5), (steps, share) => {
      const world = new World(share).apply(...NODES.map(node), policy('p', ['a', 'b', 'c']), policy('q', ['d', 'e']));
      for (const step of steps) {
        const before = world.told;
        world.apply(...step);
        const told = new Set(world.told);
        expect(before.filter((path) => !told.has(path)).length).toBeLessThanOrEqual(before.length * share);
        for (const path of wantedOf(world.tables)) expect(told).toContain(path);
        if (world.waiting.length === 0) expect(told).toEqual(wantedOf(world.tables));
      }
    }));
  });

  test('a restart at any moment changes nothing', () => {
    fc.assert(fc.property(batches, fc.integer({min: 0, max: 5}), (steps, at) => {
      const run = (restarted: boolean): World => {
        const world = start();
        for (const [i, step] of steps.entries()) {
          world.apply(...step);
          if (restarted && i === at) world.restart();
        }
        return world;
      };
      const [without, restarted] = [run(false), run(true)];
      expect([restarted.waiting, restarted.told]).toEqual([without.waiting, without.told]);
    }));
  });
});
