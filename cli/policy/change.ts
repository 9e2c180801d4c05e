// For a denied side: the smallest change of YAML that would allow the flow. Candidates are tried on a copy of the world and
// compiled; one that flips this verdict and no other is taken, else the one that flips the fewest others, which are told. Where no single
// edit is enough, one for each rule that denies and one that allows.

import type {ObjectRef} from '../../lib/core/errors.js';
import type {Labels} from '../../lib/domain/labels.js';
import type {Direction} from '../../lib/domain/policy.js';
import {sideChangesOf, type Party, type SideChange} from '../../lib/policy/compare.js';
import {nearestMiss, type RuleAnswer} from '../../lib/policy/explain.js';
import type {CompiledCluster} from '../../lib/policy/offline.js';
import {includes} from '../../lib/policy/reach.js';
import type {SourceObject} from './documents.js';
import {ObjectSource} from './documents.js';
import {applyEdit, valueAt, type Edit} from './edit.js';
import {ciliumPeer, ciliumPort, ciliumPorts, kubernetesPeer, namespaceOf, protocolName, selectorFor, type PeerYaml} from './peer-yaml.js';
import {compileWorld, loadPolicy, policyDecoders, type LoadedPolicy, type World} from './world.js';

export interface DeniedSide {
  readonly direction: Direction;
  /** Key of the pod whose policy denies. */
  readonly subject: string;
  readonly subjectLabels: Labels;
  readonly peer: PeerYaml;
  /** Name of the party that the peer is: key of its pod, entity, prefix. */
  readonly peerName: string;
  /** The peer as an end of comparisons, where they have none of its kind. */
  readonly parties: readonly Party[];
  readonly protocol: number;
  readonly port: number;
  /** Every rule that selects the subject in a world, and what it says to the flow. */
  readonly ask: (world: World) => readonly RuleAnswer[];
}

export interface Step {
  readonly object: ObjectRef;
  readonly file: string;
  readonly line: number;
  readonly edit: Edit;
}

export interface Change extends Step {
  /** To be made after the first, in this order. */
  readonly more: readonly Step[];
  /** Verdicts of other flows that it would change as well. */
  readonly others: readonly SideChange[];
}

interface Candidate {
  readonly policy: LoadedPolicy | null;
  readonly ref: ObjectRef;
  readonly edit: Edit;
}

/** Rules that deny one flow beyond which no change is proposed. */
const DENIES_MAX = 4;

/** Null when no change was found: too many rules deny the flow, or policies have no name for its protocol. */
export function smallestChange(world: World, compiled: CompiledCluster, side: DeniedSide): Change | null {
  const cleared = withoutDenies(world, side);
  if (cleared === null) return null;
  const {steps, world: base} = cleared;
  let best = steps.length === 0 ? null : changeOf(steps, sideChangesOf(compiled, compileWorld(base), side.parties), side, world);
  if (best !== null) return best;
  for (const candidate of allowances(base, side)) {
    const changed = sideChangesOf(compiled, compileWorld(changedWorld(base, candidate)), side.parties);
    const change = changeOf([...steps, stepOf(candidate)], changed, side, world);
    if (change === null || (best !== null && best.others.length <= change.others.length)) continue;
    best = change;
    if (change.others.length === 0) return change;
  }
  return best;
}

/** Null: the flow is still denied. */
function changeOf([first, ...more]: readonly Step[], changes: readonly SideChange[], side: DeniedSide, world: World): Change | null {
  const wanted = changes.find((change) => isWanted(change, side));
  if (wanted === undefined || first === undefined) return null;
  const exact = wanted.lost.ranges.length === 0 && wanted.gained.ranges.length === 1 && wanted.gained.ranges[0]?.first === wanted.gained.ranges[0]?.last;
  return {...first, more, others: changes.filter((change) => (change !== wanted || !exact) && !isPartOf(change, side, world))};
}

function stepOf({policy, ref, edit}: Candidate): Step {
  const {file, line} = policy === null ? {file: '', line: 0} : policy.from.source.locate(edit.path);
  return {object: ref, file, line, edit};
}

/** The world in which no rule denies the flow any more, and the edits that lead to it: for each the one that changes least. */
function withoutDenies(world: World, side: DeniedSide): {readonly world: World; readonly steps: readonly Step[]} | null {
  let current = world;
  const steps: Step[] = [];
  for (;;) {
    const denies = side.ask(current).filter(isDenial);
    const [deny] = denies;
    if (deny === undefined) return {world: current, steps};
    const policy = ownerOf(current, deny);
    if (policy === undefined || steps.length === DENIES_MAX) return null;
    const before = compileWorld(current);
    const tried = [...undenials(current, side, policy, deny)].map((candidate) => ({candidate, world: changedWorld(current, candidate)}))
      .filter((one) => side.ask(one.world).filter(isDenial).length < denies.length)
      .map((one) => ({...one, changes: sideChangesOf(before, compileWorld(one.world)).length}));
    const [best] = tried.sort((a, b) => a.changes - b.changes);
    if (best === undefined) return null;
    steps.push(stepOf(best.candidate));
    current = best.world;
  }
}

function isDenial({rule, peerMatches, portMatches}: RuleAnswer): boolean {
  return rule.deny && peerMatches && portMatches;
}

function ownerOf({policies}: World, {rule}: RuleAnswer): LoadedPolicy | undefined {
  return policies.find(({rules}) => rules.includes(rule));
}

function isWanted({direction, subject, peer, gained}: SideChange, side: DeniedSide): boolean {
  return direction === side.direction && subject.pods.includes(side.subject) && (peer.name === side.peerName || peer.pods.includes(side.peerName))
    && includes(gained, side.protocol, side.port);
}

/** Prefixes are part of the world that was asked about; an API server that no object tells of is on no node. */
function isPartOf({direction, subject, peer, gained, lost}: SideChange, side: DeniedSide, {cluster}: World): boolean {
  if (direction !== side.direction || !subject.pods.includes(side.subject) || lost.ranges.length > 0) return false;
  if (!gained.ranges.every(({protocol, first, last}) => protocol === side.protocol && first === side.port && last === side.port)) return false;
  if (side.peerName.startsWith('world')) return peer.kind === 'prefix';
  return side.peerName === 'remote-node' && peer.name === 'kube-apiserver' && cluster.apiServerAddresses.length === 0;
}

export function changedWorld(world: World, {policy, edit}: Pick<Candidate, 'policy' | 'edit'>): World {
  const table = policyDecoders(world.settings);
  const base: SourceObject = policy?.from ?? {apiVersion: 'cilium.io/v2', kind: 'CiliumNetworkPolicy', object: {metadata: {name: ''}}, source: NEW};
  const changed = loadPolicy(policy?.kind ?? 'CiliumNetworkPolicy', {...base, object: applyEdit(base.object, edit)}, table);
  const policies = policy === null ? [...world.policies, changed] : world.policies.map((other) => (other === policy ? changed : other));
  return {...world, policies, cluster: {...world.cluster, rules: policies.flatMap(({rules}) => rules)}};
}

const NEW = new ObjectSource({file: '', base: []}, () => ({node: null, lines: {linePos: () => ({line: 0, col: 0})}}));

/** To a rule that is there, or as a policy of its own. */
function* allowances(world: World, side: DeniedSide): Generator<Candidate> {
  const answers = side.ask(world);
  const nearest = nearestMiss(answers) ?? answers[0];
  const policy = nearest === undefined ? undefined : ownerOf(world, nearest);
  if (nearest !== undefined && policy !== undefined) yield* additions(world, side, policy, nearest);
  const created = newPolicy(world, side);
  if (created !== null) yield created;
}

/** To the nearest rule, then beside it. */
function* additions(world: World, side: DeniedSide, policy: LoadedPolicy, {rule, peerMatches, portMatches}: RuleAnswer): Generator<Candidate> {
  const path = policy.paths[rule.origin.ruleIndex] ?? '';
  const scope = {namespace: policy.ref.namespace, all: world.cluster.endpoints.map(({labels}) => labels)};
  const edit = (at: string, value: unknown): Candidate => ({policy, ref: policy.ref, edit: {op: 'append', path: at, value}});
  const name = protocolName(side.protocol);
  const isItem = /\[\d+\]$/.test(path);
  if (policy.kind === 'NetworkPolicy') {
    const peer = kubernetesPeer(side.peer, scope);
    if (name === null || !['TCP', 'UDP', 'SCTP'].includes(name)) return;
    const [list, port] = [side.direction === 'ingress' ? 'from' : 'to', {port: side.port, protocol: name}];
    if (isItem && peerMatches && !portMatches) yield edit(`${path}.ports`, port);
    if (isItem && !peerMatches && portMatches && peer !== null) yield edit(`${path}.${list}`, peer);
    if (peer !== null) yield edit(`spec.${side.direction}`, {[list]: [peer], ports: [port]});
    return;
  }
  const peer = ciliumPeer(side.peer, side.direction, scope);
  const ports = ciliumPorts(side.protocol, side.port);
  if (name === null || ports === null) return;
  const written = Array.isArray(valueAt(policy.from.object, `${path}.${peer.field}`));
  const set = `${path}.${side.direction === 'ingress' ? 'from' : 'to'}CIDRSet`;
  if (isItem && !peerMatches && portMatches && side.peer.kind === 'cidr' && Array.isArray(valueAt(policy.from.object, set))) yield edit(set, {cidr: side.peer.prefix});
  if (isItem && !peerMatches && portMatches && written) yield edit(`${path}.${peer.field}`, peer.value);
  if (isItem && peerMatches && !portMatches && 'toPorts' in ports && valueAt(policy.from.object, `${path}.toPorts[0].rules`) === undefined) {
    if (Array.isArray(valueAt(policy.from.object, `${path}.toPorts[0].ports`))) yield edit(`${path}.toPorts[0].ports`, ciliumPort(name, side.port));
  }
  const spec = path.replace(/\.(ingress|egress).*$/, '');
  yield edit(`${spec}.${side.direction}`, {[peer.field]: [peer.value], ...ports});
}

/** A policy for exactly these pods. */
function newPolicy({cluster}: World, side: DeniedSide): Candidate | null {
  const all = cluster.endpoints.map(({labels}) => labels);
  const namespace = namespaceOf(side.subjectLabels);
  const ports = ciliumPorts(side.protocol, side.port);
  if (ports === null) return null;
  const peer = ciliumPeer(side.peer, side.direction, {namespace, all});
  const name = `allow-${side.direction}-${side.subject.split('/').at(-1) ?? 'pod'}-${side.port}`;
  const value = {
    apiVersion: 'cilium.io/v2', kind: 'CiliumNetworkPolicy', metadata: {name, namespace},
    spec: {endpointSelector: selectorFor(side.subjectLabels, all), [side.direction]: [{[peer.field]: [peer.value], ...ports}]},
  };
  return {policy: null, ref: {kind: 'CiliumNetworkPolicy', namespace, name, uid: ''}, edit: {op: 'create', path: '', value}};
}

/** Make an exception of the peer, or take the rule away. */
function* undenials(world: World, side: DeniedSide, policy: LoadedPolicy, {rule}: RuleAnswer): Generator<Candidate> {
  const path = policy.paths[rule.origin.ruleIndex] ?? '';
  const prefix = side.direction === 'ingress' ? 'from' : 'to';
  const edit = (at: string, value: unknown): Candidate => ({policy, ref: policy.ref, edit: {op: 'append', path: at, value}});
  if (side.peer.kind === 'pods') {
    const selector = selectorFor(side.peer.labels, world.cluster.endpoints.map(({labels}) => labels));
    const [only, more] = Object.entries(selector.matchLabels ?? {});
    const count = listLength(policy, `${path}.${prefix}Endpoints`);
    if (only !== undefined && more === undefined && count === 1) {
      yield edit(`${path}.${prefix}Endpoints[0].matchExpressions`, {key: only[0], operator: 'NotIn', values: [only[1]]});
    }
  }
  if (side.peer.kind === 'cidr' && listLength(policy, `${path}.${prefix}CIDRSet`) === 1) yield edit(`${path}.${prefix}CIDRSet[0].except`, side.peer.prefix);
  yield {policy, ref: policy.ref, edit: {op: 'remove', path}};
}

function listLength({from}: LoadedPolicy, path: string): number {
  const value = valueAt(from.object, path);
  return Array.isArray(value) ? value.length : 0;
}
