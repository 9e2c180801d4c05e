import {afterEach, beforeEach, describe, expect, test} from '@jest/globals';

import {NAT_IN, NAT_OUT, snatCodec, snatRetriesCodec} from '../../maps/nat.js';
import type {ProgramConfig} from '../../maps/program-config.js';
import {A, B, Datapath, NODE, REMOTE, WORLD} from '../probe/datapath.js';
import type {Outcome} from '../probe/datapath.js';
import {echo, echoReply, icmpError, parse, rawIp, reversed, tcp, TCP_FLAGS, udp} from './packets.js';
import type {Flow, Parsed} from './packets.js';

const {SYN, ACK} = TCP_FLAGS;
const FLOW = {source: A.ip, destination: WORLD, sourcePort: 40_000, destinationPort: 443};
const LOW = {...FLOW, sourcePort: 1234};

let d: Datapath;
beforeEach(() => reopen());
afterEach(() => d.close());

function reopen(config: Partial<ProgramConfig> = {}): void {
  d = new Datapath(config);
  d.cluster();
  d.answers({fibIfindex: 9});
}

const leave = (packet: Uint8Array, context: {ifindex?: number; mark?: number} = {}): Outcome => d.run('cil_to_netdev', packet, context);
const arrive = (packet: Uint8Array): Outcome => d.run('cil_from_netdev', packet);

function left(packet: Uint8Array): Parsed {
  const outcome = leave(packet);
  expect({verdict: outcome.verdict, reason: outcome.reason}).toEqual({verdict: 'pass', reason: null});
  return parse(outcome.packet);
}

function arrived(packet: Uint8Array): Parsed {
  const outcome = arrive(packet);
  expect({action: outcome.action, reason: outcome.reason}).toEqual({action: 'redirect_peer', reason: null});
  return parse(outcome.packet);
}

describe('out and back', () => {
  test.each([
    ['TCP', (flow: Flow) => tcp(flow, SYN)], ['UDP', (flow: Flow) => udp(flow)], ['UDP with data', (flow: Flow) => udp(flow, {payload: new Uint8Array(333)})],
  ])('%s: the node\'s address, the same port where it is free', (_what, make) => {
    const out = left(make(FLOW));
    expect(out).toMatchObject({source: NODE, sourcePort: 40_000, destination: WORLD, destinationPort: 443, checksumsRight: true});
    const back = arrived(make(reversed({...FLOW, source: NODE})));
    expect(back).toMatchObject({source: WORLD, sourcePort: 443, destination: A.ip, destinationPort: 40_000, checksumsRight: true});
  });

  test('a port outside the range gets one inside, and its own back', () => {
    const out = left(tcp(LOW, SYN));
    expect(out).toMatchObject({source: NODE, checksumsRight: true});
    expect(out.sourcePort).toBeGreaterThanOrEqual(32_768);
    expect(left(tcp(LOW, ACK)).sourcePort).toBe(out.sourcePort);
    expect(arrived(tcp({source: WORLD, destination: NODE, sourcePort: 443, destinationPort: out.sourcePort}, SYN | ACK)))
      .toMatchObject({destination: A.ip, destinationPort: 1234, checksumsRight: true});
  });

  test('a UDP checksum of zero stays zero', () => {
    const outcome = leave(udp(LOW, {checksum: false}));
    expect(outcome.packet.slice(40, 42)).toEqual(new Uint8Array(2));
    expect(parse(outcome.packet)).toMatchObject({source: NODE, checksumsRight: true});
  });

  test.each([50_000, 7])('echo with identifier %i', (id) => {
    const out = left(echo(FLOW, id));
    expect(out).toMatchObject({source: NODE, checksumsRight: true});
    expect(out.icmpId).toBeGreaterThanOrEqual(32_768);
    if (id === 50_000) expect(out.icmpId).toBe(id);
    expect(arrived(echoReply({source: WORLD, destination: NODE}, out.icmpId))).toMatchObject({destination: A.ip, icmpId: id, checksumsRight: true});
  });

  test('two pods with one port: each its own answers', () => {
    const first = left(tcp(FLOW, SYN));
    const second = left(tcp({...FLOW, source: B.ip}, SYN));
    expect(first.sourcePort).toBe(40_000);
    expect(second.sourcePort).not.toBe(40_000);
    const answer = {source: WORLD, destination: NODE, sourcePort: 443};
    expect(arrived(tcp({...answer, destinationPort: first.sourcePort}, ACK)).destination).toBe(A.ip);
    expect(arrived(tcp({...answer, destinationPort: second.sourcePort}, ACK))).toMatchObject({destination: B.ip, destinationPort: 40_000});
  });

  test('one port towards two peers', () => {
    expect([left(tcp(FLOW, SYN)).sourcePort, left(tcp({...FLOW, destination: '198.18.0.8'}, SYN)).sourcePort]).toEqual([40_000, 40_000]);
  });

  test('the answer is one for the pod\'s policy too', () => {
    d.run('cil_from_container', tcp(FLOW, SYN));
    left(tcp(FLOW, SYN));
    d.policy(A.id, []);
    expect(arrive(tcp(reversed({...FLOW, source: NODE}), SYN | ACK)).action).toBe('redirect_peer');
    expect(arrive(tcp({...reversed({...FLOW, source: NODE}), sourcePort: 444}, SYN | ACK))).toMatchObject({verdict: 'pass', action: 'none'});
  });

  test('there and back again is nothing, for 300 flows', () => {
    let seed = 12_345;
    const next = (below: number): number => (seed = (seed * 1_103_515_245 + 12_345) % 2_147_483_648) % below;
    for (let i = 0; i < 300; i++) {
      const flow = {source: next(2) === 0 ? A.ip : B.ip, destination: `198.18.${next(256)}.${1 + next(250)}`, sourcePort: 1 + next(65_535), destinationPort: 1 + next(65_535)};
      const make = next(2) === 0 ? (f: Flow) => tcp(f, ACK, {payload: new Uint8Array(1 + (i % 9)).fill(i)}) : (f: Flow) => udp(f);
      const out = left(make(flow));
      const back = arrived(make({source: flow.destination, destination: out.source, sourcePort: flow.destinationPort, destinationPort: out.sourcePort}));
      expect({i, right: out.checksumsRight && back.checksumsRight, destination: back.destination, port: back.destinationPort})
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

  test('not towards the native-routing CIDR', () => untouched(tcp({...FLOW, destination: '10.98.200.1'}, SYN)));
  test('not towards another node', () => untouched(tcp({...FLOW, destination: REMOTE.node}, SYN)));
  test('not what another pod of the cluster sends through here', () => untouched(tcp({...FLOW, source: REMOTE.ip}, SYN)));
  test('not through a device that is no uplink', () => {
    d.close();
    reopen({devices: [{ifindex: 55, ipv4: NODE, ipv6: null}]});
    untouched(tcp(FLOW, SYN));
  });
  test.each([[0x300, 'an answer'], [0x400, 'the tunnel'], [0xa00, 'an ingress proxy'], [0x012c_0b00, 'an egress proxy']])('not with mark %i (%s)', (mark) => {
    untouched(tcp(FLOW, SYN), {mark});
  });
  test('not when it is off', () => {
    d.close();
    reopen({masquerade: false});
    untouched(tcp(FLOW, SYN));
  });
  test('not IPv6 or ARP', () => untouched(new Uint8Array(60)));

  test('not what answers a connection from outside, nor an error about it', () => {
    const request = tcp({source: WORLD, destination: A.ip, sourcePort: 999, destinationPort: 40_000}, SYN);
    arrived(request);
    untouched(tcp({...FLOW, destinationPort: 999}, SYN | ACK));
    untouched(icmpError({source: A.ip, destination: WORLD}, {type: 3, code: 3}, request));
  });

  test('the borders of a non-masquerade CIDR, and of its removal', () => {
    d.ipmasq('172.16.0.0/12', '169.254.0.0/16');
    for (const destination of ['172.16.0.0', '172.31.255.255', '169.254.169.254']) untouched(tcp({...FLOW, destination}, SYN));
    for (const destination of ['172.15.255.255', '172.32.0.0', '169.253.255.255']) expect(left(tcp({...FLOW, destination}, SYN)).source).toBe(NODE);
    d.map('cilium_ipmasq_v4').delete(d.map('cilium_ipmasq_v4').entries().map(([key]) => key).find((key) => key[4] === 172) ?? new Uint8Array(8));
    expect(left(tcp({...FLOW, destination: '172.16.0.0'}, SYN)).source).toBe(NODE);
  });

  test('a connection under way follows the rules of now', () => {
    expect(left(tcp(FLOW, SYN)).source).toBe(NODE);
    d.ipmasq('198.18.0.0/15');
    expect(left(tcp(FLOW, ACK)).source).toBe(A.ip);
  });

  test('nodes are masqueraded to in tunnel mode, and when asked for', () => {
    for (const config of [{routingMode: 'tunnel'}, {masqueradeRemoteNodes: true}] as const) {
      d.close();
      reopen(config);
      expect(left(tcp({...FLOW, destination: REMOTE.node}, SYN)).source).toBe(NODE);
    }
  });

  test('not GRE: nothing tells its answers apart', () => {
    expect(leave(rawIp(FLOW, 47, new Uint8Array(20))).reason).toBe(168);
    expect(d.counted(168, 2)).toBe(1);
  });
});

describe('entries', () => {
  test('two of each flow, out and in', () => {
    left(tcp(LOW, SYN));
    const [out] = d.translations().filter(({key}) => key.flags === NAT_OUT);
    const [back] = d.translations().filter(({key}) => key.flags === NAT_IN);
    expect(out).toMatchObject({key: {source: A.ip, sourcePort: 1234, destination: WORLD, destinationPort: 443, protocol: 6}, value: {toAddress: NODE}});
    expect(back).toMatchObject({key: {source: WORLD, sourcePort: 443, destination: NODE, destinationPort: out?.value.toPort}, value: {toAddress: A.ip, toPort: 1234}});
    expect(out?.value.created).toBe(1_000_000_000_000n);
  });

  test.each([NAT_OUT, NAT_IN])('half of a flow that the LRU took (%i) comes back with the next packet of the other half', (flags) => {
    d.run('cil_from_container', tcp(LOW, SYN));
    const port = left(tcp(LOW, SYN)).sourcePort;
    const before = d.translations().length;
    const gone = d.translations().find(({key}) => key.flags === flags);
    if (gone === undefined) throw new Error('no entry');
    d.map('cilium_snat_v4_external').delete(snatCodec.encodeKey(gone.key));
    if (flags === NAT_IN) expect(left(tcp(LOW, ACK)).sourcePort).toBe(port);
    else arrived(tcp({source: WORLD, destination: NODE, sourcePort: 443, destinationPort: port}, ACK));
    expect(d.translations().length).toBe(before);
    expect(left(tcp(LOW, ACK)).sourcePort).toBe(port);
  });

  test('after the uplink got another address', () => {
    left(tcp(FLOW, SYN));
    const entries = d.translations();
    d.close();
    reopen({devices: [{ifindex: 1, ipv4: '10.1.5.99', ipv6: null}]});
    for (const {key, value} of entries) d.put(snatCodec, key, value);
    expect(left(tcp(FLOW, ACK))).toMatchObject({source: '10.1.5.99', checksumsRight: true});
    expect(d.translations().every(({key, value}) => key.destination !== NODE && value.toAddress !== NODE)).toBe(true);
  });

  test('no port left', () => {
    d.close();
    reopen({snatPorts: {min: 40_000, max: 40_000}});
    expect(left(tcp(FLOW, SYN)).sourcePort).toBe(40_000);
    const refused = leave(tcp({...FLOW, source: B.ip}, SYN));
    expect(refused).toMatchObject({verdict: 'drop', reason: 167});
    expect(refused.events.find(({kind}) => kind === 'drop')?.message).toMatchObject({source: B.id, sourceIdentity: B.identity, direction: 2});
    const tries = d.map('cilium_snat_v4_alloc_retries').entries().map(([key, value]) =>
      [snatRetriesCodec.decodeKey(key), value.some((byte) => byte !== 0)]).filter(([, used]) => used === true).map(([n]) => n);
    expect(tries).toEqual([0, 32]);
  });

  test('the pod went away', () => {
    left(tcp(FLOW, SYN));
    d.map('cilium_lxc').delete(d.map('cilium_lxc').entries().map(([key]) => key).find((key) => key[3] === 11) ?? new Uint8Array(20));
    expect(arrive(tcp(reversed({...FLOW, source: NODE}), ACK)).reason).toBe(151);
  });
});

describe('the node\'s own connections', () => {
  const own = {...FLOW, source: NODE};

  test('are tracked where a pod\'s could collide, and not changed', () => {
    expect(left(tcp(own, SYN))).toMatchObject({source: NODE, sourcePort: 40_000});
    expect(d.translations().length).toBe(2);
    expect(arrive(tcp(reversed(own), SYN | ACK))).toMatchObject({verdict: 'pass', action: 'none'});
    const pod = left(tcp(FLOW, SYN));
    expect(pod.sourcePort).not.toBe(40_000);
  });

  test('give way to a pod that has the port', () => {
    left(tcp(FLOW, SYN));
    const out = left(tcp(own, SYN));
    expect(out.sourcePort).not.toBe(40_000);
    const back = arrive(tcp({source: WORLD, destination: NODE, sourcePort: 443, destinationPort: out.sourcePort}, SYN | ACK));
    expect(back).toMatchObject({verdict: 'pass', action: 'none'});
    expect(parse(back.packet)).toMatchObject({destination: NODE, destinationPort: 40_000, checksumsRight: true});
  });

  test.each([
    ['from a service\'s port', (): Uint8Array => tcp({...own, sourcePort: 179}, ACK)],
    ['of the tunnel', (): Uint8Array => udp({...own, destination: REMOTE.node, destinationPort: 8472})],
    ['errors', (): Uint8Array => icmpError({source: NODE, destination: WORLD}, {type: 3, code: 3}, udp(reversed(own)))],
    ['of other protocols', (): Uint8Array => rawIp(own, 47, new Uint8Array(20))],
  ])('%s are left alone', (_what, make) => {
    left(make());
    expect(d.translations()).toEqual([]);
  });
});

describe('ICMP errors about masqueraded flows', () => {
  const ROUTER_OUTSIDE = {source: '192.0.2.254', destination: NODE};

  test.each([
    ['TCP', (flow: Flow) => tcp(flow, SYN)], ['UDP', (flow: Flow) => udp(flow)],
  ])('that arrive: %s, the pod sees its own packet quoted', (_what, make) => {
    d.run('cil_from_container', make(LOW));
    const sent = leave(make(LOW)).packet;
    d.policy(A.id, []);
    const got = arrived(icmpError(ROUTER_OUTSIDE, {type: 3, code: 1}, sent, 8));
    expect(got).toMatchObject({source: '192.0.2.254', destination: A.ip, checksumsRight: true});
    expect(got.inner).toMatchObject({source: A.ip, sourcePort: 1234, destination: WORLD, destinationPort: 443, headerChecksumRight: true});
  });

  test('that arrive: echo', () => {
    d.run('cil_from_container', echo(FLOW, 7));
    const sent = leave(echo(FLOW, 7)).packet;
    const got = arrived(icmpError(ROUTER_OUTSIDE, {type: 11, code: 0}, sent));
    expect(got).toMatchObject({destination: A.ip, checksumsRight: true});
    expect(got.inner).toMatchObject({source: A.ip, icmpId: 7, headerChecksumRight: true});
  });

  test('that arrive about the node\'s own or nobody\'s connection are the stack\'s', () => {
    const packet = icmpError(ROUTER_OUTSIDE, {type: 3, code: 1}, udp({...FLOW, source: NODE}));
    const outcome = arrive(packet);
    expect(outcome).toMatchObject({verdict: 'pass', action: 'none'});
    expect(outcome.packet).toEqual(packet);
  });

  test('that leave: about an answer to a masqueraded flow', () => {
    d.run('cil_from_container', udp(LOW));
    const port = left(udp(LOW)).sourcePort;
    const answer = udp({source: WORLD, destination: A.ip, sourcePort: 443, destinationPort: 1234});
    const out = left(icmpError({source: A.ip, destination: WORLD}, {type: 3, code: 3}, answer));
    expect(out).toMatchObject({source: NODE, destination: WORLD, checksumsRight: true});
    expect(out.inner).toMatchObject({source: WORLD, sourcePort: 443, destination: NODE, destinationPort: port, headerChecksumRight: true});
  });

  test('that leave about nothing of ours do not', () => {
    expect(leave(icmpError({source: A.ip, destination: WORLD}, {type: 3, code: 3}, udp(reversed(FLOW)))).reason).toBe(167);
  });
});

describe('fragments', () => {
  const payload = new Uint8Array(992).fill(3);

  test('of one datagram leave with one address, and come back to one pod', () => {
    const first = leave(udp(LOW, {id: 5, moreFragments: true, payload}));
    const later = leave(rawIp(LOW, 17, payload, {id: 5, fragmentOffset: 1000}));
    const port = parse(first.packet).sourcePort;
    expect([parse(first.packet).source, parse(later.packet).source]).toEqual([NODE, NODE]);
    expect(later.packet.slice(34)).toEqual(payload);
    const back = {source: WORLD, destination: NODE, sourcePort: 443, destinationPort: port};
    expect(parse(arrive(udp(back, {id: 6, moreFragments: true, payload})).packet)).toMatchObject({destination: A.ip, destinationPort: 1234});
    const rest = arrive(rawIp(back, 17, payload, {id: 6, fragmentOffset: 1000}));
    expect(rest.action).toBe('redirect_peer');
    expect(parse(rest.packet).destination).toBe(A.ip);
    expect(rest.packet.slice(34)).toEqual(payload);
  });

  test('of nothing known are the stack\'s', () => {
    expect(arrive(rawIp({source: WORLD, destination: NODE}, 17, payload, {id: 6, fragmentOffset: 1000}))).toMatchObject({verdict: 'pass', reason: null});
  });
});
