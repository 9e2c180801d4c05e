// Node → NodeFact. PodCIDRs as the IPAM mode `kubernetes` reads them: spec.podCIDRs, else spec.podCIDR and the annotations.

import {DRAIN_ANNOTATION} from '../../../lib/domain/bgp-names.js';
import {formatPrefix, parseAddress, formatAddress, parsePrefix} from '../../../lib/core/ip.js';
import type {KubeObject} from '../../watch/feed-types.js';
import type {NodeFact, NodeHealthFact} from '../facts.js';
import {list, record, stringMap, strings, text} from './json.js';

const IPV4_ANNOTATIONS = ['network.cilium.io/ipv4-pod-cidr', 'io.cilium.network.ipv4-pod-cidr'];
const IPV6_ANNOTATIONS = ['network.cilium.io/ipv6-pod-cidr', 'io.cilium.network.ipv6-pod-cidr'];
const CIDR_ANNOTATIONS = [...IPV4_ANNOTATIONS, ...IPV6_ANNOTATIONS];
const ADDRESS_TYPES = ['InternalIP', 'ExternalIP'];

export function decodeNode(object: KubeObject): NodeFact {
  const annotations = stringMap(object.metadata.annotations);
  return {
    name: object.metadata.name,
    uid: object.metadata.uid ?? '',
    labels: stringMap(object.metadata.labels),
    // Only ours matter, and kubelets change others often.
    annotations: Object.fromEntries(Object.entries(annotations).filter(([key]) => key.startsWith('cilium.io/') || CIDR_ANNOTATIONS.includes(key))),
    addresses: nodeAddresses(object),
    podCidrs: podCidrs(record(object['spec']), annotations),
  };
}

/** A node that says nothing of being ready is. */
export function decodeNodeHealth(object: KubeObject): NodeHealthFact {
  const conditions = list(record(object['status'])['conditions']).map(record);
  return {
    ready: conditions.every(({type, status}) => type !== 'Ready' || status === 'True'),
    unschedulable: record(object['spec'])['unschedulable'] === true,
    drain: stringMap(object.metadata.annotations)[DRAIN_ANNOTATION] ?? null,
  };
}

function nodeAddresses(object: KubeObject): NodeFact['addresses'] {
  const all = list(record(object['status'])['addresses']).map(record);
  return ADDRESS_TYPES.flatMap((type) => all.filter((item) => item['type'] === type).flatMap((item) => {
    const address = parseAddress(text(item['address']));
    return address === null ? [] : [{type, ip: formatAddress(address)}];
  }));
}

function podCidrs(spec: Readonly<Record<string, unknown>>, annotations: Readonly<Record<string, string>>): string[] {
  const written = strings(spec['podCIDRs']);
  const candidates = written.length > 0 ? written
    : [firstOf(text(spec['podCIDR']), ...IPV4_ANNOTATIONS.map((key) => annotations[key] ?? '')), firstOf(...IPV6_ANNOTATIONS.map((key) => annotations[key] ?? ''))];
  return candidates.flatMap((item) => {
    const prefix = parsePrefix(item);
    return prefix === null ? [] : [formatPrefix(prefix)];
  });
}

function firstOf(...texts: readonly string[]): string {
  return texts.find((item) => item !== '') ?? '';
}
