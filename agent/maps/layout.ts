// Byte layouts of kernel structs: one description gives encoder, decoder and the offsets that the BTF twin check compares.

import {formatAddress, parseAddress} from '../../lib/core/ip.js';
import type {Family} from '../../lib/core/ip.js';
import {invariant} from '../../lib/core/invariant.js';

/** One member: where it lies and how it is read and written. `bits` only for C bit-fields. */
export interface Field<T> {
  readonly member: string;
  readonly offset: number;
  readonly size: number;
  readonly bits?: {readonly offset: number; readonly width: number};
  read(view: DataView): T;
  write(view: DataView, value: T): void;
}

type Fields = Readonly<Record<string, Field<string> | Field<number> | Field<bigint>>>;

/** The value a set of fields describes. */
export type ValueOf<F extends Fields> = {readonly [K in keyof F]: F[K] extends Field<infer T> ? T : never};

export interface Struct<F extends Fields> {
  /** The C tag in agent/bpf/lib/maps.h or events.h. */
  readonly tag: string;
  readonly size: number;
  readonly fields: F;
  encode(value: ValueOf<F>): Uint8Array;
  /** Throws on a buffer that is too short; bytes past the end are left alone. */
  decode(bytes: Uint8Array): ValueOf<F>;
}

/** What the twin check needs to know of any struct. */
export interface AnyStruct {
  readonly tag: string;
  readonly size: number;
  readonly fields: Readonly<Record<string, {readonly member: string; readonly offset: number; readonly size: number;
    readonly bits?: {readonly offset: number; readonly width: number}}>>;
}

export function struct<F extends Fields>(tag: string, size: number, fields: F): Struct<F> {
  const entries = Object.entries(fields) as [keyof F & string, Field<unknown>][];
  for (const [name, field] of entries) {
    invariant(field.offset + field.size <= size, 'a member lies inside its struct', {tag, name});
  }
  return {
    tag, size, fields,
    encode(value) {
      const bytes = new Uint8Array(size);
      const view = new DataView(bytes.buffer);
      for (const [name, field] of entries) field.write(view, value[name]);
      return bytes;
    },
    decode(bytes) {
      invariant(bytes.length >= size, 'a struct is not truncated', {tag, size, length: bytes.length});
      const view = new DataView(bytes.buffer, bytes.byteOffset, size);
      const value: Record<string, unknown> = {};
      for (const [name, field] of entries) value[name] = field.read(view);
      return value as ValueOf<F>;
    },
  };
}

function fits(member: string, value: number, max: number): void {
  invariant(Number.isInteger(value) && value >= 0 && value <= max, 'a number fits its member', {member, value});
}

export function u8(offset: number, member: string): Field<number> {
  return {member, offset, size: 1, read: (view) => view.getUint8(offset),
    write: (view, value) => { fits(member, value, 0xff); view.setUint8(offset, value); }};
}

export function u16(offset: number, member: string): Field<number> {
  return {member, offset, size: 2, read: (view) => view.getUint16(offset, true),
    write: (view, value) => { fits(member, value, 0xffff); view.setUint16(offset, value, true); }};
}

/** A port: network order in the map, a plain number outside. */
export function portBe(offset: number, member: string): Field<number> {
  return {member, offset, size: 2, read: (view) => view.getUint16(offset, false),
    write: (view, value) => { fits(member, value, 0xffff); view.setUint16(offset, value, false); }};
}

export function u32(offset: number, member: string): Field<number> {
  return {member, offset, size: 4, read: (view) => view.getUint32(offset, true),
    write: (view, value) => { fits(member, value, 0xffffffff); view.setUint32(offset, value, true); }};
}

export function i32(offset: number, member: string): Field<number> {
  return {member, offset, size: 4, read: (view) => view.getInt32(offset, true),
    write: (view, value) => view.setInt32(offset, value, true)};
}

export function u64(offset: number, member: string): Field<bigint> {
  return {member, offset, size: 8, read: (view) => view.getBigUint64(offset, true),
    write: (view, value) => view.setBigUint64(offset, value, true)};
}

/** A bit-field inside one byte: `shift` counts from the least significant bit, as clang lays them out. */
export function bits(offset: number, member: string, shift: number, width: number): Field<number> {
  const mask = ((1 << width) - 1) << shift;
  return {member, offset, size: 1, bits: {offset: 8 * offset + shift, width},
    read: (view) => (view.getUint8(offset) & mask) >> shift,
    write: (view, value) => {
      fits(member, value, (1 << width) - 1);
      view.setUint8(offset, (view.getUint8(offset) & ~mask) | (value << shift));
    }};
}

/** `10.0.0.1` as four bytes in network order. */
export function ipv4(offset: number, member: string): Field<string> {
  return address(offset, member, 4);
}

/** `fd00::1` as sixteen bytes in network order. */
export function ipv6(offset: number, member: string): Field<string> {
  return address(offset, member, 6);
}

function address(offset: number, member: string, family: Family): Field<string> {
  const size = family === 4 ? 4 : 16;
  return {member, offset, size,
    read: (view) => formatAddress({family, bytes: new Uint8Array(view.buffer, view.byteOffset + offset, size)}),
    write: (view, value) => {
      const parsed = parseAddress(value);
      invariant(parsed !== null && parsed.family === family, `an IPv${family} address`, {member, value});
      new Uint8Array(view.buffer, view.byteOffset + offset, size).set(parsed.bytes);
    }};
}

/** 16 bytes that hold an IPv4 address in the first four (the family is said elsewhere). */
export function ipv4In16(offset: number, member: string): Field<string> {
  return {...ipv4(offset, member), size: 16};
}

/** 16 bytes that hold an address of either family; `familyOf` reads which from elsewhere in the struct. */
export function addressIn16(offset: number, member: string, familyOf: (view: DataView) => Family): Field<string> {
  const [four, six] = [ipv4(offset, member), ipv6(offset, member)];
  return {...six, read: (view) => (familyOf(view) === 4 ? four : six).read(view),
    write: (view, value) => (value.includes(':') ? six : four).write(view, value)};
}

/** `02:00:00:00:00:01`; the two bytes after it are padding inside an 8-byte member. */
export function mac(offset: number, member: string): Field<string> {
  return {member, offset, size: 8,
    read: (view) => Array.from({length: 6}, (_, i) => view.getUint8(offset + i).toString(16).padStart(2, '0')).join(':'),
    write: (view, value) => {
      const bytes = parseMac(value);
      invariant(bytes !== null, 'a MAC address', {member, value});
      for (const [i, byte] of bytes.entries()) view.setUint8(offset + i, byte);
    }};
}

/** Null when `text` is not six hex pairs with colons. */
export function parseMac(text: string): Uint8Array | null {
  if (!/^([0-9a-fA-F]{2}:){5}[0-9a-fA-F]{2}$/.test(text)) return null;
  return Uint8Array.from(text.split(':'), (pair) => Number.parseInt(pair, 16));
}

/** The key of a MapContent: lower-case hex. */
export function toHex(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
}

/** One map's key and value between bytes and our types. */
export interface MapCodec<K, V> {
  readonly map: string;
  readonly keyStruct: AnyStruct | null;
  readonly valueStruct: AnyStruct | null;
  encodeKey(key: K): Uint8Array;
  decodeKey(bytes: Uint8Array): K;
  encodeValue(value: V): Uint8Array;
  decodeValue(bytes: Uint8Array): V;
}

/** A codec whose key and value are the structs themselves. */
export function structCodec<K extends Fields, V extends Fields>(
  map: string, key: Struct<K>, value: Struct<V>): MapCodec<ValueOf<K>, ValueOf<V>> {
  return {
    map, keyStruct: key, valueStruct: value,
    encodeKey: (k) => key.encode(k), decodeKey: (bytes) => key.decode(bytes),
    encodeValue: (v) => value.encode(v), decodeValue: (bytes) => value.decode(bytes),
  };
}

/** A bare `__u32` in host order (little-endian on every machine the objects are built for). */
export function encodeU32(value: number): Uint8Array {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, value, true);
  return bytes;
}

export function decodeU32(bytes: Uint8Array): number {
  return new DataView(bytes.buffer, bytes.byteOffset, 4).getUint32(0, true);
}

/** A bare `__u64`, as `encodeU32`. */
export function encodeU64(value: bigint): Uint8Array {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, value, true);
  return bytes;
}

export function decodeU64(bytes: Uint8Array): bigint {
  return new DataView(bytes.buffer, bytes.byteOffset, 8).getBigUint64(0, true);
}
