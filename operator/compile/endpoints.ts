// Workloads + what the agents reported → endpoints: identity, node, addresses. Before an agent has reported again after a restart
// of the operator, its CiliumEndpoint objects say what its endpoints' addresses are.

import {deepEqual} from '../../lib/core/equal.js';
import {compareStrings} from '../../lib/core/order.js';
import {resource} from '../../lib/desired/diff.js';
import type {Resource} from '../../lib/desired/node-state.js';
import {IDENTITY_INIT, type IdentityId} from '../../lib/domain/identity.js';
import {podOfReport, reportKey, type ChangedKeys, type Tables} from '../model/tables.js';
import type {Identities, Workload} from './identities.js';

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
  readonly before: Endpoint | null;
  readonly after: Endpoint | null;
}

/** Cilium's word for an endpoint that is not there yet. */
const WAITING = 'waiting-for-identity';

/** What the address of an endpoint stands for. */
export function addressIdentity(endpoint: Endpoint): IdentityId {
  return endpoint.identity ?? IDENTITY_INIT;
}

export class Endpoints {
  readonly #identities: Identities;
  readonly #endpoints = new Map<string, Endpoint>();

  constructor(parts: {readonly identities: Identities}) {
    this.#identities = parts.identities;
  }

  get all(): ReadonlyMap<string, Endpoint> {
    return this.#endpoints;
  }

  /** `pods`: those whose workload or identity changed. Answers with before and after of what is another endpoint now. */
  update(tables: Tables, changed: ChangedKeys, pods: ReadonlySet<string>): Map<string, EndpointChange> {
    const changes = new Map<string, EndpointChange>();
    for (const key of pods) this.#updateOne(tables, key, changes);
    for (const report of changed.endpointReports ?? []) this.#updateOne(tables, podOfReport(report), changes);
    for (const key of changed.endpoints ?? []) this.#updateOne(tables, key, changes);
    for (const node of changed.nodes ?? []) for (const key of tables.pods.keysBy('node', node)) this.#updateOne(tables, key, changes);
    return changes;
  }

  /** Twice is once. */
  #updateOne(tables: Tables, key: string, changes: Map<string, EndpointChange>): void {
    if (changes.has(key)) return;
    const before = this.#endpoints.get(key) ?? null;
    const after = this.#endpointOf(tables, key);
    if (before === null ? after === null : after !== null && equalEndpoints(before, after)) return;
    if (after === null) this.#endpoints.delete(key);
    else this.#endpoints.set(key, after);
    changes.set(key, {before, after});
  }

  #endpointOf(tables: Tables, key: string): Endpoint | null {
    const workload = this.#identities.workloads.get(key) ?? null;
    if (workload === null) {
      const [first] = [...tables.endpointReports.keysBy('pod', key)].sort(compareStrings);
      const report = first === undefined ? undefined : tables.endpointReports.get(first);
      // A pod that ended or moved to the host's network is no endpoint; one that we do not know (yet) is.
      if (report === undefined || report.state === 'disconnected' || tables.pods.has(key)) return null;
      const {node, addresses, endpointId, containerId, state} = report;
      return {key, workload, identity: null, node, addresses, endpointId, containerId, state};
    }
    const identity = this.#identities.identityOf(workload);
    const {node} = workload;
    // Only its own node speaks for a pod.
    const report = node === null ? undefined : tables.endpointReports.get(reportKey(node, key));
    const own = report !== undefined && (report.uid === '' || report.uid === workload.uid) ? report : restored(tables, workload);
    return {
      key, workload, identity, node, addresses: own?.addresses ?? [], endpointId: own?.endpointId ?? 0,
      containerId: own?.containerId ?? '', state: own?.state ?? WAITING,
    };
  }
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
