import {expect, test} from '@jest/globals';
import {spawn} from 'node:child_process';
import {mkdtemp, readFile, readdir, rm, writeFile} from 'node:fs/promises';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {acquireLock} from './lock-file.js';

async function inFolder(body: (path: string) => Promise<void>): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'lock-'));
  try {
    await body(join(folder, 'deep', 'agent.lock'));
    expect((await readdir(join(folder, 'deep'))).filter((name) => name !== 'agent.lock')).toEqual([]);
  } finally {
    await rm(folder, {recursive: true});
  }
}

test('a living owner is named; a released lock is free', () => inFolder(async (path) => {
  const lock = await acquireLock(path);
  await expect(acquireLock(path)).rejects.toMatchObject({code: 'LOCKED', data: {pid: process.pid}});
  await lock.release();
  const again = await acquireLock(path);
  await again.release();
}));

test('an owner that is gone, a pid used again and rubbish do not count', () => inFolder(async (path) => {
  const child = spawn('true');
  await new Promise((resolve) => child.on('exit', resolve));
  await (await acquireLock(path)).release();
  for (const stale of [JSON.stringify({pid: child.pid, startTicks: '1'}), JSON.stringify({pid: process.pid, startTicks: '1'}), 'rubbish', '']) {
    await writeFile(path, stale);
    const lock = await acquireLock(path);
    expect(JSON.parse(await readFile(path, 'utf8'))).toMatchObject({pid: process.pid});
    await lock.release();
  }
}));

test('of many at once exactly one gets it, also over a stale file', () => inFolder(async (path) => {
  await (await acquireLock(path)).release();
  await writeFile(path, 'stale');
  const results = await Promise.allSettled(Array.from({length: 20}, () => acquireLock(path)));
  expect(results.filter(({status}) => status === 'fulfilled').length).toBe(1);
}));

test('a killed owner that nobody has waited for does not count', () => inFolder(async (path) => {
  // The shell leaves its child unwaited: it execs a program that knows of no child.
  const parent = spawn('sh', ['-c', 'sleep 0.01 & echo $!; exec sleep 30']);
  try {
    const pid = Number(await new Promise<string>((resolve) => parent.stdout.once('data', (data: Buffer) => resolve(data.toString()))));
    let stat = '';
    while (!stat.includes(') Z ')) stat = await readFile(`/proc/${pid}/stat`, 'utf8');
    const startTicks = stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19];
    await (await acquireLock(path)).release();
    await writeFile(path, JSON.stringify({pid, startTicks}));
    await (await acquireLock(path)).release();
  } finally {
    parent.kill('SIGKILL');
  }
}));
