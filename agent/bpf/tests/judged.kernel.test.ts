// What a connection was allowed is remembered for one epoch (docs/adr/0005): never longer, never for another peer, never for what its key does not say.

import {afterAll, beforeEach, describe, expect, test} from '@jest/globals';

import {policyEpochCodec, EPOCH_CLOSED} from '../../maps/epoch.js';
import {A, B, LO, NODE, REMOTE, WORLD} from '../probe/datapath.js';
import type {Datapath, Outcome} from '../probe/datapath.js';
import {FAMILIES} from './families.js';
import {icmp, reversed, tcp, TCP_FLAGS} from './packets.js';
import type {Flow} from './packets.js';
import {closeAll, dualStack, A as A6, REMOTE6} from './world6.js';

const {SYN, ACK} = TCP_FLAGS;
const NEVER_SEEN = 77;

let d: Datapath;
beforeEach(() => {
  d = dualStack();
  d.answers({fibIfindex: 9});
  d.aggregation(3);
});
afterAll(closeAll);

const pod = (packet: Uint8Array): Outcome => d.run('cil_from_container', packet);
const wire = (packet: Uint8Array): Outcome => d.run('cil_from_netdev', packet);

/** What the agent never does: a change without another epoch. It shows what is remembered. */
function unseen(change: () => void): void {
  const epoch = d.get(policyEpochCodec, 0) ?? 0n;
  change();
  d.put(policyEpochCodec, 0, epoch);
}

const flow = (source: string, destination: string): Flow => ({source, destination, sourcePort: 40_000, destinationPort: 80});

describe.each(FAMILIES)('%s', (_name, f) => {
  test.each([
    ['to another node', f.remote, pod], ['to the world', f.world, pod], ['to a pod of this node', f.b, pod], ['from the wire', null, wire],
  ] as const)('%s: judged once in an epoch, TCP and UDP', (_path, to, run) => {
    const way = to === null ? flow(f.remote, f.a) : flow(f.a, to);
    for (const [first, later] of [[f.tcp(way, SYN), f.tcp(way, ACK)], [f.udp(way), f.udp(way)]] as const) {
      d.policy(A.id, 'open');
      expect(run(first).verdict).toBe('redirect');
      unseen(() => d.policy(A.id, []));
      expect(run(later).verdict).toBe('redirect');
      d.raiseEpoch();
      expect(run(later).reason).toBe(133);
      expect(run(later).reason).toBe(133);
      d.policy(A.id, 'open');
      expect(run(later).verdict).toBe('redirect');
      unseen(() => d.policy(A.id, []));
      expect(run(later).verdict).toBe('redirect');
    }
  });

  test('the other pod of this node judges for itself', () => {
    const way = flow(f.a, f.b);
    pod(f.tcp(way, SYN));
    unseen(() => d.policy(B.id, []));
    expect(pod(f.tcp(way, ACK)).action).toBe('redirect_peer');
    d.raiseEpoch();
    expect(pod(f.tcp(way, ACK)).reason).toBe(133);
  });

  test.each([['closed', EPOCH_CLOSED], ['none', 0n]] as const)('while the epoch is %s nothing that was remembered counts, and nothing is', (_state, value) => {
    const way = flow(f.a, f.remote);
    pod(f.tcp(way, SYN));
    const epoch = d.get(policyEpochCodec, 0) ?? 0n;
    d.policy(A.id, []);
    d.put(policyEpochCodec, 0, value | epoch * (value === 0n ? 0n : 1n));
    expect(pod(f.tcp(way, ACK)).reason).toBe(133);
    unseen(() => d.policy(A.id, 'open'));
    expect(pod(f.tcp(way, ACK)).verdict).toBe('redirect');
    unseen(() => d.policy(A.id, []));
    expect(pod(f.tcp(way, ACK)).reason).toBe(133);
    expect(d.connections().map(({value: {judged}}) => judged >> 27n)).toEqual([epoch]);
  });

  test('an answer never renews what was allowed', () => {
    const way = flow(f.a, f.remote);
    pod(f.tcp(way, SYN));
    d.policy(A.id, []);
    expect(wire(f.tcp(reversed(way), SYN | ACK)).action).toBe('redirect_peer');
    expect(pod(f.tcp(way, ACK)).reason).toBe(133);
  });

  test('an identity that changed is another judgement, and no other peer is taken for it', () => {
    d.policy(A.id, [{direction: 'ingress', identity: REMOTE.identity}]);
    const way = flow(f.remote, f.a);
    expect(wire(f.tcp(way, SYN)).action).toBe('redirect_peer');
    d.ipcache(`${f.remote}/${f.hostBits}`, 999);
    expect(wire(f.tcp(way, ACK)).reason).toBe(133);
  });

  test('a pod that comes to this node is delivered to, not routed to', () => {
    const way = flow(f.a, f.remote);
    expect(pod(f.tcp(way, SYN)).action).toBe('redirect_neigh');
    d.pod({id: 15, ip: REMOTE.ip, ipv6: REMOTE6.ip, identity: REMOTE.identity, ifindex: 43});
    expect(pod(f.tcp(way, ACK))).toMatchObject({action: 'redirect_peer', probe: {ifindex: 43}});
  });

  test('the node\'s own connection to a pod does not vouch for the wire', () => {
    const way = flow(f.router, f.a);
    expect(d.run('cil_from_host', f.tcp(way, SYN)).action).toBe('redirect');
    expect(d.run('cil_from_host', f.tcp(way, ACK)).action).toBe('redirect');
    const before = d.connections().map(({value}) => value);
    expect(wire(f.tcp(way, ACK)).reason).toBe(132);
    expect(wire(f.tcp(way, TCP_FLAGS.RST)).reason).toBe(132);
    expect(d.connections().map(({value}) => value)).toEqual(before);
  });

  test('behind the tunnel another VNI is another peer', () => {
    d.policy(A.id, [{direction: 'ingress', identity: REMOTE.identity}]);
    const way = flow(f.remote, f.a);
    d.answers({tunnelId: REMOTE.identity});
    expect(d.run('cil_from_overlay', f.tcp(way, SYN)).action).toBe('redirect_peer');
    expect(d.run('cil_from_overlay', f.tcp(way, ACK)).action).toBe('redirect_peer');
    d.answers({tunnelId: NEVER_SEEN});
    expect(d.run('cil_from_overlay', f.tcp(way, ACK)).reason).toBe(133);
  });

  test('whoever has the higher port: both sides find their connection', () => {
    for (const ports of [{sourcePort: 40_000, destinationPort: 80}, {sourcePort: 80, destinationPort: 40_000}, {sourcePort: 53, destinationPort: 53}]) {
      const way = {...flow(f.a, f.remote), ...ports};
      expect(pod(f.udp(way)).verdict).toBe('redirect');
      unseen(() => d.policy(A.id, []));
      expect(wire(f.udp(reversed(way))).action).toBe('redirect_peer');
      expect(pod(f.udp(way)).verdict).toBe('redirect');
      d.policy(A.id, 'open');
    }
    expect(d.connections().map(({value}) => value.packets)).toEqual([3n, 3n, 3n]);
  });

  test('in audit mode every packet that would be denied is told', () => {
    const way = flow(f.a, f.remote);
    d.pod({...A6, audit: true});
    d.policy(A.id, []);
    pod(f.tcp(way, SYN));
    for (let i = 0; i < 2; i++) {
      expect(pod(f.tcp(way, ACK)).events.filter(({kind}) => kind === 'policy-verdict').map(({message}) => message)).toMatchObject([{verdict: -133, audited: 1}]);
    }
  });
});

test('of one pair of addresses, one ICMP type does not vouch for another', () => {
  d.policy(A.id, [{direction: 'egress', identity: REMOTE.identity, protocol: 1, port: 13}]);
  const ends = {source: A.ip, destination: REMOTE.ip};
  expect(pod(icmp(ends, {type: 13})).verdict).toBe('redirect');
  expect(pod(icmp(ends, {type: 13})).verdict).toBe('redirect');
  expect(pod(icmp(ends, {type: 17})).reason).toBe(133);
});

test('a SYN that runs against a closing connection is judged as new, whoever has the higher port', () => {
  const way = flow(A.ip, REMOTE.ip);
  pod(tcp(way, SYN));
  wire(tcp(reversed(way), SYN | ACK));
  pod(tcp(way, TCP_FLAGS.FIN | ACK));
  wire(tcp(reversed(way), TCP_FLAGS.FIN | ACK));
  unseen(() => d.policy(A.id, []));
  expect(pod(tcp(way, SYN)).reason).toBe(133);
  expect(wire(tcp(reversed(way), SYN)).reason).toBe(133);
});

test('masquerading, too, is by the maps: what is remembered is the pod\'s verdict alone', () => {
  const way = flow(A.ip, WORLD);
  pod(tcp(way, SYN));
  expect(pod(tcp(way, ACK)).action).toBe('redirect_neigh');
  expect(d.run('cil_to_netdev', tcp(way, ACK), {ifindex: LO}).verdict).toBe('pass');
  expect(d.translations().map(({value}) => value.toAddress)).toContain(NODE);
});
