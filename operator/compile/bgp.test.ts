// Tables: BGP objects and one node → its speaker. Both generations.

import {describe, expect, test} from '@jest/globals';
import type {Speaker} from '../../lib/domain/bgp.js';
import {decoders} from '../model/decoders.js';
import {applyBatch, emptyTables, type Applied} from '../model/tables.js';
import type {Change, KubeObject, WatchedKind} from '../watch/feed-types.js';
import {Speakers} from './bgp-speakers.js';

const DECODERS = decoders({clusterName: 'default', masquerade: {namespace: 'kube-system', name: 'ip-masq-agent'}, invalidPolicy: 'isolate'});
type Item = readonly [WatchedKind, KubeObject];

const node = (name: string, more: object = {}): Item => ['Node', {
  metadata: {name, uid: `node-${name}`, labels: {rack: 'rack0'}, ...more}, spec: {podCIDRs: ['10.98.0.0/24', 'fd00:98::/64']},
  status: {addresses: [{type: 'InternalIP', address: '10.1.5.10'}]},
}];
const object = (kind: WatchedKind, name: string, spec: object, metadata: object = {}): Item =>
  [kind, {metadata: {name, uid: `${kind}-${name}`, creationTimestamp: '2026-01-01T00:00:00Z', ...metadata}, spec}];
const secret = (name: string, data: Record<string, string>): Item => ['Secret', {metadata: {name, namespace: 'kube-system'}, stringData: data}];
const policy = (name: string, neighbor: object = {}, router: object = {}): Item => object('CiliumBGPPeeringPolicy', name, {
  virtualRouters: [{localASN: 65005, exportPodCIDR: true, neighbors: [{peerAddress: '10.1.5.1/24', peerASN: 65005, ...neighbor}], ...router}],
});
const clusterConfig = (name: string, peers: readonly object[], more: object = {}): Item =>
  object('CiliumBGPClusterConfig', name, {bgpInstances: [{name: 'asn-65005', localASN: 65005, peers, ...more}]});
const PEER = {name: 'leaf', peerASN: 65005, peerAddress: '10.1.5.1', peerConfigRef: {name: 'leaf'}};
const peerConfig = (spec: object = {}): Item => object('CiliumBGPPeerConfig', 'leaf', {
  families: [{afi: 'ipv4', safi: 'unicast', advertisements: {matchLabels: {advertise: 'bgp'}}}], ...spec,
});
const advertisement = (name: string, items: readonly object[]): Item => object('CiliumBGPAdvertisement', name, {advertisements: items}, {labels: {advertise: 'bgp'}});
const POD_CIDR = {advertisementType: 'PodCIDR'};

const VIP: readonly Item[] = [
  object('CiliumLoadBalancerIPPool', 'gold', {blocks: [{cidr: '10.20.0.0/24'}]}, {labels: {tier: 'gold'}}),
  ['Service', {metadata: {name: 's', namespace: 'd', uid: 'u'}, spec: {type: 'LoadBalancer'}, status: {loadBalancer: {ingress: [{ip: '10.20.0.1'}]}}}],
];

function applied(items: readonly Item[]): Applied {
  const changes = items.map(([kind, one]): Change => ({kind, key: one.metadata.namespace === undefined ? one.metadata.name : `${one.metadata.namespace}/${one.metadata.name}`, object: one}));
  return applyBatch(emptyTables(), {changes, inSync: true, receivedAtMs: 0}, DECODERS);
}

function compile(items: readonly Item[]): {speaker: Speaker; findings: string[]} {
  const {tables, changed} = applied(items);
  const speakers = new Speakers();
  speakers.update(tables, changed);
  return {
    speaker: speakers.resource('a').value as Speaker,
    findings: speakers.findings().map(({object: {kind, name}, reason}) => `${kind} ${name} ${reason}`).sort(),
  };
}

describe('CiliumBGPPeeringPolicy', () => {
  test('services: attributes follow the pool of the address, and differ by neighbor', () => {
    const rule = {selectorType: 'CiliumLoadBalancerIPPool', selector: {matchLabels: {tier: 'gold'}}, localPreference: 200};
    const neighbors = [{peerAddress: '10.1.5.1/24', peerASN: 65005, advertisedPathAttributes: [rule]}, {peerAddress: '10.1.5.2/24', peerASN: 65005}];
    const {speaker} = compile([node('a'), policy('p', {}, {exportPodCIDR: false, serviceSelector: {}, neighbors}), ...VIP]);
    expect(speaker.instances[0]?.advertisements).toMatchObject([
      {prefix: '10.20.0.1/32', peers: ['10.1.5.1'], localPreference: 200, origin: {kind: 'Service', name: 's'}},
      {prefix: '10.20.0.1/32', peers: ['10.1.5.2'], localPreference: null},
    ]);
  });

  test('a password is that of the named Secret; without it the peer says so', () => {
    const items = [node('a'), policy('p', {authSecretRef: 'leaf-password'})];
    const {speaker, findings} = compile([...items, secret('leaf-password', {password: 'geheim'})]);
    expect([speaker.instances[0]?.peers, findings]).toMatchObject([[{authSecret: 'leaf-password', password: 'geheim'}], []]);
    for (const missing of [[], [secret('leaf-password', {other: 'x'})]]) {
      const without = compile([...items, ...missing]);
      expect(without.speaker.instances[0]?.peers[0]).not.toHaveProperty('password');
      expect(without.findings).toEqual(['CiliumBGPPeeringPolicy p BGPSecretMissing']);
    }
  });

  test.each<[string, Item[]]>([
    ['a keepalive above the hold time', [policy('p', {holdTimeSeconds: 9})]],
    ['an unreadable selector', [object('CiliumBGPPeeringPolicy', 'p', {nodeSelector: {matchExpressions: [{key: 'a', operator: 'Near'}]}, virtualRouters: []})]],
    ['a broken community', [policy('p', {advertisedPathAttributes: [{selectorType: 'PodCIDR', communities: {large: ['1:2']}}]})]],
  ])('%s holds the node: nothing is withdrawn', (_what, items) => {
    const {speaker, findings} = compile([node('a'), ...items]);
    expect([speaker.instances, speaker.holds?.map(({instance, peer}) => [instance, peer]), findings]).toEqual([[], [[null, null]], ['CiliumBGPPeeringPolicy p BGPPolicyHeld']]);
  });

  test('a policy with an unreadable selector holds only what nobody else says', () => {
    const broken = object('CiliumBGPPeeringPolicy', 'broken', {nodeSelector: {matchExpressions: [{key: '', operator: 'In'}]}}, {creationTimestamp: '2020-01-01T00:00:00Z'});
    expect(compile([node('a'), broken, policy('p')]).speaker).toMatchObject({source: {name: 'p'}, instances: [{asn: 65005}]});
  });

  test('a broken annotation holds its instance, the other goes on', () => {
    const routers = {virtualRouters: [65005, 65006].map((localASN) => ({localASN, neighbors: [{peerAddress: '10.1.5.1/24', peerASN: 1}]}))};
    const {speaker, findings} = compile([node('a', {annotations: {'cilium.io/bgp-virtual-router.65005': 'router-id=x', 'cilium.io/bgp-virtual-router.': 'x'}}), object('CiliumBGPPeeringPolicy', 'p', routers)]);
    expect([speaker.instances.map(({name}) => name), speaker.holds?.map(({instance}) => instance)]).toEqual([['asn-65006'], ['asn-65005']]);
    expect(findings).toEqual(['CiliumBGPPeeringPolicy p BGPAnnotationInvalid', 'CiliumBGPPeeringPolicy p BGPRouterInvalid']);
  });
});

describe('BFD', () => {
  const peering = (annotation: string, routers: readonly object[]): Item => object('CiliumBGPPeeringPolicy', 'p', {virtualRouters: routers}, {annotations: {'bgp.stentor.io/bfd': annotation}});
  const router = (localASN: number, ...neighbors: readonly object[]): object => ({localASN, neighbors});
  const near = {peerAddress: '10.1.5.1/24', peerASN: 1};
  const far = {peerAddress: '10.9.0.1/32', peerASN: 2, eBGPMultihopTTL: 3};

  test('by annotation, in one instance, for peers of one hop', () => {
    const {speaker, findings} = compile([node('a'), peering('50ms x 3', [router(65005, near, far), router(65006, near)])]);
    expect(speaker.instances.map(({peers}) => peers.map(({bfd}) => bfd ?? null))).toEqual([[{intervalMs: 50, multiplier: 3}, null], [null]]);
    expect(findings).toEqual(['CiliumBGPPeeringPolicy p BGPBfdRefused', 'CiliumBGPPeeringPolicy p BGPBfdRefused']);
  });

  test.each(['50', '5ms x 3', '50ms x 1', 'x'])('%s is no timing: the node is held', (written) => {
    expect(compile([node('a'), peering(written, [router(65005, near)])]).speaker.holds).toMatchObject([{instance: null}]);
  });

  test('of a peer config', () => {
    const config = object('CiliumBGPPeerConfig', 'leaf', {}, {annotations: {'bgp.stentor.io/bfd': '1s x 3'}});
    expect(compile([node('a'), clusterConfig('c', [PEER]), config]).speaker.instances).toMatchObject([{peers: [{bfd: {intervalMs: 1000, multiplier: 3}}]}]);
  });
});

describe('BGPv2', () => {
  const WHOLE = [node('a'), clusterConfig('rack0', [PEER]), peerConfig(), advertisement('pods', [POD_CIDR])];

  test('the same speaker as the policy that says the same', () => {
    const v1 = compile([node('a'), policy('p', {families: [{afi: 'ipv4', safi: 'unicast'}]})]).speaker;
    const v2 = compile(WHOLE).speaker;
    expect(v2.instances).toEqual(v1.instances);
    expect(v2.instances[0]?.advertisements).toMatchObject([{prefix: '10.98.0.0/24', peers: []}]);
  });

  test('every field of a peer config, and the override of the node', () => {
    const spec = {
      transport: {peerPort: 1790}, timers: {connectRetryTimeSeconds: 5, holdTimeSeconds: 9, keepAliveTimeSeconds: 3}, ebgpMultihop: 4,
      gracefulRestart: {enabled: true, restartTimeSeconds: 60}, families: [{afi: 'ipv6', safi: 'unicast', advertisements: {matchLabels: {advertise: 'bgp'}}}],
    };
    const override = object('CiliumBGPNodeConfigOverride', 'a', {bgpInstances: [
      {name: 'asn-65005', routerID: '1.2.3.4', localASN: 65999, localPort: 1179, peers: [{name: 'leaf', localAddress: '10.1.5.10'}]},
    ]});
    const {speaker} = compile([node('a'), clusterConfig('rack0', [PEER]), peerConfig(spec), advertisement('pods', [POD_CIDR]), override]);
    expect(speaker.instances).toMatchObject([{asn: 65999, routerId: '1.2.3.4', listenPort: 1179, advertisements: [{prefix: 'fd00:98::/64'}], peers: [{
      address: '10.1.5.1', port: 1790, connectRetrySeconds: 5, holdTimeSeconds: 9, keepaliveSeconds: 3, multihopTtl: 4, localAddress: '10.1.5.10',
      gracefulRestart: {enabled: true, restartSeconds: 60}, families: [{afi: 'ipv6'}],
    }]}]);
  });

  test('advertisements that overlap: communities of all, the highest preference', () => {
    const gold = {...POD_CIDR, attributes: {localPreference: 200, communities: {standard: ['65005:1'], large: ['1:2:3']}}};
    const bronze = {...POD_CIDR, attributes: {localPreference: 50, communities: {wellKnown: ['no-export']}}};
    expect(compile([...WHOLE.slice(0, 3), advertisement('x', [gold]), advertisement('y', [bronze])]).speaker.instances[0]?.advertisements).toMatchObject([
      {prefix: '10.98.0.0/24', localPreference: 200, communities: [65005 * 65536 + 1, 0xffffff01], largeCommunities: ['1:2:3']},
    ]);
  });

  test('no peer config: Cilium’s defaults, and nothing is announced; neither is it without a selector of advertisements', () => {
    const {peerConfigRef: _, ...bare} = PEER;
    for (const items of [[clusterConfig('c', [bare])], [clusterConfig('c', [PEER]), peerConfig({families: [{afi: 'ipv4', safi: 'unicast'}]})]]) {
      expect(compile([node('a'), ...items, advertisement('pods', [POD_CIDR])]).speaker.instances).toMatchObject([{peers: [{holdTimeSeconds: 90, port: 179}], advertisements: []}]);
    }
  });

  test.each<[string, Item[], [string | null, string | null]]>([
    ['a peer config that is not there', [clusterConfig('c', [PEER])], ['asn-65005', '10.1.5.1']],
    ['a broken peer config', [clusterConfig('c', [PEER]), peerConfig({timers: {holdTimeSeconds: 3, keepAliveTimeSeconds: 9}})], ['asn-65005', '10.1.5.1']],
    ['a broken advertisement', [...WHOLE.slice(1, 3), advertisement('x', [{advertisementType: 'Everything'}])], ['asn-65005', '10.1.5.1']],
    ['an instance without an ASN', [clusterConfig('c', [PEER], {localASN: undefined}), peerConfig()], ['asn-65005', null]],
    ['a broken cluster config', [clusterConfig('c', [PEER, PEER])], [null, null]],
    ['a broken override', [...WHOLE.slice(1), object('CiliumBGPNodeConfigOverride', 'a', {bgpInstances: [{name: 'asn-65005', routerID: '::1'}]})], [null, null]],
  ])('%s holds what it is about, and says so', (_what, items, [instance, peer]) => {
    const {speaker, findings} = compile([node('a'), ...items]);
    expect(speaker.holds).toMatchObject([{instance, peer}]);
    expect(findings).toHaveLength(1);
  });

  test('of two cluster configs the older is in force; a policy of the old kind goes before both', () => {
    const young = object('CiliumBGPClusterConfig', 'young', {bgpInstances: [{name: 'x', localASN: 1}]}, {creationTimestamp: '2026-02-01T00:00:00Z'});
    const two = compile([...WHOLE, young]);
    expect([two.speaker.source?.name, two.findings]).toEqual(['rack0', ['CiliumBGPClusterConfig rack0 BGPPolicyConflict', 'CiliumBGPClusterConfig young BGPPolicyConflict']]);
    const three = compile([...WHOLE, young, policy('old-kind')]);
    expect([three.speaker.source?.name, three.findings.length]).toEqual(['old-kind', 3]);
  });

  test('a peer that is to be found stands as the address of its family', () => {
    const found = {name: 'gateway', peerASN: 65005, peerConfigRef: {name: 'leaf'}, autoDiscovery: {mode: 'DefaultGateway', defaultGateway: {addressFamily: 'ipv4'}}};
    expect(compile([...WHOLE.slice(0, 1), clusterConfig('c', [found]), ...WHOLE.slice(2)]).speaker.instances).toMatchObject([{peers: [{address: '0.0.0.0'}], advertisements: [{peers: []}]}]);
    expect(compile([node('a'), clusterConfig('c', [{...found, autoDiscovery: {mode: 'Somehow'}}])]).speaker.holds).toMatchObject([{instance: null}]);
  });

  test('a policy of the old kind whose selector cannot be read is no reason to hold what a cluster config says', () => {
    const broken = object('CiliumBGPPeeringPolicy', 'broken', {nodeSelector: {matchExpressions: [{key: '', operator: 'In'}]}});
    expect(compile([...WHOLE, broken]).speaker).toMatchObject({source: {name: 'rack0'}, instances: [{asn: 65005}]});
  });

  test('addresses of an interface: to the peers whose families select the advertisement, with the attributes of all; a source port of the override, or of all', () => {
    const items = [{advertisementType: 'Interface', interface: {name: 'lo'}, attributes: {localPreference: 7}}, {advertisementType: 'Interface', interface: {name: 'lo'}, attributes: {communities: {standard: ['1:1']}}}];
    const {speaker, findings} = compile([...WHOLE.slice(0, 2), peerConfig({transport: {localPort: 1790}}), advertisement('loopback', items)]);
    expect([speaker.instances, findings]).toMatchObject([[{advertisements: [], peers: [{localPort: 1790}], interfaces: [
      {interface: 'lo', afi: 'ipv4', peer: '10.1.5.1', localPreference: 7, communities: [65537], origin: {kind: 'Node', name: 'a'}}]}], []]);
    const override = object('CiliumBGPNodeConfigOverride', 'a', {bgpInstances: [{name: 'asn-65005', peers: [{name: 'leaf', localPort: 40179}]}]});
    expect(compile([...WHOLE, override]).speaker.instances[0]).toMatchObject({peers: [{localPort: 40179}]});
    expect(compile([...WHOLE, override]).speaker.instances[0]).not.toHaveProperty('interfaces');
    expect(compile([node('a'), clusterConfig('c', [PEER]), peerConfig(), advertisement('x', [{advertisementType: 'Interface'}])]).speaker.holds).toMatchObject([{peer: '10.1.5.1'}]);
  });

  test('both generations on different nodes do not touch each other', () => {
    const own = object('CiliumBGPPeeringPolicy', 'p', {nodeSelector: {matchLabels: {rack: 'rack1'}}, virtualRouters: [{localASN: 1, neighbors: [{peerAddress: '10.1.5.1/24', peerASN: 1}]}]});
    expect(compile([...WHOLE, own])).toMatchObject({speaker: {source: {kind: 'CiliumBGPClusterConfig'}}, findings: []});
  });
});
