// The state on disk, so that a restart without an operator goes on enforcing what was acknowledged: a checkpoint, and the changes since.

import type {Undecodable} from '../../lib/desired/decode.js';
import {decodeResource} from '../../lib/desired/decode.js';
import type {Resource, ResourceName} from '../../lib/desired/node-state.js';
import {resourceId} from '../../lib/desired/node-state.js';
import {allResources} from '../../lib/desired/tables.js';
import type {Log} from '../../lib/run/log.js';
import {errorFields} from '../../lib/run/log.js';
import {LatestFile, readSealed} from '../../lib/run/state-file.js';
import type {HeldDelta} from './held.js';
import {EMPTY_HELD, HeldState} from './held.js';
import {Journal} from './journal.js';

/** Then the changes cost more room than a new checkpoint costs time. */
const JOURNAL_BYTES_MAX = 1 << 20;

interface StoredItem {
  readonly kind: string;
  readonly key: string;
  readonly version: string;
  readonly value?: unknown;
}

/** Each change has the number after the one before it: which of them a checkpoint holds, and whether one is missing, is then no guess. */
interface StoredChange {
  readonly number: number;
  /** What the change does not name goes. */
  readonly whole: boolean;
  readonly removes: readonly Pick<StoredItem, 'kind' | 'key'>[];
  readonly upserts: readonly StoredItem[];
}

interface Checkpoint {
  /** Of the last change that it holds. */
  readonly number: number;
  readonly items: readonly StoredItem[];
}

/** `state.json` in the state folder, with `state.journal` beside it. */
export class StateStore {
  readonly #path: string;
  readonly #log: Log;
  readonly #file: LatestFile;
  readonly #journal: Journal;
  #number = 0;
  #newest: {readonly number: number; readonly held: HeldState} | null = null;
  /** A change is not in the journal: nothing may follow it there until a checkpoint holds it. */
  #isBehind = false;
  #writing: Promise<void> | null = null;

  constructor(options: {readonly path: string; readonly journalPath: string}, parts: {readonly log: Log}) {
    this.#path = options.path;
    this.#log = parts.log;
    this.#file = new LatestFile(options, parts);
    this.#journal = new Journal({path: options.journalPath});
  }

  /** Damage counts as absence. What an older agent wrote may not decode any more: it then counts as undecodable, and the operator sends it again. */
  async load(): Promise<HeldState> {
    const stored = checkpointOf(await readSealed(this.#path, this.#log));
    const changes = await this.#journal.read(this.#log) as readonly StoredChange[];
    const latest = replay(stored, changes) ?? {number: 0, items: []};
    this.#number = Math.max(latest.number, ...changes.map(({number}) => number));
    if (changes.length > 0) this.#file.write(() => JSON.stringify({...latest, number: this.#number}));
    // Nothing is appended to what is left of another process: its last line may be cut short, or follow one that is missing.
    if (await this.#file.flushed()) await this.#journal.clear();
    else this.#isBehind = true;
    return heldOf(latest.items);
  }

  /** On disk when this returns, if `delta` is what led to `held`. What the file system refuses is logged, and written as a whole as soon as it takes it. */
  save(held: HeldState, delta: HeldDelta): void {
    this.#number++;
    this.#newest = {number: this.#number, held};
    try {
      if (!this.#isBehind) this.#journal.append(changeOf(this.#number, delta));
    } catch (error) {
      this.#isBehind = true;
      this.#log.warn('the journal cannot be written', errorFields(error));
    }
    if (this.#isBehind || this.#journal.bytes >= JOURNAL_BYTES_MAX) this.#writing ??= this.#write();
  }

  async flushed(): Promise<void> {
    await this.#writing;
  }

  async #write(): Promise<void> {
    try {
      while (await this.#checkpoint() && this.#isBehind);
    } catch (error) {
      this.#log.warn('the journal cannot be replaced by a checkpoint', errorFields(error));
    }
    this.#writing = null;
  }

  /** False when the file system refused. */
  async #checkpoint(): Promise<boolean> {
    const newest = this.#newest;
    if (newest === null) return false;
    this.#journal.rotate();
    this.#file.write(() => JSON.stringify({number: newest.number, items: itemsOf(newest.held)}));
    if (!await this.#file.flushed()) return false;
    await this.#journal.forget();
    if (newest === this.#newest) this.#isBehind = false;
    return true;
  }
}

function changeOf(number: number, {base, upserts, undecodable, removes}: HeldDelta): StoredChange {
  return {
    number,
    whole: base === '',
    removes: removes.map(({kind, key}) => ({kind, key})),
    upserts: [...upserts.map(({kind, key, version, value}) => ({kind, key, version, value})), ...undecodable.map(({kind, key, version}) => ({kind, key, version}))],
  };
}

/** A list is what agents before the journal wrote. */
function checkpointOf(stored: unknown): Checkpoint | null {
  if (stored === null) return null;
  return Array.isArray(stored) ? {number: 0, items: stored as readonly StoredItem[]} : stored as Checkpoint;
}

/** Up to the first change whose predecessor is missing, but for a whole state, which needs none. Null = there is nothing to start from. */
function replay(checkpoint: Checkpoint | null, changes: readonly StoredChange[]): Checkpoint | null {
  let latest = checkpoint === null ? null : {number: checkpoint.number, items: new Map(checkpoint.items.map((item) => [idOf(item), item]))};
  for (const {number, whole, removes, upserts} of changes) {
    if (latest !== null && number <= latest.number) continue;
    if (whole) latest = {number, items: new Map()};
    if (latest === null || (!whole && number !== latest.number + 1)) continue;
    latest.number = number;
    for (const name of removes) latest.items.delete(idOf(name));
    for (const item of upserts) latest.items.set(idOf(item), item);
  }
  return latest === null ? null : {number: latest.number, items: [...latest.items.values()]};
}

function idOf({kind, key}: Pick<StoredItem, 'kind' | 'key'>): string {
  return resourceId({kind, key} as ResourceName);
}

function itemsOf(held: HeldState): readonly StoredItem[] {
  return [...allResources(held.tables), ...[...held.undecodable.values()].map(({kind, key, version}) => ({kind, key, version}))];
}

function heldOf(items: readonly StoredItem[]): HeldState {
  if (items.length === 0) return EMPTY_HELD;
  const resources: Resource[] = [];
  const undecodable: Undecodable[] = [];
  for (const item of items) {
    const decoded = decodeResource(item.kind, item.key, item.version, item.value);
    if (decoded.resource !== null) resources.push(decoded.resource);
    else undecodable.push({...decoded.undecodable, version: ''});
  }
  return HeldState.of(resources, undecodable);
}
