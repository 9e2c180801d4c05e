// `-o json` of Cilium's commands: its field names over our data.

import type {BgpPeerStatus, BgpRouteStatus} from '../../lib/domain/bgp.js';
import type {AgentEndpoint, AgentIdentity, AgentNode} from '../../lib/domain/agent-api.js';

export function bgpPeers(peers: readonly BgpPeerStatus[]): unknown {
  return peers.map((peer) => ({
    'local-asn': peer.localAsn, 'peer-asn': peer.peerAsn, 'peer-address': peer.address, 'peer-port': peer.port, 'session-state': peer.session,
    'uptime-nanoseconds': peer.uptimeSeconds * 1e9,
    families: peer.families.map(({family, received, accepted, advertised}) => {
      const [afi = '', safi = ''] = family.split('/');
      return {afi, safi, received, accepted, advertised};
    }),
  }));
}

export function bgpRoutes(routes: readonly BgpRouteStatus[]): unknown {
  return routes.map((route) => ({
    'router-asn': route.vrouter, ...(route.peer === undefined ? {} : {neighbor: route.peer}), prefix: route.prefix,
    paths: [{'age-nanoseconds': route.ageSeconds * 1e9, 'next-hop': route.nextHop, attributes: route.attrs}],
  }));
}

export function endpoints(list: readonly AgentEndpoint[]): unknown {
  return list.map((one) => ({
    id: one.id,
    status: {
      'external-identifiers': {'container-id': one.containerId, 'k8s-namespace': one.namespace, 'k8s-pod-name': one.name},
      identity: {id: one.identity, labels: one.labels},
      networking: {addressing: [{...(one.ipv4 === '' ? {} : {ipv4: one.ipv4}), ...(one.ipv6 === '' ? {} : {ipv6: one.ipv6})}], 'interface-name': one.ifname, mac: one.mac},
      policy: {realized: {'policy-enabled': enabledIn(one.policy)}},
      state: one.state,
    },
  }));
}

function enabledIn({ingress, egress}: AgentEndpoint['policy']): string {
  return ingress ? (egress ? 'both' : 'ingress') : egress ? 'egress' : 'none';
}

export function identities(list: readonly AgentIdentity[]): unknown {
  return list.map(({id, labels}) => ({id, labels}));
}

export function nodes(list: readonly AgentNode[]): unknown {
  return list.map(({name, ipv4, podCidr, routerAddress}) => ({
    name, 'primary-address': {ipv4: {enabled: true, ip: ipv4, 'alloc-range': podCidr}, ipv6: {}}, 'health-endpoint-address': null,
    'secondary-addresses': routerAddress === null ? [] : [{ip: routerAddress, 'address-type': 'CiliumInternalIP'}],
  }));
}

/** Cilium prints its two-column tables as an object of lists. */
export function pairs(rows: readonly (readonly [string, string])[]): unknown {
  return Object.fromEntries(rows.map(([key, value]) => [key, [value]]));
}

export function mapGet(path: string, rows: readonly (readonly [string, string])[]): unknown {
  return {cache: rows.map(([key, value]) => ({'desired-action': 'sync', key, value})), path};
}
