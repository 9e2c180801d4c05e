// How often one source may ask: a burst, then one call per interval. Pure but for the clock that is passed in.

import type {Clock} from '../../lib/run/clock.js';

export interface RateLimitOptions {
  readonly burst: number;
  readonly intervalMs: number;
  /** Sources remembered; the one that asked first is forgotten for a new one. */
  readonly sourcesMax: number;
}

export class RateLimit {
  readonly #options: RateLimitOptions;
  readonly #clock: Clock;
  /** When the source has used up nothing any more. */
  readonly #idleAtMs = new Map<string, number>();

  constructor(options: RateLimitOptions, parts: {readonly clock: Clock}) {
    this.#options = options;
    this.#clock = parts.clock;
  }

  /** False: not now. */
  take(source: string): boolean {
    const {burst, intervalMs, sourcesMax} = this.#options;
    const nowMs = this.#clock.monotonicMs();
    const nextMs = Math.max(nowMs, this.#idleAtMs.get(source) ?? nowMs) + intervalMs;
    if (nextMs - nowMs > burst * intervalMs) return false;
    this.#idleAtMs.delete(source);
    this.#idleAtMs.set(source, nextMs);
    if (this.#idleAtMs.size > sourcesMax) {
      const [oldest] = this.#idleAtMs.keys();
      if (oldest !== undefined) this.#idleAtMs.delete(oldest);
    }
    return true;
  }
}
