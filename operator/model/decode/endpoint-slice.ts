// EndpointSlice → the addresses that it gives to a Service.

import {compareStrings} from '../../../lib/core/order.js';
import {formatAddress, parseAddress} from '../../../lib/core/ip.js';
import type {KubeObject} from '../../watch/feed-types.js';
import type {SliceFact} from '../facts.js';
import {list, record, strings} from './json.js';

const SERVICE_NAME_LABEL = 'kubernetes.io/service-name';

/** The Service whose endpoints are the API server. */
export const API_SERVER_SERVICE = serviceKey('default', 'kubernetes');

/** The addresses of the API server; null: a slice of some other Service. */
export function decodeApiServer(object: KubeObject): Pick<SliceFact, 'addresses'> | null {
  const slice = decodeEndpointSlice(object);
  return slice?.service === API_SERVER_SERVICE ? {addresses: slice.addresses} : null;
}

/** null: a slice of no service. */
export function decodeEndpointSlice(object: KubeObject): SliceFact | null {
  const namespace = object.metadata.namespace ?? '';
  const byName = serviceKey(namespace, object.metadata.name) === API_SERVER_SERVICE ? object.metadata.name : undefined;
  const service = object.metadata.labels?.[SERVICE_NAME_LABEL] ?? byName;
  if (service === undefined) return null;
  const addresses = list(object['endpoints']).flatMap((item) => strings(record(item)['addresses'])).flatMap((item) => {
    const address = parseAddress(item);
    return address === null ? [] : [formatAddress(address)];
  });
  return {service: serviceKey(namespace, service), addresses: [...new Set(addresses)].sort(compareStrings)};
}

export function serviceKey(namespace: string, name: string): string {
  return `${namespace}/${name}`;
}
