// Settings of V8 and of malloc for processes that are mostly idle. A process imports this before anything else and loads the rest of itself after it: what
// a module imports statically is read and linked before its first line runs.

import {setFlagsFromString} from 'node:v8';
import {native, type Native} from '../../bpf-native/index.js';

/** One for the event loop, one that the workers share: by default every thread of Node has an arena, and what is freed stays in it. */
const ARENAS = 2;
/** glibc's own threshold; setting it keeps it from growing with the largest block that was ever freed. */
const TRIM_BYTES = 128 << 10;

// The young generation would grow to 32 MB and stay there; batches of changes are short-lived and few.
setFlagsFromString('--semi-space-growth-factor=1');
// The old generation grows in small steps, and code that has not run for a while goes.
setFlagsFromString('--optimize-for-size');
// The hot functions of loading (paths, URLs) are never hot again, and one run of the optimising compiler makes 5 MB of it resident.
setFlagsFromString('--no-opt');

const addon = addonIfThere();
// The sooner the better: a thread keeps the arena that it has.
addon?.mallocSettings(ARENAS, TRIM_BYTES);

/** The program is loaded: from here on what is hot is worth the optimising compiler. */
export function programLoaded(): void {
  setFlagsFromString('--opt');
}

/** What start-up has freed goes back: it reads and compiles more at once than anything after it. */
export function programStarted(): void {
  addon?.mallocTrim();
}

/** The operator runs without it, only larger: on a workstation that renders manifests there need be no libbpf. */
function addonIfThere(): Native | null {
  try {
    return native();
  } catch {
    return null;
  }
}
