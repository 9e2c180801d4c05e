// Resident memory of operator and agents against a Node process that has only loaded grpc-js and the addon, read in one moment.

import {spawn} from 'node:child_process';
import {once} from 'node:events';
import {readFileSync} from 'node:fs';
import {join} from 'node:path';
import {NODE} from '../harness/helper.js';
import type {Lab} from '../harness/lab.js';
import {ROOT} from '../harness/run-dir.js';
import {pause} from '../harness/shell.js';
import {NODES} from '../harness/topology.js';
import {megabytes, type Report} from './report.js';
import {median} from './rounds.js';

const AGENT_GOAL_KB = 35 * 1024;
const OPERATOR_GOAL_KB = 60 * 1024;
/** Garbage of the last change goes within a few idle seconds. */
const SETTLE_MS = 5_000;

export interface Memory {
  readonly rssKb: number;
  readonly pssKb: number;
}

export function memoryOf(pid: number): Memory {
  const text = readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8');
  const field = (name: string): number => Number(new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(text)?.[1] ?? Number.NaN);
  return {rssKb: field('Rss'), pssKb: field('Pss')};
}

export async function measureMemory(lab: Lab, report: Report): Promise<void> {
  const child = spawn(NODE, [join(ROOT, 'dist', 'e2e', 'bench', 'memory-baseline.js')], {stdio: ['pipe', 'pipe', 'inherit']});
  try {
    await once(child.stdout, 'data');
    await pause(SETTLE_MS);
    const baseline = memoryOf(pidOf(child.pid, 'the baseline'));
    const agents = NODES.map((node) => memoryOf(pidOf(lab.stentor.agent(node.name)?.pid, node.name)));
    const operator = memoryOf(pidOf(lab.stentor.operator?.pid, 'the operator'));
    const largest = Math.max(...agents.map((agent) => agent.rssKb));
    const text = (memory: Memory): string => `${megabytes(memory.rssKb)} (PSS ${megabytes(memory.pssKb)})`;
    const row = (name: string, rssKb: number, subject: string, goalKb: number): void => report.add({
      name, subject, baseline: `${text(baseline)} Node + grpc-js + addon`, result: `+ ${megabytes(rssKb - baseline.rssKb)}`, goal: `≤ + ${megabytes(goalKb)}`,
      reached: rssKb - baseline.rssKb <= goalKb,
    });
    row('agent RSS, the largest of four', largest, `${megabytes(largest)} (PSS ${megabytes(median(agents.map((agent) => agent.pssKb)))})`, AGENT_GOAL_KB);
    row('operator RSS', operator.rssKb, text(operator), OPERATOR_GOAL_KB);
    report.check({
      name: 'the memory of all six processes was read', ok: [baseline, operator, ...agents].every((memory) => memory.rssKb > 10_000 && memory.pssKb > 1_000),
      value: `agents ${agents.map((agent) => megabytes(agent.rssKb)).join(', ')}`,
    });
  } finally {
    child.kill('SIGKILL');
  }
}

function pidOf(pid: number | undefined, who: string): number {
  if (pid === undefined) throw new Error(`${who} does not run`);
  return pid;
}
