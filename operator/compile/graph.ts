// The compiler: tables → what every node should hold. It keeps the compiled pieces and recomputes those whose inputs changed;
// its output is a function of the tables, whatever the order in which they came about.
//
//   pods namespaces identities ─→ identities ─┬─→ endpoints (+ reports) ─┬─→ ipcache ─────────→ shared layer
//   cidrGroups services slices ─→ sources ────┴─→ policy (+ policies) ───┤   nodes masquerade ─→ shared layer
//   identities, prefixes in use ─→ members ──────────────────────────────┴─→ node layers (+ nodes, bgp)

import {deepEqual} from '../../lib/core/equal.js';
import {parsePrefix, type Prefix} from '../../lib/core/ip.js';
import {gone, type DesiredChanges, type ResourceChange} from '../../lib/desired/changes.js';
import {resource} from '../../lib/desired/diff.js';
import type {Families, IdentityId} from '../../lib/domain/identity.js';
import {Labels} from '../../lib/domain/labels.js';
import type {LabelFilter} from '../../lib/domain/label-filter.js';
import type {EnforcementMode} from '../../lib/domain/policy.js';
import {SelectorMembers} from '../../lib/policy/members.js';
import {prefixLabels} from '../../lib/policy/selectors.js';
import {API_SERVER_SERVICE} from '../model/decode/endpoint-slice.js';
import type {ChangedKeys, Tables} from '../model/tables.js';
import {Speakers} from './bgp-speakers.js';
import {addressIdentity, Endpoints, type Endpoint, type EndpointChange} from './endpoints.js';
import {Identities} from './identities.js';
import {claimOf, hostPrefix, IpCache, ipCacheEntry, nodeClaims, type Claim, type NodeView} from './ipcache.js';
import {compileMasquerade} from './masquerade.js';
import {NodeLayers} from './node-layers.js';
import {familiesOf, nodeResource, nodeView, type NodeOptions} from './nodes.js';
import {PodRecords} from './pod-records.js';
import {Policies, type SubjectChange} from './policy.js';
import {Sources} from './sources.js';

export interface CompileOptions extends NodeOptions {
  readonly enforcement: EnforcementMode;
  readonly allowLocalhost: boolean;
  /** Which labels make identities; Cilium's default unless given. */
  readonly labelFilter?: LabelFilter;
  /** Share of all paths that a change of BGP objects may withdraw; null = any. */
  readonly bgpMaxWithdraw?: number | null;
}

/** What nodes may hold differently now, and what else follows from the change. */
export interface CompiledChanges extends DesiredChanges {
  /** Endpoints that are others now. */
  readonly endpoints: readonly EndpointChange[];
  /** Subjects whose policy is another one now. */
  readonly policies: ReadonlyMap<IdentityId, SubjectChange>;
  /** Subjects that came to a node or left one. */
  readonly moved: ReadonlySet<IdentityId>;
  /** Numbers whose CiliumIdentity should exist with other labels, or should no longer. */
  readonly identities: ReadonlySet<IdentityId>;
}

const NO_PREFIXES: ReadonlySet<string> = new Set();

export class Compiler {
  readonly families: Families;
  readonly identities: Identities;
  readonly endpoints: Endpoints;
  readonly policies: Policies;
  readonly speakers: Speakers;
  readonly #options: CompileOptions;
  readonly #records = new PodRecords();
  readonly #sources: Sources;
  readonly #members: SelectorMembers;
  readonly #ipcache = new IpCache();
  readonly #layers: NodeLayers;
  readonly #views = new Map<string, NodeView>();
  #masquerade = false;
  #podCidrs: readonly Prefix[] = [];
  #apiServers: ReadonlySet<string> = new Set();
  /** The API server's addresses that are no node's. */
  #external: ReadonlySet<string> = new Set();

  constructor(options: CompileOptions) {
    this.#options = options;
    this.speakers = new Speakers({maxWithdraw: options.bgpMaxWithdraw ?? null});
    this.families = familiesOf(options);
    this.#members = new SelectorMembers(this.families);
    this.identities = new Identities(options, {records: this.#records});
    this.endpoints = new Endpoints({records: this.#records});
    this.#sources = new Sources({clusterName: options.clusterName});
    this.policies = new Policies({
      families: this.families,
      mode: options.enforcement, allowLocalhost: options.allowLocalhost, meanings: this.#sources.meanings,
      candidates: (anchor) => this.#members.candidates(anchor),
    });
    this.#layers = new NodeLayers(options, {
      members: this.#members, ipcache: this.#ipcache, policies: this.policies,
      speakerOf: (node) => this.speakers.resource(node),
      cluster: () => ({podCidrs: this.#podCidrs, apiServers: this.#apiServers, everywhere: this.#external}),
    });
  }

  /** `changed` names every row of `tables` that is another one than at the last call. */
  update(tables: Tables, changed: ChangedKeys): CompiledChanges {
    const shared: ResourceChange[] = [];
    const {pods, identities, desired} = this.identities.update(tables, changed);
    this.#updateIdentities(tables, identities, shared);
    const endpoints = this.endpoints.update(tables, changed, pods);
    this.#updateViews(tables, changed);
    const externalBefore = this.#external;
    this.#updateApiServers(tables, changed);
    this.#updateNodes(tables, changed, shared);
    this.#updatePodClaims(changed, endpoints);
    const policies = this.#updatePolicies(tables, changed, identities);
    this.#trackReferences(externalBefore === this.#external ? NO_PREFIXES : externalBefore);
    this.#publishIpCache(shared);
    for (const name of this.speakers.update(tables, changed)) this.#layers.invalidate(name);
    this.#updateMasquerade(tables, changed, shared);
    this.#updateLayers(endpoints, policies);
    return {shared, nodes: this.#layers.take(), endpoints, policies, moved: this.#layers.takeMoved(), identities: desired};
  }

  /** Nodes with at least one endpoint of `subject`. */
  nodesOf(subject: IdentityId): ReadonlySet<string> {
    const nodes = new Set<string>();
    for (const {endpoint} of this.identities.podsOf(subject)) if (endpoint !== null && endpoint.node !== null) nodes.add(endpoint.node);
    return nodes;
  }

  #updateIdentities(tables: Tables, identities: ReadonlySet<IdentityId>, shared: ResourceChange[]): void {
    for (const id of identities) {
      const key = String(id);
      const labels = this.identities.labelsOf(tables, id);
      this.#members.setIdentity(id, labels);
      if (labels === null) {
        shared.push(gone('identity', key));
        continue;
      }
      const namedPorts = this.identities.portsOf(id);
      const value = {id, labels: labels.format()};
      shared.push(resource('identity', key, namedPorts.length === 0 ? value : {...value, namedPorts}));
    }
  }

  /** What nodes hold follows from what was settled before: members first, so that whoever comes in finds them. */
  #updateLayers(endpoints: readonly EndpointChange[], policies: ReadonlyMap<IdentityId, SubjectChange>): void {
    for (const id of this.#members.takeChanged()) {
      const use = this.policies.selectorInUse(id);
      if (use !== undefined) this.#layers.changeSelector(use);
    }
    for (const [id, change] of policies) this.#layers.changeSubject(id, change, change.before === null ? [] : this.nodesOf(id));
    for (const change of endpoints) {
      this.#layers.moveEndpoint(change);
      this.#records.forgetEmpty(change.record);
    }
  }

  #updateApiServers(tables: Tables, changed: ChangedKeys): void {
    if (changed.slices === undefined && changed.nodes === undefined) return;
    const all = new Set([...tables.slices.keysBy('service', API_SERVER_SERVICE)].flatMap((key) => tables.slices.get(key)?.addresses ?? []));
    const external = new Set([...all].filter((address) => tables.nodes.keysBy('address', address).size === 0).map(hostPrefix));
    if (deepEqual(all, this.#apiServers) && deepEqual(external, this.#external)) return;
    for (const prefix of this.#external) if (!external.has(prefix)) this.#members.setPrefix(prefix, null);
    const claims = new Map<string, Claim>();
    for (const prefix of external) {
      const labels = ['reserved:kube-apiserver', ...prefixLabels(prefix, this.families)].sort();
      this.#members.setPrefix(prefix, Labels.parse(labels));
      claims.set(prefix, claimOf('external', 'apiserver', {prefix, identity: null, labels, tunnelEndpoint: null, local: false}));
    }
    this.#ipcache.replace('apiserver', claims);
    this.#apiServers = all;
    this.#external = external;
    this.#layers.invalidateAll();
    for (const node of tables.nodes.keys()) this.#claimNode(node);
  }

  /** Views stay the same objects until they change. */
  #updateViews(tables: Tables, changed: ChangedKeys): void {
    for (const name of new Set([...changed.nodes ?? [], ...changed.nodeReports ?? [], ...changed.ciliumNodes ?? []])) {
      const view = nodeView(tables, name);
      if (view === null) this.#views.delete(name);
      else if (!deepEqual(view, this.#views.get(name))) this.#views.set(name, view);
    }
  }

  #updateNodes(tables: Tables, changed: ChangedKeys, shared: ResourceChange[]): void {
    const names = new Set([...changed.nodes ?? [], ...changed.nodeReports ?? [], ...changed.ciliumNodes ?? []]);
    if (names.size === 0) return;
    for (const name of names) {
      const view = this.#views.get(name);
      shared.push(view === undefined ? gone('node', name) : nodeResource(view));
      this.#claimNode(name);
      this.#layers.setView(name, view ?? null);
    }
    if (changed.nodes === undefined) return;
    const podCidrs = [...new Set([...tables.nodes.values()].flatMap((node) => node.podCidrs))].sort().flatMap((cidr) => parsePrefix(cidr) ?? []);
    if (deepEqual(podCidrs, this.#podCidrs)) return;
    this.#podCidrs = podCidrs;
    // A prefix that a policy names may be a pods' prefix from now on, or no longer.
    this.#layers.invalidateAll();
  }

  #claimNode(name: string): void {
    const view = this.#views.get(name);
    const claims = view === undefined ? new Map<string, Claim>()
      : nodeClaims(view, {tunnel: this.#options.routingMode === 'tunnel', apiServers: this.#apiServers});
    this.#ipcache.replace(`node ${name}`, claims);
  }

  #updatePodClaims(changed: ChangedKeys, endpoints: readonly EndpointChange[]): void {
    for (const {record, before, after} of endpoints) {
      if (before === null || after === null || before.addresses !== after.addresses || before.identity !== after.identity || before.node !== after.node) {
        this.#claimPod(record.key, before, after);
      }
    }
    // The tunnel to their node may end somewhere else now.
    for (const node of changed.nodes ?? []) for (const {key, endpoint} of this.#layers.endpointsOf(node)) this.#claimPod(key, endpoint, endpoint);
  }

  #claimPod(key: string, before: Endpoint | null, after: Endpoint | null): void {
    for (const own of before?.addresses ?? []) {
      if (after?.addresses.includes(own) !== true) this.#ipcache.unclaim(hostPrefix(own), {kind: 'pod', source: key});
    }
    if (after === null || after.addresses.length === 0) return;
    const address = this.#options.routingMode === 'tunnel' ? this.#views.get(after.node ?? '')?.address ?? '' : '';
    const tunnelEndpoint = address === '' ? null : address;
    for (const own of after.addresses) {
      const prefix = hostPrefix(own);
      this.#ipcache.claim(prefix, claimOf('pod', key, ipCacheEntry(prefix, addressIdentity(after), tunnelEndpoint), after.node));
    }
  }

  /** What names stand for is settled first: the prefixes that a policy needs follow from it. */
  #updatePolicies(tables: Tables, changed: ChangedKeys, identities: ReadonlySet<IdentityId>): ReadonlyMap<IdentityId, SubjectChange> {
    const stale = this.policies.take(tables, changed);
    const different = this.#sources.update(tables, changed, this.policies.sourcesInUse());
    for (const id of different) this.#members.setMeaning(id, this.#sources.meaning(id));
    return this.policies.update(stale, changed, this.#subjectChanges(tables, identities), different);
  }

  /** Identities that pods have or had: their labels, or null when no pod has them now. */
  #subjectChanges(tables: Tables, identities: ReadonlySet<IdentityId>): Map<IdentityId, Labels | null> {
    const subjects = new Map<IdentityId, Labels | null>();
    for (const id of identities) {
      const used = this.identities.podsOf(id).length > 0;
      subjects.set(id, used ? this.identities.labelsOf(tables, id) : null);
    }
    return subjects;
  }

  /** Has the members of every selector in use kept up to date, over every prefix in use. */
  #trackReferences(externalBefore: ReadonlySet<string>): void {
    const {selectors, prefixes} = this.policies.takeReferenceChanges();
    // What was or is an API server's address is labelled as such, and by policies otherwise.
    for (const prefix of new Set([...prefixes, ...externalBefore])) {
      if (this.#external.has(prefix)) continue;
      this.#members.setPrefix(prefix, this.policies.isPrefixInUse(prefix) ? Labels.parse(prefixLabels(prefix, this.families)) : null);
    }
    for (const {id, peer, users} of selectors) {
      if (users > 0) this.#members.track(id, peer);
      else this.#members.untrack(id);
    }
  }

  #publishIpCache(shared: ResourceChange[]): void {
    for (const change of this.#ipcache.takeChanged()) {
      const {prefix, resource: entry} = change;
      shared.push(entry ?? gone('ipcache', prefix));
      this.#layers.changeLocal(change);
      // A prefix that policies name belongs to a pod or a node from now on, or no longer.
      if (this.policies.isPrefixInUse(prefix)) this.#layers.invalidateAll();
    }
  }

  #updateMasquerade(tables: Tables, changed: ChangedKeys, shared: ResourceChange[]): void {
    if (changed.masquerade === undefined && this.#masquerade) return;
    this.#masquerade = true;
    const [fact = null] = tables.masquerade.values();
    shared.push(compileMasquerade(fact, this.families));
  }
}

/** Policy objects with a subject whose policy, or whose nodes, are others now. */
export function objectsConcerned({moved, policies}: CompiledChanges, compiled: Policies['compiled']): Set<string> {
  const objects = new Set<string>();
  for (const {before, after} of policies.values()) for (const key of [...before?.objects ?? [], ...after?.objects ?? []]) objects.add(key);
  for (const subject of moved) for (const key of compiled.get(subject)?.objects ?? []) objects.add(key);
  return objects;
}
