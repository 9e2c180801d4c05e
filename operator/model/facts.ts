// What the operator knows about the cluster: one type per table. Made by the decoders, read by compile.

import type {ObjectRef, Rejection} from '../../lib/core/errors.js';
import type {IdentityId} from '../../lib/domain/identity.js';
import type {Labels} from '../../lib/domain/labels.js';
import type {EndpointReport, NodeReport} from '../../lib/domain/reports.js';
import type {Rule} from '../../lib/domain/policy.js';
import type {CidrGroup, PolicyService} from '../../lib/domain/peer-objects.js';
import type {ExposedService} from '../../lib/domain/exposed-service.js';
import type {LbPool, PodIpPool} from '../../lib/domain/lb-pool.js';
import type {BgpManifest} from './bgp-facts.js';
import type {PreparedSubject} from '../../lib/policy/resolve.js';

export interface NamedPort {
  readonly port: number;
  readonly protocol: number;
}

export interface PodFact {
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly serviceAccount: string;
  /** null = not scheduled yet. */
  readonly nodeName: string | null;
  readonly hostNetwork: boolean;
  /** Succeeded or Failed: its address may be given to another pod. */
  readonly ended: boolean;
  readonly namedPorts: Readonly<Record<string, NamedPort>>;
}

export interface NamespaceFact {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
}

export interface NodeFact {
  readonly name: string;
  readonly uid: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations: Readonly<Record<string, string>>;
  /** InternalIP first; no host names. */
  readonly addresses: readonly {readonly type: string; readonly ip: string}[];
  /** Canonical. */
  readonly podCidrs: readonly string[];
  /** Where the operator gives out PodCIDRs: what the CiliumNode should say. In `podCidrs` is what it has been read back with. */
  readonly assigned?: {
    readonly podCidrs: readonly string[];
    /** Why the node lacks one; empty = it does not. */
    readonly error: string;
  };
}

/** Of a Node, what decides whether it stays a way in. */
export interface NodeHealthFact {
  /** False as soon as its condition says so, or that nobody knows. */
  readonly ready: boolean;
  /** It is cordoned. */
  readonly unschedulable: boolean;
  /** The annotation `bgp.stentor.io/drain`. */
  readonly drain: string | null;
}

/** Of a node's routes at the end of a drain: none is withdrawn, those that another node announces as well, or all. */
export type DrainWithdraw = 'never' | 'redundant' | 'all';

/** A node that is drained. */
export interface BgpDrainFact {
  readonly cause: 'annotation' | 'cordoned' | 'not ready';
  readonly withdraw: DrainWithdraw;
  /** Of the epoch. */
  readonly sinceMs: number;
  readonly timeMs: number;
  readonly withdrawn: boolean;
}

/** When the drain of a node began, as its CiliumBGPNodeConfig says. */
export interface BgpDrainMark {
  readonly sinceMs: number;
}

/** What was let through of BGP objects, by `kind/name`; and which changes wait, by their hash. */
export interface BgpAcceptedFact {
  readonly manifests: Readonly<Record<string, BgpManifest>>;
  readonly held: Readonly<Record<string, string>>;
  /** Hashes of changes that are meant. */
  readonly confirmed: readonly string[];
}

export interface CiliumIdentityFact {
  readonly id: IdentityId;
  readonly labels: Labels;
  /** RFC 3339: equal label sets are told apart by age. */
  readonly createdAt: string;
}

/** What is known of an endpoint before its agent has reported it again. */
export interface CiliumEndpointFact {
  readonly namespace: string;
  readonly name: string;
  readonly podUid: string;
  readonly endpointId: number;
  readonly addresses: readonly string[];
  /** The node's address, as in `status.networking.node`. */
  readonly nodeAddress: string;
  readonly containerId: string;
  readonly state: string;
}

export interface CiliumNodeFact {
  readonly name: string;
  /** CiliumInternalIP. */
  readonly routerAddress: string | null;
  readonly routerAddress6?: string;
  /** Canonical. */
  readonly podCidrs: readonly string[];
  /** Prefixes of CiliumPodIPPools that the node was given, canonical. */
  readonly pools: readonly {readonly pool: string; readonly prefix: string}[];
}

/** One CiliumNetworkPolicy, CiliumClusterwideNetworkPolicy or NetworkPolicy. */
export interface PolicyFact {
  readonly ref: ObjectRef;
  readonly apiVersion: string;
  readonly generation: number;
  readonly rules: readonly Rule[];
  /** The rules once more, by subject, with what follows from each alone. */
  readonly subjects: readonly PreparedSubject[];
  readonly rejections: readonly Rejection[];
}

/** The ConfigMap `ip-masq-agent`. `broken`: keep what is installed. */
export type MasqueradeFact =
  | {readonly kind: 'defaults'}
  | {readonly kind: 'configured'; readonly cidrs: readonly string[]; readonly masqueradeLinkLocal: boolean; readonly masqueradeLinkLocalIpv6: boolean}
  | {readonly kind: 'broken'; readonly object: ObjectRef; readonly reason: string};

export type CidrGroupFact = CidrGroup;
/** A Service as policies see it, and as the outside does. */
export type ServiceFact = PolicyService;
export type ExposedServiceFact = ExposedService;
export type LbPoolFact = LbPool;
export type PodIpPoolFact = PodIpPool;

export interface SliceFact {
  /** `namespace/name`. */
  readonly service: string;
  readonly addresses: readonly string[];
}

/** One EndpointSlice, as announcements see it. */
export interface BackendsFact {
  /** `namespace/name`. */
  readonly service: string;
  /** Nodes with an endpoint that takes new connections. */
  readonly nodes: readonly string[];
}

/** Reported by the agent of `node`. */
export interface EndpointReportFact extends EndpointReport {
  readonly node: string;
}

export interface NodeReportFact extends NodeReport {
  readonly node: string;
}
