// The dependency order of resource kinds; the only copy.

import {compareStrings} from '../core/order.js';
import type {ResourceKind, ResourceName} from './node-state.js';

/** A resource may refer only to kinds before its own. Deny before allow is the order of entries inside a policy. */
export const KIND_ORDER: readonly ResourceKind[] = [
  'node-config', 'node', 'identity', 'ipcache', 'selector', 'policy', 'endpoint', 'masquerade', 'speaker',
];

const RANK: ReadonlyMap<ResourceKind, number> = new Map(KIND_ORDER.map((kind, rank) => [kind, rank]));

export function compareForAdd(a: ResourceName, b: ResourceName): number {
  return rankOf(a) - rankOf(b) || compareStrings(a.key, b.key);
}

export function compareForRemove(a: ResourceName, b: ResourceName): number {
  return compareForAdd(b, a);
}

function rankOf(name: ResourceName): number {
  return RANK.get(name.kind) ?? KIND_ORDER.length;
}
