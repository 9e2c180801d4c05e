// agent/bpf/lib/drop.h and lib/domain/drop-reasons.ts hold the same codes, texts and file numbers.

import {existsSync, readFileSync} from 'node:fs';
import {join} from 'node:path';

import {describe, expect, test} from '@jest/globals';

import {DROP_REASONS, dropReasonText, SOURCE_FILES} from '../../lib/domain/drop-reasons.js';

const BPF = join(import.meta.dirname, '../../../agent/bpf');
const HEADER = readFileSync(join(BPF, 'lib/drop.h'), 'utf8');

describe('drop reasons', () => {
  test('drop.h and the table are the same', () => {
    const defined = [...HEADER.matchAll(/^#define (DROP_\w+) -(\d+) \/\* (.+) \*\/$/gm)];
    expect(defined.length).toBeGreaterThan(30);
    expect(defined.length).toBe([...HEADER.matchAll(/^#define DROP_\w+ -/gm)].length);
    expect(new Map(defined.map(([, , code, text]) => [Number(code), text]))).toEqual(new Map(DROP_REASONS));
  });

  test('no code is used twice', () => {
    const codes = [...HEADER.matchAll(/^#define DROP_\w+ -(\d+)/gm)].map(([, code]) => code);
    expect(new Set(codes).size).toBe(codes.length);
  });

  test('every file number names a file that exists', () => {
    const files = [...HEADER.matchAll(/^#define FILE_(\w+) (\d+)$/gm)].map(([, name = '', number]) => [Number(number), name] as const);
    expect(files.map(([number]) => number)).toEqual([...SOURCE_FILES.keys()]);
    for (const [number, name] of files) {
      const file = SOURCE_FILES.get(number) ?? '';
      expect(file.replace(/(\.bpf)?\.[ch]$/, '').toUpperCase()).toBe(name);
      expect(existsSync(join(BPF, file.endsWith('.h') ? 'lib' : '.', file))).toBe(true);
    }
  });

  test('texts', () => {
    expect(dropReasonText(133)).toBe('Policy denied');
    expect(dropReasonText(0)).toBe('Success');
    expect(dropReasonText(250)).toBe('reason 250');
  });
});
