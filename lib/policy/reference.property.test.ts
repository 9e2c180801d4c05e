// The engine against the slow reference, in random worlds; and faults seeded into the engine's data, each of which the same worlds must find.

import {describe, expect, test} from '@jest/globals';
import fc from 'fast-check';

import type {MapStateEntry, Rule} from '../domain/policy.js';
import {identityId} from '../domain/identity.js';
import {PolicyLab} from '../testing/builders.js';
import {referenceVerdict} from '../testing/reference.js';
import {labSpecOf, protocolNumber} from '../testing/reference-lab.js';
import {refFlows, refWorld, type RefFlow, type RefWorld} from '../testing/reference-world.js';
import {FlowJudge, type FlowPeer} from './flows.js';
import type {CompiledCluster} from './offline.js';
import {indexEntries} from './verdict.js';

/** `make nightly` asks for more. */
const WORLDS = Number(process.env['STENTOR_WORLDS'] ?? 300);
const FLOWS = 80;

/** What a seeded fault makes of the engine's data on its way. */
interface Fault {
  readonly rule?: (rule: Rule) => Rule | null;
  readonly entries?: (entries: readonly MapStateEntry[]) => readonly MapStateEntry[];
  readonly world?: (world: RefWorld) => RefWorld;
}

function compileWorld(given: RefWorld, fault: Fault): CompiledCluster {
  const world = fault.world?.(given) ?? given;
  const {compiled} = new PolicyLab({...labSpecOf(world), ...(fault.rule === undefined ? {} : {changeRule: fault.rule})});
  const {entries: breakEntries} = fault;
  if (breakEntries === undefined) return compiled;
  return {...compiled, endpoints: new Map([...compiled.endpoints].map(([key, one]) => {
    const entries = breakEntries(one.entries);
    return [key, {...one, entries, index: indexEntries(entries)}];
  }))};
}

function engineVerdict(judge: FlowJudge, flow: RefFlow): string {
  const peer: FlowPeer = flow.peer.startsWith('#') ? {kind: 'identity', id: identityId(Number(flow.peer.slice(1)))}
    : flow.peer.includes('/') ? {kind: 'pod', name: flow.peer} : {kind: 'ip', address: flow.peer};
  const subject = {kind: 'pod', name: flow.subject} as const;
  const [source, destination] = flow.direction === 'egress' ? [subject, peer] : [peer, subject];
  const judged = judge.judge({source, destination, protocol: protocolNumber(flow.protocol), port: flow.port});
  return judged.error ?? judged[flow.direction]?.verdict.verdict ?? 'not judged';
}

/** The first flow that the two see differently. */
function difference(world: RefWorld, seed: number, fault: Fault = {}): {flow: RefFlow; engine: string; reference: string} | null {
  const judge = new FlowJudge(compileWorld(world, fault));
  for (const flow of refFlows(world, seed, FLOWS)) {
    const [engine, reference] = [engineVerdict(judge, flow), referenceVerdict(world, flow)];
    if (engine !== reference) return {flow, engine, reference};
  }
  return null;
}

const peersOf = (rule: Rule, change: (peer: Rule['peers'][number]) => Rule['peers'][number]): Rule => ({...rule, peers: rule.peers.map(change)});
const portsOf = (rule: Rule, change: (port: NonNullable<Rule['ports']>[number]) => NonNullable<Rule['ports']>[number]): Rule =>
  ({...rule, ports: rule.ports?.map(change) ?? null});

const FAULTS: Readonly<Record<string, Fault>> = {
  'deny rules are forgotten': {rule: (rule) => (rule.deny ? null : rule)},
  'deny rules allow': {rule: (rule) => ({...rule, deny: false})},
  'default deny is always on': {rule: (rule) => ({...rule, defaultDeny: true})},
  'deny rules do not isolate': {rule: (rule) => (rule.deny ? {...rule, defaultDeny: false} : rule)},
  'the directions are swapped': {rule: (rule) => ({...rule, direction: rule.direction === 'ingress' ? 'egress' : 'ingress'})},
  'exceptions are forgotten': {rule: (rule) => peersOf(rule, (peer) => ('except' in peer ? {...peer, except: []} : peer))},
  'only the first exception counts': {rule: (rule) => peersOf(rule, (peer) => ('except' in peer ? {...peer, except: peer.except.slice(0, 1)} : peer))},
  'an empty list of ports is every port': {rule: (rule) => (rule.ports?.length === 0 ? {...rule, ports: null} : rule)},
  'no peers are all peers': {rule: (rule) => (rule.peers.length === 0 ? {...rule, peers: [{kind: 'all'}]} : rule)},
  'a range is its first port': {rule: (rule) => portsOf(rule, (port) => ({...port, endPort: port.name === undefined ? port.port : 0}))},
  'a range ends one port early': {rule: (rule) => portsOf(rule, (port) => (port.endPort > port.port ? {...port, endPort: port.endPort - 1} : port))},
  'ANY is TCP and no more': {rule: (rule) => portsOf(rule, (port) => (port.protocol === 'ANY' ? {...port, protocol: 'TCP'} : port))},
  'ICMP type 0 is every type': {rule: (rule) => portsOf(rule, ({protocol, port, endPort}) => ({protocol, port, endPort}))},
  'named ports are every port': {rule: (rule) => portsOf(rule, ({protocol, port}) => ({protocol, port, endPort: port}))},
  'the subject is every pod': {rule: (rule) => ({...rule, subject: {requirements: []}})},
  'peers lose their namespace': {rule: (rule) => peersOf(rule, (peer) => (peer.kind !== 'labels' ? peer
    : {...peer, selector: {requirements: peer.selector.requirements.filter(({key}) => key !== 'io.kubernetes.pod.namespace')}}))},
  'NotIn does not match an absent key': {rule: (rule) => peersOf(rule, (peer) => (peer.kind !== 'labels' ? peer : {...peer, selector: {requirements:
    peer.selector.requirements.flatMap((one) => (one.operator === 'NotIn' ? [one, {...one, operator: 'Exists' as const, values: []}] : [one]))}}))},
  'what a deny overrules is left in the map': {entries: (entries) => entries.filter(({deny, derived}) => !deny || derived !== undefined)},
  'port prefixes lose their last bit': {entries: (entries) => entries.map((entry) => (entry.portPrefixLength === 16 ? {...entry, port: entry.port & ~1, portPrefixLength: 15} : entry))},
  'L4-only entries are forgotten': {entries: (entries) => entries.filter(({identity, protocol}) => identity !== 0 || protocol === 0)},
  'the local host is let in, whatever the option says': {world: (world) => ({...world, allowLocalhost: true})},
  'the API server is nobody special': {world: (world) => ({...world, apiServers: []})},
  'groups are one group': {world: (world) => ({...world, groups: world.groups.map((group) => ({...group, cidrs: world.groups.flatMap(({cidrs}) => cidrs)}))})},
  'labels of services do not matter': {world: (world) => ({...world, services: world.services.map((service) => ({...service, labels: {}}))})},
  'addresses of DNS names are forgotten': {world: (world) => ({...world, names: {}})},
  'a pod has one address': {world: (world) => ({...world, pods: world.pods.map((pod) => ({...pod, ips: pod.ips.slice(0, 1)}))})},
  'pods of the host network are on one node': {world: (world) => ({...world, hostPods: world.hostPods.map((pod) => ({...pod, node: 'node0'}))})},
  'extended protocols are every protocol': {rule: (rule) => (rule.ports?.some(({protocol}) => ['VRRP', 'IGMP', 'GRE'].includes(protocol)) === true ? {...rule, ports: null} : rule)},
  'ICMPv6 is ICMP': {rule: (rule) => portsOf(rule, (port) => (port.protocol === 'ICMPv6' ? {...port, protocol: 'ICMP'} : port))},
  'what is refused allows everybody': {rule: (rule) => (!rule.deny && rule.peers.length === 0 ? {...rule, peers: [{kind: 'all'}]} : rule)},
  'services have no backends': {world: (world) => ({...world, services: world.services.map((service) => ({...service, backends: []}))})},
};

test(`the engine and the reference agree in ${WORLDS} worlds`, () => {
  fc.assert(fc.property(refWorld, fc.nat(), (world, seed) => {
    expect(difference(world, seed)).toBeNull();
  }), {numRuns: WORLDS});
}, 3_600_000);

describe('a fault in the engine is found in 300 worlds', () => {
  const worlds = fc.sample(fc.tuple(refWorld, fc.nat()), {numRuns: 300, seed: 20});

  test('there are at least 20 of them', () => expect(Object.keys(FAULTS).length).toBeGreaterThanOrEqual(20));

  test.each(Object.entries(FAULTS))('%s', (_name, fault) => {
    expect(worlds.some(([world, seed]) => difference(world, seed, fault) !== null)).toBe(true);
  });
});
