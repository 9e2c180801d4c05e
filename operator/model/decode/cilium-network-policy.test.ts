// The two Cilium kinds, row by row: what empty and absent mean, what stays closed, what is not supported.

import {describe, expect, test} from '@jest/globals';
import {parse} from 'yaml';

import type {Rule} from '../../../lib/domain/policy.js';
import {selectorKey} from '../../../lib/domain/selector.js';
import {PolicyLab, ccnp, cnp, decodePolicy, pod} from '../../../lib/testing/builders.js';
import {StatementCases} from '../../../lib/testing/cases.js';
import type {Json} from './policy-common.js';

const cases = new StatementCases('operator/model/decode/cilium-network-policy.test.ts');
const SUBJECT = {endpointSelector: {matchLabels: {app: 'web'}}};
const A = {matchLabels: {app: 'a'}};
const PODS = [
  pod('default/web', {labels: {app: 'web'}, ip: '10.98.0.10'}),
  pod('default/a', {labels: {app: 'a'}, ip: '10.98.0.11'}),
  pod('default/b', {labels: {app: 'b'}, ip: '10.98.0.12'}),
  pod('other/a', {labels: {app: 'a'}, ip: '10.98.0.13'}),
];
const WORLD = '203.0.113.1';

/** Who reaches default/web on TCP 80, TCP 81, and by ICMP echo, in that order of letters: `a` default/a, `b`, `o` other/a, `w` world. */
function reached(...policies: readonly Json[]): string {
  const lab = new PolicyLab({pods: PODS, policies, allowLocalhost: false});
  const from = {a: 'default/a', b: 'default/b', o: 'other/a', w: WORLD};
  return ['TCP/80', 'TCP/81', 'ICMP/8'].map((l4) =>
    Object.entries(from).filter(([, name]) => lab.verdict(`${name} -> default/web`, l4) === 'allow').map(([letter]) => letter).join('') || '-',
  ).join(' ');
}

const OPEN = 'abow abow abow';
const P80 = [{ports: [{port: '80', protocol: 'TCP'}]}];

describe('empty against absent', () => {
  const rows: readonly (readonly [string, string, unknown, string])[] = [
    ['2.5-01', 'ingress absent', {egress: [{}]}, OPEN],
    ['2.5-02', 'ingress: [] beside another list', {ingress: [], egress: [{}]}, OPEN],
    ['2.5-03 2.4-05', 'ingress: [{}]', {ingress: [{}]}, '- - -'],
    ['2.5-04', 'fromEndpoints: []', {ingress: [{fromEndpoints: []}]}, '- - -'],
    ['2.5-04', 'fromEndpoints: [] with ports', {ingress: [{fromEndpoints: [], toPorts: P80}]}, '- - -'],
    ['2.5-04', 'fromNodes: [] with ports', {ingress: [{fromNodes: [], toPorts: P80}]}, '- - -'],
    ['2.5-04', 'fromEntities: [] with ports', {ingress: [{fromEntities: [], toPorts: P80}]}, '- - -'],
    ['2.5-04', 'fromCIDR: [] with ports', {ingress: [{fromCIDR: [], toPorts: P80}]}, '- - -'],
    ['2.5-04', 'fromCIDRSet: [] with ports', {ingress: [{fromCIDRSet: [], toPorts: P80}]}, '- - -'],
    ['2.5-05', 'fromEndpoints: [{}]', {ingress: [{fromEndpoints: [{}]}]}, 'ab ab ab'],
    ['2.5-06', 'toPorts only', {ingress: [{toPorts: P80}]}, 'abow - -'],
    ['2.5-07', 'fromEndpoints with toPorts: []', {ingress: [{fromEndpoints: [A], toPorts: []}]}, 'a a a'],
    ['2.5-08', 'fromEndpoints with toPorts: [{}]', {ingress: [{fromEndpoints: [A], toPorts: [{}]}]}, '- - -'],
    ['2.5-08', 'fromEndpoints with toPorts: [{ports: []}]', {ingress: [{fromEndpoints: [A], toPorts: [{ports: []}]}]}, '- - -'],
    ['2.5-09', 'a filled list beside an empty one', {ingress: [{fromEndpoints: [A], fromCIDR: []}]}, '- - -'],
    ['2.5-10', 'icmps: [] with peers', {ingress: [{fromEndpoints: [A], icmps: []}]}, 'a a a'],
    ['2.5-10', 'icmps: [{}] with peers', {ingress: [{fromEndpoints: [A], icmps: [{}]}]}, '- - -'],
    ['2.5-11', 'ingressDeny: [{}]', {ingressDeny: [{}]}, '- - -'],
    ['2.5-11', 'ingressDeny: [{toPorts: [{}]}]', {ingressDeny: [{toPorts: [{}]}]}, '- - -'],
    ['2.5-11', 'ingressDeny: [{fromEndpoints: []}]', {ingressDeny: [{fromEndpoints: []}]}, '- - -'],
    ['2.5-11', 'ingressDeny: [{}] beside an allow', {ingressDeny: [{}], ingress: [{fromEndpoints: [A]}]}, 'a a a'],
    ['2.5-12', 'fromGroups: [] with ports selects nothing here', {ingress: [{fromGroups: [], toPorts: P80}]}, '- - -'],
    ['2.5-12', 'fromGroups: [] beside a filled list', {ingress: [{fromGroups: [], fromEndpoints: [A]}]}, 'a a a'],
    ['2.5-13', 'fromRequires: [] says nothing', {ingress: [{fromRequires: [], toPorts: P80}]}, 'abow - -'],
    ['2.5-14', 'rules: {}', {ingress: [{toPorts: [{...P80[0], rules: {}}]}]}, 'abow - -'],
    ['2.5-14', 'rules.http: []', {ingress: [{toPorts: [{...P80[0], rules: {http: []}}]}]}, 'abow - -'],
    ['2.5-16', 'port 0, TCP', {ingress: [{toPorts: [{ports: [{port: '0', protocol: 'TCP'}]}]}]}, 'abow abow -'],
    ['2.5-16', 'port 0, any protocol that has ports', {ingress: [{toPorts: [{ports: [{port: '0'}]}]}]}, 'abow abow -'],
    ['2.4-02', 'enableDefaultDeny false', {enableDefaultDeny: {ingress: false}, ingress: [{fromEndpoints: [A]}]}, OPEN],
    ['2.4-02', 'enableDefaultDeny false with a deny', {enableDefaultDeny: {ingress: false}, ingressDeny: [{fromEndpoints: [A]}]}, 'bow bow bow'],
    ['2.4-04', 'enableDefaultDeny true without items', {enableDefaultDeny: {ingress: true}, egress: [{}]}, OPEN],
    ['2.5-01', 'ingress: null', {ingress: null, egress: [{}]}, OPEN],
    ['2.5-01', 'fromEndpoints: null with ports', {ingress: [{fromEndpoints: null, toPorts: P80}]}, 'abow - -'],
    ['2.5-01', 'toPorts: null with peers', {ingress: [{fromEndpoints: [A], toPorts: null}]}, 'a a a'],
    ['2.5-01', 'null in every place', {ingress: [{fromEndpoints: [A], fromCIDR: null, icmps: null, authentication: null}], egressDeny: null, enableDefaultDeny: null, log: null}, 'a a a'],
    ['2.4-03', 'a deny isolates, also alone', {ingressDeny: [{fromEndpoints: [A]}]}, '- - -'],
    ['2.4-07', 'an L7 rule where nothing isolates', {enableDefaultDeny: {ingress: false}, ingress: [{fromEndpoints: [A], toPorts: [{...P80[0], rules: {http: [{method: 'GET'}]}}]}]}, OPEN],
    ['2.5-15', 'rules.http: [{}]', {ingress: [{fromEndpoints: [A], toPorts: [{...P80[0], rules: {http: [{}]}}]}]}, '- - -'],
  ];
  cases.each(rows, (rule, expected) => {
    const policy = cnp({...SUBJECT, ...(rule as object)});
    expect(decodePolicy(policy).rejections.filter(({code}) => code !== 'UnsupportedL7')).toEqual([]);
    expect(reached(policy)).toBe(expected);
  });

  cases.one('2.4-06', 'one policy that isolates is enough', () => {
    const open = cnp({...SUBJECT, enableDefaultDeny: {ingress: false}, ingress: [{fromEndpoints: [A]}]}, 'open');
    expect(reached(open, cnp({...SUBJECT, ingress: [{toPorts: P80}]}, 'isolates'))).toBe('abow a a');
  });

  cases.each([['2.5-12', 'toFQDNs: [] with ports', 'toFQDNs'], ['2.5-12', 'toServices: [] with ports', 'toServices'], ['2.5-12', 'toGroups: [] with ports', 'toGroups']], (field) => {
    const policy = cnp({...SUBJECT, egress: [{[field]: [], toPorts: P80}]});
    expect(decodePolicy(policy).rejections).toEqual([]);
    const lab = new PolicyLab({pods: PODS, policies: [policy]});
    expect(lab.verdict(`default/web -> ${WORLD}`, 'TCP/80')).toBe('deny');
  });

  cases.one('2.4-01', 'default deny is per direction', () => {
    const lab = new PolicyLab({pods: PODS, policies: [cnp({...SUBJECT, ingress: [{}]})]});
    expect(lab.verdict('default/web -> default/a', 'TCP/80')).toBe('allow');
    expect(lab.verdict('default/a -> default/web', 'TCP/80')).toBe('deny');
  });
});

/** One item at ingress or egress. */
const ingress = (item: unknown): unknown => ({...SUBJECT, ingress: [item]});
const egress = (item: unknown): unknown => ({...SUBJECT, egress: [item]});
const ports = (...list: readonly unknown[]): unknown => ingress({toPorts: [{ports: list}]});

describe('ports in Go’s notation', () => {
  test.each([
    ['0x50', {name: '0x50'}], ['HTTP', {name: 'http'}], ['010', {port: 8}], ['1_000', {port: 1000}], ['0', {port: 0}], ['65535', {port: 65535}],
  ])('port %s is read as Go reads it', (text, expected) => {
    const [rule] = decodePolicy(cnp(ports({port: text, protocol: 'TCP'}))).rules;
    expect(rule?.ports?.[0]).toMatchObject(expected);
  });
});

describe('what is refused stays closed', () => {
  const bad = {fromEndpoints: [A], toPorts: [{ports: [{port: 'bad port'}]}]};

  cases.one('2.1-02', 'one bad item takes every allow of the object away and isolates the subject', () => {
    expect(reached(cnp({...SUBJECT, ingress: [{fromEndpoints: [A]}, bad]}))).toBe('- - -');
  });

  test('a second object still allows', () => {
    expect(reached(cnp(ingress(bad), 'one'), cnp(ingress({fromEndpoints: [A]}), 'two'))).toBe('a a a');
  });

  cases.one('2.1-03', 'a deny that cannot be compiled denies everything in its direction', () => {
    const policies = [cnp({...SUBJECT, ingressDeny: [bad]}, 'one'), cnp(ingress({fromEntities: ['all']}), 'two')];
    expect(reached(...policies)).toBe('- - -');
    const lab = new PolicyLab({pods: PODS, policies});
    expect(lab.verdict('default/web -> default/a', 'TCP/80')).toBe('allow');
  });

  cases.one('2.1-02', 'a valid deny of a refused object still denies', () => {
    const policies = [cnp({...SUBJECT, ingressDeny: [{fromEndpoints: [A]}], ingress: [bad]}, 'one'), cnp(ingress({fromEntities: ['all']}), 'two')];
    expect(reached(...policies)).toBe('bow bow bow');
  });

  test('a subject that cannot be parsed selects nothing', () => {
    const policy = cnp({endpointSelector: {matchLabels: {'!': ''}}, ingress: [{}]});
    expect(decodePolicy(policy).rules).toEqual([]);
    expect(reached(policy)).toBe(OPEN);
  });

  cases.one('2.1-02', 'only the directions that are named are isolated', () => {
    const lab = new PolicyLab({pods: PODS, policies: [cnp(egress({toCIDR: ['x']}))]});
    expect(lab.verdict('default/web -> default/a', 'TCP/80')).toBe('deny');
    expect(lab.verdict('default/a -> default/web', 'TCP/80')).toBe('allow');
  });

  test('enableDefaultDeny false is still heeded', () => {
    expect(reached(cnp({...SUBJECT, enableDefaultDeny: {ingress: false}, ingress: [bad]}))).toBe(OPEN);
  });

  test('ingress: [] alone is refused, and isolates', () => {
    expect(reached(cnp({...SUBJECT, ingress: []}))).toBe('- - -');
  });

  test('ingressDeny: [] alone is refused, isolates, and denies nothing', () => {
    expect(reached(cnp({...SUBJECT, ingressDeny: []}, 'one'), cnp(ingress({fromEndpoints: [A]}), 'two'))).toBe('a a a');
  });
});

describe('not supported', () => {
  // Each has one rejection with its path, and allows nothing.
  const rows: readonly (readonly [string, string, unknown, string])[] = [
    ['2.12-01', 'HTTP rules', ingress({fromEndpoints: [A], toPorts: [{...P80[0], rules: {http: [{method: 'GET'}]}}]}), 'spec.ingress[0].toPorts[0].rules.http'],
    ['2.12-01', 'an empty HTTP rule', ingress({toPorts: [{...P80[0], rules: {http: [{}]}}]}), 'spec.ingress[0].toPorts[0].rules.http'],
    ['2.12-01', 'DNS rules', egress({toPorts: [{ports: [{port: '53', protocol: 'ANY'}], rules: {dns: [{matchPattern: '*'}]}}]}),
      'spec.egress[0].toPorts[0].rules.dns'],
    ['2.12-02', 'Kafka rules', ingress({toPorts: [{...P80[0], rules: {kafka: [{topic: 't'}]}}]}), 'spec.ingress[0].toPorts[0].rules.kafka'],
    ['2.12-02', 'l7proto', ingress({toPorts: [{...P80[0], rules: {l7proto: 'x', l7: [{}]}}]}), 'spec.ingress[0].toPorts[0].rules.l7proto'],
    ['2.12-01', 'server names', egress({toPorts: [{...P80[0], serverNames: ['a.b']}]}), 'spec.egress[0].toPorts[0].serverNames'],
    ['2.12-03', 'terminatingTLS', ingress({toPorts: [{...P80[0], terminatingTLS: {secret: {name: 's'}}}]}), 'spec.ingress[0].toPorts[0].terminatingTLS'],
    ['2.12-03', 'a listener', egress({toPorts: [{...P80[0], listener: {name: 'x'}}]}), 'spec.egress[0].toPorts[0].listener'],
    ['', 'FQDNs', egress({toFQDNs: [{matchName: 'a.b'}]}), 'spec.egress[0].toFQDNs'],
    ['2.6-71', 'groups', egress({toGroups: [{aws: {}}]}), 'spec.egress[0].toGroups'],
    ['2.12-01', 'an HTTP rule with everything', ingress({toPorts: [{...P80[0], rules: {http: [{method: 'GET|POST', path: '/v1/.*', host: '(', headers: ['X-A: b'], headerMatches: [{name: 'X-B', mismatch: 'REPLACE', value: 'c'}]}]}}]}),
      'spec.ingress[0].toPorts[0].rules.http'],
    ['', 'authentication', ingress({fromEndpoints: [A], authentication: {mode: 'required'}}), 'spec.ingress[0].authentication'],
  ];
  cases.each(rows, (spec, path) => {
    const {rules, rejections} = decodePolicy(cnp(spec));
    expect(rejections.map((rejection) => rejection.path)).toEqual([path]);
    expect(rules).toHaveLength(1);
    const [rule] = rules;
    // A peer by name has no members: nobody learns them.
    expect(rule?.peers.every(({kind}) => kind === 'named') === true || rule?.ports?.length === 0).toBe(true);
    expect(rule?.defaultDeny).toBe(true);
  });

  test('the other parts of the object go on', () => {
    const http = {...P80[0], rules: {http: [{}]}};
    expect(reached(cnp({...SUBJECT, ingress: [{fromEndpoints: [A], toPorts: [http, {ports: [{port: '81'}]}]}]}))).toBe('- a -');
    expect(reached(cnp({...SUBJECT, ingress: [{toPorts: [http]}, {fromEndpoints: [A]}]}))).toBe('a a a');
  });

  cases.one('2.6-71', 'a deny of cloud groups denies everything', () => {
    const deny = cnp({...SUBJECT, ingressDeny: [{fromGroups: [{aws: {}}]}]}, 'deny');
    expect(reached(deny, cnp(ingress({fromEntities: ['all']}), 'allow'))).toBe('- - -');
  });

  cases.one('2.12-01', 'L7 rules are kept as rule sets', () => {
    const http = {method: 'GET', path: '/v1/.*', headers: ['X-A: b'], headerMatches: [{name: 'X-B', mismatch: 'LOG', secret: {name: 's'}}]};
    const rules = (item: unknown): unknown => decodePolicy(cnp(item)).rules[0]?.l7?.map((match) => match.rules);
    expect(rules(ingress({toPorts: [{...P80[0], rules: {http: [http, {}]}}]}))).toEqual([{kind: 'http', http: [
      {...http, headerMatches: [{name: 'X-B', mismatch: 'LOG', secret: {namespace: '', name: 's'}}]}, {headers: [], headerMatches: []}]}]);
    expect(rules(egress({toPorts: [{ports: [{port: '53', protocol: 'ANY'}], rules: {dns: [{matchPattern: '*.Example.com'}, {matchName: 'a.b'}]}}]}))).toEqual([
      {kind: 'dns', dns: [{kind: 'fqdn-pattern', pattern: '*.example.com.'}, {kind: 'fqdn', name: 'a.b.'}]}]);
    expect(rules(egress({toPorts: [{...P80[0], serverNames: ['a.b']}]}))).toEqual([{kind: 'sni', serverNames: ['a.b']}]);
    expect(rules(ingress({toPorts: P80}))).toBeUndefined();
  });

  cases.one('1.1-31', 'the log text goes with every rule; description and labels change nothing', () => {
    const spec = {...SUBJECT, ingress: [{fromEndpoints: [A]}]};
    const noted = {...spec, description: 'why', labels: [{key: 'team', source: 'k8s', value: 'a'}]};
    expect(decodePolicy({...cnp(noted), description: 'why'})).toEqual(decodePolicy(cnp(spec)));
    expect(decodePolicy(cnp({...spec, log: {value: 'from the bank'}})).rules.map(({log}) => log)).toEqual(['from the bank']);
  });

  test.each([
    {k8sService: {serviceName: 'a', namespace: '10.0.0.0/33'}}, {k8sService: {serviceName: 'a/b'}}, {k8sService: {serviceName: 'a;!10.0.0.0/8'}},
    {k8sServiceSelector: {selector: {}, namespace: '10.0.0.0/33'}}, {k8sServiceSelector: {selector: {}, namespace: 'x,y'}},
  ])('a service that no object can be called is as one that is not there: %j', (service) => {
    const lab = new PolicyLab({pods: PODS, policies: [cnp(egress({toServices: [service]}))]});
    expect(lab.rejections).toEqual([]);
    expect([...PODS.map(({namespace, name}) => `${namespace}/${name}`), WORLD].filter((peer) => lab.judge(`default/web -> ${peer}`, 'TCP/80').egress?.verdict.verdict === 'allow')).toEqual([]);
  });

  cases.one('2.6-72', 'services at ingress: a field that the schema has not, which selects nobody', () => {
    expect(reached(cnp(ingress({toServices: [{k8sService: {serviceName: 'a'}}]})))).toBe('- - -');
  });

  test('a policy for nodes selects no pod', () => {
    const {rules, rejections} = decodePolicy(ccnp({nodeSelector: {}, ingress: [{}]}));
    expect(rules).toEqual([]);
    expect(rejections.map(({path}) => path)).toEqual(['spec.nodeSelector']);
  });

  test('authentication disabled is nothing special', () => {
    expect(reached(cnp(ingress({fromEndpoints: [A], authentication: {mode: 'disabled'}})))).toBe('a a a');
  });
});

/** The only peer of the only rule. */
function peerOf(object: Json): string {
  const [rule] = decodePolicy(object).rules;
  const [peer] = rule?.peers ?? [];
  return peer?.kind === 'labels' ? selectorKey(peer.selector) : (peer?.kind ?? 'no peer');
}

function subjectOf(object: Json): string {
  const [rule] = decodePolicy(object).rules;
  return rule === undefined ? 'none' : selectorKey(rule.subject);
}

describe('namespaces and clusters', () => {
  const NS = 'k8s:io.kubernetes.pod.namespace';
  const CLUSTER = 'k8s:io.cilium.k8s.policy.cluster=default';
  const from = (labels: unknown, expressions: unknown = []): unknown => ingress({fromEndpoints: [{matchLabels: labels, matchExpressions: expressions}]});

  test.each<[string, unknown, string]>([
    ['a label', {app: 'a'}, `any:app=a,${CLUSTER},${NS}=default`],
    ['the namespace by k8s:', {[NS]: 'other'}, `${CLUSTER},${NS}=other`],
    ['the namespace by any:', {'io.kubernetes.pod.namespace': 'other'}, `any:io.kubernetes.pod.namespace=other,${CLUSTER}`],
    ['namespace labels', {'io.cilium.k8s.namespace.labels.team': 'x'}, `any:io.cilium.k8s.namespace.labels.team=x,${CLUSTER}`],
    ['a cluster', {'k8s:io.cilium.k8s.policy.cluster': 'far'}, `k8s:io.cilium.k8s.policy.cluster=far,${NS}=default`],
    ['a reserved label', {'reserved:host': ''}, 'reserved:host='],
  ])('a CNP peer with %s', (_what, labels, expected) => {
    expect(peerOf(cnp(from(labels)))).toBe(expected);
  });

  test('a CCNP peer is any pod', () => {
    expect(peerOf(ccnp(from({})))).toBe(`${CLUSTER},${NS}`);
    expect(peerOf(ccnp({endpointSelector: {matchLabels: {'reserved:init': ''}}, ingress: [{fromEndpoints: [{}]}]}))).toBe(CLUSTER);
  });

  test('a CNP peer by what is absent never matches world', () => {
    const policy = cnp(from({}, [{key: NS, operator: 'NotIn', values: ['default']}]));
    expect(reached(policy)).toBe('o o o');
  });

  test('the subject of a CNP is in its namespace, whatever is written', () => {
    const subject = (endpointSelector: unknown): string => subjectOf(cnp({endpointSelector, ingress: [{}]}));
    expect(subject({})).toBe(`${NS}=default`);
    expect(subject({matchLabels: {[NS]: 'other', app: 'x'}})).toBe(`any:app=x,${NS}=default`);
    expect(subject({matchLabels: {'io.kubernetes.pod.namespace': 'other'}})).toBe(`any:io.kubernetes.pod.namespace=other,${NS}=default`);
    expect(subject({matchExpressions: [{key: NS, operator: 'In', values: ['other', 'more']}]})).toBe(`${NS}=default,${NS}=more|other`);
    expect(subjectOf(ccnp({endpointSelector: {}, ingress: [{}]}))).toBe('{}');
  });

  test('a kind that is not said follows from the namespace', () => {
    const {rules: [namespaced]} = decodePolicy({metadata: {name: 'p', namespace: 'x'}, spec: ingress({})});
    const {rules: [clusterWide]} = decodePolicy({metadata: {name: 'p'}, spec: ingress({})});
    expect([namespaced?.origin.kind, clusterWide?.origin.kind]).toEqual(['CiliumNetworkPolicy', 'CiliumClusterwideNetworkPolicy']);
  });
});

cases.one('1.1-30', 'items are counted over the lists of spec and specs', () => {
  const object = {...cnp({...SUBJECT, ingress: [{}, {}], egress: [{}], ingressDeny: [{}]}), specs: [{...SUBJECT, egressDeny: [{}]}]};
  const summary = decodePolicy(object).rules.map(({origin, direction, deny}: Rule) => `${origin.ruleIndex} ${direction}${deny ? ' deny' : ''}`);
  expect(summary).toEqual(['0 ingress', '1 ingress', '2 ingress deny', '3 egress', '4 egress deny']);
});

test('a CIDR of length 0 with host bits matches nothing, in a set it is world', () => {
  expect(reached(cnp(ingress({fromCIDR: ['1.2.3.4/0']})))).toBe('- - -');
  expect(reached(cnp(ingress({fromCIDRSet: [{cidr: '1.2.3.4/0'}]})))).toBe('w w w');
  expect(reached(cnp(ingress({fromCIDR: ['0.0.0.0/0']})))).toBe('w w w');
});

test.each([
  ['EchoRequest', {family: 'IPv4', type: 'EchoRequest'}, {protocol: 'ICMP', port: 8, exact: true}],
  ['8', {type: '8'}, {protocol: 'ICMP', port: 8, exact: true}],
  ['0', {type: 0}, {protocol: 'ICMP', port: 0, exact: true}],
  ['NeighborSolicitation', {family: 'IPv6', type: 'NeighborSolicitation'}, {protocol: 'ICMPv6', port: 135, exact: true}],
])('ICMP type %s', (_name, field, expected) => {
  const [rule] = decodePolicy(cnp(ingress({icmps: [{fields: [field]}]}))).rules;
  expect(rule?.ports).toEqual([{...expected, endPort: expected.port}]);
});

const ARTICLE = `
apiVersion: "cilium.io/v2"
kind: CiliumNetworkPolicy
description: "L3-L4 policy to restrict deathstar access to empire ships only"
metadata:
  name: "rule1"
spec:
  endpointSelector:
    matchLabels:
      org: empire
      class: deathstar
  ingress:
  - fromEndpoints:
    - matchLabels:
        org: empire
    toPorts:
    - ports:
      - port: "80"
        protocol: TCP
---
apiVersion: "cilium.io/v2"
kind: CiliumNetworkPolicy
metadata:
  name: "cidr-rule"
spec:
  endpointSelector:
    matchLabels:
      app: myService
  egress:
  - toCIDR:
    - 20.1.1.1/32
  - toCIDRSet:
    - cidr: 10.0.0.0/8
      except:
      - 10.96.0.0/12
---
apiVersion: "cilium.io/v2"
kind: CiliumNetworkPolicy
description: "L7 policy to restrict access to specific HTTP call"
metadata:
  name: "rule1"
spec:
  endpointSelector:
    matchLabels:
      org: empire
      class: deathstar
  ingress:
  - fromEndpoints:
    - matchLabels:
        org: empire
    toPorts:
    - ports:
      - port: "80"
        protocol: TCP
      rules:
        http:
        - method: "POST"
          path: "/v1/request-landing"
`.split('\n---\n').map((text) => parse(text) as Json);

describe('policies as users write them', () => {
  const [l4, cidr, l7] = ARTICLE;
  const pods = [
    pod('default/deathstar', {labels: {org: 'empire', class: 'deathstar'}, ip: '10.98.0.2'}),
    pod('default/tiefighter', {labels: {org: 'empire', class: 'tiefighter'}, ip: '10.98.1.2'}),
    pod('default/xwing', {labels: {org: 'alliance', class: 'xwing'}, ip: '10.98.1.3'}),
    pod('default/service', {labels: {app: 'myService'}, ip: '10.98.2.2'}),
  ];

  test('allow by label and port', () => {
    const lab = new PolicyLab({pods, policies: [l4 ?? {}]});
    expect(lab.rejections).toEqual([]);
    expect(lab.verdict('default/tiefighter -> default/deathstar', 'TCP/80')).toBe('allow');
    expect(lab.verdict('default/tiefighter -> default/deathstar', 'TCP/81')).toBe('deny');
    expect(lab.verdict('default/tiefighter -> default/deathstar', 'UDP/80')).toBe('deny');
    expect(lab.verdict('default/xwing -> default/deathstar', 'TCP/80')).toBe('deny');
  });

  test.each([
    ['20.1.1.1', 'allow'], ['20.1.1.2', 'deny'],
    ['10.95.255.255', 'allow'], ['10.96.0.0', 'deny'], ['10.96.0.1', 'deny'], ['10.111.255.254', 'deny'], ['10.111.255.255', 'deny'],
    ['10.112.0.1', 'allow'], ['10.255.255.255', 'allow'], ['9.255.255.255', 'deny'], ['11.0.0.0', 'deny'],
    ['default/xwing', 'deny'], // a pod inside 10.0.0.0/8 is no CIDR
  ])('a CIDR with a hole: %s %s', (destination, expected) => {
    const lab = new PolicyLab({pods, policies: [cidr ?? {}]});
    expect(lab.rejections).toEqual([]);
    expect(lab.verdict(`default/service -> ${destination}`, 'TCP/443')).toBe(expected);
  });

  test('HTTP rules are refused by path and let nobody in', () => {
    const lab = new PolicyLab({pods, policies: [l7 ?? {}]});
    expect(lab.rejections).toEqual([{
      object: {kind: 'CiliumNetworkPolicy', namespace: 'default', name: 'rule1', uid: ''},
      path: 'spec.ingress[0].toPorts[0].rules.http', code: 'UnsupportedL7', reason: 'L7 rules (http) are not supported',
    }]);
    expect(lab.verdict('default/tiefighter -> default/deathstar', 'TCP/80')).toBe('deny');
    expect(lab.verdict('#1 -> default/deathstar', 'TCP/80')).toBe('allow'); // the node's own host
  });
});

cases.complete();
