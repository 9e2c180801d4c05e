// Offline = online: what a node holds, expanded as an agent does, gives the verdicts that the offline compiler gives for the
// same objects. The ways differ (per node and incremental, against the whole cluster at once); the answers must not.

import {describe, expect, test} from '@jest/globals';
import fc from 'fast-check';
import {prefixOf, parseAddress, maxLength, parsePrefix} from '../../lib/core/ip.js';
import {PrefixTrie} from '../../lib/core/trie.js';
import type {NodeState} from '../../lib/desired/node-state.js';
import {identityId, IDENTITY_WORLD, LOCAL_IDENTITY_MIN, type IdentityId} from '../../lib/domain/identity.js';
import {identityLabels} from '../../lib/domain/label-filter.js';
import {expandPolicy, type ExpandContext} from '../../lib/policy/entries.js';
import {compileCluster, seenFrom, type CompiledCluster} from '../../lib/policy/offline.js';
import {indexEntries, lookup, type PolicyIndex} from '../../lib/policy/verdict.js';
import {DesiredStore} from '../desired/store.js';
import {decoders} from '../model/decoders.js';
import {applyBatch, applyRows, emptyTables, reportKey} from '../model/tables.js';
import type {Change} from '../watch/feed-types.js';
import {PolicyLab} from '../../lib/testing/builders.js';
import {labSpecOf} from '../../lib/testing/reference-lab.js';
import {objectsOf} from '../../lib/testing/reference-objects.js';
import {refWorld, REF_ADDRESSES, type RefWorld} from '../../lib/testing/reference-world.js';
import {Compiler, type CompileOptions} from './graph.js';

const NODES = ['n0', 'n1', 'n2'];
const nodeIp = (i: number): string => `10.0.0.${i + 1}`;
const podIp = (i: number): string => `10.98.${i % 3}.${10 + i}`;
const DECODERS = decoders({clusterName: 'default', masquerade: {namespace: 'kube-system', name: 'ip-masq-agent'}, invalidPolicy: 'isolate'});
const APPS = ['web', 'db', 'api'];

const pods = fc.array(fc.record({app: fc.constantFrom(...APPS), namespace: fc.constantFrom('x', 'y'), http: fc.constantFrom(0, 80, 8080)}), {minLength: 2, maxLength: 6});
const peers = fc.constantFrom<object>(
  {}, {endpoints: [{matchLabels: {app: 'web'}}]}, {endpoints: [{}]}, {endpoints: [{matchExpressions: [{key: 'app', operator: 'NotIn', values: ['web']}]}]},
  {endpoints: [{matchLabels: {'k8s:io.kubernetes.pod.namespace': 'y'}}]}, {cidrs: ['192.0.2.0/24']}, {cidrs: ['192.0.2.0/25', '10.98.1.0/24', '10.0.0.2/32']},
  {cidrSet: [{cidr: '192.0.0.0/16', except: ['192.0.2.0/24']}]}, {cidrSet: [{cidr: '0.0.0.0/0', except: ['192.0.2.64/26']}]},
  {entities: ['world']}, {entities: ['host']}, {entities: ['remote-node']}, {entities: ['cluster']}, {entities: ['kube-apiserver']}, {entities: ['all']},
);
const ports = fc.constantFrom<object>({}, {toPorts: [{ports: [{port: '80', protocol: 'TCP'}]}]}, {toPorts: [{ports: [{port: 'http'}]}]},
  {toPorts: [{ports: [{port: '1000', endPort: 2000, protocol: 'UDP'}]}]}, {icmps: [{fields: [{type: 8, family: 'IPv4'}]}]});
const FIELDS: Readonly<Record<string, string>> = {endpoints: 'Endpoints', cidrs: 'CIDR', cidrSet: 'CIDRSet', entities: 'Entities'};
const policies = fc.array(fc.record({
  namespace: fc.constantFrom('x', 'y'), subject: fc.constantFrom<object>({}, {matchLabels: {app: 'web'}}, {matchLabels: {app: 'db'}}),
  list: fc.constantFrom('ingress', 'egress', 'ingressDeny', 'egressDeny'), peers, ports, more: fc.option(peers, {nil: null}),
}), {maxLength: 5});
const cluster = fc.record({pods, policies, apiServer: fc.constantFrom('192.0.2.77', nodeIp(1)), order: fc.nat(5)});
type Cluster = typeof cluster extends fc.Arbitrary<infer T> ? T : never;

function changesOf(input: Cluster): Change[] {
  const item = (side: string, from: object): object => Object.fromEntries(Object.entries(from).map(([key, value]) => [`${side}${FIELDS[key] ?? ''}`, value]));
  return [
    ...NODES.map((name, i): Change => ({kind: 'Node', key: name, object: {metadata: {name}, spec: {podCIDRs: [`10.98.${i}.0/24`]}, status: {addresses: [{type: 'InternalIP', address: nodeIp(i)}]}}})),
    {kind: 'EndpointSlice', key: 'default/kubernetes', object: {metadata: {name: 'kubernetes', namespace: 'default'}, endpoints: [{addresses: [input.apiServer]}]}},
    ...input.pods.map(({app, namespace, http}, i): Change => ({kind: 'Pod', key: `${namespace}/p${i}`, object: {
      metadata: {name: `p${i}`, namespace, uid: `p${i}`, labels: {app}},
      spec: {nodeName: NODES[i % 3], containers: [{ports: http === 0 ? [] : [{name: 'http', containerPort: http}]}]},
    }})),
    ...input.policies.map(({namespace, subject, list, peers: one, ports: l4, more}, i): Change => {
      const side = list.startsWith('ingress') ? 'from' : 'to';
      const items = [{...item(side, one), ...l4}, ...(more === null ? [] : [item(side, more)])];
      return {kind: 'CiliumNetworkPolicy', key: `${namespace}/c${i}`, object: {
        apiVersion: 'cilium.io/v2', kind: 'CiliumNetworkPolicy', metadata: {name: `c${i}`, namespace, uid: `c${i}`, generation: 1}, spec: {endpointSelector: subject, [list]: items},
      }};
    }),
  ];
}

/** A pod that its node has reported. */
interface Reported {
  readonly namespace: string;
  readonly name: string;
  readonly node: string;
  readonly addresses: readonly string[];
}

interface Given {
  readonly changes: readonly Change[];
  readonly pods: readonly Reported[];
  /** Where the changes are cut in two, in fifths. */
  readonly order: number;
}

/** Compiled as in the operator, in several batches. */
function online({changes, pods: reported, order}: Given, more: Pick<CompileOptions, 'enforcement' | 'allowLocalhost'>) {
  const compiler = new Compiler({
    clusterName: 'default', routingMode: 'native', ipv4NativeRoutingCidr: null, enableIPv4Masquerade: true, tunnelPort: 8472, ...more,
  });
  const store = new DesiredStore();
  let tables = emptyTables();
  const put = (batch: readonly Change[]): void => {
    const applied = applyBatch(tables, {changes: batch, inSync: true, receivedAtMs: 0}, DECODERS);
    tables = applied.tables;
    store.apply(compiler.update(tables, applied.changed));
  };
  const cut = Math.floor((changes.length * order) / 5);
  put(changes.slice(cut));
  put(changes.slice(0, cut));
  put([...compiler.identities.desired()].map(([name, labels]): Change => ({kind: 'CiliumIdentity', key: name, object: {
    metadata: {name}, 'security-labels': Object.fromEntries(labels.all.map((label) => [`${label.source}:${label.key}`, label.value])),
  }})));
  const reports = applyRows(tables, 'endpointReports', reported.map(({namespace, name, node, addresses}, i) => [reportKey(node, `${namespace}/${name}`), {
    node, namespace, name, uid: tables.pods.get(`${namespace}/${name}`)?.uid ?? '', endpointId: i + 1, addresses, containerId: '', state: 'ready',
  }]));
  tables = reports.tables;
  store.apply(compiler.update(tables, reports.changed));
  const numbers = new Map([...tables.identities.values()].map(({id, labels}) => [labels.key, id]));
  return {store, numbers, rules: [...tables.policies.values()].flatMap((fact) => fact.rules)};
}

interface View {
  identityAt(address: string): IdentityId;
  readonly policyOf: (pod: string) => PolicyIndex;
}

/** What one node makes of its state. */
function agentView(state: NodeState): View {
  const trie = new PrefixTrie<IdentityId>();
  const local = new Map<string, IdentityId>();
  for (const item of state.values()) {
    if (item.kind !== 'ipcache') continue;
    const prefix = parsePrefix(item.key);
    if (prefix === null) throw new Error(item.key);
    if (item.value.identity === null) local.set(item.key, identityId(LOCAL_IDENTITY_MIN + local.size));
    trie.set(prefix, item.value.identity ?? local.get(item.key) ?? IDENTITY_WORLD);
  }
  const of = (id: string): NodeState extends ReadonlyMap<string, infer R> ? R : never => {
    const item = state.get(id);
    if (item === undefined) throw new Error(`dangling reference: ${id}`);
    return item;
  };
  const context: Omit<ExpandContext, 'namedPort'> = {
    members: (id) => {
      const item = of(`selector/${id}`);
      if (item.kind !== 'selector') throw new Error(id);
      for (const prefix of item.value.prefixes) if (!local.has(prefix)) throw new Error(`selector ${id} names ${prefix}, which has no entry`);
      return item.value;
    },
    numberOf: (prefix) => local.get(prefix),
    peerNamedPorts: (name, protocol) => new Map([...state.values()].flatMap((item) => (item.kind !== 'identity' ? []
      : (item.value.namedPorts ?? []).filter((port) => port.name === name && port.protocol === protocol).map(({port}): [IdentityId, number] => [item.value.id, port])))),
  };
  return {
    identityAt: (address) => longest(trie, address),
    policyOf: (pod) => {
      const endpoint = of(`endpoint/${pod}`);
      if (endpoint.kind !== 'endpoint') throw new Error(pod);
      const policy = of(`policy/${endpoint.value.identity}`);
      if (policy.kind !== 'policy') throw new Error(pod);
      const namedPort = (name: string, protocol: number): number | undefined => {
        const own = endpoint.value.namedPorts[name];
        return own?.protocol === protocol ? own.port : undefined;
      };
      return indexEntries(expandPolicy(policy.value, {...context, namedPort}).entries);
    },
  };
}

function longest(trie: PrefixTrie<IdentityId>, address: string): IdentityId {
  const parsed = parseAddress(address);
  return parsed === null ? IDENTITY_WORLD : trie.longestMatch(parsed)?.value ?? IDENTITY_WORLD;
}

function offlineView(compiled: CompiledCluster, node: string): View {
  const trie = new PrefixTrie<IdentityId>();
  for (const entry of compiled.ipcache) {
    const prefix = parsePrefix(entry.prefix);
    if (prefix !== null) trie.set(prefixOf(prefix, Math.min(prefix.length, maxLength(prefix.family))), seenFrom(entry, node));
  }
  return {
    identityAt: (address) => longest(trie, address),
    policyOf: (pod) => {
      const endpoint = compiled.endpoints.get(pod);
      if (endpoint === undefined) throw new Error(pod);
      return endpoint.index;
    },
  };
}

const OUTSIDE = ['192.0.2.77', '192.0.2.1', '192.0.2.70', '192.0.2.200', '192.0.9.9', '8.8.8.8', '10.98.1.200', nodeIp(0), nodeIp(1), nodeIp(2)];
const L4: readonly [number, number][] = [[6, 80], [6, 8080], [6, 81], [17, 1500], [17, 2001], [1, 8], [1, 0]];

/** How many questions both were asked; the first one that they answer differently is an error. */
function agree(store: DesiredStore, compiled: CompiledCluster, reported: readonly Reported[], addresses: readonly string[]): number {
  let judged = 0;
  for (const {namespace, name, node} of reported) {
    const [agent, offline] = [agentView(store.nodeState(node)), offlineView(compiled, node)];
    const [mine, theirs] = [agent.policyOf(`${namespace}/${name}`), offline.policyOf(`${namespace}/${name}`)];
    for (const address of addresses) {
      for (const direction of ['ingress', 'egress'] as const) {
        for (const [protocol, port] of L4) {
          const verdict = (view: View, index: PolicyIndex): string => lookup(index, {direction, identity: view.identityAt(address), protocol, port}).verdict;
          judged++;
          if (verdict(agent, mine) !== verdict(offline, theirs)) {
            throw new Error(`${namespace}/${name} ${direction} ${address} ${protocol}/${port}: node ${verdict(agent, mine)}, offline ${verdict(offline, theirs)}`);
          }
        }
      }
    }
  }
  return judged;
}

describe('offline and online', () => {
  test('give the same verdict for every pod, peer and port', () => {
    let judged = 0;
    fc.assert(fc.property(cluster, (input) => {
      const reported = input.pods.map(({namespace}, i): Reported => ({namespace, name: `p${i}`, node: `n${i % 3}`, addresses: [podIp(i)]}));
      const {store, numbers, rules} = online({changes: changesOf(input), pods: reported, order: input.order}, {enforcement: 'default', allowLocalhost: true});
      const compiled = compileCluster({
        endpoints: input.pods.map(({app, namespace, http}, i) => ({
          namespace, name: `p${i}`, node: `n${i % 3}`, ips: [podIp(i)], namedPorts: http === 0 ? [] : [{name: 'http', protocol: 6, port: http}],
          labels: identityLabels({podLabels: {app}, namespace, namespaceLabels: {}, serviceAccount: '', clusterName: 'default'}),
        })),
        hostPods: [], rules, identities: numbers, apiServerAddresses: [input.apiServer],
        nodes: NODES.map((name, i) => ({name, addresses: [nodeIp(i)], podCidrs: [`10.98.${i}.0/24`]})),
      }, {mode: 'default', allowLocalhost: true, routingMode: 'native'});
      judged += agree(store, compiled, reported, [...OUTSIDE, ...reported.flatMap(({addresses}) => addresses)]);
    }), {numRuns: 150});
    expect(judged).toBeGreaterThan(10_000);
  });

  test('in the worlds of the reference, with groups, services and what is refused', () => {
    let judged = 0;
    fc.assert(fc.property(refWorld, fc.nat(5), (given, order) => {
      const world = onePortPerName({...given, ipv6: false});
      const reported = world.pods.map(({namespace, name, node, ips}): Reported => ({namespace, name, node, addresses: ips.filter((ip) => !ip.includes(':'))}));
      const {store} = online({changes: objectsOf(world), pods: reported, order}, {enforcement: world.mode, allowLocalhost: world.allowLocalhost});
      const {compiled} = new PolicyLab({...labSpecOf(world), names: {}});
      judged += agree(store, compiled, reported, [...REF_ADDRESSES[4], ...reported.flatMap(({addresses}) => addresses)]);
    }), {numRuns: 100});
    expect(judged).toBeGreaterThan(10_000);
  });
});

/** A name stands for one port of a pod, as in its object. */
function onePortPerName(world: RefWorld): RefWorld {
  return {...world, pods: world.pods.map((pod) => ({...pod, ports: pod.ports.filter(({name}, i) => pod.ports.findIndex((port) => port.name === name) === i)}))};
}
