// Lease election with client-go's times: 15 s lease, 10 s to renew, one try every 2 s. Expiry is measured with our own
// monotonic clock from the moment a renewal was seen, never from the times in the Lease.

import type {KubeClient} from '../../lib/kube/client.js';
import {isKubeError} from '../../lib/kube/errors.js';
import {isRecord, type KubeObject} from '../../lib/kube/object.js';
import {collectionPath, objectPath, RESOURCES} from '../../lib/kube/resources.js';
import type {Clock} from '../../lib/run/clock.js';
import {errorFields, type Log} from '../../lib/run/log.js';

export interface LeaderOptions {
  readonly namespace: string;
  readonly leaseName: string;
  /** Unique per process; may carry the address that standby replicas give to agents. */
  readonly identity: string;
  readonly leaseMs?: number;
  readonly renewDeadlineMs?: number;
  readonly retryMs?: number;
}

export interface LeaderState {
  readonly leading: boolean;
  /** Identity of the holder; empty when nobody is. */
  readonly holder: string;
}

export interface LeaderParts {
  readonly client: KubeClient;
  readonly clock: Clock;
  readonly log: Log;
  readonly random?: () => number;
  /** Called on each change, and once with what the first look showed. */
  readonly onChange: (state: LeaderState) => void;
}

interface LeaseRecord {
  readonly holder: string;
  readonly transitions: number;
  readonly renewTime: string;
  readonly acquireTime: string;
}

export class LeaderElector {
  readonly #options: Required<LeaderOptions>;
  readonly #parts: LeaderParts;
  #state: LeaderState | null = null;
  /** The Lease as last seen, and when it last changed for us. */
  #observed: {readonly key: string; readonly atMs: number} = {key: '', atMs: 0};
  #renewedAtMs = 0;

  constructor(options: LeaderOptions, parts: LeaderParts) {
    this.#options = {leaseMs: 15_000, renewDeadlineMs: 10_000, retryMs: 2_000, ...options};
    this.#parts = parts;
  }

  state(): LeaderState {
    return this.#state ?? {leading: false, holder: ''};
  }

  /** Until `signal` aborts; then the Lease is given back, so that the next replica need not wait for it to expire. */
  async run(signal: AbortSignal): Promise<void> {
    const {clock, log} = this.#parts;
    while (!signal.aborted) {
      try {
        const limit = AbortSignal.any([signal, AbortSignal.timeout(this.#options.renewDeadlineMs)]);
        await this.#tryOnce(limit);
      } catch (error) {
        if (signal.aborted) break;
        log.warn('lease not renewed', {lease: this.#options.leaseName, ...errorFields(error)});
        const expired = clock.monotonicMs() - this.#renewedAtMs >= this.#options.renewDeadlineMs;
        if (this.state().leading && expired) this.#set({leading: false, holder: ''});
      }
      const jitter = (this.#parts.random ?? Math.random)();
      // While leading, a failed renewal is tried again soon: the deadline must not depend on one slow answer.
      await clock.sleep(this.#options.retryMs * (1 + jitter / 5), signal).catch(() => undefined);
    }
    await this.#release();
  }

  #set(state: LeaderState): void {
    const before = this.#state;
    if (before !== null && before.leading === state.leading && before.holder === state.holder) return;
    this.#state = state;
    this.#parts.onChange(state);
  }

  async #tryOnce(signal: AbortSignal): Promise<void> {
    const {client, clock} = this.#parts;
    const {namespace, leaseName, identity} = this.#options;
    const startedMs = clock.monotonicMs();
    let lease: KubeObject;
    try {
      lease = await client.get(objectPath(RESOURCES.Lease, namespace, leaseName), signal);
    } catch (error) {
      if (!isKubeError(error, 'NotFound')) throw error;
      await client.create(collectionPath(RESOURCES.Lease, namespace), this.#lease(null, null), signal);
      this.#led(startedMs);
      return;
    }
    const record = decodeLease(lease);
    this.#observe(`${record.holder} ${record.renewTime} ${record.transitions}`);
    const free = record.holder === '' || clock.monotonicMs() - this.#observed.atMs >= this.#options.leaseMs;
    if (record.holder !== identity && !free) {
      this.#set({leading: false, holder: record.holder});
      return;
    }
    try {
      const written = await client.update(objectPath(RESOURCES.Lease, namespace, leaseName), this.#lease(lease, record), signal);
      this.#observe(leaseKey(written));
      this.#led(startedMs);
    } catch (error) {
      // Somebody else was faster; the next look shows who.
      if (!isKubeError(error, 'Conflict')) throw error;
    }
  }

  #led(startedMs: number): void {
    this.#renewedAtMs = startedMs;
    this.#set({leading: true, holder: this.#options.identity});
  }

  #observe(key: string): void {
    if (key !== this.#observed.key) this.#observed = {key, atMs: this.#parts.clock.monotonicMs()};
  }

  /** Keeps what is not ours in the object; its resourceVersion is the precondition of the update. */
  #lease(existing: KubeObject | null, record: LeaseRecord | null): KubeObject {
    const {namespace, leaseName, identity, leaseMs} = this.#options;
    const now = microTime(this.#parts.clock.now());
    const taken = record === null || record.holder !== identity;
    return {
      ...(existing ?? {apiVersion: RESOURCES.Lease.apiVersion, kind: 'Lease'}),
      metadata: existing?.metadata ?? {name: leaseName, namespace},
      spec: {
        holderIdentity: identity, leaseDurationSeconds: Math.round(leaseMs / 1000), renewTime: now,
        acquireTime: taken ? now : record.acquireTime,
        leaseTransitions: record === null ? 0 : record.transitions + (taken ? 1 : 0),
      },
    };
  }

  async #release(): Promise<void> {
    if (!this.state().leading) return;
    this.#set({leading: false, holder: ''});
    const {client, log} = this.#parts;
    const {namespace, leaseName, identity} = this.#options;
    const path = objectPath(RESOURCES.Lease, namespace, leaseName);
    const signal = AbortSignal.timeout(2_000);
    try {
      const lease = await client.get(path, signal);
      const record = decodeLease(lease);
      if (record.holder !== identity) return;
      const spec = isRecord(lease['spec']) ? lease['spec'] : {};
      await client.update(path, {...lease, spec: {...spec, holderIdentity: '', leaseDurationSeconds: 1}}, signal);
    } catch (error) {
      log.info('lease not released', {lease: leaseName, ...errorFields(error)});
    }
  }
}

function decodeLease(lease: KubeObject): LeaseRecord {
  const spec = isRecord(lease['spec']) ? lease['spec'] : {};
  const text = (value: unknown): string => (typeof value === 'string' ? value : '');
  return {
    holder: text(spec['holderIdentity']), renewTime: text(spec['renewTime']), acquireTime: text(spec['acquireTime']),
    transitions: typeof spec['leaseTransitions'] === 'number' ? spec['leaseTransitions'] : 0,
  };
}

function leaseKey(lease: KubeObject): string {
  const record = decodeLease(lease);
  return `${record.holder} ${record.renewTime} ${record.transitions}`;
}

/** Kubernetes' MicroTime has six digits. */
export function microTime(epochMs: number): string {
  return new Date(epochMs).toISOString().replace('Z', '000Z');
}
