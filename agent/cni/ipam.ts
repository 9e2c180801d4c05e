// Host-scope IPAM: pod addresses from the node's PodCIDRs. What is allocated follows from the endpoints on disk, so nothing can disagree with them.

import {StentorError} from '../../lib/core/errors.js';
import type {Family, Prefix} from '../../lib/core/ip.js';
import {addressAt, formatAddress, maxLength, parsePrefix} from '../../lib/core/ip.js';
import {routerAddress} from '../model/pod-cidrs.js';

export interface FamilyStatus {
  readonly family: 'ipv4' | 'ipv6';
  readonly podCidrs: readonly string[];
  readonly allocated: number;
  readonly capacity: number;
}

export interface IpamStatus {
  readonly podCidrs: readonly string[];
  readonly allocated: number;
  readonly capacity: number;
  readonly addresses: readonly {readonly ip: string; readonly owner: string}[];
  /** Those that the node has a PodCIDR of. */
  readonly families: readonly FamilyStatus[];
}

interface Pool {
  readonly text: string;
  readonly prefix: Prefix;
  /** Offsets that pods may have: after the router, and in IPv4 before the broadcast address. */
  readonly first: number;
  readonly last: number;
  /** Next-fit: a released address is given out again as late as possible. */
  next: number;
}

/** Offset 0 is the network, 1 the router. */
const ROUTER_OFFSET = 1;
/** Of an IPv6 prefix no more are used than IPv4 could have: more than any node has pods. */
const HOST_BITS_MAX = 32;

/** What one pod gets: an address of every family that the node has a PodCIDR of. */
export interface PodAddresses {
  readonly ipv4: string | null;
  readonly ipv6: string | null;
}

export class Ipam {
  #pools: readonly Pool[] = [];
  readonly #owners = new Map<string, string>();

  /** Addresses in use stay in use, whatever the PodCIDRs become. */
  setPodCidrs(podCidrs: readonly string[]): void {
    if (podCidrs.join() === this.#pools.map((pool) => pool.text).join()) return;
    this.#pools = podCidrs.map(poolOf).filter((pool) => pool !== null);
  }

  /** The CiliumInternalIP: first address of the first PodCIDR of the family. Null until there is one. */
  router(family: Family): string | null {
    return routerAddress(this.#pools.map((pool) => pool.text), family);
  }

  /** Throws `IPAM_NO_POD_CIDR` or `IPAM_EXHAUSTED`. */
  allocate(owner: string): PodAddresses {
    if (this.#pools.length === 0) throw new StentorError('IPAM_NO_POD_CIDR', 'the node has no PodCIDR yet');
    const ipv4 = this.#allocateOf(4, owner);
    try {
      return {ipv4, ipv6: this.#allocateOf(6, owner)};
    } catch (error) {
      if (ipv4 !== null) this.release(ipv4);
      throw error;
    }
  }

  /** Takes back what an endpoint from disk already has. Throws `IPAM_IN_USE` when another owner has it. */
  claim(address: string, owner: string): void {
    const present = this.#owners.get(address);
    if (present !== undefined && present !== owner) {
      throw new StentorError('IPAM_IN_USE', 'the address belongs to another endpoint', {address, owner, present});
    }
    this.#owners.set(address, owner);
  }

  release(address: string): void {
    this.#owners.delete(address);
  }

  /** Capacity and use are those of the family that ends first. */
  status(): IpamStatus {
    const families = ([4, 6] as const).map((family) => this.#statusOf(family)).filter(({podCidrs}) => podCidrs.length > 0);
    return {
      families,
      podCidrs: this.#pools.map((pool) => pool.text),
      allocated: Math.max(0, ...families.map(({allocated}) => allocated)),
      capacity: families.length === 0 ? 0 : Math.min(...families.map(({capacity}) => capacity)),
      addresses: [...this.#owners].map(([ip, owner]) => ({ip, owner})),
    };
  }

  #statusOf(family: Family): FamilyStatus {
    const pools = this.#poolsOf(family);
    return {
      family: `ipv${family}`, podCidrs: pools.map((pool) => pool.text),
      allocated: [...this.#owners.keys()].filter((address) => address.includes(':') === (family === 6)).length,
      capacity: pools.reduce((sum, pool) => sum + Math.max(0, pool.last - pool.first + 1), 0),
    };
  }

  #poolsOf(family: Family): readonly Pool[] {
    return this.#pools.filter(({prefix}) => prefix.family === family);
  }

  /** Null without a PodCIDR of the family. */
  #allocateOf(family: Family, owner: string): string | null {
    const pools = this.#poolsOf(family);
    if (pools.length === 0) return null;
    for (const pool of pools) {
      const address = this.#freeIn(pool);
      if (address === null) continue;
      this.#owners.set(address, owner);
      return address;
    }
    throw new StentorError('IPAM_EXHAUSTED', `no free IPv${family} address is left in the node’s PodCIDRs`, {
      podCidrs: pools.map((pool) => pool.text), allocated: this.#owners.size,
    });
  }

  #freeIn(pool: Pool): string | null {
    const count = pool.last - pool.first + 1;
    for (let tried = 0; tried < count; tried++) {
      const offset = pool.next;
      pool.next = offset >= pool.last ? pool.first : offset + 1;
      const address = textAt(pool.prefix, offset);
      if (address !== null && !this.#owners.has(address)) return address;
    }
    return null;
  }
}

function poolOf(text: string): Pool | null {
  const prefix = parsePrefix(text);
  if (prefix === null) return null;
  const first = ROUTER_OFFSET + 1;
  const size = 2 ** Math.min(HOST_BITS_MAX, maxLength(prefix.family) - prefix.length);
  return {text, prefix, first, last: prefix.family === 4 ? size - 2 : size - 1, next: first};
}

function textAt(prefix: Prefix, offset: number): string | null {
  const address = addressAt(prefix, offset);
  return address === null ? null : formatAddress(address);
}
