// BGP messages as bytes, right ones and wrong ones (RFC 4271, RFC 7606).

export const OPEN = 1;
export const UPDATE = 2;
export const NOTIFICATION = 3;
export const KEEPALIVE = 4;
export const HEADER_BYTES = 19;
const MARKER = Buffer.alloc(16, 0xff);

const ORIGIN = 1;
const AS_PATH = 2;
const NEXT_HOP = 3;
const WELL_KNOWN = 0x40;
const OPTIONAL = 0x80;
const TRANSITIVE = 0x40;
const AS_SEQUENCE = 2;

export function message(type: number, body: Buffer, more: {readonly length?: number; readonly marker?: Buffer} = {}): Buffer {
  const head = Buffer.alloc(3);
  head.writeUInt16BE(more.length ?? HEADER_BYTES + body.length, 0);
  head[2] = type;
  return Buffer.concat([more.marker ?? MARKER, head, body]);
}

export function keepalive(): Buffer {
  return message(KEEPALIVE, Buffer.alloc(0));
}

export function notification(code: number, subcode: number): Buffer {
  return message(NOTIFICATION, Buffer.from([code, subcode]));
}

/** With IPv4 unicast and a 4-byte AS number. */
export function open({asn, routerId, holdSeconds}: {readonly asn: number; readonly routerId: string; readonly holdSeconds: number}): Buffer {
  const capabilities = Buffer.concat([Buffer.from([1, 4, 0, 1, 0, 1, 65, 4]), u32(asn)]);
  const body = Buffer.concat([Buffer.from([4]), u16(Math.min(asn, 65535)), u16(holdSeconds), ipv4(routerId), Buffer.from([capabilities.length + 2, 2, capabilities.length]), capabilities]);
  return message(OPEN, body);
}

export interface UpdateParts {
  readonly attributes: readonly Buffer[];
  /** In place of what `prefixes` gives. */
  readonly nlri?: Buffer;
  readonly prefixes?: readonly string[];
  readonly withdrawn?: readonly string[];
  /** What the fields say, right or wrong. */
  readonly attributesLength?: number;
  readonly withdrawnLength?: number;
}

export function update(parts: UpdateParts): Buffer {
  const withdrawn = Buffer.concat((parts.withdrawn ?? []).map(prefixBytes));
  const attributes = Buffer.concat(parts.attributes);
  const nlri = parts.nlri ?? Buffer.concat((parts.prefixes ?? []).map(prefixBytes));
  return message(UPDATE, Buffer.concat([u16(parts.withdrawnLength ?? withdrawn.length), withdrawn, u16(parts.attributesLength ?? attributes.length), attributes, nlri]));
}

/** Flags as they should be unless others are given. */
export function attribute(type: number, value: Buffer | readonly number[], flags: number = OPTIONAL | TRANSITIVE): Buffer {
  const bytes = Buffer.from(value);
  return bytes.length > 0xff ? Buffer.concat([Buffer.from([flags | 0x10, type]), u16(bytes.length), bytes]) : Buffer.concat([Buffer.from([flags, type, bytes.length]), bytes]);
}

/** ORIGIN, AS_PATH and NEXT_HOP as a router of AS `asn` at `nextHop` sends them. */
export function goodAttributes({asn, nextHop}: {readonly asn: number; readonly nextHop: string}): {readonly origin: Buffer; readonly asPath: Buffer; readonly nextHop: Buffer} {
  return {
    origin: attribute(ORIGIN, [0], WELL_KNOWN), asPath: attribute(AS_PATH, Buffer.concat([Buffer.from([AS_SEQUENCE, 1]), u32(asn)]), WELL_KNOWN), nextHop: attribute(NEXT_HOP, ipv4(nextHop), WELL_KNOWN),
  };
}

export interface Malformed {
  readonly name: string;
  readonly bytes: Buffer;
  /** What becomes of the prefix that was announced before in good order, or of the session: the notification's code and subcode. */
  readonly answer: 'withdrawn' | 'stays' | `reset ${number}/${number}`;
}

/**
 * The classes of RFC 7606 §3 to §7, and headers that are none (RFC 4271 §6.1), with what gobgpd 4.8 makes of them. It is stricter than the RFC with LOCAL_PREF, ORIGINATOR_ID and
 * CLUSTER_LIST from outside (to be discarded, the route would stay), and laxer with an attribute that runs over the end (withdraw) and an OPEN in a session (a reset).
 */
export function malformedMessages(speaker: {readonly asn: number; readonly nextHop: string}, prefixes: readonly string[]): readonly Malformed[] {
  const {origin, asPath, nextHop} = goodAttributes(speaker);
  const usual = [origin, asPath, nextHop];
  const asPathOf = (...segment: readonly number[]): Buffer => attribute(AS_PATH, Buffer.concat([Buffer.from(segment), u32(speaker.asn)]), WELL_KNOWN);
  const withOne = (...extra: readonly Buffer[]): Buffer => update({attributes: [...usual, ...extra], prefixes});
  const only = (...attributes: readonly Buffer[]): Buffer => update({attributes, prefixes});
  const malformed = (name: string, answer: Malformed['answer'], bytes: Buffer): Malformed => ({name, answer, bytes});
  return [
    malformed('ORIGIN of two bytes', 'withdrawn', only(attribute(ORIGIN, [0, 0], WELL_KNOWN), asPath, nextHop)),
    malformed('ORIGIN with an unknown value', 'withdrawn', only(attribute(ORIGIN, [7], WELL_KNOWN), asPath, nextHop)),
    malformed('ORIGIN with the flags of an optional attribute', 'withdrawn', only(attribute(ORIGIN, [0], OPTIONAL), asPath, nextHop)),
    malformed('ORIGIN twice', 'stays', only(origin, ...usual)),
    malformed('no ORIGIN', 'withdrawn', only(asPath, nextHop)),
    malformed('AS_PATH with an unknown kind of segment', 'withdrawn', only(origin, asPathOf(9, 1), nextHop)),
    malformed('AS_PATH whose segment runs over its end', 'withdrawn', only(origin, asPathOf(AS_SEQUENCE, 9), nextHop)),
    malformed('AS_PATH with an empty segment', 'withdrawn', only(origin, attribute(AS_PATH, [AS_SEQUENCE, 0], WELL_KNOWN), nextHop)),
    malformed('NEXT_HOP of five bytes', 'withdrawn', only(origin, asPath, attribute(NEXT_HOP, [10, 0, 0, 1, 1], WELL_KNOWN))),
    malformed('no NEXT_HOP', 'withdrawn', only(origin, asPath)),
    malformed('MULTI_EXIT_DISC of three bytes', 'withdrawn', withOne(attribute(4, [0, 0, 1], OPTIONAL))),
    malformed('LOCAL_PREF from outside, of three bytes', 'withdrawn', withOne(attribute(5, [0, 0, 1], WELL_KNOWN))),
    malformed('ATOMIC_AGGREGATE with a value', 'stays', withOne(attribute(6, [1], WELL_KNOWN))),
    malformed('AGGREGATOR of five bytes', 'stays', withOne(attribute(7, [0, 0, 1, 1, 1]))),
    malformed('COMMUNITIES of five bytes', 'withdrawn', withOne(attribute(8, [0, 0, 0, 1, 1]))),
    malformed('ORIGINATOR_ID from outside, of three bytes', 'withdrawn', withOne(attribute(9, [1, 2, 3], OPTIONAL))),
    malformed('CLUSTER_LIST from outside, of three bytes', 'withdrawn', withOne(attribute(10, [1, 2, 3], OPTIONAL))),
    malformed('EXTENDED COMMUNITIES of seven bytes', 'withdrawn', withOne(attribute(16, [0, 2, 0, 0, 0, 0, 1]))),
    malformed('LARGE_COMMUNITY of eleven bytes', 'withdrawn', withOne(attribute(32, Array.from({length: 11}, () => 1)))),
    malformed('an unknown optional attribute', 'stays', withOne(attribute(222, [1, 2, 3]))),
    malformed('an unknown well-known attribute', 'reset 3/2', withOne(attribute(223, [1], WELL_KNOWN))),
    malformed('an attribute that runs over the end of the attributes', 'stays', withOne(Buffer.from([OPTIONAL, 4, 200, 0]))),
    malformed('MP_REACH_NLRI twice', 'reset 3/1', withOne(mpReach(), mpReach())),
    malformed('a prefix of 33 bits', 'reset 3/10', update({attributes: usual, nlri: Buffer.from([33, 10, 66, 0, 0, 1])})),
    malformed('attributes longer than the message', 'reset 3/1', update({attributes: usual, prefixes, attributesLength: 4000})),
    malformed('withdrawn routes longer than the message', 'reset 3/1', update({attributes: usual, prefixes, withdrawnLength: 4000})),
    malformed('a header of another marker', 'reset 1/1', message(KEEPALIVE, Buffer.alloc(0), {marker: Buffer.alloc(16, 0xfe)})),
    malformed('a header of 18 bytes', 'reset 1/2', message(KEEPALIVE, Buffer.alloc(0), {length: 18})),
    malformed('a header of 5,000 bytes', 'reset 1/2', message(UPDATE, Buffer.alloc(0), {length: 5000})),
    malformed('a message of an unknown type', 'reset 1/3', message(77, Buffer.alloc(4))),
    malformed('an OPEN in the middle of a session', 'stays', open({asn: speaker.asn, routerId: speaker.nextHop, holdSeconds: 90})),
  ];
}

function mpReach(): Buffer {
  return attribute(14, Buffer.concat([u16(1), Buffer.from([1, 4]), ipv4('10.0.0.1'), Buffer.from([0]), prefixBytes('10.66.9.0/24')]), OPTIONAL);
}

function prefixBytes(prefix: string): Buffer {
  const [address = '', length = '0'] = prefix.split('/');
  return Buffer.concat([Buffer.from([Number(length)]), ipv4(address).subarray(0, Math.ceil(Number(length) / 8))]);
}

function ipv4(address: string): Buffer {
  return Buffer.from(address.split('.').map(Number));
}

function u16(value: number): Buffer {
  const bytes = Buffer.alloc(2);
  bytes.writeUInt16BE(value);
  return bytes;
}

function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}
