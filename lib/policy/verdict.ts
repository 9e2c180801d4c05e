// The verdict of a policy map for one packet, by the datapath's own two lookups (bpf/lib/policy.h).

import {IDENTITY_ANY} from '../domain/identity.js';
import type {IdentityId} from '../domain/identity.js';
import {PRECEDENCE_DENY} from '../domain/policy.js';
import type {Direction, MapStateEntry} from '../domain/policy.js';

export interface PolicyQuery {
  readonly direction: Direction;
  /** The peer: source at ingress, destination at egress. */
  readonly identity: IdentityId;
  readonly protocol: number;
  /** Destination port; for ICMP the type; 0 for protocols that have none. */
  readonly port: number;
}

/** Cilium's words, with the numbers that its events carry. */
export const MATCH_TYPES = {
  'none': 0, 'L3-Only': 1, 'L3-L4': 2, 'L4-Only': 3, 'all': 4, 'L3-Proto': 5, 'Proto-Only': 6,
} as const;
export type MatchType = keyof typeof MATCH_TYPES;

export interface PolicyVerdict {
  readonly verdict: 'allow' | 'deny';
  /** Null when nothing matched: the drop is then the default. */
  readonly entry: MapStateEntry | null;
  readonly matchType: MatchType;
}

interface Layer {
  readonly byKey: Map<number, MapStateEntry>;
  /** Prefix lengths in use over protocol and port (24 bits), longest first. */
  readonly lengths: number[];
}

/** Entries by direction and identity, as an LPM trie would find them. */
export type PolicyIndex = Readonly<Record<Direction, ReadonlyMap<IdentityId, Layer>>>;

const LENGTH_MAX = 24;

export function indexEntries(entries: Iterable<MapStateEntry>): PolicyIndex {
  const index = {ingress: new Map<IdentityId, Layer>(), egress: new Map<IdentityId, Layer>()};
  for (const entry of entries) {
    const layers = index[entry.direction];
    let layer = layers.get(entry.identity);
    if (layer === undefined) layers.set(entry.identity, (layer = {byKey: new Map(), lengths: []}));
    const length = lpmLength(entry);
    if (!layer.lengths.includes(length)) layer.lengths.push(length);
    layer.byKey.set(lpmKey(entry.protocol, entry.port, length), entry);
  }
  for (const layers of [index.ingress, index.egress]) {
    for (const layer of layers.values()) layer.lengths.sort((a, b) => b - a);
  }
  return index;
}

/** For many queries against one map, make the index once. */
export function lookup(entries: readonly MapStateEntry[] | PolicyIndex, query: PolicyQuery): PolicyVerdict {
  const index = isIndex(entries) ? entries : indexEntries(entries);
  const layers = index[query.direction];
  const own = query.identity === IDENTITY_ANY ? null : longestMatch(layers.get(query.identity), query);
  if (own !== null && own.precedence === PRECEDENCE_DENY) return verdictOf(own);
  const any = longestMatch(layers.get(IDENTITY_ANY), query);
  const chosen = any !== null && (own === null || outranks(any, own)) ? any : own;
  return chosen === null ? {verdict: 'deny', entry: null, matchType: 'none'} : verdictOf(chosen);
}

function isIndex(entries: readonly MapStateEntry[] | PolicyIndex): entries is PolicyIndex {
  return !Array.isArray(entries);
}

/** The entry of all identities takes over when it has the higher precedence, or the longer prefix at the same one. */
function outranks(any: MapStateEntry, own: MapStateEntry): boolean {
  if (any.precedence !== own.precedence) return any.precedence > own.precedence;
  return lpmLength(any) > lpmLength(own);
}

function longestMatch(layer: Layer | undefined, query: PolicyQuery): MapStateEntry | null {
  if (layer === undefined) return null;
  for (const length of layer.lengths) {
    const entry = layer.byKey.get(lpmKey(query.protocol, query.port, length));
    if (entry !== undefined) return entry;
  }
  return null;
}

/** Significant bits after identity and direction: 0 (L3 only), 8 (protocol), 9..24 (port bits). */
export function lpmLength(entry: Pick<MapStateEntry, 'protocol' | 'portPrefixLength'>): number {
  return entry.protocol === 0 ? 0 : 8 + entry.portPrefixLength;
}

/** 29 bits: protocol and port with the insignificant ones cleared, and the length. */
function lpmKey(protocol: number, port: number, length: number): number {
  const bits = ((protocol << 16) | port) & (0xffffff << (LENGTH_MAX - length)) & 0xffffff;
  return (bits << 5) | length;
}

function verdictOf(entry: MapStateEntry): PolicyVerdict {
  return {verdict: entry.deny ? 'deny' : 'allow', entry, matchType: matchTypeOf(entry)};
}

export function matchTypeOf(entry: MapStateEntry): MatchType {
  const length = lpmLength(entry);
  if (entry.identity === IDENTITY_ANY) return length === 0 ? 'all' : length === 8 ? 'Proto-Only' : 'L4-Only';
  return length === 0 ? 'L3-Only' : length === 8 ? 'L3-Proto' : 'L3-L4';
}
