import {afterAll, beforeAll, describe, expect, test} from '@jest/globals';

import {A, B, Datapath, LO, WORLD} from '../probe/datapath.js';
import type {Outcome, PolicyRow} from '../probe/datapath.js';
import {echo, echoReply, icmp, icmpError, rawIp, tcp, TCP_FLAGS, udp} from './packets.js';

let d: Datapath;
let sourcePort = 20_000;
beforeAll(() => {
  d = new Datapath();
  d.cluster();
});
afterAll(() => d.close());

/** Every packet is a new connection. */
const flow = (destinationPort: number): {source: string; destination: string; sourcePort: number; destinationPort: number} =>
  ({source: A.ip, destination: B.ip, sourcePort: sourcePort++, destinationPort});
const syn = (port: number): Uint8Array => tcp(flow(port), TCP_FLAGS.SYN);

const IN = {direction: 'ingress', identity: A.identity} as const;
const IN_ANY = {direction: 'ingress', identity: 0} as const;
const TCP = {protocol: 6};

const MATCH = {none: 0, l3: 1, l3l4: 2, l4: 3, all: 4, l3proto: 5, proto: 6} as const;

function verdictOf(outcome: Outcome, direction: number): {verdict: number; cookie: number; match: number} | null {
  const found = outcome.events.filter((event) => event.kind === 'policy-verdict').map(({message}) => message)
    .filter((message) => message.direction === direction);
  expect(found.length).toBeLessThanOrEqual(1);
  const [message] = found;
  return message === undefined ? null : {verdict: message.verdict, cookie: message.cookie, match: message.matchType};
}

/** rows → what a SYN from A to B:80 meets: verdict (0 or minus the reason), cookie of the deciding entry, match type. */
const TABLE: readonly (readonly [string, readonly PolicyRow[], number, number, number])[] = [
  ['no entry', [], -133, 0, MATCH.none],
  ['the peer, all ports', [{...IN, cookie: 1}], 0, 1, MATCH.l3],
  ['the peer, its port', [{...IN, ...TCP, port: 80, cookie: 1}], 0, 1, MATCH.l3l4],
  ['the peer, another port', [{...IN, ...TCP, port: 81}], -133, 0, MATCH.none],
  ['the peer, another protocol', [{...IN, protocol: 17, port: 80}], -133, 0, MATCH.none],
  ['the peer, its protocol', [{...IN, ...TCP, cookie: 1}], 0, 1, MATCH.l3proto],
  ['another peer', [{...IN, identity: 999}], -133, 0, MATCH.none],
  ['the other direction only', [{...IN, direction: 'egress'}], -133, 0, MATCH.none],
  ['everybody, the port', [{...IN_ANY, ...TCP, port: 80, cookie: 1}], 0, 1, MATCH.l4],
  ['everybody, the protocol', [{...IN_ANY, ...TCP, cookie: 1}], 0, 1, MATCH.proto],
  ['everybody, everything', [{...IN_ANY, cookie: 1}], 0, 1, MATCH.all],
  ['a range that holds the port', [{...IN, ...TCP, port: 64, portPrefixLength: 10, cookie: 1}], 0, 1, MATCH.l3l4],
  ['a range that ends before it', [{...IN, ...TCP, port: 64, portPrefixLength: 12}], -133, 0, MATCH.none],
  ['everybody, a range', [{...IN_ANY, ...TCP, port: 0, portPrefixLength: 1, cookie: 1}], 0, 1, MATCH.l4],
  ['the longest of one peer\'s entries', [{...IN, cookie: 1}, {...IN, ...TCP, cookie: 2}, {...IN, ...TCP, port: 80, cookie: 3}], 0, 3, MATCH.l3l4],
  ['deny the peer beats allow the port', [{...IN, deny: true, cookie: 1}, {...IN_ANY, ...TCP, port: 80, cookie: 2}], -181, 1, MATCH.l3],
  ['deny the port beats allow the peer', [{...IN, cookie: 1}, {...IN_ANY, ...TCP, port: 80, deny: true, cookie: 2}], -181, 2, MATCH.l4],
  ['deny the port beats allow the peer\'s port', [{...IN, ...TCP, port: 80, cookie: 1}, {...IN_ANY, ...TCP, port: 80, deny: true, cookie: 2}], -181, 2, MATCH.l4],
  ['deny everybody beats allow the peer\'s port', [{...IN, ...TCP, port: 80}, {...IN_ANY, deny: true, cookie: 2}], -181, 2, MATCH.all],
  ['deny the peer\'s port beats allow everybody', [{...IN, ...TCP, port: 80, deny: true, cookie: 1}, {...IN_ANY}], -181, 1, MATCH.l3l4],
  ['deny another port does not', [{...IN_ANY, ...TCP, port: 81, deny: true}, {...IN, cookie: 1}], 0, 1, MATCH.l3],
  ['two denies: the peer\'s is told', [{...IN, deny: true, cookie: 1}, {...IN_ANY, ...TCP, port: 80, deny: true, cookie: 2}], -181, 1, MATCH.l3],
  ['equal precedence: the longer one', [{...IN, cookie: 1}, {...IN_ANY, ...TCP, port: 80, cookie: 2}], 0, 2, MATCH.l4],
  ['equal precedence and length: the peer\'s', [{...IN, ...TCP, port: 80, cookie: 1}, {...IN_ANY, ...TCP, port: 80, cookie: 2}], 0, 1, MATCH.l3l4],
  ['the protocol is longer than nothing', [{...IN_ANY, ...TCP, cookie: 1}, {...IN, cookie: 2}], 0, 1, MATCH.proto],
  ['precedence before length, everybody\'s', [{...IN, ...TCP, port: 80, precedence: 5}, {...IN_ANY, precedence: 6, cookie: 2}], 0, 2, MATCH.all],
  ['precedence before length, the peer\'s', [{...IN, precedence: 6, cookie: 1}, {...IN_ANY, ...TCP, port: 80, precedence: 5}], 0, 1, MATCH.l3],
  ['a low deny loses to a higher allow', [{...IN_ANY, deny: true, precedence: 5}, {...IN, precedence: 6, cookie: 1}], 0, 1, MATCH.l3],
  ['a low deny of the peer loses too', [{...IN, deny: true, precedence: 5}, {...IN_ANY, precedence: 6, cookie: 2}], 0, 2, MATCH.all],
  ['a proxy that does not run', [{...IN, ...TCP, port: 80, proxyPort: 15_001, cookie: 1}], -178, 1, MATCH.l3l4],
  ['authentication that nobody did', [{...IN, authType: 1, cookie: 1}], -189, 1, MATCH.l3],
];

describe('ingress, peer and port', () => {
  test.each(TABLE)('%s', (...[, rows, verdict, cookie, match]) => {
    d.policy(B.id, rows);
    const before = d.counted(-verdict, 1);
    const outcome = d.run('cil_from_container', syn(80));
    expect(verdictOf(outcome, 1)).toEqual({verdict, cookie, match});
    expect(outcome.verdict).toBe(verdict === 0 ? 'redirect' : 'drop');
    expect(d.counted(-verdict, 1)).toBe(before + 1);
    const drop = outcome.events.find((event) => event.kind === 'drop');
    if (verdict < 0) expect(drop?.message).toMatchObject({subtype: -verdict, cookie, source: B.id, sourceIdentity: A.identity, destinationIdentity: B.identity, direction: 1});
    else expect(drop).toBeUndefined();
  });
});

describe('egress', () => {
  test('is asked first, with the identity of the destination', () => {
    d.policy(B.id, []);
    d.policy(A.id, []);
    const outcome = d.run('cil_from_container', syn(80));
    expect(outcome.reason).toBe(133);
    expect(verdictOf(outcome, 2)).toMatchObject({verdict: -133});
    expect(verdictOf(outcome, 1)).toBeNull();
    expect(outcome.events.find((event) => event.kind === 'drop')?.message).toMatchObject({source: A.id, direction: 2, destinationIdentity: B.identity});
  });

  test('both sides must agree', () => {
    d.policy(A.id, [{direction: 'egress', identity: B.identity, cookie: 5}]);
    expect(d.run('cil_from_container', syn(80)).reason).toBe(133);
    d.policy(B.id, [{direction: 'ingress', identity: A.identity, cookie: 6}]);
    const outcome = d.run('cil_from_container', syn(80));
    expect([verdictOf(outcome, 2)?.cookie, verdictOf(outcome, 1)?.cookie]).toEqual([5, 6]);
    expect(outcome.action).toBe('redirect_peer');
  });

  test.each([['what nobody knows is the world', 2, WORLD], ['a CIDR has its own number', 0x01000001, '172.16.9.9']])('%s', (_what, identity, destination) => {
    d.ipcache('172.16.0.0/12', 0x01000001);
    d.answers({fibIfindex: 9});
    d.policy(A.id, [{direction: 'egress', identity}]);
    expect(d.run('cil_from_container', tcp({...flow(443), destination}, TCP_FLAGS.SYN)).action).toBe('redirect_neigh');
    expect(d.run('cil_from_container', tcp({...flow(443), destination: destination === WORLD ? '172.16.9.9' : WORLD}, TCP_FLAGS.SYN)).reason).toBe(133);
    d.policy(A.id, 'open');
  });

  test('the longest prefix decides', () => {
    d.ipcache('172.16.0.0/12', 0x01000001);
    d.ipcache('172.16.5.0/24', 0x01000002);
    d.policy(A.id, [{direction: 'egress', identity: 0x01000001}]);
    expect(d.run('cil_from_container', tcp({...flow(443), destination: '172.16.4.255'}, TCP_FLAGS.SYN)).reason).toBeNull();
    expect(d.run('cil_from_container', tcp({...flow(443), destination: '172.16.5.0'}, TCP_FLAGS.SYN)).reason).toBe(133);
    expect(d.run('cil_from_container', tcp({...flow(443), destination: '172.32.0.0'}, TCP_FLAGS.SYN)).reason).toBe(133);
    d.policy(A.id, 'open');
  });
});

describe('protocols', () => {
  const toB = {source: A.ip, destination: B.ip};

  test('ICMP: the type is the port', () => {
    d.policy(B.id, [{...IN_ANY, protocol: 1, port: 8}]);
    expect(d.run('cil_from_container', echo(toB, 901)).action).toBe('redirect_peer');
    expect(d.run('cil_from_container', icmp(toB, {type: 13})).reason).toBe(133);
    expect(d.run('cil_from_container', echoReply(toB, 902)).reason).toBe(133);
    d.policy(B.id, [{...IN_ANY, protocol: 1, port: 0}]);
    expect(d.run('cil_from_container', echo(toB, 903)).reason).toBe(133);
    expect(d.run('cil_from_container', echoReply(toB, 904)).action).toBe('redirect_peer');
    d.policy(B.id, [{...IN_ANY, protocol: 1}]);
    expect(d.run('cil_from_container', icmp(toB, {type: 13})).action).toBe('redirect_peer');
  });

  test('"fragmentation needed" passes whatever the policy says; other errors of no flow do not', () => {
    d.policy(B.id, []);
    const unknown = udp({source: B.ip, destination: '203.0.113.1', sourcePort: 5, destinationPort: 6});
    expect(d.run('cil_from_container', icmpError(toB, {type: 3, code: 4}, unknown)).action).toBe('redirect_peer');
    expect(d.run('cil_from_container', icmpError(toB, {type: 3, code: 1}, unknown)).reason).toBe(133);
    expect(d.run('cil_from_container', icmpError(toB, {type: 11, code: 4}, unknown)).reason).toBe(133);
  });

  test('UDP and SCTP have ports, GRE has none', () => {
    d.policy(B.id, [{...IN, protocol: 17, port: 53}, {...IN, protocol: 132, port: 53}, {...IN, protocol: 47}]);
    expect(d.run('cil_from_container', udp(flow(53))).action).toBe('redirect_peer');
    expect(d.run('cil_from_container', udp(flow(54))).reason).toBe(133);
    expect(d.run('cil_from_container', rawIp(toB, 132, Uint8Array.of(1, 1, 0, 53, 0, 0, 0, 0))).action).toBe('redirect_peer');
    expect(d.run('cil_from_container', rawIp(toB, 132, Uint8Array.of(1, 1, 0, 54, 0, 0, 0, 0))).reason).toBe(133);
    expect(d.run('cil_from_container', rawIp(toB, 47, new Uint8Array(16))).action).toBe('redirect_peer');
    expect(d.run('cil_from_container', rawIp(toB, 50, new Uint8Array(16))).reason).toBe(133);
  });
});

describe('audit mode', () => {
  test('a denial is told and the packet passes', () => {
    d.pod({...B, audit: true});
    d.policy(B.id, []);
    const outcome = d.run('cil_from_container', syn(80));
    expect(outcome).toMatchObject({action: 'redirect_peer', reason: null});
    expect(outcome.events.find((event) => event.kind === 'policy-verdict' && event.message.direction === 1)?.message)
      .toMatchObject({audited: 1, verdict: -133, remoteIdentity: A.identity});
  });

  test('an endpoint that is not ready is not audited, it drops', () => {
    d.map('cilium_policy').delete(new Uint8Array(new Uint32Array([B.id]).buffer));
    expect(d.run('cil_from_container', syn(80)).reason).toBe(203);
    d.pod(B);
  });
});

describe('verdict events', () => {
  test('say who, where to and what', () => {
    d.policy(B.id, [{...IN, ...TCP, port: 8080, cookie: 77}]);
    const outcome = d.run('cil_from_container', syn(8080));
    const [event] = outcome.events.filter(({kind, message}) => kind === 'policy-verdict' && 'direction' in message && message.direction === 1);
    expect(event?.message).toMatchObject({source: B.id, remoteIdentity: A.identity, destinationPort: 8080, protocol: 6, ipv6: 0, audited: 0, cookie: 77});
    expect(event?.packet.length).toBe(54);
  });

  test('a denied packet is told every time, an allowed connection once', () => {
    d.policy(B.id, 'open');
    const open = tcp(flow(80), TCP_FLAGS.SYN);
    expect(verdictOf(d.run('cil_from_container', open), 1)).not.toBeNull();
    expect(verdictOf(d.run('cil_from_container', open), 1)).toBeNull();
    d.policy(B.id, []);
    for (let i = 0; i < 3; i++) expect(verdictOf(d.run('cil_from_container', open), 1)).toMatchObject({verdict: -133});
    expect(LO).toBe(1);
  });
});
