import {afterAll, beforeEach, describe, expect, test} from '@jest/globals';

import {endpointConfigCodec} from '../../maps/endpoint.js';
import type {ProgramConfig} from '../../maps/program-config.js';
import {LO} from '../probe/datapath.js';
import type {Datapath, Outcome} from '../probe/datapath.js';
import {authentication, echo6, EXTENSION, fragment, icmp6, ICMPV6, icmp6Message, neighbour, padding, parse6, rawIp6, routing, tcp6, udp6} from './packets6.js';
import type {Extension} from './packets6.js';
import {MACS} from '../probe/macs.js';
import {ethernet, reversed, tcp, TCP_FLAGS, udp} from './packets.js';
import {A, A_LINK, B, closeAll, dualStack, NODE6, REMOTE6, ROUTER6, WORLD6} from './world6.js';

const toB = {source: A.ipv6, destination: B.ipv6, sourcePort: 40_000, destinationPort: 80};
const toRemote = {...toB, destination: REMOTE6.ip};
const toWorld = {...toB, destination: WORLD6};
const {SYN, ACK} = TCP_FLAGS;

let d: Datapath;
beforeEach(() => reopen());
afterAll(closeAll);

function reopen(config: Partial<ProgramConfig> = {}): void {
  d = dualStack(config);
}

const pod = (packet: Uint8Array): Outcome => d.run('cil_from_container', packet);

/** The packet was dropped, counted once and told once, as one of IPv6. */
function expectDrop(outcome: Outcome, reason: number): void {
  expect({verdict: outcome.verdict, reason: outcome.reason, action: outcome.action}).toEqual({verdict: 'drop', reason, action: 'none'});
  const drops = outcome.events.flatMap((event) => (event.kind === 'drop' ? [event.message] : []));
  expect(drops.map(({flags}) => flags)).toEqual([1]);
  expect(d.counted(reason)).toBe(1);
}

describe('to a pod of the same node', () => {
  test('it goes straight into the pod, one hop older, with the MACs of its veth', () => {
    const outcome = pod(tcp6(toB, SYN));
    expect(outcome).toMatchObject({verdict: 'redirect', action: 'redirect_peer', mark: 0});
    expect(outcome.probe.ifindex).toBe(B.ifindex);
    expect(parse6(outcome.packet)).toMatchObject({
      hopLimit: 63, destinationMac: MACS.pod, sourceMac: MACS.lxc, checksumRight: true, source: A.ipv6, destination: B.ipv6,
    });
    expect([d.counted(0, 1), d.counted(0, 2)]).toEqual([1, 1]);
  });

  test('both families at once: each its own connection', () => {
    pod(tcp6(toB, SYN));
    pod(tcp({source: A.ip, destination: B.ip, sourcePort: 40_000, destinationPort: 80}, SYN));
    expect(d.connections().map(({key}) => key.source).sort()).toEqual([A.ip, A.ip, A.ipv6, A.ipv6]);
  });

  test('the hop limit runs out', () => expectDrop(pod(tcp6(toB, SYN, {hopLimit: 1})), 196));
  test('an address of the PodCIDR that nobody has', () => expectDrop(pod(tcp6({...toB, destination: 'fd00:98:1::77'}, SYN)), 151));

  test('traces say the address and the family', () => {
    d.aggregation(0);
    const [trace] = pod(udp6(toB)).events.flatMap((event) => (event.kind === 'trace' ? [event.message] : []));
    expect(trace).toMatchObject({originalAddress: A.ipv6, flags: 1, sourceIdentity: A.identity});
  });
});

describe('who may speak', () => {
  test('not with another address', () => expectDrop(pod(tcp6({...toB, source: 'fd00:98:1::99'}, SYN)), 132));
  test('not with a neighbour\'s address', () => expectDrop(pod(tcp6(reversed(toB), SYN)), 132));
  test('not with another MAC', () => expectDrop(pod(tcp6(toB, SYN, {sourceMac: MACS.other})), 132));
  test('not from its link beyond the link', () => expectDrop(pod(udp6({...toB, source: A_LINK})), 132));
  test('nor without any address', () => expectDrop(pod(udp6({...toB, source: '::'})), 132));
  test('not as a fragment whose source is another: nothing is remembered of it', () => {
    expectDrop(pod(udp6({...toB, source: B.ipv6}, {extensions: [fragment(7, 0, true)]})), 132);
    expect(d.map('cilium_ipv6_frag_datagrams').entries()).toEqual([]);
  });
  test('not from a device without endpoint', () => {
    d.map('cilium_if_to_ep').delete(new Uint8Array(new Uint32Array([LO]).buffer));
    expect(pod(tcp6(toB, SYN)).reason).toBe(203);
  });
  test('not before the endpoint is configured', () => {
    d.put(endpointConfigCodec, A.id, null);
    expect(pod(tcp6(toB, SYN)).reason).toBe(203);
  });
  test('not without a policy slot', () => {
    d.map('cilium_policy').delete(new Uint8Array(new Uint32Array([A.id]).buffer));
    expectDrop(pod(tcp6(toB, SYN)), 203);
  });
});

describe('endpoints of one family', () => {
  const config = (families: {ipv4?: null; ipv6?: null}): void => {
    const known = d.get(endpointConfigCodec, A.id);
    if (known === null) throw new Error('A is configured');
    d.put(endpointConfigCodec, A.id, {...known, ...families});
  };

  test('one without IPv6 sends none, not even from no address', () => {
    config({ipv6: null});
    expect(pod(tcp6(toB, SYN)).reason).toBe(132);
    expect(pod(udp6({...toB, source: '::'})).reason).toBe(132);
  });

  test('one without IPv4 sends none, not even from 0.0.0.0', () => {
    config({ipv4: null});
    for (const source of [A.ip, '0.0.0.0']) expect(pod(udp({source, destination: B.ip, sourcePort: 1, destinationPort: 2})).reason).toBe(132);
    expect(pod(tcp6(toB, SYN)).action).toBe('redirect_peer');
  });
});

describe('while IPv6 is off', () => {
  beforeEach(() => {
    reopen({ipv6: null});
  });

  test.each([['a packet', tcp6(toB, SYN)], ['a question for a neighbour', neighbour({source: A_LINK, destination: 'ff02::1'}, {type: 135, target: ROUTER6})]])('%s is of an unknown protocol', (_what, packet) => {
    expect(pod(packet)).toMatchObject({verdict: 'drop', reason: 139});
    expect(d.counted(139)).toBe(1);
  });
  test('from the wire and from the host it is the stack\'s, from the tunnel nobody\'s', () => {
    d.answers({tunnelId: 500});
    expect(d.run('cil_from_netdev', tcp6(reversed(toB), SYN)).verdict).toBe('pass');
    expect(d.run('cil_from_host', tcp6(reversed(toB), SYN)).verdict).toBe('pass');
    expect(d.run('cil_from_overlay', tcp6(reversed(toB), SYN)).reason).toBe(139);
    expect(d.run('cil_to_netdev', tcp6(toWorld, SYN)).packet).toEqual(tcp6(toWorld, SYN));
  });
  test('IPv4 is what it was', () => {
    expect(pod(tcp({source: A.ip, destination: B.ip, sourcePort: 1, destinationPort: 2}, SYN)).action).toBe('redirect_peer');
  });
});

describe('what is not a packet', () => {
  test.each([
    ['version 4 in the header', tcp6(toB, SYN, {version: 4})], ['longer than the frame', tcp6(toB, SYN, {payloadLength: 400})],
    ['no length', tcp6(toB, SYN, {payloadLength: 0})],
  ])('%s', (_what, packet) => expectDrop(pod(packet), 134));
  test.each([[6, 13], [17, 3], [58, 7], [132, 3]])('protocol %i with %i bytes of header', (protocol, bytes) => {
    expectDrop(pod(rawIp6(toB, protocol, new Uint8Array(bytes))), 135);
  });
  test('IPv4 behind the type of IPv6', () => {
    const frame = udp({source: A.ip, destination: B.ip, sourcePort: 1, destinationPort: 2}, {payload: new Uint8Array(40)});
    expectDrop(pod(ethernet(0x86dd, frame.slice(14))), 134);
  });
});

describe('extension headers', () => {
  const sent = (...extensions: readonly Extension[]): Outcome => pod(tcp6(toB, SYN, {extensions}));

  test.each([
    ['hop-by-hop options', [padding(0)]], ['destination options', [padding(60)]], ['both', [padding(0), padding(60)]],
    ['an authentication header', [authentication()]], ['a routing header that is through', [routing(2, 0)]],
    ['a datagram in one piece', [fragment(3, 0, false)]], ['four', [padding(0), padding(60), routing(2, 0), padding(60)]],
  ] as const)('%s: the ports behind them are judged', (_what, extensions) => {
    expect(sent(...extensions).action).toBe('redirect_peer');
    d.policy(B.id, [{direction: 'ingress', identity: 0, protocol: 6, port: 81}]);
    expect(sent(...extensions).reason).toBe(133);
  });

  test.each([
    ['routing type 0', [routing(0, 0)]], ['a routing header with somebody still to visit', [routing(4, 1)]], ['hop-by-hop options not in the first place', [padding(60), padding(0)]],
    ['more than four', [padding(0), padding(60), padding(60), padding(60), padding(60)]], ['two fragment headers', [fragment(1, 0, true), fragment(2, 0, true)]],
    ['options behind a fragment header', [fragment(1, 0, true), padding(60)]],
  ] as const)('%s', (_what, extensions) => expectDrop(sent(...extensions), 156));

  test('nothing behind the header', () => expectDrop(pod(rawIp6(toB, EXTENSION.none, new Uint8Array(4))), 156));
  test('nothing behind options', () => expectDrop(pod(rawIp6(toB, EXTENSION.none, new Uint8Array(0), {extensions: [padding(0)]})), 156));
  test('an extension header that is cut off', () => expectDrop(pod(rawIp6(toB, EXTENSION.destination, Uint8Array.of(6))), 156));
  test('one that says it is longer than the packet', () => {
    expectDrop(pod(rawIp6(toB, 6, new Uint8Array(20), {extensions: [{type: 60, bytes: Uint8Array.of(0, 200, 1, 4, 0, 0, 0, 0)}]})), 135);
  });
});

describe('fragments', () => {
  const body = new Uint8Array(1000).fill(7);
  const first = (id = 99): Uint8Array => udp6(toB, {payload: body, extensions: [fragment(id, 0, true)]});
  const later = (id = 99, protocol = 17, more = false): Uint8Array => rawIp6(toB, protocol, body, {extensions: [fragment(id, 1008, more)]});

  test('the first tells the ports, the others are judged by them', () => {
    d.policy(B.id, [{direction: 'ingress', identity: A.identity, protocol: 17, port: 80}]);
    for (const packet of [first(), later(99, 17, true), later()]) expect(pod(packet).action).toBe('redirect_peer');
    expect(d.connections().map(({value}) => value.packets)).toEqual([3n, 3n]);
    d.policy(B.id, [{direction: 'ingress', identity: A.identity, protocol: 17, port: 81}]);
    expect(pod(later()).reason).toBe(133);
  });

  test('one whose first was not seen, of another datagram, of another protocol', () => {
    expect(pod(later()).reason).toBe(175);
    pod(first());
    expect(pod(later(100)).reason).toBe(175);
    expect(pod(later(99, 6)).reason).toBe(175);
  });

  test('a big ping passes in pieces, an error does not', () => {
    const message = icmp6Message(toB, {type: 128, id: 5, body});
    expect(pod(rawIp6(toB, ICMPV6, message.slice(0, 504), {extensions: [fragment(4, 0, true)]})).action).toBe('redirect_peer');
    expect(pod(rawIp6(toB, ICMPV6, message.slice(504), {extensions: [fragment(4, 504, false)]})).action).toBe('redirect_peer');
    expect(pod(rawIp6(toB, ICMPV6, icmp6Message(toB, {type: 1, code: 1, body}), {extensions: [fragment(5, 0, true)]})).reason).toBe(134);
  });

  test('what belongs to the link does not come in pieces', () => {
    const message = icmp6Message({source: A_LINK, destination: 'ff02::1'}, {type: 136, body: new Uint8Array(24)});
    expect(pod(rawIp6({source: A_LINK, destination: 'ff02::1'}, ICMPV6, message, {hopLimit: 255, extensions: [fragment(5, 0, true)]})).reason).toBe(132);
  });
});

describe('neighbours', () => {
  const solicited = (target: string): string => `ff02::1:ff00:${target.slice(target.lastIndexOf(':') + 1)}`;
  const ask = (target: string, source: string = A.ipv6): Uint8Array => neighbour({source, destination: solicited(target)}, {type: 135, target});

  test.each([[ROUTER6, A.ipv6], [B.ipv6, A.ipv6], [WORLD6, A.ipv6], [ROUTER6, A_LINK]])('the veth answers for %s, asked by %s', (target, source) => {
    const outcome = pod(ask(target, source));
    expect(outcome).toMatchObject({verdict: 'redirect', action: 'redirect'});
    expect(outcome.probe.ifindex).toBe(LO);
    expect(outcome.packet).toEqual(neighbour({source: target, destination: source}, {type: 136, target, mac: MACS.lxc, flags: 0xe0000000},
      {sourceMac: MACS.lxc, destinationMac: MACS.pod}));
  });

  test('a question without its own address as option is answered too', () => {
    const outcome = pod(neighbour({source: A.ipv6, destination: ROUTER6}, {type: 135, target: ROUTER6, mac: null}));
    expect(outcome.packet).toEqual(neighbour({source: ROUTER6, destination: A.ipv6}, {type: 136, target: ROUTER6, mac: MACS.lxc, flags: 0xe0000000},
      {sourceMac: MACS.lxc, destinationMac: MACS.pod}));
  });

  test.each([
    ['whether somebody has its own address', neighbour({source: '::', destination: 'ff02::1:ff00:11'}, {type: 135, target: A.ipv6, mac: null})],
    ['the same on its link', neighbour({source: '::', destination: 'ff02::1:ff00:11'}, {type: 135, target: A_LINK, mac: null})],
    ['announcing itself', neighbour({source: A.ipv6, destination: 'ff02::1'}, {type: 136, target: A.ipv6})],
    ['which groups it listens to', rawIp6({source: A_LINK, destination: 'ff02::16'}, ICMPV6, icmp6Message({source: A_LINK, destination: 'ff02::16'}, {type: 143}), {hopLimit: 1, extensions: [padding(0)]})],
  ])('%s: the stack', (_what, packet) => {
    const outcome = pod(packet);
    expect(outcome).toMatchObject({verdict: 'pass', action: 'none', reason: null});
    expect(outcome.packet).toEqual(packet);
  });

  test.each([
    ['announcing somebody else', neighbour({source: A.ipv6, destination: 'ff02::1'}, {type: 136, target: B.ipv6}), 132],
    ['asking as somebody else', neighbour({source: B.ipv6, destination: 'ff02::1'}, {type: 135, target: ROUTER6}), 132],
    ['another MAC', neighbour({source: A.ipv6, destination: 'ff02::1'}, {type: 135, target: ROUTER6}, {sourceMac: MACS.other}), 132],
    ['from beyond the link', neighbour({source: A.ipv6, destination: ROUTER6}, {type: 135, target: ROUTER6}, {hopLimit: 254}), 134],
    ['cut off', rawIp6({source: A.ipv6, destination: ROUTER6}, ICMPV6, new Uint8Array(10).fill(135, 0, 1), {hopLimit: 255}), 134],
    ['a router\'s advertisement', icmp6({source: A_LINK, destination: 'ff02::1'}, {type: 134, body: new Uint8Array(8)}, {hopLimit: 255}), 176],
    ['a question for routers', icmp6({source: A_LINK, destination: 'ff02::2'}, {type: 133}, {hopLimit: 255}), 176],
    ['a redirect', icmp6({source: A.ipv6, destination: B.ipv6}, {type: 137, body: new Uint8Array(32)}, {hopLimit: 255}), 176],
    ['a listener report to one host', icmp6({source: A.ipv6, destination: B.ipv6}, {type: 143}), 176],
  ] as const)('%s is not heard', (_what, packet, reason) => expectDrop(pod(packet), reason));
});

describe('to the node', () => {
  test.each([NODE6, ROUTER6])('%s is the stack\'s', (destination) => {
    const outcome = pod(echo6({source: A.ipv6, destination}, 7));
    expect(outcome).toMatchObject({verdict: 'pass', action: 'none'});
    expect(parse6(outcome.packet)).toMatchObject({hopLimit: 64, checksumRight: true});
  });

  test('egress policy knows it as host', () => {
    d.policy(A.id, [{direction: 'egress', identity: 1}]);
    expect(pod(echo6({source: A.ipv6, destination: NODE6}, 7)).verdict).toBe('pass');
    d.policy(A.id, [{direction: 'egress', identity: 10}]);
    expectDrop(pod(echo6({source: A.ipv6, destination: NODE6}, 8)), 133);
  });

  test('its address on the pod\'s link is no way round', () => {
    d.answers({fibIfindex: 9, fibResult: 4});
    expectDrop(pod(echo6({source: A.ipv6, destination: 'fe80::1'}, 9)), 151);
  });
});

describe('policy', () => {
  const echoes = [{direction: 'ingress', identity: 0, protocol: ICMPV6, port: 128}] as const;

  test('an echo is of its type', () => {
    d.policy(B.id, echoes);
    expect(pod(echo6(toB, 1)).action).toBe('redirect_peer');
    expect(pod(icmp6(toB, {type: 140})).reason).toBe(133);
    d.policy(B.id, [{...echoes[0], protocol: 1, port: 8}]);
    expect(pod(echo6(toB, 2)).reason).toBe(133);
  });

  test('the ICMP of IPv4 has no privileges here', () => {
    d.policy(B.id, []);
    const quoted = new Uint8Array(48);
    quoted[0] = 0x60;
    const message = icmp6Message(toB, {type: 3, code: 4, body: quoted});
    expect(pod(rawIp6(toB, 1, message)).reason).toBe(133);
  });

  test('what nobody knows is the world of its family', () => {
    d.answers({fibIfindex: 9});
    d.policy(A.id, [{direction: 'egress', identity: 9}]);
    expect(pod(tcp6(toWorld, SYN)).reason).toBe(133);
    d.policy(A.id, [{direction: 'egress', identity: 10}]);
    expect(pod(tcp6(toWorld, SYN)).action).toBe('redirect_neigh');
    expect(pod(tcp({source: A.ip, destination: '198.18.0.7', sourcePort: 1, destinationPort: 2}, SYN)).reason).toBe(133);
  });

  test('the longest prefix decides', () => {
    d.ipcache('2001:db8::/32', 0x01000001);
    d.ipcache('2001:db8:7::/48', 0x01000002);
    d.answers({fibIfindex: 9});
    d.policy(A.id, [{direction: 'egress', identity: 0x01000002}]);
    expect(pod(tcp6(toWorld, SYN)).action).toBe('redirect_neigh');
    expect(pod(tcp6({...toWorld, destination: '2001:db8:8::7'}, SYN)).reason).toBe(133);
  });

  test('verdicts say the family', () => {
    const verdicts = pod(tcp6(toB, SYN)).events.flatMap((event) => (event.kind === 'policy-verdict' ? [event.message] : []));
    expect(verdicts.map(({ipv6, destinationPort, protocol}) => [ipv6, destinationPort, protocol])).toEqual([[1, 80, 6], [1, 80, 6]]);
  });
});

describe('beyond the node, native routing', () => {
  test('the FIB chooses, the neighbour is resolved by the kernel', () => {
    d.answers({fibIfindex: 9});
    const outcome = pod(tcp6(toRemote, SYN));
    expect(outcome).toMatchObject({verdict: 'redirect', action: 'redirect_neigh'});
    expect([outcome.probe.ifindex, outcome.probe.nexthop6]).toEqual([9, REMOTE6.ip]);
    expect(parse6(outcome.packet)).toMatchObject({hopLimit: 63, checksumRight: true, source: A.ipv6});
  });

  test.each([[2, 'unreachable'], [4, 'not forwarded'], [8, 'too big']])('FIB answer %i (%s): the stack', (fibResult) => {
    d.answers({fibIfindex: 9, fibResult});
    expect(pod(tcp6(toRemote, SYN))).toMatchObject({verdict: 'pass', action: 'none'});
  });

  test('the hop limit runs out', () => {
    d.answers({fibIfindex: 9});
    expectDrop(pod(tcp6(toRemote, SYN, {hopLimit: 1})), 196);
  });

  test('an answer is marked: its source stays what it is', () => {
    d.answers({fibIfindex: 9});
    d.run('cil_from_netdev', tcp6({source: WORLD6, destination: A.ipv6, sourcePort: 999, destinationPort: 80}, SYN));
    expect(pod(tcp6({source: A.ipv6, destination: WORLD6, sourcePort: 80, destinationPort: 999}, SYN | ACK)).mark).toBe(0x300);
    expect(pod(tcp6({source: A.ipv6, destination: WORLD6, sourcePort: 81, destinationPort: 999}, SYN)).mark).toBe(0);
  });
});

describe('beyond the node, tunnel', () => {
  beforeEach(() => {
    reopen({routingMode: 'tunnel'});
  });

  test('inside IPv4 to the pod\'s node, with the sender\'s identity', () => {
    const outcome = pod(tcp6(toRemote, SYN));
    expect(outcome).toMatchObject({verdict: 'redirect', action: 'redirect'});
    expect(outcome.probe).toMatchObject({ifindex: 77, setTunnelId: A.identity, setTunnelRemote: 0x0a01050b});
    expect(parse6(outcome.packet)).toMatchObject({source: A.ipv6, hopLimit: 64});
  });

  test('a fallback entry of another PodCIDR serves pods nobody told of yet', () => {
    d.ipcache('fd00:98:3::/64', 3, '10.1.8.10');
    expect(pod(tcp6({...toB, destination: 'fd00:98:3::5'}, SYN)).probe.setTunnelRemote).toBe(0x0a01080a);
  });

  test('a pod makes no tunnel packets of its own', () => expectDrop(pod(udp6({...toRemote, destinationPort: 8472})), 170));
});
