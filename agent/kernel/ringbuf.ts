// The consumer of a BPF ring buffer: woken by Node's own loop, drains all there is, hands over whole records.

import {native, type NativeRing, type NativeWatch} from '../../bpf-native/index.js';
import type {BpfMap} from './bpf.js';
import {check, kernelError} from './errno.js';

const RECORD_HEADER = 8;

export class RingBuffer {
  readonly #ring: NativeRing;
  readonly #onRecords: (records: Uint8Array[]) => void;
  #watch: NativeWatch | null = null;

  private constructor(ring: NativeRing, onRecords: (records: Uint8Array[]) => void) {
    this.#ring = ring;
    this.#onRecords = onRecords;
  }

  /** `onRecords` owns the bytes it gets. The event loop stays alive until `close`. */
  static open(map: BpfMap, onRecords: (records: Uint8Array[]) => void): RingBuffer {
    const opened = native().ringOpen(map.fd, map.info().maxEntries);
    if (typeof opened === 'number') throw kernelError(opened, 'mmap', {map: map.info().name});
    const ring = new RingBuffer(opened, onRecords);
    const watch = native().watchOpen(map.fd, () => ring.drain());
    if (typeof watch === 'number') {
      native().ringClose(opened);
      throw kernelError(watch, 'uv_poll', {map: map.info().name});
    }
    ring.#watch = watch;
    return ring;
  }

  /** Hands over what is there now, without waiting for a wake-up. Also what a wake-up does. */
  drain(): void {
    const available = check(native().ringAvailable(this.#ring), 'ringbuf');
    if (available === 0) return;
    const bytes = new Uint8Array(available);
    const filled = check(native().ringDrain(this.#ring, bytes), 'ringbuf');
    const records = splitRecords(bytes.subarray(0, filled));
    if (records.length > 0) this.#onRecords(records);
  }

  close(): void {
    if (this.#watch === null) return;
    native().watchClose(this.#watch);
    this.#watch = null;
    native().ringClose(this.#ring);
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
