// What an index finds is all that could match, each once; and with many in one namespace it is little else.
import {describe, expect, test} from '@jest/globals';
import fc from 'fast-check';
import {Labels} from '../domain/labels.js';
import {matches, selectorOfKey} from '../domain/selector.js';
import {anchorOf, LabelIndex, SelectorIndex} from './anchors.js';

const NAMESPACE = 'k8s:io.kubernetes.pod.namespace';
const labelSet = fc.record({namespace: fc.constantFrom('', 'x', 'x', 'x', 'y'), app: fc.integer({min: 0, max: 9}), tier: fc.constantFrom('', 'a', 'b')})
  .map(({namespace, app, tier}) => Labels.parse([`k8s:app=${app}`, ...(namespace === '' ? [] : [`${NAMESPACE}=${namespace}`]), ...(tier === '' ? [] : [`k8s:tier=${tier}`])]));
const selector = fc.constantFrom(
  '{}', `${NAMESPACE}=x`, `k8s:app=3,${NAMESPACE}=x`, `k8s:app=3|4,${NAMESPACE}=x`, 'any:app=5', 'k8s:tier=a', `!k8s:tier,${NAMESPACE}=y`, `k8s:app!=3,${NAMESPACE}=x`,
  `k8s:app=3,${NAMESPACE}=x|y`, `k8s:tier=b,${NAMESPACE}=x`,
).map(selectorOfKey);

/** Some stay, some go. */
const kept = <T>(item: fc.Arbitrary<T>): fc.Arbitrary<{value: T; keep: boolean}[]> =>
  fc.array(fc.record({value: item, keep: fc.boolean()}), {maxLength: 60});

describe('indexes of labels and selectors', () => {
  test('find every match once', () => {
    fc.assert(fc.property(kept(labelSet), kept(selector), fc.boolean(), (sets, selectors, askedEarly) => {
      const byLabels = new LabelIndex<number>();
      const bySelectors = new SelectorIndex<number>();
      for (const [i, {value}] of sets.entries()) byLabels.add(value, i);
      for (const [i, {value}] of selectors.entries()) bySelectors.add(anchorOf(value), i);
      if (askedEarly) {
        for (const {value} of selectors) expect([...byLabels.candidates(anchorOf(value))].length).toBeLessThanOrEqual(sets.length);
        for (const {value} of sets) bySelectors.forEachCandidate(value, (i) => expect(i).toBeLessThan(selectors.length));
      }
      for (const [i, {value, keep}] of sets.entries()) if (!keep) byLabels.remove(value, i);
      for (const [i, {value, keep}] of selectors.entries()) if (!keep) bySelectors.remove(anchorOf(value), i);
      const left = sets.flatMap(({value, keep}, i) => (keep ? [[i, value] as const] : []));
      const leftSelectors = selectors.flatMap(({value, keep}, i) => (keep ? [[i, value] as const] : []));
      for (const {value: one} of selectors) {
        const found = [...byLabels.candidates(anchorOf(one))];
        expect(new Set(found).size).toBe(found.length);
        const all = new Set(left.map(([i]) => i));
        for (const i of found) expect(all).toContain(i);
        for (const [i, labels] of left) if (matches(one, labels)) expect(found).toContain(i);
      }
      for (const {value: labels} of sets) {
        const found: number[] = [];
        bySelectors.forEachCandidate(labels, (i) => found.push(i));
        expect(new Set(found).size).toBe(found.length);
        const all = new Set(leftSelectors.map(([i]) => i));
        for (const i of found) expect(all).toContain(i);
        for (const [i, one] of leftSelectors) if (matches(one, labels)) expect(found).toContain(i);
      }
    }));
  });

  test('many in one namespace are told apart by a label', () => {
    const byLabels = new LabelIndex<number>();
    for (let i = 0; i < 1000; i++) byLabels.add(Labels.parse([`k8s:app=${i}`, `${NAMESPACE}=x`]), i);
    expect([...byLabels.candidates(anchorOf(selectorOfKey(`k8s:app=7,${NAMESPACE}=x`)))]).toEqual([7]);
    expect([...byLabels.candidates(anchorOf(selectorOfKey('any:app=8')))]).toEqual([8]);
    const bySelectors = new SelectorIndex<number>();
    for (let i = 0; i < 1000; i++) bySelectors.add(anchorOf(selectorOfKey(`k8s:app=${i},${NAMESPACE}=x`)), i);
    const found: number[] = [];
    bySelectors.forEachCandidate(Labels.parse(['k8s:app=9', `${NAMESPACE}=x`]), (i) => found.push(i));
    expect(found).toEqual([9]);
  });
});
