// SelectorMembers: which identities and prefixes each selector stands for, kept up to date as both come and go.

import {comparePrefixes, contains} from '../core/ip.js';
import type {Prefix} from '../core/ip.js';
import {IPV4_ONLY, hasFamily, identityId, reservedIdentities, worldIdentity} from '../domain/identity.js';
import type {Families, IdentityId} from '../domain/identity.js';
import {Labels} from '../domain/labels.js';
import type {Members, Peer, SelectorId, SourceMeaning} from '../domain/policy.js';
import {matches} from '../domain/selector.js';
import type {Selector} from '../domain/selector.js';
import {AnchorIndex, anchorOf, anchorsOf} from './anchors.js';
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
      return {
        matchesIdentity: (_id, labels) => matches(peer.selector, labels),
        matchesPrefix: (_prefix, labels) => matches(peer.selector, labels),
      };
    case 'cidr':
      return prefixMatcher({prefixes: [peer.prefix], selectors: []}, peer.except, context.families);
    case 'named':
      return prefixMatcher(context.meanings(peer.source), peer.except, context.families);
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

interface Tracked {
  readonly peer: Peer;
  matcher: PeerMatcher;
  /** `key=value` that every match has; null when the selector promises none. */
  readonly anchor: string | null;
  readonly identities: Set<IdentityId>;
  readonly prefixes: Set<string>;
  /** Null after a change, until asked for again: equal membership is the same object. */
  members: Members | null;
}

interface KnownPrefix {
  readonly text: string;
  readonly prefix: Prefix;
  readonly labels: Labels;
}

/**
 * Starts with the reserved identities. Selectors with a `key=value` are found through an index on it, so a new identity
 * costs its labels plus the selectors that could match.
 */
export class SelectorMembers {
  readonly #identities = new Map<IdentityId, Labels>();
  readonly #prefixes = new Map<string, KnownPrefix>();
  readonly #tracked = new Map<SelectorId, Tracked>();
  readonly #identitiesByAnchor = new AnchorIndex<IdentityId>();
  readonly #selectorsByAnchor = new AnchorIndex<Tracked>();
  /** Selectors that promise no anchor. */
  readonly #unanchored = new Set<Tracked>();
  /** Selectors that can have prefixes: those by CIDR or name, and those by labels without an anchor. */
  readonly #prefixed = new Set<Tracked>();
  readonly #bySource = new AnchorIndex<Tracked>();
  readonly #ids = new Map<Tracked, SelectorId>();
  readonly #changed = new Set<SelectorId>();
  readonly #meanings = new Map<string, SourceMeaning>();
  readonly #context: MatchContext;
  /** In address order, made when it is needed. */
  #ordered: readonly KnownPrefix[] | null = null;

  constructor(families: Families = IPV4_ONLY) {
    this.#context = {families, meanings: (source) => this.#meanings.get(sourceId(source)) ?? NO_MEANING};
    for (const [id, labels] of reservedIdentities(families)) this.setIdentity(id, Labels.parse(labels));
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
    for (const anchor of anchorsOf(labels)) this.#identitiesByAnchor.add(anchor, id);
    for (const tracked of this.#candidates(labels)) {
      if (!tracked.matcher.matchesIdentity(id, labels)) continue;
      tracked.identities.add(id);
      this.#touch(tracked);
    }
  }

  #forgetIdentity(id: IdentityId, labels: Labels): void {
    this.#identities.delete(id);
    for (const anchor of anchorsOf(labels)) this.#identitiesByAnchor.remove(anchor, id);
    for (const tracked of this.#candidates(labels)) if (tracked.identities.delete(id)) this.#touch(tracked);
  }

  /** A prefix with an identity of its own: from a policy, or an address such as that of an external API server. Null removes. */
  setPrefix(text: string, labels: Labels | null): void {
    const old = this.#prefixes.get(text);
    if (old?.labels.key === labels?.key) return;
    for (const tracked of this.#prefixed) if (tracked.prefixes.delete(text)) this.#touch(tracked);
    this.#prefixes.delete(text);
    this.#ordered = null;
    if (labels === null) return;
    const prefix = prefixOfText(text);
    this.#prefixes.set(text, {text, prefix, labels});
    for (const tracked of this.#prefixed) {
      if (!tracked.matcher.matchesPrefix(prefix, labels)) continue;
      tracked.prefixes.add(text);
      this.#touch(tracked);
    }
  }

  /** Keeps the members of `id` up to date from now on. Twice is once. */
  track(id: SelectorId): void {
    if (this.#tracked.has(id)) return;
    const peer = peerOf(id);
    const anchor = peer.kind === 'labels' ? anchorOf(peer.selector) : null;
    const matcher = matcherOf(peer, this.#context);
    const tracked: Tracked = {peer, matcher, anchor, identities: new Set(), prefixes: new Set(), members: null};
    this.#tracked.set(id, tracked);
    this.#ids.set(tracked, id);
    if (anchor === null) this.#unanchored.add(tracked);
    else this.#selectorsByAnchor.add(anchor, tracked);
    if (peer.kind === 'named') this.#bySource.add(sourceId(peer.source), tracked);
    if (peer.kind !== 'labels' || matchesPrefixLabels(peer.selector)) this.#prefixed.add(tracked);
    this.#fill(tracked);
    this.#touch(tracked);
  }

  #fill(tracked: Tracked): void {
    const {anchor, matcher} = tracked;
    const ids = anchor === null ? this.#identities.keys() : this.#identitiesByAnchor.get(anchor);
    for (const identity of ids) {
      const labels = this.#identities.get(identity);
      if (labels !== undefined && matcher.matchesIdentity(identity, labels)) tracked.identities.add(identity);
    }
    if (!this.#prefixed.has(tracked)) return;
    for (const {text, prefix, labels} of this.#candidatePrefixes(tracked.peer)) if (matcher.matchesPrefix(prefix, labels)) tracked.prefixes.add(text);
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
    const before = new Set<unknown>([...tracked.identities, ...tracked.prefixes]);
    tracked.matcher = matcherOf(tracked.peer, this.#context);
    tracked.identities.clear();
    tracked.prefixes.clear();
    this.#fill(tracked);
    const after = [...tracked.identities, ...tracked.prefixes];
    if (after.length !== before.size || after.some((member) => !before.has(member))) this.#touch(tracked);
  }

  untrack(id: SelectorId): void {
    const tracked = this.#tracked.get(id);
    if (tracked === undefined) return;
    this.#tracked.delete(id);
    this.#ids.delete(tracked);
    this.#unanchored.delete(tracked);
    this.#prefixed.delete(tracked);
    if (tracked.anchor !== null) this.#selectorsByAnchor.remove(tracked.anchor, tracked);
    if (tracked.peer.kind === 'named') this.#bySource.remove(sourceId(tracked.peer.source), tracked);
    this.#changed.delete(id);
  }

  /** The members of `id`, which is tracked from here on. The same object until they change. */
  members(id: SelectorId): Members {
    this.track(id);
    const tracked = this.#tracked.get(id);
    if (tracked === undefined) return {identities: [], prefixes: []};
    tracked.members ??= sortedMembers(tracked.identities, tracked.prefixes);
    return tracked.members;
  }

  /** Whether `id` selects the identity. */
  selects(id: SelectorId, identity: IdentityId): boolean {
    this.track(id);
    return this.#tracked.get(id)?.identities.has(identity) ?? false;
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

  *#candidates(labels: Labels): Generator<Tracked> {
    yield* this.#unanchored;
    for (const anchor of anchorsOf(labels)) yield* this.#selectorsByAnchor.get(anchor);
  }

  #touch(tracked: Tracked): void {
    tracked.members = null;
    const id = this.#ids.get(tracked);
    if (id !== undefined) this.#changed.add(id);
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
  return sortedMembers(
    [...identities].filter(([id, labels]) => matcher.matchesIdentity(id, labels)).map(([id]) => id),
    [...prefixes].filter(([text, labels]) => matcher.matchesPrefix(prefixOfText(text), labels)).map(([text]) => text),
  );
}

function sortedMembers(identities: Iterable<IdentityId>, prefixes: Iterable<string>): Members {
  const parsed = [...prefixes].map((text) => ({text, prefix: prefixOfText(text)}));
  return {
    identities: [...identities].sort((a, b) => a - b).map(identityId),
    prefixes: parsed.sort((a, b) => comparePrefixes(a.prefix, b.prefix)).map(({text}) => text),
  };
}

/** Labels of prefixes are `cidr:` and `reserved:` ones: a selector that demands one of a pod has no prefixes. */
function matchesPrefixLabels(selector: Selector): boolean {
  return selector.requirements.every(({source, operator}) => operator === 'NotIn' || operator === 'DoesNotExist' || source !== 'k8s');
}
