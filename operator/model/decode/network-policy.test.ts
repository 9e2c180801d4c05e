// Kubernetes NetworkPolicy: policy types, empty against absent, peers and ports.

import {describe, expect, test} from '@jest/globals';

import {selectorKey} from '../../../lib/domain/selector.js';
import {StatementCases} from '../../../lib/testing/cases.js';
import {PolicyLab, decodePolicy, networkPolicy, pod} from '../../../lib/testing/builders.js';
import {NONE, OPEN, REFUSED_ITEMS, TAKEN_ITEMS} from './testing/network-policy-items.js';

const cases = new StatementCases('operator/model/decode/network-policy.test.ts');
const PODS = [
  pod('default/web', {labels: {app: 'web'}, ip: '10.98.0.10', namedPorts: [{name: 'http', protocol: 6, port: 80}]}),
  pod('default/a', {labels: {app: 'a'}, ip: '10.98.0.11', namedPorts: [{name: 'http', protocol: 6, port: 8080}]}),
  pod('other/a', {labels: {app: 'a'}, ip: '10.98.0.13', namedPorts: [{name: 'http', protocol: 6, port: 81}]}),
];
const SUBJECT = {podSelector: {matchLabels: {app: 'web'}}};
const WORLD = '203.0.113.1';

function lab(...specs: readonly unknown[]): PolicyLab {
  return new PolicyLab({pods: PODS, policies: specs.map((spec, i) => networkPolicy(spec, `p${i}`)), allowLocalhost: false});
}

/** Ingress from and egress to default/a, other/a and world, on TCP 80 and UDP 80. */
function open(spec: unknown): {ingress: string; egress: string} {
  const cluster = lab(spec);
  const peers = {a: 'default/a', o: 'other/a', w: WORLD};
  const reach = (flow: (name: string) => string): string => ['TCP/80', 'UDP/80'].map((l4) =>
    Object.entries(peers).filter(([, name]) => cluster.verdict(flow(name), l4) === 'allow').map(([letter]) => letter).join('') || '-').join(' ');
  return {ingress: reach((name) => `${name} -> default/web`), egress: reach((name) => `default/web -> ${name}`)};
}


describe('policy types', () => {
  const rows: readonly (readonly [string, string, object, string, string])[] = [
    ['2.10-02', 'nothing said: deny all ingress', {}, NONE, OPEN],
    ['2.10-02', 'Ingress', {policyTypes: ['Ingress']}, NONE, OPEN],
    ['2.10-02', 'Egress', {policyTypes: ['Egress']}, OPEN, NONE],
    ['2.10-02', 'both', {policyTypes: ['Ingress', 'Egress']}, NONE, NONE],
    ['2.10-02', 'empty ingress', {ingress: [], policyTypes: ['Ingress']}, NONE, OPEN],
    ['2.10-03', 'egress items that the types leave out are used, and ingress is closed', {egress: [{}]}, NONE, OPEN],
    ['2.10-03', 'ingress items that the types leave out are used', {ingress: [{ports: [{port: 80}]}], policyTypes: ['Egress']}, 'aow -', NONE],
    ['2.10-02', 'null lists are absent', {ingress: null, egress: null, policyTypes: ['Ingress']}, NONE, OPEN],
  ];
  cases.each(rows, (spec, ingress, egress) => {
    expect(open({...SUBJECT, ...spec})).toEqual({ingress, egress});
  });
});

describe('peers and ports', () => {
  cases.each(TAKEN_ITEMS, (item, ingress) => {
    const spec = {...SUBJECT, ingress: [item]};
    expect(decodePolicy(networkPolicy(spec)).rejections).toEqual([]);
    expect(open(spec).ingress).toBe(ingress);
  });

  cases.one('2.10-14', 'at egress a name is the number of each peer', () => {
    const cluster = lab({...SUBJECT, egress: [{to: [{namespaceSelector: {}}], ports: [{port: 'http'}]}], policyTypes: ['Egress']});
    const allowed = ['80', '81', '8080'].flatMap((port) =>
      ['default/a', 'other/a'].filter((name) => cluster.verdict(`default/web -> ${name}`, `TCP/${port}`) === 'allow').map((name) => `${name}:${port}`));
    expect(allowed).toEqual(['other/a:81', 'default/a:8080']);
  });

  // The pod stays isolated, and nobody is let in.
  cases.each(REFUSED_ITEMS.map(([what, item, path]) => ['2.10-18', what, item, `spec.ingress[1].${path}`] as const), (item, path) => {
    const spec = {...SUBJECT, ingress: [{from: [{podSelector: {}}]}, item]};
    expect(decodePolicy(networkPolicy(spec)).rejections.map((rejection) => rejection.path)).toEqual([path]);
    expect(open(spec).ingress).toBe(NONE);
  });

  test('peers carry the labels that Cilium gives them', () => {
    const item = {from: [{namespaceSelector: {matchLabels: {team: 'x'}}, podSelector: {matchExpressions: [{key: 'app', operator: 'Exists'}]}}]};
    const [rule] = decodePolicy(networkPolicy({...SUBJECT, ingress: [item]})).rules;
    const [peer] = rule?.peers ?? [];
    expect(peer?.kind === 'labels' ? selectorKey(peer.selector) : null)
      .toBe('k8s:app,k8s:io.cilium.k8s.namespace.labels.team=x,k8s:io.cilium.k8s.policy.cluster=default');
  });
});

cases.one('2.10-01', 'the subject is the selected pods of the namespace, every one of them without a selector', () => {
  const isolated = (podSelector: unknown): string[] => {
    const cluster = lab(podSelector === undefined ? {policyTypes: ['Ingress']} : {podSelector, policyTypes: ['Ingress']});
    return PODS.map(({namespace, name}) => `${namespace}/${name}`).filter((name) => cluster.verdict(`${WORLD} -> ${name}`, 'TCP/80') === 'deny');
  };
  expect(isolated({matchLabels: {app: 'a'}})).toEqual(['default/a']);
  expect(isolated({})).toEqual(['default/web', 'default/a']);
  expect(isolated(undefined)).toEqual(['default/web', 'default/a']);
});

cases.one('2.10-04 2.10-08', 'everything includes nodes; an ipBlock does not', () => {
  const nodes = [{name: 'node0', addresses: ['10.1.5.10'], podCidrs: []}, {name: 'node1', addresses: ['10.1.5.11'], podCidrs: []}];
  const verdict = (item: unknown): string => new PolicyLab({pods: PODS, nodes, policies: [networkPolicy({...SUBJECT, ingress: [item]})], allowLocalhost: false})
    .verdict('10.1.5.11 -> default/web', 'TCP/80');
  expect([verdict({}), verdict({from: [{ipBlock: {cidr: '0.0.0.0/0'}}]}), verdict({from: [{ipBlock: {cidr: '10.1.5.11/32'}}]})]).toEqual(['allow', 'deny', 'deny']);
});

cases.one('2.10-15', 'SCTP', () => {
  const cluster = lab({...SUBJECT, ingress: [{ports: [{port: 80, protocol: 'SCTP'}]}]});
  expect(['SCTP/80', 'SCTP/81', 'TCP/80'].map((l4) => cluster.verdict(`${WORLD} -> default/web`, l4))).toEqual(['allow', 'deny', 'deny']);
});

cases.one('2.10-16', 'several policies add up', () => {
  const cluster = lab({...SUBJECT, ingress: [{from: [{podSelector: {}}]}]}, {...SUBJECT, ingress: [{ports: [{port: 443}]}]}, SUBJECT);
  expect(['default/a', 'other/a', WORLD].map((name) => ['TCP/80', 'TCP/443'].map((l4) => cluster.verdict(`${name} -> default/web`, l4)).join(' ')))
    .toEqual(['allow allow', 'deny allow', 'deny allow']);
});

cases.complete();
