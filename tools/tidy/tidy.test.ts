// Rules that the linter cannot say, held as tests: import walls, pure folders, sizes, names of machines, licences.

import {execFileSync} from 'node:child_process';
import {readFileSync} from 'node:fs';
import {dirname, join, normalize} from 'node:path';

import {describe, expect, test} from '@jest/globals';

import {wallBroken} from './walls.js';

const ROOT = join(import.meta.dirname, '../../..');
const FILES = execFileSync('git', ['ls-files', '-co', '--exclude-standard'], {cwd: ROOT, encoding: 'utf8'}).split('\n')
  .filter((file) => file !== '' && file !== 'package-lock.json');
const TYPESCRIPT = FILES.filter((file) => file.endsWith('.ts') && !file.endsWith('.d.ts'));
const C_FILES = FILES.filter((file) => /\.[ch]$/.test(file));
const PURE = /^(lib\/(core|domain|policy|desired)|operator\/(model|compile)|agent\/(model|compile|maps))\//;

const read = (file: string): string => readFileSync(join(ROOT, file), 'utf8');
const isTest = (file: string): boolean => file.endsWith('.test.ts') || file.includes('/testing/');

/** Findings of `rule` over `files`, each as `file: what`. */
function findings(files: readonly string[], rule: (text: string, file: string) => readonly string[]): string[] {
  return files.flatMap((file) => rule(read(file), file).map((what) => `${file}: ${what}`));
}

function importsOf(text: string, file: string): string[] {
  const targets: string[] = [];
  for (const match of text.matchAll(/^(?:import|export)\b[^'"`;]*?\bfrom '([^']+)'|^import '([^']+)'|\bimport\('([^']+)'\)/gm)) {
    const target = match[1] ?? match[2] ?? match[3] ?? '';
    targets.push(target.startsWith('.') ? normalize(join(dirname(file), target)).replace(/\.js$/, '') : target);
  }
  return targets;
}

/** Comments and string contents blanked, so that words in them do not count. */
function codeOnly(text: string): string {
  return text.replace(/\/\*[\s\S]*?\*\//g, '').replace(/(^|[^:'"`])\/\/.*$/gm, '$1').replace(/'(?:[^'\\\n]|\\.)*'/g, "''");
}

describe('tidy', () => {
  test('the tree was found', () => {
    expect(TYPESCRIPT.length).toBeGreaterThan(20);
    expect(C_FILES.length).toBeGreaterThan(3);
  });

  test('import walls hold', () => {
    expect(findings(TYPESCRIPT, (text, file) => importsOf(text, file)
      .map((target) => ({target, why: wallBroken(file, target)}))
      .filter(({why}) => why !== null).map(({target, why}) => `imports ${target}: ${why ?? ''}`))).toEqual([]);
  });

  test('the wall check can fail', () => {
    expect(wallBroken('lib/core/x.ts', 'node:fs')).not.toBeNull();
    expect(wallBroken('operator/compile/x.ts', 'operator/watch/reflector')).not.toBeNull();
    expect(wallBroken('agent/wire.ts', 'operator/wire')).not.toBeNull();
    expect(wallBroken('lib/policy/entries.ts', 'lib/core/ip')).toBeNull();
  });

  test('nobody imports a test file', () => {
    expect(findings(TYPESCRIPT.filter((file) => !isTest(file)), (text, file) =>
      importsOf(text, file).filter((target) => target.endsWith('.test')))).toEqual([]);
  });

  test('pure folders have no clock, timer, environment, async or module state', () => {
    const banned = /\b(Date\.now|new Date\(\)|setTimeout|setInterval|process\.env|Math\.random|console\.|async |await )/g;
    expect(findings(TYPESCRIPT.filter((file) => PURE.test(file) && !isTest(file)), (text) => {
      const code = codeOnly(text);
      return [...(code.match(banned) ?? []), ...(code.match(/^(export )?let .*/gm) ?? [])];
    })).toEqual([]);
  });

  test('the environment is read only in config files', () => {
    const allowed = /(^|\/)config\.ts$|^e2e\/|^tools\/|\.test\.ts$|^cli\//;
    expect(findings(TYPESCRIPT.filter((file) => !allowed.test(file)), (text) => codeOnly(text).match(/process\.env\b/g) ?? [])).toEqual([]);
  });

  test('no file is longer than 500 lines, C headers 600', () => {
    expect(findings([...TYPESCRIPT, ...C_FILES], (text, file) => {
      const lines = text.split('\n').length - 1;
      const limit = file.endsWith('.h') ? 600 : 500;
      return lines > limit ? [`${lines} lines`] : [];
    })).toEqual([]);
  });

  test('every source file says what it is for', () => {
    expect(findings(TYPESCRIPT.filter((file) => !isTest(file)), (text) => (/^(#!.*\n)?(\/\/|\/\*)/.test(text) ? [] : ['no head comment']))).toEqual([]);
  });

  test('C files carry a licence', () => {
    expect(findings(C_FILES.filter((file) => file.startsWith('agent/bpf/')), (text) =>
      (text.slice(0, 200).includes('SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause') ? [] : ['no SPDX line']))).toEqual([]);
  });

  test('no paths of one machine, no unfinished work', () => {
    const text = FILES.filter((file) => !file.startsWith('tools/tidy/') && !/\.(png|svg)$/.test(file));
    expect(findings(text, (content) => [
      ...(content.match(/(^|[\s"'`=(])\/(work|home\/[a-z]+|root)\/[^\s]*/gm) ?? []),
      ...(content.match(/\b(TODO(?!\(#\d+\))|FIXME|XXX)\b/g) ?? []),
    ])).toEqual([]);
  });

  test('nothing generated or built is tracked', () => {
    expect(FILES.filter((file) => /(^|\/)(dist|build|node_modules)\/|^proto\/gen\/|\.(o|node|so)$/.test(file))).toEqual([]);
  });

  test('no test is skipped or focused', () => {
    expect(findings(TYPESCRIPT.filter((file) => file.endsWith('.test.ts') && !file.startsWith('tools/tidy/')), (text) =>
      text.match(/\b(test|it|describe)\.(skip|only|todo|failing)\b|\bx(it|describe|test)\(/g) ?? [])).toEqual([]);
  });

  test('the lock file names no registry', () => {
    expect(read('package-lock.json')).not.toMatch(/"resolved"/);
  });
});
