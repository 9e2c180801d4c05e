// A Service as the outside sees it: which addresses it asks for and has, and from which nodes they may be announced.

import type {ObjectRef} from '../core/errors.js';
import type {Labels} from './labels.js';

export type TrafficPolicy = 'Cluster' | 'Local';

export interface ServicePort {
  readonly port: number;
  /** `TCP`, `UDP`, `SCTP`. */
  readonly protocol: string;
}

export interface ExposedService {
  readonly ref: ObjectRef;
  readonly createdAt: string;
  readonly generation: number;
  /** The Service's own, and `io.kubernetes.service.name` and `.namespace`, as selectors see them. */
  readonly labels: Labels;
  /** `ClusterIP`, `NodePort`, `LoadBalancer`, `ExternalName`. */
  readonly type: string;
  readonly loadBalancerClass: string | null;
  readonly ipFamilyPolicy: string | null;
  readonly ipFamilies: readonly (4 | 6)[];
  /** Addresses by name of `spec.loadBalancerIP` and the annotation, canonical and distinct, in their order. */
  readonly requested: readonly string[];
  /** What was asked for and is no address. */
  readonly unreadable: readonly string[];
  /** Empty = shares with nobody. */
  readonly sharingKey: string;
  /** Namespaces whose Services may share with this one, besides its own; `*` = all. */
  readonly sharingNamespaces: readonly string[];
  readonly ports: readonly ServicePort[];
  readonly externalTrafficPolicy: TrafficPolicy;
  readonly internalTrafficPolicy: TrafficPolicy;
  /** null = its backends are what somebody wrote. */
  readonly selector: Readonly<Record<string, string>> | null;
  /** Canonical. */
  readonly clusterIps: readonly string[];
  readonly externalIps: readonly string[];
  /** Addresses in `status.loadBalancer.ingress`, whoever wrote them. */
  readonly ingress: readonly string[];
  /** Whether the status has LB-IPAM's condition. */
  readonly hasCondition: boolean;
}

/** The condition that says whether a Service got the addresses that it asks for. */
export const SATISFIED_CONDITION = 'cilium.io/IPAMRequestSatisfied';

/** The class of Services that are announced over BGP. */
export const BGP_CLASS = 'io.cilium/bgp-control-plane';
