// Where the operator's objects go: the API server. One field manager; what is created carries a label that says it is ours.

import type {KubeClient} from '../../lib/kube/client.js';
import type {KubeObject} from '../../lib/kube/object.js';
import {collectionPath, objectPath, type ApiResource} from '../../lib/kube/resources.js';
import type {Clock} from '../../lib/run/clock.js';

export const FIELD_MANAGER = 'stentor-operator';
export const MANAGED_BY_LABEL = 'app.kubernetes.io/managed-by';

/** Labels of everything we create: how a restarted operator tells its own objects. */
export const OURS: Readonly<Record<string, string>> = {[MANAGED_BY_LABEL]: FIELD_MANAGER};

export function isOurs(object: KubeObject): boolean {
  return object.metadata.labels?.[MANAGED_BY_LABEL] === FIELD_MANAGER;
}

/** The doors out of the apply stage. All of them throw StentorErrors. */
export interface ObjectTarget {
  /** `AlreadyExists` when there is one of that name. */
  create(resource: ApiResource, object: KubeObject, signal: AbortSignal): Promise<KubeObject>;
  /** Makes the named fields so, and removes those that this manager named before and does not any more. */
  apply(resource: ApiResource, object: KubeObject, signal: AbortSignal): Promise<KubeObject>;
  /** The same for `status` alone; a `metadata.resourceVersion` in it is a precondition (`Conflict`). */
  applyStatus(resource: ApiResource, object: KubeObject, signal: AbortSignal): Promise<KubeObject>;
  merge(resource: ApiResource, object: KubeObject, signal: AbortSignal): Promise<KubeObject>;
  /** Of `status` alone, for what somebody else wrote there: an apply would leave it. */
  mergeStatus(resource: ApiResource, object: KubeObject, signal: AbortSignal): Promise<KubeObject>;
  /** Only this very object (uid); true when it was there. */
  remove(resource: ApiResource, object: KubeObject, signal: AbortSignal): Promise<boolean>;
  get(resource: ApiResource, object: KubeObject, signal: AbortSignal): Promise<KubeObject>;
}

export interface KubeTargetOptions {
  /** Writes per second in the long run, and how many may come at once. */
  readonly writesPerSecond?: number;
  readonly burst?: number;
}

export class KubeTarget implements ObjectTarget {
  readonly #client: KubeClient;
  readonly #bucket: TokenBucket;

  constructor(options: KubeTargetOptions, parts: {readonly client: KubeClient; readonly clock: Clock}) {
    this.#client = parts.client;
    this.#bucket = new TokenBucket({perSecond: options.writesPerSecond ?? 200, burst: options.burst ?? 400}, parts.clock);
  }

  async create(resource: ApiResource, object: KubeObject, signal: AbortSignal): Promise<KubeObject> {
    await this.#bucket.take(signal);
    const path = collectionPath(resource, object.metadata.namespace ?? null);
    return this.#client.create(path, object, signal, {fieldManager: FIELD_MANAGER});
  }

  async apply(resource: ApiResource, object: KubeObject, signal: AbortSignal): Promise<KubeObject> {
    await this.#bucket.take(signal);
    return this.#client.patch(pathOf(resource, object), {type: 'apply', patch: object, fieldManager: FIELD_MANAGER, force: true}, signal);
  }

  async applyStatus(resource: ApiResource, object: KubeObject, signal: AbortSignal): Promise<KubeObject> {
    await this.#bucket.take(signal);
    const path = pathOf(resource, object, 'status');
    return this.#client.patch(path, {type: 'apply', patch: object, fieldManager: FIELD_MANAGER, force: true}, signal);
  }

  async merge(resource: ApiResource, object: KubeObject, signal: AbortSignal): Promise<KubeObject> {
    await this.#bucket.take(signal);
    return this.#client.patch(pathOf(resource, object), {type: 'merge', patch: object, fieldManager: FIELD_MANAGER}, signal);
  }

  async mergeStatus(resource: ApiResource, object: KubeObject, signal: AbortSignal): Promise<KubeObject> {
    await this.#bucket.take(signal);
    return this.#client.patch(pathOf(resource, object, 'status'), {type: 'merge', patch: object, fieldManager: FIELD_MANAGER}, signal);
  }

  async remove(resource: ApiResource, object: KubeObject, signal: AbortSignal): Promise<boolean> {
    await this.#bucket.take(signal);
    const {uid} = object.metadata;
    return this.#client.delete(pathOf(resource, object), uid === undefined ? {} : {uid}, signal);
  }

  async get(resource: ApiResource, object: KubeObject, signal: AbortSignal): Promise<KubeObject> {
    return this.#client.get(pathOf(resource, object), signal);
  }
}

function pathOf(resource: ApiResource, object: KubeObject, subresource?: 'status'): string {
  return objectPath(resource, object.metadata.namespace ?? null, object.metadata.name, subresource);
}

class TokenBucket {
  readonly #options: {readonly perSecond: number; readonly burst: number};
  readonly #clock: Clock;
  #tokens: number;
  #filledAtMs: number;

  constructor(options: {readonly perSecond: number; readonly burst: number}, clock: Clock) {
    this.#options = options;
    this.#clock = clock;
    this.#tokens = options.burst;
    this.#filledAtMs = clock.monotonicMs();
  }

  /** Debts are allowed: who comes late waits for those before. */
  async take(signal: AbortSignal): Promise<void> {
    const {perSecond, burst} = this.#options;
    const nowMs = this.#clock.monotonicMs();
    this.#tokens = Math.min(burst, this.#tokens + (nowMs - this.#filledAtMs) * perSecond / 1000);
    this.#filledAtMs = nowMs;
    this.#tokens -= 1;
    if (this.#tokens < 0) await this.#clock.sleep(-this.#tokens * 1000 / perSecond, signal);
  }
}
