// Statistics of interleaved measurements: A and B take turns, medians are compared, a single run never counts.

import {invariant} from '../../lib/core/invariant.js';

/** Fewer say nothing on a machine that is shared with others. */
export const ROUNDS_MIN = 5;

/** The value below which `share` of all values lie; nearest rank, so it is one that was measured. */
export function percentile(values: readonly number[], share: number): number {
  invariant(values.length > 0 && share >= 0 && share <= 1, 'a percentile needs values', {count: values.length, share});
  const sorted = values.toSorted((a, b) => a - b);
  const value = sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)];
  invariant(value !== undefined, 'the rank lies inside', {});
  return value;
}

export function median(values: readonly number[]): number {
  return percentile(values, 0.5);
}

export function best(values: readonly number[]): number {
  return percentile(values, 0);
}

export type Subjects<Name extends string, T> = Readonly<Record<Name, (round: number) => Promise<T>>>;

/** One value of each subject per round, in the order of the record: A B C A B C … */
export async function interleave<Name extends string, T>(rounds: number, subjects: Subjects<Name, T>): Promise<Readonly<Record<Name, readonly T[]>>> {
  invariant(rounds >= ROUNDS_MIN, 'enough rounds for a median', {rounds});
  const names = Object.keys(subjects) as Name[];
  const results = Object.fromEntries(names.map((name) => [name, []])) as unknown as Record<Name, T[]>;
  for (let round = 0; round < rounds; round++) for (const name of names) results[name].push(await subjects[name](round));
  return results;
}

export interface Comparison {
  readonly rounds: number;
  readonly subject: number;
  readonly baseline: number;
  /** Median over median, and best over best. */
  readonly ratio: number;
  readonly ratioOfBest: number;
}

/** Of two series that were measured in turns. */
export function compare(subject: readonly number[], baseline: readonly number[]): Comparison {
  invariant(subject.length === baseline.length, 'both took the same turns', {subject: subject.length, baseline: baseline.length});
  return {
    rounds: subject.length, subject: median(subject), baseline: median(baseline),
    ratio: median(subject) / median(baseline), ratioOfBest: best(subject) / best(baseline),
  };
}
