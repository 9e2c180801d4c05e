// The probe build is the datapath: both builds of every program are the same text but for the shims of lib/actions.h.

import {execFileSync} from 'node:child_process';
import {readdirSync} from 'node:fs';
import {arch} from 'node:os';
import {join} from 'node:path';
import {describe, expect, test} from '@jest/globals';

const ROOT = join(import.meta.dirname, '../../..');
const FOLDER = 'agent/bpf';
const SHIMS = 'lib/actions.h';
const MACHINES: Readonly<Record<string, string>> = {x64: 'x86_64', arm64: 'aarch64'};
const SOURCES = readdirSync(join(ROOT, FOLDER)).filter((name) => name.endsWith('.bpf.c'));

/** Preprocessed lines by the file that they come from. Macros are replaced already: what is equal here is compiled alike. */
function linesByFile(source: string, defines: readonly string[]): ReadonlyMap<string, readonly string[]> {
  const text = execFileSync('clang-19', ['-E', '-O2', '--target=bpf', '-mcpu=v3', `-I${FOLDER}`, `-I/usr/include/${MACHINES[arch()] ?? ''}-linux-gnu`, ...defines, join(FOLDER, source)], {
    cwd: ROOT, encoding: 'utf8', maxBuffer: 64 << 20,
  });
  const files = new Map<string, string[]>();
  let file = '';
  for (const line of text.split('\n')) {
    const marker = /^# \d+ "([^"]*)"/.exec(line);
    if (marker !== null) file = marker[1] ?? '';
    else if (line.trim() !== '') files.set(file, [...files.get(file) ?? [], line]);
  }
  return files;
}

test('there are programs to compare', () => expect(SOURCES.length).toBeGreaterThanOrEqual(3));

describe.each(SOURCES)('%s', (source) => {
  const production = linesByFile(source, []);
  const probe = linesByFile(source, ['-DSTENTOR_TEST']);

  test('both builds differ in the shims, and nowhere else', () => {
    const files = [...new Set([...production.keys(), ...probe.keys()])];
    const different = files.filter((file) => JSON.stringify(production.get(file)) !== JSON.stringify(probe.get(file)) && !file.startsWith('<'));
    expect(different.map((file) => file.replace(/^.*agent\/bpf\//, ''))).toEqual([SHIMS]);
  });

  test('the shims of both builds are the same functions', () => {
    const functions = (files: ReadonlyMap<string, readonly string[]>): readonly string[] => {
      const text = [...files].find(([file]) => file.endsWith(SHIMS))?.[1].join('\n') ?? '';
      return [...text.matchAll(/^static [^;{]*?\b((?:do|now)_\w+)\(/gm)].map(([, name = '']) => name).sort();
    };
    expect(functions(production).length).toBeGreaterThan(5);
    expect(functions(probe)).toEqual(functions(production));
  });
});
