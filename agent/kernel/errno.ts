// -errno → StentorError. Every door makes its errors here.

import {constants} from 'node:os';
import {StentorError} from '../../lib/core/errors.js';

/** What the kernel answers where a map type has no batch form: not an errno of user space. */
export const ENOTSUPP = 524;
export const ENOENT = constants.errno.ENOENT;
export const EEXIST = constants.errno.EEXIST;
export const EINVAL = constants.errno.EINVAL;
export const EBUSY = constants.errno.EBUSY;
export const ENODEV = constants.errno.ENODEV;
export const EAGAIN = constants.errno.EAGAIN;
export const ENOSPC = constants.errno.ENOSPC;
export const ENOBUFS = constants.errno.ENOBUFS;
export const ESRCH = constants.errno.ESRCH;
export const ENETUNREACH = constants.errno.ENETUNREACH;
export const EHOSTUNREACH = constants.errno.EHOSTUNREACH;

const NAMES: ReadonlyMap<number, string> = new Map([
  ...Object.entries(constants.errno).map(([name, number]): [number, string] => [number, name]),
  [ENOTSUPP, 'ENOTSUPP'],
]);

/** `result` is -errno. `call` is the system call, with the command where it has many: `BPF_MAP_UPDATE_ELEM`. */
export function kernelError(result: number, call: string, data: Readonly<Record<string, unknown>> = {}): StentorError {
  const code = NAMES.get(-result) ?? `E${-result}`;
  const details = typeof data['reason'] === 'string' ? `: ${data['reason']}` : '';
  return new StentorError(code, `${call}: ${code}${details}`, {call, ...data});
}

/** `result` when it is not an error. */
export function check(result: number, call: string, data: Readonly<Record<string, unknown>> = {}): number {
  if (result < 0) throw kernelError(result, call, data);
  return result;
}

/** The code of a thrown value, ours or Node's (whose errors may be of another realm); null when it has none. */
export function codeOf(error: unknown): string | null {
  if (typeof error !== 'object' || error === null || !('code' in error)) return null;
  return typeof error.code === 'string' ? error.code : null;
}
