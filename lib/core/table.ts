// A table of rows, key → value, with secondary indexes. Every version of it stays readable; a change costs what it changes.
//
// The newest version owns the rows. A change is made in place, and the version before it keeps what it had instead: the rows that
// are others now. Reading an old version looks there first. Nothing points from new to old, so a version that nobody holds is gone.

import {SmallSet} from './small.js';

/** Which index keys a row has; an index finds rows by them. */
export type IndexSpec<V> = Readonly<Record<string, (value: V, key: string) => readonly string[]>>;

/** null = the row is gone. */
export type RowChange<V> = readonly [key: string, value: V | null];

const NO_KEYS: ReadonlySet<string> = new Set();
const NO_VALUES: readonly string[] = [];

/** The rows of the newest version, and its indexes: index name → index key → keys of rows. */
interface Rows<V> {
  readonly byKey: Map<string, V>;
  readonly indexes: readonly Index<V>[];
}

interface Index<V> {
  readonly name: string;
  readonly keysOf: (value: V, key: string) => readonly string[];
  /** Most index keys have one row: such a one needs no set. */
  readonly byValue: Map<string, string | SmallSet<string>>;
}

/** What an old version has that the newer one has not; undefined = no such row. */
interface Before<V> {
  readonly newer: Table<V>;
  readonly rows: ReadonlyMap<string, V | undefined>;
}

/** Iteration order is not part of the content: sort where it matters. What `keysBy` gives is good until the next change. */
export class Table<V> implements ReadonlyMap<string, V> {
  readonly size: number;
  readonly #spec: IndexSpec<V>;
  #content: Rows<V> | Before<V>;

  private constructor(spec: IndexSpec<V>, rows: Rows<V>) {
    this.#spec = spec;
    this.#content = rows;
    this.size = rows.byKey.size;
  }

  static empty<V>(spec: IndexSpec<V> = {}): Table<V> {
    return new Table<V>(spec, noRows(spec));
  }

  get(key: string): V | undefined {
    const content = this.#content;
    if ('byKey' in content) return content.byKey.get(key);
    const {newest, rows} = this.#settle(content);
    return rows.has(key) ? rows.get(key) : newest.byKey.get(key);
  }

  has(key: string): boolean {
    return this.get(key) !== undefined;
  }

  /** Keys of the rows with `value` in index `name`. */
  keysBy(name: string, value: string): ReadonlySet<string> {
    const content = this.#content;
    if ('byKey' in content) return asSet(indexOf(content, name)?.byValue.get(value));
    const {newest, rows} = this.#settle(content);
    const index = indexOf(newest, name);
    const keys = new Set(asSet(index?.byValue.get(value)));
    for (const [key, row] of rows) {
      if (row !== undefined && index?.keysOf(row, key).includes(value) === true) keys.add(key);
      else keys.delete(key);
    }
    return keys;
  }

  /** Rows with `value` in index `name`. */
  forEachBy(name: string, value: string, visit: (row: V, key: string) => void): void {
    const content = this.#content;
    const keys = 'byKey' in content ? indexOf(content, name)?.byValue.get(value) : this.keysBy(name, value);
    // Most index keys have one row: nothing is made for it.
    if (typeof keys === 'string') this.#visit(keys, visit);
    else for (const key of keys?.values() ?? NO_KEYS) this.#visit(key, visit);
  }

  #visit(key: string, visit: (row: V, key: string) => void): void {
    const row = this.get(key);
    if (row !== undefined) visit(row, key);
  }

  /** Every value of index `name` that some row has. */
  indexValues(name: string): Iterable<string> {
    const content = this.#content;
    if ('byKey' in content) return indexOf(content, name)?.byValue.keys() ?? [];
    const {newest, rows} = this.#settle(content);
    const index = indexOf(newest, name);
    const touched = [...rows].flatMap(([key, row]) => (row === undefined ? [] : index?.keysOf(row, key) ?? []));
    return [...new Set([...index?.byValue.keys() ?? [], ...touched])].filter((value) => this.keysBy(name, value).size > 0);
  }

  with(changes: Iterable<RowChange<V>>): Table<V> {
    const content = this.#content;
    const rows = 'byKey' in content ? content : this.#copy();
    const before = new Map<string, V | undefined>();
    for (const [key, value] of changes) {
      const held = rows.byKey.get(key);
      if (value === null ? held === undefined : held === value) continue;
      if (!before.has(key)) before.set(key, held);
      setRow(rows, key, held, value);
    }
    if (before.size === 0) return this;
    const next = new Table(this.#spec, rows);
    // A copy took nothing from this version; what had no rows needs none to be put back.
    if (rows === content) this.#content = this.size === 0 ? noRows(this.#spec) : {newer: next, rows: before};
    return next;
  }

  /** Keys whose rows may be others than in `earlier`, for the newest version; null when `earlier` is none of its earlier versions, or one since then had no rows. */
  differing(earlier: Table<V>): Iterable<string> | null {
    if (earlier === this) return [];
    const content = earlier.#content;
    if ('byKey' in content) return null;
    const {newest, rows} = earlier.#settle(content);
    return newest === this.#content ? rows.keys() : null;
  }

  * entries(): MapIterator<[string, V]> {
    const content = this.#content;
    if ('byKey' in content) {
      yield* content.byKey;
      return;
    }
    const {newest, rows} = this.#settle(content);
    for (const entry of newest.byKey) if (!rows.has(entry[0])) yield entry;
    for (const [key, row] of rows) if (row !== undefined) yield [key, row];
  }

  * keys(): MapIterator<string> {
    for (const [key] of this.entries()) yield key;
  }

  * values(): MapIterator<V> {
    for (const [, value] of this.entries()) yield value;
  }

  [Symbol.iterator](): MapIterator<[string, V]> {
    return this.entries();
  }

  forEach(visit: (value: V, key: string, map: ReadonlyMap<string, V>) => void): void {
    for (const [key, value] of this.entries()) visit(value, key, this);
  }

  /** The differences of an old version against the newest: steps in between are passed once, and never again. */
  #settle(content: Before<V>): {readonly newest: Rows<V>; readonly rows: ReadonlyMap<string, V | undefined>} {
    let {newer} = content;
    let next = newer.#content;
    if ('byKey' in next) return {newest: next, rows: content.rows};
    const rows = new Map(content.rows);
    while (!('byKey' in next)) {
      for (const [key, row] of next.rows) if (!rows.has(key)) rows.set(key, row);
      ({newer} = next);
      next = newer.#content;
    }
    this.#content = {newer, rows};
    return {newest: next, rows};
  }

  #copy(): Rows<V> {
    const rows = noRows(this.#spec);
    for (const [key, value] of this.entries()) setRow(rows, key, undefined, value);
    return rows;
  }
}

function noRows<V>(spec: IndexSpec<V>): Rows<V> {
  return {byKey: new Map(), indexes: Object.entries(spec).map(([name, keysOf]) => ({name, keysOf, byValue: new Map()}))};
}

function indexOf<V>(rows: Rows<V>, name: string): Index<V> | undefined {
  return rows.indexes.find((index) => index.name === name);
}

function setRow<V>(rows: Rows<V>, key: string, before: V | undefined, after: V | null): void {
  if (after === null) rows.byKey.delete(key);
  else rows.byKey.set(key, after);
  for (const {keysOf, byValue} of rows.indexes) {
    const left = before === undefined ? NO_VALUES : keysOf(before, key);
    const entered = after === null ? NO_VALUES : keysOf(after, key);
    // Most changes leave a row where it was found.
    if (left.length === 1 && entered.length === 1 && left[0] === entered[0]) continue;
    for (const value of left) removeKey(byValue, value, key);
    for (const value of entered) addKey(byValue, value, key);
  }
}

function asSet(keys: string | SmallSet<string> | undefined): ReadonlySet<string> {
  if (keys === undefined) return NO_KEYS;
  return typeof keys === 'string' ? new Set([keys]) : keys.asSet();
}

function addKey(byValue: Map<string, string | SmallSet<string>>, value: string, key: string): void {
  const keys = byValue.get(value);
  if (keys === undefined) byValue.set(value, key);
  else if (typeof keys !== 'string') keys.add(key);
  else if (keys !== key) byValue.set(value, new SmallSet([keys, key]));
}

function removeKey(byValue: Map<string, string | SmallSet<string>>, value: string, key: string): void {
  const keys = byValue.get(value);
  if (typeof keys === 'string' ? keys === key : keys?.delete(key) === true && keys.size === 0) byValue.delete(value);
}
