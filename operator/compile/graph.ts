// The compiler: tables → what every node should hold. It keeps the compiled pieces and recomputes those whose inputs changed;
// its output is a function of the tables, whatever the order in which they came about.
//
//   pods namespaces identities ─→ identities ─┬─→ endpoints (+ reports) ─┬─→ ipcache ─────────→ shared layer
//   cidrGroups services slices ─→ sources ────┴─→ policy (+ policies) ───┤   nodes masquerade ─→ shared layer
//   identities, prefixes in use ─→ members ──────────────────────────────┴─→ node layers (+ nodes, bgp)

import {deepEqual} from '../../lib/core/equal.js';
import {parsePrefix, type Prefix} from '../../lib/core/ip.js';
import {resource} from '../../lib/desired/diff.js';
import type {Resource} from '../../lib/desired/node-state.js';
import {resourceId} from '../../lib/desired/node-state.js';
import type {IdentityId} from '../../lib/domain/identity.js';
import {Labels} from '../../lib/domain/labels.js';
import type {EnforcementMode} from '../../lib/domain/policy.js';
import {SelectorMembers} from '../../lib/policy/members.js';
import {prefixLabels} from '../../lib/policy/selectors.js';
import {API_SERVER_SERVICE} from '../model/decode/endpoint-slice.js';
import type {ChangedKeys, Tables} from '../model/tables.js';
import {Speakers} from './bgp-speakers.js';
import {addressIdentity, Endpoints, type Endpoint} from './endpoints.js';
import {Identities, sharedNamedPorts} from './identities.js';
import {hostPrefix, IpCache, ipCacheEntry, nodeClaims, type Claim, type NodeView} from './ipcache.js';
import {compileMasquerade, MASQUERADE_KEY} from './masquerade.js';
import {LayerMemo, nodeLayer, type NodeLayer} from './node-layer.js';
import {nodeResource, nodeView, type NodeOptions} from './nodes.js';
import {Policies} from './policy.js';
import {Sources} from './sources.js';

export interface CompileOptions extends NodeOptions {
  readonly enforcement: EnforcementMode;
  readonly allowLocalhost: boolean;
}

/** What is another resource now, by `resourceId`; null = gone. A node's own resource hides the shared one of that name. */
export interface CompiledChanges {
  readonly shared: ReadonlyMap<string, Resource | null>;
  readonly nodes: ReadonlyMap<string, ReadonlyMap<string, Resource | null>>;
  /** Endpoints that are others now. */
  readonly endpoints: ReadonlySet<string>;
  /** Subjects whose policy, or whose nodes, are others now. */
  readonly subjects: ReadonlySet<IdentityId>;
  /** Which CiliumIdentity objects should exist may be another answer now. */
  readonly identitiesChanged: boolean;
}

interface HeldNode extends NodeLayer {
  readonly name: string;
}

const MASQUERADE_ID = resourceId({kind: 'masquerade', key: MASQUERADE_KEY});
const NO_PREFIXES: ReadonlySet<string> = new Set();
const NO_RESOURCES: ReadonlyMap<string, Resource> = new Map();

export class Compiler {
  readonly identities: Identities;
  readonly endpoints: Endpoints;
  readonly policies: Policies;
  readonly speakers = new Speakers();
  readonly #options: CompileOptions;
  readonly #sources: Sources;
  readonly #members = new SelectorMembers();
  readonly #ipcache = new IpCache();
  readonly #shared = new Map<string, Resource>();
  readonly #nodes = new Map<string, HeldNode>();
  readonly #views = new Map<string, NodeView>();
  readonly #memo = new LayerMemo();
  readonly #endpointsOf = new Map<string, Set<string>>();
  #podCidrs: readonly Prefix[] = [];
  #apiServers: ReadonlySet<string> = new Set();
  /** The API server's addresses that are no node's. */
  #external: ReadonlySet<string> = new Set();

  constructor(options: CompileOptions) {
    this.#options = options;
    this.identities = new Identities({clusterName: options.clusterName});
    this.endpoints = new Endpoints({identities: this.identities});
    this.#sources = new Sources({clusterName: options.clusterName});
    this.policies = new Policies({mode: options.enforcement, allowLocalhost: options.allowLocalhost, meanings: this.#sources.meanings});
  }

  /** `changed` names every row of `tables` that is another one than at the last call. */
  update(tables: Tables, changed: ChangedKeys): CompiledChanges {
    const shared = new Map<string, Resource | null>();
    const stale = new Set<string>();
    const {pods, identities} = this.identities.update(tables, changed);
    this.#updateIdentities(tables, identities, shared);
    const endpoints = this.endpoints.update(tables, changed, pods);
    this.#updateEndpoints(endpoints, stale);
    this.#updateViews(tables, changed);
    const externalBefore = this.#external;
    this.#updateApiServers(tables, changed, stale);
    this.#updateNodes(tables, changed, {shared, stale});
    this.#updatePodClaims(changed, endpoints.keys());
    const policies = this.#updatePolicies(tables, changed, identities);
    this.#trackReferences(externalBefore === this.#external ? NO_PREFIXES : externalBefore);
    this.#publishIpCache(shared, stale);
    const selectors = new Set(this.#members.takeChanged());
    for (const node of this.#nodes.values()) {
      if (intersects(node.subjects, policies) || intersects(node.selectors, selectors)) stale.add(node.name);
    }
    for (const name of this.speakers.update(tables, changed)) stale.add(name);
    if (changed.masquerade !== undefined || this.#shared.get(MASQUERADE_ID) === undefined) this.#updateMasquerade(tables, shared);
    return {
      shared, nodes: this.#recompileNodes(stale), endpoints: new Set(endpoints.keys()),
      subjects: new Set([...policies, ...[...endpoints.values()].flatMap(({before, after}) => [before?.identity ?? [], after?.identity ?? []].flat())]),
      identitiesChanged: pods.size > 0 || identities.size > 0,
    };
  }

  /** Nodes with at least one endpoint of `subject`. */
  nodesOf(subject: IdentityId): ReadonlySet<string> {
    const nodes = new Set<string>();
    for (const key of this.identities.podsOf(subject)) {
      const node = this.endpoints.all.get(key)?.node ?? null;
      if (node !== null) nodes.add(node);
    }
    return nodes;
  }

  #setShared(id: string, item: Resource | null, out: Map<string, Resource | null>): void {
    if (item?.version === this.#shared.get(id)?.version) return;
    if (item === null) this.#shared.delete(id);
    else this.#shared.set(id, item);
    out.set(id, item);
  }

  #updateIdentities(tables: Tables, identities: ReadonlySet<IdentityId>, out: Map<string, Resource | null>): void {
    for (const id of identities) {
      const labels = tables.identities.get(String(id))?.labels ?? null;
      this.#members.setIdentity(id, labels);
      const workloads = [...this.identities.podsOf(id)].flatMap((key) => this.identities.workloads.get(key) ?? []);
      const namedPorts = sharedNamedPorts(workloads);
      const value = labels === null ? null : {id, labels: labels.format(), ...(namedPorts.length === 0 ? {} : {namedPorts})};
      this.#setShared(resourceId({kind: 'identity', key: String(id)}), value === null ? null : resource('identity', String(id), value), out);
    }
  }

  #updateEndpoints(changes: ReadonlyMap<string, {before: Endpoint | null; after: Endpoint | null}>, stale: Set<string>): void {
    for (const [key, {before, after}] of changes) {
      for (const node of [before?.node, after?.node]) if (typeof node === 'string') stale.add(node);
      if (typeof before?.node === 'string') this.#endpointsOf.get(before.node)?.delete(key);
      if (typeof after?.node !== 'string') continue;
      const keys = this.#endpointsOf.get(after.node) ?? new Set<string>();
      this.#endpointsOf.set(after.node, keys.add(key));
    }
  }

  /** True when the addresses outside the cluster are others. */
  #updateApiServers(tables: Tables, changed: ChangedKeys, stale: Set<string>): boolean {
    if (changed.slices === undefined && changed.nodes === undefined) return false;
    const all = new Set([...tables.slices.keysBy('service', API_SERVER_SERVICE)].flatMap((key) => tables.slices.get(key)?.addresses ?? []));
    const external = new Set([...all].filter((address) => tables.nodes.keysBy('address', address).size === 0).flatMap((address) => hostPrefix(address) ?? []));
    if (deepEqual(all, this.#apiServers) && deepEqual(external, this.#external)) return false;
    for (const prefix of this.#external) if (!external.has(prefix)) this.#members.setPrefix(prefix, null);
    const claims = new Map<string, Claim>();
    for (const prefix of external) {
      const labels = ['reserved:kube-apiserver', ...prefixLabels(prefix)].sort();
      this.#members.setPrefix(prefix, Labels.parse(labels));
      claims.set(prefix, {kind: 'external', entry: {prefix, identity: null, labels, tunnelEndpoint: null, local: false}});
    }
    this.#ipcache.set('apiserver', claims);
    this.#apiServers = all;
    this.#external = external;
    for (const node of this.#nodes.keys()) stale.add(node);
    for (const node of tables.nodes.keys()) this.#claimNode(node);
    return true;
  }

  /** Views stay the same objects until they change. */
  #updateViews(tables: Tables, changed: ChangedKeys): void {
    for (const name of new Set([...changed.nodes ?? [], ...changed.nodeReports ?? [], ...changed.ciliumNodes ?? []])) {
      const view = nodeView(tables, name);
      if (view === null) this.#views.delete(name);
      else if (!deepEqual(view, this.#views.get(name))) this.#views.set(name, view);
    }
  }

  #updateNodes(tables: Tables, changed: ChangedKeys, out: {shared: Map<string, Resource | null>; stale: Set<string>}): void {
    const names = new Set([...changed.nodes ?? [], ...changed.nodeReports ?? [], ...changed.ciliumNodes ?? []]);
    if (names.size === 0) return;
    for (const name of names) {
      const view = this.#views.get(name);
      this.#setShared(resourceId({kind: 'node', key: name}), view === undefined ? null : nodeResource(view), out.shared);
      this.#claimNode(name);
      out.stale.add(name);
    }
    const podCidrs = [...new Set([...tables.nodes.values()].flatMap((node) => node.podCidrs))].sort().flatMap((cidr) => parsePrefix(cidr) ?? []);
    if (deepEqual(podCidrs, this.#podCidrs)) return;
    this.#podCidrs = podCidrs;
    // A prefix that a policy names may be a pods' prefix from now on, or no longer.
    for (const node of this.#nodes.keys()) out.stale.add(node);
  }

  #claimNode(name: string): void {
    const view = this.#views.get(name);
    const claims = view === undefined ? new Map<string, Claim>()
      : nodeClaims(view, {tunnel: this.#options.routingMode === 'tunnel', apiServers: this.#apiServers});
    this.#ipcache.set(`node ${name}`, claims);
  }

  #updatePodClaims(changed: ChangedKeys, endpoints: Iterable<string>): void {
    const keys = new Set(endpoints);
    for (const node of changed.nodes ?? []) for (const key of this.#endpointsOf.get(node) ?? []) keys.add(key);
    for (const key of keys) {
      const claims = new Map<string, Claim>();
      const endpoint = this.endpoints.all.get(key);
      const address = this.#views.get(endpoint?.node ?? '')?.address ?? '';
      const tunnelEndpoint = this.#options.routingMode === 'tunnel' && address !== '' ? address : null;
      for (const own of endpoint?.addresses ?? []) {
        const prefix = hostPrefix(own);
        if (prefix !== null && endpoint !== undefined) claims.set(prefix, {kind: 'pod', entry: ipCacheEntry(prefix, addressIdentity(endpoint), tunnelEndpoint)});
      }
      this.#ipcache.set(`pod ${key}`, claims);
    }
  }

  /** What names stand for is settled first: the prefixes that a policy needs follow from it. */
  #updatePolicies(tables: Tables, changed: ChangedKeys, identities: ReadonlySet<IdentityId>): ReadonlySet<IdentityId> {
    this.policies.take(tables, changed);
    const different = this.#sources.update(tables, changed, this.policies.sourcesInUse());
    for (const id of different) this.#members.setMeaning(id, this.#sources.meaning(id));
    return this.policies.update(changed, this.#subjectChanges(tables, identities), different);
  }

  /** Identities that pods have or had: their labels, or null when no pod has them now. */
  #subjectChanges(tables: Tables, identities: ReadonlySet<IdentityId>): Map<IdentityId, Labels | null> {
    return new Map([...identities].map((id) => {
      const used = this.identities.podsOf(id).size > 0;
      return [id, used ? tables.identities.get(String(id))?.labels ?? null : null];
    }));
  }

  /** Has the members of every selector in use kept up to date, over every prefix in use. */
  #trackReferences(externalBefore: ReadonlySet<string>): void {
    const {selectors, prefixes} = this.policies.takeReferenceChanges();
    // What was or is an API server's address is labelled as such, and by policies otherwise.
    for (const prefix of new Set([...prefixes, ...externalBefore])) {
      if (this.#external.has(prefix)) continue;
      this.#members.setPrefix(prefix, this.policies.isPrefixInUse(prefix) ? Labels.parse(prefixLabels(prefix)) : null);
    }
    for (const id of selectors) {
      if (this.policies.isSelectorInUse(id)) this.#members.track(id);
      else this.#members.untrack(id);
    }
  }

  #publishIpCache(out: Map<string, Resource | null>, stale: Set<string>): void {
    for (const [prefix, entry] of this.#ipcache.takeChanged()) {
      this.#setShared(resourceId({kind: 'ipcache', key: prefix}), entry, out);
      // A prefix that policies name belongs to a pod or a node from now on, or no longer.
      if (this.policies.isPrefixInUse(prefix)) for (const node of this.#nodes.keys()) stale.add(node);
    }
  }

  #updateMasquerade(tables: Tables, shared: Map<string, Resource | null>): void {
    const [fact = null] = tables.masquerade.values();
    const item = compileMasquerade(fact);
    this.#setShared(resourceId(item), item, shared);
  }

  #recompileNodes(stale: ReadonlySet<string>): Map<string, ReadonlyMap<string, Resource | null>> {
    const all = new Map<string, ReadonlyMap<string, Resource | null>>();
    for (const name of stale) {
      const before = this.#nodes.get(name);
      const view = this.#views.get(name);
      const after = view === undefined ? null : this.#compileNode(name, view);
      if (after === null) this.#nodes.delete(name);
      else this.#nodes.set(name, {name, ...after});
      const changes = differences(before?.resources ?? NO_RESOURCES, after?.resources ?? NO_RESOURCES);
      if (changes.size > 0) all.set(name, changes);
    }
    return all;
  }

  #compileNode(name: string, view: NodeView): NodeLayer {
    const endpoints = [...this.#endpointsOf.get(name) ?? []].flatMap((key) => this.endpoints.all.get(key) ?? []);
    const speaker = this.speakers.resource(name);
    return nodeLayer({view, endpoints, speaker}, {
      memo: this.#memo, members: this.#members, ipcache: this.#ipcache, subjects: this.policies.compiled, prefixEntries: this.policies.prefixEntries,
      podCidrs: this.#podCidrs, apiServers: this.#apiServers, everywhere: this.#external,
    }, this.#options);
  }
}

function differences(before: ReadonlyMap<string, Resource>, after: ReadonlyMap<string, Resource>): Map<string, Resource | null> {
  const changes = new Map<string, Resource | null>();
  for (const id of before.keys()) if (!after.has(id)) changes.set(id, null);
  for (const [id, item] of after) if (before.get(id)?.version !== item.version) changes.set(id, item);
  return changes;
}

function intersects<T>(a: ReadonlySet<T>, b: ReadonlySet<T>): boolean {
  const [small, large] = a.size < b.size ? [a, b] : [b, a];
  for (const item of small) if (large.has(item)) return true;
  return false;
}
