// Lists, sets and maps of which there are very many, most of them with a few members: they take the room of what is in them.

/** With one more. A list that grows by itself, or that is spread into another, keeps room for 16 more. */
export function appended<V>(list: readonly V[], value: V): readonly V[] {
  return list.length === 0 ? [value] : [...list, value].slice();
}

/** Without the one at the place. */
export function without<V>(list: readonly V[], at: number): readonly V[] {
  return list.filter((_value, i) => i !== at).slice();
}

/** Up to so many are looked through; beyond that there is a Set or a Map. */
export const LIST_MAX = 16;

const NOTHING: readonly never[] = [];

/** Anything but undefined. */
type Present = NonNullable<unknown> | null;

/** As a Map. What is iterated over may be changed meanwhile. */
export class SmallMap<K extends Present, V extends Present> {
  #keys: readonly K[] = NOTHING;
  #values: readonly V[] = NOTHING;
  #many: Map<K, V> | null = null;

  get size(): number {
    return this.#many?.size ?? this.#keys.length;
  }

  get(key: K): V | undefined {
    return this.#many === null ? this.#values[this.#keys.indexOf(key)] : this.#many.get(key);
  }

  set(key: K, value: V): void {
    if (this.#many !== null) {
      this.#many.set(key, value);
      return;
    }
    const at = this.#keys.indexOf(key);
    if (at >= 0) this.#values = this.#values.with(at, value);
    else if (this.#keys.length < LIST_MAX) {
      this.#keys = appended(this.#keys, key);
      this.#values = appended(this.#values, value);
    } else {
      this.#many = new Map(this.entries()).set(key, value);
      this.#keys = NOTHING;
      this.#values = NOTHING;
    }
  }

  delete(key: K): void {
    if (this.#many !== null) {
      this.#many.delete(key);
      return;
    }
    const at = this.#keys.indexOf(key);
    if (at < 0) return;
    this.#keys = without(this.#keys, at);
    this.#values = without(this.#values, at);
  }

  keys(): Iterable<K> {
    return this.#many?.keys() ?? this.#keys;
  }

  * entries(): Generator<readonly [K, V]> {
    for (const key of this.keys()) {
      const value = this.get(key);
      if (value !== undefined) yield [key, value];
    }
  }
}

/** As a Set. What is iterated over may be changed meanwhile. */
export class SmallSet<V> {
  #list: readonly V[];
  #many: Set<V> | null = null;

  /** `list`: distinct, and few. */
  constructor(list: readonly V[] = NOTHING) {
    this.#list = list;
  }

  get size(): number {
    return this.#many?.size ?? this.#list.length;
  }

  has(value: V): boolean {
    return this.#many?.has(value) ?? this.#list.includes(value);
  }

  add(value: V): void {
    if (this.#many !== null) this.#many.add(value);
    else if (this.#list.includes(value)) return;
    else if (this.#list.length < LIST_MAX) this.#list = appended(this.#list, value);
    else {
      this.#many = new Set(this.#list).add(value);
      this.#list = NOTHING;
    }
  }

  /** False: it was not there. */
  delete(value: V): boolean {
    if (this.#many !== null) return this.#many.delete(value);
    const at = this.#list.indexOf(value);
    if (at >= 0) this.#list = without(this.#list, at);
    return at >= 0;
  }

  clear(): void {
    this.#list = NOTHING;
    this.#many = null;
  }

  values(): Iterable<V> {
    return this.#many ?? this.#list;
  }

  /** Good until the next change. */
  asSet(): ReadonlySet<V> {
    return this.#many ?? new Set(this.#list);
  }
}

/** Counted membership: a value is in while somebody holds it. */
export class SmallCounts<V> {
  /** As often as it is held. */
  #list: readonly V[] = NOTHING;
  #many: Map<V, number> | null = null;

  /** True when it came in with this call. */
  acquire(value: V): boolean {
    if (this.#many !== null) {
      const count = this.#many.get(value) ?? 0;
      this.#many.set(value, count + 1);
      return count === 0;
    }
    const isNew = !this.#list.includes(value);
    if (this.#list.length < LIST_MAX) this.#list = appended(this.#list, value);
    else {
      this.#many = new Map();
      for (const held of this.#list) this.#many.set(held, (this.#many.get(held) ?? 0) + 1);
      this.#many.set(value, (this.#many.get(value) ?? 0) + 1);
      this.#list = NOTHING;
    }
    return isNew;
  }

  /** True when it went out with this call. */
  release(value: V): boolean {
    if (this.#many === null) {
      const at = this.#list.indexOf(value);
      if (at >= 0) this.#list = without(this.#list, at);
      return at >= 0 && !this.#list.includes(value);
    }
    const count = this.#many.get(value) ?? 0;
    if (count > 1) this.#many.set(value, count - 1);
    else this.#many.delete(value);
    return count === 1;
  }

  /** Each once. */
  keys(): Iterable<V> {
    return this.#many?.keys() ?? new Set(this.#list);
  }
}
