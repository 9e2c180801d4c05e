// One table of states, many ways to walk through it: what a walk ends in must depend on its last state alone.

import {shuffled} from './seed.js';

/** Choose the states so that the walk is not its own reverse, or deletion of something still referred to is never tested. */
export function walks<S>(walk: readonly S[], empty: S): Record<string, readonly S[]> {
  return {
    'as written': walk,
    'backwards': walk.toReversed(),
    'through empty': walk.flatMap((state) => [empty, state]),
    'each twice': walk.flatMap((state) => [state, state]),
    'there and back': [...walk, ...walk.toReversed()],
    'last state only': walk.slice(-1),
    'shuffled': shuffled(walk, 1),
  };
}

/** Keys that `to` adds or changes, and keys that it takes away. */
export function steps<V>(from: ReadonlyMap<string, V>, to: ReadonlyMap<string, V>): {set: [string, V][]; gone: string[]} {
  return {
    set: [...to].filter(([key, value]) => from.get(key) !== value),
    gone: [...from.keys()].filter((key) => !to.has(key)),
  };
}
