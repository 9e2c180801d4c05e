// LB-IPAM: pools × Services → addresses. What a Service has it keeps while it may; what it lacks comes from the oldest pool with a
// free address, the lowest one. What a Service has is in its status; until a write of ours is seen there, the assignment held
// here stands for it, and an address counts as taken as long as anybody's status may still show it.

import {compareStrings} from '../core/order.js';
import type {Family} from '../core/ip.js';
import type {ExposedService} from '../domain/exposed-service.js';
import type {LbPool} from '../domain/lb-pool.js';
import {isResponsible, wantedFamilies, whyNotShared, type DemandOptions} from './demand.js';
import {Holders} from './holders.js';
import {arrangePools, familyOf, formatNumber, holds, numberOf, selects, sizeOf, type AddressRange, type ArrangedPools} from './pools.js';

export type Unsatisfied = 'no_pool' | 'out_of_ips' | 'pool_selector_mismatch' | 'already_allocated' | 'already_allocated_incompatible_service';

export interface Shortfall {
  readonly reason: Unsatisfied;
  readonly message: string;
}

/** `released`: it was ours and is not any more; its status is to be cleared once. */
export type Assignment =
  | {readonly kind: 'assigned'; readonly addresses: readonly string[]; readonly shortfalls: readonly Shortfall[]}
  | {readonly kind: 'released'};

export interface PoolUse {
  readonly total: bigint;
  readonly available: bigint;
  readonly used: bigint;
  /** Why it gives nothing out, as a sentence. */
  readonly conflict: string | null;
}

export interface LbIpamChanges {
  /** Services whose assignment is another one now. */
  readonly services: ReadonlySet<string>;
  /** Whether what is said of the pools may be another answer now. */
  readonly poolsChanged: boolean;
}

interface OpenRange {
  readonly range: AddressRange;
  /** Everything below is taken. */
  next: bigint;
}

const NOTHING_ARRANGED: ArrangedPools = {ranges: [], conflicts: new Map()};

export class LbIpam {
  readonly #options: DemandOptions;
  readonly #services = new Map<string, ExposedService>();
  readonly #assignments = new Map<string, Assignment>();
  /** Pool of each address that a Service was given. */
  readonly #poolOf = new Map<string, string>();
  readonly #used = new Map<string, number>();
  readonly #given = new Holders();
  /** Addresses in statuses, and those that we may have written there and took back before we saw them. */
  readonly #seen = new Holders();
  readonly #seenBy = new Map<string, ReadonlySet<string>>();
  readonly #sharing = new Map<string, Holders>();
  readonly #sharingKeyOf = new Map<string, string>();
  readonly #waiting = new Set<string>();
  #pools: ReadonlyMap<string, LbPool> = new Map();
  #arranged: ArrangedPools = NOTHING_ARRANGED;
  #open: readonly OpenRange[] = [];
  #changed = new Set<string>();
  /** Their decision was made while somebody else had an address who has it no longer. */
  readonly #again = new Set<string>();
  #freed = false;

  constructor(options: DemandOptions) {
    this.#options = options;
  }

  /** undefined: not ours, and never was. */
  assignment(key: string): Assignment | undefined {
    return this.#assignments.get(key);
  }

  get assignments(): ReadonlyMap<string, Assignment> {
    return this.#assignments;
  }

  get unsatisfied(): number {
    return this.#waiting.size;
  }

  /** By pool name. */
  poolUse(): ReadonlyMap<string, PoolUse> {
    const use = new Map<string, PoolUse>();
    for (const name of this.#pools.keys()) {
      const ranges = this.#arranged.ranges.filter(({pool}) => pool.ref.name === name);
      const total = ranges.reduce((sum, range) => sum + sizeOf(range), 0n);
      const used = BigInt(this.#used.get(name) ?? 0);
      // Ends that were given out before the pool kept them back are used, but not part of the total.
      const ends = BigInt(ranges.flatMap(({family, first, last, lowest, highest}) => [...(first < lowest ? [formatNumber(family, first)] : []),
        ...(last > highest ? [formatNumber(family, last)] : [])]).filter((address) => this.#poolOf.get(address) === name).length);
      use.set(name, {total, available: total - (used - ends), used, conflict: this.#arranged.conflicts.get(name) ?? null});
    }
    return use;
  }

  /** null = gone. `pools`: all of them, when one is another now. Independent of the order within one call. */
  update(services: ReadonlyMap<string, ExposedService | null>, pools?: ReadonlyMap<string, LbPool>): LbIpamChanges {
    this.#changed = new Set();
    this.#freed = false;
    for (const [key, service] of services) this.#observe(key, service);
    if (pools !== undefined) this.#setPools(pools);
    this.#decideAll(new Set([...services.keys(), ...(pools === undefined ? [] : this.#services.keys())]));
    return {services: this.#changed, poolsChanged: pools !== undefined || this.#changed.size > 0};
  }

  /**
   * The statuses alone count from now on, as after a start; for who takes over from another. What was assigned here and not seen may have been
   * written by the other one a moment ago: it stays taken until the Service is seen again.
   */
  adopt(): LbIpamChanges {
    this.#changed = new Set();
    for (const [key, assignment] of this.#assignments) if (assignment.kind === 'assigned') this.#commit(key, new Map());
    this.#assignments.clear();
    this.#waiting.clear();
    this.#decideAll(this.#services.keys());
    return {services: this.#changed, poolsChanged: true};
  }

  /** The Service's status is known to be as assigned: nothing that was taken back before it was seen can still be there. */
  settled(key: string): LbIpamChanges {
    this.#changed = new Set();
    const service = this.#services.get(key);
    if (service !== undefined) this.#observe(key, service);
    this.#decideAll([]);
    return {services: this.#changed, poolsChanged: this.#changed.size > 0};
  }

  #decideAll(keys: Iterable<string>): void {
    for (const key of this.#inOrder(keys)) this.#decide(key);
    // An address that somebody gave back may be what others wait for, or what others were about to share.
    while (this.#freed || this.#again.size > 0) {
      this.#freed = false;
      const again = new Set([...this.#again, ...this.#waiting]);
      this.#again.clear();
      for (const key of this.#inOrder(again)) this.#decide(key);
    }
  }

  /** Who asks for an address by name goes before those who take any; else the older one. */
  #inOrder(keys: Iterable<string>): string[] {
    const rank = (key: string): string => {
      const service = this.#services.get(key);
      return service === undefined ? '' : `${service.requested.length > 0 ? 0 : 1} ${service.createdAt}`;
    };
    const ranked = [...keys].map((key) => [rank(key), key] as const);
    return ranked.sort(([a, x], [b, y]) => compareStrings(a, b) || compareStrings(x, y)).map(([, key]) => key);
  }

  #observe(key: string, service: ExposedService | null): void {
    const before = this.#seenBy.get(key) ?? new Set<string>();
    const after = new Set(service?.ingress);
    for (const address of after) this.#seen.add(address, key);
    for (const address of before) if (!after.has(address)) this.#giveBack(this.#seen, address, key);
    if (service === null) {
      this.#seenBy.delete(key);
      this.#services.delete(key);
    } else {
      this.#seenBy.set(key, after);
      this.#services.set(key, service);
    }
  }

  #giveBack(holders: Holders, address: string, key: string): void {
    if (!holders.remove(address, key)) return;
    this.#freed = true;
    if (this.#given.has(address) || this.#seen.has(address)) return;
    const family = familyOf(address);
    const value = numberOf(address);
    for (const open of this.#open) if (holds(open.range, family, value) && value < open.next && value >= open.range.lowest) open.next = value;
  }

  #setPools(pools: ReadonlyMap<string, LbPool>): void {
    this.#pools = pools;
    this.#arranged = arrangePools(pools.values());
    this.#open = this.#arranged.ranges.filter(({closed}) => !closed).map((range) => ({range, next: range.lowest}));
    this.#freed = true;
  }

  #decide(key: string): void {
    const service = this.#services.get(key);
    const before = this.#assignments.get(key);
    // As long as there was no pool, LoadBalancer Services may be somebody else's.
    if (before === undefined && this.#pools.size === 0) return;
    if (service === undefined || !isResponsible(service, this.#options)) {
      this.#release(key, service);
      return;
    }
    const held = before?.kind === 'assigned' ? before.addresses : service.ingress;
    const families = wantedFamilies(service, this.#options);
    const given = new Map<string, AddressRange>();
    for (const address of held) {
      const wanted = service.requested.length > 0 ? service.requested.includes(address) : families.includes(familyOf(address));
      const range = wanted ? this.#rangeFor(service, address) : undefined;
      // What its status does not show yet it is about to take, not to keep.
      const why = service.ingress.includes(address) ? this.#whyNotKept(service, address) : this.#whyNotTaken(service, address);
      if (range !== undefined && why === null) given.set(address, range);
    }
    const shortfalls = service.requested.length > 0 ? this.#satisfyRequested(service, given) : this.#satisfyFamilies(service, families, given);
    this.#commit(key, given);
    const next: Assignment = {kind: 'assigned', addresses: [...given.keys()], shortfalls};
    if (shortfalls.length > 0) this.#waiting.add(key);
    else this.#waiting.delete(key);
    if (before?.kind === 'assigned' && sameAssignment(before, next)) return;
    this.#assignments.set(key, next);
    this.#changed.add(key);
  }

  /** What it had is cleared from its status once; after that it is none of our business. */
  #release(key: string, service: ExposedService | undefined): void {
    this.#waiting.delete(key);
    const before = this.#assignments.get(key);
    if (before === undefined) return;
    if (before.kind === 'assigned') this.#commit(key, new Map());
    if (service === undefined || (service.ingress.length === 0 && !service.hasCondition)) this.#assignments.delete(key);
    else if (before.kind === 'released') return;
    else this.#assignments.set(key, {kind: 'released'});
    this.#changed.add(key);
  }

  /** The range that an address which the Service has lies in: an open one rather than a closed one. */
  #rangeFor(service: ExposedService, address: string): AddressRange | undefined {
    const value = numberOf(address);
    const family = familyOf(address);
    const fitting = this.#arranged.ranges.filter((range) => holds(range, family, value) && selects(range.pool, service));
    return fitting.find(({closed}) => !closed) ?? fitting[0];
  }

  #whyNotKept(service: ExposedService, address: string): string | null {
    for (const key of this.#given.of(address)) {
      const other = this.#services.get(key);
      if (other === undefined || key === keyOf(service)) continue;
      const why = whyNotShared(service, other);
      if (why !== null) return why;
    }
    return null;
  }

  /** The same for an address that the Service does not have: who is about to leave it still counts. */
  #whyNotTaken(service: ExposedService, address: string): string | null {
    for (const key of this.#seen.of(address)) {
      const other = this.#services.get(key);
      if (other === undefined || key === keyOf(service)) continue;
      const why = this.#keeps(key, other, address) ? whyNotShared(service, other) : 'it is about to be given back';
      if (why !== null) return why;
    }
    return this.#whyNotKept(service, address);
  }

  #keeps(key: string, service: ExposedService, address: string): boolean {
    const assignment = this.#assignments.get(key);
    if (assignment === undefined) return isResponsible(service, this.#options);
    return assignment.kind === 'assigned' && assignment.addresses.includes(address);
  }

  #satisfyRequested(service: ExposedService, given: Map<string, AddressRange>): readonly Shortfall[] {
    return service.requested.flatMap((address) => {
      if (given.has(address)) return [];
      const taken = this.#takeRequested(service, address);
      if ('reason' in taken) return [taken];
      given.set(address, taken);
      return [];
    });
  }

  #takeRequested(service: ExposedService, address: string): AddressRange | Shortfall {
    const value = numberOf(address);
    const around = this.#open.map(({range}) => range).filter((range) => holds(range, familyOf(address), value));
    const range = around.find(({pool}) => selects(pool, service));
    if (range === undefined && around.length > 0) return {reason: 'pool_selector_mismatch', message: `The pool with the CIDR containing '${address}', doesn't select this service`};
    if (range === undefined) return {reason: 'no_pool', message: `No pool exists with a CIDR containing '${address}'`};
    if (value < range.lowest || value > range.highest) {
      return {reason: 'already_allocated', message: `The IP '${address}' is the first or the last one of its block, which pool '${range.pool.ref.name}' keeps back`};
    }
    const why = this.#whyNotTaken(service, address);
    if (why === null) return range;
    if (service.sharingKey === '') return {reason: 'already_allocated', message: `The IP '${address}' is already allocated to another service`};
    return {reason: 'already_allocated_incompatible_service', message: `The IP '${address}' is already allocated to an incompatible service. Reason: ${why}`};
  }

  #satisfyFamilies(service: ExposedService, families: readonly Family[], given: Map<string, AddressRange>): readonly Shortfall[] {
    return families.flatMap((family) => {
      if ([...given.keys()].some((address) => familyOf(address) === family)) return [];
      const found = this.#shareable(service, family) ?? this.#lowestFree(service, family);
      if ('reason' in found) return [found];
      given.set(found.address, found.range);
      return [];
    });
  }

  /** The lowest address of the sharing group that the Service may have, too. */
  #shareable(service: ExposedService, family: Family): {readonly address: string; readonly range: AddressRange} | null {
    const group = this.#sharing.get(service.sharingKey);
    if (service.sharingKey === '' || group === undefined) return null;
    const values = [...group.addresses()].filter((address) => familyOf(address) === family).map(numberOf).sort((a, b) => (a < b ? -1 : 1));
    for (const value of values) {
      const range = this.#open.find((open) => holds(open.range, family, value) && selects(open.range.pool, service))?.range;
      const address = formatNumber(family, value);
      if (range !== undefined && this.#whyNotTaken(service, address) === null) return {address, range};
    }
    return null;
  }

  #lowestFree(service: ExposedService, family: Family): {readonly address: string; readonly range: AddressRange} | Shortfall {
    let full = false;
    const own = this.#ownOnly(service, family);
    if (own !== null) return own;
    for (const open of this.#open) {
      const {range} = open;
      if (range.family !== family || !selects(range.pool, service)) continue;
      for (; open.next <= range.highest; open.next++) {
        const address = formatNumber(family, open.next);
        if (!this.#given.has(address) && !this.#seen.has(address)) return {address, range};
      }
      full = true;
    }
    if (full) return {reason: 'out_of_ips', message: 'All enabled CiliumLoadBalancerIPPools that match this service ran out of allocatable IPs'};
    return {reason: 'no_pool', message: 'There are no enabled CiliumLoadBalancerIPPools that match this service'};
  }

  /** What its own status may show, and nobody else's, is its first choice. */
  #ownOnly(service: ExposedService, family: Family): {readonly address: string; readonly range: AddressRange} | null {
    for (const address of this.#seenBy.get(keyOf(service)) ?? []) {
      if (familyOf(address) !== family || this.#seen.of(address).size > 1 || this.#given.has(address)) continue;
      const value = numberOf(address);
      const range = this.#open.find((open) => holds(open.range, family, value) && selects(open.range.pool, service))?.range;
      if (range !== undefined && value >= range.lowest && value <= range.highest) return {address, range};
    }
    return null;
  }

  #commit(key: string, given: ReadonlyMap<string, AddressRange>): void {
    const assignment = this.#assignments.get(key);
    const before = assignment?.kind === 'assigned' ? assignment.addresses : [];
    this.#leaveSharing(key, before);
    for (const [address, {pool}] of given) {
      this.#given.add(address, key);
      this.#setPool(address, pool.ref.name);
    }
    for (const address of before) if (!given.has(address)) this.#takeBack(key, address);
    const {sharingKey = ''} = this.#services.get(key) ?? {};
    if (sharingKey === '' || given.size === 0) return;
    const group = this.#sharing.get(sharingKey) ?? new Holders();
    this.#sharing.set(sharingKey, group);
    this.#sharingKeyOf.set(key, sharingKey);
    for (const address of given.keys()) group.add(address, key);
  }

  #takeBack(key: string, address: string): void {
    // It may have been written meanwhile: the next sight of the Service tells.
    const seen = this.#seenBy.get(key);
    if (seen !== undefined && !seen.has(address)) {
      this.#seen.add(address, key);
      this.#seenBy.set(key, new Set([...seen, address]));
    }
    this.#giveBack(this.#given, address, key);
    if (!this.#given.has(address)) this.#setPool(address, null);
    for (const other of this.#given.of(address)) if (this.#services.get(other)?.ingress.includes(address) !== true) this.#again.add(other);
  }

  #leaveSharing(key: string, addresses: readonly string[]): void {
    const sharingKey = this.#sharingKeyOf.get(key);
    const group = sharingKey === undefined ? undefined : this.#sharing.get(sharingKey);
    this.#sharingKeyOf.delete(key);
    if (sharingKey === undefined || group === undefined) return;
    for (const address of addresses) group.remove(address, key);
    if ([...group.addresses()].length === 0) this.#sharing.delete(sharingKey);
  }

  #setPool(address: string, pool: string | null): void {
    const before = this.#poolOf.get(address);
    if (before === (pool ?? undefined)) return;
    if (before !== undefined) this.#used.set(before, (this.#used.get(before) ?? 0) - 1);
    if (pool === null) this.#poolOf.delete(address);
    else {
      this.#poolOf.set(address, pool);
      this.#used.set(pool, (this.#used.get(pool) ?? 0) + 1);
    }
  }
}

function keyOf({ref}: ExposedService): string {
  return `${ref.namespace}/${ref.name}`;
}

function sameAssignment(a: Assignment & {kind: 'assigned'}, b: Assignment & {kind: 'assigned'}): boolean {
  return a.addresses.length === b.addresses.length && a.addresses.every((address, i) => address === b.addresses[i])
    && a.shortfalls.length === b.shortfalls.length && a.shortfalls.every(({reason, message}, i) => reason === b.shortfalls[i]?.reason && message === b.shortfalls[i].message);
}
