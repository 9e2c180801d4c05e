import {afterEach, beforeEach, describe, expect, test} from '@jest/globals';

import {CT_RX_CLOSING, CT_SEEN_NON_SYN, CT_TX_CLOSING, TUPLE_IN, TUPLE_OUT} from '../../maps/ct.js';
import type {CT_ENTRY} from '../../maps/ct.js';
import type {ValueOf} from '../../maps/layout.js';
import {A, B, Datapath, REMOTE, WORLD} from './datapath.js';
import type {Outcome} from './datapath.js';
import {echo, echoReply, icmp, icmpError, parse, rawIp, reversed, tcp, TCP_FLAGS, udp} from './packets.js';
import type {Flow} from './packets.js';

const {SYN, ACK, FIN, RST, PSH} = TCP_FLAGS;
const CLIENT = {source: WORLD, destination: A.ip, sourcePort: 50_000, destinationPort: 80};
const SERVER = reversed(CLIENT);
const OUTGOING = {source: A.ip, destination: WORLD, sourcePort: 40_000, destinationPort: 443};
const START = 10_000;

let d: Datapath;
beforeEach(() => {
  d = new Datapath({masquerade: false});
  d.cluster();
  d.seconds(START);
  d.answers({fibIfindex: 9});
});
afterEach(() => d.close());

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

describe('entries', () => {
  test('between two pods of a node: one for each side', () => {
    pod(tcp({...OUTGOING, destination: B.ip}, SYN));
    expect(d.connections().map(({key}) => [key.source, key.destination, key.sourcePort, key.destinationPort, key.flags])
      .sort((x, y) => Number(x[4]) - Number(y[4]))).toEqual([[A.ip, B.ip, 40_000, 443, TUPLE_OUT], [A.ip, B.ip, 40_000, 443, TUPLE_IN]]);
    expect(entry({...OUTGOING, destination: B.ip}, TUPLE_IN).sourceIdentity).toBe(A.identity);
  });

  test('count packets and bytes of both ways', () => {
    pod(tcp(OUTGOING, SYN));
    wire(tcp(reversed(OUTGOING), SYN | ACK));
    pod(tcp(OUTGOING, ACK, {payload: new Uint8Array(100)}));
    expect(entry(OUTGOING, TUPLE_OUT)).toMatchObject({packets: 3n, bytes: BigInt(54 + 54 + 154)});
  });

  test('a denied packet leaves none', () => {
    denyAll();
    pod(tcp(OUTGOING, SYN));
    wire(tcp(CLIENT, SYN));
    expect(d.connections()).toEqual([]);
  });

  test('TCP, all else, and their flags', () => {
    pod(tcp(OUTGOING, SYN));
    pod(udp(OUTGOING));
    expect(d.map('cilium_ct4_global').entries().length).toBe(1);
    expect(d.map('cilium_ct_any4_global').entries().length).toBe(1);
    expect(entry(OUTGOING, TUPLE_OUT)).toMatchObject({txFlagsSeen: SYN, rxFlagsSeen: 0, flags: 0});
  });

  test('no room for one: dropped, never passed without', () => {
    d.answers({ctCreateResult: -12});
    expect(pod(tcp(OUTGOING, SYN)).reason).toBe(155);
    expect(wire(udp(CLIENT)).reason).toBe(155);
    expect(d.counted(155)).toBe(2);
  });
});

describe('verdicts by state', () => {
  test('an answer passes what would be denied, both ways round', () => {
    wire(tcp(CLIENT, SYN));
    denyAll();
    expect(pod(tcp(SERVER, SYN | ACK)).action).toBe('redirect_neigh');
    d.policy(A.id, 'open');
    pod(udp(OUTGOING));
    denyAll();
    expect(wire(udp(reversed(OUTGOING))).action).toBe('redirect_peer');
  });

  test('an established connection is asked again in its own direction', () => {
    wire(tcp(CLIENT, SYN));
    expect(wire(tcp(CLIENT, ACK)).action).toBe('redirect_peer');
    denyAll();
    expect(wire(tcp(CLIENT, ACK | PSH)).reason).toBe(133);
    d.policy(A.id, [{direction: 'ingress', identity: 2, protocol: 6, port: 80}]);
    expect(wire(tcp(CLIENT, ACK | PSH)).action).toBe('redirect_peer');
  });

  test('an answer to nothing is a new connection', () => {
    denyAll();
    expect(wire(tcp(reversed(OUTGOING), SYN | ACK)).reason).toBe(133);
  });

  test('other ports, another peer, another protocol are not answers', () => {
    pod(udp(OUTGOING));
    denyAll();
    const answer = reversed(OUTGOING);
    for (const flow of [{...answer, sourcePort: 444}, {...answer, destinationPort: 40_001}, {...answer, source: REMOTE.node}]) {
      expect(wire(udp(flow)).reason).toBe(133);
    }
    expect(wire(tcp(answer, SYN | ACK)).reason).toBe(133);
    expect(wire(udp(answer)).action).toBe('redirect_peer');
  });

  test('both pods of a node answer each other', () => {
    const flow = {...OUTGOING, destination: B.ip};
    d.pod({...B, ifindex: 42});
    pod(tcp(flow, SYN));
    denyAll();
    d.policy(B.id, []);
    d.pod({...A, ifindex: 43});
    d.policy(A.id, []);
    d.pod({...B, ifindex: 1});
    d.policy(B.id, []);
    expect(pod(tcp(reversed(flow), SYN | ACK)).action).toBe('redirect_peer');
  });

  test('a flow without ports is one by addresses and protocol', () => {
    wire(rawIp(CLIENT, 47, new Uint8Array(20)));
    denyAll();
    expect(pod(rawIp(SERVER, 47, new Uint8Array(20))).action).toBe('redirect_neigh');
    expect(pod(rawIp(SERVER, 50, new Uint8Array(20))).reason).toBe(133);
  });
});

describe('TCP lifetimes', () => {
  const lifetime = (): number => entry(CLIENT, TUPLE_IN).lifetime - START;

  test('a SYN alone is remembered for a minute, a connection for hours', () => {
    wire(tcp(CLIENT, SYN));
    expect(lifetime()).toBe(60);
    pod(tcp(SERVER, SYN | ACK));
    expect(lifetime()).toBe(60);
    wire(tcp(CLIENT, ACK));
    expect(lifetime()).toBe(8000);
    expect(entry(CLIENT, TUPLE_IN).flags).toBe(CT_SEEN_NON_SYN);
  });

  test('every packet prolongs it', () => {
    wire(tcp(CLIENT, SYN));
    wire(tcp(CLIENT, ACK));
    d.seconds(START + 500);
    pod(tcp(SERVER, ACK));
    expect(lifetime()).toBe(8500);
  });

  test('FIN of both sides: ten seconds, and nothing prolongs them', () => {
    for (const packet of [tcp(CLIENT, SYN), tcp(CLIENT, ACK), tcp(CLIENT, FIN | ACK)]) wire(packet);
    expect(entry(CLIENT, TUPLE_IN).flags & (CT_TX_CLOSING | CT_RX_CLOSING)).toBe(CT_TX_CLOSING);
    expect(lifetime()).toBe(8000);
    pod(tcp(SERVER, FIN | ACK));
    expect(lifetime()).toBe(10);
    d.seconds(START + 5);
    wire(tcp(CLIENT, ACK));
    expect(lifetime()).toBe(10);
  });

  test('RST before an answer ends it, RST later closes its own direction', () => {
    wire(tcp(CLIENT, SYN));
    pod(tcp(SERVER, RST | ACK));
    expect(lifetime()).toBe(10);
    const other = {...CLIENT, sourcePort: 50_001};
    wire(tcp(other, SYN));
    pod(tcp(reversed(other), SYN | ACK));
    wire(tcp(other, RST));
    expect(entry(other, TUPLE_IN).flags & (CT_TX_CLOSING | CT_RX_CLOSING)).toBe(CT_TX_CLOSING);
  });

  test('a connection that is taken up in the middle is one', () => {
    wire(tcp(CLIENT, ACK));
    expect(lifetime()).toBe(8000);
  });

  test('a SYN on a closing connection opens a new one, and is asked', () => {
    for (const packet of [tcp(CLIENT, SYN), tcp(CLIENT, ACK), tcp(CLIENT, FIN | ACK)]) wire(packet);
    pod(tcp(SERVER, FIN | ACK));
    const again = wire(tcp(CLIENT, SYN));
    expect(again.events.some(({kind}) => kind === 'policy-verdict')).toBe(true);
    expect(lifetime()).toBe(60);
    expect(entry(CLIENT, TUPLE_IN)).toMatchObject({flags: 0, packets: 1n});
  });

  test('a SYN the other way round is no answer to a closing connection', () => {
    wire(tcp(CLIENT, SYN));
    expect(pod(tcp(SERVER, SYN)).action).toBe('redirect_neigh');
    wire(tcp(CLIENT, FIN | ACK));
    denyAll();
    expect(pod(tcp(SERVER, SYN)).reason).toBe(133);
    expect(pod(tcp(SERVER, ACK)).action).toBe('redirect_neigh');
  });

  test('what has run out is forgotten, also when nobody swept it', () => {
    wire(tcp(CLIENT, SYN));
    denyAll();
    d.seconds(START + 60);
    expect(pod(tcp(SERVER, SYN | ACK)).action).toBe('redirect_neigh');
    d.seconds(START + 121);
    expect(pod(tcp(SERVER, ACK)).reason).toBe(133);
  });
});

describe('other lifetimes', () => {
  test('UDP: a minute since the last packet of either side', () => {
    pod(udp(OUTGOING));
    d.seconds(START + 50);
    wire(udp(reversed(OUTGOING)));
    expect(entry(OUTGOING, TUPLE_OUT).lifetime).toBe(START + 110);
    denyAll();
    d.seconds(START + 111);
    expect(wire(udp(reversed(OUTGOING))).reason).toBe(133);
  });
});

describe('ICMP', () => {
  const ping = {source: A.ip, destination: WORLD};
  const pong = {source: WORLD, destination: A.ip};

  test('an echo reply with the same identifier is an answer', () => {
    pod(echo(ping, 77));
    denyAll();
    expect(wire(echoReply(pong, 78)).reason).toBe(133);
    expect(wire(echo(pong, 77)).reason).toBe(133);
    expect(wire(echoReply(pong, 77)).action).toBe('redirect_peer');
  });

  test('an error about a connection is related to it, from whoever it comes', () => {
    const packet = tcp(OUTGOING, SYN);
    pod(packet);
    denyAll();
    for (const source of [WORLD, '192.0.2.254']) {
      const outcome = wire(icmpError({source, destination: A.ip}, {type: 3, code: 1}, packet));
      expect(outcome.action).toBe('redirect_peer');
      expect(outcome.events.filter(({kind}) => kind === 'policy-verdict')).toEqual([]);
    }
    expect(wire(icmpError(pong, {type: 11, code: 0}, packet)).action).toBe('redirect_peer');
    expect(wire(icmpError(pong, {type: 12, code: 0}, packet)).action).toBe('redirect_peer');
  });

  test('an error that the pod sends about what it got', () => {
    const packet = udp(CLIENT);
    wire(packet);
    denyAll();
    expect(pod(icmpError(ping, {type: 3, code: 3}, packet)).action).toBe('redirect_neigh');
  });

  test('an error about an answer, quoted the other way round', () => {
    wire(udp(CLIENT));
    const answer = udp(SERVER);
    pod(answer);
    denyAll();
    expect(wire(icmpError(pong, {type: 3, code: 3}, answer)).action).toBe('redirect_peer');
  });

  test('errors about echoes', () => {
    pod(echo(ping, 77));
    denyAll();
    expect(wire(icmpError({source: '192.0.2.254', destination: A.ip}, {type: 11, code: 0}, echo(ping, 77))).action).toBe('redirect_peer');
    expect(wire(icmpError({source: '192.0.2.254', destination: A.ip}, {type: 11, code: 0}, echo(ping, 79))).reason).toBe(133);
  });

  test('an error about nobody\'s connection is asked, and leaves no entry', () => {
    const stranger = udp({...OUTGOING, sourcePort: 1});
    denyAll();
    expect(wire(icmpError(pong, {type: 3, code: 1}, stranger)).reason).toBe(133);
    d.policy(A.id, [{direction: 'ingress', identity: 2, protocol: 1, port: 3}]);
    expect(wire(icmpError(pong, {type: 3, code: 1}, stranger)).action).toBe('redirect_peer');
    expect(d.connections()).toEqual([]);
  });

  test('a quote that is cut off or no IP header', () => {
    expect(wire(icmpError(pong, {type: 3, code: 1}, udp(OUTGOING), 4)).reason).toBe(135);
    expect(wire(icmp(pong, {type: 3, code: 1, body: new Uint8Array(8)})).reason).toBe(135);
    expect(wire(icmp(pong, {type: 3, code: 1, body: new Uint8Array(40)})).reason).toBe(134);
  });

  test('a redirect message is no such error', () => {
    const packet = tcp(OUTGOING, SYN);
    pod(packet);
    denyAll();
    expect(wire(icmpError(pong, {type: 5, code: 1}, packet)).reason).toBe(133);
  });
});

describe('fragments', () => {
  const body = new Uint8Array(1000).fill(7);
  const first = {id: 99, moreFragments: true};
  const later = {id: 99, fragmentOffset: 1008};

  test('the first tells the ports, the others are judged by them', () => {
    d.policy(A.id, [{direction: 'ingress', identity: 2, protocol: 17, port: 80}]);
    expect(wire(udp(CLIENT, {...first, payload: body})).action).toBe('redirect_peer');
    expect(wire(rawIp(CLIENT, 17, body, later)).action).toBe('redirect_peer');
    expect(wire(rawIp(CLIENT, 17, body, {...later, moreFragments: true})).action).toBe('redirect_peer');
    expect(entry(CLIENT, TUPLE_IN).packets).toBe(3n);
    d.policy(A.id, [{direction: 'ingress', identity: 2, protocol: 17, port: 81}]);
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
