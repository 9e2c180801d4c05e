// CiliumNode → the router address that the node had before its agent reports again, and the prefixes of pod pools that it was given.

import {formatAddress, formatPrefix, parseAddress, parsePrefix} from '../../../lib/core/ip.js';
import type {KubeObject} from '../../watch/feed-types.js';
import type {CiliumNodeFact} from '../facts.js';
import {list, record, strings, text} from './json.js';

export function decodeCiliumNode(object: KubeObject): CiliumNodeFact {
  const addresses = list(record(object['spec'])['addresses']).map(record);
  const router = parseAddress(text(addresses.find((item) => item['type'] === 'CiliumInternalIP')?.['ip']));
  const allocated = list(record(record(record(object['spec'])['ipam'])['pools'])['allocated']).map(record);
  const pools = allocated.flatMap((item) => strings(item['cidrs']).flatMap((cidr) => {
    const prefix = parsePrefix(cidr);
    return prefix === null ? [] : [{pool: text(item['pool']), prefix: formatPrefix(prefix)}];
  }));
  return {name: object.metadata.name, routerAddress: router === null ? null : formatAddress(router), pools};
}
