// Which nodes need a resource: all of them (the shared layer), or one (its own layer, which hides the shared resource of the same name).

import type {Resource, ResourceKind, ResourceName} from './node-state.js';

/** A name that stands for nothing from now on. */
export interface Gone extends ResourceName {
  readonly value: null;
}

/** In order: of two that name the same, the later one holds. */
export type ResourceChange = Resource | Gone;

export function gone(kind: ResourceKind, key: string): Gone {
  return {kind, key, value: null};
}

/** What became of a node's own layer: some of it changed, this is all of it, or there is none any more. */
export type LayerChange =
  | {readonly kind: 'edit'; readonly changes: readonly ResourceChange[]}
  | {readonly kind: 'replace'; readonly resources: readonly Resource[]}
  | {readonly kind: 'gone'};

export interface DesiredChanges {
  readonly shared: readonly ResourceChange[];
  readonly nodes: ReadonlyMap<string, LayerChange>;
}

/** Kinds that only a node's own layer has: nothing of them is ever hidden. */
const OWN_KINDS: ReadonlySet<ResourceKind> = new Set<ResourceKind>(['node-config', 'selector', 'policy', 'endpoint', 'speaker']);

export function isOwnKind(kind: ResourceKind): boolean {
  return OWN_KINDS.has(kind);
}
