// Security identities: numbers that stand for label sets. Cilium's numbers (pkg/identity/numericidentity.go).

import type {Brand} from '../core/brand.js';
import {invariant} from '../core/invariant.js';

/** u32; 0 = unknown and the wildcard of policy maps, 1..255 reserved, 256..65535 cluster, 2^24+1.. local. */
export type IdentityId = Brand<number, 'IdentityId'>;

export function identityId(n: number): IdentityId {
  invariant(Number.isInteger(n) && n >= 0 && n < 2 ** 32, 'identity is a u32', {n});
  return n as IdentityId;
}

export const IDENTITY_ANY = identityId(0);
export const IDENTITY_HOST = identityId(1);
export const IDENTITY_WORLD = identityId(2);
export const IDENTITY_UNMANAGED = identityId(3);
export const IDENTITY_HEALTH = identityId(4);
export const IDENTITY_INIT = identityId(5);
export const IDENTITY_REMOTE_NODE = identityId(6);
export const IDENTITY_KUBE_APISERVER = identityId(7);
export const IDENTITY_INGRESS = identityId(8);
/** Used instead of 2 where the cluster has both address families. */
export const IDENTITY_WORLD_IPV4 = identityId(9);
export const IDENTITY_WORLD_IPV6 = identityId(10);

/** Address families that the cluster's network has. */
export interface Families {
  readonly ipv4: boolean;
  readonly ipv6: boolean;
}

export const IPV4_ONLY: Families = {ipv4: true, ipv6: false};
export const DUAL_STACK: Families = {ipv4: true, ipv6: true};

export function hasFamily(families: Families, family: 4 | 6): boolean {
  return family === 4 ? families.ipv4 : families.ipv6;
}

/** What an address that nobody knows is. With one family there is one world. */
export function worldIdentity(families: Families, family: 4 | 6): IdentityId {
  if (!families.ipv4 || !families.ipv6) return IDENTITY_WORLD;
  return family === 4 ? IDENTITY_WORLD_IPV4 : IDENTITY_WORLD_IPV6;
}

export function worldLabel(families: Families, family: 4 | 6): string {
  if (!families.ipv4 || !families.ipv6) return 'reserved:world';
  return `reserved:world-ipv${family}`;
}

/** Reserved numbers and the `reserved:` label each stands for. */
export const RESERVED_IDENTITIES: ReadonlyMap<IdentityId, readonly string[]> = new Map([
  [IDENTITY_HOST, ['reserved:host']],
  [IDENTITY_WORLD, ['reserved:world']],
  [IDENTITY_UNMANAGED, ['reserved:unmanaged']],
  [IDENTITY_HEALTH, ['reserved:health']],
  [IDENTITY_INIT, ['reserved:init']],
  [IDENTITY_REMOTE_NODE, ['reserved:remote-node']],
  [IDENTITY_KUBE_APISERVER, ['reserved:kube-apiserver', 'reserved:remote-node']],
  [IDENTITY_INGRESS, ['reserved:ingress']],
]);

export const CLUSTER_IDENTITY_MIN = 256;
export const CLUSTER_IDENTITY_MAX = 65535;
/** Node-local identities (CIDR, FQDN, an API server outside the cluster): numbered by each agent, never on the wire. */
export const LOCAL_IDENTITY_MIN = 0x01000001;
export const LOCAL_IDENTITY_MAX = 0x01ffffff;

export function isLocalIdentity(id: IdentityId): boolean {
  return id >= LOCAL_IDENTITY_MIN && id <= LOCAL_IDENTITY_MAX;
}

/** The reserved identities that exist with these families. */
export function reservedIdentities(families: Families): ReadonlyMap<IdentityId, readonly string[]> {
  if (!families.ipv4 || !families.ipv6) return RESERVED_IDENTITIES;
  const all = new Map(RESERVED_IDENTITIES);
  all.delete(IDENTITY_WORLD);
  return all.set(IDENTITY_WORLD_IPV4, ['reserved:world-ipv4']).set(IDENTITY_WORLD_IPV6, ['reserved:world-ipv6']);
}
