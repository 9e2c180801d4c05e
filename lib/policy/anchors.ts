// How selectors and label sets find each other without all being compared with all: by the namespace, and where many share one, by
// one `key=value` that a match must have. What is found is a candidate; `matches` decides.

import {LIST_MAX, SmallMap, SmallSet} from '../core/small.js';
import {LABEL_CLUSTER, LABEL_NAMESPACE} from '../domain/label-filter.js';
import type {Labels} from '../domain/labels.js';
import type {Selector} from '../domain/selector.js';

/** What every match of a selector has; null = the selector demands none. Without sources: `any:` and `k8s:` find the same. */
export interface Anchor {
  readonly namespace: string | null;
  /** `key=value` of a label that is neither the namespace nor the cluster. */
  readonly label: string | null;
}

export function anchorOf(selector: Selector): Anchor {
  let namespace: string | null = null;
  let label: string | null = null;
  for (const {operator, key, values} of selector.requirements) {
    const [value] = values;
    if (operator !== 'In' || values.length !== 1 || value === undefined || key === LABEL_CLUSTER) continue;
    if (key === LABEL_NAMESPACE) namespace ??= value;
    else label ??= sharedPair(`${key}=${value}`);
  }
  return {namespace, label};
}

/** The same few labels are demanded in very many namespaces. */
const PAIRS_SHARED = new Map<string, string>();
const PAIRS_SHARED_MAX = 4096;

function sharedPair(text: string): string {
  const held = PAIRS_SHARED.get(text);
  if (held !== undefined) return held;
  if (PAIRS_SHARED.size >= PAIRS_SHARED_MAX) PAIRS_SHARED.clear();
  PAIRS_SHARED.set(text, text);
  return text;
}

const NOTHING: readonly never[] = [];

/** Values that have labels, found by what selectors demand. */
export class LabelIndex<V extends NonNullable<unknown>> {
  /** By namespace; what has none is under the empty name. */
  readonly #byNamespace = new Map<string, LabelledBucket<V>>();
  /** Everything in one; made when somebody looks for a label in all namespaces. */
  #all: LabelledBucket<V> | null = null;

  add(labels: Labels, value: V): void {
    this.#all?.add(labels, value);
    forEachNamespace(labels, (namespace) => {
      let bucket = this.#byNamespace.get(namespace);
      if (bucket === undefined) this.#byNamespace.set(namespace, (bucket = new LabelledBucket()));
      bucket.add(labels, value);
    });
  }

  remove(labels: Labels, value: V): void {
    this.#all?.remove(labels, value);
    forEachNamespace(labels, (namespace) => {
      const bucket = this.#byNamespace.get(namespace);
      bucket?.remove(labels, value);
      if (bucket?.size === 0) this.#byNamespace.delete(namespace);
    });
  }

  /** A superset of what has the anchor. */
  candidates({namespace, label}: Anchor): Iterable<V> {
    if (namespace !== null) return this.#byNamespace.get(namespace)?.candidates(label) ?? NOTHING;
    return label === null ? this.#everything() : (this.#all ??= this.#gathered()).candidates(label);
  }

  * #everything(): Generator<V> {
    for (const bucket of this.#byNamespace.values()) yield* bucket.candidates(null);
  }

  #gathered(): LabelledBucket<V> {
    const all = new LabelledBucket<V>();
    for (const bucket of this.#byNamespace.values()) bucket.addTo(all);
    return all;
  }
}

class LabelledBucket<V extends NonNullable<unknown>> extends SmallMap<V, Labels> {
  /** `key=value` → members; made when many are asked for one. */
  #byLabel: Map<string, SmallSet<V>> | null = null;

  add(labels: Labels, value: V): void {
    this.set(value, labels);
    if (this.#byLabel !== null) for (const text of pairsOf(labels)) addTo(this.#byLabel, text, value);
  }

  addTo(other: LabelledBucket<V>): void {
    for (const [value, labels] of this.entries()) other.add(labels, value);
  }

  remove(labels: Labels, value: V): void {
    this.delete(value);
    if (this.#byLabel !== null) for (const text of pairsOf(labels)) removeFrom(this.#byLabel, text, value);
  }

  candidates(label: string | null): Iterable<V> {
    if (label === null || this.size <= LIST_MAX) return this.keys();
    return (this.#byLabel ??= this.#indexed()).get(label)?.values() ?? NOTHING;
  }

  #indexed(): Map<string, SmallSet<V>> {
    const index = new Map<string, SmallSet<V>>();
    for (const [value, labels] of this.entries()) for (const text of pairsOf(labels)) addTo(index, text, value);
    return index;
  }
}

/** Values that select, found by the labels that they might select. */
export class SelectorIndex<V extends NonNullable<unknown>> {
  /** Without a namespace and without a label. */
  readonly #anywhere = new Set<V>();
  /** Without a namespace. */
  readonly #byLabel = new Map<string, SmallSet<V>>();
  readonly #byNamespace = new Map<string, SelectingBucket<V>>();

  add({namespace, label}: Anchor, value: V): void {
    if (namespace === null) {
      if (label === null) this.#anywhere.add(value);
      else addTo(this.#byLabel, label, value);
      return;
    }
    let bucket = this.#byNamespace.get(namespace);
    if (bucket === undefined) this.#byNamespace.set(namespace, (bucket = new SelectingBucket()));
    bucket.add(label, value);
  }

  remove({namespace, label}: Anchor, value: V): void {
    if (namespace === null) {
      if (label === null) this.#anywhere.delete(value);
      else removeFrom(this.#byLabel, label, value);
      return;
    }
    const bucket = this.#byNamespace.get(namespace);
    bucket?.remove(label, value);
    if (bucket?.size === 0) this.#byNamespace.delete(namespace);
  }

  /** A superset of what selects the labels, each once. */
  forEachCandidate(labels: Labels, visit: (value: V) => void): void {
    for (const value of this.#anywhere) visit(value);
    if (this.#byLabel.size > 0) for (const text of pairsOf(labels)) for (const value of this.#byLabel.get(text)?.values() ?? NOTHING) visit(value);
    forEachNamespace(labels, (namespace) => this.#byNamespace.get(namespace)?.forEachCandidate(labels, visit));
  }
}

class SelectingBucket<V extends NonNullable<unknown>> extends SmallMap<V, string | null> {
  /** `key=value` → members, null → those that demand none; made when there are many. */
  #byLabel: Map<string | null, SmallSet<V>> | null = null;

  add(label: string | null, value: V): void {
    this.set(value, label);
    if (this.#byLabel !== null) addTo(this.#byLabel, label, value);
  }

  remove(label: string | null, value: V): void {
    this.delete(value);
    if (this.#byLabel !== null) removeFrom(this.#byLabel, label, value);
  }

  forEachCandidate(labels: Labels, visit: (value: V) => void): void {
    if (this.size <= LIST_MAX) {
      for (const value of this.keys()) visit(value);
      return;
    }
    const index = (this.#byLabel ??= this.#indexed());
    for (const value of index.get(null)?.values() ?? NOTHING) visit(value);
    for (const text of pairsOf(labels)) for (const value of index.get(text)?.values() ?? NOTHING) visit(value);
  }

  #indexed(): Map<string | null, SmallSet<V>> {
    const index = new Map<string | null, SmallSet<V>>();
    for (const [value, label] of this.entries()) addTo(index, label, value);
    return index;
  }
}

/** `key=value` of each label, once; label sets do not change. */
const PAIRS = new WeakMap<Labels, readonly string[]>();

function pairsOf(labels: Labels): readonly string[] {
  const held = PAIRS.get(labels);
  if (held !== undefined) return held;
  const made = [...new Set(labels.all.map(({key, value}) => `${key}=${value}`))];
  PAIRS.set(labels, made);
  return made;
}

/** Once for each; the empty name when there is none. */
function forEachNamespace({all}: Labels, visit: (namespace: string) => void): void {
  let found = 0;
  for (let i = 0; i < all.length; i++) {
    const label = all[i];
    if (label?.key !== LABEL_NAMESPACE) continue;
    found++;
    if (found === 1 || !all.slice(0, i).some(({key, value}) => key === LABEL_NAMESPACE && value === label.value)) visit(label.value);
  }
  if (found === 0) visit('');
}

/** Sets by key; a key without members takes no room. */
export class SetsByKey<V> {
  readonly #sets = new Map<string, SmallSet<V>>();

  add(key: string, value: V): void {
    addTo(this.#sets, key, value);
  }

  remove(key: string, value: V): void {
    removeFrom(this.#sets, key, value);
  }

  get(key: string): Iterable<V> {
    return this.#sets.get(key)?.values() ?? NOTHING;
  }

  has(key: string): boolean {
    return this.#sets.has(key);
  }
}

function addTo<K, V>(sets: Map<K, SmallSet<V>>, key: K, value: V): void {
  let set = sets.get(key);
  if (set === undefined) sets.set(key, (set = new SmallSet()));
  set.add(value);
}

function removeFrom<K, V>(sets: Map<K, SmallSet<V>>, key: K, value: V): void {
  const set = sets.get(key);
  set?.delete(value);
  if (set?.size === 0) sets.delete(key);
}
