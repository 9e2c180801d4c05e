// How BGP stands: what the agents report, against what was compiled → conditions, CiliumBGPNodeConfigs and Events. Pure.

import {formatRef} from '../../lib/core/errors.js';
import {compareStrings} from '../../lib/core/order.js';
import type {Condition, DesiredBgpNodeConfig, DesiredEvent, DesiredPolicyStatus} from '../../lib/desired/cluster-state.js';
import {DEFAULT_GATEWAY, type BgpInstance, type Speaker} from '../../lib/domain/bgp.js';
import {DRAINING, WITHDRAWAL_HELD} from '../../lib/domain/bgp-names.js';
import type {ApplyError, PeerReport} from '../../lib/domain/reports.js';
import type {BgpClusterConfigFact, BgpObjectFact, BgpPeerConfigFact, BgpSelectingFact} from '../model/bgp-facts.js';
import type {BgpDrainFact} from '../model/facts.js';
import type {Tables} from '../model/tables.js';
import type {CompiledSpeaker} from './bgp.js';
import {heldMessage, type GuardState} from './bgp-guard.js';
import {peerNameKey} from './bgp-v2.js';

/** What is heard of a node. */
export interface BgpNodeReport {
  readonly connected: boolean;
  readonly peers: readonly PeerReport[];
  /** Of the speaker. */
  readonly faults: readonly ApplyError[];
}

export interface BgpStatusInputs {
  readonly tables: Tables;
  readonly speakers: ReadonlyMap<string, CompiledSpeaker>;
  /** undefined: nothing is known of the node yet, and its objects' conditions stay as they are. */
  /** Which changes wait; absent: none ever does. */
  readonly guard?: GuardState | undefined;
  readonly reportOf: (node: string) => BgpNodeReport | undefined;
}

export interface BgpStatus {
  readonly statuses: readonly DesiredPolicyStatus[];
  readonly nodeConfigs: ReadonlyMap<string, DesiredBgpNodeConfig>;
  readonly events: readonly DesiredEvent[];
}

export const ESTABLISHED = 'stentor.io/Established';
/** Before a session was ever up there is nothing to tell. */
export const NO_SESSION_YET = 'no session yet';
/** At most this many are spelled out. */
const SHOWN = 3;

export function bgpStatus(inputs: BgpStatusInputs): BgpStatus {
  const {tables} = inputs;
  const selecting = [...tables.bgpPolicies.values(), ...tables.bgpClusterConfigs.values()];
  const nodesOf = nodesInForce(inputs.speakers);
  return {
    statuses: [
      ...[...tables.bgpPolicies.values()].flatMap((fact) => status(fact, [validity(fact), conflict('stentor.io/Conflict', fact, inputs), established(fact, nodesOf, inputs), withdrawalHeld(fact, nodesOf, inputs)])),
      ...[...tables.bgpClusterConfigs.values()].flatMap((fact) => status(fact, clusterConfigConditions(fact, nodesOf, inputs))),
      ...[...tables.bgpPeerConfigs.values()].flatMap((fact) => status(fact, [validity(fact), missingSecret(fact, tables), withdrawalHeld(fact, nodesOf, inputs)])),
    ],
    nodeConfigs: new Map([...inputs.speakers].flatMap(([node, compiled]) => {
      const config = nodeConfig(node, compiled, inputs);
      return config === null ? [] : [[node, config] as const];
    })),
    events: selecting.flatMap((fact) => sessionEvents(fact, nodesOf.get(fact.ref.uid) ?? [], inputs)),
  };
}

function status(fact: BgpObjectFact, conditions: readonly (Omit<Condition, 'observedGeneration'> | null)[]): DesiredPolicyStatus[] {
  const known = conditions.filter((condition) => condition !== null).map((condition) => ({...condition, observedGeneration: fact.generation}));
  return [{object: fact.ref, apiVersion: fact.apiVersion, conditions: known}];
}

/** By uid of the object in force. */
function nodesInForce(speakers: BgpStatusInputs['speakers']): ReadonlyMap<string, readonly string[]> {
  const nodes = new Map<string, string[]>();
  for (const [node, {speaker: {source}}] of speakers) {
    if (source !== null) nodes.set(source.uid, [...nodes.get(source.uid) ?? [], node]);
  }
  for (const names of nodes.values()) names.sort(compareStrings);
  return nodes;
}

function validity({rejections}: BgpObjectFact): Omit<Condition, 'observedGeneration'> {
  const [first] = rejections;
  if (first === undefined) return {type: 'Valid', status: 'True', reason: 'Valid', message: 'understood'};
  return {type: 'Valid', status: 'False', reason: first.code, message: rejections.map(({path, reason}) => `${path}: ${reason}`).join('; ')};
}

function flag(type: string, reason: string, message: string | null): Omit<Condition, 'observedGeneration'> {
  return {type, status: message === null ? 'False' : 'True', reason: message === null ? `No${reason}` : reason, message: message ?? ''};
}

/** That of two objects on one node the other is in force. */
function conflict(type: string, {ref}: BgpSelectingFact, {speakers}: BgpStatusInputs): Omit<Condition, 'observedGeneration'> {
  const others = new Map<string, string[]>();
  for (const [node, {selecting}] of speakers) {
    const [winner] = selecting;
    if (selecting.length < 2 || winner === undefined || !selecting.some(({uid}) => uid === ref.uid)) continue;
    const key = winner.uid === ref.uid ? 'this one is in force' : `${formatRef(winner)} is in force`;
    others.set(key, [...others.get(key) ?? [], node]);
  }
  const message = [...others].map(([what, nodes]) => `on ${shown(nodes.sort(compareStrings), ', ')} ${what}`).sort(compareStrings).join('; ');
  return flag(type, 'Conflict', message === '' ? null : message);
}

function clusterConfigConditions(fact: BgpClusterConfigFact, nodesOf: ReadonlyMap<string, readonly string[]>, inputs: BgpStatusInputs): (Omit<Condition, 'observedGeneration'> | null)[] {
  const {tables, speakers} = inputs;
  const isSelecting = [...speakers.values()].some(({selecting}) => selecting.some(({uid}) => uid === fact.ref.uid));
  const named = fact.instances.flatMap(({peers}) => peers.flatMap(({peerConfig}) => peerConfig ?? []));
  const missing = [...new Set(named)].filter((name) => !tables.bgpPeerConfigs.has(name)).sort(compareStrings);
  return [
    validity(fact),
    flag('cilium.io/NoMatchingNode', 'NoMatchingNode', isSelecting ? null : 'No node matches the nodeSelector'),
    flag('cilium.io/MissingPeerConfigs', 'MissingPeerConfigs', missing.length === 0 ? null : `Referenced CiliumBGPPeerConfig(s) are missing: ${missing.join(', ')}`),
    conflict('cilium.io/ConflictingClusterConfig', fact, inputs),
    established(fact, nodesOf, inputs),
    withdrawalHeld(fact, nodesOf, inputs),
  ];
}

/** The others have no conditions: their changes show on what is in force. */
const WITH_CONDITIONS: ReadonlySet<string> = new Set(['CiliumBGPPeeringPolicy', 'CiliumBGPClusterConfig', 'CiliumBGPPeerConfig']);

function withdrawalHeld({ref}: BgpObjectFact, nodesOf: ReadonlyMap<string, readonly string[]>, {guard}: BgpStatusInputs): Omit<Condition, 'observedGeneration'> | null {
  if (guard === undefined) return null;
  const inForce = (nodesOf.get(ref.uid) ?? []).length > 0;
  const shownHere = guard.held.filter(({object, gone}) => (!gone && object.kind === ref.kind && object.name === ref.name) || (inForce && (gone || !WITH_CONDITIONS.has(object.kind))));
  return heldFlag(guard, shownHere);
}

function heldFlag(guard: GuardState, held: GuardState['held']): Omit<Condition, 'observedGeneration'> {
  return flag(WITHDRAWAL_HELD, 'WithdrawalHeld', held.length === 0 ? null : held.map(({id}) => `${id}: ${heldMessage(guard, id)}`).join('; '));
}

function missingSecret({settings}: BgpPeerConfigFact, {bgpSecrets}: Tables): Omit<Condition, 'observedGeneration'> {
  const {authSecret} = settings;
  const isMissing = authSecret !== null && (bgpSecrets.get(authSecret)?.password ?? null) === null;
  return flag('cilium.io/MissingAuthSecret', 'MissingAuthSecret', isMissing ? `Referenced Auth Secret ${authSecret} is missing, or has no password` : null);
}

interface Session {
  readonly node: string;
  readonly instance: BgpInstance;
  readonly address: string;
  readonly asn: number;
  readonly report: PeerReport | undefined;
  readonly reason: string;
}

/** Every session that should be, with what is known of it; null while a node has not been heard of. */
function sessionsOf(nodes: readonly string[], {speakers, reportOf}: BgpStatusInputs): Session[] | null {
  const sessions: Session[] = [];
  for (const node of nodes) {
    const reported = reportOf(node);
    if (reported === undefined) return null;
    for (const instance of speakers.get(node)?.speaker.instances ?? []) {
      for (const {address, asn} of instance.peers) {
        const report = reported.connected ? reported.peers.find((peer) => peer.instance === instance.name && isPeer(peer.address, address, instance)) : undefined;
        sessions.push({node, instance, address, asn, report, reason: reported.connected ? report?.reason ?? 'the agent has no such peer' : 'the agent is out of reach'});
      }
    }
  }
  return sessions;
}

/** A peer that was found is the one of its family that nobody named. */
function isPeer(reported: string, address: string, {peers}: BgpInstance): boolean {
  const isFound = address === DEFAULT_GATEWAY.ipv4 || address === DEFAULT_GATEWAY.ipv6;
  if (!isFound) return reported === address;
  return reported.includes(':') === address.includes(':') && peers.every((peer) => peer.address !== reported);
}

function established(fact: BgpSelectingFact, nodesOf: ReadonlyMap<string, readonly string[]>, inputs: BgpStatusInputs): Omit<Condition, 'observedGeneration'> | null {
  const sessions = sessionsOf(nodesOf.get(fact.ref.uid) ?? [], inputs);
  return sessions === null ? null : establishedCondition(sessions);
}

function establishedCondition(sessions: readonly Session[]): Omit<Condition, 'observedGeneration'> {
  const down = sessions.filter(({report}) => report?.session !== 'established');
  const count = `${sessions.length - down.length}/${sessions.length}`;
  if (down.length === 0) return {type: ESTABLISHED, status: 'True', reason: 'Established', message: count};
  const why = down.map(({node, address, reason}) => `${node} ${address}: ${reason === '' ? NO_SESSION_YET : reason}`);
  return {type: ESTABLISHED, status: 'False', reason: 'SessionsDown', message: `${count}: ${shown(why, '; ')}`};
}

function shown(texts: readonly string[], separator: string): string {
  return texts.length <= SHOWN ? texts.join(separator) : `${texts.slice(0, SHOWN).join(separator)} and ${texts.length - SHOWN} more`;
}

function sessionEvents(fact: BgpSelectingFact, nodes: readonly string[], inputs: BgpStatusInputs): DesiredEvent[] {
  return (sessionsOf(nodes, inputs) ?? []).flatMap(({node, address, asn, report, reason}) => {
    if (report === undefined || report.session === 'established' || reason === '' || reason === NO_SESSION_YET) return [];
    return [{object: fact.ref, apiVersion: fact.apiVersion, type: 'Warning', reason: 'BGPSessionDown', message: `node ${node}, peer ${address} (AS ${asn}): ${reason}`} as const];
  });
}

/** null: the node has no instance. A CiliumBGPPeeringPolicy's nodes have one, too: how they stand is read in one place. */
function nodeConfig(node: string, {speaker, peerNames, withdrawn = 0, retained = false}: CompiledSpeaker, inputs: BgpStatusInputs): DesiredBgpNodeConfig | null {
  const {source, instances} = speaker;
  if (source === null || instances.length === 0) return null;
  const reported = inputs.reportOf(node);
  const nameOf = (instance: string, address: string): string => peerNames.get(peerNameKey(instance, address)) ?? address;
  const sessions = sessionsOf([node], inputs);
  return {
    name: node, owner: source,
    spec: {bgpInstances: instances.map(({name, asn, listenPort, routerId, peers}) => ({
      name, ...(asn === 0 ? {} : {localASN: asn}), ...(listenPort === -1 ? {} : {localPort: listenPort}), routerID: routerId,
      peers: peers.map(({address, asn: peerASN, localAddress}) => ({
        name: nameOf(name, address), peerASN, peerAddress: address, ...(localAddress === undefined ? {} : {localAddress}), ...peerConfigOf(name, address, source.name, inputs),
      })).sort(byName),
    }))},
    status: sessions === null || reported === undefined ? null : {
      bgpInstances: instances.map(({name, asn}) => ({
        name, localASN: asn,
        peers: sessions.filter(({instance}) => instance.name === name).map((session) => ({name: nameOf(name, session.address), ...peerState(session)})).sort(byName),
      })),
    },
    conditions: sessions === null || reported === undefined ? [] : [establishedCondition(sessions), reconcileError(speaker, reported), draining(node, withdrawn, inputs), ...(inputs.guard === undefined ? [] : [heldFlag(inputs.guard, retained ? inputs.guard.held : [])])].map((condition) => ({...condition, observedGeneration: 0})),
  };
}

function byName(a: {readonly name: string}, b: {readonly name: string}): number {
  return compareStrings(a.name, b.name);
}

function peerConfigOf(instance: string, address: string, config: string, {tables}: BgpStatusInputs): {readonly peerConfigRef?: {readonly name: string}} {
  const peers = tables.bgpClusterConfigs.get(config)?.instances.find(({name}) => name === instance)?.peers ?? [];
  const peerConfig = peers.find((peer) => peer.address === address)?.peerConfig ?? null;
  return peerConfig === null ? {} : {peerConfigRef: {name: peerConfig}};
}

function peerState({address, asn, report, reason}: Session): Readonly<Record<string, unknown>> {
  const up = report?.session === 'established';
  return {
    peerAddress: report?.address ?? address, peerASN: report?.peerAsn ?? asn, peeringState: report?.session ?? 'idle',
    ...(up && report.establishedAt > 0 ? {establishedTime: `${new Date(report.establishedAt * 1000).toISOString().slice(0, 19)}Z`} : {}),
    ...(up ? {timers: {appliedHoldTimeSeconds: report.holdTimeSeconds, appliedKeepaliveSeconds: report.keepaliveSeconds}} : {reason: reason === '' ? NO_SESSION_YET : reason}),
    ...(up ? {routeCount: report.families.map(({family, received, advertised}) => {
      const [afi = '', safi = ''] = family.split('/');
      return {afi, safi, received, advertised};
    })} : {}),
  };
}

const CAUSES: Readonly<Record<BgpDrainFact['cause'], string>> = {annotation: 'asked for', cordoned: 'the node is cordoned', 'not ready': 'the node is not ready'};

/** Its time is when the drain began: the operator after this one reads it there. */
function draining(node: string, withdrawn: number, {tables}: BgpStatusInputs): Omit<Condition, 'observedGeneration'> {
  const drain = tables.bgpDrains.get(node);
  if (drain === undefined) return {type: DRAINING, status: 'False', reason: 'NotDraining', message: ''};
  const {cause, withdraw, sinceMs, timeMs} = drain;
  const kept = withdraw === 'redundant' ? '; what no node that stays announces is kept' : '';
  const later = withdraw === 'never' ? '' : `, withdrawn at ${new Date(sinceMs + timeMs).toISOString().slice(0, 19)}Z${kept}`;
  return drain.withdrawn ? {type: DRAINING, status: 'True', reason: 'Withdrawn', message: `${CAUSES[cause]}: ${withdrawn} routes are withdrawn${kept}`}
    : {type: DRAINING, status: 'True', reason: 'GracefulShutdown', message: `${CAUSES[cause]}: routes are announced with GRACEFUL_SHUTDOWN${later}`};
}

function reconcileError(speaker: Speaker, {faults}: BgpNodeReport): Omit<Condition, 'observedGeneration'> {
  const messages = faults.filter(({kind, code}) => kind === 'speaker' && code !== 'PENDING').map(({message}) => message);
  const held = (speaker.holds ?? []).map(({reason}) => reason);
  const all = [...new Set([...messages, ...held])];
  return flag('cilium.io/BGPReconcileError', 'BGPReconcileError', all.length === 0 ? null : shown(all, '; '));
}
