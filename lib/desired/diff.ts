// NodeState × NodeState → Delta, and back. Versions are content hashes: equal content is never sent again.

import {readChars, textLanes, valueHash} from '../core/hash.js';
import type {Delta, NodeState, Resource, ResourceKind, ResourceName, ResourceTypes} from './node-state.js';
import {resourceId} from './node-state.js';
import {compareForAdd, compareForRemove} from './order.js';

/** The one way to make a resource: its version follows from its value. */
export function resource<K extends ResourceKind>(kind: K, key: string, value: ResourceTypes[K]): Resource {
  return new HashedResource(kind, key, value) as Resource;
}

/** Most resources are made for nodes that have no session at the moment: the hash waits until somebody asks for it. */
class HashedResource<K extends ResourceKind> {
  readonly kind: K;
  readonly key: string;
  readonly value: ResourceTypes[K];
  #version = '';

  constructor(kind: K, key: string, value: ResourceTypes[K]) {
    this.kind = kind;
    this.key = key;
    this.value = value;
  }

  get version(): string {
    if (this.#version === '') this.#version = valueHash(this.value);
    return this.#version;
  }

  toJSON(): ResourceName & {readonly version: string; readonly value: ResourceTypes[K]} {
    return {kind: this.kind, key: this.key, version: this.version, value: this.value};
  }
}

/**
 * The name of a whole state: independent of the order in which it came about. A sum over the resources, so that who
 * keeps a `StateDigest` pays for what changed and not for what is held.
 */
export function stateVersion(state: NodeState): string {
  const digest = new StateDigest();
  for (const item of state.values()) digest.add(item);
  return digest.version();
}

/** `stateVersion`, kept incrementally. */
export class StateDigest {
  #count = 0;
  #high = 0;
  #low = 0;

  add(item: ResourceName & {readonly version: string}): void {
    this.#count++;
    this.#mix(item, 1);
  }

  remove(item: ResourceName & {readonly version: string}): void {
    this.#count--;
    this.#mix(item, -1);
  }

  /** Empty string = nothing held. */
  version(): string {
    if (this.#count === 0) return '';
    return `${hex32(this.#high)}${hex32(this.#low)}`;
  }

  copy(): StateDigest {
    return this.plus(new StateDigest());
  }

  /** The digest of both together. */
  plus(other: StateDigest): StateDigest {
    const sum = new StateDigest();
    sum.#count = this.#count + other.#count;
    sum.#high = (this.#high + other.#high) >>> 0;
    sum.#low = (this.#low + other.#low) >>> 0;
    return sum;
  }

  /** The hash of `kind/key=version`. */
  #mix({kind, key, version}: ResourceName & {readonly version: string}, sign: 1 | -1): void {
    const lanes = textLanes();
    readChars(kind, lanes);
    readChars('/', lanes);
    readChars(key, lanes);
    readChars('=', lanes);
    readChars(version, lanes);
    this.#high = (this.#high + sign * (lanes.a >>> 0)) >>> 0;
    this.#low = (this.#low + sign * (lanes.b >>> 0)) >>> 0;
  }
}

function hex32(n: number): string {
  return n.toString(16).padStart(8, '0');
}

export function diffStates(from: NodeState, to: NodeState): Delta {
  const upserts = [...to.values()].filter((item) => from.get(resourceId(item))?.version !== item.version);
  const removes: ResourceName[] = [...from.values()]
    .filter((item) => !to.has(resourceId(item)))
    .map((item) => ({kind: item.kind, key: item.key}));
  return {
    base: stateVersion(from),
    version: stateVersion(to),
    upserts: upserts.sort(compareForAdd),
    removes: removes.sort(compareForRemove),
  };
}

/** Null when `delta` does not start from `state`: ask for a snapshot. */
export function applyDelta(state: NodeState, delta: Delta): NodeState | null {
  const start: NodeState = delta.base === '' ? new Map() : state;
  if (delta.base !== '' && stateVersion(state) !== delta.base) return null;
  const next = new Map(start);
  for (const name of delta.removes) next.delete(resourceId(name));
  for (const item of delta.upserts) next.set(resourceId(item), item);
  return stateVersion(next) === delta.version ? next : null;
}
