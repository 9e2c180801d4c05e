// Identity labels: Cilium's generated labels and its default filter.

import {describe, expect, test} from '@jest/globals';

import {LabelFilter, identityLabels} from './label-filter.js';
import {parseLabelFilter} from './label-filter-parse.js';

const BASE = {podLabels: {}, namespace: 'shop', namespaceLabels: {}, serviceAccount: '', clusterName: 'default'};

describe('identity labels', () => {
  test('a bare pod has its namespace and its cluster', () => {
    expect(identityLabels(BASE).format()).toEqual(['k8s:io.cilium.k8s.policy.cluster=default', 'k8s:io.kubernetes.pod.namespace=shop']);
  });

  test('namespace labels and the service account become labels', () => {
    const labels = identityLabels({...BASE, namespaceLabels: {'kubernetes.io/metadata.name': 'shop', team: 'a'}, serviceAccount: 'web'});
    expect(labels.format()).toEqual([
      'k8s:io.cilium.k8s.namespace.labels.kubernetes.io/metadata.name=shop',
      'k8s:io.cilium.k8s.namespace.labels.team=a',
      'k8s:io.cilium.k8s.policy.cluster=default',
      'k8s:io.cilium.k8s.policy.serviceaccount=web',
      'k8s:io.kubernetes.pod.namespace=shop',
    ]);
  });

  test('a pod cannot claim a namespace, a cluster or a service account', () => {
    const podLabels = {
      'io.kubernetes.pod.namespace': 'kube-system', 'io.cilium.k8s.policy.cluster': 'other', 'io.cilium.k8s.policy.serviceaccount': 'admin',
      'io.cilium.k8s.namespace.labels.team': 'root',
    };
    expect(identityLabels({...BASE, podLabels}).format()).toEqual(identityLabels(BASE).format());
  });

  test('the order in which labels are written does not matter', () => {
    const one = identityLabels({...BASE, podLabels: {a: '1', b: '2'}});
    const other = identityLabels({...BASE, podLabels: {b: '2', a: '1'}});
    expect(one.key).toBe(other.key);
  });
});

describe('the label filter', () => {
  test.each([
    ['app', true],
    ['app.kubernetes.io/name', true],
    ['io.kubernetes.pod.namespace', true],
    ['io.kubernetes.pod.name', false],
    ['kubernetes.io/hostname', false],
    ['my.kubernetes.io/x', true], // excludes match at the start of the key only
    ['statefulset.kubernetes.io/pod-name', false],
    ['apps.kubernetes.io/pod-index', false],
    ['batch.kubernetes.io/job-completion-index', false],
    ['batch.kubernetes.io/controller-uid', false],
    ['batch.kubernetes.io/job-name', true],
    ['failure-domain.beta.kubernetes.io/zone', false],
    ['app.kubernetes.io.beta.kubernetes.io/x', false], // the exclude matches more text than the include
    ['k8s.io/x', false],
    ['pod-template-hash', false],
    ['pod-template-generation', false],
    ['controller-revision-hash', false],
    ['controller-uid', false],
    ['annotation.x', false],
    ['etcd_node', false],
    ['topology.kubernetes.io/zone', false],
    ['org', true],
  ])('%s: %s', (key, kept) => {
    expect(LabelFilter.DEFAULT.keeps('k8s', key)).toBe(kept);
  });
});

test.each(['(', 'k8s:', '!', ':app', '!k8s:app', 'a [z-a]'])('the option %j is refused', (option) => {
  expect(parseLabelFilter(option)).toMatch(' is not a rule for labels');
});

test('no rules are the default', () => {
  expect(parseLabelFilter('  ')).toBe(LabelFilter.DEFAULT);
});
