// Content hashes: equal content, equal hash, and nothing else.
import {describe, expect, test} from '@jest/globals';
import fc from 'fast-check';
import {contentHash, readChars, textLanes, valueHash} from './hash.js';
import {canonicalJson} from './order.js';

const leaf = fc.oneof(fc.constantFrom('', 'a', 'b', 'ab', '1', 'null'), fc.integer({min: -2, max: 3}), fc.constantFrom(0xffffffff, 2 ** 32, 0.5), fc.boolean(), fc.constant(null));
const {value} = fc.letrec((tie) => ({
  value: fc.oneof({depthSize: 'small'}, leaf, fc.array(tie('value'), {maxLength: 3}), fc.dictionary(fc.constantFrom('a', 'b', 'ab'), fc.oneof(tie('value'), fc.constant(undefined)))),
}));

test('text in pieces has the hash of the whole', () => {
  fc.assert(fc.property(fc.array(fc.string(), {maxLength: 4}), (pieces) => {
    const lanes = textLanes();
    for (const piece of pieces) readChars(piece, lanes);
    const hex = [lanes.a, lanes.b].map((lane) => (lane >>> 0).toString(16).padStart(8, '0')).join('');
    expect(hex).toBe(contentHash(pieces.join('')));
  }));
});

describe('valueHash', () => {
  test('tells values apart exactly as their canonical JSON does', () => {
    fc.assert(fc.property(value, value, (one, other) => {
      expect(valueHash(one) === valueHash(other)).toBe(canonicalJson(one) === canonicalJson(other));
    }), {numRuns: 2000});
  });

  test('the order of members is no content, a Map is a record, and what is undefined is not there', () => {
    expect(valueHash({a: 1, b: {c: 'x', d: []}})).toBe(valueHash({b: {d: [], c: 'x'}, a: 1, e: undefined}));
    expect(valueHash(new Map([['a', 1], ['b', 2]]))).toBe(valueHash({b: 2, a: 1}));
    expect(valueHash([1, 2])).not.toBe(valueHash([2, 1]));
    expect(valueHash({a: 'b', c: 'd'})).not.toBe(valueHash({a: 'd', c: 'b'}));
    expect(valueHash({a: {b: 1}, c: {d: 1}})).not.toBe(valueHash({a: {d: 1}, c: {b: 1}}));
  });

  test('a hundred thousand addresses have as many hashes', () => {
    const entries = Array.from({length: 100_000}, (_, i) => ({prefix: `10.${i >> 16}.${(i >> 8) & 255}.${i & 255}/32`, identity: i % 500, labels: [], tunnelEndpoint: null}));
    expect(new Set(entries.map(valueHash)).size).toBe(entries.length);
    for (const lane of [0, 8]) expect(new Set(entries.map((entry) => valueHash(entry).slice(lane, lane + 8))).size).toBeGreaterThan(99_990);
    expect(valueHash('10.0.0.1')).not.toBe(contentHash('10.0.0.1'));
  });
});
