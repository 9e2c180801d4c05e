// The desired state of every node, its revision, and who has to be told. A change marks keys dirty in the subscriptions of the nodes that
// hold them; a subscription is a set of keys, never a queue of messages, so a slow reader gets the latest state.

import {StateDigest} from '../../lib/desired/diff.js';
import type {NodeState, Resource} from '../../lib/desired/node-state.js';
import {assemble} from './assemble.js';
import {effective, type DesiredChanges, type Layer} from './span.js';

interface NodeLayer {
  readonly own: Map<string, Resource>;
  /** What `own` adds to the digest of the shared layer, and what it hides of it. */
  readonly digest: StateDigest;
}

/** One reader of one node's state. */
export class Subscription {
  readonly node: string;
  readonly #dirty = new Set<string>();
  readonly #onDirty: () => void;

  constructor(node: string, onDirty: () => void) {
    this.node = node;
    this.#onDirty = onDirty;
  }

  get dirtyCount(): number {
    return this.#dirty.size;
  }

  mark(ids: Iterable<string>): void {
    const before = this.#dirty.size;
    for (const id of ids) this.#dirty.add(id);
    if (before === 0 && this.#dirty.size > 0) this.#onDirty();
  }

  /** The dirty keys; none are dirty afterwards. */
  take(): string[] {
    const ids = [...this.#dirty];
    this.#dirty.clear();
    return ids;
  }
}

export class DesiredStore {
  readonly #shared = new Map<string, Resource>();
  readonly #sharedDigest = new StateDigest();
  readonly #nodes = new Map<string, NodeLayer>();
  readonly #subscriptions = new Map<string, Set<Subscription>>();
  #revision = 0;

  /** Grows with every batch of changes. */
  get revision(): number {
    return this.#revision;
  }

  /** The revision at which everything in `changes` is part of the state. */
  apply(changes: DesiredChanges): number {
    if (changes.shared.size === 0 && changes.nodes.size === 0) return this.#revision;
    this.#revision++;
    for (const [id, item] of changes.shared) this.#setShared(id, item);
    for (const [name, own] of changes.nodes) for (const [id, item] of own) this.#setOwn(name, id, item);
    for (const [name, subscriptions] of this.#subscriptions) {
      const layer = this.#nodes.get(name)?.own;
      // What the node's own layer hides did not change for it.
      const ids = [...[...changes.shared.keys()].filter((id) => layer?.has(id) !== true), ...changes.nodes.get(name)?.keys() ?? []];
      for (const subscription of subscriptions) subscription.mark(ids);
    }
    return this.#revision;
  }

  get(node: string, id: string): Resource | null {
    return effective(id, this.#shared, this.#nodes.get(node)?.own);
  }

  nodeState(node: string): NodeState {
    return assemble(this.#shared, this.#nodes.get(node)?.own);
  }

  /** `stateVersion` of the node's state. */
  version(node: string): string {
    const layer = this.#nodes.get(node);
    return layer === undefined ? this.#sharedDigest.version() : this.#sharedDigest.plus(layer.digest).version();
  }

  nodeNames(): string[] {
    return [...this.#nodes.keys()];
  }

  get sharedLayer(): Layer {
    return this.#shared;
  }

  subscribe(node: string, onDirty: () => void): Subscription {
    const subscription = new Subscription(node, onDirty);
    const held = this.#subscriptions.get(node) ?? new Set<Subscription>();
    this.#subscriptions.set(node, held.add(subscription));
    return subscription;
  }

  unsubscribe(subscription: Subscription): void {
    const held = this.#subscriptions.get(subscription.node);
    held?.delete(subscription);
    if (held?.size === 0) this.#subscriptions.delete(subscription.node);
  }

  #setShared(id: string, item: Resource | null): void {
    const before = this.#shared.get(id);
    if (before !== undefined) this.#sharedDigest.remove(before);
    if (item !== null) this.#sharedDigest.add(item);
    for (const {own, digest} of this.#nodes.values()) {
      if (!own.has(id)) continue;
      if (before !== undefined) digest.add(before);
      if (item !== null) digest.remove(item);
    }
    if (item === null) this.#shared.delete(id);
    else this.#shared.set(id, item);
  }

  #setOwn(name: string, id: string, item: Resource | null): void {
    const layer = this.#nodes.get(name) ?? {own: new Map<string, Resource>(), digest: new StateDigest()};
    this.#nodes.set(name, layer);
    const before = layer.own.get(id);
    const hidden = this.#shared.get(id);
    if (before !== undefined) layer.digest.remove(before);
    else if (hidden !== undefined && item !== null) layer.digest.remove(hidden);
    if (item !== null) layer.digest.add(item);
    else if (hidden !== undefined && before !== undefined) layer.digest.add(hidden);
    if (item === null) layer.own.delete(id);
    else layer.own.set(id, item);
    if (layer.own.size === 0) this.#nodes.delete(name);
  }
}
