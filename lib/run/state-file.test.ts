import {mkdtempSync, readFileSync, rmSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {afterAll, expect, test} from '@jest/globals';
import {silentLog} from './log.js';
import {LatestFile, readSealed, unseal} from './state-file.js';

const folder = mkdtempSync(join(tmpdir(), 'state-file-'));
afterAll(() => rmSync(folder, {recursive: true, force: true}));

test.each(['machine', 'process'] as const)('what was given is in the file when it is flushed, and a stream of later values is not waited for (%s)', async (survives) => {
  const path = join(folder, survives);
  const file = new LatestFile({path, survives}, {log: silentLog});
  let more = true;
  let later = 0;
  const again = (): string => {
    // Each value asks for another one while it is written.
    if (more) file.write(() => again());
    return JSON.stringify({later: ++later});
  };
  file.write(() => JSON.stringify('first'));
  expect(await file.flushed()).toBe(true);
  expect(unseal(readFileSync(path, 'utf8'))).toBe('"first"');
  file.write(again);
  expect(await file.flushed()).toBe(true);
  expect(later).toBeGreaterThan(0);
  more = false;
  await file.flushed();
  expect(await readSealed(path, silentLog)).toEqual({later});
});
