// What runs on nodes is built to the same bytes wherever the clone lies.

import {execFileSync} from 'node:child_process';
import {cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';

import {afterAll, expect, test} from '@jest/globals';

const ROOT = join(import.meta.dirname, '../..');
const SOURCES = ['Makefile', 'package.json', 'package-lock.json', 'agent/bpf', 'agent/cni/plugin', 'bpf-native/src'];
const PROGRAMS = readdirSync(join(ROOT, 'agent/bpf')).filter((name) => name.endsWith('.bpf.c')).map((name) => `build/bpf/${name.replace(/c$/, 'o')}`);
const BUILT = [...PROGRAMS, 'build/stentor.node', 'build/stentor-cni'];

const work = mkdtempSync(join(tmpdir(), 'reproducible-'));
afterAll(() => rmSync(work, {recursive: true}));

/** The files of `BUILT`, from a copy of the sources in `folder`. */
function build(folder: string): readonly Buffer[] {
  const modules = join(folder, 'node_modules');
  mkdirSync(modules, {recursive: true});
  for (const source of SOURCES) cpSync(join(ROOT, source), join(folder, source), {recursive: true});
  for (const name of readdirSync(join(ROOT, 'node_modules'))) {
    if (name.startsWith('node-linux-')) symlinkSync(join(ROOT, 'node_modules', name), join(modules, name));
  }
  // The packages are there: -o keeps make from installing them.
  execFileSync('make', ['-s', '-j2', '-o', 'node_modules/.stamp', ...BUILT], {cwd: folder, stdio: ['ignore', 'ignore', 'inherit']});
  return BUILT.map((file) => readFileSync(join(folder, file)));
}

test('two builds in different folders are the same', () => {
  const [one, other] = [build(join(work, 'one')), build(join(work, 'deeper/other'))];
  expect(PROGRAMS.length).toBeGreaterThan(2);
  expect(BUILT.filter((_, i) => one[i]?.equals(other[i] ?? Buffer.alloc(0)) !== true)).toEqual([]);
}, 120_000);
