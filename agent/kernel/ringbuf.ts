// The consumer of a BPF ring buffer: woken by Node's own loop, drains all there is, hands over whole records.

import {native, type NativeRing, type NativeWatch} from '../../bpf-native/index.js';
import type {BpfMap} from './bpf.js';
import {check, kernelError} from './errno.js';

const RECORD_HEADER = 8;

export interface RingBufferOptions {
  /**
   * Waits a moment after each drain that found something, before the next one. Meanwhile the kernel wakes nobody, so that events cost those who
   * cause them little: without it every record of a slow trickle is a wake-up of its own.
   */
  readonly rest: (() => Promise<void>) | null;
}

export class RingBuffer {
  readonly #map: BpfMap;
  readonly #ring: NativeRing;
  readonly #rest: RingBufferOptions['rest'];
  readonly #onRecords: (records: Uint8Array[]) => void;
  #watch: NativeWatch | null = null;
  #closed = false;

  private constructor(map: BpfMap, ring: NativeRing, parts: RingBufferOptions & {readonly onRecords: (records: Uint8Array[]) => void}) {
    this.#map = map;
    this.#ring = ring;
    this.#rest = parts.rest;
    this.#onRecords = parts.onRecords;
  }

  /** `onRecords` owns the bytes it gets. The event loop stays alive until `close`, and so has the map to. */
  static open(map: BpfMap, onRecords: (records: Uint8Array[]) => void, options: RingBufferOptions = {rest: null}): RingBuffer {
    const opened = native().ringOpen(map.fd, map.info().maxEntries);
    if (typeof opened === 'number') throw kernelError(opened, 'mmap', {map: map.info().name});
    const ring = new RingBuffer(map, opened, {...options, onRecords});
    try {
      ring.#wait();
    } catch (error) {
      native().ringClose(opened);
      throw error;
    }
    return ring;
  }

  /** Hands over what is there now, without waiting for a wake-up. Also what a wake-up does. Returns how many records that were. */
  drain(): number {
    const available = check(native().ringAvailable(this.#ring), 'ringbuf');
    if (available === 0) return 0;
    const bytes = new Uint8Array(available);
    const filled = check(native().ringDrain(this.#ring, bytes), 'ringbuf');
    const records = splitRecords(bytes.subarray(0, filled));
    if (records.length > 0) this.#onRecords(records);
    return records.length;
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#stopWaiting();
    native().ringClose(this.#ring);
  }

  /** What came before the wait began ends it at once: the descriptor is readable as long as there are records. */
  #wait(): void {
    const watch = native().watchOpen(this.#map.fd, () => this.#wakeUp());
    if (typeof watch === 'number') throw kernelError(watch, 'uv_poll', {map: this.#map.info().name});
    this.#watch = watch;
  }

  #stopWaiting(): void {
    if (this.#watch === null) return;
    native().watchClose(this.#watch);
    this.#watch = null;
  }

  #wakeUp(): void {
    this.drain();
    if (this.#rest === null || this.#closed) return;
    this.#stopWaiting();
    void this.#drainInTurns(this.#rest);
  }

  async #drainInTurns(rest: () => Promise<void>): Promise<void> {
    do await rest();
    while (!this.#closed && this.drain() > 0);
    if (!this.#closed) this.#wait();
  }
}

function splitRecords(bytes: Uint8Array): Uint8Array[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const records: Uint8Array[] = [];
  for (let at = 0; at < bytes.length;) {
    const length = view.getUint32(at, true);
    records.push(bytes.subarray(at + RECORD_HEADER, at + RECORD_HEADER + length));
    at += (RECORD_HEADER + length + 7) & ~7;
  }
  return records;
}
