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
  readonly resource: IpCacheResourceItem;
  /** The node on which nothing is tunnelled to it. */
  readonly node: string | null;
}

type IpCacheResourceItem = Extract<Resource, {kind: 'ipcache'}>;

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

export function claimOf(kind: Claim['kind'], source: string, entry: IpCacheResource, node: string | null = null): Claim {
  return {kind, source, resource: ipCacheResource(entry), node};
}

function ipCacheResource(entry: IpCacheResource): IpCacheResourceItem {
  return resource('ipcache', entry.prefix, entry) as IpCacheResourceItem;
}

/** Claims by source (a pod, a node), at most one per kind, source and prefix. */
export class IpCache {
  readonly #bySource = new Map<string, ReadonlyMap<string, Claim>>();
  /** Nearly every prefix has one claim. */
  readonly #byPrefix = new Map<string, Claim | readonly Claim[]>();
  readonly #locals = new Map<string, LocalEntry>();
  #changed: string[] = [];

  /** Replaces everything that `source`, which is no pod, claims. */
  replace(source: string, claims: ReadonlyMap<string, Claim>): void {
    const before = this.#bySource.get(source);
    for (const [prefix, claim] of before ?? []) if (claims.get(prefix)?.kind !== claim.kind) this.unclaim(prefix, claim);
    for (const [prefix, claim] of claims) this.claim(prefix, claim);
    if (claims.size === 0) this.#bySource.delete(source);
    else this.#bySource.set(source, claims);
  }

  /** In place of what the source claimed of the prefix before. */
  claim(prefix: string, claim: Claim): void {
    const held = this.#byPrefix.get(prefix);
    const others = held === undefined ? NO_CLAIMS : claimsOf(held).filter(({kind, source}) => kind !== claim.kind || source !== claim.source);
    this.#byPrefix.set(prefix, others.length === 0 ? claim : [...others, claim]);
    this.#changed.push(prefix);
  }

  unclaim(prefix: string, {kind, source}: Pick<Claim, 'kind' | 'source'>): void {
    const held = this.#byPrefix.get(prefix);
    if (held === undefined) return;
    const others = claimsOf(held).filter((claim) => claim.kind !== kind || claim.source !== source);
    const [first] = others;
    if (first === undefined) this.#byPrefix.delete(prefix);
    else this.#byPrefix.set(prefix, others.length === 1 ? first : others);
    this.#changed.push(prefix);
  }

  has(prefix: string): boolean {
    return this.#byPrefix.has(prefix);
  }

  /** How the node of a pod holds its address; null = as all others do. */
  local(prefix: string): LocalEntry | null {
    return this.#locals.get(prefix) ?? null;
  }

  /** Prefixes whose entry may be another one since the last call; some of them twice. */
  * takeChanged(): Generator<IpCacheChange> {
    const changed = this.#changed;
    this.#changed = [];
    for (const prefix of changed) {
      const held = this.#byPrefix.get(prefix);
      const winner = held === undefined ? null : strongest(held);
      const localBefore = this.#locals.size === 0 ? null : this.#locals.get(prefix) ?? null;
      const local = winner === null ? null : localEntry(winner, localBefore);
      if (local !== null) this.#locals.set(prefix, local);
      else if (localBefore !== null) this.#locals.delete(prefix);
      yield {prefix, resource: winner?.resource ?? null, localBefore, local};
    }
  }
}

const NO_CLAIMS: readonly Claim[] = [];

function claimsOf(held: Claim | readonly Claim[]): readonly Claim[] {
  return 'kind' in held ? [held] : held;
}

function localEntry({node, resource: {value}}: Claim, before: LocalEntry | null): LocalEntry | null {
  if (node === null || value.tunnelEndpoint === null) return null;
  const entry = {...value, tunnelEndpoint: null};
  return before !== null && before.node === node && deepEqual(before.resource.value, entry) ? before : {node, resource: ipCacheResource(entry)};
}

function strongest(held: Claim | readonly Claim[]): Claim | null {
  if ('kind' in held) return held;
  let best: Claim | null = null;
  for (const claim of held) {
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
  readonly routerAddress6: string | null;
  /** First InternalIP; empty when the node has none. */
  readonly address: string;
}

export function routerAddresses({routerAddress, routerAddress6}: NodeView): readonly string[] {
  return [routerAddress, routerAddress6].filter((address) => address !== null);
}

/** What other nodes hold of `node`: its addresses, its router address behind the tunnel, its PodCIDRs. */
export function nodeClaims(view: NodeView, options: {readonly tunnel: boolean; readonly apiServers: ReadonlySet<string>}): Map<string, Claim> {
  const claims = new Map<string, Claim>();
  const {fact, address} = view;
  const put = (kind: Claim['kind'], entry: IpCacheResource): void => void claims.set(entry.prefix, claimOf(kind, fact.name, entry));
  const tunnelEndpoint = options.tunnel && address !== '' ? address : null;
  for (const cidr of fact.podCidrs) put('fallback', ipCacheEntry(cidr, IDENTITY_UNMANAGED, tunnelEndpoint));
  const identity = fact.addresses.some(({ip}) => options.apiServers.has(ip)) ? IDENTITY_KUBE_APISERVER : IDENTITY_REMOTE_NODE;
  for (const router of routerAddresses(view)) put('node', ipCacheEntry(hostPrefix(router), identity, tunnelEndpoint));
  for (const {ip} of fact.addresses) put('node', ipCacheEntry(hostPrefix(ip), identity, null));
  return claims;
}
