// SelectorMembers: which identities and prefixes each selector stands for, kept up to date as both come and go.

import {comparePrefixes, contains} from '../core/ip.js';
import type {Prefix} from '../core/ip.js';
import {SmallSet} from '../core/small.js';
import {CLUSTER_IDENTITY_MIN, IPV4_ONLY, hasFamily, reservedIdentities, worldIdentity} from '../domain/identity.js';
import type {Families, IdentityId} from '../domain/identity.js';
import {Labels} from '../domain/labels.js';
import type {Members, Peer, SelectorId, SourceMeaning} from '../domain/policy.js';
import {matches} from '../domain/selector.js';
import type {Selector} from '../domain/selector.js';
import {LabelIndex, SelectorIndex, SetsByKey, anchorOf, type Anchor} from './anchors.js';
import {NO_MEANING, NO_MEANINGS, peerOf, prefixOfText, sourceId} from './selectors.js';
import type {Meanings} from './selectors.js';

/** Matches one identity's labels, or one prefix with its labels. A world identity is also the prefix of all its addresses. */
export interface PeerMatcher {
  matchesIdentity(id: IdentityId, labels: Labels): boolean;
  matchesPrefix(prefix: Prefix, labels: Labels): boolean;
}

const NOTHING: PeerMatcher = {matchesIdentity: () => false, matchesPrefix: () => false};
const EVERYTHING: PeerMatcher = {matchesIdentity: () => true, matchesPrefix: () => true};

/** What else than the peer itself decides whom it matches. */
export interface MatchContext {
  readonly families: Families;
  readonly meanings: Meanings;
}

export const PLAIN_CONTEXT: MatchContext = {families: IPV4_ONLY, meanings: NO_MEANINGS};

export function matcherOf(peer: Peer, context: MatchContext = PLAIN_CONTEXT): PeerMatcher {
  switch (peer.kind) {
    case 'all':
      return EVERYTHING;
    case 'none':
      return NOTHING;
    case 'labels':
      return new LabelsMatcher(peer.selector);
    case 'cidr':
      return prefixMatcher({prefixes: [peer.prefix], selectors: []}, peer.except, context.families);
    case 'named':
      return prefixMatcher(context.meanings(peer.source), peer.except, context.families);
  }
}

class LabelsMatcher implements PeerMatcher {
  readonly #selector: Selector;

  constructor(selector: Selector) {
    this.#selector = selector;
  }

  matchesIdentity(_id: IdentityId, labels: Labels): boolean {
    return matches(this.#selector, labels);
  }

  matchesPrefix(_prefix: Prefix, labels: Labels): boolean {
    return matches(this.#selector, labels);
  }
}

function prefixMatcher({prefixes, selectors}: SourceMeaning, except: readonly string[], families: Families): PeerMatcher {
  const outer = prefixes.map(prefixOfText);
  const holes = except.map(prefixOfText);
  const selects = (prefix: Prefix): boolean =>
    outer.some((one) => contains(one, prefix)) && !holes.some((hole) => contains(hole, prefix));
  const worlds = new Set<IdentityId>();
  for (const whole of outer) {
    if (whole.length === 0 && hasFamily(families, whole.family) && selects(whole)) worlds.add(worldIdentity(families, whole.family));
  }
  return {
    matchesIdentity: (id, labels) => worlds.has(id) || selectors.some((selector) => matches(selector, labels)),
    matchesPrefix: selects,
  };
}

/** With the name of their selector, as nodes get them. */
export interface NamedMembers extends Members {
  readonly id: SelectorId;
}

interface Tracked {
  readonly id: SelectorId;
  readonly peer: Peer;
  matcher: PeerMatcher;
  readonly identities: SmallSet<IdentityId>;
  /** Null = it can have none: those by labels that a pod must have. */
  readonly prefixes: Set<string> | null;
  /** Null after a change, until asked for again: equal membership is the same object. */
  members: NamedMembers | null;
}

interface KnownPrefix {
  readonly text: string;
  readonly prefix: Prefix;
  readonly labels: Labels;
}

const NO_ANCHOR: Anchor = {namespace: null, label: null};

function anchorOfPeer(peer: Peer): Anchor {
  return peer.kind === 'labels' ? anchorOf(peer.selector) : NO_ANCHOR;
}

const NO_PREFIXES: readonly string[] = [];

/**
 * Starts with the reserved identities. Selectors and identities find each other through indexes, so a new one of either
 * costs those that could match.
 */
export class SelectorMembers {
  readonly #identities = new Map<IdentityId, Labels>();
  readonly #prefixes = new Map<string, KnownPrefix>();
  readonly #tracked = new Map<SelectorId, Tracked>();
  readonly #identityIndex = new LabelIndex<IdentityId>();
  readonly #selectorIndex = new SelectorIndex<Tracked>();
  /** Selectors that can have prefixes: those by CIDR or name, and those by labels that a prefix may have. */
  readonly #prefixed = new Set<Tracked>();
  /** By CIDR: the only identities that they can have are those of the world. */
  readonly #cidrs = new Set<Tracked>();
  readonly #bySource = new SetsByKey<Tracked>();
  readonly #changed = new Set<SelectorId>();
  readonly #meanings = new Map<string, SourceMeaning>();
  readonly #context: MatchContext;
  readonly #reserved: readonly IdentityId[];
  /** In address order, made when it is needed. */
  #ordered: readonly KnownPrefix[] | null = null;

  constructor(families: Families = IPV4_ONLY) {
    this.#context = {families, meanings: (source) => this.#meanings.get(sourceId(source)) ?? NO_MEANING};
    const reserved = reservedIdentities(families);
    this.#reserved = [...reserved.keys()];
    for (const [id, labels] of reserved) this.setIdentity(id, Labels.parse(labels));
  }

  /** What the source of that id (`sourceId`) stands for from now on. Null = nothing. */
  setMeaning(id: string, meaning: SourceMeaning | null): void {
    if (meaning === null) this.#meanings.delete(id);
    else this.#meanings.set(id, meaning);
    for (const tracked of this.#bySource.get(id)) this.#refill(tracked);
  }

  /** Null removes. */
  setIdentity(id: IdentityId, labels: Labels | null): void {
    const old = this.#identities.get(id);
    if (old?.key === labels?.key) return;
    if (old !== undefined) this.#forgetIdentity(id, old);
    if (labels === null) return;
    this.#identities.set(id, labels);
    this.#identityIndex.add(labels, id);
    this.#forEachSelector(id, labels, (tracked) => {
      if (!tracked.matcher.matchesIdentity(id, labels)) return;
      tracked.identities.add(id);
      this.#touch(tracked);
    });
  }

  #forgetIdentity(id: IdentityId, labels: Labels): void {
    this.#identities.delete(id);
    this.#identityIndex.remove(labels, id);
    this.#forEachSelector(id, labels, (tracked) => {
      if (tracked.identities.delete(id)) this.#touch(tracked);
    });
  }

  /** Those that could select the identity. */
  #forEachSelector(id: IdentityId, labels: Labels, visit: (tracked: Tracked) => void): void {
    this.#selectorIndex.forEachCandidate(labels, visit);
    if (id < CLUSTER_IDENTITY_MIN) for (const tracked of this.#cidrs) visit(tracked);
  }

  /** Identities that may have what `anchor` says, reserved ones among them. */
  candidates(anchor: Anchor): Iterable<IdentityId> {
    return this.#identityIndex.candidates(anchor);
  }

  /** A prefix with an identity of its own: from a policy, or an address such as that of an external API server. Null removes. */
  setPrefix(text: string, labels: Labels | null): void {
    const old = this.#prefixes.get(text);
    if (old?.labels.key === labels?.key) return;
    for (const tracked of this.#prefixed) if (tracked.prefixes?.delete(text) === true) this.#touch(tracked);
    this.#prefixes.delete(text);
    this.#ordered = null;
    if (labels === null) return;
    const prefix = prefixOfText(text);
    this.#prefixes.set(text, {text, prefix, labels});
    for (const tracked of this.#prefixed) {
      if (!tracked.matcher.matchesPrefix(prefix, labels)) continue;
      tracked.prefixes?.add(text);
      this.#touch(tracked);
    }
  }

  /** Keeps the members of `id` up to date from now on. Twice is once. `peer`: what the id stands for. */
  track(id: SelectorId, peer: Peer = peerOf(id)): void {
    if (!this.#tracked.has(id)) this.#track(id, peer);
  }

  #track(id: SelectorId, peer: Peer): Tracked {
    const prefixed = peer.kind !== 'labels' || matchesPrefixLabels(peer.selector);
    const tracked: Tracked = {
      id, peer, matcher: matcherOf(peer, this.#context), identities: new SmallSet(), prefixes: prefixed ? new Set() : null, members: null,
    };
    this.#tracked.set(id, tracked);
    if (peer.kind === 'cidr') this.#cidrs.add(tracked);
    else this.#selectorIndex.add(anchorOfPeer(peer), tracked);
    if (peer.kind === 'named') this.#bySource.add(sourceId(peer.source), tracked);
    if (prefixed) this.#prefixed.add(tracked);
    this.#fill(tracked);
    this.#touch(tracked);
    return tracked;
  }

  #fill({matcher, identities, prefixes, peer}: Tracked): void {
    const candidates = peer.kind === 'cidr' ? this.#reserved : this.#identityIndex.candidates(anchorOfPeer(peer));
    for (const identity of candidates) {
      const labels = this.#identities.get(identity);
      if (labels !== undefined && matcher.matchesIdentity(identity, labels)) identities.add(identity);
    }
    if (prefixes === null) return;
    for (const {text, prefix, labels} of this.#candidatePrefixes(peer)) if (matcher.matchesPrefix(prefix, labels)) prefixes.add(text);
  }

  /** Of a CIDR those that lie between its first and its last address, else all. */
  #candidatePrefixes(peer: Peer): Iterable<KnownPrefix> {
    if (peer.kind !== 'cidr') return this.#prefixes.values();
    this.#ordered ??= [...this.#prefixes.values()].sort((a, b) => comparePrefixes(a.prefix, b.prefix));
    const outer = prefixOfText(peer.prefix);
    const first = lowerBound(this.#ordered, outer);
    let end = first;
    while (end < this.#ordered.length && contains(outer, this.#ordered[end]?.prefix ?? outer)) end++;
    return this.#ordered.slice(first, end);
  }

  /** Untouched when the members stay the same. */
  #refill(tracked: Tracked): void {
    const before = new Set<unknown>([...tracked.identities.values(), ...tracked.prefixes ?? []]);
    tracked.matcher = matcherOf(tracked.peer, this.#context);
    tracked.identities.clear();
    tracked.prefixes?.clear();
    this.#fill(tracked);
    const after = [...tracked.identities.values(), ...tracked.prefixes ?? []];
    if (after.length !== before.size || after.some((member) => !before.has(member))) this.#touch(tracked);
  }

  untrack(id: SelectorId): void {
    const tracked = this.#tracked.get(id);
    if (tracked === undefined) return;
    this.#tracked.delete(id);
    this.#prefixed.delete(tracked);
    if (!this.#cidrs.delete(tracked)) this.#selectorIndex.remove(anchorOfPeer(tracked.peer), tracked);
    if (tracked.peer.kind === 'named') this.#bySource.remove(sourceId(tracked.peer.source), tracked);
    this.#changed.delete(id);
  }

  /** The members of `id`, which is tracked from here on. The same object until they change. */
  members(id: SelectorId): NamedMembers {
    const tracked = this.#tracked.get(id) ?? this.#track(id, peerOf(id));
    tracked.members ??= {id: tracked.id, identities: sortedIdentities(tracked.identities.values()), prefixes: sortedPrefixes(tracked.prefixes)};
    return tracked.members;
  }

  /** Whether `id` selects the identity. */
  selects(id: SelectorId, identity: IdentityId): boolean {
    return (this.#tracked.get(id) ?? this.#track(id, peerOf(id))).identities.has(identity);
  }

  trackedIds(): IterableIterator<SelectorId> {
    return this.#tracked.keys();
  }

  /** Ids that are new or whose members have changed since the last call, in no order. */
  takeChanged(): SelectorId[] {
    const changed = [...this.#changed];
    this.#changed.clear();
    return changed;
  }

  #touch(tracked: Tracked): void {
    tracked.members = null;
    this.#changed.add(tracked.id);
  }
}

/** Index of the first that is not before `prefix`; what it contains follows from there without a gap. */
function lowerBound(ordered: readonly KnownPrefix[], prefix: Prefix): number {
  let low = 0;
  let high = ordered.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    const held = ordered[middle]?.prefix ?? prefix;
    if (comparePrefixes(held, prefix) < 0) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** Membership from scratch, for a few selectors over given tables. Reserved identities must be in `identities`. */
export function membersOf(
  peer: Peer,
  identities: ReadonlyMap<IdentityId, Labels>,
  prefixes: ReadonlyMap<string, Labels>,
): Members {
  const matcher = matcherOf(peer);
  return {
    identities: sortedIdentities([...identities].filter(([id, labels]) => matcher.matchesIdentity(id, labels)).map(([id]) => id)),
    prefixes: sortedPrefixes([...prefixes].filter(([text, labels]) => matcher.matchesPrefix(prefixOfText(text), labels)).map(([text]) => text)),
  };
}

function sortedIdentities(identities: Iterable<IdentityId>): readonly IdentityId[] {
  return [...identities].sort((a, b) => a - b);
}

function sortedPrefixes(prefixes: Iterable<string> | null): readonly string[] {
  if (prefixes === null) return NO_PREFIXES;
  const parsed = Array.from(prefixes, (text) => ({text, prefix: prefixOfText(text)}));
  return parsed.sort((a, b) => comparePrefixes(a.prefix, b.prefix)).map(({text}) => text);
}

/** Labels of prefixes are `cidr:` and `reserved:` ones: a selector that demands one of a pod has no prefixes. */
function matchesPrefixLabels(selector: Selector): boolean {
  return selector.requirements.every(({source, operator}) => operator === 'NotIn' || operator === 'DoesNotExist' || source !== 'k8s');
}
