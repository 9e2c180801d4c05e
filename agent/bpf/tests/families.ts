// What tests of both families say alike: the packets and the addresses of each, under one name.

import {A, B, REMOTE, ROUTER, WORLD} from '../probe/datapath.js';
import {echo, echoReply, icmp, icmpError, rawIp, tcp, udp} from './packets.js';
import {echo6, echoReply6, icmp6, icmp6Error, rawIp6, tcp6, udp6} from './packets6.js';
import {A as A6, B as B6, REMOTE6, ROUTER6, WORLD6} from './world6.js';

/** In the world of `dualStack`. `tcpLength`: of a packet without payload, as the device counts it. */
export const FAMILIES = [
  ['IPv4', {
    tcp, udp, rawIp, echo, echoReply, icmp, icmpError, a: A.ip, b: B.ip, remote: REMOTE.ip, remoteNode: REMOTE.node, world: WORLD, router: ROUTER,
    elsewhere: '192.0.2.254', worldIdentity: 9, hostBits: 32, tcpLength: 54, maps: ['cilium_ct4_global', 'cilium_ct_any4_global'], icmpProtocol: 1,
    unreachable: {type: 3, code: 1}, errors: [{type: 3, code: 1}, {type: 11, code: 0}, {type: 12, code: 0}],
  }],
  ['IPv6', {
    tcp: tcp6, udp: udp6, rawIp: rawIp6, echo: echo6, echoReply: echoReply6, icmp: icmp6, icmpError: icmp6Error, a: A6.ipv6, b: B6.ipv6, remote: REMOTE6.ip,
    remoteNode: REMOTE6.node, world: WORLD6, router: ROUTER6, elsewhere: '2001:db8:ffff::1', worldIdentity: 10, hostBits: 128, tcpLength: 74, maps: ['cilium_ct6_global', 'cilium_ct_any6_global'], icmpProtocol: 58,
    unreachable: {type: 1, code: 0}, errors: [{type: 1, code: 0}, {type: 2, code: 0}, {type: 3, code: 0}, {type: 4, code: 0}],
  }],
] as const;
