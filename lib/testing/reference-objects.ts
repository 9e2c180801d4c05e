// A random world of the reference as the objects that a cluster would have. IPv4.

import type {RefWorld} from './reference-world.js';

export interface RefObject {
  readonly kind: 'Node' | 'Namespace' | 'Pod' | 'Service' | 'EndpointSlice' | 'CiliumCIDRGroup' | 'CiliumNetworkPolicy' | 'CiliumClusterwideNetworkPolicy' | 'NetworkPolicy';
  readonly key: string;
  readonly object: {readonly metadata: {readonly name: string; readonly namespace?: string; readonly uid?: string}; readonly [field: string]: unknown};
}

const isIPv4 = (text: string): boolean => !text.includes(':');

function slice(namespace: string, service: string, addresses: readonly string[]): RefObject {
  const name = service === 'kubernetes' ? service : `${service}-1`;
  return {kind: 'EndpointSlice', key: `${namespace}/${name}`, object: {
    metadata: {name, namespace, uid: `slice-${namespace}-${name}`, labels: {'kubernetes.io/service-name': service}} as RefObject['object']['metadata'],
    addressType: 'IPv4', endpoints: [{addresses}],
  }};
}

export function objectsOf(world: RefWorld): RefObject[] {
  const metadata = (name: string, namespace: string | null, labels: Readonly<Record<string, string>> = {}): RefObject['object']['metadata'] =>
    ({name, uid: `uid-${namespace ?? ''}-${name}`, labels, ...(namespace === null ? {} : {namespace})} as RefObject['object']['metadata']);
  return [
    ...world.nodes.map(({name, addresses, podCidrs}): RefObject => ({kind: 'Node', key: name, object: {
      metadata: metadata(name, null), spec: {podCIDRs: podCidrs.filter(isIPv4)}, status: {addresses: addresses.filter(isIPv4).map((address) => ({type: 'InternalIP', address}))},
    }})),
    ...Object.entries(world.namespaces).map(([name, labels]): RefObject => ({kind: 'Namespace', key: name, object: {metadata: metadata(name, null, labels)}})),
    ...world.pods.map(({namespace, name, labels, node, ports}): RefObject => ({kind: 'Pod', key: `${namespace}/${name}`, object: {
      metadata: metadata(name, namespace, labels),
      spec: {nodeName: node, serviceAccountName: 'default', containers: [{ports: ports.map((port) => ({name: port.name, containerPort: port.port, protocol: port.protocol}))}]},
    }})),
    ...world.services.map(({namespace, name, labels, selector}): RefObject => ({kind: 'Service', key: `${namespace}/${name}`, object: {
      metadata: metadata(name, namespace, labels), spec: selector === null ? {} : {selector},
    }})),
    ...world.services.filter(({selector}) => selector === null).map(({namespace, name, backends}) => slice(namespace, name, backends.filter(isIPv4))),
    ...(world.apiServers.length === 0 ? [] : [slice('default', 'kubernetes', world.apiServers)]),
    ...world.groups.map(({name, labels, cidrs}): RefObject => ({kind: 'CiliumCIDRGroup', key: name, object: {metadata: metadata(name, null, labels), spec: {externalCIDRs: cidrs}}})),
    ...world.policies.map((policy): RefObject => {
      const object = policy as RefObject['object'];
      const {namespace = '', name} = object.metadata;
      return {kind: policy['kind'] as RefObject['kind'], key: namespace === '' ? name : `${namespace}/${name}`, object};
    }),
  ];
}
