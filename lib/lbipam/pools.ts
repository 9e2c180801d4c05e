// Pools in their order, oldest first, as ranges of numbers; a pool that overlaps an older one, or itself, gives nothing out.

import {compareStrings} from '../core/order.js';
import {invariant} from '../core/invariant.js';
import {formatAddress, parseAddress, type Family} from '../core/ip.js';
import type {ExposedService} from '../domain/exposed-service.js';
import type {LbPool, PoolBlock} from '../domain/lb-pool.js';
import {matches} from '../domain/selector.js';

export interface AddressRange {
  readonly pool: LbPool;
  readonly family: Family;
  readonly first: bigint;
  readonly last: bigint;
  /** What may be given out: without both ends where the pool says so. */
  readonly lowest: bigint;
  readonly highest: bigint;
  /** Gives nothing out; what was given stays. */
  readonly closed: boolean;
}

export interface ArrangedPools {
  /** In the order in which they are asked. */
  readonly ranges: readonly AddressRange[];
  /** By pool: the sentence for its condition. */
  readonly conflicts: ReadonlyMap<string, string>;
}

export function arrangePools(pools: Iterable<LbPool>): ArrangedPools {
  const ordered = [...pools].sort((a, b) => compareStrings(a.createdAt, b.createdAt) || compareStrings(a.ref.name, b.ref.name));
  const conflicts = new Map<string, string>();
  const ranges: AddressRange[] = [];
  for (const pool of ordered) {
    const own = pool.blocks.map((block) => rangeOf(pool, block));
    const conflict = overlapAmong(own) ?? overlapWith(own, ranges.filter((range) => !conflicts.has(range.pool.ref.name)));
    if (conflict !== null) conflicts.set(pool.ref.name, conflict);
    ranges.push(...own.map((range) => ({...range, closed: pool.disabled || conflict !== null})));
  }
  return {ranges, conflicts};
}

function rangeOf(pool: LbPool, block: PoolBlock): AddressRange {
  const first = numberOf(block.first);
  const last = numberOf(block.last);
  const withoutEnds = block.isPrefix && !pool.allowFirstLastIps && last - first > 1n;
  return {pool, family: block.family, first, last, lowest: withoutEnds ? first + 1n : first, highest: withoutEnds ? last - 1n : last, closed: false};
}

function overlapAmong(ranges: readonly AddressRange[]): string | null {
  for (const [i, range] of ranges.entries()) {
    const found = overlapWith([range], ranges.slice(i + 1));
    if (found !== null) return found;
  }
  return null;
}

/** The sentence that Cilium writes, or null. */
function overlapWith(own: readonly AddressRange[], others: readonly AddressRange[]): string | null {
  for (const range of own) {
    const other = others.find((one) => one.family === range.family && one.first <= range.last && range.first <= one.last);
    if (other !== undefined) return `Pool conflicts since range '${formatRange(range)}' overlaps range '${formatRange(other)}' from IP Pool '${other.pool.ref.name}'`;
  }
  return null;
}

function formatRange({family, first, last}: AddressRange): string {
  return `${formatNumber(family, first)} - ${formatNumber(family, last)}`;
}

export function holds(range: AddressRange, family: Family, value: bigint): boolean {
  return range.family === family && value >= range.first && value <= range.last;
}

export function selects(pool: LbPool, service: ExposedService): boolean {
  return pool.serviceSelector === null || matches(pool.serviceSelector, service.labels);
}

export function sizeOf({lowest, highest}: AddressRange): bigint {
  return highest - lowest + 1n;
}

export function familyOf(address: string): Family {
  return address.includes(':') ? 6 : 4;
}

/** Of a canonical address. */
export function numberOf(text: string): bigint {
  const address = parseAddress(text);
  invariant(address !== null, 'an address', {text});
  return address.bytes.reduce((sum, byte) => sum << 8n | BigInt(byte), 0n);
}

export function formatNumber(family: Family, value: bigint): string {
  const bytes = new Uint8Array(family === 4 ? 4 : 16);
  let rest = value;
  for (let i = bytes.length - 1; i >= 0; i--) {
    bytes[i] = Number(rest & 0xffn);
    rest >>= 8n;
  }
  return formatAddress({family, bytes});
}
