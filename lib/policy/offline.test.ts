// A cluster compiled from files: entities, addresses, flows, and the shapes that the CLI prints.

import {describe, expect, test} from '@jest/globals';

import {identityId} from '../domain/identity.js';
import {StatementCases} from '../testing/cases.js';
import {PolicyLab, ccnp, cnp, decodePolicy, pod} from '../testing/builders.js';
import {FlowJudge, decodeFlow} from './flows.js';
import {formatCompile, formatFlow, formatValidate} from './format.js';
import {compileCluster} from './offline.js';
import type {OfflineCluster} from './offline.js';

const cases = new StatementCases('lib/policy/offline.test.ts');
const NODES = [
  {name: 'node0', addresses: ['10.1.5.10'], podCidrs: ['10.98.0.0/24']},
  {name: 'node1', addresses: ['10.1.5.11'], podCidrs: ['10.98.1.0/24']},
];
const PODS = [
  pod('default/web', {labels: {app: 'web'}, ip: '10.98.0.10', node: 'node0'}),
  pod('default/client', {labels: {app: 'client'}, ip: '10.98.1.10', node: 'node1'}),
  pod('other/client', {labels: {app: 'client'}, ip: '10.98.1.11', node: 'node1'}),
];
const WORLD = '203.0.113.1';
const API_SERVER = '172.18.0.2';
const SUBJECT = {endpointSelector: {matchLabels: {app: 'web'}}};

/** Every kind of peer that a pod of node0 can see. */
const PEERS: Readonly<Record<string, string>> = {
  host: '10.1.5.10', 'remote-node': '10.1.5.11', pod: 'default/client', 'far pod': 'other/client', world: WORLD, apiserver: API_SERVER,
  'unknown pod': '10.98.1.200', health: '#4', init: '#5', 'apiserver node': '#7', ingress: '#8',
};

function reach(rule: unknown, direction: 'ingress' | 'egress', object = cnp): string[] {
  const lab = new PolicyLab({
    pods: PODS, nodes: NODES, policies: [object({...SUBJECT, [direction]: [rule]})], allowLocalhost: false, apiServerAddresses: [API_SERVER],
  });
  return Object.entries(PEERS).filter(([, name]) => {
    const flow = direction === 'ingress' ? `${name} -> default/web` : `default/web -> ${name}`;
    return lab.judge(flow, 'TCP/443')[direction]?.verdict.verdict === 'allow';
  }).map(([what]) => what);
}

describe('entities', () => {
  const entities: readonly (readonly [id: string, entity: string, expected: readonly string[]])[] = [
    ['2.6-01', 'all', Object.keys(PEERS)],
    ['2.6-09', 'none', []],
    ['2.6-02', 'world', ['world', 'apiserver']],
    ['2.6-03', 'host', ['host']],
    ['2.6-04', 'remote-node', ['remote-node', 'apiserver node']],
    ['2.6-10', 'kube-apiserver', ['apiserver', 'apiserver node']],
    ['2.6-08', 'unmanaged', ['unknown pod']],
    ['2.6-05', 'health', ['health']],
    ['2.6-06', 'init', ['init']],
    ['2.6-07', 'ingress', ['ingress']],
    ['2.6-11', 'cluster', Object.keys(PEERS).filter((what) => what !== 'world')],
    ['2.6-12', 'world-ipv4', []],
    ['2.6-12', 'world-ipv6', []],
  ];
  cases.each(entities.map(([id, entity, expected]) => [id, entity, entity, expected] as const), (entity, expected) => {
    expect(reach({fromEntities: [entity]}, 'ingress')).toEqual(expected);
    expect(reach({toEntities: [entity]}, 'egress')).toEqual(expected);
  });

  test('peers by labels are pods, peers by CIDR never are', () => {
    expect(reach({fromEndpoints: [{}]}, 'ingress')).toEqual(['pod']);
    expect(reach({fromEndpoints: [{}]}, 'ingress', ccnp)).toEqual(['pod', 'far pod']);
    expect(reach({fromCIDR: ['0.0.0.0/0']}, 'ingress')).toEqual(['world', 'apiserver']);
    expect(reach({fromCIDR: ['10.0.0.0/8']}, 'ingress')).toEqual([]);
    expect(reach({fromCIDR: ['10.98.1.10/32', '10.1.5.11/32']}, 'ingress')).toEqual([]);
    expect(reach({fromCIDR: [`${API_SERVER}/32`]}, 'ingress')).toEqual(['apiserver']);
    expect(reach({fromCIDR: ['172.16.0.0/12']}, 'ingress')).toEqual(['apiserver']);
    expect(reach({fromCIDRSet: [{cidr: '0.0.0.0/0', except: ['203.0.113.0/24']}]}, 'ingress')).toEqual(['apiserver']);
  });
});

describe('the local host', () => {
  const verdict = (rules: object, mode: 'default' | 'always' | 'never' = 'default'): string => {
    const policies = Object.keys(rules).length === 0 ? [] : [cnp({...SUBJECT, ...rules})];
    const lab = new PolicyLab({pods: PODS, nodes: NODES, policies, mode});
    return ['TCP/80', 'TCP/81'].map((l4) => lab.verdict('10.1.5.10 -> default/web', l4)).join(' ');
  };
  const rows: readonly (readonly [string, string, object, 'default' | 'always', string])[] = [
    ['2.11-01', 'reaches an isolated pod', {ingress: [{}]}, 'default', 'allow allow'],
    ['2.11-01', 'in mode always without any rule, too', {}, 'always', 'allow allow'],
    ['2.11-02', 'not against a deny of host', {ingressDeny: [{fromEntities: ['host']}]}, 'default', 'deny deny'],
    ['2.11-02', 'nor against a deny of all', {ingressDeny: [{fromEntities: ['all']}]}, 'default', 'deny deny'],
    ['2.11-02', 'a deny on a port takes that port', {ingressDeny: [{toPorts: [{ports: [{port: '80', protocol: 'TCP'}]}]}]}, 'default', 'deny allow'],
  ];
  cases.each(rows, (rules, mode, expected) => {
    expect(verdict(rules, mode)).toBe(expected);
  });

  test('the host that runs the API server is kube-apiserver, too', () => {
    const policies = [cnp({endpointSelector: {}, ingress: [{fromEntities: ['kube-apiserver']}]})];
    const lab = new PolicyLab({pods: PODS, nodes: NODES, policies, allowLocalhost: false, apiServerAddresses: ['10.1.5.10']});
    expect(lab.judge('10.1.5.10 -> default/web', 'TCP/80').ingress).toMatchObject({peer: 1, verdict: {verdict: 'allow'}});
    expect(lab.judge('10.1.5.10 -> default/client', 'TCP/80').ingress).toMatchObject({peer: 7, verdict: {verdict: 'allow'}});
    expect(lab.judge('10.1.5.11 -> default/client', 'TCP/80').ingress).toMatchObject({peer: 1, verdict: {verdict: 'deny'}});
  });

  test('prefixes of pods and nodes are no CIDRs, whoever names them', () => {
    const policies = [cnp({...SUBJECT, ingress: [{fromCIDR: ['10.98.1.0/25', '10.98.1.10/32', '10.1.5.11/32']}]})];
    const lab = new PolicyLab({pods: PODS, nodes: NODES, policies});
    expect(lab.compiled.identities.has(identityId(16777217))).toBe(false);
    expect(lab.judge('10.98.1.99 -> default/web', 'TCP/80').ingress).toMatchObject({peer: 3, verdict: {verdict: 'deny'}});
  });

  cases.one('2.11-03', 'another node is not the local host', () => {
    const lab = new PolicyLab({pods: PODS, nodes: NODES, policies: [cnp({...SUBJECT, ingress: [{}]})]});
    expect(lab.verdict('10.1.5.11 -> default/web', 'TCP/80')).toBe('deny');
    expect(lab.verdict('10.1.5.11 -> default/client', 'TCP/80')).toBe('allow');
  });
});

describe('enforcement modes', () => {
  const policies = [cnp({...SUBJECT, ingress: [{}]})];
  cases.each<['default' | 'always' | 'never', string]>([['2.4-11', 'never', 'never', 'allow allow'], ['2.4-12', 'default', 'default', 'deny allow'], ['2.4-13', 'always', 'always', 'deny deny']], (mode, expected) => {
    const lab = new PolicyLab({pods: PODS, policies, mode});
    expect(['default/client -> default/web', `${WORLD} -> default/client`].map((flow) => lab.verdict(flow, 'TCP/80')).join(' ')).toBe(expected);
  });
});

describe('ICMP', () => {
  test('a type is that type alone, also type 0', () => {
    const icmp = (type: number | string): PolicyLab => new PolicyLab({pods: PODS, policies: [cnp({...SUBJECT, ingress: [{icmps: [{fields: [{type}]}]}]})]});
    expect([0, 3, 8].map((type) => icmp(0).verdict(`${WORLD} -> default/web`, `ICMP/${type}`))).toEqual(['allow', 'deny', 'deny']);
    expect([0, 3, 8].map((type) => icmp('EchoRequest').verdict(`${WORLD} -> default/web`, `ICMP/${type}`))).toEqual(['deny', 'deny', 'allow']);
    expect(icmp(8).verdict(`${WORLD} -> default/web`, 'TCP/8')).toBe('deny');
  });
});

const CLUSTER: OfflineCluster = {
  endpoints: PODS, hostPods: [{namespace: 'kube-system', name: 'agent', node: 'node1'}], nodes: NODES, apiServerAddresses: [],
  rules: new PolicyLab({pods: [], policies: [
    cnp({...SUBJECT, ingress: [{fromEndpoints: [{matchLabels: {app: 'client'}}], toPorts: [{ports: [{port: '80', protocol: 'TCP'}]}]}]}, 'http'),
    cnp({...SUBJECT, egress: [{toCIDRSet: [{cidr: '10.0.0.0/8', except: ['10.96.0.0/12']}]}]}, 'out'),
  ]}).rules,
};
const OPTIONS = {mode: 'default', allowLocalhost: true, routingMode: 'tunnel'} as const;

describe('what is printed', () => {
  test('compile: endpoints with entries and where each comes from', () => {
    const json = formatCompile(compileCluster(CLUSTER, OPTIONS), {rejections: [], warnings: ['w'], node: 'node0'});
    expect(json.endpoints).toHaveLength(1);
    const [web] = json.endpoints;
    const client = json.identities.find(({labels}) => labels.includes('k8s:app=client') && labels.includes('k8s:io.kubernetes.pod.namespace=default'));
    expect(web).toMatchObject({namespace: 'default', name: 'web', ips: ['10.98.0.10'], node: 'node0', ingressEnforced: true, egressEnforced: true});
    expect(web?.entries).toEqual([
      {direction: 'ingress', identity: 1, protocol: 0, port: 0, portPrefixLen: 0, deny: false, redirect: false, l7: null, auth: null,
        precedence: 0xffffff01, derived: 'allow-localhost', derivedFrom: []},
      {direction: 'ingress', identity: client?.id, protocol: 6, port: 80, portPrefixLen: 16, deny: false, redirect: false, l7: null, auth: null,
        precedence: 0xffffff01, derived: null, derivedFrom: [{kind: 'CiliumNetworkPolicy', namespace: 'default', name: 'http', uid: 'uid-http', ruleIndex: 0}]},
      expect.objectContaining({direction: 'egress', identity: 16777217, protocol: 0}),
    ]);
    expect(json.warnings).toEqual(['w']);
    expect(json.ipcache).toEqual([
      {prefix: '0.0.0.0/0', identity: 2, tunnelEndpoint: null, encryptKey: 0},
      {prefix: '10.0.0.0/8', identity: 16777217, tunnelEndpoint: null, encryptKey: 0},
      {prefix: '10.1.5.10/32', identity: 1, tunnelEndpoint: null, encryptKey: 0},
      {prefix: '10.1.5.11/32', identity: 6, tunnelEndpoint: null, encryptKey: 0},
      {prefix: '10.96.0.0/12', identity: 16777218, tunnelEndpoint: null, encryptKey: 0},
      {prefix: '10.98.0.0/24', identity: 3, tunnelEndpoint: '10.1.5.10', encryptKey: 0},
      {prefix: '10.98.0.10/32', identity: web?.identity, tunnelEndpoint: '10.1.5.10', encryptKey: 0},
      {prefix: '10.98.1.0/24', identity: 3, tunnelEndpoint: '10.1.5.11', encryptKey: 0},
      {prefix: '10.98.1.10/32', identity: client?.id, tunnelEndpoint: '10.1.5.11', encryptKey: 0},
      expect.objectContaining({prefix: '10.98.1.11/32'}),
    ]);
  });

  test('a number that an object gives is kept', () => {
    const [web] = PODS;
    const identities = new Map([[web?.labels.key ?? '', identityId(4711)]]);
    expect(compileCluster({...CLUSTER, identities}, OPTIONS).endpoints.get('default/web')?.identity).toBe(4711);
  });

  test('the result does not depend on the order of the input', () => {
    const turned = {...CLUSTER, endpoints: PODS.toReversed(), nodes: NODES.toReversed(), rules: CLUSTER.rules.toReversed()};
    const print = (cluster: OfflineCluster): unknown => {
      const json = formatCompile(compileCluster(cluster, OPTIONS), {rejections: [], warnings: [], node: null});
      return {...json, endpoints: new Map(json.endpoints.map((endpoint) => [endpoint.name + endpoint.namespace, endpoint]))};
    };
    expect(print(turned)).toEqual(print(CLUSTER));
  });

  test('validate: every object, and what is wrong with it', () => {
    const policies = [cnp({...SUBJECT, ingress: [{}]}, 'good'), cnp({...SUBJECT, ingress: [{fromCIDR: ['x']}]}, 'bad')];
    const objects = policies.map((policy, i) => {
      const object = {kind: 'CiliumNetworkPolicy', namespace: 'default', name: ['good', 'bad'][i] ?? '', uid: ''};
      return {object, rejections: decodePolicy(policy).rejections};
    });
    expect(formatValidate(objects)).toEqual({valid: false, objects: [
      {object: objects[0]?.object, valid: true, findings: []},
      {object: objects[1]?.object, valid: false, findings: [{
        path: 'spec.ingress[0].fromCIDR[0]', code: 'InvalidCIDR', reason: '"x" is neither a prefix nor an address',
      }]},
    ]});
  });

  const judge = new FlowJudge(compileCluster(CLUSTER, OPTIONS));
  const flow = (json: unknown): unknown => {
    const decoded = decodeFlow(json);
    return typeof decoded === 'string' ? decoded : formatFlow(judge.judge(decoded));
  };

  test('verdict: both sides, what matched, and why', () => {
    expect(flow({src: {pod: 'default/client'}, dst: {pod: 'default/web'}, protocol: 'TCP', port: 80})).toMatchObject({
      egress: 'allow', ingress: 'allow', verdict: 'allow', matched: {ingress: {matchType: 'L3-L4', entry: {port: 80}}},
      reason: 'egress: not enforced; ingress: allowed by CiliumNetworkPolicy default/http rule 0',
    });
    expect(flow({src: {pod: 'other/client'}, dst: {pod: 'default/web'}, protocol: 'TCP', port: 80})).toMatchObject({
      ingress: 'deny', verdict: 'deny', matched: {ingress: {entry: null, matchType: 'none'}},
      reason: 'egress: not enforced; ingress: no entry matches, denied by default',
    });
    expect(flow({src: {ip: WORLD}, dst: {entity: 'host'}})).toMatchObject({egress: 'n/a', ingress: 'n/a', verdict: 'allow'});
    expect(flow({src: {pod: 'kube-system/agent'}, dst: {pod: 'default/client'}})).toMatchObject({egress: 'n/a', ingress: 'allow'});
    expect(flow({src: {pod: 'kube-system/agent'}, dst: {pod: 'default/web'}, port: 80})).toMatchObject({ingress: 'deny', matched: {ingress: {peer: 6}}});
    expect(flow({src: {pod: 'gone/gone'}, dst: {pod: 'default/web'}})).toMatchObject({verdict: 'deny', reason: 'no pod gone/gone'});
  });

  test.each([
    [{}, 'src: one of'], [{src: {ip: '1.2.3.4'}, dst: {entity: 'cluster'}}, 'dst: "cluster"'],
    [{src: {ip: '1.2.3.4'}, dst: {ip: '1.2.3.4'}, protocol: 'XTP'}, '"XTP" is not a protocol'],
    [{src: {ip: '1.2.3.4'}, dst: {ip: '1.2.3.4'}, port: 65536}, 'port is 0..65535'],
    [{src: {ip: '1.2.3.4'}, dst: {ip: '1.2.3.4'}, protocol: 'ICMP', icmpType: 256}, 'icmpType is 0..255'],
  ])('a flow that cannot be read says so: %j', (json, message) => {
    expect(decodeFlow(json)).toContain(message);
  });
});

describe('size', () => {
  const pods = Array.from({length: 500}, (_, i) => pod(`ns${i % 20}/p${i}`, {labels: {app: `app${i % 100}`, id: `${i}`}, ip: `10.98.${i >> 8}.${i & 255}`}));
  const policies = Array.from({length: 400}, (_, i) => ({
    ...cnp({
      endpointSelector: {matchLabels: {app: `app${i % 100}`}},
      ingress: [{fromEndpoints: [{matchLabels: {app: `app${(i + 1) % 100}`}}], toPorts: [{ports: [{port: `${1000 + i}`, protocol: 'TCP'}]}]}],
      egressDeny: [{toCIDRSet: [{cidr: `10.${i % 200}.0.0/16`, except: [`10.${i % 200}.1.0/24`]}]}],
    }, `p${i}`),
    metadata: {namespace: `ns${i % 20}`, name: `p${i}`, uid: `u${i}`},
  }));

  test('400 policies over 500 identities, and 100,000 flows', () => {
    const start = process.cpuUsage().user;
    const lab = new PolicyLab({pods, policies});
    const compiledMs = (process.cpuUsage().user - start) / 1000;
    const before = process.cpuUsage().user;
    let denied = 0;
    for (let i = 0; i < 100_000; i++) {
      const [source, destination] = [pods[i % 500], pods[(i * 7) % 500]];
      if (lab.verdict(`${source?.namespace ?? ''}/${source?.name ?? ''} -> ${destination?.namespace ?? ''}/${destination?.name ?? ''}`, 'TCP/1001') === 'deny') denied++;
    }
    const flowsMs = (process.cpuUsage().user - before) / 1000;
    expect(lab.rejections).toEqual([]);
    expect(denied).toBeGreaterThan(1000);
    expect(compiledMs).toBeLessThan(2000);
    expect(flowsMs).toBeLessThan(5000); // 20,000 flows per second
  });
});

cases.complete();
