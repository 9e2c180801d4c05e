// Which nodes need a resource: all of them (the shared layer), or one (its own layer, which hides the shared resource of the same name).

import type {Resource} from '../../lib/desired/node-state.js';

/** By `resourceId`; null = gone. */
export type ResourceChanges = ReadonlyMap<string, Resource | null>;

export interface DesiredChanges {
  readonly shared: ResourceChanges;
  readonly nodes: ReadonlyMap<string, ResourceChanges>;
}

export type Layer = ReadonlyMap<string, Resource>;

export function effective(id: string, shared: Layer, own: Layer | undefined): Resource | null {
  return own?.get(id) ?? shared.get(id) ?? null;
}
