// One pinned map as a target: read by batches, written by batches, only what differs.

import type {ResourceName} from '../../lib/desired/node-state.js';
import type {MapEntry} from '../compile/kernel-state.js';
import {nextTurn, type BpfMap} from '../kernel/bpf.js';
import type {Failure, Target} from './target.js';

/** Bounds the time the event loop is held: about 6 ms for the slowest type (LPM). */
const CHUNK_ENTRIES = 4096;

export class BpfMapTarget implements Target<string, MapEntry> {
  readonly name: string;
  readonly #map: BpfMap;
  /** An array has all its keys; all zero stands for absent. */
  readonly #isArray: boolean;

  constructor(options: {readonly name: string}, parts: {readonly map: BpfMap}) {
    this.name = options.name;
    this.#map = parts.map;
    this.#isArray = parts.map.info().type === 'array';
  }

  async load(): Promise<ReadonlyMap<string, MapEntry>> {
    const {keys, values, count} = await this.#map.dumpAsync();
    const {keySize, valueSize} = this.#map.info();
    const found = new Map<string, MapEntry>();
    for (let i = 0; i < count; i++) {
      const value = values.subarray(i * valueSize, (i + 1) * valueSize);
      if (this.#isArray && isZero(value)) continue;
      const key = keys.subarray(i * keySize, (i + 1) * keySize);
      found.set(hex(key), {key, value, because: []});
      if (i % CHUNK_ENTRIES === CHUNK_ENTRIES - 1) await nextTurn();
    }
    return found;
  }

  async upsert(entries: readonly (readonly [string, MapEntry])[]): Promise<readonly Failure<string>[]> {
    const failures: Failure<string>[] = [];
    for (let at = 0; at < entries.length; at += CHUNK_ENTRIES) {
      if (at > 0) await nextTurn();
      this.#write(entries.slice(at, at + CHUNK_ENTRIES), failures);
    }
    return failures;
  }

  async remove(keys: readonly string[]): Promise<readonly Failure<string>[]> {
    const bytes = keys.map((key) => new Uint8Array(Buffer.from(key, 'hex')));
    if (this.#isArray) {
      const zero = new Uint8Array(this.#map.valueBytes);
      return this.upsert(bytes.map((key): readonly [string, MapEntry] => [hex(key), {key, value: zero, because: []}]));
    }
    for (let at = 0; at < bytes.length; at += CHUNK_ENTRIES) {
      if (at > 0) await nextTurn();
      this.#map.deleteBatch(bytes.slice(at, at + CHUNK_ENTRIES));
    }
    return [];
  }

  equal(desired: MapEntry, actual: MapEntry): boolean {
    return sameBytes(desired.value, actual.value);
  }

  /** The map has no other writer. */
  owns(): boolean {
    return true;
  }

  because(entry: MapEntry): readonly ResourceName[] {
    return entry.because;
  }

  /** The kernel stops at an entry it refuses: that one failed, the rest goes on behind it. */
  #write(entries: readonly (readonly [string, MapEntry])[], failures: Failure<string>[]): void {
    const {keySize} = this.#map.info();
    const {valueBytes} = this.#map;
    const flat = this.#map.flatten(entries.map(([, {key, value}]) => [key, value] as const));
    for (let at = 0; at < flat.count;) {
      const {done, error} = this.#map.updateFlat({
        count: flat.count - at,
        keys: flat.keys.subarray(at * keySize),
        values: flat.values.subarray(at * valueBytes),
      });
      at += done;
      const refused = entries[at];
      if (error === null || refused === undefined) return;
      failures.push({key: refused[0], error});
      at++;
    }
  }
}

export function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('hex');
}

export function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return Buffer.compare(a, b) === 0;
}

function isZero(bytes: Uint8Array): boolean {
  return bytes.every((byte) => byte === 0);
}
