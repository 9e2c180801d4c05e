// The cluster's pools of PodCIDRs (Cilium's IPAM mode `cluster-pool`): which node has which part of them. No part is ever two nodes'.

import {contains, formatPrefix, hasHostBits, maxLength, parsePrefix, subnetAt, subnetIndex, SUBNET_BITS_MAX, type Family, type Prefix} from '../core/ip.js';
import {PrefixTrie} from '../core/trie.js';

export interface ClusterPool {
  readonly prefix: Prefix;
  /** Length of the PodCIDRs that it is cut into. */
  readonly maskSize: number;
}

export interface PoolUse {
  readonly pool: string;
  readonly total: number;
  /** PodCIDRs of the pool that no node can be given: those of nodes, and what overlaps them. */
  readonly used: number;
}

interface Cut extends ClusterPool {
  readonly count: number;
  /** Next-fit: what a node gave back is given out again as late as possible, when nobody sends to its former pods any more. */
  next: number;
}

export class ClusterPools {
  readonly #pools: readonly Cut[];
  readonly #owners = new PrefixTrie<string>();

  constructor(pools: readonly ClusterPool[]) {
    this.#pools = pools.map((pool) => ({...pool, count: 2 ** (pool.maskSize - pool.prefix.length), next: 0}));
  }

  /** Those that there are pools of: a node gets one PodCIDR of each. */
  get families(): readonly Family[] {
    return ([4, 6] as const).filter((family) => this.#pools.some(({prefix}) => prefix.family === family));
  }

  /** What a node has already, in a pool or not. Null when it is the node's from now on; else the node that has something of it. */
  claim(prefix: Prefix, node: string): string | null {
    const other = this.#ownersOf(prefix).find((owner) => owner !== node);
    if (other !== undefined) return other;
    this.#owners.set(prefix, node);
    const pool = this.#pools.find((one) => contains(one.prefix, prefix));
    if (pool !== undefined) pool.next = Math.max(pool.next, subnetIndex(pool.prefix, pool.maskSize, prefix) + 1);
    return null;
  }

  /** Null when every pool of the family is full. */
  allocate(family: Family, node: string): Prefix | null {
    for (const pool of this.#pools) {
      if (pool.prefix.family !== family) continue;
      const index = this.#freeIn(pool);
      if (index === null) continue;
      const prefix = subnetAt(pool.prefix, pool.maskSize, index);
      this.#owners.set(prefix, node);
      pool.next = index + 1;
      return prefix;
    }
    return null;
  }

  release(prefix: Prefix): void {
    this.#owners.delete(prefix);
  }

  use(): readonly PoolUse[] {
    return this.#pools.map(({prefix, maskSize, count}) => ({pool: formatPrefix(prefix), total: count, used: this.#usedOf(prefix, maskSize)}));
  }

  /** For who cannot be given any. */
  exhaustion(family: Family): string {
    const pools = this.#pools.filter(({prefix}) => prefix.family === family);
    return `no IPv${family} PodCIDR is left: ${pools.map(({prefix, maskSize, count}) => `${formatPrefix(prefix)} has ${count} of /${maskSize}`).join(', ')}`;
  }

  #freeIn(pool: Cut): number | null {
    for (let tried = 0; tried < pool.count; tried++) {
      const index = (pool.next + tried) % pool.count;
      if (this.#ownersOf(subnetAt(pool.prefix, pool.maskSize, index)).length === 0) return index;
    }
    return null;
  }

  #ownersOf(prefix: Prefix): string[] {
    const cover = this.#owners.longestCover(prefix);
    return [...(cover === null ? [] : [cover]), ...this.#owners.within(prefix)].map(({value}) => value);
  }

  #usedOf(pool: Prefix, maskSize: number): number {
    if (this.#owners.longestCover(pool) !== null) return 2 ** (maskSize - pool.length);
    const parts = new Set<number>();
    for (const {prefix} of this.#owners.within(pool)) {
      const first = subnetIndex(pool, maskSize, prefix);
      for (let i = 0; i < 2 ** Math.max(0, maskSize - prefix.length); i++) parts.add(first + i);
    }
    return parts.size;
  }
}

/** Fewer addresses than the network's, the router's, one pod's and IPv4's broadcast are of no use. */
const HOST_BITS_MIN = 2;

/**
 * `masks`: one length for all prefixes, or one for each. A text says what is wrong with them. Cilium writes lists with spaces
 * between their items, too.
 */
export function parseClusterPools(family: Family, prefixes: readonly string[], masks: readonly string[]): readonly ClusterPool[] | string {
  const texts = words(prefixes);
  const sizes = words(masks).map(Number);
  if (texts.length > 0 && sizes.length !== 1 && sizes.length !== texts.length) return `${sizes.length} mask sizes for ${texts.length} prefixes: one for all, or one for each`;
  const pools: ClusterPool[] = [];
  for (const [i, text] of texts.entries()) {
    const prefix = parsePrefix(text);
    const maskSize = sizes[i] ?? sizes[0] ?? NaN;
    if (prefix === null || prefix.family !== family || hasHostBits(text)) return `${text} is no IPv${family} prefix`;
    const longest = Math.min(prefix.length + SUBNET_BITS_MAX, maxLength(family) - HOST_BITS_MIN);
    if (!Number.isInteger(maskSize) || maskSize < prefix.length || maskSize > longest) return `${text} cannot be cut into prefixes of ${maskSize} bits: ${prefix.length} to ${longest}`;
    const other = pools.find((pool) => contains(pool.prefix, prefix) || contains(prefix, pool.prefix));
    if (other !== undefined) return `${text} overlaps ${formatPrefix(other.prefix)}`;
    pools.push({prefix, maskSize});
  }
  return pools;
}

function words(items: readonly string[]): string[] {
  return items.flatMap((item) => item.split(/\s+/)).filter((item) => item !== '');
}
