// Workloads + what the agents reported → endpoints: identity, node, addresses. Before an agent has reported again after a restart
// of the operator, its CiliumEndpoint objects say what its endpoints' addresses are.

import {deepEqual} from '../../lib/core/equal.js';
import {compareStrings} from '../../lib/core/order.js';
import {resource} from '../../lib/desired/diff.js';
import type {Resource} from '../../lib/desired/node-state.js';
import {IDENTITY_INIT, type IdentityId} from '../../lib/domain/identity.js';
import {podOfReport, reportKey, type ChangedKeys, type Tables} from '../model/tables.js';
import type {Workload} from './identities.js';
import type {PodRecord, PodRecords} from './pod-records.js';

export interface Endpoint {
  readonly key: string;
  /** null: an agent reports an endpoint whose pod is not known. */
  readonly workload: Workload | null;
  /** null: its identity was not read back yet; its addresses are `reserved:init` until then. */
  readonly identity: IdentityId | null;
  readonly node: string | null;
  /** Empty until the endpoint has been created on its node. */
  readonly addresses: readonly string[];
  readonly endpointId: number;
  readonly containerId: string;
  readonly state: string;
}

export interface EndpointChange {
  readonly record: PodRecord;
  readonly before: Endpoint | null;
  readonly after: Endpoint | null;
}

/** Cilium's word for an endpoint that is not there yet. */
const WAITING = 'waiting-for-identity';

/** What the address of an endpoint stands for. */
export function addressIdentity(endpoint: Endpoint): IdentityId {
  return endpoint.identity ?? IDENTITY_INIT;
}

const NO_ADDRESSES: readonly string[] = [];

export class Endpoints {
  readonly #records: PodRecords;

  constructor(parts: {readonly records: PodRecords}) {
    this.#records = parts.records;
  }

  get(key: string): Endpoint | null {
    return this.#records.get(key)?.endpoint ?? null;
  }

  * values(): Generator<Endpoint> {
    for (const {endpoint} of this.#records.values()) if (endpoint !== null) yield endpoint;
  }

  /** `pods`: those whose workload or identity changed. Answers with before and after of what is another endpoint now. */
  update(tables: Tables, changed: ChangedKeys, pods: readonly PodRecord[]): readonly EndpointChange[] {
    const looked: PodRecord[] = [];
    for (const record of pods) {
      const same = sameElsewhere(record);
      if (same === null) settle(tables, record, looked);
      else look(record, same, looked);
    }
    if (!this.#allFound(tables, changed, looked)) for (const report of changed.endpointReports ?? []) this.#lookAt(tables, podOfReport(report), looked);
    for (const key of changed.endpoints ?? []) this.#lookAt(tables, key, looked);
    // Whose CiliumEndpoint is believed depends on the node's addresses.
    for (const node of tables.endpoints.size === 0 ? [] : changed.nodes ?? []) {
      for (const key of tables.pods.keysBy('node', node)) this.#lookAt(tables, key, looked);
    }
    const changes: EndpointChange[] = [];
    for (const record of looked) {
      const {before = null, endpoint: after} = record;
      record.before = undefined;
      record.settled = false;
      record.reported = false;
      if (before !== after) changes.push({record, before, after});
      else this.#records.forgetEmpty(record);
    }
    return changes;
  }

  /** As at a start: every report there is was found through its pod, each through another one. */
  #allFound({endpointReports}: Tables, changed: ChangedKeys, looked: readonly PodRecord[]): boolean {
    if (changed.endpointReports?.size !== endpointReports.size || looked.length < endpointReports.size) return false;
    let found = 0;
    for (const {reported} of looked) if (reported) found++;
    return found === endpointReports.size;
  }

  #lookAt(tables: Tables, key: string, looked: PodRecord[]): void {
    const record = this.#records.get(key) ?? this.#records.make(key);
    settle(tables, record, looked);
  }
}

/** Once a turn: nothing that an endpoint is made of changes in it. */
function settle(tables: Tables, record: PodRecord, looked: PodRecord[]): void {
  if (record.settled) return;
  record.settled = true;
  look(record, endpointOf(tables, record), looked);
}

/** An endpoint stays the same object as long as it is equal to what it was before this turn. */
function look(record: PodRecord, endpoint: Endpoint | null, looked: PodRecord[]): void {
  if (record.before === undefined) {
    record.before = record.endpoint;
    looked.push(record);
  }
  const {before} = record;
  record.endpoint = before !== null && endpoint !== null && equalEndpoints(before, endpoint) ? before : endpoint;
}

/** The endpoint with another identity or other labels, when what is known of it from elsewhere cannot have changed with that; else null. */
function sameElsewhere({workload, set, endpoint, before}: PodRecord): Endpoint | null {
  if (before !== undefined || endpoint === null || workload === null || endpoint.workload === null) return null;
  if (endpoint.workload.uid !== workload.uid || endpoint.workload.node !== workload.node) return null;
  const {key, node, addresses, endpointId, containerId, state} = endpoint;
  return {key, workload, identity: set?.id ?? null, node, addresses, endpointId, containerId, state};
}

function endpointOf(tables: Tables, record: PodRecord): Endpoint | null {
  const {key, workload, set} = record;
  if (workload === null) return unknownEndpoint(tables, key);
  const {node} = workload;
  // Only its own node speaks for a pod.
  const report = node === null ? undefined : tables.endpointReports.get(reportKey(node, key));
  record.reported = report !== undefined;
  const own = report !== undefined && (report.uid === '' || report.uid === workload.uid) ? report : restored(tables, workload);
  return {
    key, workload, identity: set?.id ?? null, node, addresses: own?.addresses ?? NO_ADDRESSES, endpointId: own?.endpointId ?? 0,
    containerId: own?.containerId ?? '', state: own?.state ?? WAITING,
  };
}

/** A pod that ended or moved to the host's network is no endpoint; one that we do not know (yet) is. */
function unknownEndpoint(tables: Tables, key: string): Endpoint | null {
  const [first] = [...tables.endpointReports.keysBy('pod', key)].sort(compareStrings);
  const report = first === undefined ? undefined : tables.endpointReports.get(first);
  if (report === undefined || report.state === 'disconnected' || tables.pods.has(key)) return null;
  const {node, addresses, endpointId, containerId, state} = report;
  return {key, workload: null, identity: null, node, addresses, endpointId, containerId, state};
}

/** Workloads are the same objects as long as they are equal. */
function equalEndpoints(a: Endpoint, b: Endpoint): boolean {
  return a.workload === b.workload && a.identity === b.identity && a.node === b.node && a.endpointId === b.endpointId
    && a.containerId === b.containerId && a.state === b.state && deepEqual(a.addresses, b.addresses);
}

function restored(tables: Tables, workload: Workload): {addresses: readonly string[]; endpointId: number; containerId: string; state: string} | null {
  const fact = tables.endpoints.get(workload.key);
  const node = workload.node === null ? undefined : tables.nodes.get(workload.node);
  if (fact === undefined || node === undefined || fact.podUid !== workload.uid) return null;
  return node.addresses.some(({ip}) => ip === fact.nodeAddress) ? fact : null;
}

/** null as long as the node could not enforce anything for it. */
export function endpointResource(endpoint: Endpoint): Resource | null {
  const {workload, identity} = endpoint;
  if (workload === null || identity === null || workload.node === null) return null;
  return resource('endpoint', workload.key, {
    namespace: workload.namespace, name: workload.name, uid: workload.uid, identity,
    labels: workload.labels.format(), namedPorts: workload.namedPorts,
  });
}
