// What a gobgpd holds: read from it once, kept up with by the calls that it has answered, and compared with it again slice by slice.

import {deepEqual} from '../../lib/core/equal.js';
import {collect} from '../../lib/run/grpc.js';
import {api} from '../../proto/gen/gobgp4.js';
import type {GoBgpClient} from '../../proto/gobgp.js';
import {observedPath, type PathIntent} from './gobgp-paths.js';
import {observedIntent, peerAddress, type PeerIntent} from './gobgp-peers.js';

export interface HeldPeer {
  readonly intent: PeerIntent;
  /** Read from gobgpd, which names the source address also where none was asked for. */
  readonly isRead: boolean;
}

export interface HeldState {
  importPolicies: Assignment;
  exportPolicies: Assignment;
  /** Added over the API, by prefix. */
  readonly paths: Map<string, PathIntent>;
  /** By address. */
  readonly peers: Map<string, HeldPeer>;
}

export interface Assignment {
  readonly names: readonly string[];
  readonly rejects: boolean;
}

const {TABLE_TYPE_GLOBAL} = api.TableType;
const {POLICY_DIRECTION_IMPORT, POLICY_DIRECTION_EXPORT} = api.PolicyDirection;
const FAMILIES = [api.Family.Afi.AFI_IP, api.Family.Afi.AFI_IP6].map((afi) => ({afi, safi: api.Family.Safi.SAFI_UNICAST}));

export async function readHeld(client: GoBgpClient): Promise<HeldState> {
  const [importPolicies, exportPolicies, peers] = await Promise.all([assignmentOf(client, POLICY_DIRECTION_IMPORT), assignmentOf(client, POLICY_DIRECTION_EXPORT), readPeers(client)]);
  const paths = new Map<string, PathIntent>();
  for (const family of FAMILIES) for (const path of await readPaths(client, family, [])) paths.set(path.prefix, path);
  return {importPolicies, exportPolicies, paths, peers: new Map([...peers].map(([address, intent]) => [address, {intent, isRead: true}]))};
}

export interface Slice {
  /** Where in the order of `paths` to begin, and how many to read. */
  readonly from: number;
  readonly count: number;
}

/** Null when gobgpd holds what `held` says as far as was looked: all policies and peers, how many paths there are, and a slice of them. */
export async function auditHeld(client: GoBgpClient, held: HeldState, slice: Slice): Promise<string | null> {
  const [importPolicies, exportPolicies, peers] = await Promise.all([assignmentOf(client, POLICY_DIRECTION_IMPORT), assignmentOf(client, POLICY_DIRECTION_EXPORT), readPeers(client)]);
  if (!deepEqual({importPolicies, exportPolicies}, {importPolicies: held.importPolicies, exportPolicies: held.exportPolicies})) return 'other policies';
  if (peers.size !== held.peers.size || ![...held.peers].every(([address, peer]) => isSamePeer(peer.intent, peers.get(address)))) return 'other peers';
  const counts = await Promise.all(FAMILIES.map((family) => client.GetTable({tableType: TABLE_TYPE_GLOBAL, family})));
  const total = counts.reduce((sum, {numDestination}) => sum + Number(numDestination), 0);
  if (total !== held.paths.size) return `${total} paths instead of ${held.paths.size}`;
  const wanted = [...held.paths.values()].slice(slice.from, slice.from + slice.count);
  for (const family of FAMILIES) {
    const part = wanted.filter(({prefix}) => prefix.includes(':') === (family.afi === api.Family.Afi.AFI_IP6));
    if (part.length === 0) continue;
    const found = new Map((await readPaths(client, family, part.map(({prefix}) => prefix))).map((path) => [path.prefix, path]));
    const other = part.find((path) => !deepEqual(found.get(path.prefix), path));
    if (other !== undefined) return `another path of ${other.prefix}`;
  }
  return null;
}

/** An address that nobody asked for is no difference. */
export function isSamePeer(wanted: PeerIntent, observed: PeerIntent | undefined): boolean {
  return observed !== undefined && deepEqual(wanted.localAddress === '' ? {...observed, localAddress: ''} : observed, wanted);
}

async function assignmentOf(client: GoBgpClient, direction: api.PolicyDirection): Promise<Assignment> {
  const [first] = await collect(client.ListPolicyAssignment({name: 'global', direction}));
  const {policies, defaultAction} = first?.assignment ?? {};
  return {names: (policies ?? []).map(({name}) => name ?? ''), rejects: defaultAction === api.RouteAction.ROUTE_ACTION_REJECT};
}

/** No prefixes = all of the family. A path without a neighbour was added over the API; learned ones are rejected and never get here. */
async function readPaths(client: GoBgpClient, family: api.Family.$Properties, prefixes: readonly string[]): Promise<PathIntent[]> {
  const found = await collect(client.ListPath({
    tableType: TABLE_TYPE_GLOBAL, family, prefixes: prefixes.map((prefix) => ({prefix, type: api.TableLookupPrefix.Type.TYPE_EXACT})),
  }));
  return found.flatMap(({destination}) => {
    const own = (destination?.paths ?? []).find((path) => (path.neighborIp ?? '') === '');
    return own === undefined ? [] : [observedPath(destination?.prefix ?? '', own)];
  });
}

async function readPeers(client: GoBgpClient): Promise<ReadonlyMap<string, PeerIntent>> {
  const peers = await collect(client.ListPeer({}));
  return new Map(peers.flatMap(({peer}) => (peer ? [[peerAddress(peer), observedIntent(peer)] as const] : [])));
}
