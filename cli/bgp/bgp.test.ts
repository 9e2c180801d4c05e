// The offline BGP verbs, as their users run them.

import {mkdtempSync, rmSync, writeFileSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {afterAll, describe, expect, test} from '@jest/globals';
import {stringify} from 'yaml';
import type {KubeObject} from '../../lib/kube/object.js';
import {stentorctl} from '../policy/testing/run.js';
import {waitingChanges} from './confirm.js';
import {drainStateOf, isDone} from './drain.js';
import {clusterPeersOf} from './peers.js';
import {routePoliciesOf} from './policies.js';

const RACK = 'cli/bgp/testing/rack';
const NODES = `${RACK}/nodes.yaml`;
const folder = mkdtempSync(join(tmpdir(), 'bgp-'));
afterAll(() => rmSync(folder, {recursive: true}));

function file(name: string, ...objects: readonly object[]): string {
  const path = join(folder, `${name}.yaml`);
  writeFileSync(path, objects.map((object) => stringify(object)).join('---\n'));
  return path;
}

const json = (...args: readonly string[]): {readonly code: number | null; readonly value: unknown; readonly err: string} => {
  const {code, out, err} = stentorctl(['bgp', ...args, '-o', 'json']);
  return {code, err, value: out === '' ? null : JSON.parse(out) as unknown};
};

describe('compile', () => {
  test('every node’s instances, peers and paths, and no password', () => {
    const {code, value} = json('compile', RACK);
    expect(code).toBe(1);
    expect(value).toMatchObject({conflicts: [{reason: 'BGPBfdRefused'}, {reason: 'BGPBfdRefused'}], nodes: [
      {name: 'a', source: {kind: 'CiliumBGPPeeringPolicy', name: 'rack0'}, instances: [{
        name: 'asn-65005', asn: 65005, routerId: '10.1.5.10', listenPort: -1,
        peers: [
          {address: '10.1.5.1', asn: 65005, authSecret: 'leaf', bfd: {intervalMs: 50, multiplier: 3}, gracefulRestart: {enabled: true, restartSeconds: 120}, families: ['ipv4/unicast', 'ipv6/unicast']},
          {address: '10.1.6.1', asn: 65100, multihopTtl: 4, bfd: null, holdTimeSeconds: 9, keepaliveSeconds: 3, families: ['ipv4/unicast']},
        ],
        paths: [
          {prefix: '10.20.0.1/32', peers: [], origin: {kind: 'Service', namespace: 'shop', name: 'web'}},
          {prefix: '10.98.0.0/24', peers: ['10.1.6.1'], family: 'ipv4/unicast', attributes: {localPreference: 150, communities: ['65005:99'], largeCommunities: ['65005:1:2']}},
          {prefix: '10.98.0.0/24', peers: ['10.1.5.1'], attributes: {localPreference: null, communities: [], largeCommunities: []}},
        ],
      }]},
      {name: 'b', instances: [{routerId: '1.2.3.4', listenPort: 1790, paths: [{prefix: '10.98.1.0/24'}, {prefix: '10.98.1.0/24'}]}]},
      {name: 'c', source: null, instances: []},
    ]});
  });

  test('a Service without an address has the one that LB-IPAM would give; another pool is another address', () => {
    const objects = (cidr: string): readonly object[] => [
      {apiVersion: 'v1', kind: 'Node', metadata: {name: 'n'}, status: {addresses: [{type: 'InternalIP', address: '10.1.5.10'}]}},
      {apiVersion: 'cilium.io/v2', kind: 'CiliumLoadBalancerIPPool', metadata: {name: 'blue'}, spec: {blocks: [{cidr}]}},
      {apiVersion: 'v1', kind: 'Service', metadata: {name: 'web'}, spec: {type: 'LoadBalancer', ports: [{port: 80}]}},
      {apiVersion: 'cilium.io/v2alpha1', kind: 'CiliumBGPPeeringPolicy', metadata: {name: 'p'}, spec: {virtualRouters: [{localASN: 65005, serviceSelector: {}, neighbors: [{peerAddress: '10.1.5.1/24', peerASN: 65005}]}]}},
    ];
    const base = file('lbipam', ...objects('10.20.10.0/24'));
    expect(json('compile', base).value).toMatchObject({nodes: [{instances: [{paths: [{prefix: '10.20.10.0/32', origin: {kind: 'Service', name: 'web'}}]}]}]});
    const {value} = json('plan', file('lbipam-next', ...objects('10.20.11.0/24')), '--base', base, '--yes');
    expect(value).toMatchObject({changes: [{change: 'withdraw', prefix: '10.20.10.0/32'}, {change: 'announce', prefix: '10.20.11.0/32'}]});
  });

  test('what is broken or contends is named, with exit code 1', () => {
    const other = file('other', {apiVersion: 'cilium.io/v2', kind: 'CiliumBGPClusterConfig', metadata: {name: 'new'}, spec: {bgpInstances: [{name: 'x', localASN: 1, peers: [{name: 'p', peerAddress: '10.1.5.9', peerConfigRef: {name: 'none'}}]}]}});
    const {code, value} = json('compile', RACK, other);
    expect(code).toBe(1);
    expect(value).toMatchObject({
      conflicts: expect.arrayContaining([expect.objectContaining({object: 'CiliumBGPClusterConfig new', reason: 'BGPPolicyConflict'})]),
      nodes: [{}, {}, {name: 'c', holds: [{instance: 'x', peer: '10.1.5.9'}]}],
    });
  });
});

describe('plan', () => {
  const policyWith = (router: object, neighbors: readonly object[]): string => file('plan', {
    apiVersion: 'cilium.io/v2alpha1', kind: 'CiliumBGPPeeringPolicy', metadata: {name: 'rack0'},
    spec: {nodeSelector: {matchLabels: {rack: 'rack0'}}, virtualRouters: [{localASN: 65005, exportPodCIDR: true, neighbors, ...router}]},
  });
  const FIRST = {peerAddress: '10.1.5.1/24', peerASN: 65005, authSecretRef: 'leaf', gracefulRestart: {enabled: true}};

  test('what is the same changes nothing', () => {
    const {code, value} = json('plan', `${RACK}/policy.yaml`, '--base', RACK);
    expect([code, value]).toMatchObject([0, {changes: [], withdrawn: 0, paths: 6}]);
  });

  test('withdrawals beyond the share are refused, unless they are meant', () => {
    const path = policyWith({}, [{...FIRST, holdTimeSeconds: 30, keepAliveTimeSeconds: 10}]);
    const refused = json('plan', path, '--base', RACK);
    expect([refused.code, refused.err]).toEqual([1, expect.stringContaining('refused: more than 20% would be withdrawn')]);
    expect(refused.value).toMatchObject({paths: 6, withdrawn: 4, refused: true});
    expect((refused.value as {changes: object[]}).changes).toEqual(expect.arrayContaining([
      {node: 'a', instance: 'asn-65005', peer: '10.1.5.1', change: 'session resets', prefix: '', detail: 'holdTimeSeconds, keepaliveSeconds'},
      {node: 'a', instance: 'asn-65005', peer: '10.1.6.1', change: 'session ends', prefix: '', detail: 'AS 65100'},
      {node: 'a', instance: 'asn-65005', peer: '10.1.5.1', change: 'withdraw', prefix: '10.20.0.1/32', detail: ''},
    ]));
    expect(json('plan', path, '--base', RACK, '--yes').code).toBe(0);
    expect(json('plan', path, '--base', RACK, '--max-withdraw', '70%').code).toBe(0);
    expect(json('plan', path, '--base', RACK, '--max-withdraw', 'some').code).toBe(2);
  });

  test('an invalid policy withdraws nothing: it is held, and a finding', () => {
    const {code, value} = json('plan', policyWith({}, [{...FIRST, holdTimeSeconds: 9}]), '--base', RACK);
    expect([code, value]).toMatchObject([1, {changes: [], withdrawn: 0, refused: false}]);
  });

  test('--prune: what is not in the manifests is gone', () => {
    const {value} = json('plan', file('empty', {apiVersion: 'v1', kind: 'Namespace', metadata: {name: 'x'}}), '--base', RACK, '--prune');
    expect(value).toMatchObject({paths: 6, withdrawn: 6, refused: true});
  });
});

describe('convert', () => {
  test('the newer kinds, and the proof that they say the same on every node', () => {
    const {code, out, err} = stentorctl(['bgp', 'convert', RACK]);
    expect([code, err]).toEqual([0, 'proof: on 3 nodes the compiled speakers are equal\n']);
    const converted = join(folder, 'converted.yaml');
    writeFileSync(converted, out);
    const [before, after] = [json('compile', RACK).value, json('compile', NODES, converted).value] as {nodes: {instances: unknown}[]}[];
    expect(after?.nodes.map(({instances}) => instances)).toEqual(before?.nodes.map(({instances}) => instances));
    expect(out).toContain('kind: CiliumBGPNodeConfigOverride');
    // Taking the policy away, when the new objects are there, changes nothing.
    expect(json('plan', converted, '--base', RACK, '--prune').value).toMatchObject({changes: [], withdrawn: 0});
  });

  test('what cannot be said is told; without nodes there is no proof', () => {
    const policy = file('selective', {apiVersion: 'cilium.io/v2alpha1', kind: 'CiliumBGPPeeringPolicy', metadata: {name: 'p'}, spec: {virtualRouters: [{localASN: 1, exportPodCIDR: true, neighbors: [{
      peerAddress: '10.1.5.1/24', peerASN: 1, advertisedPathAttributes: [{selectorType: 'PodCIDR', selector: {matchLabels: {rack: 'rack1'}}, localPreference: 9}]}]}]}});
    const {code, err} = stentorctl(['bgp', 'convert', policy, NODES]);
    expect([code, err]).toEqual([1, expect.stringMatching(/by a selector of nodes or pools cannot be said[\s\S]*node a: the compiled speakers differ/)]);
    expect(stentorctl(['bgp', 'convert', `${RACK}/policy.yaml`])).toMatchObject({code: 1, err: expect.stringContaining('no proof')});
  });
});

describe('why', () => {
  const why = (about: string, ...more: readonly string[]): string[] => (json('why', about, '--input', RACK, '--api-socket', join(folder, 'none'), ...more).value as {node: string; peer: string; told: boolean | null; closed: string | null; reason: string}[])
    .map(({node, peer, told, closed, reason}) => [node, peer, String(told), closed ?? '-', reason].join(' '));

  test('the first closed gate of each node and peer', () => {
    expect(why('shop/web')).toEqual([
      'a 10.1.5.1 null - announced; how its session stands only the node’s own agent knows',
      'a 10.1.6.1 null - announced; how its session stands only the node’s own agent knows',
      'b  false announcement Service shop/web has traffic policy Local and no ready endpoint on node b',
      'c  false selected no CiliumBGPPeeringPolicy and no CiliumBGPClusterConfig selects the node',
    ]);
    expect(why('10.20.0.1', '--node', 'b')).toEqual(['b  false announcement Service shop/web has traffic policy Local and no ready endpoint on node b']);
    expect(why('10.98.0.0/24', '--node', 'b')).toEqual(['b  false origin it is the PodCIDR of node a']);
    expect(why('192.0.2.0/24', '--node', 'a')).toEqual(['a  false origin no PodCIDR, Service or pool of the input has it']);
  });

  test('neither prefix nor Service', () => expect(json('why', 'shop/nothing', '--input', RACK)).toMatchObject({code: 2, err: expect.stringContaining('neither a prefix nor a Service')}));
});

test('the peers of all nodes, from what the operator writes', () => {
  expect(clusterPeersOf({metadata: {name: 'a'}, status: {bgpInstances: [{name: 'main', localASN: 65000, peers: [
    {name: 'leaf', peerAddress: '10.1.5.1', peerASN: 65001, peeringState: 'active', reason: 'connection refused'}]}]}})).toEqual([{
    node: 'a', instance: 'main', localAsn: 65000, name: 'leaf', address: '10.1.5.1', peerAsn: 65001, session: 'active', establishedTime: '', reason: 'connection refused', families: []}]);
});

describe('drain and confirm', () => {
  const node = (annotations: Readonly<Record<string, string>>, spec: object = {}): KubeObject => ({metadata: {name: 'a', annotations}, spec});
  const config = (...conditions: readonly object[]): KubeObject => ({metadata: {name: 'a'}, spec: {}, status: {conditions}});

  test('how a drain stands, and when it is done', () => {
    const draining = (reason: string, message: string): object => ({type: 'stentor.io/Draining', status: reason === 'NotDraining' ? 'False' : 'True', reason, message, lastTransitionTime: '2026-01-01T00:00:00Z'});
    const shutdown = drainStateOf(node({'bgp.stentor.io/drain': 'never'}, {unschedulable: true}), config(draining('GracefulShutdown', 'asked for: x')));
    expect(shutdown).toEqual({node: 'a', state: 'GracefulShutdown', since: '2026-01-01T00:00:00Z', annotation: 'never', cordoned: true, message: 'asked for: x'});
    expect([isDone(shutdown, false), isDone({...shutdown, annotation: 'all'}, false), isDone({...shutdown, state: 'Withdrawn'}, false)]).toEqual([true, false, true]);
    expect([isDone(shutdown, true), isDone({...shutdown, message: 'the node is cordoned: x'}, true), isDone({...shutdown, state: 'NotDraining', message: ''}, true)]).toEqual([false, true, true]);
    expect(drainStateOf(node({}), undefined)).toMatchObject({state: '', since: '', annotation: null, cordoned: false});
  });

  test('wrong words are refused before anything is asked', () => {
    for (const words of [['--undo'], ['a', '--undo', '--withdraw', 'all'], ['a', '--withdraw', 'some'], ['a', '--wait', 'long'], ['--wait']]) {
      expect(stentorctl(['bgp', 'drain', ...words, '--kubeconfig', '/nowhere'])).toMatchObject({code: 2});
    }
    expect(stentorctl(['bgp', 'confirm', '--change', 'x', '--kubeconfig', '/nowhere'])).toMatchObject({code: 2});
    expect(stentorctl(['bgp', 'drain', 'a', '--kubeconfig', '/nowhere'])).toMatchObject({code: 3});
  });

  test('what waits, with what its nodes say of it', () => {
    const record: KubeObject = {metadata: {name: 'x'}, data: {waiting: JSON.stringify([{id: 'CiliumBGPClusterConfig/c', hash: 'abc', gone: true}])}};
    expect(waitingChanges(record, ['CiliumBGPClusterConfig/c: why --change abc'])).toEqual([{object: 'CiliumBGPClusterConfig/c', change: 'abc', gone: true, message: 'CiliumBGPClusterConfig/c: why --change abc'}]);
    expect(waitingChanges(null, [])).toEqual([]);
  });
});

test('route policies in Cilium’s words', () => {
  const origin = {kind: 'Node', namespace: '', name: 'a', uid: ''};
  const advertisement = {prefix: '10.98.0.0/24', peers: ['10.1.5.1'], localPreference: 150, communities: [65005 * 65536 + 99], largeCommunities: ['1:2:3'], origin};
  const value = {instances: [{name: 'x', asn: 65005, routerId: '1.1.1.1', listenPort: -1, peers: [], advertisements: [advertisement]}], source: null};
  expect(routePoliciesOf({resources: [{kind: 'speaker', key: 'speaker', version: 'x', value}]})).toEqual([{
    vrouter: 65005, prefix: '10.98.0.0/24', type: 'export', peers: ['10.1.5.1'], action: 'accept',
    pathActions: ['SetLocalPreference: 150', 'AddCommunities: [65005:99]', 'AddLargeCommunities: [1:2:3]'],
  }]);
});
