// The whole chain (selectors, members, resolve, expand, two lookups) against a slow evaluator that reads the rules themselves.

import {describe, expect, test} from '@jest/globals';
import fc from 'fast-check';

import {contains, parsePrefix} from '../core/ip.js';
import {RESERVED_IDENTITIES} from '../domain/identity.js';
import {Labels} from '../domain/labels.js';
import {PROTOCOL_NUMBERS} from '../domain/policy.js';
import type {Direction, EnforcementMode, Peer, PortMatch, Protocol, Rule} from '../domain/policy.js';
import {canonicalSelector} from '../domain/selector.js';
import type {Selector} from '../domain/selector.js';
import {shuffled} from '../testing/seed.js';
import {FlowJudge} from './flows.js';
import {compileCluster} from './offline.js';
import type {CompiledCluster, OfflineEndpoint} from './offline.js';
import {resolveSubject} from './resolve.js';

const RUNS = 1500;
const PROTOCOLS: readonly Protocol[] = ['TCP', 'UDP', 'SCTP', 'ICMP', 'GRE'];

function endpoint(name: string, labels: readonly string[], port: number): OfflineEndpoint {
  return {
    namespace: 'n', name, labels: Labels.parse(['k8s:io.cilium.k8s.policy.cluster=default', ...labels]), ips: [], node: 'node0',
    namedPorts: port === 0 ? [] : [{name: 'http', protocol: 6, port}],
  };
}

/** The subject first. Two pods share an identity. */
const ENDPOINTS: readonly OfflineEndpoint[] = [
  endpoint('subject', ['k8s:app=web', 'k8s:tier=front'], 80),
  endpoint('same', ['k8s:app=web', 'k8s:tier=front'], 80),
  endpoint('db', ['k8s:app=db'], 81),
  endpoint('bare', [], 0),
  endpoint('back', ['k8s:app=web', 'k8s:tier=back'], 1024),
];
const ADDRESSES = ['10.0.0.1', '10.1.0.1', '10.1.2.3', '10.95.255.255', '10.96.0.1', '10.111.255.254', '10.112.0.1', '192.0.2.1', '8.8.8.8', '172.18.0.2'];
const API_SERVER = '172.18.0.2';
const PREFIXES = ['0.0.0.0/0', '10.0.0.0/8', '10.1.0.0/16', '10.1.2.0/24', '10.1.2.3/32', '10.96.0.0/12', '192.0.2.0/24', '128.0.0.0/1'];
const PORTS = [0, 1, 79, 80, 81, 88, 90, 95, 96, 1023, 1024, 8080, 65535];

/** Who a packet comes from or goes to, as the rules see it. */
interface Other {
  readonly ask: {readonly kind: 'pod'; readonly name: string} | {readonly kind: 'ip'; readonly address: string} | {readonly kind: 'reserved'; readonly id: number};
  readonly labels: readonly string[];
  readonly address: string | null;
  readonly namedPorts: OfflineEndpoint['namedPorts'];
}

const OTHERS: readonly Other[] = [
  ...ENDPOINTS.map(({name, labels, namedPorts}): Other => ({ask: {kind: 'pod', name: `n/${name}`}, labels: labels.format(), address: null, namedPorts})),
  ...ADDRESSES.map((address): Other => ({
    ask: {kind: 'ip', address}, labels: address === API_SERVER ? ['reserved:world', 'reserved:kube-apiserver'] : ['reserved:world'], address, namedPorts: [],
  })),
  ...[...RESERVED_IDENTITIES].filter(([id]) => id !== 2).map(([id, labels]): Other => ({ask: {kind: 'reserved', id}, labels, address: null, namedPorts: []})),
];

const requirement = fc.oneof(
  fc.constantFrom('app', 'tier').chain((key) => fc.record({
    source: fc.constantFrom('any', 'k8s'), key: fc.constant(key), operator: fc.constantFrom('In' as const, 'NotIn' as const),
    values: fc.array(fc.constantFrom('web', 'db', 'front', 'back'), {minLength: 1, maxLength: 2}),
  })),
  fc.record({source: fc.constant('k8s'), key: fc.constantFrom('app', 'tier'), operator: fc.constantFrom('Exists' as const, 'DoesNotExist' as const), values: fc.constant([])}),
  fc.record({source: fc.constant('reserved'), key: fc.constantFrom('host', 'world', 'remote-node', 'kube-apiserver'), operator: fc.constant('Exists' as const), values: fc.constant([])}),
);
const selector: fc.Arbitrary<Selector> = fc.array(requirement, {maxLength: 2}).map(canonicalSelector);
const peer: fc.Arbitrary<Peer> = fc.oneof(
  {weight: 1, arbitrary: fc.constant<Peer>({kind: 'all'})},
  {weight: 1, arbitrary: fc.constant<Peer>({kind: 'none'})},
  {weight: 4, arbitrary: selector.map((value): Peer => ({kind: 'labels', selector: value}))},
  {weight: 4, arbitrary: fc.tuple(fc.constantFrom(...PREFIXES), fc.subarray(PREFIXES, {maxLength: 2})).map(([prefix, holes]): Peer => ({
    kind: 'cidr', prefix, except: holes.filter((hole) => hole !== prefix && inside(hole, prefix)),
  }))},
);
const portMatch: fc.Arbitrary<PortMatch> = fc.oneof(
  fc.tuple(fc.constantFrom<Protocol>('TCP', 'UDP', 'ANY', 'SCTP'), fc.constantFrom(...PORTS), fc.constantFrom(...PORTS)).map(
    ([protocol, port, end]): PortMatch => ({protocol, port, endPort: port === 0 ? 0 : Math.max(port, end)})),
  fc.constantFrom(0, 3, 8).map((type): PortMatch => ({protocol: 'ICMP', port: type, endPort: type, exact: true})),
  fc.tuple(fc.constantFrom<Protocol>('TCP', 'ANY', 'UDP'), fc.constantFrom(0, 90)).map(([protocol, endPort]): PortMatch => ({protocol, port: 0, endPort, name: 'http'})),
  fc.constant<PortMatch>({protocol: 'GRE', port: 0, endPort: 0}),
);
const SUBJECT = ENDPOINTS[0] ?? endpoint('none', [], 0);
const rule: fc.Arbitrary<Rule> = fc.record({
  direction: fc.constantFrom<Direction>('ingress', 'egress'),
  deny: fc.boolean(),
  defaultDeny: fc.boolean(),
  peers: fc.array(peer, {maxLength: 3}),
  ports: fc.option(fc.array(portMatch, {maxLength: 3}), {nil: null}),
}).map((value) => ({
  ...value, subject: canonicalSelector([{source: 'k8s', key: 'tier', operator: 'In', values: ['front']}]),
  origin: {kind: 'K', namespace: 'n', name: JSON.stringify(value), uid: '', ruleIndex: 0},
}));
const rules = fc.array(rule, {maxLength: 6});
const mode = fc.constantFrom<EnforcementMode>('default', 'always', 'never');

interface Packet {
  readonly direction: Direction;
  readonly other: Other;
  readonly protocol: Protocol;
  readonly port: number;
}
const packet: fc.Arbitrary<Packet> = fc.record({
  direction: fc.constantFrom<Direction>('ingress', 'egress'),
  other: fc.constantFrom(...OTHERS),
  protocol: fc.constantFrom(...PROTOCOLS),
  port: fc.constantFrom(...PORTS),
}).map((value) => ({...value, port: value.protocol === 'ICMP' ? value.port % 10 : value.protocol === 'GRE' ? 0 : value.port}));

function inside(inner: string, outer: string): boolean {
  const a = parsePrefix(inner);
  const b = parsePrefix(outer);
  return a !== null && b !== null && contains(b, a);
}

/** The reference: written from what the rules mean, with no identity, prefix length or precedence in it. */
function reference(all: readonly Rule[], options: {mode: EnforcementMode; allowLocalhost: boolean}, asked: Packet): string {
  const mine = all.filter((item) => item.direction === asked.direction);
  if (options.mode === 'never' || (options.mode === 'default' && mine.length === 0)) return 'allow';
  const hits = mine.filter((item) => item.peers.some((value) => selects(value, asked.other)) && covers(item, asked));
  if (hits.some((item) => item.deny)) return 'deny';
  if (hits.length > 0) return 'allow';
  if (asked.direction === 'ingress' && options.allowLocalhost && asked.other.labels.includes('reserved:host')) return 'allow';
  return options.mode === 'default' && mine.every((item) => !item.defaultDeny) ? 'allow' : 'deny';
}

function selects(value: Peer, other: Other): boolean {
  if (value.kind === 'all') return true;
  if (value.kind === 'none' || value.kind === 'named') return false;
  if (value.kind === 'cidr') {
    const {address} = other;
    return address !== null && inside(address, value.prefix) && !value.except.some((hole) => inside(address, hole));
  }
  return value.selector.requirements.every(({source, key, operator, values}) => {
    const held = other.labels.filter((label) => {
      const [name = ''] = label.split('=');
      return source === 'any' ? name.slice(name.indexOf(':') + 1) === key : name === `${source}:${key}`;
    }).map((label) => label.split('=')[1] ?? '');
    const hit = operator === 'In' || operator === 'NotIn' ? held.some((text) => values.includes(text)) : held.length > 0;
    return operator === 'In' || operator === 'Exists' ? hit : !hit;
  });
}

function covers(item: Rule, asked: Packet): boolean {
  if (item.ports === null) return true;
  return item.ports.some((match) => {
    const protocols = match.protocol === 'ANY' ? ['TCP', 'UDP', 'SCTP'] : [match.protocol];
    if (!protocols.includes(asked.protocol)) return false;
    if (match.name === undefined) return (match.port === 0 && match.exact !== true) || (asked.port >= match.port && asked.port <= match.endPort);
    const owner = asked.direction === 'ingress' ? SUBJECT.namedPorts : asked.other.namedPorts;
    const number = owner.find((port) => port.name === match.name && port.protocol === PROTOCOL_NUMBERS[asked.protocol])?.port;
    if (number === undefined) return false;
    return asked.port >= number && asked.port <= Math.max(number, asked.direction === 'ingress' ? match.endPort : 0);
  });
}

function compile(all: readonly Rule[], options: {mode: EnforcementMode; allowLocalhost: boolean}): CompiledCluster {
  const cluster = {endpoints: ENDPOINTS, hostPods: [], nodes: [], rules: all, apiServerAddresses: [API_SERVER]};
  return compileCluster(cluster, {...options, routingMode: 'native'});
}

function verdict(cluster: CompiledCluster, asked: Packet): string | undefined {
  const {ask} = asked.other;
  const other = ask.kind === 'reserved' ? {kind: 'identity' as const, id: [...cluster.identities.keys()].find((id) => id === ask.id) ?? never()} : ask;
  const subject = {kind: 'pod', name: 'n/subject'} as const;
  const [source, destination] = asked.direction === 'egress' ? [subject, other] : [other, subject];
  const judged = new FlowJudge(cluster).judge({source, destination, protocol: PROTOCOL_NUMBERS[asked.protocol], port: asked.port});
  return judged[asked.direction]?.verdict.verdict;
}

function never(): never {
  throw new Error('a reserved identity is missing');
}

describe('the policy map gives the verdict of the rules', () => {
  test('for any rules, mode and packet', () => {
    fc.assert(fc.property(rules, fc.record({mode, allowLocalhost: fc.boolean()}), fc.array(packet, {minLength: 20, maxLength: 20}), (all, options, packets) => {
      const cluster = compile(all, options);
      for (const asked of packets) expect([asked, verdict(cluster, asked)]).toEqual([asked, reference(all, options, asked)]);
    }), {numRuns: RUNS});
  });

  test('the generated cases reach every outcome', () => {
    const seen = new Set<string>();
    fc.assert(fc.property(rules, packet, (all, asked) => {
      const options = {mode: 'default' as const, allowLocalhost: true};
      const judged = new FlowJudge(compile(all, options)).judge({
        source: {kind: 'pod', name: 'n/subject'}, destination: asked.other.ask.kind === 'reserved' ? {kind: 'ip', address: '8.8.8.8'} : asked.other.ask,
        protocol: PROTOCOL_NUMBERS[asked.protocol], port: asked.port,
      });
      const side = judged.egress?.verdict;
      seen.add(`${side?.verdict ?? ''} ${side?.matchType ?? ''}`);
    }), {numRuns: 3000, seed: 1});
    expect([...seen].sort()).toEqual(expect.arrayContaining([
      'allow L3-L4', 'allow L3-Only', 'allow L3-Proto', 'allow L4-Only', 'allow Proto-Only', 'allow all',
      'deny L3-L4', 'deny L3-Only', 'deny L3-Proto', 'deny L4-Only', 'deny Proto-Only', 'deny all', 'deny none',
    ]));
  });

  test('the order of rules, peers and ports does not matter', () => {
    fc.assert(fc.property(rules, fc.nat(), (all, seed) => {
      const turned = shuffled(all, seed).map((item) => ({
        ...item, peers: shuffled(item.peers, seed), ports: item.ports === null ? null : shuffled(item.ports, seed),
      }));
      const options = {mode: 'default' as const, allowLocalhost: true};
      expect(resolveSubject(turned, options)).toEqual(resolveSubject(all, options));
      const [one, other] = [compile(all, options), compile(turned, options)];
      expect(other.endpoints.get('n/subject')?.entries).toEqual(one.endpoints.get('n/subject')?.entries);
    }), {numRuns: 500});
  });

  test('equal rules said twice change nothing', () => {
    fc.assert(fc.property(rules, (all) => {
      const options = {mode: 'default' as const, allowLocalhost: true};
      expect(resolveSubject([...all, ...all], options)).toEqual(resolveSubject(all, options));
    }), {numRuns: 300});
  });
});
