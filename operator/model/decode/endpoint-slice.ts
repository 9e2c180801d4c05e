// EndpointSlice → the addresses that it gives to a Service.

import {compareStrings} from '../../../lib/core/order.js';
import {formatAddress, parseAddress} from '../../../lib/core/ip.js';
import type {KubeObject} from '../../watch/feed-types.js';
import type {BackendsFact, SliceFact} from '../facts.js';
import {list, record, strings, text} from './json.js';

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
  const service = serviceOf(object);
  if (service === null) return null;
  const addresses = list(object['endpoints']).flatMap((item) => strings(record(item)['addresses'])).flatMap((item) => {
    const address = parseAddress(item);
    return address === null ? [] : [formatAddress(address)];
  });
  return {service, addresses: [...new Set(addresses)].sort(compareStrings)};
}

/** The nodes with an endpoint that takes new connections: ready (as it is when nothing is said) and not about to end. */
export function decodeBackends(object: KubeObject): BackendsFact | null {
  const service = serviceOf(object);
  if (service === null) return null;
  const usable = list(object['endpoints']).map(record).filter(({conditions}) => {
    const {ready, terminating} = record(conditions);
    return ready !== false && terminating !== true;
  });
  const nodes = usable.map((endpoint) => text(endpoint['nodeName'])).filter((node) => node !== '');
  return {service, nodes: [...new Set(nodes)].sort(compareStrings)};
}

function serviceOf(object: KubeObject): string | null {
  const namespace = object.metadata.namespace ?? '';
  const byName = serviceKey(namespace, object.metadata.name) === API_SERVER_SERVICE ? object.metadata.name : undefined;
  const service = object.metadata.labels?.[SERVICE_NAME_LABEL] ?? byName;
  return service === undefined ? null : serviceKey(namespace, service);
}

export function serviceKey(namespace: string, name: string): string {
  return `${namespace}/${name}`;
}
