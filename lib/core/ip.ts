// IPv4 and IPv6 addresses and prefixes: parse, format, contain, order. The canonical text is the identity of a value.

import {invariant} from './invariant.js';

export type Family = 4 | 6;

export interface Address {
  readonly family: Family;
  /** 4 or 16 bytes, network order. */
  readonly bytes: Uint8Array;
}

/** A network: host bits are zero. */
export interface Prefix {
  readonly family: Family;
  readonly bytes: Uint8Array;
  readonly length: number;
}

/** A prefix is cut into no more than 2^24 subnets. */
export const SUBNET_BITS_MAX = 24;

export function maxLength(family: Family): number {
  return family === 4 ? 32 : 128;
}

/** Null when `text` is not an address. No leading zeros, no IPv4 shorthand. */
export function parseAddress(text: string): Address | null {
  return text.includes(':') ? parseIPv6(text) : parseIPv4(text);
}

const DOT = 0x2e;
const ZERO = 0x30;

function parseIPv4(text: string): Address | null {
  const bytes = new Uint8Array(4);
  let part = 0;
  let digits = 0;
  let value = 0;
  for (let i = 0; i <= text.length; i++) {
    const code = i === text.length ? DOT : text.charCodeAt(i);
    if (code === DOT) {
      if (digits === 0 || part > 3) return null;
      bytes[part++] = value;
      digits = 0;
      value = 0;
      continue;
    }
    const digit = code - ZERO;
    // No leading zeros.
    if (digit < 0 || digit > 9 || (digits > 0 && value === 0)) return null;
    value = value * 10 + digit;
    digits++;
    if (value > 255) return null;
  }
  return part === 4 ? {family: 4, bytes} : null;
}

function parseIPv6(text: string): Address | null {
  let head = text;
  const lastColon = text.lastIndexOf(':');
  if (text.includes('.')) {
    const v4 = parseIPv4(text.slice(lastColon + 1));
    if (v4 === null) return null;
    const [a = 0, b = 0, c = 0, d = 0] = v4.bytes;
    head = `${text.slice(0, lastColon + 1)}${((a << 8) | b).toString(16)}:${((c << 8) | d).toString(16)}`;
  }
  const halves = head.split('::');
  if (halves.length > 2) return null;
  const left = groupsOf(halves[0] ?? '');
  const right = groupsOf(halves[1] ?? '');
  if (left === null || right === null) return null;
  const missing = 8 - left.length - right.length;
  if (halves.length === 1 ? missing !== 0 : missing < 1) return null;
  const groups = [...left, ...Array.from({length: halves.length === 1 ? 0 : missing}, () => 0), ...right];
  const bytes = new Uint8Array(16);
  for (const [i, group] of groups.entries()) {
    bytes[2 * i] = group >> 8;
    bytes[2 * i + 1] = group & 0xff;
  }
  return {family: 6, bytes};
}

function groupsOf(text: string): number[] | null {
  if (text === '') return [];
  const groups: number[] = [];
  for (const part of text.split(':')) {
    if (!/^[0-9a-fA-F]{1,4}$/.test(part)) return null;
    groups.push(Number.parseInt(part, 16));
  }
  return groups;
}

export function formatAddress(address: Address): string {
  if (address.family === 4) return address.bytes.join('.');
  const groups: number[] = [];
  for (let i = 0; i < 16; i += 2) groups.push(((address.bytes[i] ?? 0) << 8) | (address.bytes[i + 1] ?? 0));
  const run = longestZeroRun(groups);
  if (run.length < 2) return groups.map((group) => group.toString(16)).join(':');
  const left = groups.slice(0, run.start).map((group) => group.toString(16));
  const right = groups.slice(run.start + run.length).map((group) => group.toString(16));
  return `${left.join(':')}::${right.join(':')}`;
}

function longestZeroRun(groups: readonly number[]): {start: number; length: number} {
  let best = {start: 0, length: 0};
  for (let start = 0; start < groups.length; start++) {
    let length = 0;
    while (groups[start + length] === 0) length++;
    if (length > best.length) best = {start, length};
  }
  return best;
}

/** `10.1.5.1/24`: the address with its host bits, and the length. Null when it is not an address with a length. */
export function parseInterfaceAddress(text: string): {address: Address; length: number} | null {
  const slash = text.indexOf('/');
  if (slash < 0) return null;
  const address = parseAddress(text.slice(0, slash));
  const lengthText = text.slice(slash + 1);
  if (address === null || !/^(0|[1-9]\d{0,2})$/.test(lengthText)) return null;
  const length = Number(lengthText);
  return length > maxLength(address.family) ? null : {address, length};
}

/** Host bits are cut off. A bare address is a full-length prefix. Null when it is neither. */
export function parsePrefix(text: string): Prefix | null {
  if (!text.includes('/')) {
    const address = parseAddress(text);
    return address === null ? null : prefixOf(address, maxLength(address.family));
  }
  const parsed = parseInterfaceAddress(text);
  return parsed === null ? null : prefixOf(parsed.address, parsed.length);
}

/** True when `text` names bits outside its own length, as in `10.1.5.1/24`. */
export function hasHostBits(text: string): boolean {
  const parsed = parseInterfaceAddress(text);
  if (parsed === null) return false;
  return formatAddress(parsed.address) !== formatAddress(prefixOf(parsed.address, parsed.length));
}

export function prefixOf(address: Address, length: number): Prefix {
  invariant(length >= 0 && length <= maxLength(address.family), 'prefix length fits the family', {length});
  const bytes = new Uint8Array(address.bytes);
  for (let i = 0; i < bytes.length; i++) {
    const keep = Math.min(8, Math.max(0, length - 8 * i));
    bytes[i] = (bytes[i] ?? 0) & (0xff00 >> keep) & 0xff;
  }
  return {family: address.family, bytes, length};
}

/** The canonical text, always with the length: `10.0.0.0/8`, `::/0`. */
export function formatPrefix(prefix: Prefix): string {
  return `${formatAddress(prefix)}/${prefix.length}`;
}

/** The highest address of `prefix`. */
export function lastAddress(prefix: Prefix): Address {
  const bytes = prefix.bytes.map((byte, i) => byte | (0xff >> Math.min(8, Math.max(0, prefix.length - 8 * i))));
  return {family: prefix.family, bytes};
}

/** True when every address of `inner` lies in `outer`. A prefix contains itself. */
export function contains(outer: Prefix, inner: Prefix): boolean {
  if (outer.family !== inner.family || inner.length < outer.length) return false;
  return commonBits(outer.bytes, inner.bytes) >= outer.length;
}

function commonBits(a: Uint8Array, b: Uint8Array): number {
  for (let i = 0; i < a.length; i++) {
    const difference = (a[i] ?? 0) ^ (b[i] ?? 0);
    if (difference !== 0) return 8 * i + Math.clz32(difference) - 24;
  }
  return 8 * a.length;
}

/** Family, then address, then length. */
export function comparePrefixes(a: Prefix, b: Prefix): number {
  return compareAddresses(a, b) || a.length - b.length;
}

/** Family, then value. */
export function compareAddresses(a: Address, b: Address): number {
  if (a.family !== b.family) return a.family - b.family;
  for (let i = 0; i < a.bytes.length; i++) {
    const difference = (a.bytes[i] ?? 0) - (b.bytes[i] ?? 0);
    if (difference !== 0) return difference;
  }
  return 0;
}

/** The `index`th of the prefixes of `length` that `prefix` is made of. */
export function subnetAt(prefix: Prefix, length: number, index: number): Prefix {
  const bits = length - prefix.length;
  invariant(length <= maxLength(prefix.family) && bits >= 0 && bits <= SUBNET_BITS_MAX && index >= 0 && index < 2 ** bits, 'there is such a subnet', {length, index});
  const bytes = new Uint8Array(prefix.bytes);
  for (let bit = 0; bit < bits; bit++) {
    const at = length - 1 - bit;
    if (((index >> bit) & 1) === 1) bytes[at >> 3] = (bytes[at >> 3] ?? 0) | (0x80 >> (at & 7));
  }
  return {family: prefix.family, bytes, length};
}

/** Which of the prefixes of `length` that `outer` is made of the first address of `inner` lies in. */
export function subnetIndex(outer: Prefix, length: number, inner: Address): number {
  invariant(length - outer.length <= SUBNET_BITS_MAX, 'the subnets can be counted', {length});
  let index = 0;
  for (let at = outer.length; at < length; at++) index = 2 * index + (((inner.bytes[at >> 3] ?? 0) >> (7 - (at & 7))) & 1);
  return index;
}

/** The address `offset` after the first of `prefix`; null past its end. IPv4 only as far as 2^32. */
export function addressAt(prefix: Prefix, offset: number): Address | null {
  const bits = maxLength(prefix.family) - prefix.length;
  if (offset < 0 || (bits < 53 && offset >= 2 ** bits)) return null;
  const bytes = new Uint8Array(prefix.bytes);
  let carry = offset;
  for (let i = bytes.length - 1; i >= 0 && carry > 0; i--) {
    const sum = (bytes[i] ?? 0) + (carry % 256);
    bytes[i] = sum & 0xff;
    carry = Math.floor(carry / 256) + (sum >> 8);
  }
  return {family: prefix.family, bytes};
}
