// Attaching programs to devices: tcx links here (12 ms each: RTNL and RCU), clsact filters in clsact.ts (0.05 ms, no link).

import {native} from '../../bpf-native/index.js';
import type {BpfProgram} from './bpf.js';
import {check} from './errno.js';
import {Fd, openPin, pin} from './fd.js';
import type {NetnsHandle} from './netns.js';

export type Direction = 'ingress' | 'egress';

/** enum bpf_attach_type */
const TCX: Readonly<Record<Direction, number>> = {ingress: 46, egress: 47};
const QUERY_LIMIT = 64;

export interface LinkInfo {
  /** enum bpf_link_type; 11 = tcx */
  readonly type: number;
  readonly id: number;
  readonly programId: number;
  /** Of a tcx link; 0 once the device is gone. */
  readonly ifindex: number;
  readonly attachType: number;
}

export class BpfLink {
  readonly #fd: Fd;

  /** Takes over `fd`. */
  constructor(fd: Fd) {
    this.#fd = fd;
  }

  static openPinned(path: string): BpfLink | null {
    const fd = openPin(path);
    return fd === null ? null : new BpfLink(fd);
  }

  /** struct bpf_link_info */
  info(): LinkInfo {
    const bytes = new Uint8Array(64);
    check(native().objInfo(this.#fd.number, bytes), 'BPF_OBJ_GET_INFO_BY_FD');
    const view = new DataView(bytes.buffer);
    const word = (offset: number): number => view.getUint32(offset, true);
    return {type: word(0), id: word(4), programId: word(8), ifindex: word(16), attachType: word(20)};
  }

  /** Atomic: every packet meets the old program or the new one. */
  update(program: BpfProgram, expected?: BpfProgram): void {
    check(native().linkUpdate(this.#fd.number, program.fd, expected?.fd ?? -1), 'BPF_LINK_UPDATE');
  }

  pin(path: string): void {
    pin(this.#fd, path);
  }

  detach(): void {
    check(native().linkDetach(this.#fd.number), 'BPF_LINK_DETACH');
  }

  close(): void {
    this.#fd.close();
  }

  /** The last reference of an attached link waits for RTNL and RCU: in a worker. */
  closeAsync(): Promise<void> {
    return this.#fd.closeAsync();
  }
}

/** The device is looked up in `netns`, or in the process's own namespace. */
export function attachTcx(program: BpfProgram, ifindex: number, direction: Direction, netns?: NetnsHandle): BpfLink {
  const result = native().linkCreate(program.fd, ifindex, TCX[direction], netns?.fd ?? -1);
  return new BpfLink(new Fd(check(result, 'BPF_LINK_CREATE', {ifindex, direction}), `tcx ${direction} of ${ifindex}`));
}

export async function attachTcxAsync(program: BpfProgram, ifindex: number, direction: Direction, netns?: NetnsHandle): Promise<BpfLink> {
  const result = await native().linkCreateAsync(program.fd, ifindex, TCX[direction], netns?.fd ?? -1);
  return new BpfLink(new Fd(check(result, 'BPF_LINK_CREATE', {ifindex, direction}), `tcx ${direction} of ${ifindex}`));
}

/** Ids of the programs attached by tcx, first to run first. */
export function queryTcx(ifindex: number, direction: Direction, netns?: NetnsHandle): readonly number[] {
  const ids = new Uint32Array(QUERY_LIMIT);
  const count = check(native().programQuery(ifindex, TCX[direction], netns?.fd ?? -1, new Uint8Array(ids.buffer)), 'BPF_PROG_QUERY', {ifindex, direction});
  return [...ids.subarray(0, count)];
}
