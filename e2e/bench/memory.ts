// Resident memory of a process, against an idle Node process that has loaded the same libraries.

import {spawn} from 'node:child_process';
import {readFileSync} from 'node:fs';
import {join} from 'node:path';
import {createInterface} from 'node:readline';
import {NODE} from '../harness/helper.js';
import {ROOT} from '../harness/run-dir.js';
import {pause} from '../harness/shell.js';

export function residentMb(pid: number): number {
  return Number(/^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? Number.NaN) / 1024;
}

/** A Node process with grpc-js and the addon, doing nothing. */
export async function idleNodeMb(): Promise<number> {
  const script = "await import('@grpc/grpc-js'); const {createRequire} = await import('node:module'); createRequire(process.cwd() + '/x.js')('./build/stentor.node'); console.log('ready'); setInterval(() => {}, 1000);";
  const child = spawn(NODE, ['--input-type=module', '-e', script], {cwd: join(ROOT), stdio: ['ignore', 'pipe', 'inherit']});
  try {
    await new Promise<void>((resolve, reject) => {
      createInterface({input: child.stdout}).once('line', () => resolve());
      child.once('exit', () => reject(new Error('the idle process ended')));
    });
    await pause(2_000);
    return residentMb(child.pid ?? -1);
  } finally {
    child.kill('SIGKILL');
  }
}
