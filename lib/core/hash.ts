// Content hashes without node:crypto, so that pure folders may use them. FNV-1a, two 32-bit lanes.

const FNV_PRIME = 0x01000193;

/** Two 32-bit lanes that text, or a value, is read into. */
export interface Lanes {
  a: number;
  b: number;
}

/** 16 hex digits. Not cryptographic: it names versions of our own values. */
export function contentHash(text: string): string {
  const lanes = textLanes();
  readChars(text, lanes);
  return hex32(lanes.a) + hex32(lanes.b);
}

/** What `contentHash` starts from. */
export function textLanes(): Lanes {
  return {a: 0x811c9dc5, b: 0xcbf29ce4};
}

/** Text in pieces is read like the whole. */
export function readChars(text: string, lanes: Lanes): void {
  let {a, b} = lanes;
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i);
    a = Math.imul(a ^ unit, FNV_PRIME);
    b = Math.imul(b ^ (unit + 0x9e37), FNV_PRIME) ^ (a >>> 15);
  }
  lanes.a = a;
  lanes.b = b;
}

/**
 * The hash of a plain value: what `contentHash` of its canonical JSON would be good for, without the text. Members of a record count
 * without their order, undefined ones not at all; a Map is a record.
 */
export function valueHash(value: unknown): string {
  const lanes = textLanes();
  readValue(value, lanes);
  return hex32(lanes.a) + hex32(lanes.b);
}

const TEXT = 0x53;
const NUMBER = 0x4e;
const LIST = 0x5b;
const RECORD = 0x7b;
const NULL = 0x30;
const TRUE = 0x31;
const FALSE = 0x32;

function readValue(value: unknown, lanes: Lanes): void {
  if (typeof value === 'string') {
    readWord(TEXT, lanes);
    readText(value, lanes);
  } else if (typeof value === 'number') readNumber(value, lanes);
  else if (typeof value === 'boolean') readWord(value ? TRUE : FALSE, lanes);
  else if (value === null || typeof value !== 'object') readWord(NULL, lanes);
  else if (Array.isArray(value)) readList(value, lanes);
  else readRecord(value instanceof Map ? value as ReadonlyMap<string, unknown> : Object.entries(value), lanes);
}

function readNumber(value: number, lanes: Lanes): void {
  readWord(NUMBER, lanes);
  if (Number.isInteger(value) && value >= 0 && value <= 0xffffffff) readWord(value, lanes);
  else readText(String(value), lanes);
}

function readList(items: readonly unknown[], lanes: Lanes): void {
  readWord(LIST, lanes);
  readWord(items.length, lanes);
  for (const item of items) readValue(item, lanes);
}

/** The sum of the members' hashes: their order is no content. */
function readRecord(members: Iterable<readonly [string, unknown]>, lanes: Lanes): void {
  let a = 0;
  let b = 0;
  for (const [key, value] of members) {
    if (value === undefined) continue;
    const member = textLanes();
    readText(key, member);
    readValue(value, member);
    a = (a + mixed(member.a)) | 0;
    b = (b + mixed(member.b)) | 0;
  }
  readWord(RECORD, lanes);
  readWord(a, lanes);
  readWord(b, lanes);
}

function readText(text: string, lanes: Lanes): void {
  readChars(text, lanes);
  readWord(text.length, lanes);
}

function readWord(word: number, lanes: Lanes): void {
  lanes.a = Math.imul(mixed(lanes.a ^ word), FNV_PRIME);
  lanes.b = Math.imul(mixed(lanes.b ^ (word + 0x9e37)), FNV_PRIME) ^ (lanes.a >>> 15);
}

/** Spreads every bit over the word (the finaliser of MurmurHash3). */
function mixed(word: number): number {
  let h = word;
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return h ^ (h >>> 16);
}

function hex32(n: number): string {
  return (n >>> 0).toString(16).padStart(8, '0');
}
