// Prefixes that come from Services and pod pools, by node. Traffic policy Cluster: every node announces an address; Local: the nodes
// with an endpoint that takes new connections. A prefix that several Services give is one, and stays as long as one of them gives it.

import {deepEqual} from '../../lib/core/equal.js';
import {formatPrefix, parseAddress, prefixOf} from '../../lib/core/ip.js';
import {compareStrings} from '../../lib/core/order.js';
import {BGP_CLASS, type ExposedService, type TrafficPolicy} from '../../lib/domain/exposed-service.js';
import type {Labels} from '../../lib/domain/labels.js';
import {matches, selectorKey, type Selector} from '../../lib/domain/selector.js';
import {arrangePools, familyOf, holds, numberOf, type AddressRange} from '../../lib/lbipam/pools.js';
import type {ServiceAddressType, ServiceSelection} from '../model/bgp-facts.js';
import type {ChangedKeys, Tables} from '../model/tables.js';
import type {Candidate, RouteSource} from './bgp-routes.js';

interface Offer {
  readonly service: ExposedService;
  /** With a usable endpoint. */
  readonly nodes: ReadonlySet<string>;
}

interface Selected {
  readonly selection: ServiceSelection;
  /** null = to be made anew. */
  content: {readonly everywhere: readonly Candidate[]; readonly byNode: ReadonlyMap<string, readonly Candidate[]>} | null;
}

const ADDRESS_TYPES: readonly ServiceAddressType[] = ['LoadBalancerIP', 'ExternalIP', 'ClusterIP'];
const NO_NODES: ReadonlySet<string> = new Set();

export class ServiceRoutes implements RouteSource {
  readonly #offers = new Map<string, Offer>();
  /** What was asked for since the BGP objects changed last. */
  readonly #selections = new Map<string, Selected>();
  /** By slice: one that is gone does not say whose it was. */
  readonly #serviceOf = new Map<string, string>();
  #ranges: readonly AddressRange[] = [];
  #podIpPools: Tables['podIpPools'] | null = null;
  #ciliumNodes: Tables['ciliumNodes'] | null = null;

  /** Nodes whose answers may be others now. */
  update(tables: Tables, changed: ChangedKeys): ReadonlySet<string> | 'all' {
    this.#podIpPools = tables.podIpPools;
    this.#ciliumNodes = tables.ciliumNodes;
    if (changed.bgpPolicies !== undefined || changed.bgpAdvertisements !== undefined) this.#selections.clear();
    const stale = new Set<string>(changed.ciliumNodes ?? []);
    let all = changed.podIpPools !== undefined;
    if (changed.lbPools !== undefined) {
      this.#ranges = arrangePools(tables.lbPools.values()).ranges;
      all = true;
      for (const selected of this.#selections.values()) selected.content = null;
    }
    for (const key of this.#changedServices(tables, changed)) {
      const before = this.#offers.get(key);
      const after = offerOf(tables, key);
      if (after === undefined) this.#offers.delete(key);
      else this.#offers.set(key, after);
      const affected = affectedNodes(before, after);
      if (affected !== 'all' && affected.size === 0) continue;
      if (!this.#forget(before, after)) continue;
      if (affected === 'all') all = true;
      else for (const node of affected) stale.add(node);
    }
    return all ? 'all' : stale;
  }

  services(selection: ServiceSelection): readonly Candidate[] {
    return this.#contentOf(selection).everywhere;
  }

  localServices(node: string, selection: ServiceSelection): readonly Candidate[] {
    return this.#contentOf(selection).byNode.get(node) ?? [];
  }

  #contentOf(selection: ServiceSelection): NonNullable<Selected['content']> {
    const key = `${selectorKey(selection.selector)} ${selection.addresses.join()} ${String(selection.aggregation.ipv4)} ${String(selection.aggregation.ipv6)}`;
    const selected = this.#selections.get(key) ?? {selection, content: null};
    this.#selections.set(key, selected);
    return selected.content ??= this.#select(selection);
  }

  podIpPools(node: string, selector: Selector): readonly Candidate[] {
    const pools = this.#ciliumNodes?.get(node)?.pools ?? [];
    return pools.flatMap(({pool, prefix}): Candidate[] => {
      const fact = this.#podIpPools?.get(pool);
      return fact === undefined || !matches(selector, fact.labels) ? [] : [{prefix, origin: fact.ref, from: 'CiliumPodIPPool', labels: fact.labels}];
    }).sort((a, b) => compareStrings(a.prefix, b.prefix));
  }

  #changedServices(tables: Tables, changed: ChangedKeys): ReadonlySet<string> {
    const keys = new Set(changed.exposedServices);
    for (const slice of changed.backends ?? []) {
      const [before, after] = [this.#serviceOf.get(slice), tables.backends.get(slice)?.service];
      if (before !== undefined) keys.add(before);
      if (after === undefined) this.#serviceOf.delete(slice);
      else {
        keys.add(after);
        this.#serviceOf.set(slice, after);
      }
    }
    return keys;
  }

  /** True when somebody has asked for one of the two. */
  #forget(before: Offer | undefined, after: Offer | undefined): boolean {
    let asked = false;
    for (const selected of this.#selections.values()) {
      const {selector} = selected.selection;
      if (![before, after].some((offer) => offer !== undefined && matches(selector, offer.service.labels))) continue;
      selected.content = null;
      asked = true;
    }
    return asked;
  }

  #select(selection: ServiceSelection): NonNullable<Selected['content']> {
    const everywhere = new Map<string, Candidate>();
    const local = new Map<string, Map<string, Candidate>>();
    for (const [, {service, nodes}] of [...this.#offers].sort(([a], [b]) => compareStrings(a, b))) {
      if (!matches(selection.selector, service.labels)) continue;
      for (const type of selection.addresses) {
        for (const address of addressesOf(service, type)) {
          const isLocal = trafficPolicy(service, type) === 'Local';
          const prefix = prefixToAnnounce(address, isLocal ? null : selection.aggregation);
          const candidate: Candidate = {prefix, origin: service.ref, from: 'CiliumLoadBalancerIPPool', labels: this.#poolLabels(address)};
          if (!isLocal) setFirst(everywhere, candidate);
          else for (const node of nodes) setFirst(entryOf(local, node), candidate);
        }
      }
    }
    const byNode = new Map([...local].map(([node, all]) => [node, [...all.values()].filter(({prefix}) => !everywhere.has(prefix))] as const));
    return {everywhere: [...everywhere.values()].sort((a, b) => compareStrings(a.prefix, b.prefix)), byNode};
  }

  #poolLabels(address: string): Labels | null {
    if (this.#ranges.length === 0) return null;
    const family = familyOf(address);
    const value = numberOf(address);
    return this.#ranges.find((range) => holds(range, family, value))?.pool.labels ?? null;
  }
}

function offerOf(tables: Tables, key: string): Offer | undefined {
  const service = tables.exposedServices.get(key);
  if (service === undefined) return undefined;
  const slices = tables.backends.keysBy('service', key);
  return {service, nodes: slices.size === 0 ? NO_NODES : new Set([...slices].flatMap((slice) => tables.backends.get(slice)?.nodes ?? []))};
}

/** Where an answer may be another one, whatever is selected. */
function affectedNodes(before: Offer | undefined, after: Offer | undefined): ReadonlySet<string> | 'all' {
  const [a, b] = [before === undefined ? null : announced(before), after === undefined ? null : announced(after)];
  if (!deepEqual(a, b)) return 'all';
  const isLocal = after !== undefined && ADDRESS_TYPES.some((type) => trafficPolicy(after.service, type) === 'Local');
  if (!isLocal || before === undefined) return NO_NODES;
  return new Set([...before.nodes, ...after.nodes].filter((node) => before.nodes.has(node) !== after.nodes.has(node)));
}

/** What decides about announcements, besides the nodes. A Service without addresses announces nothing, whatever its labels are. */
function announced({service}: Offer): unknown {
  const addresses = ADDRESS_TYPES.map((type) => [addressesOf(service, type), trafficPolicy(service, type)] as const);
  return addresses.every(([all]) => all.length === 0) ? null : [addresses, service.labels.key, service.ref];
}

function addressesOf(service: ExposedService, type: ServiceAddressType): readonly string[] {
  switch (type) {
    case 'LoadBalancerIP': {
      const isOurs = service.loadBalancerClass === null || service.loadBalancerClass === BGP_CLASS;
      return service.type === 'LoadBalancer' && isOurs ? service.ingress : [];
    }
    case 'ExternalIP':
      return service.externalIps;
    case 'ClusterIP':
      return service.clusterIps;
  }
}

function trafficPolicy(service: ExposedService, type: ServiceAddressType): TrafficPolicy {
  return type === 'ClusterIP' ? service.internalTrafficPolicy : service.externalTrafficPolicy;
}

/** An address that only some nodes announce is never part of a larger prefix. */
function prefixToAnnounce(address: string, aggregation: ServiceSelection['aggregation'] | null): string {
  const isV6 = familyOf(address) === 6;
  const length = (isV6 ? aggregation?.ipv6 : aggregation?.ipv4) ?? null;
  const parsed = length === null ? null : parseAddress(address);
  return parsed === null || length === null ? `${address}/${isV6 ? 128 : 32}` : formatPrefix(prefixOf(parsed, length));
}

function setFirst(into: Map<string, Candidate>, candidate: Candidate): void {
  if (!into.has(candidate.prefix)) into.set(candidate.prefix, candidate);
}

function entryOf(map: Map<string, Map<string, Candidate>>, key: string): Map<string, Candidate> {
  const entry = map.get(key) ?? new Map<string, Candidate>();
  map.set(key, entry);
  return entry;
}
