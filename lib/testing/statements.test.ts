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
