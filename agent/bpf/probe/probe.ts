// st_probe of the test build: answers the program gets, and where it sent the packet. Twin of `struct probe` in lib/actions.h.

import {i32, ipv4, ipv6, struct, u32, u64} from '../../maps/layout.js';
import type {ValueOf} from '../../maps/layout.js';

export const PROBE = struct('probe', 88, {
  nowNs: u64(0, 'now_ns'),
  fibResult: i32(8, 'fib_result'),
  fibIfindex: u32(12, 'fib_ifindex'),
  fibNexthop: ipv4(16, 'fib_nexthop'),
  tunnelResult: i32(20, 'tunnel_result'),
  tunnelId: u32(24, 'tunnel_id'),
  tunnelRemote: ipv4(28, 'tunnel_remote'),
  action: u32(32, 'action'),
  ifindex: u32(36, 'ifindex'),
  flags: u32(40, 'flags'),
  nexthop: ipv4(44, 'nexthop'),
  setTunnelId: u32(48, 'set_tunnel_id'),
  setTunnelRemote: u32(52, 'set_tunnel_remote'),
  setPacketType: u32(56, 'set_packet_type'),
  actions: u32(60, 'actions'),
  ctCreateResult: i32(64, 'ct_create_result'),
  jiffies: u32(68, 'jiffies'),
  nexthop6: ipv6(72, 'nexthop6'),
});

export type Probe = ValueOf<typeof PROBE.fields>;

export const NO_PROBE: Probe = {
  nowNs: 0n, fibResult: 0, fibIfindex: 0, fibNexthop: '0.0.0.0', tunnelResult: 0, tunnelId: 0, tunnelRemote: '0.0.0.0', action: 0, ifindex: 0,
  flags: 0, nexthop: '0.0.0.0', setTunnelId: 0, setTunnelRemote: 0, setPacketType: 0, actions: 0, ctCreateResult: 0,
  jiffies: 0, nexthop6: '::',
};

/** Values of `action`. */
export const ACTIONS = ['none', 'redirect', 'redirect_peer', 'redirect_neigh'] as const;
