import {afterEach, describe, expect, test} from '@jest/globals';

import {A, B, Datapath, LO, NODE, REMOTE, ROUTER, WORLD} from '../probe/datapath.js';
import type {ProgramName} from '../probe/datapath.js';
import {echo6, echoReply6, fragment, icmp6Error, neighbour, padding, rawIp6, routing, tcp6, udp6} from './packets6.js';
import {MACS} from '../probe/macs.js';
import {arp, echo, echoReply, icmpError, rawIp, reversed, tcp, TCP_FLAGS, udp} from './packets.js';
import {A as A6, A_LINK, B as B6, closeAll, dualStack, NODE6, REMOTE6, ROUTER6, WORLD6} from './world6.js';

const PROGRAMS: readonly ProgramName[] = ['cil_from_container', 'cil_from_netdev', 'cil_to_netdev', 'cil_from_host', 'cil_from_overlay'];
const FLOW = {source: A.ip, destination: B.ip, sourcePort: 40_000, destinationPort: 80};
const SEED = 20_240_611;

let d: Datapath;
let release: () => void;
afterEach(() => release());

/** Repeatable: mulberry32. */
function random(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) % below;
  };
}

function seeds(): Uint8Array[] {
  const ends = [A.ip, B.ip, REMOTE.ip, REMOTE.node, NODE, ROUTER, WORLD, '10.98.1.200'];
  const flows = ends.flatMap((source) => ends.filter((end) => end !== source).map((destination) => ({...FLOW, source, destination})));
  return flows.flatMap((flow) => [
    tcp(flow, TCP_FLAGS.SYN), udp(flow), echo(flow, 40_001), echoReply(flow, 40_001), rawIp(flow, 47, new Uint8Array(20)),
    icmpError(flow, {type: 3, code: 4}, tcp(reversed(flow), TCP_FLAGS.ACK)), udp(flow, {id: 3, moreFragments: true}),
    rawIp(flow, 17, new Uint8Array(64), {id: 3, fragmentOffset: 64}), arp({operation: 1, senderMac: MACS.pod, sender: flow.source, target: flow.destination}),
  ]);
}

function seeds6(): Uint8Array[] {
  const ends = [A6.ipv6, B6.ipv6, REMOTE6.ip, REMOTE6.node, NODE6, ROUTER6, WORLD6, 'fd00:98:1::200', A_LINK, '::'];
  const flows = ends.flatMap((source) => ends.filter((end) => end !== source && end !== '::').map((destination) => ({...FLOW, source, destination})));
  return flows.flatMap((flow) => [
    tcp6(flow, TCP_FLAGS.SYN), udp6(flow), echo6(flow, 40_001), echoReply6(flow, 40_001), rawIp6(flow, 47, new Uint8Array(20)),
    icmp6Error(flow, {type: 2, code: 0}, tcp6(reversed(flow), TCP_FLAGS.ACK)), udp6(flow, {extensions: [padding(0), padding(60), routing(0, 1)]}),
    udp6(flow, {extensions: [fragment(3, 0, true)]}), rawIp6(flow, 17, new Uint8Array(64), {extensions: [fragment(3, 64, false)]}),
    neighbour(flow, {type: 135, target: flow.destination}), neighbour(flow, {type: 136, target: flow.source}),
  ]);
}

/** IPv6's own: below this the kernel hands no frame of the family to a program. */
const SHORTEST = {4: 34, 6: 54} as const;

describe.each([['native', 4], ['tunnel', 4], ['native', 6], ['tunnel', 6]] as const)('damaged packets, %s routing, IPv%i', (routingMode, family) => {
  test(`end in a verdict, and in one count for every drop (seed ${SEED})`, () => {
    d = family === 4 ? new Datapath({routingMode}) : dualStack({routingMode});
    release = family === 4 ? () => d.close() : closeAll;
    if (family === 4) d.cluster();
    d.answers({fibIfindex: 9, tunnelId: REMOTE.identity, tunnelRemote: REMOTE.node});
    const next = random(SEED);
    const packets = family === 4 ? seeds() : seeds6();
    const verdicts = new Map<string, number>();
    let drops = 0;
    for (let i = 0; i < 6000; i++) {
      const packet = (packets[next(packets.length)] ?? new Uint8Array(0)).slice();
      // The family stays: of what neither is, there is nothing to damage.
      const from = family === 4 ? 12 : 14;
      for (let flips = next(4); flips > 0; flips--) packet[from + next(packet.length - from)] = next(256);
      const cut = next(5) === 0 ? 14 + next(packet.length - 14) : packet.length;
      const program = PROGRAMS[next(PROGRAMS.length)] ?? 'cil_from_container';
      // The kernel hands no frame to a program that ends inside the header it announces.
      if (cut < SHORTEST[family]) continue;
      const outcome = d.run(program, packet.slice(0, cut), {ifindex: LO});
      expect({i, known: ['pass', 'drop', 'redirect'].includes(String(outcome.verdict))}).toEqual({i, known: true});
      expect({i, actions: outcome.probe.actions}).toEqual({i, actions: outcome.verdict === 'redirect' ? 1 : 0});
      expect({i, told: outcome.events.filter(({kind}) => kind === 'drop').length}).toEqual({i, told: outcome.verdict === 'drop' ? 1 : 0});
      if (outcome.verdict === 'drop') drops++;
      verdicts.set(String(outcome.verdict), (verdicts.get(String(outcome.verdict)) ?? 0) + 1);
    }
    const counted = Array.from({length: 126}, (_, i) => d.counted(130 + i)).reduce((sum, n) => sum + n, 0);
    expect(counted).toBe(drops);
    for (const verdict of ['pass', 'drop', 'redirect']) expect(verdicts.get(verdict) ?? 0).toBeGreaterThan(100);
  });
});
