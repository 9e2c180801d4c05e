import {describe, expect, test} from '@jest/globals';
import fc from 'fast-check';
import {difference} from './delta.js';

const same = (a: number, b: number): boolean => a === b;

describe('difference', () => {
  test.each([
    {name: 'nothing to nothing', desired: [], actual: [], upserts: [], removes: []},
    {name: 'new', desired: [['a', 1]], actual: [], upserts: [['a', 1]], removes: []},
    {name: 'changed and gone', desired: [['a', 2]], actual: [['a', 1], ['b', 1]], upserts: [['a', 2]], removes: ['b']},
    {name: 'equal', desired: [['a', 1]], actual: [['a', 1]], upserts: [], removes: []},
    {name: 'renamed', desired: [['b', 1]], actual: [['a', 1]], upserts: [['b', 1]], removes: ['a']},
  ] as const)('$name', ({desired, actual, upserts, removes}) => {
    expect(difference<string, number>(new Map(desired), new Map(actual), same)).toEqual({upserts, removes});
  });

  test('applied to the actual it gives the desired', () => {
    const content = fc.dictionary(fc.constantFrom('a', 'b', 'c', 'd', 'e'), fc.nat(2)).map((record) => new Map(Object.entries(record)));
    fc.assert(fc.property(content, content, (desired, actual) => {
      const {upserts, removes} = difference(desired, actual, same);
      const next = new Map(actual);
      for (const [key, value] of upserts) next.set(key, value);
      for (const key of removes) next.delete(key);
      expect(Object.fromEntries(next)).toEqual(Object.fromEntries(desired));
      expect(removes.some((key) => desired.has(key))).toBe(false);
    }));
  });
});
