// Pods that come, are relabelled, and go, in random places of a cluster: what one such event costs.

import type {Change} from '../../../operator/watch/feed-types.js';
import {podOf} from './workloads.js';
import {median} from './cluster.js';

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
