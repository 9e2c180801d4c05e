// One process at a time: a file that names its owner. An owner that is gone does not count.

import {link, mkdir, readFile, rename, rm, writeFile} from 'node:fs/promises';
import {dirname} from 'node:path';
import {StentorError} from '../core/errors.js';

interface Owner {
  readonly pid: number;
  /** Of the process, in ticks since boot: a pid may be used again. */
  readonly startTicks: string;
}

/** Throws `LOCKED` when a living process has it. The file stays when this process is killed: the next one sees that it is gone. */
export async function acquireLock(path: string): Promise<{release(): Promise<void>}> {
  await mkdir(dirname(path), {recursive: true, mode: 0o700});
  const {pid, startTicks} = await ownerOf(process.pid);
  const text = JSON.stringify({pid, startTicks});
  const mine = `${path}.${process.pid}`;
  await writeFile(mine, text, {mode: 0o600});
  try {
    // A link either makes the name or fails: no two processes get it.
    while (!(await linked(mine, path))) await setStaleAside(path);
  } finally {
    await rm(mine, {force: true});
  }
  return {
    release: async () => {
      if ((await readFile(path, 'utf8').catch(() => '')) === text) await rm(path, {force: true});
    },
  };
}

async function linked(from: string, to: string): Promise<boolean> {
  try {
    await link(from, to);
    return true;
  } catch (error) {
    if ((error as {code?: unknown}).code === 'EEXIST') return false;
    throw error;
  }
}

/** Takes the file away when its owner is gone; puts it back when it was another one by then. */
async function setStaleAside(path: string): Promise<void> {
  await refuseLiving(path, await readFile(path, 'utf8').catch(() => ''));
  const aside = `${path}.stale.${process.pid}`;
  await rename(path, aside).catch(() => undefined);
  const moved = await readFile(aside, 'utf8').catch(() => '');
  try {
    await refuseLiving(path, moved);
  } catch (error) {
    await linked(aside, path);
    throw error;
  } finally {
    await rm(aside, {force: true});
  }
}

async function refuseLiving(path: string, text: string): Promise<void> {
  const owner = parseOwner(text);
  if (owner === null) return;
  const now = await ownerOf(owner.pid).catch(() => null);
  if (now === null || now.startTicks !== owner.startTicks || !now.alive) return;
  throw new StentorError('LOCKED', `another process works here: ${path}`, {path, pid: owner.pid, hint: 'end the other one, or give this one its own --state-dir and --bpf-root'});
}

function parseOwner(text: string): Owner | null {
  try {
    const {pid, startTicks} = JSON.parse(text) as {pid?: unknown; startTicks?: unknown};
    return typeof pid === 'number' && typeof startTicks === 'string' ? {pid, startTicks} : null;
  } catch {
    return null;
  }
}

/** Fields 3 and 22 of /proc/PID/stat; the name in field 2 may hold spaces. A zombie that nobody waits for is not alive. */
async function ownerOf(pid: number): Promise<Owner & {readonly alive: boolean}> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return {pid, startTicks: fields[19] ?? '', alive: fields[0] !== 'Z' && fields[0] !== 'X'};
}
