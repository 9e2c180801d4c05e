// CiliumNode → the router address that the node had before its agent reports again, and the prefixes of pod pools that it was given.

import {formatAddress, formatPrefix, parseAddress, parsePrefix, type Family} from '../../../lib/core/ip.js';
import type {KubeObject} from '../../watch/feed-types.js';
import type {CiliumNodeFact} from '../facts.js';
import {list, record, strings, text} from './json.js';

export function decodeCiliumNode(object: KubeObject): CiliumNodeFact {
  const addresses = list(record(object['spec'])['addresses']).map(record);
  const routers = addresses.filter((item) => item['type'] === 'CiliumInternalIP').flatMap((item) => parseAddress(text(item['ip'])) ?? []);
  const routerOf = (family: Family): string | null => {
    const router = routers.find((address) => address.family === family);
    return router === undefined ? null : formatAddress(router);
  };
  const router6 = routerOf(6);
  const allocated = list(record(record(record(object['spec'])['ipam'])['pools'])['allocated']).map(record);
  const pools = allocated.flatMap((item) => strings(item['cidrs']).flatMap((cidr) => {
    const prefix = parsePrefix(cidr);
    return prefix === null ? [] : [{pool: text(item['pool']), prefix: formatPrefix(prefix)}];
  }));
  return {name: object.metadata.name, routerAddress: routerOf(4), ...(router6 === null ? {} : {routerAddress6: router6}), pools};
}
