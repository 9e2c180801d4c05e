// CiliumBGPPeeringPolicies × nodes → what each node says over BGP. Two policies on one node: the older stays in force, both report it.

import {formatRef, type ObjectRef} from '../../lib/core/errors.js';
import {canonicalJson, compareStrings} from '../../lib/core/order.js';
import {parseAddress} from '../../lib/core/ip.js';
import type {Advertisement, BgpInstance, BgpPeer, Speaker} from '../../lib/domain/bgp.js';
import {Labels} from '../../lib/domain/labels.js';
import {matches, type Selector} from '../../lib/domain/selector.js';
import type {BgpNeighborFact, BgpPolicyFact, BgpRouterFact, NodeFact} from '../model/facts.js';

export interface BgpFinding {
  readonly object: ObjectRef;
  readonly apiVersion: string;
  readonly reason: 'BGPPolicyConflict' | 'BGPRouterInvalid';
  readonly message: string;
}

export interface CompiledSpeaker {
  readonly speaker: Speaker;
  readonly findings: readonly BgpFinding[];
}

export const NO_SPEAKER: Speaker = {instances: [], source: null};

export function compileSpeaker(node: NodeFact, policies: Iterable<BgpPolicyFact>): CompiledSpeaker {
  const labels = new Labels(Object.entries(node.labels).map(([key, value]) => ({source: 'k8s', key, value})));
  const matching = [...policies].filter((policy) => selects(policy.nodeSelector, labels)).sort(byAge);
  const [winner] = matching;
  if (winner === undefined) return {speaker: NO_SPEAKER, findings: []};
  const findings = matching.length > 1 ? conflicts(node, matching) : [];
  const instances: BgpInstance[] = [];
  for (const router of winner.routers) {
    const instance = compileInstance(router, {node, labels, policy: winner});
    if (typeof instance === 'string') findings.push({object: winner.ref, apiVersion: winner.apiVersion, reason: 'BGPRouterInvalid', message: instance});
    else instances.push(instance);
  }
  return {speaker: {instances: instances.sort((a, b) => a.asn - b.asn), source: winner.ref}, findings};
}

function selects(selector: Selector | null, labels: Labels): boolean {
  return selector === null || matches(selector, labels);
}

function byAge(a: BgpPolicyFact, b: BgpPolicyFact): number {
  return compareStrings(a.createdAt, b.createdAt) || compareStrings(a.ref.uid, b.ref.uid) || compareStrings(a.ref.name, b.ref.name);
}

function conflicts(node: NodeFact, matching: readonly BgpPolicyFact[]): BgpFinding[] {
  const [winner] = matching;
  const names = matching.map((policy) => policy.ref.name).join(', ');
  return matching.map(({ref, apiVersion}) => ({
    object: ref, apiVersion, reason: 'BGPPolicyConflict',
    message: `node ${node.name} is selected by ${names}: the oldest, ${winner === undefined ? '' : formatRef(winner.ref)}, is in force`,
  }));
}

interface RouterContext {
  readonly node: NodeFact;
  readonly labels: Labels;
  readonly policy: BgpPolicyFact;
}

/** A text = why there is none. */
function compileInstance(router: BgpRouterFact, context: RouterContext): BgpInstance | string {
  const {node, policy} = context;
  const options = routerOptions(node, router.localAsn);
  if (typeof options === 'string') return options;
  const routerId = options.routerId ?? node.addresses.find(({type, ip}) => type === 'InternalIP' && !ip.includes(':'))?.ip;
  if (routerId === undefined) return `node ${node.name} has no IPv4 InternalIP and no router-id annotation for ASN ${router.localAsn}`;
  const prefixes = router.exportPodCidr ? node.podCidrs : [];
  return {
    name: `asn-${router.localAsn}`,
    asn: router.localAsn,
    routerId,
    listenPort: options.localPort ?? -1,
    peers: router.neighbors.map(peerOf).sort((a, b) => compareStrings(a.address, b.address)),
    advertisements: prefixes.flatMap((prefix) => advertise(prefix, router.neighbors, context.labels, policy.ref)),
  };
}

function peerOf(neighbor: BgpNeighborFact): BgpPeer {
  const {podCidrAttributes: _unused, ...peer} = neighbor;
  return peer;
}

interface PathAttributes {
  readonly localPreference: number | null;
  readonly communities: readonly number[];
  readonly largeCommunities: readonly string[];
}

const NO_ATTRIBUTES: PathAttributes = {localPreference: null, communities: [], largeCommunities: []};

/** One advertisement for all peers, or one per distinct set of attributes. */
function advertise(prefix: string, neighbors: readonly BgpNeighborFact[], labels: Labels, origin: ObjectRef): Advertisement[] {
  const groups = new Map<string, {attributes: PathAttributes; peers: string[]}>();
  for (const neighbor of neighbors) {
    const found = neighbor.podCidrAttributes.find(({selector}) => selects(selector, labels));
    const attributes = found === undefined ? NO_ATTRIBUTES
      : {localPreference: found.localPreference, communities: found.communities, largeCommunities: found.largeCommunities};
    const key = canonicalJson(attributes);
    const group = groups.get(key) ?? {attributes, peers: []};
    groups.set(key, group);
    group.peers.push(neighbor.address);
  }
  return [...groups].sort(([a], [b]) => compareStrings(a, b))
    .map(([, {attributes, peers}]) => ({prefix, peers: groups.size === 1 ? [] : peers.sort(compareStrings), ...attributes, origin}));
}

const ANNOTATION_PREFIX = 'cilium.io/bgp-virtual-router.';

/** `cilium.io/bgp-virtual-router.65005: "router-id=1.2.3.4,local-port=1790"`. Unknown attributes are ignored, the last duplicate wins. */
function routerOptions(node: NodeFact, asn: number): {readonly routerId?: string; readonly localPort?: number} | string {
  const annotation = node.annotations[`${ANNOTATION_PREFIX}${asn}`];
  const options: {routerId?: string; localPort?: number} = {};
  for (const part of (annotation ?? '').split(',').map((item) => item.trim()).filter((item) => item !== '')) {
    const [name = '', value = ''] = part.split('=');
    if (name === 'router-id') {
      if (parseAddress(value)?.family !== 4) return `node ${node.name}: ${ANNOTATION_PREFIX}${asn}: router-id is not an IPv4 address: ${value}`;
      options.routerId = value;
    } else if (name === 'local-port') {
      const port = /^\d{1,5}$/.test(value) ? Number(value) : 0;
      if (port < 1 || port > 65535) return `node ${node.name}: ${ANNOTATION_PREFIX}${asn}: local-port is not in 1..65535: ${value}`;
      options.localPort = port;
    }
  }
  return options;
}
