// The round-trip timer: a server that echoes one byte, a client that times it, both on one processor so that waking a sleeping one is no part of
// the time; and the machine's calibration.

import {cpus} from 'node:os';
import {join} from 'node:path';
import {ROOT, type RunDirectory} from '../harness/run-dir.js';
import {must, run, startDaemon, until, type Daemon} from '../harness/shell.js';
import type {Place} from '../harness/traffic.js';
import {recordProcess} from '../harness/cleanup.js';

const RR = join(ROOT, 'build', 'bench', 'rr');
export const PORT = 7000;

/** The last one: the first takes most interrupts. */
const CPU = String(cpus().length - 1);
const PINNED = ['taskset', '-c', CPU, RR] as const;

/** `rr`: one connection, a byte there and back per round. `crr`: connect, a byte there and back, reset. */
export type Mode = 'rr' | 'crr';

export const ROUND_TRIPS: Readonly<Record<Mode, number>> = {rr: 20_000, crr: 4_000};

export interface RoundTrips {
  readonly rounds: number;
  /** Nanoseconds. */
  readonly p50: number;
  readonly p99: number;
  readonly mean: number;
}

/** What a server pod runs. */
export const SERVER_COMMAND: readonly string[] = [...PINNED, 'server', String(PORT)];
/** What a client pod runs: its clients are started in its namespace. */
export const IDLE_COMMAND: readonly string[] = ['sleep', 'infinity'];

export async function roundTrips(from: Place, address: string, mode: Mode, rounds = ROUND_TRIPS[mode]): Promise<RoundTrips> {
  const text = await must([...PINNED, 'client', address, String(PORT), String(rounds), ...(mode === 'crr' ? ['connect'] : [])], {netns: from.netnsPath});
  return JSON.parse(text) as RoundTrips;
}

export function startServer(run_: RunDirectory, name: string, at: Place): Daemon {
  const daemon = startDaemon({name, netns: at.netnsPath, logFile: run_.log(`rr-${name}`), command: SERVER_COMMAND});
  recordProcess(run_, daemon.pid, `rr-${name}`);
  return daemon;
}

/** Resolves when the server answers a whole round trip. */
export async function answers(from: Place, address: string, timeoutMs = 20_000): Promise<void> {
  await until(`rr at ${address} answers`, {timeoutMs, intervalMs: 100}, () => roundTrips(from, address, 'rr', 1));
}

/** The TTL that an echo reply arrives with: one less per hop on the way back. */
export async function replyTtl(from: Place, address: string): Promise<number | null> {
  const result = await run(['ping', '-n', '-c', '1', '-W', '2', address], {netns: from.netnsPath});
  const ttl = /\bttl=(\d+)/.exec(result.stdout)?.[1];
  return ttl === undefined ? null : Number(ttl);
}

export interface Calibration {
  readonly syscallNs: number;
  readonly loadNs: number;
  /** 1-byte round trip over loopback, p50. */
  readonly loopbackNs: number;
}

/** Runs on machines, or at times, whose calibrations differ by more than 15 % are not comparable. */
export async function calibrate(loopback: Place): Promise<Calibration> {
  const machine = JSON.parse(await must([...PINNED, 'calibrate'])) as Omit<Calibration, 'loopbackNs'>;
  return {...machine, loopbackNs: (await roundTrips(loopback, '127.0.0.1', 'rr')).p50};
}

export function calibrationText(when: string, value: Calibration): string {
  return `calibration ${when}: empty syscall ${value.syscallNs.toFixed(0)} ns, random load of 64 MB ${value.loadNs.toFixed(0)} ns, loopback round trip ${(value.loopbackNs / 1000).toFixed(1)} µs`;
}
