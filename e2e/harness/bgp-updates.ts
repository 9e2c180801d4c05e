// BGP UPDATE messages out of a capture: what was said on the wire, also what no poll of a table would have seen.

import {readFileSync} from 'node:fs';
import {LINK_HEADER} from './capture.js';

export interface BgpUpdate {
  readonly source: string;
  readonly destination: string;
  readonly announced: readonly string[];
  readonly withdrawn: readonly string[];
}

const MESSAGE_HEADER = 19;
const UPDATE = 2;
const MARKER = Buffer.alloc(16, 0xff);

/** IPv4 UPDATEs in order of each connection; retransmitted bytes count once. */
export function bgpUpdates(pcapFile: string): readonly BgpUpdate[] {
  const streams = new Map<string, Segment[]>();
  for (const segment of segments(readFileSync(pcapFile))) streams.set(segment.flow, [...streams.get(segment.flow) ?? [], segment]);
  return [...streams.values()].flatMap((stream) => {
    const [first] = stream;
    return first === undefined ? [] : messages(reassemble(stream)).flatMap((message) => {
      const update = decodeUpdate(message);
      return update === null ? [] : [{source: first.source, destination: first.destination, ...update}];
    });
  });
}

interface Segment {
  readonly flow: string;
  readonly source: string;
  readonly destination: string;
  readonly sequence: number;
  readonly payload: Buffer;
}

function segments(data: Buffer): Segment[] {
  const found: Segment[] = [];
  const header = data.length < 24 ? 0 : LINK_HEADER[data.readUInt32LE(20)] ?? 0;
  for (let at = 24; at + 16 <= data.length;) {
    const length = data.readUInt32LE(at + 8);
    const ip = data.subarray(at + 16 + header, at + 16 + length);
    at += 16 + length;
    if (ip.length < 40 || (ip[0] ?? 0) >> 4 !== 4 || ip[9] !== 6) continue;
    const tcp = ip.subarray(((ip[0] ?? 0) & 15) * 4, ip.readUInt16BE(2));
    const payload = tcp.subarray(((tcp[12] ?? 0) >> 4) * 4);
    const [source, destination] = [ip.subarray(12, 16).join('.'), ip.subarray(16, 20).join('.')];
    if (payload.length > 0) found.push({flow: `${source}:${tcp.readUInt16BE(0)} ${destination}:${tcp.readUInt16BE(2)}`, source, destination, sequence: tcp.readUInt32BE(4), payload});
  }
  return found;
}

function reassemble(stream: readonly Segment[]): Buffer {
  const start = stream[0]?.sequence ?? 0;
  const parts: Buffer[] = [];
  let next = 0;
  for (const {offset, payload} of stream.map(({sequence, payload: bytes}) => ({offset: (sequence - start) | 0, payload: bytes})).sort((a, b) => a.offset - b.offset)) {
    if (offset + payload.length <= next) continue;
    parts.push(payload.subarray(Math.max(0, next - offset)));
    next = offset + payload.length;
  }
  return Buffer.concat(parts);
}

/** A capture may begin in the middle of a message: the first marker is where one begins. */
function messages(stream: Buffer): Buffer[] {
  const found: Buffer[] = [];
  for (let at = stream.indexOf(MARKER); at >= 0 && at + MESSAGE_HEADER <= stream.length;) {
    const length = stream.readUInt16BE(at + 16);
    if (length < MESSAGE_HEADER || at + length > stream.length) break;
    found.push(stream.subarray(at, at + length));
    at += length;
  }
  return found;
}

function decodeUpdate(message: Buffer): UpdatePrefixes | null {
  return message[18] === UPDATE ? updatePrefixes(message.subarray(MESSAGE_HEADER)) : null;
}

export type UpdatePrefixes = Pick<BgpUpdate, 'announced' | 'withdrawn'>;

/** IPv4 prefixes in the body of an UPDATE. */
export function updatePrefixes(body: Buffer): UpdatePrefixes {
  const attributes = 2 + body.readUInt16BE(0);
  const announced = attributes + 2 + body.readUInt16BE(attributes);
  return {withdrawn: prefixes(body.subarray(2, attributes)), announced: prefixes(body.subarray(announced))};
}

function prefixes(data: Buffer): string[] {
  const found: string[] = [];
  for (let at = 0; at < data.length;) {
    const length = data[at] ?? 0;
    const bytes = Math.ceil(length / 8);
    const address = Buffer.alloc(4);
    data.copy(address, 0, at + 1, at + 1 + bytes);
    found.push(`${address.join('.')}/${length}`);
    at += 1 + bytes;
  }
  return found;
}
