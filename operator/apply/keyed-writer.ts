// Runs `write(key)` for marked keys: different keys in parallel, one key never twice at once, failures again with backoff.

import {backoffMs, type Backoff} from '../../lib/core/backoff.js';
import {InvariantError} from '../../lib/core/invariant.js';
import type {Clock} from '../../lib/run/clock.js';

export interface KeyedWriterOptions {
  readonly concurrency: number;
  readonly backoff: Backoff;
}

export interface KeyedWriterParts {
  readonly clock: Clock;
  readonly random?: () => number;
  /** Makes the newest state of the key so. A StentorError it throws is tried again. */
  readonly write: (key: string, signal: AbortSignal) => Promise<void>;
  readonly onFailure: (key: string, error: unknown, attempt: number) => void;
  /** A broken invariant: nothing more is written. */
  readonly onBroken: (error: InvariantError) => void;
}

export class KeyedWriter {
  readonly #options: KeyedWriterOptions;
  readonly #parts: KeyedWriterParts;
  readonly #waiting = new Set<string>();
  readonly #writing = new Set<string>();
  readonly #attempts = new Map<string, number>();
  readonly #delayed = new Map<string, AbortController>();
  #signal: AbortSignal | null = null;
  #idle: (() => void)[] = [];

  constructor(options: KeyedWriterOptions, parts: KeyedWriterParts) {
    this.#options = options;
    this.#parts = parts;
  }

  /** Keys that are not done yet, the delayed ones included. */
  get pending(): number {
    return new Set([...this.#waiting, ...this.#writing, ...this.#delayed.keys()]).size;
  }

  /** From now on until `signal` aborts marked keys are written; before, they only gather. */
  start(signal: AbortSignal): void {
    this.#signal = signal;
    signal.addEventListener('abort', () => this.#stop(signal), {once: true});
    this.#pump();
  }

  /** New state is tried at once, whatever its predecessor waits for. A key that is being written is written again after. */
  mark(key: string): void {
    this.#delayed.get(key)?.abort();
    this.#waiting.add(key);
    this.#pump();
  }

  /** Resolves when nothing waits and nothing is written (delayed keys do not count). */
  whenIdle(): Promise<void> {
    if (this.#waiting.size === 0 && this.#writing.size === 0) return Promise.resolve();
    return new Promise((resolve) => void this.#idle.push(resolve));
  }

  #stop(signal: AbortSignal): void {
    if (this.#signal !== signal) return;
    this.#signal = null;
    for (const delayed of this.#delayed.values()) delayed.abort();
    this.#attempts.clear();
  }

  #pump(): void {
    const signal = this.#signal;
    if (signal === null || signal.aborted) return;
    for (const key of this.#waiting) {
      if (this.#writing.size >= this.#options.concurrency) return;
      if (this.#writing.has(key)) continue;
      this.#waiting.delete(key);
      this.#writing.add(key);
      void this.#write(key, signal);
    }
  }

  async #write(key: string, signal: AbortSignal): Promise<void> {
    try {
      await this.#parts.write(key, signal);
      this.#attempts.delete(key);
    } catch (error) {
      if (error instanceof InvariantError) {
        this.#parts.onBroken(error);
      } else if (signal.aborted) {
        this.#waiting.add(key);
      } else {
        const attempt = this.#attempts.get(key) ?? 0;
        this.#attempts.set(key, attempt + 1);
        this.#parts.onFailure(key, error, attempt);
        void this.#again(key, attempt);
      }
    } finally {
      this.#writing.delete(key);
      this.#pump();
      if (this.#waiting.size === 0 && this.#writing.size === 0) for (const resolve of this.#idle.splice(0)) resolve();
    }
  }

  async #again(key: string, attempt: number): Promise<void> {
    const cancel = new AbortController();
    this.#delayed.set(key, cancel);
    const delayMs = backoffMs(this.#options.backoff, attempt, (this.#parts.random ?? Math.random)());
    await this.#parts.clock.sleep(delayMs, cancel.signal).catch(() => undefined);
    if (this.#delayed.get(key) === cancel) this.#delayed.delete(key);
    this.#waiting.add(key);
    this.#pump();
  }
}
