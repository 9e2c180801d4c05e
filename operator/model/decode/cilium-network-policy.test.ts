// The two Cilium kinds, row by row: what the sanitiser refuses, what empty and absent mean, what is not supported.

import {describe, expect, test} from '@jest/globals';
import {parse} from 'yaml';

import type {Rule} from '../../../lib/domain/policy.js';
import {selectorKey} from '../../../lib/domain/selector.js';
import {PolicyLab, ccnp, cnp, decodePolicy, pod} from '../../../lib/testing/builders.js';
import type {Json} from './policy-common.js';

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
  test.each<[string, unknown, string]>([
    ['ingress absent', {egress: [{}]}, OPEN],
    ['ingress: [] beside another list', {ingress: [], egress: [{}]}, OPEN],
    ['ingress: [{}]', {ingress: [{}]}, '- - -'],
    ['fromEndpoints: []', {ingress: [{fromEndpoints: []}]}, '- - -'],
    ['fromEndpoints: [] with ports', {ingress: [{fromEndpoints: [], toPorts: P80}]}, '- - -'],
    ['fromNodes: [] with ports', {ingress: [{fromNodes: [], toPorts: P80}]}, '- - -'],
    ['fromEntities: [] with ports', {ingress: [{fromEntities: [], toPorts: P80}]}, '- - -'],
    ['fromCIDR: [] with ports', {ingress: [{fromCIDR: [], toPorts: P80}]}, '- - -'],
    ['fromCIDRSet: [] with ports', {ingress: [{fromCIDRSet: [], toPorts: P80}]}, '- - -'],
    ['fromEndpoints: [{}]', {ingress: [{fromEndpoints: [{}]}]}, 'ab ab ab'],
    ['toPorts only', {ingress: [{toPorts: P80}]}, 'abow - -'],
    ['fromEndpoints with toPorts: []', {ingress: [{fromEndpoints: [A], toPorts: []}]}, 'a a a'],
    ['fromEndpoints with toPorts: [{}]', {ingress: [{fromEndpoints: [A], toPorts: [{}]}]}, '- - -'],
    ['fromEndpoints with toPorts: [{ports: []}]', {ingress: [{fromEndpoints: [A], toPorts: [{ports: []}]}]}, '- - -'],
    ['a filled list beside an empty one', {ingress: [{fromEndpoints: [A], fromCIDR: []}]}, '- - -'],
    ['icmps: [] with peers', {ingress: [{fromEndpoints: [A], icmps: []}]}, 'a a a'],
    ['icmps: [{}] with peers', {ingress: [{fromEndpoints: [A], icmps: [{}]}]}, '- - -'],
    ['ingressDeny: [{}]', {ingressDeny: [{}]}, '- - -'],
    ['ingressDeny: [{toPorts: [{}]}]', {ingressDeny: [{toPorts: [{}]}]}, '- - -'],
    ['ingressDeny: [{fromEndpoints: []}]', {ingressDeny: [{fromEndpoints: []}]}, '- - -'],
    ['ingressDeny: [{}] beside an allow', {ingressDeny: [{}], ingress: [{fromEndpoints: [A]}]}, 'a a a'],
    ['fromGroups: [] with ports selects nothing here', {ingress: [{fromGroups: [], toPorts: P80}]}, '- - -'],
    ['fromGroups: [] beside a filled list', {ingress: [{fromGroups: [], fromEndpoints: [A]}]}, 'a a a'],
    ['fromRequires: [] says nothing', {ingress: [{fromRequires: [], toPorts: P80}]}, 'abow - -'],
    ['rules: {}', {ingress: [{toPorts: [{...P80[0], rules: {}}]}]}, 'abow - -'],
    ['rules.http: []', {ingress: [{toPorts: [{...P80[0], rules: {http: []}}]}]}, 'abow - -'],
    ['port 0, TCP', {ingress: [{toPorts: [{ports: [{port: '0', protocol: 'TCP'}]}]}]}, 'abow abow -'],
    ['port 0, any protocol that has ports', {ingress: [{toPorts: [{ports: [{port: '0'}]}]}]}, 'abow abow -'],
    ['enableDefaultDeny false', {enableDefaultDeny: {ingress: false}, ingress: [{fromEndpoints: [A]}]}, OPEN],
    ['enableDefaultDeny false with a deny', {enableDefaultDeny: {ingress: false}, ingressDeny: [{fromEndpoints: [A]}]}, 'bow bow bow'],
    ['enableDefaultDeny true without items', {enableDefaultDeny: {ingress: true}, egress: [{}]}, OPEN],
  ])('%s', (_what, rule, expected) => {
    const policy = cnp({...SUBJECT, ...(rule as object)});
    expect(decodePolicy(policy).rejections).toEqual([]);
    expect(reached(policy)).toBe(expected);
  });

  test.each([['toFQDNs'], ['toServices'], ['toGroups']])('%s: [] with ports selects nothing', (field) => {
    const policy = cnp({...SUBJECT, egress: [{[field]: [], toPorts: P80}]});
    expect(decodePolicy(policy).rejections).toEqual([]);
    const lab = new PolicyLab({pods: PODS, policies: [policy]});
    expect(lab.verdict(`default/web -> ${WORLD}`, 'TCP/80')).toBe('deny');
  });

  test('default deny is per direction', () => {
    const lab = new PolicyLab({pods: PODS, policies: [cnp({...SUBJECT, ingress: [{}]})]});
    expect(lab.verdict('default/web -> default/a', 'TCP/80')).toBe('allow');
    expect(lab.verdict('default/a -> default/web', 'TCP/80')).toBe('deny');
  });
});

/** One item at ingress or egress. */
const ingress = (item: unknown): unknown => ({...SUBJECT, ingress: [item]});
const egress = (item: unknown): unknown => ({...SUBJECT, egress: [item]});
const ports = (...list: readonly unknown[]): unknown => ingress({toPorts: [{ports: list}]});

describe('the sanitiser refuses', () => {
  test.each<[string, unknown, string, string]>([
    ['no lists', SUBJECT, 'spec', 'EmptyRule'],
    ['four empty lists', {...SUBJECT, ingress: [], egress: [], ingressDeny: [], egressDeny: []}, 'spec', 'EmptyRule'],
    ['no subject', {ingress: [{}]}, 'spec', 'InvalidSubject'],
    ['a list that is none', {...SUBJECT, ingress: {}}, 'spec.ingress', 'InvalidType'],
    ['an item that is no object', ingress('x'), 'spec.ingress[0]', 'InvalidType'],
    ['two kinds of peers', ingress({fromEndpoints: [A], fromCIDR: ['10.0.0.0/8']}), 'spec.ingress[0]', 'CombinedPeers'],
    ['FQDNs with entities', egress({toFQDNs: [{matchName: 'a.b'}], toEntities: ['world']}), 'spec.egress[0]', 'CombinedPeers'],
    ['ports with icmps', ingress({toPorts: P80, icmps: [{fields: [{type: 8}]}]}), 'spec.ingress[0]', 'CombinedPorts'],
    ['fromRequires', ingress({fromRequires: [A]}), 'spec.ingress[0].fromRequires', 'Removed'],
    ['a null list', ingress({fromEndpoints: null, toPorts: P80}), 'spec.ingress[0].fromEndpoints', 'InvalidType'],
    ['DNS rules at ingress', ingress({toPorts: [{ports: [{port: '53', protocol: 'UDP'}], rules: {dns: [{matchName: 'a.b'}]}}]}),
      'spec.ingress[0].toPorts[0].rules.dns', 'InvalidL7'],
    ['DNS rules without ports', egress({toPorts: [{rules: {dns: [{matchPattern: '*'}]}}]}), 'spec.egress[0].toPorts[0].rules.dns', 'InvalidL7'],
    ['DNS rules with a range', egress({toPorts: [{ports: [{port: '53', endPort: 60}], rules: {dns: [{}]}}]}),
      'spec.egress[0].toPorts[0].rules.dns', 'InvalidL7'],
    ['HTTP rules without TCP', ingress({toPorts: [{ports: [{port: '80'}], rules: {http: [{}]}}]}),
      'spec.ingress[0].toPorts[0].rules.http', 'InvalidL7'],
    ['HTTP rules on port 0', ingress({toPorts: [{ports: [{port: '0', protocol: 'TCP'}], rules: {http: [{}]}}]}),
      'spec.ingress[0].toPorts[0].rules.http', 'InvalidL7'],
    ['two kinds of L7 rules', egress({toPorts: [{...P80[0], rules: {http: [{}], dns: [{}]}}]}), 'spec.egress[0].toPorts[0].rules', 'InvalidL7'],
    ['a listener at ingress', ingress({toPorts: [{...P80[0], listener: {name: 'x'}}]}), 'spec.ingress[0].toPorts[0].listener', 'InvalidListener'],
    ['41 ports', ports(...Array.from({length: 41}, (_, i) => ({port: String(i + 1)}))), 'spec.ingress[0].toPorts[0].ports', 'TooManyPorts'],
    ['41 ICMP fields', ingress({icmps: [{fields: Array.from({length: 41}, () => ({type: 8}))}]}), 'spec.ingress[0].icmps[0].fields', 'TooManyFields'],
    ['an ICMP family', ingress({icmps: [{fields: [{family: 'IPv5', type: 8}]}]}), 'spec.ingress[0].icmps[0].fields[0].family', 'InvalidICMP'],
    ['an ICMP name of the other family', ingress({icmps: [{fields: [{type: 'PacketTooBig'}]}]}),
      'spec.ingress[0].icmps[0].fields[0].type', 'InvalidICMP'],
    ['an ICMP type of 256', ingress({icmps: [{fields: [{type: 256}]}]}), 'spec.ingress[0].icmps[0].fields[0].type', 'InvalidICMP'],
    ['a prototype key as ICMP name', ingress({icmps: [{fields: [{type: 'constructor'}]}]}), 'spec.ingress[0].icmps[0].fields[0].type', 'InvalidICMP'],
    ['port 65536', ports({port: '65536'}), 'spec.ingress[0].toPorts[0].ports[0].port', 'InvalidPort'],
    ['an empty port', ports({port: '', protocol: 'TCP'}), 'spec.ingress[0].toPorts[0].ports[0].port', 'InvalidPort'],
    ['no port', ports({protocol: 'TCP'}), 'spec.ingress[0].toPorts[0].ports[0].port', 'InvalidPort'],
    ['a number for a port', ports({port: 80}), 'spec.ingress[0].toPorts[0].ports[0].port', 'InvalidPort'],
    ['bad octal', ports({port: '089'}), 'spec.ingress[0].toPorts[0].ports[0].port', 'InvalidPort'],
    ['a name of 16 characters', ports({port: 'abcdefghijklmnop'}), 'spec.ingress[0].toPorts[0].ports[0].port', 'InvalidPort'],
    ['a negative port', ports({port: '-1'}), 'spec.ingress[0].toPorts[0].ports[0].port', 'InvalidPort'],
    ['a range from port 0', ports({port: '0', endPort: 100}), 'spec.ingress[0].toPorts[0].ports[0].endPort', 'InvalidPort'],
    ['an endPort of 65536', ports({port: '1', endPort: 65536}), 'spec.ingress[0].toPorts[0].ports[0].endPort', 'InvalidPort'],
    ['a protocol', ports({port: '80', protocol: 'ICMP'}), 'spec.ingress[0].toPorts[0].ports[0].protocol', 'InvalidProtocol'],
    ['a port of a protocol without ports', ports({port: '80', protocol: 'GRE'}), 'spec.ingress[0].toPorts[0].ports[0].port', 'InvalidPort'],
    ['a CIDR', ingress({fromCIDR: ['10.0.0/8']}), 'spec.ingress[0].fromCIDR[0]', 'InvalidCIDR'],
    ['a bare address in a set', ingress({fromCIDRSet: [{cidr: '10.0.0.1'}]}), 'spec.ingress[0].fromCIDRSet[0].cidr', 'InvalidCIDR'],
    ['an except outside', ingress({fromCIDRSet: [{cidr: '10.0.0.0/8', except: ['11.0.0.0/16']}]}),
      'spec.ingress[0].fromCIDRSet[0].except[0]', 'InvalidCIDR'],
    ['an except wider than its CIDR', ingress({fromCIDRSet: [{cidr: '20.0.0.0/16', except: ['20.0.0.0/8']}]}),
      'spec.ingress[0].fromCIDRSet[0].except[0]', 'InvalidCIDR'],
    ['an except of the other family', ingress({fromCIDRSet: [{cidr: '10.0.0.0/8', except: ['fd00::/16']}]}),
      'spec.ingress[0].fromCIDRSet[0].except[0]', 'InvalidCIDR'],
    ['cidr and cidrGroupRef', ingress({fromCIDRSet: [{cidr: '10.0.0.0/8', cidrGroupRef: 'g'}]}), 'spec.ingress[0].fromCIDRSet[0]', 'InvalidCIDR'],
    ['an entity', ingress({fromEntities: ['everyone']}), 'spec.ingress[0].fromEntities[0]', 'UnknownEntity'],
    ['matchName and matchPattern', egress({toFQDNs: [{matchName: 'a', matchPattern: 'b'}]}), 'spec.egress[0].toFQDNs[0]', 'InvalidFQDN'],
    ['a DNS name', egress({toFQDNs: [{matchName: 'a b'}]}), 'spec.egress[0].toFQDNs[0]', 'InvalidFQDN'],
    ['a selector', ingress({fromEndpoints: [{matchLabels: {'a b': 'c'}}]}), 'spec.ingress[0].fromEndpoints[0].matchLabels', 'InvalidSelector'],
    ['enableDefaultDeny', {...SUBJECT, ingress: [{}], enableDefaultDeny: {ingress: 'yes'}}, 'spec.enableDefaultDeny.ingress', 'InvalidType'],
    ['an authentication mode', ingress({authentication: {mode: 'maybe'}}), 'spec.ingress[0].authentication', 'InvalidAuthentication'],
    ['nodes', ingress({fromNodes: [{}]}), 'spec.ingress[0].fromNodes', 'NodeSelectorsDisabled'],
    ['nodes at egress', egress({toNodes: [{matchLabels: {rack: 'a'}}]}), 'spec.egress[0].toNodes', 'NodeSelectorsDisabled'],
    ['a group by a bad name', ingress({fromCIDRSet: [{cidrGroupRef: 'A_B'}]}), 'spec.ingress[0].fromCIDRSet[0].cidrGroupRef', 'InvalidCIDR'],
    ['a bad selector of groups', ingress({fromCIDRSet: [{cidrGroupSelector: {matchLabels: {a: ' '}}}]}),
      'spec.ingress[0].fromCIDRSet[0].cidrGroupSelector.matchLabels[a]', 'InvalidSelector'],
    ['a bad except of a group', ingress({fromCIDRSet: [{cidrGroupRef: 'g', except: ['x']}]}), 'spec.ingress[0].fromCIDRSet[0].except[0]', 'InvalidCIDR'],
    ['cidr and cidrGroupSelector', ingress({fromCIDRSet: [{cidr: '10.0.0.0/8', cidrGroupSelector: {}}]}), 'spec.ingress[0].fromCIDRSet[0]', 'InvalidCIDR'],
    ['an empty item of a CIDR set', ingress({fromCIDRSet: [{}]}), 'spec.ingress[0].fromCIDRSet[0]', 'InvalidCIDR'],
    ['a service of both kinds', egress({toServices: [{k8sService: {serviceName: 'a'}, k8sServiceSelector: {selector: {}}}]}), 'spec.egress[0].toServices[0]', 'InvalidService'],
    ['a service of neither kind', egress({toServices: [{}]}), 'spec.egress[0].toServices[0]', 'InvalidService'],
    ['a service without a name', egress({toServices: [{k8sService: {namespace: 'x'}}]}), 'spec.egress[0].toServices[0].k8sService.serviceName', 'InvalidService'],
    ['services with entities', egress({toServices: [{k8sService: {serviceName: 'a'}}], toEntities: ['world']}), 'spec.egress[0]', 'CombinedPeers'],
    ['names to be denied', {...SUBJECT, egressDeny: [{toFQDNs: [{matchName: 'a.b'}]}]}, 'spec.egressDeny[0].toFQDNs', 'InvalidFQDN'],
    ['a DNS name of 256 characters', egress({toFQDNs: [{matchName: 'a.'.repeat(128)}]}), 'spec.egress[0].toFQDNs[0]', 'InvalidFQDN'],
    ['an HTTP path that does not compile', ingress({toPorts: [{...P80[0], rules: {http: [{path: '(a'}]}}]}), 'spec.ingress[0].toPorts[0].rules.http[0].path', 'InvalidL7'],
    ['an HTTP method that does not compile', ingress({toPorts: [{...P80[0], rules: {http: [{method: '[z-a]'}]}}]}), 'spec.ingress[0].toPorts[0].rules.http[0].method', 'InvalidL7'],
    ['a back reference, which RE2 has not', ingress({toPorts: [{...P80[0], rules: {http: [{path: '(a)\\1'}]}}]}), 'spec.ingress[0].toPorts[0].rules.http[0].path', 'InvalidL7'],
    ['a header match without a name', ingress({toPorts: [{...P80[0], rules: {http: [{headerMatches: [{value: 'x'}]}]}}]}),
      'spec.ingress[0].toPorts[0].rules.http[0].headerMatches[0].name', 'InvalidL7'],
    ['a header mismatch', ingress({toPorts: [{...P80[0], rules: {http: [{headerMatches: [{name: 'x', mismatch: 'DROP'}]}]}}]}),
      'spec.ingress[0].toPorts[0].rules.http[0].headerMatches[0].mismatch', 'InvalidL7'],
    ['a header that is no text', ingress({toPorts: [{...P80[0], rules: {http: [{headers: [1]}]}}]}), 'spec.ingress[0].toPorts[0].rules.http[0].headers[0]', 'InvalidL7'],
    ['a DNS rule with two matches', egress({toPorts: [{ports: [{port: '53'}], rules: {dns: [{matchName: 'a', matchPattern: 'b'}]}}]}),
      'spec.egress[0].toPorts[0].rules.dns[0]', 'InvalidFQDN'],
    ['DNS rules over SCTP', egress({toPorts: [{ports: [{port: '53', protocol: 'SCTP'}], rules: {dns: [{matchPattern: '*'}]}}]}), 'spec.egress[0].toPorts[0].rules.dns', 'InvalidL7'],
    ['an empty server name', egress({toPorts: [{...P80[0], serverNames: ['']}]}), 'spec.egress[0].toPorts[0].serverNames[0]', 'InvalidTLS'],
    ['server names beside HTTP rules', egress({toPorts: [{...P80[0], serverNames: ['a.b'], rules: {http: [{}]}}]}), 'spec.egress[0].toPorts[0].serverNames', 'InvalidTLS'],
    ['TLS without a Secret', ingress({toPorts: [{...P80[0], terminatingTLS: {}}]}), 'spec.ingress[0].toPorts[0].terminatingTLS.secret', 'InvalidTLS'],
    ['a listener beside L7 rules', egress({toPorts: [{...P80[0], listener: {name: 'x'}, rules: {http: [{}]}}]}), 'spec.egress[0].toPorts[0].listener', 'InvalidListener'],
    ['a log text of 33 characters', {...SUBJECT, ingress: [{}], log: {value: 'x'.repeat(33)}}, 'spec.log', 'InvalidLog'],
    ['a log text with a control character', {...SUBJECT, ingress: [{}], log: {value: 'a\u0007'}}, 'spec.log', 'InvalidLog'],
    ['both subjects', {...SUBJECT, nodeSelector: {}, ingress: [{}]}, 'spec', 'InvalidSubject'],
    ['an operator', ingress({fromEndpoints: [{matchExpressions: [{key: 'a', operator: 'Gt', values: ['1']}]}]}), 'spec.ingress[0].fromEndpoints[0].matchExpressions[0].operator', 'InvalidSelector'],
    ['In without values', ingress({fromEndpoints: [{matchExpressions: [{key: 'a', operator: 'In'}]}]}), 'spec.ingress[0].fromEndpoints[0].matchExpressions[0].values', 'InvalidSelector'],
    ['Exists with values', ingress({fromEndpoints: [{matchExpressions: [{key: 'a', operator: 'Exists', values: ['x']}]}]}),
      'spec.ingress[0].fromEndpoints[0].matchExpressions[0].values', 'InvalidSelector'],
    ['nodeSelector in a namespace', {nodeSelector: {}, ingress: [{}]}, 'spec.nodeSelector', 'InvalidSubject'],
  ])('%s', (_what, spec, path, code) => {
    const {rules, rejections} = decodePolicy(cnp(spec));
    expect(rejections.map((rejection) => [rejection.path, rejection.code])).toContainEqual([path, code]);
    expect(rejections.every(({reason}) => reason.length > 0)).toBe(true);
    expect(rules.filter((rule) => !rule.deny && rule.peers.length > 0)).toEqual([]);
  });

  test('an object with neither spec nor specs', () => {
    const {rules, rejections} = decodePolicy({kind: 'CiliumNetworkPolicy', metadata: {namespace: 'default', name: 'p'}});
    expect(rules).toEqual([]);
    expect(rejections).toEqual([expect.objectContaining({path: 'spec', code: 'EmptyPolicy'})]);
  });

  test.each([
    ['0x50', {name: '0x50'}], ['HTTP', {name: 'http'}], ['010', {port: 8}], ['1_000', {port: 1000}], ['0', {port: 0}], ['65535', {port: 65535}],
  ])('port %s is read as Go reads it', (text, expected) => {
    const [rule] = decodePolicy(cnp(ports({port: text, protocol: 'TCP'}))).rules;
    expect(rule?.ports?.[0]).toMatchObject(expected);
  });
});

describe('what is refused stays closed', () => {
  const bad = {fromEndpoints: [A], toPorts: [{ports: [{port: 'bad port'}]}]};

  test('one bad item takes every allow of the object away and isolates the subject', () => {
    expect(reached(cnp({...SUBJECT, ingress: [{fromEndpoints: [A]}, bad]}))).toBe('- - -');
  });

  test('a second object still allows', () => {
    expect(reached(cnp(ingress(bad), 'one'), cnp(ingress({fromEndpoints: [A]}), 'two'))).toBe('a a a');
  });

  test('a deny that cannot be compiled denies everything in its direction', () => {
    const policies = [cnp({...SUBJECT, ingressDeny: [bad]}, 'one'), cnp(ingress({fromEntities: ['all']}), 'two')];
    expect(reached(...policies)).toBe('- - -');
    const lab = new PolicyLab({pods: PODS, policies});
    expect(lab.verdict('default/web -> default/a', 'TCP/80')).toBe('allow');
  });

  test('a valid deny of a refused object still denies', () => {
    const policies = [cnp({...SUBJECT, ingressDeny: [{fromEndpoints: [A]}], ingress: [bad]}, 'one'), cnp(ingress({fromEntities: ['all']}), 'two')];
    expect(reached(...policies)).toBe('bow bow bow');
  });

  test('a subject that cannot be parsed selects nothing', () => {
    const policy = cnp({endpointSelector: {matchLabels: {'!': ''}}, ingress: [{}]});
    expect(decodePolicy(policy).rules).toEqual([]);
    expect(reached(policy)).toBe(OPEN);
  });

  test('only the directions that are named are isolated', () => {
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
  test.each<[string, unknown, string]>([
    ['HTTP rules', ingress({fromEndpoints: [A], toPorts: [{...P80[0], rules: {http: [{method: 'GET'}]}}]}), 'spec.ingress[0].toPorts[0].rules.http'],
    ['an empty HTTP rule', ingress({toPorts: [{...P80[0], rules: {http: [{}]}}]}), 'spec.ingress[0].toPorts[0].rules.http'],
    ['DNS rules', egress({toPorts: [{ports: [{port: '53', protocol: 'ANY'}], rules: {dns: [{matchPattern: '*'}]}}]}),
      'spec.egress[0].toPorts[0].rules.dns'],
    ['Kafka rules', ingress({toPorts: [{...P80[0], rules: {kafka: [{topic: 't'}]}}]}), 'spec.ingress[0].toPorts[0].rules.kafka'],
    ['l7proto', ingress({toPorts: [{...P80[0], rules: {l7proto: 'x', l7: [{}]}}]}), 'spec.ingress[0].toPorts[0].rules.l7proto'],
    ['server names', egress({toPorts: [{...P80[0], serverNames: ['a.b']}]}), 'spec.egress[0].toPorts[0].serverNames'],
    ['terminatingTLS', ingress({toPorts: [{...P80[0], terminatingTLS: {secret: {name: 's'}}}]}), 'spec.ingress[0].toPorts[0].terminatingTLS'],
    ['a listener', egress({toPorts: [{...P80[0], listener: {name: 'x'}}]}), 'spec.egress[0].toPorts[0].listener'],
    ['FQDNs', egress({toFQDNs: [{matchName: 'a.b'}]}), 'spec.egress[0].toFQDNs'],
    ['groups', egress({toGroups: [{aws: {}}]}), 'spec.egress[0].toGroups'],
    ['an HTTP rule with everything', ingress({toPorts: [{...P80[0], rules: {http: [{method: 'GET|POST', path: '/v1/.*', host: '(', headers: ['X-A: b'], headerMatches: [{name: 'X-B', mismatch: 'REPLACE', value: 'c'}]}]}}]}),
      'spec.ingress[0].toPorts[0].rules.http'],
    ['authentication', ingress({fromEndpoints: [A], authentication: {mode: 'required'}}), 'spec.ingress[0].authentication'],
  ])('%s: one rejection with its path, and nothing is allowed', (_what, spec, path) => {
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

  test('a deny of cloud groups denies everything', () => {
    const deny = cnp({...SUBJECT, ingressDeny: [{fromGroups: [{aws: {}}]}]}, 'deny');
    expect(reached(deny, cnp(ingress({fromEntities: ['all']}), 'allow'))).toBe('- - -');
  });

  test('L7 rules are kept as rule sets', () => {
    const http = {method: 'GET', path: '/v1/.*', headers: ['X-A: b'], headerMatches: [{name: 'X-B', mismatch: 'LOG', secret: {name: 's'}}]};
    const rules = (item: unknown): unknown => decodePolicy(cnp(item)).rules[0]?.l7?.map((match) => match.rules);
    expect(rules(ingress({toPorts: [{...P80[0], rules: {http: [http, {}]}}]}))).toEqual([{kind: 'http', http: [
      {...http, headerMatches: [{name: 'X-B', mismatch: 'LOG', secret: {namespace: '', name: 's'}}]}, {headers: [], headerMatches: []}]}]);
    expect(rules(egress({toPorts: [{ports: [{port: '53', protocol: 'ANY'}], rules: {dns: [{matchPattern: '*.Example.com'}, {matchName: 'a.b'}]}}]}))).toEqual([
      {kind: 'dns', dns: [{kind: 'fqdn-pattern', pattern: '*.example.com.'}, {kind: 'fqdn', name: 'a.b.'}]}]);
    expect(rules(egress({toPorts: [{...P80[0], serverNames: ['a.b']}]}))).toEqual([{kind: 'sni', serverNames: ['a.b']}]);
    expect(rules(ingress({toPorts: P80}))).toBeUndefined();
  });

  test('the log text goes with every rule', () => {
    const [rule] = decodePolicy(cnp({...SUBJECT, ingress: [{}], log: {value: 'from the bank'}})).rules;
    expect(rule?.log).toBe('from the bank');
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

test('items are counted over the lists of spec and specs', () => {
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
