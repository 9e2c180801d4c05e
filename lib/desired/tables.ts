// A node's state as one table per kind. A change copies what it touches: an untouched kind stays the same object, and so does an equal resource.

import {shareAdvertisements} from '../domain/bgp-advertisements.js';
import type {RowChange} from '../core/table.js';
import {Table} from '../core/table.js';
import type {Resource, ResourceKind, ResourceName, ResourceTypes} from './node-state.js';
import {KIND_ORDER} from './order.js';

export type ResourceOf<K extends ResourceKind> = {
  readonly kind: K; readonly key: string; readonly version: string; readonly value: ResourceTypes[K];
};

/** By key. */
export type NodeTables = {readonly [K in ResourceKind]: Table<ResourceOf<K>>};

export const EMPTY_TABLES: NodeTables = {
  'node-config': Table.empty(), 'node': Table.empty(), 'identity': Table.empty(), 'ipcache': Table.empty(), 'selector': Table.empty(),
  'policy': Table.empty(), 'endpoint': Table.empty(), 'masquerade': Table.empty(), 'speaker': Table.empty(),
};

/** Removes first, then upserts; an upsert with the version that is held changes nothing. */
export function changeTables(tables: NodeTables, upserts: readonly Resource[], removes: readonly ResourceName[]): NodeTables {
  const touched = new Set([...upserts, ...removes].map(({kind}) => kind));
  let next = tables;
  for (const kind of KIND_ORDER) if (touched.has(kind)) next = changeKind(next, kind, upserts, removes);
  return next;
}

function changeKind<K extends ResourceKind>(tables: NodeTables, kind: K, upserts: readonly Resource[], removes: readonly ResourceName[]): NodeTables {
  const table: Table<ResourceOf<K>> = tables[kind];
  const changes: RowChange<ResourceOf<K>>[] = [];
  for (const name of removes) if (name.kind === kind) changes.push([name.key, null]);
  for (const item of upserts) if (isOf(item, kind)) changes.push([item.key, sameOr(table.get(item.key), item)]);
  return {...tables, [kind]: table.with(changes)};
}

function isOf<K extends ResourceKind>(item: Resource, kind: K): item is Resource & ResourceOf<K> {
  return item.kind === kind;
}

function sameOr<K extends ResourceKind>(held: ResourceOf<K> | undefined, item: Resource & ResourceOf<K>): ResourceOf<K> {
  if (held === undefined) return item;
  if (held.version === item.version) return held;
  return isSpeaker(held) && isSpeaker(item) ? withShared(held, item) : item;
}

function isSpeaker(item: ResourceOf<ResourceKind>): item is ResourceOf<'speaker'> {
  return item.kind === 'speaker';
}

/** A speaker of ten thousand advertisements changes in a few of them. */
function withShared<T extends ResourceOf<'speaker'>>(held: ResourceOf<'speaker'>, item: T): T {
  return {...item, value: shareAdvertisements(held.value, item.value)};
}

/** Every resource, in the order of kinds. */
export function* allResources(tables: NodeTables): Generator<Resource> {
  for (const kind of KIND_ORDER) yield* tables[kind].values();
}

/** The one resource of a kind that has one: its first. */
export function single<K extends ResourceKind>(tables: NodeTables, kind: K): ResourceOf<K>['value'] | null {
  const table: Table<ResourceOf<K>> = tables[kind];
  for (const item of table.values()) return item.value;
  return null;
}
