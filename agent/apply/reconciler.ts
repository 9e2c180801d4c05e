// Makes a target hold what is desired: writes only differences, retries each key on its own, removes only after in-sync.

import {backoffMs, type Backoff} from '../../lib/core/backoff.js';
import {difference} from '../../lib/core/delta.js';
import {StentorError} from '../../lib/core/errors.js';
import {InvariantError} from '../../lib/core/invariant.js';
import type {ResourceName} from '../../lib/desired/node-state.js';
import type {Clock} from '../../lib/run/clock.js';
import {codeOf} from '../kernel/errno.js';
import type {Failure, Target} from './target.js';

export interface ReconcilerParts<K, V> {
  readonly target: Target<K, V>;
  readonly clock: Pick<Clock, 'monotonicMs'>;
  /** In [0, 1). */
  readonly random: () => number;
  /** Called before the target is written to. When it throws, it is not. */
  readonly onWrite?: () => void;
}

export interface TargetError {
  readonly target: string;
  readonly because: readonly ResourceName[];
  readonly error: StentorError;
}

export interface TargetStatus {
  readonly name: string;
  readonly desired: number;
  readonly actual: number;
  readonly pending: number;
  /** Keys written and removed since start. */
  readonly writes: number;
  readonly lastError: string | null;
}

interface Pending<V> {
  /** Null: its removal is what failed. */
  readonly value: V | null;
  readonly attempt: number;
  readonly dueMs: number;
  readonly error: StentorError;
  readonly because: readonly ResourceName[];
}

export class Reconciler<K extends string | number, V> {
  readonly #backoff: Backoff;
  readonly #parts: ReconcilerParts<K, V>;
  #desired: ReadonlyMap<K, V> = new Map();
  /** As read back and written since; null = not read yet, or not to be believed. */
  #actual: Map<K, V> | null = null;
  readonly #pending = new Map<K, Pending<V>>();
  #loadError: {readonly error: StentorError; readonly attempt: number; readonly dueMs: number} | null = null;
  /** The value of `#desired` at which everything was in place: the same value again costs nothing. */
  #settled: ReadonlyMap<K, V> | null = null;
  #writes = 0;

  constructor(options: {readonly backoff: Backoff}, parts: ReconcilerParts<K, V>) {
    this.#backoff = options.backoff;
    this.#parts = parts;
  }

  get name(): string {
    return this.#parts.target.name;
  }

  /** Everything is in place, and nothing says otherwise. */
  get isSettled(): boolean {
    return this.#settled === this.#desired;
  }

  setDesired(desired: ReadonlyMap<K, V>): void {
    if (desired === this.#desired) return;
    this.#desired = desired;
    this.#settled = null;
  }

  /** What was read is not believed any more: the next round reads again. */
  invalidate(): void {
    this.#actual = null;
    this.#settled = null;
    this.#loadError = null;
  }

  /** First half of a round: writes what differs and is due. Returns how many keys were written. */
  async upsert(): Promise<number> {
    if (this.isSettled) return 0;
    const actual = await this.#load();
    if (actual === null) return 0;
    const {target} = this.#parts;
    const {upserts} = difference(this.#desired, actual, (a, b) => target.equal(a, b));
    this.#forgetPending(upserts);
    const due = upserts.filter(([key, value]) => this.#isDue(key, value));
    if (due.length === 0) return 0;
    const failures = await this.#attempt(due.map(([key]) => key), () => target.upsert(due));
    for (const [key, value] of due) {
      const error = failures.get(key);
      if (error !== undefined) {
        this.#postpone(key, {value, error, because: target.because(value)});
        continue;
      }
      actual.set(key, value);
      this.#pending.delete(key);
    }
    const written = due.length - failures.size;
    this.#writes += written;
    return written;
  }

  /** Second half: removes what is ours and not desired. To be called only when the desired state is complete. */
  async prune(): Promise<number> {
    if (this.isSettled || this.#actual === null) return 0;
    const actual = this.#actual;
    const {target} = this.#parts;
    const removable: K[] = [];
    for (const [key, value] of actual) {
      if (!this.#desired.has(key) && target.owns(key, value) && this.#isDue(key, null)) removable.push(key);
    }
    const failures = removable.length === 0 ? new Map<K, StentorError>() : await this.#attempt(removable, () => target.remove(removable));
    for (const key of removable) {
      const error = failures.get(key);
      const value = actual.get(key);
      if (error !== undefined && value !== undefined) {
        this.#postpone(key, {value: null, error, because: target.because(value)});
        continue;
      }
      actual.delete(key);
      this.#pending.delete(key);
    }
    const removed = removable.length - failures.size;
    this.#writes += removed;
    if (this.#pending.size === 0 && this.#loadError === null) this.#settled = this.#desired;
    return removed;
  }

  /** When the next retry is due on the monotonic clock; null when nothing waits. */
  nextRetryMs(): number | null {
    if (this.#loadError !== null) return this.#loadError.dueMs;
    let next: number | null = null;
    for (const pending of this.#pending.values()) next = Math.min(next ?? pending.dueMs, pending.dueMs);
    return next;
  }

  /** While reality cannot be read, nothing is known of any key: then all that is desired failed. */
  errors(): readonly TargetError[] {
    const target = this.name;
    if (this.#loadError !== null) {
      const because = [...this.#desired.values()].flatMap((value) => this.#parts.target.because(value));
      return [{target, because, error: this.#loadError.error}];
    }
    return [...this.#pending.values()].map(({error, because}) => ({target, because, error}));
  }

  status(): TargetStatus {
    return {
      name: this.name,
      desired: this.#desired.size,
      actual: this.#actual?.size ?? 0,
      pending: this.#pending.size + (this.#loadError === null ? 0 : 1),
      writes: this.#writes,
      lastError: this.errors()[0]?.error.message ?? null,
    };
  }

  async #load(): Promise<Map<K, V> | null> {
    if (this.#actual !== null) return this.#actual;
    if (this.#loadError !== null && this.#loadError.dueMs > this.#parts.clock.monotonicMs()) return null;
    try {
      this.#actual = new Map(await this.#parts.target.load(this.#desired));
      this.#loadError = null;
    } catch (error) {
      const tries = (this.#loadError?.attempt ?? -1) + 1;
      this.#loadError = {error: asStentorError(error), attempt: tries, dueMs: this.#dueMs(tries)};
    }
    return this.#actual;
  }

  /** The error of each key that failed. When the target gave up as a whole, all failed and what is there is unknown. */
  async #attempt(keys: readonly K[], body: () => Promise<readonly Failure<K>[]>): Promise<ReadonlyMap<K, StentorError>> {
    try {
      this.#parts.onWrite?.();
      return new Map((await body()).map(({key, error}) => [key, error]));
    } catch (error) {
      this.#actual = null;
      const failure = asStentorError(error);
      return new Map(keys.map((key) => [key, failure]));
    }
  }

  #isDue(key: K, value: V | null): boolean {
    const pending = this.#pending.get(key);
    if (pending === undefined || pending.dueMs <= this.#parts.clock.monotonicMs()) return true;
    // Another value than the one that failed is tried at once.
    if (value === null || pending.value === null) return value !== pending.value;
    return value !== pending.value && !this.#parts.target.equal(value, pending.value);
  }

  #postpone(key: K, failed: Pick<Pending<V>, 'value' | 'error' | 'because'>): void {
    const tries = (this.#pending.get(key)?.attempt ?? -1) + 1;
    this.#pending.set(key, {...failed, attempt: tries, dueMs: this.#dueMs(tries)});
  }

  #dueMs(attempt: number): number {
    return this.#parts.clock.monotonicMs() + backoffMs(this.#backoff, attempt, this.#parts.random());
  }

  /** A key that failed and is now as desired, or not desired and not there, is no failure any more. */
  #forgetPending(upserts: readonly (readonly [K, V])[]): void {
    if (this.#pending.size === 0) return;
    const open = new Set(upserts.map(([key]) => key));
    for (const key of this.#pending.keys()) {
      const isStale = this.#actual?.has(key) === true && !this.#desired.has(key);
      if (!open.has(key) && !isStale) this.#pending.delete(key);
    }
  }
}

/** Our own mistakes are not retried. */
export function asStentorError(error: unknown): StentorError {
  if (error instanceof StentorError) return error;
  if (error instanceof InvariantError) throw error;
  const message = typeof error === 'object' && error !== null && 'message' in error ? String(error.message) : String(error);
  return new StentorError(codeOf(error) ?? 'UNEXPECTED', message, {}, {cause: error});
}
