import {execFileSync} from 'node:child_process';

import {afterAll, afterEach, beforeAll, beforeEach, describe, expect, test} from '@jest/globals';

import {A, Datapath, REMOTE, ROUTE_JIFFIES} from '../probe/datapath.js';
import {tcp, TCP_FLAGS, udp} from './packets.js';

const {SYN, ACK} = TCP_FLAGS;
const FLOW = {source: A.ip, destination: REMOTE.ip, sourcePort: 40_000, destinationPort: 80};

/** Of this thread, which is the one that runs the packets. */
function processors(set?: string): string {
  const output = execFileSync('taskset', [...(set === undefined ? [] : ['-c']), '-p', ...(set === undefined ? [] : [set]), String(process.pid)], {encoding: 'utf8'});
  return /mask: ([0-9a-f]+)$/m.exec(output)?.[1] ?? '';
}

describe('routes are remembered, by processor and flow', () => {
  let d: Datapath;
  const before = processors();

  beforeAll(() => void processors('0'));
  afterAll(() => void execFileSync('taskset', ['-p', before, String(process.pid)]));
  beforeEach(() => {
    d = new Datapath();
    d.cluster();
  });
  afterEach(() => d.close());

  const hop = (packet: Uint8Array): string => d.run('cil_from_container', packet).probe.nexthop;
  /** The routes change, and no time passes. */
  const routeVia = (fibNexthop: string): void => d.answers({fibIfindex: 9, fibNexthop, jiffies: 1000});

  test('a flow keeps its route for a moment, and no longer', () => {
    routeVia('10.1.5.1');
    expect(hop(tcp(FLOW, SYN))).toBe('10.1.5.1');
    routeVia('10.1.5.2');
    d.jiffies(ROUTE_JIFFIES - 1);
    expect(hop(tcp(FLOW, ACK))).toBe('10.1.5.1');
    d.jiffies(1);
    expect(hop(tcp(FLOW, ACK))).toBe('10.1.5.2');
  });

  test('every other flow asks for itself', () => {
    routeVia('10.1.5.1');
    expect(hop(tcp(FLOW, SYN))).toBe('10.1.5.1');
    routeVia('10.1.5.2');
    expect(hop(tcp({...FLOW, sourcePort: 40_001}, SYN))).toBe('10.1.5.2');
    expect(hop(tcp({...FLOW, destination: '10.98.2.22'}, SYN))).toBe('10.1.5.2');
    expect(hop(udp({...FLOW, sourcePort: 40_002}))).toBe('10.1.5.2');
    expect(hop(tcp(FLOW, ACK))).toBe('10.1.5.1');
    // The same slot: the ports are those of the first flow.
    expect(hop(udp(FLOW))).toBe('10.1.5.2');
    expect(hop(tcp(FLOW, ACK))).toBe('10.1.5.2');
  });

  test('a packet longer than the route was asked for asks anew', () => {
    routeVia('10.1.5.1');
    expect(hop(tcp(FLOW, SYN))).toBe('10.1.5.1');
    routeVia('10.1.5.2');
    expect(hop(tcp(FLOW, ACK, {payload: new Uint8Array(100)}))).toBe('10.1.5.2');
    routeVia('10.1.5.3');
    expect(hop(tcp(FLOW, ACK))).toBe('10.1.5.2');
  });

  test('what the stack has to answer is not sent where shorter packets go', () => {
    routeVia('10.1.5.1');
    hop(tcp(FLOW, SYN));
    d.answers({fibResult: 8, jiffies: 1000});
    expect(d.run('cil_from_container', tcp(FLOW, ACK, {payload: new Uint8Array(1000)}))).toMatchObject({verdict: 'pass', action: 'none'});
    expect(d.run('cil_from_container', tcp(FLOW, ACK)).action).toBe('redirect_neigh');
  });

  test('a route that sends nowhere is not remembered', () => {
    d.answers({fibIfindex: 9, fibResult: 2, jiffies: 1000});
    expect(d.run('cil_from_container', tcp(FLOW, SYN)).verdict).toBe('pass');
    routeVia('10.1.5.1');
    d.answers({fibResult: 0, jiffies: 1000});
    expect(hop(tcp(FLOW, ACK))).toBe('10.1.5.1');
  });
});
