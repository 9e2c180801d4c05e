// Rules that select one subject → its policy: entries over selectors, merged, with the objects each came from.

import {compareStrings} from '../core/order.js';
import type {Labels} from '../domain/labels.js';
import {PRECEDENCE_ALLOW, PRECEDENCE_DEFAULT_ALLOW, PRECEDENCE_DENY, PROTOCOL_NUMBERS} from '../domain/policy.js';
import type {Direction, EnforcementMode, Origin, PolicyEntry, PortMatch, Protocol, Rule, SubjectPolicy} from '../domain/policy.js';
import {portPrefixes} from './port-prefixes.js';
import {SELECTOR_ANY, SELECTOR_HOST, SELECTOR_NONE, selectorId} from './selectors.js';

export interface ResolveOptions {
  readonly mode: EnforcementMode;
  /** The node's own host reaches its pods (kubelet probes) unless a rule denies it. */
  readonly allowLocalhost: boolean;
}

/** An endpoint whose labels are not known yet is always enforced. */
export function modeOfSubject(mode: EnforcementMode, labels: Labels): EnforcementMode {
  return mode === 'default' && labels.valuesOf('reserved', 'init').length > 0 ? 'always' : mode;
}

/** The result depends on the set of rules, not on their order. */
export function resolveSubject(rules: readonly Rule[], options: ResolveOptions): SubjectPolicy {
  const ingress = resolveDirection('ingress', rules, options);
  const egress = resolveDirection('egress', rules, options);
  return {
    ingressEnforced: ingress.enforced,
    egressEnforced: egress.enforced,
    entries: [...ingress.entries, ...egress.entries].sort(compareEntries),
    ...isolation(rules),
  };
}

function isolation(rules: readonly Rule[]): Pick<SubjectPolicy, 'isolatedBy'> {
  const isolating = rules.filter((rule) => rule.defaultDeny);
  if (isolating.length === 0) return {};
  const of = (direction: Direction): readonly Origin[] =>
    mergeOrigins(isolating.filter((rule) => rule.direction === direction).map((rule) => [rule.origin]));
  return {isolatedBy: {ingress: of('ingress'), egress: of('egress')}};
}

function resolveDirection(
  direction: Direction,
  all: readonly Rule[],
  options: ResolveOptions,
): {enforced: boolean; entries: PolicyEntry[]} {
  const rules = all.filter((rule) => rule.direction === direction);
  const enforced = options.mode === 'always' || (options.mode === 'default' && rules.length > 0);
  if (!enforced) return {enforced, entries: []};
  const entries = rules.flatMap(entriesOfRule);
  const denyByDefault = options.mode === 'always' || rules.some((rule) => rule.defaultDeny);
  if (!denyByDefault) entries.push(derivedEntry(direction, 'allow-any'));
  if (direction === 'ingress' && options.allowLocalhost) entries.push(derivedEntry(direction, 'allow-localhost'));
  return {enforced, entries: mergeEntries(entries)};
}

function derivedEntry(direction: Direction, derived: 'allow-any' | 'allow-localhost'): PolicyEntry {
  const any = derived === 'allow-any';
  return {
    direction, deny: false, selector: any ? SELECTOR_ANY : SELECTOR_HOST, protocol: 0, port: 0, portPrefixLength: 0,
    precedence: any ? PRECEDENCE_DEFAULT_ALLOW : PRECEDENCE_ALLOW, derived, origins: [],
  };
}

type L4 = Pick<PolicyEntry, 'protocol' | 'port' | 'portPrefixLength' | 'portName' | 'endPort'>;

const EVERY_PORT: L4 = {protocol: 0, port: 0, portPrefixLength: 0};

/** `ANY` with ports means the protocols that have ports. */
const PORT_PROTOCOLS: readonly Protocol[] = ['TCP', 'UDP', 'SCTP'];

/** Rules do not change, and the subjects that one selects are many. */
const ENTRIES = new WeakMap<Rule, readonly PolicyEntry[]>();

function entriesOfRule(rule: Rule): readonly PolicyEntry[] {
  const held = ENTRIES.get(rule);
  if (held !== undefined) return held;
  const made = makeEntries(rule);
  ENTRIES.set(rule, made);
  return made;
}

function makeEntries(rule: Rule): PolicyEntry[] {
  const selectors = new Set(rule.peers.map(selectorId));
  selectors.delete(SELECTOR_NONE);
  const ports = rule.ports === null ? [EVERY_PORT] : rule.ports.flatMap((port) => l4OfPort(port, rule.direction));
  const {direction, deny} = rule;
  const precedence = deny ? PRECEDENCE_DENY : PRECEDENCE_ALLOW;
  const origins = [rule.origin];
  return [...selectors].flatMap((selector) => ports.map((l4) => ({direction, deny, selector, ...l4, precedence, origins})));
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

function mergeEntries(entries: readonly PolicyEntry[]): PolicyEntry[] {
  const groups = new Map<string, [PolicyEntry, ...PolicyEntry[]]>();
  for (const entry of entries) {
    const key = entryKey(entry);
    const group = groups.get(key);
    if (group === undefined) groups.set(key, [entry]);
    else group.push(entry);
  }
  return [...groups.values()].map((group) => ({...group[0], origins: mergeOrigins(group.map(({origins}) => origins))}));
}

/** Everything but the origins. */
function entryKey(entry: PolicyEntry): string {
  const {direction, deny, selector, protocol, port, portPrefixLength, portName = '', endPort = 0, derived = ''} = entry;
  return [direction, deny ? 0 : 1, selector, protocol, port, portPrefixLength, portName, endPort, derived].join(' ');
}

/** Distinct and sorted. */
export function mergeOrigins(lists: readonly (readonly Origin[])[]): readonly Origin[] {
  const [first = []] = lists;
  if (lists.length <= 1 && first.length <= 1) return first;
  const byKey = new Map(lists.flat().map((origin) => [originKey(origin), origin]));
  return [...byKey].sort(([x], [y]) => compareStrings(x, y)).map(([, origin]) => origin);
}

function originKey(origin: Origin): string {
  return `${origin.kind}/${origin.namespace}/${origin.name}/${origin.uid}/${String(origin.ruleIndex).padStart(6, '0')}`;
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
