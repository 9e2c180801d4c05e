// The layouts of Cilium's own tables, to the byte, from our data. One function per table.

import type {BgpPeerStatus, BgpRouteStatus} from '../../lib/domain/bgp.js';
import {compareStrings} from '../../lib/core/order.js';
import type {AgentEndpoint, AgentIdentity, AgentNode, AgentStatus} from '../../lib/domain/agent-api.js';
import {portText, type IpcacheRow, type PolicyRow} from '../rows.js';
import type {RoutePolicy} from '../bgp/policies.js';
import {tabwriter} from '../tabwriter.js';
import {durationText} from '../verbs/common.js';

const COMMON = {minWidth: 5, padding: 3};

export function bgpPeers(peers: readonly BgpPeerStatus[]): string {
  const rows = peers.flatMap((peer) => {
    const head = [String(peer.localAsn), String(peer.peerAsn), `${peer.address}:${peer.port}`, peer.session, durationText(peer.uptimeSeconds)];
    return peer.families.map(({family, received, advertised}, i) => [...(i === 0 ? head : ['', '', '', '', '']), family, String(received), String(advertised)]);
  });
  return tabwriter([['Local AS', 'Peer AS', 'Peer Address', 'Session', 'Uptime', 'Family', 'Received', 'Advertised'], ...rows], {minWidth: 0, padding: 3});
}

/** `withPeer`: advertised routes of more than one peer. */
export function bgpRoutes(routes: readonly BgpRouteStatus[], withPeer: boolean): string {
  const peer = (text: string): readonly string[] => (withPeer ? [text] : []);
  const rows = routes.map((route) => [String(route.vrouter), ...peer(route.peer ?? ''), route.prefix, route.nextHop, durationText(route.ageSeconds), `[${route.attrs.join(' ')}]`]);
  return tabwriter([['VRouter', ...peer('Peer'), 'Prefix', 'NextHop', 'Age', 'Attrs'], ...rows], {minWidth: 0, padding: 3});
}

/** Names are ours: Cilium's tell its reconcilers apart. */
export function routePolicies(policies: readonly RoutePolicy[]): string {
  const rows = policies.map(({vrouter, prefix, type, peers, action, pathActions}) => {
    const length = prefix.slice(prefix.indexOf('/') + 1);
    return [String(vrouter), `${type}-${prefix}`, type, peers.join(', '), `${prefix} (${length}..${length})`, action, `{${pathActions.join(' ')}}`];
  });
  return tabwriter([['VRouter', 'Policy Name', 'Type', 'Match Peers', 'Match Prefixes (Min..Max Len)', 'RIB Action', 'Path Actions'], ...rows], {minWidth: 0, padding: 3});
}

export function ipmasq(prefixes: readonly string[]): string {
  return tabwriter([['IP PREFIX/ADDRESS', ''], ...prefixes.map((prefix) => [prefix, ''])], COMMON);
}

function pairs(first: string, second: string, rows: readonly (readonly [string, string])[]): string {
  return tabwriter([[first, second, ''], ...rows.map(([key, value]) => [key, value, ''])], COMMON);
}

/** The key is the first address of the PodCIDR, as Cilium's tunnel map has it. */
export function tunnelEntries(rows: readonly {readonly prefix: string; readonly tunnelEndpoint: string}[]): readonly (readonly [string, string])[] {
  return rows.map(({prefix, tunnelEndpoint}) => [prefix.split('/')[0] ?? prefix, `${tunnelEndpoint}:0`] as const);
}

export function tunnels(rows: Parameters<typeof tunnelEntries>[0]): string {
  return pairs('TUNNEL', 'VALUE', tunnelEntries(rows));
}

export function ipcacheValue(row: IpcacheRow): string {
  const flags = [...(row.skipTunnel ? ['skiptunnel'] : []), ...(row.tunnelEndpoint === null ? [] : ['hastunnel'])];
  return `identity=${row.identity} encryptkey=${row.encryptKey} tunnelendpoint=${row.tunnelEndpoint ?? '0.0.0.0'} flags=${flags.join(',') || '<none>'}`;
}

export function ipcache(rows: readonly IpcacheRow[]): string {
  return pairs('IP PREFIX/ADDRESS', 'IDENTITY', rows.map((row) => [row.prefix, ipcacheValue(row)]));
}

/** What is pinned is what is installed: every entry is `sync`. */
export function mapEntries(rows: readonly (readonly [string, string])[]): string {
  return tabwriter([['Key', 'Value', 'State', 'Error'], ...rows.map(([key, value]) => [key, value, 'sync', ''])], COMMON);
}

export function nodeList(nodes: readonly AgentNode[], local: string): string {
  const rows = [...nodes].sort((a, b) => compareStrings(a.name, b.name)).map(({name, ipv4, podCidr}) => [name, ipv4, podCidr, '', '', name === local ? 'local' : 'custom-resource']);
  return tabwriter([['Name', 'IPv4 Address', 'Endpoint CIDR', 'IPv6 Address', 'Endpoint CIDR', 'Source'], ...rows], {minWidth: 0, padding: 3});
}

export function endpointList(endpoints: readonly AgentEndpoint[]): string {
  const rows = [...endpoints].sort((a, b) => a.id - b.id).flatMap((one) => {
    const labels = one.labels.length === 0 ? ['no labels'] : [...one.labels].sort(compareStrings);
    const head = [String(one.id), enabled(one.policy.ingress), enabled(one.policy.egress), String(one.identity)];
    return labels.map((label, i) => (i === 0 ? [...head, label, one.ipv6, one.ipv4, one.state, ''] : ['', '', '', '', label, '', '', '', '']));
  });
  return tabwriter([
    ['ENDPOINT', 'POLICY (ingress)', 'POLICY (egress)', 'IDENTITY', 'LABELS (source:key[=value])', 'IPv6', 'IPv4', 'STATUS', ''],
    ['', 'ENFORCEMENT', 'ENFORCEMENT', '', '', '', '', '', ''],
    ...rows,
  ], COMMON);
}

function enabled(on: boolean): string {
  return on ? 'Enabled' : 'Disabled';
}

export function identityList(identities: readonly AgentIdentity[]): string {
  const rows = [...identities].sort((a, b) => a.id - b.id)
    .flatMap(({id, labels}) => (labels.length === 0 ? [''] : [...labels].sort(compareStrings)).map((label, i) => [i === 0 ? String(id) : '', label]));
  return tabwriter([['ID', 'LABELS'], ...rows], {minWidth: 2, padding: 3});
}

export function policyTable(rows: readonly PolicyRow[], numeric: boolean): string {
  const lines = rows.flatMap((row) => {
    const identity = row.identity === 0 ? ['ANY'] : numeric || row.labels.length === 0 ? [String(row.identity)] : row.labels;
    const bits = row.protocol === 0 ? 0 : 8 + row.portPrefixLen;
    return identity.map((label, i) => (i === 0
      ? [row.deny ? 'Deny' : 'Allow', row.direction === 'ingress' ? 'Ingress' : 'Egress', label, portText(row), row.redirect ? String(row.proxyPort) : 'NONE', 'disabled', '0', '0', String(bits), '']
      : ['', '', label, '', '', '', '', '', '', '']));
  });
  const title = numeric ? 'IDENTITY' : 'LABELS (source:key[=value])';
  return tabwriter([['POLICY', 'DIRECTION', title, 'PORT/PROTO', 'PROXY PORT', 'AUTH TYPE', 'BYTES', 'PACKETS', 'PREFIX', ''], ...lines], COMMON);
}

/** Cilium's lines, in its order, as far as they mean something here. */
export function status(answer: AgentStatus, verbose: boolean): string {
  const {operator, masquerade, ipam, controllers} = answer;
  const healthy = controllers.filter(({ok}) => ok).length;
  const network = answer.routingMode === 'tunnel' ? 'Tunnel [vxlan]' : 'Native';
  const lines: (readonly string[])[] = [
    ['KVStore:', 'Disabled', ''],
    ['Kubernetes:', operator.connected ? 'Ok' : 'Warning', operator.connected ? `through the operator at ${operator.address}` : `the operator at ${operator.address} is out of reach`],
    ['KubeProxyReplacement:', 'False', ''],
    ['Host firewall:', 'Disabled'],
    ['CNI Chaining:', 'none'],
    ['Cilium:', answer.ok ? 'Ok' : 'Warning', `${answer.version} (stentor)`],
    ['NodeMonitor:', 'Listening for events'],
    ['IPAM:', `IPv4: ${ipam.allocated}/${ipam.capacity} allocated from ${ipam.podCidrs.join(', ')}, `],
    ...(verbose ? [['Allocated addresses:'], ...ipam.addresses.map(({ip, owner}) => [`  ${ip} (${owner})`])] : []),
    ['Routing:', `Network: ${network}`, 'Host: BPF'],
    ['Device Mode:', 'veth'],
    masquerade.enabled
      ? ['Masquerading:', 'BPF (ip-masq-agent)', `[${answer.devices.join(', ')}]`, '[IPv4: Enabled, IPv6: Disabled]']
      : ['Masquerading:', 'Disabled'],
    ['Controller Status:', `${healthy}/${controllers.length} healthy`],
    ...controllers.filter(({ok}) => verbose || !ok).map(({name, ok, lastError}) => [`  ${name}`, ok ? 'ok' : 'failing', lastError ?? '']),
    ['Proxy Status:', 'No managed proxy redirect'],
    ['Global Identity Range:', 'min 256, max 65535'],
    ['Hubble:', 'Disabled'],
    ['Encryption:', 'Disabled'],
  ];
  return tabwriter(lines, {minWidth: 2, padding: 3});
}
