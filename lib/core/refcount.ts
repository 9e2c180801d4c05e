// Counted membership: a key is in while somebody holds it. An unbalanced release is our own mistake.

import {invariant} from './invariant.js';

export class RefCount {
  readonly #counts = new Map<string, number>();

  /** True when the key came in with this call. */
  acquire(key: string): boolean {
    const count = this.#counts.get(key) ?? 0;
    this.#counts.set(key, count + 1);
    return count === 0;
  }

  /** True when the key went out with this call. */
  release(key: string): boolean {
    const count = this.#counts.get(key) ?? 0;
    invariant(count > 0, 'a key is released as often as it was acquired', {key});
    if (count > 1) this.#counts.set(key, count - 1);
    else this.#counts.delete(key);
    return count === 1;
  }

  has(key: string): boolean {
    return this.#counts.has(key);
  }

  count(key: string): number {
    return this.#counts.get(key) ?? 0;
  }

  keys(): Iterable<string> {
    return this.#counts.keys();
  }

  get size(): number {
    return this.#counts.size;
  }
}
