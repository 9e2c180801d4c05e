// Services, pools and slices as LB-IPAM and announcements read them.

import {describe, expect, test} from '@jest/globals';
import type {KubeObject} from '../../watch/feed-types.js';
import {decodeBackends} from './endpoint-slice.js';
import {decodeCiliumNode} from './cilium-node.js';
import {decodeExposedService} from './exposed-service.js';
import {decodeLbPool} from './lb-pool.js';
import {decodePodIpPool} from './pod-ip-pool.js';

const service = (spec: object, annotations: Record<string, string> = {}, status: object = {}): KubeObject =>
  ({metadata: {name: 'web', namespace: 'shop', uid: 'u', labels: {app: 'web'}, annotations}, spec, status});

describe('Service', () => {
  test.each([
    ['nothing', {}, {}, [], []],
    ['spec.loadBalancerIP', {loadBalancerIP: '10.0.0.1'}, {}, ['10.0.0.1'], []],
    ['the annotation', {}, {'lbipam.cilium.io/ips': '10.0.0.1, 2001:DB8::1'}, ['10.0.0.1', '2001:db8::1'], []],
    ['its old name', {}, {'io.cilium/lb-ipam-ips': '10.0.0.1'}, ['10.0.0.1'], []],
    ['both names: the new one counts', {}, {'lbipam.cilium.io/ips': '10.0.0.2', 'io.cilium/lb-ipam-ips': '10.0.0.1'}, ['10.0.0.2'], []],
    ['field and annotation', {loadBalancerIP: '10.0.0.1'}, {'lbipam.cilium.io/ips': '10.0.0.1,10.0.0.2'}, ['10.0.0.1', '10.0.0.2'], []],
    ['no addresses', {}, {'lbipam.cilium.io/ips': 'web, ,10.0.0.2,300.0.0.1'}, ['10.0.0.2'], ['web', '300.0.0.1']],
  ])('asks for %s', (...[, spec, annotations, requested, unreadable]) => {
    expect(decodeExposedService(service(spec, annotations))).toMatchObject({requested, unreadable});
  });

  test.each([
    ['new names', {'lbipam.cilium.io/sharing-key': 'x', 'lbipam.cilium.io/sharing-cross-namespace': 'a, b'}],
    ['old names', {'io.cilium/lb-ipam-sharing-key': 'x', 'io.cilium/lb-ipam-sharing-cross-namespace': 'a,b'}],
  ])('shares, by its %s', (_what, annotations) => {
    expect(decodeExposedService(service({}, annotations))).toMatchObject({sharingKey: 'x', sharingNamespaces: ['a', 'b']});
  });

  test('labels for selectors hold its name and namespace', () => {
    expect(decodeExposedService(service({})).labels.format()).toEqual([
      'k8s:app=web', 'k8s:io.kubernetes.service.name=web', 'k8s:io.kubernetes.service.namespace=shop',
    ]);
  });

  test('addresses: None and host names are none, and each counts once', () => {
    const fact = decodeExposedService(service({clusterIP: '10.96.0.1', clusterIPs: ['10.96.0.1', 'fd00::1'], externalIPs: ['192.0.2.1', 'x']}, {}, {
      loadBalancer: {ingress: [{ip: '10.0.0.1', ipMode: 'VIP'}, {hostname: 'lb.example.com'}, {ip: '10.0.0.1'}]}, conditions: [{type: 'cilium.io/IPAMRequestSatisfied'}],
    }));
    expect(fact).toMatchObject({clusterIps: ['10.96.0.1', 'fd00::1'], externalIps: ['192.0.2.1'], ingress: ['10.0.0.1'], hasCondition: true});
    expect(decodeExposedService(service({clusterIP: 'None', clusterIPs: ['None']})).clusterIps).toEqual([]);
  });

  test('defaults are the API server’s', () => {
    expect(decodeExposedService(service({ports: [{port: 80}]}))).toMatchObject({
      type: 'ClusterIP', loadBalancerClass: null, ipFamilyPolicy: null, ipFamilies: [], externalTrafficPolicy: 'Cluster', internalTrafficPolicy: 'Cluster',
      ports: [{port: 80, protocol: 'TCP'}], selector: null, ingress: [], hasCondition: false,
    });
  });

  test('garbage everywhere is nothing, never an error', () => {
    const fact = decodeExposedService({metadata: {name: 'x'}, spec: {type: 7, ports: 'x', clusterIPs: {}, externalIPs: [7], ipFamilies: ['IPv5']}, status: {loadBalancer: [], conditions: 7}} as unknown as KubeObject);
    expect(fact).toMatchObject({ports: [], clusterIps: [], externalIps: [], ipFamilies: [], ingress: []});
  });
});

describe('CiliumLoadBalancerIPPool', () => {
  const pool = (spec: object): ReturnType<typeof decodeLbPool> => decodeLbPool({metadata: {name: 'p'}, spec});
  test.each([
    ['blocks', {blocks: [{cidr: '10.0.0.9/24'}]}, ['10.0.0.0-10.0.0.255 prefix']],
    ['cidrs', {cidrs: [{cidr: '10.0.0.0/32'}]}, ['10.0.0.0-10.0.0.0 prefix']],
    ['the same in both', {cidrs: [{cidr: '10.0.0.0/24'}], blocks: [{cidr: '10.0.0.0/24'}]}, ['10.0.0.0-10.0.0.255 prefix']],
    ['ranges', {blocks: [{start: '10.0.0.1', stop: '10.0.0.9'}, {start: '2001:db8::1'}]}, ['10.0.0.1-10.0.0.9', '2001:db8::1-2001:db8::1']],
    ['an IPv6 prefix', {blocks: [{cidr: '2001:db8::/112'}]}, ['2001:db8::-2001:db8::ffff prefix']],
  ])('%s', (_what, spec, expected) => {
    const {blocks, rejections} = pool(spec);
    expect(blocks.map(({first, last, isPrefix}) => `${first}-${last}${isPrefix ? ' prefix' : ''}`)).toEqual(expected);
    expect(rejections).toEqual([]);
  });

  test.each([
    ['a range that ends before it starts', {start: '10.0.0.9', stop: '10.0.0.1'}, 'stop lies before start'],
    ['families mixed', {start: '10.0.0.9', stop: '2001:db8::1'}, 'start and stop are of different families'],
    ['nothing', {}, 'neither a cidr nor a range: {}'],
    ['no address', {start: 'x'}, 'neither a cidr nor a range: {"start":"x"}'],
    ['no prefix', {cidr: '10.0.0.0/33'}, 'not a prefix: 10.0.0.0/33'],
  ])('%s means nothing, and says so; the other blocks count', (_what, block, reason) => {
    const {blocks, rejections} = pool({blocks: [block, {start: '10.0.0.1'}]});
    expect(blocks).toHaveLength(1);
    expect(rejections).toMatchObject([{path: 'spec.blocks[0]', code: 'LBIPPoolInvalid', reason}]);
  });

  test('a selector that cannot be read selects nothing: the pool has no addresses', () => {
    const {blocks, rejections} = pool({blocks: [{start: '10.0.0.1'}], serviceSelector: {matchExpressions: [{key: 'a', operator: 'Like'}]}});
    expect([blocks, rejections.map(({path}) => path)]).toEqual([[], ['spec.serviceSelector']]);
  });
});

describe('EndpointSlice', () => {
  test.each([
    ['ready', {conditions: {ready: true}}, ['n']],
    ['nothing said', {}, ['n']],
    ['not ready', {conditions: {ready: false, serving: true}}, []],
    ['about to end', {conditions: {ready: true, terminating: true}}, []],
    ['ready by order, about to end', {conditions: {ready: true, serving: true, terminating: true}}, []],
    ['on no node', {nodeName: undefined}, []],
  ])('an endpoint that is %s', (_what, endpoint, nodes) => {
    const slice = {metadata: {name: 's', namespace: 'shop', labels: {'kubernetes.io/service-name': 'web'}}, endpoints: [{addresses: ['10.98.0.1'], nodeName: 'n', ...endpoint}]};
    expect(decodeBackends(slice)).toEqual({service: 'shop/web', nodes});
  });

  test('a slice of no Service', () => expect(decodeBackends({metadata: {name: 's', namespace: 'shop'}, endpoints: []})).toBeNull());
});

test('prefixes of pod pools are in the CiliumNode; the pool has its name as a label', () => {
  const node = decodeCiliumNode({metadata: {name: 'n'}, spec: {ipam: {pools: {allocated: [{pool: 'blue', cidrs: ['10.20.0.0/27', 'x']}, {pool: 'red', cidrs: ['10.30.0.0/27']}]}}}});
  expect(node.pools).toEqual([{pool: 'blue', prefix: '10.20.0.0/27'}, {pool: 'red', prefix: '10.30.0.0/27'}]);
  expect(decodePodIpPool({metadata: {name: 'blue', labels: {a: 'b'}}}).labels.format()).toEqual(['k8s:a=b', 'k8s:io.cilium.podippool.name=blue', 'k8s:io.cilium.podippool.namespace']);
});
