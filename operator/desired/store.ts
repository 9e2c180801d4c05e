// The desired state of every node, its revision, and who has to be told. A change marks keys dirty in the subscriptions of the nodes that
// hold them; a subscription is a set of keys, never a queue of messages, so a slow reader gets the latest state. What is equal to what is
// held changes nothing.

import {invariant} from '../../lib/core/invariant.js';
import {StateDigest} from '../../lib/desired/diff.js';
import {equalResources, Layer} from '../../lib/desired/layer.js';
import type {NodeState, Resource, ResourceKind, ResourceName} from '../../lib/desired/node-state.js';
import {resourceId} from '../../lib/desired/node-state.js';
import {assemble} from './assemble.js';
import {isOwnKind, type DesiredChanges, type LayerChange, type ResourceChange} from '../../lib/desired/changes.js';

interface NodeLayer {
  readonly name: string;
  readonly own: Layer;
  /** What `own` adds to the digest of the shared layer, and what it hides of it. Null until somebody asks for the version. */
  digest: StateDigest | null;
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
  readonly #shared = new Layer();
  #sharedDigest: StateDigest | null = null;
  readonly #nodes = new Map<string, NodeLayer>();
  /** Of what nodes have of their own under names that the shared layer may have, too: who has it. */
  readonly #hiding = new Map<string, Set<NodeLayer>>();
  readonly #subscriptions = new Map<string, Set<Subscription>>();
  #revision = 0;

  /** Grows with every batch of changes. */
  get revision(): number {
    return this.#revision;
  }

  /** The revision at which everything in `changes` is part of the state. */
  apply(changes: DesiredChanges): number {
    const shared = changes.shared.filter((change) => this.#setShared(change));
    const nodes = new Map<string, readonly ResourceName[]>();
    for (const [name, change] of changes.nodes) {
      const own = this.#applyLayer(name, change);
      if (own.length > 0) nodes.set(name, own);
    }
    if (shared.length === 0 && nodes.size === 0) return this.#revision;
    this.#revision++;
    this.#mark(shared, nodes);
    return this.#revision;
  }

  get(node: string, id: string): Resource | null {
    const slash = id.indexOf('/');
    const [kind, key] = [id.slice(0, slash) as ResourceKind, id.slice(slash + 1)];
    return this.#nodes.get(node)?.own.get(kind, key) ?? this.#shared.get(kind, key) ?? null;
  }

  nodeState(node: string): NodeState {
    return assemble(this.#shared, this.#nodes.get(node)?.own);
  }

  /** `stateVersion` of the node's state. */
  version(node: string): string {
    this.#sharedDigest ??= digestOf(this.#shared.values());
    const layer = this.#nodes.get(node);
    if (layer === undefined) return this.#sharedDigest.version();
    layer.digest ??= this.#digestOf(layer);
    return this.#sharedDigest.plus(layer.digest).version();
  }

  nodeNames(): string[] {
    return [...this.#nodes.keys()];
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

  #mark(shared: readonly ResourceName[], nodes: ReadonlyMap<string, readonly ResourceName[]>): void {
    if (this.#subscriptions.size === 0) return;
    for (const [name, own] of nodes) for (const subscription of this.#subscriptions.get(name) ?? []) subscription.mark(own.map(resourceId));
    const ids = shared.map(resourceId);
    if (ids.length === 0) return;
    for (const [name, subscriptions] of this.#subscriptions) {
      const layer = this.#nodes.get(name);
      // What the node's own layer hides did not change for it.
      const seen = layer === undefined ? ids : ids.filter((id) => this.#hiding.get(id)?.has(layer) !== true);
      for (const subscription of subscriptions) subscription.mark(seen);
    }
  }

  /** False when nothing is another thing now. */
  #setShared(change: ResourceChange): boolean {
    const before = this.#shared.get(change.kind, change.key);
    const after = change.value === null ? undefined : change;
    if (before === after || (before !== undefined && after !== undefined && equalResources(before, after))) return false;
    invariant(!isOwnKind(change.kind), 'a kind of single nodes is not shared', {kind: change.kind});
    replace(this.#sharedDigest, before, after);
    if (this.#hiding.size > 0) for (const {digest} of this.#hiding.get(resourceId(change)) ?? []) replace(digest, after, before);
    if (after === undefined) this.#shared.delete(change);
    else this.#shared.set(after);
    return true;
  }

  /** What is another thing now. */
  #applyLayer(name: string, change: LayerChange): readonly ResourceName[] {
    const held = this.#nodes.get(name);
    if (held === undefined && change.kind === 'gone') return [];
    const layer = held ?? {name, own: new Layer(), digest: null};
    this.#nodes.set(name, layer);
    // Of a layer that is empty nothing need be compared, and nobody has asked for its version.
    if (change.kind === 'replace' && layer.own.isEmpty) return this.#fill(layer, change.resources);
    const changed = (change.kind === 'edit' ? change.changes : replacing(layer.own, change)).filter((item) => this.#setOwn(layer, item));
    if (layer.own.isEmpty) this.#nodes.delete(name);
    return changed;
  }

  #fill(layer: NodeLayer, resources: readonly Resource[]): readonly ResourceName[] {
    for (const item of resources) {
      if (!isOwnKind(item.kind)) this.#hide(layer, item);
      layer.own.set(item);
    }
    if (resources.length === 0) this.#nodes.delete(layer.name);
    return resources;
  }

  #setOwn(layer: NodeLayer, change: ResourceChange): boolean {
    const {kind, key} = change;
    const before = layer.own.get(kind, key);
    const after = change.value === null ? undefined : change;
    if (before === after || (before !== undefined && after !== undefined && equalResources(before, after))) return false;
    const hidden = isOwnKind(kind) ? undefined : this.#hide(layer, change);
    replace(layer.digest, before ?? hidden, after ?? hidden);
    if (after === undefined) layer.own.delete(change);
    else layer.own.set(after);
    return true;
  }

  /** Answers with what the shared layer has under the name. */
  #hide(layer: NodeLayer, {kind, key, value}: ResourceChange): Resource | undefined {
    const id = resourceId({kind, key});
    const hiding = this.#hiding.get(id) ?? new Set<NodeLayer>();
    if (value === null) hiding.delete(layer);
    else hiding.add(layer);
    if (hiding.size === 0) this.#hiding.delete(id);
    else this.#hiding.set(id, hiding);
    return this.#shared.get(kind, key);
  }

  #digestOf({own}: NodeLayer): StateDigest {
    const digest = digestOf(own.values());
    for (const {kind, key} of own.values()) {
      const hidden = isOwnKind(kind) ? undefined : this.#shared.get(kind, key);
      if (hidden !== undefined) digest.remove(hidden);
    }
    return digest;
  }
}

/** What a whole layer is changed by into these resources, or into none. */
function replacing(own: Layer, change: Exclude<LayerChange, {kind: 'edit'}>): readonly ResourceChange[] {
  const wanted = new Layer();
  for (const item of change.kind === 'gone' ? [] : change.resources) wanted.set(item);
  const superfluous = [...own.values()].filter(({kind, key}) => wanted.get(kind, key) === undefined);
  return [...superfluous.map(({kind, key}): ResourceChange => ({kind, key, value: null})), ...wanted.values()];
}

function digestOf(resources: Iterable<Resource>): StateDigest {
  const digest = new StateDigest();
  for (const item of resources) digest.add(item);
  return digest;
}

/** Nothing to do for a digest that nobody has asked for. */
function replace(digest: StateDigest | null, before: Resource | undefined, after: Resource | undefined): void {
  if (digest === null) return;
  if (before !== undefined) digest.remove(before);
  if (after !== undefined) digest.add(after);
}
