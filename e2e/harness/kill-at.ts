// Kills a process at the nth system call of its main thread, from outside; and lists such calls, to know how many there are.

import {spawn, type ChildProcess} from 'node:child_process';
import {existsSync, readFileSync, rmSync} from 'node:fs';
import type {RunDirectory} from './run-dir.js';
import {until} from './shell.js';

/** What leaves traces: messages to the kernel and to others, BPF, files. */
const CALLS = 'sendto,sendmsg,bpf,setns,write,writev,openat';

export class MainThread {
  readonly #child: ChildProcess;
  readonly #file: string;

  private constructor(child: ChildProcess, file: string) {
    this.#child = child;
    this.#file = file;
  }

  /** Resolves when the thread is held. `killAt` counts from 1; null only watches. */
  static async trace(pid: number, killAt: number | null, run: RunDirectory): Promise<MainThread> {
    const file = run.file('captures', `kill-${process.hrtime.bigint().toString(36)}.strace`);
    const inject = killAt === null ? [] : ['-e', `inject=${CALLS}:signal=KILL:when=${killAt}`];
    const child = spawn('setpriv', ['--pdeathsig', 'INT', '--', 'strace', '-qq', '-e', `trace=${CALLS}`, ...inject, '-o', file, '-p', String(pid)], {stdio: 'ignore'});
    await until('strace is attached', {timeoutMs: 10_000, intervalMs: 10}, () =>
      /^TracerPid:\s+[1-9]/m.test(readFileSync(`/proc/${pid}/task/${pid}/status`, 'utf8')) ? true : null);
    return new MainThread(child, file);
  }

  /** How many calls there were until now, or until the death of the process. */
  async stop(): Promise<number> {
    const closed = new Promise<void>((resolve) => {
      this.#child.once('close', () => resolve());
    });
    if (this.#child.exitCode === null && this.#child.signalCode === null) {
      this.#child.kill('SIGINT');
      await closed;
    }
    const count = existsSync(this.#file) ? readFileSync(this.#file, 'utf8').split('\n').filter((line) => /^\w+\(/.test(line)).length : 0;
    rmSync(this.#file, {force: true});
    return count;
  }
}
