// Walks of cluster states through the compiler: what the nodes get depends on the state, never on the path to it.

import {describe, expect, test} from '@jest/globals';
import {parseLabelFilter} from '../../lib/domain/label-filter-parse.js';
import type {Resource} from '../../lib/desired/node-state.js';
import {resourceId} from '../../lib/desired/node-state.js';
import {DesiredStore} from '../desired/store.js';
import {decoders} from '../model/decoders.js';
import {applyBatch, applyRows, emptyTables, reportKey} from '../model/tables.js';
import type {EndpointReportFact} from '../model/facts.js';
import type {KubeObject, WatchedKind} from '../watch/feed-types.js';
import {Compiler, type CompileOptions} from './graph.js';

const OPTIONS: CompileOptions = {
  clusterName: 'default', routingMode: 'tunnel', ipv4NativeRoutingCidr: null, enableIPv4Masquerade: true, tunnelPort: 8472,
  enforcement: 'default', allowLocalhost: true,
};
const DECODERS = decoders({clusterName: 'default', masquerade: {namespace: 'kube-system', name: 'ip-masq-agent'}, invalidPolicy: 'isolate'});

type Content = ReadonlyMap<string, {readonly kind: WatchedKind; readonly object: KubeObject}>;
interface State {
  readonly objects: Content;
  readonly reports: ReadonlyMap<string, EndpointReportFact>;
}

function state(objects: readonly [WatchedKind, KubeObject][], reports: readonly EndpointReportFact[] = []): State {
  return {
    objects: new Map(objects.map(([kind, object]) => [`${kind} ${keyOf(object)}`, {kind, object}])),
    reports: new Map(reports.map((report) => [reportKey(report.node, `${report.namespace}/${report.name}`), report])),
  };
}

function keyOf({metadata}: KubeObject): string {
  return metadata.namespace === undefined ? metadata.name : `${metadata.namespace}/${metadata.name}`;
}

/** An operator without a stream: takes states, holds what every node should have. */
class Bench {
  readonly store = new DesiredStore();
  readonly compiler: Compiler;
  #tables = emptyTables();
  #state: State = {objects: new Map(), reports: new Map()};

  constructor(options: CompileOptions = OPTIONS) {
    this.compiler = new Compiler(options);
  }

  go(next: State): void {
    const changes = [...new Set([...this.#state.objects.keys(), ...next.objects.keys()])].flatMap((id) => {
      const [before, after] = [this.#state.objects.get(id), next.objects.get(id)];
      const any = after ?? before;
      return any === undefined || before?.object === after?.object ? [] : [{kind: any.kind, key: keyOf(any.object), object: after?.object ?? null}];
    });
    const batch = applyBatch(this.#tables, {changes, inSync: true, receivedAtMs: 0}, DECODERS);
    this.store.apply(this.compiler.update(batch.tables, batch.changed));
    const keys = new Set([...this.#state.reports.keys(), ...next.reports.keys()]);
    const reports = applyRows(batch.tables, 'endpointReports', [...keys].map((key) => [key, next.reports.get(key) ?? null]));
    this.store.apply(this.compiler.update(reports.tables, reports.changed));
    this.#tables = reports.tables;
    this.#state = next;
  }

  /** Everything every node holds, readable. */
  dump(): Record<string, Record<string, unknown>> {
    return Object.fromEntries([...this.store.nodeNames()].sort().map((node) => {
      const held = [...this.store.nodeState(node).values()].map((item): [string, unknown] => [resourceId(item), item.value]);
      return [node, Object.fromEntries(held.sort(([a], [b]) => (a < b ? -1 : 1)))];
    }));
  }

  on(node: string, id: string): Resource['value'] | null {
    return this.store.get(node, id)?.value ?? null;
  }
}

function walks<S>(walk: readonly S[], empty: S): Record<string, readonly S[]> {
  return {'as written': walk, 'backwards': walk.toReversed(), 'through empty': walk.flatMap((one) => [empty, one]), 'each twice': walk.flatMap((one) => [one, one])};
}

const node = (name: string, ip: string, cidr: string, labels: Record<string, string> = {}): [WatchedKind, KubeObject] => ['Node', {
  apiVersion: 'v1', kind: 'Node', metadata: {name, uid: `node-${name}`, labels}, spec: {podCIDRs: [cidr]},
  status: {addresses: [{type: 'Hostname', address: name}, {type: 'InternalIP', address: ip}]},
}];
const pod = (name: string, nodeName: string, labels: Record<string, string>, extra: object = {}): [WatchedKind, KubeObject] => ['Pod', {
  apiVersion: 'v1', kind: 'Pod', metadata: {name, namespace: 'default', uid: `pod-${name}`, labels},
  spec: {nodeName, containers: [{name: 'c', ports: [{name: 'http', containerPort: 8080}]}], ...extra}, status: {phase: 'Running'},
}];
const identity = (id: number, labels: Record<string, string>, createdAt = '2025-01-01T00:00:00Z'): [WatchedKind, KubeObject] => ['CiliumIdentity', {
  apiVersion: 'cilium.io/v2', kind: 'CiliumIdentity', metadata: {name: String(id), uid: `id-${id}`, creationTimestamp: createdAt},
  'security-labels': {'k8s:io.kubernetes.pod.namespace': 'default', 'k8s:io.cilium.k8s.policy.cluster': 'default', ...labels},
}];
const report = (name: string, nodeName: string, address: string): EndpointReportFact => ({
  node: nodeName, namespace: 'default', name, uid: `pod-${name}`, endpointId: 7, addresses: [address], containerId: 'abc', state: 'ready',
});
const policy = (name: string, spec: object): [WatchedKind, KubeObject] => ['CiliumNetworkPolicy', {
  apiVersion: 'cilium.io/v2', kind: 'CiliumNetworkPolicy', metadata: {name, namespace: 'default', uid: `cnp-${name}`, generation: 1}, spec,
}];
const slice = (address: string): [WatchedKind, KubeObject] => ['EndpointSlice', {
  metadata: {name: 'kubernetes', namespace: 'default', labels: {'kubernetes.io/service-name': 'kubernetes'}}, endpoints: [{addresses: [address]}],
}];

const NODES = [node('a', '10.1.5.10', '10.98.0.0/24', {rack: 'rack0'}), node('b', '10.1.8.10', '10.98.1.0/24', {rack: 'rack1'})];
const WEB = identity(1000, {'k8s:app': 'web'});
const DB = identity(2000, {'k8s:app': 'db'});
const WEB_TO_DB = policy('db', {
  endpointSelector: {matchLabels: {app: 'db'}},
  ingress: [{fromEndpoints: [{matchLabels: {app: 'web'}}], toPorts: [{ports: [{port: '5432', protocol: 'TCP'}]}]}],
});
const CIDRS = policy('out', {
  endpointSelector: {matchLabels: {app: 'web'}},
  egress: [{toCIDRSet: [{cidr: '10.96.0.0/12', except: ['10.98.0.0/16', '10.97.0.0/16']}]}, {toCIDR: ['192.0.2.0/24']}, {toEntities: ['kube-apiserver']}],
});

const EMPTY = state([]);
const PODS = state([...NODES, pod('web', 'a', {app: 'web'}), pod('db', 'b', {app: 'db'})]);
const READ_BACK = state([...NODES, pod('web', 'a', {app: 'web'}), pod('db', 'b', {app: 'db'}), WEB, DB],
  [report('web', 'a', '10.98.0.5'), report('db', 'b', '10.98.1.6')]);
const POLICED = state([...READ_BACK.objects.values()].map(({kind, object}): [WatchedKind, KubeObject] => [kind, object]).concat([WEB_TO_DB, CIDRS, slice('192.0.2.77')]),
  [...READ_BACK.reports.values()]);
const MOVED = state([...NODES, pod('web', 'b', {app: 'web'}), pod('db', 'b', {app: 'db', tier: 'x'}), WEB, DB, identity(900, {'k8s:app': 'web'}, '2024-01-01T00:00:00Z'),
  WEB_TO_DB, slice('10.1.5.10')], [report('web', 'b', '10.98.1.5')]);
const LABELLED = state([...READ_BACK.objects.values()].map(({kind, object}): [WatchedKind, KubeObject] => [kind, object]).concat([
  ['Namespace', {metadata: {name: 'default', labels: {team: 'x'}}}], identity(3000, {'k8s:app': 'web', 'k8s:io.cilium.k8s.namespace.labels.team': 'x'}), WEB_TO_DB]), [...READ_BACK.reports.values()]);
const ONE_NODE = state([node('b', '10.1.8.10', '10.98.7.0/24'), pod('db', 'b', {app: 'db'}), DB, CIDRS, slice('10.98.7.9')]);

describe.each(Object.entries(walks([PODS, READ_BACK, POLICED, MOVED, LABELLED, ONE_NODE], EMPTY)))('pods, identities, policies, moves (%s)', (_how, walk) => {
  test('the nodes hold what a compiler that starts here would give them', () => {
    const bench = new Bench();
    for (const step of walk) {
      bench.go(step);
      const fresh = new Bench();
      fresh.go(step);
      expect(bench.dump()).toEqual(fresh.dump());
      for (const name of bench.store.nodeNames()) expect(bench.store.version(name)).toBe(fresh.store.version(name));
    }
  });
});

describe('identities', () => {
  test('a pod has no endpoint before its CiliumIdentity was read back; the number to create is free and always the same', () => {
    const bench = new Bench();
    bench.go(PODS);
    expect(bench.on('a', 'endpoint/default/web')).toBeNull();
    const wanted = [...bench.compiler.identities.desired()].map(([id, labels]) => [Number(id), labels.key] as const);
    expect(wanted.map(([, key]) => key).sort()).toEqual([
      'k8s:app=db;k8s:io.cilium.k8s.policy.cluster=default;k8s:io.kubernetes.pod.namespace=default',
      'k8s:app=web;k8s:io.cilium.k8s.policy.cluster=default;k8s:io.kubernetes.pod.namespace=default',
    ]);
    for (const [id] of wanted) expect(id).toBeGreaterThanOrEqual(256);
    const taken = wanted[0]?.[0] ?? 0;
    bench.go(state([...NODES, pod('web', 'a', {app: 'web'}), pod('db', 'b', {app: 'db'}), identity(taken, {'k8s:other': 'set'})]));
    expect([...bench.compiler.identities.desired().keys()]).not.toContain(String(taken));
  });

  test('the option labels says which labels make it', () => {
    const labelFilter = parseLabelFilter('k8s:app k8s:!app-id');
    if (typeof labelFilter === 'string') throw new Error(labelFilter);
    const bench = new Bench({...OPTIONS, labelFilter});
    bench.go(state([...NODES, pod('one', 'a', {app: 'x', tier: 'a', 'app-id': '1'}), pod('two', 'a', {app: 'x', tier: 'b', 'app-id': '2'})]));
    expect([...bench.compiler.identities.desired().values()].map(({key}) => key)).toEqual(['k8s:app=x;k8s:io.cilium.k8s.policy.cluster=default;k8s:io.kubernetes.pod.namespace=default']);
  });

  test('labels of the namespace are part of the identity', () => {
    const bench = new Bench();
    bench.go(READ_BACK);
    expect(bench.on('a', 'endpoint/default/web')).toMatchObject({identity: 1000});
    bench.go(LABELLED);
    expect(bench.on('a', 'endpoint/default/web')).toMatchObject({identity: 3000});
    expect(bench.on('b', 'ipcache/10.98.0.5/32')).toMatchObject({identity: 3000});
  });

  test('of two objects with one label set the oldest counts', () => {
    const bench = new Bench();
    bench.go(MOVED);
    expect(bench.on('b', 'endpoint/default/web')).toMatchObject({identity: 900});
    expect([...bench.compiler.identities.desired().keys()]).not.toContain('1000');
  });

  test('an address whose identity is not known yet is reserved:init, and a pod that ended has none', () => {
    const bench = new Bench();
    bench.go(state([...NODES, pod('web', 'a', {app: 'web'})], [report('web', 'a', '10.98.0.5')]));
    expect(bench.on('b', 'ipcache/10.98.0.5/32')).toMatchObject({identity: 5, tunnelEndpoint: '10.1.5.10'});
    const [kind, ended] = pod('web', 'a', {app: 'web'});
    bench.go(state([...NODES, WEB, [kind, {...ended, status: {phase: 'Succeeded'}}]], [report('web', 'a', '10.98.0.5')]));
    expect(bench.on('b', 'ipcache/10.98.0.5/32')).toBeNull();
  });
});

describe('ipcache', () => {
  const bench = new Bench();
  bench.go(POLICED);

  test('pods, nodes and PodCIDRs, with the tunnel to everybody but oneself', () => {
    expect(bench.on('a', 'ipcache/10.98.1.6/32')).toEqual({prefix: '10.98.1.6/32', identity: 2000, labels: [], tunnelEndpoint: '10.1.8.10', local: false});
    expect(bench.on('b', 'ipcache/10.98.1.6/32')).toMatchObject({identity: 2000, tunnelEndpoint: null});
    expect(bench.on('a', 'ipcache/10.98.1.0/24')).toMatchObject({identity: 3, tunnelEndpoint: '10.1.8.10'});
    expect(bench.on('b', 'ipcache/10.98.1.0/24')).toMatchObject({identity: 3, tunnelEndpoint: null});
    expect(bench.on('a', 'ipcache/10.1.5.10/32')).toMatchObject({identity: 1, local: true});
    expect(bench.on('b', 'ipcache/10.1.5.10/32')).toMatchObject({identity: 6, local: false});
  });

  test('prefixes of policies are on the nodes with a subject of them, and never inside a PodCIDR', () => {
    expect(bench.on('a', 'ipcache/10.96.0.0/12')).toMatchObject({identity: null, labels: ['cidr:10.96.0.0/12', 'reserved:world']});
    expect(bench.on('a', 'ipcache/10.97.0.0/16')).toMatchObject({identity: null});
    expect(bench.on('b', 'ipcache/10.96.0.0/12')).toBeNull();
    const own = new Bench();
    own.go(state([...NODES, pod('web', 'a', {app: 'web'}), WEB, policy('p', {
      endpointSelector: {}, egress: [{toCIDR: ['10.98.1.0/25', '10.98.0.0/24', '10.1.8.10/32', '10.98.0.0/16']}],
    })]));
    expect(own.on('a', 'ipcache/10.98.1.0/25')).toBeNull();
    expect(own.on('a', 'ipcache/10.98.0.0/24')).toMatchObject({identity: 3});
    expect(own.on('a', 'ipcache/10.1.8.10/32')).toMatchObject({identity: 6});
    expect(own.on('a', 'ipcache/10.98.0.0/16')).toMatchObject({identity: null});
    expect(own.on('a', 'selector/cidr=10.98.1.0/25')).toMatchObject({identities: [], prefixes: []});
    expect(own.on('a', 'selector/cidr=10.98.0.0/16')).toMatchObject({prefixes: ['10.98.0.0/16']});
  });

  test('an API server outside the cluster is world with a name; on a node it is that node', () => {
    expect(bench.on('b', 'ipcache/192.0.2.77/32')).toMatchObject({identity: null, labels: ['cidr:192.0.2.77/32', 'reserved:kube-apiserver', 'reserved:world']});
    expect(bench.on('a', 'selector/reserved:kube-apiserver')).toMatchObject({identities: [7], prefixes: ['192.0.2.77/32']});
    expect(bench.on('a', 'selector/cidr=192.0.2.0/24')).toMatchObject({prefixes: ['192.0.2.0/24', '192.0.2.77/32']});
    const inside = new Bench();
    inside.go(state([...POLICED.objects.values()].map(({kind, object}): [WatchedKind, KubeObject] => [kind, object]).filter(([kind]) => kind !== 'EndpointSlice').concat([slice('10.1.5.10')])));
    expect(inside.on('b', 'ipcache/10.1.5.10/32')).toMatchObject({identity: 7});
    expect(inside.on('a', 'ipcache/10.1.5.10/32')).toMatchObject({identity: 1, local: true});
    expect(inside.on('a', 'selector/reserved:kube-apiserver')).toMatchObject({identities: [1, 7], prefixes: []});
  });
});

describe('policy', () => {
  const bench = new Bench();
  bench.go(POLICED);

  test('a node gets the policies of its own endpoints, with every selector they refer to, and that of reserved:init', () => {
    expect(bench.on('b', 'policy/2000')).toMatchObject({ingressEnforced: true, egressEnforced: false});
    expect(bench.on('a', 'policy/2000')).toBeNull();
    expect(bench.on('a', 'policy/1000')).toMatchObject({ingressEnforced: false, egressEnforced: true});
    for (const name of ['a', 'b']) expect(bench.on(name, 'policy/5')).toMatchObject({ingressEnforced: true, egressEnforced: true});
    for (const name of ['a', 'b']) {
      const held = bench.store.nodeState(name);
      const referred = [...held.values()].flatMap((item) => (item.kind === 'policy' ? item.value.entries.map((entry) => entry.selector) : [])).filter((id) => id !== '*');
      expect(referred.length).toBeGreaterThan(0);
      for (const id of referred) expect(held.has(`selector/${id}`)).toBe(true);
      for (const item of held.values()) if (item.kind === 'endpoint') expect(held.has(`policy/${item.value.identity}`)).toBe(true);
    }
  });

  test('selectors hold the numbers of the identities they select', () => {
    const held = [...bench.store.nodeState('b').values()].flatMap((item) => (item.kind === 'selector' ? [item.value] : []));
    expect(held.find(({id}) => id.includes('app=web'))?.identities).toEqual([1000]);
    expect(held.find(({id}) => id === 'reserved:host')?.identities).toEqual([1]);
  });

  test('a change that does not concern a node does not touch it', () => {
    const other = new Bench();
    other.go(READ_BACK);
    const before = other.store.version('a');
    other.go(state([...READ_BACK.objects.values()].map(({kind, object}): [WatchedKind, KubeObject] => [kind, object]).concat([WEB_TO_DB]), [...READ_BACK.reports.values()]));
    expect(other.store.version('a')).toBe(before);
  });
});

describe('names that other objects stand for', () => {
  const group = (name: string, externalCIDRs: readonly string[]): [WatchedKind, KubeObject] => ['CiliumCIDRGroup', {
    apiVersion: 'cilium.io/v2', kind: 'CiliumCIDRGroup', metadata: {name, uid: `ccg-${name}`, labels: {kind: name}}, spec: {externalCIDRs},
  }];
  const service = (name: string, selector: object | undefined): [WatchedKind, KubeObject] => ['Service', {
    apiVersion: 'v1', kind: 'Service', metadata: {name, namespace: 'default', uid: `svc-${name}`}, spec: selector === undefined ? {} : {selector},
  }];
  const backends = (name: string, ...addresses: string[]): [WatchedKind, KubeObject] => ['EndpointSlice', {
    metadata: {name: `${name}-1`, namespace: 'default', labels: {'kubernetes.io/service-name': name}}, endpoints: [{addresses}],
  }];
  const NAMES = policy('names', {
    endpointSelector: {matchLabels: {app: 'web'}},
    egress: [{toCIDRSet: [{cidrGroupRef: 'offices', except: ['192.0.2.128/25']}]}, {toServices: [{k8sService: {serviceName: 'old'}}, {k8sService: {serviceName: 'db'}}]}],
  });
  const BASE: [WatchedKind, KubeObject][] = [...READ_BACK.objects.values()].map(({kind, object}) => [kind, object]);
  const with_ = (...objects: [WatchedKind, KubeObject][]): State => state([...BASE, NAMES, ...objects], [...READ_BACK.reports.values()]);
  const BOTH = with_(group('offices', ['192.0.2.0/24']), service('old', undefined), backends('old', '198.51.100.7'), service('db', {app: 'db'}));
  const OTHER = with_(group('offices', ['192.0.2.0/24', '203.0.113.0/24']), service('old', undefined), backends('old', '198.51.100.8'), service('db', {app: 'web'}));
  const GONE = with_(service('old', undefined));
  const OFFICES = 'selector/cidrgroup=offices;!192.0.2.128/25';

  test('the node holds the prefixes and the members', () => {
    const bench = new Bench();
    bench.go(BOTH);
    expect(bench.on('a', OFFICES)).toMatchObject({identities: [], prefixes: ['192.0.2.0/24']});
    expect(bench.on('a', 'selector/service=/old')).toMatchObject({prefixes: ['198.51.100.7/32']});
    expect(bench.on('a', 'selector/service=/db')).toMatchObject({identities: [2000], prefixes: []});
    expect(bench.on('a', 'ipcache/192.0.2.128/25')).toMatchObject({identity: null});
    bench.go(OTHER);
    expect(bench.on('a', OFFICES)).toMatchObject({prefixes: ['192.0.2.0/24', '203.0.113.0/24']});
    expect(bench.on('a', 'selector/service=/old')).toMatchObject({prefixes: ['198.51.100.8/32']});
    expect(bench.on('a', 'selector/service=/db')).toMatchObject({identities: [1000]});
    expect(bench.on('a', 'ipcache/203.0.113.0/24')).toMatchObject({labels: ['cidr:203.0.113.0/24', 'reserved:world']});
    bench.go(GONE);
    for (const id of [OFFICES, 'selector/service=/old', 'selector/service=/db']) expect(bench.on('a', id)).toMatchObject({identities: [], prefixes: []});
    expect(bench.on('a', 'ipcache/203.0.113.0/24')).toBeNull();
    expect(bench.on('b', OFFICES)).toBeNull();
  });

  test.each(Object.entries(walks([BOTH, OTHER, GONE], READ_BACK)))('depend on the state, never on the path (%s)', (_how, walk) => {
    const bench = new Bench();
    for (const one of walk) {
      bench.go(one);
      const fresh = new Bench();
      fresh.go(one);
      expect(bench.dump()).toEqual(fresh.dump());
    }
  });
});

describe('masquerade', () => {
  const configMap = (data: Record<string, string>): [WatchedKind, KubeObject] => ['ConfigMap', {metadata: {name: 'ip-masq-agent', namespace: 'kube-system', uid: 'cm'}, data}];
  const LINK_LOCAL = '169.254.0.0/16';

  test.each([
    ['absent', [], {source: 'defaults', hold: null}, 12],
    ['without the key', [configMap({other: 'x'})], {source: 'defaults', hold: null}, 12],
    ['empty', [configMap({config: ''})], {source: 'defaults', hold: null}, 12],
    ['without prefixes', [configMap({config: 'masqLinkLocal: false'})], {source: 'configmap', nonMasqueradeCidrs: [LINK_LOCAL]}, 1],
    ['link-local masqueraded', [configMap({config: 'nonMasqueradeCIDRs: [10.1.2.3/8, 10.0.0.0/8]\nmasqLinkLocal: true'})], {nonMasqueradeCidrs: ['10.0.0.0/8']}, 1],
    ['JSON', [configMap({config: '{"nonMasqueradeCIDRs":["192.0.2.0/24"]}'})], {nonMasqueradeCidrs: [LINK_LOCAL, '192.0.2.0/24']}, 2],
    ['a bare address', [configMap({config: 'nonMasqueradeCIDRs: [10.0.0.1]'})], {hold: {reason: 'nonMasqueradeCIDRs[0] is not a prefix: "10.0.0.1"'}}, 0],
    ['not YAML', [configMap({config: 'a: [b'})], {source: 'configmap'}, 0],
    ['a list', [configMap({config: '- 10.0.0.0/8'})], {hold: {reason: 'config is not an object'}}, 0],
  ] as const)('ConfigMap %s', (_name, objects, expected, count) => {
    const bench = new Bench();
    bench.go(state([...NODES, ...objects.map(([kind, object]): [WatchedKind, KubeObject] => [kind, object])]));
    const value = bench.on('a', 'masquerade/masquerade');
    expect(value).toMatchObject(expected);
    expect(value !== null && 'nonMasqueradeCidrs' in value ? value.nonMasqueradeCidrs.length : -1).toBe(count);
  });
});

describe('bgp', () => {
  const peering = (name: string, created: string, selector: object | undefined, router: object = {}): [WatchedKind, KubeObject] => ['CiliumBGPPeeringPolicy', {
    metadata: {name, uid: `bgp-${name}`, creationTimestamp: created},
    spec: {...(selector === undefined ? {} : {nodeSelector: selector}), virtualRouters: [{localASN: 65005, exportPodCIDR: true, neighbors: [{peerAddress: '10.1.5.1/24', peerASN: 65005}], ...router}]},
  }];
  const rack0 = {matchLabels: {rack: 'rack0'}};

  test('the article’s policy: the mask of the peer address is ignored, defaults are Cilium’s', () => {
    const bench = new Bench();
    bench.go(state([...NODES, peering('rack0', '2025-01-01T00:00:00Z', rack0)]));
    expect(bench.on('a', 'speaker/speaker')).toMatchObject({instances: [{
      asn: 65005, routerId: '10.1.5.10', listenPort: -1, advertisements: [{prefix: '10.98.0.0/24', peers: []}],
      peers: [{address: '10.1.5.1', asn: 65005, port: 179, holdTimeSeconds: 90, keepaliveSeconds: 30, connectRetrySeconds: 120, multihopTtl: 1}],
    }]});
    expect(bench.on('b', 'speaker/speaker')).toEqual({instances: [], source: null});
  });

  test('of two policies on a node the older is in force, and both report it', () => {
    const bench = new Bench();
    bench.go(state([...NODES, peering('young', '2025-02-01T00:00:00Z', undefined), peering('old', '2025-01-01T00:00:00Z', rack0)]));
    expect(bench.on('a', 'speaker/speaker')).toMatchObject({source: {name: 'old'}});
    expect(bench.on('b', 'speaker/speaker')).toMatchObject({source: {name: 'young'}});
    expect(bench.compiler.speakers.findings().map(({object, reason}) => `${object.name} ${reason}`).sort()).toEqual(['old BGPPolicyConflict', 'young BGPPolicyConflict']);
  });

  test('a keepalive longer than the hold time refuses the whole policy', () => {
    const bench = new Bench();
    bench.go(state([...NODES, peering('bad', '2025-01-01T00:00:00Z', rack0, {neighbors: [{peerAddress: '10.1.5.1/24', peerASN: 1, holdTimeSeconds: 9}]})]));
    expect(bench.on('a', 'speaker/speaker')).toMatchObject({instances: []});
  });

  test('attributes differ by neighbor: one advertisement for each set of them', () => {
    const bench = new Bench();
    const attributes = [{selectorType: 'PodCIDR', selector: {matchLabels: {rack: 'rack0'}}, localPreference: 50}];
    const neighbors = [{peerAddress: '10.1.5.1/24', peerASN: 65005}, {peerAddress: '10.1.5.2/24', peerASN: 65005, advertisedPathAttributes: attributes}];
    bench.go(state([...NODES, peering('all', '2025-01-01T00:00:00Z', undefined, {neighbors})]));
    expect(bench.on('a', 'speaker/speaker')).toMatchObject({instances: [{advertisements: [
      {prefix: '10.98.0.0/24', peers: ['10.1.5.2'], localPreference: 50}, {prefix: '10.98.0.0/24', peers: ['10.1.5.1'], localPreference: null},
    ]}]});
    expect(bench.on('b', 'speaker/speaker')).toMatchObject({instances: [{advertisements: [{prefix: '10.98.1.0/24', peers: [], localPreference: null}]}]});
  });

  test.each([
    ['router-id=1.2.3.4,local-port=1790,new=x', {instances: [{routerId: '1.2.3.4', listenPort: 1790}]}],
    ['router-id=1.2.3', {instances: []}],
    ['local-port=70000', {instances: []}],
  ])('the annotation %s', (annotation, expected) => {
    const bench = new Bench();
    const [, object] = node('a', '10.1.5.10', '10.98.0.0/24');
    bench.go(state([['Node', {...object, metadata: {...object.metadata, annotations: {'cilium.io/bgp-virtual-router.65005': annotation}}}], peering('all', '2025-01-01T00:00:00Z', undefined)]));
    expect(bench.on('a', 'speaker/speaker')).toMatchObject(expected);
    expect(bench.compiler.speakers.findings().length).toBe(expected.instances.length === 0 ? 1 : 0);
  });

  test('a node that loses its label loses the speaker, others are untouched', () => {
    const bench = new Bench();
    bench.go(state([...NODES, peering('rack0', '2025-01-01T00:00:00Z', rack0)]));
    const before = bench.store.version('b');
    const [first, second] = NODES;
    if (first === undefined || second === undefined) throw new Error('two nodes');
    bench.go(state([node('a', '10.1.5.10', '10.98.0.0/24', {rack: 'rack1'}), second, peering('rack0', '2025-01-01T00:00:00Z', rack0)]));
    expect(bench.on('a', 'speaker/speaker')).toEqual({instances: [], source: null});
    expect(bench.store.version('b')).toBe(before);
  });
});
