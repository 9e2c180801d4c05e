// Pods that come, are relabelled, and go, in random places of a cluster: what one such event costs.

import {invariant} from '../../../lib/core/invariant.js';
import type {Change} from '../../../operator/watch/feed-types.js';
import {podOf} from './workloads.js';
import {median, type BenchCluster} from './cluster.js';

export interface ChurnPlaces {
  readonly namespaceOf: (n: number) => string;
  readonly labelsOf: (n: number) => Readonly<Record<string, string>>;
  readonly nodeOf: (n: number) => string;
}

const ROUNDS = 3500;
/** The first ones are interpreted, not compiled. */
const WARM_UP = 500;

/** p50 in µs by the wall clock, which a busy machine spoils only above the median; about 10,000 events. */
export function podChurn(apply: (changes: readonly Change[]) => void, places: ChurnPlaces): number {
  const times: number[] = [];
  const next = random(17);
  const timed = (change: Change): void => {
    const before = performance.now();
    apply([change]);
    times.push((performance.now() - before) * 1000);
  };
  for (let i = 0; i < ROUNDS; i++) {
    const namespace = places.namespaceOf(next());
    const [name, node] = [`churn-${i}`, places.nodeOf(next())];
    timed(podOf(namespace, name, places.labelsOf(next()), node));
    timed(podOf(namespace, name, places.labelsOf(next()), node));
    timed({kind: 'Pod', key: `${namespace}/${name}`, object: null});
  }
  return median(times.slice(3 * WARM_UP));
}

/** Tables that an event looks into, one after the other: what a place has brought into a cache, the next ones take its room. */
const LOOKED_INTO = ['pods', 'endpointReports', 'identities', 'policies'] as const;
const LOOKUPS = 40_000;

/**
 * What the machine takes for the least that an event does in some twenty places: its row is found by a key that was made for it, and touched.
 * In µs, making and hashing the key included.
 */
export function lookupUs({tables}: BenchCluster): number {
  const places = LOOKED_INTO.map((name) => ({table: tables[name], keys: [...tables[name].keys()]}));
  const next = random(29);
  const started = performance.now();
  for (let i = 0; i < LOOKUPS; i += places.length) {
    for (const {table, keys} of places) {
      const key = keys[next() % keys.length];
      // A new text, as an event brings it.
      const row = table.get(`${key} `.slice(0, -1));
      invariant(row !== undefined && !('nothing' in row), 'a row is where its key says', {key});
    }
  }
  return ((performance.now() - started) * 1000) / LOOKUPS;
}

/** The same numbers in every run (mulberry32). */
function random(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return (t ^ (t >>> 14)) >>> 0;
  };
}
