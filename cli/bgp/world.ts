// Manifests → the speaker of every node: the operator's own decoders and compiler.

import {formatRef, type Rejection} from '../../lib/core/errors.js';
import {compareStrings} from '../../lib/core/order.js';
import {BGP_CLASS} from '../../lib/domain/exposed-service.js';
import type {DemandOptions} from '../../lib/lbipam/demand.js';
import {objectKey} from '../../lib/kube/object.js';
import {RESOURCES} from '../../lib/kube/resources.js';
import type {CompiledSpeaker} from '../../operator/compile/bgp.js';
import {Speakers} from '../../operator/compile/bgp-speakers.js';
import {assignedServices} from '../../operator/compile/lb-ipam.js';
import {writtenNodes} from '../../operator/compile/pod-cidrs.js';
import {decoders} from '../../operator/model/decoders.js';
import {applyBatch, applyRows, emptyTables, type Tables} from '../../operator/model/tables.js';
import type {VerbContext} from '../context.js';
import {usage} from '../errors.js';
import {listOption} from '../policy/input.js';
import type {SourceObject} from '../policy/documents.js';
import {readManifests, type Manifests} from '../policy/sources.js';

/** What speakers are made from. Secrets are not read: whether they are there only the operator knows. */
export const BGP_KINDS = [
  'Node', 'CiliumNode', 'Service', 'EndpointSlice', 'CiliumLoadBalancerIPPool', 'CiliumPodIPPool', 'CiliumBGPPeeringPolicy', 'CiliumBGPClusterConfig', 'CiliumBGPPeerConfig',
  'CiliumBGPAdvertisement', 'CiliumBGPNodeConfigOverride',
] as const;

export interface BgpWorld {
  readonly tables: Tables;
  readonly speakers: ReadonlyMap<string, CompiledSpeaker>;
  readonly rejections: readonly Rejection[];
}

const DECODERS = decoders({clusterName: 'default', masquerade: {namespace: 'kube-system', name: 'ip-masq-agent'}, invalidPolicy: 'isolate'});
/** The operator's defaults. */
const LB_IPAM: DemandOptions = {families: [4], defaultIpam: true, classes: new Set([BGP_CLASS])};
/** Finding that only says that no Secret was read. */
const OF_SECRETS = 'BGPSecretMissing';

export function bgpKind({apiVersion, kind}: Pick<SourceObject, 'apiVersion' | 'kind'>): (typeof BGP_KINDS)[number] | null {
  const known = BGP_KINDS.find((one) => one === kind);
  if (known === undefined) return null;
  const group = (version: string): string => (version.includes('/') ? version.slice(0, version.indexOf('/')) : '');
  return group(RESOURCES[known].apiVersion) === group(apiVersion) ? known : null;
}

/** `addresses`: those that Services show, or also those that LB-IPAM would give to who has none. */
export function bgpWorld(objects: readonly SourceObject[], addresses: 'shown' | 'given' = 'shown'): BgpWorld {
  const changes = objects.flatMap((item) => {
    const kind = bgpKind(item);
    if (kind === null) return [];
    const {namespace = 'default', ...metadata} = item.object.metadata;
    const object = {...item.object, metadata: RESOURCES[kind].namespaced ? {...metadata, namespace} : metadata};
    return [{kind, key: objectKey(object), object}];
  });
  const read = applyBatch(emptyTables(), {changes, inSync: true, receivedAtMs: 0}, DECODERS);
  const {tables: settled} = applyRows(read.tables, 'nodes', writtenNodes(read.tables));
  const given = applyRows(settled, 'exposedServices', addresses === 'given' ? assignedServices(settled, LB_IPAM) : []);
  const {tables} = given;
  const speakers = new Speakers();
  speakers.update(tables, {...given.changed, ...read.changed});
  const facts = [tables.bgpPolicies, tables.bgpClusterConfigs, tables.bgpPeerConfigs, tables.bgpAdvertisements, tables.bgpOverrides].flatMap((table) => [...table.values()]);
  return {tables, speakers: new Map([...speakers.all].sort(([a], [b]) => compareStrings(a, b))), rejections: facts.flatMap(({rejections}) => rejections)};
}

/** `--input PATH…` and the paths among the arguments; the cluster when there is none. */
export async function readBgpInput(context: VerbContext, args: readonly string[], option = 'input'): Promise<Manifests> {
  const paths = [...listOption(context, option), ...args];
  if (paths.filter((path) => path === '-').length > 1) throw usage('standard input can be read once only');
  if (paths.length > 0) return readManifests(paths);
  const {readCluster} = await import('../policy/cluster-source.js');
  return readCluster(context.common, context.signal, BGP_KINDS);
}

export interface Conflict {
  readonly object: string;
  readonly reason: string;
  readonly message: string;
}

export function conflictsOf({speakers, rejections}: BgpWorld): Conflict[] {
  const findings = [...speakers.values()].flatMap(({findings: all}) => all.filter(({reason}) => reason !== OF_SECRETS).map(({object, reason, message}) => ({object: formatRef(object), reason, message})));
  return [...rejections.map(({object, path, code, reason}) => ({object: formatRef(object), reason: code, message: `${path}: ${reason}`})), ...findings];
}

/** What could not be read, and what is wrong with what was read, on stderr; true when something could not be read. */
export function sayBgpProblems({io}: VerbContext, manifests: Manifests, world: BgpWorld | null): boolean {
  for (const {place: {file, line, column}, message} of manifests.problems) io.err(`${file}:${line}:${column}: ${message}\n`);
  if (world !== null && world.speakers.size === 0) io.err('warning: there is no Node in the input, so there is no speaker\n');
  return manifests.problems.length > 0;
}
