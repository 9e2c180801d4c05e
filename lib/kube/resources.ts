// Where each kind lives in the API: group, version, plural, scope; and the paths made from that.

export interface ApiResource {
  readonly kind: string;
  /** `v1`, `cilium.io/v2`: the version that is read and written. */
  readonly apiVersion: string;
  /** Others of the same shape, in which manifests may be written. */
  readonly olderVersions?: readonly string[];
  readonly plural: string;
  readonly namespaced: boolean;
}

function resource(apiVersion: string, kind: string, plural: string, scope: 'namespaced' | 'cluster'): ApiResource {
  return {apiVersion, kind, plural, namespaced: scope === 'namespaced'};
}

/** Every kind that Stentor reads or writes. */
export const RESOURCES = {
  Pod: resource('v1', 'Pod', 'pods', 'namespaced'),
  Namespace: resource('v1', 'Namespace', 'namespaces', 'cluster'),
  Node: resource('v1', 'Node', 'nodes', 'cluster'),
  ConfigMap: resource('v1', 'ConfigMap', 'configmaps', 'namespaced'),
  Secret: resource('v1', 'Secret', 'secrets', 'namespaced'),
  Service: resource('v1', 'Service', 'services', 'namespaced'),
  EndpointSlice: resource('discovery.k8s.io/v1', 'EndpointSlice', 'endpointslices', 'namespaced'),
  NetworkPolicy: resource('networking.k8s.io/v1', 'NetworkPolicy', 'networkpolicies', 'namespaced'),
  Lease: resource('coordination.k8s.io/v1', 'Lease', 'leases', 'namespaced'),
  TokenReview: resource('authentication.k8s.io/v1', 'TokenReview', 'tokenreviews', 'cluster'),
  Event: resource('events.k8s.io/v1', 'Event', 'events', 'namespaced'),
  CustomResourceDefinition: resource('apiextensions.k8s.io/v1', 'CustomResourceDefinition', 'customresourcedefinitions', 'cluster'),
  CiliumNetworkPolicy: resource('cilium.io/v2', 'CiliumNetworkPolicy', 'ciliumnetworkpolicies', 'namespaced'),
  CiliumClusterwideNetworkPolicy:
    resource('cilium.io/v2', 'CiliumClusterwideNetworkPolicy', 'ciliumclusterwidenetworkpolicies', 'cluster'),
  CiliumCIDRGroup: {...resource('cilium.io/v2', 'CiliumCIDRGroup', 'ciliumcidrgroups', 'cluster'), olderVersions: ['cilium.io/v2alpha1']},
  CiliumIdentity: resource('cilium.io/v2', 'CiliumIdentity', 'ciliumidentities', 'cluster'),
  CiliumEndpoint: resource('cilium.io/v2', 'CiliumEndpoint', 'ciliumendpoints', 'namespaced'),
  CiliumNode: resource('cilium.io/v2', 'CiliumNode', 'ciliumnodes', 'cluster'),
  CiliumLoadBalancerIPPool:
    {...resource('cilium.io/v2', 'CiliumLoadBalancerIPPool', 'ciliumloadbalancerippools', 'cluster'), olderVersions: ['cilium.io/v2alpha1']},
  CiliumPodIPPool: resource('cilium.io/v2alpha1', 'CiliumPodIPPool', 'ciliumpodippools', 'cluster'),
  CiliumBGPClusterConfig:
    {...resource('cilium.io/v2', 'CiliumBGPClusterConfig', 'ciliumbgpclusterconfigs', 'cluster'), olderVersions: ['cilium.io/v2alpha1']},
  CiliumBGPPeerConfig:
    {...resource('cilium.io/v2', 'CiliumBGPPeerConfig', 'ciliumbgppeerconfigs', 'cluster'), olderVersions: ['cilium.io/v2alpha1']},
  CiliumBGPAdvertisement:
    {...resource('cilium.io/v2', 'CiliumBGPAdvertisement', 'ciliumbgpadvertisements', 'cluster'), olderVersions: ['cilium.io/v2alpha1']},
  CiliumBGPNodeConfig:
    {...resource('cilium.io/v2', 'CiliumBGPNodeConfig', 'ciliumbgpnodeconfigs', 'cluster'), olderVersions: ['cilium.io/v2alpha1']},
  CiliumBGPNodeConfigOverride:
    {...resource('cilium.io/v2', 'CiliumBGPNodeConfigOverride', 'ciliumbgpnodeconfigoverrides', 'cluster'), olderVersions: ['cilium.io/v2alpha1']},
  CiliumBGPPeeringPolicy: resource('cilium.io/v2alpha1', 'CiliumBGPPeeringPolicy', 'ciliumbgppeeringpolicies', 'cluster'),
} as const satisfies Readonly<Record<string, ApiResource>>;

export type KnownKind = keyof typeof RESOURCES;

/** The collection: all namespaces when `namespace` is null or the kind is cluster-scoped. */
export function collectionPath(of: ApiResource, namespace: string | null = null): string {
  const root = of.apiVersion.includes('/') ? `/apis/${of.apiVersion}` : `/api/${of.apiVersion}`;
  return of.namespaced && namespace !== null ? `${root}/namespaces/${encodeURIComponent(namespace)}/${of.plural}` : `${root}/${of.plural}`;
}

/** One object; `namespace` is ignored for cluster-scoped kinds. */
export function objectPath(of: ApiResource, namespace: string | null, name: string, subresource?: 'status'): string {
  const path = `${collectionPath(of, namespace)}/${encodeURIComponent(name)}`;
  return subresource === undefined ? path : `${path}/${subresource}`;
}
