// CiliumPodIPPool → PodIpPool: its labels, by which BGP policies select it.

import {Labels} from '../../../lib/domain/labels.js';
import type {PodIpPool} from '../../../lib/domain/lb-pool.js';
import type {KubeObject} from '../../watch/feed-types.js';
import {refOf, stringMap} from './json.js';

export function decodePodIpPool(object: KubeObject): PodIpPool {
  const {name, namespace = '', labels} = object.metadata;
  const all = {...stringMap(labels), 'io.cilium.podippool.name': name, 'io.cilium.podippool.namespace': namespace};
  return {ref: refOf('CiliumPodIPPool', object), labels: new Labels(Object.entries(all).map(([key, value]) => ({source: 'k8s', key, value})))};
}
