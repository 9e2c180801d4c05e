// The process that agents and operator are compared with: Node with grpc-js and the addon loaded, and nothing done with them.

import '@grpc/grpc-js';
import {native} from '../../bpf-native/index.js';

native();
process.stdout.write('ready\n');
// Until it is killed.
process.stdin.resume();
