// Which status a policy has while nodes acknowledge, and when a mere `Pending` is worth a write.

import {describe, expect, test} from '@jest/globals';
import type {Condition} from '../../lib/desired/cluster-state.js';
import {DesiredStore} from '../desired/store.js';
import {decoders} from '../model/decoders.js';
import {applyBatch, emptyTables, type Tables} from '../model/tables.js';
import type {KubeObject, WatchedKind} from '../watch/feed-types.js';
import {Enforcement, ENFORCED, type NodeProgress} from './enforcement.js';
import {Compiler, objectsConcerned} from './graph.js';

const DECODERS = decoders({clusterName: 'default', masquerade: {namespace: 'kube-system', name: 'ip-masq-agent'}, invalidPolicy: 'isolate'});
const NODE: KubeObject = {
  kind: 'Node', metadata: {name: 'a', uid: 'n'}, spec: {podCIDR: '10.98.0.0/24', podCIDRs: ['10.98.0.0/24']}, status: {addresses: [{type: 'InternalIP', address: '10.1.0.10'}]},
};
const podOn = (node: string, name: string): KubeObject => ({
  kind: 'Pod', metadata: {name, namespace: 'default', uid: name, labels: {app: 'db'}}, spec: {nodeName: node, containers: [{name: 'c'}]},
});
const POD = podOn('a', 'db');
const IDENTITY: KubeObject = {
  kind: 'CiliumIdentity', metadata: {name: '300', uid: 'i'},
  'security-labels': {'k8s:app': 'db', 'k8s:io.kubernetes.pod.namespace': 'default', 'k8s:io.cilium.k8s.policy.cluster': 'default'},
};
const policy = (port: number): KubeObject => ({
  apiVersion: 'cilium.io/v2', kind: 'CiliumNetworkPolicy', metadata: {name: 'db', namespace: 'default', uid: 'c', generation: port},
  spec: {endpointSelector: {matchLabels: {app: 'db'}}, ingress: [{fromEndpoints: [{}], toPorts: [{ports: [{port: String(port), protocol: 'TCP'}]}]}]},
});

/** The middle of an operator: what it compiled, and one node's acknowledgements. */
class Middle {
  readonly store = new DesiredStore();
  readonly compiler = new Compiler({
    clusterName: 'default', routingMode: 'native', ipv4NativeRoutingCidr: null, enableIPv4Masquerade: true, tunnelPort: 8472, enforcement: 'default', allowLocalhost: true,
  });
  progress: NodeProgress = {connected: true, unreachable: false, ackedRevision: 0, faults: []};
  readonly enforcement = new Enforcement({compiler: this.compiler, progressOf: () => this.progress});
  tables: Tables = emptyTables();
  policies: ReadonlySet<string> = new Set();

  /** The keys of policies whose status changed. */
  take(...objects: readonly KubeObject[]): ReadonlySet<string> {
    const changes = objects.map((object) => ({
      kind: object['kind'] as WatchedKind, object, key: object.metadata.namespace === undefined ? object.metadata.name : `${object.metadata.namespace}/${object.metadata.name}`,
    }));
    const batch = applyBatch(this.tables, {changes, inSync: true, receivedAtMs: 0}, DECODERS);
    this.tables = batch.tables;
    const compiled = this.compiler.update(batch.tables, batch.changed);
    const revision = this.store.apply(compiled);
    this.policies = batch.changed.policies ?? this.policies;
    return this.enforcement.compiled(batch.tables, {objects: batch.changed.policies ?? [], concerned: objectsConcerned(compiled, this.compiler.policies.compiled)}, revision);
  }

  acknowledge(): ReadonlySet<string> {
    this.progress = {...this.progress, ackedRevision: this.store.revision};
    return this.enforcement.acknowledged(this.tables);
  }

  announce(revision: number): ReadonlySet<string> {
    return this.enforcement.announce(this.policies, this.tables, revision);
  }

  get condition(): Condition | undefined {
    const [key = ''] = this.policies;
    return this.enforcement.statusOf(key)?.conditions.find(({type}) => type === ENFORCED);
  }

  /** `False Pending 2`: status, reason, observed generation. */
  get enforced(): string {
    const {condition} = this;
    return condition === undefined ? '' : `${condition.status} ${condition.reason} ${condition.observedGeneration ?? ''}`;
  }
}

describe('Pending', () => {
  test('is told when a policy has waited, and not of a change that came after the wait began', () => {
    const middle = new Middle();
    middle.enforcement.settling = false;
    middle.take(NODE, POD, IDENTITY);
    middle.take(policy(1));
    const first = middle.store.revision;
    expect(middle.acknowledge().size).toBe(1);
    expect(middle.enforced).toBe('True Enforced 1');
    expect(middle.take(policy(2)).size).toBe(0);
    const second = middle.store.revision;
    expect(second).toBeGreaterThan(first);
    // The wait that began with the first change ends now: the second one has not waited.
    expect(middle.announce(first).size).toBe(0);
    expect(middle.enforced).toBe('True Enforced 1');
    expect(middle.announce(second).size).toBe(1);
    expect(middle.enforced).toBe('False Pending 2');
    expect(middle.acknowledge().size).toBe(1);
    expect(middle.enforced).toBe('True Enforced 2');
  });
});

describe('the nodes that it waits for', () => {
  const on = (node: string, index: number): readonly KubeObject[] => [{
    kind: 'Node', metadata: {name: node, uid: `n-${node}`}, spec: {podCIDR: `10.98.${index}.0/24`, podCIDRs: [`10.98.${index}.0/24`]},
    status: {addresses: [{type: 'InternalIP', address: `10.1.0.${index + 10}`}]},
  }, podOn(node, `db-${node}`)];

  test.each([
    ['one, slow', ['a'], false, 'Pending: acknowledged by 0/1 nodes, not yet by a'],
    ['three, away', ['c', 'a', 'b'], true, 'NodesUnreachable: 3/3: a, b, c'],
    ['five, away', ['e', 'd', 'c', 'b', 'a'], true, 'NodesUnreachable: 5/5: a, b, c and 2 more'],
  ])('are named: %s', (_what, nodes, unreachable, said) => {
    const middle = new Middle();
    middle.enforcement.settling = false;
    middle.take(...nodes.flatMap((node, index) => [...on(node, index)]), IDENTITY);
    middle.progress = {...middle.progress, unreachable};
    middle.take(policy(1));
    middle.announce(middle.store.revision);
    const {status, reason = '', message = ''} = middle.condition ?? {};
    expect([status, `${reason}: ${message}`]).toEqual(['False', said]);
  });
});

describe('blame', () => {
  const egress = (item: object): KubeObject => ({
    apiVersion: 'cilium.io/v2', kind: 'CiliumNetworkPolicy', metadata: {name: 'db', namespace: 'default', uid: 'c', generation: 1}, spec: {endpointSelector: {matchLabels: {app: 'db'}}, egress: [item]},
  });
  const group = (...externalCIDRs: readonly string[]): KubeObject => ({kind: 'CiliumCIDRGroup', metadata: {name: 'offices', uid: 'g'}, spec: {externalCIDRs}});
  const service: KubeObject = {kind: 'Service', metadata: {name: 'old', namespace: 'default', uid: 's'}, spec: {}};
  const slice: KubeObject = {
    kind: 'EndpointSlice', metadata: {name: 'old-1', namespace: 'default', uid: 'e', labels: {'kubernetes.io/service-name': 'old'}}, addressType: 'IPv4', endpoints: [{addresses: ['203.0.113.7']}], ports: [],
  };
  test.each([
    ['a prefix that the policy names', {toCIDR: ['192.0.2.0/24']}, '192.0.2.0/24', true],
    ['an exception', {toCIDRSet: [{cidr: '10.0.0.0/8', except: ['10.1.0.0/16']}]}, '10.1.0.0/16', true],
    ['a prefix of a group', {toCIDRSet: [{cidrGroupRef: 'offices'}]}, '198.51.100.0/24', true],
    ['a prefix of a group by labels', {toCIDRSet: [{cidrGroupSelector: {}}]}, '198.51.100.0/24', true],
    ['an address behind a service', {toServices: [{k8sService: {serviceName: 'old'}}]}, '203.0.113.7/32', true],
    ['a prefix of nobody', {toCIDRSet: [{cidrGroupRef: 'offices'}]}, '192.0.2.0/24', false],
  ])('%s that could not be written', (_what, item, prefix, blamed) => {
    const middle = new Middle();
    middle.enforcement.settling = false;
    middle.take(NODE, POD, IDENTITY, service, slice, group('198.51.100.0/24'));
    middle.take(egress(item));
    middle.acknowledge();
    middle.progress = {...middle.progress, faults: [{kind: 'ipcache', key: prefix, code: 'E2BIG', message: 'full'}]};
    middle.enforcement.reconsidered(middle.tables);
    expect(middle.enforced.split(' ')[1]).toBe(blamed ? 'ApplyFailed' : 'Enforced');
  });

  test('a group that changes is asked as it is then', () => {
    const middle = new Middle();
    middle.enforcement.settling = false;
    middle.take(NODE, POD, IDENTITY, group('198.51.100.0/24'));
    middle.take(egress({toCIDRSet: [{cidrGroupRef: 'offices'}]}));
    middle.take(group('203.0.113.0/24'));
    middle.acknowledge();
    middle.progress = {...middle.progress, faults: [{kind: 'ipcache', key: '203.0.113.0/24', code: 'E2BIG', message: 'full'}]};
    middle.enforcement.reconsidered(middle.tables);
    expect(middle.enforced).toBe('False ApplyFailed 1');
  });
});
