// An operator without streams, for measurements: objects in, compiled cluster held; each step's CPU time.

import {emptyTables, applyBatch, applyRows, reportKey, type ChangedKeys, type Tables} from '../../../operator/model/tables.js';
import {decoders} from '../../../operator/model/decoders.js';
import {Compiler} from '../../../operator/compile/graph.js';
import {DesiredStore} from '../../../operator/desired/store.js';
import type {Change} from '../../../operator/watch/feed-types.js';
import type {Workload} from './workloads.js';

const DECODERS = decoders({clusterName: 'default', masquerade: {namespace: 'kube-system', name: 'ip-masq-agent'}, invalidPolicy: 'isolate'});

/** CPU milliseconds of this process that `act` takes: other processes of the machine do not count. */
export function cpuMs<T>(act: () => T): {readonly ms: number; readonly value: T} {
  const before = process.cpuUsage();
  const value = act();
  const {user, system} = process.cpuUsage(before);
  return {ms: (user + system) / 1000, value};
}

export class BenchCluster {
  readonly compiler = new Compiler({
    clusterName: 'default', routingMode: 'native', ipv4NativeRoutingCidr: '10.0.0.0/8', enableIPv4Masquerade: false, tunnelPort: 8472,
    enforcement: 'default', allowLocalhost: true,
  });
  readonly store = new DesiredStore();
  tables: Tables = emptyTables();

  /** Objects to tables, without compiling: what a cold start has before it compiles. */
  decode(changes: readonly Change[]): ChangedKeys {
    const {tables, changed} = applyBatch(this.tables, {changes, inSync: true, receivedAtMs: 0}, DECODERS);
    this.tables = tables;
    return changed;
  }

  /** Tables to what every node should hold. */
  compile(changed: ChangedKeys): void {
    this.store.apply(this.compiler.update(this.tables, changed));
  }

  apply(changes: readonly Change[]): void {
    this.compile(this.decode(changes));
  }

  place(placed: Workload['placed']): ChangedKeys {
    const {tables, changed} = applyRows(this.tables, 'endpointReports', placed.map(({namespace, name, node, address}, i) => [
      reportKey(node, `${namespace}/${name}`),
      {node, namespace, name, uid: `Pod-${name}`, endpointId: i & 0xffff, addresses: [address], containerId: '', state: 'ready'},
    ]));
    this.tables = tables;
    return changed;
  }

  /** The CiliumIdentity objects that should exist, as read back. */
  identityObjects(): Change[] {
    return [...this.compiler.identities.desired()].filter(([name]) => !this.tables.identities.has(name)).map(([name, labels]): Change => ({
      kind: 'CiliumIdentity', key: name,
      object: {metadata: {name}, 'security-labels': Object.fromEntries(labels.all.map((label) => [`${label.source}:${label.key}`, label.value]))},
    }));
  }
}

export function merged(...all: readonly ChangedKeys[]): ChangedKeys {
  const sum: Record<string, Set<string>> = {};
  for (const changed of all) {
    for (const [table, keys] of Object.entries(changed)) sum[table] = new Set([...sum[table] ?? [], ...keys]);
  }
  return sum;
}

export function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN;
}
