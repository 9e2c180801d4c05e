// A whole cluster compiled from files: what each endpoint's policy map and the ipcache would hold. The same functions as in a
// running cluster, with numbers chosen from the content alone.

import {contentHash} from '../core/hash.js';
import {comparePrefixes, contains, formatPrefix} from '../core/ip.js';
import {compareStrings} from '../core/order.js';
import {
  CLUSTER_IDENTITY_MAX, CLUSTER_IDENTITY_MIN, IDENTITY_HOST, IDENTITY_KUBE_APISERVER, IDENTITY_REMOTE_NODE, IDENTITY_UNMANAGED,
  IPV4_ONLY, LOCAL_IDENTITY_MIN, hasFamily, identityId, reservedIdentities, worldIdentity,
} from '../domain/identity.js';
import type {Families, IdentityId} from '../domain/identity.js';
import {Labels} from '../domain/labels.js';
import type {EnforcementMode, MapStateEntry, Members, Rule, SelectorId, SourceMeaning, SubjectPolicy} from '../domain/policy.js';
import {expandPolicy, ingressPortNames} from './entries.js';
import type {ExpandContext} from './entries.js';
import {SelectorMembers, matcherOf} from './members.js';
import {modeOfSubject, resolveSubject} from './resolve.js';
import {NO_MEANING, knownPrefixes, peerOf, prefixLabels, prefixOfText, selectorId, sourceId} from './selectors.js';
import type {PrefixOptions} from './selectors.js';
import {indexEntries} from './verdict.js';
import type {PolicyIndex} from './verdict.js';

export interface OfflineNamedPort {
  readonly name: string;
  readonly protocol: number;
  readonly port: number;
}

/** A pod with a network namespace of its own that has not ended. `labels`: those of its identity. */
export interface OfflineEndpoint {
  readonly namespace: string;
  readonly name: string;
  readonly labels: Labels;
  readonly ips: readonly string[];
  /** Empty = not scheduled. */
  readonly node: string;
  readonly namedPorts: readonly OfflineNamedPort[];
}

/** A pod of the host network: no endpoint, it speaks as its node. */
export interface OfflineHostPod {
  readonly namespace: string;
  readonly name: string;
  readonly node: string;
}

export interface OfflineNode {
  readonly name: string;
  readonly addresses: readonly string[];
  readonly podCidrs: readonly string[];
}

export interface OfflineCluster {
  readonly endpoints: readonly OfflineEndpoint[];
  readonly hostPods: readonly OfflineHostPod[];
  readonly nodes: readonly OfflineNode[];
  readonly rules: readonly Rule[];
  /** Where the API server answers: on nodes, or outside the cluster. */
  readonly apiServerAddresses: readonly string[];
  /** Numbers that CiliumIdentity objects give, by `Labels.key`. */
  readonly identities?: ReadonlyMap<string, IdentityId>;
  /** What the names in the rules stand for, by `sourceId`: CIDR groups, services, addresses of DNS names. */
  readonly meanings?: ReadonlyMap<string, SourceMeaning>;
}

export interface OfflineOptions {
  readonly mode: EnforcementMode;
  readonly allowLocalhost: boolean;
  /** `tunnel`: ipcache entries carry the node as tunnel endpoint. */
  readonly routingMode: 'native' | 'tunnel';
  readonly entriesMax?: number;
  /** Default: IPv4 alone. */
  readonly families?: Families;
}

export interface CompiledEndpoint {
  readonly endpoint: OfflineEndpoint;
  readonly identity: IdentityId;
  readonly policy: SubjectPolicy;
  readonly entries: readonly MapStateEntry[];
  readonly omitted: number;
  readonly index: PolicyIndex;
}

export interface CompiledIpCacheEntry {
  readonly prefix: string;
  readonly identity: IdentityId;
  readonly tunnelEndpoint: string | null;
  /** A node that has the address itself: the peer is then `host`. Empty = no node. */
  readonly node: string;
}

export interface CompiledCluster {
  /** In ascending order of numbers, reserved and local ones included. */
  readonly identities: ReadonlyMap<IdentityId, Labels>;
  /** In address order. */
  readonly ipcache: readonly CompiledIpCacheEntry[];
  /** By `namespace/name`. */
  readonly endpoints: ReadonlyMap<string, CompiledEndpoint>;
  readonly hostPods: ReadonlyMap<string, OfflineHostPod>;
  readonly families: Families;
}

export function compileCluster(cluster: OfflineCluster, options: OfflineOptions): CompiledCluster {
  const families = options.families ?? IPV4_ONLY;
  const numbers = numberLabelSets(cluster);
  const local = numberPrefixes(cluster, {families, meanings: (source) => cluster.meanings?.get(sourceId(source)) ?? NO_MEANING});
  const members = membersOfCluster(cluster, {numbers, local, families});
  const context: CompilerParts['context'] = {
    numberOf: (prefix) => local.get(prefix)?.id,
    peerNamedPorts: peerPorts(cluster.endpoints, numbers),
    ...(options.entriesMax === undefined ? {} : {entriesMax: options.entriesMax}),
  };
  const compiler = new EndpointCompiler(cluster, options, {numbers, members, context});
  const endpoints = new Map(cluster.endpoints.map((endpoint) => [keyOf(endpoint), compiler.compile(endpoint)]));
  return {
    identities: identitiesOf(cluster, {numbers, local, families}),
    ipcache: ipcacheOf(cluster, options, {numbers, local, families}),
    endpoints,
    hostPods: new Map(cluster.hostPods.map((pod) => [keyOf(pod), pod])),
    families,
  };
}

export function keyOf(pod: {readonly namespace: string; readonly name: string}): string {
  return `${pod.namespace}/${pod.name}`;
}

type Numbers = ReadonlyMap<string, IdentityId>;
type LocalNumbers = ReadonlyMap<string, {readonly id: IdentityId; readonly labels: Labels}>;

interface Numbered {
  readonly numbers: Numbers;
  readonly local: LocalNumbers;
  readonly families: Families;
}

/** By `Labels.key`. From the hash of the set, upwards past those taken. */
function numberLabelSets(cluster: OfflineCluster): Numbers {
  const numbers = new Map<string, IdentityId>(cluster.identities ?? []);
  const taken = new Set<number>(numbers.values());
  const span = CLUSTER_IDENTITY_MAX - CLUSTER_IDENTITY_MIN + 1;
  const sets = new Set(cluster.endpoints.map((endpoint) => endpoint.labels.key));
  for (const key of [...sets].sort(compareStrings)) {
    if (numbers.has(key)) continue;
    let offset = Number.parseInt(contentHash(key).slice(0, 8), 16) % span;
    while (taken.has(CLUSTER_IDENTITY_MIN + offset)) offset = (offset + 1) % span;
    const id = identityId(CLUSTER_IDENTITY_MIN + offset);
    taken.add(id);
    numbers.set(key, id);
  }
  return numbers;
}

/** Pods and nodes never match CIDR rules: a prefix of theirs gets no number. */
function numberPrefixes(cluster: OfflineCluster, options: Required<PrefixOptions>): LocalNumbers {
  const {families} = options;
  const podCidrs = cluster.nodes.flatMap((node) => node.podCidrs.map(prefixOfText));
  const taken = new Set([...cluster.nodes.flatMap(({addresses}) => addresses), ...cluster.endpoints.flatMap(({ips}) => ips)].map(hostPrefix));
  const isFree = (text: string): boolean => !taken.has(text) && !podCidrs.some((cidr) => contains(cidr, prefixOfText(text)));
  const labels = new Map(knownPrefixes(cluster.rules, options).filter(isFree).map((prefix) => [prefix, prefixLabels(prefix, families)]));
  for (const prefix of cluster.apiServerAddresses.map(hostPrefix)) {
    if (!taken.has(prefix) && hasFamily(families, prefixOfText(prefix).family)) labels.set(prefix, [...prefixLabels(prefix, families), 'reserved:kube-apiserver']);
  }
  const sorted = [...labels].sort(([a], [b]) => comparePrefixes(prefixOfText(a), prefixOfText(b)));
  return new Map(sorted.map(([prefix, texts], i) => [prefix, {id: identityId(LOCAL_IDENTITY_MIN + i), labels: Labels.parse(texts)}]));
}

function hostPrefix(address: string): string {
  return formatPrefix(prefixOfText(address));
}

function membersOfCluster(cluster: OfflineCluster, {numbers, local, families}: Numbered): SelectorMembers {
  const members = new SelectorMembers(families);
  for (const [id, meaning] of cluster.meanings ?? []) members.setMeaning(id, meaning);
  for (const {labels} of cluster.endpoints) {
    const id = numbers.get(labels.key);
    if (id !== undefined) members.setIdentity(id, labels);
  }
  for (const [prefix, {labels}] of local) members.setPrefix(prefix, labels);
  return members;
}

/** A name that has two numbers among the pods of one identity has none. */
function peerPorts(endpoints: readonly OfflineEndpoint[], numbers: Numbers): ExpandContext['peerNamedPorts'] {
  const table = new Map<string, Map<IdentityId, number | null>>();
  for (const {labels, namedPorts} of endpoints) {
    const id = numbers.get(labels.key);
    if (id === undefined) continue;
    for (const {name, protocol, port} of namedPorts) {
      const key = `${name.toLowerCase()}/${protocol}`;
      const ports = table.get(key) ?? new Map<IdentityId, number | null>();
      table.set(key, ports.set(id, (ports.get(id) ?? port) === port && ports.get(id) !== null ? port : null));
    }
  }
  const none: ReadonlyMap<IdentityId, number> = new Map();
  const known = new Map([...table].map(([key, ports]) => [key, new Map([...ports].filter((entry): entry is [IdentityId, number] => entry[1] !== null))]));
  return (name, protocol) => known.get(`${name}/${protocol}`) ?? none;
}

interface CompilerParts {
  readonly numbers: Numbers;
  readonly members: SelectorMembers;
  readonly context: Omit<ExpandContext, 'namedPort' | 'members'>;
}

/** The local host of a node that runs the API server. */
const API_SERVER_HOST = Labels.parse(['reserved:host', 'reserved:kube-apiserver']);

function isApiServer({addresses}: OfflineNode, cluster: OfflineCluster): boolean {
  return addresses.some((address) => cluster.apiServerAddresses.includes(address));
}

/** Endpoints of one identity share a policy, and its expansion unless their named ports or their hosts' roles differ. */
class EndpointCompiler {
  readonly #options: OfflineOptions;
  readonly #parts: CompilerParts;
  readonly #apiServerNodes: ReadonlySet<string>;
  readonly #rulesBySubject = new Map<SelectorId, Rule[]>();
  readonly #subjects = new SelectorMembers();
  readonly #policies = new Map<IdentityId, SubjectPolicy>();
  readonly #expansions = new Map<string, Omit<CompiledEndpoint, 'endpoint'>>();

  constructor(cluster: OfflineCluster, options: OfflineOptions, parts: CompilerParts) {
    this.#options = options;
    this.#parts = parts;
    this.#apiServerNodes = new Set(cluster.nodes.filter((node) => isApiServer(node, cluster)).map(({name}) => name));
    for (const {labels} of cluster.endpoints) this.#subjects.setIdentity(this.#numberOf(labels), labels);
    for (const rule of cluster.rules) {
      const id = selectorId({kind: 'labels', selector: rule.subject});
      const rules = this.#rulesBySubject.get(id);
      if (rules === undefined) this.#rulesBySubject.set(id, [rule]);
      else rules.push(rule);
    }
  }

  compile(endpoint: OfflineEndpoint): CompiledEndpoint {
    const identity = this.#numberOf(endpoint.labels);
    const policy = this.#policyOf(identity, endpoint.labels);
    const own = new Map(endpoint.namedPorts.map(({name, protocol, port}) => [`${name.toLowerCase()}/${protocol}`, port]));
    const names = ingressPortNames(policy).map(({name, protocol}) => own.get(`${name}/${protocol}`) ?? 0);
    const hostsApiServer = this.#apiServerNodes.has(endpoint.node);
    const key = `${identity} ${names.join(' ')} ${hostsApiServer}`;
    const held = this.#expansions.get(key);
    if (held !== undefined) return {endpoint, ...held};
    const namedPort = (name: string, protocol: number): number | undefined => own.get(`${name}/${protocol}`);
    const members = (id: SelectorId): Members => this.#membersOn(id, hostsApiServer);
    const expansion = expandPolicy(policy, {...this.#parts.context, members, namedPort});
    const compiled = {identity, policy, ...expansion, index: indexEntries(expansion.entries)};
    this.#expansions.set(key, compiled);
    return {endpoint, ...compiled};
  }

  #membersOn(id: SelectorId, hostsApiServer: boolean): Members {
    const members = this.#parts.members.members(id);
    if (!hostsApiServer || members.identities.includes(IDENTITY_HOST)) return members;
    if (!matcherOf(peerOf(id)).matchesIdentity(IDENTITY_HOST, API_SERVER_HOST)) return members;
    return {...members, identities: [IDENTITY_HOST, ...members.identities]};
  }

  #policyOf(identity: IdentityId, labels: Labels): SubjectPolicy {
    const held = this.#policies.get(identity);
    if (held !== undefined) return held;
    const rules = [...this.#rulesBySubject].filter(([id]) => this.#selects(id, identity)).flatMap(([, selected]) => selected);
    const {mode, allowLocalhost} = this.#options;
    const policy = resolveSubject(rules, {mode: modeOfSubject(mode, labels), allowLocalhost});
    this.#policies.set(identity, policy);
    return policy;
  }

  #selects(id: SelectorId, identity: IdentityId): boolean {
    return this.#subjects.selects(id, identity);
  }

  #numberOf(labels: Labels): IdentityId {
    return this.#parts.numbers.get(labels.key) ?? IDENTITY_UNMANAGED;
  }
}

function identitiesOf(cluster: OfflineCluster, {numbers, local, families}: Numbered): ReadonlyMap<IdentityId, Labels> {
  const identities = new Map<IdentityId, Labels>();
  for (const [id, labels] of reservedIdentities(families)) identities.set(id, Labels.parse(labels));
  for (const {labels} of cluster.endpoints) {
    const id = numbers.get(labels.key);
    if (id !== undefined) identities.set(id, labels);
  }
  for (const {id, labels} of local.values()) identities.set(id, labels);
  return new Map([...identities].sort(([a], [b]) => a - b));
}

/** A pod's entry replaces a node's, a node's that of a policy prefix, and any of them the fallback of a PodCIDR. */
function ipcacheOf(
  cluster: OfflineCluster,
  options: OfflineOptions,
  {numbers, local, families}: Numbered,
): CompiledIpCacheEntry[] {
  const tunnels = new Map(cluster.nodes.map(({name, addresses}) => [name, addresses[0] ?? null]));
  const tunnelOf = (node: string): string | null => (options.routingMode === 'tunnel' ? (tunnels.get(node) ?? null) : null);
  const entries = new Map<string, CompiledIpCacheEntry>();
  const set = (text: string, entry: Omit<CompiledIpCacheEntry, 'prefix'>): void => {
    const parsed = prefixOfText(text);
    if (!hasFamily(families, parsed.family)) return;
    const prefix = formatPrefix(parsed);
    entries.set(prefix, {prefix, ...entry});
  };
  set('0.0.0.0/0', {identity: worldIdentity(families, 4), tunnelEndpoint: null, node: ''});
  set('::/0', {identity: worldIdentity(families, 6), tunnelEndpoint: null, node: ''});
  for (const {name, podCidrs} of cluster.nodes) {
    for (const cidr of podCidrs) set(cidr, {identity: IDENTITY_UNMANAGED, tunnelEndpoint: tunnelOf(name), node: ''});
  }
  for (const [prefix, {id}] of local) set(prefix, {identity: id, tunnelEndpoint: null, node: ''});
  for (const node of cluster.nodes) {
    const identity = isApiServer(node, cluster) ? IDENTITY_KUBE_APISERVER : IDENTITY_REMOTE_NODE;
    for (const address of node.addresses) set(address, {identity, tunnelEndpoint: null, node: node.name});
  }
  for (const {labels, ips, node} of cluster.endpoints) {
    const identity = numbers.get(labels.key) ?? IDENTITY_UNMANAGED;
    for (const ip of ips) set(ip, {identity, tunnelEndpoint: tunnelOf(node), node: ''});
  }
  return [...entries.values()].sort((a, b) => comparePrefixes(prefixOfText(a.prefix), prefixOfText(b.prefix)));
}

/** What a node sees at an address of its own: its host. */
export function seenFrom(entry: CompiledIpCacheEntry, node: string): IdentityId {
  return entry.node !== '' && entry.node === node ? IDENTITY_HOST : entry.identity;
}
