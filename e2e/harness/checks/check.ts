// One line of the verdict table: what was looked at, the value measured, and whether it holds.

import type {Lab} from '../lab.js';

export type Verdict = 'ok' | 'FAIL' | 'not in this mode';

export interface CheckLine {
  readonly name: string;
  readonly value: string;
  readonly verdict: Verdict;
}

export interface Measured {
  readonly ok: boolean;
  readonly value: string;
}

/** A line whose measurement may throw: an error is a FAIL that says why. */
export async function check(name: string, measure: () => Promise<Measured>): Promise<CheckLine> {
  try {
    const {ok, value} = await measure();
    return {name, value, verdict: ok ? 'ok' : 'FAIL'};
  } catch (error) {
    return {name, value: error instanceof Error ? firstLine(error.message) : String(error), verdict: 'FAIL'};
  }
}

/** A line that needs an API server; without one it says so and never passes. */
export async function checkWithApi(lab: Lab, name: string, measure: () => Promise<Measured>): Promise<CheckLine> {
  return lab.client === null ? {name, value: '–', verdict: 'not in this mode'} : check(name, measure);
}

export function failed(lines: readonly CheckLine[]): readonly CheckLine[] {
  return lines.filter((line) => line.verdict === 'FAIL');
}

/** `3/4` and whether it is all. */
export function share(good: number, of: number): Measured {
  return {ok: good === of && of > 0, value: `${good}/${of}`};
}

export function ms(value: number): string {
  return value >= 10_000 ? `${(value / 1000).toFixed(1)} s` : `${Math.round(value)} ms`;
}

function firstLine(text: string): string {
  return (text.split('\n')[0] ?? '').slice(0, 300);
}
