// Announcements → the prefixes of one node, and what each peer is told of them.

import type {ObjectRef} from '../../lib/core/errors.js';
import {compareStrings} from '../../lib/core/order.js';
import {NO_ATTRIBUTES, type BgpPeer, type PathAttributes} from '../../lib/domain/bgp.js';
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
  services(node: string, selection: ServiceSelection): readonly Candidate[];
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

/** A prefix that several announcements give has the communities of all of them and the highest local preference. */
export function plannedPaths(plans: readonly PeerPlan[], context: NodeContext): PeerPath[] {
  const candidates = new Map<Announcement, readonly Candidate[]>();
  const paths: PeerPath[] = [];
  for (const {peer, announcements} of plans) {
    const told = new Map<string, PeerPath>();
    for (const {what, afis, attributes: rules} of announcements) {
      const found = candidates.get(what) ?? candidatesOf(what, context);
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

function candidatesOf(what: Announcement, {node, labels, routes}: NodeContext): readonly Candidate[] {
  switch (what.kind) {
    case 'PodCIDR': {
      const origin: ObjectRef = {kind: 'Node', namespace: '', name: node.name, uid: node.uid};
      return node.podCidrs.map((prefix) => ({prefix, origin, from: 'PodCIDR', labels}));
    }
    case 'Service':
      return routes.services(node.name, what);
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
