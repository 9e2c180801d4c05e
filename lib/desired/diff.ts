// NodeState × NodeState → Delta, and back. Versions are content hashes: equal content is never sent again.

import {contentHash} from '../core/hash.js';
import {canonicalJson, compareStrings} from '../core/order.js';
import type {Delta, NodeState, Resource, ResourceKind, ResourceName, ResourceTypes} from './node-state.js';
import {resourceId} from './node-state.js';
import {compareForAdd, compareForRemove} from './order.js';

/** The one way to make a resource: its version follows from its value. */
export function resource<K extends ResourceKind>(kind: K, key: string, value: ResourceTypes[K]): Resource {
  return {kind, key, version: contentHash(canonicalJson(value)), value} as Resource;
}

/** The name of a whole state: independent of the order in which it came about. */
export function stateVersion(state: NodeState): string {
  if (state.size === 0) return '';
  const lines = [...state.values()].map((item) => `${resourceId(item)}=${item.version}`).sort(compareStrings);
  return contentHash(lines.join('\n'));
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
