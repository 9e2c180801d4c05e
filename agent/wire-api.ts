// What the agent's socket and its metrics say, read from the parts at the time of asking.

import {hidePasswords} from '../lib/core/redact.js';
import type {Family} from '../lib/core/ip.js';
import {single} from '../lib/desired/tables.js';
import {allResources} from '../lib/desired/tables.js';
import type {AgentEndpoint, AgentIdentity, AgentNode, AgentStatus, PolicyOriginsOf} from '../lib/domain/agent-api.js';
import type {BgpPeerStatus} from '../lib/domain/bgp.js';
import {CLUSTER_IDENTITY_MIN, DUAL_STACK, RESERVED_IDENTITIES, identityId, reservedIdentities} from '../lib/domain/identity.js';
import type {Direction, Origin} from '../lib/domain/policy.js';
import type {ApplyError} from '../lib/domain/reports.js';
import type {KernelApply} from './apply/kernel.js';
import type {MapSet} from './apply/map-set.js';
import type {SweepResult} from './apply/conntrack-gc.js';
import {identityOf, podCidrsOf, uplinks} from './compile/input.js';
import type {CompileOptions} from './compile/input.js';
import type {Ipam} from './cni/ipam.js';
import {routerAddress} from './model/pod-cidrs.js';
import type {LocalEndpoint} from './model/local.js';
import {endpointOwner} from './model/local.js';
import type {EventNames} from './observe/events.js';
import type {CertificateStatus} from './stream/certificate.js';
import type {OperatorStatus} from './stream/client.js';
import type {EndpointTable} from './watch/endpoints.js';
import type {LinkWatch} from './watch/links.js';
import type {NodeEngine} from './wire-engine.js';

export interface ViewParts {
  readonly node: string;
  readonly version: string;
  readonly compile: CompileOptions;
  readonly engine: NodeEngine;
  readonly endpoints: EndpointTable;
  readonly links: LinkWatch;
  readonly ipam: Ipam;
  readonly kernel: Pick<KernelApply, 'status'>;
  readonly maps: MapSet;
  readonly operator: () => OperatorStatus;
  readonly peers: () => readonly BgpPeerStatus[];
  readonly lastSweep: () => SweepResult | null;
  readonly features: () => AgentStatus['features'];
  /** Null without an operator. */
  readonly certificate: () => CertificateStatus | null;
}

/** A status that lists every error of a broken node would not be read. */
const ERRORS_SHOWN_MAX = 100;

export class AgentView implements EventNames {
  readonly #parts: ViewParts;
  readonly node: string;

  constructor(parts: ViewParts) {
    this.#parts = parts;
    this.node = parts.node;
  }

  status(): AgentStatus {
    const {engine, ipam, endpoints, version, operator} = this.#parts;
    const {config, compiled} = engine;
    const {connected, address, version: operatorVersion, lastAckSequence} = operator();
    const peers = this.#parts.peers();
    const masquerade = single(engine.held.tables, 'masquerade');
    const controllers = this.controllers();
    return {
      node: this.node, version,
      operator: {connected, address, version: operatorVersion, lastAckSequence, stateVersion: engine.held.version},
      certificate: this.#certificate(),
      routingMode: config?.routingMode ?? null,
      devices: this.devices(),
      masquerade: {
        enabled: config?.enableIPv4Masquerade ?? false, mode: 'bpf', entries: masquerade?.nonMasqueradeCidrs.length ?? 0, source: masquerade?.source ?? null,
        hold: compiled?.kernel.holds.find(({map}) => map === 'cilium_ipmasq_v4')?.reason ?? null,
        revision: [...engine.held.tables.masquerade.values()][0]?.version ?? null, settings: compiled?.masquerade ?? null,
      },
      ipam: ipam.status(),
      endpoints: {total: endpoints.all.size, ready: [...endpoints.all.values()].filter(({state}) => state === 'ready').length},
      maps: this.maps().map(({name, entries, maxEntries}) => ({name, entries, maxEntries})),
      bgp: bgpSummary(peers),
      features: this.#parts.features(),
      errors: engine.errors.slice(0, ERRORS_SHOWN_MAX),
      controllers,
      ok: controllers.every(({ok}) => ok),
    };
  }

  /** Parts that can be unwell, each with its last reason. */
  controllers(): AgentStatus['controllers'] {
    const {engine, kernel, operator} = this.#parts;
    const {connected, lastError} = operator();
    const certificate = this.#parts.certificate();
    const installed = engine.errors.filter(({code}) => code !== 'PENDING');
    return [
      {name: 'operator-session', ok: connected, lastError: connected ? null : (lastError ?? 'not connected yet')},
      ...(certificate === null ? [] : [{name: 'certificate', ok: certificate.lastError === null, lastError: certificate.lastError}]),
      {name: 'desired-state', ok: engine.config !== null, lastError: engine.config === null ? 'no state for this node yet' : null},
      {name: 'apply', ok: installed.length === 0, lastError: firstMessage(installed)},
      ...kernel.status().map(({name, pending, lastError: reason}) => ({name: `apply/${name}`, ok: pending === 0, lastError: reason})),
    ];
  }

  #certificate(): AgentStatus['certificate'] {
    const status = this.#parts.certificate();
    if (status === null) return null;
    const {expiresAtMs, lastError} = status;
    return {expires: expiresAtMs === null ? null : new Date(expiresAtMs).toISOString(), lastError};
  }

  endpointList(): readonly AgentEndpoint[] {
    const {engine, endpoints} = this.#parts;
    return [...endpoints.all.values()].map((endpoint) => {
      const identity = identityOf(engine.held.tables, endpoint);
      return {
        id: endpoint.id, namespace: endpoint.namespace, name: endpoint.name, containerId: endpoint.containerId, identity,
        labels: engine.held.tables.endpoint.get(endpointOwner(endpoint))?.value.labels ?? this.labelsOf(identity),
        ipv4: endpoint.ipv4 ?? '', ipv6: endpoint.ipv6 ?? '', ifname: endpoint.hostIfname, mac: endpoint.mac, policy: this.#enforced(identity),
        isolatedBy: {ingress: this.isolatorsOf(endpoint.id, 'ingress'), egress: this.isolatorsOf(endpoint.id, 'egress')}, state: endpoint.state,
      };
    });
  }

  identities(): readonly AgentIdentity[] {
    const {engine} = this.#parts;
    const cluster = [...engine.held.tables.identity.values()].map(({value}) => ({id: value.id as number, labels: value.labels}));
    const reserved = [...RESERVED_IDENTITIES].map(([id, labels]) => ({id: id as number, labels}));
    const local = [...engine.localIdentities].map(([prefix, id]) => ({id: id as number, labels: this.#localLabels(prefix)}));
    return [...reserved, ...cluster, ...local].sort((a, b) => a.id - b.id);
  }

  nodes(): readonly AgentNode[] {
    return [...this.#parts.engine.held.tables.node.values()].map(({value}) => ({
      name: value.name, ipv4: value.addresses.find((address) => !address.includes(':')) ?? '', podCidr: value.podCidrs[0] ?? '',
      routerAddress: value.routerAddress ?? routerAddress(value.podCidrs),
    }));
  }

  policyOrigins(): readonly PolicyOriginsOf[] {
    return (this.#parts.engine.compiled?.policies ?? []).flatMap(({content, origins}) => [...origins].map(([cookie, list]) => ({
      subject: content.subject, cookie, origins: list.map(({kind, namespace, name, uid, ruleIndex}) => ({kind, namespace, name, uid, ruleIndex})),
    })));
  }

  state(): unknown {
    const {held} = this.#parts.engine;
    return {version: held.version, resources: [...allResources(held.tables)].map((item) => (item.kind === 'speaker' ? hidePasswords(item) : item)), undecodable: [...held.undecodable.values()]};
  }

  maps(): readonly {name: string; entries: number; maxEntries: number; writes: number; pending: number}[] {
    const {kernel, maps} = this.#parts;
    const rows = kernel.status().flatMap(({name, actual, writes, pending}) => {
      const map = [...maps].find(([mapName]) => mapName === name)?.[1];
      return map === undefined ? [] : [{name, entries: actual, maxEntries: map.info().maxEntries, writes, pending}];
    });
    const sweep = this.#parts.lastSweep();
    const counted = [['cilium_ct4_global', sweep?.tcp], ['cilium_ct_any4_global', sweep?.any], ['cilium_snat_v4_external', sweep?.nat]] as const;
    return [...rows, ...counted.map(([name, count]) => ({name, entries: count?.alive ?? 0, maxEntries: maps.get(name)?.info().maxEntries ?? 0, writes: 0, pending: 0}))];
  }

  /** Of interface EventNames. */
  labelsOf(identity: number): readonly string[] {
    const id = identityId(identity);
    const reserved = RESERVED_IDENTITIES.get(id) ?? reservedIdentities(DUAL_STACK).get(id);
    if (reserved !== undefined) return reserved;
    const {engine} = this.#parts;
    const known = engine.held.tables.identity.get(String(identity))?.value;
    if (known !== undefined) return known.labels;
    for (const [prefix, number] of engine.localIdentities) if (number === id) return this.#localLabels(prefix);
    return [];
  }

  podAt(ip: string): string | null {
    for (const endpoint of this.#parts.endpoints.all.values()) if (endpoint.ipv4 === ip || endpoint.ipv6 === ip) return endpointOwner(endpoint);
    return null;
  }

  identityOfEndpoint(endpointId: number): number {
    const endpoint = this.#parts.endpoints.all.get(endpointId);
    return endpoint === undefined ? 0 : identityOf(this.#parts.engine.held.tables, endpoint);
  }

  originsOf(cookie: number): readonly Origin[] {
    for (const {origins} of this.#parts.engine.compiled?.policies ?? []) {
      const found = origins.get(cookie);
      if (found !== undefined) return found;
    }
    return [];
  }

  isolatorsOf(endpointId: number, direction: Direction): readonly Origin[] {
    const {tables} = this.#parts.engine.held;
    return tables.policy.get(String(this.identityOfEndpoint(endpointId)))?.value.isolatedBy?.[direction] ?? [];
  }

  countEndpoints(): {total: number; byState: Record<string, number>; byEnforcement: Record<string, number>} {
    const {endpoints, engine} = this.#parts;
    const byState: Record<string, number> = {creating: 0, ready: 0};
    const byEnforcement: Record<string, number> = {none: 0, ingress: 0, egress: 0, both: 0};
    for (const endpoint of endpoints.all.values()) {
      byState[endpoint.state] = (byState[endpoint.state] ?? 0) + 1;
      const {ingress, egress} = this.#enforced(identityOf(engine.held.tables, endpoint));
      const name = ingress ? (egress ? 'both' : 'ingress') : egress ? 'egress' : 'none';
      byEnforcement[name] = (byEnforcement[name] ?? 0) + 1;
    }
    return {total: endpoints.all.size, byState, byEnforcement};
  }

  countIdentities(): {cluster_local: number; node_local: number; reserved: number} {
    const {engine} = this.#parts;
    const cluster = [...engine.held.tables.identity.values()].filter(({value}) => value.id >= CLUSTER_IDENTITY_MIN).length;
    return {cluster_local: cluster, node_local: engine.localIdentities.size, reserved: RESERVED_IDENTITIES.size};
  }

  devices(): readonly string[] {
    const {engine, links, endpoints, compile} = this.#parts;
    const {config} = engine;
    if (config === null) return [];
    return uplinks({config, options: compile, facts: {endpoints: endpoints.all, links: links.all, localIdentities: engine.localIdentities}}).map(({name}) => name);
  }

  features(): ReturnType<ViewParts['features']> {
    return this.#parts.features();
  }

  routerAddress(family: Family): string | null {
    const {engine, compile} = this.#parts;
    return engine.config === null ? null : routerAddress(podCidrsOf({config: engine.config, options: compile}, family), family);
  }

  #enforced(identity: number): {ingress: boolean; egress: boolean} {
    const policy = this.#parts.engine.held.tables.policy.get(String(identity))?.value;
    return {ingress: policy?.ingressEnforced ?? true, egress: policy?.egressEnforced ?? true};
  }

  #localLabels(prefix: string): readonly string[] {
    return this.#parts.engine.held.tables.ipcache.get(prefix)?.value.labels ?? [`cidr:${prefix}`];
  }
}

function firstMessage(errors: readonly ApplyError[]): string | null {
  const [first] = errors;
  return first === undefined ? null : `${first.kind}/${first.key}: ${first.message}`;
}

function bgpSummary(peers: readonly BgpPeerStatus[]): AgentStatus['bgp'] {
  const instances = new Map<string, {instance: string; asn: number; peers: number; established: number}>();
  for (const {instance, localAsn, session} of peers) {
    const row = instances.get(instance) ?? {instance, asn: localAsn, peers: 0, established: 0};
    row.peers++;
    if (session === 'established') row.established++;
    instances.set(instance, row);
  }
  return [...instances.values()];
}

/** Endpoints whose link went while nobody watched. */
export function goneSince(endpoint: LocalEndpoint, podLinks: ReadonlyMap<string, number>): boolean {
  return podLinks.get(endpoint.hostIfname) !== endpoint.hostIfindex;
}
