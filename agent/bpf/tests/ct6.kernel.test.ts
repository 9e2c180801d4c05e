import {afterAll, beforeEach, describe, expect, test} from '@jest/globals';

import {CT_RX_CLOSING, CT_SEEN_NON_SYN, CT_TX_CLOSING, ctAny6Codec, ctTcp6Codec, TUPLE_IN, TUPLE_OUT} from '../../maps/ct.js';
import type {CT_ENTRY} from '../../maps/ct.js';
import type {ValueOf} from '../../maps/layout.js';
import type {Datapath, Outcome} from './datapath.js';
import {echo6, echoReply6, icmp6, icmp6Error, padding, rawIp6, tcp6, udp6} from './packets6.js';
import {reversed, TCP_FLAGS} from './packets.js';
import type {Flow} from './packets.js';
import {A, B, closeAll, dualStack, REMOTE6, WORLD6} from './world6.js';

const {SYN, ACK, FIN, RST} = TCP_FLAGS;
const CLIENT = {source: WORLD6, destination: A.ipv6, sourcePort: 50_000, destinationPort: 80};
const SERVER = reversed(CLIENT);
const OUTGOING = {source: A.ipv6, destination: WORLD6, sourcePort: 40_000, destinationPort: 443};
const START = 10_000;

let d: Datapath;
beforeEach(() => {
  d = dualStack({ipv6: {podCidrs: ['fd00:98:1::/64'], masquerade: false, masqueradeExclusions: [], worldIpv4: 9, worldIpv6: 10}});
  d.seconds(START);
  d.answers({fibIfindex: 9});
});
afterAll(closeAll);

/** From the wire to A, and from A. */
const wire = (packet: Uint8Array): Outcome => d.run('cil_from_netdev', packet);
const pod = (packet: Uint8Array): Outcome => d.run('cil_from_container', packet);
const denyAll = (): void => d.policy(A.id, []);

function entry(flow: Flow, flags: number): ValueOf<typeof CT_ENTRY.fields> {
  const found = d.connections().find(({key}) => key.source === flow.source && key.sourcePort === flow.sourcePort &&
    key.destination === flow.destination && key.destinationPort === flow.destinationPort && key.flags === flags);
  if (found === undefined) throw new Error(`no entry of ${flow.source} > ${flow.destination}`);
  return found.value;
}

describe('entries', () => {
  test('between two pods of a node: one for each side, in the maps of IPv6', () => {
    pod(tcp6({...OUTGOING, destination: B.ipv6}, SYN));
    pod(udp6({...OUTGOING, destination: B.ipv6}));
    expect([d.entries(ctTcp6Codec).length, d.entries(ctAny6Codec).length]).toEqual([2, 2]);
    expect(entry({...OUTGOING, destination: B.ipv6}, TUPLE_IN).sourceIdentity).toBe(A.identity);
  });

  test('count packets and bytes of both ways', () => {
    pod(tcp6(OUTGOING, SYN));
    wire(tcp6(reversed(OUTGOING), SYN | ACK));
    pod(tcp6(OUTGOING, ACK, {payload: new Uint8Array(100)}));
    expect(entry(OUTGOING, TUPLE_OUT)).toMatchObject({packets: 3n, bytes: BigInt(74 + 74 + 174)});
  });

  test('a denied packet leaves none', () => {
    denyAll();
    pod(tcp6(OUTGOING, SYN));
    wire(tcp6(CLIENT, SYN));
    expect(d.connections()).toEqual([]);
  });

  test('no room for one: dropped, never passed without', () => {
    d.answers({ctCreateResult: -12});
    expect(pod(tcp6(OUTGOING, SYN)).reason).toBe(155);
    expect(wire(udp6(CLIENT)).reason).toBe(155);
  });
});

describe('verdicts by state', () => {
  test('an answer passes what would be denied, both ways round', () => {
    wire(tcp6(CLIENT, SYN));
    denyAll();
    expect(pod(tcp6(SERVER, SYN | ACK)).action).toBe('redirect_neigh');
    d.policy(A.id, 'open');
    pod(udp6(OUTGOING));
    denyAll();
    expect(wire(udp6(reversed(OUTGOING))).action).toBe('redirect_peer');
  });

  test('an answer behind extension headers is one', () => {
    pod(udp6(OUTGOING));
    denyAll();
    expect(wire(udp6(reversed(OUTGOING), {extensions: [padding(60)]})).action).toBe('redirect_peer');
  });

  test('an established connection is asked again in its own direction', () => {
    wire(tcp6(CLIENT, SYN));
    expect(wire(tcp6(CLIENT, ACK)).action).toBe('redirect_peer');
    denyAll();
    expect(wire(tcp6(CLIENT, ACK)).reason).toBe(133);
  });

  test('other ports, another peer, another protocol are not answers', () => {
    pod(udp6(OUTGOING));
    denyAll();
    const answer = reversed(OUTGOING);
    for (const flow of [{...answer, sourcePort: 444}, {...answer, destinationPort: 40_001}, {...answer, source: REMOTE6.node}]) {
      expect(wire(udp6(flow)).reason).toBe(133);
    }
    expect(wire(tcp6(answer, SYN | ACK)).reason).toBe(133);
    expect(wire(udp6(answer)).action).toBe('redirect_peer');
  });

  test('addresses count to their last bit', () => {
    pod(udp6(OUTGOING));
    denyAll();
    for (const source of ['2001:db8:7::6', '2001:db8:7:8000::7', '2001:db8:6::7', '2001:db8:7:0:0:0:1:7']) {
      expect(wire(udp6({...reversed(OUTGOING), source})).reason).toBe(133);
    }
  });

  test('a flow without ports is one by addresses and protocol', () => {
    wire(rawIp6(CLIENT, 47, new Uint8Array(20)));
    denyAll();
    expect(pod(rawIp6(SERVER, 47, new Uint8Array(20))).action).toBe('redirect_neigh');
    expect(pod(rawIp6(SERVER, 50, new Uint8Array(20))).reason).toBe(133);
  });
});

describe('TCP lifetimes', () => {
  const lifetime = (): number => entry(CLIENT, TUPLE_IN).lifetime - START;

  test('as for IPv4: SYN, established, closed by both', () => {
    wire(tcp6(CLIENT, SYN));
    expect(lifetime()).toBe(60);
    wire(tcp6(CLIENT, ACK));
    expect([lifetime(), entry(CLIENT, TUPLE_IN).flags]).toEqual([8000, CT_SEEN_NON_SYN]);
    wire(tcp6(CLIENT, FIN | ACK));
    pod(tcp6(SERVER, FIN | ACK));
    expect([lifetime(), entry(CLIENT, TUPLE_IN).flags & (CT_RX_CLOSING | CT_TX_CLOSING)]).toEqual([10, CT_RX_CLOSING | CT_TX_CLOSING]);
  });

  test('RST before an answer ends it', () => {
    wire(tcp6(CLIENT, SYN));
    pod(tcp6(SERVER, RST | ACK));
    expect(lifetime()).toBe(10);
  });

  test('a SYN on a closing connection opens a new one, and is asked', () => {
    for (const packet of [tcp6(CLIENT, SYN), tcp6(CLIENT, ACK), tcp6(CLIENT, FIN | ACK)]) wire(packet);
    pod(tcp6(SERVER, FIN | ACK));
    expect(wire(tcp6(CLIENT, SYN)).events.some(({kind}) => kind === 'policy-verdict')).toBe(true);
    expect(entry(CLIENT, TUPLE_IN)).toMatchObject({flags: 0, packets: 1n});
  });

  test('what has run out is forgotten, also when nobody swept it', () => {
    wire(tcp6(CLIENT, SYN));
    denyAll();
    d.seconds(START + 60);
    expect(pod(tcp6(SERVER, SYN | ACK)).action).toBe('redirect_neigh');
    d.seconds(START + 121);
    expect(pod(tcp6(SERVER, ACK)).reason).toBe(133);
  });
});

describe('ICMPv6', () => {
  const ping = {source: A.ipv6, destination: WORLD6};
  const pong = {source: WORLD6, destination: A.ipv6};
  const router = {source: '2001:db8:ffff::1', destination: A.ipv6};

  test('an echo reply with the same identifier is an answer', () => {
    pod(echo6(ping, 77));
    denyAll();
    expect(wire(echoReply6(pong, 78)).reason).toBe(133);
    expect(wire(echo6(pong, 77)).reason).toBe(133);
    expect(wire(echoReply6(pong, 77)).action).toBe('redirect_peer');
  });

  test.each([[1, 'unreachable'], [2, 'too big'], [3, 'time exceeded'], [4, 'parameter problem']])('type %i (%s) about a connection is related to it, from whoever it comes', (type) => {
    const packet = tcp6(OUTGOING, SYN);
    pod(packet);
    denyAll();
    for (const from of [pong, router]) {
      const outcome = wire(icmp6Error(from, {type, code: 0}, packet));
      expect(outcome.action).toBe('redirect_peer');
      expect(outcome.events.filter(({kind}) => kind === 'policy-verdict')).toEqual([]);
    }
  });

  test('an error that the pod sends about what it got', () => {
    const packet = udp6(CLIENT);
    wire(packet);
    denyAll();
    expect(pod(icmp6Error(ping, {type: 1, code: 4}, packet)).action).toBe('redirect_neigh');
  });

  test('errors about echoes', () => {
    pod(echo6(ping, 77));
    denyAll();
    expect(wire(icmp6Error(router, {type: 3, code: 0}, echo6(ping, 77))).action).toBe('redirect_peer');
    expect(wire(icmp6Error(router, {type: 3, code: 0}, echo6(ping, 79))).reason).toBe(133);
  });

  test('an error about nobody\'s connection is asked, and leaves no entry; "too big" is no exception', () => {
    const stranger = udp6({...OUTGOING, sourcePort: 1});
    denyAll();
    for (const type of [1, 2]) expect(wire(icmp6Error(router, {type, code: 0}, stranger)).reason).toBe(133);
    d.policy(A.id, [{direction: 'ingress', identity: 10, protocol: 58, port: 1}]);
    expect(wire(icmp6Error(router, {type: 1, code: 0}, stranger)).action).toBe('redirect_peer');
    expect(d.connections()).toEqual([]);
  });

  test('a quote that is cut off or no IPv6 header', () => {
    expect(wire(icmp6Error(pong, {type: 1, code: 1}, udp6(OUTGOING), 4)).reason).toBe(135);
    expect(wire(icmp6(pong, {type: 1, code: 1, body: new Uint8Array(8)})).reason).toBe(135);
    expect(wire(icmp6(pong, {type: 1, code: 1, body: new Uint8Array(60)})).reason).toBe(134);
  });
});
