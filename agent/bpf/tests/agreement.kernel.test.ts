// The kernel's verdict and the policy library's, for random worlds: the entries in a real map, the ipcache in a real trie, packets through
// the program. And what only the datapath can show of the documented statements.

import {afterAll, beforeEach, describe, expect, test} from '@jest/globals';
import fc from 'fast-check';

import {identityId} from '../../../lib/domain/identity.js';
import {PROTOCOL_NUMBERS} from '../../../lib/domain/policy.js';
import type {Direction, MapStateEntry} from '../../../lib/domain/policy.js';
import {FlowJudge} from '../../../lib/policy/flows.js';
import type {CompiledCluster, CompiledEndpoint} from '../../../lib/policy/offline.js';
import {seenFrom} from '../../../lib/policy/offline.js';
import {lookup} from '../../../lib/policy/verdict.js';
import {PolicyLab} from '../../../lib/testing/builders.js';
import {StatementCases} from '../../../lib/testing/cases.js';
import {labSpecOf} from '../../../lib/testing/reference-lab.js';
import {refWorld, REF_ADDRESSES} from '../../../lib/testing/reference-world.js';
import {random, shuffled} from '../../../lib/testing/seed.js';
import {ipcacheCodec} from '../../maps/ipcache.js';
import type {ProgramConfig} from '../../maps/program-config.js';
import {A as A4, B as B4, Datapath, NODE, REMOTE, WORLD} from '../probe/datapath.js';
import type {PodSpec, PolicyRow} from '../probe/datapath.js';
import {icmp, icmpError, rawIp, reversed, tcp, TCP_FLAGS, udp} from './packets.js';
import type {Flow} from './packets.js';
import {icmp6, rawIp6, tcp6, udp6} from './packets6.js';
import {A, B, closeAll, dualStack, NODE6} from './world6.js';

/** Families that the datapath judges. */
const FAMILIES: readonly (4 | 6)[] = [4, 6];
const WORLDS = 100;
const FLOWS = 60;

const cases = new StatementCases('agent/bpf/tests/agreement.kernel.test.ts');

let d: Datapath;
let sourcePort = 1024;
/** One for each configuration, cleared when it is asked for. */
const opened = new Map<string, Datapath>();
afterAll(() => {
  for (const one of opened.values()) one.close();
  closeAll();
});

interface L4 {
  readonly protocol: number;
  readonly port: number;
}

/** What differs between the families: the two pods of the test, the node, packets, and what holds connections without ports. */
interface Side {
  readonly a: PodSpec;
  readonly b: PodSpec;
  readonly source: string;
  readonly peer: string;
  readonly node: string;
  readonly icmp: number;
  readonly echo: number;
  readonly connections: 'cilium_ct_any4_global' | 'cilium_ct_any6_global';
  readonly open: () => Datapath;
  readonly packets: {
    tcp(flow: Flow, flags: number): Uint8Array;
    udp(flow: Flow): Uint8Array;
    icmp(flow: Flow, message: {readonly type: number; readonly id: number}): Uint8Array;
    raw(flow: Flow, protocol: number, payload: Uint8Array): Uint8Array;
  };
}

const SIDES: Readonly<Record<4 | 6, Side>> = {
  4: {
    a: A4, b: B4, source: A4.ip, peer: B4.ip, node: NODE, icmp: PROTOCOL_NUMBERS.ICMP, echo: 8, connections: 'cilium_ct_any4_global',
    open: openIPv4, packets: {tcp, udp, icmp, raw: rawIp},
  },
  6: {
    a: A, b: B, source: A.ipv6, peer: B.ipv6, node: NODE6, icmp: PROTOCOL_NUMBERS.ICMPv6, echo: 128, connections: 'cilium_ct_any6_global',
    open: dualStack, packets: {tcp: tcp6, udp: udp6, icmp: icmp6, raw: rawIp6},
  },
};

function openIPv4(config: Partial<ProgramConfig> = {}): Datapath {
  const key = JSON.stringify(config);
  const one = opened.get(key) ?? new Datapath(config);
  opened.set(key, one);
  one.clear();
  one.cluster();
  return one;
}

function packet(destination: string, {protocol, port}: L4, {source, icmp: echoes, packets}: Side): Uint8Array {
  sourcePort = sourcePort >= 65_000 ? 1024 : sourcePort + 1;
  const flow = {source, destination, sourcePort, destinationPort: port};
  switch (protocol) {
    case PROTOCOL_NUMBERS.TCP:
      return packets.tcp(flow, TCP_FLAGS.SYN);
    case PROTOCOL_NUMBERS.UDP:
      return packets.udp(flow);
    case echoes:
      return packets.icmp(flow, {type: port, id: sourcePort});
    default: {
      const payload = new Uint8Array(20);
      new DataView(payload.buffer).setUint16(0, sourcePort);
      new DataView(payload.buffer).setUint16(2, port);
      return packets.raw(flow, protocol, payload);
    }
  }
}

const PORT_PROTOCOLS: readonly number[] = [PROTOCOL_NUMBERS.TCP, PROTOCOL_NUMBERS.UDP, PROTOCOL_NUMBERS.SCTP];

function hasPorts(protocol: number): boolean {
  return PORT_PROTOCOLS.includes(protocol);
}

/** Just before, at both ends of, and just after each entry; and what no entry names. */
function boundaries(entries: readonly MapStateEntry[], {icmp: echoes, echo}: Side): L4[] {
  const found = new Map<string, L4>();
  const add = (protocol: number, port: number): void => {
    if (port >= 0 && port <= 65_535) found.set(`${protocol}/${port}`, {protocol, port});
  };
  for (const {protocol, port, portPrefixLength} of entries) {
    const last = port + 2 ** (16 - portPrefixLength) - 1;
    for (const edge of [port - 1, port, last, last + 1]) add(protocol === 0 ? PROTOCOL_NUMBERS.TCP : protocol, edge);
  }
  for (const protocol of PORT_PROTOCOLS) add(protocol, 443);
  for (const protocol of [PROTOCOL_NUMBERS.VRRP, PROTOCOL_NUMBERS.IGMP, PROTOCOL_NUMBERS.GRE]) add(protocol, 0);
  add(echoes, echo);
  // Only a query begins a flow; messages of the other family are none here.
  const isAsked = ({protocol, port}: L4): boolean => (protocol === echoes ? port === echo : protocol !== PROTOCOL_NUMBERS.ICMP && protocol !== PROTOCOL_NUMBERS.ICMPv6);
  return [...found.values()].filter(isAsked).map((l4) => (hasPorts(l4.protocol) || l4.protocol === echoes ? l4 : {...l4, port: 0}));
}

/** What the kernel says about the first packet of a flow in one direction. */
function kernelVerdict(destination: string, l4: L4, direction: Direction, side: Side): string {
  // Without ports every packet is of one connection, and only its first is told.
  const connections = d.map(side.connections);
  if (!hasPorts(l4.protocol)) for (const [key] of connections.entries()) connections.delete(key);
  const outcome = d.run('cil_from_container', packet(destination, l4, side));
  const [event] = outcome.events.filter((one) => one.kind === 'policy-verdict').map(({message}) => message)
    .filter((message) => message.direction === (direction === 'ingress' ? 1 : 2));
  if (event === undefined) return `no verdict, reason ${String(outcome.reason)}`;
  return event.verdict === 0 ? 'allow' : 'deny';
}

/** At egress the subject is A: destinations by address, through the ipcache. */
function checkEgress(cluster: CompiledCluster, subject: CompiledEndpoint, family: 4 | 6, next: () => number): number {
  for (const {key} of d.entries(ipcacheCodec)) d.map('cilium_ipcache').delete(ipcacheCodec.encodeKey(key));
  for (const entry of cluster.ipcache) if (isOf(family, entry.prefix)) d.ipcache(entry.prefix, seenFrom(entry, subject.endpoint.node));
  const side = SIDES[family];
  d.pod({...side.a, identity: subject.identity});
  d.policy(side.a.id, subject.entries.map((entry) => ({...entry})));
  const judge = new FlowJudge(cluster);
  const name = `${subject.endpoint.namespace}/${subject.endpoint.name}`;
  const addresses = [...[...cluster.endpoints.values()].flatMap(({endpoint}) => endpoint.ips), ...REF_ADDRESSES[family]]
    .filter((address) => isOf(family, address) && address !== side.source && address !== side.peer)
    // The datapath under test plays one node of the world; of a subject of another its own address is no other node's.
    .filter((address) => address !== side.node || subject.endpoint.node === cluster.ipcache.find(({prefix}) => prefix === `${side.node}/32`)?.node);
  const flows = addresses.flatMap((address) => boundaries(subject.entries.filter(({direction}) => direction === 'egress'), side).map((l4) => ({address, l4})));
  const chosen = shuffled(flows, Math.floor(next() * 2 ** 31)).slice(0, FLOWS / 2);
  for (const {address, l4} of chosen) {
    const judged = judge.judge({source: {kind: 'pod', name}, destination: {kind: 'ip', address}, ...l4}).egress?.verdict.verdict;
    expect([name, address, l4, kernelVerdict(address, l4, 'egress', side)]).toEqual([name, address, l4, judged]);
  }
  return chosen.length;
}

function isOf(family: 4 | 6, text: string): boolean {
  return text.includes(':') === (family === 6);
}

/** At ingress the subject is B, and A takes the identity of each peer in turn. */
function checkIngress(cluster: CompiledCluster, subject: CompiledEndpoint, family: 4 | 6, next: () => number): number {
  const side = SIDES[family];
  d.pod({...side.b, identity: subject.identity});
  d.policy(side.b.id, subject.entries.map((entry) => ({...entry})));
  const identities = [...cluster.identities.keys()];
  const flows = identities.flatMap((id) => boundaries(subject.entries.filter(({direction}) => direction === 'ingress'), side).map((l4) => ({id, l4})));
  const chosen = shuffled(flows, Math.floor(next() * 2 ** 31)).slice(0, FLOWS / 2);
  let peer = -1;
  for (const {id, l4} of chosen.sort((x, y) => x.id - y.id)) {
    if (id !== peer) d.pod({...side.a, identity: id});
    peer = id;
    const {verdict} = lookup(subject.index, {direction: 'ingress', identity: identityId(id), ...l4});
    expect([id, l4, kernelVerdict(side.peer, l4, 'ingress', side)]).toEqual([id, l4, verdict]);
  }
  return chosen.length;
}

/** Protocols of the entries that were asked about. */
const asked = new Set<number>();

describe.each(FAMILIES)('IPv%i', (family) => {
  cases.one('2.8-21', `in ${WORLDS} worlds`, () => {
    const seed = 7;
    const next = random(seed);
    let checked = 0;
    for (const world of fc.sample(refWorld, {numRuns: WORLDS, seed})) {
      d = SIDES[family].open();
      d.answers({fibIfindex: 9});
      const {compiled: cluster} = new PolicyLab(labSpecOf({...world, ipv6: family === 6}));
      const subjects = [...cluster.endpoints.values()];
      const subject = subjects[Math.floor(next() * subjects.length)];
      if (subject === undefined) throw new Error('a world has pods');
      for (const {protocol} of subject.entries) asked.add(protocol);
      checked += checkEgress(cluster, subject, family, next) + checkIngress(cluster, subject, family, next);
    }
    expect(checked).toBeGreaterThan(WORLDS * 20);
  }, 120_000);
});

test('entries of every protocol that a policy can name were among them', () => {
  const {ICMP, TCP, UDP, SCTP, VRRP, IGMP} = PROTOCOL_NUMBERS;
  expect([0, ICMP, TCP, UDP, SCTP, VRRP, IGMP].filter((protocol) => !asked.has(protocol))).toEqual([]);
});

describe('what policies do not decide', () => {
  const {SYN, ACK, PSH} = TCP_FLAGS;
  const toB = {source: A.ip, destination: B.ip, sourcePort: 40_000, destinationPort: 80};
  const ALLOW: PolicyRow = {direction: 'ingress', identity: A.identity, protocol: 6, port: 80};
  beforeEach(() => {
    d = openIPv4();
    d.answers({fibIfindex: 9});
  });
  const pod = (packet: Uint8Array): ReturnType<Datapath['run']> => d.run('cil_from_container', packet);
  const wire = (packet: Uint8Array): ReturnType<Datapath['run']> => d.run('cil_from_netdev', packet);

  cases.one('2.8-22', 'no entry, and an entry that denies', () => {
    d.policy(B.id, []);
    expect(pod(tcp(toB, SYN)).reason).toBe(133);
    d.policy(B.id, [{...ALLOW, deny: true}]);
    expect(pod(tcp(toB, SYN)).reason).toBe(181);
  });

  cases.one('2.11-21', 'an answer passes though both directions are closed', () => {
    const client = {source: WORLD, destination: A.ip, sourcePort: 50_000, destinationPort: 80};
    wire(tcp(client, SYN));
    d.policy(A.id, []);
    expect(pod(tcp(reversed(client), SYN | ACK)).action).toBe('redirect_neigh');
    expect(pod(tcp({...reversed(client), destinationPort: 50_001}, SYN | ACK)).reason).toBe(133);
  });

  cases.one('2.11-22 2.11-24', 'an error about a flow passes, one about nothing does not; fragmentation-needed always does', () => {
    const packet = tcp({source: A.ip, destination: WORLD, sourcePort: 40_000, destinationPort: 443}, SYN);
    pod(packet);
    d.policy(A.id, []);
    const stranger = udp({source: A.ip, destination: '203.0.113.1', sourcePort: 5, destinationPort: 6});
    const error = (code: number, about: Uint8Array): Uint8Array => icmpError({source: WORLD, destination: A.ip}, {type: 3, code}, about);
    expect(wire(error(1, packet)).action).toBe('redirect_peer');
    expect(wire(error(1, stranger)).reason).toBe(133);
    expect(wire(error(4, stranger)).action).toBe('redirect_peer');
  });

  cases.one('2.11-23', 'a flow that is established ends when what allowed it is taken away', () => {
    d.policy(B.id, [ALLOW]);
    expect([pod(tcp(toB, SYN)).action, pod(tcp(toB, ACK)).action]).toEqual(['redirect_peer', 'redirect_peer']);
    d.policy(B.id, []);
    expect(pod(tcp(toB, ACK | PSH)).reason).toBe(133);
    d.policy(B.id, [ALLOW]);
    expect(pod(tcp(toB, ACK | PSH)).action).toBe('redirect_peer');
  });

  cases.one('2.11-25', 'a pod makes no tunnel packets', () => {
    d = openIPv4({routingMode: 'tunnel'});
    expect(pod(udp({source: A.ip, destination: REMOTE.ip, sourcePort: 1, destinationPort: 8472})).reason).toBe(170);
  });

  cases.one('2.11-26', 'audit mode', () => {
    d.pod({...B, audit: true});
    d.policy(B.id, []);
    const outcome = pod(tcp(toB, SYN));
    expect(outcome).toMatchObject({action: 'redirect_peer', reason: null});
    expect(outcome.events.find((event) => event.kind === 'policy-verdict' && event.message.direction === 1)?.message).toMatchObject({audited: 1, verdict: -133});
  });
});

cases.complete();
