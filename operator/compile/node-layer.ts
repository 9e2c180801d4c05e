// What one node holds beyond what all nodes hold: its configuration, endpoints, their policies, the selectors and prefixes that these
// refer to, its speaker, and the entries that differ on it (its own addresses; nothing is tunnelled to itself).

import {contains, parsePrefix, type Prefix} from '../../lib/core/ip.js';
import {resource} from '../../lib/desired/diff.js';
import type {Resource} from '../../lib/desired/node-state.js';
import {resourceId} from '../../lib/desired/node-state.js';
import {IDENTITY_HOST, IDENTITY_INIT, IDENTITY_UNMANAGED, identityId, type IdentityId} from '../../lib/domain/identity.js';
import {Labels} from '../../lib/domain/labels.js';
import type {Members, SelectorId} from '../../lib/domain/policy.js';
import {matcherOf, type SelectorMembers} from '../../lib/policy/members.js';
import {peerOf} from '../../lib/policy/selectors.js';
import {addressIdentity, endpointResource, type Endpoint} from './endpoints.js';
import {hostPrefix, ipCacheEntry, type IpCache, type NodeView} from './ipcache.js';
import {nodeConfigResource, type NodeOptions} from './nodes.js';
import type {CompiledSubject} from './policy.js';

export interface NodeInput {
  readonly view: NodeView;
  readonly endpoints: readonly Endpoint[];
  readonly speaker: Resource;
}

export interface NodeLayerParts {
  readonly memo: LayerMemo;
  readonly members: SelectorMembers;
  readonly ipcache: IpCache;
  readonly subjects: ReadonlyMap<IdentityId, CompiledSubject>;
  /** The entry of each prefix that a policy names. */
  readonly prefixEntries: ReadonlyMap<string, Resource>;
  /** All PodCIDRs of the cluster. */
  readonly podCidrs: readonly Prefix[];
  readonly apiServers: ReadonlySet<string>;
  /** Prefixes known on every node, as that of an API server outside the cluster. */
  readonly everywhere: ReadonlySet<string>;
}

export interface NodeLayer {
  readonly resources: ReadonlyMap<string, Resource>;
  readonly subjects: ReadonlySet<IdentityId>;
  readonly selectors: ReadonlySet<SelectorId>;
}

const API_SERVER_HOST = Labels.parse(['reserved:host', 'reserved:kube-apiserver']);

/** Resources that are made anew only when what they are made from is another object: hashing them is the cost of a layer. */
export class LayerMemo {
  readonly #endpoints = new WeakMap<Endpoint, {readonly resource: Resource | null; readonly entries: readonly Resource[]}>();
  readonly #views = new WeakMap<NodeView, readonly Resource[]>();
  readonly #selectors = new WeakMap<Members, Map<string, Resource>>();

  endpoint(endpoint: Endpoint): {readonly resource: Resource | null; readonly entries: readonly Resource[]} {
    return remembered(this.#endpoints, endpoint, () => ({resource: endpointResource(endpoint), entries: [...untunnelled(endpoint)]}));
  }

  node(view: NodeView, options: NodeOptions): readonly Resource[] {
    return remembered(this.#views, view, () => [nodeConfigResource(view, options), ...ownEntries(view, options)]);
  }

  /** `key` says what else than the members the resource depends on. */
  selector(members: Members, key: string, make: () => Resource): Resource {
    const byKey = remembered(this.#selectors, members, () => new Map<string, Resource>());
    const held = byKey.get(key) ?? make();
    byKey.set(key, held);
    return held;
  }
}

function remembered<K extends object, V>(memo: WeakMap<K, V>, key: K, make: () => V): V {
  const held = memo.get(key);
  if (held !== undefined) return held;
  const made = make();
  memo.set(key, made);
  return made;
}

export function nodeLayer(input: NodeInput, parts: NodeLayerParts, options: NodeOptions): NodeLayer {
  const {view, endpoints, speaker} = input;
  const layer = new Map<string, Resource>();
  const put = (item: Resource): void => void layer.set(resourceId(item), item);
  for (const item of parts.memo.node(view, options)) put(item);
  const subjects = new Set<IdentityId>([IDENTITY_INIT]);
  for (const endpoint of endpoints) {
    const {resource: item, entries} = parts.memo.endpoint(endpoint);
    if (options.routingMode === 'tunnel') for (const entry of entries) put(entry);
    if (item === null || endpoint.identity === null) continue;
    put(item);
    subjects.add(endpoint.identity);
  }
  const compiled = [...subjects].flatMap((id) => parts.subjects.get(id) ?? []);
  for (const subject of compiled) put(subject.resource);
  const prefixes = new Set(compiled.flatMap((subject) => subject.prefixes).filter((prefix) => isOutside(prefix, parts)));
  for (const prefix of prefixes) {
    const entry = parts.prefixEntries.get(prefix);
    if (entry !== undefined) put(entry);
  }
  const selectors = new Set(compiled.flatMap((subject) => [...subject.selectors]));
  const hostsApiServer = view.fact.addresses.some(({ip}) => parts.apiServers.has(ip));
  for (const id of selectors) put(selectorResource(id, {prefixes, hostsApiServer}, parts));
  put(speaker);
  return {resources: layer, subjects, selectors};
}

/** Pods and nodes never match CIDR rules: a prefix of theirs gets no identity of its own. */
function isOutside(text: string, parts: NodeLayerParts): boolean {
  const prefix = parsePrefix(text);
  return prefix !== null && !parts.ipcache.has(text) && !parts.podCidrs.some((cidr) => contains(cidr, prefix));
}

function selectorResource(id: SelectorId, node: {prefixes: ReadonlySet<string>; hostsApiServer: boolean}, parts: NodeLayerParts): Resource {
  const members = parts.members.members(id);
  const prefixes = members.prefixes.filter((prefix) => node.prefixes.has(prefix) || parts.everywhere.has(prefix));
  return parts.memo.selector(members, `${node.hostsApiServer ? 'apiserver ' : ''}${prefixes.join(' ')}`, () => {
    const host = node.hostsApiServer && !members.identities.includes(IDENTITY_HOST)
      && matcherOf(peerOf(id)).matchesIdentity(IDENTITY_HOST, API_SERVER_HOST);
    const identities = host ? [IDENTITY_HOST, ...members.identities].sort((a, b) => a - b).map(identityId) : members.identities;
    return resource('selector', id, {id, identities, prefixes});
  });
}

/** Entries of the node itself that other nodes hold differently. */
function* ownEntries(view: NodeView, options: NodeOptions): Generator<Resource> {
  const own = [...view.fact.addresses.map(({ip}) => ip), ...(view.routerAddress === null ? [] : [view.routerAddress])];
  for (const address of own) {
    const prefix = hostPrefix(address);
    if (prefix !== null) yield resource('ipcache', prefix, {...ipCacheEntry(prefix, IDENTITY_HOST, null), local: true});
  }
  if (options.routingMode !== 'tunnel') return;
  for (const cidr of view.fact.podCidrs) yield resource('ipcache', cidr, ipCacheEntry(cidr, IDENTITY_UNMANAGED, null));
}

/** The addresses of an endpoint as its own node holds them. */
function* untunnelled(endpoint: Endpoint): Generator<Resource> {
  for (const address of endpoint.addresses) {
    const prefix = hostPrefix(address);
    if (prefix !== null) yield resource('ipcache', prefix, ipCacheEntry(prefix, addressIdentity(endpoint), null));
  }
}
