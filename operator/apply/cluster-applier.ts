// Makes Kubernetes hold what ClusterState says: compares with the watched objects and writes only differences, different
// objects in parallel, the newest state of each object only. Nothing is written before in-sync, nor while not leading.

import type {InvariantError} from '../../lib/core/invariant.js';
import {Table} from '../../lib/core/table.js';
import type {ClusterState} from '../../lib/desired/cluster-state.js';
import {isKubeError} from '../../lib/kube/errors.js';
import type {KubeObject} from '../../lib/kube/object.js';
import type {Clock} from '../../lib/run/clock.js';
import {errorFields, type Log} from '../../lib/run/log.js';
import {planBgpAccepted} from './bgp-accepted.js';
import {planBgpNodeConfig, planBgpNodeStatus} from './bgp-node-config.js';
import {planEndpoint} from './endpoints.js';
import {planEvent} from './events.js';
import {planIdentity} from './identities.js';
import {KeyedWriter} from './keyed-writer.js';
import type {ObjectTarget} from './kube-target.js';
import {planNode, planNodeStatus} from './node-objects.js';
import {ObservedObjects, type ObservedChange} from './observed-objects.js';
import {NOTHING, type Plan} from './plan.js';
import {planPolicyStatus, POLICY_RESOURCES} from './policy-status.js';
import {planServiceStatus} from './service-status.js';

export interface ClusterApplierOptions {
  /** Names this replica in Events. */
  readonly instance: string;
  /** How long an identity that nobody uses is kept. */
  readonly identityDelayMs?: number;
  /** `namespace/name` of the ConfigMap with what was let through of BGP objects. */
  readonly bgpAcceptedKey?: string;
  readonly concurrency?: number;
}

export interface ClusterApplierParts {
  readonly target: ObjectTarget;
  readonly clock: Clock;
  readonly log: Log;
  readonly random?: () => number;
  /** After each write; `result` is `ok` or the error's code. */
  readonly onWrite?: (kind: string, verb: string, result: string, seconds: number) => void;
  /** The Service's status is as it should be, as of its newest version; no write of it is on its way. */
  readonly onServiceSettled?: (key: string) => void;
}

export interface ApplyProblem {
  readonly object: string;
  readonly code: string;
  readonly message: string;
}

const EMPTY: ClusterState = {identities: new Map(), nodes: new Map(), endpoints: new Map(), services: new Map(), policyStatuses: new Map(), events: new Map()};
const NO_NODE_CONFIGS: NonNullable<ClusterState['bgpNodeConfigs']> = new Map();
const KINDS = ['CiliumIdentity', 'CiliumNode', 'CiliumEndpoint', 'CiliumBGPNodeConfig'] as const;
/** Distinct events remembered; beyond, the oldest are forgotten and may be written a second time. */
const EVENTS_MAX = 10_000;

export class ClusterApplier {
  readonly #options: Required<ClusterApplierOptions>;
  readonly #parts: ClusterApplierParts;
  readonly #observed = new ObservedObjects();
  readonly #writer: KeyedWriter;
  readonly #problems = new Map<string, ApplyProblem>();
  readonly #unusedSinceMs = new Map<string, number>();
  /** resourceVersion of our last write of an object: a difference that survived it is not ours to repair (cut fields). */
  readonly #answered = new Map<string, {readonly resourceVersion: string; readonly applied: string}>();
  readonly #events = new Map<string, {readonly count: number; readonly written: number}>();
  #state: ClusterState = EMPTY;
  #hasState = false;
  #inSync = false;
  #leading: AbortController | null = null;
  #failed: ((error: InvariantError) => void) | null = null;

  constructor(options: ClusterApplierOptions, parts: ClusterApplierParts) {
    this.#options = {identityDelayMs: 30 * 60_000, concurrency: 16, bgpAcceptedKey: '', ...options};
    this.#parts = parts;
    this.#writer = new KeyedWriter({concurrency: this.#options.concurrency, backoff: {baseMs: 50, maxMs: 30_000}}, {
      clock: parts.clock,
      ...(parts.random === undefined ? {} : {random: parts.random}),
      write: (id, signal) => this.#write(id, signal),
      onFailure: (id, error, attempt) => this.#fail(id, error, attempt),
      onBroken: (error) => this.#failed?.(error),
    });
  }

  /** Every batch of the feed, before the state that was compiled from it. */
  observe(batch: {readonly changes: readonly ObservedChange[]; readonly inSync: boolean}): void {
    for (const change of batch.changes) {
      const seen = this.#observed.observe(change);
      if (seen === null) continue;
      if (change.kind === 'CiliumBGPNodeConfig') this.#mark(`bgp-status/${change.key}`);
      if (change.kind === 'CiliumNode') this.#mark(`node-status/${change.key}`);
      if (!(change.kind in POLICY_RESOURCES)) this.#mark(`${change.kind}/${change.key}`);
      else for (const uid of new Set([seen.before?.metadata.uid, seen.after?.metadata.uid])) if (uid !== undefined) this.#mark(`status/${uid}`);
    }
    if (batch.inSync && !this.#inSync) {
      this.#inSync = true;
      this.#begin();
    }
  }

  /** What Kubernetes should hold from now on. Unchanged values should be the same references: they are skipped at once. */
  set(state: ClusterState): void {
    const before = this.#state;
    this.#state = state;
    this.#markDifferent('CiliumIdentity', before.identities, state.identities);
    this.#markDifferent('CiliumNode', before.nodes, state.nodes);
    this.#markDifferent('node-status', before.nodes, state.nodes);
    this.#markDifferent('CiliumEndpoint', before.endpoints, state.endpoints);
    this.#markDifferent('Service', before.services, state.services);
    const [configsBefore, configs] = [before.bgpNodeConfigs ?? NO_NODE_CONFIGS, state.bgpNodeConfigs ?? NO_NODE_CONFIGS];
    this.#markDifferent('CiliumBGPNodeConfig', configsBefore, configs);
    this.#markDifferent('bgp-status', configsBefore, configs);
    if (before.bgpAccepted !== state.bgpAccepted) this.#writer.mark(`ConfigMap/${this.#options.bgpAcceptedKey}`);
    this.#markDifferent('status', before.policyStatuses, state.policyStatuses);
    this.#countEvents(before, state);
    if (this.#hasState) return;
    this.#hasState = true;
    for (const kind of KINDS) for (const key of this.#observed.keys(kind)) this.#writer.mark(`${kind}/${key}`);
    this.#begin();
  }

  /** Only the leader writes. What gathered before is looked at when it begins to lead. */
  setLeading(leading: boolean): void {
    if (leading === (this.#leading !== null)) return;
    if (leading) {
      this.#leading = new AbortController();
      this.#begin();
    } else {
      this.#leading?.abort();
      this.#leading = null;
    }
  }

  /** Sweeps unused identities until `signal` aborts. Rejects when a broken invariant has stopped the writing. */
  async run(signal: AbortSignal): Promise<void> {
    const broken = new AbortController();
    this.#failed = (error) => broken.abort(error);
    const either = AbortSignal.any([signal, broken.signal]);
    while (!either.aborted) {
      await this.#parts.clock.sleep(Math.max(10, this.#options.identityDelayMs / 10), either).catch(() => undefined);
      for (const key of this.#unusedSinceMs.keys()) this.#mark(`CiliumIdentity/${key}`);
    }
    this.setLeading(false);
    if (broken.signal.aborted) throw broken.signal.reason as InvariantError;
  }

  /** Objects that could not be written, for /debug and health. */
  problems(): readonly ApplyProblem[] {
    return [...this.#problems.values()];
  }

  get pending(): number {
    return this.#writer.pending;
  }

  whenIdle(): Promise<void> {
    return this.#writer.whenIdle();
  }

  #begin(): void {
    if (this.#leading !== null && this.#inSync && this.#hasState) this.#writer.start(this.#leading.signal);
  }

  #mark(id: string): void {
    if (this.#hasState) this.#writer.mark(id);
  }

  #markDifferent<V>(kind: string, before: ReadonlyMap<string, V>, after: ReadonlyMap<string, V>): void {
    if (before === after) return;
    for (const key of candidates(before, after)) if (before.get(key) !== after.get(key)) this.#writer.mark(`${kind}/${key}`);
  }

  /** An event that was in the state before is not told again; one that comes back counts. */
  #countEvents(before: ClusterState, after: ClusterState): void {
    if (before.events === after.events) return;
    for (const key of after.events.keys()) {
      if (before.events.has(key)) continue;
      const known = this.#events.get(key) ?? {count: 0, written: 0};
      this.#events.delete(key);
      this.#events.set(key, {...known, count: known.count + 1});
      this.#writer.mark(`event/${key}`);
    }
    for (const key of this.#events.keys()) {
      if (this.#events.size <= EVENTS_MAX) break;
      this.#events.delete(key);
    }
  }

  #plan(id: string): Plan {
    const slash = id.indexOf('/');
    const kind = id.slice(0, slash);
    const key = id.slice(slash + 1);
    const {clock} = this.#parts;
    switch (kind) {
      case 'CiliumIdentity': return this.#planIdentity(key);
      case 'CiliumNode': return planNode(this.#state.nodes.get(key), this.#observed.get(kind, key));
      case 'node-status': return planNodeStatus(this.#state.nodes.get(key), this.#observed.get('CiliumNode', key));
      case 'CiliumEndpoint': return planEndpoint(this.#state.endpoints.get(key), this.#observed.get(kind, key));
      case 'Service': return this.#planService(key);
      case 'CiliumBGPNodeConfig': return planBgpNodeConfig(this.#state.bgpNodeConfigs?.get(key), this.#observed.get(kind, key));
      case 'ConfigMap': return key === this.#options.bgpAcceptedKey ? planBgpAccepted(this.#state.bgpAccepted, this.#observed.get(kind, key), key) : NOTHING;
      case 'bgp-status': return planBgpNodeStatus(this.#state.bgpNodeConfigs?.get(key), this.#observed.get('CiliumBGPNodeConfig', key), this.#wholeSeconds());
      case 'status': {
        const desired = this.#state.policyStatuses.get(key);
        if (desired === undefined) return NOTHING;
        const {kind: of, namespace, name} = desired.object;
        const observed = this.#observed.get(of, namespace === '' ? name : `${namespace}/${name}`);
        return planPolicyStatus(desired, observed, this.#wholeSeconds());
      }
      default: {
        const desired = this.#state.events.get(key);
        const known = this.#events.get(key);
        if (desired === undefined || known === undefined || known.count === known.written) return NOTHING;
        const microTime = new Date(clock.now()).toISOString().replace('Z', '000Z');
        return planEvent(desired, known.count, {microTime, instance: this.#options.instance});
      }
    }
  }

  #wholeSeconds(): string {
    return `${new Date(this.#parts.clock.now()).toISOString().slice(0, 19)}Z`;
  }

  #planService(key: string): Plan {
    const desired = this.#state.services.get(key);
    const observed = this.#observed.get('Service', key);
    const plan = planServiceStatus(desired, observed, this.#wholeSeconds());
    if (plan.verb === 'nothing' && desired !== undefined && desired.object.uid === observed?.metadata.uid) this.#parts.onServiceSettled?.(key);
    return plan;
  }

  #planIdentity(key: string): Plan {
    const desired = this.#state.identities.get(key);
    const observed = this.#observed.get('CiliumIdentity', key);
    if (desired !== undefined || observed === undefined) {
      this.#unusedSinceMs.delete(key);
      return planIdentity(desired, observed, false);
    }
    const nowMs = this.#parts.clock.monotonicMs();
    const sinceMs = this.#unusedSinceMs.get(key) ?? nowMs;
    this.#unusedSinceMs.set(key, sinceMs);
    return planIdentity(desired, observed, nowMs - sinceMs >= this.#options.identityDelayMs);
  }

  async #write(id: string, signal: AbortSignal): Promise<void> {
    const plan = this.#plan(id);
    if (plan.verb === 'nothing') {
      if (plan.why === undefined) this.#problems.delete(id);
      else this.#problems.set(id, {object: id, code: 'Refused', message: plan.why});
      return;
    }
    if (this.#survivedOurWrite(id, plan)) return;
    const startedMs = this.#parts.clock.monotonicMs();
    const report = (result: string): void =>
      this.#parts.onWrite?.(plan.resource.kind, plan.verb, result, (this.#parts.clock.monotonicMs() - startedMs) / 1000);
    try {
      await this.#execute(id, plan, signal);
    } catch (error) {
      report(error instanceof Error && 'code' in error ? String(error.code) : 'Error');
      throw error;
    }
    report('ok');
    this.#problems.delete(id);
  }

  async #execute(id: string, plan: Exclude<Plan, {verb: 'nothing'}>, signal: AbortSignal): Promise<void> {
    const {target} = this.#parts;
    const {resource, object} = plan;
    const count = this.#events.get(id.slice('event/'.length))?.count ?? 0;
    try {
      if (plan.verb === 'remove') {
        await target.remove(resource, object, signal);
        return;
      }
      const answer = await target[plan.verb](resource, object, signal);
      this.#observed.answered(resource.kind, answer);
      const {resourceVersion} = answer.metadata;
      if (resourceVersion !== undefined) this.#answered.set(id, {resourceVersion, applied: appliedOf(object)});
    } catch (error) {
      if (!await this.#isSettled(plan, error, signal)) throw error;
    }
    if (resource.kind === 'Event') this.#eventWritten(id.slice('event/'.length), count);
  }

  /** Refusals that say the world has moved on: the feed brings the news, and the object is looked at again then. */
  async #isSettled(plan: Exclude<Plan, {verb: 'nothing'}>, error: unknown, signal: AbortSignal): Promise<boolean> {
    const {target} = this.#parts;
    if (plan.verb === 'create' && isKubeError(error, 'AlreadyExists')) {
      if (plan.resource.kind !== 'Event') this.#observed.answered(plan.resource.kind, await target.get(plan.resource, plan.object, signal));
      return true;
    }
    if (plan.verb === 'merge') return isKubeError(error, 'NotFound');
    if (plan.verb === 'remove') return isKubeError(error, 'Conflict');
    // The status of an object that is gone, or of one that was made anew.
    return (plan.verb === 'applyStatus' || plan.verb === 'mergeStatus') && isKubeError(error, 'NotFound', 'Conflict') && this.#isGone(plan.object);
  }

  #isGone(object: KubeObject): boolean {
    const {namespace, name, uid} = object.metadata;
    const key = namespace === undefined ? name : `${namespace}/${name}`;
    return this.#observed.get(String(object['kind']), key)?.metadata.uid !== uid;
  }

  #survivedOurWrite(id: string, plan: Exclude<Plan, {verb: 'nothing'}>): boolean {
    if (plan.verb !== 'apply') return false;
    const answered = this.#answered.get(id);
    const {namespace, name} = plan.object.metadata;
    const observed = this.#observed.get(plan.resource.kind, namespace === undefined ? name : `${namespace}/${name}`);
    if (answered === undefined || observed === undefined || answered.applied !== appliedOf(plan.object)) return false;
    return answered.resourceVersion === observed.metadata.resourceVersion;
  }

  #eventWritten(key: string, count: number): void {
    const known = this.#events.get(key);
    if (known !== undefined) this.#events.set(key, {...known, written: count});
  }

  #fail(id: string, error: unknown, attempt: number): void {
    const {log} = this.#parts;
    const code = error instanceof Error && 'code' in error ? String(error.code) : 'Error';
    this.#problems.set(id, {object: id, code, message: error instanceof Error ? error.message : String(error)});
    // A conflict means that the watch is about to bring something newer: it is looked at again then.
    log[attempt % 8 === 0 && code !== 'Conflict' ? 'warn' : 'debug']('object not written', {object: id, attempt, ...errorFields(error)});
  }
}

/** What an apply says, as one string. */
function appliedOf(object: KubeObject): string {
  return object.metadata.annotations?.['stentor.io/applied'] ?? '';
}

/** Keys that may have other values in `after`. A table knows what became of its earlier versions. */
function candidates<V>(before: ReadonlyMap<string, V>, after: ReadonlyMap<string, V>): Iterable<string> {
  const known = before instanceof Table && after instanceof Table ? after.differing(before) : null;
  return known ?? new Set([...before.keys(), ...after.keys()]);
}
