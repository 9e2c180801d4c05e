// Network namespaces as handles. The agent lives in one; sockets and links are made in others without staying there.

import {fstatSync, openSync} from 'node:fs';
import {native} from '../../bpf-native/index.js';
import {StentorError} from '../../lib/core/errors.js';
import {check, codeOf} from './errno.js';
import {Fd} from './fd.js';

export class NetnsHandle {
  readonly #fd: Fd;
  /** Names the namespace on this machine as long as it exists. */
  readonly inode: number;

  constructor(fd: Fd) {
    this.#fd = fd;
    this.inode = fstatSync(fd.number).ino;
  }

  get fd(): number {
    return this.#fd.number;
  }

  close(): void {
    this.#fd.close();
  }
}

/** `/run/netns/NAME`, `/proc/PID/ns/net`, or what a container runtime passes as CNI_NETNS. */
export function openNetns(path: string): NetnsHandle {
  try {
    return new NetnsHandle(new Fd(openSync(path, 'r'), path));
  } catch (error) {
    throw new StentorError(codeOf(error) ?? 'EIO', `the network namespace ${path} cannot be opened`, {path}, {cause: error});
  }
}

export function currentNetns(): NetnsHandle {
  return openNetns('/proc/thread-self/ns/net');
}

/**
 * Runs `body` with the main thread inside the namespace: for synchronous things without a socket of their own (sysctls,
 * opening a socket). What `body` starts asynchronously runs outside.
 */
export function inNetns<T>(netns: NetnsHandle, body: () => T): T {
  const back = currentNetns();
  try {
    check(native().setns(netns.fd), 'setns', {inode: netns.inode});
    try {
      return body();
    } finally {
      check(native().setns(back.fd), 'setns', {inode: back.inode});
    }
  } finally {
    back.close();
  }
}
