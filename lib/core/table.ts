// An immutable table: key → value, with secondary indexes. A change copies the touched buckets, not the table.

const BUCKETS = 64;

/** Which index keys a row has; an index finds rows by them. */
export type IndexSpec<V> = Readonly<Record<string, (value: V, key: string) => readonly string[]>>;

/** null = the row is gone. */
export type RowChange<V> = readonly [key: string, value: V | null];

type Buckets<V> = readonly ReadonlyMap<string, V>[];

const NO_KEYS: ReadonlySet<string> = new Set();

/** Iteration order is not part of the content: sort where it matters. */
export class Table<V> implements ReadonlyMap<string, V> {
  readonly size: number;
  readonly #indexSpec: IndexSpec<V>;
  readonly #buckets: Buckets<V>;
  readonly #indexes: Readonly<Record<string, Table<ReadonlySet<string>>>>;

  private constructor(indexSpec: IndexSpec<V>, buckets: Buckets<V>, size: number, indexes: Readonly<Record<string, Table<ReadonlySet<string>>>>) {
    this.#indexSpec = indexSpec;
    this.#buckets = buckets;
    this.size = size;
    this.#indexes = indexes;
  }

  static empty<V>(indexSpec: IndexSpec<V> = {}): Table<V> {
    const indexes = Object.keys(indexSpec).map((name) => [name, Table.empty<ReadonlySet<string>>()] as const);
    return new Table<V>(indexSpec, Array.from({length: BUCKETS}, () => new Map<string, V>()), 0, Object.fromEntries(indexes));
  }

  get(key: string): V | undefined {
    return this.#buckets[bucketOf(key)]?.get(key);
  }

  has(key: string): boolean {
    return this.#buckets[bucketOf(key)]?.has(key) ?? false;
  }

  /** Keys of the rows with `value` in index `name`. */
  keysBy(name: string, value: string): ReadonlySet<string> {
    return this.#indexes[name]?.get(value) ?? NO_KEYS;
  }

  /** Every value of index `name` that some row has. */
  indexValues(name: string): Iterable<string> {
    return this.#indexes[name]?.keys() ?? [];
  }

  with(changes: Iterable<RowChange<V>>): Table<V> {
    const edit = new BucketEdit(this.#buckets, this.size);
    const indexEdits = new Map<string, IndexEdit>();
    for (const [key, value] of changes) {
      const before = edit.get(key);
      if (value === null ? before === undefined : before === value) continue;
      if (value === null) edit.delete(key);
      else edit.set(key, value);
      for (const [name, indexKeys] of Object.entries(this.#indexSpec)) {
        const indexEdit = indexEdits.get(name) ?? new IndexEdit(this.#indexes[name] ?? Table.empty());
        indexEdits.set(name, indexEdit);
        if (before !== undefined) for (const indexKey of indexKeys(before, key)) indexEdit.remove(indexKey, key);
        if (value !== null) for (const indexKey of indexKeys(value, key)) indexEdit.add(indexKey, key);
      }
    }
    if (!edit.changed) return this;
    const indexes: Record<string, Table<ReadonlySet<string>>> = {...this.#indexes};
    for (const [name, indexEdit] of indexEdits) indexes[name] = indexEdit.commit();
    return new Table(this.#indexSpec, edit.buckets, edit.size, indexes);
  }

  * entries(): MapIterator<[string, V]> {
    for (const bucket of this.#buckets) yield* bucket.entries();
  }

  * keys(): MapIterator<string> {
    for (const bucket of this.#buckets) yield* bucket.keys();
  }

  * values(): MapIterator<V> {
    for (const bucket of this.#buckets) yield* bucket.values();
  }

  [Symbol.iterator](): MapIterator<[string, V]> {
    return this.entries();
  }

  forEach(visit: (value: V, key: string, map: ReadonlyMap<string, V>) => void): void {
    for (const [key, value] of this.entries()) visit(value, key, this);
  }
}

/** Copies a bucket the first time it is written. */
class BucketEdit<V> {
  size: number;
  readonly buckets: ReadonlyMap<string, V>[];
  readonly #own = new Map<number, Map<string, V>>();

  constructor(buckets: Buckets<V>, size: number) {
    this.buckets = [...buckets];
    this.size = size;
  }

  get changed(): boolean {
    return this.#own.size > 0;
  }

  get(key: string): V | undefined {
    return this.buckets[bucketOf(key)]?.get(key);
  }

  set(key: string, value: V): void {
    const bucket = this.#ownBucket(bucketOf(key));
    if (!bucket.has(key)) this.size++;
    bucket.set(key, value);
  }

  delete(key: string): void {
    if (this.#ownBucket(bucketOf(key)).delete(key)) this.size--;
  }

  #ownBucket(index: number): Map<string, V> {
    let bucket = this.#own.get(index);
    if (bucket === undefined) {
      bucket = new Map(this.buckets[index]);
      this.#own.set(index, bucket);
      this.buckets[index] = bucket;
    }
    return bucket;
  }
}

/** Collects the membership changes of one index, so that each set is copied once. */
class IndexEdit {
  readonly #table: Table<ReadonlySet<string>>;
  readonly #sets = new Map<string, Set<string>>();

  constructor(table: Table<ReadonlySet<string>>) {
    this.#table = table;
  }

  add(indexKey: string, key: string): void {
    this.#set(indexKey).add(key);
  }

  remove(indexKey: string, key: string): void {
    this.#set(indexKey).delete(key);
  }

  commit(): Table<ReadonlySet<string>> {
    return this.#table.with([...this.#sets].map(([indexKey, keys]) => [indexKey, keys.size === 0 ? null : keys]));
  }

  #set(indexKey: string): Set<string> {
    let keys = this.#sets.get(indexKey);
    if (keys === undefined) {
      keys = new Set(this.#table.get(indexKey));
      this.#sets.set(indexKey, keys);
    }
    return keys;
  }
}

function bucketOf(key: string): number {
  let hash = 0;
  for (let i = 0; i < key.length; i++) hash = (Math.imul(hash, 31) + key.charCodeAt(i)) | 0;
  return (hash ^ (hash >>> 16)) & (BUCKETS - 1);
}
