// For probes and tests: the smallest programs, without a compiler.

import {native} from '../../bpf-native/index.js';
import {BpfProgram} from './bpf.js';
import {check} from './errno.js';
import {Fd} from './fd.js';

const BPF_PROG_TYPE_SCHED_CLS = 3;

/** `r0 = verdict; exit`. -1 = go on with the next program (TCX_NEXT, TC_ACT_UNSPEC). */
export function passProgram(name: string, verdict = -1): BpfProgram {
  const instructions = new Uint8Array(16);
  const view = new DataView(instructions.buffer);
  view.setUint8(0, 0xb7);
  view.setInt32(4, verdict, true);
  view.setUint8(8, 0x95);
  const fd = check(native().programLoad(BPF_PROG_TYPE_SCHED_CLS, 0, instructions, 'GPL', name), 'BPF_PROG_LOAD', {name});
  return new BpfProgram(new Fd(fd, name));
}
