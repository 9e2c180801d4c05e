// The peer fields of one rule item: endpoints, entities, CIDRs, and those that are not supported yet.

import {contains, formatPrefix, parseInterfaceAddress, parsePrefix, type Prefix} from '../../../lib/core/ip.js';
import {LABEL_CLUSTER} from '../../../lib/domain/label-filter.js';
import type {Direction, FqdnSource, Peer} from '../../../lib/domain/policy.js';
import type {Problems} from '../../../lib/domain/problem.js';
import {canonicalSelector, equalsRequirement, existsRequirement} from '../../../lib/domain/selector.js';
import {parseSelector} from '../../../lib/domain/selector-parse.js';
import {isRecord, join, listAt, peerSelector, textOf} from './policy-common.js';
import type {Json, RuleScope} from './policy-common.js';

interface PeerField {
  readonly name: string;
  /** `nothing`: an empty list selects nothing, beside whatever else. `alone`: only when no other field is filled. */
  readonly whenEmpty: 'nothing' | 'alone';
  decode(list: readonly unknown[], path: string, scope: RuleScope): Peer[];
}

const CIDR_FIELDS: readonly PeerField[] = [
  {name: 'CIDR', whenEmpty: 'nothing', decode: (list, path, scope) => list.flatMap((item, i) => decodeCidr(item, `${path}[${i}]`, scope))},
  {name: 'CIDRSet', whenEmpty: 'nothing', decode: (list, path, scope) => list.flatMap((item, i) => decodeCidrRule(item, `${path}[${i}]`, scope))},
];

const COMMON_FIELDS: readonly PeerField[] = [
  {name: 'Endpoints', whenEmpty: 'nothing', decode: (list, path, scope) => list.flatMap((item, i) => decodeEndpoints(item, `${path}[${i}]`, scope))},
  {name: 'Nodes', whenEmpty: 'nothing', decode: refuseNodes},
  {name: 'Entities', whenEmpty: 'nothing', decode: (list, path, scope) => list.flatMap((item, i) => decodeEntity(item, `${path}[${i}]`, scope))},
  ...CIDR_FIELDS,
  {name: 'Groups', whenEmpty: 'alone', decode: unsupportedField('cloud provider groups are not supported')},
];

const FIELDS: Readonly<Record<Direction, readonly PeerField[]>> = {
  ingress: COMMON_FIELDS.map((field) => ({...field, name: `from${field.name}`})),
  egress: [
    ...COMMON_FIELDS.map((field) => ({...field, name: `to${field.name}`})),
    {name: 'toServices', whenEmpty: 'alone', decode: (list, path, scope) => list.flatMap((item, i) => decodeService(item, `${path}[${i}]`, scope))},
    {name: 'toFQDNs', whenEmpty: 'alone', decode: decodeFqdns},
  ],
};

/** Null when the item names no peers: any peer, if it names ports. */
export function decodePeers(item: Json, direction: Direction, path: string, scope: RuleScope): readonly Peer[] | null {
  const {problems} = scope;
  const given = FIELDS[direction]
    .map((field) => ({field, list: listAt(item, field.name, path, problems)}))
    .filter((entry): entry is {field: PeerField; list: readonly unknown[]} => entry.list !== null);
  refuseRequires(item, direction, path, scope);
  const filled = given.filter(({list}) => list.length > 0);
  const [first, second] = filled;
  if (first !== undefined && second !== undefined) {
    problems.refuse(path, 'CombinedPeers', `combining ${first.field.name} and ${second.field.name} is not supported`);
  }
  const peers = filled.flatMap(({field, list}) => field.decode(list, join(path, field.name), scope));
  const empty = given.filter(({list}) => list.length === 0);
  if (empty.some(({field}) => field.whenEmpty === 'nothing')) return [];
  if (filled.length > 0) return peers;
  return empty.length > 0 ? [] : null;
}

/** Dead since Cilium 1.19, where only an empty list is left valid; it says nothing. */
function refuseRequires(item: Json, direction: Direction, path: string, scope: RuleScope): void {
  const name = direction === 'ingress' ? 'fromRequires' : 'toRequires';
  const list = listAt(item, name, path, scope.problems);
  if (list !== null && list.length > 0) scope.problems.refuse(join(path, name), 'Removed', `${name} must be empty`);
}

function unsupportedField(reason: string): PeerField['decode'] {
  return (_list, path, scope) => {
    scope.problems.unsupported(path, 'UnsupportedPeer', reason);
    return [];
  };
}

/** As Cilium without `enable-node-selector-labels`, an option that is not offered. */
function refuseNodes(_list: readonly unknown[], path: string, scope: RuleScope): Peer[] {
  scope.problems.refuse(path, 'NodeSelectorsDisabled', 'peers by node labels need identities of nodes by label, which are not enabled');
  return [];
}

function decodeEndpoints(item: unknown, path: string, scope: RuleScope): Peer[] {
  const selector = parseSelector(item, {path, defaultSource: 'any', sources: true}, scope.problems);
  return selector === null ? [] : [{kind: 'labels', selector: peerSelector(selector, scope)}];
}

const RESERVED_ENTITIES: ReadonlySet<string> = new Set([
  'host', 'init', 'ingress', 'unmanaged', 'remote-node', 'health', 'kube-apiserver', 'world', 'world-ipv4', 'world-ipv6',
]);
const CLUSTER_ENTITIES = ['host', 'remote-node', 'init', 'ingress', 'health', 'unmanaged', 'kube-apiserver'];

function decodeEntity(item: unknown, path: string, scope: RuleScope): Peer[] {
  if (item === 'all') return [{kind: 'all'}];
  if (item === 'none') return [{kind: 'none'}];
  if (item === 'cluster') {
    const pods = canonicalSelector([equalsRequirement(`k8s:${LABEL_CLUSTER}`, scope.clusterName)]);
    return [...CLUSTER_ENTITIES.map(reservedPeer), {kind: 'labels', selector: pods}];
  }
  // With two address families there are two worlds.
  if (item === 'world' && scope.ipv6) return ['world', 'world-ipv4', 'world-ipv6'].map(reservedPeer);
  if (typeof item === 'string' && RESERVED_ENTITIES.has(item)) return [reservedPeer(item)];
  scope.problems.refuse(path, 'UnknownEntity', `${JSON.stringify(item)} is not an entity`);
  return [];
}

function reservedPeer(name: string): Peer {
  return {kind: 'labels', selector: {requirements: [existsRequirement(`reserved:${name}`)]}};
}

/** A prefix or a bare address. Host bits are cut off; a /0 with host bits matches nothing, as in Cilium. */
function decodeCidr(item: unknown, path: string, scope: RuleScope): Peer[] {
  const prefix = typeof item === 'string' ? parsePrefix(item) : null;
  if (typeof item !== 'string' || prefix === null) {
    scope.problems.refuse(path, 'InvalidCIDR', `${JSON.stringify(item)} is neither a prefix nor an address`);
    return [];
  }
  if (prefix.length === 0 && hasAddressBits(item)) return [{kind: 'none'}];
  return [{kind: 'cidr', prefix: formatPrefix(prefix), except: []}];
}

function hasAddressBits(text: string): boolean {
  return parseInterfaceAddress(text)?.address.bytes.some((byte) => byte !== 0) ?? false;
}

const CIDR_SOURCES = ['cidr', 'cidrGroupRef', 'cidrGroupSelector'];

function decodeCidrRule(item: unknown, path: string, scope: RuleScope): Peer[] {
  const {problems} = scope;
  if (!isRecord(item)) {
    problems.refuse(path, 'InvalidType', 'an item of a CIDR set is an object');
    return [];
  }
  const given = CIDR_SOURCES.filter((name) => item[name] !== undefined && item[name] !== '');
  if (given.length !== 1) {
    problems.refuse(path, 'InvalidCIDR', `exactly one of ${CIDR_SOURCES.join(', ')} is needed`);
    return [];
  }
  return given[0] === 'cidr' ? decodeCidrWithExcept(item, path, scope) : decodeCidrGroup(item, path, scope);
}

const NAME_LENGTH_MAX = 253;
const DNS_SUBDOMAIN = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/;

function isObjectName(text: string): boolean {
  return text.length <= NAME_LENGTH_MAX && DNS_SUBDOMAIN.test(text);
}

/** A group that is not there selects nothing. Exceptions count, though Cilium's field says otherwise. */
function decodeCidrGroup(item: Json, path: string, scope: RuleScope): Peer[] {
  const {problems} = scope;
  const except = decodeExcept(item, path, problems, () => null);
  const name = item['cidrGroupRef'];
  if (name !== undefined && name !== '') {
    if (typeof name === 'string' && isObjectName(name)) return [{kind: 'named', source: {kind: 'cidr-group', name}, except}];
    problems.refuse(join(path, 'cidrGroupRef'), 'InvalidCIDR', `${JSON.stringify(name)} is not the name of an object`);
    return [];
  }
  const options = {path: join(path, 'cidrGroupSelector'), defaultSource: 'any', sources: true};
  const selector = parseSelector(item['cidrGroupSelector'], options, problems);
  return selector === null ? [] : [{kind: 'named', source: {kind: 'cidr-groups', selector}, except}];
}

/** Also used for the ipBlock of a NetworkPolicy: `cidr` needs a length, every `except` lies inside it. */
export function decodeCidrWithExcept(item: Json, path: string, scope: RuleScope): Peer[] {
  const {problems} = scope;
  const text = item['cidr'];
  const prefix = typeof text === 'string' && text.includes('/') ? parsePrefix(text) : null;
  if (prefix === null) {
    problems.refuse(join(path, 'cidr'), 'InvalidCIDR', `${JSON.stringify(text)} is not a prefix`);
    return [];
  }
  const except = decodeExcept(item, path, problems, (inner) =>
    (contains(prefix, inner) ? null : `${formatPrefix(inner)} is not inside ${formatPrefix(prefix)}`));
  return [{kind: 'cidr', prefix: formatPrefix(prefix), except}];
}

function decodeExcept(item: Json, path: string, problems: Problems, wrong: (inner: Prefix) => string | null): string[] {
  return (listAt(item, 'except', path, problems) ?? []).flatMap((hole, i) => {
    const inner = typeof hole === 'string' ? parsePrefix(hole) : null;
    const reason = inner === null ? `${JSON.stringify(hole)} is not a prefix` : wrong(inner);
    if (inner !== null && reason === null) return [formatPrefix(inner)];
    problems.refuse(`${path}.except[${i}]`, 'InvalidCIDR', reason ?? '');
    return [];
  });
}

/** A Service by name, or several by labels. What they stand for follows from the objects; one that is not there stands for nothing. */
function decodeService(item: unknown, path: string, scope: RuleScope): Peer[] {
  const {problems} = scope;
  const service = isRecord(item) ? item['k8sService'] : undefined;
  const byLabels = isRecord(item) ? item['k8sServiceSelector'] : undefined;
  if ((service === undefined) === (byLabels === undefined)) {
    problems.refuse(path, 'InvalidService', 'exactly one of k8sService and k8sServiceSelector is needed');
    return [];
  }
  const field = service === undefined ? 'k8sServiceSelector' : 'k8sService';
  const content = service ?? byLabels;
  if (!isRecord(content)) {
    problems.refuse(join(path, field), 'InvalidType', `${field} is an object`);
    return [];
  }
  const namespace = textOf(content['namespace']);
  const name = textOf(content['serviceName']);
  if (service !== undefined && name === '') {
    problems.refuse(join(path, 'k8sService.serviceName'), 'InvalidService', 'the name of a Service is needed');
    return [];
  }
  // What no object can be called is no Service: as one that is not there.
  if (![namespace, name].every((text) => text === '' || isObjectName(text))) return [{kind: 'none'}];
  if (service !== undefined) return [{kind: 'named', source: {kind: 'service', namespace, name}, except: []}];
  const options = {path: join(path, 'k8sServiceSelector.selector'), defaultSource: 'any', sources: true};
  const parsed = parseSelector(content['selector'], options, problems);
  if (parsed === null) return [];
  // Labels of Services have no source.
  const selector = canonicalSelector(parsed.requirements.map((requirement) => ({...requirement, source: 'any'})));
  return [{kind: 'named', source: {kind: 'services', namespace, selector}, except: []}];
}

const FQDN_NAME = /^([-a-zA-Z0-9_]+[.]?)+$/;
const FQDN_PATTERN = /^([-a-zA-Z0-9_*]+[.]?)+$/;
const FQDN_LENGTH_MAX = 255;

function decodeFqdns(list: readonly unknown[], path: string, scope: RuleScope): Peer[] {
  const sources = list.flatMap((item, i) => decodeFqdn(item, `${path}[${i}]`, scope.problems) ?? []);
  if (!scope.fqdnMembers) {
    scope.problems.unsupported(path, 'UnsupportedPeer', 'nothing learns the addresses of DNS names yet: the rule selects nothing');
  }
  return sources.map((source) => ({kind: 'named', source, except: []}));
}

/** Lower case, with the dot of the root, as names are asked for. */
export function decodeFqdn(item: unknown, path: string, problems: Problems): FqdnSource | null {
  const name = isRecord(item) ? (item['matchName'] ?? '') : '';
  const pattern = isRecord(item) ? (item['matchPattern'] ?? '') : '';
  if ((name === '') === (pattern === '')) {
    problems.refuse(path, 'InvalidFQDN', 'exactly one of matchName and matchPattern is needed');
    return null;
  }
  const text = name === '' ? pattern : name;
  const allowed = name === '' ? FQDN_PATTERN : FQDN_NAME;
  if (typeof text !== 'string' || text.length > FQDN_LENGTH_MAX || !allowed.test(text)) {
    problems.refuse(path, 'InvalidFQDN', `${JSON.stringify(text)} has characters that a DNS name has not`);
    return null;
  }
  const full = text.toLowerCase().replace(/\.?$/, text === '*' ? '' : '.');
  return name === '' ? {kind: 'fqdn-pattern', pattern: full} : {kind: 'fqdn', name: full};
}
