// Tests only: Services and pools in few words.

import type {ExposedService} from '../../domain/exposed-service.js';
import {Labels} from '../../domain/labels.js';
import type {LbPool, PoolBlock} from '../../domain/lb-pool.js';
import {formatAddress, lastAddress, parsePrefix} from '../../core/ip.js';
import {equalsRequirement} from '../../domain/selector.js';

/** `namespace/name`. */
export function service(key: string, more: Partial<ExposedService> & {readonly color?: string} = {}): ExposedService {
  const [namespace = '', name = ''] = key.split('/');
  const {color, ...fields} = more;
  return {
    ref: {kind: 'Service', namespace, name, uid: `uid-${key}`}, createdAt: '2026-01-01T00:00:00Z', generation: 0, type: 'LoadBalancer',
    labels: Labels.parse([...(color === undefined ? [] : [`k8s:color=${color}`]), `k8s:io.kubernetes.service.name=${name}`, `k8s:io.kubernetes.service.namespace=${namespace}`]),
    loadBalancerClass: null, ipFamilyPolicy: null, ipFamilies: [], requested: [], unreadable: [], sharingKey: '', sharingNamespaces: [],
    ports: [{port: 80, protocol: 'TCP'}], externalTrafficPolicy: 'Cluster', internalTrafficPolicy: 'Cluster', selector: {app: name},
    clusterIps: [], externalIps: [], ingress: [], hasCondition: false, ...fields,
  };
}

/** Blocks: `10.0.0.0/24`, `10.0.0.1-10.0.0.9`. */
export function pool(name: string, blocks: readonly string[], more: Partial<LbPool> & {readonly color?: string} = {}): LbPool {
  const {color, ...fields} = more;
  return {
    ref: {kind: 'CiliumLoadBalancerIPPool', namespace: '', name, uid: `uid-${name}`}, apiVersion: 'cilium.io/v2', createdAt: '2026-01-01T00:00:00Z', generation: 1,
    labels: Labels.parse([]), disabled: false, allowFirstLastIps: true,
    serviceSelector: color === undefined ? null : {requirements: [equalsRequirement('k8s:color', color)]},
    blocks: blocks.map(block), rejections: [], ...fields,
  };
}

function block(text: string): PoolBlock {
  const prefix = parsePrefix(text);
  if (prefix !== null) return {family: prefix.family, first: formatAddress(prefix), last: formatAddress(lastAddress(prefix)), isPrefix: true};
  const [first = '', last = first] = text.split('-');
  return {family: first.includes(':') ? 6 : 4, first, last, isPrefix: false};
}

export function byName(pools: readonly LbPool[]): ReadonlyMap<string, LbPool> {
  return new Map(pools.map((one) => [one.ref.name, one]));
}

export function byKey(services: readonly ExposedService[]): ReadonlyMap<string, ExposedService> {
  return new Map(services.map((one) => [`${one.ref.namespace}/${one.ref.name}`, one]));
}
