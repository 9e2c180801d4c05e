// cilium_lxc, cilium_ep_config, cilium_if_to_ep: the pods of this node, and its own addresses.

import {endpointConfigCodec, hostLxcEntry, ifToEndpointCodec, lxcCodec} from '../maps/endpoint.js';
import {endpointOwner} from '../model/local.js';
import {routerAddress} from '../model/pod-cidrs.js';
import type {CompileInput} from './input.js';
import {addressesOf, because, identityOf, isOurs, mapEntry} from './input.js';
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
    lxc.set(...mapEntry(lxcCodec, endpoint.ipv4, {...common, endpointId: endpoint.id, host: false}, blame));
    config.set(...mapEntry(endpointConfigCodec, endpoint.id, {
      ...common, ipv4: endpoint.ipv4, ipv6: null, audit: false,
      ingressEnforced: policy?.ingressEnforced ?? true, egressEnforced: policy?.egressEnforced ?? true,
    }, blame));
    interfaces.set(...mapEntry(ifToEndpointCodec, endpoint.hostIfindex, endpoint.id, blame));
  }
  return {cilium_lxc: lxc, cilium_ep_config: config, cilium_if_to_ep: interfaces};
}

/** Every address that is this node: of its devices, of its router, and what the operator calls its own. */
export function hostAddresses(input: CompileInput): ReadonlySet<string> {
  const addresses = new Set<string>([input.config.nodeAddress]);
  for (const link of input.facts.links.values()) {
    if (isOurs(link.name) || link.name === 'lo') continue;
    for (const address of addressesOf(link)) addresses.add(address);
  }
  const router = routerAddress(input.config.podCidrs);
  if (router !== null) addresses.add(router);
  for (const {value} of input.tables.ipcache.values()) {
    if (value.local && value.prefix.endsWith('/32')) addresses.add(value.prefix.slice(0, -3));
  }
  return addresses;
}
