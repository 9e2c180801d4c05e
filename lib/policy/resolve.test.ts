import {describe, expect, test} from '@jest/globals';

import type {Origin, Rule} from '../domain/policy.js';
import {resolveSubject} from './resolve.js';

const OPTIONS = {mode: 'default', allowLocalhost: true} as const;

function origin(name: string, ruleIndex = 0): Origin {
  return {kind: 'CiliumNetworkPolicy', namespace: 'default', name, uid: name, ruleIndex};
}

function rule(name: string, over: Partial<Rule>): Rule {
  return {origin: origin(name), subject: {requirements: []}, direction: 'ingress', deny: false, defaultDeny: true, peers: [{kind: 'all'}], ports: null, ...over};
}

describe('isolatedBy', () => {
  test('names the rules that turn on default deny, by direction, in one order whatever the input', () => {
    const rules = [rule('b', {}), rule('a', {}), rule('out', {direction: 'egress'}), rule('open', {defaultDeny: false})];
    const expected = {ingress: [origin('a'), origin('b')], egress: [origin('out')]};
    expect(resolveSubject(rules, OPTIONS).isolatedBy).toEqual(expected);
    expect(resolveSubject(rules.toReversed(), OPTIONS).isolatedBy).toEqual(expected);
  });

  test('is absent where no rule isolates', () => {
    expect(resolveSubject([rule('open', {defaultDeny: false})], OPTIONS).isolatedBy).toBeUndefined();
    expect(resolveSubject([], OPTIONS)).not.toHaveProperty('isolatedBy');
  });
});
