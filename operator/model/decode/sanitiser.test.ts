// What Cilium's sanitiser refuses, rule by rule: refused with path and code, and nothing of it lets anybody in.

import {describe, expect, test} from '@jest/globals';

import {REFUSED, REFUSED_CLUSTERWIDE, TAKEN, TAKEN_CLUSTERWIDE} from '../../../crds/testing/refused.js';
import {StatementCases} from '../../../lib/testing/cases.js';
import {ccnp, cnp, decodePolicy} from '../../../lib/testing/builders.js';
import {decoders} from '../decoders.js';
import type {PolicyFact} from '../facts.js';

const cases = new StatementCases('operator/model/decode/sanitiser.test.ts');

describe('refused', () => {
  cases.each(REFUSED, (spec, path, code, _first) => {
    const {rules, rejections} = decodePolicy(cnp(spec));
    expect(rejections.map((rejection) => [rejection.path, rejection.code])).toContainEqual([path, code]);
    expect(rejections.every(({reason}) => reason.length > 0)).toBe(true);
    expect(rules.filter((rule) => !rule.deny && rule.peers.length > 0)).toEqual([]);
  });

  cases.each(REFUSED_CLUSTERWIDE, (spec, path, code, _first) => {
    const {rules, rejections} = decodePolicy(ccnp(spec));
    expect(rejections.map((rejection) => [rejection.path, rejection.code])).toContainEqual([path, code]);
    expect(rules.filter((rule) => !rule.deny && rule.peers.length > 0)).toEqual([]);
  });

  test('an object with neither spec nor specs', () => {
    const {rules, rejections} = decodePolicy({kind: 'CiliumNetworkPolicy', metadata: {namespace: 'default', name: 'p'}});
    expect(rules).toEqual([]);
    expect(rejections).toEqual([expect.objectContaining({path: 'spec', code: 'EmptyPolicy'})]);
  });

  test('what is only too much for one item is no fault of another', () => {
    const spec = {endpointSelector: {}, ingress: [{fromCIDR: ['10.0.0.0/8']}, {fromEntities: ['world']}]};
    expect(decodePolicy(cnp(spec)).rejections).toEqual([]);
  });
});

cases.one('2.1-04', 'invalid-policy: a refused object isolates, or is as if it were not there; either way it says so', () => {
  const object = {...cnp({endpointSelector: {}, ingress: [{fromCIDR: ['x']}], egressDeny: [{}]}), metadata: {name: 'p', namespace: 'default'}};
  const facts = (['isolate', 'ignore'] as const).map((invalidPolicy) => {
    const table = decoders({clusterName: 'default', invalidPolicy, masquerade: {namespace: 'kube-system', name: 'ip-masq-agent'}});
    return table.CiliumNetworkPolicy.decode({kind: 'CiliumNetworkPolicy', key: 'default/p', object}).value as PolicyFact;
  });
  expect(facts.map(({rules, rejections}) => [rules.length, rejections.map(({code}) => code)])).toEqual([[2, ['InvalidCIDR']], [0, ['InvalidCIDR']]]);
});

describe('taken', () => {
  cases.each(TAKEN, (spec, unsupported) => {
    expect(decodePolicy(cnp(spec)).rejections.map(({path}) => path).sort()).toEqual([...unsupported].sort());
  });

  test.each(TAKEN_CLUSTERWIDE)('%s', (_what, spec) => {
    expect(decodePolicy(ccnp(spec)).rejections.filter(({code}) => !code.startsWith('Unsupported'))).toEqual([]);
  });

  cases.one('2.3-03', 'nodeSelector in a cluster-wide policy', () => {
    expect(decodePolicy(ccnp({nodeSelector: {}, ingress: [{}]})).rejections.map(({code}) => code)).toEqual(['UnsupportedSubject']);
  });
});

cases.complete();
