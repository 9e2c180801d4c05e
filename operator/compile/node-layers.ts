// What each node holds beyond what all nodes hold: its configuration, endpoints, their policies, the selectors and prefixes that these
// refer to, its speaker, and the entries that differ on it (its own addresses; nothing is tunnelled to itself).
//
// `#whole` says what a layer is. What happens often (an endpoint comes or goes, a policy or a selector's members change) is told as
// an edit of it; what happens rarely, or moves prefixes, has the layer made anew, and the store finds what is different.

import {contains, parsePrefix, type Prefix} from '../../lib/core/ip.js';
import {resource} from '../../lib/desired/diff.js';
import type {Resource} from '../../lib/desired/node-state.js';
import {IDENTITY_HOST, IDENTITY_INIT, IDENTITY_UNMANAGED, identityId, type IdentityId} from '../../lib/domain/identity.js';
import {Labels} from '../../lib/domain/labels.js';
import {matcherOf, type SelectorMembers} from '../../lib/policy/members.js';
import {gone, type LayerChange, type ResourceChange} from '../../lib/desired/changes.js';
import {endpointResource, type EndpointChange} from './endpoints.js';
import {hostPrefix, ipCacheEntry, routerAddresses, type IpCache, type IpCacheChange, type NodeView} from './ipcache.js';
import {nodeConfigResource, type NodeOptions} from './nodes.js';
import {Roster, type PodRecord} from './pod-records.js';
import type {CompiledSubject, Policies, SelectorUse, SubjectChange} from './policy.js';

export interface NodeLayerParts {
  readonly members: SelectorMembers;
  readonly ipcache: IpCache;
  readonly policies: Policies;
  readonly speakerOf: (node: string) => Resource;
  readonly cluster: () => ClusterFacts;
}

/** What concerns every node. */
export interface ClusterFacts {
  /** All PodCIDRs of the cluster. */
  readonly podCidrs: readonly Prefix[];
  readonly apiServers: ReadonlySet<string>;
  /** Prefixes known on every node, as that of an API server outside the cluster. */
  readonly everywhere: ReadonlySet<string>;
}

/** A node that has a Node object, or endpoints that say so. */
export interface HeldNode {
  readonly name: string;
  /** Null as long as there is no such Node: nothing is told of it. */
  view: NodeView | null;
  readonly endpoints: Roster;
  readonly subjects: Map<IdentityId, HeldSubject>;
  stale: boolean;
  told: boolean;
  edits: ResourceChange[];
}

interface HeldSubject {
  /** Endpoints of it on the node. */
  count: number;
  /** What the node's selectors were counted by. */
  compiled: CompiledSubject | null;
}

const API_SERVER_HOST = Labels.parse(['reserved:host', 'reserved:kube-apiserver']);
const NO_SELECTORS: readonly SelectorUse[] = [];

export class NodeLayers {
  readonly #options: NodeOptions;
  readonly #parts: NodeLayerParts;
  readonly #nodes = new Map<string, HeldNode>();
  /** Nodes with something to tell. */
  readonly #touched = new Set<HeldNode>();
  /** Subjects that came to a node or left one. */
  #moved = new Set<IdentityId>();
  readonly #ofViews = new WeakMap<NodeView, readonly Resource[]>();

  constructor(options: NodeOptions, parts: NodeLayerParts) {
    this.#options = options;
    this.#parts = parts;
  }

  names(): Iterable<string> {
    return this.#nodes.keys();
  }

  endpointsOf(node: string): readonly PodRecord[] {
    return this.#nodes.get(node)?.endpoints.records ?? [];
  }

  setView(name: string, view: NodeView | null): void {
    const node = this.#nodeOf(name);
    node.view = view;
    this.#invalidate(node);
    this.#forgetUnused(node);
  }

  /** The layer of the node is made anew. */
  invalidate(name: string): void {
    const node = this.#nodes.get(name);
    if (node !== undefined) this.#invalidate(node);
  }

  invalidateAll(): void {
    for (const node of this.#nodes.values()) this.#invalidate(node);
  }

  moveEndpoint({record, before, after}: EndpointChange): void {
    const {node: from} = record;
    const to = after === null || after.node === null ? null : from?.name === after.node ? from : this.#nodeOf(after.node);
    if (from !== null && from !== to) {
      from.endpoints.remove(record);
      record.node = null;
      this.#hold(from, record, null);
      this.#forgetUnused(from);
    }
    if (to === null || after === null) return;
    if (record.node === null) {
      record.node = to;
      to.endpoints.add(record);
    }
    const isSame = record.held !== null && before !== null && before.workload === after.workload && before.identity === after.identity;
    if (!isSame) this.#hold(to, record, endpointResource(after));
  }

  changeSubject(id: IdentityId, {after}: SubjectChange, nodes: Iterable<string>): void {
    for (const name of id === IDENTITY_INIT ? this.#nodes.keys() : nodes) {
      const node = this.#nodes.get(name);
      const subject = node?.subjects.get(id);
      if (node === undefined || subject === undefined || subject.compiled === after) continue;
      this.#exchange(node, subject.compiled, after);
      subject.compiled = after;
    }
  }

  /** The selector's members are others. */
  changeSelector(use: SelectorUse): void {
    for (const node of use.nodes.keys()) this.#putSelector(node, use);
  }

  changeLocal({prefix, localBefore, local}: IpCacheChange): void {
    if (localBefore !== null && localBefore.node !== local?.node) {
      const node = this.#nodes.get(localBefore.node);
      // What the node says of its own prefix shows again.
      if (node?.view?.fact.podCidrs.includes(prefix) === true) this.#invalidate(node);
      else this.#edit(node, gone('ipcache', prefix));
    }
    if (local !== null) this.#edit(this.#nodes.get(local.node), local.resource);
  }

  /** What has changed since the last call. */
  take(): Map<string, LayerChange> {
    const changes = new Map<string, LayerChange>();
    for (const node of this.#touched) {
      if (node.view === null) {
        if (node.told) changes.set(node.name, {kind: 'gone'});
      } else if (node.stale) changes.set(node.name, {kind: 'replace', resources: this.#whole(node, node.view)});
      else if (node.edits.length > 0) changes.set(node.name, {kind: 'edit', changes: node.edits});
      node.told = node.view !== null;
      node.stale = false;
      node.edits = [];
    }
    this.#touched.clear();
    return changes;
  }

  /** Subjects that some node has now, or has no longer, since the last call. */
  takeMoved(): ReadonlySet<IdentityId> {
    const moved = this.#moved;
    this.#moved = new Set();
    return moved;
  }

  #nodeOf(name: string): HeldNode {
    const held = this.#nodes.get(name);
    if (held !== undefined) return held;
    const made: HeldNode = {name, view: null, endpoints: new Roster('nodeSlot'), subjects: new Map(), stale: true, told: false, edits: []};
    this.#nodes.set(name, made);
    this.#acquire(made, IDENTITY_INIT);
    return made;
  }

  #forgetUnused(node: HeldNode): void {
    if (node.view !== null || node.endpoints.size > 0) return;
    this.#release(node, IDENTITY_INIT);
    this.#nodes.delete(node.name);
  }

  #invalidate(node: HeldNode): void {
    node.stale = true;
    this.#touched.add(node);
  }

  #edit(node: HeldNode | undefined, change: ResourceChange): void {
    if (node === undefined || node.stale || node.view === null) return;
    node.edits.push(change);
    this.#touched.add(node);
  }

  /** The node holds `after` of the endpoint. */
  #hold(node: HeldNode, record: PodRecord, after: Resource | null): void {
    const before = record.held;
    record.held = after;
    if (after !== null) this.#edit(node, after);
    else if (before !== null) this.#edit(node, gone('endpoint', before.key));
    const [left, entered] = [subjectOf(before), subjectOf(after)];
    if (left === entered) return;
    if (entered !== null) this.#acquire(node, entered);
    if (left !== null) this.#release(node, left);
  }

  #acquire(node: HeldNode, id: IdentityId): void {
    const held = node.subjects.get(id);
    if (held !== undefined) {
      held.count++;
      return;
    }
    const compiled = this.#parts.policies.compiled.get(id) ?? null;
    node.subjects.set(id, {count: 1, compiled});
    this.#moved.add(id);
    this.#exchange(node, null, compiled);
  }

  #release(node: HeldNode, id: IdentityId): void {
    const held = node.subjects.get(id);
    if (held === undefined) return;
    held.count--;
    if (held.count > 0) return;
    node.subjects.delete(id);
    this.#moved.add(id);
    this.#exchange(node, held.compiled, null);
  }

  /** The node holds `after` instead of `before`. */
  #exchange(node: HeldNode, before: CompiledSubject | null, after: CompiledSubject | null): void {
    if ((before !== null && before.prefixes.length > 0) || (after !== null && after.prefixes.length > 0)) this.#invalidate(node);
    for (const use of after?.selectors ?? NO_SELECTORS) {
      if (use.nodes.acquire(node)) this.#putSelector(node, use);
    }
    if (after !== null) this.#edit(node, after.resource);
    else if (before !== null) this.#edit(node, gone('policy', before.resource.key));
    for (const use of before?.selectors ?? NO_SELECTORS) {
      if (use.nodes.release(node)) this.#edit(node, gone('selector', use.id));
    }
  }

  /** What the node holds of a selector with prefixes depends on the prefixes that it knows. */
  #putSelector(node: HeldNode, use: SelectorUse): void {
    if (node.stale || node.view === null) return;
    const members = this.#parts.members.members(use.id);
    if (members.prefixes.length > 0 || this.#hostsApiServer(node.view)) this.#invalidate(node);
    else this.#edit(node, this.#selectorResource(use, {prefixes: NO_KNOWN, hostsApiServer: false}));
  }

  #whole(node: HeldNode, view: NodeView): Resource[] {
    const {ipcache, speakerOf, policies} = this.#parts;
    const layer: Resource[] = [speakerOf(node.name), ...this.#ofView(view)];
    for (const {held, endpoint} of node.endpoints.records) {
      if (held !== null) layer.push(held);
      for (const address of this.#options.routingMode === 'tunnel' ? endpoint?.addresses ?? [] : []) {
        const local = ipcache.local(hostPrefix(address));
        if (local?.node === node.name) layer.push(local.resource);
      }
    }
    const prefixes = new Set<string>();
    const selectors = new Set<SelectorUse>();
    for (const {compiled} of node.subjects.values()) {
      if (compiled === null) continue;
      layer.push(compiled.resource);
      for (const prefix of compiled.prefixes) if (!prefixes.has(prefix) && this.#isOutside(prefix)) prefixes.add(prefix);
      for (const use of compiled.selectors) selectors.add(use);
    }
    for (const prefix of prefixes) {
      const entry = policies.prefixEntries.get(prefix);
      if (entry !== undefined) layer.push(entry);
    }
    const hostsApiServer = this.#hostsApiServer(view);
    for (const use of selectors) layer.push(this.#selectorResource(use, {prefixes, hostsApiServer}));
    return layer;
  }

  #ofView(view: NodeView): readonly Resource[] {
    const made = this.#ofViews.get(view) ?? [nodeConfigResource(view, this.#options), ...ownEntries(view, this.#options)];
    this.#ofViews.set(view, made);
    return made;
  }

  #hostsApiServer(view: NodeView): boolean {
    const {apiServers} = this.#parts.cluster();
    return apiServers.size > 0 && view.fact.addresses.some(({ip}) => apiServers.has(ip));
  }

  /** Pods and nodes never match CIDR rules: a prefix of theirs gets no identity of its own. */
  #isOutside(text: string): boolean {
    const prefix = parsePrefix(text);
    return prefix !== null && !this.#parts.ipcache.has(text) && !this.#parts.cluster().podCidrs.some((cidr) => contains(cidr, prefix));
  }

  /** Made once for all nodes that hold the same of it. */
  #selectorResource(use: SelectorUse, known: {prefixes: ReadonlySet<string>; hostsApiServer: boolean}): Resource {
    const members = this.#parts.members.members(use.id);
    if (use.members !== members) {
      use.members = members;
      use.plain = null;
      use.variants = null;
    }
    if (members.prefixes.length === 0 && !known.hostsApiServer) {
      return (use.plain ??= resource('selector', use.id, members));
    }
    const {everywhere} = this.#parts.cluster();
    const prefixes = members.prefixes.filter((prefix) => known.prefixes.has(prefix) || everywhere.has(prefix));
    const host = known.hostsApiServer && !members.identities.includes(IDENTITY_HOST)
      && matcherOf(use.peer).matchesIdentity(IDENTITY_HOST, API_SERVER_HOST);
    const key = `${host ? 'apiserver ' : ''}${prefixes.join(' ')}`;
    use.variants ??= new Map<string, Resource>();
    const identities = host ? [IDENTITY_HOST, ...members.identities].sort((a, b) => a - b).map(identityId) : members.identities;
    const variant = use.variants.get(key) ?? resource('selector', use.id, {id: use.id, identities, prefixes});
    use.variants.set(key, variant);
    return variant;
  }
}

const NO_KNOWN: ReadonlySet<string> = new Set();

function subjectOf(held: Resource | null): IdentityId | null {
  return held?.kind === 'endpoint' ? held.value.identity : null;
}

/** Entries of the node itself that other nodes hold differently. */
function* ownEntries(view: NodeView, options: NodeOptions): Generator<Resource> {
  const own = [...view.fact.addresses.map(({ip}) => ip), ...routerAddresses(view)];
  for (const address of own) {
    const prefix = hostPrefix(address);
    yield resource('ipcache', prefix, {...ipCacheEntry(prefix, IDENTITY_HOST, null), local: true});
  }
  if (options.routingMode !== 'tunnel') return;
  for (const cidr of view.fact.podCidrs) yield resource('ipcache', cidr, ipCacheEntry(cidr, IDENTITY_UNMANAGED, null));
}
