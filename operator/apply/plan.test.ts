import {describe, expect, test} from '@jest/globals';
import type {DesiredPolicyStatus} from '../../lib/desired/cluster-state.js';
import {identityId} from '../../lib/domain/identity.js';
import type {KubeObject} from '../../lib/kube/object.js';
import {isOlder} from './crds.js';
import {planEndpoint} from './endpoints.js';
import {planEvent} from './events.js';
import {planIdentity} from './identities.js';
import {OURS} from './kube-target.js';
import {planNode, planNodeStatus} from './node-objects.js';
import {contains} from './plan.js';
import {planPolicyStatus} from './policy-status.js';

const NOW = '2024-01-02T03:04:05Z';

describe('identities', () => {
  const desired = {id: identityId(4711), securityLabels: {'k8s:app': 'x', 'k8s:io.kubernetes.pod.namespace': 'shop'}};
  const observed: KubeObject = {metadata: {name: '4711', uid: 'u', labels: OURS}, 'security-labels': {...desired.securityLabels}};

  test('are created with their namespace as label, and not written again', () => {
    expect(planIdentity(desired, undefined, false)).toMatchObject({
      verb: 'create', object: {metadata: {name: '4711', labels: {...OURS, 'io.kubernetes.pod.namespace': 'shop'}}, 'security-labels': desired.securityLabels},
    });
    expect(planIdentity(desired, observed, false)).toEqual({verb: 'nothing'});
  });

  test('a number that stands for other labels is never overwritten', () => {
    const other = {...observed, 'security-labels': {'k8s:app': 'y'}};
    expect(planIdentity(desired, other, false)).toMatchObject({verb: 'nothing', why: expect.stringContaining('other labels')});
  });

  test('are removed when unused for long, and only ours', () => {
    expect(planIdentity(undefined, observed, false).verb).toBe('nothing');
    expect(planIdentity(undefined, observed, true)).toMatchObject({verb: 'remove', object: {metadata: {uid: 'u'}}});
    expect(planIdentity(undefined, {...observed, metadata: {name: '4711'}}, true).verb).toBe('nothing');
  });
});

describe('nodes and endpoints', () => {
  const node = {name: 'n', nodeUid: 'nu', labels: {rack: 'rack0'}, spec: {addresses: [{type: 'InternalIP', ip: '10.1.5.10'}]}};

  test('what was applied is not applied again; anything else is', () => {
    const plan = planNode(node, undefined);
    if (plan.verb !== 'apply') throw new Error(plan.verb);
    expect(plan.object).toMatchObject({metadata: {ownerReferences: [{kind: 'Node', uid: 'nu'}], labels: {rack: 'rack0', ...OURS}}, spec: node.spec});
    const served: KubeObject = {...plan.object, metadata: {...plan.object.metadata, uid: 'x', resourceVersion: '9', labels: {...plan.object.metadata.labels, more: '1'}}};
    expect(planNode(node, served).verb).toBe('nothing');
    expect(planNode({...node, labels: {}}, served).verb).toBe('apply');
    expect(planNode(node, {...served, spec: {addresses: []}}).verb).toBe('apply');
    expect(planNode(undefined, served).verb).toBe('remove');
    expect(planNode(undefined, {metadata: {name: 'n'}}).verb).toBe('nothing');
  });

  test('why a node has no PodCIDR is said in the status, beside the spec; where Kubernetes gives them out nothing is', () => {
    const without = {...node, ipamError: 'no IPv4 PodCIDR is left'};
    const served: KubeObject = {metadata: {name: 'n', labels: OURS}, spec: node.spec};
    expect([planNodeStatus(node, served).verb, planNodeStatus(without, undefined).verb, planNodeStatus(without, {metadata: {name: 'n'}}).verb]).toEqual(['nothing', 'nothing', 'nothing']);
    const plan = planNodeStatus(without, served);
    expect(plan).toMatchObject({verb: 'applyStatus', object: {spec: node.spec, status: {ipam: {'operator-status': {error: without.ipamError}}}}});
    if (plan.verb !== 'applyStatus') throw new Error(plan.verb);
    expect(planNodeStatus(without, plan.object).verb).toBe('nothing');
    expect(planNodeStatus({...node, ipamError: ''}, plan.object)).toMatchObject({verb: 'applyStatus', object: {status: {ipam: {'operator-status': {}}}}});
    expect(planNodeStatus({...node, ipamError: ''}, served).verb).toBe('nothing');
    // A write of the spec leaves it.
    expect(planNode({...without, labels: {rack: 'rack1'}}, plan.object)).toMatchObject({verb: 'apply', object: {status: {ipam: {'operator-status': {error: without.ipamError}}}}});
  });

  test('an endpoint whose pod was made anew gets the new owner', () => {
    const desired = {namespace: 'a', name: 'p', podUid: 'one', status: {id: 1}};
    const plan = planEndpoint(desired, undefined);
    if (plan.verb !== 'apply') throw new Error(plan.verb);
    expect(planEndpoint(desired, plan.object).verb).toBe('nothing');
    expect(planEndpoint({...desired, podUid: 'two'}, plan.object)).toMatchObject({verb: 'apply', object: {metadata: {ownerReferences: [{uid: 'two'}]}}});
  });

  test('contains: lists whole, owners one by one, absent members no matter', () => {
    expect(contains({a: [1, 2], b: 1}, {a: [1, 2]})).toBe(true);
    expect(contains({a: [1, 2]}, {a: [1]})).toBe(false);
    expect(contains({ownerReferences: [{uid: 'x', k: 1}, {uid: 'y'}]}, {ownerReferences: [{uid: 'y'}]})).toBe(true);
    expect(contains(undefined, {a: 1})).toBe(false);
    expect(contains({}, {a: undefined})).toBe(true);
  });
});

describe('policy status', () => {
  const object = {kind: 'CiliumNetworkPolicy', namespace: 'a', name: 'p', uid: 'u'};
  const condition = {type: 'Valid', status: 'True', reason: 'Valid', message: 'fine', observedGeneration: 2} as const;
  const desired: DesiredPolicyStatus = {object, apiVersion: 'cilium.io/v2', conditions: [condition]};
  const observed = (conditions: readonly object[]): KubeObject => ({metadata: {name: 'p', namespace: 'a', uid: 'u'}, status: {conditions}});

  test('equal conditions are not written', () => {
    expect(planPolicyStatus(desired, observed([{...condition, lastTransitionTime: 'then'}]), NOW).verb).toBe('nothing');
  });

  test('the transition time moves only when the status flips', () => {
    const before = {...condition, lastTransitionTime: '2020-01-01T00:00:00Z'};
    expect(planPolicyStatus(desired, observed([{...before, message: 'old'}]), NOW)).toMatchObject({
      verb: 'applyStatus', object: {metadata: {uid: 'u'}, status: {conditions: [{lastTransitionTime: '2020-01-01T00:00:00Z', message: 'fine'}]}}});
    expect(planPolicyStatus(desired, observed([{...before, status: 'False'}]), NOW)).toMatchObject({
      object: {status: {conditions: [{lastTransitionTime: NOW}]}}});
    expect(planPolicyStatus(desired, observed([]), NOW)).toMatchObject({object: {status: {conditions: [{lastTransitionTime: NOW}]}}});
  });

  test('another object of the same name, and one that is gone, are left alone', () => {
    expect(planPolicyStatus(desired, {...observed([]), metadata: {name: 'p', namespace: 'a', uid: 'new'}}, NOW).verb).toBe('nothing');
    expect(planPolicyStatus(desired, undefined, NOW).verb).toBe('nothing');
  });
});

describe('events', () => {
  const event = {object: {kind: 'CiliumNetworkPolicy', namespace: '', name: 'p', uid: 'u'}, apiVersion: 'cilium.io/v2', type: 'Warning',
    reason: 'PolicyInvalid', message: 'x'.repeat(2000)} as const;
  const at = {microTime: '2024-01-02T03:04:05.000000Z', instance: 'me'};

  test('the same value has the same name; what comes back counts on in the series', () => {
    const first = planEvent(event, 1, at);
    expect(first).toMatchObject({verb: 'create', object: {metadata: {namespace: 'default'}, reason: 'PolicyInvalid', regarding: {uid: 'u'}}});
    const again = planEvent(event, 3, at);
    expect(again).toMatchObject({verb: 'merge', object: {series: {count: 3, lastObservedTime: at.microTime}}});
    if (first.verb === 'nothing' || again.verb === 'nothing') throw new Error('nothing planned');
    expect(again.object.metadata).toEqual(first.object.metadata);
    expect(String(first.object['note']).length).toBeLessThanOrEqual(1024);
  });
});

test.each([
  [undefined, '1.0.0', true], ['x', '1.0.0', true], ['1.33.9', '1.33.100', true], ['1.33.100', '1.33.100', false], ['1.34.0', '1.33.100', false],
  ['1.0.0', undefined, false], ['1.2', '1.33.100', true],
])('CRD version %s is older than %s: %s', (existing, ours, expected) => expect(isOlder(existing, ours)).toBe(expected));
