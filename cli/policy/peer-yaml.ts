// An end of a flow written as YAML of a policy: the shortest selector that means these pods and no others.

import {LABEL_NAMESPACE, LABEL_NAMESPACE_LABELS, LABEL_SERVICE_ACCOUNT} from '../../lib/domain/label-filter.js';
import type {Label, Labels} from '../../lib/domain/labels.js';
import {PROTOCOL_NUMBERS, type Direction} from '../../lib/domain/policy.js';

export interface SelectorYaml {
  readonly matchLabels?: Readonly<Record<string, string>>;
  readonly matchExpressions?: readonly {readonly key: string; readonly operator: string; readonly values?: readonly string[]}[];
}

/** Labels that people select by come first. */
const PREFERRED = ['app', 'app.kubernetes.io/name', 'k8s-app', 'name', 'component', 'app.kubernetes.io/component', 'tier', 'role'];
/** Subsets of more labels than this are not tried. */
const LABELS_MAX = 8;

export function namespaceOf(labels: Labels): string {
  return labels.valuesOf('k8s', LABEL_NAMESPACE)[0] ?? '';
}

/** `others`: every label set there is. Labels that only Cilium's own kinds can name are left to them. */
export function selectorFor(labels: Labels, others: readonly Labels[], plain = false): SelectorYaml {
  const rivals = others.filter((other) => other.key !== labels.key && namespaceOf(other) === namespaceOf(labels));
  const own = usable(labels, plain);
  const chosen = smallest(own, rivals);
  const left = rivals.filter((rival) => hasAll(rival, chosen));
  const absent = [...new Set(left.flatMap((rival) => usable(rival, plain).map(({key}) => key).filter((key) => !own.some((label) => label.key === key)).slice(0, 1)))];
  const matchLabels = Object.fromEntries(chosen.map(({key, value}) => [key, value]));
  return {
    ...(chosen.length === 0 ? {} : {matchLabels}),
    ...(absent.length === 0 ? {} : {matchExpressions: absent.map((key) => ({key, operator: 'DoesNotExist'}))}),
  };
}

function usable(labels: Labels, plain: boolean): readonly Label[] {
  const own = labels.all.filter(({source, key}) => source === 'k8s' && !key.startsWith('io.cilium.k8s.') && key !== LABEL_NAMESPACE);
  const account = plain ? [] : labels.all.filter(({key}) => key === LABEL_SERVICE_ACCOUNT);
  const rank = ({key}: Label): number => (PREFERRED.includes(key) ? PREFERRED.indexOf(key) : PREFERRED.length);
  return [...[...own].sort((a, b) => rank(a) - rank(b)), ...account].slice(0, LABELS_MAX);
}

/** The fewest labels that no rival has all of; all of them when there are no such. */
function smallest(own: readonly Label[], rivals: readonly Labels[]): readonly Label[] {
  if (own.length === 0) return [];
  for (let size = 1; size <= own.length; size++) {
    for (const subset of subsetsOf(own, size)) if (!rivals.some((rival) => hasAll(rival, subset))) return subset;
  }
  return own;
}

function* subsetsOf(labels: readonly Label[], size: number, from = 0): Generator<readonly Label[]> {
  if (size === 0) {
    yield [];
    return;
  }
  for (let i = from; i <= labels.length - size; i++) {
    const label = labels[i];
    if (label !== undefined) for (const rest of subsetsOf(labels, size - 1, i + 1)) yield [label, ...rest];
  }
}

function hasAll(labels: Labels, wanted: readonly Label[]): boolean {
  return wanted.every(({source, key, value}) => labels.valuesOf(source, key).includes(value));
}

/** What the other end is, for one item of a rule. */
export type PeerYaml =
  | {readonly kind: 'pods'; readonly labels: Labels}
  | {readonly kind: 'cidr'; readonly prefix: string}
  | {readonly kind: 'entity'; readonly name: string};

export interface PeerField {
  readonly field: string;
  readonly value: unknown;
}

/** `namespace`: that of the policy; empty in a cluster-wide one. */
export function ciliumPeer(peer: PeerYaml, direction: Direction, scope: {readonly namespace: string; readonly all: readonly Labels[]}): PeerField {
  const from = direction === 'ingress' ? 'from' : 'to';
  switch (peer.kind) {
    case 'entity':
      return {field: `${from}Entities`, value: peer.name};
    case 'cidr':
      return {field: `${from}CIDR`, value: peer.prefix};
    case 'pods': {
      const selector = selectorFor(peer.labels, scope.all);
      const namespace = namespaceOf(peer.labels);
      const foreign = namespace === scope.namespace ? {} : {[`k8s:${LABEL_NAMESPACE}`]: namespace};
      const matchLabels = {...selector.matchLabels, ...foreign};
      return {field: `${from}Endpoints`, value: {...(Object.keys(matchLabels).length === 0 ? {} : {matchLabels}), ...expressionsOf(selector)}};
    }
  }
}

function expressionsOf({matchExpressions}: SelectorYaml): object {
  return matchExpressions === undefined ? {} : {matchExpressions};
}

/** Null for what a NetworkPolicy cannot say. */
export function kubernetesPeer(peer: PeerYaml, scope: {readonly namespace: string; readonly all: readonly Labels[]}): unknown {
  if (peer.kind === 'entity') return null;
  if (peer.kind === 'cidr') return {ipBlock: {cidr: peer.prefix}};
  const podSelector = selectorFor(peer.labels, scope.all, true);
  const namespace = namespaceOf(peer.labels);
  if (namespace === scope.namespace) return {podSelector};
  const key = 'kubernetes.io/metadata.name';
  const known = peer.labels.valuesOf('k8s', `${LABEL_NAMESPACE_LABELS}.${key}`).includes(namespace);
  return known ? {namespaceSelector: {matchLabels: {[key]: namespace}}, podSelector} : null;
}

/** `toPorts` or `icmps`; null for protocols whose name no policy has. */
export function ciliumPorts(protocol: number, port: number): Readonly<Record<string, unknown>> | null {
  const name = protocolName(protocol);
  if (name === null) return null;
  if (name === 'ICMP' || name === 'ICMPv6') return {icmps: [{fields: [{family: name === 'ICMP' ? 'IPv4' : 'IPv6', type: port}]}]};
  return {toPorts: [{ports: [ciliumPort(name, port)]}]};
}

export function ciliumPort(name: string, port: number): Readonly<Record<string, string>> {
  return ['TCP', 'UDP', 'SCTP'].includes(name) ? {port: String(port), protocol: name} : {protocol: name};
}

export function protocolName(protocol: number): string | null {
  return Object.entries(PROTOCOL_NUMBERS).find(([, number]) => number === protocol && number > 0)?.[0] ?? null;
}
