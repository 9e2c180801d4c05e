// What a reconciler writes to: one kind of outside state with keys, read back and changed in batches.

import type {StentorError} from '../../lib/core/errors.js';
import type {ResourceName} from '../../lib/desired/node-state.js';

export interface Failure<K> {
  readonly key: K;
  readonly error: StentorError;
}

export interface Target<K, V> {
  /** For status and logs: `cilium_ipcache`, `routes`. */
  readonly name: string;
  /** What is there. `desired` for targets that cannot list (sysctls): they read those keys. */
  load(desired: ReadonlyMap<K, V>): Promise<ReadonlyMap<K, V>>;
  /** Creates or replaces; an entry that fails does not keep others from being tried. Throws when none can be. */
  upsert(entries: readonly (readonly [K, V])[]): Promise<readonly Failure<K>[]>;
  /** What is not there any more is removed. */
  remove(keys: readonly K[]): Promise<readonly Failure<K>[]>;
  equal(desired: V, actual: V): boolean;
  /** Whether this came from us, also from a process before this one: only such things are removed. */
  owns(key: K, actual: V): boolean;
  /** The resources to blame when it cannot be written. */
  because(value: V): readonly ResourceName[];
}
