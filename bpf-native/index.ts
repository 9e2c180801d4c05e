// Loads the addon; types and nothing else. `agent/kernel` alone opens doors to the kernel with it; `lib/run/heap.ts` sets malloc.

import {createRequire} from 'node:module';
import {fileURLToPath} from 'node:url';
import type {Native} from './native.d.ts';

export type {Native, NativeObject, NativeRing, NativeWatch} from './native.d.ts';

let loaded: Native | null = null;

/** The addon, loaded on first use: from `path` when given (then before any other use), else `build/stentor.node`. */
export function native(path?: string): Native {
  loaded ??= load(path ?? fileURLToPath(new URL('../../build/stentor.node', import.meta.url)));
  return loaded;
}

function load(path: string): Native {
  return createRequire(import.meta.url)(path) as Native;
}
