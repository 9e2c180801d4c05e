// A set of resources by kind and key, to be changed in place.

import {deepEqual} from '../core/equal.js';
import type {Resource, ResourceKind, ResourceName} from './node-state.js';
import {resourceId} from './node-state.js';

export class Layer {
  readonly #byKind = new Map<ResourceKind, Map<string, Resource>>();

  get(kind: ResourceKind, key: string): Resource | undefined {
    return this.#byKind.get(kind)?.get(key);
  }

  set(item: Resource): void {
    const rows = this.#byKind.get(item.kind);
    if (rows === undefined) this.#byKind.set(item.kind, new Map([[item.key, item]]));
    else rows.set(item.key, item);
  }

  delete({kind, key}: ResourceName): void {
    const rows = this.#byKind.get(kind);
    rows?.delete(key);
    if (rows?.size === 0) this.#byKind.delete(kind);
  }

  get isEmpty(): boolean {
    return this.#byKind.size === 0;
  }

  * values(): Generator<Resource> {
    for (const rows of this.#byKind.values()) yield* rows.values();
  }

  * entries(): Generator<readonly [string, Resource]> {
    for (const item of this.values()) yield [resourceId(item), item];
  }
}

/** Equal content has equal versions; but comparing is cheaper than making them. */
export function equalResources(a: Resource, b: Resource): boolean {
  return a === b || deepEqual(a.value, b.value);
}
