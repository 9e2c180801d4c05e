import {expect, test} from '@jest/globals';
import {keepLast} from './keep-last.js';

test('makes a value anew only for other arguments, and remembers one', () => {
  let made = 0;
  const pair = keepLast((a: object, b: number) => ({a, b, made: ++made}));
  const object = {};
  const first = pair(object, 1);
  expect(pair(object, 1)).toBe(first);
  expect(pair({}, 1)).toEqual({a: {}, b: 1, made: 2});
  expect(pair(object, 1)).toEqual({...first, made: 3});
});

test('what throws is not remembered', () => {
  let fails = true;
  const one = keepLast((value: number) => {
    if (fails) throw new Error('no');
    return value;
  });
  expect(() => one(1)).toThrow('no');
  fails = false;
  expect(one(1)).toBe(1);
});
