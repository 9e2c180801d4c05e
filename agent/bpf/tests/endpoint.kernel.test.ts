import {afterEach, beforeEach, describe, expect, test} from '@jest/globals';

import {endpointConfigCodec} from '../../maps/endpoint.js';
import type {ProgramConfig} from '../../maps/program-config.js';
import {A, B, Datapath, LO, NODE, REMOTE, ROUTER, WORLD} from '../probe/datapath.js';
import type {Outcome} from '../probe/datapath.js';
import {MACS} from '../probe/macs.js';
import {arp, echo, ethernet, parse, rawIp, reversed, tcp, TCP_FLAGS, udp} from './packets.js';

const toB = {source: A.ip, destination: B.ip, sourcePort: 40_000, destinationPort: 80};
const toRemote = {...toB, destination: REMOTE.ip};
const SYN = TCP_FLAGS.SYN;

let d: Datapath;
beforeEach(() => reopen());
afterEach(() => d.close());

function reopen(config: Partial<ProgramConfig> = {}): void {
  d = new Datapath(config);
  d.cluster();
}

/** The packet was dropped, counted once and told once. */
function expectDrop(outcome: Outcome, reason: number): void {
  expect({verdict: outcome.verdict, reason: outcome.reason, action: outcome.action}).toEqual({verdict: 'drop', reason, action: 'none'});
  expect(outcome.events.filter(({kind}) => kind === 'drop').length).toBe(1);
  expect(d.counted(reason)).toBe(1);
}

describe('to a pod of the same node', () => {
  test('it goes straight into the pod, one hop older, with the MACs of its veth', () => {
    const outcome = d.run('cil_from_container', tcp(toB, SYN));
    expect(outcome).toMatchObject({verdict: 'redirect', action: 'redirect_peer', mark: 0});
    expect(outcome.probe.ifindex).toBe(B.ifindex);
    expect(parse(outcome.packet)).toMatchObject({ttl: 63, destinationMac: MACS.pod, sourceMac: MACS.lxc, checksumsRight: true, source: A.ip, destination: B.ip});
  });

  test('it is counted once for each of the two pods', () => {
    d.run('cil_from_container', tcp(toB, SYN));
    expect([d.counted(0, 1), d.counted(0, 2)]).toEqual([1, 1]);
  });

  test('the TTL runs out', () => expectDrop(d.run('cil_from_container', tcp(toB, SYN, {ttl: 1})), 196));

  test.each([64, 2, 255, 128])('the header checksum is right after TTL %i', (ttl) => {
    for (let id = 0; id < 3000; id += 37) {
      const {packet} = d.run('cil_from_container', udp({...toB, sourcePort: 1000}, {ttl, id}));
      expect(parse(packet).checksumsRight).toBe(true);
    }
  });

  test('marks that a pod sets mean nothing', () => {
    expect(d.run('cil_from_container', tcp(toB, SYN), {mark: 0xf00}).mark).toBe(0);
    d.answers({fibIfindex: 9});
    expect(d.run('cil_from_container', tcp({...toB, destination: WORLD}, SYN), {mark: 0x300}).mark).toBe(0);
  });

  test('an address of the PodCIDR that nobody has', () => {
    expectDrop(d.run('cil_from_container', tcp({...toB, destination: '10.98.1.77'}, SYN)), 151);
  });
});

describe('who may speak', () => {
  test('not with another address', () => expectDrop(d.run('cil_from_container', tcp({...toB, source: '10.98.1.99'}, SYN)), 132));
  test('not with a neighbour\'s address', () => expectDrop(d.run('cil_from_container', tcp(reversed(toB), SYN)), 132));
  test('not with another MAC', () => expectDrop(d.run('cil_from_container', tcp(toB, SYN, {sourceMac: MACS.other})), 132));
  test('not from a device without endpoint', () => {
    d.map('cilium_if_to_ep').delete(new Uint8Array(new Uint32Array([LO]).buffer));
    expectDrop(d.run('cil_from_container', tcp(toB, SYN)), 203);
  });
  test('not before the endpoint is configured', () => {
    d.put(endpointConfigCodec, A.id, null);
    expectDrop(d.run('cil_from_container', tcp(toB, SYN)), 203);
  });
  test('not without a policy slot: an empty slot is not an open one', () => {
    d.map('cilium_policy').delete(new Uint8Array(new Uint32Array([A.id]).buffer));
    expectDrop(d.run('cil_from_container', tcp(toB, SYN)), 203);
  });
  test('and nobody is spoken to without one', () => {
    d.map('cilium_policy').delete(new Uint8Array(new Uint32Array([B.id]).buffer));
    expectDrop(d.run('cil_from_container', tcp(toB, SYN)), 203);
  });
});

describe('what is not a packet', () => {
  test.each([
    ['IP version 6 in the IPv4 header', {versionIhl: 0x65}], ['a header of four words', {versionIhl: 0x44}],
    ['longer than the frame', {totalLength: 400}], ['shorter than its header', {totalLength: 19}], ['no length', {totalLength: 0}],
  ])('%s', (_what, options) => expectDrop(d.run('cil_from_container', tcp(toB, SYN, options)), 134));

  test('IPv6', () => expectDrop(d.run('cil_from_container', ethernet(0x86dd, new Uint8Array(40))), 139));
  test('a VLAN tag', () => expectDrop(d.run('cil_from_container', ethernet(0x8100, new Uint8Array(40))), 139));
  test.each([[6, 13], [17, 3], [1, 7], [132, 3]])('protocol %i with %i bytes of header', (protocol, bytes) => {
    expectDrop(d.run('cil_from_container', rawIp(toB, protocol, new Uint8Array(bytes))), 135);
  });
});

describe('beyond the node, native routing', () => {
  test('the FIB chooses, the neighbour is resolved by the kernel', () => {
    d.answers({fibIfindex: 9, fibNexthop: '10.1.5.1'});
    const outcome = d.run('cil_from_container', tcp(toRemote, SYN));
    expect(outcome).toMatchObject({verdict: 'redirect', action: 'redirect_neigh'});
    expect([outcome.probe.ifindex, outcome.probe.nexthop]).toEqual([9, '10.1.5.1']);
    expect(parse(outcome.packet)).toMatchObject({ttl: 63, checksumsRight: true, source: A.ip});
  });

  test('without a neighbour entry as well, and without a gateway the destination is the next hop', () => {
    d.answers({fibIfindex: 9, fibResult: 7});
    const outcome = d.run('cil_from_container', tcp(toRemote, SYN));
    expect([outcome.action, outcome.probe.nexthop]).toEqual(['redirect_neigh', REMOTE.ip]);
  });

  test.each([[1, 'blackhole'], [2, 'unreachable'], [4, 'not forwarded'], [5, 'forwarding off'], [8, 'too big']])('FIB answer %i (%s): the stack', (fibResult) => {
    d.answers({fibIfindex: 9, fibResult});
    const outcome = d.run('cil_from_container', tcp(toRemote, SYN));
    expect(outcome).toMatchObject({verdict: 'pass', action: 'none'});
    expect(parse(outcome.packet).ttl).toBe(64);
  });

  test('the TTL runs out', () => expectDrop(d.run('cil_from_container', tcp(toRemote, SYN, {ttl: 1})), 196));

  test('an answer is marked: its source stays what it is', () => {
    d.answers({fibIfindex: 9});
    d.run('cil_from_netdev', tcp({source: WORLD, destination: A.ip, sourcePort: 999, destinationPort: 80}, SYN));
    expect(d.run('cil_from_container', tcp({source: A.ip, destination: WORLD, sourcePort: 80, destinationPort: 999}, SYN | TCP_FLAGS.ACK)).mark).toBe(0x300);
    expect(d.run('cil_from_container', tcp({source: A.ip, destination: WORLD, sourcePort: 81, destinationPort: 999}, SYN)).mark).toBe(0);
  });

  test('the tunnel\'s port is a port like any other', () => {
    expect(d.run('cil_from_container', udp({...toRemote, destinationPort: 8472})).verdict).toBe('redirect');
  });
});

describe('beyond the node, tunnel', () => {
  beforeEach(() => {
    d.close();
    reopen({routingMode: 'tunnel'});
  });

  test('to the pod\'s node, with the sender\'s identity', () => {
    const outcome = d.run('cil_from_container', tcp(toRemote, SYN));
    expect(outcome).toMatchObject({verdict: 'redirect', action: 'redirect'});
    expect(outcome.probe).toMatchObject({ifindex: 77, setTunnelId: A.identity, setTunnelRemote: 0x0a01050b});
    expect(parse(outcome.packet)).toMatchObject({source: A.ip, ttl: 64});
  });

  test('a fallback entry of another PodCIDR serves pods nobody told of yet', () => {
    d.ipcache('10.98.3.0/24', 3, '10.1.8.10');
    expect(d.run('cil_from_container', tcp({...toB, destination: '10.98.3.5'}, SYN)).probe.setTunnelRemote).toBe(0x0a01080a);
  });

  test('the world and nodes are reached without it', () => {
    d.answers({fibIfindex: 9});
    for (const destination of [WORLD, REMOTE.node]) {
      expect(d.run('cil_from_container', tcp({...toB, destination}, SYN)).action).toBe('redirect_neigh');
    }
  });

  test('a pod makes no tunnel packets of its own', () => {
    expectDrop(d.run('cil_from_container', udp({...toRemote, destinationPort: 8472})), 170);
  });

  test('replies go through the tunnel too', () => {
    d.answers({tunnelId: REMOTE.identity});
    expect(d.run('cil_from_overlay', tcp(reversed(toRemote), SYN)).action).toBe('redirect_peer');
    d.policy(A.id, [{direction: 'ingress', identity: REMOTE.identity}]);
    expect(d.run('cil_from_container', tcp(toRemote, SYN | TCP_FLAGS.ACK)).probe.setTunnelId).toBe(A.identity);
  });
});

describe('to the node', () => {
  test.each([NODE, ROUTER])('%s is the stack\'s', (destination) => {
    const outcome = d.run('cil_from_container', echo({source: A.ip, destination}, 7));
    expect(outcome).toMatchObject({verdict: 'pass', action: 'none'});
    expect(parse(outcome.packet)).toMatchObject({ttl: 64, checksumsRight: true});
  });

  test('egress policy knows it as host', () => {
    d.policy(A.id, [{direction: 'egress', identity: 1}]);
    expect(d.run('cil_from_container', echo({source: A.ip, destination: NODE}, 7)).verdict).toBe('pass');
    d.policy(A.id, [{direction: 'egress', identity: 2}]);
    expectDrop(d.run('cil_from_container', echo({source: A.ip, destination: NODE}, 8)), 133);
  });
});

describe('ARP', () => {
  const question = {operation: 1, senderMac: MACS.pod, sender: A.ip, target: ROUTER};

  test.each([ROUTER, B.ip, '203.0.113.9', '0.0.0.0'])('the veth answers for %s', (target) => {
    const outcome = d.run('cil_from_container', arp({...question, target}));
    expect(outcome).toMatchObject({verdict: 'redirect', action: 'redirect'});
    expect(outcome.probe.ifindex).toBe(LO);
    expect(outcome.packet).toEqual(arpAnswer(target, A.ip));
  });

  test('a probe without sender address is answered', () => {
    expect(d.run('cil_from_container', arp({...question, sender: '0.0.0.0'})).packet).toEqual(arpAnswer(ROUTER, '0.0.0.0'));
  });

  test.each([['announcing itself', {...question, target: A.ip}], ['a reply to the host', {...question, operation: 2}]])('%s: the stack', (_what, fields) => {
    expect(d.run('cil_from_container', arp(fields))).toMatchObject({verdict: 'pass', action: 'none'});
  });

  test.each([
    ['announcing somebody else', {...question, sender: B.ip, target: B.ip}], ['asking as somebody else', {...question, sender: B.ip}],
    ['another MAC inside', {...question, senderMac: MACS.other}], ['replying for somebody else', {...question, operation: 2, sender: ROUTER}],
  ])('%s is not heard', (_what, fields) => expectDrop(d.run('cil_from_container', arp(fields)), 132));

  test('another MAC outside is not heard', () => expectDrop(d.run('cil_from_container', arp(question, {sourceMac: MACS.other})), 132));
  test('truncated', () => expectDrop(d.run('cil_from_container', arp(question).slice(0, 40)), 134));
  test('of another hardware', () => {
    const frame = arp(question);
    frame[15] = 6;
    expectDrop(d.run('cil_from_container', frame), 134);
  });
});

function arpAnswer(who: string, asker: string): Uint8Array {
  const frame = arp({operation: 2, senderMac: MACS.lxc, sender: who, target: asker}, {destinationMac: MACS.pod, sourceMac: MACS.lxc});
  frame.set(frame.slice(0, 6), 32);
  return frame;
}
