import {describe, expect, test} from '@jest/globals';

import {best, compare, interleave, median, percentile} from './rounds.js';

describe('statistics', () => {
  test('percentiles are values that were measured', () => {
    const hundred = Array.from({length: 100}, (_, i) => 100 - i);
    expect([percentile(hundred, 0.5), percentile(hundred, 0.99), percentile(hundred, 1), percentile(hundred, 0)]).toEqual([50, 99, 100, 1]);
    expect(percentile([7], 0.99)).toBe(7);
  });

  test('medians of odd and even numbers of rounds; numbers are ordered as numbers', () => {
    expect(median([9, 100, 10])).toBe(10);
    expect(median([4, 1, 3, 2])).toBe(2);
    expect(best([30, 4, 100])).toBe(4);
  });

  test('an empty series has no median', () => {
    expect(() => median([])).toThrow('a percentile needs values');
  });

  test('a comparison is not moved by one outlier', () => {
    expect(compare([11, 12, 900, 12, 13], [10, 10, 10, 10, 10])).toEqual({rounds: 5, subject: 12, baseline: 10, ratio: 1.2, ratioOfBest: 1.1});
    expect(() => compare([1, 2], [1])).toThrow('both took the same turns');
  });
});

describe('interleave', () => {
  test('subjects take turns, in order', async () => {
    const calls: string[] = [];
    const subject = (name: string) => async (round: number): Promise<number> => {
      calls.push(`${name}${round}`);
      return calls.length;
    };
    const results = await interleave(5, {a: subject('a'), b: subject('b')});
    expect(calls).toEqual(['a0', 'b0', 'a1', 'b1', 'a2', 'b2', 'a3', 'b3', 'a4', 'b4']);
    expect(results).toEqual({a: [1, 3, 5, 7, 9], b: [2, 4, 6, 8, 10]});
  });

  test('too few rounds are refused, and an error of one subject ends the run', async () => {
    await expect(interleave(4, {a: async () => 1})).rejects.toThrow('enough rounds');
    await expect(interleave(5, {a: async () => Promise.reject(new Error('broken'))})).rejects.toThrow('broken');
  });
});
