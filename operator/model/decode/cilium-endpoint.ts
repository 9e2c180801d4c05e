// CiliumEndpoint → what we knew of the endpoint before its agent reports again.

import {formatAddress, parseAddress} from '../../../lib/core/ip.js';
import type {KubeObject} from '../../watch/feed-types.js';
import type {CiliumEndpointFact} from '../facts.js';
import {list, number, record, text} from './json.js';

export function decodeCiliumEndpoint(object: KubeObject): CiliumEndpointFact {
  const status = record(object['status']);
  const networking = record(status['networking']);
  const addresses = list(networking['addressing']).map(record).flatMap((item) => [text(item['ipv4']), text(item['ipv6'])]).flatMap((item) => {
    const address = parseAddress(item);
    return address === null ? [] : [formatAddress(address)];
  });
  return {
    namespace: object.metadata.namespace ?? '',
    name: object.metadata.name,
    podUid: podUid(object),
    endpointId: number(status['id']) ?? 0,
    addresses,
    nodeAddress: text(networking['node']),
    containerId: text(record(status['external-identifiers'])['container-id']),
    state: text(status['state']),
  };
}

function podUid(object: KubeObject): string {
  const owners = list(record(object.metadata)['ownerReferences']).map(record);
  return text(owners.find((owner) => owner['kind'] === 'Pod')?.['uid']);
}
