// Each watched kind: where it lives in the API and which part of it is read.

import {RESOURCES, type ApiResource} from '../../lib/kube/resources.js';
import type {KubeObject, WatchedKind} from './feed-types.js';

export interface WatchedResource {
  readonly kind: WatchedKind;
  readonly resource: ApiResource;
  /** Null = all namespaces, or a cluster-scoped kind. */
  readonly namespace: string | null;
  readonly fieldSelector?: string;
  readonly labelSelector?: string;
  /** The same narrowing for objects that do not come through an API server. */
  readonly includes: (object: KubeObject) => boolean;
}

export interface KindOptions {
  /** The only ConfigMap that is read. */
  readonly ipMasqConfigMap: {readonly namespace: string; readonly name: string};
  /** What was let through of BGP objects; null = it is not kept. */
  readonly bgpAcceptedConfigMap: {readonly namespace: string; readonly name: string} | null;
  /** Where the Secrets with BGP passwords lie. */
  readonly bgpSecretsNamespace: string;
}

export const DEFAULT_KIND_OPTIONS: KindOptions = {ipMasqConfigMap: {namespace: 'kube-system', name: 'ip-masq-agent'}, bgpAcceptedConfigMap: null, bgpSecretsNamespace: 'kube-system'};

const WHOLE: readonly WatchedKind[] = [
  'Namespace', 'Node', 'CiliumIdentity', 'CiliumNode', 'CiliumBGPPeeringPolicy', 'NetworkPolicy', 'CiliumNetworkPolicy',
  'CiliumClusterwideNetworkPolicy', 'CiliumCIDRGroup', 'CiliumLoadBalancerIPPool', 'CiliumPodIPPool', 'CiliumEndpoint', 'Service', 'EndpointSlice', 'Pod',
  'CiliumBGPClusterConfig', 'CiliumBGPPeerConfig', 'CiliumBGPAdvertisement', 'CiliumBGPNodeConfig', 'CiliumBGPNodeConfigOverride',
];

/** Of ConfigMaps those that are named: everybody else's are none of our business. */
export function watchedResources(options: KindOptions): readonly WatchedResource[] {
  const {ipMasqConfigMap, bgpAcceptedConfigMap} = options;
  return [
    ...WHOLE.map((kind) => ({kind, resource: RESOURCES[kind], namespace: null, includes: () => true})),
    ...[ipMasqConfigMap, ...(bgpAcceptedConfigMap === null ? [] : [bgpAcceptedConfigMap])].map(watchedConfigMap),
  ];
}

function watchedConfigMap({namespace, name}: {readonly namespace: string; readonly name: string}): WatchedResource {
  return {
    kind: 'ConfigMap', resource: RESOURCES.ConfigMap, namespace, fieldSelector: `metadata.name=${name}`,
    includes: (object) => object.metadata.namespace === namespace && object.metadata.name === name,
  };
}

/** One Secret by its name: no more of them may be read than are named somewhere. null = all that there are in files. */
export function watchedSecret({bgpSecretsNamespace: namespace}: KindOptions, name: string | null): WatchedResource {
  return {
    kind: 'Secret', resource: RESOURCES.Secret, namespace, ...(name === null ? {} : {fieldSelector: `metadata.name=${name}`}),
    includes: (object) => object.metadata.namespace === namespace && (name === null || object.metadata.name === name),
  };
}
