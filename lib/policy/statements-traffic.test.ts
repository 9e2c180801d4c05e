// Documented statements about what passes: CIDRs, ports, denies, the special kinds of traffic, and the numbers behind them.

import {describe, expect} from '@jest/globals';

import {reservedIdentities} from '../domain/identity.js';
import {Labels} from '../domain/labels.js';
import {StatementCases} from '../testing/cases.js';
import {PolicyLab, ccnp, cnp, pod, type LabSpec} from '../testing/builders.js';
import type {Json} from '../../operator/model/decode/policy-common.js';
import {resolveSubject} from './resolve.js';

const cases = new StatementCases('lib/policy/statements-traffic.test.ts');

const http = (port: number, protocol = 6): {name: string; protocol: number; port: number} => ({name: 'http', protocol, port});
const NODES = [{name: 'node0', addresses: ['10.1.5.10', 'fd00:5::10'], podCidrs: ['10.98.0.0/24', 'fd00:98::/64']}, {name: 'node1', addresses: ['10.1.5.11'], podCidrs: ['10.98.1.0/24']}];
const PODS = [
  pod('default/web', {labels: {app: 'web'}, ip: '10.98.0.10', moreIps: ['fd00:98::10', '10.98.0.11'], namedPorts: [http(8080), {name: 'dns', protocol: 17, port: 53}]}),
  pod('default/a', {labels: {app: 'a'}, ip: '10.98.1.10', node: 'node1', namedPorts: [http(81)]}),
  pod('default/b', {labels: {app: 'b'}, ip: '10.98.1.11', node: 'node1', namedPorts: [http(82, 17)]}),
  pod('default/twin1', {labels: {app: 'twin'}, ip: '10.98.1.12', node: 'node1', namedPorts: [http(81)]}),
  pod('default/twin2', {labels: {app: 'twin'}, ip: '10.98.1.13', node: 'node1', namedPorts: [http(82)]}),
  pod('default/alike1', {labels: {app: 'alike'}, ip: '10.98.1.14', node: 'node1', namedPorts: [http(81)]}),
  pod('default/alike2', {labels: {app: 'alike'}, ip: '10.98.1.15', node: 'node1'}),
];
const HOST_PODS = [{namespace: 'kube-system', name: 'near', node: 'node0'}, {namespace: 'kube-system', name: 'far', node: 'node1'}];
const WORLD = '203.0.113.1';
const SUBJECT = {endpointSelector: {matchLabels: {app: 'web'}}};
const A = {matchLabels: {app: 'a'}};

function lab(policies: readonly Json[], more: Partial<LabSpec> = {}): PolicyLab {
  return new PolicyLab({pods: PODS, nodes: NODES, hostPods: HOST_PODS, policies, allowLocalhost: false, ...more});
}

const ingress = (...items: readonly unknown[]): Json => cnp({...SUBJECT, ingress: items}, 'in');
const egress = (...items: readonly unknown[]): Json => cnp({...SUBJECT, egress: items}, 'out');
const port = (text: string, protocol = 'TCP', endPort?: number): object => ({toPorts: [{ports: [{port: text, protocol, ...(endPort === undefined ? {} : {endPort})}]}]});

/** Which of `peer@PROTOCOL/port` pass towards default/web. */
function enters(policies: readonly Json[], flows: string, more: Partial<LabSpec> = {}): string {
  const cluster = lab(policies, more);
  return flows.split(' ').filter((flow) => cluster.judge(`${addressOf(flow)} -> default/web`, l4Of(flow)).ingress?.verdict.verdict === 'allow').join(' ');
}

/** Which pass from default/web. */
function leaves(policies: readonly Json[], flows: string, more: Partial<LabSpec> = {}): string {
  const cluster = lab(policies, more);
  return flows.split(' ').filter((flow) => cluster.judge(`default/web -> ${addressOf(flow)}`, l4Of(flow)).egress?.verdict.verdict === 'allow').join(' ');
}

const NAMES: Readonly<Record<string, string>> = {
  a: 'default/a', b: 'default/b', twin1: 'default/twin1', world: WORLD, host: '10.1.5.10', node: '10.1.5.11', near: 'kube-system/near', far: 'kube-system/far', gone: '10.98.1.99', health: '#4', init: '#5',
};
const addressOf = (flow: string): string => NAMES[flow.split('@')[0] ?? ''] ?? flow.split('@')[0] ?? '';
const l4Of = (flow: string): string => flow.split('@')[1] ?? 'TCP/80';

describe('CIDRs', () => {
  const ADDRESSES = '10.1.2.3 10.1.9.9 10.2.0.1 192.0.2.7 a node health gone';
  const set = (cidr: string, ...except: readonly string[]): object => ({toCIDRSet: [{cidr, ...(except.length === 0 ? {} : {except})}]});
  cases.each<[readonly Json[], string]>([
    ['2.6-21', 'within', [egress({toCIDR: ['10.1.0.0/16']})], '10.1.2.3 10.1.9.9'],
    ['2.6-21', 'an address', [egress({toCIDR: ['192.0.2.7']})], '192.0.2.7'],
    ['2.6-21', 'a longer prefix that another policy names is still within', [egress({toCIDR: ['10.0.0.0/8']}), cnp({endpointSelector: A, egress: [{toCIDR: ['10.1.2.0/24']}]}, 'other')], '10.1.2.3 10.1.9.9 10.2.0.1'],
    ['2.6-21', 'a shorter prefix that another policy names is not', [egress({toCIDR: ['10.1.2.0/24']}), cnp({endpointSelector: A, egress: [{toCIDR: ['10.0.0.0/8']}]}, 'other')], '10.1.2.3'],
    ['2.6-22', 'a hole', [egress(set('10.0.0.0/8', '10.1.0.0/16'))], '10.2.0.1'],
    ['2.6-22', 'a hole is no deny: another rule allows what is in it', [egress(set('10.0.0.0/8', '10.1.0.0/16'), {toCIDR: ['10.1.2.0/24']})], '10.1.2.3 10.2.0.1'],
    ['2.6-22', 'holes beside each other', [egress(set('10.0.0.0/8', '10.1.2.0/24', '10.2.0.0/16'))], '10.1.9.9'],
    ['2.6-23', 'pods, nodes and health are never in a prefix', [egress({toCIDR: ['10.98.1.10/32', '10.1.5.11/32', '10.98.0.0/16']})], ''],
    ['2.6-24', 'everything outside', [egress({toCIDR: ['0.0.0.0/0']})], '10.1.2.3 10.1.9.9 10.2.0.1 192.0.2.7'],
    ['2.6-24', 'the same as the entity', [egress({toEntities: ['world']})], '10.1.2.3 10.1.9.9 10.2.0.1 192.0.2.7'],
    ['2.6-25', 'host bits in toCIDR', [egress({toCIDR: ['1.2.3.4/0']})], ''],
    ['2.6-25', 'host bits in a set', [egress(set('1.2.3.4/0'))], '10.1.2.3 10.1.9.9 10.2.0.1 192.0.2.7'],
    ['2.8-11', 'a deny with a hole', [egress({toEntities: ['all']}), cnp({...SUBJECT, egressDeny: [set('10.0.0.0/8', '10.1.0.0/16')]}, 'deny')], '10.1.2.3 10.1.9.9 192.0.2.7 a node health gone'],
  ], (policies, expected) => {
    expect(leaves(policies, ADDRESSES)).toBe(expected);
  });

  cases.one('2.6-26', 'an API server outside matches CIDRs and its entity', () => {
    const more = {apiServerAddresses: ['192.0.2.7']};
    expect(leaves([egress({toCIDR: ['192.0.2.0/24']})], '192.0.2.7 192.0.2.8', more)).toBe('192.0.2.7 192.0.2.8');
    expect(leaves([egress({toEntities: ['kube-apiserver']})], '192.0.2.7 192.0.2.8', more)).toBe('192.0.2.7');
  });
});

describe('ports', () => {
  const FLOWS = 'a@TCP/79 a@TCP/80 a@TCP/81 a@TCP/8080 a@UDP/80 a@SCTP/80 a@ICMP/8 a@GRE/0';
  const dual = {families: {ipv4: true, ipv6: true}};
  cases.each<[readonly Json[], string, string]>([
    ['2.7-01', 'none', [ingress({fromEndpoints: [A]})], FLOWS, FLOWS],
    ['2.7-02', 'ANY', [ingress(port('80', 'ANY'))], FLOWS, 'a@TCP/80 a@UDP/80 a@SCTP/80'],
    ['2.7-02', 'no protocol', [ingress({toPorts: [{ports: [{port: '80'}]}]})], FLOWS, 'a@TCP/80 a@UDP/80 a@SCTP/80'],
    ['2.7-03', 'a range', [ingress(port('80', 'TCP', 8080))], FLOWS, 'a@TCP/80 a@TCP/81 a@TCP/8080'],
    ['2.7-04', 'an endPort below the port', [ingress(port('80', 'TCP', 79))], FLOWS, 'a@TCP/80'],
    ['2.7-04', 'an endPort of the port', [ingress(port('80', 'TCP', 80))], FLOWS, 'a@TCP/80'],
    ['2.7-05', 'a name is the subject’s own', [ingress(port('http'))], FLOWS, 'a@TCP/8080'],
    ['2.7-06', 'a name that it has not', [ingress(port('metrics'))], FLOWS, ''],
    ['2.7-09', 'a name in capitals', [ingress(port('HTTP'))], FLOWS, 'a@TCP/8080'],
    ['2.7-10', 'a name of another protocol', [ingress(port('http', 'UDP'))], FLOWS, ''],
    ['2.7-10', 'a name of any protocol', [ingress(port('dns', 'ANY'))], 'a@TCP/53 a@UDP/53 a@SCTP/53', 'a@UDP/53'],
    ['2.7-11', 'a name up to endPort', [ingress(port('http', 'TCP', 8090))], 'a@TCP/8079 a@TCP/8080 a@TCP/8090 a@TCP/8091', 'a@TCP/8080 a@TCP/8090'],
    ['2.7-12', 'an ICMP type', [ingress({icmps: [{fields: [{type: 'EchoRequest'}]}]})], 'a@ICMP/0 a@ICMP/3 a@ICMP/8 a@TCP/8', 'a@ICMP/8'],
    ['2.7-12', 'several fields', [ingress({fromEndpoints: [A], icmps: [{fields: [{type: 8}, {type: 3}]}]})], 'a@ICMP/0 a@ICMP/3 a@ICMP/8 b@ICMP/8', 'a@ICMP/3 a@ICMP/8'],
    ['2.7-13', 'type 0 alone', [ingress({icmps: [{fields: [{type: 0}]}]})], 'a@ICMP/0 a@ICMP/3 a@ICMP/8', 'a@ICMP/0'],
    ['2.7-14', 'every TCP and UDP port: no ping', [ingress(port('0', 'TCP'), port('0', 'UDP'))], 'a@TCP/1 a@UDP/1 a@ICMP/8', 'a@TCP/1 a@UDP/1'],
    ['2.7-14', 'peers alone: ping', [ingress({fromEndpoints: [A]})], 'a@ICMP/8 b@ICMP/8', 'a@ICMP/8'],
    ['2.7-15', 'VRRP', [ingress({toPorts: [{ports: [{protocol: 'VRRP'}]}]})], 'a@VRRP/0 a@IGMP/0 a@TCP/112', 'a@VRRP/0'],
    ['2.7-15', 'IGMP with port 0', [ingress({toPorts: [{ports: [{protocol: 'IGMP', port: '0'}]}]})], 'a@VRRP/0 a@IGMP/0', 'a@IGMP/0'],
    ['2.7-15', 'peers alone: every protocol', [ingress({fromEndpoints: [A]})], 'a@VRRP/0 a@ESP/0 b@VRRP/0', 'a@VRRP/0 a@ESP/0'],
  ], (policies, flows, expected) => {
    expect(enters(policies, flows)).toBe(expected);
  });

  cases.one('2.7-13', 'type 0 is every type with the option that says so, of its family', () => {
    const types = (icmpTypeZero: 'exact' | 'any', field: object): string =>
      enters([ingress({icmps: [{fields: [field]}]})], 'a@ICMP/0 a@ICMP/8 a@TCP/0 2001:db8::1@ICMPv6/0 2001:db8::1@ICMPv6/128', {...dual, icmpTypeZero});
    expect(types('exact', {type: 0})).toBe('a@ICMP/0');
    expect(types('any', {type: 0})).toBe('a@ICMP/0 a@ICMP/8');
    expect(types('any', {type: 8})).toBe('a@ICMP/8');
    expect(types('any', {family: 'IPv6', type: 0})).toBe('2001:db8::1@ICMPv6/0 2001:db8::1@ICMPv6/128');
  });

  cases.each<[readonly Json[], string, string]>([
    ['2.7-16', 'ICMPv6', [ingress({icmps: [{fields: [{family: 'IPv6', type: 128}]}]})], '2001:db8::1@ICMPv6/128 2001:db8::1@ICMPv6/129 a@ICMP/128', '2001:db8::1@ICMPv6/128'],
    ['2.7-16', 'IPv4 unless said', [ingress({icmps: [{fields: [{type: 128}]}]})], '2001:db8::1@ICMPv6/128 a@ICMP/128', 'a@ICMP/128'],
  ], (policies, flows, expected) => {
    expect(enters(policies, flows, dual)).toBe(expected);
  });

  cases.each<[readonly Json[], string, string]>([
    ['2.7-07', 'a name is each peer’s own', [egress({toEndpoints: [{}], ...port('http', 'ANY')})], 'a@TCP/81 a@TCP/82 a@UDP/82 b@UDP/82 b@TCP/82 world@TCP/81', 'a@TCP/81 b@UDP/82'],
    ['2.7-07', 'any peer that has the name', [egress(port('http'))], 'a@TCP/81 b@TCP/82 world@TCP/81', 'a@TCP/81'],
    ['2.7-07', 'a pod that has not the name, alike one that has', [egress({toEndpoints: [{matchLabels: {app: 'alike'}}], ...port('http')})], '10.98.1.14@TCP/81 10.98.1.15@TCP/81 10.98.1.15@TCP/82', '10.98.1.14@TCP/81 10.98.1.15@TCP/81'],
    ['2.7-08', 'two numbers within one identity', [egress({toEndpoints: [{matchLabels: {app: 'twin'}}], ...port('http')})], 'twin1@TCP/81 twin1@TCP/82', ''],
    ['2.7-11', 'a name at egress is one number, whatever endPort says', [egress({toEndpoints: [A], ...port('http', 'TCP', 90)})], 'a@TCP/81 a@TCP/82 a@TCP/90', 'a@TCP/81'],
  ], (policies, flows, expected) => {
    expect(leaves(policies, flows)).toBe(expected);
  });
});

describe('deny and allow', () => {
  const FLOWS = 'a@TCP/80 a@TCP/81 b@TCP/80 b@TCP/81 world@TCP/80';
  const deny = (...items: readonly unknown[]): Json => cnp({...SUBJECT, ingressDeny: items}, 'deny');
  const all = ingress({fromEntities: ['all']});
  const getOnly = {toPorts: [{ports: [{port: '80', protocol: 'TCP'}], rules: {http: [{method: 'GET'}]}}]};
  cases.each<[readonly Json[], string]>([
    ['2.8-01', 'a peer denied', [ingress({fromEndpoints: [A], ...port('80')}, {fromEndpoints: [{}], ...port('81')}), deny({fromEndpoints: [A]})], 'b@TCP/81'],
    ['2.8-02', 'a port denied', [ingress({fromEndpoints: [A], ...port('80')}, {fromEndpoints: [A], ...port('81')}), deny(port('80'))], 'a@TCP/81'],
    ['2.8-03', 'peer and port denied', [all, deny({fromEndpoints: [A], ...port('80')})], 'a@TCP/81 b@TCP/80 b@TCP/81 world@TCP/80'],
    ['2.8-04', 'a range denied', [ingress(port('80'), port('81')), deny({fromEndpoints: [A], ...port('64', 'TCP', 80)})], 'a@TCP/81 b@TCP/80 b@TCP/81 world@TCP/80'],
    ['2.8-05', 'rules of several policies', [ingress({fromEndpoints: [A]}), cnp({...SUBJECT, ingress: [port('80')]}, 'more')], 'a@TCP/80 a@TCP/81 b@TCP/80 world@TCP/80'],
    ['2.8-06', 'a plain allow beside an L7 rule for the same peer and port', [ingress({fromEndpoints: [A], ...getOnly}, {fromEndpoints: [A], ...port('80')})], 'a@TCP/80'],
    ['2.8-07', 'an L7 rule alone', [ingress({fromEndpoints: [A], ...getOnly})], ''],
    ['2.8-07', 'an L7 rule and another port', [ingress({fromEndpoints: [A], ...getOnly}, {fromEndpoints: [A], ...port('81')})], 'a@TCP/81'],
    ['2.8-08', 'an L7 rule and every port of the peer', [ingress({fromEndpoints: [A], ...getOnly}, {fromEndpoints: [A]})], 'a@TCP/80 a@TCP/81'],
    ['2.8-09', 'the derived allow', [cnp({...SUBJECT, enableDefaultDeny: {ingress: false}, ingressDeny: [{fromEndpoints: [A]}]})], 'b@TCP/80 b@TCP/81 world@TCP/80'],
    ['2.8-10', 'authentication required', [ingress({fromEndpoints: [A], authentication: {mode: 'required'}})], ''],
    ['2.8-10', 'authentication that always fails', [ingress({fromEndpoints: [A], authentication: {mode: 'test-always-fail'}})], ''],
    ['2.8-10', 'authentication disabled', [ingress({fromEndpoints: [A], authentication: {mode: 'disabled'}})], 'a@TCP/80 a@TCP/81'],
  ], (policies, expected) => {
    expect(enters(policies, FLOWS)).toBe(expected);
  });

  cases.one('2.8-09', 'allow-localhost', () => {
    expect(enters([deny({fromEntities: ['host'], ...port('80')})], 'host@TCP/80 host@TCP/81', {allowLocalhost: true})).toBe('host@TCP/81');
  });
});

describe('special traffic', () => {
  const dual = {families: {ipv4: true, ipv6: true}};
  const isolate = ingress({fromEntities: ['none']});
  cases.each<[readonly Json[], string, Partial<LabSpec>, string]>([
    ['2.11-04', 'policy: without a rule the host is denied', [isolate], 'host near', {}, ''],
    ['2.11-04', 'policy: with a rule it enters', [ingress({fromEntities: ['host']})], 'host near far', {}, 'host near'],
    ['2.11-04', 'always', [isolate], 'host near', {allowLocalhost: true}, 'host near'],
    ['2.11-06', 'health is asked like any other', [ingress({fromEntities: ['health']})], 'health a', {}, 'health'],
    ['2.11-06', 'health is no endpoint of a namespace', [ingress({fromEndpoints: [{}]})], 'health a', {}, 'a'],
    ['2.11-08', 'an address without a pod', [ingress({fromEntities: ['unmanaged']})], 'gone a world', {}, 'gone'],
    ['2.11-08', 'which is not the world', [ingress({fromEntities: ['world']}, {fromCIDR: ['10.98.0.0/16']})], 'gone world', {}, 'world'],
    ['2.11-09', 'nobody knows it', [ingress({fromEntities: ['world']})], '198.51.100.9 10.7.7.7 a', {}, '198.51.100.9 10.7.7.7'],
    ['2.11-10', 'the host network of the own node and of another', [ingress({fromEntities: ['remote-node']})], 'near far node', {}, 'far node'],
    ['2.11-12', 'an API server on another node', [ingress({fromEntities: ['kube-apiserver']})], 'node host far', {apiServerAddresses: ['10.1.5.11']}, 'node far'],
    ['2.11-12', 'a pod of its host network', [ingress({fromEntities: ['kube-apiserver']})], 'near far', {apiServerAddresses: ['10.1.5.11']}, 'far'],
    ['2.11-12', 'it stays a remote node', [ingress({fromEntities: ['remote-node']})], 'node host', {apiServerAddresses: ['10.1.5.11']}, 'node'],
    ['2.11-12', 'on the own node', [ingress({fromEntities: ['kube-apiserver']})], 'node host', {apiServerAddresses: ['10.1.5.10']}, 'host'],
    ['2.4-21', 'init is not let in by nothing', [isolate], 'init', {}, ''],
  ], (policies, flows, more, expected) => {
    expect(enters(policies, flows, more)).toBe(expected);
  });

  cases.one('2.11-05', 'egress to the own host', () => {
    expect(leaves([egress({toEntities: ['world']})], 'host near', {allowLocalhost: true})).toBe('');
    expect(leaves([egress({toEntities: ['host']})], 'host near far', {allowLocalhost: true})).toBe('host near');
  });

  cases.one('2.11-07', 'both sides are asked', () => {
    const policies = (out: boolean, into: boolean): PolicyLab => lab([
      cnp({endpointSelector: A, egress: [out ? {toEndpoints: [{}]} : {}]}, 'out'), ingress(into ? {fromEndpoints: [A]} : {}),
    ]);
    expect([[true, true], [true, false], [false, true], [false, false]].map(([out, into]) => policies(out ?? false, into ?? false).verdict('default/a -> default/web', 'TCP/80')))
      .toEqual(['allow', 'deny', 'deny', 'deny']);
  });

  cases.one('2.11-10', 'no policy selects a pod of the host network', () => {
    const cluster = lab([ccnp({endpointSelector: {}, ingress: [{}], egress: [{}]})]);
    expect(cluster.judge('kube-system/near -> kube-system/far', 'TCP/80')).toMatchObject({egress: null, ingress: null, verdict: 'allow'});
  });

  cases.one('2.11-11', 'each address of a pod', () => {
    const cluster = lab([ingress({fromEndpoints: [A]}), cnp({endpointSelector: A, egress: [{toEndpoints: [{matchLabels: {app: 'web'}}]}]}, 'out')], dual);
    expect(['10.98.0.10', '10.98.0.11', 'fd00:98::10'].map((address) => [cluster.verdict(`default/a -> ${address}`, 'TCP/80'), cluster.verdict(`default/b -> ${address}`, 'TCP/80')].join(' ')))
      .toEqual(Array.from({length: 3}, () => 'allow deny'));
  });

  cases.one('2.4-21', 'reserved:init: both directions, without any rule', () => {
    const labels = Labels.parse(['reserved:init']);
    const starting = {namespace: 'default', name: 'starting', labels, ips: ['10.98.0.77'], node: 'node0', namedPorts: []};
    const verdicts = (policies: readonly Json[]): string[] => {
      const cluster = lab(policies, {pods: [...PODS, starting]});
      return [cluster.verdict('default/starting -> default/a', 'TCP/80'), cluster.verdict('default/a -> default/starting', 'TCP/80')];
    };
    expect(verdicts([])).toEqual(['deny', 'deny']);
    expect(verdicts([ccnp({endpointSelector: {matchLabels: {'reserved:init': ''}}, egress: [{toEntities: ['all']}]})])).toEqual(['allow', 'deny']);
    expect(resolveSubject([], {mode: 'default', allowLocalhost: true})).toMatchObject({ingressEnforced: false, egressEnforced: false});
  });
});

describe('numbers', () => {
  cases.one('3.1-01', 'of reserved identities', () => {
    expect([...reservedIdentities({ipv4: true, ipv6: false})].map(([id, labels]) => `${id} ${labels.join(' ')}`)).toEqual([
      '1 reserved:host', '2 reserved:world', '3 reserved:unmanaged', '4 reserved:health', '5 reserved:init', '6 reserved:remote-node', '7 reserved:kube-apiserver reserved:remote-node', '8 reserved:ingress',
    ]);
  });

  cases.one('3.1-02', 'of the worlds', () => {
    const worlds = (ipv6: boolean): string[] => [...lab([], {families: {ipv4: true, ipv6}}).compiled.identities].filter(([, labels]) => labels.key.includes('world')).map(([id, labels]) => `${id} ${labels.key}`);
    expect([worlds(false), worlds(true)]).toEqual([['2 reserved:world'], ['9 reserved:world-ipv4', '10 reserved:world-ipv6']]);
  });

  cases.one('3.1-03 3.6-04', 'of prefixes: local, with one CIDR label and world; none for pods and nodes', () => {
    const {identities} = lab([egress({toCIDR: ['10.0.0.0/8', '10.1.0.0/16', '10.98.1.10/32', '10.1.5.11/32', '10.98.1.0/24']})]).compiled;
    expect([...identities].filter(([id]) => id > 65_535).map(([id, labels]) => [id, ...labels.format()])).toEqual([
      [16_777_217, 'cidr:10.0.0.0/8', 'reserved:world'], [16_777_218, 'cidr:10.1.0.0/16', 'reserved:world'],
    ]);
  });

  cases.one('3.1-04 3.6-01 3.6-02 3.6-03', 'of pods; and what addresses stand for', () => {
    const {endpoints, ipcache} = lab([], {families: {ipv4: true, ipv6: true}}).compiled;
    for (const {identity} of endpoints.values()) expect(identity >= 256 && identity <= 65_535).toBe(true);
    const of = (prefix: string): number | undefined => ipcache.find((entry) => entry.prefix === prefix)?.identity;
    expect([of('10.98.0.10/32'), of('fd00:98::10/128')]).toEqual(Array.from({length: 2}, () => endpoints.get('default/web')?.identity));
    expect([of('0.0.0.0/0'), of('::/0'), of('10.98.1.0/24'), of('10.1.5.11/32')]).toEqual([9, 10, 3, 6]);
    const cluster = lab([], {});
    expect([cluster.judge('10.1.5.10 -> default/web', 'TCP/1').ingress?.peer, cluster.judge('10.1.5.10 -> default/a', 'TCP/1').ingress?.peer]).toEqual([1, 6]);
  });
});

cases.complete();
