// The whole demo, as `make demo` and `make demo API=files` run it: every line green, and only the named lines are not in the folder mode.

import {describe, expect, test} from '@jest/globals';
import {runDemo} from '../demo/demo.js';
import {Output} from '../demo/output.js';
import {Lab} from '../harness/lab.js';
import {RunDirectory} from '../harness/run-dir.js';

const MINUTE = 60_000;

describe.each([
  {api: 'real' as const, notInThisMode: []},
  {api: 'files' as const, notInThisMode: ['rule1: kubectl apply → Enforced=True', 'cidr-rule: kubectl apply → Enforced=True', 'API server stopped for 30 s']},
])('API=$api', ({api, notInThisMode}) => {
  test('every line is green, and nothing is left', async () => {
    const output = new Output({colour: false}, {write: () => undefined});
    const lab = await Lab.start({api, leaf: 'bird', routingMode: 'native'}, RunDirectory.create(api === 'real' ? 'd' : 'e'), () => undefined);
    try {
      await runDemo(lab, output);
    } finally {
      expect(await lab.stop()).toEqual([]);
    }
    expect(output.lines.filter((line) => line.verdict === 'FAIL')).toEqual([]);
    expect(output.lines.filter((line) => line.verdict === 'not in this mode').map((line) => line.name)).toEqual(notInThisMode);
    expect(output.lines.length).toBeGreaterThan(25);
  }, 10 * MINUTE);
});
