// Kubernetes NetworkPolicy: policy types, empty against absent, peers and ports.

import {describe, expect, test} from '@jest/globals';

import {selectorKey} from '../../../lib/domain/selector.js';
import {PolicyLab, decodePolicy, networkPolicy, pod} from '../../../lib/testing/builders.js';

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

const OPEN = 'aow aow';
const NONE = '- -';

describe('policy types', () => {
  test.each<[string, object, string, string]>([
    ['nothing said: deny all ingress', {}, NONE, OPEN],
    ['Ingress', {policyTypes: ['Ingress']}, NONE, OPEN],
    ['Egress', {policyTypes: ['Egress']}, OPEN, NONE],
    ['both', {policyTypes: ['Ingress', 'Egress']}, NONE, NONE],
    ['empty ingress', {ingress: [], policyTypes: ['Ingress']}, NONE, OPEN],
    ['egress items that the types leave out are used, and ingress is closed', {egress: [{}]}, NONE, OPEN],
    ['ingress items that the types leave out are used', {ingress: [{ports: [{port: 80}]}], policyTypes: ['Egress']}, 'aow -', NONE],
    ['null lists are absent', {ingress: null, egress: null, policyTypes: ['Ingress']}, NONE, OPEN],
  ])('%s', (_what, spec, ingress, egress) => {
    expect(open({...SUBJECT, ...spec})).toEqual({ingress, egress});
  });
});

describe('peers and ports', () => {
  test.each<[string, unknown, string]>([
    ['an empty item is everything', {}, OPEN],
    ['from: []', {from: []}, OPEN],
    ['from: [{}] allows nothing', {from: [{}]}, NONE],
    ['a podSelector stays in the namespace', {from: [{podSelector: {matchLabels: {app: 'a'}}}]}, 'a a'],
    ['an empty podSelector', {from: [{podSelector: {}}]}, 'a a'],
    ['an empty namespaceSelector is every pod', {from: [{namespaceSelector: {}}]}, 'ao ao'],
    ['a namespaceSelector', {from: [{namespaceSelector: {matchLabels: {'kubernetes.io/metadata.name': 'other'}}}]}, 'o o'],
    ['a namespaceSelector by absence is about pods only',
      {from: [{namespaceSelector: {matchExpressions: [{key: 'absent', operator: 'DoesNotExist'}]}}]}, 'ao ao'],
    ['both selectors', {from: [{namespaceSelector: {}, podSelector: {matchLabels: {app: 'web'}}}]}, NONE],
    ['an ipBlock is never a pod', {from: [{ipBlock: {cidr: '0.0.0.0/0'}}]}, 'w w'],
    ['an ipBlock with a hole', {from: [{ipBlock: {cidr: '203.0.113.0/24', except: ['203.0.113.0/30']}}]}, NONE],
    ['a port without protocol is TCP', {ports: [{port: 80}]}, 'aow -'],
    ['a protocol without port', {ports: [{protocol: 'UDP'}]}, '- aow'],
    ['ports: [{}] is every TCP port', {ports: [{}]}, 'aow -'],
    ['ports: []', {ports: []}, OPEN],
    ['a range', {ports: [{port: 79, endPort: 81}]}, 'aow -'],
    ['a name is the number of the pod itself', {ports: [{port: 'http'}]}, 'aow -'],
    ['a name that the pod has not', {ports: [{port: 'metrics'}]}, NONE],
  ])('%s', (_what, item, ingress) => {
    const spec = {...SUBJECT, ingress: [item]};
    expect(decodePolicy(networkPolicy(spec)).rejections).toEqual([]);
    expect(open(spec).ingress).toBe(ingress);
  });

  test('at egress a name is the number of each peer', () => {
    const cluster = lab({...SUBJECT, egress: [{to: [{namespaceSelector: {}}], ports: [{port: 'http'}]}], policyTypes: ['Egress']});
    const allowed = ['80', '81', '8080'].flatMap((port) =>
      ['default/a', 'other/a'].filter((name) => cluster.verdict(`default/web -> ${name}`, `TCP/${port}`) === 'allow').map((name) => `${name}:${port}`));
    expect(allowed).toEqual(['other/a:81', 'default/a:8080']);
  });

  test.each<[string, unknown, string]>([
    ['port 0', {ports: [{port: 0}]}, 'spec.ingress[1].ports[0].port'],
    ['a text of digits', {ports: [{port: '80'}]}, 'spec.ingress[1].ports[0].port'],
    ['endPort before port', {ports: [{port: 80, endPort: 79}]}, 'spec.ingress[1].ports[0].endPort'],
    ['endPort with a name', {ports: [{port: 'http', endPort: 90}]}, 'spec.ingress[1].ports[0].endPort'],
    ['a protocol', {ports: [{port: 80, protocol: 'ICMP'}]}, 'spec.ingress[1].ports[0].protocol'],
    ['a CIDR', {from: [{ipBlock: {cidr: '10.0.0.1'}}]}, 'spec.ingress[1].from[0].ipBlock.cidr'],
    ['ipBlock with a selector', {from: [{ipBlock: {cidr: '10.0.0.0/8'}, podSelector: {}}]}, 'spec.ingress[1].from[0]'],
    ['a source prefix', {from: [{podSelector: {matchLabels: {'k8s:app': 'a'}}}]}, 'spec.ingress[1].from[0].podSelector.matchLabels'],
  ])('%s is refused, and the pod stays isolated', (_what, item, path) => {
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
