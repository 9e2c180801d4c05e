// Announcements → the prefixes of one node, and what each peer is told of them.

import type {ObjectRef} from '../../lib/core/errors.js';
import {compareStrings} from '../../lib/core/order.js';
import {NO_ATTRIBUTES, type BgpPeer, type InterfaceAdvertisement, type PathAttributes} from '../../lib/domain/bgp.js';
import {familyOf, type PeerPath} from '../../lib/domain/bgp-advertisements.js';
import type {Labels} from '../../lib/domain/labels.js';
import {matches, type Selector} from '../../lib/domain/selector.js';
import type {Announcement, AttributeRule, ServiceSelection} from '../model/bgp-facts.js';
import type {NodeFact} from '../model/facts.js';

/** A prefix that a node may announce. */
export interface Candidate {
  /** Canonical. */
  readonly prefix: string;
  /** The Service, the pool or the Node that it belongs to. */
  readonly origin: ObjectRef;
  /** What attributes may be tied to: the CiliumLoadBalancerIPPool that the address lies in, the CiliumPodIPPool, or the node. */
  readonly from: Exclude<AttributeRule['from'], 'any'>;
  /** Of that; null = a service's address that lies in no pool. */
  readonly labels: Labels | null;
}

/** Prefixes that come from something other than the node. The answer is a function of the tables, and sorted by prefix. */
export interface RouteSource {
  /** What every node announces: the same array for all of them, as long as it says the same. */
  services(selection: ServiceSelection): readonly Candidate[];
  /** What this node announces besides. */
  localServices(node: string, selection: ServiceSelection): readonly Candidate[];
  podIpPools(node: string, selector: Selector): readonly Candidate[];
}

export interface PlannedAnnouncement {
  readonly what: Announcement;
  readonly afis: readonly ('ipv4' | 'ipv6')[];
  /** The first that fits counts. */
  readonly attributes: readonly AttributeRule[];
}

export interface PeerPlan {
  readonly peer: BgpPeer;
  readonly announcements: readonly PlannedAnnouncement[];
}

export interface NodeContext {
  readonly node: NodeFact;
  readonly labels: Labels;
  readonly routes: RouteSource;
}

/** Of which announcements the paths are wanted: those of Services that every node has, the node's own, or all. */
export type Part = 'shared' | 'own' | 'all';

/** A prefix that several announcements give has the communities of all of them and the highest local preference. */
export function plannedPaths(plans: readonly PeerPlan[], context: NodeContext, part: Part): PeerPath[] {
  const candidates = new Map<Announcement, readonly Candidate[]>();
  const paths: PeerPath[] = [];
  for (const {peer, announcements} of plans) {
    const told = new Map<string, PeerPath>();
    for (const {what, afis, attributes: rules} of announcements) {
      const found = candidates.get(what) ?? candidatesOf(what, context, part);
      candidates.set(what, found);
      for (const candidate of found) {
        const {prefix, origin} = candidate;
        if (!afis.includes(familyOf(prefix))) continue;
        const attributes = attributesOf(candidate, rules);
        const before = told.get(prefix);
        told.set(prefix, before === undefined ? {peer: peer.address, prefix, attributes, origin} : {...before, attributes: merge(before.attributes, attributes)});
      }
    }
    paths.push(...told.values());
  }
  return paths;
}

export function plannedInterfaces(plans: readonly PeerPlan[], {node}: NodeContext): InterfaceAdvertisement[] {
  const origin: ObjectRef = {kind: 'Node', namespace: '', name: node.name, uid: node.uid};
  const all = plans.flatMap(({peer, announcements}) => announcements.flatMap(({what, afis, attributes: [rule]}) => (what.kind !== 'Interface' ? []
    : afis.filter((afi) => peer.families.some((family) => family.afi === afi))
      .map((afi): InterfaceAdvertisement => ({interface: what.name, afi, peer: peer.address, ...rule?.attributes ?? NO_ATTRIBUTES, origin})))));
  const byKey = new Map<string, InterfaceAdvertisement>();
  for (const one of all) {
    const key = `${one.peer} ${one.interface} ${one.afi}`;
    const before = byKey.get(key);
    byKey.set(key, before === undefined ? one : {...one, ...merge(before, one)});
  }
  return [...byKey].sort(([a], [b]) => compareStrings(a, b)).map(([, one]) => one);
}

function candidatesOf(what: Announcement, context: NodeContext, part: Part): readonly Candidate[] {
  const {node, routes} = context;
  if (what.kind !== 'Service') return part === 'shared' ? [] : ownCandidates(what, context);
  if (part === 'shared') return routes.services(what);
  const local = routes.localServices(node.name, what);
  return part === 'own' ? local : [...routes.services(what), ...local];
}

function ownCandidates(what: Exclude<Announcement, ServiceSelection>, {node, labels, routes}: NodeContext): readonly Candidate[] {
  switch (what.kind) {
    case 'PodCIDR': {
      const origin: ObjectRef = {kind: 'Node', namespace: '', name: node.name, uid: node.uid};
      return node.podCidrs.map((prefix) => ({prefix, origin, from: 'PodCIDR', labels}));
    }
    // Only the node knows its addresses: `plannedInterfaces`.
    case 'Interface':
      return [];
    case 'CiliumPodIPPool':
      return routes.podIpPools(node.name, what.selector);
  }
}

function attributesOf(candidate: Candidate, rules: readonly AttributeRule[]): PathAttributes {
  const found = rules.find(({from, selector}) => from === 'any'
    || (from === candidate.from && candidate.labels !== null && (selector === null || matches(selector, candidate.labels))));
  return found?.attributes ?? NO_ATTRIBUTES;
}

function merge(a: PathAttributes, b: PathAttributes): PathAttributes {
  if (a === b) return a;
  const preferences = [a.localPreference, b.localPreference].filter((one) => one !== null);
  return {
    localPreference: preferences.length === 0 ? null : Math.max(...preferences),
    communities: [...new Set([...a.communities, ...b.communities])].sort((x, y) => x - y),
    largeCommunities: [...new Set([...a.largeCommunities, ...b.largeCommunities])].sort(compareStrings),
  };
}
