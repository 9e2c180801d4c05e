// Wire messages → deltas. The only file of the agent that reads the shapes of `session.proto` going down.

import {gunzipSync} from 'node:zlib';
import {StentorError} from '../../lib/core/errors.js';
import type {Undecodable} from '../../lib/desired/decode.js';
import {decodeResource, isKind} from '../../lib/desired/decode.js';
import type {Resource, ResourceName} from '../../lib/desired/node-state.js';
import type {stentor} from '../../proto/gen/session.js';
import type {HeldDelta} from '../desired/held.js';

type Chunk = stentor.v1.StateChunk.$Properties;
type Upsert = stentor.v1.Upsert.$Properties;

/** Bounds what one resource may unpack to, and what one delta may hold. */
export const RESOURCE_BYTES_MAX = 64 << 20;
export const DELTA_RESOURCES_MAX = 2_000_000;

export interface SequencedDelta extends HeldDelta {
  readonly sequence: number;
}

/** Puts the chunks of one delta together. */
export class ChunkAssembly {
  #chunks: Chunk[] = [];
  #resources = 0;

  /** The delta when `chunk` was its last; null until then. Throws `STREAM_PROTOCOL` when chunks of two deltas are mixed. */
  add(chunk: Chunk): SequencedDelta | null {
    const first = this.#chunks[0];
    if (first !== undefined && (first.sequence !== chunk.sequence || first.version !== chunk.version || first.base !== chunk.base)) {
      throw new StentorError('STREAM_PROTOCOL', 'a chunk of another delta came before the last chunk', {expected: first.sequence, got: chunk.sequence});
    }
    this.#resources += (chunk.upserts?.length ?? 0) + (chunk.removes?.length ?? 0);
    if (this.#resources > DELTA_RESOURCES_MAX) throw new StentorError('STREAM_PROTOCOL', 'a delta is too large', {max: DELTA_RESOURCES_MAX});
    this.#chunks.push(chunk);
    if (chunk.last !== true) return null;
    const chunks = this.#chunks;
    this.#chunks = [];
    this.#resources = 0;
    return deltaOf(chunks);
  }
}

function deltaOf(chunks: readonly Chunk[]): SequencedDelta {
  const last = chunks.at(-1);
  const upserts: Resource[] = [];
  const undecodable: Undecodable[] = [];
  for (const chunk of chunks) {
    for (const upsert of chunk.upserts ?? []) {
      const decoded = decodeUpsert(upsert);
      if (decoded.resource !== null) upserts.push(decoded.resource);
      else undecodable.push(decoded.undecodable);
    }
  }
  const removes = chunks.flatMap((chunk) => (chunk.removes ?? []).map(removedName));
  return {base: last?.base ?? '', version: last?.version ?? '', sequence: last?.sequence ?? 0, upserts, undecodable, removes};
}

function removedName(remove: stentor.v1.Remove.$Properties): ResourceName {
  // A kind this agent does not know can only name something it holds as undecodable.
  const kind = remove.kind ?? '';
  return {kind: isKind(kind) ? kind : (kind as ResourceName['kind']), key: remove.key ?? ''};
}

function decodeUpsert(upsert: Upsert): ReturnType<typeof decodeResource> {
  const {kind, key, version} = {kind: upsert.kind ?? '', key: upsert.key ?? '', version: upsert.version ?? ''};
  let value: unknown;
  try {
    const bytes = upsert.value ?? new Uint8Array();
    const plain = upsert.gzip === true ? gunzipSync(bytes, {maxOutputLength: RESOURCE_BYTES_MAX}) : bytes;
    value = JSON.parse(Buffer.from(plain.buffer, plain.byteOffset, plain.byteLength).toString('utf8'));
  } catch (error) {
    return {resource: null, undecodable: {kind, key, version, reason: `the value cannot be read: ${error instanceof Error ? error.message : String(error)}`}};
  }
  return decodeResource(kind, key, version, value);
}
