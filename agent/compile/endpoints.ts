// cilium_lxc, cilium_ep_config, cilium_if_to_ep: the pods of this node, and its own addresses.

import {maxLength} from '../../lib/core/ip.js';
import {endpointConfigCodec, hostLxcEntry, ifToEndpointCodec, lxcCodec} from '../maps/endpoint.js';
import type {IdentityId} from '../../lib/domain/identity.js';
import {endpointAddresses, endpointOwner, type LocalEndpoint} from '../model/local.js';
import type {CompileInput} from './input.js';
import {addressesOf, because, familyOf, identityOf, isActive, isOurs, mapEntry, routerAddresses} from './input.js';
import type {MapContent, MapEntry} from './kernel-state.js';
import type {Memo} from './memo.js';

export interface EndpointMaps {
  readonly cilium_lxc: MapContent;
  readonly cilium_ep_config: MapContent;
  readonly cilium_if_to_ep: MapContent;
}

/** What one pod has in the three maps. */
export interface EndpointEntries {
  readonly lxc: readonly (readonly [string, MapEntry])[];
  readonly config: readonly [string, MapEntry];
  readonly interfaces: readonly [string, MapEntry];
}

/** A pod that comes costs its own entries, not those of all. */
export function compileEndpoints(input: CompileInput, memo: Memo<EndpointEntries>): EndpointMaps {
  const lxc = new Map<string, MapEntry>();
  const config = new Map<string, MapEntry>();
  const interfaces = new Map<string, MapEntry>();
  for (const address of hostAddresses(input)) lxc.set(...mapEntry(lxcCodec, address, hostLxcEntry(), because('node-config', 'node-config')));
  for (const endpoint of input.facts.endpoints.values()) {
    const identity = identityOf(input.tables, endpoint);
    const policy = input.tables.policy.get(String(identity))?.value;
    const enforced = {ingressEnforced: policy?.ingressEnforced ?? true, egressEnforced: policy?.egressEnforced ?? true};
    const {id, hostIfindex, mac, hostMac, ipv4, ipv6} = endpoint;
    const inputs = [identity, enforced.ingressEnforced, enforced.egressEnforced, hostIfindex, mac, hostMac, ipv4, ipv6, endpointOwner(endpoint)];
    const entries = memo.of(String(id), inputs, () => endpointEntries(endpoint, identity, enforced));
    for (const entry of entries.lxc) lxc.set(...entry);
    config.set(...entries.config);
    interfaces.set(...entries.interfaces);
  }
  return {cilium_lxc: lxc, cilium_ep_config: config, cilium_if_to_ep: interfaces};
}

function endpointEntries(endpoint: LocalEndpoint, identity: IdentityId, enforced: {readonly ingressEnforced: boolean; readonly egressEnforced: boolean}): EndpointEntries {
  const blame = because('endpoint', endpointOwner(endpoint));
  const common = {ifindex: endpoint.hostIfindex, mac: endpoint.mac, nodeMac: endpoint.hostMac, identity};
  return {
    lxc: endpointAddresses(endpoint).map((address) => mapEntry(lxcCodec, address, {...common, endpointId: endpoint.id, host: false}, blame)),
    config: mapEntry(endpointConfigCodec, endpoint.id, {...common, ipv4: endpoint.ipv4, ipv6: endpoint.ipv6, audit: false, ...enforced}, blame),
    interfaces: mapEntry(ifToEndpointCodec, endpoint.hostIfindex, endpoint.id, blame),
  };
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
