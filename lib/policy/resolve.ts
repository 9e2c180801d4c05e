// Rules that select one subject → its policy: entries over selectors, merged, with the objects each came from.

import {compareStrings} from '../core/order.js';
import type {Labels} from '../domain/labels.js';
import {PRECEDENCE_ALLOW, PRECEDENCE_DEFAULT_ALLOW, PRECEDENCE_DENY, PROTOCOL_NUMBERS} from '../domain/policy.js';
import type {Direction, EnforcementMode, Origin, Peer, PolicyEntry, PortMatch, Protocol, Rule, SelectorId, SubjectPolicy} from '../domain/policy.js';
import type {Selector} from '../domain/selector.js';
import {anchorOf, type Anchor} from './anchors.js';
import {portPrefixes} from './port-prefixes.js';
import {SELECTOR_ANY, SELECTOR_HOST, SELECTOR_NONE, peerOf, selectorId} from './selectors.js';

export interface ResolveOptions {
  readonly mode: EnforcementMode;
  /** The node's own host reaches its pods (kubelet probes) unless a rule denies it. */
  readonly allowLocalhost: boolean;
}

/** An endpoint whose labels are not known yet is always enforced. */
export function modeOfSubject(mode: EnforcementMode, labels: Labels): EnforcementMode {
  return mode === 'default' && labels.valuesOf('reserved', 'init').length > 0 ? 'always' : mode;
}

/** A rule with all that follows from it alone: made once per rule, not once per subject that it selects. */
export interface PreparedRule {
  readonly rule: Rule;
  readonly entries: readonly PolicyEntry[];
  /** What the selectors of the entries stand for; the wildcard is none of them. */
  readonly peers: readonly NamedPeer[];
  /** Whether it names prefixes, or what prefixes may stand for. */
  readonly prefixed: boolean;
}

export interface NamedPeer {
  readonly id: SelectorId;
  readonly peer: Peer;
}

/** Rules of one object with the same subject. */
export interface PreparedSubject {
  readonly selector: Selector;
  readonly anchor: Anchor;
  readonly rules: readonly PreparedRule[];
}

export function prepareRule(rule: Rule): PreparedRule {
  const entries = makeEntries(rule);
  const peers = entries.length === 0 ? [] : rule.peers.map((peer) => ({id: selectorId(peer), peer})).filter(({id}) => id !== SELECTOR_ANY && id !== SELECTOR_NONE);
  return {rule, entries, peers: trimmed(peers), prefixed: rule.peers.some(({kind}) => kind === 'cidr' || kind === 'named')};
}

/** Without the room that a list keeps to grow: there are very many of them. */
function trimmed<T>(list: readonly T[]): readonly T[] {
  return list.slice();
}

export function prepareRules(rules: readonly Rule[]): PreparedSubject[] {
  const bySubject = new Map<Selector, PreparedRule[]>();
  for (const rule of rules) {
    const group = bySubject.get(rule.subject);
    if (group === undefined) bySubject.set(rule.subject, [prepareRule(rule)]);
    else group.push(prepareRule(rule));
  }
  return Array.from(bySubject, ([selector, prepared]) => ({selector, anchor: anchorOf(selector), rules: trimmed(prepared)}));
}

/** Rules do not change, and the subjects that one selects are many. */
const PREPARED = new WeakMap<Rule, PreparedRule>();

/** The result depends on the set of rules, not on their order. */
export function resolveSubject(rules: readonly Rule[], options: ResolveOptions): SubjectPolicy {
  return resolvePrepared(rules.map((rule) => {
    const held = PREPARED.get(rule) ?? prepareRule(rule);
    PREPARED.set(rule, held);
    return held;
  }), options);
}

/** The same for rules that are prepared. */
export function resolvePrepared(rules: readonly PreparedRule[], options: ResolveOptions): SubjectPolicy {
  // In the order of their origins: so are the origins of whatever is put together from them.
  const sorted = rules.toSorted((a, b) => compareOrigins(a.rule.origin, b.rule.origin));
  const ingress = resolveDirection('ingress', sorted, options);
  const egress = resolveDirection('egress', sorted, options);
  const isolatedBy = {ingress: ingress.isolatedBy, egress: egress.isolatedBy};
  return {
    ingressEnforced: ingress.enforced,
    egressEnforced: egress.enforced,
    entries: ingress.entries.length === 0 ? egress.entries : ingress.entries.concat(egress.entries),
    ...(isolatedBy.ingress.length + isolatedBy.egress.length === 0 ? {} : {isolatedBy}),
  };
}

const HOST_PEER: NamedPeer = {id: SELECTOR_HOST, peer: peerOf(SELECTOR_HOST)};

/** What the selectors of `policy`, which these rules made, stand for, each once. */
export function peersOf(rules: readonly PreparedRule[], policy: SubjectPolicy): Iterable<NamedPeer> {
  const found = new Map<SelectorId, NamedPeer>();
  if (policy.ingressEnforced && policy.entries.some(({derived}) => derived === 'allow-localhost')) found.set(SELECTOR_HOST, HOST_PEER);
  for (const {rule, peers} of rules) {
    if (rule.direction === 'ingress' ? !policy.ingressEnforced : !policy.egressEnforced) continue;
    for (const peer of peers) if (!found.has(peer.id)) found.set(peer.id, peer);
  }
  return found.values();
}

interface ResolvedDirection {
  readonly enforced: boolean;
  readonly entries: PolicyEntry[];
  readonly isolatedBy: readonly Origin[];
}

const ISOLATED_BY_NONE: readonly Origin[] = [];

function resolveDirection(direction: Direction, sorted: readonly PreparedRule[], options: ResolveOptions): ResolvedDirection {
  const entries: PolicyEntry[] = [];
  const isolating: Origin[] = [];
  let selected = false;
  for (const prepared of sorted) {
    if (prepared.rule.direction !== direction) continue;
    selected = true;
    for (const entry of prepared.entries) entries.push(entry);
    if (prepared.rule.defaultDeny) isolating.push(prepared.rule.origin);
  }
  const isolatedBy = isolating.length === 0 ? ISOLATED_BY_NONE : distinct(isolating);
  const enforced = options.mode === 'always' || (options.mode === 'default' && selected);
  if (!enforced) return {enforced, entries: [], isolatedBy};
  const denyByDefault = options.mode === 'always' || isolating.length > 0;
  if (!denyByDefault) entries.push(ALLOW_ANY[direction]);
  if (direction === 'ingress' && options.allowLocalhost) entries.push(ALLOW_LOCALHOST);
  return {enforced, entries: mergeEntries(entries), isolatedBy};
}

function derivedEntry(direction: Direction, derived: 'allow-any' | 'allow-localhost'): PolicyEntry {
  const any = derived === 'allow-any';
  return {
    direction, deny: false, selector: any ? SELECTOR_ANY : SELECTOR_HOST, protocol: 0, port: 0, portPrefixLength: 0,
    precedence: any ? PRECEDENCE_DEFAULT_ALLOW : PRECEDENCE_ALLOW, derived, origins: [],
  };
}

const ALLOW_ANY: Readonly<Record<Direction, PolicyEntry>> = {ingress: derivedEntry('ingress', 'allow-any'), egress: derivedEntry('egress', 'allow-any')};
const ALLOW_LOCALHOST = derivedEntry('ingress', 'allow-localhost');

type L4 = Pick<PolicyEntry, 'protocol' | 'port' | 'portPrefixLength' | 'portName' | 'endPort'>;

const EVERY_PORT: L4 = {protocol: 0, port: 0, portPrefixLength: 0};

/** `ANY` with ports means the protocols that have ports. */
const PORT_PROTOCOLS: readonly Protocol[] = ['TCP', 'UDP', 'SCTP'];

function makeEntries(rule: Rule): PolicyEntry[] {
  const selectors = new Set(rule.peers.map(selectorId));
  selectors.delete(SELECTOR_NONE);
  const ports = rule.ports === null ? [EVERY_PORT] : rule.ports.flatMap((port) => l4OfPort(port, rule.direction));
  const {direction, deny} = rule;
  const precedence = deny ? PRECEDENCE_DENY : PRECEDENCE_ALLOW;
  const origins = [rule.origin];
  return [...selectors].flatMap((selector) => ports.map((l4) => ({direction, deny, selector, ...l4, precedence, origins}))).slice();
}

function l4OfPort(match: PortMatch, direction: Direction): L4[] {
  if (match.protocol === 'ANY') return PORT_PROTOCOLS.flatMap((protocol) => l4OfPort({...match, protocol}, direction));
  const protocol = PROTOCOL_NUMBERS[match.protocol];
  if (match.name !== undefined) {
    const named = {protocol, port: 0, portPrefixLength: 0, portName: match.name};
    return [direction === 'ingress' && match.endPort > 0 ? {...named, endPort: match.endPort} : named];
  }
  if (match.port === 0 && match.exact !== true && match.endPort === 0) return [{protocol, port: 0, portPrefixLength: 0}];
  return portPrefixes(match.port, Math.max(match.port, match.endPort)).map((prefix) => ({protocol, ...prefix}));
}

/** Sorts, and puts together what differs only in its origins. An entry of one origin stays the same object. */
function mergeEntries(entries: PolicyEntry[]): PolicyEntry[] {
  if (entries.length < 2) return entries;
  entries.sort(compareEntries);
  const merged: PolicyEntry[] = [];
  for (let i = 0; i < entries.length; ) {
    const entry = entries[i];
    if (entry === undefined) break;
    const lists: (readonly Origin[])[] = [entry.origins];
    for (i++; i < entries.length; i++) {
      const other = entries[i];
      if (other === undefined || compareEntries(entry, other) !== 0) break;
      lists.push(other.origins);
    }
    merged.push(lists.length === 1 ? entry : {...entry, origins: mergeOrigins(lists)});
  }
  return merged.slice();
}

/** Distinct and sorted. */
export function mergeOrigins(lists: readonly (readonly Origin[])[]): readonly Origin[] {
  const [first = []] = lists;
  if (lists.length <= 1 && first.length <= 1) return first;
  return distinct(lists.flat().sort(compareOrigins));
}

/** Of a sorted list. */
function distinct(origins: readonly Origin[]): readonly Origin[] {
  return trimmed(origins.filter((origin, i) => {
    const before = origins[i - 1];
    return before === undefined || compareOrigins(before, origin) !== 0;
  }));
}

function compareOrigins(a: Origin, b: Origin): number {
  return (
    compareStrings(a.kind, b.kind) || compareStrings(a.namespace, b.namespace) || compareStrings(a.name, b.name) ||
    compareStrings(a.uid, b.uid) || a.ruleIndex - b.ruleIndex
  );
}

/** Ingress first, deny before allow, then by selector and port. */
function compareEntries(a: PolicyEntry, b: PolicyEntry): number {
  return (
    (a.direction === b.direction ? 0 : a.direction === 'ingress' ? -1 : 1) ||
    Number(b.deny) - Number(a.deny) ||
    compareStrings(a.selector, b.selector) ||
    a.protocol - b.protocol ||
    a.port - b.port ||
    a.portPrefixLength - b.portPrefixLength ||
    compareStrings(a.portName ?? '', b.portName ?? '') ||
    (a.endPort ?? 0) - (b.endPort ?? 0) ||
    compareStrings(a.derived ?? '', b.derived ?? '')
  );
}
