// Desired against actual: what has to be written and what has to go.

export interface Difference<K, V> {
  readonly upserts: readonly (readonly [K, V])[];
  readonly removes: readonly K[];
}

export function difference<K, V>(
  desired: ReadonlyMap<K, V>, actual: ReadonlyMap<K, V>, equal: (desired: V, actual: V) => boolean,
): Difference<K, V> {
  const upserts: (readonly [K, V])[] = [];
  for (const entry of desired) {
    const have = actual.get(entry[0]);
    if (have === undefined || (have !== entry[1] && !equal(entry[1], have))) upserts.push(entry);
  }
  const removes: K[] = [];
  // Equal sizes and no new key: nothing can be too much.
  if (upserts.length === 0 && desired.size === actual.size) return {upserts, removes};
  for (const key of actual.keys()) {
    if (!desired.has(key)) removes.push(key);
  }
  return {upserts, removes};
}
