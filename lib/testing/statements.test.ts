// Every listed statement has the cases that it names.

import {readFileSync} from 'node:fs';
import {join} from 'node:path';
import {expect, test} from '@jest/globals';

import {STATEMENTS, STATEMENT_FILES} from './statements.js';

const ROOT = join(import.meta.dirname, '../../..');
const sources = new Map(STATEMENT_FILES.map((file) => [file, readFileSync(join(ROOT, file), 'utf8')]));

test('ids are given once', () => {
  expect(new Set(STATEMENTS.map(({id}) => id)).size).toBe(STATEMENTS.length);
});

test.each(STATEMENTS.map((one) => [one.id, one.says, one] as const))('%s %s', (_id, _says, {shownBy}) => {
  expect(shownBy.length).toBeGreaterThan(0);
  const missing = shownBy.filter(([file, title]) => ![`'${title}'`, `\`${title}\``, `${title}: `].some((text) => sources.get(file)?.includes(text) === true));
  expect(missing).toEqual([]);
});
