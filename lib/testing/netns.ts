// Tests only: network namespaces of their own, with `ip` as the second opinion. Never `ip netns exec`, which hides bpffs and cgroupfs.

import {execFileSync} from 'node:child_process';
import {randomBytes} from 'node:crypto';

export interface TestNetns {
  readonly name: string;
  /** `/run/netns/NAME` */
  readonly path: string;
  /** Runs a program inside and returns what it printed. */
  run(program: string, ...args: string[]): string;
  /** `ip -j …` inside, decoded. */
  ip(...args: string[]): readonly Readonly<Record<string, unknown>>[];
  remove(): void;
}

/** `prefix` says whose it is: what a crashed test leaves behind can be told and removed. */
export function makeNetns(prefix: string): TestNetns {
  const name = `${prefix}-${randomBytes(3).toString('hex')}`;
  const path = `/run/netns/${name}`;
  execFileSync('ip', ['netns', 'add', name]);
  const run = (program: string, ...args: string[]): string =>
    execFileSync('nsenter', [`--net=${path}`, program, ...args], {encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe']});
  run('ip', 'link', 'set', 'lo', 'up');
  return {
    name,
    path,
    run,
    ip: (...args) => JSON.parse(run('ip', '-j', '-d', ...args) || '[]') as readonly Readonly<Record<string, unknown>>[],
    remove: () => {
      execFileSync('ip', ['netns', 'delete', name]);
    },
  };
}

/** Polls until `body` returns something other than null; fails after the deadline. */
export async function eventually<T>(body: () => T | null | Promise<T | null>, timeoutMs = 5_000): Promise<T> {
  const deadline = performance.now() + timeoutMs;
  for (;;) {
    const value = await body();
    if (value !== null) return value;
    if (performance.now() > deadline) throw new Error(`did not become true in ${timeoutMs} ms`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
