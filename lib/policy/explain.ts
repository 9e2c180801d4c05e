// Why a flow is let through or not: the entry that decided, and of every rule that could have decided what it wanted and what
// it found. The rules are asked one by one here; the verdict itself is the map's.

import {formatPrefix} from '../core/ip.js';
import type {IdentityId} from '../domain/identity.js';
import {LABEL_CLUSTER} from '../domain/label-filter.js';
import type {Labels} from '../domain/labels.js';
import {PROTOCOL_NUMBERS} from '../domain/policy.js';
import type {Direction, Peer, PortMatch, Rule} from '../domain/policy.js';
import {matches} from '../domain/selector.js';
import type {Requirement} from '../domain/selector.js';
import {matcherOf} from './members.js';
import type {MatchContext} from './members.js';
import type {CompiledCluster} from './offline.js';
import {prefixOfText, selectorId} from './selectors.js';

/** The other end, as a rule sees it. */
export interface SeenPeer {
  readonly identity: IdentityId;
  readonly labels: Labels;
}

export interface SideQuery {
  readonly direction: Direction;
  /** Labels of the endpoint whose policy is asked. */
  readonly subject: Labels;
  readonly peer: SeenPeer;
  readonly protocol: number;
  readonly port: number;
  /** What a name stands for here: at ingress of the subject, at egress of the peer. */
  readonly namedPort: (name: string, protocol: number) => number | undefined;
  /** What names of groups, services and DNS stand for. */
  readonly context: MatchContext;
}

/** What a peer wanted and did not find. */
export interface PeerMiss {
  readonly peer: Peer;
  /** `tier=frontend`. */
  readonly wants: string;
  /** `tier=web`, or that there is none. */
  readonly has: string;
}

export interface RuleAnswer {
  readonly rule: Rule;
  readonly peerMatches: boolean;
  readonly portMatches: boolean;
  /** Of the alternative that came nearest. */
  readonly misses: readonly PeerMiss[];
}

export function peerOfIdentity(cluster: CompiledCluster, identity: IdentityId, none: Labels): SeenPeer {
  return {identity, labels: cluster.identities.get(identity) ?? none};
}

/** Every rule that selects the subject in this direction, in the order given. */
export function explainRules(rules: readonly Rule[], query: SideQuery): RuleAnswer[] {
  return rules.filter((rule) => rule.direction === query.direction && matches(rule.subject, query.subject)).map((rule) => {
    const peerMatches = rule.peers.some((peer) => peerMatchesSeen(peer, query.peer, query.context));
    return {rule, peerMatches, portMatches: portsMatch(rule.ports, query), misses: peerMatches ? [] : nearestMisses(rule.peers, query.peer)};
  });
}

/** The allow rule that is nearest to letting the flow through; rules that only isolate are nearest to nothing. */
export function nearestMiss(answers: readonly RuleAnswer[]): RuleAnswer | null {
  const distance = ({misses, peerMatches, portMatches}: RuleAnswer): number => (peerMatches ? 0 : misses.length) + (portMatches ? 0 : 1);
  const allows = answers.filter(({rule}) => !rule.deny && rule.peers.length > 0 && rule.ports?.length !== 0);
  return allows.reduce<RuleAnswer | null>((best, answer) => (best === null || distance(answer) < distance(best) ? answer : best), null);
}

function prefixOfLabels(labels: Labels): string | null {
  const cidr = labels.all.find(({source}) => source === 'cidr');
  return cidr === undefined ? null : cidr.key;
}

function peerMatchesSeen(peer: Peer, {identity, labels}: SeenPeer, context: MatchContext): boolean {
  const matcher = matcherOf(peer, context);
  const prefix = prefixOfLabels(labels);
  return prefix === null ? matcher.matchesIdentity(identity, labels) : matcher.matchesPrefix(prefixOfText(prefix), labels);
}

function portsMatch(ports: readonly PortMatch[] | null, query: SideQuery): boolean {
  return ports === null || ports.some((port) => portMatches(port, query));
}

function portMatches({protocol, port, endPort, name, exact}: PortMatch, query: SideQuery): boolean {
  const withPorts: readonly number[] = [PROTOCOL_NUMBERS.TCP, PROTOCOL_NUMBERS.UDP, PROTOCOL_NUMBERS.SCTP];
  if (protocol === 'ANY' ? !withPorts.includes(query.protocol) : PROTOCOL_NUMBERS[protocol] !== query.protocol) return false;
  if (name !== undefined) {
    const first = query.namedPort(name, query.protocol);
    return first !== undefined && first <= query.port && query.port <= Math.max(first, query.direction === 'ingress' ? endPort : 0);
  }
  if (port === 0 && endPort === 0 && exact !== true) return true;
  return port <= query.port && query.port <= Math.max(port, endPort);
}

function nearestMisses(peers: readonly Peer[], seen: SeenPeer): readonly PeerMiss[] {
  const all = peers.map((peer) => missesOf(peer, seen));
  return all.reduce<readonly PeerMiss[]>((best, misses, i) => (i === 0 || misses.length < best.length ? misses : best), []);
}

function missesOf(peer: Peer, seen: SeenPeer): PeerMiss[] {
  const prefix = prefixOfLabels(seen.labels);
  const isPod = seen.labels.all.some(({source}) => source !== 'reserved' && source !== 'cidr');
  const has = prefix !== null ? formatPrefix(prefixOfText(prefix)) : isPod ? 'a pod' : seen.labels.format()[0] ?? 'an unknown peer';
  if (peer.kind === 'labels' && isPod && !peer.selector.requirements.some(({source}) => source === 'reserved')) {
    const unmet = peer.selector.requirements.filter((requirement) => !matches({requirements: [requirement]}, seen.labels));
    return unmet.map((requirement) => ({peer, wants: wanted(requirement), has: found(requirement, seen.labels)}));
  }
  const wants = peer.kind === 'cidr' ? `an address in ${peer.prefix}${peer.except.length > 0 ? ` except ${peer.except.join(', ')}` : ''}`
    : peer.kind === 'labels' ? podsText(peer.selector.requirements) : selectorId(peer);
  return [{peer, wants, has}];
}

/** Without what holds for every pod of the cluster. */
function podsText(requirements: readonly Requirement[]): string {
  const [first] = requirements;
  if (requirements.length === 1 && first?.source === 'reserved') return `reserved:${first.key}`;
  const texts = requirements.filter(({key}) => key !== LABEL_CLUSTER).map(wanted);
  return texts.length === 0 ? 'a pod' : `a pod with ${texts.join(', ')}`;
}

function wanted({key, operator, values}: Requirement): string {
  switch (operator) {
    case 'In':
      return values.length === 1 ? `${key}=${values[0] ?? ''}` : `${key} in (${values.join(', ')})`;
    case 'NotIn':
      return `${key} not in (${values.join(', ')})`;
    case 'Exists':
      return `a label ${key}`;
    case 'DoesNotExist':
      return `no label ${key}`;
  }
}

function found({source, key}: Requirement, labels: Labels): string {
  const values = labels.valuesOf(source, key);
  return values.length === 0 ? `no ${key}` : values.map((value) => `${key}=${value}`).join(', ');
}
