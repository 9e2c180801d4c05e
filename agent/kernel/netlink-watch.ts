// Changes of links, addresses, routes and the like, as the kernel announces them. They say "look again", never what is.

import {native} from '../../bpf-native/index.js';
import {check, EAGAIN, ENOBUFS, kernelError} from './errno.js';
import {Fd} from './fd.js';
import {decodeMessages, viewOf, type Answer} from './netlink-message.js';
import type {NetnsHandle} from './netns.js';
import {RTM} from './rtnetlink.js';

const NETLINK_ROUTE = 0;
const RECEIVE_BYTES = 64 << 10;

const GROUPS = {link: 0x1, neighbour: 0x4, address4: 0x10, route4: 0x40, rule4: 0x80, address6: 0x100, route6: 0x400} as const;
export type NetlinkGroup = keyof typeof GROUPS;

export interface NetlinkChange {
  /** `lost`: the kernel dropped messages, everything may have changed. */
  readonly kind: 'link' | 'address' | 'route' | 'rule' | 'neighbour' | 'lost';
  readonly removed: boolean;
  /** Of a link, address or neighbour. */
  readonly ifindex: number | null;
}

export function subscribeNetlink(netns: NetnsHandle, groups: readonly NetlinkGroup[], onChange: (change: NetlinkChange) => void): () => void {
  const mask = groups.reduce((bits, group) => bits | GROUPS[group], 0);
  const fd = new Fd(check(native().netlinkOpen(netns.fd, NETLINK_ROUTE, mask), 'socket', {family: 'AF_NETLINK'}), 'netlink subscription');
  const bytes = new Uint8Array(RECEIVE_BYTES);
  const watch = native().watchOpen(fd.number, () => {
    // Ended by a callback of its own: there is nothing left to read.
    while (!fd.closed) {
      const result = native().netlinkReceive(fd.number, bytes);
      if (result === -EAGAIN) return;
      if (result === -ENOBUFS) {
        onChange({kind: 'lost', removed: false, ifindex: null});
        continue;
      }
      check(result, 'recv', {family: 'AF_NETLINK'});
      for (const answer of decodeMessages(bytes.subarray(0, result))) report(answer, onChange);
    }
  });
  if (typeof watch === 'number') {
    fd.close();
    throw kernelError(watch, 'uv_poll');
  }
  return () => {
    if (fd.closed) return;
    native().watchClose(watch);
    fd.close();
  };
}

/** Which links have changed since the last question. Nobody is woken: the kernel's messages wait in the socket. */
export class LinkChanges {
  readonly #fd: Fd;
  readonly #bytes = new Uint8Array(RECEIVE_BYTES);

  private constructor(fd: Fd) {
    this.#fd = fd;
  }

  static open(netns: NetnsHandle): LinkChanges {
    return new LinkChanges(new Fd(check(native().netlinkOpen(netns.fd, NETLINK_ROUTE, GROUPS.link), 'socket', {family: 'AF_NETLINK'}), 'link changes'));
  }

  /** Their indexes; null when some were lost, so that any may have changed. */
  take(): ReadonlySet<number> | null {
    const found = new Set<number>();
    let isWhole = true;
    for (;;) {
      const result = native().netlinkReceive(this.#fd.number, this.#bytes);
      if (result === -EAGAIN) return isWhole ? found : null;
      if (result === -ENOBUFS) {
        isWhole = false;
        continue;
      }
      check(result, 'recv', {family: 'AF_NETLINK'});
      for (const answer of decodeMessages(this.#bytes.subarray(0, result))) {
        if (answer.type === RTM.NEWLINK || answer.type === RTM.DELLINK) found.add(viewOf(answer.payload).getInt32(4, true));
      }
    }
  }

  close(): void {
    this.#fd.close();
  }
}

const KINDS: ReadonlyMap<number, {kind: NetlinkChange['kind']; removed: boolean; ifindexAt: number | null}> = new Map([
  [RTM.NEWLINK, {kind: 'link', removed: false, ifindexAt: 4}],
  [RTM.DELLINK, {kind: 'link', removed: true, ifindexAt: 4}],
  [RTM.NEWADDR, {kind: 'address', removed: false, ifindexAt: 4}],
  [RTM.DELADDR, {kind: 'address', removed: true, ifindexAt: 4}],
  [RTM.NEWROUTE, {kind: 'route', removed: false, ifindexAt: null}],
  [RTM.DELROUTE, {kind: 'route', removed: true, ifindexAt: null}],
  [RTM.NEWRULE, {kind: 'rule', removed: false, ifindexAt: null}],
  [RTM.DELRULE, {kind: 'rule', removed: true, ifindexAt: null}],
  [RTM.NEWNEIGH, {kind: 'neighbour', removed: false, ifindexAt: 4}],
  [RTM.DELNEIGH, {kind: 'neighbour', removed: true, ifindexAt: 4}],
]);

function report(answer: Answer, onChange: (change: NetlinkChange) => void): void {
  const known = KINDS.get(answer.type);
  if (known === undefined) return;
  const {kind, removed, ifindexAt} = known;
  onChange({kind, removed, ifindex: ifindexAt === null ? null : viewOf(answer.payload).getInt32(ifindexAt, true)});
}
