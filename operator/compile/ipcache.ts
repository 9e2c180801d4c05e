// Prefix → identity, the same for every node: pods, nodes, PodCIDR fallbacks, an API server outside the cluster. What a node
// holds differently (its own addresses, the prefixes its policies name) is in node-layers.ts.

import {deepEqual} from '../../lib/core/equal.js';
import {compareStrings} from '../../lib/core/order.js';
import {resource} from '../../lib/desired/diff.js';
import type {IpCacheResource, Resource} from '../../lib/desired/node-state.js';
import {IDENTITY_KUBE_APISERVER, IDENTITY_REMOTE_NODE, IDENTITY_UNMANAGED, type IdentityId} from '../../lib/domain/identity.js';
import type {NodeFact} from '../model/facts.js';

/** Who says what a prefix is; the higher one wins, ties go to the smaller source name. */
const PRIORITIES = {node: 4, pod: 3, fallback: 2, external: 1} as const;

export interface Claim {
  readonly kind: keyof typeof PRIORITIES;
  /** Name of a pod or node. */
  readonly source: string;
  readonly entry: IpCacheResource;
  /** The node on which nothing is tunnelled to it. */
  readonly node: string | null;
}

interface Held {
  /** At most one of a kind and source. */
  claims: readonly Claim[];
  resource: Resource | null;
  local: LocalEntry | null;
}

/** The entry as the node holds it on which the address is. */
export interface LocalEntry {
  readonly node: string;
  readonly resource: Resource;
}

export interface IpCacheChange {
  readonly prefix: string;
  /** null = no entry. */
  readonly resource: Resource | null;
  readonly localBefore: LocalEntry | null;
  readonly local: LocalEntry | null;
}

const NO_CLAIMS: readonly Claim[] = [];

/** Claims by source (a pod, a node), at most one per kind, source and prefix. */
export class IpCache {
  readonly #bySource = new Map<string, ReadonlyMap<string, Claim>>();
  readonly #byPrefix = new Map<string, Held>();
  readonly #changed = new Set<string>();

  /** Replaces everything that `source`, which is no pod, claims. */
  replace(source: string, claims: ReadonlyMap<string, Claim>): void {
    const before = this.#bySource.get(source);
    for (const [prefix, claim] of before ?? []) if (!claims.has(prefix)) this.unclaim(prefix, claim);
    for (const [prefix, claim] of claims) {
      const old = before?.get(prefix);
      if (deepEqual(old, claim)) continue;
      if (old !== undefined) this.unclaim(prefix, old);
      this.claim(prefix, claim);
    }
    if (claims.size === 0) this.#bySource.delete(source);
    else this.#bySource.set(source, claims);
  }

  claim(prefix: string, claim: Claim): void {
    const held = this.#byPrefix.get(prefix);
    if (held === undefined) this.#byPrefix.set(prefix, {claims: [claim], resource: null, local: null});
    else held.claims = [...held.claims, claim];
    this.#changed.add(prefix);
  }

  unclaim(prefix: string, {kind, source}: Pick<Claim, 'kind' | 'source'>): void {
    const held = this.#byPrefix.get(prefix);
    if (held === undefined) return;
    held.claims = held.claims.length === 1 && held.claims[0]?.source === source && held.claims[0].kind === kind
      ? NO_CLAIMS : held.claims.filter((claim) => claim.kind !== kind || claim.source !== source);
    this.#changed.add(prefix);
  }

  has(prefix: string): boolean {
    return (this.#byPrefix.get(prefix)?.claims.length ?? 0) > 0;
  }

  /** How the node of a pod holds its address; null = as all others do. */
  local(prefix: string): LocalEntry | null {
    return this.#byPrefix.get(prefix)?.local ?? null;
  }

  /** Prefixes whose entry may be another one since the last call. */
  * takeChanged(): Generator<IpCacheChange> {
    for (const prefix of this.#changed) {
      const held = this.#byPrefix.get(prefix);
      if (held === undefined) continue;
      const winner = strongest(held.claims);
      const localBefore = held.local;
      held.resource = winner === null ? null : same(held.resource, winner.entry);
      held.local = winner === null ? null : localEntry(winner, localBefore);
      if (winner === null) this.#byPrefix.delete(prefix);
      yield {prefix, resource: held.resource, localBefore, local: held.local};
    }
    this.#changed.clear();
  }
}

function localEntry({node, entry}: Claim, before: LocalEntry | null): LocalEntry | null {
  if (node === null || entry.tunnelEndpoint === null) return null;
  return {node, resource: same(before?.resource ?? null, {...entry, tunnelEndpoint: null})};
}

/** What is held, as long as it says the same. */
function same(held: Resource | null, entry: IpCacheResource): Resource {
  return held !== null && deepEqual(held.value, entry) ? held : resource('ipcache', entry.prefix, entry);
}

function strongest(claims: readonly Claim[]): Claim | null {
  let best: Claim | null = null;
  for (const claim of claims) {
    const order = best === null ? 1 : PRIORITIES[claim.kind] - PRIORITIES[best.kind] || compareStrings(best.source, claim.source);
    if (order > 0) best = claim;
  }
  return best;
}

/** `10.98.1.7` → `10.98.1.7/32`. Addresses in the tables are canonical: their decoders see to it. */
export function hostPrefix(address: string): string {
  return address.includes(':') ? `${address}/128` : `${address}/32`;
}

const NO_LABELS: readonly string[] = [];

export function ipCacheEntry(prefix: string, identity: IdentityId, tunnelEndpoint: string | null): IpCacheResource {
  return {prefix, identity, labels: NO_LABELS, tunnelEndpoint, local: false};
}

export interface NodeView {
  readonly fact: NodeFact;
  readonly routerAddress: string | null;
  /** First InternalIP; empty when the node has none. */
  readonly address: string;
}

/** What other nodes hold of `node`: its addresses, its router address behind the tunnel, its PodCIDRs. */
export function nodeClaims(view: NodeView, options: {readonly tunnel: boolean; readonly apiServers: ReadonlySet<string>}): Map<string, Claim> {
  const claims = new Map<string, Claim>();
  const {fact, routerAddress, address} = view;
  const put = (kind: Claim['kind'], entry: IpCacheResource): void => void claims.set(entry.prefix, {kind, source: fact.name, entry, node: null});
  const tunnelEndpoint = options.tunnel && address !== '' ? address : null;
  for (const cidr of fact.podCidrs) put('fallback', ipCacheEntry(cidr, IDENTITY_UNMANAGED, tunnelEndpoint));
  const identity = fact.addresses.some(({ip}) => options.apiServers.has(ip)) ? IDENTITY_KUBE_APISERVER : IDENTITY_REMOTE_NODE;
  if (routerAddress !== null) put('node', ipCacheEntry(hostPrefix(routerAddress), identity, tunnelEndpoint));
  for (const {ip} of fact.addresses) put('node', ipCacheEntry(hostPrefix(ip), identity, null));
  return claims;
}
