// Round trips between two places, subject and baseline interleaved: only their ratio in one run means something on a shared machine.

import {existsSync, statSync} from 'node:fs';
import {join} from 'node:path';
import type {RunDirectory} from '../harness/run-dir.js';
import {ROOT} from '../harness/run-dir.js';
import {must, startDaemon, until, type Daemon} from '../harness/shell.js';
import type {Place} from '../harness/traffic.js';

const RR = join(ROOT, 'build', 'lab-rr');
const ROUNDS = 4_000;
const TURNS = 9;
const PORT = 5201;

export interface Path {
  readonly client: Place;
  readonly server: Place;
  readonly address: string;
}

export interface Compared {
  /** Median of the turns' p50, in microseconds. */
  readonly baselineUs: number;
  readonly subjectUs: number;
  readonly ratio: number;
}

async function build(): Promise<void> {
  const source = join(ROOT, 'e2e', 'bench', 'rr.c');
  if (existsSync(RR) && statSync(RR).mtimeMs > statSync(source).mtimeMs) return;
  await must(['cc', '-std=gnu11', '-D_GNU_SOURCE', '-O2', '-static', source, '-o', RR]);
}

async function serve(path: Path, run: RunDirectory): Promise<Daemon> {
  const server = startDaemon({name: 'rr', netns: path.server.netnsPath, logFile: run.log(`rr-${path.address}`), command: [RR, 'server', String(PORT)]});
  await until('the server answers', {timeoutMs: 5_000}, async () => {
    await measure(path, 1);
    return true;
  });
  return server;
}

async function measure(path: Path, rounds: number): Promise<number> {
  const text = await must([RR, 'client', path.address, String(PORT), String(rounds)], {netns: path.client.netnsPath});
  return (JSON.parse(text) as {readonly p50: number}).p50 / 1000;
}

/** Baseline and subject in turns, in changing order; medians of the turns. */
export async function compareRoundTrips(baseline: Path, subject: Path, run: RunDirectory): Promise<Compared> {
  await build();
  const servers = [await serve(baseline, run), await serve(subject, run)];
  const a: number[] = [];
  const b: number[] = [];
  try {
    for (let turn = 0; turn < TURNS; turn++) {
      for (const which of turn % 2 === 0 ? [0, 1] : [1, 0]) {
        if (which === 0) a.push(await measure(baseline, ROUNDS));
        else b.push(await measure(subject, ROUNDS));
      }
    }
  } finally {
    await Promise.all(servers.map((server) => server.stop('SIGKILL')));
  }
  const [baselineUs, subjectUs] = [median(a), median(b)];
  return {baselineUs, subjectUs, ratio: subjectUs / baselineUs};
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((x, y) => x - y);
  return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN;
}
