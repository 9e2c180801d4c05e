// bgp peers: sessions with their reasons, of the node at hand, or of every node as the cluster's CiliumBGPNodeConfigs say.

import {compareStrings} from '../../lib/core/order.js';
import type {BgpPeerStatus} from '../../lib/domain/bgp.js';
import {isRecord, type KubeObject} from '../../lib/kube/object.js';
import type {Verb, VerbContext} from '../context.js';
import type {ExitCode} from '../errors.js';
import type {Column} from '../table.js';
import {agentOf, durationText, list} from '../verbs/common.js';

export const peers: Verb = async (context) => {
  if (context.options['cluster'] === true) return clusterPeers(context);
  const items = await agentOf(context.common).get('/v1/bgp/peers');
  return list<BgpPeerStatus>(context, {
    items,
    columns: [
      {title: 'LOCAL AS', cell: ({localAsn}) => localAsn},
      {title: 'PEER AS', cell: ({peerAsn}) => peerAsn},
      {title: 'PEER', cell: ({address, port}) => (address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`)},
      {title: 'SESSION', cell: ({session}) => session},
      {title: 'UPTIME', cell: ({uptimeSeconds}) => durationText(uptimeSeconds)},
      {title: 'FAMILY', cell: ({families}) => families.map(({family}) => family)},
      {title: 'RECEIVED', cell: ({families}) => families.map(({received}) => String(received))},
      {title: 'ADVERTISED', cell: ({families}) => families.map(({advertised}) => String(advertised))},
      {title: 'REASON', cell: ({reason}) => reason},
      {title: 'HOLD', cell: ({holdTimeSeconds, keepaliveSeconds}) => (holdTimeSeconds === 0 ? '' : `${holdTimeSeconds}/${keepaliveSeconds} s`), wide: true},
      {title: 'INSTANCE', cell: ({instance}) => instance, wide: true},
    ],
    name: ({instance, address}) => `${instance}/${address}`,
    empty: 'no peers: no BGP policy selects this node',
  });
};

export interface ClusterPeer {
  readonly node: string;
  readonly instance: string;
  readonly localAsn: number;
  readonly name: string;
  readonly address: string;
  readonly peerAsn: number;
  readonly session: string;
  readonly establishedTime: string;
  readonly reason: string;
  readonly families: readonly {readonly family: string; readonly received: number; readonly advertised: number}[];
}

const COLUMNS: readonly Column<ClusterPeer>[] = [
  {title: 'NODE', cell: ({node}) => node}, {title: 'LOCAL AS', cell: ({localAsn}) => localAsn}, {title: 'PEER AS', cell: ({peerAsn}) => peerAsn},
  {title: 'PEER', cell: ({address}) => address}, {title: 'SESSION', cell: ({session}) => session}, {title: 'SINCE', cell: ({establishedTime}) => establishedTime},
  {title: 'FAMILY', cell: ({families}) => families.map(({family}) => family)},
  {title: 'RECEIVED', cell: ({families}) => families.map(({received}) => String(received))},
  {title: 'ADVERTISED', cell: ({families}) => families.map(({advertised}) => String(advertised))},
  {title: 'REASON', cell: ({reason}) => reason}, {title: 'INSTANCE', cell: ({instance}) => instance, wide: true}, {title: 'NAME', cell: ({name}) => name, wide: true},
];

async function clusterPeers(context: VerbContext): Promise<ExitCode> {
  const {readCluster} = await import('../policy/cluster-source.js');
  const {objects} = await readCluster(context.common, context.signal, ['CiliumBGPNodeConfig']);
  return list(context, {
    items: objects.flatMap(({object}) => clusterPeersOf(object)).sort((a, b) => compareStrings(a.node, b.node) || a.localAsn - b.localAsn || compareStrings(a.address, b.address)),
    columns: COLUMNS, name: ({node, instance, address}) => `${node}/${instance}/${address}`, empty: 'no CiliumBGPNodeConfig has a peer',
  });
}

export function clusterPeersOf(object: KubeObject): ClusterPeer[] {
  const status = isRecord(object['status']) ? object['status'] : {};
  return records(status['bgpInstances']).flatMap((instance) => records(instance['peers']).map((peer): ClusterPeer => ({
    node: object.metadata.name, instance: String(instance['name']), localAsn: Number(instance['localASN']), name: String(peer['name']),
    address: String(peer['peerAddress']), peerAsn: Number(peer['peerASN'] ?? 0), session: text(peer['peeringState']), establishedTime: text(peer['establishedTime']), reason: text(peer['reason']),
    families: records(peer['routeCount']).map(({afi, safi, received, advertised}) => ({family: `${text(afi)}/${text(safi)}`, received: Number(received ?? 0), advertised: Number(advertised ?? 0)})),
  })));
}

function text(value: unknown): string {
  return typeof value === 'string' ? value : '';
}

function records(value: unknown): readonly Readonly<Record<string, unknown>>[] {
  return Array.isArray(value) ? value.filter(isRecord) : [];
}
