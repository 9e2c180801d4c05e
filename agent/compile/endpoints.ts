// cilium_lxc, cilium_ep_config, cilium_if_to_ep: the pods of this node, and its own addresses.

import {maxLength} from '../../lib/core/ip.js';
import {endpointConfigCodec, hostLxcEntry, ifToEndpointCodec, lxcCodec} from '../maps/endpoint.js';
import {endpointAddresses, endpointOwner} from '../model/local.js';
import type {CompileInput} from './input.js';
import {addressesOf, because, familyOf, identityOf, isActive, isOurs, mapEntry, routerAddresses} from './input.js';
import type {MapContent, MapEntry} from './kernel-state.js';

export interface EndpointMaps {
  readonly cilium_lxc: MapContent;
  readonly cilium_ep_config: MapContent;
  readonly cilium_if_to_ep: MapContent;
}

export function compileEndpoints(input: CompileInput): EndpointMaps {
  const lxc = new Map<string, MapEntry>();
  const config = new Map<string, MapEntry>();
  const interfaces = new Map<string, MapEntry>();
  for (const address of hostAddresses(input)) lxc.set(...mapEntry(lxcCodec, address, hostLxcEntry(), because('node-config', 'node-config')));
  for (const endpoint of input.facts.endpoints.values()) {
    const blame = because('endpoint', endpointOwner(endpoint));
    const identity = identityOf(input.tables, endpoint);
    const policy = input.tables.policy.get(String(identity))?.value;
    const common = {ifindex: endpoint.hostIfindex, mac: endpoint.mac, nodeMac: endpoint.hostMac, identity};
    for (const address of endpointAddresses(endpoint)) lxc.set(...mapEntry(lxcCodec, address, {...common, endpointId: endpoint.id, host: false}, blame));
    config.set(...mapEntry(endpointConfigCodec, endpoint.id, {
      ...common, ipv4: endpoint.ipv4, ipv6: endpoint.ipv6, audit: false,
      ingressEnforced: policy?.ingressEnforced ?? true, egressEnforced: policy?.egressEnforced ?? true,
    }, blame));
    interfaces.set(...mapEntry(ifToEndpointCodec, endpoint.hostIfindex, endpoint.id, blame));
  }
  return {cilium_lxc: lxc, cilium_ep_config: config, cilium_if_to_ep: interfaces};
}

/** All that endpoints take from policies, as one value to compare: a change of rules alone does not concern them. */
export function enforcementOf({tables, facts}: CompileInput): string {
  return [...facts.endpoints.values()].map((endpoint) => {
    const policy = tables.policy.get(String(identityOf(tables, endpoint)))?.value;
    return `${policy?.ingressEnforced ?? true} ${policy?.egressEnforced ?? true}`;
  }).join();
}

/** Every address that is this node: of its devices, of its router, and what the operator calls its own. */
export function hostAddresses(input: CompileInput): ReadonlySet<string> {
  const addresses = new Set<string>([input.config.nodeAddress]);
  for (const link of input.facts.links.values()) {
    if (isOurs(link.name) || link.name === 'lo') continue;
    for (const address of [...addressesOf(link), ...addressesOf(link, 6)]) addresses.add(address);
  }
  for (const router of routerAddresses(input)) addresses.add(router);
  for (const {value} of input.tables.ipcache.values()) {
    const [address = '', length] = value.prefix.split('/');
    if (value.local && Number(length) === maxLength(familyOf(address))) addresses.add(address);
  }
  return new Set([...addresses].filter((address) => isActive(input, address)));
}
