// Peers that other objects stand for: CIDR groups, Services, DNS names; both address families.

import {describe, expect, test} from '@jest/globals';

import {Labels} from '../domain/labels.js';
import {PolicyLab, cnp, decodePolicy, pod} from '../testing/builders.js';
import {StatementCases} from '../testing/cases.js';
import type {LabSpec} from '../testing/builders.js';
import {FlowJudge, decodeFlow} from './flows.js';
import {peerOf, selectorId} from './selectors.js';
import {fqdnPattern} from './sources.js';

const cases = new StatementCases('lib/policy/sources.test.ts');
const SUBJECT = {endpointSelector: {matchLabels: {app: 'web'}}};
const PODS = [
  pod('default/web', {labels: {app: 'web'}, ip: '10.98.0.10', moreIps: ['fd00::10', '10.98.0.11']}),
  pod('default/db', {labels: {app: 'db'}, ip: '10.98.0.12', moreIps: ['fd00::12']}),
  pod('other/db', {labels: {app: 'db'}, ip: '10.98.0.13'}),
];
const NODES = [{name: 'node0', addresses: ['10.1.5.10'], podCidrs: ['10.98.0.0/16', 'fd00::/64']}];
const group = (name: string, prefixes: readonly string[], ...labels: string[]): {name: string; prefixes: readonly string[]; labels: Labels} =>
  ({name, prefixes, labels: Labels.parse(labels.map((label) => `cidrgroup:${label}`))});
const GROUPS = [
  group('offices', ['192.0.2.0/24', '198.51.100.0/24'], 'kind=office', 'eu'),
  group('labs', ['192.0.2.128/25', '203.0.113.0/24'], 'kind=lab', 'eu'),
  group('pods', ['10.98.0.0/16']),
];

/** Which of the addresses and pods default/web may reach on TCP 443. */
function reached(item: unknown, peers: readonly string[], more: Partial<LabSpec> = {}): string[] {
  const lab = new PolicyLab({pods: PODS, nodes: NODES, policies: [cnp({...SUBJECT, egress: [item]})], groups: GROUPS, ...more});
  expect(lab.rejections).toEqual([]);
  return peers.filter((peer) => lab.judge(`default/web -> ${peer}`, 'TCP/443').egress?.verdict.verdict === 'allow');
}

describe('CIDR groups', () => {
  const ADDRESSES = ['192.0.2.1', '192.0.2.200', '198.51.100.1', '203.0.113.1', '8.8.8.8', 'default/db', '10.98.77.7'];
  const rows: readonly (readonly [string, string, object, string[]])[] = [
    ['2.6-31', 'by name', {cidrGroupRef: 'offices'}, ['192.0.2.1', '192.0.2.200', '198.51.100.1']],
    ['2.6-32', 'that overlap another: the address is in both', {cidrGroupRef: 'labs'}, ['192.0.2.200', '203.0.113.1']],
    ['2.6-36', 'with an exception', {cidrGroupRef: 'offices', except: ['192.0.2.128/25']}, ['192.0.2.1', '198.51.100.1']],
    ['2.6-36', 'with an exception that covers one prefix', {cidrGroupRef: 'offices', except: ['192.0.0.0/16']}, ['198.51.100.1']],
    ['2.6-35', 'that is not there', {cidrGroupRef: 'nobody'}, []],
    ['', 'of pods: never pods', {cidrGroupRef: 'pods'}, []],
    ['2.6-33', 'by label', {cidrGroupSelector: {matchLabels: {kind: 'lab'}}}, ['192.0.2.200', '203.0.113.1']],
    ['2.6-33 2.6-32', 'by labels of several', {cidrGroupSelector: {matchLabels: {eu: ''}}}, ['192.0.2.1', '192.0.2.200', '198.51.100.1', '203.0.113.1']],
    ['2.6-34', 'by an empty selector: every group and nothing else', {cidrGroupSelector: {}}, ['192.0.2.1', '192.0.2.200', '198.51.100.1', '203.0.113.1']],
    ['2.6-33', 'by an expression', {cidrGroupSelector: {matchExpressions: [{key: 'kind', operator: 'NotIn', values: ['office', 'lab']}]}}, []],
  ];
  cases.each(rows, (rule, expected) => {
    expect(reached({toCIDRSet: [rule]}, ADDRESSES)).toEqual(expected);
  });

  test('a deny of a group beats the allow of a wider one', () => {
    const policies = [cnp({...SUBJECT, egress: [{toCIDRSet: [{cidrGroupRef: 'offices'}]}], egressDeny: [{toCIDRSet: [{cidrGroupRef: 'labs'}]}]})];
    const lab = new PolicyLab({pods: PODS, policies, groups: GROUPS});
    expect(ADDRESSES.filter((address) => lab.judge(`default/web -> ${address}`, 'TCP/1').egress?.verdict.verdict === 'allow')).toEqual(['192.0.2.1', '198.51.100.1']);
  });
});

describe('services', () => {
  const labels = (...texts: string[]): Labels => Labels.parse(texts.map((text) => `k8s:${text}`));
  const services = [
    {namespace: 'default', name: 'db', labels: labels('tier=data'), selector: {app: 'db'}},
    {namespace: 'other', name: 'db', labels: labels('tier=data'), selector: {app: 'db'}},
    {namespace: 'default', name: 'legacy', labels: labels('tier=old'), selector: null},
    {namespace: 'default', name: 'empty', labels: labels('tier=old'), selector: null},
  ];
  const backends = {'default/legacy': ['192.0.2.7', '2001:db8::7']};
  const PEERS = ['default/db', 'other/db', '192.0.2.7', '192.0.2.8'];
  const rows: readonly (readonly [string, string, object, string[]])[] = [
    ['2.6-51 2.6-56', 'by name and namespace: the pods of that namespace', {k8sService: {serviceName: 'db', namespace: 'default'}}, ['default/db']],
    ['2.6-53', 'by name in any namespace', {k8sService: {serviceName: 'db'}}, ['default/db', 'other/db']],
    ['2.6-52 2.6-56', 'without a selector: the addresses behind it', {k8sService: {serviceName: 'legacy', namespace: 'default'}}, ['192.0.2.7']],
    ['2.5-21', 'without backends: nothing', {k8sService: {serviceName: 'empty', namespace: 'default'}}, []],
    ['2.5-21', 'that is not there: nothing', {k8sService: {serviceName: 'nobody'}}, []],
    ['2.6-51', 'by labels', {k8sServiceSelector: {selector: {matchLabels: {tier: 'data'}}}}, ['default/db', 'other/db']],
    ['2.6-54', 'by labels, the source does not matter', {k8sServiceSelector: {selector: {matchLabels: {'x:tier': 'old'}}}}, ['192.0.2.7']],
    ['2.6-53', 'by labels in a namespace', {k8sServiceSelector: {selector: {}, namespace: 'other'}}, ['other/db']],
  ];
  cases.each(rows, (item, expected) => {
    expect(reached({toServices: [item]}, PEERS, {services, backends})).toEqual(expected);
    expect(reached({toServices: [item], toPorts: [{ports: [{port: '443', protocol: 'TCP'}]}]}, PEERS, {services, backends})).toEqual(expected);
    expect(reached({toServices: [item], toPorts: [{ports: [{port: '80', protocol: 'TCP'}]}]}, PEERS, {services, backends})).toEqual([]);
  });
});

cases.one('2.6-55', 'the address of the service itself is not selected', () => {
  const services = [{namespace: 'default', name: 'db', labels: new Labels([]), selector: {app: 'db'}}];
  expect(reached({toServices: [{k8sService: {serviceName: 'db'}}]}, ['default/db', '10.96.0.53'], {services})).toEqual(['default/db']);
});

describe('DNS names', () => {
  const names = {'www.cilium.io.': ['192.0.2.1'], 'cilium.io.': ['192.0.2.2'], 'sub-cilium.io.': ['192.0.2.3'], 'a.b.cilium.io.': ['192.0.2.4', '192.0.2.5']};
  const PEERS = ['192.0.2.1', '192.0.2.2', '192.0.2.3', '192.0.2.4', '192.0.2.5', '192.0.2.6'];
  const rows: readonly (readonly [string, string, object, string[]])[] = [
    ['2.6-41', 'a name, in any case', {matchName: 'WWW.cilium.io'}, ['192.0.2.1']],
    ['2.6-41', 'a name with the dot of the root', {matchName: 'cilium.io.'}, ['192.0.2.2']],
    ['2.6-42', '*.cilium.io: one label', {matchPattern: '*.cilium.io'}, ['192.0.2.1']],
    ['2.6-42', '*cilium.io: no label', {matchPattern: '*cilium.io'}, ['192.0.2.2', '192.0.2.3']],
    ['2.6-43', '**.cilium.io: one or more labels', {matchPattern: '**.cilium.io'}, ['192.0.2.1', '192.0.2.4', '192.0.2.5']],
    ['2.6-44', '*: every name', {matchPattern: '*'}, ['192.0.2.1', '192.0.2.2', '192.0.2.3', '192.0.2.4', '192.0.2.5']],
    ['2.6-45', 'a name that nobody asked for', {matchName: 'example.com'}, []],
  ];
  cases.each(rows, (item, expected) => {
    expect(reached({toFQDNs: [item]}, PEERS, {names})).toEqual(expected);
  });

  cases.one('2.6-45', 'without anybody to say the addresses the object says so, and nothing is allowed', () => {
    const {rules, rejections} = decodePolicy(cnp({...SUBJECT, egress: [{toFQDNs: [{matchName: 'a.b'}]}]}));
    expect(rejections.map(({path}) => path)).toEqual(['spec.egress[0].toFQDNs']);
    const lab = new PolicyLab({pods: PODS, policies: [cnp({...SUBJECT, egress: [{toFQDNs: [{matchName: 'a.b'}]}]})]});
    expect(lab.verdict('default/web -> 192.0.2.1', 'TCP/443')).toBe('deny');
    expect(rules[0]?.peers.map(selectorId)).toEqual(['fqdn=a.b.']);
  });

  test.each([['*', '', true], ['*', 'a.', true], ['a.*.c.', 'a.b.c.', true], ['a.*.c.', 'a.b.b.c.', false], ['a.c.', 'abc.', false], ['*.', 'x.y.', true]])(
    'the pattern %s and the name %s', (pattern, name, expected) => {
      expect(fqdnPattern(pattern).test(name)).toBe(expected);
    });
});

describe('address families', () => {
  const DUAL = {ipv4: true, ipv6: true};
  const PEERS = ['203.0.113.1', '2001:db8::1', '2001:db8:5::1', 'default/db', 'fd00::12', '#9', '#10'];
  const rows: readonly (readonly [string, string, object, string[]])[] = [
    ['2.6-61', '::/0', {toCIDR: ['::/0']}, ['2001:db8::1', '2001:db8:5::1', '#10']],
    ['2.6-61', '0.0.0.0/0', {toCIDR: ['0.0.0.0/0']}, ['203.0.113.1', '#9']],
    ['', 'an IPv6 prefix with a hole', {toCIDRSet: [{cidr: '2001:db8::/32', except: ['2001:db8:5::/48']}]}, ['2001:db8::1']],
    ['', 'a bare address', {toCIDR: ['2001:db8::1']}, ['2001:db8::1']],
    ['', 'a pod by its address: never', {toCIDR: ['fd00::/8', '10.98.0.0/16']}, []],
    ['2.6-61', 'world', {toEntities: ['world']}, ['203.0.113.1', '2001:db8::1', '2001:db8:5::1', '#9', '#10']],
    ['2.6-61', 'world-ipv4', {toEntities: ['world-ipv4']}, ['203.0.113.1', '#9']],
    ['2.6-61', 'world-ipv6', {toEntities: ['world-ipv6']}, ['2001:db8::1', '2001:db8:5::1', '#10']],
    ['', 'a pod, by each of its addresses', {toEndpoints: [{matchLabels: {app: 'db'}}]}, ['default/db', 'fd00::12']],
  ];
  cases.each(rows, (item, expected) => {
    expect(reached(item, PEERS, {families: DUAL})).toEqual(expected);
  });

  cases.one('2.6-61', 'a flow to the entity world is one to the world of IPv4', () => {
    const PEERS_OF_ENTITIES = ['world', 'world-ipv4', 'world-ipv6'];
    const reachedBy = (toCIDR: string): string[] => {
      const {compiled} = new PolicyLab({pods: PODS, policies: [cnp({...SUBJECT, egress: [{toCIDR: [toCIDR]}]})], families: DUAL});
      const judge = new FlowJudge(compiled);
      return PEERS_OF_ENTITIES.filter((entity) => {
        const flow = decodeFlow({src: {pod: 'default/web'}, dst: {entity}, port: 1});
        return typeof flow !== 'string' && judge.judge(flow).verdict === 'allow';
      });
    };
    expect([reachedBy('0.0.0.0/0'), reachedBy('::/0')]).toEqual([['world', 'world-ipv4'], ['world-ipv6']]);
  });

  cases.one('2.6-62', 'with IPv4 alone an IPv6 prefix is accepted and selects nothing', () => {
    expect(reached({toCIDR: ['::/0', '2001:db8::/32']}, ['203.0.113.1', 'default/db'])).toEqual([]);
    const lab = new PolicyLab({pods: PODS, policies: [cnp({...SUBJECT, egress: [{toCIDR: ['::/0']}]})]});
    expect(lab.compiled.ipcache.filter(({prefix}) => prefix.includes(':'))).toEqual([]);
    expect(lab.verdict('default/web -> 2001:db8::1', 'TCP/1')).toMatch('no IPv6');
  });

  test('with IPv6 alone there is one world', () => {
    expect(reached({toCIDR: ['::/0']}, ['2001:db8::1', '#2'], {families: {ipv4: false, ipv6: true}})).toEqual(['2001:db8::1', '#2']);
  });
});

test('pods of the host network speak as their node', () => {
  const nodes = [{name: 'node0', addresses: ['10.1.5.10'], podCidrs: []}, {name: 'node1', addresses: ['10.1.5.11'], podCidrs: []}];
  const hostPods = [{namespace: 'kube-system', name: 'near', node: 'node0'}, {namespace: 'kube-system', name: 'far', node: 'node1'}];
  const lab = new PolicyLab({pods: PODS, nodes, hostPods, policies: [cnp({...SUBJECT, ingress: [{fromEntities: ['health']}]})]});
  expect(lab.verdict('kube-system/near -> default/web', 'TCP/80')).toBe('allow');
  expect(lab.verdict('kube-system/far -> default/web', 'TCP/80')).toBe('deny');
});

test.each([
  'cidrgroup=offices', 'cidrgroup=offices;!10.0.0.0/8;!192.0.2.0/24', 'cidrgroups={};!10.0.0.0/8', 'cidrgroups=!any:a,any:b!=x|y',
  'service=default/db', 'service=/db', 'services=default/any:app=db', 'services=/{}', 'fqdn=a.b.', 'fqdnpattern=**.a.b.', 'k8s:cidrgroup=offices', 'any:service=default',
])('the selector id %s is read back', (id) => {
  expect(selectorId(peerOf(id))).toBe(id);
});

cases.complete();
