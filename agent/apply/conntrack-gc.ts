// Takes dead connections, and address translations without a connection, out of the LRU maps: in slices, at an interval that follows the yield.

import type {Clock} from '../../lib/run/clock.js';
import type {Log} from '../../lib/run/log.js';
import {errorFields} from '../../lib/run/log.js';
import {parseAddress} from '../../lib/core/ip.js';
import {CT_ENTRY, CT_TUPLE, CT_TUPLE6} from '../maps/ct.js';
import {NAT_ENTRY, NAT_ENTRY6, NAT_IN, NAT_OUT} from '../maps/nat.js';

/** A map as the sweep sees it: read in slices, deleted from by keys. */
export interface SweptMap {
  slices(entriesMax: number): Iterable<{readonly count: number; readonly keys: Uint8Array; readonly values: Uint8Array}>;
  lookup(key: Uint8Array): Uint8Array | null;
  deleteBatch(keys: readonly Uint8Array[]): void;
}

export interface ConntrackGcOptions {
  readonly intervalMs: number;
  readonly intervalMinMs: number;
  readonly intervalMaxMs: number;
}

/** The three maps of one family. */
export interface SweptFamily {
  readonly tcp: SweptMap;
  readonly any: SweptMap;
  readonly nat: SweptMap;
}

export interface ConntrackGcParts extends SweptFamily {
  readonly ipv6: SweptFamily;
  readonly clock: Clock;
  /** CLOCK_MONOTONIC in seconds: the clock of `lifetime`. */
  readonly bootSeconds: () => number;
  readonly log: Log;
  readonly onSweep?: (result: SweepResult) => void;
}

export interface SweepCount {
  readonly alive: number;
  readonly deleted: number;
}

export interface FamilySweep {
  readonly tcp: SweepCount;
  readonly any: SweepCount;
  readonly nat: SweepCount;
  readonly durationMs: number;
}

/** The sum of both, and each. */
export interface SweepResult extends FamilySweep {
  readonly families: {readonly ipv4: FamilySweep; readonly ipv6: FamilySweep};
  /** Until the next one. */
  readonly intervalMs: number;
}

/** Bounds how long the event loop is held at a time: about 2 ms. */
const SLICE_ENTRIES = 4096;
/** A translation is made before its connection: younger ones are left alone. */
const NAT_YOUNG_SECONDS = 120;
/** A released address is swept soon, together with others released around it. */
const PURGE_DELAY_MS = 1000;
/** Cilium's thresholds: many deleted, sooner; hardly any, later. */
const YIELD_HIGH = 0.25;
const YIELD_LOW = 0.05;

const LIFETIME = CT_ENTRY.fields.lifetime.offset;

/** Where a family's keys have what, and what its ICMP is. */
interface FamilyLayout {
  readonly tuple: Pick<typeof CT_TUPLE, 'encode' | 'decode'>;
  readonly translation: Pick<typeof NAT_ENTRY, 'decode'>;
  readonly icmp: number;
  /** The two addresses of a key, as something that can be looked up. */
  readonly addresses: (key: DataView) => readonly [number | string, number | string];
}

interface SweepContext {
  /** Addresses whose connections go, as `addresses` of a layout has them. */
  readonly purged: ReadonlySet<number | string>;
  readonly signal: AbortSignal;
}

const IPV4: FamilyLayout = {
  tuple: CT_TUPLE, translation: NAT_ENTRY, icmp: 1,
  addresses: (key) => [key.getUint32(CT_TUPLE.fields.source.offset), key.getUint32(CT_TUPLE.fields.destination.offset)],
};
const IPV6: FamilyLayout = {
  tuple: CT_TUPLE6, translation: NAT_ENTRY6, icmp: 58,
  addresses: (key) => [wideAt(key, CT_TUPLE6.fields.source.offset), wideAt(key, CT_TUPLE6.fields.destination.offset)],
};

export class ConntrackGc {
  readonly #options: ConntrackGcOptions;
  readonly #parts: ConntrackGcParts;
  #purge = new Set<string>();
  #wake: (() => void) | null = null;
  #intervalMs: number;

  constructor(options: ConntrackGcOptions, parts: ConntrackGcParts) {
    this.#options = options;
    this.#parts = parts;
    this.#intervalMs = options.intervalMs;
  }

  /** Nothing that the address had may live on with its next owner. */
  purge(address: string): void {
    this.#purge.add(address);
    this.#wake?.();
  }

  async run(signal: AbortSignal): Promise<void> {
    const {clock, log} = this.#parts;
    while (!signal.aborted) {
      await this.#wait(signal);
      if (signal.aborted) return;
      try {
        await this.sweep(signal);
      } catch (error) {
        log.warn('connections could not be collected', errorFields(error));
        await clock.sleep(this.#options.intervalMinMs, signal).catch(() => undefined);
      }
    }
  }

  async sweep(signal: AbortSignal): Promise<SweepResult> {
    const purge = this.#purge;
    this.#purge = new Set();
    try {
      return await this.#sweepAll(purge, signal);
    } catch (error) {
      // Not done: the next sweep is told again.
      for (const address of purge) this.#purge.add(address);
      throw error;
    }
  }

  async #sweepAll(purge: ReadonlySet<string>, signal: AbortSignal): Promise<SweepResult> {
    const {ipv6} = this.#parts;
    const purged = new Set([...purge].map(addressKey));
    const four = await this.#sweepFamily(this.#parts, IPV4, {purged, signal});
    const six = await this.#sweepFamily(ipv6, IPV6, {purged, signal});
    this.#intervalMs = nextInterval(this.#intervalMs, this.#options, [four.tcp, four.any, six.tcp, six.any]);
    const result: SweepResult = {
      tcp: sumOf(four.tcp, six.tcp), any: sumOf(four.any, six.any), nat: sumOf(four.nat, six.nat), durationMs: four.durationMs + six.durationMs,
      families: {ipv4: four, ipv6: six}, intervalMs: this.#intervalMs,
    };
    this.#parts.onSweep?.(result);
    return result;
  }

  async #sweepFamily(maps: SweptFamily, layout: FamilyLayout, {purged, signal}: SweepContext): Promise<FamilySweep> {
    const {clock, bootSeconds} = this.#parts;
    const [startMs, now] = [clock.monotonicMs(), bootSeconds()];
    const isDead = (key: DataView, value: DataView): boolean => value.getUint32(LIFETIME, true) < now ||
      (purged.size > 0 && layout.addresses(key).some((address) => purged.has(address)));
    const tcp = await this.#sweepMap(maps.tcp, isDead, signal);
    const any = await this.#sweepMap(maps.any, isDead, signal);
    const nat = await this.#sweepMap(maps.nat, (key, value) => isOrphan({key, value, now}, maps, layout), signal);
    return {tcp, any, nat, durationMs: clock.monotonicMs() - startMs};
  }

  async #wait(signal: AbortSignal): Promise<void> {
    const {clock} = this.#parts;
    if (this.#purge.size === 0) {
      const early = new AbortController();
      const stop = (): void => early.abort(new Error('woken'));
      this.#wake = stop;
      signal.addEventListener('abort', stop, {once: true});
      await clock.sleep(this.#intervalMs, early.signal).catch(() => undefined);
      signal.removeEventListener('abort', stop);
      this.#wake = null;
    }
    if (this.#purge.size > 0) await clock.sleep(PURGE_DELAY_MS, signal).catch(() => undefined);
  }

  async #sweepMap(map: SweptMap, isDead: (key: DataView, value: DataView) => boolean, signal: AbortSignal): Promise<SweepCount> {
    let [alive, deleted] = [0, 0];
    for (const {count, keys, values} of map.slices(SLICE_ENTRIES)) {
      const dead: Uint8Array[] = [];
      const [keySize, valueSize] = count === 0 ? [0, 0] : [keys.length / count, values.length / count];
      for (let i = 0; i < count; i++) {
        const key = keys.subarray(i * keySize, (i + 1) * keySize);
        const value = values.subarray(i * valueSize, (i + 1) * valueSize);
        if (isDead(viewOf(key), viewOf(value))) dead.push(key);
      }
      alive += count - dead.length;
      deleted += dead.length;
      if (dead.length > 0) map.deleteBatch(dead);
      await nextTurn();
      if (signal.aborted) break;
    }
    return {alive, deleted};
  }
}

/** Either half goes when no connection needs it. A translation of the node's own connections has none and is left to the LRU. */
function isOrphan({key: keyView, value, now}: {readonly key: DataView; readonly value: DataView; readonly now: number}, maps: SweptFamily, layout: FamilyLayout): boolean {
  const key = layout.tuple.decode(bytesOf(keyView));
  const entry = layout.translation.decode(bytesOf(value));
  if (Number(entry.created / 1_000_000_000n) > now - NAT_YOUNG_SECONDS) return false;
  const out = key.flags === NAT_IN
    ? {...key, source: entry.toAddress, sourcePort: entry.toPort, destination: key.source, destinationPort: key.sourcePort, flags: NAT_OUT}
    : key;
  const ownAddress = key.flags === NAT_IN ? key.destination : entry.toAddress;
  if (out.source === ownAddress) return false;
  // An echo has its identifier as source port in a translation, as destination port in a connection.
  const isIcmp = out.protocol === layout.icmp;
  const connection = layout.tuple.encode(isIcmp ? {...out, sourcePort: 0, destinationPort: out.sourcePort} : out);
  return maps.tcp.lookup(connection) === null && maps.any.lookup(connection) === null;
}

function sumOf(a: SweepCount, b: SweepCount): SweepCount {
  return {alive: a.alive + b.alive, deleted: a.deleted + b.deleted};
}

/** The larger share of deleted entries counts. */
export function nextInterval(intervalMs: number, options: ConntrackGcOptions, counts: readonly SweepCount[]): number {
  const share = Math.max(...counts.map(({alive, deleted}) => (alive + deleted === 0 ? 0 : deleted / (alive + deleted))));
  const next = share > YIELD_HIGH ? intervalMs * (1 - share) : share < YIELD_LOW ? intervalMs * 1.5 : intervalMs;
  return Math.min(options.intervalMaxMs, Math.max(options.intervalMinMs, Math.round(next)));
}

/** As `addresses` of a layout has it. */
function addressKey(text: string): number | string {
  const bytes = parseAddress(text)?.bytes ?? new Uint8Array(4);
  return bytes.length === 4 ? viewOf(bytes).getUint32(0) : wideAt(viewOf(bytes), 0);
}

function wideAt(view: DataView, offset: number): string {
  return `${view.getBigUint64(offset)}.${view.getBigUint64(offset + 8)}`;
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function bytesOf(view: DataView): Uint8Array {
  return new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
}

function nextTurn(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve);
  });
}
