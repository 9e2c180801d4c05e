// `cilium_policy`: endpoint id → inner map, one inner map per subject identity. A policy changes in one step for every packet: by edits of which
// no packet can meet two, or by swapping slots (docs/adr/0004).

import {StentorError} from '../../lib/core/errors.js';
import {difference, type Difference} from '../../lib/core/delta.js';
import type {ResourceName} from '../../lib/desired/node-state.js';
import type {MapContent, MapEntry, PolicyMapContent} from '../compile/kernel-state.js';
import {BpfMap, nextTurn} from '../kernel/bpf.js';
import {decodePolicyKey, policyKeysOverlap} from '../maps/policy.js';
import {POLICY_INNER_MAP} from '../maps/registry.js';
import {hex, sameBytes} from './bpf-map.js';
import type {Failure, Target} from './target.js';

/** An inner map of the kernel: what it holds and which slots point to it. */
interface Inner {
  readonly map: BpfMap;
  content: PolicyMapContent;
  readonly slots: Set<number>;
}

/** Found in the kernel, where a map does not say whose it is. */
const UNKNOWN_SUBJECT = 0;

/** Keys that one change edits in place; beyond, comparing each with each and writing one by one costs more than a new map. */
const EDITS_MAX = 32;

/** Looks at the slots before the kernel's own return is waited for, a few µs each: a worker has begun by then. */
const LOOKS_MAX = 500;

interface Swap {
  readonly slot: number;
  readonly inner: Inner;
}

export class PolicyMapsTarget implements Target<number, PolicyMapContent> {
  readonly name = 'cilium_policy';
  readonly #outer: BpfMap;
  readonly #programsEnded: () => boolean;
  readonly #bySlot = new Map<number, Inner>();

  /** `programsEnded`: false = whether those that run now have ended cannot be shown. */
  constructor(parts: {readonly outer: BpfMap; readonly programsEnded: () => boolean}) {
    this.#outer = parts.outer;
    this.#programsEnded = parts.programsEnded;
  }

  async load(): Promise<ReadonlyMap<number, PolicyMapContent>> {
    this.close();
    const {keys, values, count} = await this.#outer.dumpAsync();
    const keyView = new DataView(keys.buffer, keys.byteOffset);
    const valueView = new DataView(values.buffer, values.byteOffset);
    const byId = new Map<number, Inner>();
    for (let i = 0; i < count; i++) {
      const id = valueView.getUint32(4 * i, true);
      if (id === 0) continue;
      const inner = byId.get(id) ?? openInner(id);
      byId.set(id, inner);
      this.#point(keyView.getUint32(4 * i, true), inner);
    }
    return new Map([...this.#bySlot].map(([slot, inner]) => [slot, inner.content]));
  }

  async upsert(entries: readonly (readonly [number, PolicyMapContent])[]): Promise<readonly Failure<number>[]> {
    const failures: Failure<number>[] = [];
    const swaps: Swap[] = [];
    const edited: Swap[] = [];
    try {
      for (const [content, slots] of byContent(entries)) {
        try {
          const own = this.#editInPlace(content, slots);
          const inner = own ?? this.#find(content) ?? createInner(content);
          for (const slot of slots) {
            if (this.#bySlot.get(slot) !== inner) swaps.push({slot, inner});
            else if (inner === own) edited.push({slot, inner});
          }
        } catch (error) {
          if (!(error instanceof StentorError)) throw error;
          failures.push(...[...slots].map((key) => ({key, error})));
        }
      }
      const failed = await this.#swap(swaps);
      // A swap that was waited for was waited for after the edits.
      const unsettled = swaps.length === 0 || failed.length > 0 ? await this.#settle(edited) : [];
      return [...failures, ...failed, ...unsettled];
    } finally {
      for (const {inner} of swaps) closeUnused(inner);
    }
  }

  /** An empty slot drops everything. */
  async remove(slots: readonly number[]): Promise<readonly Failure<number>[]> {
    const results = await Promise.all(slots.map(async (slot): Promise<Failure<number> | null> => {
      try {
        await this.#outer.deleteAsync(encodeSlot(slot));
      } catch (error) {
        if (!(error instanceof StentorError)) throw error;
        return {key: slot, error};
      }
      this.#point(slot, null);
      return null;
    }));
    return results.filter((failure) => failure !== null);
  }

  equal(desired: PolicyMapContent, actual: PolicyMapContent): boolean {
    return sameContent(desired.entries, actual.entries);
  }

  owns(): boolean {
    return true;
  }

  because(content: PolicyMapContent): readonly ResourceName[] {
    return [{kind: 'policy', key: String(content.subject)}];
  }

  /** The kernel keeps what it holds. */
  close(): void {
    for (const inner of new Set(this.#bySlot.values())) inner.map.close();
    this.#bySlot.clear();
  }

  /**
   * As atomic as a swap when every slot of the map wants it and no packet matches two of the changed keys: to each packet it is a change of one key.
   * Null when it is not such a change.
   */
  #editInPlace(content: PolicyMapContent, slots: ReadonlySet<number>): Inner | null {
    for (const slot of slots) {
      const inner = this.#bySlot.get(slot);
      if (inner === undefined || ![...inner.slots].every((user) => slots.has(user))) continue;
      const change = difference(content.entries, inner.content.entries, sameValue);
      if (!isForEachPacketOne(change)) continue;
      edit(inner, change);
      inner.content = content;
      return inner;
    }
    return null;
  }

  /** A further endpoint of an identity shares the map of the others. */
  #find(content: PolicyMapContent): Inner | null {
    for (const inner of new Set(this.#bySlot.values())) {
      const isSubject = inner.content.subject === content.subject || inner.content.subject === UNKNOWN_SUBJECT;
      if (!isSubject || !sameContent(content.entries, inner.content.entries)) continue;
      inner.content = content;
      return inner;
    }
    return null;
  }

  /** One call, so that all slots wait for one grace period. When it fails, one by one, to know which. */
  async #swap(swaps: readonly Swap[]): Promise<readonly Failure<number>[]> {
    if (swaps.length === 0) return [];
    try {
      await this.#write(swaps);
      for (const {slot, inner} of swaps) this.#point(slot, inner);
      return [];
    } catch (error) {
      if (!(error instanceof StentorError)) throw error;
      if (swaps.length === 1) return swaps.map(({slot}) => ({key: slot, error}));
    }
    const failures: Failure<number>[] = [];
    for (const swap of swaps) failures.push(...await this.#swap([swap]));
    return failures;
  }

  /**
   * Resolves when no program uses what the slots held before. The kernel waits for that itself (an RCU grace period, 8 to 20 ms); as soon as the slots
   * show their maps it can be shown in less than one.
   */
  async #write(swaps: readonly Swap[]): Promise<void> {
    let returned = false;
    const writing = this.#outer.updateFlatAsync(this.#outer.flatten(swaps.map(({slot, inner}) => [encodeSlot(slot), encodeSlot(inner.map.fd)] as const)))
      .finally(() => {
        returned = true;
      });
    // A failure may come while nobody waits for it: it is asked for below, and must not end the process before.
    writing.catch(() => undefined);
    // Slots are written in order, and a batch that fails returns at once.
    const last = swaps.at(-1);
    for (let looks = 0; last !== undefined && !returned && !this.#holds(last) && looks < LOOKS_MAX; looks++) await nextTurn();
    const isOver = !returned && last !== undefined && this.#holds(last) && this.#programsEnded();
    if (!isOver) await writing;
  }

  /** Programs that have seen a part of the edits are over when this resolves. */
  async #settle(edited: readonly Swap[]): Promise<readonly Failure<number>[]> {
    if (edited.length === 0 || this.#programsEnded()) return [];
    // Writing a slot waits for a grace period, also when it holds the map already; one is enough for all edits.
    const failed = await this.#swap(edited.slice(0, 1));
    return failed.flatMap(({error}) => edited.map(({slot}) => ({key: slot, error})));
  }

  #holds({slot, inner}: Swap): boolean {
    const id = this.#outer.lookup(encodeSlot(slot));
    return id !== null && new DataView(id.buffer, id.byteOffset).getUint32(0, true) === inner.map.info().id;
  }

  #point(slot: number, inner: Inner | null): void {
    const before = this.#bySlot.get(slot);
    if (before === inner) return;
    if (inner === null) this.#bySlot.delete(slot);
    else this.#bySlot.set(slot, inner);
    inner?.slots.add(slot);
    before?.slots.delete(slot);
    if (before !== undefined) closeUnused(before);
  }
}

function closeUnused(inner: Inner): void {
  if (inner.slots.size === 0) inner.map.close();
}

function isForEachPacketOne({upserts, removes}: Difference<string, MapEntry>): boolean {
  if (upserts.length + removes.length > EDITS_MAX) return false;
  const keys = [...upserts.map(([, {key}]) => key), ...removes.map(fromHex)].map(decodePolicyKey);
  return keys.every((key, i) => keys.slice(i + 1).every((other) => !policyKeysOverlap(key, other)));
}

/** Some of the edits are made, the others are not: no `StentorError` of one slot, since what the kernel holds has to be read again. */
class HalfEdited extends Error {
  readonly code: string;

  constructor(cause: StentorError) {
    super(cause.message, {cause});
    this.code = cause.code;
  }
}

/** Removals first, so that it needs no more room than the fuller of both. */
function edit(inner: Inner, {upserts, removes}: Difference<string, MapEntry>): void {
  let done = 0;
  try {
    for (const key of removes) {
      inner.map.delete(fromHex(key));
      done++;
    }
    for (const [, {key, value}] of upserts) {
      inner.map.update(key, value);
      done++;
    }
  } catch (error) {
    throw error instanceof StentorError && done > 0 ? new HalfEdited(error) : error;
  }
}

function fromHex(key: string): Uint8Array {
  return new Uint8Array(Buffer.from(key, 'hex'));
}

/** Endpoints of one subject share a map when their content is equal: where named ports resolve otherwise it is not. */
function byContent(entries: readonly (readonly [number, PolicyMapContent])[]): Map<PolicyMapContent, Set<number>> {
  const bySubject = new Map<number, {readonly content: PolicyMapContent; readonly slots: Set<number>}[]>();
  for (const [slot, content] of entries) {
    const groups = bySubject.get(content.subject) ?? [];
    bySubject.set(content.subject, groups);
    const group = groups.find((other) => other.content === content || sameContent(other.content.entries, content.entries));
    if (group === undefined) groups.push({content, slots: new Set([slot])});
    else group.slots.add(slot);
  }
  return new Map([...bySubject.values()].flat().map(({content, slots}) => [content, slots]));
}

function openInner(id: number): Inner {
  const map = BpfMap.byId(id);
  const entries = map.entries().map(([key, value]): [string, MapEntry] => [hex(key), {key, value, because: []}]);
  return {map, content: {subject: UNKNOWN_SUBJECT, entries: new Map(entries)}, slots: new Set()};
}

/** Whole before any slot points to it. */
function createInner(content: PolicyMapContent): Inner {
  const map = BpfMap.create(POLICY_INNER_MAP);
  try {
    map.updateBatch([...content.entries.values()].map(({key, value}) => [key, value] as const));
    return {map, content, slots: new Set()};
  } catch (error) {
    map.close();
    throw error;
  }
}

function sameContent(a: MapContent, b: MapContent): boolean {
  if (a === b) return true;
  if (a.size !== b.size) return false;
  for (const [key, entry] of a) {
    const other = b.get(key);
    if (other === undefined || !sameValue(entry, other)) return false;
  }
  return true;
}

function sameValue(a: MapEntry, b: MapEntry): boolean {
  return a === b || sameBytes(a.value, b.value);
}

function encodeSlot(slot: number): Uint8Array {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, slot, true);
  return bytes;
}
