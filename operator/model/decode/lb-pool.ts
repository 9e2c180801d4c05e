// CiliumLoadBalancerIPPool → LbPool. Prefixes and ranges alike become first and last address.

import type {ObjectRef, Rejection} from '../../../lib/core/errors.js';
import {deepEqual} from '../../../lib/core/equal.js';
import {compareAddresses, formatAddress, lastAddress, parseAddress, parsePrefix} from '../../../lib/core/ip.js';
import {Labels} from '../../../lib/domain/labels.js';
import type {LbPool, PoolBlock} from '../../../lib/domain/lb-pool.js';
import type {KubeObject} from '../../watch/feed-types.js';
import {labelSelector, list, record, refOf, stringMap, text} from './json.js';

export function decodeLbPool(object: KubeObject): LbPool {
  const ref = refOf('CiliumLoadBalancerIPPool', object);
  const spec = record(object['spec']);
  const rejections: Rejection[] = [];
  const written = spec['serviceSelector'] ?? null;
  const serviceSelector = written === null ? null : labelSelector(written);
  if (written !== null && serviceSelector === null) rejections.push(invalid(ref, 'spec.serviceSelector', 'cannot be read as a label selector: the pool gives nothing'));
  const blocks = decodeBlocks(ref, 'blocks', list(spec['blocks']), rejections);
  const cidrs = decodeBlocks(ref, 'cidrs', list(spec['cidrs']), rejections);
  const unreadable = written !== null && serviceSelector === null;
  return {
    ref,
    apiVersion: text(object['apiVersion']) === '' ? 'cilium.io/v2' : text(object['apiVersion']),
    createdAt: object.metadata.creationTimestamp ?? '',
    generation: object.metadata.generation ?? 0,
    labels: new Labels(Object.entries(stringMap(object.metadata.labels)).map(([key, value]) => ({source: 'k8s', key, value}))),
    disabled: spec['disabled'] === true,
    allowFirstLastIps: spec['allowFirstLastIPs'] !== 'No',
    serviceSelector,
    // The same prefix in both lists is said twice, not a conflict.
    blocks: unreadable ? [] : [...blocks, ...cidrs.filter((block) => !blocks.some((other) => deepEqual(other, block)))],
    rejections,
  };
}

function decodeBlocks(ref: ObjectRef, field: 'blocks' | 'cidrs', items: readonly unknown[], rejections: Rejection[]): PoolBlock[] {
  return items.flatMap((item, i) => {
    const block = decodeBlock(record(item));
    if (typeof block !== 'string') return [block];
    rejections.push(invalid(ref, `spec.${field}[${i}]`, block));
    return [];
  });
}

/** A text = why it is none. */
function decodeBlock(item: Readonly<Record<string, unknown>>): PoolBlock | string {
  const cidr = text(item['cidr']);
  if (cidr !== '') {
    const prefix = parsePrefix(cidr);
    if (prefix === null) return `not a prefix: ${cidr}`;
    return {family: prefix.family, first: formatAddress(prefix), last: formatAddress(lastAddress(prefix)), isPrefix: true};
  }
  const first = parseAddress(text(item['start']));
  const last = text(item['stop']) === '' ? first : parseAddress(text(item['stop']));
  if (first === null || last === null) return `neither a cidr nor a range: ${JSON.stringify(item)}`;
  if (first.family !== last.family) return 'start and stop are of different families';
  if (compareAddresses(first, last) > 0) return 'stop lies before start';
  return {family: first.family, first: formatAddress(first), last: formatAddress(last), isPrefix: false};
}

function invalid(object: ObjectRef, path: string, reason: string): Rejection {
  return {object, path, code: 'LBIPPoolInvalid', reason};
}
