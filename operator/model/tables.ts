// The tables: what the operator knows of the cluster, as one immutable snapshot. A batch makes a new one and names what changed.

import type {Rejection} from '../../lib/core/errors.js';
import {deepEqual} from '../../lib/core/equal.js';
import {Table, type RowChange} from '../../lib/core/table.js';
import type {Batch, Change, WatchedKind} from '../watch/feed-types.js';
import type {
  BgpAdvertisementFact, BgpClusterConfigFact, BgpOverrideFact, BgpPeerConfigFact, BgpPolicyFact, BgpSecretFact,
} from './bgp-facts.js';
import type {
  BackendsFact, BgpAcceptedFact, BgpDrainFact, BgpDrainMark, CidrGroupFact, CiliumEndpointFact, CiliumIdentityFact, CiliumNodeFact, EndpointReportFact, ExposedServiceFact, LbPoolFact,
  MasqueradeFact, NamespaceFact, NodeFact, NodeHealthFact, NodeReportFact, PodFact, PodIpPoolFact, PolicyFact, ServiceFact, SliceFact,
} from './facts.js';

/** Keys: `namespace/name`, or `name`. `policies`: `kind namespace/name`. Reports: by `reportKey`, by node. */
export interface Tables {
  readonly pods: Table<PodFact>;
  readonly namespaces: Table<NamespaceFact>;
  readonly nodes: Table<NodeFact>;
  /** Nodes as Kubernetes has them, where `nodes` follows from them and from what the operator gives out: IPAM mode `cluster-pool`. */
  readonly bareNodes: Table<NodeFact>;
  /** Nodes once more: what changes here concerns their routes alone. */
  readonly nodeHealth: Table<NodeHealthFact>;
  readonly identities: Table<CiliumIdentityFact>;
  readonly endpoints: Table<CiliumEndpointFact>;
  readonly ciliumNodes: Table<CiliumNodeFact>;
  readonly policies: Table<PolicyFact>;
  readonly bgpPolicies: Table<BgpPolicyFact>;
  readonly bgpClusterConfigs: Table<BgpClusterConfigFact>;
  readonly bgpPeerConfigs: Table<BgpPeerConfigFact>;
  readonly bgpAdvertisements: Table<BgpAdvertisementFact>;
  readonly bgpOverrides: Table<BgpOverrideFact>;
  /** By name, of the namespace of BGP's Secrets. */
  readonly bgpSecrets: Table<BgpSecretFact>;
  /** At most one row. */
  readonly bgpAccepted: Table<BgpAcceptedFact>;
  /** By node. */
  readonly bgpDrains: Table<BgpDrainFact>;
  readonly bgpDrainMarks: Table<BgpDrainMark>;
  /** At most one row. */
  readonly masquerade: Table<MasqueradeFact>;
  readonly cidrGroups: Table<CidrGroupFact>;
  readonly services: Table<ServiceFact>;
  readonly slices: Table<SliceFact>;
  /** Services and slices once more, as announcements see them: what changes here concerns no policy. */
  readonly exposedServices: Table<ExposedServiceFact>;
  readonly backends: Table<BackendsFact>;
  readonly lbPools: Table<LbPoolFact>;
  readonly podIpPools: Table<PodIpPoolFact>;
  readonly endpointReports: Table<EndpointReportFact>;
  readonly nodeReports: Table<NodeReportFact>;
  /** Objects that no table could take, by `kind key`. */
  readonly rejected: Table<Rejection>;
}

export type TableName = keyof Tables;
export type ChangedKeys = Readonly<Partial<Record<TableName, ReadonlySet<string>>>>;

export function emptyTables(): Tables {
  return {
    pods: Table.empty<PodFact>({namespace: (pod) => [pod.namespace], node: (pod) => (pod.nodeName === null ? [] : [pod.nodeName])}),
    namespaces: Table.empty(),
    nodes: Table.empty<NodeFact>({address: (node) => node.addresses.map(({ip}) => ip)}),
    bareNodes: Table.empty(),
    nodeHealth: Table.empty(),
    identities: Table.empty<CiliumIdentityFact>({labels: (identity) => [identity.labels.key]}),
    endpoints: Table.empty(),
    ciliumNodes: Table.empty(),
    policies: Table.empty(),
    bgpPolicies: Table.empty(),
    bgpClusterConfigs: Table.empty(),
    bgpPeerConfigs: Table.empty(),
    bgpAdvertisements: Table.empty(),
    bgpOverrides: Table.empty(),
    bgpSecrets: Table.empty(),
    bgpAccepted: Table.empty(),
    bgpDrains: Table.empty(),
    bgpDrainMarks: Table.empty(),
    masquerade: Table.empty(),
    cidrGroups: Table.empty(),
    services: Table.empty(),
    slices: Table.empty<SliceFact>({service: (slice) => [slice.service]}),
    exposedServices: Table.empty(),
    backends: Table.empty<BackendsFact>({service: (slice) => [slice.service]}),
    lbPools: Table.empty(),
    podIpPools: Table.empty(),
    endpointReports: Table.empty<EndpointReportFact>({node: (report) => [report.node], pod: ({namespace, name}) => [`${namespace}/${name}`]}),
    nodeReports: Table.empty(),
    rejected: Table.empty(),
  };
}

/** A decoded row, or why there is none; null = the object is of no interest. */
type Row<V> = {readonly value: V | null; readonly rejection?: Rejection};

/** Turns objects of one kind into rows of one table. */
export interface Decoder {
  readonly table: TableName;
  key(key: string): string;
  decode(change: Change & {readonly object: NonNullable<Change['object']>}): Row<unknown>;
  /** Another view of the same object, in a table of its own. */
  readonly also?: Decoder;
}

export type Decoders = Readonly<Record<WatchedKind, Decoder>>;

export interface Applied {
  readonly tables: Tables;
  readonly changed: ChangedKeys;
}

/** Rows that are equal to what is there stay the same objects and are not named as changed. */
export function applyBatch(tables: Tables, batch: Batch, decoders: Decoders): Applied {
  const edits = new TableEdits(tables);
  for (const change of batch.changes) {
    for (let decoder: Decoder | undefined = decoders[change.kind]; decoder !== undefined; decoder = decoder.also) {
      const key = decoder.key(change.key);
      const row: Row<unknown> = change.object === null ? {value: null} : decoder.decode({...change, object: change.object});
      edits.set(decoder.table, key, row.value);
      edits.set('rejected', `${change.kind} ${change.key}`, row.rejection ?? null);
    }
  }
  return edits.commit();
}

/** The same for rows that do not come from Kubernetes: reports of agents. */
export function applyRows<N extends TableName>(tables: Tables, table: N, rows: readonly RowChange<RowOf<N>>[]): Applied {
  const edits = new TableEdits(tables);
  for (const [key, value] of rows) edits.set(table, key, value);
  return edits.commit();
}

export type RowOf<N extends TableName> = Tables[N] extends Table<infer V> ? V : never;

class TableEdits {
  readonly #tables: Tables;
  readonly #edits = new Map<TableName, Map<string, unknown>>();

  constructor(tables: Tables) {
    this.#tables = tables;
  }

  set(table: TableName, key: string, value: unknown): void {
    const edits = this.#edits.get(table) ?? new Map<string, unknown>();
    this.#edits.set(table, edits);
    edits.set(key, value);
  }

  commit(): Applied {
    const next: Partial<Record<TableName, unknown>> = {...this.#tables};
    const changed: Partial<Record<TableName, ReadonlySet<string>>> = {};
    for (const [name, edits] of this.#edits) {
      const table = this.#tables[name] as Table<unknown>;
      const real = [...edits].filter(([key, value]) => !deepEqual(table.get(key) ?? null, value));
      if (real.length === 0) continue;
      next[name] = table.with(real.map(([key, value]) => [key, value ?? null]));
      changed[name] = new Set(real.map(([key]) => key));
    }
    return {tables: next as Tables, changed};
  }
}

/** Of an endpoint report: each node has rows of its own, so that none can overwrite another's. */
export function reportKey(node: string, pod: string): string {
  return `${node} ${pod}`;
}

export function podOfReport(key: string): string {
  return key.slice(key.indexOf(' ') + 1);
}
