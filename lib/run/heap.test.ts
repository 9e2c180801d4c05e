// The heap settings hold while a program loads only if nothing else is imported statically by its entry.

import {readFileSync} from 'node:fs';
import {join} from 'node:path';
import {expect, test} from '@jest/globals';

const ROOT = join(import.meta.dirname, '..', '..', '..');

test.each(['agent', 'operator'])('the entry of the %s imports nothing before the heap settings', (binary) => {
  const text = readFileSync(join(ROOT, binary, 'main.ts'), 'utf8');
  expect([...text.matchAll(/^import .*'(.+)';$/gm)].map((match) => match[1])).toEqual(['../lib/run/heap.js']);
  expect(text).toMatch(/await import\('\.\/main-run\.js'\);\nprogramLoaded\(\);/);
});
