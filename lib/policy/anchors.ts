// Anchors: texts by which selectors and label sets find each other. A selector has one anchor, a label set all that a selector which
// matches it can have; so an index by anchor finds every match, and little else.

import {LABEL_CLUSTER, LABEL_NAMESPACE} from '../domain/label-filter.js';
import type {Labels} from '../domain/labels.js';
import type {Selector} from '../domain/selector.js';

/** Of the namespace and one more `key=value` of the selector, as far as it demands them. Null: anything could match. */
export function anchorOf(selector: Selector): string | null {
  let namespace: string | null = null;
  let other: string | null = null;
  for (const {operator, key, values} of selector.requirements) {
    const [value] = values;
    if (operator !== 'In' || values.length !== 1 || value === undefined || key === LABEL_CLUSTER) continue;
    if (key === LABEL_NAMESPACE) namespace ??= value;
    else other ??= `${key}=${value}`;
  }
  return namespace === null ? other : `${namespace}\n${other ?? ''}`;
}

/** Without sources, so that `any:` and `k8s:` requirements find the same. */
export function anchorsOf(labels: Labels): string[] {
  const namespaces = labels.all.filter(({key}) => key === LABEL_NAMESPACE).map(({value}) => value);
  const anchors = new Set<string>(namespaces.map((namespace) => `${namespace}\n`));
  for (const {key, value} of labels.all) {
    if (key === LABEL_NAMESPACE || key === LABEL_CLUSTER) continue;
    anchors.add(`${key}=${value}`);
    for (const namespace of namespaces) anchors.add(`${namespace}\n${key}=${value}`);
  }
  return [...anchors];
}

/** Sets by anchor; an anchor without members takes no room. */
export class AnchorIndex<V> {
  readonly #sets = new Map<string, Set<V>>();

  add(anchor: string, value: V): void {
    const set = this.#sets.get(anchor);
    if (set === undefined) this.#sets.set(anchor, new Set([value]));
    else set.add(value);
  }

  remove(anchor: string, value: V): void {
    const set = this.#sets.get(anchor);
    set?.delete(value);
    if (set?.size === 0) this.#sets.delete(anchor);
  }

  get(anchor: string): Iterable<V> {
    return this.#sets.get(anchor) ?? [];
  }
}
