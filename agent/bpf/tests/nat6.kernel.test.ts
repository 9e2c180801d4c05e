import {afterAll, beforeEach, describe, expect, test} from '@jest/globals';

import {NAT_IN, NAT_OUT, snat6Codec, snat6RetriesCodec} from '../../maps/nat.js';
import type {ProgramConfig} from '../../maps/program-config.js';
import type {Datapath, Outcome} from '../probe/datapath.js';
import {LO, NODE} from '../probe/datapath.js';
import {echo6, echoReply6, fragment, icmp6Error, neighbour, padding, parse6, rawIp6, tcp6, udp6} from './packets6.js';
import type {Parsed6} from './packets6.js';
import {reversed, tcp, TCP_FLAGS} from './packets.js';
import type {Flow} from './packets.js';
import {A, B, closeAll, CONFIG6, dualStack, NODE6, REMOTE6, WORLD6} from './world6.js';

const {SYN, ACK} = TCP_FLAGS;
const FLOW = {source: A.ipv6, destination: WORLD6, sourcePort: 40_000, destinationPort: 443};
const LOW = {...FLOW, sourcePort: 1234};

let d: Datapath;
beforeEach(() => reopen());
afterAll(closeAll);

function reopen(config: Partial<ProgramConfig> = {}): void {
  d = dualStack(config);
  d.answers({fibIfindex: 9});
}

const leave = (packet: Uint8Array, context: {ifindex?: number; mark?: number} = {}): Outcome => d.run('cil_to_netdev', packet, context);
const arrive = (packet: Uint8Array): Outcome => d.run('cil_from_netdev', packet);

function left(packet: Uint8Array): Parsed6 {
  const outcome = leave(packet);
  expect({verdict: outcome.verdict, reason: outcome.reason}).toEqual({verdict: 'pass', reason: null});
  return parse6(outcome.packet);
}

function arrived(packet: Uint8Array): Parsed6 {
  const outcome = arrive(packet);
  expect({action: outcome.action, reason: outcome.reason}).toEqual({action: 'redirect_peer', reason: null});
  return parse6(outcome.packet);
}

describe('out and back', () => {
  test.each([
    ['TCP', (flow: Flow) => tcp6(flow, SYN)], ['UDP', (flow: Flow) => udp6(flow)], ['UDP with data', (flow: Flow) => udp6(flow, {payload: new Uint8Array(333)})],
  ])('%s: the node\'s address, the same port where it is free', (_what, make) => {
    expect(left(make(FLOW))).toMatchObject({source: NODE6, sourcePort: 40_000, destination: WORLD6, destinationPort: 443, checksumRight: true});
    expect(arrived(make(reversed({...FLOW, source: NODE6})))).toMatchObject({
      source: WORLD6, sourcePort: 443, destination: A.ipv6, destinationPort: 40_000, checksumRight: true,
    });
  });

  test('a port outside the range gets one inside, and its own back', () => {
    const out = left(tcp6(LOW, SYN));
    expect(out).toMatchObject({source: NODE6, checksumRight: true});
    expect(out.sourcePort).toBeGreaterThanOrEqual(32_768);
    expect(left(tcp6(LOW, ACK)).sourcePort).toBe(out.sourcePort);
    expect(arrived(tcp6({source: WORLD6, destination: NODE6, sourcePort: 443, destinationPort: out.sourcePort}, SYN | ACK)))
      .toMatchObject({destination: A.ipv6, destinationPort: 1234, checksumRight: true});
  });

  test.each([50_000, 7])('echo with identifier %i', (id) => {
    const out = left(echo6(FLOW, id));
    expect(out).toMatchObject({source: NODE6, checksumRight: true});
    expect(out.icmpId).toBeGreaterThanOrEqual(32_768);
    if (id === 50_000) expect(out.icmpId).toBe(id);
    expect(arrived(echoReply6({source: WORLD6, destination: NODE6}, out.icmpId))).toMatchObject({destination: A.ipv6, icmpId: id, checksumRight: true});
  });

  test('two pods with one port: each its own answers', () => {
    const [first, second] = [left(tcp6(FLOW, SYN)), left(tcp6({...FLOW, source: B.ipv6}, SYN))];
    expect(first.sourcePort).toBe(40_000);
    expect(second.sourcePort).not.toBe(40_000);
    const answer = {source: WORLD6, destination: NODE6, sourcePort: 443};
    expect(arrived(tcp6({...answer, destinationPort: first.sourcePort}, ACK)).destination).toBe(A.ipv6);
    expect(arrived(tcp6({...answer, destinationPort: second.sourcePort}, ACK))).toMatchObject({destination: B.ipv6, destinationPort: 40_000});
  });

  test('one port in both families: they know nothing of each other', () => {
    left(tcp6(FLOW, SYN));
    leave(tcp({source: A.ip, destination: '198.18.0.7', sourcePort: 40_000, destinationPort: 443}, SYN));
    expect(d.translations().filter(({key}) => key.flags === NAT_OUT).map(({value}) => [value.toAddress, value.toPort])).toEqual([[NODE, 40_000], [NODE6, 40_000]]);
  });

  test('the answer is one for the pod\'s policy too', () => {
    d.run('cil_from_container', tcp6(FLOW, SYN));
    left(tcp6(FLOW, SYN));
    d.policy(A.id, []);
    expect(arrive(tcp6(reversed({...FLOW, source: NODE6}), SYN | ACK)).action).toBe('redirect_peer');
    expect(arrive(tcp6({...reversed({...FLOW, source: NODE6}), sourcePort: 444}, SYN | ACK))).toMatchObject({verdict: 'pass', action: 'none'});
  });

  test('there and back again is nothing, for 300 flows', () => {
    let seed = 54_321;
    const next = (below: number): number => (seed = (seed * 1_103_515_245 + 12_345) % 2_147_483_648) % below;
    for (let i = 0; i < 300; i++) {
      const flow = {
        source: next(2) === 0 ? A.ipv6 : B.ipv6, destination: `2001:db8:7:${next(65_536).toString(16)}:${next(65_536).toString(16)}::${(1 + next(65_535)).toString(16)}`,
        sourcePort: 1 + next(65_535), destinationPort: 1 + next(65_535),
      };
      const make = next(2) === 0 ? (f: Flow) => tcp6(f, ACK, {payload: new Uint8Array(1 + (i % 9)).fill(i)}) : (f: Flow) => udp6(f);
      const out = left(make(flow));
      const back = arrived(make({source: flow.destination, destination: out.source, sourcePort: flow.destinationPort, destinationPort: out.sourcePort}));
      expect({i, right: out.checksumRight && back.checksumRight, destination: back.destination, port: back.destinationPort})
        .toEqual({i, right: true, destination: flow.source, port: flow.sourcePort});
    }
  });
});

describe('who is masqueraded', () => {
  const untouched = (packet: Uint8Array, context: {ifindex?: number; mark?: number} = {}): void => {
    const outcome = leave(packet, context);
    expect(outcome).toMatchObject({verdict: 'pass', reason: null});
    expect(outcome.packet).toEqual(packet);
    expect(d.translations()).toEqual([]);
  };

  test('not towards the native-routing CIDR', () => untouched(tcp6({...FLOW, destination: 'fd00:98:200::1'}, SYN)));
  test('not towards another node', () => untouched(tcp6({...FLOW, destination: REMOTE6.node}, SYN)));
  test('not what another pod of the cluster sends through here', () => untouched(tcp6({...FLOW, source: REMOTE6.ip}, SYN)));
  test('not the neighbours of the uplink', () => untouched(neighbour({source: NODE6, destination: 'ff02::1:ff00:1'}, {type: 135, target: 'fd00:1:5::1'})));
  test('not through a device that is no uplink', () => {
    reopen({devices: [{ifindex: 55, ipv4: NODE, ipv6: NODE6}]});
    untouched(tcp6(FLOW, SYN));
  });
  test('nothing leaves through an uplink without an address of the family but what is excluded, and the node\'s own', () => {
    reopen({devices: [{ifindex: LO, ipv4: NODE, ipv6: null}]});
    untouched(tcp6({...FLOW, destination: REMOTE6.node}, SYN));
    untouched(tcp6({...FLOW, source: NODE6}, SYN));
    expect(leave(tcp6(FLOW, SYN)).reason).toBe(167);
  });
  test('through the second of two uplinks with its address', () => {
    reopen({devices: [{ifindex: 55, ipv4: NODE, ipv6: NODE6}, {ifindex: LO, ipv4: null, ipv6: 'fd00:1:6::10'}]});
    expect(left(tcp6(FLOW, SYN))).toMatchObject({source: 'fd00:1:6::10', checksumRight: true});
  });
  test.each([[0x300, 'an answer'], [0x400, 'the tunnel'], [0xa00, 'an ingress proxy'], [0x012c_0b00, 'an egress proxy']])('not with mark %i (%s)', (mark) => {
    untouched(tcp6(FLOW, SYN), {mark});
  });
  test('not when it is off; IPv4 still is', () => {
    reopen({ipv6: {...CONFIG6.ipv6, masquerade: false}});
    untouched(tcp6(FLOW, SYN));
    leave(tcp({source: A.ip, destination: '198.18.0.7', sourcePort: 1, destinationPort: 2}, SYN));
    expect(d.translations().length).toBe(2);
  });

  test('not what answers a connection from outside, nor an error about it', () => {
    const request = tcp6({source: WORLD6, destination: A.ipv6, sourcePort: 999, destinationPort: 40_000}, SYN);
    arrived(request);
    untouched(tcp6({...FLOW, destinationPort: 999}, SYN | ACK));
    untouched(icmp6Error({source: A.ipv6, destination: WORLD6}, {type: 1, code: 4}, request));
  });

  test('the borders of a non-masquerade CIDR', () => {
    d.ipmasq('2001:db8:7:10::/60', 'fe80::/10');
    for (const destination of ['2001:db8:7:10::', '2001:db8:7:1f:ffff:ffff:ffff:ffff']) untouched(tcp6({...FLOW, destination}, SYN));
    for (const destination of ['2001:db8:7:f:ffff:ffff:ffff:ffff', '2001:db8:7:20::']) expect(left(tcp6({...FLOW, destination}, SYN)).source).toBe(NODE6);
  });

  test('a connection under way follows the rules of now', () => {
    expect(left(tcp6(FLOW, SYN)).source).toBe(NODE6);
    d.ipmasq('2001:db8::/32');
    expect(left(tcp6(FLOW, ACK)).source).toBe(A.ipv6);
  });

  test('nodes are masqueraded to in tunnel mode, and when asked for', () => {
    for (const config of [{routingMode: 'tunnel'}, {masqueradeRemoteNodes: true}] as const) {
      reopen(config);
      expect(left(tcp6({...FLOW, destination: REMOTE6.node}, SYN)).source).toBe(NODE6);
    }
  });

  test('not GRE: nothing tells its answers apart', () => {
    expect(leave(rawIp6(FLOW, 47, new Uint8Array(20))).reason).toBe(168);
  });

  test('behind extension headers', () => {
    const {packet} = leave(udp6(FLOW, {extensions: [padding(60)]}));
    expect(packet.length).toBe(14 + 40 + 8 + 12);
    const plain = rawIp6({source: NODE6, destination: WORLD6}, 17, packet.slice(62));
    expect(parse6(plain)).toMatchObject({sourcePort: 40_000, checksumRight: true});
  });
});

describe('entries', () => {
  test('two of each flow, out and in', () => {
    left(tcp6(LOW, SYN));
    const [out] = d.entries(snat6Codec).filter(({key}) => key.flags === NAT_OUT);
    const [back] = d.entries(snat6Codec).filter(({key}) => key.flags === NAT_IN);
    expect(out).toMatchObject({key: {source: A.ipv6, sourcePort: 1234, destination: WORLD6, destinationPort: 443, protocol: 6}, value: {toAddress: NODE6}});
    expect(back).toMatchObject({key: {source: WORLD6, sourcePort: 443, destination: NODE6, destinationPort: out?.value.toPort}, value: {toAddress: A.ipv6, toPort: 1234}});
    expect(out?.value.created).toBe(1_000_000_000_000n);
  });

  test.each([NAT_OUT, NAT_IN])('half of a flow that the LRU took (%i) comes back with the next packet of the other half', (flags) => {
    d.run('cil_from_container', tcp6(LOW, SYN));
    const port = left(tcp6(LOW, SYN)).sourcePort;
    const gone = d.entries(snat6Codec).find(({key}) => key.flags === flags);
    if (gone === undefined) throw new Error('no entry');
    d.map('cilium_snat_v6_external').delete(snat6Codec.encodeKey(gone.key));
    if (flags === NAT_IN) expect(left(tcp6(LOW, ACK)).sourcePort).toBe(port);
    else arrived(tcp6({source: WORLD6, destination: NODE6, sourcePort: 443, destinationPort: port}, ACK));
    expect(d.entries(snat6Codec).length).toBe(2);
    expect(left(tcp6(LOW, ACK)).sourcePort).toBe(port);
  });

  test('after the uplink got another address', () => {
    left(tcp6(FLOW, SYN));
    const entries = d.entries(snat6Codec);
    reopen({devices: [{ifindex: LO, ipv4: NODE, ipv6: 'fd00:1:5::99'}]});
    for (const {key, value} of entries) d.put(snat6Codec, key, value);
    expect(left(tcp6(FLOW, ACK))).toMatchObject({source: 'fd00:1:5::99', checksumRight: true});
    expect(d.entries(snat6Codec).every(({key, value}) => key.destination !== NODE6 && value.toAddress !== NODE6)).toBe(true);
  });

  test('no port left', () => {
    reopen({snatPorts: {min: 40_000, max: 40_000}});
    expect(left(tcp6(FLOW, SYN)).sourcePort).toBe(40_000);
    const refused = leave(tcp6({...FLOW, source: B.ipv6}, SYN));
    expect(refused).toMatchObject({verdict: 'drop', reason: 167});
    expect(refused.events.find(({kind}) => kind === 'drop')?.message).toMatchObject({source: B.id, sourceIdentity: B.identity, direction: 2, flags: 1});
    const tries = d.map('cilium_snat_v6_alloc_retries').entries().map(([key, value]) =>
      [snat6RetriesCodec.decodeKey(key), value.some((byte) => byte !== 0)]).filter(([, used]) => used === true).map(([n]) => n);
    expect(tries).toEqual([0, 32]);
  });

  test('the pod went away', () => {
    left(tcp6(FLOW, SYN));
    for (const [key] of d.map('cilium_lxc').entries()) if (key[15] === 0x11) d.map('cilium_lxc').delete(key);
    expect(arrive(tcp6(reversed({...FLOW, source: NODE6}), ACK)).reason).toBe(151);
  });
});

describe('the node\'s own connections', () => {
  const own = {...FLOW, source: NODE6};

  test('are tracked where a pod\'s could collide, and not changed', () => {
    expect(left(tcp6(own, SYN))).toMatchObject({source: NODE6, sourcePort: 40_000});
    expect(d.translations().length).toBe(2);
    expect(arrive(tcp6(reversed(own), SYN | ACK))).toMatchObject({verdict: 'pass', action: 'none'});
    expect(left(tcp6(FLOW, SYN)).sourcePort).not.toBe(40_000);
  });

  test('give way to a pod that has the port', () => {
    left(tcp6(FLOW, SYN));
    const out = left(tcp6(own, SYN));
    expect(out.sourcePort).not.toBe(40_000);
    const back = arrive(tcp6({source: WORLD6, destination: NODE6, sourcePort: 443, destinationPort: out.sourcePort}, SYN | ACK));
    expect(back).toMatchObject({verdict: 'pass', action: 'none'});
    expect(parse6(back.packet)).toMatchObject({destination: NODE6, destinationPort: 40_000, checksumRight: true});
  });

  test.each([
    ['from a service\'s port', (): Uint8Array => tcp6({...own, sourcePort: 179}, ACK)],
    ['errors', (): Uint8Array => icmp6Error({source: NODE6, destination: WORLD6}, {type: 1, code: 4}, udp6(reversed(own)))],
    ['of other protocols', (): Uint8Array => rawIp6(own, 47, new Uint8Array(20))],
  ])('%s are left alone', (_what, make) => {
    left(make());
    expect(d.translations()).toEqual([]);
  });
});

describe('ICMPv6 errors about masqueraded flows', () => {
  const ROUTER_OUTSIDE = {source: '2001:db8:ffff::254', destination: NODE6};

  test.each([
    ['TCP', 2, (flow: Flow) => tcp6(flow, SYN)], ['UDP', 1, (flow: Flow) => udp6(flow)],
  ])('that arrive: %s, the pod sees its own packet quoted', (_what, type, make) => {
    d.run('cil_from_container', make(LOW));
    const sent = leave(make(LOW)).packet;
    d.policy(A.id, []);
    const got = arrived(icmp6Error(ROUTER_OUTSIDE, {type, code: 0}, sent, 12));
    expect(got).toMatchObject({source: ROUTER_OUTSIDE.source, destination: A.ipv6, checksumRight: true});
    expect(got.inner).toMatchObject({source: A.ipv6, sourcePort: 1234, destination: WORLD6, destinationPort: 443});
  });

  test('that arrive: echo', () => {
    d.run('cil_from_container', echo6(FLOW, 7));
    const got = arrived(icmp6Error(ROUTER_OUTSIDE, {type: 3, code: 0}, leave(echo6(FLOW, 7)).packet));
    expect(got).toMatchObject({destination: A.ipv6, checksumRight: true});
    expect(got.inner).toMatchObject({source: A.ipv6, icmpId: 7});
  });

  test('that arrive about the node\'s own or nobody\'s connection are the stack\'s', () => {
    const packet = icmp6Error(ROUTER_OUTSIDE, {type: 1, code: 1}, udp6({...FLOW, source: NODE6}));
    const outcome = arrive(packet);
    expect(outcome).toMatchObject({verdict: 'pass', action: 'none'});
    expect(outcome.packet).toEqual(packet);
  });

  test('that leave: about an answer to a masqueraded flow', () => {
    d.run('cil_from_container', udp6(LOW));
    const port = left(udp6(LOW)).sourcePort;
    const answer = udp6({source: WORLD6, destination: A.ipv6, sourcePort: 443, destinationPort: 1234});
    const out = left(icmp6Error({source: A.ipv6, destination: WORLD6}, {type: 1, code: 4}, answer));
    expect(out).toMatchObject({source: NODE6, destination: WORLD6, checksumRight: true});
    expect(out.inner).toMatchObject({source: WORLD6, sourcePort: 443, destination: NODE6, destinationPort: port});
  });

  test('that leave about nothing of ours do not', () => {
    expect(leave(icmp6Error({source: A.ipv6, destination: WORLD6}, {type: 1, code: 4}, udp6(reversed(FLOW)))).reason).toBe(167);
  });
});

describe('fragments', () => {
  const payload = new Uint8Array(992).fill(3);
  const L4 = 14 + 40 + 8;

  test('of one datagram leave with one address, and come back to one pod', () => {
    const first = leave(udp6(LOW, {extensions: [fragment(5, 0, true)], payload}));
    const later = leave(rawIp6(LOW, 17, payload, {extensions: [fragment(5, 1000, false)]}));
    const port = new DataView(first.packet.buffer, first.packet.byteOffset).getUint16(L4);
    expect([parse6(first.packet).source, parse6(later.packet).source]).toEqual([NODE6, NODE6]);
    expect(later.packet.slice(L4)).toEqual(payload);
    const back = {source: WORLD6, destination: NODE6, sourcePort: 443, destinationPort: port};
    const firstBack = arrive(udp6(back, {extensions: [fragment(6, 0, true)], payload}));
    expect(parse6(firstBack.packet).destination).toBe(A.ipv6);
    expect(new DataView(firstBack.packet.buffer, firstBack.packet.byteOffset).getUint16(L4 + 2)).toBe(1234);
    const rest = arrive(rawIp6(back, 17, payload, {extensions: [fragment(6, 1000, false)]}));
    expect(rest.action).toBe('redirect_peer');
    expect(parse6(rest.packet).destination).toBe(A.ipv6);
    expect(rest.packet.slice(L4)).toEqual(payload);
  });

  test('of nothing known are the stack\'s', () => {
    expect(arrive(rawIp6({source: WORLD6, destination: NODE6}, 17, payload, {extensions: [fragment(6, 1000, false)]}))).toMatchObject({verdict: 'pass', reason: null});
  });
});
