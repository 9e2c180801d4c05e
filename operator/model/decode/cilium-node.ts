// CiliumNode → the router address that the node had before its agent reports again.

import {formatAddress, parseAddress} from '../../../lib/core/ip.js';
import type {KubeObject} from '../../watch/feed-types.js';
import type {CiliumNodeFact} from '../facts.js';
import {list, record, text} from './json.js';

export function decodeCiliumNode(object: KubeObject): CiliumNodeFact {
  const addresses = list(record(object['spec'])['addresses']).map(record);
  const router = parseAddress(text(addresses.find((item) => item['type'] === 'CiliumInternalIP')?.['ip']));
  return {name: object.metadata.name, routerAddress: router === null ? null : formatAddress(router)};
}
