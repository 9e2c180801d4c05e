// Every listed statement has a file, and that file ends with the test that fails when one of its statements had no case.

import {readFileSync} from 'node:fs';
import {join} from 'node:path';
import {expect, test} from '@jest/globals';

import {STATEMENTS} from './statements.js';

const ROOT = join(import.meta.dirname, '../../..');

test('ids are given once', () => {
  expect(new Set(STATEMENTS.map(({id}) => id)).size).toBe(STATEMENTS.length);
});

test.each([...new Set(STATEMENTS.map(({file}) => file))])('%s accounts for its statements', (file) => {
  const text = readFileSync(join(ROOT, file), 'utf8');
  expect(text.includes(`new StatementCases('${file}')`)).toBe(true);
  expect(text.trimEnd().split('\n').at(-1)).toBe('cases.complete();');
});

test('each difference from Cilium names the statement that shows it', () => {
  const [, table = ''] = readFileSync(join(ROOT, 'docs/compatibility.md'), 'utf8').split('| --- | --- | --- | --- |\n');
  const rows = table.slice(0, table.indexOf('\n\n')).split('\n').map((row) => row.split('|').map((cell) => cell.trim()));
  const known = new Set(STATEMENTS.map(({id}) => id));
  expect(rows.length).toBeGreaterThan(15);
  expect(rows.filter((cells) => !known.has(cells.at(-2) ?? ''))).toEqual([]);
});
