import {afterEach, expect, test} from '@jest/globals';

import {A, B, Datapath, LO} from '../probe/datapath.js';
import type {PolicyRow} from '../probe/datapath.js';
import {tcp6} from './packets6.js';
import {MACS} from '../probe/macs.js';
import {tcp, TCP_FLAGS} from './packets.js';
import type {Flow} from './packets.js';
import {A as A6, B as B6, CONFIG6} from './world6.js';

const POLICY_ENTRIES = 10_000;
const LIMIT_NS = 1000;
/** A packet comes out older and goes in again: it must not run out of hops. */
const [REPEAT, TTL, TURNS] = [200, 255, 50];

let d: Datapath;
afterEach(() => d.close());

/** The two pods of each family, and its packets. */
const FAMILIES = {
  4: {config: {}, a: A, b: B, source: A.ip, destination: B.ip, packet: (flow: Flow, flags: number) => tcp(flow, flags, {ttl: TTL})},
  6: {config: CONFIG6, a: A6, b: B6, source: A6.ipv6, destination: B6.ipv6, packet: (flow: Flow, flags: number) => tcp6(flow, flags, {hopLimit: TTL})},
} as const;

/** Of other peers, each with its own port: none of them matches. */
function others(direction: PolicyRow['direction']): PolicyRow[] {
  return Array.from({length: POLICY_ENTRIES}, (_, i) => ({direction, identity: 1000 + i % 2500, protocol: 6, port: 1 + Math.floor(i / 2500)}));
}

test.each([4, 6] as const)(`an established packet of IPv%i through two policies of ${POLICY_ENTRIES} entries and two connection entries: at most ${LIMIT_NS} ns`, (family) => {
  const {config, a, b, source, destination, packet} = FAMILIES[family];
  d = new Datapath(config, 'production');
  d.cluster();
  d.aggregation(3);
  // With equal MACs on all sides the packet that comes out may go in again.
  const macs = {mac: MACS.pod, nodeMac: MACS.pod};
  for (const pod of [a, b]) d.pod({...pod, macs});
  d.policy(A.id, [...others('egress'), {direction: 'egress', identity: B.identity, protocol: 6, port: 80}]);
  d.policy(B.id, [...others('ingress'), {direction: 'ingress', identity: A.identity, protocol: 6, port: 80}]);
  const flow = {source, destination, sourcePort: 40_000, destinationPort: 80};
  expect(d.run('cil_from_container', packet(flow, TCP_FLAGS.SYN)).verdict).toBe('redirect');
  const context = new Uint8Array(192);
  new DataView(context.buffer).setUint32(40, LO, true);
  const turns = Array.from({length: TURNS}, () =>
    d.program('cil_from_container').testRun({data: packet(flow, TCP_FLAGS.ACK), context, repeat: REPEAT}).durationNs);
  expect(d.connections().map(({value}) => Number(value.packets))).toEqual([1 + TURNS * REPEAT, 1 + TURNS * REPEAT]);
  expect(Math.min(...turns)).toBeLessThanOrEqual(LIMIT_NS);
});
