// Longest-prefix match over prefixes of both families: one map per length, as few lengths as there are.

import type {Address, Family, Prefix} from './ip.js';
import {contains, formatPrefix, maxLength, prefixOf} from './ip.js';

interface Row<V> {
  readonly prefix: Prefix;
  readonly value: V;
}

export class PrefixTrie<V> {
  /** family → length → canonical prefix → row. */
  readonly #byLength: Readonly<Record<Family, Map<number, Map<string, Row<V>>>>> = {4: new Map(), 6: new Map()};
  #size = 0;

  get size(): number {
    return this.#size;
  }

  set(prefix: Prefix, value: V): void {
    const lengths = this.#byLength[prefix.family];
    const rows = lengths.get(prefix.length) ?? new Map<string, Row<V>>();
    lengths.set(prefix.length, rows);
    const key = formatPrefix(prefix);
    if (!rows.has(key)) this.#size++;
    rows.set(key, {prefix, value});
  }

  delete(prefix: Prefix): boolean {
    const lengths = this.#byLength[prefix.family];
    const rows = lengths.get(prefix.length);
    if (rows === undefined || !rows.delete(formatPrefix(prefix))) return false;
    if (rows.size === 0) lengths.delete(prefix.length);
    this.#size--;
    return true;
  }

  get(prefix: Prefix): V | undefined {
    return this.#byLength[prefix.family].get(prefix.length)?.get(formatPrefix(prefix))?.value;
  }

  /** The longest stored prefix that holds `address`. */
  longestMatch(address: Address): {readonly prefix: Prefix; readonly value: V} | null {
    return this.longestCover(prefixOf(address, maxLength(address.family)));
  }

  /** The longest stored prefix that holds all of `prefix` (itself included). */
  longestCover(prefix: Prefix): {readonly prefix: Prefix; readonly value: V} | null {
    const lengths = [...this.#byLength[prefix.family].keys()].filter((length) => length <= prefix.length).sort((a, b) => b - a);
    for (const length of lengths) {
      const row = this.#byLength[prefix.family].get(length)?.get(formatPrefix(prefixOf(prefix, length)));
      if (row !== undefined) return row;
    }
    return null;
  }

  /** Every stored prefix inside `outer` (itself included). */
  within(outer: Prefix): {readonly prefix: Prefix; readonly value: V}[] {
    const own = this.#byLength[outer.family].get(outer.length)?.get(formatPrefix(outer));
    const found: Row<V>[] = own === undefined ? [] : [own];
    for (const [length, rows] of this.#byLength[outer.family]) {
      if (length <= outer.length) continue;
      for (const row of rows.values()) if (contains(outer, row.prefix)) found.push(row);
    }
    return found;
  }
}
