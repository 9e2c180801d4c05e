// Which addresses of Services, and which prefixes of pod pools, each node announces: by tables, and on the way from one state to the next.

import {describe, expect, test} from '@jest/globals';
import type {Speaker} from '../../lib/domain/bgp.js';
import {walks} from '../../lib/testing/walk.js';
import {decoders} from '../model/decoders.js';
import {applyBatch, emptyTables} from '../model/tables.js';
import type {KubeObject, WatchedKind} from '../watch/feed-types.js';
import {Speakers} from './bgp-speakers.js';

const DECODERS = decoders({clusterName: 'default', masquerade: {namespace: 'kube-system', name: 'ip-masq-agent'}, invalidPolicy: 'isolate'});
type Item = readonly [WatchedKind, KubeObject];

const node = (name: string): Item => ['Node', {metadata: {name, uid: name}, spec: {}, status: {addresses: [{type: 'InternalIP', address: `10.1.5.${name.charCodeAt(0)}`}]}}];
const policy = (router: object): Item => ['CiliumBGPPeeringPolicy', {metadata: {name: 'p', uid: 'p', creationTimestamp: '2026-01-01T00:00:00Z'}, spec: {
  virtualRouters: [{localASN: 65005, neighbors: [{peerAddress: '10.1.5.1/24', peerASN: 65005}], ...router}],
}}];
const service = (name: string, spec: object, ips: readonly string[] = [], labels: Record<string, string> = {}): Item => ['Service', {
  metadata: {name, namespace: 'd', uid: name, labels}, spec: {type: 'LoadBalancer', ...spec}, status: {loadBalancer: {ingress: ips.map((ip) => ({ip}))}},
}];
const slice = (name: string, of: string, endpoints: readonly object[]): Item =>
  ['EndpointSlice', {metadata: {name, namespace: 'd', labels: {'kubernetes.io/service-name': of}}, endpoints}];
const on = (nodeName: string, conditions: object = {}): object => ({addresses: ['10.98.0.1'], nodeName, conditions});

/** What runs from state to state, and what nodes a and b announce then. */
class Bench {
  readonly #speakers = new Speakers();
  #tables = emptyTables();
  #state: readonly Item[] = [];

  go(next: readonly Item[]): this {
    const key = ([kind, {metadata}]: Item): string => `${kind} ${metadata.namespace === undefined ? '' : `${metadata.namespace}/`}${metadata.name}`;
    const [before, after] = [new Map(this.#state.map((item) => [key(item), item])), new Map(next.map((item) => [key(item), item]))];
    const changes = [...new Set([...before.keys(), ...after.keys()])].map((id) => {
      const [kind] = after.get(id) ?? before.get(id) ?? next[0] ?? node('a');
      return {kind, key: id.slice(kind.length + 1), object: after.get(id)?.[1] ?? null};
    });
    const applied = applyBatch(this.#tables, {changes, inSync: true, receivedAtMs: 0}, DECODERS);
    this.#tables = applied.tables;
    this.#state = next;
    this.#speakers.update(applied.tables, applied.changed);
    return this;
  }

  announced(name: string): string {
    const speaker = this.#speakers.resource(name).value as Speaker;
    return speaker.instances.flatMap(({advertisements}) => advertisements.map(({prefix}) => prefix)).join(' ');
  }

  both(): readonly string[] {
    return [this.announced('a'), this.announced('b')];
  }
}

const NODES = [node('a'), node('b')];
const all = (...items: readonly Item[]): readonly string[] => new Bench().go([...NODES, ...items]).both();
const ANY = {serviceSelector: {matchExpressions: [{key: 'somekey', operator: 'NotIn', values: ['never-used-value']}]}};
const VIP = ['10.0.10.1'];

describe('which Services', () => {
  const web = service('web', {}, VIP, {app: 'web'});
  test.each([
    ['no serviceSelector: none', {}, ''],
    ['{}: every one', {serviceSelector: {}}, '10.0.10.1/32'],
    ['the idiom for every one', ANY, '10.0.10.1/32'],
    ['a label', {serviceSelector: {matchLabels: {app: 'web'}}}, '10.0.10.1/32'],
    ['another label', {serviceSelector: {matchLabels: {app: 'db'}}}, ''],
    ['its name', {serviceSelector: {matchLabels: {'io.kubernetes.service.name': 'web'}}}, '10.0.10.1/32'],
    ['its namespace', {serviceSelector: {matchLabels: {'io.kubernetes.service.namespace': 'other'}}}, ''],
  ])('%s', (_what, router, expected) => expect(all(policy(router), web)).toEqual([expected, expected]));
});

describe('which addresses', () => {
  const full = service('web', {clusterIP: '10.96.0.1', clusterIPs: ['10.96.0.1', 'fd00::1'], externalIPs: ['192.0.2.1']}, ['10.0.10.1', '2001:db8::1']);
  test.each([
    ['LoadBalancerIP is the default', ANY, '10.0.10.1/32 2001:db8::1/128'],
    ['ClusterIP', {...ANY, serviceAdvertisements: ['ClusterIP']}, '10.96.0.1/32 fd00::1/128'],
    ['ExternalIP', {...ANY, serviceAdvertisements: ['ExternalIP']}, '192.0.2.1/32'],
    ['all of them', {...ANY, serviceAdvertisements: ['LoadBalancerIP', 'ClusterIP', 'ExternalIP']}, '10.0.10.1/32 10.96.0.1/32 192.0.2.1/32 2001:db8::1/128 fd00::1/128'],
  ])('%s', (_what, router, expected) => expect(all(policy(router), full)[0]).toBe(expected));

  test.each([
    ['the class of BGP', {loadBalancerClass: 'io.cilium/bgp-control-plane'}, '10.0.10.1/32'],
    ['somebody else’s class', {loadBalancerClass: 'metallb.io/metallb'}, ''],
    ['a Service that is no LoadBalancer any more', {type: 'NodePort'}, ''],
    ['a headless Service', {type: 'ClusterIP', clusterIP: 'None', clusterIPs: ['None']}, ''],
  ])('LoadBalancer and ClusterIP of %s', (_what, spec, expected) => {
    expect(all(policy({...ANY, serviceAdvertisements: ['LoadBalancerIP', 'ClusterIP']}), service('web', spec, VIP))[0]).toBe(expected);
  });

  test('ExternalIPs of every type of Service', () => {
    expect(all(policy({...ANY, serviceAdvertisements: ['ExternalIP']}), service('web', {type: 'ClusterIP', externalIPs: ['192.0.2.1']}))[0]).toBe('192.0.2.1/32');
  });
});

describe('traffic policies', () => {
  const LOCAL = {externalTrafficPolicy: 'Local', internalTrafficPolicy: 'Local', clusterIP: '10.96.0.1', externalIPs: ['192.0.2.1']};
  const types = {...ANY, serviceAdvertisements: ['LoadBalancerIP', 'ClusterIP', 'ExternalIP']};
  const every = '10.0.10.1/32 10.96.0.1/32 192.0.2.1/32';

  test('Cluster: every node, also without an endpoint', () => expect(all(policy(ANY), service('web', {}, VIP))).toEqual(['10.0.10.1/32', '10.0.10.1/32']));

  test.each([
    ['where an endpoint is ready', [on('a', {ready: true})], [every, '']],
    ['where nothing is said of it', [on('b')], ['', every]],
    ['on both', [on('a'), on('b')], [every, every]],
    ['not where none is ready', [on('a', {ready: false}), on('b', {ready: true})], ['', every]],
    ['not where the last one is about to end', [on('a', {ready: true, terminating: true}), on('b')], ['', every]],
    ['nowhere without endpoints', [], ['', '']],
  ])('Local: %s', (_what, endpoints, expected) => expect(all(policy(types), service('web', LOCAL, VIP), slice('s', 'web', endpoints))).toEqual(expected));

  test('Local: endpoints of all slices of the Service count, and of no other Service', () => {
    expect(all(policy(ANY), service('web', LOCAL, VIP), slice('s1', 'web', [on('a')]), slice('s2', 'web', [on('b')]))).toEqual(['10.0.10.1/32', '10.0.10.1/32']);
    expect(all(policy(ANY), service('web', LOCAL, VIP), slice('s1', 'other', [on('a')]))).toEqual(['', '']);
  });

  test('the external policy says nothing of ClusterIPs, and the internal one nothing of the others', () => {
    const external = service('web', {...LOCAL, internalTrafficPolicy: 'Cluster'}, VIP);
    expect(all(policy(types), external)).toEqual(['10.96.0.1/32', '10.96.0.1/32']);
    const internal = service('web', {...LOCAL, externalTrafficPolicy: 'Cluster'}, VIP);
    expect(all(policy(types), internal)).toEqual(['10.0.10.1/32 192.0.2.1/32', '10.0.10.1/32 192.0.2.1/32']);
  });
});

test('a shared address is announced once, and withdrawn when the last Service leaves', () => {
  const [web, dns] = [service('web', {}, VIP), service('dns', {}, VIP)];
  const bench = new Bench().go([...NODES, policy(ANY), web, dns]);
  expect(bench.both()).toEqual(['10.0.10.1/32', '10.0.10.1/32']);
  expect(bench.go([...NODES, policy(ANY), dns]).announced('a')).toBe('10.0.10.1/32');
  expect(bench.go([...NODES, policy(ANY)]).announced('a')).toBe('');
});

test('prefixes of selected pod pools, as the node was given them', () => {
  const ciliumNode: Item = ['CiliumNode', {metadata: {name: 'a'}, spec: {ipam: {pools: {allocated: [{pool: 'blue', cidrs: ['10.20.0.0/27', 'fd00:20::/120']}, {pool: 'red', cidrs: ['10.30.0.0/27']}]}}}}];
  const pools: Item[] = ['blue', 'red'].map((name) => ['CiliumPodIPPool', {metadata: {name, labels: {color: name}}, spec: {}}]);
  const bench = new Bench().go([...NODES, ciliumNode, ...pools, policy({podIPPoolSelector: {matchLabels: {color: 'blue'}}})]);
  expect(bench.both()).toEqual(['10.20.0.0/27 fd00:20::/120', '']);
  bench.go([...NODES, ciliumNode, ...pools, policy({podIPPoolSelector: {matchLabels: {'io.cilium.podippool.name': 'red'}}})]);
  expect(bench.announced('a')).toBe('10.30.0.0/27');
  expect(bench.go([...NODES, ...pools, policy({podIPPoolSelector: {}})]).announced('a')).toBe('');
});

test('aggregation (BGPv2): the prefix around the address, but never where some nodes alone announce it', () => {
  const config: Item[] = [
    ['CiliumBGPClusterConfig', {metadata: {name: 'c', uid: 'c'}, spec: {bgpInstances: [{name: 'i', localASN: 65005, peers: [{name: 'leaf', peerASN: 65005, peerAddress: '10.1.5.1', peerConfigRef: {name: 'leaf'}}]}]}}],
    ['CiliumBGPPeerConfig', {metadata: {name: 'leaf'}, spec: {families: [{afi: 'ipv4', safi: 'unicast', advertisements: {}}, {afi: 'ipv6', safi: 'unicast', advertisements: {}}]}}],
    ['CiliumBGPAdvertisement', {metadata: {name: 'adv', labels: {}}, spec: {advertisements: [
      {advertisementType: 'Service', selector: {}, service: {addresses: ['LoadBalancerIP'], aggregationLengthIPv4: 24, aggregationLengthIPv6: 64}},
    ]}}],
  ];
  const services = [service('a', {}, ['10.0.10.1', '2001:db8::1']), service('b', {}, ['10.0.10.9']), service('c', {externalTrafficPolicy: 'Local'}, ['10.0.10.7'])];
  expect(all(...config, ...services, slice('s', 'c', [on('b')]))).toEqual(['10.0.10.0/24 2001:db8::/64', '10.0.10.0/24 10.0.10.7/32 2001:db8::/64']);
});

describe.each(Object.entries(walks<readonly Item[]>([
  [...NODES, policy(ANY), service('web', {}, VIP)],
  [...NODES, policy(ANY), service('web', {externalTrafficPolicy: 'Local'}, VIP), slice('s', 'web', [on('a')])],
  [...NODES, policy(ANY), service('web', {externalTrafficPolicy: 'Local'}, VIP), slice('s', 'web', [on('b')]), service('dns', {}, ['10.0.10.2'])],
  [...NODES, policy(ANY), service('web', {externalTrafficPolicy: 'Local'}, VIP), service('dns', {}, VIP)],
  [...NODES, policy({serviceSelector: {matchLabels: {app: 'web'}}}), service('web', {}, VIP, {app: 'web'}), service('dns', {}, ['10.0.10.2'])],
  [...NODES, policy({serviceSelector: {matchLabels: {app: 'web'}}}), service('web', {}, VIP), service('dns', {}, ['10.0.10.2'], {app: 'web'})],
], [])))('a walk (%s)', (_how, walk) => {
  test('what nodes announce depends on the state, never on the path to it', () => {
    const bench = new Bench();
    for (const state of walk) expect(bench.go(state).both()).toEqual(new Bench().go(state).both());
  });
});
