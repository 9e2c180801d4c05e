// lib/desired → wire. A resource is encoded once, however many sessions send it.

import {gzipSync} from 'node:zlib';
import protobuf from 'protobufjs/minimal.js';
import type {Delta, Resource} from '../../lib/desired/node-state.js';
import {stentor} from '../../proto/gen/session.js';

export interface SpanAck {
  readonly namespace: string;
  readonly name: string;
  readonly addresses: readonly string[];
  readonly complete: boolean;
}

/** Values above this are compressed. */
const GZIP_ABOVE_BYTES = 16 << 10;
const CHUNK_FIELD = (2 << 3) | 2;
const UPSERT_FIELD = (4 << 3) | 2;

export class Encoder {
  /** As long as somebody holds the resource. */
  readonly #upserts = new WeakMap<Resource, Uint8Array>();
  readonly #chunkBytes: number;

  constructor(options: {readonly chunkBytes: number}) {
    this.#chunkBytes = options.chunkBytes;
  }

  /** The messages of one delta: at least one, the last one marked. A chunk is as large as its limit, or holds one resource. */
  delta(delta: Delta, sequence: number): Buffer[] {
    const messages: Buffer[] = [];
    let pending: Uint8Array[] = [];
    let size = 0;
    const removes = delta.removes.map(({kind, key}) => ({kind, key}));
    for (const item of delta.upserts) {
      const bytes = this.#upsert(item);
      if (pending.length > 0 && size + bytes.length > this.#chunkBytes) {
        messages.push(chunk({base: delta.base, version: delta.version, sequence, last: false}, pending));
        pending = [];
        size = 0;
      }
      pending.push(bytes);
      size += bytes.length;
    }
    messages.push(chunk({base: delta.base, version: delta.version, sequence, last: true, removes}, pending));
    return messages;
  }

  #upsert(item: Resource): Uint8Array {
    const known = this.#upserts.get(item);
    if (known !== undefined) return known;
    const json = Buffer.from(JSON.stringify(item.value), 'utf8');
    const gzip = json.length > GZIP_ABOVE_BYTES;
    const {kind, key, version} = item;
    const bytes = stentor.v1.Upsert.encode({kind, key, version, value: gzip ? gzipSync(json) : json, gzip}).finish();
    this.#upserts.set(item, bytes);
    return bytes;
  }
}

function chunk(header: stentor.v1.StateChunk.$Properties, upserts: readonly Uint8Array[]): Buffer {
  const writer = protobuf.Writer.create().uint32(CHUNK_FIELD).fork();
  stentor.v1.StateChunk.encode(header, writer);
  for (const bytes of upserts) writer.uint32(UPSERT_FIELD).bytes(bytes);
  return asBuffer(writer.ldelim().finish());
}

export function encodeWelcome(operatorVersion: string): Buffer {
  return asBuffer(stentor.v1.OperatorMessage.encode({welcome: {operatorVersion}}).finish());
}

export function encodeSpanAck(ack: SpanAck): Buffer {
  return asBuffer(stentor.v1.OperatorMessage.encode({endpointSpanAck: {...ack, addresses: [...ack.addresses]}}).finish());
}

function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
