// Parts of a process: started in order, stopped in reverse, also when a start fails half-way.

import type {Log} from './log.js';
import {errorFields} from './log.js';

export interface Part {
  readonly name: string;
  start(signal: AbortSignal): void | Promise<void>;
  stop?(): void | Promise<void>;
}

export class Lifecycle {
  readonly #log: Log;
  readonly #parts: Part[] = [];
  readonly #abort = new AbortController();
  #started: Part[] = [];

  constructor(parts: {readonly log: Log}) {
    this.#log = parts.log;
  }

  /** Aborted when stopping begins: what every loop of the process listens to. */
  get signal(): AbortSignal {
    return this.#abort.signal;
  }

  add(part: Part): void {
    this.#parts.push(part);
  }

  /** Starts what was added since the last call. */
  async start(): Promise<void> {
    for (let part = this.#parts.shift(); part !== undefined; part = this.#parts.shift()) {
      if (this.signal.aborted) return;
      this.#log.debug('starting', {part: part.name});
      this.#started.push(part);
      try {
        await part.start(this.signal);
      } catch (error) {
        await this.stop();
        throw error;
      }
    }
  }

  /** Never throws: a part that cannot stop is logged, the others are still stopped. */
  async stop(): Promise<void> {
    this.#abort.abort(new Error('stopping'));
    const started = this.#started.reverse();
    this.#started = [];
    for (const part of started) {
      try {
        await part.stop?.();
      } catch (error) {
        this.#log.warn('part did not stop cleanly', {part: part.name, ...errorFields(error)});
      }
    }
  }
}
