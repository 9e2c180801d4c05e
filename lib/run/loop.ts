// A named loop that never stops on its own: failures back off, an abort ends it.

import type {Backoff} from '../core/backoff.js';
import {backoffMs} from '../core/backoff.js';
import {InvariantError} from '../core/invariant.js';
import type {Clock} from './clock.js';
import type {Log} from './log.js';
import {errorFields} from './log.js';

export interface LoopParts {
  readonly clock: Clock;
  readonly log: Log;
  readonly random?: () => number;
}

/**
 * Calls `body` again and again until `signal` aborts. A body that returns resets the backoff; one that throws is
 * logged once per attempt and waits. Broken invariants are rethrown: they end the process.
 */
export async function runLoop(
  options: {readonly name: string; readonly backoff: Backoff},
  parts: LoopParts,
  signal: AbortSignal,
  body: (signal: AbortSignal) => Promise<void>,
): Promise<void> {
  let attempt = 0;
  while (!signal.aborted) {
    try {
      await body(signal);
      attempt = 0;
    } catch (error) {
      if (signal.aborted) return;
      if (error instanceof InvariantError) throw error;
      const delayMs = backoffMs(options.backoff, attempt++, (parts.random ?? Math.random)());
      parts.log.warn('loop failed', {loop: options.name, attempt, retryInMs: Math.round(delayMs), ...errorFields(error)});
      await parts.clock.sleep(delayMs, signal).catch(() => undefined);
    }
  }
}
