// The epoch of judgements: while it is closed no program trusts what an earlier packet of a connection was allowed (docs/adr/0005).

import {BpfMap} from '../kernel/bpf.js';
import {EPOCH_BITS, EPOCH_CLOSED, policyEpochCodec} from '../maps/epoch.js';
import {encodeU32} from '../maps/layout.js';
import {POLICY_INNER_MAP} from '../maps/registry.js';

export interface PolicyEpochParts {
  readonly map: BpfMap;
  /** False = whether the programs that run now have ended cannot be shown. */
  readonly programsEnded: () => boolean;
  /** Of this boot, in every process the same. */
  readonly monotonicNs: () => bigint;
}

const KEY = policyEpochCodec.encodeKey(0);
const NS_PER_MS = 1_000_000n;

export class PolicyEpoch {
  readonly #parts: PolicyEpochParts;
  /** As the kernel has it: a process before this one may have been killed between `close` and `raise`. */
  #value: bigint;

  constructor(parts: PolicyEpochParts) {
    this.#parts = parts;
    const bytes = parts.map.lookup(KEY);
    this.#value = bytes === null ? 0n : policyEpochCodec.decodeValue(bytes);
  }

  get isClosed(): boolean {
    return this.#value === 0n || this.#value >= EPOCH_CLOSED;
  }

  /** Before anything that verdicts depend on is written: from now on every packet is judged by what the maps hold. */
  close(): void {
    if (!this.isClosed) this.#write(this.#value | EPOCH_CLOSED);
  }

  /** After the writes. An epoch is never one that was before, whoever wrote that and whatever pin is gone: it is the time, or later. */
  async raise(): Promise<void> {
    if (!this.isClosed) return;
    if (!this.#parts.programsEnded()) await gracePeriod();
    const now = this.#parts.monotonicNs() / NS_PER_MS;
    const next = (this.#value & ~EPOCH_CLOSED) + 1n;
    this.#write(BigInt.asUintN(EPOCH_BITS, next > now ? next : now) || 1n);
  }

  #write(value: bigint): void {
    this.#parts.map.update(KEY, policyEpochCodec.encodeValue(value));
    this.#value = value;
  }
}

/** The kernel's own proof that the programs that run now are over: it waits for it when a slot of a map of maps is written. */
async function gracePeriod(): Promise<void> {
  const inner = BpfMap.create(POLICY_INNER_MAP);
  try {
    const outer = BpfMap.create({name: 'st_grace', type: 'array_of_maps', keySize: 4, valueSize: 4, maxEntries: 1, flags: 0, innerMap: inner});
    try {
      await outer.updateFlatAsync(outer.flatten([[encodeU32(0), encodeU32(inner.fd)]]));
    } finally {
      outer.close();
    }
  } finally {
    inner.close();
  }
}
