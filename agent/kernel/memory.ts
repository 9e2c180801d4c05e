// The C library's allocator, kept small: by default every thread of Node has an arena, and what is freed stays in it.

import {native} from '../../bpf-native/index.js';
import {check} from './errno.js';

/** One for the event loop, one that the workers share. */
const ARENAS = 2;
/** glibc's own threshold; setting it keeps it from growing with the largest block that was ever freed. */
const TRIM_BYTES = 128 << 10;

/** The sooner the better: a thread keeps the arena that it has. */
export function limitMalloc(): void {
  check(native().mallocSettings(ARENAS, TRIM_BYTES), 'mallopt');
}

/** Gives back what start-up has freed: it reads and compiles more at once than anything after it. */
export function trimMalloc(): void {
  native().mallocTrim();
}
