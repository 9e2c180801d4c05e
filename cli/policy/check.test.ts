// Every code that `policy validate` can say: a manifest that has the fault, where it is told, and what to do about it.

import {describe, expect, test} from '@jest/globals';
import {CrdSchemas} from '../../crds/schema.js';
import {REFUSED, TAKEN} from '../../crds/testing/refused.js';
import {checkManifests} from './check.js';
import {parseDocuments} from './documents.js';
import {FIXES, fixOf} from './findings.js';
import {DEFAULT_SETTINGS} from './settings.js';

const schemas = new CrdSchemas();

/** The first document is line 1. */
function found(...texts: readonly string[]): string[] {
  const {objects, others, problems} = parseDocuments(texts.join('---\n'), 'p.yaml');
  return checkManifests({objects, others, problems}, DEFAULT_SETTINGS, schemas).findings.map(({file, line, code, path, severity}) => `${file}:${line} ${severity} ${code} ${path}`.trim());
}

const head = (kind: string, name = 'p'): string => `apiVersion: ${kind === 'NetworkPolicy' ? 'networking.k8s.io/v1' : 'cilium.io/v2'}\nkind: ${kind}\nmetadata: {name: ${name}${kind.includes('wide') ? '' : ', namespace: shop'}}\n`;
const CNP = head('CiliumNetworkPolicy');
const SUBJECT = 'spec:\n  endpointSelector: {matchLabels: {app: api}}\n';
const POD = 'apiVersion: v1\nkind: Pod\nmetadata: {name: api, namespace: shop, labels: {app: api}}\nspec: {nodeName: node1}\n';
const NODE = 'apiVersion: v1\nkind: Node\nmetadata: {name: node1}\nspec: {podCIDR: 10.98.1.0/24}\n';
const ALLOW = '  ingress:\n  - fromEndpoints:\n    - matchLabels: {app: api}\n';

const LINT: readonly (readonly [code: string, what: string, texts: readonly string[], expected: readonly string[]])[] = [
  ['SyntaxError', 'text that is no YAML', ['a: [\n'], ['p.yaml:2 error SyntaxError']],
  ['Schema', 'a type', [`${CNP}${SUBJECT}  ingress:\n  - fromEndpoints: []\n    toPorts:\n    - ports:\n      - {port: "80", protocol: TCP, endPort: "x"}\n`],
    ['p.yaml:10 error InvalidPort spec.ingress[0].toPorts[0].ports[0].endPort']],
  ['Schema', 'what only the schema refuses', [`${CNP}${SUBJECT}  labels:\n  - {value: x}\n${ALLOW}`], ['p.yaml:7 error Schema spec.labels[0]']],
  ['UnknownField', 'a misspelt field', [`${CNP}${SUBJECT}  ingress:\n  - fromEndpoint: []\n`], ['p.yaml:7 error UnknownField spec.ingress[0].fromEndpoint']],
  ['UnknownVersion', 'a version that is not served', [`${CNP.replace('v2', 'v1')}${SUBJECT}${ALLOW}`], ['p.yaml:1 error UnknownVersion apiVersion']],
  ['DuplicateObject', 'an object twice', [`${CNP}${SUBJECT}${ALLOW}`, `${CNP}${SUBJECT}${ALLOW}`], ['p.yaml:12 warning DuplicateObject metadata.name']],
  ['DuplicateRule', 'the same rule twice', [`${CNP}${SUBJECT}${ALLOW}${ALLOW.split('\n').slice(1).join('\n')}`], ['p.yaml:9 warning DuplicateRule spec.ingress[1]']],
  ['ShadowedRule', 'a rule within another', [`${CNP}${SUBJECT}${ALLOW}  - fromEndpoints:\n    - matchLabels: {app: api}\n    toPorts:\n    - ports:\n      - {port: "80", protocol: TCP}\n`], ['p.yaml:9 warning ShadowedRule spec.ingress[1]']],
  ['ShadowedRule', 'an allow that a deny takes', [`${CNP}${SUBJECT}${ALLOW}  ingressDeny:\n  - fromEntities: [all]\n`], ['p.yaml:7 warning ShadowedRule spec.ingress[0]']],
  ['SubjectSelectsNothing', 'a subject without pods', [`${CNP}${SUBJECT.replace('app: api', 'app: gone')}${ALLOW}`, POD], ['p.yaml:5 warning SubjectSelectsNothing spec.endpointSelector']],
  ['PeerSelectsNothing', 'a peer without pods', [`${CNP}${SUBJECT}${ALLOW.replace('app: api', 'app: gone')}`, POD], ['p.yaml:7 warning PeerSelectsNothing spec.ingress[0]']],
  ['PortWithoutProtocol', 'a port of any protocol', [`${CNP}${SUBJECT}  ingress:\n  - toPorts:\n    - ports:\n      - port: "80"\n`], ['p.yaml:9 warning PortWithoutProtocol spec.ingress[0].toPorts[0].ports[0]']],
  ['PortWithoutProtocol', 'a port of a NetworkPolicy', [`${head('NetworkPolicy')}spec:\n  podSelector: {}\n  ingress:\n  - ports:\n    - port: 80\n`], ['p.yaml:8 warning PortWithoutProtocol spec.ingress[0].ports[0]']],
  ['CIDRHostBits', 'bits beyond the length', [`${CNP}${SUBJECT}  egress:\n  - toCIDR: [192.0.2.1/24]\n`], ['p.yaml:7 warning CIDRHostBits spec.egress[0].toCIDR[0]']],
  ['CIDRHostBits', 'in a set and its exceptions', [`${CNP}${SUBJECT}  egress:\n  - toCIDRSet:\n    - cidr: 10.1.2.3/8\n      except:\n      - 10.1.2.3/16\n`],
    ['p.yaml:8 warning CIDRHostBits spec.egress[0].toCIDRSet[0].cidr', 'p.yaml:10 warning CIDRHostBits spec.egress[0].toCIDRSet[0].except[0]']],
  ['CIDRCoversPods', 'a prefix of pods', [`${CNP}${SUBJECT}  egress:\n  - toCIDR: [10.98.1.7/32]\n`, NODE], ['p.yaml:7 warning CIDRCoversPods spec.egress[0].toCIDR[0]']],
  ['CIDRCoversPods', 'a prefix around pods', [`${CNP}${SUBJECT}  egress:\n  - toCIDR: [10.0.0.0/8]\n`, NODE], ['p.yaml:7 note CIDRCoversPods spec.egress[0].toCIDR[0]']],
  ['CIDRCoversPods', 'an ipBlock', [`${head('NetworkPolicy')}spec:\n  podSelector: {}\n  ingress:\n  - from:\n    - ipBlock: {cidr: 10.98.1.0/25}\n`, NODE], ['p.yaml:8 warning CIDRCoversPods spec.ingress[0].from[0].ipBlock.cidr']],
  ['LabelNotInIdentity', 'a label that the filter drops', [`${CNP}${SUBJECT}${ALLOW.replace('app: api', 'pod-template-hash: x')}`], ['p.yaml:8 warning LabelNotInIdentity spec.ingress[0].fromEndpoints[0].matchLabels.pod-template-hash']],
  ['LabelNotInIdentity', 'in an expression', [`${CNP}${SUBJECT}  ingress:\n  - fromEndpoints:\n    - matchExpressions:\n      - {key: controller-uid, operator: Exists}\n`],
    ['p.yaml:9 warning LabelNotInIdentity spec.ingress[0].fromEndpoints[0].matchExpressions[0].key']],
  ['IsolatesDNS', 'all pods isolated', [`${head('CiliumClusterwideNetworkPolicy')}spec:\n  endpointSelector: {}\n  ingress:\n  - fromEntities: [host]\n`], ['p.yaml:7 warning IsolatesDNS spec.ingress[0]']],
  ['NullField', 'a null list', [`${CNP}${SUBJECT}  ingress:\n  - fromEndpoints:\n    toPorts:\n    - ports:\n      - {port: "80", protocol: TCP}\n`], ['p.yaml:7 warning NullField spec.ingress[0].fromEndpoints']],
];

describe('a finding for each code', () => {
  test.each(LINT)('%s: %s', (code, _what, texts, expected) => {
    expect(found(...texts)).toEqual(expected);
    expect(fixOf(code)).toBe(FIXES[code]);
  });

  test.each(REFUSED)('%s %s', (...[, , spec, path, code]) => {
    const text = JSON.stringify({apiVersion: 'cilium.io/v2', kind: 'CiliumNetworkPolicy', metadata: {name: 'p', namespace: 'shop'}, spec});
    const all = found(text).map((line) => line.split(' '));
    expect(all).toContainEqual([expect.stringMatching(/^p.yaml:1$/), 'error', code, path]);
    // Said once, by whoever knows best.
    expect(all.filter(([, severity, one]) => severity === 'error' && one === 'Schema')).toEqual([]);
    expect(FIXES).toHaveProperty(code);
  });

  test('nothing else has a text of its own', () => {
    const shown = new Set<string>([...LINT.map(([code]) => code), ...REFUSED.map((row) => row[4]), 'NotAnObject', 'EmptyPolicy']);
    expect(Object.keys(FIXES).filter((code) => !shown.has(code))).toEqual([]);
  });

  test.each(TAKEN)('%s %s: only what is not supported', (...[, , spec, unsupported]) => {
    const text = JSON.stringify({apiVersion: 'cilium.io/v2', kind: 'CiliumNetworkPolicy', metadata: {name: 'p', namespace: 'shop'}, spec});
    const errors = found(text).filter((line) => line.includes(' error ')).map((line) => line.split(' ').at(-1) ?? '');
    expect(errors.sort()).toEqual([...unsupported].sort());
  });
});
