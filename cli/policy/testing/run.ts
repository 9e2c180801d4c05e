// Runs the built stentorctl as its users do: a process with arguments and standard input.

import {spawnSync} from 'node:child_process';
import {join} from 'node:path';

export const ROOT = join(import.meta.dirname, '../../../..');
export const SHOP = 'cli/policy/testing/shop';

export interface Result {
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
}

export function stentorctl(args: readonly string[], options: {readonly input?: string; readonly cwd?: string} = {}): Result {
  const {status, stdout, stderr} = spawnSync(process.execPath, [join(ROOT, 'dist/cli/stentorctl.js'), ...args], {
    encoding: 'utf8', cwd: options.cwd ?? ROOT, maxBuffer: 256 << 20, ...(options.input === undefined ? {} : {input: options.input}),
  });
  return {code: status, out: stdout, err: stderr};
}

/** Seconds of CPU that a run took, start-up included: wall time says more about the machine's other work. */
export function cpuSeconds(args: readonly string[]): number {
  const script = '"$@" > /dev/null; times';
  const {stdout} = spawnSync('bash', ['-c', script, 'bash', process.execPath, join(ROOT, 'dist/cli/stentorctl.js'), ...args], {encoding: 'utf8', cwd: ROOT});
  const children = stdout.trim().split('\n').at(-1) ?? '';
  return [...children.matchAll(/(\d+)m([\d.]+)s/g)].reduce((sum, [, minutes = '0', seconds = '0']) => sum + Number(minutes) * 60 + Number(seconds), 0);
}
