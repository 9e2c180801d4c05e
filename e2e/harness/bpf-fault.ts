// Lets bpf(2) fail in one running process, from outside: the kernel's answers are replaced by an errno until `stop`, or the
// process ends in the middle.

import {spawn, type ChildProcess} from 'node:child_process';
import {existsSync, readFileSync, readdirSync, rmSync} from 'node:fs';
import type {RunDirectory} from './run-dir.js';
import {until} from './shell.js';

export class BpfFault {
  readonly #child: ChildProcess;
  readonly #file: string;

  private constructor(child: ChildProcess, file: string) {
    this.#child = child;
    this.#file = file;
  }

  /** Resolves when every thread of `pid` is held: from then on no map can be made, written or read by it. */
  static async start(pid: number, code: 'ENOSPC' | 'ENOMEM', run: RunDirectory): Promise<BpfFault> {
    return BpfFault.#attach(pid, `error=${code}`, run);
  }

  static async #attach(pid: number, what: string, run: RunDirectory): Promise<BpfFault> {
    const file = run.file('captures', `fault-${process.hrtime.bigint().toString(36)}.strace`);
    const child = spawn('setpriv', ['--pdeathsig', 'INT', '--', 'strace', '-f', '-qq', '-e', 'trace=bpf', '-e', `inject=bpf:${what}`, '-o', file, '-p', String(pid)], {stdio: 'ignore'});
    await until('strace is attached', {timeoutMs: 10_000, intervalMs: 20}, () => {
      const threads = readdirSync(`/proc/${pid}/task`);
      return threads.every((thread) => /^TracerPid:\s+[1-9]/m.test(readFileSync(`/proc/${pid}/task/${thread}/status`, 'utf8'))) ? true : null;
    });
    return new BpfFault(child, file);
  }

  /** Kills the process as one of its threads enters its `call`th bpf(2) from now: what it did before is done, that call and all after it are not. */
  static async kill(pid: number, call: number, run: RunDirectory): Promise<BpfFault> {
    return BpfFault.#attach(pid, `signal=SIGKILL:when=${call}`, run);
  }

  /** Calls that were refused so far, by command. */
  get refused(): ReadonlyMap<string, number> {
    const counts = new Map<string, number>();
    const text = existsSync(this.#file) ? readFileSync(this.#file, 'utf8') : '';
    for (const [, command = ''] of text.matchAll(/\bbpf\((BPF_\w+).*\(INJECTED\)/g)) counts.set(command, (counts.get(command) ?? 0) + 1);
    return counts;
  }

  async stop(): Promise<void> {
    const closed = new Promise<void>((resolve) => {
      this.#child.once('close', () => resolve());
    });
    if (this.#child.exitCode === null && this.#child.signalCode === null) {
      this.#child.kill('SIGINT');
      await closed;
    }
    rmSync(this.#file, {force: true});
  }
}
