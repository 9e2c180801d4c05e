// The operator's entry: heap settings first, then the program.

import {programLoaded} from '../lib/run/heap.js';

const {runProcess} = await import('./main-run.js');
programLoaded();
runProcess();
