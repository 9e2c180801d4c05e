// Clients in the lab: probes that tell a drop from a rejection, a steady stream of packets, an established connection, many flows.

import {spawn, type ChildProcess} from 'node:child_process';
import {createInterface} from 'node:readline';
import {HELPER} from './helper.js';
import {must, run, until} from './shell.js';

/** Where a client runs: a pod or a host of the lab. */
export interface Place {
  readonly netnsPath: string;
}

export interface ProbeResult {
  /** `ok`, `timeout` (nothing came back), `refused`, `reset`, `unreachable`. */
  readonly result: string;
  readonly ms: number;
  readonly reply: string;
}

export interface ProbeOptions {
  readonly timeoutMs?: number;
  /** Sent after the handshake; default `who`, which the echo server answers with the client's address. */
  readonly text?: string;
}

export function tcp(from: Place, address: string, port: number, options: ProbeOptions = {}): Promise<ProbeResult> {
  return probe('connect', from, [address, String(port)], options);
}

export function udp(from: Place, address: string, port: number, options: ProbeOptions = {}): Promise<ProbeResult> {
  return probe('udp', from, [address, String(port)], options);
}

async function probe(kind: 'connect' | 'udp', from: Place, to: readonly string[], options: ProbeOptions): Promise<ProbeResult> {
  const timeoutMs = options.timeoutMs ?? 1_000;
  const result = await run([HELPER, '--netns', from.netnsPath, kind, ...to, String(timeoutMs), options.text ?? 'who'], {timeoutMs: timeoutMs + 5_000});
  if (result.stdout === '') throw new Error(`the probe said nothing: ${result.stderr}`);
  return JSON.parse(result.stdout) as ProbeResult;
}

/** `handshake`: a TCP connection is answer enough. */
export interface ProbeTarget {
  readonly kind: 'handshake' | 'tcp' | 'udp' | 'icmp';
  readonly address: string;
  readonly port: number;
}

/** All at once and from one process: one attempt each, with the same time-out. Results in the order of the targets. */
export async function probes(from: Place, targets: readonly ProbeTarget[], timeoutMs: number): Promise<readonly ProbeResult[]> {
  if (targets.length === 0) return [];
  const words = targets.map(({kind, address, port}) => `${kind}:${address}:${port}`);
  const output = await must([HELPER, '--netns', from.netnsPath, 'probes', String(timeoutMs), ...words], {timeoutMs: timeoutMs + 5_000});
  const results = output.trimEnd().split('\n').map((line) => JSON.parse(line) as ProbeResult);
  if (results.length !== targets.length) throw new Error(`${results.length} results for ${targets.length} probes`);
  return results;
}

/** The client's address as the echo server saw it; null when there was no answer. */
export function seenAddress(result: ProbeResult): string | null {
  return result.result === 'ok' ? (result.reply.split(' ')[0] ?? null) : null;
}

/** True when an echo reply came. */
export async function ping(from: Place, address: string, timeoutSeconds = 1): Promise<boolean> {
  return (await run(['ping', '-n', '-c', '1', '-W', String(timeoutSeconds), address], {netns: from.netnsPath})).code === 0;
}

/** UDP flows from different source ports, each with some packets; how many were answered. */
export async function flows(from: Place, to: {readonly address: string; readonly port: number}, count: number, packets: number): Promise<number> {
  const result = await run([HELPER, '--netns', from.netnsPath, 'flows', to.address, String(to.port), String(count), String(packets)]);
  return (JSON.parse(result.stdout) as {readonly answered: number}).answered;
}

/** A client that prints one JSON line after the other. */
class LineClient<T> {
  readonly #child: ChildProcess;
  readonly #closed: Promise<void>;
  #last: T | null = null;
  #error = '';

  constructor(from: Place, args: readonly string[]) {
    const child = spawn('setpriv', ['--pdeathsig', 'KILL', '--', HELPER, '--netns', from.netnsPath, ...args], {stdio: ['ignore', 'pipe', 'pipe']});
    this.#child = child;
    createInterface({input: child.stdout}).on('line', (line) => {
      this.#last = JSON.parse(line) as T;
    });
    child.stderr.on('data', (text: Buffer) => {
      this.#error += text.toString();
    });
    this.#closed = new Promise((resolve) => {
      child.once('close', () => resolve());
    });
  }

  get last(): T | null {
    return this.#last;
  }

  async first(): Promise<T> {
    return until('the client speaks', {timeoutMs: 6_000, intervalMs: 10}, () => {
      if (this.#last === null && this.#child.exitCode !== null) throw new Error(this.#error);
      return this.#last;
    });
  }

  async stop(): Promise<T> {
    this.#child.kill('SIGTERM');
    await this.#closed;
    if (this.#last === null) throw new Error(`the client said nothing: ${this.#error}`);
    return this.#last;
  }
}

export interface PaceSample {
  readonly state: 'running' | 'done';
  readonly sent: number;
  readonly received: number;
  readonly duplicates: number;
  readonly errors: number;
  readonly maxGapMs: number;
  /** Since the last reply; -1 = there was none. */
  readonly silentMs: number;
}

/** Numbered datagrams to an echo server at a steady pace. `stop` waits for late replies and gives the sums. */
export function startPace(from: Place, address: string, port: number, packetsPerSecond: number): LineClient<PaceSample> {
  return new LineClient(from, ['pace', address, String(port), String(packetsPerSecond)]);
}

export interface VolleySample {
  readonly state: 'running' | 'done';
  /** In the order given. `refused`: an error came back, which is no answer. */
  readonly targets: readonly {readonly sent: number; readonly answered: number; readonly refused: number}[];
}

/** Datagrams that are each a new flow, to every target in turn. `stop` waits for what is under way. */
export function startVolley(from: Place, perSecond: number, targets: readonly {readonly address: string; readonly port: number}[]): LineClient<VolleySample> {
  return new LineClient(from, ['volley', String(perSecond), String(VOLLEY_TIMEOUT_MS), ...targets.map(({address, port}) => `${address},${port}`)]);
}

const VOLLEY_TIMEOUT_MS = 2_000;

export interface StreamSample {
  readonly state: string;
  readonly sent?: number;
  readonly bytesSent?: number;
  readonly bytesBack?: number;
  readonly silentMs?: number;
}

/** One TCP connection that keeps talking. */
export function startStream(from: Place, address: string, port: number, intervalMs: number): LineClient<StreamSample> {
  return new LineClient(from, ['stream', address, String(port), String(intervalMs)]);
}

/** Datagrams with a text of one's own, sent in order from one socket when told to; the answers that came back. */
export class Talk {
  readonly #child: ChildProcess;
  readonly #answers = new Set<string>();
  #ready = false;

  constructor(from: Place, port: number) {
    const child = spawn('setpriv', ['--pdeathsig', 'KILL', '--', HELPER, '--netns', from.netnsPath, 'talk', String(port)], {stdio: ['pipe', 'pipe', 'inherit']});
    this.#child = child;
    createInterface({input: child.stdout}).on('line', (line) => {
      if (line === 'ready') this.#ready = true;
      else this.#answers.add(line);
    });
  }

  async ready(): Promise<void> {
    await until('the client is ready', {timeoutMs: 5_000, intervalMs: 10}, () => this.#ready ? true : null);
  }

  say(address: string, text: string): void {
    this.#child.stdin?.write(`${address} ${text}\n`);
  }

  heard(text: string): boolean {
    return this.#answers.has(text);
  }

  get answers(): ReadonlySet<string> {
    return this.#answers;
  }

  stop(): void {
    this.#child.kill('SIGKILL');
  }
}
