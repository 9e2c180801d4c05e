// Objects → what the policy engine compiles: endpoints, nodes, rules, each with the object it came from. The operator's own decoders.

import {formatAddress, parseAddress} from '../../lib/core/ip.js';
import type {ObjectRef, Rejection} from '../../lib/core/errors.js';
import {compareStrings} from '../../lib/core/order.js';
import type {IdentityId} from '../../lib/domain/identity.js';
import {identityLabels} from '../../lib/domain/label-filter.js';
import type {Rule, SourceMeaning} from '../../lib/domain/policy.js';
import {isRecord, type KubeObject} from '../../lib/kube/object.js';
import {compileCluster, keyOf} from '../../lib/policy/offline.js';
import {sourcesOf} from '../../lib/policy/selectors.js';
import {meaningOf} from '../../lib/policy/sources.js';
import type {CompiledCluster, OfflineCluster, OfflineEndpoint, OfflineHostPod, OfflineNode} from '../../lib/policy/offline.js';
import {decoders} from '../../operator/model/decoders.js';
import {decodeCiliumEndpoint} from '../../operator/model/decode/cilium-endpoint.js';
import {decodeCiliumIdentity} from '../../operator/model/decode/cilium-identity.js';
import {decodeCiliumNode} from '../../operator/model/decode/cilium-node.js';
import {decodeCidrGroup} from '../../operator/model/decode/cidr-group.js';
import {decodeApiServer, decodeEndpointSlice, serviceKey} from '../../operator/model/decode/endpoint-slice.js';
import {decodeNamespace} from '../../operator/model/decode/namespace.js';
import {decodeNode} from '../../operator/model/decode/node.js';
import {decodePod} from '../../operator/model/decode/pod.js';
import {decodeService} from '../../operator/model/decode/service.js';
import type {PodFact, PolicyFact} from '../../operator/model/facts.js';
import type {Decoders} from '../../operator/model/tables.js';
import type {Manifests} from './sources.js';
import type {SourceObject} from './documents.js';
import {rulePaths} from './rule-path.js';
import type {Settings} from './settings.js';
import {podsOfWorkloads} from './workloads.js';

export type PolicyKind = 'NetworkPolicy' | 'CiliumNetworkPolicy' | 'CiliumClusterwideNetworkPolicy';

/** A policy object, its rules, and where each of them stands. */
export interface LoadedPolicy {
  readonly kind: PolicyKind;
  readonly ref: ObjectRef;
  readonly from: SourceObject;
  readonly rules: readonly Rule[];
  readonly rejections: readonly Rejection[];
  /** By `ruleIndex`. */
  readonly paths: readonly string[];
}

export interface World {
  readonly settings: Settings;
  readonly policies: readonly LoadedPolicy[];
  readonly namespaces: ReadonlyMap<string, Readonly<Record<string, string>>>;
  readonly cluster: OfflineCluster;
  /** Rejections of objects that are no policies. */
  readonly rejections: readonly Rejection[];
  readonly warnings: readonly string[];
  readonly duplicates: readonly Duplicate[];
  readonly manifests: Manifests;
}

/** An object that is there again: the first one counts, as for the operator's own files. */
export interface Duplicate {
  readonly item: SourceObject;
  readonly first: SourceObject;
}

/** API groups, so that another group's kind of the same name is not taken for ours. */
const GROUPS: Readonly<Record<string, string>> = {
  Pod: '', Namespace: '', Node: '', Service: '', EndpointSlice: 'discovery.k8s.io', NetworkPolicy: 'networking.k8s.io',
  CiliumNetworkPolicy: 'cilium.io', CiliumClusterwideNetworkPolicy: 'cilium.io', CiliumNode: 'cilium.io', CiliumEndpoint: 'cilium.io', CiliumIdentity: 'cilium.io',
  CiliumCIDRGroup: 'cilium.io',
};
const NAMESPACED: ReadonlySet<string> = new Set(['Pod', 'Service', 'EndpointSlice', 'NetworkPolicy', 'CiliumNetworkPolicy', 'CiliumEndpoint']);

export function isPolicyKind(kind: string): kind is PolicyKind {
  return kind === 'NetworkPolicy' || kind === 'CiliumNetworkPolicy' || kind === 'CiliumClusterwideNetworkPolicy';
}

/** Whether the object is of the kind whose name it bears. */
export function isOurs({apiVersion, kind}: Pick<SourceObject, 'apiVersion' | 'kind'>): boolean {
  const slash = apiVersion.indexOf('/');
  return GROUPS[kind] === (slash < 0 ? '' : apiVersion.slice(0, slash));
}

export function worldOf(manifests: Manifests, given: Settings): World {
  const warnings: string[] = [];
  const {byKind, all, duplicates} = sortObjects(manifests.objects);
  for (const {item, first} of duplicates) warnings.push(`${idOf(item)} in ${item.source.file} is also in ${first.source.file}: the first one counts`);
  const of = (kind: string): readonly SourceObject[] => byKind.get(kind) ?? [];
  const namespaces = namespacesOf(of('Namespace'));
  const pods = podsOf(of('Pod'), all, warnings);
  const {endpoints, hostPods} = endpointsOf(pods, {namespaces, addresses: reportedAddresses(of('CiliumEndpoint')), settings: given});
  const nodes = nodesOf(of('Node'), of('CiliumNode'));
  const settings = {...given, enableIPv6: given.enableIPv6 ?? hasIPv6(endpoints, nodes)};
  const table = policyDecoders(settings);
  const rejections: Rejection[] = [];
  const policies = (['NetworkPolicy', 'CiliumNetworkPolicy', 'CiliumClusterwideNetworkPolicy'] as const)
    .flatMap((kind) => of(kind).map((from) => loadPolicy(kind, from, table)));
  warnAboutNamespaces([...pods.map(({fact}) => fact.namespace), ...policies.map(({ref}) => ref.namespace)], namespaces, warnings);
  const rules = policies.flatMap((policy) => policy.rules);
  const cluster: OfflineCluster = {
    endpoints, hostPods, nodes, rules, meanings: meaningsOf(rules, of, settings),
    apiServerAddresses: [...new Set(of('EndpointSlice').flatMap(({object}) => decodeApiServer(object)?.addresses ?? []))].sort(compareStrings),
    identities: identitiesOf(of('CiliumIdentity'), rejections),
  };
  return {settings, policies, namespaces, cluster, rejections, warnings, duplicates, manifests};
}

function hasIPv6(endpoints: readonly OfflineEndpoint[], nodes: readonly OfflineNode[]): boolean {
  return [...endpoints.flatMap(({ips}) => ips), ...nodes.flatMap(({podCidrs}) => podCidrs)].some((text) => text.includes(':'));
}

export function compileWorld({cluster, settings}: Pick<World, 'cluster' | 'settings'>): CompiledCluster {
  const {mode, allowLocalhost, routingMode, enableIPv6} = settings;
  return compileCluster(cluster, {mode, allowLocalhost, routingMode, families: {ipv4: true, ipv6: enableIPv6 === true}});
}

/** What the names in the rules stand for: CIDR groups and Services of the input. */
function meaningsOf(rules: readonly Rule[], of: (kind: string) => readonly SourceObject[], {clusterName, names}: Settings): ReadonlyMap<string, SourceMeaning> {
  const groups = new Map(of('CiliumCIDRGroup').map(({object}) => [object.metadata.name, decodeCidrGroup(object)]));
  const services = of('Service').map(({object}) => decodeService(object));
  const slices = of('EndpointSlice').flatMap(({object}) => decodeEndpointSlice(object) ?? []);
  const facts = {
    clusterName, groups: () => groups.values(), group: (name: string) => groups.get(name), services: () => services, names: () => names,
    backends: (namespace: string, name: string) => slices.filter(({service}) => service === serviceKey(namespace, name)).flatMap(({addresses}) => addresses),
  };
  return new Map([...sourcesOf(rules)].map(([id, source]) => [id, meaningOf(source, facts)]));
}

interface SortedObjects {
  readonly byKind: ReadonlyMap<string, readonly SourceObject[]>;
  /** Of kinds that are none of ours. */
  readonly all: readonly SourceObject[];
  readonly duplicates: readonly Duplicate[];
}

/** Namespaces filled in. */
function sortObjects(objects: readonly SourceObject[]): SortedObjects {
  const byKind = new Map<string, SourceObject[]>();
  const seen = new Map<string, SourceObject>();
  const all: SourceObject[] = [];
  const duplicates: Duplicate[] = [];
  for (const given of objects) {
    if (!isOurs(given)) {
      all.push(given);
      continue;
    }
    const item = placed(given);
    const first = seen.get(idOf(item));
    if (first !== undefined) {
      duplicates.push({item, first});
      continue;
    }
    seen.set(idOf(item), item);
    const list = byKind.get(item.kind);
    if (list === undefined) byKind.set(item.kind, [item]);
    else list.push(item);
  }
  return {byKind, all, duplicates};
}

function idOf({kind, object: {metadata: {namespace = '', name}}}: SourceObject): string {
  return `${kind} ${namespace === '' ? '' : `${namespace}/`}${name}`;
}

function placed(item: SourceObject): SourceObject {
  const {metadata} = item.object;
  if (NAMESPACED.has(item.kind)) {
    return metadata.namespace !== undefined && metadata.namespace !== '' ? item
      : {...item, object: {...item.object, metadata: {...metadata, namespace: 'default'}}};
  }
  if (metadata.namespace === undefined) return item;
  const {namespace: _, ...rest} = metadata;
  return {...item, object: {...item.object, metadata: rest}};
}

/** The API server gives each namespace the label with its name. */
function namespacesOf(items: readonly SourceObject[]): ReadonlyMap<string, Readonly<Record<string, string>>> {
  return new Map(items.map(({object}) => {
    const {name, labels} = decodeNamespace(object);
    return [name, {...labels, 'kubernetes.io/metadata.name': name}];
  }));
}

function warnAboutNamespaces(used: readonly string[], known: ReadonlyMap<string, unknown>, warnings: string[]): void {
  const missing = [...new Set(used)].filter((name) => name !== '' && !known.has(name)).sort(compareStrings);
  for (const name of missing) warnings.push(`namespace ${name} is not given: taken as one without labels`);
}

interface GivenPod {
  readonly fact: PodFact;
  readonly ips: readonly string[];
}

function podsOf(items: readonly SourceObject[], others: readonly SourceObject[], warnings: string[]): GivenPod[] {
  const given = items.map(({object}) => ({fact: decodePod(object), ips: podAddresses(object)}));
  const made = podsOfWorkloads(others, given.map(({fact}) => fact), warnings);
  return [...given, ...made.map((object) => ({fact: decodePod(object), ips: []}))];
}

function podAddresses(object: KubeObject): string[] {
  const status = isRecord(object['status']) ? object['status'] : {};
  const listed = Array.isArray(status['podIPs']) ? (status['podIPs'] as readonly unknown[]).map((item) => (isRecord(item) ? item['ip'] : undefined)) : [];
  return [...new Set([status['podIP'], ...listed].flatMap(canonicalAddress))];
}

function canonicalAddress(value: unknown): string[] {
  const address = typeof value === 'string' ? parseAddress(value) : null;
  return address === null ? [] : [formatAddress(address)];
}

function reportedAddresses(items: readonly SourceObject[]): ReadonlyMap<string, readonly string[]> {
  return new Map(items.map(({object}) => {
    const endpoint = decodeCiliumEndpoint(object);
    return [keyOf(endpoint), endpoint.addresses];
  }));
}

function endpointsOf(
  pods: readonly GivenPod[],
  known: {
    readonly namespaces: ReadonlyMap<string, Readonly<Record<string, string>>>; readonly addresses: ReadonlyMap<string, readonly string[]>;
    readonly settings: Settings;
  },
): {readonly endpoints: readonly OfflineEndpoint[]; readonly hostPods: readonly OfflineHostPod[]} {
  const endpoints: OfflineEndpoint[] = [];
  const hostPods: OfflineHostPod[] = [];
  for (const {fact, ips} of pods) {
    const {namespace, name} = fact;
    if (fact.ended) continue;
    const node = fact.nodeName ?? '';
    if (fact.hostNetwork) {
      hostPods.push({namespace, name, node});
      continue;
    }
    const labels = identityLabels({
      podLabels: fact.labels, namespace, namespaceLabels: known.namespaces.get(namespace) ?? {}, serviceAccount: fact.serviceAccount,
      clusterName: known.settings.clusterName,
    }, known.settings.labelFilter);
    const namedPorts = Object.entries(fact.namedPorts).map(([portName, {port, protocol}]) => ({name: portName, protocol, port}));
    endpoints.push({namespace, name, labels, ips: ips.length > 0 ? ips : (known.addresses.get(keyOf(fact)) ?? []), node, namedPorts});
  }
  return {endpoints, hostPods};
}

function nodesOf(nodes: readonly SourceObject[], ciliumNodes: readonly SourceObject[]): OfflineNode[] {
  const written = new Map(ciliumNodes.map(({object}) => [object.metadata.name, decodeCiliumNode(object)]));
  return nodes.map(({object}) => {
    const {name, addresses, podCidrs} = decodeNode(object);
    const known = written.get(name);
    const router = known?.routerAddress ?? null;
    // The CiliumNode has them in every IPAM mode.
    const given = known?.podCidrs ?? [];
    return {name, addresses: [...new Set([...addresses.map(({ip}) => ip), ...(router === null ? [] : [router])])], podCidrs: given.length === 0 ? podCidrs : given};
  });
}

/** Of two objects for one label set the older one is in use. */
function identitiesOf(items: readonly SourceObject[], rejections: Rejection[]): ReadonlyMap<string, IdentityId> {
  const decoded = items.map(({object}) => decodeCiliumIdentity(object));
  const facts = decoded.flatMap((item) => {
    if ('id' in item) return [item];
    rejections.push(item);
    return [];
  });
  const numbers = new Map<string, IdentityId>();
  for (const {id, labels} of facts.sort((a, b) => compareStrings(a.createdAt, b.createdAt) || a.id - b.id)) {
    if (!numbers.has(labels.key)) numbers.set(labels.key, id);
  }
  return numbers;
}

export function policyDecoders({clusterName, invalidPolicy, icmpTypeZero, enableIPv6, names}: Settings): Decoders {
  return decoders({
    clusterName, invalidPolicy, icmpTypeZero, ipv6: enableIPv6 === true, fqdnMembers: names.length > 0, masquerade: {namespace: 'kube-system', name: 'ip-masq-agent'},
  });
}

export function loadPolicy(kind: PolicyKind, from: SourceObject, table: Decoders): LoadedPolicy {
  const {object} = from;
  const {value} = table[kind].decode({kind, key: from.object.metadata.name, object});
  const {ref, rules, rejections} = value as PolicyFact;
  return {kind, ref, from, rules, rejections, paths: rulePaths(kind, object)};
}

/** Where each rule stands, for `explain` and the like. */
export class RulePlaces {
  readonly #policies: ReadonlyMap<string, LoadedPolicy>;

  constructor(policies: readonly LoadedPolicy[]) {
    this.#policies = new Map(policies.map((policy) => [policyKey(policy.ref), policy]));
  }

  policy(ref: Pick<ObjectRef, 'kind' | 'namespace' | 'name'>): LoadedPolicy | undefined {
    return this.#policies.get(policyKey(ref));
  }

  /** `file:line`; empty when the rule is of no file. */
  text(origin: {readonly kind: string; readonly namespace: string; readonly name: string; readonly ruleIndex: number}): string {
    const policy = this.policy(origin);
    if (policy === undefined) return '';
    const {file, line} = policy.from.source.locate(policy.paths[origin.ruleIndex] ?? '');
    return file === '' ? '' : `${file}:${line}`;
  }
}

function policyKey({kind, namespace, name}: Pick<ObjectRef, 'kind' | 'namespace' | 'name'>): string {
  return `${kind} ${namespace}/${name}`;
}
