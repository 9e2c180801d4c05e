// Host-scope IPAM: pod addresses from the node's PodCIDRs. What is allocated follows from the endpoints on disk, so nothing can disagree with them.

import {StentorError} from '../../lib/core/errors.js';
import type {Prefix} from '../../lib/core/ip.js';
import {addressAt, formatAddress, parsePrefix} from '../../lib/core/ip.js';
import {routerAddress} from '../model/pod-cidrs.js';

export interface IpamStatus {
  readonly podCidrs: readonly string[];
  readonly allocated: number;
  readonly capacity: number;
  readonly addresses: readonly {readonly ip: string; readonly owner: string}[];
}

interface Pool {
  readonly text: string;
  readonly prefix: Prefix;
  /** Offsets that pods may have: after the router, before the broadcast address. */
  readonly first: number;
  readonly last: number;
  /** Next-fit: a released address is given out again as late as possible. */
  next: number;
}

/** Offset 0 is the network, 1 the router. */
const ROUTER_OFFSET = 1;

export class Ipam {
  #pools: readonly Pool[] = [];
  readonly #owners = new Map<string, string>();

  /** Addresses in use stay in use, whatever the PodCIDRs become. */
  setPodCidrs(podCidrs: readonly string[]): void {
    if (podCidrs.join() === this.#pools.map((pool) => pool.text).join()) return;
    this.#pools = podCidrs.map(poolOf).filter((pool) => pool !== null);
  }

  /** The CiliumInternalIP: first address of the first PodCIDR. Null until there is one. */
  get router(): string | null {
    return routerAddress(this.#pools.map((pool) => pool.text));
  }

  /** Throws `IPAM_NO_POD_CIDR` or `IPAM_EXHAUSTED`. */
  allocate(owner: string): string {
    if (this.#pools.length === 0) throw new StentorError('IPAM_NO_POD_CIDR', 'the node has no PodCIDR yet');
    for (const pool of this.#pools) {
      const address = this.#freeIn(pool);
      if (address === null) continue;
      this.#owners.set(address, owner);
      return address;
    }
    throw new StentorError('IPAM_EXHAUSTED', 'no free address is left in the node’s PodCIDRs', {
      podCidrs: this.#pools.map((pool) => pool.text), allocated: this.#owners.size,
    });
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

  status(): IpamStatus {
    return {
      podCidrs: this.#pools.map((pool) => pool.text),
      allocated: this.#owners.size,
      capacity: this.#pools.reduce((sum, pool) => sum + Math.max(0, pool.last - pool.first + 1), 0),
      addresses: [...this.#owners].map(([ip, owner]) => ({ip, owner})),
    };
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
  if (prefix === null || prefix.family !== 4) return null;
  const first = ROUTER_OFFSET + 1;
  const last = 2 ** (32 - prefix.length) - 2;
  return {text, prefix, first, last, next: first};
}

function textAt(prefix: Prefix, offset: number): string | null {
  const address = addressAt(prefix, offset);
  return address === null ? null : formatAddress(address);
}
