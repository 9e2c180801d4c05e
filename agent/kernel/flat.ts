// Map entries laid out as the batch calls of bpf(2) want them: one array of keys, one of values.

/** Entries without an object each: key i is at `i * keySize` of `keys`, value i at `i * valueBytes` of `values`. */
export interface FlatEntries {
  readonly count: number;
  readonly keys: Uint8Array;
  readonly values: Uint8Array;
}

/** Grows by doubling. */
export class FlatParts {
  readonly #keySize: number;
  readonly #valueBytes: number;
  #keys = new Uint8Array(0);
  #values = new Uint8Array(0);
  #count = 0;

  constructor(keySize: number, valueBytes: number) {
    this.#keySize = keySize;
    this.#valueBytes = valueBytes;
  }

  add({count, keys, values}: FlatEntries): void {
    const wanted = this.#count + count;
    if (wanted * this.#keySize > this.#keys.length || wanted * this.#valueBytes > this.#values.length) {
      const capacity = Math.max(wanted, 2 * this.#count);
      this.#keys = grown(this.#keys, capacity * this.#keySize);
      this.#values = grown(this.#values, capacity * this.#valueBytes);
    }
    this.#keys.set(keys.subarray(0, count * this.#keySize), this.#count * this.#keySize);
    this.#values.set(values.subarray(0, count * this.#valueBytes), this.#count * this.#valueBytes);
    this.#count = wanted;
  }

  take(): FlatEntries {
    return {
      count: this.#count,
      keys: this.#keys.subarray(0, this.#count * this.#keySize),
      values: this.#values.subarray(0, this.#count * this.#valueBytes),
    };
  }
}

function grown(bytes: Uint8Array<ArrayBuffer>, length: number): Uint8Array<ArrayBuffer> {
  const next = new Uint8Array(length);
  next.set(bytes);
  return next;
}
