// Ends a run and proves that nothing of it is left: processes, namespaces, links, pins, cgroups, routes. Works from the records alone, also after a crash.

import {existsSync, readFileSync, readdirSync, rmdirSync, rmSync, statSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {killAllIn, pidsIn} from './netns.js';
import type {RunDirectory} from './run-dir.js';
import {must, pause, run as runCommand} from './shell.js';

/** In this order: processes, namespaces (their links and routes go with them), pins, cgroups, folders; the run's own folder last. */
export async function cleanUp(run: RunDirectory): Promise<readonly string[]> {
  const namespaces = recorded(run, 'namespaces');
  for (const name of namespaces) await killAllIn(`/run/netns/${name}`);
  await killRecorded(run);
  for (const name of namespaces) if (existsSync(`/run/netns/${name}`)) await runCommand(['ip', 'netns', 'delete', name]);
  rmSync(run.bpfRoot, {recursive: true, force: true});
  removeCgroup(run.cgroupRoot);
  for (const folder of recorded(run, 'folders')) rmSync(folder, {recursive: true, force: true});
  const left = await leftovers(run);
  if (left.length === 0) run.remove();
  return left;
}

/** Copies the logs of a run to a folder that outlives it. */
export async function keepLogs(run: RunDirectory): Promise<string> {
  const copy = join(tmpdir(), `stentor-lab-logs-${run.prefix}`);
  await must(['cp', '-rT', run.folder('logs'), copy]);
  return copy;
}

/** One line per thing that still exists; empty = clean. */
export async function leftovers(run: RunDirectory): Promise<readonly string[]> {
  const left: string[] = [];
  for (const name of readdirSync('/run/netns', {withFileTypes: true}).map((entry) => entry.name)) {
    if (name.startsWith(`${run.prefix}-`)) left.push(`namespace ${name}, ${pidsIn(`/run/netns/${name}`).length} processes in it`);
  }
  left.push(...recordedPids(run).filter((item) => item.pid !== process.pid && isSameProcess(item)).map((item) => `process ${item.pid} ${item.name}`));
  if (existsSync(run.bpfRoot)) left.push(`pins under ${run.bpfRoot}`);
  if (existsSync(run.cgroupRoot)) left.push(`cgroup ${run.cgroupRoot}`);
  for (const folder of recorded(run, 'folders')) if (existsSync(folder)) left.push(`folder ${folder}`);
  const before = new Set(recorded(run, 'links-before'));
  left.push(...(await linksHere()).filter((name) => !before.has(name) && /^(cilium_|lxc)/.test(name)).map((name) => `link ${name} in the machine's own namespace`));
  const routesBefore = new Set(recorded(run, 'routes-before'));
  left.push(...(await ourRoutesHere()).filter((line) => !routesBefore.has(line)).map((line) => `route ${line} in the machine's own namespace`));
  return left;
}

/** What the machine's own namespace holds before the run: only what comes on top is ours. */
export async function recordMachine(run: RunDirectory): Promise<void> {
  for (const name of await linksHere()) run.append('links-before', name);
  for (const line of await ourRoutesHere()) run.append('routes-before', line);
}

async function linksHere(): Promise<readonly string[]> {
  const links = JSON.parse(await must(['ip', '-j', 'link'])) as readonly {readonly ifname: string}[];
  return links.map((link) => link.ifname);
}

async function ourRoutesHere(): Promise<readonly string[]> {
  return (await must(['ip', 'route', 'show', 'proto', '78'])).split('\n').filter((line) => line !== '');
}

export interface RecordedProcess {
  readonly pid: number;
  /** Of /proc/PID/stat: tells the process from a later one with the same number. */
  readonly startTime: string;
  readonly name: string;
}

export function recordProcess(run: RunDirectory, pid: number, name: string): void {
  const item: RecordedProcess = {pid, startTime: startTimeOf(pid) ?? '', name};
  run.append('processes', JSON.stringify(item));
}

function recordedPids(run: RunDirectory): readonly RecordedProcess[] {
  return recorded(run, 'processes').map((line) => JSON.parse(line) as RecordedProcess);
}

async function killRecorded(run: RunDirectory): Promise<void> {
  const alive = recordedPids(run).filter((item) => item.pid !== process.pid && isSameProcess(item));
  for (const item of alive) {
    try {
      process.kill(item.pid, 'SIGKILL');
    } catch {
      // It ended by itself.
    }
  }
  for (let round = 0; round < 100 && alive.some(isSameProcess); round++) await pause(20);
}

function isSameProcess(item: RecordedProcess): boolean {
  return item.startTime !== '' && startTimeOf(item.pid) === item.startTime;
}

/** Null when there is no such process, or only its zombie. */
function startTimeOf(pid: number): string | null {
  try {
    const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').replace(/^.*\) /, '').split(' ');
    return fields[0] === 'Z' ? null : (fields[19] ?? null);
  } catch {
    return null;
  }
}

function recorded(run: RunDirectory, name: string): readonly string[] {
  const path = join(run.path, name);
  if (!existsSync(path)) return [];
  return [...new Set(readFileSync(path, 'utf8').split('\n').filter((line) => line !== ''))];
}

function removeCgroup(path: string): void {
  if (!existsSync(path)) return;
  for (const name of readdirSync(path)) if (statSync(join(path, name)).isDirectory()) removeCgroup(join(path, name));
  rmdirSync(path);
}
