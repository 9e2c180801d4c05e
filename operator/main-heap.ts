// Keeps V8's young generation small. It would grow to 32 MB and stay there; batches of changes are short-lived and few.
// Imported first, so that loading the program does not grow it either.

import {setFlagsFromString} from 'node:v8';

setFlagsFromString('--semi-space-growth-factor=1');
