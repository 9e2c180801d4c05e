// The matrix in its formats, for 200 pods too; completion scripts; start-up.

import {spawnSync} from 'node:child_process';
import {mkdtempSync, rmSync, writeFileSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {afterAll, describe, expect, test} from '@jest/globals';
import {coloursOf} from './colours.js';
import type {Matrix} from './matrix-data.js';
import {matrixText} from './matrix.js';
import {POLICY_VERBS} from './verbs.js';
import {cpuSeconds, SHOP, stentorctl} from './testing/run.js';

const folder = mkdtempSync(join(tmpdir(), 'policy-matrix-'));
afterAll(() => rmSync(folder, {recursive: true, force: true}));

describe('matrix', () => {
  test('cells say who reaches whom', () => {
    const {parties, reaches, cells} = JSON.parse(stentorctl(['policy', 'matrix', SHOP, '-o', 'json']).out) as Matrix;
    const at = (from: string, to: string): string | undefined => {
      const [y, x] = [from, to].map((name) => parties.findIndex((party) => party.name === name));
      return reaches[cells[y ?? -1]?.[x ?? -1] ?? -1];
    };
    expect([at('shop/frontend', 'shop/api'), at('shop/api', 'shop/db'), at('shop/db', 'shop/api'), at('world', 'shop/frontend'), at('host', 'shop/db'), at('world', 'host')])
      .toEqual(['8080/TCP', '5432/TCP', 'none', 'all', 'all', undefined]);
  });

  test('200 pods: a picture that needs nothing else, with a label for each row and column', () => {
    const pods = Array.from({length: 200}, (_, i) => ({apiVersion: 'v1', kind: 'Pod', metadata: {name: `p${i}`, namespace: `ns${i % 10}`, labels: {app: `<a${i}>`.replaceAll(/[<>]/g, '')}}, spec: {}}));
    const policies = Array.from({length: 10}, (_, i) => ({
      apiVersion: 'cilium.io/v2', kind: 'CiliumNetworkPolicy', metadata: {name: 'own', namespace: `ns${i}`}, spec: {endpointSelector: {}, ingress: [{fromEndpoints: [{}]}]},
    }));
    const file = join(folder, 'cluster.json');
    writeFileSync(file, JSON.stringify({apiVersion: 'v1', kind: 'List', items: [...pods, ...policies]}));
    const html = stentorctl(['policy', 'matrix', file, '-o', 'html']).out;
    expect(html).toMatch(/^<!doctype html>/);
    expect(html.replaceAll('http://www.w3.org/2000/svg', '')).not.toMatch(/https?:|src=|<link|@import/);
    const svg = stentorctl(['policy', 'matrix', file, '-o', 'svg', '--by-pod']).out;
    expect(svg.match(/<text x=[^>]*text-anchor="end">/g)).toHaveLength(204);
    expect(svg.length).toBeLessThan(300_000);
    const [, size] = /<text transform[^>]*>/.exec(svg) === null ? [] : /font-size="(\d+)"/.exec(svg) ?? [];
    expect(Number(size)).toBeGreaterThanOrEqual(8);
    expect(JSON.parse(/const data = (.*);\n/.exec(html)?.[1] ?? '{}')).toMatchObject({reaches: expect.arrayContaining(['none', 'all']) as unknown});
  });
});

test('a table that is wider than the terminal comes in parts, each with every row', () => {
  const parties = Array.from({length: 40}, (_, i) => ({name: `p${i}`, namespace: 'n', label: `n: app=a${i}`, pods: [`n/p${i}`]}));
  const matrix: Matrix = {parties, reaches: ['none', 'all', '80/TCP'], cells: parties.map((_row, y) => parties.map((_column, x) => (x === y ? 2 : (x + y) % 2)))};
  const plain = coloursOf({width: null}, {});
  const [whole, parts] = [matrixText(matrix, plain, null), matrixText(matrix, plain, 60)];
  expect(parts.split('\n').every(({length}) => length <= 60)).toBe(true);
  const rowsOf = (text: string, row: number): string => text.split('\n').filter((line) => line.startsWith(`${String(row).padStart(2)}  n:`)).map((line) => line.slice(16)).join(' ').replaceAll(/ +/g, ' ').trim();
  for (const row of [1, 20, 40]) expect(rowsOf(parts, row)).toBe(rowsOf(whole, row));
  expect(parts.match(/^ 1 {2}n:/gm)).toHaveLength(2);
});

describe('for people', () => {
  test('colour on a terminal only, and not with NO_COLOR', () => {
    expect(coloursOf({width: 80}, {}).bad('x')).toBe('\u001b[31mx\u001b[39m');
    expect(coloursOf({width: null}, {}).bad('x')).toBe('x');
    expect(coloursOf({width: 80}, {NO_COLOR: '1'}).bad('x')).toBe('x');
  });

  test('every verb has help with examples', () => {
    for (const {path} of POLICY_VERBS) {
      const {out, code} = stentorctl([...path.split(' '), '--help']);
      expect(code).toBe(0);
      expect(out).toMatch(/Examples:\n {2}\S/);
    }
  });

  test('bash completes verbs, options, formats', () => {
    const script = join(folder, 'completion.bash');
    writeFileSync(script, stentorctl(['completion', 'bash']).out);
    const complete = (...words: readonly string[]): string[] => {
      const ask = `source ${script}; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _stentorctl; printf '%s\\n' "\${COMPREPLY[@]}"`;
      return spawnSync('bash', ['-c', ask, 'bash', 'stentorctl', ...words], {encoding: 'utf8', cwd: folder}).stdout.trim().split('\n');
    };
    expect(complete('policy', 'ex')).toEqual(['explain']);
    expect(complete('policy', 'validate', '-o', 's')).toEqual(['sarif']);
    expect(complete('policy', 'verdict', '-o', 's')).toEqual(['']);
    expect(complete('policy', 'verdict', '--fl')).toEqual(['--flows']);
    expect(complete('policy', 'compile', '--input', 'compl')).toEqual(['completion.bash']);
    for (const shell of ['zsh', 'fish']) expect(stentorctl(['completion', shell]).out).toContain('policy');
    expect(stentorctl(['completion', 'tcsh']).code).toBe(2);
  });

  test('start-up costs less than 0.3 s of CPU', () => {
    const seconds = Math.min(...[1, 2, 3].map(() => cpuSeconds(['policy', 'show', 'shop/api', '--input', SHOP])));
    console.info(`policy show: ${seconds} s of CPU`);
    expect(seconds).toBeLessThan(0.3);
  });
});
