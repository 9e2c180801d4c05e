// The world of the IPv6 tests: the pods of `datapath.ts` with a second address each, and addresses around them.

import {Datapath, LO, NODE, REMOTE, A as A4, B as B4} from '../probe/datapath.js';
import type {ProgramConfig} from '../../maps/program-config.js';

export const A = {...A4, ipv6: 'fd00:98:1::11'} as const;
export const B = {...B4, ipv6: 'fd00:98:1::12'} as const;
export const REMOTE6 = {ip: 'fd00:98:2::21', identity: REMOTE.identity, node: 'fd00:1:5::11'} as const;
export const NODE6 = 'fd00:1:5::10';
export const ROUTER6 = 'fd00:98:1::1';
export const WORLD6 = '2001:db8:7::7';
/** A's on its link. */
export const A_LINK = 'fe80::11';

export const CONFIG6 = {
  devices: [{ifindex: LO, ipv4: NODE, ipv6: NODE6}],
  ipv6: {podCidrs: ['fd00:98:1::/64'], masquerade: true, masqueradeExclusions: ['fd00:98::/32'], worldIpv4: 9, worldIpv6: 10},
} as const satisfies Partial<ProgramConfig>;

const opened = new Map<string, Datapath>();

/** Dual stack: what `Datapath.cluster` makes, and the same in IPv6. One datapath per configuration, cleared. */
export function dualStack(config: Partial<ProgramConfig> = {}): Datapath {
  const key = JSON.stringify(config);
  const d = opened.get(key) ?? new Datapath({...CONFIG6, ...config});
  opened.set(key, d);
  d.clear();
  d.cluster();
  d.pod(A);
  d.pod(B);
  d.host(NODE6);
  d.host(ROUTER6);
  d.ipcache(`${REMOTE6.ip}/128`, REMOTE6.identity, REMOTE.node);
  d.ipcache(`${REMOTE6.node}/128`, 6);
  d.ipcache('::/0', 10);
  d.ipcache('0.0.0.0/0', 9);
  return d;
}

/** In `afterAll`. */
export function closeAll(): void {
  for (const d of opened.values()) d.close();
  opened.clear();
}
