// The gobgpd process of each BGP instance: started in its own process group, adopted by the next agent, ended only when its instance goes.

import {spawn, type ChildProcess} from 'node:child_process';
import {closeSync, openSync} from 'node:fs';
import {mkdir, readFile, readdir, rm, stat, truncate, writeFile} from 'node:fs/promises';
import {join} from 'node:path';
import * as grpc from '@grpc/grpc-js';
import {StentorError} from '../../lib/core/errors.js';
import {contentHash} from '../../lib/core/hash.js';
import type {Clock} from '../../lib/run/clock.js';
import {errorFields, type Log} from '../../lib/run/log.js';
import {goBgpService, type GoBgpClient} from '../../proto/gobgp.js';

export interface GobgpdOptions {
  /** Sockets, logs and markers: one folder per instance. */
  readonly directory: string;
  /** The program and what goes before its own arguments. */
  readonly command: readonly string[];
  /** A process that does not answer in this time has failed. */
  readonly answerMs: number;
  readonly logLimitBytes: number;
}

export interface GobgpdParts {
  readonly clock: Clock;
  readonly log: Log;
}

/** A running gobgpd. */
export interface Gobgpd {
  readonly instance: string;
  readonly client: GoBgpClient;
  readonly logPath: string;
  /** This instance has run before and was not ended: routers may still hold its routes. */
  readonly restarted: boolean;
}

/** sun_path holds 108 bytes with the final zero. */
const SOCKET_PATH_LIMIT = 107;
const POLL_MS = 20;
const END_MS = 3000;

export class GobgpdProcesses {
  readonly #options: GobgpdOptions;
  readonly #parts: GobgpdParts;
  readonly #running = new Map<string, Gobgpd>();
  /** null = the folders were not read yet. */
  #known: Set<string> | null = null;

  constructor(options: GobgpdOptions, parts: GobgpdParts) {
    this.#options = options;
    this.#parts = parts;
  }

  running(): readonly Gobgpd[] {
    return [...this.#running.values()];
  }

  /** Instances that a process may be running for: those of this agent and those that an earlier one left. */
  async known(): Promise<ReadonlySet<string>> {
    return (this.#known ??= await this.#left());
  }

  /** The running process of `instance`, an earlier agent's included; started when there is none that answers. */
  async ensure(instance: string): Promise<Gobgpd> {
    const held = this.#running.get(instance);
    if (held !== undefined && (await this.#answers(held.client, this.#options.answerMs))) return held;
    const folder = this.#folder(instance);
    const socket = join(folder, 'api.sock');
    if (held !== undefined) {
      this.#forget(held);
      await this.#kill(socket, 'SIGKILL');
    }
    const adopted = await this.#adopt(instance, folder, socket);
    const gobgpd = adopted ?? (await this.#start(instance, folder, socket));
    this.#running.set(instance, gobgpd);
    return gobgpd;
  }

  /** As far as is known: it was not replaced or ended here. */
  isRunning(gobgpd: Gobgpd): boolean {
    return this.#running.get(gobgpd.instance) === gobgpd;
  }

  alive(gobgpd: Gobgpd): Promise<boolean> {
    return this.#answers(gobgpd.client, this.#options.answerMs);
  }

  /** Ends the process of `instance` and forgets all about it: its sessions close, its routes are withdrawn. */
  async end(instance: string): Promise<void> {
    const held = this.#running.get(instance);
    if (held !== undefined) this.#forget(held);
    const folder = this.#folder(instance);
    await this.#kill(join(folder, 'api.sock'), 'SIGTERM');
    await rm(folder, {recursive: true, force: true});
    this.#known?.delete(instance);
    this.#parts.log.info('gobgpd ended', {instance});
  }

  /** Ends a process that must come back with other global settings. */
  async stop(instance: string): Promise<void> {
    const held = this.#running.get(instance);
    if (held !== undefined) this.#forget(held);
    const folder = this.#folder(instance);
    await this.#kill(join(folder, 'api.sock'), 'SIGTERM');
    // Its routes were withdrawn in good order: the next one is not a restarting speaker.
    await rm(join(folder, 'instance'), {force: true});
  }

  /** Lets go of the processes; they go on. */
  close(): void {
    for (const gobgpd of this.running()) this.#forget(gobgpd);
  }

  /** Cuts logs that have grown too long. gobgpd appends, so it goes on at the start of the emptied file. */
  async boundLogs(): Promise<void> {
    for (const {logPath} of this.running()) {
      const size = (await stat(logPath).catch(() => null))?.size ?? 0;
      if (size > this.#options.logLimitBytes) await truncate(logPath, 0);
    }
  }

  /** Every call has a deadline: a process that hangs must not hang the agent. */
  #connect(socket: string): GoBgpClient {
    const {clock} = this.#parts;
    const {answerMs} = this.#options;
    return goBgpService.connect(`unix:${socket}`, grpc.credentials.createInsecure(), {
      'grpc.max_receive_message_length': -1,
      // The socket appears some milliseconds after the process: the default first pause is a second.
      'grpc.initial_reconnect_backoff_ms': POLL_MS,
      'grpc.max_reconnect_backoff_ms': 1000,
    }, [(options, next) => new grpc.InterceptingCall(next({...options, deadline: options.deadline ?? clock.now() + answerMs}))]);
  }

  async #answers(client: GoBgpClient, withinMs: number): Promise<boolean> {
    try {
      await client.GetBgp({}, {deadline: this.#parts.clock.now() + withinMs});
      return true;
    } catch {
      return false;
    }
  }

  async #left(): Promise<Set<string>> {
    const folders = await readdir(this.#options.directory).catch(() => []);
    const names = await Promise.all(folders.map((folder) => readFile(join(this.#options.directory, folder, 'instance'), 'utf8').catch(() => '')));
    return new Set(names.filter((name) => name !== ''));
  }

  #forget(gobgpd: Gobgpd): void {
    this.#running.delete(gobgpd.instance);
    gobgpd.client.channel.close();
  }

  /** A short name, because the path of a socket is limited. */
  #folder(instance: string): string {
    const plain = /^[A-Za-z0-9][A-Za-z0-9_-]{0,15}$/.test(instance);
    return join(this.#options.directory, plain ? instance : contentHash(instance).slice(0, 12));
  }

  async #adopt(instance: string, folder: string, socket: string): Promise<Gobgpd | null> {
    if ((await processesOf(socket)).length === 0) return null;
    const client = this.#connect(socket);
    if (await this.#answers(client, this.#options.answerMs)) {
      this.#parts.log.info('gobgpd adopted', {instance});
      return {instance, client, logPath: join(folder, 'log'), restarted: false};
    }
    client.channel.close();
    this.#parts.log.warn('gobgpd does not answer', {instance});
    await this.#kill(socket, 'SIGKILL');
    return null;
  }

  async #start(instance: string, folder: string, socket: string): Promise<Gobgpd> {
    if (Buffer.byteLength(socket) > SOCKET_PATH_LIMIT) {
      throw new StentorError('BGP_SOCKET_PATH_TOO_LONG', `the path of gobgpd's socket is longer than ${SOCKET_PATH_LIMIT} bytes`, {socket});
    }
    await mkdir(folder, {recursive: true, mode: 0o700});
    const marker = join(folder, 'instance');
    const restarted = (await readFile(marker, 'utf8').catch(() => '')) === instance;
    // A socket that its process left behind would make the new one run without an API.
    await rm(socket, {force: true});
    await writeFile(marker, instance);
    this.#known?.add(instance);
    const logPath = join(folder, 'log');
    const child = spawnDetached(this.#options.command, socket, logPath);
    const client = this.#connect(socket);
    await this.#untilAnswer(instance, child, client);
    this.#parts.log.info('gobgpd started', {instance, pid: child.pid, restarted});
    return {instance, client, logPath, restarted};
  }

  async #untilAnswer(instance: string, child: ChildProcess, client: GoBgpClient): Promise<void> {
    const {clock} = this.#parts;
    const failure: {error?: Error} = {};
    child.once('error', (error) => (failure.error = error));
    child.once('exit', (code, signal) => (failure.error ??= new Error(`gobgpd ended at once (${signal ?? code})`)));
    const deadline = clock.monotonicMs() + this.#options.answerMs;
    while (failure.error === undefined && clock.monotonicMs() < deadline) {
      if (await this.#answers(client, POLL_MS * 5)) return;
      await clock.sleep(POLL_MS, new AbortController().signal);
    }
    client.channel.close();
    child.kill('SIGKILL');
    const reason = failure.error?.message ?? `no answer in ${this.#options.answerMs} ms`;
    throw new StentorError('BGP_SPEAKER_FAILED', `gobgpd of ${instance} did not start: ${reason}`, {instance}, {cause: failure.error});
  }

  async #kill(socket: string, signal: NodeJS.Signals): Promise<void> {
    const {clock, log} = this.#parts;
    const deadline = clock.monotonicMs() + END_MS;
    let send = signal;
    for (let pids = await processesOf(socket); pids.length > 0; pids = await processesOf(socket)) {
      for (const pid of pids) {
        try {
          process.kill(pid, send);
        } catch (error) {
          log.debug('gobgpd was already gone', {pid, ...errorFields(error)});
        }
      }
      if (clock.monotonicMs() > deadline) send = 'SIGKILL';
      await clock.sleep(POLL_MS, new AbortController().signal);
    }
    await rm(socket, {force: true});
  }
}

/** Its own session and process group, and no pipe to this process: nothing of it dies with the agent. */
function spawnDetached(command: readonly string[], socket: string, logPath: string): ChildProcess {
  const [program = 'gobgpd', ...before] = command;
  const log = openSync(logPath, 'a', 0o600);
  try {
    const args = [...before, '--api-hosts', `unix://${socket}`, '--pprof-disable', '--metrics-path', ''];
    const child = spawn(program, args, {detached: true, stdio: ['ignore', log, log], cwd: '/'});
    child.unref();
    return child;
  } finally {
    closeSync(log);
  }
}

/** Processes whose command line names the socket; one that has ended has no command line, so a zombie is not found. */
async function processesOf(socket: string): Promise<number[]> {
  const wanted = `unix://${socket}`;
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name));
  const found = await Promise.all(pids.map(async (pid) => {
    const words = (await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')).split('\0');
    return words.includes(wanted) ? [Number(pid)] : [];
  }));
  return found.flat();
}
