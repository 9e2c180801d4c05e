// A subject's policy → the entries of its policy map: selectors expanded to numbers, narrower entries that a broader one
// overrules taken out, so that the datapath's two longest-prefix lookups give the verdict of the rules.

import {compareStrings} from '../core/order.js';
import {IDENTITY_ANY} from '../domain/identity.js';
import type {IdentityId} from '../domain/identity.js';
import {PRECEDENCE_ALLOW} from '../domain/policy.js';
import type {Direction, MapStateEntry, Members, Origin, PolicyEntry, SelectorId, SubjectPolicy} from '../domain/policy.js';
import {portPrefixes} from './port-prefixes.js';
import type {PortPrefix} from './port-prefixes.js';
import {mergeOrigins} from './resolve.js';
import {SELECTOR_ANY} from './selectors.js';

/** Cilium's default size of an endpoint's policy map. */
export const POLICY_MAP_ENTRIES_MAX = 16384;

export interface ExpandContext {
  members(selector: SelectorId): Members;
  /** The number of a local-scope prefix; undefined = it has none (yet). */
  numberOf(prefix: string): IdentityId | undefined;
  /** The subject's own port of that name, for ingress. */
  namedPort(name: string, protocol: number): number | undefined;
  /** Peers that have a port of that name, for egress. */
  peerNamedPorts(name: string, protocol: number): ReadonlyMap<IdentityId, number>;
  /** Default POLICY_MAP_ENTRIES_MAX. */
  readonly entriesMax?: number;
}

export interface Expansion {
  /** Deny first; the order depends on the content only. */
  readonly entries: readonly MapStateEntry[];
  /** Entries that did not fit. What is left out is closed, never open. */
  readonly omitted: number;
}

export function expandPolicy(policy: SubjectPolicy, context: ExpandContext): Expansion {
  const entries = [...expandDirection('ingress', policy, context), ...expandDirection('egress', policy, context)];
  return bound(entries.sort(compareMapEntries), context.entriesMax ?? POLICY_MAP_ENTRIES_MAX);
}

/** The names that ingress entries refer to: two endpoints of one identity share a map only if these resolve equally. */
export function ingressPortNames(policy: SubjectPolicy): {name: string; protocol: number}[] {
  const names = new Map<string, {name: string; protocol: number}>();
  for (const {direction, portName, protocol} of policy.entries) {
    if (direction === 'ingress' && portName !== undefined) names.set(`${portName}/${protocol}`, {name: portName, protocol});
  }
  return [...names].sort(([a], [b]) => compareStrings(a, b)).map(([, name]) => name);
}

/** Equal entries: the one that stands for them, and every list of origins. */
interface Slot {
  readonly entry: MapStateEntry;
  readonly origins: (readonly Origin[])[];
}

/** By `l4Key`: the entries of one identity in one direction. */
type Layer = Map<number, Slot>;

function expandDirection(direction: Direction, policy: SubjectPolicy, context: ExpandContext): MapStateEntry[] {
  const enforced = direction === 'ingress' ? policy.ingressEnforced : policy.egressEnforced;
  if (!enforced) return [allowAll(direction)];
  const layers = new Map<IdentityId, Layer>();
  for (const entry of policy.entries) if (entry.direction === direction) expandEntry(entry, layers, context);
  return prune(layers);
}

/** A direction that is not enforced: one entry, so that no entry can mean a drop. */
function allowAll(direction: Direction): MapStateEntry {
  return {
    direction, identity: IDENTITY_ANY, protocol: 0, port: 0, portPrefixLength: 0, deny: false,
    precedence: PRECEDENCE_ALLOW, derived: 'allow-any', origins: [],
  };
}

function expandEntry(entry: PolicyEntry, layers: Map<IdentityId, Layer>, context: ExpandContext): void {
  if (entry.portName === undefined) {
    forEachIdentity(entry.selector, context, (identity) => addEntry(layers, entry, identity, entry));
    return;
  }
  if (entry.direction === 'egress') {
    expandPeerName(entry, entry.portName, layers, context);
    return;
  }
  const port = context.namedPort(entry.portName, entry.protocol);
  if (port === undefined) return;
  const ports = portPrefixes(port, Math.max(port, entry.endPort ?? 0));
  forEachIdentity(entry.selector, context, (identity) => {
    for (const one of ports) addEntry(layers, entry, identity, one);
  });
}

/** Each selected peer is let through to the number that the name has for it. */
function expandPeerName(entry: PolicyEntry, name: string, layers: Map<IdentityId, Layer>, context: ExpandContext): void {
  const numbers = context.peerNamedPorts(name, entry.protocol);
  const addPeer = (identity: IdentityId): void => {
    const port = numbers.get(identity);
    for (const one of port === undefined ? [] : portPrefixes(port, port)) addEntry(layers, entry, identity, one);
  };
  if (entry.selector === SELECTOR_ANY) for (const identity of numbers.keys()) addPeer(identity);
  else forEachIdentity(entry.selector, context, addPeer);
}

function forEachIdentity(selector: SelectorId, context: ExpandContext, visit: (identity: IdentityId) => void): void {
  if (selector === SELECTOR_ANY) {
    visit(IDENTITY_ANY);
    return;
  }
  const {identities, prefixes} = context.members(selector);
  for (const identity of identities) visit(identity);
  for (const prefix of prefixes) {
    const number = context.numberOf(prefix);
    if (number !== undefined) visit(number);
  }
}

function addEntry(layers: Map<IdentityId, Layer>, from: PolicyEntry, identity: IdentityId, {port, portPrefixLength}: PortPrefix): void {
  let layer = layers.get(identity);
  if (layer === undefined) layers.set(identity, (layer = new Map<number, Slot>()));
  const {direction, protocol, deny, precedence, derived, origins} = from;
  const key = l4Key(protocol, port, portPrefixLength);
  const held = layer.get(key);
  if (held !== undefined && held.entry.precedence > precedence) return;
  if (held?.entry.precedence === precedence) held.origins.push(origins);
  // What a rule wrote comes before what was derived.
  if (held?.entry.precedence === precedence && held.entry.derived === undefined) return;
  const entry: MapStateEntry = derived === undefined
    ? {direction, identity, protocol, port, portPrefixLength, deny, precedence, origins}
    : {direction, identity, protocol, port, portPrefixLength, deny, precedence, derived, origins};
  layer.set(key, {entry, origins: held?.entry.precedence === precedence ? held.origins : [origins]});
}

/**
 * One longest-prefix lookup sees only the narrowest entry of an identity, so whatever a broader entry (of that identity or of
 * all) overrules must go. Denies that a broader deny covers go as well; allows stay beside broader allows, for what they tell.
 */
function prune(layers: ReadonlyMap<IdentityId, Layer>): MapStateEntry[] {
  const slots = [...layers.values()].flatMap((layer) => [...layer.values()]);
  const wildcard = layers.get(IDENTITY_ANY);
  const kept = !slots.some(({entry}) => entry.deny) ? slots : slots.filter(({entry}) => {
    const own = layers.get(entry.identity);
    if (own !== undefined && isCovered(entry, own, false)) return false;
    return wildcard === undefined || wildcard === own || !isCovered(entry, wildcard, true);
  });
  return kept.map(({entry, origins}) => (origins.length === 1 ? entry : {...entry, origins: mergeOrigins(origins)}));
}

/** Whether `layer` holds a key that covers the entry's and overrules it. `equal`: the same key counts. */
function isCovered(entry: MapStateEntry, layer: Layer, equal: boolean): boolean {
  const {protocol, port, portPrefixLength, precedence, deny} = entry;
  const covers = (key: number): boolean => {
    const held = layer.get(key)?.entry;
    return held !== undefined && (held.precedence > precedence || (deny && held.precedence === precedence));
  };
  if (protocol === 0) return equal && covers(l4Key(0, 0, 0));
  if (covers(l4Key(0, 0, 0))) return true;
  const longest = equal ? portPrefixLength : portPrefixLength - 1;
  for (let length = 0; length <= longest; length++) {
    if (covers(l4Key(protocol, port - (port % 2 ** (16 - length)), length))) return true;
  }
  return false;
}

/** 29 bits: protocol, port, prefix length. */
function l4Key(protocol: number, port: number, portPrefixLength: number): number {
  return (protocol << 21) | (port << 5) | portPrefixLength;
}

/**
 * Too many entries: allow entries are left out, those of single peers first, because without one a packet falls through to a
 * broader entry or to the drop. Deny entries that do not fit by themselves close their direction: it keeps no entry at all.
 */
function bound(entries: MapStateEntry[], entriesMax: number): Expansion {
  if (entries.length <= entriesMax) return {entries, omitted: 0};
  const denies = entries.filter((entry) => entry.deny);
  const closed = new Set(denies.length <= entriesMax ? [] : denies.map((entry) => entry.direction));
  const open = entries.filter((entry) => !closed.has(entry.direction));
  const isSingle = (entry: MapStateEntry): number => (entry.deny || entry.identity === IDENTITY_ANY ? 0 : 1);
  const kept = open.sort((a, b) => isSingle(a) - isSingle(b)).slice(0, entriesMax).sort(compareMapEntries);
  return {entries: kept, omitted: entries.length - kept.length};
}

/** Deny first, then by direction and key. */
function compareMapEntries(a: MapStateEntry, b: MapStateEntry): number {
  return (
    Number(b.deny) - Number(a.deny) ||
    (a.direction === b.direction ? 0 : a.direction === 'ingress' ? -1 : 1) ||
    a.identity - b.identity ||
    a.protocol - b.protocol ||
    a.port - b.port ||
    a.portPrefixLength - b.portPrefixLength
  );
}
