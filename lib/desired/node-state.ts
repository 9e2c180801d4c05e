// NodeState: everything one node should hold, by resource kind. The wire format is only an encoding of it.

import type {Origin} from '../domain/policy.js';
import type {IdentityId} from '../domain/identity.js';
import type {IsolatedBy, PolicyEntry} from '../domain/policy.js';
import type {Speaker} from '../domain/bgp.js';

/** In dependency order: adds go down this list, removes go up. The only copy of the order is `order.ts`. */
export type ResourceKind =
  | 'node-config' | 'node' | 'identity' | 'ipcache' | 'selector' | 'policy' | 'endpoint' | 'masquerade' | 'speaker';

/** Key: the number in decimal. */
export interface IdentityResource {
  readonly id: IdentityId;
  /** `source:key=value`, sorted. */
  readonly labels: readonly string[];
  /** Ports that pods of this identity name, for egress rules by name; a name with two numbers is left out. Protocol: IANA number. */
  readonly namedPorts?: readonly {readonly name: string; readonly protocol: number; readonly port: number}[];
}

/**
 * Key: the prefix. `identity` null = a local-scope identity that the agent numbers itself from `labels`
 * (`cidr:…`, `reserved:world`, `reserved:kube-apiserver`): such numbers never cross the wire.
 */
export interface IpCacheResource {
  readonly prefix: string;
  readonly identity: IdentityId | null;
  readonly labels: readonly string[];
  /** Node address for VXLAN; null = no tunnel (local to nobody, or native). */
  readonly tunnelEndpoint: string | null;
  /** Set by the operator for entries of the node itself: the address is the node's own. */
  readonly local: boolean;
}

/** Key: the selector id. Members are cluster identities by number and local-scope identities by prefix. */
export interface SelectorResource {
  readonly id: string;
  readonly identities: readonly IdentityId[];
  readonly prefixes: readonly string[];
}

/** Key: the subject identity in decimal. */
export interface PolicyResource {
  readonly subject: IdentityId;
  readonly ingressEnforced: boolean;
  readonly egressEnforced: boolean;
  readonly entries: readonly PolicyEntry[];
  readonly isolatedBy?: IsolatedBy;
}

/** Key: `namespace/name`. On the node before CNI ADD; the address is chosen by the agent and reported upstream. */
export interface EndpointResource {
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
  readonly identity: IdentityId;
  readonly labels: readonly string[];
  /** name → {port, protocol number}. */
  readonly namedPorts: Readonly<Record<string, {readonly port: number; readonly protocol: number}>>;
}

/** Key: the node name. */
export interface NodeResource {
  readonly name: string;
  readonly addresses: readonly string[];
  readonly podCidrs: readonly string[];
  /** The CiliumInternalIP, once the node has reported it. */
  readonly routerAddress: string | null;
}

/** Key: `masquerade`. `hold`: keep what is installed (the configuration is broken); a node that has nothing masquerades all but link-local. */
export interface MasqueradeResource {
  readonly hold: {readonly reason: string} | null;
  readonly nonMasqueradeCidrs: readonly string[];
  readonly source: 'configmap' | 'defaults';
}

/** Key: `speaker`. */
export type SpeakerResource = Speaker;

/** Key: `node-config`. */
export interface NodeConfigResource {
  readonly nodeName: string;
  readonly routingMode: 'native' | 'tunnel';
  readonly podCidrs: readonly string[];
  readonly nodeAddress: string;
  /** No masquerading towards it; null = only the node's own PodCIDRs. */
  readonly ipv4NativeRoutingCidr: string | null;
  readonly enableIPv4Masquerade: boolean;
  readonly tunnelPort: number;
  readonly clusterName: string;
  /** Absent: IPv6 is off, whatever prefixes and addresses there are of it. */
  readonly ipv6?: NodeIpv6;
}

export interface NodeIpv6 {
  /** As its IPv4 twin. */
  readonly nativeRoutingCidr: string | null;
  readonly enableMasquerade: boolean;
}

/** What each kind of resource holds. */
export interface ResourceTypes {
  readonly 'node-config': NodeConfigResource;
  readonly 'node': NodeResource;
  readonly 'identity': IdentityResource;
  readonly 'ipcache': IpCacheResource;
  readonly 'selector': SelectorResource;
  readonly 'policy': PolicyResource;
  readonly 'endpoint': EndpointResource;
  readonly 'masquerade': MasqueradeResource;
  readonly 'speaker': SpeakerResource;
}

/** One resource: `version` is the hash of its content, so that a restarted operator names the same content the same. */
export type Resource = {
  readonly [K in ResourceKind]: {readonly kind: K; readonly key: string; readonly version: string; readonly value: ResourceTypes[K]};
}[ResourceKind];

export interface ResourceName {
  readonly kind: ResourceKind;
  readonly key: string;
}

/** `kind/key`, the key of maps over all kinds. */
export function resourceId(name: ResourceName): string {
  return `${name.kind}/${name.key}`;
}

/** All resources of one node, by `resourceId`. */
export type NodeState = ReadonlyMap<string, Resource>;

/** Adds in dependency order, removes in the reverse order. */
export interface Delta {
  /** `stateVersion` of the state this applies to; empty string = from nothing (a snapshot). */
  readonly base: string;
  readonly version: string;
  readonly upserts: readonly Resource[];
  readonly removes: readonly ResourceName[];
}

export type {Origin};
