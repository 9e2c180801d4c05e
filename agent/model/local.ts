// Local facts: what this node knows by itself. With the desired state they are all that `compile` reads.

import type {IdentityId} from '../../lib/domain/identity.js';

/** One pod interface that the CNI server has made. The record is all that is needed to find it again after a restart. */
export interface LocalEndpoint {
  /** 1..65535, chosen here; index of the policy slot. */
  readonly id: number;
  readonly containerId: string;
  /** Name of the CNI configuration that it was made for; absent in records of old. */
  readonly network?: string;
  /** Interface name inside the pod. */
  readonly containerIfname: string;
  readonly netns: string;
  readonly hostIfname: string;
  readonly hostIfindex: number;
  /** Pod side, then host side. */
  readonly mac: string;
  readonly hostMac: string;
  /** Null = the node has no PodCIDR of the family. One of the two is there. */
  readonly ipv4: string | null;
  readonly ipv6: string | null;
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
  /** `creating` until the link is up. */
  readonly state: 'creating' | 'ready';
}

export interface LocalLink {
  readonly ifindex: number;
  readonly name: string;
  readonly mac: string;
  readonly mtu: number;
  readonly up: boolean;
  /** With prefix length. */
  readonly addresses: readonly string[];
}

export interface LocalFacts {
  readonly endpoints: ReadonlyMap<number, LocalEndpoint>;
  readonly links: ReadonlyMap<string, LocalLink>;
  /** Numbers of local-scope identities by prefix. */
  readonly localIdentities: ReadonlyMap<string, IdentityId>;
}

/** Of both families, IPv4 first. */
export function endpointAddresses({ipv4, ipv6}: Pick<LocalEndpoint, 'ipv4' | 'ipv6'>): readonly string[] {
  return [ipv4, ipv6].filter((address) => address !== null);
}

export function endpointOwner(endpoint: LocalEndpoint): string {
  return `${endpoint.namespace}/${endpoint.name}`;
}

/** Names one CNI attachment: a container may have several interfaces. */
export function attachmentKey(attachment: {readonly containerId: string; readonly containerIfname: string}): string {
  return `${attachment.containerId}:${attachment.containerIfname}`;
}
