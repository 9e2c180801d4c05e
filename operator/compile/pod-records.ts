// One record per pod, found once per event and passed on from stage to stage: what each stage keeps of a pod is a member of it.

import type {Resource} from '../../lib/desired/node-state.js';
import type {Endpoint} from './endpoints.js';
import type {LabelSet, Workload} from './identities.js';
import type {HeldNode} from './node-layers.js';

export interface PodRecord {
  /** `namespace/name`. */
  readonly key: string;
  /** identities.ts: null = no endpoint, or its pod is not known. */
  workload: Workload | null;
  set: LabelSet | null;
  /** Place in the set's list. */
  setSlot: number;
  /** endpoints.ts */
  endpoint: Endpoint | null;
  /** The endpoint before this turn; undefined = not looked at in it. */
  before: Endpoint | null | undefined;
  /** The endpoint was made of everything that is known now. */
  settled: boolean;
  /** Its node's report was found meanwhile. */
  reported: boolean;
  /** node-layers.ts: where the endpoint is, its place in the node's list, and what the node holds of it. */
  node: HeldNode | null;
  nodeSlot: number;
  held: Resource | null;
}

export class PodRecords {
  readonly #all = new Map<string, PodRecord>();

  get(key: string): PodRecord | undefined {
    return this.#all.get(key);
  }

  get isEmpty(): boolean {
    return this.#all.size === 0;
  }

  values(): Iterable<PodRecord> {
    return this.#all.values();
  }

  make(key: string): PodRecord {
    const made: PodRecord = {
      key, workload: null, set: null, setSlot: -1, endpoint: null, before: undefined, settled: false, reported: false, node: null, nodeSlot: -1, held: null,
    };
    this.#all.set(key, made);
    return made;
  }

  /** A record of nothing is not kept. */
  forgetEmpty(record: PodRecord): void {
    if (record.workload === null && record.endpoint === null && record.node === null) this.#all.delete(record.key);
  }
}

/** A list that knows where each record is in it, so that one leaves without a search. */
export class Roster {
  readonly #slot: 'setSlot' | 'nodeSlot';
  #list: PodRecord[] = [];

  constructor(slot: 'setSlot' | 'nodeSlot') {
    this.#slot = slot;
  }

  get records(): readonly PodRecord[] {
    return this.#list;
  }

  get size(): number {
    return this.#list.length;
  }

  add(record: PodRecord): void {
    record[this.#slot] = this.#list.length;
    // Most have few.
    if (this.#list.length < FEW) this.#list = [...this.#list, record].slice();
    else this.#list.push(record);
  }

  remove(record: PodRecord): void {
    const last = this.#list.pop();
    const slot = record[this.#slot];
    record[this.#slot] = -1;
    if (last === undefined || last === record) return;
    this.#list[slot] = last;
    last[this.#slot] = slot;
  }
}

const FEW = 8;
