// Tables, counted sets and prefix match against plain models of them.
import {describe, expect, test} from '@jest/globals';
import fc from 'fast-check';
import {Table} from './table.js';
import {RefCount} from './refcount.js';
import {PrefixTrie} from './trie.js';
import {parseAddress, parsePrefix, formatPrefix, contains, comparePrefixes, maxLength, prefixOf, type Address, type Prefix} from './ip.js';
import {invariant, InvariantError} from './invariant.js';

interface Row {
  readonly colour: string;
  readonly n: number;
}

const change = fc.tuple(fc.constantFrom('a', 'b', 'c', 'd', 'ns/e', 'ns/f'),
  fc.option(fc.record({colour: fc.constantFrom('red', 'green'), n: fc.nat(3)}), {nil: null}));

describe('Table', () => {
  test('holds what a Map would, keeps its indexes, and leaves earlier versions alone', () => {
    fc.assert(fc.property(fc.array(fc.array(change, {maxLength: 4}), {maxLength: 12}), (steps) => {
      let table = Table.empty<Row>({colour: (row) => [row.colour]});
      const model = new Map<string, Row>();
      for (const step of steps) {
        const before = table;
        const frozen = new Map(before);
        table = table.with(step);
        for (const [key, row] of step) {
          if (row === null) model.delete(key);
          else model.set(key, row);
        }
        expect(new Map(before)).toEqual(frozen);
        expect(table.size).toBe(model.size);
        expect(new Map(table)).toEqual(model);
        for (const colour of ['red', 'green']) {
          expect([...table.keysBy('colour', colour)].sort()).toEqual([...model].filter(([, row]) => row.colour === colour).map(([key]) => key).sort());
        }
      }
    }));
  });

  test('every version stays what it was, however many came after it, and can be changed again', () => {
    fc.assert(fc.property(fc.array(fc.array(change, {maxLength: 3}), {minLength: 1, maxLength: 12}), fc.array(fc.nat(), {maxLength: 6}), (steps, picks) => {
      const first = Table.empty<Row>({colour: (row) => [row.colour]});
      const versions: {table: Table<Row>; model: ReadonlyMap<string, Row>}[] = [{table: first, model: new Map()}];
      const grow = (from: number, step: readonly (readonly [string, Row | null])[]): void => {
        const base = versions[from % versions.length];
        if (base === undefined) return;
        const model = new Map(base.model);
        for (const [key, row] of step) {
          if (row === null) model.delete(key);
          else model.set(key, row);
        }
        versions.push({table: base.table.with(step), model});
      };
      for (const [i, step] of steps.entries()) grow(versions.length - 1 - (i % 5 === 4 ? 1 : 0), step);
      for (const [i, pick] of picks.entries()) grow(pick, steps[i % steps.length] ?? []);
      for (const {table, model} of versions) {
        expect(new Map(table)).toEqual(model);
        expect(table.size).toBe(model.size);
        expect([...table.indexValues('colour')].sort()).toEqual([...new Set([...model.values()].map(({colour}) => colour))].sort());
        for (const key of ['a', 'b', 'ns/f']) expect(table.get(key)).toEqual(model.get(key));
        for (const colour of ['red', 'green']) {
          expect([...table.keysBy('colour', colour)].sort()).toEqual([...model].filter(([, row]) => row.colour === colour).map(([key]) => key).sort());
        }
      }
    }));
  });

  test('the newest version knows what became of an earlier one', () => {
    fc.assert(fc.property(fc.array(fc.array(change, {maxLength: 3}), {minLength: 1, maxLength: 8}), fc.nat(), (steps, pick) => {
      const versions = [Table.empty<Row>()];
      for (const step of steps) versions.push((versions.at(-1) ?? Table.empty<Row>()).with(step));
      const at = pick % versions.length;
      const [earlier, newest] = [versions[at], versions.at(-1)];
      if (earlier === undefined || newest === undefined) return;
      const keys = newest.differing(earlier);
      const different = ['a', 'b', 'c', 'd', 'ns/e', 'ns/f'].filter((key) => earlier.get(key) !== newest.get(key));
      // A version without rows remembers nothing, so that what was before it is not known either.
      if (keys === null) expect(versions.slice(at, -1).some(({size}) => size === 0)).toBe(true);
      else expect([...keys]).toEqual(expect.arrayContaining(different));
      expect(newest.differing(Table.empty())).toBeNull();
    }));
  });

  test('a change to the same row object, or a removal of nothing, gives the same table', () => {
    const row = {colour: 'red', n: 1};
    const table = Table.empty<Row>().with([['a', row]]);
    expect(table.with([['a', row], ['b', null]])).toBe(table);
  });
});

describe('RefCount', () => {
  test('says when a key comes in and goes out, and refuses an unbalanced release', () => {
    const refs = new RefCount();
    expect([refs.acquire('x'), refs.acquire('x'), refs.release('x'), refs.release('x')]).toEqual([true, false, false, true]);
    expect(() => refs.release('x')).toThrow(InvariantError);
  });
});

describe('PrefixTrie', () => {
  const prefixes = fc.uniqueArray(fc.tuple(fc.constantFrom('10.0.0.0', '10.128.0.0', '10.128.4.0', 'fd00::', 'fd00:1::'), fc.integer({min: 0, max: 32})), {maxLength: 12})
    .map((pairs) => pairs.map(([address, length]) => prefix(`${address}/${length}`)));

  test('longest match, cover and containment agree with a scan', () => {
    fc.assert(fc.property(prefixes, fc.constantFrom('10.128.4.9', '10.1.2.3', 'fd00:1::7', '192.0.2.1'), (stored, probe) => {
      const trie = new PrefixTrie<string>();
      for (const item of stored) trie.set(item, formatPrefix(item));
      const wanted = address(probe);
      const host = prefixOf(wanted, maxLength(wanted.family));
      const covers = stored.filter((item) => contains(item, host)).sort(comparePrefixes).sort((a, b) => b.length - a.length);
      expect(trie.longestMatch(wanted)?.value ?? null).toBe(covers[0] === undefined ? null : formatPrefix(covers[0]));
      const outer = prefix(wanted.family === 4 ? '10.128.0.0/9' : 'fd00::/16');
      expect(new Set(trie.within(outer).map((row) => row.value))).toEqual(new Set(stored.filter((item) => contains(outer, item)).map(formatPrefix)));
    }));
  });
});

function prefix(text: string): Prefix {
  const parsed = parsePrefix(text);
  invariant(parsed !== null, 'a prefix');
  return parsed;
}

function address(text: string): Address {
  const parsed = parseAddress(text);
  invariant(parsed !== null, 'an address');
  return parsed;
}
