import {afterAll, beforeEach, describe, expect, test} from '@jest/globals';

import {CT_RX_CLOSING, CT_SEEN_NON_SYN, CT_TX_CLOSING, TUPLE_IN, TUPLE_OUT} from '../../maps/ct.js';
import type {CT_ENTRY} from '../../maps/ct.js';
import type {ValueOf} from '../../maps/layout.js';
import {A, B, REMOTE, WORLD} from '../probe/datapath.js';
import type {Datapath, Outcome} from '../probe/datapath.js';
import {FAMILIES} from './families.js';
import {icmp, icmpError, parse, rawIp, reversed, tcp, TCP_FLAGS, udp} from './packets.js';
import type {Flow} from './packets.js';
import {icmp6Error, padding, udp6} from './packets6.js';
import {A as A6, B as B6, closeAll, dualStack, WORLD6} from './world6.js';

const {SYN, ACK, FIN, RST, PSH} = TCP_FLAGS;
const START = 10_000;

let d: Datapath;
beforeEach(() => {
  d = dualStack({masquerade: false, ipv6: {podCidrs: ['fd00:98:1::/64'], masquerade: false, masqueradeExclusions: [], worldIpv4: 9, worldIpv6: 10}});
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
  if (found === undefined) throw new Error(`no entry in ${JSON.stringify(d.connections(), (_k, v: unknown) => (typeof v === 'bigint' ? Number(v) : v))}`);
  return found.value;
}

describe.each(FAMILIES)('%s', (_name, f) => {
  const CLIENT = {source: f.world, destination: f.a, sourcePort: 50_000, destinationPort: 80};
  const SERVER = reversed(CLIENT);
  const OUTGOING = {source: f.a, destination: f.world, sourcePort: 40_000, destinationPort: 443};

  describe('entries', () => {
    test('between two pods of a node: one for each side', () => {
      pod(f.tcp({...OUTGOING, destination: f.b}, SYN));
      expect(d.connections().map(({key}) => [key.source, key.destination, key.sourcePort, key.destinationPort, key.flags])
        .sort((x, y) => Number(x[4]) - Number(y[4]))).toEqual([[f.a, f.b, 40_000, 443, TUPLE_OUT], [f.a, f.b, 40_000, 443, TUPLE_IN]]);
      expect(entry({...OUTGOING, destination: f.b}, TUPLE_IN).sourceIdentity).toBe(A.identity);
    });

    test('count packets and bytes of both ways', () => {
      pod(f.tcp(OUTGOING, SYN));
      wire(f.tcp(reversed(OUTGOING), SYN | ACK));
      pod(f.tcp(OUTGOING, ACK, {payload: new Uint8Array(100)}));
      expect(entry(OUTGOING, TUPLE_OUT)).toMatchObject({packets: 3n, bytes: BigInt(3 * f.tcpLength + 100)});
    });

    test('a denied packet leaves none', () => {
      denyAll();
      pod(f.tcp(OUTGOING, SYN));
      wire(f.tcp(CLIENT, SYN));
      expect(d.connections()).toEqual([]);
    });

    test('TCP, all else, and their flags', () => {
      pod(f.tcp(OUTGOING, SYN));
      pod(f.udp(OUTGOING));
      expect(f.maps.map((name) => d.map(name).entries().length)).toEqual([1, 1]);
      expect(entry(OUTGOING, TUPLE_OUT)).toMatchObject({txFlagsSeen: SYN, rxFlagsSeen: 0, flags: 0});
    });

    test('no room for one: dropped, never passed without', () => {
      d.answers({ctCreateResult: -12});
      expect(pod(f.tcp(OUTGOING, SYN)).reason).toBe(155);
      expect(wire(f.udp(CLIENT)).reason).toBe(155);
      expect(d.counted(155)).toBe(2);
    });
  });

  describe('verdicts by state', () => {
    test('an answer passes what would be denied, both ways round', () => {
      wire(f.tcp(CLIENT, SYN));
      denyAll();
      expect(pod(f.tcp(SERVER, SYN | ACK)).action).toBe('redirect_neigh');
      d.policy(A.id, 'open');
      pod(f.udp(OUTGOING));
      denyAll();
      expect(wire(f.udp(reversed(OUTGOING))).action).toBe('redirect_peer');
    });

    test('an established connection is asked again in its own direction', () => {
      wire(f.tcp(CLIENT, SYN));
      expect(wire(f.tcp(CLIENT, ACK)).action).toBe('redirect_peer');
      denyAll();
      expect(wire(f.tcp(CLIENT, ACK | PSH)).reason).toBe(133);
      d.policy(A.id, [{direction: 'ingress', identity: f.worldIdentity, protocol: 6, port: 80}]);
      expect(wire(f.tcp(CLIENT, ACK | PSH)).action).toBe('redirect_peer');
    });

    test('an answer to nothing is a new connection', () => {
      denyAll();
      expect(wire(f.tcp(reversed(OUTGOING), SYN | ACK)).reason).toBe(133);
    });

    test('other ports, another peer, another protocol are not answers', () => {
      pod(f.udp(OUTGOING));
      denyAll();
      const answer = reversed(OUTGOING);
      for (const flow of [{...answer, sourcePort: 444}, {...answer, destinationPort: 40_001}, {...answer, source: f.remoteNode}]) {
        expect(wire(f.udp(flow)).reason).toBe(133);
      }
      expect(wire(f.tcp(answer, SYN | ACK)).reason).toBe(133);
      expect(wire(f.udp(answer)).action).toBe('redirect_peer');
    });

    test('both pods of a node answer each other', () => {
      const flow = {...OUTGOING, destination: f.b};
      d.pod({...B6, ifindex: 42});
      pod(f.tcp(flow, SYN));
      denyAll();
      d.policy(B.id, []);
      d.pod({...A6, ifindex: 43});
      d.policy(A.id, []);
      d.pod({...B6, ifindex: 1});
      d.policy(B.id, []);
      expect(pod(f.tcp(reversed(flow), SYN | ACK)).action).toBe('redirect_peer');
    });

    test('a flow without ports is one by addresses and protocol', () => {
      wire(f.rawIp(CLIENT, 47, new Uint8Array(20)));
      denyAll();
      expect(pod(f.rawIp(SERVER, 47, new Uint8Array(20))).action).toBe('redirect_neigh');
      expect(pod(f.rawIp(SERVER, 50, new Uint8Array(20))).reason).toBe(133);
    });
  });

  describe('TCP lifetimes', () => {
    const lifetime = (): number => entry(CLIENT, TUPLE_IN).lifetime - START;

    test('a SYN alone is remembered for a minute, a connection for hours', () => {
      wire(f.tcp(CLIENT, SYN));
      expect(lifetime()).toBe(60);
      pod(f.tcp(SERVER, SYN | ACK));
      expect(lifetime()).toBe(60);
      wire(f.tcp(CLIENT, ACK));
      expect(lifetime()).toBe(8000);
      expect(entry(CLIENT, TUPLE_IN).flags).toBe(CT_SEEN_NON_SYN);
    });

    test('every packet prolongs it', () => {
      wire(f.tcp(CLIENT, SYN));
      wire(f.tcp(CLIENT, ACK));
      d.seconds(START + 500);
      pod(f.tcp(SERVER, ACK));
      expect(lifetime()).toBe(8500);
    });

    test('FIN of both sides: ten seconds, and nothing prolongs them', () => {
      for (const packet of [f.tcp(CLIENT, SYN), f.tcp(CLIENT, ACK), f.tcp(CLIENT, FIN | ACK)]) wire(packet);
      expect(entry(CLIENT, TUPLE_IN).flags & (CT_TX_CLOSING | CT_RX_CLOSING)).toBe(CT_TX_CLOSING);
      expect(lifetime()).toBe(8000);
      pod(f.tcp(SERVER, FIN | ACK));
      expect(lifetime()).toBe(10);
      d.seconds(START + 5);
      wire(f.tcp(CLIENT, ACK));
      expect(lifetime()).toBe(10);
    });

    test('RST before an answer ends it, RST later closes its own direction', () => {
      wire(f.tcp(CLIENT, SYN));
      pod(f.tcp(SERVER, RST | ACK));
      expect(lifetime()).toBe(10);
      const other = {...CLIENT, sourcePort: 50_001};
      wire(f.tcp(other, SYN));
      pod(f.tcp(reversed(other), SYN | ACK));
      wire(f.tcp(other, RST));
      expect(entry(other, TUPLE_IN).flags & (CT_TX_CLOSING | CT_RX_CLOSING)).toBe(CT_TX_CLOSING);
    });

    test('a connection that is taken up in the middle is one', () => {
      wire(f.tcp(CLIENT, ACK));
      expect(lifetime()).toBe(8000);
    });

    test('a SYN on a closing connection opens a new one, and is asked', () => {
      for (const packet of [f.tcp(CLIENT, SYN), f.tcp(CLIENT, ACK), f.tcp(CLIENT, FIN | ACK)]) wire(packet);
      pod(f.tcp(SERVER, FIN | ACK));
      const again = wire(f.tcp(CLIENT, SYN));
      expect(again.events.some(({kind}) => kind === 'policy-verdict')).toBe(true);
      expect(lifetime()).toBe(60);
      expect(entry(CLIENT, TUPLE_IN)).toMatchObject({flags: 0, packets: 1n});
    });

    test('a SYN the other way round is no answer to a closing connection', () => {
      wire(f.tcp(CLIENT, SYN));
      expect(pod(f.tcp(SERVER, SYN)).action).toBe('redirect_neigh');
      wire(f.tcp(CLIENT, FIN | ACK));
      denyAll();
      expect(pod(f.tcp(SERVER, SYN)).reason).toBe(133);
      expect(pod(f.tcp(SERVER, ACK)).action).toBe('redirect_neigh');
    });

    test('what has run out is forgotten, also when nobody swept it', () => {
      wire(f.tcp(CLIENT, SYN));
      denyAll();
      d.seconds(START + 60);
      expect(pod(f.tcp(SERVER, SYN | ACK)).action).toBe('redirect_neigh');
      d.seconds(START + 121);
      expect(pod(f.tcp(SERVER, ACK)).reason).toBe(133);
    });
  });

  describe('other lifetimes', () => {
    test('UDP: a minute since the last packet of either side', () => {
      pod(f.udp(OUTGOING));
      d.seconds(START + 50);
      wire(f.udp(reversed(OUTGOING)));
      expect(entry(OUTGOING, TUPLE_OUT).lifetime).toBe(START + 110);
      denyAll();
      d.seconds(START + 111);
      expect(wire(f.udp(reversed(OUTGOING))).reason).toBe(133);
    });
  });

  describe('ICMP', () => {
    const ping = {source: f.a, destination: f.world};
    const pong = {source: f.world, destination: f.a};

    test('an echo reply with the same identifier is an answer', () => {
      pod(f.echo(ping, 77));
      denyAll();
      expect(wire(f.echoReply(pong, 78)).reason).toBe(133);
      expect(wire(f.echo(pong, 77)).reason).toBe(133);
      expect(wire(f.echoReply(pong, 77)).action).toBe('redirect_peer');
    });

    test('an error about a connection is related to it, from whoever it comes', () => {
      const packet = f.tcp(OUTGOING, SYN);
      pod(packet);
      denyAll();
      for (const source of [f.world, f.elsewhere]) {
        for (const kind of f.errors) {
          const outcome = wire(f.icmpError({source, destination: f.a}, kind, packet));
          expect(outcome.action).toBe('redirect_peer');
          expect(outcome.events.filter((event) => event.kind === 'policy-verdict')).toEqual([]);
        }
      }
    });

    test('an error that the pod sends about what it got', () => {
      const packet = f.udp(CLIENT);
      wire(packet);
      denyAll();
      expect(pod(f.icmpError(ping, f.unreachable, packet)).action).toBe('redirect_neigh');
    });

    test('an error about an answer, quoted the other way round', () => {
      wire(f.udp(CLIENT));
      const answer = f.udp(SERVER);
      pod(answer);
      denyAll();
      expect(wire(f.icmpError(pong, f.unreachable, answer)).action).toBe('redirect_peer');
    });

    test('errors about echoes', () => {
      pod(f.echo(ping, 77));
      denyAll();
      expect(wire(f.icmpError({source: f.elsewhere, destination: f.a}, f.unreachable, f.echo(ping, 77))).action).toBe('redirect_peer');
      expect(wire(f.icmpError({source: f.elsewhere, destination: f.a}, f.unreachable, f.echo(ping, 79))).reason).toBe(133);
    });

    test('an error about nobody\'s connection is asked, and leaves no entry', () => {
      const stranger = f.udp({...OUTGOING, sourcePort: 1});
      denyAll();
      expect(wire(f.icmpError(pong, f.unreachable, stranger)).reason).toBe(133);
      d.policy(A.id, [{direction: 'ingress', identity: f.worldIdentity, protocol: f.icmpProtocol, port: f.unreachable.type}]);
      expect(wire(f.icmpError(pong, f.unreachable, stranger)).action).toBe('redirect_peer');
      expect(d.connections()).toEqual([]);
    });

    test('a quote that is cut off or no header of the family', () => {
      expect(wire(f.icmpError(pong, f.unreachable, f.udp(OUTGOING), 4)).reason).toBe(135);
      expect(wire(f.icmp(pong, {...f.unreachable, body: new Uint8Array(8)})).reason).toBe(135);
      expect(wire(f.icmp(pong, {...f.unreachable, body: new Uint8Array(60)})).reason).toBe(134);
    });
  });
});

describe('of IPv4 alone', () => {
  const CLIENT = {source: WORLD, destination: A.ip, sourcePort: 50_000, destinationPort: 80};
  const OUTGOING = {source: A.ip, destination: WORLD, sourcePort: 40_000, destinationPort: 443};
  const pong = {source: WORLD, destination: A.ip};

  test('a redirect message is no such error', () => {
    const packet = tcp(OUTGOING, SYN);
    pod(packet);
    denyAll();
    expect(wire(icmpError(pong, {type: 5, code: 1}, packet)).reason).toBe(133);
  });

  const body = new Uint8Array(1000).fill(7);
  const first = {id: 99, moreFragments: true};
  const later = {id: 99, fragmentOffset: 1008};

  test('the first tells the ports, the others are judged by them', () => {
    d.policy(A.id, [{direction: 'ingress', identity: 9, protocol: 17, port: 80}]);
    expect(wire(udp(CLIENT, {...first, payload: body})).action).toBe('redirect_peer');
    expect(wire(rawIp(CLIENT, 17, body, later)).action).toBe('redirect_peer');
    expect(wire(rawIp(CLIENT, 17, body, {...later, moreFragments: true})).action).toBe('redirect_peer');
    expect(entry(CLIENT, TUPLE_IN).packets).toBe(3n);
    d.policy(A.id, [{direction: 'ingress', identity: 9, protocol: 17, port: 81}]);
    expect(wire(rawIp(CLIENT, 17, body, later)).reason).toBe(133);
  });

  test('one whose first was not seen, of another datagram, or of another protocol', () => {
    expect(wire(rawIp(CLIENT, 17, body, later)).reason).toBe(175);
    wire(udp(CLIENT, {...first, payload: body}));
    expect(wire(rawIp(CLIENT, 17, body, {...later, id: 100})).reason).toBe(175);
    expect(wire(rawIp(CLIENT, 6, body, later)).reason).toBe(175);
    expect(wire(rawIp({...CLIENT, source: REMOTE.node}, 17, body, later)).reason).toBe(175);
  });

  test('TCP flags are read from the first only', () => {
    wire(tcp(CLIENT, SYN));
    wire(tcp(CLIENT, ACK, {...first, payload: body}));
    const bytes = new Uint8Array(1000).fill(FIN | RST);
    expect(wire(rawIp(CLIENT, 6, bytes, later)).action).toBe('redirect_peer');
    expect(entry(CLIENT, TUPLE_IN).flags).toBe(CT_SEEN_NON_SYN);
  });

  test('a big ping, there and back', () => {
    const ping = {source: A.ip, destination: WORLD};
    expect(pod(icmp(ping, {type: 8, id: 77, body}, first)).action).toBe('redirect_neigh');
    expect(pod(rawIp(ping, 1, body, later)).action).toBe('redirect_neigh');
    denyAll();
    const pong = {source: WORLD, destination: A.ip};
    expect(wire(icmp(pong, {type: 0, id: 77, body}, first)).action).toBe('redirect_peer');
    expect(wire(rawIp(pong, 1, body, later)).action).toBe('redirect_peer');
  });

  test('an error in pieces', () => {
    const pong = {source: WORLD, destination: A.ip};
    expect(wire(icmp(pong, {type: 3, code: 1, body}, first)).reason).toBe(134);
  });

  test('a pod\'s own, towards another pod', () => {
    const flow = {...OUTGOING, destination: B.ip};
    pod(udp(flow, {...first, payload: body}));
    const outcome = pod(rawIp(flow, 17, body, later));
    expect(outcome.action).toBe('redirect_peer');
    expect(parse(outcome.packet)).toMatchObject({ttl: 63, destination: B.ip});
  });
});

describe('of IPv6 alone', () => {
  const OUTGOING = {source: A6.ipv6, destination: WORLD6, sourcePort: 40_000, destinationPort: 443};

  test('an answer behind extension headers is one', () => {
    pod(udp6(OUTGOING));
    denyAll();
    expect(wire(udp6(reversed(OUTGOING), {extensions: [padding(60)]})).action).toBe('redirect_peer');
  });

  test('addresses count to their last bit', () => {
    pod(udp6(OUTGOING));
    denyAll();
    for (const source of ['2001:db8:7::6', '2001:db8:7:8000::7', '2001:db8:6::7', '2001:db8:7:0:0:0:1:7']) {
      expect(wire(udp6({...reversed(OUTGOING), source})).reason).toBe(133);
    }
  });

  test('"too big" about nobody\'s connection is no exception', () => {
    denyAll();
    const stranger = udp6({...OUTGOING, sourcePort: 1});
    expect(wire(icmp6Error({source: WORLD6, destination: A6.ipv6}, {type: 2, code: 0}, stranger)).reason).toBe(133);
  });
});
