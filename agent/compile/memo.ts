// Remembers the last output for each key with the inputs it came from. Equal inputs give the same object, so that what did not change is not compared again.

interface Remembered<V> {
  readonly inputs: readonly unknown[];
  readonly value: V;
}

/** A value passed in by the caller: the compile functions keep nothing themselves. */
export class Memo<V> {
  #held = new Map<string, Remembered<V>>();
  #used = new Map<string, Remembered<V>>();

  /** `inputs` are compared one by one, by identity. */
  of(key: string, inputs: readonly unknown[], make: () => V): V {
    const before = this.#held.get(key);
    const now = before !== undefined && same(before.inputs, inputs) ? before : {inputs, value: make()};
    this.#used.set(key, now);
    return now.value;
  }

  /** Forgets what was not asked for since the last call. */
  sweep(): void {
    this.#held = this.#used;
    this.#used = new Map();
  }
}

function same(a: readonly unknown[], b: readonly unknown[]): boolean {
  return a.length === b.length && a.every((item, i) => Object.is(item, b[i]));
}
