// Running programs: once with their output, or as daemons with a log file; and waiting for something with a deadline.

import {spawn, type ChildProcess} from 'node:child_process';
import {closeSync, openSync} from 'node:fs';
import {realClock} from '../../lib/run/clock.js';

export interface RunOptions {
  /** Runs inside this network namespace (a path). */
  readonly netns?: string;
  readonly input?: string | Uint8Array;
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
  /** Killed after this many milliseconds; default 60 s. */
  readonly timeoutMs?: number;
}

export interface RunResult {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
  readonly ms: number;
}

export class CommandFailed extends Error {
  override readonly name = 'CommandFailed';
  readonly result: RunResult;

  constructor(command: readonly string[], result: RunResult) {
    super(`${command.join(' ')} ended with ${result.code ?? 'a signal'}: ${(result.stderr || result.stdout).trim().slice(0, 2000)}`);
    this.result = result;
  }
}

function commandIn(netns: string | undefined, command: readonly string[]): readonly string[] {
  return netns === undefined ? command : ['nsenter', `--net=${netns}`, '--', ...command];
}

/** Runs to the end; any exit code is a result. */
export async function run(command: readonly string[], options: RunOptions = {}): Promise<RunResult> {
  const [program = '', ...args] = commandIn(options.netns, command);
  const startedMs = realClock.monotonicMs();
  const child = spawn(program, args, {
    cwd: options.cwd, stdio: ['pipe', 'pipe', 'pipe'], timeout: options.timeoutMs ?? 60_000, killSignal: 'SIGKILL',
    ...(options.env === undefined ? {} : {env: {...process.env, ...options.env}}),
  });
  const stdout: Buffer[] = [];
  const stderr: Buffer[] = [];
  child.stdout.on('data', (part: Buffer) => stdout.push(part));
  child.stderr.on('data', (part: Buffer) => stderr.push(part));
  child.stdin.on('error', () => undefined);
  child.stdin.end(options.input ?? '');
  const code = await new Promise<number | null>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (exitCode) => resolve(exitCode));
  });
  return {code, stdout: Buffer.concat(stdout).toString(), stderr: Buffer.concat(stderr).toString(), ms: realClock.monotonicMs() - startedMs};
}

/** Runs to the end and returns stdout; anything but exit code 0 is an error with what the program said. */
export async function must(command: readonly string[], options: RunOptions = {}): Promise<string> {
  const result = await run(command, options);
  if (result.code !== 0) throw new CommandFailed(command, result);
  return result.stdout;
}

export interface DaemonSpec {
  readonly name: string;
  readonly command: readonly string[];
  readonly logFile: string;
  readonly netns?: string;
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
}

/** A program that keeps running. It dies with this process, except what it starts in process groups of its own. */
export class Daemon {
  readonly name: string;
  readonly pid: number;
  readonly logFile: string;
  readonly #child: ChildProcess;
  readonly #exited: Promise<void>;
  #gone = false;

  constructor(spec: DaemonSpec, child: ChildProcess) {
    this.name = spec.name;
    this.logFile = spec.logFile;
    this.#child = child;
    this.pid = child.pid ?? -1;
    this.#exited = new Promise((resolve) => {
      const onEnd = (): void => {
        this.#gone = true;
        resolve();
      };
      child.once('exit', onEnd);
      child.once('error', onEnd);
    });
  }

  get running(): boolean {
    return !this.#gone;
  }

  get exitCode(): number | null {
    return this.#child.exitCode;
  }

  signal(signal: NodeJS.Signals): void {
    if (!this.#gone) this.#child.kill(signal);
  }

  /** Sends `signal` and waits for the exit; after `graceMs` it is killed. */
  async stop(signal: NodeJS.Signals = 'SIGTERM', graceMs = 5_000): Promise<void> {
    this.signal(signal);
    const late = new AbortController();
    await Promise.race([this.#exited, realClock.sleep(graceMs, late.signal).catch(() => undefined)]);
    late.abort();
    this.signal('SIGKILL');
    await this.#exited;
  }

  async exited(): Promise<void> {
    await this.#exited;
  }
}

export function startDaemon(spec: DaemonSpec): Daemon {
  const log = openSync(spec.logFile, 'a');
  const [program = '', ...args] = commandIn(spec.netns, ['setpriv', '--pdeathsig', 'KILL', '--', ...spec.command]);
  const child = spawn(program, args, {
    cwd: spec.cwd, stdio: ['ignore', log, log], ...(spec.env === undefined ? {} : {env: {...process.env, ...spec.env}}),
  });
  closeSync(log);
  return new Daemon(spec, child);
}

export class DeadlinePassed extends Error {
  override readonly name = 'DeadlinePassed';
}

export interface UntilOptions {
  readonly timeoutMs: number;
  readonly intervalMs?: number;
}

/** Calls `probe` until it returns something other than null, or the deadline passes. An error of the probe counts as null and is told at the end. */
export async function until<T>(what: string, options: UntilOptions, probe: () => Promise<T | null> | T | null): Promise<T> {
  const deadline = realClock.monotonicMs() + options.timeoutMs;
  let lastError: unknown = null;
  for (;;) {
    try {
      const value = await probe();
      if (value !== null) return value;
      lastError = null;
    } catch (error) {
      lastError = error;
    }
    if (realClock.monotonicMs() >= deadline) {
      const reason = lastError instanceof Error ? `: ${lastError.message}` : '';
      throw new DeadlinePassed(`${what}: not within ${options.timeoutMs} ms${reason}`);
    }
    await pause(options.intervalMs ?? 50);
  }
}

/** For polling and pacing only. */
export async function pause(ms: number): Promise<void> {
  await realClock.sleep(ms, NEVER);
}

const NEVER = new AbortController().signal;

/** Milliseconds, monotonic. */
export function nowMs(): number {
  return realClock.monotonicMs();
}
