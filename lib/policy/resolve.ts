// Rules that select one subject → its policy: entries over selectors, merged, with the objects each came from.

import {compareStrings} from '../core/order.js';
import type {Labels} from '../domain/labels.js';
import {PRECEDENCE_ALLOW, PRECEDENCE_DEFAULT_ALLOW, PRECEDENCE_DENY, PROTOCOL_NUMBERS} from '../domain/policy.js';
import type {Direction, EnforcementMode, Origin, Peer, PolicyEntry, PortMatch, Protocol, Rule, SelectorId, SubjectPolicy} from '../domain/policy.js';
import type {Selector} from '../domain/selector.js';
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

/** Rules of one object with the same subject, and all that follows from them alone: made once, not once per subject that they select. */
export interface PreparedSubject {
  readonly selector: Selector;
  readonly rules: readonly Rule[];
  readonly ingress: PreparedDirection | null;
  readonly egress: PreparedDirection | null;
  /** Whether the rules name prefixes, or what prefixes may stand for. */
  readonly prefixed: boolean;
}

/** Null instead of it: no rule is of that direction. */
export interface PreparedDirection {
  /** Sorted; equal ones are one. */
  readonly entries: readonly PolicyEntry[];
  /** Of the rules that turn on default deny: distinct and sorted. */
  readonly isolating: readonly Origin[];
}

export function prepareRules(rules: readonly Rule[]): PreparedSubject[] {
  const [first] = rules;
  if (first !== undefined && rules.every(({subject}) => subject === first.subject)) return [prepareSubject(first.subject, rules)];
  const bySubject = new Map<Selector, Rule[]>();
  for (const rule of rules) {
    const group = bySubject.get(rule.subject);
    if (group === undefined) bySubject.set(rule.subject, [rule]);
    else group.push(rule);
  }
  return Array.from(bySubject, ([selector, group]) => prepareSubject(selector, trimmed(group)));
}

function prepareSubject(selector: Selector, rules: readonly Rule[]): PreparedSubject {
  return {
    selector, rules, ingress: prepareDirection('ingress', rules), egress: prepareDirection('egress', rules),
    prefixed: rules.some(({peers}) => peers.some(({kind}) => kind === 'cidr' || kind === 'named')),
  };
}

function prepareDirection(direction: Direction, all: readonly Rule[]): PreparedDirection | null {
  const rules = all.filter((rule) => rule.direction === direction);
  if (rules.length === 0) return null;
  const parts = rules.map((rule) => ({rule, origins: [rule.origin]}));
  const [only] = parts;
  const entries = parts.length === 1 && only !== undefined ? makeEntries(only.rule, only.origins) : parts.flatMap(({rule, origins}) => makeEntries(rule, origins));
  return {entries: mergeEntries(entries), isolating: mergeOrigins(parts.filter(({rule}) => rule.defaultDeny).map(({origins}) => origins))};
}

/** Without the room that a list keeps to grow: there are very many of them. */
function trimmed<T>(list: readonly T[]): readonly T[] {
  return list.slice();
}

/** The peer behind a selector of an entry that these rules made. */
export function peerOfRules(subjects: readonly PreparedSubject[], id: SelectorId): Peer {
  for (const {rules} of subjects) for (const {peers} of rules) for (const peer of peers) if (selectorId(peer) === id) return peer;
  return peerOf(id);
}

const ANYBODY: Selector = {requirements: []};

/** The result depends on the set of rules, not on their order. */
export function resolveSubject(rules: readonly Rule[], options: ResolveOptions): SubjectPolicy {
  return resolvePrepared(rules.length === 0 ? [] : [prepareSubject(ANYBODY, rules)], options);
}

/** The same for rules that are prepared. */
export function resolvePrepared(subjects: readonly PreparedSubject[], options: ResolveOptions): SubjectPolicy {
  const ingress = resolveDirection('ingress', subjects, options);
  const egress = resolveDirection('egress', subjects, options);
  const isolatedBy = {ingress: ingress.isolatedBy, egress: egress.isolatedBy};
  const [ingressEnforced, egressEnforced] = [ingress.enforced, egress.enforced];
  const entries = ingress.entries.length === 0 ? egress.entries : egress.entries.length === 0 ? ingress.entries : joined(ingress.entries, egress.entries);
  return isolatedBy.ingress.length + isolatedBy.egress.length === 0 ? {ingressEnforced, egressEnforced, entries} : {ingressEnforced, egressEnforced, entries, isolatedBy};
}

function joined(a: readonly PolicyEntry[], b: readonly PolicyEntry[]): readonly PolicyEntry[] {
  const all = a.slice();
  for (const entry of b) all.push(entry);
  return trimmed(all);
}

interface ResolvedDirection {
  readonly enforced: boolean;
  readonly entries: readonly PolicyEntry[];
  readonly isolatedBy: readonly Origin[];
}

const NO_ORIGINS: readonly Origin[] = [];
const NO_ENTRIES: readonly PolicyEntry[] = [];

function resolveDirection(direction: Direction, subjects: readonly PreparedSubject[], options: ResolveOptions): ResolvedDirection {
  const parts: PreparedDirection[] = [];
  for (const subject of subjects) {
    const part = subject[direction];
    if (part !== null) parts.push(part);
  }
  const isolatedBy = mergeOrigins(parts.map(({isolating}) => isolating));
  const enforced = options.mode === 'always' || (options.mode === 'default' && parts.length > 0);
  if (!enforced) return {enforced, entries: NO_ENTRIES, isolatedBy};
  const derived: PolicyEntry[] = options.mode === 'always' || isolatedBy.length > 0 ? [] : [ALLOW_ANY[direction]];
  if (direction === 'ingress' && options.allowLocalhost) derived.push(ALLOW_LOCALHOST);
  const [only] = parts;
  if (only !== undefined && parts.length === 1 && derived.length === 0) return {enforced, entries: only.entries, isolatedBy};
  // Sorted runs: sorting them merges them.
  const entries: PolicyEntry[] = [];
  for (const part of parts) for (const entry of part.entries) entries.push(entry);
  for (const entry of derived) entries.push(entry);
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

const EVERY_PORT: readonly L4[] = [{protocol: 0, port: 0, portPrefixLength: 0}];

/** `ANY` with ports means the protocols that have ports. */
const PORT_PROTOCOLS: readonly Protocol[] = ['TCP', 'UDP', 'SCTP'];

/** All entries of the rule share the list of its origin. */
function makeEntries(rule: Rule, origins: readonly Origin[]): PolicyEntry[] {
  const selectors = new Set(rule.peers.map(selectorId));
  selectors.delete(SELECTOR_NONE);
  const ports = rule.ports === null ? EVERY_PORT : rule.ports.flatMap((port) => l4OfPort(port, rule.direction));
  const entries: PolicyEntry[] = [];
  for (const selector of selectors) for (const l4 of ports) entries.push(makeEntry(rule, selector, l4, origins));
  return entries;
}

/** Written out: an object that is spread from another takes more room, and there are very many. */
function makeEntry({direction, deny}: Rule, selector: SelectorId, l4: L4, origins: readonly Origin[]): PolicyEntry {
  const {protocol, port, portPrefixLength} = l4;
  const precedence = deny ? PRECEDENCE_DENY : PRECEDENCE_ALLOW;
  const entry = {direction, deny, selector, protocol, port, portPrefixLength, precedence, origins};
  return l4.portName === undefined ? entry : {...entry, portName: l4.portName, ...(l4.endPort === undefined ? {} : {endPort: l4.endPort})};
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
function mergeEntries(entries: PolicyEntry[]): readonly PolicyEntry[] {
  if (entries.length < 2) return trimmed(entries);
  entries.sort(compareEntries);
  const merged: PolicyEntry[] = [];
  for (let i = 0; i < entries.length; ) {
    const entry = entries[i];
    if (entry === undefined) break;
    let lists: (readonly Origin[])[] | null = null;
    for (i++; i < entries.length; i++) {
      const other = entries[i];
      if (other === undefined || compareEntries(entry, other) !== 0) break;
      lists ??= [entry.origins];
      lists.push(other.origins);
    }
    merged.push(lists === null ? entry : {...entry, origins: mergeOrigins(lists)});
  }
  return trimmed(merged);
}

/** Distinct and sorted. */
export function mergeOrigins(lists: readonly (readonly Origin[])[]): readonly Origin[] {
  const [first = NO_ORIGINS, second = NO_ORIGINS] = lists;
  if (lists.length <= 1 && first.length <= 1) return first;
  const [a, b] = [first[0], second[0]];
  if (lists.length === 2 && first.length === 1 && second.length === 1 && a !== undefined && b !== undefined) {
    const order = compareOrigins(a, b);
    return order === 0 ? first : order < 0 ? [a, b] : [b, a];
  }
  const all: Origin[] = [];
  for (const list of lists) for (const origin of list) all.push(origin);
  return distinct(all.sort(compareOrigins));
}

/** Of a sorted list. */
function distinct(sorted: readonly Origin[]): readonly Origin[] {
  const kept: Origin[] = [];
  for (const origin of sorted) {
    const before = kept.at(-1);
    if (before === undefined || compareOrigins(before, origin) !== 0) kept.push(origin);
  }
  return trimmed(kept);
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
    (a.selector === b.selector ? 0 : compareStrings(a.selector, b.selector)) ||
    a.protocol - b.protocol ||
    a.port - b.port ||
    a.portPrefixLength - b.portPrefixLength ||
    compareStrings(a.portName ?? '', b.portName ?? '') ||
    (a.endPort ?? 0) - (b.endPort ?? 0) ||
    compareStrings(a.derived ?? '', b.derived ?? '')
  );
}
