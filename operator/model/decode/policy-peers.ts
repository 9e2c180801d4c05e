// The peer fields of one rule item: endpoints, entities, CIDRs, and those that are not supported yet.

import {contains, formatPrefix, parseInterfaceAddress, parsePrefix} from '../../../lib/core/ip.js';
import {LABEL_CLUSTER} from '../../../lib/domain/label-filter.js';
import type {Direction, Peer} from '../../../lib/domain/policy.js';
import {canonicalSelector, equalsRequirement, existsRequirement} from '../../../lib/domain/selector.js';
import {parseSelector} from '../../../lib/domain/selector-parse.js';
import {isRecord, join, listAt, peerSelector} from './policy-common.js';
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
  {name: 'Nodes', whenEmpty: 'nothing', decode: unsupportedField('peers by node labels are not supported')},
  {name: 'Entities', whenEmpty: 'nothing', decode: (list, path, scope) => list.flatMap((item, i) => decodeEntity(item, `${path}[${i}]`, scope))},
  ...CIDR_FIELDS,
  {name: 'Groups', whenEmpty: 'alone', decode: unsupportedField('cloud provider groups are not supported')},
];

const FIELDS: Readonly<Record<Direction, readonly PeerField[]>> = {
  ingress: COMMON_FIELDS.map((field) => ({...field, name: `from${field.name}`})),
  egress: [
    ...COMMON_FIELDS.map((field) => ({...field, name: `to${field.name}`})),
    {name: 'toServices', whenEmpty: 'alone', decode: unsupportedField('peers by service are not supported')},
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

function decodeEndpoints(item: unknown, path: string, scope: RuleScope): Peer[] {
  const selector = parseSelector(item, {path, defaultSource: 'any', sources: true}, scope.problems);
  return selector === null ? [] : [{kind: 'labels', selector: peerSelector(selector, scope)}];
}

const RESERVED_ENTITIES: ReadonlySet<string> = new Set([
  'host', 'init', 'ingress', 'unmanaged', 'remote-node', 'health', 'kube-apiserver', 'world', 'world-ipv4', 'world-ipv6',
]);
/** With one address family there is one world. */
const CLUSTER_ENTITIES = ['host', 'remote-node', 'init', 'ingress', 'health', 'unmanaged', 'kube-apiserver'];

function decodeEntity(item: unknown, path: string, scope: RuleScope): Peer[] {
  if (item === 'all') return [{kind: 'all'}];
  if (item === 'none') return [{kind: 'none'}];
  if (item === 'cluster') {
    const pods = canonicalSelector([equalsRequirement(`k8s:${LABEL_CLUSTER}`, scope.clusterName)]);
    return [...CLUSTER_ENTITIES.map(reservedPeer), {kind: 'labels', selector: pods}];
  }
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
  if (given[0] !== 'cidr') {
    problems.unsupported(join(path, given[0] ?? ''), 'UnsupportedPeer', 'CIDR groups are not supported');
    return [];
  }
  return decodeCidrWithExcept(item, path, scope);
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
  const except: string[] = [];
  for (const [i, hole] of (listAt(item, 'except', path, problems) ?? []).entries()) {
    const inner = typeof hole === 'string' ? parsePrefix(hole) : null;
    if (inner === null) problems.refuse(`${path}.except[${i}]`, 'InvalidCIDR', `${JSON.stringify(hole)} is not a prefix`);
    else if (contains(prefix, inner)) except.push(formatPrefix(inner));
    else problems.refuse(`${path}.except[${i}]`, 'InvalidCIDR', `${formatPrefix(inner)} is not inside ${formatPrefix(prefix)}`);
  }
  return [{kind: 'cidr', prefix: formatPrefix(prefix), except}];
}

const FQDN_NAME = /^([-a-zA-Z0-9_]+[.]?)+$/;
const FQDN_PATTERN = /^([-a-zA-Z0-9_*]+[.]?)+$/;
const FQDN_LENGTH_MAX = 255;

function decodeFqdns(list: readonly unknown[], path: string, scope: RuleScope): Peer[] {
  for (const [i, item] of list.entries()) checkFqdn(item, `${path}[${i}]`, scope);
  scope.problems.unsupported(path, 'UnsupportedPeer', 'peers by DNS name are not supported');
  return [];
}

function checkFqdn(item: unknown, path: string, scope: RuleScope): void {
  const name = isRecord(item) ? (item['matchName'] ?? '') : '';
  const pattern = isRecord(item) ? (item['matchPattern'] ?? '') : '';
  if ((name === '') === (pattern === '')) {
    scope.problems.refuse(path, 'InvalidFQDN', 'exactly one of matchName and matchPattern is needed');
    return;
  }
  const text = name === '' ? pattern : name;
  const allowed = name === '' ? FQDN_PATTERN : FQDN_NAME;
  if (typeof text === 'string' && text.length <= FQDN_LENGTH_MAX && allowed.test(text)) return;
  scope.problems.refuse(path, 'InvalidFQDN', `${JSON.stringify(text)} has characters that a DNS name has not`);
}
