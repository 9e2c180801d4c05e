// Random walks of cluster states: whatever the path, and however it is cut into batches, the nodes hold what a compiler that starts at the
// last state would give them.

import {describe, expect, test} from '@jest/globals';
import fc from 'fast-check';
import {DesiredStore} from '../desired/store.js';
import {decoders} from '../model/decoders.js';
import {applyBatch, applyRows, emptyTables, reportKey} from '../model/tables.js';
import type {EndpointReportFact} from '../model/facts.js';
import type {KubeObject, WatchedKind} from '../watch/feed-types.js';
import {Compiler, type CompileOptions} from './graph.js';

const DECODERS = decoders({clusterName: 'default', masquerade: {namespace: 'kube-system', name: 'ip-masq-agent'}, invalidPolicy: 'isolate'});
const NODES = ['a', 'b', 'c'];
const APPS = ['web', 'db'];
const OWNER = {ownerReferences: [{kind: 'Pod', uid: '1'}]};
const TEAMS = [null, 'blue'];

interface State {
  /** `kind key` → object. */
  readonly objects: ReadonlyMap<string, {readonly kind: WatchedKind; readonly object: KubeObject}>;
  readonly reports: ReadonlyMap<string, EndpointReportFact>;
}

const node = fc.constantFrom(null, '10.98.0.0/24', '10.98.0.0/24', '10.98.7.0/24');
const pod = fc.option(fc.record({
  node: fc.constantFrom('a', 'a', 'b', 'c', ''), app: fc.constantFrom(...APPS), namespace: fc.constantFrom('x', 'x', 'y'), uid: fc.constantFrom('1', '2'),
  kind: fc.constantFrom('plain', 'plain', 'plain', 'host', 'ended'), port: fc.constantFrom(0, 80, 8080),
  /** The address of the node that a CiliumEndpoint of an earlier life names. */
  restored: fc.constantFrom(null, null, '10.1.0.1', '10.1.0.2'),
  /** Where an agent says that it is, at which address; addresses may be those of others. */
  report: fc.option(fc.record({node: fc.constantFrom('a', 'a', 'b'), address: fc.constantFrom('10.98.0.5', '10.98.0.6', '10.98.7.5'), state: fc.constantFrom('ready', 'ready', 'disconnected')}), {nil: null}),
}), {nil: null});
const PEERS: readonly object[] = [
  {fromEndpoints: [{matchLabels: {app: 'web'}}]}, {fromEndpoints: [{}]}, {fromEndpoints: [{matchLabels: {'k8s:io.kubernetes.pod.namespace': 'y'}}]},
  {fromEndpoints: [{matchExpressions: [{key: 'app', operator: 'NotIn', values: ['web']}]}]}, {fromEntities: ['host']}, {fromEntities: ['kube-apiserver']},
  {fromCIDR: ['192.0.2.0/24', '10.98.0.0/24']}, {fromCIDRSet: [{cidr: '192.0.0.0/16', except: ['192.0.2.0/24', '10.98.0.5/32']}]}, {fromEntities: ['world']},
  {fromCIDRSet: [{cidrGroupRef: 'offices'}]},
];
const policy = fc.option(fc.record({
  namespace: fc.constantFrom('x', 'y'), subject: fc.constantFrom<object>({}, {matchLabels: {app: 'web'}}, {matchLabels: {app: 'db'}}),
  list: fc.constantFrom('ingress', 'ingress', 'ingressDeny'), peers: fc.constantFrom(...PEERS), ports: fc.constantFrom<object>({}, {toPorts: [{ports: [{port: 'http'}]}]}),
}), {nil: null});
const world = fc.record({
  nodes: fc.tuple(node, node, node), pods: fc.tuple(pod, pod, pod, pod), policies: fc.tuple(policy, policy, policy),
  teams: fc.tuple(fc.constantFrom(...TEAMS), fc.constantFrom(...TEAMS)), identities: fc.nat(255), apiServer: fc.constantFrom('', '192.0.2.77', '10.1.0.1'),
  offices: fc.constantFrom<readonly string[]>([], ['192.0.2.0/24'], ['203.0.113.0/24', '10.98.7.0/24']), init: fc.boolean(),
});
type World = typeof world extends fc.Arbitrary<infer T> ? T : never;

function stateOf({nodes, pods, policies, teams, identities, apiServer, offices, init}: World): State {
  const objects = new Map<string, {readonly kind: WatchedKind; readonly object: KubeObject}>();
  const put = (kind: WatchedKind, object: KubeObject): void => {
    const {namespace, name} = object.metadata;
    objects.set(`${kind} ${namespace === undefined ? name : `${namespace}/${name}`}`, {kind, object});
  };
  for (const [i, cidr] of nodes.entries()) {
    const name = NODES[i] ?? '';
    if (cidr !== null) put('Node', {metadata: {name, uid: name}, spec: {podCIDRs: [cidr]}, status: {addresses: [{type: 'InternalIP', address: `10.1.0.${i + 1}`}]}});
  }
  for (const [i, namespace] of ['x', 'y'].entries()) if (typeof teams[i] === 'string') put('Namespace', {metadata: {name: namespace, labels: {team: teams[i]}}});
  const reports = new Map<string, EndpointReportFact>();
  for (const [i, one] of pods.entries()) {
    if (one === null) continue;
    const ports = one.port === 0 ? [] : [{name: 'http', containerPort: one.port}];
    put('Pod', {
      metadata: {name: `p${i}`, namespace: one.namespace, uid: one.uid, labels: {app: one.app}},
      spec: {nodeName: one.node, hostNetwork: one.kind === 'host', containers: [{name: 'c', ports}]}, status: {phase: one.kind === 'ended' ? 'Succeeded' : 'Running'},
    });
    if (one.restored !== null) {
      put('CiliumEndpoint', {
        metadata: {name: `p${i}`, namespace: one.namespace, uid: `cep${i}`, ...OWNER},
        status: {id: 9, state: 'ready', networking: {node: one.restored, addressing: [{ipv4: '10.98.0.9'}]}},
      });
    }
    const {report} = one;
    if (report !== null) {
      reports.set(reportKey(report.node, `${one.namespace}/p${i}`), {
        node: report.node, namespace: one.namespace, name: `p${i}`, uid: '1', endpointId: 7, containerId: '', state: report.state, addresses: report.state === 'ready' ? [report.address] : [],
      });
    }
  }
  for (const [i, one] of policies.entries()) {
    if (one === null) continue;
    const spec = {endpointSelector: one.subject, [one.list]: [{...one.peers, ...one.ports}]};
    put('CiliumNetworkPolicy', {apiVersion: 'cilium.io/v2', kind: 'CiliumNetworkPolicy', metadata: {name: `p${i}`, namespace: one.namespace, uid: `p${i}`, generation: 1}, spec});
  }
  if (init) put('CiliumClusterwideNetworkPolicy', {apiVersion: 'cilium.io/v2', metadata: {name: 'init', uid: 'init', generation: 1}, spec: {endpointSelector: {matchLabels: {'reserved:init': ''}}, egress: [{toCIDR: ['192.0.2.0/24']}]}});
  const sets = ['x', 'y'].flatMap((namespace) => APPS.flatMap((app) => TEAMS.map((team) => ({namespace, app, team}))));
  for (const [i, {namespace, app, team}] of sets.entries()) {
    if (((identities >> i) & 1) === 0) continue;
    put('CiliumIdentity', {metadata: {name: String(1000 + i), uid: String(i)}, 'security-labels': {
      'k8s:app': app, 'k8s:io.kubernetes.pod.namespace': namespace, 'k8s:io.cilium.k8s.policy.cluster': 'default',
      ...(team === null ? {} : {'k8s:io.cilium.k8s.namespace.labels.team': team}),
    }});
  }
  if (apiServer !== '') put('EndpointSlice', {metadata: {name: 'kubernetes', namespace: 'default', labels: {'kubernetes.io/service-name': 'kubernetes'}}, endpoints: [{addresses: [apiServer]}]});
  if (offices.length > 0) put('CiliumCIDRGroup', {metadata: {name: 'offices', uid: 'offices'}, spec: {externalCIDRs: offices}});
  return {objects, reports};
}

class Walker {
  readonly store = new DesiredStore();
  readonly #compiler: Compiler;
  #tables = emptyTables();
  #state: State = {objects: new Map(), reports: new Map()};

  constructor(options: CompileOptions) {
    this.#compiler = new Compiler(options);
  }

  /** `cut`: which share of the changes comes in a batch of its own, before the others. */
  go(next: State, cut = 1, reportsFirst = false): void {
    const changes = [...new Set([...this.#state.objects.keys(), ...next.objects.keys()])].flatMap((id) => {
      const any = next.objects.get(id) ?? this.#state.objects.get(id);
      return any === undefined ? [] : [{kind: any.kind, key: id.slice(id.indexOf(' ') + 1), object: next.objects.get(id)?.object ?? null}];
    });
    if (reportsFirst) this.#report(next);
    const at = Math.floor(changes.length * cut);
    for (const part of [changes.slice(at), changes.slice(0, at)]) {
      const batch = applyBatch(this.#tables, {changes: part, inSync: true, receivedAtMs: 0}, DECODERS);
      this.#tables = batch.tables;
      this.store.apply(this.#compiler.update(batch.tables, batch.changed));
    }
    this.#report(next);
    this.#state = next;
  }

  #report(next: State): void {
    const keys = new Set([...this.#state.reports.keys(), ...next.reports.keys()]);
    const {tables, changed} = applyRows(this.#tables, 'endpointReports', [...keys].map((key) => [key, next.reports.get(key) ?? null]));
    this.#tables = tables;
    this.store.apply(this.#compiler.update(tables, changed));
  }

  dump(): unknown {
    const {store} = this;
    return Object.fromEntries(store.nodeNames().sort().map((name) => {
      const held = [...store.nodeState(name)].map(([id, item]): [string, unknown] => [id, item.value]);
      return [name, {version: store.version(name), held: Object.fromEntries(held.sort(([a], [b]) => (a < b ? -1 : 1)))}];
    }));
  }

  desired(): unknown {
    return Object.fromEntries([...this.#compiler.identities.desired()].map(([id, labels]) => [id, labels.key]));
  }
}

const steps = fc.array(fc.record({world, cut: fc.constantFrom(0, 0.3, 0.6, 1), reportsFirst: fc.boolean()}), {minLength: 2, maxLength: 6});

describe.each(['native', 'tunnel'] as const)('a walk (%s)', (routingMode) => {
  const options: CompileOptions = {
    clusterName: 'default', routingMode, ipv4NativeRoutingCidr: null, enableIPv4Masquerade: true, tunnelPort: 8472, enforcement: 'default', allowLocalhost: true,
  };

  test('ends where a start at its last state ends', () => {
    fc.assert(fc.property(steps, (walk) => {
      const walker = new Walker(options);
      for (const {world: one, cut, reportsFirst} of walk) {
        const state = stateOf(one);
        walker.go(state, cut, reportsFirst);
        const fresh = new Walker(options);
        fresh.go(state);
        expect(walker.dump()).toEqual(fresh.dump());
        expect(walker.desired()).toEqual(fresh.desired());
      }
    }), {numRuns: Number(process.env['STENTOR_WALKS'] ?? 60)});
  });
});
