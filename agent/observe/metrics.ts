// The agent's metrics, under Cilium's names where Cilium has one. Values that the kernel counts are read at each scrape.

import type {BgpPeerStatus} from '../../lib/domain/bgp.js';
import {dropReasonText} from '../../lib/domain/drop-reasons.js';
import type {Counter, Metrics} from '../../lib/run/metrics.js';
import type {BpfMap} from '../kernel/bpf.js';
import {eventsLost, eventsLostCount} from '../maps/events.js';
import {forwardedCodec, METRIC_EGRESS, METRIC_INGRESS, METRIC_SERVICE, metricsCodec} from '../maps/metrics.js';

/** What a scrape asks the rest of the agent. */
export interface MetricSources {
  readonly version: string;
  readonly arch: string;
  /** `cilium_metrics`, `cilium_forwarded`. */
  datapathCounters(): {readonly dropped: BpfMap; readonly forwarded: BpfMap};
  eventsLost(): BpfMap;
  endpoints(): {readonly total: number; readonly byState: Readonly<Record<string, number>>; readonly byEnforcement: Readonly<Record<string, number>>};
  identities(): Readonly<Record<'cluster_local' | 'node_local' | 'reserved', number>>;
  policies(): number;
  nodes(): number;
  ipam(): {readonly families: readonly {readonly family: 'ipv4' | 'ipv6'; readonly allocated: number; readonly capacity: number; readonly podCidrs: readonly string[]}[]};
  maps(): readonly {readonly name: string; readonly entries: number; readonly maxEntries: number; readonly writes: number; readonly pending: number}[];
  bgpPeers(): readonly BgpPeerStatus[];
  /** Null while there is no certificate. */
  certificateExpirySeconds(): number | null;
  failing(): number;
  monitorLost(): number;
}

/** What other parts count as it happens. */
export interface AgentMetrics {
  policyImplementation(seconds: number): void;
  apiRequest(path: string, method: string, code: number, seconds: number): void;
  endpointRegeneration(outcome: 'success' | 'fail'): void;
  ipamEvent(action: 'acquire' | 'release'): void;
  conntrackSweep(result: {readonly families: {readonly ipv4: FamilySweep; readonly ipv6: FamilySweep}; readonly intervalMs: number}): void;
  logged(level: 'error' | 'warning'): void;
  spanWait(outcome: 'complete' | 'timeout'): void;
  bgpReconciled(instance: string, errors: number, seconds: number): void;
}

interface FamilySweep {
  readonly tcp: SweepCount;
  readonly any: SweepCount;
  readonly durationMs: number;
}

interface SweepCount {
  readonly alive: number;
  readonly deleted: number;
}

const FAST_SECONDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];
const DIRECTIONS: ReadonlyMap<number, string> = new Map([[METRIC_INGRESS, 'INGRESS'], [METRIC_EGRESS, 'EGRESS'], [METRIC_SERVICE, 'SERVICE']]);

export function declareMetrics(metrics: Metrics, sources: MetricSources): AgentMetrics {
  declareNode(metrics, sources);
  declareDatapath(metrics, sources);
  declareMaps(metrics, sources);
  declareBgp(metrics, sources);
  const implementation = metrics.histogram({
    name: 'policy_implementation_delay', help: 'Seconds from a received change until the kernel holds it', labels: ['source'], buckets: FAST_SECONDS,
  });
  const api = metrics.histogram({
    name: 'agent_api_process_time_seconds', help: 'Seconds a request on the socket took', labels: ['path', 'method', 'return_code'], buckets: FAST_SECONDS,
  });
  const regenerations = metrics.counter({name: 'endpoint_regenerations_total', help: 'Rounds that made the kernel hold the endpoints', labels: ['outcome']});
  const ipamEvents = metrics.counter({name: 'ipam_events_total', help: 'Addresses taken and given back', labels: ['action', 'family']});
  const messages = metrics.counter({name: 'errors_warnings_total', help: 'Lines logged as error or warning', labels: ['level', 'subsystem']});
  const spans = metrics.counter({name: 'endpoint_span_waits_total', help: 'How waiting for other nodes to know a new address ended', labels: ['outcome']});
  const gc = declareConntrack(metrics);
  const bgpReconciled = declareReconcile(metrics);
  return {
    policyImplementation: (seconds) => implementation.observe({source: 'operator'}, seconds),
    apiRequest: (path, method, code, seconds) => api.observe({path, method, return_code: String(code)}, seconds),
    endpointRegeneration: (outcome) => regenerations.add({outcome}),
    ipamEvent: (action) => ipamEvents.add({action, family: 'ipv4'}),
    conntrackSweep: gc,
    bgpReconciled,
    logged: (level) => messages.add({level, subsystem: 'agent'}),
    spanWait: (outcome) => spans.add({outcome}),
  };
}

function declareNode(metrics: Metrics, sources: MetricSources): void {
  const version = metrics.gauge({name: 'version', help: 'What runs', labels: ['version', 'revision', 'arch']});
  version.set({version: sources.version, revision: '', arch: sources.arch}, 1);
  const endpoint = metrics.gauge({name: 'endpoint', help: 'Endpoints of this node'});
  const state = metrics.gauge({name: 'endpoint_state', help: 'Endpoints by state', labels: ['endpoint_state']});
  const enforcement = metrics.gauge({name: 'policy_endpoint_enforcement_status', help: 'Endpoints by enforced directions', labels: ['enforcement']});
  const identity = metrics.gauge({name: 'identity', help: 'Identities known', labels: ['type']});
  const policy = metrics.gauge({name: 'policy', help: 'Subjects whose policy this node holds'});
  const nodes = metrics.gauge({name: 'nodes_all_num', help: 'Nodes known'});
  const addresses = metrics.gauge({name: 'ip_addresses', help: 'Addresses of pods in use', labels: ['family']});
  const capacity = metrics.gauge({name: 'ipam_capacity', help: 'Addresses that pods can have', labels: ['family', 'cidr']});
  const expiry = metrics.gauge({name: 'certificate_expiry_seconds', help: 'Until this node’s certificate for the operator expires', labels: ['certificate']});
  const failing = metrics.gauge({name: 'controllers_failing', help: 'Parts of this agent that cannot do their work'});
  metrics.onScrape(() => {
    const endpoints = sources.endpoints();
    endpoint.set({}, endpoints.total);
    for (const [name, count] of Object.entries(endpoints.byState)) state.set({endpoint_state: name}, count);
    for (const [name, count] of Object.entries(endpoints.byEnforcement)) enforcement.set({enforcement: name}, count);
    for (const [type, count] of Object.entries(sources.identities())) identity.set({type}, count);
    policy.set({}, sources.policies());
    nodes.set({}, sources.nodes());
    const ipam = sources.ipam();
    capacity.clear();
    for (const {family, podCidrs, allocated, capacity: room} of ipam.families) {
      addresses.set({family}, allocated);
      capacity.set({family, cidr: podCidrs.join(',')}, room);
    }
    const seconds = sources.certificateExpirySeconds();
    if (seconds === null) expiry.clear();
    else expiry.set({certificate: 'node'}, seconds);
    failing.set({}, sources.failing());
  });
}

function declareDatapath(metrics: Metrics, sources: MetricSources): void {
  const dropCount = metrics.counter({name: 'drop_count_total', help: 'Packets dropped', labels: ['reason', 'direction']});
  const dropBytes = metrics.counter({name: 'drop_bytes_total', help: 'Bytes of dropped packets', labels: ['reason', 'direction']});
  const forwardCount = metrics.counter({name: 'forward_count_total', help: 'Packets forwarded', labels: ['direction']});
  const forwardBytes = metrics.counter({name: 'forward_bytes_total', help: 'Bytes of forwarded packets', labels: ['direction']});
  const lost = metrics.counter({name: 'monitor_events_lost_total', help: 'Events that could not be told', labels: ['where']});
  const growth = new Growth();
  metrics.onScrape(() => {
    const {dropped, forwarded} = sources.datapathCounters();
    const counts = [...dropped.entries().map((entry) => [metricsCodec, ...entry] as const), ...forwarded.entries().map((entry) => [forwardedCodec, ...entry] as const)];
    for (const [codec, key, bytes] of counts) {
      const {reason, direction} = codec.decodeKey(key);
      const {packets, bytes: size} = codec.decodeValue(bytes);
      if (packets === 0n) continue;
      const id = `${codec.map} ${Buffer.from(key).toString('hex')}`;
      const labels = {direction: DIRECTIONS.get(direction) ?? 'UNKNOWN'};
      const isDrop = reason >= 130;
      if (isDrop) {
        dropCount.add({...labels, reason: dropReasonText(reason)}, growth.since(`${id} packets`, Number(packets)));
        dropBytes.add({...labels, reason: dropReasonText(reason)}, growth.since(`${id} bytes`, Number(size)));
      } else if (reason === 0) {
        forwardCount.add(labels, growth.since(`${id} packets`, Number(packets)));
        forwardBytes.add(labels, growth.since(`${id} bytes`, Number(size)));
      }
    }
    lost.add({where: 'ring'}, growth.since('ring', eventsLostCount(eventsLost(sources.eventsLost()))));
    lost.add({where: 'reader'}, growth.since('reader', sources.monitorLost()));
  });
}

/** Counters that live elsewhere: how much more than at the last look. One that fell has started anew. */
class Growth {
  readonly #last = new Map<string, number>();

  since(id: string, value: number): number {
    const before = this.#last.get(id) ?? 0;
    this.#last.set(id, value);
    return value < before ? value : value - before;
  }
}

function declareMaps(metrics: Metrics, sources: MetricSources): void {
  const pressure = metrics.gauge({name: 'bpf_map_pressure', help: 'Entries of a map over its size', labels: ['map_name']});
  const operations: Counter<'map_name' | 'operation' | 'outcome'> = metrics.counter({
    name: 'bpf_map_ops_total', help: 'Writes to maps', labels: ['map_name', 'operation', 'outcome'],
  });
  const pending = metrics.gauge({name: 'bpf_map_pending', help: 'Writes to maps that wait for another attempt', labels: ['map_name']});
  const growth = new Growth();
  metrics.onScrape(() => {
    for (const {name, entries, maxEntries, writes, pending: waiting} of sources.maps()) {
      pressure.set({map_name: name}, maxEntries === 0 ? 0 : entries / maxEntries);
      operations.add({map_name: name, operation: 'update', outcome: 'success'}, growth.since(name, writes));
      pending.set({map_name: name}, waiting);
    }
  });
}

function declareReconcile(metrics: Metrics): AgentMetrics['bgpReconciled'] {
  const errors = metrics.counter({name: 'bgp_control_plane_reconcile_errors_total', help: 'What could not be made so in a BGP instance', labels: ['instance']});
  const runs = metrics.histogram({
    name: 'bgp_control_plane_reconcile_run_duration_seconds', help: 'Seconds that bringing a BGP instance up to date took', labels: ['instance'], buckets: FAST_SECONDS,
  });
  return (instance, count, seconds) => {
    errors.add({instance}, count);
    runs.observe({instance}, seconds);
  };
}

function declareBgp(metrics: Metrics, sources: MetricSources): void {
  const peerLabels = ['vrouter', 'instance_name', 'local_asn', 'neighbor', 'neighbor_asn'] as const;
  const familyLabels = [...peerLabels, 'afi', 'safi'] as const;
  const session = metrics.gauge({name: 'bgp_control_plane_session_state', help: '1 = established', labels: peerLabels});
  const advertised = metrics.gauge({name: 'bgp_control_plane_advertised_routes', help: 'Routes advertised to a peer', labels: familyLabels});
  const received = metrics.gauge({name: 'bgp_control_plane_received_routes', help: 'Routes received from a peer', labels: familyLabels});
  metrics.onScrape(() => {
    for (const gauge of [session, advertised, received]) gauge.clear();
    for (const peer of sources.bgpPeers()) {
      const labels = {
        vrouter: String(peer.localAsn), instance_name: peer.instance, local_asn: String(peer.localAsn), neighbor: peer.address, neighbor_asn: String(peer.peerAsn),
      };
      session.set(labels, peer.session === 'established' ? 1 : 0);
      for (const family of peer.families) {
        const [afi = '', safi = ''] = family.family.split(/[-/]/);
        advertised.set({...labels, afi, safi}, family.advertised);
        received.set({...labels, afi, safi}, family.received);
      }
    }
  });
}

function declareConntrack(metrics: Metrics): AgentMetrics['conntrackSweep'] {
  const labels = ['family', 'protocol'] as const;
  const runs = metrics.counter({name: 'datapath_conntrack_gc_runs_total', help: 'Sweeps of the connection maps', labels: [...labels, 'status']});
  const entries = metrics.gauge({name: 'datapath_conntrack_gc_entries', help: 'Connections by what the last sweep did', labels: [...labels, 'status']});
  const duration = metrics.histogram({
    name: 'datapath_conntrack_gc_duration_seconds', help: 'Seconds of a sweep', labels: ['family', 'status'], buckets: [0.01, 0.1, 0.5, 1, 5, 10, 60],
  });
  const interval = metrics.gauge({name: 'datapath_conntrack_gc_interval_seconds', help: 'Until the next sweep', labels: ['global']});
  return ({families, intervalMs}) => {
    for (const [family, {tcp, any, durationMs}] of Object.entries(families)) {
      for (const [protocol, count] of [['TCP', tcp], ['non-TCP', any]] as const) {
        runs.add({family, protocol, status: 'completed'});
        entries.set({family, protocol, status: 'alive'}, count.alive);
        entries.set({family, protocol, status: 'deleted'}, count.deleted);
      }
      duration.observe({family, status: 'completed'}, durationMs / 1000);
    }
    interval.set({global: 'global'}, intervalMs / 1000);
  };
}
