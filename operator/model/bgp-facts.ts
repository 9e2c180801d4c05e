// What the operator knows of BGP objects: one type per table, for both generations of kinds.

import type {ObjectRef, Rejection} from '../../lib/core/errors.js';
import type {BgpPeer, FamilyName, PathAttributes} from '../../lib/domain/bgp.js';
import type {Labels} from '../../lib/domain/labels.js';
import type {Selector} from '../../lib/domain/selector.js';

/** Of an object what decides about speakers, as it was written. */
export interface BgpManifest {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: {
    readonly name: string;
    readonly uid: string;
    readonly creationTimestamp: string;
    readonly labels: Readonly<Record<string, string>>;
    /** Only `bgp.stentor.io/`. */
    readonly annotations: Readonly<Record<string, string>>;
  };
  readonly spec: Readonly<Record<string, unknown>>;
}

/** What every BGP object has. */
export interface BgpObjectFact {
  readonly ref: ObjectRef;
  readonly apiVersion: string;
  readonly generation: number;
  readonly createdAt: string;
  readonly rejections: readonly Rejection[];
  /** Why nothing of it can be used; null = it can. What it was about stays as it is on the nodes. */
  readonly invalid: string | null;
  readonly manifest: BgpManifest;
}

export interface BgpSelectingFact extends BgpObjectFact {
  /** null = every node. Of an object whose selector cannot be read: every node, too, since it may mean any. */
  readonly nodeSelector: Selector | null;
}

export type ServiceAddressType = 'LoadBalancerIP' | 'ExternalIP' | 'ClusterIP';

/** Services whose addresses are announced. */
export interface ServiceSelection {
  readonly kind: 'Service';
  readonly selector: Selector;
  readonly addresses: readonly ServiceAddressType[];
  /** Length of the announced prefix; null = a host route. */
  readonly aggregation: {readonly ipv4: number | null; readonly ipv6: number | null};
}

/** What is announced. */
export type Announcement =
  | {readonly kind: 'PodCIDR'}
  | {readonly kind: 'Interface'; readonly name: string}
  | ServiceSelection
  | {readonly kind: 'CiliumPodIPPool'; readonly selector: Selector};

/** Attributes of the paths that come from something whose labels `selector` matches; null = any. */
export interface AttributeRule {
  readonly from: 'PodCIDR' | 'CiliumLoadBalancerIPPool' | 'CiliumPodIPPool' | 'any';
  readonly selector: Selector | null;
  readonly attributes: PathAttributes;
}

export interface BgpNeighborFact {
  readonly peer: BgpPeer;
  /** The first that fits counts. */
  readonly attributes: readonly AttributeRule[];
}

export interface BgpRouterFact {
  readonly localAsn: number;
  readonly neighbors: readonly BgpNeighborFact[];
  readonly announcements: readonly Announcement[];
}

/** CiliumBGPPeeringPolicy. */
export interface BgpPolicyFact extends BgpSelectingFact {
  readonly routers: readonly BgpRouterFact[];
}

export interface BgpInstancePeerFact {
  readonly name: string;
  /** 0 = whatever the peer says. */
  readonly asn: number;
  /** As `BgpPeer.address`; null = it is missing. */
  readonly address: string | null;
  /** null = every default, and nothing announced. */
  readonly peerConfig: string | null;
}

export interface BgpInstanceFact {
  readonly name: string;
  readonly localAsn: number | null;
  readonly localPort: number | null;
  readonly peers: readonly BgpInstancePeerFact[];
}

/** CiliumBGPClusterConfig. */
export interface BgpClusterConfigFact extends BgpSelectingFact {
  readonly instances: readonly BgpInstanceFact[];
}

/** What a peer's configuration says of the session. */
export type BgpSessionSettings = Omit<BgpPeer, 'address' | 'asn' | 'families' | 'password' | 'localAddress'>;

/** CiliumBGPPeerConfig. */
export interface BgpPeerConfigFact extends BgpObjectFact {
  readonly settings: BgpSessionSettings;
  /** Advertisements by their labels; null = none. */
  readonly families: readonly {readonly family: FamilyName; readonly advertisements: Selector | null}[];
}

/** CiliumBGPAdvertisement. */
export interface BgpAdvertisementFact extends BgpObjectFact {
  readonly labels: Labels;
  readonly announcements: readonly {readonly what: Announcement; readonly attributes: PathAttributes}[];
}

/** CiliumBGPNodeConfigOverride: the node of that name. null = what the cluster config says. */
export interface BgpOverrideFact extends BgpObjectFact {
  readonly instances: readonly {
    readonly name: string;
    readonly routerId: string | null;
    readonly localAsn: number | null;
    readonly localPort: number | null;
    readonly peers: readonly {readonly name: string; readonly localAddress: string | null; readonly localPort: number | null}[];
  }[];
}

/** A Secret that BGP objects may name. */
export interface BgpSecretFact {
  /** Key `password`; null = there is none, or it is empty. */
  readonly password: string | null;
}
