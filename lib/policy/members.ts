// SelectorMembers: which identities and prefixes each selector stands for, kept up to date as both come and go.

import {comparePrefixes, contains} from '../core/ip.js';
import type {Prefix} from '../core/ip.js';
import {IDENTITY_WORLD, RESERVED_IDENTITIES, identityId} from '../domain/identity.js';
import type {IdentityId} from '../domain/identity.js';
import {Labels} from '../domain/labels.js';
import type {Members, Peer, SelectorId} from '../domain/policy.js';
import {matches} from '../domain/selector.js';
import type {Selector} from '../domain/selector.js';
import {peerOf, prefixOfText} from './selectors.js';

/** Matches one identity's labels, or one prefix with its labels. World (2) is also the prefix of all IPv4 addresses. */
export interface PeerMatcher {
  matchesIdentity(id: IdentityId, labels: Labels): boolean;
  matchesPrefix(prefix: Prefix, labels: Labels): boolean;
}

const NOTHING: PeerMatcher = {matchesIdentity: () => false, matchesPrefix: () => false};
const EVERYTHING: PeerMatcher = {matchesIdentity: () => true, matchesPrefix: () => true};

export function matcherOf(peer: Peer): PeerMatcher {
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
    case 'cidr': {
      const outer = prefixOfText(peer.prefix);
      const holes = peer.except.map(prefixOfText);
      const whole = outer.family === 4 && outer.length === 0 && !holes.some((hole) => hole.length === 0);
      return {
        matchesIdentity: (id) => whole && id === IDENTITY_WORLD,
        matchesPrefix: (prefix) => contains(outer, prefix) && !holes.some((hole) => contains(hole, prefix)),
      };
    }
  }
}

interface Tracked {
  readonly matcher: PeerMatcher;
  /** `key=value` that every match has; null when the selector promises none. */
  readonly anchor: string | null;
  readonly identities: Set<IdentityId>;
  readonly prefixes: Set<string>;
  /** Null after a change, until asked for again: equal membership is the same object. */
  members: Members | null;
}

interface KnownPrefix {
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
  readonly #identitiesByAnchor = new Map<string, Set<IdentityId>>();
  readonly #selectorsByAnchor = new Map<string | null, Set<Tracked>>();
  readonly #ids = new Map<Tracked, SelectorId>();
  readonly #changed = new Set<SelectorId>();

  constructor() {
    for (const [id, labels] of RESERVED_IDENTITIES) this.setIdentity(id, Labels.parse(labels));
  }

  /** Null removes. */
  setIdentity(id: IdentityId, labels: Labels | null): void {
    const old = this.#identities.get(id);
    if (old?.key === labels?.key) return;
    if (old !== undefined) this.#forgetIdentity(id, old);
    if (labels === null) return;
    this.#identities.set(id, labels);
    for (const anchor of anchorsOf(labels)) addTo(this.#identitiesByAnchor, anchor, id);
    for (const tracked of this.#candidates(labels)) {
      if (!tracked.matcher.matchesIdentity(id, labels)) continue;
      tracked.identities.add(id);
      this.#touch(tracked);
    }
  }

  #forgetIdentity(id: IdentityId, labels: Labels): void {
    this.#identities.delete(id);
    for (const anchor of anchorsOf(labels)) removeFrom(this.#identitiesByAnchor, anchor, id);
    for (const tracked of this.#candidates(labels)) if (tracked.identities.delete(id)) this.#touch(tracked);
  }

  /** A prefix with an identity of its own: from a policy, or an address such as that of an external API server. Null removes. */
  setPrefix(text: string, labels: Labels | null): void {
    const old = this.#prefixes.get(text);
    if (old?.labels.key === labels?.key) return;
    for (const tracked of this.#tracked.values()) if (tracked.prefixes.delete(text)) this.#touch(tracked);
    this.#prefixes.delete(text);
    if (labels === null) return;
    const prefix = prefixOfText(text);
    this.#prefixes.set(text, {prefix, labels});
    for (const tracked of this.#tracked.values()) {
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
    const tracked: Tracked = {matcher: matcherOf(peer), anchor, identities: new Set(), prefixes: new Set(), members: null};
    const ids = anchor === null ? this.#identities.keys() : (this.#identitiesByAnchor.get(anchor) ?? []);
    for (const identity of ids) {
      const labels = this.#identities.get(identity);
      if (labels !== undefined && tracked.matcher.matchesIdentity(identity, labels)) tracked.identities.add(identity);
    }
    for (const [text, {prefix, labels}] of this.#prefixes) {
      if (tracked.matcher.matchesPrefix(prefix, labels)) tracked.prefixes.add(text);
    }
    this.#tracked.set(id, tracked);
    this.#ids.set(tracked, id);
    addTo(this.#selectorsByAnchor, anchor, tracked);
    this.#touch(tracked);
  }

  untrack(id: SelectorId): void {
    const tracked = this.#tracked.get(id);
    if (tracked === undefined) return;
    this.#tracked.delete(id);
    this.#ids.delete(tracked);
    removeFrom(this.#selectorsByAnchor, tracked.anchor, tracked);
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
    yield* this.#selectorsByAnchor.get(null) ?? [];
    for (const anchor of anchorsOf(labels)) yield* this.#selectorsByAnchor.get(anchor) ?? [];
  }

  #touch(tracked: Tracked): void {
    tracked.members = null;
    const id = this.#ids.get(tracked);
    if (id !== undefined) this.#changed.add(id);
  }
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

/** Labels are indexed without their source, so that `any:` and `k8s:` requirements share one index. */
function anchorOf(selector: Selector): string | null {
  for (const {operator, key, values} of selector.requirements) {
    const [value] = values;
    if (operator === 'In' && values.length === 1 && value !== undefined && !isCommon(key)) return `${key}=${value}`;
  }
  for (const {operator, key, values} of selector.requirements) {
    const [value] = values;
    if (operator === 'In' && values.length === 1 && value !== undefined) return `${key}=${value}`;
  }
  return null;
}

/** Keys that nearly every identity has: poor anchors. */
function isCommon(key: string): boolean {
  return key === 'io.cilium.k8s.policy.cluster' || key === 'io.kubernetes.pod.namespace';
}

function anchorsOf(labels: Labels): Set<string> {
  return new Set(labels.all.map((label) => `${label.key}=${label.value}`));
}

function addTo<K, V>(index: Map<K, Set<V>>, key: K, value: V): void {
  const set = index.get(key);
  if (set === undefined) index.set(key, new Set([value]));
  else set.add(value);
}

function removeFrom<K, V>(index: Map<K, Set<V>>, key: K, value: V): void {
  const set = index.get(key);
  set?.delete(value);
  if (set?.size === 0) index.delete(key);
}
