// Selectors: parsing with Cilium's source prefixes, matching, and the text that names them.

import {describe, expect, test} from '@jest/globals';
import fc from 'fast-check';

import {Labels} from './labels.js';
import {Problems} from './problem.js';
import {canonicalSelector, matches, selectorKey, selectorOfKey} from './selector.js';
import type {Operator, Selector} from './selector.js';
import {parseSelector} from './selector-parse.js';

const REF = {kind: 'K', namespace: '', name: 'n', uid: ''};

function parse(json: unknown): {selector: Selector | null; paths: string[]} {
  const problems = new Problems();
  const selector = parseSelector(json, {path: 's', defaultSource: 'any', sources: true}, problems);
  return {selector, paths: problems.rejections(REF).map(({path}) => path)};
}

function keyOf(json: unknown): string {
  const {selector} = parse(json);
  return selector === null ? 'refused' : selectorKey(selector);
}

describe('parsing', () => {
  test.each([
    [{}, '{}'],
    [{matchLabels: {app: 'web'}}, 'any:app=web'],
    [{matchLabels: {'k8s:app': 'web'}}, 'k8s:app=web'],
    [{matchLabels: {'reserved:host': ''}}, 'reserved:host='],
    [{matchLabels: {$host: ''}}, 'reserved:host='],
    [{matchLabels: {'any:app': 'web', b: ''}}, 'any:app=web,any:b='],
    [{matchExpressions: [{key: 'k8s:app', operator: 'In', values: ['b', 'a', 'b']}]}, 'k8s:app=a|b'],
    [{matchExpressions: [{key: 'app', operator: 'NotIn', values: ['a']}]}, 'any:app!=a'],
    [{matchExpressions: [{key: 'app', operator: 'Exists'}]}, 'any:app'],
    [{matchExpressions: [{key: 'app', operator: 'DoesNotExist', values: []}]}, '!any:app'],
    [{matchLabels: {'app.kubernetes.io/name': 'x'}, matchExpressions: [{key: 'z', operator: 'Exists'}]}, 'any:app.kubernetes.io/name=x,any:z'],
  ])('%j is %s', (json, key) => {
    expect(keyOf(json)).toBe(key);
  });

  test.each([
    ['text', 's'],
    [{matchLabels: ['a']}, 's.matchLabels'],
    [{matchLabels: {'-bad': 'x'}}, 's.matchLabels'],
    [{matchLabels: {':app': 'x'}}, 's.matchLabels'],
    [{matchLabels: {'!x:app': 'x'}}, 's.matchLabels'],
    [{matchLabels: {'a=b:app': 'x'}}, 's.matchLabels'],
    [{matchExpressions: [{key: '!k8s:app', operator: 'Exists'}]}, 's.matchExpressions[0].key'],
    [{matchExpressions: [{key: 'a,k8s:app', operator: 'Exists'}]}, 's.matchExpressions[0].key'],
    [{matchLabels: {app: '-x'}}, 's.matchLabels[app]'],
    [{matchLabels: {app: 1}}, 's.matchLabels[app]'],
    [{matchLabels: {app: 'x'.repeat(64)}}, 's.matchLabels[app]'],
    [{matchExpressions: {}}, 's.matchExpressions'],
    [{matchExpressions: [{operator: 'In'}]}, 's.matchExpressions[0]'],
    [{matchExpressions: [{key: 'a', operator: 'Is', values: ['x']}]}, 's.matchExpressions[0].operator'],
    [{matchExpressions: [{key: 'a', operator: 'In'}]}, 's.matchExpressions[0].values'],
    [{matchExpressions: [{key: 'a', operator: 'Exists', values: ['x']}]}, 's.matchExpressions[0].values'],
    [{matchExpressions: [{key: 'a', operator: 'In', values: ['x', '!']}]}, 's.matchExpressions[0].values[1]'],
    [{matchExpressions: [{key: 'a b', operator: 'Exists'}]}, 's.matchExpressions[0].key'],
  ])('%j is refused at %s', (json, path) => {
    expect(parse(json)).toEqual({selector: null, paths: [path]});
  });
});

describe('matching', () => {
  const labels = Labels.parse(['k8s:app=web', 'k8s:tier=front', 'reserved:host']);
  test.each([
    [{}, true],
    [{matchLabels: {app: 'web'}}, true],
    [{matchLabels: {'k8s:app': 'web'}}, true],
    [{matchLabels: {'reserved:app': 'web'}}, false],
    [{matchLabels: {app: 'web', tier: 'back'}}, false],
    [{matchExpressions: [{key: 'tier', operator: 'In', values: ['back', 'front']}]}, true],
    [{matchExpressions: [{key: 'tier', operator: 'NotIn', values: ['back']}]}, true],
    [{matchExpressions: [{key: 'tier', operator: 'NotIn', values: ['front']}]}, false],
    [{matchExpressions: [{key: 'absent', operator: 'NotIn', values: ['x']}]}, true],
    [{matchExpressions: [{key: 'absent', operator: 'DoesNotExist'}]}, true],
    [{matchExpressions: [{key: 'absent', operator: 'Exists'}]}, false],
    [{matchExpressions: [{key: 'reserved:host', operator: 'Exists'}]}, true],
  ])('%j: %s', (json, expected) => {
    const {selector} = parse(json);
    expect(selector !== null && matches(selector, labels)).toBe(expected);
  });
});

test('the text names the selector: there and back, in whatever order it was written', () => {
  const requirement = fc.record({
    source: fc.constantFrom('any', 'k8s', 'reserved'),
    key: fc.constantFrom('app', 'io.kubernetes.pod.namespace', 'a.b/c-d_e'),
    operator: fc.constantFrom<Operator>('In', 'NotIn', 'Exists', 'DoesNotExist'),
    values: fc.array(fc.constantFrom('', 'a', 'b-1', 'C.d_e'), {minLength: 1, maxLength: 3}),
  }).map((item) => (item.operator === 'In' || item.operator === 'NotIn' ? item : {...item, values: []}));
  fc.assert(fc.property(fc.array(requirement, {maxLength: 4}), (requirements) => {
    const selector = canonicalSelector(requirements);
    const key = selectorKey(selector);
    expect(selectorOfKey(key)).toEqual(selector);
    expect(selectorKey({requirements: requirements.toReversed()})).toBe(key);
  }));
});
