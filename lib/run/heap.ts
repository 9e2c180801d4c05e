// Settings of V8 for processes that are mostly idle. A process imports this before anything else and loads the rest of itself after it: what a module
// imports statically is read and linked before its first line runs.

import {setFlagsFromString} from 'node:v8';

// The young generation would grow to 32 MB and stay there; batches of changes are short-lived and few.
setFlagsFromString('--semi-space-growth-factor=1');
// The old generation grows in small steps, and code that has not run for a while goes.
setFlagsFromString('--optimize-for-size');
// The hot functions of loading (paths, URLs) are never hot again, and one run of the optimising compiler makes 5 MB of it resident.
setFlagsFromString('--no-opt');

/** The program is loaded: from here on what is hot is worth the optimising compiler. */
export function programLoaded(): void {
  setFlagsFromString('--opt');
}
