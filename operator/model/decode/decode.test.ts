// Decoders of plain kinds: what is absent, odd or broken in the JSON has a defined outcome.

import {describe, expect, test} from '@jest/globals';
import type {KubeObject} from '../../watch/feed-types.js';
import {decodeBgpPeeringPolicy} from './bgp-peering-policy.js';
import {decodeCiliumEndpoint} from './cilium-endpoint.js';
import {decodeCiliumIdentity} from './cilium-identity.js';
import {decodeApiServer} from './endpoint-slice.js';
import {decodeNode} from './node.js';
import {decodePod} from './pod.js';

const object = (name: string, rest: object = {}, metadata: object = {}): KubeObject => ({metadata: {name, ...metadata}, ...rest});

describe('Pod', () => {
  test('ports, node, phase; a name counts once, in lower case', () => {
    const ports = [{name: 'HTTP', containerPort: 80}, {name: 'dns', containerPort: 53, protocol: 'UDP'}, {containerPort: 9}];
    const pod = decodePod(object('p', {spec: {nodeName: 'n', serviceAccountName: 'sa', containers: [{ports}, {ports: [{name: 'http', containerPort: 81}]}]}, status: {phase: 'Failed'}}, {namespace: 'ns'}));
    expect(pod).toMatchObject({nodeName: 'n', serviceAccount: 'sa', ended: true, hostNetwork: false, namedPorts: {http: {port: 80, protocol: 6}, dns: {port: 53, protocol: 17}}});
  });

  test('an object with nothing in it is an unscheduled pod', () => {
    expect(decodePod(object('p', {spec: 'x', status: 7}))).toMatchObject({nodeName: null, hostNetwork: false, ended: false, namedPorts: {}});
  });
});

describe('Node', () => {
  test.each([
    [{podCIDRs: ['10.1.0.0/24', 'fd00::/64'], podCIDR: '10.1.0.0/24'}, {}, ['10.1.0.0/24', 'fd00::/64']],
    [{podCIDR: '10.1.0.7/24'}, {}, ['10.1.0.0/24']],
    [{}, {'network.cilium.io/ipv4-pod-cidr': '10.2.0.0/24'}, ['10.2.0.0/24']],
    [{}, {'io.cilium.network.ipv4-pod-cidr': '10.3.0.0/24'}, ['10.3.0.0/24']],
    [{podCIDR: '10.1.0.0/24'}, {'network.cilium.io/ipv6-pod-cidr': 'fd00:1::/64', 'network.cilium.io/ipv4-pod-cidr': '10.2.0.0/24'}, ['10.1.0.0/24', 'fd00:1::/64']],
    [{podCIDRs: ['nonsense']}, {}, []],
  ])('PodCIDRs of %j with %j', (spec, annotations, expected) => {
    expect(decodeNode(object('n', {spec}, {annotations})).podCidrs).toEqual(expected);
  });

  test('InternalIP before ExternalIP; host names and broken addresses are none', () => {
    const addresses = [{type: 'ExternalIP', address: '192.0.2.1'}, {type: 'Hostname', address: 'n'}, {type: 'InternalIP', address: '10.0.0.1'}, {type: 'InternalIP', address: '10.0.0'}];
    expect(decodeNode(object('n', {status: {addresses}})).addresses).toEqual([{type: 'InternalIP', ip: '10.0.0.1'}, {type: 'ExternalIP', ip: '192.0.2.1'}]);
  });
});

describe('CiliumIdentity', () => {
  test.each([['abc'], ['0'], ['255'], ['65536'], ['0300'], ['16777217']])('the name %s is no cluster identity', (name) => {
    expect(decodeCiliumIdentity(object(name, {'security-labels': {'k8s:a': 'b'}}))).toMatchObject({code: 'IDENTITY_RANGE', path: 'metadata.name'});
  });

  test('labels come from security-labels alone', () => {
    expect(decodeCiliumIdentity(object('300', {'security-labels': {'k8s:b': '', 'k8s:a': 'x=y'}}, {labels: {c: 'd'}}))).toMatchObject({id: 300, labels: {key: 'k8s:a=x=y;k8s:b'}});
    expect(decodeCiliumIdentity(object('300'))).toMatchObject({code: 'IDENTITY_LABELS'});
  });
});

describe('CiliumEndpoint and EndpointSlice', () => {
  test('the pod’s uid comes from its owner', () => {
    const status = {id: 7, networking: {addressing: [{ipv4: '10.0.0.1'}, {ipv6: 'x'}], node: '10.9.9.9'}};
    expect(decodeCiliumEndpoint(object('e', {status}, {namespace: 'a', ownerReferences: [{kind: 'X', uid: '1'}, {kind: 'Pod', uid: '2'}]})))
      .toMatchObject({podUid: '2', addresses: ['10.0.0.1'], nodeAddress: '10.9.9.9', endpointId: 7});
  });

  test('only the slice of the Service kubernetes names API servers', () => {
    const endpoints = [{addresses: ['10.0.0.2']}, {addresses: ['10.0.0.1', '10.0.0.2']}];
    const labels = {'kubernetes.io/service-name': 'kubernetes'};
    expect(decodeApiServer(object('x', {endpoints}, {namespace: 'default', labels}))).toEqual({addresses: ['10.0.0.1', '10.0.0.2']});
    expect(decodeApiServer(object('kubernetes', {endpoints}, {namespace: 'other', labels}))).toBeNull();
    expect(decodeApiServer(object('web', {endpoints}, {namespace: 'default', labels: {'kubernetes.io/service-name': 'web'}}))).toBeNull();
  });
});

describe('CiliumBGPPeeringPolicy', () => {
  const NEIGHBOR = {peerAddress: '10.0.0.1/24', peerASN: 65001};
  const policy = (router: object, spec: object = {}): ReturnType<typeof decodeBgpPeeringPolicy> =>
    decodeBgpPeeringPolicy(object('p', {spec: {virtualRouters: [{localASN: 65000, neighbors: [NEIGHBOR], ...router}], ...spec}}));
  const paths = (fact: ReturnType<typeof decodeBgpPeeringPolicy>): string[] => fact.rejections.map(({path}) => path);

  test('a zero is a default, and absent families are both', () => {
    const {routers, rejections} = policy({neighbors: [{...NEIGHBOR, peerPort: 0, holdTimeSeconds: 0, gracefulRestart: {enabled: true}}]});
    expect(rejections).toEqual([]);
    expect(routers[0]).toMatchObject({announcements: [], neighbors: [{peer: {
      port: 179, holdTimeSeconds: 90, keepaliveSeconds: 30, gracefulRestart: {enabled: true, restartSeconds: 120},
      families: [{afi: 'ipv4', safi: 'unicast'}, {afi: 'ipv6', safi: 'unicast'}],
    }}]});
  });

  test.each([
    [{neighbors: [{...NEIGHBOR, peerAddress: '10.0.0.1'}]}, 'spec.virtualRouters[0].neighbors[0].peerAddress'],
    [{neighbors: [{...NEIGHBOR, peerASN: -1}]}, 'spec.virtualRouters[0].neighbors[0].peerASN'],
    [{neighbors: [{...NEIGHBOR, peerASN: 4294967296}]}, 'spec.virtualRouters[0].neighbors[0].peerASN'],
    [{neighbors: [{...NEIGHBOR, holdTimeSeconds: 2, keepAliveTimeSeconds: 1}]}, 'spec.virtualRouters[0].neighbors[0].holdTimeSeconds'],
    [{neighbors: [{...NEIGHBOR, keepAliveTimeSeconds: 91}]}, 'spec.virtualRouters[0].neighbors[0].keepAliveTimeSeconds'],
    [{neighbors: [NEIGHBOR, {...NEIGHBOR, peerAddress: '10.0.0.1/32'}]}, 'spec.virtualRouters[0].neighbors'],
    [{localASN: 'x'}, 'spec.virtualRouters[0].localASN'],
  ])('%j is refused as a whole', (router, path) => {
    const fact = policy(router);
    expect([fact.routers, paths(fact)]).toEqual([[], [path]]);
  });

  test('two routers with one ASN, no router at all, and a selector that cannot be read are refused', () => {
    const router = {localASN: 1, neighbors: [NEIGHBOR]};
    expect(paths(policy({}, {virtualRouters: [router, router]}))).toEqual(['spec.virtualRouters']);
    expect(paths(policy({}, {virtualRouters: []}))).toEqual(['spec.virtualRouters']);
    expect(paths(policy({}, {nodeSelector: {matchExpressions: [{key: 'a', operator: 'Near'}]}}))).toEqual(['spec.nodeSelector']);
  });

  test('what is not supported yet is said, and the rest stays in force', () => {
    const fact = policy({serviceSelector: {}, neighbors: [{...NEIGHBOR, families: [{afi: 'ipv4', safi: 'unicast'}, {afi: 'l2vpn', safi: 'evpn'}]}]});
    expect(fact.routers.length).toBe(1);
    expect(fact.routers[0]?.announcements).toMatchObject([{kind: 'Service', addresses: ['LoadBalancerIP']}]);
    expect(paths(fact)).toEqual(['spec.virtualRouters[0].neighbors[0].families[1]']);
    expect(fact.rejections.every(({code}) => code === 'BGP_UNSUPPORTED')).toBe(true);
  });

  test('communities: pairs, numbers, well-known names, merged and sorted', () => {
    const attributes = {selectorType: 'PodCIDR', localPreference: 200, communities: {standard: ['65000:1', '65000:1', '7'], wellKnown: ['no-export'], large: ['1:2:3']}};
    expect(policy({neighbors: [{...NEIGHBOR, advertisedPathAttributes: [attributes]}]}).routers[0]?.neighbors[0]?.attributes).toEqual([
      {from: 'PodCIDR', selector: null, attributes: {localPreference: 200, communities: [7, 65000 * 65536 + 1, 0xffffff01], largeCommunities: ['1:2:3']}},
    ]);
    for (const standard of ['65536:1', 'x', '1:70000']) {
      expect(policy({neighbors: [{...NEIGHBOR, advertisedPathAttributes: [{...attributes, communities: {standard: [standard]}}]}]}).routers).toEqual([]);
    }
  });
});
