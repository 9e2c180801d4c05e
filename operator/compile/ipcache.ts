// Prefix → identity, the same for every node: pods, nodes, PodCIDR fallbacks, an API server outside the cluster. What a node
// holds differently (its own addresses, the prefixes its policies name) is in node-layer.ts.

import {deepEqual} from '../../lib/core/equal.js';
import {compareStrings} from '../../lib/core/order.js';
import {formatPrefix, parsePrefix} from '../../lib/core/ip.js';
import {resource} from '../../lib/desired/diff.js';
import type {IpCacheResource, Resource} from '../../lib/desired/node-state.js';
import {IDENTITY_KUBE_APISERVER, IDENTITY_REMOTE_NODE, IDENTITY_UNMANAGED, type IdentityId} from '../../lib/domain/identity.js';
import type {NodeFact} from '../model/facts.js';

/** Who says what a prefix is; the higher one wins, ties go to the smaller source name. */
const PRIORITIES = {node: 4, pod: 3, fallback: 2, external: 1} as const;

export interface Claim {
  readonly kind: keyof typeof PRIORITIES;
  readonly entry: IpCacheResource;
}

interface Held {
  readonly claims: Map<string, Claim>;
  resource: Resource | null;
}

/** Claims by source (a pod, a node), at most one per source and prefix. */
export class IpCache {
  readonly #bySource = new Map<string, ReadonlyMap<string, Claim>>();
  readonly #byPrefix = new Map<string, Held>();
  readonly #changed = new Set<string>();

  /** Replaces everything that `source` claims. */
  set(source: string, claims: ReadonlyMap<string, Claim>): void {
    const before = this.#bySource.get(source);
    if (deepEqual(before ?? new Map(), claims)) return;
    for (const prefix of before?.keys() ?? []) {
      if (claims.has(prefix)) continue;
      this.#byPrefix.get(prefix)?.claims.delete(source);
      this.#changed.add(prefix);
    }
    for (const [prefix, claim] of claims) {
      const held = this.#byPrefix.get(prefix) ?? {claims: new Map<string, Claim>(), resource: null};
      this.#byPrefix.set(prefix, held);
      held.claims.set(source, claim);
      this.#changed.add(prefix);
    }
    if (claims.size === 0) this.#bySource.delete(source);
    else this.#bySource.set(source, claims);
  }

  has(prefix: string): boolean {
    return (this.#byPrefix.get(prefix)?.claims.size ?? 0) > 0;
  }

  get(prefix: string): Resource | null {
    return this.#byPrefix.get(prefix)?.resource ?? null;
  }

  /** Prefixes whose entry is another one since the last call; null = no entry. */
  takeChanged(): Map<string, Resource | null> {
    const changes = new Map<string, Resource | null>();
    for (const prefix of this.#changed) {
      const held = this.#byPrefix.get(prefix);
      if (held === undefined) continue;
      const winner = strongest(held.claims);
      const next = winner === null ? null : resource('ipcache', prefix, winner.entry);
      if (next?.version === held.resource?.version) continue;
      held.resource = next;
      if (next === null) this.#byPrefix.delete(prefix);
      changes.set(prefix, next);
    }
    this.#changed.clear();
    return changes;
  }
}

function strongest(claims: ReadonlyMap<string, Claim>): Claim | null {
  const ordered = [...claims].sort(([a, x], [b, y]) => PRIORITIES[y.kind] - PRIORITIES[x.kind] || compareStrings(a, b));
  return ordered[0]?.[1] ?? null;
}

/** `10.98.1.7` → `10.98.1.7/32`. */
export function hostPrefix(address: string): string | null {
  const prefix = parsePrefix(address);
  return prefix === null ? null : formatPrefix(prefix);
}

export function ipCacheEntry(prefix: string, identity: IdentityId, tunnelEndpoint: string | null): IpCacheResource {
  return {prefix, identity, labels: [], tunnelEndpoint, local: false};
}

export interface NodeView {
  readonly fact: NodeFact;
  readonly routerAddress: string | null;
  /** First InternalIP; empty when the node has none. */
  readonly address: string;
}

/** What other nodes hold of `node`: its addresses, its router address behind the tunnel, its PodCIDRs. */
export function nodeClaims(node: NodeView, options: {readonly tunnel: boolean; readonly apiServers: ReadonlySet<string>}): Map<string, Claim> {
  const claims = new Map<string, Claim>();
  const tunnelEndpoint = options.tunnel && node.address !== '' ? node.address : null;
  for (const cidr of node.fact.podCidrs) claims.set(cidr, {kind: 'fallback', entry: ipCacheEntry(cidr, IDENTITY_UNMANAGED, tunnelEndpoint)});
  const isApiServer = node.fact.addresses.some(({ip}) => options.apiServers.has(ip));
  const identity = isApiServer ? IDENTITY_KUBE_APISERVER : IDENTITY_REMOTE_NODE;
  const router = node.routerAddress === null ? null : hostPrefix(node.routerAddress);
  if (router !== null) claims.set(router, {kind: 'node', entry: ipCacheEntry(router, identity, tunnelEndpoint)});
  for (const {ip} of node.fact.addresses) {
    const prefix = hostPrefix(ip);
    if (prefix !== null) claims.set(prefix, {kind: 'node', entry: ipCacheEntry(prefix, identity, null)});
  }
  return claims;
}
