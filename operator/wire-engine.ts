// The heart of the operator, one turn at a time: what came in → tables → compile → store → sessions; acknowledgements → conditions.
// Nothing in it waits.

import {StentorError} from '../lib/core/errors.js';
import {contains, parsePrefix} from '../lib/core/ip.js';
import type {ClusterState, DesiredEvent} from '../lib/desired/cluster-state.js';
import type {EndpointReport, NodeReport, PeerReport} from '../lib/domain/reports.js';
import type {ClusterPool} from '../lib/ipam/cluster-pools.js';
import type {DemandOptions} from '../lib/lbipam/demand.js';
import type {Clock} from '../lib/run/clock.js';
import type {Log} from '../lib/run/log.js';
import {BY_ANNOTATION, type DrainOptions} from './compile/bgp-drain.js';
import {bgpStatus, type BgpNodeReport} from './compile/bgp-status.js';
import {BGP_TABLES, ClusterStateBuilder, nodeRef} from './compile/cluster-state.js';
import {LbStatuses, type LbEvent} from './compile/lb-ipam.js';
import {Enforcement, type NodeProgress} from './compile/enforcement.js';
import {Compiler, objectsConcerned, type CompileOptions} from './compile/graph.js';
import {PodCidrs} from './compile/pod-cidrs.js';
import type {DesiredStore} from './desired/store.js';
import {applyBatch, applyRows, emptyTables, podOfReport, reportKey, type Applied, type ChangedKeys, type Decoders, type TableName, type Tables} from './model/tables.js';
import type {SessionEvents} from './stream/server.js';
import type {NodeSession} from './stream/session.js';
import type {SpanAck} from './stream/encode.js';
import type {Batch} from './watch/feed-types.js';
import {DrainClock} from './wire-drains.js';
import {forgetEnded, goneRow} from './wire-reports.js';

export interface EngineOptions {
  readonly compile: CompileOptions;
  readonly lbIpam: DemandOptions;
  /** Absent: nodes are drained by their annotation alone. */
  readonly drain?: DrainOptions;
  readonly decoders: Decoders;
  /** How long a node without a session still counts as enforcing what it had acknowledged. */
  readonly unreachableAfterMs: number;
  /** How long after the start a node that has not come yet says nothing about the policies. */
  readonly settleMs: number;
  readonly spanAckLimitMs: number;
  readonly endpointsPerNodeMax: number;
  /** IPAM mode `cluster-pool`: what PodCIDRs are cut out of. Null where Kubernetes gives them out. */
  readonly clusterPools: readonly ClusterPool[] | null;
}

/** The sessions as the engine sees them. */
export interface Sessions {
  get(node: string): NodeSession | undefined;
  all(): readonly NodeSession[];
  spanAck(node: string, ack: SpanAck): void;
}

/** What the engine tells to metrics. */
export interface EngineObserver {
  compiled(seconds: number): void;
  /** From an event to the last acknowledgement of what it changed. */
  converged(seconds: number): void;
  spanAcked(seconds: number, complete: boolean): void;
  refused(code: string): void;
  lbIpam(event: LbEvent, seconds: number): void;
}

export interface EngineParts {
  readonly store: DesiredStore;
  readonly sessions: Sessions;
  readonly clock: Clock;
  readonly log: Log;
  readonly observer: EngineObserver;
  /** The newest state that Kubernetes should hold; called only when it changed, and not before in-sync. */
  readonly onClusterState: (state: ClusterState) => void;
  /** Called once: sessions may get their state. */
  readonly onInSync: () => void;
}

type Report = Parameters<SessionEvents['onReport']>[1];

interface LostNode {
  readonly unreachable: boolean;
  readonly faults: NodeProgress['faults'];
}

interface Waiting {
  readonly revision: number;
  readonly sinceMs: number;
}

interface SpanWait extends Waiting {
  readonly node: string;
  readonly report: EndpointReport;
  readonly limit: AbortController;
}

/** Revisions that wait for their last acknowledgement; beyond that the oldest are not measured. */
const CONVERGING_MAX = 10_000;
/** A condition that will be True in a moment is written once, not twice. Its observedGeneration tells readers that it is old. */
const PENDING_SILENT_MS = 250;
/** Counters of many nodes move together. */
const BGP_STATUS_MS = 50;
const EVENT_API_VERSION = 'v1';

export class Engine implements SessionEvents {
  readonly compiler: Compiler;
  readonly enforcement: Enforcement;
  readonly lb: LbStatuses;
  readonly podCidrs: PodCidrs | null;
  readonly #options: EngineOptions;
  readonly #parts: EngineParts;
  readonly #cluster: ClusterStateBuilder;
  readonly #stop = new AbortController();
  readonly #lost = new Map<string, LostNode>();
  readonly #peers = new Map<string, readonly PeerReport[]>();
  readonly #spanWaits = new Set<SpanWait>();
  #converging: Waiting[] = [];
  #tables: Tables = emptyTables();
  /** Rows that changed before in-sync. */
  #early = new Map<TableName, Set<string>>();
  /** What agents reported before in-sync, the last of each: it can only be judged against the nodes once they are known. */
  readonly #earlyReports = new Map<string, {readonly node: string; readonly report: Report}>();
  readonly #earlyGreetings = new Map<string, ReadonlySet<string>>();
  #inSync = false;
  /** Counts the terms of serving; 0 = none yet, odd = serving. */
  #term = 0;
  #published: ClusterState | null = null;
  #ackScheduled = false;
  #bgpScheduled = false;
  readonly #drains: DrainClock;
  /** The time in which nodes come after the start is over. */
  #settled = false;

  constructor(options: EngineOptions, parts: EngineParts) {
    this.#options = options;
    this.#parts = parts;
    this.compiler = new Compiler(options.compile);
    this.enforcement = new Enforcement({compiler: this.compiler, progressOf: (node) => this.#progressOf(node)});
    this.#drains = new DrainClock(options.drain ?? BY_ANNOTATION, {
      clock: parts.clock, after: (ms, act) => this.#after(ms, act), onDue: () => this.#take(this.#drains.due(this.#tables), parts.clock.monotonicMs()),
    });
    this.lb = new LbStatuses(options.lbIpam, {timed: (events, body) => {
      const startedMs = parts.clock.monotonicMs();
      const done = body();
      for (const event of events) parts.observer.lbIpam(event, (parts.clock.monotonicMs() - startedMs) / 1000);
      return done;
    }});
    this.podCidrs = options.clusterPools === null ? null : new PodCidrs(options.clusterPools);
    this.#cluster = new ClusterStateBuilder({compiler: this.compiler, enforcement: this.enforcement, lb: this.lb});
  }

  get inSync(): boolean {
    return this.#inSync;
  }

  get tables(): Tables {
    return this.#tables;
  }

  get peers(): ReadonlyMap<string, readonly PeerReport[]> {
    return this.#peers;
  }

  get clusterState(): ClusterState {
    return this.#cluster.state;
  }

  /** Pods on nodes, not of the host's network, that have no address from an agent. */
  unmanagedPods(): number {
    let count = 0;
    for (const {workload, addresses} of this.compiler.endpoints.values()) if (workload !== null && workload.node !== null && addresses.length === 0) count++;
    return count;
  }

  stop(): void {
    this.#stop.abort(new Error('stopping'));
    for (const wait of this.#spanWaits) wait.limit.abort(new Error('stopping'));
  }

  onBatch(batch: Batch): void {
    const applied = forgetEnded(applyBatch(this.#tables, batch, this.#options.decoders));
    const first = batch.inSync && !this.#inSync;
    if (first) this.#inSync = true;
    this.#take(this.#inSync ? this.#drains.follow(applied, first) : applied, batch.receivedAtMs);
    if (!first) return;
    this.#parts.log.info('in sync', {pods: this.#tables.pods.size, nodes: this.#tables.nodes.size, policies: this.#tables.policies.size});
    // What a node has reported after its greeting comes on top of it.
    for (const [node, endpoints] of this.#earlyGreetings) this.onGreeted(node, endpoints);
    for (const {node, report} of this.#earlyReports.values()) this.onReport(node, report);
    this.#earlyGreetings.clear();
    this.#earlyReports.clear();
    this.#parts.onInSync();
    this.#settle();
  }

  /** A replica that does not serve knows nothing of the nodes: it judges nobody, and begins anew when it serves again. */
  setLeading(leading: boolean): void {
    if (leading === (this.#term % 2 === 1)) return;
    this.#term++;
    this.enforcement.settling = true;
    this.#settled = false;
    this.#lost.clear();
    if (this.#inSync) this.#take({tables: this.#tables, changed: {}}, this.#parts.clock.monotonicMs());
    if (leading && this.#inSync) {
      this.#readoptBgp();
      this.#cluster.adoptAddresses(this.#tables);
      this.#publish();
    }
    this.#settle();
  }

  /** What the replica before has let through it has written. */
  #readoptBgp(): void {
    const {guard} = this.compiler.speakers;
    if (guard === null) return;
    guard.forget();
    this.#take({tables: this.#tables, changed: {bgpAccepted: new Set()}}, this.#parts.clock.monotonicMs());
  }

  #settle(): void {
    const term = this.#term;
    if (!this.#inSync || term % 2 === 0) return;
    this.#after(this.#options.settleMs, () => {
      if (this.#term !== term) return;
      this.enforcement.settling = false;
      this.#settled = true;
      this.#bgpReported();
      this.#publishStatuses(this.enforcement.reconsidered(this.#tables));
    });
  }

  /** From the apply stage: the Service's status in Kubernetes is as the cluster state says. */
  onServiceSettled(key: string): void {
    this.#cluster.serviceSettled(this.#tables, key);
    this.#publish();
  }

  onConnect(node: string): void {
    this.#lost.delete(node);
    this.#scheduleAcknowledged();
  }

  onDisconnect(node: string, faults: NodeProgress['faults']): void {
    if (this.#term % 2 === 0) return;
    const lost: LostNode = {unreachable: false, faults};
    this.#lost.set(node, lost);
    this.#peers.delete(node);
    this.#bgpReported();
    this.#publishStatuses(this.enforcement.reconsidered(this.#tables));
    this.#after(this.#options.unreachableAfterMs, () => {
      if (this.#lost.get(node) !== lost) return;
      this.#lost.set(node, {...lost, unreachable: true});
      this.#bgpReported();
      this.#publishStatuses(this.enforcement.reconsidered(this.#tables));
    });
    this.#scheduleAcknowledged();
  }

  onAck(node: string, faultsChanged: boolean): void {
    if (faultsChanged) {
      const faults = this.#parts.sessions.get(node)?.faults ?? [];
      if (faults.length > 0) this.#parts.log.warn('node reports what it could not apply', {node, faults});
      else this.#parts.log.info('node has applied everything', {node});
      this.#publishStatuses(this.enforcement.reconsidered(this.#tables));
      this.#bgpReported();
    }
    this.#acknowledged();
  }

  onReport(node: string, report: Report): void {
    if (!this.#inSync) {
      const about = report.kind === 'endpoint' ? `${report.report.namespace}/${report.report.name}` : '';
      this.#earlyReports.set(`${node} ${report.kind} ${about}`, {node, report});
      return;
    }
    switch (report.kind) {
      case 'endpoint':
        this.#endpointReport(node, report.report);
        return;
      case 'node':
        this.#take(applyRows(this.#tables, 'nodeReports', [[node, {node, ...this.#checkedNodeReport(node, report.report)}]]), this.#parts.clock.monotonicMs());
        return;
      case 'peers':
        this.#peers.set(node, report.peers);
        this.#bgpReported();
    }
  }

  onGreeted(node: string, endpoints: ReadonlySet<string>): void {
    if (!this.#inSync) {
      this.#earlyGreetings.set(node, endpoints);
      for (const [key, {node: from, report}] of this.#earlyReports) {
        if (from === node && report.kind === 'endpoint' && !endpoints.has(`${report.report.namespace}/${report.report.name}`)) this.#earlyReports.delete(key);
      }
      return;
    }
    const {endpointReports, endpoints: objects, pods} = this.#tables;
    const reported = [...endpointReports.keysBy('node', node)].map(podOfReport);
    const restored = [...pods.keysBy('node', node)].filter((pod) => objects.has(pod));
    const gone = [...new Set([...reported, ...restored])].filter((pod) => !endpoints.has(pod));
    if (gone.length === 0) return;
    this.#take(applyRows(this.#tables, 'endpointReports', gone.map((pod) => [reportKey(node, pod), goneRow(this.#tables, node, pod)])), this.#parts.clock.monotonicMs());
  }

  onRefused(refusal: {readonly code: string; readonly message: string; readonly node: string | null; readonly peer: string}): void {
    this.#parts.observer.refused(refusal.code);
    const fact = refusal.node === null ? undefined : this.#tables.nodes.get(refusal.node);
    // The others are either nobody's node or nobody's fault.
    if (fact === undefined || refusal.code !== 'NODE_MISMATCH') return;
    const event: DesiredEvent = {
      object: nodeRef(fact.name, fact.uid), apiVersion: EVENT_API_VERSION, type: 'Warning', reason: 'AgentRefused', message: `${refusal.code}: ${refusal.message}`,
    };
    this.#cluster.report(event);
    this.#publish();
  }

  #take(applied: Applied, receivedAtMs: number): void {
    this.#tables = applied.tables;
    const raw = this.#inSync ? this.#withEarly(applied.changed) : this.#collect(applied.changed);
    if (raw === null) return;
    const {tables, changed} = this.podCidrs?.update({tables: this.#tables, changed: raw}, this.#term % 2 === 1) ?? {tables: this.#tables, changed: raw};
    this.#tables = tables;
    if (Object.keys(changed).length === 0 && this.#parts.store.revision > 0) return;
    const before = this.#parts.store.revision;
    const startedMs = this.#parts.clock.monotonicMs();
    const compiled = this.compiler.update(this.#tables, changed);
    const revision = this.#parts.store.apply(compiled);
    const statuses = this.enforcement.compiled(this.#tables, {objects: changed.policies ?? [], concerned: objectsConcerned(compiled, this.compiler.policies.compiled)}, revision);
    this.#cluster.compiled(this.#tables, changed, compiled);
    this.#cluster.statuses(this.#tables, statuses);
    if (BGP_TABLES.some((table) => changed[table] !== undefined)) this.#takeBgpStatus();
    this.#parts.observer.compiled((this.#parts.clock.monotonicMs() - startedMs) / 1000);
    if (revision > before) {
      if (this.#converging.length >= CONVERGING_MAX) this.#converging.shift();
      this.#converging.push({revision, sinceMs: receivedAtMs});
    }
    this.#publish();
    this.#scheduleAcknowledged();
    const {policies} = changed;
    if (policies === undefined) return;
    this.#after(PENDING_SILENT_MS, () => this.#publishStatuses(this.enforcement.announce(policies, this.#tables, revision)));
  }

  #collect(changed: ChangedKeys): null {
    for (const [name, keys] of entriesOf(changed)) {
      const early = this.#early.get(name) ?? new Set<string>();
      this.#early.set(name, early);
      for (const key of keys) early.add(key);
    }
    return null;
  }

  #withEarly(changed: ChangedKeys): ChangedKeys {
    if (this.#early.size === 0) return changed;
    this.#collect(changed);
    const all = Object.fromEntries(this.#early);
    this.#early = new Map();
    return all;
  }

  /** Only addresses of the node's own PodCIDRs are believed: a node cannot speak for another's pods. */
  #endpointReport(node: string, report: EndpointReport): void {
    const pod = `${report.namespace}/${report.name}`;
    const key = reportKey(node, pod);
    const held = this.#tables.endpointReports.get(key);
    const {state, ...rest} = report;
    const sinceMs = this.#parts.clock.monotonicMs();
    if (state === 'disconnected') {
      // A container that went says nothing about the one that took its place.
      if (held !== undefined && report.containerId !== '' && held.containerId !== '' && report.containerId !== held.containerId) return;
      // As long as the pod is there its CiliumEndpoint may be, too: the row says that the endpoint is not.
      const gone = this.#tables.pods.has(pod) ? {...rest, node, addresses: [], state} : null;
      this.#take(applyRows(this.#tables, 'endpointReports', [[key, gone]]), sinceMs);
      return;
    }
    if (held === undefined && this.#tables.endpointReports.keysBy('node', node).size >= this.#options.endpointsPerNodeMax) {
      this.#parts.log.warn('endpoint report ignored: too many endpoints', {node, pod, max: this.#options.endpointsPerNodeMax});
      return;
    }
    const addresses = report.addresses.filter((address) => this.#isPodAddress(node, address));
    if (addresses.length < report.addresses.length) {
      this.#parts.log.warn('addresses outside the PodCIDRs of their node ignored', {node, pod, addresses: report.addresses});
    }
    this.#take(applyRows(this.#tables, 'endpointReports', [[key, {...rest, node, addresses, state}]]), sinceMs);
    this.#awaitSpan({node, report: {...report, addresses}, revision: this.#parts.store.revision, sinceMs, limit: new AbortController()});
  }

  #checkedNodeReport(node: string, report: NodeReport): NodeReport {
    const {routerAddress, routerAddress6, ...rest} = report;
    const believed = (address: string | null | undefined): string | null => {
      if (address === null || address === undefined || this.#isPodAddress(node, address)) return address ?? null;
      this.#parts.log.warn('router address outside the PodCIDRs of its node ignored', {node, routerAddress: address});
      return null;
    };
    const router6 = believed(routerAddress6);
    return {...rest, routerAddress: believed(routerAddress), ...(router6 === null ? {} : {routerAddress6: router6})};
  }

  #isPodAddress(node: string, address: string): boolean {
    const prefix = parsePrefix(address);
    return prefix !== null && (this.#tables.nodes.get(node)?.podCidrs ?? []).some((cidr) => {
      const outer = parsePrefix(cidr);
      return outer !== null && contains(outer, prefix);
    });
  }

  #awaitSpan(wait: SpanWait): void {
    this.#spanWaits.add(wait);
    this.#parts.clock.sleep(this.#options.spanAckLimitMs, wait.limit.signal).then(() => this.#endSpan(wait, false), () => undefined);
    this.#scheduleAcknowledged();
  }

  #endSpan(wait: SpanWait, complete: boolean): void {
    if (!this.#spanWaits.delete(wait)) return;
    wait.limit.abort(new Error('answered'));
    this.#parts.observer.spanAcked((this.#parts.clock.monotonicMs() - wait.sinceMs) / 1000, complete);
    const {namespace, name, addresses} = wait.report;
    this.#parts.sessions.spanAck(wait.node, {namespace, name, addresses, complete});
  }

  /** After what may have moved the acknowledged revisions without an acknowledgement: a session without news is at the newest revision. */
  #scheduleAcknowledged(): void {
    if (this.#ackScheduled) return;
    this.#ackScheduled = true;
    // Later than the microtask in which the sessions send what is dirty.
    setImmediate(() => {
      this.#ackScheduled = false;
      if (!this.#stop.signal.aborted) this.#acknowledged();
    });
  }

  #acknowledged(): void {
    const acked = Math.min(this.#parts.store.revision, ...this.#parts.sessions.all().map((session) => session.ackedRevision));
    for (const wait of this.#spanWaits) if (wait.revision <= acked) this.#endSpan(wait, true);
    const nowMs = this.#parts.clock.monotonicMs();
    while (this.#converging[0] !== undefined && this.#converging[0].revision <= acked) {
      const done = this.#converging.shift();
      if (done !== undefined && this.#parts.sessions.all().length > 0) this.#parts.observer.converged((nowMs - done.sinceMs) / 1000);
    }
    this.#publishStatuses(this.enforcement.acknowledged(this.#tables));
  }

  #progressOf(node: string): NodeProgress | undefined {
    const session = this.#parts.sessions.get(node);
    if (session !== undefined) return {connected: true, unreachable: false, ackedRevision: session.ackedRevision, faults: session.faults};
    const lost = this.#lost.get(node);
    return lost === undefined ? undefined : {connected: false, unreachable: lost.unreachable, ackedRevision: -1, faults: lost.faults};
  }

  /** After news of sessions: once for all that came in a moment, since it looks at every session. */
  #bgpReported(): void {
    if (this.#bgpScheduled) return;
    this.#bgpScheduled = true;
    this.#after(BGP_STATUS_MS, () => {
      this.#bgpScheduled = false;
      if (!this.#inSync) return;
      this.#takeBgpStatus();
      this.#publish();
    });
  }

  #takeBgpStatus(): void {
    this.#cluster.bgp(bgpStatus({tables: this.#tables, speakers: this.compiler.speakers.all, guard: this.compiler.speakers.guard?.state, reportOf: (node) => this.#bgpReportOf(node)}));
  }

  #bgpReportOf(node: string): BgpNodeReport | undefined {
    const progress = this.#progressOf(node);
    const peers = this.#peers.get(node);
    if (progress?.connected === true && peers !== undefined) return {connected: true, peers, faults: progress.faults};
    // A node that has only just lost its session, or has not come yet, leaves what is known of it alone.
    return progress?.unreachable === true || (progress === undefined && this.#settled) ? {connected: false, peers: [], faults: []} : undefined;
  }

  #publishStatuses(objects: ReadonlySet<string>): void {
    if (objects.size === 0) return;
    this.#cluster.statuses(this.#tables, objects);
    this.#publish();
  }

  #publish(): void {
    if (!this.#inSync) return;
    const next = this.#cluster.state;
    const last = this.#published;
    if (last !== null && next.identities === last.identities && next.nodes === last.nodes && next.endpoints === last.endpoints
      && next.services === last.services && next.bgpNodeConfigs === last.bgpNodeConfigs && next.bgpAccepted === last.bgpAccepted
      && next.policyStatuses === last.policyStatuses && next.events === last.events) return;
    this.#published = next;
    this.#parts.onClusterState(next);
  }

  #after(ms: number, act: () => void): void {
    this.#parts.clock.sleep(ms, this.#stop.signal).then(act, (error: unknown) => {
      if (!this.#stop.signal.aborted) throw error instanceof Error ? error : new StentorError('TIMER', String(error));
    });
  }
}

function entriesOf(changed: ChangedKeys): [TableName, ReadonlySet<string>][] {
  return Object.entries(changed).filter((entry): entry is [TableName, ReadonlySet<string>] => entry[1] !== undefined);
}
