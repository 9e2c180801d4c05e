// Small sets and maps are sets and maps, at every size.
import {describe, expect, test} from '@jest/globals';
import fc from 'fast-check';
import {appended, LIST_MAX, SmallCounts, SmallMap, SmallSet, without} from './small.js';

/** More keys than a list may have, so that walks cross the border both ways. */
const steps = fc.array(fc.tuple(fc.boolean(), fc.integer({min: 0, max: 2 * LIST_MAX})), {maxLength: 200});

describe('small collections', () => {
  test('a set holds what a Set holds', () => {
    fc.assert(fc.property(steps, (walk) => {
      const [small, model] = [new SmallSet<number>(), new Set<number>()];
      for (const [add, value] of walk) {
        if (add) {
          small.add(value);
          model.add(value);
        } else expect(small.delete(value)).toBe(model.delete(value));
        expect(small.size).toBe(model.size);
        expect(small.has(value)).toBe(model.has(value));
      }
      expect(new Set(small.values())).toEqual(model);
      small.clear();
      expect([small.size, ...small.values()]).toEqual([0]);
    }));
  });

  test('a map holds what a Map holds', () => {
    fc.assert(fc.property(steps, (walk) => {
      const [small, model] = [new SmallMap<number, string | null>(), new Map<number, string | null>()];
      for (const [i, [set, key]] of walk.entries()) {
        if (set) {
          small.set(key, i % 3 === 0 ? null : `v${i}`);
          model.set(key, i % 3 === 0 ? null : `v${i}`);
        } else {
          small.delete(key);
          model.delete(key);
        }
        expect(small.size).toBe(model.size);
        expect(small.get(key)).toBe(model.get(key));
      }
      expect(new Map(small.entries())).toEqual(model);
      expect(new Set(small.keys())).toEqual(new Set(model.keys()));
    }));
  });

  test('counts come in with the first holder and go out with the last', () => {
    fc.assert(fc.property(steps, fc.integer({min: 1, max: 2 * LIST_MAX}), (walk, kinds) => {
      const [small, model] = [new SmallCounts<number>(), new Map<number, number>()];
      for (const [acquire, number] of walk) {
        const value = number % kinds;
        const held = model.get(value) ?? 0;
        if (acquire) expect(small.acquire(value)).toBe(held === 0);
        else expect(small.release(value)).toBe(held === 1);
        model.set(value, Math.max(0, held + (acquire ? 1 : -1)));
        const keys = [...small.keys()];
        expect(new Set(keys)).toEqual(new Set([...model].filter(([, count]) => count > 0).map(([key]) => key)));
        expect(new Set(keys).size).toBe(keys.length);
      }
    }));
  });

  test('what is iterated over may change meanwhile', () => {
    const set = new SmallSet<number>();
    for (const value of [1, 2, 3]) set.add(value);
    const seen: number[] = [];
    for (const value of set.values()) {
      seen.push(value);
      set.delete(value);
    }
    expect(seen).toEqual([1, 2, 3]);
    expect(set.size).toBe(0);
  });

  test('lists are made anew, one longer or shorter', () => {
    fc.assert(fc.property(fc.array(fc.integer(), {maxLength: 9}), fc.integer(), (list, value) => {
      expect(appended(list, value)).toEqual([...list, value]);
      for (const at of list.keys()) expect(without(list, at)).toEqual(list.toSpliced(at, 1));
    }));
  });
});
