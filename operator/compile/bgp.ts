// BGP objects × nodes → what each node says over BGP. A CiliumBGPPeeringPolicy goes before the BGPv2 kinds; of two objects of one
// generation on a node the older is in force. What is broken is held: the node keeps what it has.

import {formatRef, type ObjectRef} from '../../lib/core/errors.js';
import {compareStrings} from '../../lib/core/order.js';
import type {BgpInstance, Speaker} from '../../lib/domain/bgp.js';
import {Labels} from '../../lib/domain/labels.js';
import {matches} from '../../lib/domain/selector.js';
import type {BgpSelectingFact} from '../model/bgp-facts.js';
import type {NodeFact} from '../model/facts.js';
import type {BgpFinding, BgpInputs, InstancePlan, SpeakerPlan} from './bgp-plan.js';
import {plannedInterfaces, type NodeContext} from './bgp-routes.js';
import type {SharedAdvertisements} from './bgp-shared.js';
import {planPolicy} from './bgp-v1.js';
import {planClusterConfig} from './bgp-v2.js';

export interface CompiledSpeaker {
  readonly speaker: Speaker;
  readonly findings: readonly BgpFinding[];
  /** The objects that select the node, the one in force first. */
  readonly selecting: readonly ObjectRef[];
  /** Names of the peers of cluster configs, by instance and address. */
  readonly peerNames: ReadonlyMap<string, string>;
  /** Routes that the node does not announce any more, since it is drained. */
  readonly withdrawn?: number;
  /** Some of it is no longer wanted, and waits for somebody who confirms that. */
  readonly retained?: boolean;
}

export const NO_SPEAKER: Speaker = {instances: [], source: null};
const NO_NAMES: ReadonlyMap<string, string> = new Map();

export function compileSpeaker(node: NodeFact, inputs: BgpInputs): CompiledSpeaker {
  const labels = new Labels(Object.entries(node.labels).map(([key, value]) => ({source: 'k8s', key, value})));
  const policies = selecting(inputs.policies, labels);
  const configs = selecting(inputs.clusterConfigs, labels);
  const [policy] = policies;
  const [config] = configs;
  // What may mean any node, for it cannot be read, holds only what nobody else has.
  const all = [...policies, ...configs].sort((a, b) => Number(isUnreadable(a)) - Number(isUnreadable(b)));
  const [winner] = all;
  if (winner === undefined) return {speaker: NO_SPEAKER, findings: [], selecting: [], peerNames: NO_NAMES};
  const context: NodeContext = {node, labels, routes: inputs.routes};
  const plan = winner.invalid !== null ? heldPlan(winner, node)
    : policy !== undefined && winner === policy ? planPolicy(policy, context)
      : config !== undefined ? planClusterConfig(config, context, inputs) : heldPlan(winner, node);
  const missing: BgpFinding[] = [];
  const instances = withUsableBfd(plan.instances, {node, winner, missing})
    .map((instance) => compileInstance(withPasswords(instance, inputs.secrets, {winner, missing}), {...context, shared: inputs.shared}));
  const {holds} = plan;
  return {
    speaker: {instances: instances.sort((a, b) => a.asn - b.asn || compareStrings(a.name, b.name)), source: winner.ref, ...(holds.length === 0 ? {} : {holds})},
    findings: [...conflicts(node, all), ...plan.findings, ...missing],
    selecting: all.map(({ref}) => ref), peerNames: plan.peerNames,
  };
}

/** The oldest first, but for those whose selector cannot be read. */
function selecting<F extends BgpSelectingFact>(facts: Iterable<F>, labels: Labels): F[] {
  return [...facts].filter(({nodeSelector}) => nodeSelector === null || matches(nodeSelector, labels))
    .sort((a, b) => Number(isUnreadable(a)) - Number(isUnreadable(b)) || byAge(a, b));
}

function isUnreadable({rejections}: BgpSelectingFact): boolean {
  return rejections.some(({path}) => path === 'spec.nodeSelector');
}

function byAge(a: BgpSelectingFact, b: BgpSelectingFact): number {
  return compareStrings(a.createdAt, b.createdAt) || compareStrings(a.ref.uid, b.ref.uid) || compareStrings(a.ref.name, b.ref.name);
}

function conflicts(node: NodeFact, all: readonly BgpSelectingFact[]): BgpFinding[] {
  const [winner] = all;
  if (winner === undefined || all.length === 1) return [];
  const names = all.map(({ref}) => (ref.kind === winner.ref.kind ? ref.name : formatRef(ref))).join(', ');
  const why = all.every(({ref}) => ref.kind === winner.ref.kind) ? 'the oldest' : 'a CiliumBGPPeeringPolicy goes before BGPv2 kinds, so';
  return all.map(({ref, apiVersion}) => ({
    object: ref, apiVersion, reason: 'BGPPolicyConflict', message: `node ${node.name} is selected by ${names}: ${why}, ${formatRef(winner.ref)}, is in force`,
  }));
}

function heldPlan(winner: BgpSelectingFact, node: NodeFact): SpeakerPlan {
  const reason = `${formatRef(winner.ref)} is invalid: ${winner.invalid ?? ''}`;
  return {
    instances: [], peerNames: NO_NAMES, holds: [{instance: null, peer: null, reason}],
    findings: [{object: winner.ref, apiVersion: winner.apiVersion, reason: 'BGPPolicyHeld', message: `node ${node.name} keeps the sessions and routes that it has: ${winner.invalid ?? ''}`}],
  };
}

/** gobgpd's BFD knows neither several hops nor a second speaker on the node: such peers go without, and it is told. */
function withUsableBfd(instances: readonly InstancePlan[], {node, winner, missing}: Report & {readonly node: NodeFact}): InstancePlan[] {
  const first = instances.find(({peers}) => peers.some(({peer}) => peer.bfd !== undefined && peer.multihopTtl <= 1));
  return instances.map((instance) => ({
    ...instance,
    peers: instance.peers.map((plan) => {
      const {bfd, ...peer} = plan.peer;
      if (bfd === undefined || (instance === first && peer.multihopTtl <= 1)) return plan;
      const why = peer.multihopTtl > 1 ? 'BFD is for peers of one hop' : `BFD runs in one instance of a node, and ${first?.name ?? ''} has it`;
      missing.push({object: winner.ref, apiVersion: winner.apiVersion, reason: 'BGPBfdRefused', message: `node ${node.name}: instance ${instance.name}: peer ${peer.address} goes without BFD: ${why}`});
      return {...plan, peer};
    }),
  }));
}

interface Report {
  readonly winner: BgpSelectingFact;
  readonly missing: BgpFinding[];
}

function withPasswords(instance: InstancePlan, secrets: BgpInputs['secrets'], {winner, missing}: Report): InstancePlan {
  return {
    ...instance,
    peers: instance.peers.map((plan) => {
      const {authSecret, address} = plan.peer;
      if (authSecret === null) return plan;
      const password = secrets.get(authSecret)?.password ?? null;
      if (password !== null) return {...plan, peer: {...plan.peer, password}};
      const what = secrets.has(authSecret) ? 'has no key password, or an empty one' : 'is not there, or may not be read';
      missing.push({
        object: winner.ref, apiVersion: winner.apiVersion, reason: 'BGPSecretMissing',
        message: `the Secret ${authSecret} of peer ${address} ${what}: a running session goes on with its password, none is opened without`,
      });
      return plan;
    }),
  };
}

function compileInstance({name, asn, routerId, listenPort, peers: plans}: InstancePlan, context: NodeContext & {readonly shared: SharedAdvertisements}): BgpInstance {
  const peers = plans.map(({peer}) => peer).sort((a, b) => compareStrings(a.address, b.address));
  const interfaces = plannedInterfaces(plans, context);
  return {name, asn, routerId, listenPort, peers, advertisements: context.shared.of(plans, peers, context), ...(interfaces.length === 0 ? {} : {interfaces})};
}
