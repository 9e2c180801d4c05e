// Service → ExposedService: what LB-IPAM and announcements need of it.

import {formatAddress, parseAddress} from '../../../lib/core/ip.js';
import {SATISFIED_CONDITION, type ExposedService, type TrafficPolicy} from '../../../lib/domain/exposed-service.js';
import {Labels} from '../../../lib/domain/labels.js';
import type {KubeObject} from '../../watch/feed-types.js';
import {list, number, record, refOf, stringMap, strings, text} from './json.js';

/** Cilium's annotations, each with the name it had before. */
const REQUESTED_IPS = ['lbipam.cilium.io/ips', 'io.cilium/lb-ipam-ips'];
const SHARING_KEY = ['lbipam.cilium.io/sharing-key', 'io.cilium/lb-ipam-sharing-key'];
const SHARING_NAMESPACES = ['lbipam.cilium.io/sharing-cross-namespace', 'io.cilium/lb-ipam-sharing-cross-namespace'];

export function decodeExposedService(object: KubeObject): ExposedService {
  const spec = record(object['spec']);
  const status = record(object['status']);
  const ref = refOf('Service', object);
  const selector = stringMap(spec['selector']);
  const asked = [text(spec['loadBalancerIP']), ...commaList(annotation(object, REQUESTED_IPS))].filter((item) => item !== '');
  return {
    ref,
    createdAt: object.metadata.creationTimestamp ?? '',
    generation: object.metadata.generation ?? 0,
    labels: serviceLabels(object),
    type: text(spec['type']) === '' ? 'ClusterIP' : text(spec['type']),
    loadBalancerClass: text(spec['loadBalancerClass']) === '' ? null : text(spec['loadBalancerClass']),
    ipFamilyPolicy: text(spec['ipFamilyPolicy']) === '' ? null : text(spec['ipFamilyPolicy']),
    ipFamilies: strings(spec['ipFamilies']).flatMap((family) => (family === 'IPv4' ? [4 as const] : family === 'IPv6' ? [6 as const] : [])),
    requested: addresses(asked),
    unreadable: asked.filter((item) => parseAddress(item) === null),
    sharingKey: annotation(object, SHARING_KEY),
    sharingNamespaces: commaList(annotation(object, SHARING_NAMESPACES)),
    ports: list(spec['ports']).map(record).map((port) => ({port: number(port['port']) ?? 0, protocol: text(port['protocol']) === '' ? 'TCP' : text(port['protocol'])})),
    externalTrafficPolicy: trafficPolicy(spec['externalTrafficPolicy']),
    internalTrafficPolicy: trafficPolicy(spec['internalTrafficPolicy']),
    selector: Object.keys(selector).length === 0 ? null : selector,
    clusterIps: addresses([text(spec['clusterIP']), ...strings(spec['clusterIPs'])]),
    externalIps: addresses(strings(spec['externalIPs'])),
    ingress: addresses(list(record(status['loadBalancer'])['ingress']).map((item) => text(record(item)['ip']))),
    hasCondition: list(status['conditions']).some((item) => record(item)['type'] === SATISFIED_CONDITION),
  };
}

function serviceLabels(object: KubeObject): Labels {
  const all = {
    ...stringMap(object.metadata.labels),
    'io.kubernetes.service.name': object.metadata.name, 'io.kubernetes.service.namespace': object.metadata.namespace ?? '',
  };
  return new Labels(Object.entries(all).map(([key, value]) => ({source: 'k8s', key, value})));
}

function annotation(object: KubeObject, names: readonly string[]): string {
  const all = stringMap(object.metadata.annotations);
  return names.map((name) => all[name] ?? '').find((value) => value !== '') ?? '';
}

function commaList(value: string): string[] {
  return value.split(',').map((item) => item.trim()).filter((item) => item !== '');
}

/** What is no address (`None`, a host name) is left out. */
function addresses(texts: readonly string[]): string[] {
  return [...new Set(texts.flatMap((item) => {
    const address = parseAddress(item);
    return address === null ? [] : [formatAddress(address)];
  }))];
}

function trafficPolicy(value: unknown): TrafficPolicy {
  return value === 'Local' ? 'Local' : 'Cluster';
}
