// attempt → delay. No timer, no randomness of its own: `jitter` in [0, 1) is passed in.

export interface Backoff {
  readonly baseMs: number;
  readonly maxMs: number;
}

/** Attempt 0 waits about `baseMs`; doubles up to `maxMs`; jitter takes off up to half. */
export function backoffMs(backoff: Backoff, attempt: number, jitter: number): number {
  const full = Math.min(backoff.maxMs, backoff.baseMs * 2 ** Math.min(attempt, 30));
  return full * (1 - jitter / 2);
}
