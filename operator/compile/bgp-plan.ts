// What both generations of BGP objects come down to: instances, holds and findings of one node, before paths are worked out.

import type {ObjectRef} from '../../lib/core/errors.js';
import type {SpeakerHold} from '../../lib/domain/bgp.js';
import type {
  BgpAdvertisementFact, BgpClusterConfigFact, BgpOverrideFact, BgpPeerConfigFact, BgpPolicyFact, BgpSecretFact,
} from '../model/bgp-facts.js';
import type {NodeFact} from '../model/facts.js';
import type {PeerPlan, RouteSource} from './bgp-routes.js';
import type {SharedAdvertisements} from './bgp-shared.js';

export interface BgpFinding {
  readonly object: ObjectRef;
  readonly apiVersion: string;
  readonly reason:
    | 'BGPPolicyConflict' | 'BGPPolicyHeld' | 'BGPRouterInvalid' | 'BGPPeerHeld' | 'BGPPeerInvalid' | 'BGPSecretMissing' | 'BGPAnnotationInvalid' | 'BGPBfdRefused' | 'BGPWithdrawalHeld';
  readonly message: string;
}

/** What the speakers are made from. */
export interface BgpInputs {
  readonly policies: Iterable<BgpPolicyFact>;
  readonly clusterConfigs: Iterable<BgpClusterConfigFact>;
  readonly peerConfigs: ReadonlyMap<string, BgpPeerConfigFact>;
  readonly advertisements: Iterable<BgpAdvertisementFact>;
  /** By node. */
  readonly overrides: ReadonlyMap<string, BgpOverrideFact>;
  /** By name, of the one namespace that they are read from. */
  readonly secrets: ReadonlyMap<string, BgpSecretFact>;
  readonly routes: RouteSource;
  readonly shared: SharedAdvertisements;
}

/** One instance as an object wants it. */
export interface InstancePlan {
  readonly name: string;
  readonly asn: number;
  readonly routerId: string;
  readonly listenPort: number;
  readonly peers: readonly PeerPlan[];
}

/** What an object wants of one node. */
export interface SpeakerPlan {
  readonly instances: readonly InstancePlan[];
  readonly holds: readonly SpeakerHold[];
  readonly findings: readonly BgpFinding[];
  readonly peerNames: ReadonlyMap<string, string>;
}

/** An IPv4 address of the node: routers tell speakers apart by it. */
export function defaultRouterId(node: NodeFact): string | null {
  return node.addresses.find(({type, ip}) => type === 'InternalIP' && !ip.includes(':'))?.ip ?? null;
}
