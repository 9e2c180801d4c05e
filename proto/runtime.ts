// Settings of the protobuf runtime. Every generated module imports this first: 64-bit fields are numbers, never Long objects.

import protobuf from 'protobufjs/minimal.js';

// The typings do not say that `Long` may be taken away; without it the runtime falls back to numbers.
Reflect.set(protobuf.util, 'Long', null);
protobuf.configure();
