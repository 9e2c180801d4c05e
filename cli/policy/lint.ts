// Lint: what is valid and still most likely not meant. Each finding names the rule's own path.

import {contains, hasHostBits, parsePrefix} from '../../lib/core/ip.js';
import {IDENTITY_ANY} from '../../lib/domain/identity.js';
import {identityLabels, type LabelFilter, LABEL_NAMESPACE} from '../../lib/domain/label-filter.js';
import type {Labels} from '../../lib/domain/labels.js';
import type {Peer, Rule} from '../../lib/domain/policy.js';
import {matches} from '../../lib/domain/selector.js';
import {isRecord} from '../../lib/kube/object.js';
import {shadowsOf} from '../../lib/policy/cover.js';
import {matcherOf} from '../../lib/policy/members.js';
import {resolveSubject} from '../../lib/policy/resolve.js';
import {SELECTOR_ANY, peerOf, selectorId} from '../../lib/policy/selectors.js';
import type {Severity} from './findings.js';
import {Selections} from './selections.js';
import type {LoadedPolicy, World} from './world.js';

export interface Lint {
  readonly policy: LoadedPolicy;
  readonly severity: Severity;
  readonly path: string;
  readonly code: string;
  readonly reason: string;
}

type Json = Readonly<Record<string, unknown>>;

export function lintWorld(world: World): Lint[] {
  const selections = new Selections(world.cluster.endpoints.map(({labels}) => labels));
  const ranges = podRanges(world);
  return [
    ...world.policies.flatMap((policy) => [
      ...selectsNothing(policy, selections), ...lintFields(policy, ranges, world.settings.labelFilter),
    ]),
    ...shadowed(world), ...isolatesDns(world),
  ];
}

function shadowed({policies}: World): Lint[] {
  const owner = new Map(policies.flatMap((policy) => policy.rules.map((rule) => [rule, policy] as const)));
  return shadowsOf(policies.flatMap(({rules}) => rules)).flatMap(({rule, by, how}) => {
    const [policy, other] = [owner.get(rule), owner.get(by)];
    if (policy === undefined || other === undefined) return [];
    const {line, file} = other.from.source.locate(pathOf(other, by));
    const where = `${other.kind} ${other.ref.namespace === '' ? '' : `${other.ref.namespace}/`}${other.ref.name} ${pathOf(other, by)}${file === '' ? '' : ` (${file}:${line})`}`;
    const reason = how === 'duplicate' ? `the same as ${where}` : how === 'covered' ? `adds nothing to ${where}` : `never takes effect: ${where} denies all of it`;
    return [{policy, severity: 'warning' as const, path: pathOf(policy, rule), code: how === 'duplicate' ? 'DuplicateRule' : 'ShadowedRule', reason}];
  });
}

export function pathOf(policy: LoadedPolicy, rule: Rule): string {
  return policy.paths[rule.origin.ruleIndex] ?? 'spec';
}

/** Only where pods are known: without any, nothing can be said. */
function selectsNothing(policy: LoadedPolicy, selections: Selections): Lint[] {
  const lint = (path: string, code: string, reason: string): Lint => ({policy, severity: 'warning', path, code, reason});
  const found: Lint[] = [];
  if (selections.isEmpty) return found;
  const [first] = policy.rules;
  if (first !== undefined && policy.rules.every(({subject}) => !selections.selectsAny({kind: 'labels', selector: subject}))) {
    const spec = (policy.paths[first.origin.ruleIndex] ?? 'spec').replace(/\.(ingress|egress).*$/, '');
    const field = policy.kind === 'NetworkPolicy' ? 'podSelector' : 'endpointSelector';
    return [lint(`${spec}.${field}`, 'SubjectSelectsNothing', 'no pod of the input has these labels')];
  }
  for (const rule of policy.rules) {
    const dead = rule.peers.filter((peer) => peer.kind === 'labels' && !selections.selectsAny(peer));
    if (rule.peers.length > 0 && dead.length === rule.peers.length) {
      found.push(lint(pathOf(policy, rule), 'PeerSelectsNothing', `no pod of the input is ${dead.map((peer) => selectorId(peer)).join(' or ')}`));
    }
  }
  return found;
}

interface Range {
  readonly text: string;
  readonly what: string;
}

function podRanges({cluster: {nodes}}: World): Range[] {
  return nodes.flatMap(({name, podCidrs}) => podCidrs.map((text) => ({text, what: `the pods of node ${name}`})));
}

/** Walks the object as it was written: what the decoder has normalised away can only be seen there. */
function lintFields(policy: LoadedPolicy, ranges: readonly Range[], filter: LabelFilter): Lint[] {
  const found: Lint[] = [];
  const lint = (severity: Severity, path: string, code: string, reason: string): void => void found.push({policy, severity, path, code, reason});
  const {spec, specs} = policy.from.object as Json;
  eachValue({spec, specs}, (value, path, field) => {
    if (value === null && policy.kind !== 'NetworkPolicy') lint('warning', path, 'NullField', `${field}: null is as if it were not there${PEERS_OR_PORTS.test(field) ? ': any peer, or any port' : ''}`);
    if (typeof value === 'string' && CIDR_LISTS.has(field)) lintCidr({cidr: value}, path, path, {ranges, lint});
    if (!isRecord(value)) return;
    if (field === 'ports') lintPort(policy, value, path, lint);
    if (typeof value['cidr'] === 'string') lintCidr(value, `${path}.cidr`, path, {ranges, lint});
    if (field === 'matchExpressions' && typeof value['key'] === 'string') lintLabel(value['key'], `${path}.key`, filter, lint);
    if (field === 'matchLabels') for (const key of Object.keys(value)) lintLabel(key, `${path}.${key}`, filter, lint);
  });
  return found;
}

const PEERS_OR_PORTS = /^(from|to)[A-Z]|^icmps$|^ports$/;

const CIDR_LISTS: ReadonlySet<string> = new Set(['fromCIDR', 'toCIDR', 'except']);

type Say = (severity: Severity, path: string, code: string, reason: string) => void;

/** `field`: the nearest name on the way to the value. */
function eachValue(value: unknown, visit: (value: unknown, path: string, field: string) => void, path = '', field = ''): void {
  visit(value, path, field);
  if (Array.isArray(value)) for (const [i, item] of value.entries()) eachValue(item, visit, `${path}[${i}]`, field);
  else if (isRecord(value)) for (const [name, inner] of Object.entries(value)) eachValue(inner, visit, path === '' ? name : `${path}.${name}`, name);
}

function lintPort({kind}: LoadedPolicy, port: Json, path: string, lint: Say): void {
  if (port['protocol'] !== undefined || port['port'] === undefined) return;
  const means = kind === 'NetworkPolicy' ? 'TCP only' : 'TCP, UDP and SCTP';
  lint('warning', path, 'PortWithoutProtocol', `port ${JSON.stringify(port['port'])} without a protocol means ${means}`);
}

function lintCidr(item: Json, path: string, holder: string, {ranges, lint}: {readonly ranges: readonly Range[]; readonly lint: Say}): void {
  const text = String(item['cidr']);
  const prefix = parsePrefix(text);
  if (prefix === null) return;
  if (hasHostBits(text)) lint('warning', path, 'CIDRHostBits', `${text} has bits beyond its own length, which are ignored`);
  if (holder.includes('.except')) return;
  const holes = Array.isArray(item['except']) ? item['except'].flatMap((hole) => (typeof hole === 'string' ? parsePrefix(hole) ?? [] : [])) : [];
  for (const range of ranges) {
    const pods = parsePrefix(range.text);
    if (pods === null || holes.some((hole) => contains(hole, pods))) continue;
    if (contains(pods, prefix)) {
      lint('warning', path, 'CIDRCoversPods', `${text} lies within ${range.text}, ${range.what}: it never matches`);
      return;
    }
    if (prefix.length > 0 && contains(prefix, pods)) {
      lint('note', path, 'CIDRCoversPods', `${text} covers ${range.text}, ${range.what}: those it does not match`);
      return;
    }
  }
}

function lintLabel(name: string, path: string, filter: LabelFilter, lint: Say): void {
  // A NetworkPolicy's namespaceSelector is about labels of namespaces: every one of them is in the identities of their pods.
  if (path.includes('.namespaceSelector.')) return;
  const colon = name.indexOf(':');
  const [source, key] = colon < 0 ? ['any', name] : [name.slice(0, colon), name.slice(colon + 1)];
  if ((source !== 'any' && source !== 'k8s') || filter.keeps('k8s', key)) return;
  lint('warning', path, 'LabelNotInIdentity', `${key} is in no identity: labels of this name are filtered out, so nothing has it`);
}

/** As if it were there when it is not: a pod with these labels would be isolated in every cluster. */
function isolatesDns({policies, cluster, settings}: World): Lint[] {
  const given = cluster.endpoints.filter(({labels}) => labels.valuesOf('k8s', 'k8s-app').includes('kube-dns') && labels.valuesOf('k8s', LABEL_NAMESPACE).includes('kube-system'));
  const subjects = given.length > 0 ? given.map(({labels}) => labels) : [podLabels('kube-system', {'k8s-app': 'kube-dns'}, settings.clusterName)];
  const client = podLabels('any-namespace', {}, settings.clusterName);
  const found = new Map<LoadedPolicy, Lint>();
  for (const subject of subjects) {
    const selecting = policies.map((policy) => ({policy, rules: policy.rules.filter((rule) => rule.direction === 'ingress' && matches(rule.subject, subject))}))
      .filter(({rules}) => rules.length > 0);
    const rules = selecting.flatMap((entry) => entry.rules);
    if (rules.length === 0 || (reaches(rules, client, 17) && reaches(rules, client, 6))) continue;
    for (const {policy, rules: [rule]} of selecting) {
      if (rule === undefined || !policy.rules.some((other) => other.defaultDeny && other.direction === 'ingress')) continue;
      found.set(policy, {policy, severity: 'warning', path: pathOf(policy, rule), code: 'IsolatesDNS', reason: 'isolates kube-dns, and no rule lets every pod ask it on port 53 (UDP and TCP)'});
    }
  }
  return [...found.values()];
}

function podLabels(namespace: string, labels: Readonly<Record<string, string>>, clusterName: string): Labels {
  return identityLabels({podLabels: labels, namespace, namespaceLabels: {}, serviceAccount: '', clusterName});
}

/** Whether some entry lets port 53 in from a pod that has no labels of its own; names of ports are taken for DNS. */
function reaches(rules: readonly Rule[], client: Labels, protocol: number): boolean {
  const {ingressEnforced, entries} = resolveSubject(rules, {mode: 'default', allowLocalhost: false});
  const fits = entries.filter((entry) => entry.direction === 'ingress' && (entry.protocol === 0 || entry.protocol === protocol)
    && (entry.portName !== undefined || 53 >> (16 - entry.portPrefixLength) === entry.port >> (16 - entry.portPrefixLength)));
  const asks = (peer: Peer): boolean => peer.kind === 'all' || (peer.kind === 'labels' && matcherOf(peer).matchesIdentity(IDENTITY_ANY, client));
  const matching = fits.filter(({selector}) => selector === SELECTOR_ANY || asks(peerOf(selector)));
  return !ingressEnforced || (matching.length > 0 && !matching.some(({deny}) => deny));
}
