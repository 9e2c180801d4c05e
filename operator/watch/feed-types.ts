// What the watch stage hands to the model stage: plain JSON objects by kind and key. Knows no domain type.

import type {KubeObject} from '../../lib/kube/object.js';

export type {KubeObject};

export type WatchedKind =
  | 'Pod' | 'Namespace' | 'Node' | 'ConfigMap' | 'Service' | 'EndpointSlice' | 'NetworkPolicy'
  | 'CiliumNetworkPolicy' | 'CiliumClusterwideNetworkPolicy' | 'CiliumIdentity' | 'CiliumEndpoint' | 'CiliumNode'
  | 'CiliumBGPPeeringPolicy' | 'CiliumCIDRGroup' | 'CiliumLoadBalancerIPPool' | 'CiliumPodIPPool' | 'Secret'
  | 'CiliumBGPClusterConfig' | 'CiliumBGPPeerConfig' | 'CiliumBGPAdvertisement' | 'CiliumBGPNodeConfig' | 'CiliumBGPNodeConfigOverride';

/** `key` is `namespace/name`, or `name` for cluster-scoped kinds. `object` null = gone. */
export interface Change {
  readonly kind: WatchedKind;
  readonly key: string;
  readonly object: KubeObject | null;
}

export interface Batch {
  readonly changes: readonly Change[];
  /** True from the batch on with which every kind has been listed once. Nothing outside is changed before. */
  readonly inSync: boolean;
  /** `performance.now()` of the oldest event in it, for the convergence histogram. */
  readonly receivedAtMs: number;
}
