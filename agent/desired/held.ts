// What the agent holds: the node's state at a version. A delta applies only to the version it names.

import {Table} from '../../lib/core/table.js';
import {StateDigest} from '../../lib/desired/diff.js';
import type {Undecodable} from '../../lib/desired/decode.js';
import type {Resource, ResourceKind, ResourceName} from '../../lib/desired/node-state.js';
import {resourceId} from '../../lib/desired/node-state.js';
import type {NodeTables} from '../../lib/desired/tables.js';
import {EMPTY_TABLES, allResources, changeTables} from '../../lib/desired/tables.js';

/** A decoded delta. What could not be decoded still counts for the version, is reported, and takes no effect. */
export interface HeldDelta {
  /** Empty = a snapshot: what is not in it goes. */
  readonly base: string;
  readonly version: string;
  readonly upserts: readonly Resource[];
  readonly undecodable: readonly Undecodable[];
  readonly removes: readonly ResourceName[];
}

export class HeldState {
  readonly tables: NodeTables;
  /** By `kind/key`. */
  readonly undecodable: Table<Undecodable>;
  readonly version: string;
  readonly #digest: StateDigest;

  private constructor(tables: NodeTables, undecodable: Table<Undecodable>, digest: StateDigest) {
    this.tables = tables;
    this.undecodable = undecodable;
    this.#digest = digest;
    this.version = digest.version();
  }

  static of(resources: readonly Resource[] = [], undecodable: readonly Undecodable[] = []): HeldState {
    return new HeldState(EMPTY_TABLES, Table.empty(), new StateDigest()).#with(resources, undecodable, []);
  }

  /** Null when the delta does not start from this version, or does not lead to the version it names. */
  apply(delta: HeldDelta): HeldState | null {
    if (delta.base !== '' && delta.base !== this.version) return null;
    const removes = delta.base === '' ? this.#absentFrom(delta) : delta.removes;
    const next = this.#with(delta.upserts, delta.undecodable, removes);
    return next.version === delta.version ? next : null;
  }

  /** Versions of everything held, for the hello. */
  * names(): Generator<ResourceName & {readonly version: string}> {
    yield* allResources(this.tables);
    for (const item of this.undecodable.values()) yield named(item);
  }

  #absentFrom(delta: HeldDelta): ResourceName[] {
    const present = new Set([...delta.upserts.map(resourceId), ...delta.undecodable.map((item) => resourceId(named(item)))]);
    return [...this.names()].filter((name) => !present.has(resourceId(name)));
  }

  #with(upserts: readonly Resource[], undecodable: readonly Undecodable[], removes: readonly ResourceName[]): HeldState {
    const digest = this.#digest.copy();
    const seen = new Map<string, string | null>();
    const versionOf = (id: string, name: ResourceName): string | null => seen.get(id) ?? (seen.has(id) ? null : this.#versionOf(name));
    const count = (name: ResourceName, version: string | null): void => {
      const id = resourceId(name);
      const before = versionOf(id, name);
      if (before === version) return;
      if (before !== null) digest.remove({...name, version: before});
      if (version !== null) digest.add({...name, version});
      seen.set(id, version);
    };
    for (const name of removes) count(name, null);
    for (const item of [...upserts, ...undecodable.map(named)]) count(item, item.version);
    // A resource that can no longer be decoded must not stay in force under its old content.
    const gone = [...removes, ...undecodable.map(named)];
    const opaque = this.undecodable.with([
      ...[...removes, ...upserts].map((name) => [resourceId(name), null] as const),
      ...undecodable.map((item) => [resourceId(named(item)), item] as const),
    ]);
    return new HeldState(changeTables(this.tables, upserts, gone), opaque, digest);
  }

  #versionOf(name: ResourceName): string | null {
    return this.tables[name.kind]?.get(name.key)?.version ?? this.undecodable.get(resourceId(name))?.version ?? null;
  }
}

export const EMPTY_HELD: HeldState = HeldState.of();

/** The kind may be one that this agent does not know: it is only counted and removed by name. */
function named(item: Undecodable): ResourceName & {readonly version: string} {
  return {kind: item.kind as ResourceKind, key: item.key, version: item.version};
}
