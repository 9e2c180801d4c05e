// The kernel's verdict and the policy library's, for random worlds: the entries in a real map, the ipcache in a real trie, packets through
// the program. IPv4: the datapath knows no other family yet.

import {afterAll, beforeAll, expect, test} from '@jest/globals';
import fc from 'fast-check';

import {identityId} from '../../../lib/domain/identity.js';
import {PROTOCOL_NUMBERS} from '../../../lib/domain/policy.js';
import type {Direction, MapStateEntry, Protocol} from '../../../lib/domain/policy.js';
import {FlowJudge} from '../../../lib/policy/flows.js';
import type {CompiledCluster, CompiledEndpoint} from '../../../lib/policy/offline.js';
import {seenFrom} from '../../../lib/policy/offline.js';
import {lookup} from '../../../lib/policy/verdict.js';
import {PolicyLab, pod} from '../../../lib/testing/builders.js';
import {refWorld, type RefWorld} from '../../../lib/testing/reference-world.js';
import {random, shuffled} from '../../../lib/testing/seed.js';
import {ipcacheCodec} from '../../maps/ipcache.js';
import {A, B, Datapath} from './datapath.js';
import {icmp, rawIp, tcp, TCP_FLAGS, udp} from './packets.js';

const WORLDS = 100;
const FLOWS = 60;
const OUTSIDE = ['10.1.2.3', '10.200.0.1', '192.0.2.7', '192.0.2.200', '203.0.113.1', '172.18.0.2', '10.98.0.77', '10.1.5.10', '10.1.5.11', '8.8.8.8'];

let d: Datapath;
let sourcePort = 1024;
beforeAll(() => {
  d = new Datapath();
  d.cluster();
  d.answers({fibIfindex: 9});
});
afterAll(() => d.close());

function compile(world: RefWorld): CompiledCluster {
  const pods = world.pods.map((one) => pod(`${one.namespace}/${one.name}`, {
    labels: one.labels, ip: one.ips[0] ?? '', node: one.node, namedPorts: one.ports.map((port) => ({...port, protocol: PROTOCOL_NUMBERS[port.protocol as Protocol]})),
  }));
  return new PolicyLab({
    pods, nodes: world.nodes, policies: world.policies, mode: world.mode, allowLocalhost: world.allowLocalhost, apiServerAddresses: world.apiServers,
  }).compiled;
}

interface L4 {
  readonly protocol: number;
  readonly port: number;
}

/** Just before, at both ends of, and just after each entry; and what no entry names. */
function boundaries(entries: readonly MapStateEntry[]): L4[] {
  const found = new Map<string, L4>();
  const add = (protocol: number, port: number): void => {
    if (port >= 0 && port <= (protocol === PROTOCOL_NUMBERS.ICMP ? 18 : 65_535)) found.set(`${protocol}/${port}`, {protocol, port});
  };
  for (const {protocol, port, portPrefixLength} of entries) {
    const last = port + 2 ** (16 - portPrefixLength) - 1;
    for (const edge of [port - 1, port, last, last + 1]) add(protocol === 0 ? PROTOCOL_NUMBERS.TCP : protocol, edge);
  }
  for (const protocol of [PROTOCOL_NUMBERS.TCP, PROTOCOL_NUMBERS.UDP, PROTOCOL_NUMBERS.SCTP]) add(protocol, 443);
  add(PROTOCOL_NUMBERS.ICMP, 8);
  for (const protocol of [PROTOCOL_NUMBERS.VRRP, PROTOCOL_NUMBERS.IGMP]) found.set(`${protocol}`, {protocol, port: 0});
  // Only a query begins a flow.
  return [...found.values()].filter(({protocol, port}) => protocol !== PROTOCOL_NUMBERS.ICMP || port === 8)
    .map((l4) => (hasPorts(l4.protocol) ? l4 : {...l4, port: l4.protocol === PROTOCOL_NUMBERS.ICMP ? l4.port : 0}));
}

function hasPorts(protocol: number): boolean {
  return protocol === PROTOCOL_NUMBERS.TCP || protocol === PROTOCOL_NUMBERS.UDP || protocol === PROTOCOL_NUMBERS.SCTP;
}

function packet(destination: string, {protocol, port}: L4): Uint8Array {
  sourcePort = sourcePort >= 65_000 ? 1024 : sourcePort + 1;
  const flow = {source: A.ip, destination, sourcePort, destinationPort: port};
  switch (protocol) {
    case PROTOCOL_NUMBERS.TCP:
      return tcp(flow, TCP_FLAGS.SYN);
    case PROTOCOL_NUMBERS.UDP:
      return udp(flow);
    case PROTOCOL_NUMBERS.ICMP:
      return icmp(flow, {type: port, id: sourcePort});
    default: {
      const payload = new Uint8Array(20);
      new DataView(payload.buffer).setUint16(0, sourcePort);
      new DataView(payload.buffer).setUint16(2, port);
      return rawIp(flow, protocol, payload);
    }
  }
}

/** What the kernel says about the first packet of a flow in one direction. */
function kernelVerdict(destination: string, l4: L4, direction: Direction): string {
  // Without ports every packet is of one connection, and only its first is told.
  const connections = d.map('cilium_ct_any4_global');
  if (!hasPorts(l4.protocol)) for (const [key] of connections.entries()) connections.delete(key);
  const outcome = d.run('cil_from_container', packet(destination, l4));
  const [event] = outcome.events.filter((one) => one.kind === 'policy-verdict').map(({message}) => message)
    .filter((message) => message.direction === (direction === 'ingress' ? 1 : 2));
  if (event === undefined) return `no verdict, reason ${String(outcome.reason)}`;
  return event.verdict === 0 ? 'allow' : 'deny';
}

/** At egress the subject is A: destinations by address, through the ipcache. */
function checkEgress(cluster: CompiledCluster, subject: CompiledEndpoint, next: () => number): number {
  for (const {key} of d.entries(ipcacheCodec)) d.map('cilium_ipcache').delete(ipcacheCodec.encodeKey(key));
  for (const entry of cluster.ipcache) d.ipcache(entry.prefix, seenFrom(entry, subject.endpoint.node));
  d.pod({...A, identity: subject.identity});
  d.policy(A.id, subject.entries.map((entry) => ({...entry})));
  const judge = new FlowJudge(cluster);
  const name = `${subject.endpoint.namespace}/${subject.endpoint.name}`;
  const addresses = [...[...cluster.endpoints.values()].map(({endpoint}) => endpoint.ips[0] ?? ''), ...OUTSIDE]
    .filter((address) => address !== A.ip && address !== B.ip);
  const flows = addresses.flatMap((address) => boundaries(subject.entries.filter(({direction}) => direction === 'egress')).map((l4) => ({address, l4})));
  const chosen = shuffled(flows, Math.floor(next() * 2 ** 31)).slice(0, FLOWS / 2);
  for (const {address, l4} of chosen) {
    const judged = judge.judge({source: {kind: 'pod', name}, destination: {kind: 'ip', address}, ...l4}).egress?.verdict.verdict;
    expect([name, address, l4, kernelVerdict(address, l4, 'egress')]).toEqual([name, address, l4, judged]);
  }
  return chosen.length;
}

/** At ingress the subject is B, and A takes the identity of each peer in turn. */
function checkIngress(cluster: CompiledCluster, subject: CompiledEndpoint, next: () => number): number {
  d.pod({...B, identity: subject.identity});
  d.policy(B.id, subject.entries.map((entry) => ({...entry})));
  const identities = [...cluster.identities.keys()];
  const flows = identities.flatMap((id) => boundaries(subject.entries.filter(({direction}) => direction === 'ingress')).map((l4) => ({id, l4})));
  const chosen = shuffled(flows, Math.floor(next() * 2 ** 31)).slice(0, FLOWS / 2);
  let peer = -1;
  for (const {id, l4} of chosen.sort((a, b) => a.id - b.id)) {
    if (id !== peer) d.pod({...A, identity: id});
    peer = id;
    const {verdict} = lookup(subject.index, {direction: 'ingress', identity: identityId(id), ...l4});
    expect([id, l4, kernelVerdict(B.ip, l4, 'ingress')]).toEqual([id, l4, verdict]);
  }
  return chosen.length;
}

test(`in ${WORLDS} worlds`, () => {
  const seed = 7;
  const next = random(seed);
  let checked = 0;
  for (const world of fc.sample(refWorld, {numRuns: WORLDS, seed})) {
    const cluster = compile({...world, ipv6: false});
    const subjects = [...cluster.endpoints.values()];
    const subject = subjects[Math.floor(next() * subjects.length)];
    if (subject === undefined) throw new Error('a world has pods');
    checked += checkEgress(cluster, subject, next) + checkIngress(cluster, subject, next);
  }
  expect(checked).toBeGreaterThan(WORLDS * 20);
}, 60_000);
