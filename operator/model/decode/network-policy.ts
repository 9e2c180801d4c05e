// Kubernetes NetworkPolicy → rules, as Cilium translates it (pkg/k8s/network_policy.go).

import type {ObjectRef} from '../../../lib/core/errors.js';
import {LABEL_NAMESPACE, LABEL_NAMESPACE_LABELS} from '../../../lib/domain/label-filter.js';
import {originOf} from '../../../lib/domain/policy.js';
import type {Direction, Peer, PortMatch, Rule} from '../../../lib/domain/policy.js';
import {Problems} from '../../../lib/domain/problem.js';
import {canonicalSelector, equalsRequirement, existsRequirement} from '../../../lib/domain/selector.js';
import type {Selector} from '../../../lib/domain/selector.js';
import {parseSelector} from '../../../lib/domain/selector-parse.js';
import {ANY_PEER, isRecord, join, peerSelector, refOf} from './policy-common.js';
import type {DecodeContext, DecodedPolicy, Json, RuleScope} from './policy-common.js';
import {decodeCidrWithExcept} from './policy-peers.js';
import {isServiceName} from './policy-ports.js';

const KIND = 'NetworkPolicy';
const PORT_MAX = 65535;

export function decodeNetworkPolicy(object: Json, context: DecodeContext): DecodedPolicy {
  const ref = refOf(object, KIND, true);
  const problems = new Problems();
  const scope: RuleScope = {namespace: ref.namespace, clusterName: context.clusterName, initSubject: false, ipv6: context.ipv6 ?? false, fqdnMembers: false, problems};
  const spec = object['spec'];
  const rules = isRecord(spec) ? rulesOf(spec, ref, scope) : [];
  if (!isRecord(spec)) problems.refuse('spec', 'InvalidType', 'the object has no spec');
  return {rules: problems.refused ? rules.map((rule) => ({...rule, peers: []})) : rules, rejections: problems.rejections(ref)};
}

function rulesOf(spec: Json, ref: ObjectRef, scope: RuleScope): Rule[] {
  const subject = subjectOf(spec, scope);
  const types = listOf(spec, 'policyTypes', 'spec', scope) ?? [];
  const ingress = itemsOf(spec, 'ingress', scope);
  const egress = itemsOf(spec, 'egress', scope);
  const isolated: Rule['direction'][] = [];
  if (ingress.length === 0 && (types.includes('Ingress') || !types.includes('Egress'))) isolated.push('ingress');
  if (egress.length === 0 && types.includes('Egress')) isolated.push('egress');
  if (subject === null) return [];
  const contents: Pick<Rule, 'direction' | 'peers' | 'ports'>[] = [
    ...ingress, ...egress, ...isolated.map((direction) => ({direction, peers: [], ports: null})),
  ];
  return contents.map(({direction, peers, ports}, ruleIndex) => ({origin: originOf(ref, ruleIndex), subject, direction, deny: false, defaultDeny: true, peers, ports}));
}

/** Without a podSelector every pod of the namespace. Null when it cannot be read. */
function subjectOf(spec: Json, scope: RuleScope): Selector | null {
  const selector = plainSelector(spec['podSelector'] ?? {}, 'spec.podSelector', scope);
  if (selector === null) return null;
  return canonicalSelector([...selector.requirements, equalsRequirement(`k8s:${LABEL_NAMESPACE}`, scope.namespace)]);
}

function plainSelector(json: unknown, path: string, scope: RuleScope): Selector | null {
  return parseSelector(json, {path, defaultSource: 'k8s', sources: false}, scope.problems);
}

/** Null when absent; Kubernetes' own kinds treat null as absent. */
function listOf(json: Json, field: string, path: string, scope: RuleScope): readonly unknown[] | null {
  const value = json[field];
  if (value === undefined || value === null) return null;
  if (Array.isArray(value)) return value;
  scope.problems.refuse(join(path, field), 'InvalidType', `${field} is a list`);
  return null;
}

function itemsOf(spec: Json, direction: Direction, scope: RuleScope): Pick<Rule, 'direction' | 'peers' | 'ports'>[] {
  return (listOf(spec, direction, 'spec', scope) ?? []).map((item, i) => {
    const path = `spec.${direction}[${i}]`;
    if (isRecord(item)) return {direction, peers: peersOf(item, direction, path, scope), ports: portsOf(item, path, scope)};
    scope.problems.refuse(path, 'InvalidType', 'an item is an object');
    return {direction, peers: [], ports: null};
  });
}

/** Empty or missing: everything, world and nodes included. */
function peersOf(item: Json, direction: Direction, path: string, scope: RuleScope): readonly Peer[] {
  const field = direction === 'ingress' ? 'from' : 'to';
  const list = listOf(item, field, path, scope) ?? [];
  // Trimmed: what a flattened list keeps to grow is more than what is in it.
  return list.length === 0 ? ANY_PEER : list.flatMap((peer, i) => peerOf(peer, `${path}.${field}[${i}]`, scope)).slice();
}

/** `ipBlock` never matches pods or nodes. A peer with nothing in it selects nothing. */
function peerOf(json: unknown, path: string, scope: RuleScope): Peer[] {
  if (!isRecord(json)) {
    scope.problems.refuse(path, 'InvalidType', 'a peer is an object');
    return [];
  }
  const {ipBlock = null, podSelector = null, namespaceSelector = null} = json;
  if (ipBlock !== null) {
    if (podSelector !== null || namespaceSelector !== null) {
      scope.problems.refuse(path, 'CombinedPeers', 'ipBlock excludes podSelector and namespaceSelector');
    }
    if (isRecord(ipBlock)) return decodeCidrWithExcept(ipBlock, `${path}.ipBlock`, scope);
    scope.problems.refuse(`${path}.ipBlock`, 'InvalidType', 'ipBlock is an object');
    return [];
  }
  if (podSelector === null && namespaceSelector === null) return [];
  const pods = podSelector === null ? {requirements: []} : plainSelector(podSelector, `${path}.podSelector`, scope);
  const namespaces = namespaceSelector === null
    ? {requirements: []} // peerSelector adds the policy's own namespace
    : namespaceLabelSelector(namespaceSelector, `${path}.namespaceSelector`, scope);
  if (pods === null || namespaces === null) return [];
  const selector = canonicalSelector([...pods.requirements, ...namespaces.requirements]);
  return [{kind: 'labels', selector: peerSelector(selector, scope)}];
}

/** Labels of a namespace are labels of its pods' identities under a prefix. An empty selector is every namespace. */
function namespaceLabelSelector(json: unknown, path: string, scope: RuleScope): Selector | null {
  const selector = plainSelector(json, path, scope);
  if (selector === null) return null;
  if (selector.requirements.length === 0) return {requirements: [existsRequirement(`k8s:${LABEL_NAMESPACE}`)]};
  return {requirements: selector.requirements.map((requirement) => ({...requirement, key: `${LABEL_NAMESPACE_LABELS}.${requirement.key}`}))};
}

/** Empty or missing: every protocol and port. */
function portsOf(item: Json, path: string, scope: RuleScope): readonly PortMatch[] | null {
  const list = listOf(item, 'ports', path, scope) ?? [];
  return list.length === 0 ? null : list.flatMap((port, i) => portOf(port, `${path}.ports[${i}]`, scope));
}

function portOf(json: unknown, path: string, scope: RuleScope): PortMatch[] {
  const {problems} = scope;
  if (!isRecord(json)) {
    problems.refuse(path, 'InvalidType', 'a port is an object');
    return [];
  }
  const protocol = json['protocol'] ?? 'TCP';
  if (protocol !== 'TCP' && protocol !== 'UDP' && protocol !== 'SCTP') {
    problems.refuse(`${path}.protocol`, 'InvalidProtocol', 'protocol is TCP, UDP or SCTP');
    return [];
  }
  const port = json['port'] ?? null;
  const endPort = json['endPort'] ?? null;
  if (endPort !== null && (!isPort(endPort) || !isPort(port) || endPort < port)) {
    problems.refuse(`${path}.endPort`, 'InvalidPort', 'endPort is a number from port on, and port is a number');
    return [];
  }
  if (port === null) return [{protocol, port: 0, endPort: 0}];
  if (isPort(port)) return [{protocol, port, endPort: isPort(endPort) ? endPort : port}];
  if (typeof port === 'string' && isServiceName(port)) return [{protocol, port: 0, endPort: 0, name: port.toLowerCase()}];
  problems.refuse(`${path}.port`, 'InvalidPort', `${JSON.stringify(port)} is neither a port number nor a port name`);
  return [];
}

function isPort(value: unknown): value is number {
  return typeof value === 'number' && Number.isInteger(value) && value >= 1 && value <= PORT_MAX;
}
