// An operator without streams, for measurements: objects in, compiled cluster held; each step's CPU time.

import {applyBatch, applyRows, emptyTables, reportKey, type ChangedKeys, type Tables} from '../../../operator/model/tables.js';
import {decoders} from '../../../operator/model/decoders.js';
import {Compiler, type CompileOptions} from '../../../operator/compile/graph.js';
import {DesiredStore} from '../../../operator/desired/store.js';
import type {Change} from '../../../operator/watch/feed-types.js';
import type {Placed, Workload} from './workloads.js';

export const DECODERS = decoders({clusterName: 'default', masquerade: {namespace: 'kube-system', name: 'ip-masq-agent'}, invalidPolicy: 'isolate'});
export const COMPILE: CompileOptions = {
  clusterName: 'default', routingMode: 'native', ipv4NativeRoutingCidr: '10.0.0.0/8', enableIPv4Masquerade: false, tunnelPort: 8472,
  enforcement: 'default', allowLocalhost: true,
};
/** As the reflectors list. */
const PAGE = 500;

/** CPU milliseconds of this thread that `act` takes: neither other processes nor the helpers of the garbage collector count. */
export function cpuMs<T>(act: () => T): {readonly ms: number; readonly value: T} {
  const before = process.threadCpuUsage();
  const value = act();
  const {user, system} = process.threadCpuUsage(before);
  return {ms: (user + system) / 1000, value};
}

export class BenchCluster {
  readonly compiler = new Compiler(COMPILE);
  readonly store = new DesiredStore();
  tables: Tables = emptyTables();

  /** Objects to tables, without compiling: what a cold start has before it compiles. */
  decode(changes: readonly Change[]): ChangedKeys {
    const {tables, changed} = applyBatch(this.tables, {changes, inSync: true, receivedAtMs: 0}, DECODERS);
    this.tables = tables;
    return changed;
  }

  /** All of a workload, with the CiliumIdentity objects of an earlier life. */
  load(workload: Workload, identities: Iterable<Change>): ChangedKeys {
    const all: Record<string, Set<string>> = {};
    for (const page of pages(workload.objects())) collect(all, this.decode(page));
    for (const page of pages(identities)) collect(all, this.decode(page));
    for (const page of pages(workload.pods())) collect(all, this.#place(page));
    return all;
  }

  /** Tables to what every node should hold. */
  compile(changed: ChangedKeys): void {
    this.store.apply(this.compiler.update(this.tables, changed));
  }

  apply(changes: readonly Change[]): void {
    this.compile(this.decode(changes));
  }

  #place(placed: readonly Placed[]): ChangedKeys {
    const {tables, changed} = applyRows(this.tables, 'endpointReports', placed.map((pod, i) => [reportKey(pod.node, `${pod.namespace}/${pod.name}`), reportOf(pod, i)]));
    this.tables = tables;
    return changed;
  }

  /** The CiliumIdentity objects that should exist and do not, as read back. */
  identityObjects(): Change[] {
    return [...this.compiler.identities.desired()].filter(([name]) => !this.tables.identities.has(name)).map(([name, labels]): Change => ({
      kind: 'CiliumIdentity', key: name,
      object: {metadata: {name}, 'security-labels': Object.fromEntries(labels.all.map((label) => [`${label.source}:${label.key}`, label.value]))},
    }));
  }
}

function reportOf({namespace, name, node, address}: Placed, i: number) {
  return {node, namespace, name, uid: `Pod-${name}`, endpointId: i & 0xffff, addresses: [address], containerId: '', state: 'ready'} as const;
}

/** The CiliumIdentity objects that a workload ends up with. */
export function identitiesOf(workload: Workload): Change[] {
  const cluster = new BenchCluster();
  for (const page of pages(workload.objects())) cluster.apply(page.filter(({kind}) => kind === 'Namespace'));
  for (const page of pages(workload.objects())) cluster.decode(page.filter(({kind}) => kind === 'Pod'));
  cluster.compile({pods: new Set(cluster.tables.pods.keys())});
  return cluster.identityObjects();
}

function* pages<T>(items: Iterable<T>): Generator<T[]> {
  let page: T[] = [];
  for (const item of items) {
    page.push(item);
    if (page.length < PAGE) continue;
    yield page;
    page = [];
  }
  if (page.length > 0) yield page;
}

function collect(all: Record<string, Set<string>>, changed: ChangedKeys): void {
  for (const [table, keys] of Object.entries(changed)) {
    const sum = (all[table] ??= new Set());
    for (const key of keys) sum.add(key);
  }
}

export function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN;
}
