import {describe, expect, test} from '@jest/globals';
import type {DesiredServiceStatus} from '../../lib/desired/cluster-state.js';
import type {KubeObject} from '../../lib/kube/object.js';
import {planServiceStatus} from './service-status.js';

const NOW = '2026-01-02T03:04:05Z';
const BEFORE = '2025-01-01T00:00:00Z';
const TYPE = 'cilium.io/IPAMRequestSatisfied';
const desired: DesiredServiceStatus = {
  object: {kind: 'Service', namespace: 'a', name: 's', uid: 'u'}, addresses: ['10.0.0.1'],
  condition: {type: TYPE, status: 'True', reason: 'satisfied', message: '', observedGeneration: 0},
};
const condition = {type: TYPE, status: 'True', reason: 'satisfied', message: '', observedGeneration: 0, lastTransitionTime: BEFORE};
const observed = (ingress: readonly object[], conditions: readonly object[] = []): KubeObject =>
  ({metadata: {name: 's', namespace: 'a', uid: 'u', resourceVersion: '7'}, status: {loadBalancer: {ingress}, conditions}});

describe('the status of a Service', () => {
  test.each([
    ['as it should be', observed([{ip: '10.0.0.1', ipMode: 'VIP'}], [condition])],
    ['as it should be, without the generation that Services do not have', observed([{ip: '10.0.0.1', ipMode: 'VIP'}], [{...condition, observedGeneration: undefined}])],
    ['of another Service of that name', {metadata: {name: 's', namespace: 'a', uid: 'other'}}],
    ['of a Service that is gone', undefined],
  ])('%s: nothing is written', (_what, seen) => expect(planServiceStatus(desired, seen, NOW)).toEqual({verb: 'nothing'}));

  test.each([
    ['no address', observed([], [condition]), BEFORE],
    ['another address', observed([{ip: '10.0.0.2'}], [condition]), BEFORE],
    ['one too many', observed([{ip: '10.0.0.1'}, {ip: '10.0.0.2'}], [condition]), BEFORE],
    ['a host name', observed([{hostname: 'x'}], [condition]), BEFORE],
    ['no condition', observed([{ip: '10.0.0.1'}]), NOW],
    ['another condition', observed([{ip: '10.0.0.1'}], [{...condition, status: 'False', reason: 'no_pool'}]), NOW],
    ['no status at all', {metadata: {name: 's', namespace: 'a', uid: 'u', resourceVersion: '7'}}, NOW],
  ])('%s: written on the version that was seen', (_what, seen, lastTransitionTime) => {
    expect(planServiceStatus(desired, seen, NOW)).toMatchObject({verb: 'applyStatus', object: {
      apiVersion: 'v1', kind: 'Service', metadata: {name: 's', namespace: 'a', uid: 'u', resourceVersion: '7'},
      status: {loadBalancer: {ingress: [{ip: '10.0.0.1'}]}, conditions: [{...condition, lastTransitionTime}]},
    }});
  });

  test('what is not ours any more is cleared, whoever wrote it, and nothing besides; then nothing', () => {
    const cleared = {...desired, addresses: [], condition: null};
    const plan = planServiceStatus(cleared, observed([{ip: '10.0.0.1'}], [condition, {type: 'Other'}]), NOW);
    expect(plan).toMatchObject({verb: 'mergeStatus', object: {metadata: {resourceVersion: '7'}, status: {loadBalancer: {ingress: []}, conditions: [{type: 'Other'}]}}});
    expect(planServiceStatus(cleared, observed([], [{type: 'Other'}]), NOW)).toEqual({verb: 'nothing'});
  });
});
