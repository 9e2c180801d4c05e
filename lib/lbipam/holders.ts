// Which Services have which address: given by us, or seen in their status. An address is free when neither says anything.

import {invariant} from '../core/invariant.js';

const NOBODY: ReadonlySet<string> = new Set();

/** address → keys of Services. */
export class Holders {
  readonly #keys = new Map<string, Set<string>>();

  of(address: string): ReadonlySet<string> {
    return this.#keys.get(address) ?? NOBODY;
  }

  has(address: string): boolean {
    return this.#keys.has(address);
  }

  addresses(): Iterable<string> {
    return this.#keys.keys();
  }

  /** True when it is the address' first holder. */
  add(address: string, key: string): boolean {
    const keys = this.#keys.get(address);
    if (keys !== undefined) {
      keys.add(key);
      return false;
    }
    this.#keys.set(address, new Set([key]));
    return true;
  }

  /** True when nobody has it any more. */
  remove(address: string, key: string): boolean {
    const keys = this.#keys.get(address);
    invariant(keys?.delete(key) === true, 'who gives an address back had it', {address, key});
    if (keys.size > 0) return false;
    this.#keys.delete(address);
    return true;
  }
}
