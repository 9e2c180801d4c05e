// One watch that stays open over a kind in a namespace, and waiting for a condition through it: what a client of the API sees, without a list per question.

import type {KubeClient} from '../../lib/kube/client.js';
import type {KubeObject} from '../../lib/kube/object.js';
import {collectionPath, RESOURCES, type KnownKind} from '../../lib/kube/resources.js';
import {holds} from './enforced.js';
import {DeadlinePassed, nowMs} from './shell.js';

interface Waiter {
  readonly test: (object: KubeObject | null) => boolean;
  readonly resolve: (atMs: number) => void;
  readonly name: string;
}

export class ConditionWatch {
  readonly #abort = new AbortController();
  readonly #objects = new Map<string, KubeObject>();
  readonly #waiters = new Set<Waiter>();
  #loop: Promise<void> = Promise.resolve();

  static async start(client: KubeClient, kind: KnownKind, namespace: string | null): Promise<ConditionWatch> {
    const watch = new ConditionWatch();
    const path = collectionPath(RESOURCES[kind], namespace);
    const page = await client.listAll(path, {}, watch.#abort.signal);
    for (const item of page.items) watch.#see(item, false);
    watch.#loop = watch.#follow(client, path, page.resourceVersion);
    return watch;
  }

  /** Monotonic time at which the watch told that the condition holds for `generation`. */
  condition(name: string, wanted: {readonly type: string; readonly status: string; readonly generation: number}, timeoutMs: number): Promise<number> {
    return this.until(name, timeoutMs, (object) => object !== null && (object.metadata.generation ?? 0) >= wanted.generation && holds(object, wanted.type, wanted.status));
  }

  until(name: string, timeoutMs: number, test: (object: KubeObject | null) => boolean): Promise<number> {
    if (test(this.#objects.get(name) ?? null)) return Promise.resolve(nowMs());
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#waiters.delete(waiter);
        reject(new DeadlinePassed(`${name}: not within ${timeoutMs} ms; it is ${JSON.stringify(this.#objects.get(name)?.['status'] ?? null)}`));
      }, timeoutMs);
      const waiter: Waiter = {name, test, resolve: (atMs) => {
        clearTimeout(timer);
        this.#waiters.delete(waiter);
        resolve(atMs);
      }};
      this.#waiters.add(waiter);
    });
  }

  async stop(): Promise<void> {
    this.#abort.abort();
    await this.#loop;
  }

  async #follow(client: KubeClient, path: string, from: string): Promise<void> {
    let resourceVersion = from;
    while (!this.#abort.signal.aborted) {
      try {
        await client.watch(path, {resourceVersion, timeoutSeconds: 600, silenceLimitMs: 0}, (events) => {
          for (const event of events) {
            resourceVersion = event.object.metadata.resourceVersion ?? resourceVersion;
            if (event.type !== 'BOOKMARK') this.#see(event.object, event.type === 'DELETED');
          }
        }, this.#abort.signal);
      } catch (error) {
        if (!this.#abort.signal.aborted) throw error;
      }
    }
  }

  #see(object: KubeObject, deleted: boolean): void {
    const {name} = object.metadata;
    if (deleted) this.#objects.delete(name);
    else this.#objects.set(name, object);
    const atMs = nowMs();
    for (const waiter of this.#waiters) if (waiter.name === name && waiter.test(deleted ? null : object)) waiter.resolve(atMs);
  }
}
