// What attaching a pod asks of the rest of the agent: the operator's word on it, the kernel's, and the other nodes'.

import {StentorError} from '../lib/core/errors.js';
import type {ApplyError} from '../lib/domain/reports.js';
import type {Clock} from '../lib/run/clock.js';
import type {Log} from '../lib/run/log.js';
import {identityOf, deviceMtu, routeMtu} from './compile/input.js';
import type {CompileOptions} from './compile/input.js';
import type {AttachPorts} from './cni/attach.js';
import type {PodName} from './cni/protocol.js';
import type {NotReady} from './cni/server.js';
import type {LocalEndpoint, LocalFacts} from './model/local.js';
import {endpointAddresses, endpointOwner} from './model/local.js';
import type {AgentMetrics} from './observe/metrics.js';
import type {AgentMessage, PodReport} from './stream/report.js';
import {endpointMessage} from './stream/report.js';
import type {SpanAck} from './stream/session.js';
import type {NodeEngine} from './wire-engine.js';

export interface PodPortsOptions {
  readonly podWaitMs: number;
  readonly spanWaitMs: number;
  readonly settleWaitMs: number;
  readonly compile: CompileOptions;
}

export interface PodPortsParts {
  readonly engine: NodeEngine;
  readonly facts: () => Pick<LocalFacts, 'endpoints' | 'links'>;
  /** Whether an operator is there to be waited for. */
  readonly connected: () => boolean;
  readonly report: (message: AgentMessage) => void;
  readonly onReleased: (address: string) => void;
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: () => Pick<AgentMetrics, 'spanWait' | 'endpointRegeneration'> | null;
}

const INSTALLATION_PROBLEM: ReadonlySet<string> = new Set(['NO_PROGRAM', 'UNKNOWN_VARIABLE', 'EPERM', 'EACCES']);

export class PodPorts implements AttachPorts {
  readonly #options: PodPortsOptions;
  readonly #parts: PodPortsParts;
  readonly #spanWaits = new Map<string, () => void>();

  constructor(options: PodPortsOptions, parts: PodPortsParts) {
    this.#options = options;
    this.#parts = parts;
  }

  async awaitPod(pod: PodName): Promise<void> {
    const {engine, log} = this.#parts;
    const isKnown = (): boolean => {
      const known = engine.held.tables.endpoint.get(`${pod.namespace}/${pod.name}`)?.value;
      return known !== undefined && (pod.uid === '' || known.uid === '' || known.uid === pod.uid);
    };
    if (isKnown() || !this.#parts.connected()) return;
    const known = await this.#until(this.#options.podWaitMs, (done) => engine.onHeld(() => {
      if (isKnown()) done();
    }));
    if (!known) log.warn('the operator does not know the pod yet: it starts as reserved:init', {namespace: pod.namespace, name: pod.name});
  }

  changesSoFar(): number {
    return this.#parts.engine.rounds;
  }

  async settle(endpointId: number, changes?: number): Promise<void> {
    const {engine, clock} = this.#parts;
    const endpoint = this.#parts.facts().endpoints.get(endpointId);
    const deadlineMs = clock.monotonicMs() + this.#options.settleWaitMs;
    const round = await this.#limited(engine.nextRound(changes), deadlineMs);
    if (endpoint === undefined) return;
    const owner = endpointOwner(endpoint);
    const failed = round.find(({kind, key, code}) => (kind === 'endpoint' && key === owner) || isInstallationProblem({kind, code}));
    this.#parts.metrics()?.endpointRegeneration(failed === undefined ? 'success' : 'fail');
    if (failed !== undefined) throw new StentorError('ENDPOINT_NOT_REALISED', `the kernel does not hold everything of the endpoint: ${failed.message}`, {endpoint: owner, code: failed.code});
    if (engine.compiled === null) throw new StentorError('NOT_READY', 'the operator has not said what this node is');
  }

  async announce(endpoint: LocalEndpoint): Promise<void> {
    this.#parts.report(endpointMessage(this.reportOf(endpoint, 'ready')));
    if (!this.#parts.connected() || this.#options.spanWaitMs === 0) return;
    const key = spanKey(endpoint.namespace, endpoint.name, endpointAddresses(endpoint)[0] ?? '');
    const complete = await this.#until(this.#options.spanWaitMs, (done) => {
      this.#spanWaits.set(key, done);
      return () => this.#spanWaits.delete(key);
    });
    this.#parts.metrics()?.spanWait(complete ? 'complete' : 'timeout');
  }

  withdraw(endpoint: LocalEndpoint): void {
    for (const address of endpointAddresses(endpoint)) this.#parts.onReleased(address);
    // Lost without a session: the next greeting does not name it, which says the same.
    this.#parts.report(endpointMessage(this.reportOf(endpoint, 'disconnected')));
  }

  onSpanAck(ack: SpanAck): void {
    for (const address of ack.addresses) this.#spanWaits.get(spanKey(ack.namespace, ack.name, address))?.();
  }

  /** For a new session: every endpoint there is. */
  greeting(): AgentMessage[] {
    const present = [...this.#parts.facts().endpoints.values()].filter(({state}) => state === 'ready');
    return present.map((endpoint) => endpointMessage(this.reportOf(endpoint, 'ready')));
  }

  reportOf(endpoint: LocalEndpoint, state: PodReport['state']): PodReport {
    return {
      namespace: endpoint.namespace, name: endpoint.name, uid: endpoint.uid, containerId: endpoint.containerId, endpointId: endpoint.id,
      addresses: endpointAddresses(endpoint), identity: identityOf(this.#parts.engine.held.tables, endpoint), state,
    };
  }

  /** Without a state what the kernel holds is still in force; what it refuses is not. */
  notReady(): NotReady | null {
    const {engine, facts} = this.#parts;
    if (engine.config === null) return {reason: 'the operator has not said what this node is', limited: false};
    if (engine.compiled === null) return {reason: 'the datapath is not set up yet', limited: false};
    const problem = engine.errors.find(isInstallationProblem);
    return problem === undefined ? null : {reason: `the datapath cannot be installed: ${problem.message}`, limited: facts().endpoints.size > 0};
  }

  mtu(): {readonly device: number; readonly route: number} {
    const {engine} = this.#parts;
    const {config} = engine;
    if (config === null) throw new StentorError('NOT_READY', 'the operator has not said what this node is');
    const input = {config, options: this.#options.compile, facts: {...this.#parts.facts(), localIdentities: engine.localIdentities}};
    return {device: deviceMtu(input), route: routeMtu(input)};
  }

  /** True when `done` was called within the limit. `subscribe` returns how to end it. */
  async #until(limitMs: number, subscribe: (done: () => void) => () => void): Promise<boolean> {
    const early = new AbortController();
    let happened = false;
    const unsubscribe = subscribe(() => {
      happened = true;
      early.abort(new Error('happened'));
    });
    await this.#parts.clock.sleep(limitMs, early.signal).catch(() => undefined);
    unsubscribe();
    return happened;
  }

  async #limited<T>(work: Promise<T>, deadlineMs: number): Promise<T> {
    const {clock} = this.#parts;
    const early = new AbortController();
    let result: {readonly value: T} | null = null;
    const watched = work.then((value) => {
      result = {value};
      early.abort(new Error('done'));
    });
    await clock.sleep(deadlineMs - clock.monotonicMs(), early.signal).catch(() => undefined);
    if (result === null) throw new StentorError('NOT_READY', 'the kernel was not brought up to date in time', {limitMs: this.#options.settleWaitMs});
    await watched;
    return (result as {readonly value: T}).value;
  }
}

function isInstallationProblem({kind, code}: Pick<ApplyError, 'kind' | 'code'>): boolean {
  return kind === 'node-config' && INSTALLATION_PROBLEM.has(code);
}

function spanKey(namespace: string, name: string, address: string): string {
  return `${namespace}/${name} ${address}`;
}
