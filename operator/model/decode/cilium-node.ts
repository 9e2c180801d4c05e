// CiliumNode → the router address that the node had before its agent reports again, its PodCIDRs, and the prefixes of pod pools that it was given.

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
  const ipam = record(record(object['spec'])['ipam']);
  const allocated = list(record(ipam['pools'])['allocated']).map(record);
  const pools = allocated.flatMap((item) => canonical(item['cidrs']).map((prefix) => ({pool: text(item['pool']), prefix})));
  return {name: object.metadata.name, routerAddress: routerOf(4), ...(router6 === null ? {} : {routerAddress6: router6}), podCidrs: canonical(ipam['podCIDRs']), pools};
}

function canonical(prefixes: unknown): string[] {
  return strings(prefixes).flatMap((item) => {
    const prefix = parsePrefix(item);
    return prefix === null ? [] : [formatPrefix(prefix)];
  });
}
