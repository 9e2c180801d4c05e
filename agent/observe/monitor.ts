// Hands events to the readers of `/v1/monitor`. A slow reader loses events, told and counted; the datapath never waits.

import type {Writable} from 'node:stream';
import type {MonitorRecord, MonitorType} from '../../lib/domain/agent-api.js';
import type {Clock} from '../../lib/run/clock.js';
import type {BpfMap} from '../kernel/bpf.js';
import {RingBuffer} from '../kernel/ringbuf.js';
import {decodeEvent, type EventsLost} from '../maps/events.js';
import type {EventNames} from './events.js';
import {lostRecord, monitorRecord} from './events.js';

export interface MonitorParts {
  readonly names: EventNames;
  readonly clock: Pick<Clock, 'now' | 'sleep'>;
}

export interface MonitorCounts {
  readonly readers: number;
  /** Records taken from the ring since start. */
  readonly received: number;
  /** Records that a reader was too slow for. */
  readonly lost: number;
}

/** Between two looks at the ring while events come. A wake-up per event costs each new connection more than everything else together (docs/performance.md). */
const REST_MS = 20;

const EVENT_KINDS = ['drop', 'trace', 'policy-verdict'] as const;

interface Reader {
  readonly types: ReadonlySet<MonitorType>;
  readonly out: Writable;
  queue: string[];
  lost: number;
  blocked: boolean;
}

export class Monitor {
  readonly #queueMax: number;
  readonly #parts: MonitorParts;
  readonly #readers = new Set<Reader>();
  #ring: RingBuffer | null = null;
  #stopped = new AbortController();
  #received = 0;
  #lost = 0;

  constructor(options: {readonly queueMax: number}, parts: MonitorParts) {
    this.#queueMax = options.queueMax;
    this.#parts = parts;
  }

  get counts(): MonitorCounts {
    return {readers: this.#readers.size, received: this.#received, lost: this.#lost};
  }

  start(events: BpfMap): void {
    const stopped = new AbortController();
    this.#stopped = stopped;
    // Only a stop ends the rest early, and then the ring is closed.
    const rest = (): Promise<void> => this.#parts.clock.sleep(REST_MS, stopped.signal).catch(() => undefined);
    this.#ring = RingBuffer.open(events, (records) => this.take(records), {rest});
  }

  stop(): void {
    this.#ring?.close();
    this.#stopped.abort();
    this.#ring = null;
    for (const reader of this.#readers) reader.out.end();
    this.#readers.clear();
  }

  /** Lines of JSON until `out` closes. An empty set of types is all of them. */
  follow(types: ReadonlySet<MonitorType>, out: Writable): void {
    const reader: Reader = {types, out, queue: [], lost: 0, blocked: false};
    this.#readers.add(reader);
    out.on('drain', () => this.#flush(reader));
    out.on('close', () => this.#readers.delete(reader));
    out.on('error', () => this.#readers.delete(reader));
  }

  /** Nobody listening costs nothing but the drain. */
  take(records: readonly Uint8Array[]): void {
    this.#received += records.length;
    if (this.#readers.size === 0) return;
    const timeMs = this.#parts.clock.now();
    for (const bytes of records) {
      const event = decodeEvent(bytes);
      if (event === null) continue;
      const listening = [...this.#readers].filter(({types}) => types.size === 0 || types.has(event.kind));
      if (listening.length > 0) this.#send(listening, monitorRecord(event, this.#parts.names, timeMs));
    }
  }

  /** Of the ring: events for which there was no room. A reader is told of those that it would have got. */
  ringLost(lost: EventsLost): void {
    for (const reader of this.#readers) {
      const count = EVENT_KINDS.reduce((sum, kind) => sum + (reader.types.size === 0 || reader.types.has(kind) ? lost[kind] : 0), 0);
      if (count > 0) this.#send([reader], lostRecord(count, this.#parts.names, this.#parts.clock.now()));
    }
  }

  #send(readers: readonly Reader[], record: MonitorRecord): void {
    const line = `${JSON.stringify(record)}\n`;
    for (const reader of readers) {
      if (!reader.blocked) {
        reader.blocked = !reader.out.write(line);
      } else if (reader.queue.length < this.#queueMax) {
        reader.queue.push(line);
      } else {
        reader.lost++;
        this.#lost++;
      }
    }
  }

  #flush(reader: Reader): void {
    const waiting = reader.queue;
    reader.queue = [];
    if (reader.lost > 0) {
      waiting.push(`${JSON.stringify(lostRecord(reader.lost, this.#parts.names, this.#parts.clock.now()))}\n`);
      reader.lost = 0;
    }
    reader.blocked = waiting.length > 0 && !reader.out.write(waiting.join(''));
  }
}
