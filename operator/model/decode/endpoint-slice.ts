// EndpointSlice default/kubernetes → the addresses of the API server.

import {compareStrings} from '../../../lib/core/order.js';
import {formatAddress, parseAddress} from '../../../lib/core/ip.js';
import type {KubeObject} from '../../watch/feed-types.js';
import type {ApiServerFact} from '../facts.js';
import {list, record, strings} from './json.js';

const SERVICE_NAME_LABEL = 'kubernetes.io/service-name';

/** null: a slice of some other service. */
export function decodeApiServer(object: KubeObject): ApiServerFact | null {
  const service = object.metadata.labels?.[SERVICE_NAME_LABEL] ?? object.metadata.name;
  if (object.metadata.namespace !== 'default' || service !== 'kubernetes') return null;
  const addresses = list(object['endpoints']).flatMap((item) => strings(record(item)['addresses'])).flatMap((item) => {
    const address = parseAddress(item);
    return address === null ? [] : [formatAddress(address)];
  });
  return {addresses: [...new Set(addresses)].sort(compareStrings)};
}
