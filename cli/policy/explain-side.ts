// One side of a flow explained: what decided, which rules were asked, what the nearest one missed, what would let it through.

import {
  CLUSTER_IDENTITY_MIN, IDENTITY_HOST, IDENTITY_KUBE_APISERVER, IDENTITY_REMOTE_NODE, IDENTITY_WORLD, IDENTITY_WORLD_IPV4, IDENTITY_WORLD_IPV6, isLocalIdentity,
} from '../../lib/domain/identity.js';
import {Labels} from '../../lib/domain/labels.js';
import {reservedParty, type Party} from '../../lib/policy/compare.js';
import type {Flow, FlowPeer, JudgedSide} from '../../lib/policy/flows.js';
import {explainRules, nearestMiss, peerOfIdentity, type RuleAnswer, type SeenPeer} from '../../lib/policy/explain.js';
import {formatEntry, type EntryJson} from '../../lib/policy/format.js';
import type {CompiledCluster, CompiledEndpoint} from '../../lib/policy/offline.js';
import {formatPrefix, parsePrefix} from '../../lib/core/ip.js';
import {NO_MEANING, sourceId} from '../../lib/policy/selectors.js';
import {smallestChange, type Change, type DeniedSide} from './change.js';
import type {PeerYaml} from './peer-yaml.js';
import type {RulePlaces, World} from './world.js';

export interface ExplainedRule {
  readonly policy: string;
  readonly path: string;
  readonly place: string;
  readonly deny: boolean;
  readonly peerMatches: boolean;
  readonly portMatches: boolean;
  /** `wants app=api, has app=frontend`. */
  readonly misses: readonly string[];
}

export interface ExplainedSide {
  readonly direction: 'egress' | 'ingress';
  readonly subject: string;
  readonly verdict: 'allow' | 'deny';
  readonly enforced: boolean;
  /** Null: no entry matched, the default. */
  readonly entry: EntryJson | null;
  readonly decidedBy: readonly ExplainedRule[];
  readonly rules: readonly ExplainedRule[];
  /** Of a denial. */
  readonly nearest: ExplainedRule | null;
  readonly change: Change | null;
}

export interface ExplainContext {
  readonly world: World;
  readonly compiled: CompiledCluster;
  readonly places: RulePlaces;
}

const NO_LABELS = new Labels([]);

export function explainSide(context: ExplainContext, side: JudgedSide, flow: Flow): ExplainedSide {
  const {world, compiled} = context;
  const [subjectEnd, peerEnd] = side.direction === 'egress' ? [flow.source, flow.destination] : [flow.destination, flow.source];
  const subject = endpointOf(compiled, subjectEnd);
  const peerEndpoint = endpointOf(compiled, peerEnd);
  const subjectLabels = subject?.endpoint.labels ?? NO_LABELS;
  const peer = peerOfIdentity(compiled, side.peer, NO_LABELS);
  const named = (side.direction === 'ingress' ? subject : peerEndpoint)?.endpoint.namedPorts ?? [];
  const {meanings} = world.cluster;
  const ask = ({cluster}: World): readonly RuleAnswer[] => explainRules(cluster.rules, {
    direction: side.direction, subject: subjectLabels, peer, protocol: flow.protocol, port: flow.port,
    namedPort: (name, protocol) => named.find((port) => port.name.toLowerCase() === name && port.protocol === protocol)?.port,
    context: {families: compiled.families, meanings: (source) => meanings?.get(sourceId(source)) ?? NO_MEANING},
  });
  const answers = ask(world);
  const verdict = side.verdict.verdict === 'deny' ? 'deny' : 'allow';
  const near = verdict === 'deny' ? nearestMiss(answers) : null;
  const {entry} = side.verdict;
  const decided = answers.filter(({rule}) => entry?.origins.some((origin) =>
    origin.kind === rule.origin.kind && origin.namespace === rule.origin.namespace && origin.name === rule.origin.name && origin.ruleIndex === rule.origin.ruleIndex) ?? false);
  const key = subject === null ? '' : `${subject.endpoint.namespace}/${subject.endpoint.name}`;
  const denied: DeniedSide = {
    direction: side.direction, subject: key, subjectLabels, ...peerNames(peer, peerEnd, peerEndpoint), parties: partiesOf(peer), protocol: flow.protocol, port: flow.port, ask,
  };
  return {
    direction: side.direction, subject: key, verdict, enforced: side.enforced, entry: entry === null ? null : formatEntry(entry),
    decidedBy: decided.map((answer) => explained(answer, context)), rules: answers.map((answer) => explained(answer, context)),
    nearest: near === null ? null : explained(near, context),
    change: verdict === 'deny' ? smallestChange(world, compiled, denied) : null,
  };
}

export function endpointOf(compiled: CompiledCluster, end: FlowPeer): CompiledEndpoint | null {
  if (end.kind === 'pod') return compiled.endpoints.get(end.name) ?? null;
  if (end.kind !== 'ip') return null;
  return [...compiled.endpoints.values()].find(({endpoint}) => endpoint.ips.includes(end.address)) ?? null;
}

const COMPARED: ReadonlySet<number> = new Set([IDENTITY_HOST, IDENTITY_WORLD, IDENTITY_REMOTE_NODE, IDENTITY_KUBE_APISERVER, IDENTITY_WORLD_IPV4, IDENTITY_WORLD_IPV6]);

function partiesOf({identity, labels}: SeenPeer): readonly Party[] {
  const reserved = labels.all.find(({source}) => source === 'reserved');
  return reserved === undefined || identity >= CLUSTER_IDENTITY_MIN || COMPARED.has(identity) ? [] : [reservedParty(reserved.key, identity)];
}

/** How YAML names the peer, and how a comparison of clusters does. */
function peerNames({identity, labels}: SeenPeer, end: FlowPeer, endpoint: CompiledEndpoint | null): {readonly peer: PeerYaml; readonly peerName: string} {
  if (endpoint !== null) return {peer: {kind: 'pods', labels}, peerName: `${endpoint.endpoint.namespace}/${endpoint.endpoint.name}`};
  const isOutside = isLocalIdentity(identity) || labels.all.some(({source, key}) => source === 'reserved' && key.startsWith('world'));
  if (isOutside && end.kind === 'ip') {
    const prefix = parsePrefix(end.address);
    if (prefix !== null) return {peer: {kind: 'cidr', prefix: formatPrefix(prefix)}, peerName: formatPrefix(prefix)};
  }
  const cidr = labels.all.find(({source}) => source === 'cidr');
  if (cidr !== undefined) return {peer: {kind: 'cidr', prefix: cidr.key}, peerName: cidr.key};
  const reserved = labels.all.find(({source}) => source === 'reserved');
  if (reserved !== undefined) return {peer: {kind: 'entity', name: reserved.key}, peerName: reserved.key};
  return {peer: {kind: 'pods', labels}, peerName: ''};
}

function explained({rule, peerMatches, portMatches, misses}: RuleAnswer, {places}: ExplainContext): ExplainedRule {
  const {kind, namespace, name, ruleIndex} = rule.origin;
  return {
    policy: `${kind} ${namespace === '' ? '' : `${namespace}/`}${name}`, path: places.policy(rule.origin)?.paths[ruleIndex] ?? `rule ${ruleIndex}`,
    place: places.text(rule.origin), deny: rule.deny, peerMatches, portMatches, misses: misses.map(({wants, has}) => `wants ${wants}, has ${has}`),
  };
}
