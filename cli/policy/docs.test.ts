// The examples of docs/policy-cli.md are run, and print what stands there.

import {spawnSync} from 'node:child_process';
import {readFileSync} from 'node:fs';
import {join} from 'node:path';
import {describe, expect, test} from '@jest/globals';
import {ROOT} from './testing/run.js';

const TEXT = readFileSync(join(ROOT, 'docs/policy-cli.md'), 'utf8');
const EXAMPLES = [...TEXT.matchAll(/```console\n\$ (.*)\n([\s\S]*?)```/g)].map(([, command = '', output = '']) => ({command, output}));

/** Identities follow from labels, so they may be printed; spaces at the ends of lines are nobody's business. */
const trimmed = (text: string): string => text.replaceAll(/ +$/gm, '');

describe('docs/policy-cli.md', () => {
  test('has examples of every verb', () => {
    const verbs = new Set(EXAMPLES.map(({command}) => /stentorctl policy (\w+)/.exec(command)?.[1]));
    for (const verb of ['validate', 'verdict', 'explain', 'test', 'diff', 'coverage', 'show', 'matrix']) expect([...verbs]).toContain(verb);
  });

  test.each(EXAMPLES)('$command', ({command, output}) => {
    const script = `stentorctl() { '${process.execPath}' '${join(ROOT, 'dist/cli/stentorctl.js')}' "$@"; }; ${command}`;
    const {stdout, stderr} = spawnSync('bash', ['-c', script], {encoding: 'utf8', cwd: ROOT});
    expect(stderr).toBe('');
    // The beginning: long answers are cut short in the text.
    const wanted = trimmed(output).replace(/\n$/, '');
    expect(trimmed(stdout).slice(0, wanted.length)).toBe(wanted);
  });
});
