// Programs on a device by tc: the clsact qdisc with one direct-action filter per direction. No link and no pin: the device holds the program.

import type {Direction} from './attach.js';
import type {BpfProgram} from './bpf.js';
import type {Netlink} from './netlink.js';
import {attributes, NLM_F_CREATE, NLM_F_EXCL, Payload, type Answer, type Message} from './netlink-message.js';
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
  netlink: Netlink, program: BpfProgram, where: Hook, name: string,
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
  if (ABSENT.has(error.code)) return false;
  throw error;
}

export interface Hook {
  readonly ifindex: number;
  readonly direction: Direction;
}

/** Our filter, or null. */
export async function queryClsact(netlink: Netlink, ifindex: number, direction: Direction): Promise<ClsactFilter | null> {
  const [filter] = await queryClsactAll(netlink, [{ifindex, direction}]);
  return filter ?? null;
}

/** Of many hooks at once. A hook without our filter, without the qdisc or without a device has null. */
export async function queryClsactAll(netlink: Netlink, hooks: readonly Hook[]): Promise<readonly (ClsactFilter | null)[]> {
  const answered = await netlink.queryAll(hooks.map(({ifindex, direction}): Message => ({
    type: RTM.GETTFILTER, flags: 0, what: `RTM_GETTFILTER ${direction} on ${ifindex}`,
    payload: header(ifindex, HANDLE, PARENTS[direction], INFO).attributeString(TCA.KIND, 'bpf').bytes(),
  })));
  return answered.map(({error, answers}) => {
    if (error !== null && !ABSENT.has(error.code)) throw error;
    const [answer] = answers;
    return answer === undefined ? null : decodeFilter(answer);
  });
}

/** EINVAL: no clsact qdisc. */
const ABSENT: ReadonlySet<string> = new Set(['ENOENT', 'ENODEV', 'EINVAL']);

function decodeFilter(answer: Answer): ClsactFilter | null {
  const options = attributes(answer.payload, 20).nested(TCA.OPTIONS);
  const programId = options.u32(TCA.BPF_ID);
  return programId === null ? null : {programId, name: options.string(TCA.BPF_NAME) ?? ''};
}
