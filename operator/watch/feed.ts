// Merges the reflectors of all kinds into batches. A batch is what arrived during one turn of the event loop: well under 2 ms.

import type {KubeClient} from '../../lib/kube/client.js';
import type {Clock} from '../../lib/run/clock.js';
import type {Log} from '../../lib/run/log.js';
import type {Batch, Change, WatchedKind} from './feed-types.js';
import {DEFAULT_KIND_OPTIONS, watchedResources, watchedSecret, type KindOptions} from './kinds.js';
import {Reflector, type ReflectorOptions, type ReflectorStatus} from './reflector.js';

export interface FeedStatus {
  readonly inSync: boolean;
  readonly kinds: readonly ReflectorStatus[];
}

/** A running feed: of an API server (`startKubeFeed`) or of files (`startFileFeed`). */
export interface Feed {
  status(): FeedStatus;
  /** Which Secrets are read from now on, by name. Those of files are all read. */
  wantSecrets(names: ReadonlySet<string>): void;
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
  const secrets = new SecretReflectors(options, {...parts, onChanges: (changes) => batcher.add(changes)}, signal);
  return {
    status: () => ({inSync: batcher.inSync, kinds: [...reflectors, ...secrets.running()].map((reflector) => reflector.status())}),
    wantSecrets: (names) => secrets.want(names),
    done: Promise.all([...reflectors.map((reflector) => reflector.run(signal)), secrets.failed]).then(() => undefined),
  };
}

type SecretParts = Omit<KubeFeedParts, 'onBatch'> & {readonly onChanges: (changes: readonly Change[]) => void};

/** One reflector for each Secret that some object names: a right to read those by name is enough. None of them is waited for. */
class SecretReflectors {
  /** Rejects with a broken invariant; resolves when the feed ends. */
  readonly failed: Promise<void>;
  readonly #options: KubeFeedOptions;
  readonly #parts: SecretParts;
  readonly #signal: AbortSignal;
  readonly #running = new Map<string, {readonly reflector: Reflector; readonly stop: AbortController}>();
  readonly #fail: (error: unknown) => void;

  constructor(options: KubeFeedOptions, parts: SecretParts, signal: AbortSignal) {
    this.#options = options;
    this.#parts = parts;
    this.#signal = signal;
    const {promise, resolve, reject} = Promise.withResolvers<void>();
    this.failed = promise;
    this.#fail = reject;
    signal.addEventListener('abort', () => resolve(), {once: true});
  }

  running(): readonly Reflector[] {
    return [...this.#running.values()].map(({reflector}) => reflector);
  }

  want(names: ReadonlySet<string>): void {
    for (const [name, {stop}] of this.#running) if (!names.has(name)) this.#end(name, stop);
    for (const name of names) if (!this.#running.has(name)) this.#start(name);
  }

  #start(name: string): void {
    const {client, clock, log, onChanges} = this.#parts;
    const watched = watchedSecret(this.#options.kinds ?? DEFAULT_KIND_OPTIONS, name);
    const stop = new AbortController();
    const reflector = new Reflector({...this.#options.reflector, watched}, {
      client, clock, log, onListed: () => undefined,
      onChanges: (changes) => {
        if (!stop.signal.aborted) onChanges(changes);
      },
    });
    this.#running.set(name, {reflector, stop});
    reflector.run(AbortSignal.any([this.#signal, stop.signal])).catch(this.#fail);
  }

  #end(name: string, stop: AbortController): void {
    stop.abort(new Error('not named any more'));
    this.#running.delete(name);
    const {bgpSecretsNamespace} = this.#options.kinds ?? DEFAULT_KIND_OPTIONS;
    this.#parts.onChanges([{kind: 'Secret', key: `${bgpSecretsNamespace}/${name}`, object: null}]);
  }
}

/** Collects changes and hands them over once per turn of the event loop. */
export class Batcher {
  readonly #parts: {readonly clock: Clock; readonly onBatch: (batch: Batch) => void};
  /** A kind as often as it is listed. */
  readonly #notListed: WatchedKind[];
  #changes: Change[] = [];
  #receivedAtMs = 0;
  #scheduled = false;

  constructor(kinds: readonly WatchedKind[], parts: {readonly clock: Clock; readonly onBatch: (batch: Batch) => void}) {
    this.#notListed = [...kinds];
    this.#parts = parts;
  }

  get inSync(): boolean {
    return this.#notListed.length === 0;
  }

  add(changes: readonly Change[]): void {
    if (this.#changes.length === 0) this.#receivedAtMs = this.#parts.clock.monotonicMs();
    for (const change of changes) this.#changes.push(change);
    this.#schedule();
  }

  /** The batch that reports in-sync may be empty. */
  listed(kind: WatchedKind): void {
    const at = this.#notListed.indexOf(kind);
    if (at >= 0) this.#notListed.splice(at, 1);
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
