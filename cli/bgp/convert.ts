// bgp convert: CiliumBGPPeeringPolicies → the BGPv2 kinds that say the same, with the proof: both compiled for every node, and compared.

import {canonicalJson, compareStrings} from '../../lib/core/order.js';
import {BFD_ANNOTATION} from '../../operator/model/decode/bgp-common.js';
import {isRecord} from '../../lib/kube/object.js';
import type {Speaker} from '../../lib/domain/bgp.js';
import type {Verb} from '../context.js';
import {EXIT} from '../errors.js';
import {printValue} from '../output.js';
import {parseDocuments, type SourceObject} from '../policy/documents.js';
import {bgpKind, bgpWorld, readBgpInput, sayBgpProblems} from './world.js';

type Json = Readonly<Record<string, unknown>>;

export interface Converted {
  readonly objects: readonly Json[];
  /** What the newer kinds cannot say. */
  readonly problems: readonly string[];
}

export const convert: Verb = async (context) => {
  const {common, io} = context;
  const manifests = await readBgpInput(context, context.args);
  const partial = sayBgpProblems(context, manifests, null);
  const policies = manifests.objects.filter((item) => bgpKind(item) === 'CiliumBGPPeeringPolicy');
  const nodes = manifests.objects.filter((item) => bgpKind(item) === 'Node');
  const {objects, problems} = convertPolicies(policies, nodes);
  if (common.format === 'table' || common.format === 'wide' || common.format === 'yaml') {
    const {stringify} = await import('yaml');
    io.out(objects.map((object) => stringify(object, {lineWidth: 0})).join('---\n'));
  } else {
    await printValue(io, common.format, common.format === 'jsonl' ? objects : {apiVersion: 'v1', kind: 'List', items: objects});
  }
  const differences = proof(manifests.objects, objects);
  for (const problem of [...problems, ...differences]) io.err(`${problem}\n`);
  if (nodes.length === 0) io.err('no proof: there is no Node in the input; give the nodes of the cluster as well\n');
  else if (differences.length === 0) io.err(`proof: on ${nodes.length} node${nodes.length === 1 ? '' : 's'} the compiled speakers are equal\n`);
  const sound = problems.length === 0 && differences.length === 0 && nodes.length > 0;
  return !sound ? EXIT.findings : partial ? EXIT.partial : EXIT.ok;
};

export function convertPolicies(policies: readonly SourceObject[], nodes: readonly SourceObject[]): Converted {
  const problems: string[] = [];
  const objects = policies.flatMap(({object}) => {
    const spec = recordOf(object['spec']);
    const {name} = object.metadata;
    const routers = listOf(spec['virtualRouters']).map(recordOf);
    const bfd = object.metadata.annotations?.[BFD_ANNOTATION];
    const annotations = bfd === undefined ? {} : {annotations: {[BFD_ANNOTATION]: bfd}};
    const parts = routers.map((router) => convertRouter({policy: name, annotations, problems}, router));
    return [
      {
        ...head('CiliumBGPClusterConfig', name),
        spec: {...(spec['nodeSelector'] === undefined ? {} : {nodeSelector: spec['nodeSelector']}), bgpInstances: parts.map(({instance}) => instance)},
      },
      ...parts.flatMap(({others}) => others),
    ];
  });
  return {objects: [...objects, ...nodes.flatMap(overrideOf)], problems};
}

function head(kind: string, name: string, metadata: Json = {}): Json {
  return {apiVersion: 'cilium.io/v2', kind, metadata: {name, ...metadata}};
}

interface PolicyContext {
  readonly policy: string;
  /** Of its peer configs. */
  readonly annotations: Json;
  readonly problems: string[];
}

/** The instance keeps the name that it has: its process and its sessions stay. */
function convertRouter({policy, annotations, problems}: PolicyContext, router: Json): {readonly instance: Json; readonly others: readonly Json[]} {
  const asn = Number(router['localASN']);
  const peers = listOf(router['neighbors']).map(recordOf).map((neighbor) => {
    const address = String(neighbor['peerAddress']).split('/')[0] ?? '';
    const name = `${policy}-${asn}-${address.replaceAll(/[.:]+/g, '-').replace(/-$/, '')}`;
    const peer = {name, peerASN: neighbor['peerASN'], peerAddress: address, peerConfigRef: {name}};
    return {peer, others: [peerConfig(name, neighbor, annotations), advertisement(name, {policy, router, neighbor, problems})]};
  });
  return {instance: {name: `asn-${asn}`, localASN: asn, peers: peers.map(({peer}) => peer)}, others: peers.flatMap(({others}) => others)};
}

/** Label that ties an advertisement to the peer config of the same neighbor. */
const PEER_LABEL = 'bgp.stentor.io/peer';

function peerConfig(name: string, neighbor: Json, annotations: Json): Json {
  const pick = (source: Json, names: readonly string[]): Json => Object.fromEntries(names.filter((one) => source[one] !== undefined && source[one] !== null).map((one) => [one, source[one]]));
  const timers = pick(neighbor, ['connectRetryTimeSeconds', 'holdTimeSeconds', 'keepAliveTimeSeconds']);
  const families = listOf(neighbor['families']).length > 0 ? listOf(neighbor['families']).map(recordOf) : [{afi: 'ipv4', safi: 'unicast'}, {afi: 'ipv6', safi: 'unicast'}];
  return {
    ...head('CiliumBGPPeerConfig', name, annotations),
    spec: {
      ...pick(neighbor, ['authSecretRef', 'gracefulRestart']),
      ...(neighbor['eBGPMultihopTTL'] === undefined ? {} : {ebgpMultihop: neighbor['eBGPMultihopTTL']}),
      ...(neighbor['peerPort'] === undefined ? {} : {transport: {peerPort: neighbor['peerPort']}}),
      ...(Object.keys(timers).length === 0 ? {} : {timers}),
      families: families.map(({afi, safi}) => ({afi, safi, advertisements: {matchLabels: {[PEER_LABEL]: labelOf(name)}}})),
    },
  };
}

/** Values of labels are at most 63 characters; the end of the name holds what tells peers apart. */
function labelOf(name: string): string {
  return name.slice(-63).replace(/^[^A-Za-z0-9]+/, '');
}

interface NeighborContext {
  readonly policy: string;
  readonly router: Json;
  readonly neighbor: Json;
  readonly problems: string[];
}

function advertisement(name: string, {policy, router, neighbor, problems}: NeighborContext): Json {
  const rules = listOf(neighbor['advertisedPathAttributes']).map(recordOf);
  const attributesOf = (type: string): Json => {
    const rule = rules.find(({selectorType}) => selectorType === type);
    if (rule === undefined) return {};
    if (rule['selector'] !== undefined && rule['selector'] !== null && Object.keys(recordOf(rule['selector'])).length > 0) {
      problems.push(`CiliumBGPPeeringPolicy ${policy}: neighbor ${String(neighbor['peerAddress'])}: attributes of ${type} by a selector of nodes or pools cannot be said in BGPv2: they are on all its paths`);
    }
    const {selector: _, selectorType: __, ...attributes} = rule;
    return {attributes};
  };
  const items: Json[] = [];
  if (router['exportPodCIDR'] === true) items.push({advertisementType: 'PodCIDR', ...attributesOf('PodCIDR')});
  if (isRecord(router['serviceSelector'])) {
    const addresses = listOf(router['serviceAdvertisements']);
    items.push({
      advertisementType: 'Service', service: {addresses: addresses.length === 0 ? ['LoadBalancerIP'] : addresses}, selector: router['serviceSelector'],
      ...attributesOf('CiliumLoadBalancerIPPool'),
    });
  }
  if (isRecord(router['podIPPoolSelector'])) items.push({advertisementType: 'CiliumPodIPPool', selector: router['podIPPoolSelector'], ...attributesOf('CiliumPodIPPool')});
  return {...head('CiliumBGPAdvertisement', name, {labels: {[PEER_LABEL]: labelOf(name)}}), spec: {advertisements: items}};
}

const ANNOTATION = 'cilium.io/bgp-virtual-router.';

/** Annotations of a node become its CiliumBGPNodeConfigOverride. */
function overrideOf({object}: SourceObject): Json[] {
  const instances = Object.entries(object.metadata.annotations ?? {}).filter(([key]) => key.startsWith(ANNOTATION)).map(([key, value]) => {
    const options = new Map(value.split(',').map((part) => {
      const [option = '', written] = part.trim().split('=');
      return [option, written] as const;
    }));
    const [routerId, port] = [options.get('router-id'), options.get('local-port')];
    return {name: `asn-${key.slice(ANNOTATION.length)}`, ...(routerId === undefined ? {} : {routerID: routerId}), ...(port === undefined ? {} : {localPort: Number(port)})};
  });
  return instances.length === 0 ? [] : [{...head('CiliumBGPNodeConfigOverride', object.metadata.name), spec: {bgpInstances: instances.sort((a, b) => compareStrings(a.name, b.name))}}];
}

/** One line for each node on which the two say something else. */
export function proof(input: readonly SourceObject[], converted: readonly Json[]): string[] {
  const isOld = (item: SourceObject): boolean => bgpKind(item)?.startsWith('CiliumBGP') === true;
  const rest = input.filter((item) => !isOld(item));
  const policies = input.filter((item) => bgpKind(item) === 'CiliumBGPPeeringPolicy');
  const ages = new Map(policies.map(({object}) => [object.metadata.name, object.metadata.creationTimestamp]));
  const before = bgpWorld([...rest, ...policies]);
  const after = bgpWorld([...rest, ...converted.map((object) => sourceOf(object, ages))]);
  return [...before.speakers].flatMap(([node, {speaker}]) => {
    const now = after.speakers.get(node)?.speaker;
    const [a, b] = [said(speaker), now === undefined ? '' : said(now)];
    return a === b ? [] : [`node ${node}: the compiled speakers differ:\n  before ${a}\n  after  ${b}`];
  });
}

/** All of a speaker but which object it comes from. */
function said({instances, holds = []}: Speaker): string {
  return canonicalJson({instances, holds: holds.map(({instance, peer}) => ({instance, peer}))});
}

/** As old as the policy it comes from: of two on a node the same one stays in force. */
function sourceOf(object: Json, ages: ReadonlyMap<string, string | undefined>): SourceObject {
  const [item] = parseDocuments(JSON.stringify(object), 'converted').objects;
  if (item === undefined) throw new Error('a converted object is no object');
  const createdAt = ages.get(item.object.metadata.name);
  return createdAt === undefined ? item : {...item, object: {...item.object, metadata: {...item.object.metadata, creationTimestamp: createdAt}}};
}

function recordOf(value: unknown): Json {
  return isRecord(value) ? value : {};
}

function listOf(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value as readonly unknown[] : [];
}
