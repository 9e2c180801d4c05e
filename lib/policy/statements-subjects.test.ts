// Documented statements about who is who: labels of identities, selectors, namespaces and clusters, in verdicts of whole policies.

import {describe, expect} from '@jest/globals';

import {identityLabels} from '../domain/label-filter.js';
import {parseLabelFilter} from '../domain/label-filter-parse.js';
import {StatementCases} from '../testing/cases.js';
import {PolicyLab, ccnp, cnp, pod} from '../testing/builders.js';
import type {Json} from '../../operator/model/decode/policy-common.js';

const cases = new StatementCases('lib/policy/statements-subjects.test.ts');

const NS = 'io.kubernetes.pod.namespace';
const NAME = 'io.cilium.k8s.namespace.labels.kubernetes.io/metadata.name';
const NODES = [{name: 'node0', addresses: ['10.1.5.10'], podCidrs: ['10.98.0.0/16']}, {name: 'node1', addresses: ['10.1.5.11'], podCidrs: []}];
const PODS = [
  pod('default/web', {labels: {app: 'web', host: 'yes'}, ip: '10.98.0.10'}),
  pod('default/a', {labels: {app: 'a', tier: 'front'}, ip: '10.98.0.11'}),
  pod('default/bare', {ip: '10.98.0.12'}),
  pod('other/a', {labels: {app: 'a', tier: 'back'}, ip: '10.98.0.13'}),
];
/** Pods by namespace/name, and everything else that can be a peer. */
const PEERS: Readonly<Record<string, string>> = {
  a: 'default/a', bare: 'default/bare', far: 'other/a', world: '203.0.113.1', net: '192.0.2.1', host: '10.1.5.10', node: '10.1.5.11', gone: '10.98.9.9', health: '#4', init: '#5', ingress: '#8',
};
const SUBJECT = {endpointSelector: {matchLabels: {app: 'web'}}};

/** Who reaches default/web. */
function reached(...policies: readonly Json[]): string {
  const lab = new PolicyLab({pods: PODS, nodes: NODES, policies, allowLocalhost: false});
  return Object.entries(PEERS).filter(([, peer]) => lab.verdict(`${peer} -> default/web`, 'TCP/80') === 'allow').map(([name]) => name).join(' ');
}

const from = (...selectors: readonly unknown[]): Json => cnp({...SUBJECT, ingress: [{fromEndpoints: selectors}]});
const clusterFrom = (...selectors: readonly unknown[]): Json => ccnp({...SUBJECT, ingress: [{fromEndpoints: selectors}]});
const labels = (matchLabels: object): object => ({matchLabels});
const expression = (key: string, operator: string, ...values: readonly string[]): object => ({matchExpressions: [values.length === 0 ? {key, operator} : {key, operator, values}]});

describe('selectors of peers', () => {
  cases.each<[Json, string]>([
    ['2.2-01', 'a key without a source', from(labels({app: 'a'})), 'a'],
    ['2.2-01', 'any: is the same', from(labels({'any:app': 'a'})), 'a'],
    ['2.2-01', 'a key without a source finds reserved labels, too, when the selector has a reserved key', clusterFrom(labels({'reserved:health': '', health: ''})), 'health'],
    ['2.2-02', 'k8s: is the source of pods', from(labels({'k8s:app': 'a'})), 'a'],
    ['2.2-02', 'another source is another label', from(labels({'container:app': 'a'})), ''],
    ['2.2-03', '$host', clusterFrom(labels({$host: ''})), 'host'],
    ['2.2-03', 'reserved:host is not a label named host', clusterFrom(labels({'k8s:host': 'yes'})), ''],
    ['2.2-04', 'In', from(expression('app', 'In', 'a', 'b')), 'a'],
    ['2.2-04', 'NotIn matches an absent key', from(expression('app', 'NotIn', 'a')), 'bare'],
    ['2.2-04', 'Exists', from(expression('tier', 'Exists')), 'a'],
    ['2.2-04', 'DoesNotExist', from(expression('tier', 'DoesNotExist')), 'bare'],
    ['2.2-05', 'labels and expressions', from({matchLabels: {app: 'a'}, matchExpressions: [{key: 'tier', operator: 'In', values: ['back']}]}), ''],
    ['2.2-10', 'a reserved key: not a pod of the namespace', from(labels({'reserved:remote-node': ''})), 'node'],
    ['2.2-10', 'a reserved key by absence: everything that has not the label', from(expression('reserved:host', 'DoesNotExist')), 'a bare far world net node gone health init ingress'],
    ['2.2-11', 'of the own namespace', from(expression('app', 'Exists')), 'a'],
    ['2.2-11', 'another namespace by k8s:', from(labels({[`k8s:${NS}`]: 'other'})), 'far'],
    ['2.2-11', 'another namespace by any:', from(labels({[NS]: 'other'})), 'far'],
    ['2.2-11', 'several namespaces', from(expression(`k8s:${NS}`, 'In', 'other', 'default')), 'a bare far'],
    ['2.2-12', 'by labels of the namespace', from(labels({[NAME]: 'other'})), 'far'],
    ['2.2-12', 'by labels of the namespace that exist', from(expression(`k8s:${NAME}`, 'Exists')), 'a bare far'],
    ['2.2-13', 'an empty selector', from({}), 'a bare'],
    ['2.2-14', 'an empty selector in a CCNP', clusterFrom({}), 'a bare far'],
    ['2.2-14', 'a label in a CCNP', clusterFrom(labels({app: 'a'})), 'a far'],
    ['2.2-14', 'an absent label in a CCNP', clusterFrom(expression('app', 'DoesNotExist')), 'bare'],
    ['2.2-16', 'an absent namespace', from(expression(`k8s:${NS}`, 'NotIn', 'default')), 'far'],
    ['2.2-16', 'an absent namespace label', from(expression(`k8s:${NAME}`, 'NotIn', 'default')), 'far'],
    ['2.2-17', 'the own cluster', from(labels({'io.cilium.k8s.policy.cluster': 'default', app: 'a'})), 'a'],
    ['2.2-17', 'another cluster', from(labels({'io.cilium.k8s.policy.cluster': 'far'})), ''],
    ['2.2-21', 'a service account', from(labels({'io.cilium.k8s.policy.serviceaccount': 'default'})), 'a bare'],
    ['2.2-21', 'a service account that nobody has', from(labels({'io.cilium.k8s.policy.serviceaccount': 'admin'})), ''],
  ], (policy, expected) => {
    expect(reached(policy)).toBe(expected);
  });

  cases.one('2.2-15', 'without a namespace when the subject is reserved:init', () => {
    const subject = {matchLabels: {'reserved:init': ''}};
    const lab = new PolicyLab({pods: PODS, policies: [ccnp({endpointSelector: subject, ingress: [{fromEndpoints: [{}]}]})]});
    expect(lab.rules[0]?.peers).toEqual([expect.objectContaining({selector: {requirements: [expect.objectContaining({key: 'io.cilium.k8s.policy.cluster'})]}})]);
  });
});

describe('subjects', () => {
  /** Which pods the selector isolates. */
  const isolated = (object: typeof cnp, endpointSelector: unknown): string => {
    const lab = new PolicyLab({pods: PODS, nodes: NODES, policies: [object({endpointSelector, ingress: [{}]})]});
    return PODS.map(({namespace, name}) => `${namespace}/${name}`).filter((name) => lab.verdict(`203.0.113.1 -> ${name}`, 'TCP/80') === 'deny').join(' ');
  };
  cases.each<[typeof cnp, unknown, string]>([
    ['2.2-08', 'of the own namespace', cnp, labels({app: 'a'}), 'default/a'],
    ['2.2-08', 'k8s: in matchLabels is overwritten', cnp, labels({app: 'a', [`k8s:${NS}`]: 'other'}), 'default/a'],
    ['2.2-09', 'any: of another namespace: nobody', cnp, labels({[NS]: 'other'}), ''],
    ['2.2-09', 'any: of the own namespace', cnp, labels({[NS]: 'default', app: 'a'}), 'default/a'],
    ['2.2-09', 'an expression with another namespace: nobody', cnp, expression(`k8s:${NS}`, 'In', 'other'), ''],
    ['2.2-09', 'an expression with the own one', cnp, expression(`k8s:${NS}`, 'In', 'other', 'default'), 'default/web default/a default/bare'],
    ['2.2-08', 'everything', cnp, {}, 'default/web default/a default/bare'],
    ['2.2-20', 'everything in a CCNP: every pod', ccnp, {}, 'default/web default/a default/bare other/a'],
    ['2.2-20', 'the host by its label: no pod', ccnp, labels({'reserved:host': ''}), ''],
  ], (object, selector, expected) => {
    expect(isolated(object, selector)).toBe(expected);
  });

  cases.one('2.2-20', 'the host is never judged', () => {
    const lab = new PolicyLab({pods: PODS, nodes: NODES, policies: [ccnp({endpointSelector: {}, ingress: [{}], egress: [{}]})]});
    expect(lab.judge('203.0.113.1 -> 10.1.5.10', 'TCP/22')).toMatchObject({egress: null, ingress: null, verdict: 'allow'});
  });

  cases.one('2.2-19', 'a nodeSelector: no pod, and the object says that it is not supported', () => {
    const lab = new PolicyLab({pods: PODS, nodes: NODES, policies: [ccnp({nodeSelector: {}, ingress: [{}]})]});
    expect(lab.rejections).toEqual([expect.objectContaining({path: 'spec.nodeSelector', code: 'UnsupportedSubject', reason: 'policies for nodes are not supported'})]);
    expect(lab.verdict('203.0.113.1 -> default/web', 'TCP/80')).toBe('allow');
  });

  cases.one('2.1-01', 'pods with equal labels share a policy; named ports tell them apart', () => {
    const twin = (name: string, port: number): ReturnType<typeof pod> => pod(`default/${name}`, {labels: {app: 'twin'}, ip: `10.98.0.${port % 200}`, namedPorts: [{name: 'http', protocol: 6, port}]});
    const policies = [cnp({endpointSelector: {matchLabels: {app: 'twin'}}, ingress: [{toPorts: [{ports: [{port: 'http', protocol: 'TCP'}]}]}]})];
    const lab = new PolicyLab({pods: [twin('one', 81), twin('two', 82), twin('three', 81)], policies});
    const [one, two, three] = ['one', 'two', 'three'].map((name) => lab.compiled.endpoints.get(`default/${name}`));
    expect(one?.policy).toBe(two?.policy);
    expect(one?.entries).toBe(three?.entries);
    expect(['one', 'two'].map((name) => lab.verdict(`203.0.113.1 -> default/${name}`, 'TCP/82'))).toEqual(['deny', 'allow']);
  });
});

describe('labels of identities', () => {
  const base = {podLabels: {}, namespace: 'shop', namespaceLabels: {}, serviceAccount: '', clusterName: 'c1'};

  cases.one('2.2-06', 'what is generated, and that a pod cannot set it', () => {
    const podLabels = {
      app: 'x', [NS]: 'kube-system', 'io.cilium.k8s.policy.cluster': 'c2', 'io.cilium.k8s.policy.serviceaccount': 'admin', 'io.cilium.k8s.namespace.labels.team': 'root',
    };
    expect(identityLabels({...base, podLabels, namespaceLabels: {team: 'a'}, serviceAccount: 'web'}).format()).toEqual([
      'k8s:app=x', 'k8s:io.cilium.k8s.namespace.labels.team=a', 'k8s:io.cilium.k8s.policy.cluster=c1', 'k8s:io.cilium.k8s.policy.serviceaccount=web', `k8s:${NS}=shop`,
    ]);
  });

  cases.one('2.2-07', 'another label of the namespace is another identity', () => {
    expect(identityLabels({...base, namespaceLabels: {team: 'a'}}).key).not.toBe(identityLabels({...base, namespaceLabels: {team: 'b'}}).key);
  });

  const kept = (option: string, keys: readonly string[]): string | string[] => {
    const filter = parseLabelFilter(option);
    return typeof filter === 'string' ? filter : keys.filter((key) => filter.keeps('k8s', key));
  };
  cases.each<[string, readonly string[], readonly string[]]>([
    ['3.3-01', 'the default: what changes with every pod is left out', '', ['app', 'pod-template-hash', 'controller-uid', 'io.kubernetes.pod.name', 'statefulset.kubernetes.io/pod-name', 'topology.kubernetes.io/zone'], ['app']],
    ['3.3-01', 'the default: patterns match at the start', '', ['my.kubernetes.io/x', 'kubernetes.io/x'], ['my.kubernetes.io/x']],
    ['3.3-02', 'the longer include wins', '', ['app.kubernetes.io/name', NS], ['app.kubernetes.io/name', NS]],
    ['3.3-02', 'the longer exclude wins', '', ['app.kubernetes.io.beta.kubernetes.io/x'], []],
    ['3.3-03', 'an include: only what is listed, and what policies need', 'k8s:app team', ['app', 'application', 'team', 'tier', NS, NAME, 'io.cilium.k8s.policy.cluster', 'app.kubernetes.io/name'],
      ['app', 'application', 'team', NS, NAME, 'io.cilium.k8s.policy.cluster', 'app.kubernetes.io/name']],
    ['3.3-03', 'an include that is anchored', 'k8s:^app$', ['app', 'application', 'tier'], ['app']],
    ['3.3-04', 'an exclude: everything else stays', 'k8s:!tier !build.*', ['app', 'tier', 'build-id', 'rebuild'], ['app', 'rebuild']],
    ['3.3-04', 'both: the longer one', 'app.* !app-x', ['app', 'app-x', 'app-xyz', 'tier'], ['app', 'app-xyz']],
    ['3.3-05', 'a rule for another source says nothing about pods', 'container:app', ['app', 'tier'], []],
    ['3.3-05', 'an exclude for another source', 'container:!app', ['app', 'tier'], ['app', 'tier']],
  ], (option, keys, expected) => {
    expect(kept(option, keys)).toEqual(expected);
  });
});

cases.complete();
