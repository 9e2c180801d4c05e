import {describe, expect, test} from '@jest/globals';
import {mkdtempSync, rmSync, writeFileSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {StentorError} from '../core/errors.js';
import type {OptionTable} from './config.js';
import {fatalLine, loadConfig, parseDuration} from './config.js';

const OPTIONS = {
  'config': {kind: 'string', default: '', help: 'file'},
  'node-name': {kind: 'string', default: '', help: 'name of the node', required: true},
  'mode': {kind: 'string', default: 'a', values: ['a', 'b'], help: 'mode'},
  'ct-max': {kind: 'integer', default: 10, min: 1, max: 100, help: 'entries'},
  'verbose': {kind: 'boolean', default: false, help: 'more'},
  'devices': {kind: 'list', default: [], help: 'devices'},
  'timeout': {kind: 'duration', default: '5s', minMs: 10, help: 'limit'},
} as const satisfies OptionTable;

function load(argv: readonly string[], env: Record<string, string> = {}) {
  return loadConfig({program: 'p', about: 'About p.', options: OPTIONS, argv, env});
}

async function messageOf(argv: readonly string[], env: Record<string, string> = {}): Promise<string> {
  const error: unknown = await load(argv, env).catch((thrown: unknown) => thrown);
  expect(error).toBeInstanceOf(StentorError);
  return error instanceof StentorError ? error.message : '';
}

describe('loadConfig', () => {
  test('flags win over environment, environment over file, file over default', async () => {
    const dir = mkdtempSync(join(tmpdir(), 'config-'));
    try {
      const file = join(dir, 'c.yaml');
      writeFileSync(file, 'mode: b\nct-max: 20\ntimeout: 250ms\nnode-name: from-file\n');
      const result = await load(['--config', file, '--ct-max=40', '--devices', 'eth0,eth1', '--devices=eth2'], {STENTOR_CT_MAX: '30', STENTOR_NODE_NAME: 'n1'});
      expect(result).toEqual({kind: 'config', value: {'config': file, 'node-name': 'n1', 'mode': 'b', 'ct-max': 40, 'verbose': false,
        'devices': ['eth0', 'eth1', 'eth2'], 'timeout': 250}});
      if (result.kind === 'config') expect(Object.isFrozen(result.value)).toBe(true);
    } finally {
      rmSync(dir, {recursive: true});
    }
  });

  test.each([
    ['ct-max: many', 'whole number'], ['ct-max: 1000', '1..100'], ['verbose: 3', 'true or false'], ['devices: {a: 1}', 'list'], ['mode: [a]', 'not text'], ['bogus: 1', 'unknown option'], ['[1]', 'not a table'],
  ])('a file with %s is refused', async (text, expected) => {
    const dir = mkdtempSync(join(tmpdir(), 'config-'));
    try {
      const file = join(dir, 'c.yaml');
      writeFileSync(file, `${text}\n`);
      expect(await messageOf(['--node-name=n', '--config', file])).toContain(expected);
    } finally {
      rmSync(dir, {recursive: true});
    }
  });

  test('a boolean flag needs no value and takes one', async () => {
    expect(await load(['--node-name', 'n', '--verbose'])).toMatchObject({value: {verbose: true}});
    expect(await load(['--node-name', 'n', '--verbose', 'false'])).toMatchObject({value: {verbose: false}});
  });

  test.each([
    ['--node-name', ['--node-name'], 'needs a value'],
    ['nothing', [], '--node-name (or STENTOR_NODE_NAME) is required'],
    ['an unknown one', ['--bogus', '1'], 'unknown option: --bogus'],
    ['a stray word', ['bogus'], 'unexpected argument'],
    ['a number out of range', ['--node-name=n', '--ct-max=101'], '1..100'],
    ['no number', ['--node-name=n', '--ct-max=ten'], 'whole number'],
    ['no member of the enum', ['--node-name=n', '--mode=c'], '(a, b)'],
    ['no duration', ['--node-name=n', '--timeout=soon'], 'not a duration'],
    ['a duration below the limit', ['--node-name=n', '--timeout=1ms'], '--timeout'],
    ['no boolean', ['--node-name=n', '--verbose=maybe'], 'true or false'],
  ])('%s is refused with a message that says why', async (_what, argv, expected) => {
    expect(await messageOf(argv)).toContain(expected);
  });

  test('help lists every option', async () => {
    const result = await load(['--help']);
    if (result.kind !== 'help') throw new Error('no help');
    for (const name of Object.keys(OPTIONS)) expect(result.text).toContain(`--${name}`);
  });
});

test('durations', () => {
  expect(['5s', '250ms', '2h13m20s', '3', '', '5 s', '-1s'].map(parseDuration)).toEqual([5000, 250, 8_000_000, 3000, null, null, null]);
});

test('a fatal error is one JSON line with code, message and hint', () => {
  expect(JSON.parse(fatalLine(new StentorError('CONFIG_INVALID', 'no', {hint: 'see --help'})))).toEqual({fatal: 'CONFIG_INVALID', message: 'no', hint: 'see --help'});
  expect(JSON.parse(fatalLine(new TypeError('x')))).toMatchObject({fatal: 'INTERNAL', message: 'x'});
});
