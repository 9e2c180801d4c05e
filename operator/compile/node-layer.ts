// What one node holds beyond what all nodes hold: its configuration, endpoints, their policies, the selectors and prefixes that these
// refer to, its speaker, and the entries that differ on it (its own addresses; nothing is tunnelled to itself).

import {contains, parsePrefix, type Prefix} from '../../lib/core/ip.js';
import {resource} from '../../lib/desired/diff.js';
import type {Resource} from '../../lib/desired/node-state.js';
import {resourceId} from '../../lib/desired/node-state.js';
import {IDENTITY_HOST, IDENTITY_INIT, IDENTITY_UNMANAGED, identityId, type IdentityId} from '../../lib/domain/identity.js';
import {Labels} from '../../lib/domain/labels.js';
import type {SelectorId} from '../../lib/domain/policy.js';
import {matcherOf, type SelectorMembers} from '../../lib/policy/members.js';
import {peerOf, prefixLabels} from '../../lib/policy/selectors.js';
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
  readonly members: SelectorMembers;
  readonly ipcache: IpCache;
  readonly subjects: ReadonlyMap<IdentityId, CompiledSubject>;
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

export function nodeLayer(input: NodeInput, parts: NodeLayerParts, options: NodeOptions): NodeLayer {
  const {view, endpoints, speaker} = input;
  const layer = new Map<string, Resource>();
  const put = (item: Resource): void => void layer.set(resourceId(item), item);
  put(nodeConfigResource(view, options));
  for (const item of ownEntries(input, options)) put(item);
  const subjects = new Set<IdentityId>([IDENTITY_INIT]);
  for (const endpoint of endpoints) {
    const item = endpointResource(endpoint);
    if (item === null || endpoint.identity === null) continue;
    put(item);
    subjects.add(endpoint.identity);
  }
  const compiled = [...subjects].flatMap((id) => parts.subjects.get(id) ?? []);
  for (const subject of compiled) put(subject.resource);
  const prefixes = new Set(compiled.flatMap((subject) => subject.prefixes).filter((prefix) => isOutside(prefix, parts)));
  for (const prefix of prefixes) put(resource('ipcache', prefix, {prefix, identity: null, labels: prefixLabels(prefix), tunnelEndpoint: null, local: false}));
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
  const host = node.hostsApiServer && !members.identities.includes(IDENTITY_HOST)
    && matcherOf(peerOf(id)).matchesIdentity(IDENTITY_HOST, API_SERVER_HOST);
  const identities = host ? [IDENTITY_HOST, ...members.identities].sort((a, b) => a - b).map(identityId) : members.identities;
  return resource('selector', id, {id, identities, prefixes});
}

/** Entries that other nodes hold differently. */
function* ownEntries({view, endpoints}: NodeInput, options: NodeOptions): Generator<Resource> {
  const own = [...view.fact.addresses.map(({ip}) => ip), ...(view.routerAddress === null ? [] : [view.routerAddress])];
  for (const address of own) {
    const prefix = hostPrefix(address);
    if (prefix !== null) yield resource('ipcache', prefix, {...ipCacheEntry(prefix, IDENTITY_HOST, null), local: true});
  }
  if (options.routingMode !== 'tunnel') return;
  for (const cidr of view.fact.podCidrs) yield resource('ipcache', cidr, ipCacheEntry(cidr, IDENTITY_UNMANAGED, null));
  for (const endpoint of endpoints) {
    for (const address of endpoint.addresses) {
      const prefix = hostPrefix(address);
      if (prefix !== null) yield resource('ipcache', prefix, ipCacheEntry(prefix, addressIdentity(endpoint), null));
    }
  }
}
