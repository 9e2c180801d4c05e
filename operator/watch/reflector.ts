// Lists and watches one kind, for ever: pages, bookmarks, resume, relist with a diff by uid when the version is too old.

import {backoffMs, type Backoff} from '../../lib/core/backoff.js';
import {StentorError} from '../../lib/core/errors.js';
import {InvariantError} from '../../lib/core/invariant.js';
import type {KubeClient} from '../../lib/kube/client.js';
import {isKubeError} from '../../lib/kube/errors.js';
import {objectKey} from '../../lib/kube/object.js';
import {collectionPath} from '../../lib/kube/resources.js';
import type {WatchEvent} from '../../lib/kube/watch-decoder.js';
import type {Clock} from '../../lib/run/clock.js';
import {errorFields, type Log} from '../../lib/run/log.js';
import type {Change, KubeObject} from './feed-types.js';
import type {WatchedResource} from './kinds.js';

export interface ReflectorOptions {
  readonly watched: WatchedResource;
  readonly pageSize?: number;
  /** A watch is opened anew after a random time between these: a connection that died silently is noticed soon after. */
  readonly watchSecondsMin?: number;
  readonly watchSecondsMax?: number;
  readonly backoff?: Backoff;
}

export interface ReflectorParts {
  readonly client: KubeClient;
  readonly clock: Clock;
  readonly log: Log;
  readonly random?: () => number;
  readonly onChanges: (changes: readonly Change[]) => void;
  /** Called once, after the first complete list. */
  readonly onListed: () => void;
}

export interface ReflectorStatus {
  readonly kind: string;
  readonly listed: boolean;
  readonly objects: number;
  readonly resourceVersion: string;
  readonly lists: number;
  readonly watches: number;
  /** Why it is waiting; null while a watch is open. */
  readonly failure: string | null;
}

/** The server ends a watch itself; when it does not by then, the connection is dead. */
const SILENCE_GRACE_MS = 10_000;
/** A watch that ended sooner than this was refused in effect: do not spin. */
const SHORT_WATCH_MS = 1_000;
/** A kind whose CRD is about to be installed is asked for again at least about once a second. */
const NOT_SERVED_ATTEMPT_MAX = 2;

export class Reflector {
  readonly #options: Required<ReflectorOptions>;
  readonly #parts: ReflectorParts;
  /** What was handed on, by key: enough to tell later what changed while nobody watched. */
  readonly #known = new Map<string, {readonly uid: string; readonly resourceVersion: string}>();
  #resourceVersion = '';
  #listed = false;
  #lists = 0;
  #watches = 0;
  #failure: string | null = 'not listed yet';

  constructor(options: ReflectorOptions, parts: ReflectorParts) {
    this.#options = {pageSize: 500, watchSecondsMin: 60, watchSecondsMax: 90, backoff: {baseMs: 200, maxMs: 5_000}, ...options};
    this.#parts = parts;
  }

  status(): ReflectorStatus {
    return {
      kind: this.#options.watched.kind, listed: this.#listed, objects: this.#known.size, resourceVersion: this.#resourceVersion,
      lists: this.#lists, watches: this.#watches, failure: this.#failure,
    };
  }

  /** Returns when `signal` aborts; throws only broken invariants. */
  async run(signal: AbortSignal): Promise<void> {
    const {clock, log} = this.#parts;
    let attempt = 0;
    while (!signal.aborted) {
      let openedMs = clock.monotonicMs();
      try {
        if (this.#resourceVersion === '') await this.#list(signal);
        openedMs = clock.monotonicMs();
        await this.#watch(signal);
        if (clock.monotonicMs() - openedMs >= SHORT_WATCH_MS) {
          attempt = 0;
          continue;
        }
      } catch (error) {
        if (signal.aborted) return;
        if (error instanceof InvariantError) throw error;
        if (isKubeError(error, 'Gone')) {
          log.info('watch too old, listing again', {kind: this.#options.watched.kind});
          this.#resourceVersion = '';
        }
        if (clock.monotonicMs() - openedMs >= SHORT_WATCH_MS) attempt = 0;
        if (isKubeError(error, 'NotFound')) attempt = Math.min(attempt, NOT_SERVED_ATTEMPT_MAX);
        this.#fail(error, attempt);
      }
      await this.#pause(attempt++, signal);
    }
  }

  #fail(error: unknown, attempt: number): void {
    const {kind} = this.#options.watched;
    this.#failure = error instanceof Error ? error.message : String(error);
    const level = isKubeError(error, 'Gone') || attempt % 8 !== 0 ? 'debug' : 'warn';
    const message = isKubeError(error, 'NotFound') ? 'kind is not served yet' : 'list or watch failed';
    this.#parts.log[level](message, {kind, attempt, ...errorFields(error)});
  }

  async #pause(attempt: number, signal: AbortSignal): Promise<void> {
    const delayMs = backoffMs(this.#options.backoff, attempt, (this.#parts.random ?? Math.random)());
    await this.#parts.clock.sleep(delayMs, signal).catch(() => undefined);
  }

  get #path(): string {
    const {resource, namespace} = this.#options.watched;
    return collectionPath(resource, namespace);
  }

  get #selectors(): {readonly fieldSelector?: string; readonly labelSelector?: string} {
    const {fieldSelector, labelSelector} = this.#options.watched;
    return {...(fieldSelector === undefined ? {} : {fieldSelector}), ...(labelSelector === undefined ? {} : {labelSelector})};
  }

  async #list(signal: AbortSignal): Promise<void> {
    const {client, onChanges, onListed} = this.#parts;
    this.#lists++;
    const seen = new Set<string>();
    let resourceVersion = '';
    for await (const page of client.list(this.#path, {...this.#selectors, limit: this.#options.pageSize}, signal)) {
      const changes: Change[] = [];
      for (const item of page.items) {
        seen.add(objectKey(item));
        this.#observe(item, changes);
      }
      if (changes.length > 0) onChanges(changes);
      resourceVersion = page.resourceVersion;
    }
    const gone = [...this.#known.keys()].filter((key) => !seen.has(key));
    for (const key of gone) this.#known.delete(key);
    if (gone.length > 0) onChanges(gone.map((key) => this.#gone(key)));
    this.#resourceVersion = resourceVersion;
    this.#failure = null;
    if (this.#listed) return;
    this.#listed = true;
    onListed();
  }

  async #watch(signal: AbortSignal): Promise<void> {
    const {client} = this.#parts;
    const {watchSecondsMin, watchSecondsMax} = this.#options;
    const timeoutSeconds = Math.round(watchSecondsMin + (this.#parts.random ?? Math.random)() * (watchSecondsMax - watchSecondsMin));
    this.#watches++;
    this.#failure = null;
    await client.watch(this.#path, {
      ...this.#selectors, resourceVersion: this.#resourceVersion, timeoutSeconds, silenceLimitMs: timeoutSeconds * 1000 + SILENCE_GRACE_MS,
    }, (events) => this.#handle(events), signal);
  }

  #handle(events: readonly WatchEvent[]): void {
    const changes: Change[] = [];
    for (const {type, object} of events) {
      if (type === 'DELETED') {
        const key = objectKey(object);
        if (this.#known.delete(key)) changes.push(this.#gone(key));
      } else if (type !== 'BOOKMARK') {
        this.#observe(object, changes);
      }
      const {resourceVersion} = object.metadata;
      if (resourceVersion === undefined || resourceVersion === '') {
        throw new StentorError('BadResponse', 'a watch event has no resourceVersion', {kind: this.#options.watched.kind});
      }
      this.#resourceVersion = resourceVersion;
    }
    if (changes.length > 0) this.#parts.onChanges(changes);
  }

  /** An object of the same name with another uid is another object: the old one is gone first. */
  #observe(item: KubeObject, changes: Change[]): void {
    const key = objectKey(item);
    const {uid = '', resourceVersion = ''} = item.metadata;
    const known = this.#known.get(key);
    if (known !== undefined && known.uid === uid && known.resourceVersion === resourceVersion) return;
    if (known !== undefined && known.uid !== uid) changes.push(this.#gone(key));
    this.#known.set(key, {uid, resourceVersion});
    changes.push({kind: this.#options.watched.kind, key, object: withoutManagedFields(item)});
  }

  #gone(key: string): Change {
    return {kind: this.#options.watched.kind, key, object: null};
  }
}

/** Half of a typical object, and nobody here reads it. */
function withoutManagedFields(object: KubeObject): KubeObject {
  if (!('managedFields' in object.metadata)) return object;
  const {managedFields: _, ...metadata} = object.metadata;
  return {...object, metadata};
}
