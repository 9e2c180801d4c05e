// Everything that one end may send another: protocols and port ranges, exactly, from the same entries and the same lookup as
// a single flow. Ports between two boundaries of entries share a verdict, so one lookup answers for all of them.

import {IDENTITY_ANY} from '../domain/identity.js';
import type {IdentityId} from '../domain/identity.js';
import {PROTOCOL_NUMBERS} from '../domain/policy.js';
import type {Direction} from '../domain/policy.js';
import {lookup} from './verdict.js';
import type {PolicyIndex} from './verdict.js';

/** For ICMP the types. Protocols without ports have 0..0. */
export interface PortRange {
  readonly protocol: number;
  readonly first: number;
  readonly last: number;
}

/** Disjoint, in order of protocol and port. `text` is canonical: equal reaches have equal texts. */
export interface Reach {
  readonly ranges: readonly PortRange[];
  readonly text: string;
}

/** Stands for every protocol that no rule can name. */
export const PROTOCOL_OTHER = 255;

const NAMES: ReadonlyMap<number, string> = new Map(Object.entries(PROTOCOL_NUMBERS).map(([name, number]) => [number, name] as const));
const PROTOCOLS: readonly number[] = [...[...NAMES.keys()].filter((number) => number > 0), PROTOCOL_OTHER].sort((a, b) => a - b);
const LAST_PORT: ReadonlyMap<number, number> = new Map<number, number>([
  [PROTOCOL_NUMBERS.TCP, 65535], [PROTOCOL_NUMBERS.UDP, 65535], [PROTOCOL_NUMBERS.SCTP, 65535], [PROTOCOL_NUMBERS.ICMP, 255], [PROTOCOL_NUMBERS.ICMPv6, 255],
]);

export function lastPortOf(protocol: number): number {
  return LAST_PORT.get(protocol) ?? 0;
}

export function reachOf(ranges: readonly PortRange[]): Reach {
  return {ranges, text: textOf(ranges)};
}

export const REACH_NONE: Reach = reachOf([]);
export const REACH_ALL: Reach = reachOf(PROTOCOLS.map((protocol) => ({protocol, first: 0, last: lastPortOf(protocol)})));

/** Remembers what it worked out: peers without entries of their own share an answer. */
export class ReachIndex {
  readonly #index: PolicyIndex;
  readonly #reaches: Readonly<Record<Direction, Map<IdentityId, Reach>>> = {ingress: new Map(), egress: new Map()};

  constructor(index: PolicyIndex) {
    this.#index = index;
  }

  reach(direction: Direction, peer: IdentityId): Reach {
    const identity = this.#index[direction].has(peer) ? peer : IDENTITY_ANY;
    const held = this.#reaches[direction].get(identity);
    if (held !== undefined) return held;
    const reach = reachOf(PROTOCOLS.flatMap((protocol) => this.#ranges(direction, identity, protocol)));
    this.#reaches[direction].set(identity, reach);
    return reach;
  }

  #ranges(direction: Direction, identity: IdentityId, protocol: number): PortRange[] {
    const last = lastPortOf(protocol);
    const starts = new Set([0]);
    for (const id of new Set([identity, IDENTITY_ANY])) {
      for (const entry of this.#index[direction].get(id)?.byKey.values() ?? []) {
        if (entry.protocol !== protocol) continue;
        starts.add(entry.port);
        starts.add(entry.port + 2 ** (16 - entry.portPrefixLength));
      }
    }
    const sorted = [...starts].filter((port) => port <= last).sort((a, b) => a - b);
    const ranges: PortRange[] = [];
    for (const [i, first] of sorted.entries()) {
      if (lookup(this.#index, {direction, identity, protocol, port: first}).verdict === 'deny') continue;
      ranges.push({protocol, first, last: (sorted[i + 1] ?? last + 1) - 1});
    }
    return joined(ranges);
  }
}

function joined(ranges: readonly PortRange[]): PortRange[] {
  const out: PortRange[] = [];
  for (const range of ranges) {
    const before = out.at(-1);
    if (before !== undefined && before.protocol === range.protocol && before.last + 1 === range.first) out[out.length - 1] = {...before, last: range.last};
    else out.push(range);
  }
  return out;
}

/** What both let through. */
export function both(a: Reach, b: Reach): Reach {
  if (a.text === b.text || b.text === REACH_ALL.text) return a;
  if (a.text === REACH_ALL.text) return b;
  const ranges = a.ranges.flatMap((x) => b.ranges.filter((y) => y.protocol === x.protocol && y.first <= x.last && x.first <= y.last)
    .map((y) => ({protocol: x.protocol, first: Math.max(x.first, y.first), last: Math.min(x.last, y.last)})));
  return reachOf(ranges);
}

/** What `a` has and `b` has not. */
export function without(a: Reach, b: Reach): Reach {
  if (a.text === b.text) return REACH_NONE;
  return reachOf(a.ranges.flatMap((range) => {
    let rest = [range];
    for (const hole of b.ranges.filter(({protocol}) => protocol === range.protocol)) {
      rest = rest.flatMap((part) => [
        ...(part.first < hole.first ? [{...part, last: Math.min(part.last, hole.first - 1)}] : []),
        ...(part.last > hole.last ? [{...part, first: Math.max(part.first, hole.last + 1)}] : []),
      ]);
    }
    return rest;
  }));
}

export function includes(reach: Reach, protocol: number, port: number): boolean {
  const asked = PROTOCOLS.includes(protocol) ? protocol : PROTOCOL_OTHER;
  return reach.ranges.some((range) => range.protocol === asked && range.first <= port && port <= range.last);
}

/** `all`, `none`, `80,443/TCP 53/UDP ICMP`; `all but …` where that is shorter. */
function textOf(ranges: readonly PortRange[]): string {
  if (ranges.length === 0) return 'none';
  const parts = PROTOCOLS.flatMap((protocol) => protocolText(protocol, ranges.filter((range) => range.protocol === protocol)));
  if (parts.length < PROTOCOLS.length) return parts.join(' ');
  const holes = PROTOCOLS.flatMap((protocol) => gapsOf(protocol, ranges.filter((range) => range.protocol === protocol)));
  return holes.length === 0 ? 'all' : `all but ${PROTOCOLS.flatMap((protocol) => protocolText(protocol, holes.filter((hole) => hole.protocol === protocol))).join(' ')}`;
}

function protocolText(protocol: number, ranges: readonly PortRange[]): string[] {
  if (ranges.length === 0) return [];
  const name = protocol === PROTOCOL_OTHER ? 'other' : (NAMES.get(protocol) ?? String(protocol));
  const [only] = ranges;
  if (ranges.length === 1 && only?.first === 0 && only.last === lastPortOf(protocol)) return [name];
  return [`${ranges.map(({first, last}) => (first === last ? `${first}` : `${first}-${last}`)).join(',')}/${name}`];
}

function gapsOf(protocol: number, ranges: readonly PortRange[]): PortRange[] {
  const gaps: PortRange[] = [];
  let next = 0;
  for (const {first, last} of ranges) {
    if (first > next) gaps.push({protocol, first: next, last: first - 1});
    next = last + 1;
  }
  if (next <= lastPortOf(protocol)) gaps.push({protocol, first: next, last: lastPortOf(protocol)});
  return gaps;
}
