// Programs on a device by tc: the clsact qdisc with one direct-action filter per direction. No link and no pin: the device holds the program.

import type {Direction} from './attach.js';
import type {BpfProgram} from './bpf.js';
import {codeOf} from './errno.js';
import type {Netlink} from './netlink.js';
import {attributes, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, Payload, viewOf, type Message} from './netlink-message.js';
import {RTM} from './rtnetlink.js';

const CLSACT_HANDLE = 0xffff0000;
const CLSACT_PARENT = 0xfffffff1;
const PARENTS: Readonly<Record<Direction, number>> = {ingress: 0xfffffff2, egress: 0xfffffff3};
/** Priority and handle of our filter, as Cilium's: whatever else sits on the qdisc is not ours. */
const PRIORITY = 1;
const HANDLE = 1;
const ETH_P_ALL_BE = 0x0300;
const INFO = ((PRIORITY << 16) | ETH_P_ALL_BE) >>> 0;

const TCA = {KIND: 1, OPTIONS: 2, BPF_FD: 6, BPF_NAME: 7, BPF_FLAGS: 8, BPF_ID: 11} as const;
const DIRECT_ACTION = 1;

export interface ClsactFilter {
  readonly programId: number;
  readonly name: string;
}

/** struct tcmsg */
function header(ifindex: number, handle: number, parent: number, info: number): Payload {
  return new Payload().u8(0).u8(0).u16(0).u32(ifindex).u32(handle).u32(parent).u32(info);
}

function addQdisc(ifindex: number): Message {
  const payload = header(ifindex, CLSACT_HANDLE, CLSACT_PARENT, 0).attributeString(TCA.KIND, 'clsact').bytes();
  return {type: RTM.NEWQDISC, flags: NLM_F_CREATE | NLM_F_EXCL, payload, what: `RTM_NEWQDISC clsact on ${ifindex}`};
}

/** Replaces the program in one step when there is one already. */
export async function attachClsact(
  netlink: Netlink, program: BpfProgram, where: {readonly ifindex: number; readonly direction: Direction}, name: string,
): Promise<void> {
  const {ifindex, direction} = where;
  const payload = header(ifindex, HANDLE, PARENTS[direction], INFO).attributeString(TCA.KIND, 'bpf').nest(TCA.OPTIONS, (options) => options
    .attributeU32(TCA.BPF_FD, program.fd).attributeString(TCA.BPF_NAME, name).attributeU32(TCA.BPF_FLAGS, DIRECT_ACTION), 0).bytes();
  const filter: Message = {type: RTM.NEWTFILTER, flags: NLM_F_CREATE, payload, what: `RTM_NEWTFILTER ${direction} on ${ifindex}`};
  const [qdiscError, filterError] = await netlink.tryAll([addQdisc(ifindex), filter]);
  if (qdiscError !== null && qdiscError !== undefined && qdiscError.code !== 'EEXIST') throw qdiscError;
  if (filterError !== null && filterError !== undefined) throw filterError;
}

/** False when our filter was not there. */
export async function detachClsact(netlink: Netlink, ifindex: number, direction: Direction): Promise<boolean> {
  const payload = header(ifindex, HANDLE, PARENTS[direction], INFO).attributeString(TCA.KIND, 'bpf').bytes();
  const [error] = await netlink.tryAll([{type: RTM.DELTFILTER, flags: 0, payload, what: `RTM_DELTFILTER ${direction} on ${ifindex}`}]);
  if (error === null || error === undefined) return true;
  // EINVAL: there is no clsact qdisc to have a filter.
  if (error.code === 'ENOENT' || error.code === 'ENODEV' || error.code === 'EINVAL') return false;
  throw error;
}

/** Our filter, or null. */
export async function queryClsact(netlink: Netlink, ifindex: number, direction: Direction): Promise<ClsactFilter | null> {
  const payload = header(ifindex, 0, PARENTS[direction], 0).bytes();
  const [error, answers] = await dump(netlink, payload, `RTM_GETTFILTER ${direction} on ${ifindex}`);
  if (error !== null) return null;
  for (const answer of answers) {
    const view = viewOf(answer.payload);
    const all = attributes(answer.payload, 20);
    const options = all.nested(TCA.OPTIONS);
    const programId = options.u32(TCA.BPF_ID);
    if (view.getUint32(8, true) !== HANDLE || view.getUint32(16, true) !== INFO || all.string(TCA.KIND) !== 'bpf' || programId === null) continue;
    return {programId, name: options.string(TCA.BPF_NAME) ?? ''};
  }
  return null;
}

async function dump(netlink: Netlink, payload: Uint8Array, what: string): Promise<[unknown, Awaited<ReturnType<Netlink['query']>>]> {
  try {
    return [null, await netlink.query({type: RTM.GETTFILTER, flags: NLM_F_DUMP, payload, what})];
  } catch (error) {
    if (['EINVAL', 'ENODEV'].includes(codeOf(error) ?? '')) return [error, []];
    throw error;
  }
}
