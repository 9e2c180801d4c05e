// The frame of netlink: messages, attributes, answers. Host byte order is little-endian on every machine this runs on.

import {kernelError} from './errno.js';
import type {StentorError} from '../../lib/core/errors.js';

export const NLM_F_REQUEST = 0x1;
export const NLM_F_ACK = 0x4;
export const NLM_F_DUMP = 0x300;
export const NLM_F_REPLACE = 0x100;
export const NLM_F_EXCL = 0x200;
export const NLM_F_CREATE = 0x400;
/** In answers. */
const NLM_F_CAPPED = 0x100;
const NLM_F_ACK_TLVS = 0x200;

export const NLMSG_ERROR = 2;
export const NLMSG_DONE = 3;
const NLMSG_HEADER = 16;
const NLMSGERR_ATTR_MSG = 1;
const NLA_F_NESTED = 0x8000;
const NLA_TYPE_MASK = 0x3fff;

export interface Message {
  readonly type: number;
  /** Without NLM_F_REQUEST; NLM_F_ACK is added to what is not a dump. */
  readonly flags: number;
  readonly payload: Uint8Array;
  /** For errors: what was asked, in the kernel's words (`RTM_NEWLINK lxc123`). */
  readonly what: string;
}

export interface Answer {
  readonly type: number;
  readonly sequence: number;
  readonly payload: Uint8Array;
}

/** A payload under construction: a fixed header, then attributes. */
export class Payload {
  #bytes = new Uint8Array(256);
  #view = new DataView(this.#bytes.buffer);
  #length = 0;

  u8(value: number): this {
    this.#room(1);
    this.#view.setUint8(this.#length, value);
    this.#length += 1;
    return this;
  }

  u16(value: number): this {
    this.#room(2);
    this.#view.setUint16(this.#length, value, true);
    this.#length += 2;
    return this;
  }

  u32(value: number): this {
    this.#room(4);
    this.#view.setUint32(this.#length, value >>> 0, true);
    this.#length += 4;
    return this;
  }

  raw(bytes: Uint8Array): this {
    this.#room(bytes.length);
    this.#bytes.set(bytes, this.#length);
    this.#length += bytes.length;
    return this;
  }

  attribute(type: number, value: Uint8Array): this {
    this.u16(4 + value.length).u16(type).raw(value);
    return this.#align();
  }

  attributeU8(type: number, value: number): this {
    return this.attribute(type, Uint8Array.of(value));
  }

  attributeU16Be(type: number, value: number): this {
    return this.attribute(type, Uint8Array.of(value >> 8, value & 0xff));
  }

  attributeU32(type: number, value: number): this {
    this.u16(8).u16(type);
    return this.u32(value);
  }

  attributeString(type: number, value: string): this {
    return this.attribute(type, Buffer.from(`${value}\0`, 'utf8'));
  }

  nest(type: number, body: (payload: this) => void, flags = NLA_F_NESTED): this {
    const start = this.#length;
    this.u16(0).u16(type | flags);
    body(this);
    this.#view.setUint16(start, this.#length - start, true);
    return this.#align();
  }

  bytes(): Uint8Array {
    return this.#bytes.subarray(0, this.#length);
  }

  #align(): this {
    const padding = -this.#length & 3;
    this.#room(padding);
    this.#length += padding;
    return this;
  }

  #room(more: number): void {
    if (this.#length + more <= this.#bytes.length) return;
    const next = new Uint8Array(2 * (this.#length + more));
    next.set(this.#bytes);
    this.#bytes = next;
    this.#view = new DataView(next.buffer);
  }
}

/** Several requests in one buffer; message i has sequence `first + i`. */
export function encodeMessages(messages: readonly Message[], first: number): Uint8Array {
  const lengths = messages.map((message) => (NLMSG_HEADER + message.payload.length + 3) & ~3);
  const bytes = new Uint8Array(lengths.reduce((sum, length) => sum + length, 0));
  const view = new DataView(bytes.buffer);
  let at = 0;
  for (const [i, message] of messages.entries()) {
    const isDump = (message.flags & NLM_F_DUMP) === NLM_F_DUMP && isGet(message.type);
    view.setUint32(at, NLMSG_HEADER + message.payload.length, true);
    view.setUint16(at + 4, message.type, true);
    view.setUint16(at + 6, message.flags | NLM_F_REQUEST | (isDump ? 0 : NLM_F_ACK), true);
    view.setUint32(at + 8, first + i, true);
    bytes.set(message.payload, at + NLMSG_HEADER);
    at += lengths[i] ?? 0;
  }
  return bytes;
}

/** rtnetlink numbers its requests new, delete, get, set in fours: a dump flag on anything but a get means replace and exclusive. */
function isGet(type: number): boolean {
  return (type & 3) === 2;
}

export function decodeMessages(bytes: Uint8Array): Answer[] {
  const view = viewOf(bytes);
  const answers: Answer[] = [];
  for (let at = 0; at + NLMSG_HEADER <= bytes.length;) {
    const length = view.getUint32(at, true);
    if (length < NLMSG_HEADER || at + length > bytes.length) break;
    answers.push({type: view.getUint16(at + 4, true), sequence: view.getUint32(at + 8, true), payload: bytes.subarray(at + NLMSG_HEADER, at + length)});
    at += (length + 3) & ~3;
  }
  return answers;
}

/** Null for an acknowledgement or the regular end of a dump. */
export function errorOf(answer: Answer, what: string, flags: number): StentorError | null {
  const result = viewOf(answer.payload).getInt32(0, true);
  if (result >= 0) return null;
  const reason = answer.type === NLMSG_ERROR && (flags & NLM_F_ACK_TLVS) !== 0 ? reasonOf(answer.payload, flags) : undefined;
  return kernelError(result, what, reason === undefined ? {} : {reason});
}

/** The flags of the answer that starts where `payload` does: they stand right before it. */
export function flagsOf(answer: Answer): number {
  const {buffer, byteOffset} = answer.payload;
  return new DataView(buffer, byteOffset - NLMSG_HEADER, NLMSG_HEADER).getUint16(6, true);
}

function reasonOf(payload: Uint8Array, flags: number): string | undefined {
  const inner = viewOf(payload).getUint32(4, true);
  const start = 4 + ((flags & NLM_F_CAPPED) !== 0 ? NLMSG_HEADER : (inner + 3) & ~3);
  return attributes(payload, start).string(NLMSGERR_ATTR_MSG) ?? undefined;
}

/** The attributes of one level, by type; the last of a type counts. */
export class Attributes {
  readonly #byType: ReadonlyMap<number, Uint8Array>;

  constructor(byType: ReadonlyMap<number, Uint8Array>) {
    this.#byType = byType;
  }

  bytes(type: number): Uint8Array | null {
    return this.#byType.get(type) ?? null;
  }

  u8(type: number): number | null {
    return this.#byType.get(type)?.[0] ?? null;
  }

  u16Be(type: number): number | null {
    const value = this.#byType.get(type);
    return value === undefined ? null : viewOf(value).getUint16(0);
  }

  u32(type: number): number | null {
    const value = this.#byType.get(type);
    return value === undefined ? null : viewOf(value).getUint32(0, true);
  }

  string(type: number): string | null {
    const value = this.#byType.get(type);
    if (value === undefined) return null;
    const end = value.indexOf(0);
    return Buffer.from(end < 0 ? value : value.subarray(0, end)).toString('utf8');
  }

  nested(type: number): Attributes {
    const value = this.#byType.get(type);
    return value === undefined ? new Attributes(new Map()) : attributes(value, 0);
  }
}

export function attributes(bytes: Uint8Array, start: number): Attributes {
  const view = viewOf(bytes);
  const byType = new Map<number, Uint8Array>();
  for (let at = start; at + 4 <= bytes.length;) {
    const length = view.getUint16(at, true);
    if (length < 4 || at + length > bytes.length) break;
    byType.set(view.getUint16(at + 2, true) & NLA_TYPE_MASK, bytes.subarray(at + 4, at + length));
    at += (length + 3) & ~3;
  }
  return new Attributes(byType);
}

export function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
