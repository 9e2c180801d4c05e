import {afterEach, beforeEach, expect, test} from '@jest/globals';

import {A, B, Datapath, LO} from './datapath.js';
import type {PolicyRow} from './datapath.js';
import {MACS, tcp, TCP_FLAGS} from './packets.js';

const POLICY_ENTRIES = 10_000;
const LIMIT_NS = 1000;
/** A packet comes out older and goes in again: it must not run out of hops. */
const [REPEAT, TTL, TURNS] = [200, 255, 50];

let d: Datapath;
beforeEach(() => {
  d = new Datapath({}, 'production');
  d.cluster();
  d.aggregation(3);
});
afterEach(() => d.close());

/** Of other peers, each with its own port: none of them matches. */
function others(direction: PolicyRow['direction']): PolicyRow[] {
  return Array.from({length: POLICY_ENTRIES}, (_, i) => ({direction, identity: 1000 + i % 2500, protocol: 6, port: 1 + Math.floor(i / 2500)}));
}

test(`an established packet through two policies of ${POLICY_ENTRIES} entries and two connection entries: at most ${LIMIT_NS} ns`, () => {
  // With equal MACs on all sides the packet that comes out may go in again.
  const macs = {mac: MACS.pod, nodeMac: MACS.pod};
  for (const pod of [A, B]) d.pod({...pod, macs});
  d.policy(A.id, [...others('egress'), {direction: 'egress', identity: B.identity, protocol: 6, port: 80}]);
  d.policy(B.id, [...others('ingress'), {direction: 'ingress', identity: A.identity, protocol: 6, port: 80}]);
  const flow = {source: A.ip, destination: B.ip, sourcePort: 40_000, destinationPort: 80};
  expect(d.run('cil_from_container', tcp(flow, TCP_FLAGS.SYN)).verdict).toBe('redirect');
  const context = new Uint8Array(192);
  new DataView(context.buffer).setUint32(40, LO, true);
  const turns = Array.from({length: TURNS}, () =>
    d.program('cil_from_container').testRun({data: tcp(flow, TCP_FLAGS.ACK, {ttl: TTL}), context, repeat: REPEAT}).durationNs);
  expect(d.connections().map(({value}) => Number(value.packets))).toEqual([1 + TURNS * REPEAT, 1 + TURNS * REPEAT]);
  expect(Math.min(...turns)).toBeLessThanOrEqual(LIMIT_NS);
});
