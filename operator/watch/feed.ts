// Merges the reflectors of all kinds into batches. A batch is what arrived during one turn of the event loop: well under 2 ms.

import type {KubeClient} from '../../lib/kube/client.js';
import type {Clock} from '../../lib/run/clock.js';
import type {Log} from '../../lib/run/log.js';
import type {Batch, Change, WatchedKind} from './feed-types.js';
import {DEFAULT_KIND_OPTIONS, watchedResources, type KindOptions} from './kinds.js';
import {Reflector, type ReflectorOptions, type ReflectorStatus} from './reflector.js';

export interface FeedStatus {
  readonly inSync: boolean;
  readonly kinds: readonly ReflectorStatus[];
}

/** A running feed: of an API server (`startKubeFeed`) or of files (`startFileFeed`). */
export interface Feed {
  status(): FeedStatus;
  /** Settles when the feed has ended: resolves after an abort, rejects with a broken invariant. */
  readonly done: Promise<void>;
}

export interface KubeFeedOptions {
  readonly kinds?: KindOptions;
  readonly reflector?: Omit<ReflectorOptions, 'watched'>;
}

export interface KubeFeedParts {
  readonly client: KubeClient;
  readonly clock: Clock;
  readonly log: Log;
  /** Called in order, never during itself. */
  readonly onBatch: (batch: Batch) => void;
}

export function startKubeFeed(options: KubeFeedOptions, parts: KubeFeedParts, signal: AbortSignal): Feed {
  const watched = watchedResources(options.kinds ?? DEFAULT_KIND_OPTIONS);
  const batcher = new Batcher(watched.map((item) => item.kind), parts);
  const reflectors = watched.map((item) => new Reflector({...options.reflector, watched: item}, {
    client: parts.client, clock: parts.clock, log: parts.log,
    onChanges: (changes) => batcher.add(changes),
    onListed: () => batcher.listed(item.kind),
  }));
  return {
    status: () => ({inSync: batcher.inSync, kinds: reflectors.map((reflector) => reflector.status())}),
    done: Promise.all(reflectors.map((reflector) => reflector.run(signal))).then(() => undefined),
  };
}

/** Collects changes and hands them over once per turn of the event loop. */
export class Batcher {
  readonly #parts: {readonly clock: Clock; readonly onBatch: (batch: Batch) => void};
  readonly #notListed: Set<WatchedKind>;
  #changes: Change[] = [];
  #receivedAtMs = 0;
  #scheduled = false;

  constructor(kinds: readonly WatchedKind[], parts: {readonly clock: Clock; readonly onBatch: (batch: Batch) => void}) {
    this.#notListed = new Set(kinds);
    this.#parts = parts;
  }

  get inSync(): boolean {
    return this.#notListed.size === 0;
  }

  add(changes: readonly Change[]): void {
    if (this.#changes.length === 0) this.#receivedAtMs = this.#parts.clock.monotonicMs();
    for (const change of changes) this.#changes.push(change);
    this.#schedule();
  }

  /** The batch that reports in-sync may be empty. */
  listed(kind: WatchedKind): void {
    this.#notListed.delete(kind);
    if (!this.inSync) return;
    if (this.#changes.length === 0) this.#receivedAtMs = this.#parts.clock.monotonicMs();
    this.#schedule();
  }

  #schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    setImmediate(() => this.#flush());
  }

  #flush(): void {
    this.#scheduled = false;
    const changes = this.#changes;
    this.#changes = [];
    this.#parts.onBatch({changes, inSync: this.inSync, receivedAtMs: this.#receivedAtMs});
  }
}
