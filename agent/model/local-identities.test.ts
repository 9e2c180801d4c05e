import {describe, expect, test} from '@jest/globals';
import {LOCAL_IDENTITY_MAX, LOCAL_IDENTITY_MIN, identityId} from '../../lib/domain/identity.js';
import {NO_LOCAL_IDENTITIES, assignLocalIdentities} from './local-identities.js';

describe('local identities', () => {
  test('start at 16777217 and follow the order of the prefixes', () => {
    const {byPrefix} = assignLocalIdentities(NO_LOCAL_IDENTITIES, ['10.96.0.0/12', '10.0.0.0/8']);
    expect([...byPrefix]).toEqual([['10.0.0.0/8', 16777217], ['10.96.0.0/12', 16777218]]);
  });

  test('a prefix keeps its number whatever comes and goes around it', () => {
    let state = assignLocalIdentities(NO_LOCAL_IDENTITIES, ['b/8', 'c/8']);
    const kept = state.byPrefix.get('c/8');
    for (const walk of [['a/8', 'b/8', 'c/8'], ['c/8'], ['c/8', 'z/8', 'a/8']]) {
      state = assignLocalIdentities(state, walk);
      expect(state.byPrefix.get('c/8')).toBe(kept);
      expect([...state.byPrefix.keys()].sort()).toEqual([...walk].sort());
      expect(new Set(state.byPrefix.values()).size).toBe(walk.length);
    }
  });

  test('a number that was given up is not the next one given out', () => {
    const first = assignLocalIdentities(NO_LOCAL_IDENTITIES, ['a/8']);
    const gone = assignLocalIdentities(first, []);
    expect(assignLocalIdentities(gone, ['b/8']).byPrefix.get('b/8')).toBe(16777218);
  });

  test('the same prefixes give the same object', () => {
    const state = assignLocalIdentities(NO_LOCAL_IDENTITIES, ['a/8']);
    expect(assignLocalIdentities(state, ['a/8'])).toBe(state);
  });

  test('the range wraps and skips what is taken', () => {
    const start = {byPrefix: new Map([['a/8', identityId(LOCAL_IDENTITY_MIN)]]), next: LOCAL_IDENTITY_MAX};
    const {byPrefix} = assignLocalIdentities(start, ['a/8', 'b/8', 'c/8']);
    expect([...byPrefix.values()]).toEqual([LOCAL_IDENTITY_MIN, LOCAL_IDENTITY_MAX, LOCAL_IDENTITY_MIN + 1]);
  });
});
