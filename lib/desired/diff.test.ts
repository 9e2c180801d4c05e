// Deltas take a state to another; versions name content.
import {describe, expect, test} from '@jest/globals';
import fc from 'fast-check';
import {identityId} from '../domain/identity.js';
import {applyDelta, diffStates, resource, StateDigest, stateVersion} from './diff.js';
import type {NodeState, Resource} from './node-state.js';
import {resourceId} from './node-state.js';

const item = fc.tuple(fc.integer({min: 256, max: 262}), fc.constantFrom('k8s:app=a', 'k8s:app=b'))
  .map(([id, label]) => resource('identity', String(id), {id: identityId(id), labels: [label]}));
const state = fc.array(item, {maxLength: 8}).map((items): NodeState => new Map(items.map((one) => [resourceId(one), one])));

describe('diff', () => {
  test('a delta takes its base to its target, and nothing else', () => {
    fc.assert(fc.property(state, state, state, (from, to, other) => {
      const delta = diffStates(from, to);
      expect(applyDelta(from, delta)).toEqual(to);
      if (from.size > 0 && stateVersion(other) !== stateVersion(from)) expect(applyDelta(other, delta)).toBeNull();
    }));
  });

  test('the version does not depend on the order, and the digest follows every change', () => {
    fc.assert(fc.property(state, state, (from, to) => {
      const digest = new StateDigest();
      for (const one of from.values()) digest.add(one);
      expect(digest.version()).toBe(stateVersion(new Map([...from].toReversed())));
      const steps: [Resource | undefined, Resource | undefined][] = [...new Set([...from.keys(), ...to.keys()])].map((id) => [from.get(id), to.get(id)]);
      for (const [before, after] of steps) {
        if (before !== undefined) digest.remove(before);
        if (after !== undefined) digest.add(after);
      }
      expect(digest.version()).toBe(stateVersion(to));
    }));
  });
});
