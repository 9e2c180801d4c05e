// What Kubernetes should hold because of us: CiliumIdentity, CiliumNode and CiliumEndpoint objects, addresses of Services, conditions, Events.

import {deepEqual} from '../../lib/core/equal.js';
import type {ObjectRef, Rejection} from '../../lib/core/errors.js';
import {Table, type RowChange} from '../../lib/core/table.js';
import type {ClusterState, DesiredBgpAccepted, DesiredBgpNodeConfig, DesiredCiliumEndpoint, DesiredCiliumNode, DesiredEvent, DesiredIdentity, DesiredPolicyStatus} from '../../lib/desired/cluster-state.js';
import type {IdentityId} from '../../lib/domain/identity.js';
import type {NodeFact} from '../model/facts.js';
import type {ChangedKeys, Tables} from '../model/tables.js';
import type {BgpStatus} from './bgp-status.js';
import type {Endpoint} from './endpoints.js';
import {hasConditions, validity, type Enforcement} from './enforcement.js';
import type {CompiledChanges, Compiler} from './graph.js';
import type {LbStatusChanges, LbStatuses} from './lb-ipam.js';
import {routerAddresses} from './ipcache.js';
import {nodeView} from './nodes.js';

/** Kept incrementally; every `state` is an immutable snapshot whose parts are the same objects until they change. */
export class ClusterStateBuilder {
  readonly #compiler: Compiler;
  readonly #enforcement: Enforcement;
  readonly #lb: LbStatuses;
  #identities = Table.empty<DesiredIdentity>();
  #nodes = Table.empty<DesiredCiliumNode>();
  #endpoints = Table.empty<DesiredCiliumEndpoint>();
  #statuses = Table.empty<DesiredPolicyStatus>();
  #bgpNodeConfigs = Table.empty<DesiredBgpNodeConfig>();
  #bgpAccepted: DesiredBgpAccepted | null = null;
  /** Of BGP objects. */
  #bgpUids: ReadonlySet<string> = new Set();
  #events = Table.empty<DesiredEvent>();
  /** Events by what they are about, so that a source that changes replaces its own. */
  readonly #eventsBySource = new Map<string, readonly string[]>();
  readonly #statusUid = new Map<string, string>();

  constructor(parts: {readonly compiler: Compiler; readonly enforcement: Enforcement; readonly lb: LbStatuses}) {
    this.#compiler = parts.compiler;
    this.#enforcement = parts.enforcement;
    this.#lb = parts.lb;
  }

  get state(): ClusterState {
    return {
      identities: this.#identities, nodes: this.#nodes, endpoints: this.#endpoints, services: this.#lb.services, bgpNodeConfigs: this.#bgpNodeConfigs,
      ...(this.#bgpAccepted === null ? {} : {bgpAccepted: this.#bgpAccepted}),
      policyStatuses: this.#statuses, events: this.#events,
    };
  }

  compiled(tables: Tables, changed: ChangedKeys, compiled: CompiledChanges): void {
    this.#updateIdentities(compiled.identities);
    this.#updateBgpAccepted();
    this.#updateNodes(tables, changed);
    this.#updateEndpoints(tables, changed, compiled);
    this.#takeLbStatuses(this.#lb.update(tables, changed));
    for (const key of changed.policies ?? []) this.#setEvents(`policy ${key}`, policyEvents(tables, key));
    for (const key of changed.rejected ?? []) this.#setEvents(`rejected ${key}`, rejectionEvents(tables, key));
    for (const key of changed.masquerade ?? []) this.#setEvents(`masquerade ${key}`, masqueradeEvents(tables, key));
    if (BGP_TABLES.some((table) => changed[table] !== undefined)) this.#setEvents('bgp', bgpEvents(tables, this.#compiler));
  }

  /** What LB-IPAM has given out is what the Services' statuses say, and nothing else. */
  adoptAddresses(tables: Tables): void {
    this.#takeLbStatuses(this.#lb.adopt(tables));
  }

  serviceSettled(tables: Tables, key: string): void {
    this.#takeLbStatuses(this.#lb.settled(tables, key));
  }

  /** Takes over the statuses of `objects` from the enforcement. */
  statuses(tables: Tables, objects: Iterable<string>): void {
    const changes: RowChange<DesiredPolicyStatus>[] = [];
    for (const key of objects) {
      const before = this.#statusUid.get(key);
      const fact = tables.policies.get(key);
      const status = fact !== undefined && hasConditions(fact.ref) ? this.#enforcement.statusOf(key) : null;
      if (before !== undefined && before !== status?.object.uid) changes.push([before, null]);
      if (status === null) {
        this.#statusUid.delete(key);
        continue;
      }
      this.#statusUid.set(key, status.object.uid);
      changes.push([status.object.uid, status]);
    }
    this.#statuses = this.#statuses.with(changes);
  }

  /** Takes over how BGP stands. */
  bgp(status: BgpStatus): void {
    const uids = new Set(status.statuses.map(({object}) => object.uid));
    const gone = [...this.#bgpUids].filter((uid) => !uids.has(uid)).map((uid): RowChange<DesiredPolicyStatus> => [uid, null]);
    this.#statuses = this.#statuses.with([...gone, ...status.statuses.flatMap((one) => differing(this.#statuses, one.object.uid, withUnknown(one, this.#statuses.get(one.object.uid))))]);
    this.#bgpUids = uids;
    const ended = [...this.#bgpNodeConfigs.keys()].filter((node) => !status.nodeConfigs.has(node)).map((node): RowChange<DesiredBgpNodeConfig> => [node, null]);
    this.#bgpNodeConfigs = this.#bgpNodeConfigs.with([...ended, ...[...status.nodeConfigs].flatMap(([node, one]) => differing(this.#bgpNodeConfigs, node, one))]);
    this.#setEvents('bgp-sessions', status.events);
  }

  /** An Event of the outside world, as a node that was refused. It stays until the process ends. */
  report(event: DesiredEvent): void {
    this.#events = this.#events.with([[eventKey(event), event]]);
  }

  #takeLbStatuses({pools, events}: LbStatusChanges): void {
    this.#statuses = this.#statuses.with(pools);
    for (const [source, all] of events) this.#setEvents(source, all);
  }

  #updateIdentities(numbers: ReadonlySet<IdentityId>): void {
    if (numbers.size === 0) return;
    this.#identities = this.#identities.with(Array.from(numbers, (id): RowChange<DesiredIdentity> => {
      const key = String(id);
      const labels = this.#compiler.identities.desiredLabels(id);
      const next = labels === null ? null : {id, securityLabels: Object.fromEntries(labels.all.map((label) => [`${label.source}:${label.key}`, label.value]))};
      const before = this.#identities.get(key);
      return [key, before !== undefined && deepEqual(before, next) ? before : next];
    }));
  }

  #updateNodes(tables: Tables, changed: ChangedKeys): void {
    const names = new Set([...changed.nodes ?? [], ...changed.nodeReports ?? [], ...changed.ciliumNodes ?? []]);
    this.#nodes = this.#nodes.with([...names].map((name): RowChange<DesiredCiliumNode> => {
      const next = ciliumNode(tables, name);
      const before = this.#nodes.get(name);
      this.#setEvents(`pod-cidrs ${name}`, podCidrEvents(tables.nodes.get(name)));
      return [name, before !== undefined && deepEqual(before, next) ? before : next];
    }));
  }

  #updateEndpoints(tables: Tables, changed: ChangedKeys, compiled: CompiledChanges): void {
    const keys = new Set(compiled.endpoints.map(({record}) => record.key));
    // The node's address and the subject's policy show in the object.
    for (const node of changed.nodes ?? []) for (const key of tables.pods.keysBy('node', node)) keys.add(key);
    for (const subject of compiled.policies.keys()) for (const {key} of this.#compiler.identities.podsOf(subject)) keys.add(key);
    this.#endpoints = this.#endpoints.with([...keys].map((key): RowChange<DesiredCiliumEndpoint> => {
      const endpoint = this.#compiler.endpoints.get(key);
      const next = endpoint === null ? null : this.#ciliumEndpoint(tables, endpoint);
      const before = this.#endpoints.get(key);
      return [key, before !== undefined && deepEqual(before, next) ? before : next];
    }));
  }

  #ciliumEndpoint(tables: Tables, endpoint: Endpoint): DesiredCiliumEndpoint | null {
    const {workload, identity, addresses} = endpoint;
    if (workload === null || identity === null || addresses.length === 0) return null;
    const view = workload.node === null ? null : nodeView(tables, workload.node);
    const policy = this.#compiler.policies.compiled.get(identity)?.policy;
    const namedPorts = Object.entries(workload.namedPorts).map(([name, {port, protocol}]) => ({name, port, protocol: PROTOCOL_NAMES[protocol] ?? 'TCP'}));
    return {
      namespace: workload.namespace, name: workload.name, podUid: workload.uid,
      status: {
        id: endpoint.endpointId,
        state: endpoint.state,
        identity: {id: identity, labels: workload.labels.format()},
        networking: {addressing: addressPairs(addresses), node: view?.address ?? ''},
        'external-identifiers': {
          'container-id': endpoint.containerId, 'k8s-namespace': workload.namespace, 'k8s-pod-name': workload.name,
          'pod-name': workload.key,
        },
        policy: {ingress: enforcementState(policy?.ingressEnforced), egress: enforcementState(policy?.egressEnforced)},
        ...(namedPorts.length === 0 ? {} : {'named-ports': namedPorts}),
      },
    };
  }

  #updateBgpAccepted(): void {
    const record = this.#compiler.speakers.guard?.record;
    if (record !== undefined && record !== this.#bgpAccepted?.record) this.#bgpAccepted = {record};
  }

  #setEvents(source: string, events: readonly DesiredEvent[]): void {
    const keys = events.map(eventKey);
    const gone = (this.#eventsBySource.get(source) ?? []).filter((key) => !keys.includes(key));
    this.#events = this.#events.with([...gone.map((key): RowChange<DesiredEvent> => [key, null]), ...events.map((event): RowChange<DesiredEvent> => [eventKey(event), event])]);
    if (keys.length === 0) this.#eventsBySource.delete(source);
    else this.#eventsBySource.set(source, keys);
  }
}

/** What is not known for the moment stays as it was said last. */
function withUnknown(status: DesiredPolicyStatus, before: DesiredPolicyStatus | undefined): DesiredPolicyStatus {
  const told = new Set(status.conditions.map(({type}) => type));
  const kept = (before?.conditions ?? []).filter(({type}) => !told.has(type));
  return kept.length === 0 ? status : {...status, conditions: [...status.conditions, ...kept]};
}

/** Nothing, when the row is what it was: equal rows stay the same objects. */
function differing<V>(table: Table<V>, key: string, value: V): RowChange<V>[] {
  return deepEqual(table.get(key), value) ? [] : [[key, value]];
}

/** One item has an address of each family, as Cilium pairs them. */
function addressPairs(addresses: readonly string[]): readonly {readonly ipv4?: string; readonly ipv6?: string}[] {
  const four = addresses.filter((ip) => !ip.includes(':'));
  const six = addresses.filter((ip) => ip.includes(':'));
  return Array.from({length: Math.max(four.length, six.length)}, (_, i) => {
    const [ipv4, ipv6] = [four[i], six[i]];
    return {...(ipv4 === undefined ? {} : {ipv4}), ...(ipv6 === undefined ? {} : {ipv6})};
  });
}

const PROTOCOL_NAMES: Readonly<Record<number, string>> = {6: 'TCP', 17: 'UDP', 132: 'SCTP'};

function enforcementState(enforced: boolean | undefined): {enforcing: boolean; state: string} {
  return enforced === true ? {enforcing: true, state: 'enforcing'} : {enforcing: false, state: 'non-enforcing'};
}

function ciliumNode(tables: Tables, name: string): DesiredCiliumNode | null {
  const view = nodeView(tables, name);
  if (view === null) return null;
  const {fact} = view;
  return {
    name, nodeUid: fact.uid, labels: fact.labels,
    spec: {
      addresses: [...fact.addresses, ...routerAddresses(view).map((ip) => ({type: 'CiliumInternalIP', ip}))],
      ipam: {podCIDRs: (fact.assigned ?? fact).podCidrs},
    },
    ...(fact.assigned === undefined ? {} : {ipamError: fact.assigned.error}),
  };
}

export function eventKey(event: DesiredEvent): string {
  return `${event.object.uid} ${event.reason} ${event.message}`;
}

function policyEvents(tables: Tables, key: string): DesiredEvent[] {
  const fact = tables.policies.get(key);
  if (fact === undefined || fact.rejections.length === 0) return [];
  return [{object: fact.ref, apiVersion: fact.apiVersion, type: 'Warning', reason: 'PolicyInvalid', message: validity(fact).message}];
}

/** What the speakers depend on. */
export const BGP_TABLES = ['bgpPolicies', 'bgpClusterConfigs', 'bgpPeerConfigs', 'bgpAdvertisements', 'bgpOverrides', 'bgpSecrets', 'bgpDrains', 'bgpAccepted', 'nodes'] as const;
const API_VERSIONS: Readonly<Record<string, string>> = {CiliumIdentity: 'cilium.io/v2'};

function rejectionEvents(tables: Tables, key: string): DesiredEvent[] {
  const rejection = tables.rejected.get(key);
  return rejection === undefined ? [] : [warning(rejection, API_VERSIONS[rejection.object.kind] ?? 'v1')];
}

function warning({object, path, code, reason}: Rejection, apiVersion: string): DesiredEvent {
  return {object, apiVersion, type: 'Warning', reason: code, message: `${path}: ${reason}`};
}

function masqueradeEvents(tables: Tables, key: string): DesiredEvent[] {
  const fact = tables.masquerade.get(key);
  if (fact?.kind !== 'broken') return [];
  return [{object: fact.object, apiVersion: 'v1', type: 'Warning', reason: 'MasqueradeConfigInvalid', message: `kept what is installed: ${fact.reason}`}];
}

function bgpEvents(tables: Tables, compiler: Compiler): DesiredEvent[] {
  const objects = [tables.bgpPolicies, tables.bgpClusterConfigs, tables.bgpPeerConfigs, tables.bgpAdvertisements, tables.bgpOverrides].flatMap((table) => [...table.values()]);
  const rejected = objects.flatMap(({rejections, apiVersion}) => rejections.map((rejection) => warning(rejection, apiVersion)));
  const findings = compiler.speakers.findings().map(({object, apiVersion, reason, message}): DesiredEvent => ({object, apiVersion, type: 'Warning', reason, message}));
  return [...rejected, ...findings];
}

/** The reason is that of Kubernetes' own allocator. */
function podCidrEvents(node: NodeFact | undefined): DesiredEvent[] {
  if (node?.assigned === undefined || node.assigned.error === '') return [];
  return [{object: nodeRef(node.name, node.uid), apiVersion: 'v1', type: 'Warning', reason: 'CIDRNotAvailable', message: node.assigned.error}];
}

/** A Node, as the object of an Event. */
export function nodeRef(name: string, uid: string): ObjectRef {
  return {kind: 'Node', namespace: '', name, uid};
}
