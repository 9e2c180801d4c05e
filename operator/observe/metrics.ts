// The operator's metrics: all names in one place.

import {Metrics, type Counter, type Gauge, type Histogram} from '../../lib/run/metrics.js';

const LATENCY_BUCKETS = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30];

export interface OperatorMetrics {
  readonly compileSeconds: Histogram;
  readonly convergenceSeconds: Histogram;
  readonly spanAckSeconds: Histogram;
  readonly spanAckIncomplete: Counter;
  readonly refused: Counter<'code'>;
  readonly certificateExpirySeconds: Gauge<'certificate'>;
  readonly certificatesIssued: Counter<'how'>;
  readonly sessions: Gauge;
  readonly revision: Gauge;
  readonly policiesPending: Gauge;
  readonly rows: Gauge<'table'>;
  readonly admissionQueue: Gauge;
  readonly leading: Gauge<'name'>;
  readonly unmanagedPods: Gauge;
  readonly nodesDrained: Gauge;
  readonly withdrawalsHeld: Gauge;
  readonly apiCallSeconds: Histogram<'verb' | 'code'>;
  readonly writes: Counter<'kind' | 'verb' | 'result'>;
  readonly writesPending: Gauge;
  readonly lbIpam: {
    readonly conflictingPools: Gauge;
    readonly eventSeconds: Histogram<'event' | 'resource'>;
    readonly ipsAvailable: Gauge<'pool'>;
    readonly ipsUsed: Gauge<'pool'>;
    readonly servicesMatching: Gauge;
    readonly servicesUnsatisfied: Gauge;
  };
  /** Of the pools that this operator cuts PodCIDRs out of. */
  readonly podCidrs: {
    readonly available: Gauge<'pool'>;
    readonly used: Gauge<'pool'>;
    readonly nodesWithout: Gauge;
  };
  /** Before every scrape. */
  onScrape(collect: () => void): void;
  render(): Promise<string>;
  readonly contentType: string;
}

export function createMetrics(): OperatorMetrics {
  const process = new Metrics({prefix: 'cilium_operator_', processMetrics: true});
  const own = new Metrics({prefix: 'stentor_operator_'});
  return {
    compileSeconds: own.histogram({name: 'compile_seconds', help: 'Time to compile one batch of changes', buckets: LATENCY_BUCKETS}),
    convergenceSeconds: own.histogram({name: 'convergence_seconds', help: 'From an event to the last acknowledgement of what it changed', buckets: LATENCY_BUCKETS}),
    spanAckSeconds: own.histogram({name: 'endpoint_span_ack_seconds', help: 'From an endpoint’s report to its entry on all nodes', buckets: LATENCY_BUCKETS}),
    spanAckIncomplete: own.counter({name: 'endpoint_span_ack_incomplete_total', help: 'Endpoints that went on before their entry was on all nodes'}),
    refused: own.counter({name: 'sessions_refused_total', help: 'Clients that were turned away', labels: ['code']}),
    certificateExpirySeconds: own.gauge({name: 'certificate_expiry_seconds', help: 'Until the operator’s certificate (server) and its CA (ca) expire', labels: ['certificate']}),
    certificatesIssued: own.counter({name: 'certificates_issued_total', help: 'Certificates issued for nodes', labels: ['how']}),
    sessions: own.gauge({name: 'sessions', help: 'Agents connected'}),
    revision: own.gauge({name: 'revision', help: 'Revision of the desired state'}),
    policiesPending: own.gauge({name: 'policies_pending', help: 'Policies not in force on every node concerned'}),
    rows: own.gauge({name: 'table_rows', help: 'Objects known, by table', labels: ['table']}),
    admissionQueue: own.gauge({name: 'snapshot_queue', help: 'Agents that wait for their first state'}),
    leading: process.gauge({name: 'leader_election_master_status', help: 'Whether this replica serves', labels: ['name']}),
    unmanagedPods: process.gauge({name: 'unmanaged_pods', help: 'Running pods that no agent has reported'}),
    nodesDrained: own.gauge({name: 'bgp_nodes_drained', help: 'Nodes whose routes are announced with GRACEFUL_SHUTDOWN, or withdrawn'}),
    withdrawalsHeld: own.gauge({name: 'bgp_withdrawals_held', help: 'Paths that would be withdrawn and wait for confirmation'}),
    lbIpam: {
      conflictingPools: process.gauge({name: 'lbipam_conflicting_pools', help: 'CiliumLoadBalancerIPPools that overlap another one and give nothing out'}),
      eventSeconds: process.histogram({
        name: 'lbipam_event_processing_time_seconds', help: 'Time to give addresses out after changes of Services and pools', labels: ['event', 'resource'], buckets: LATENCY_BUCKETS,
      }),
      ipsAvailable: process.gauge({name: 'lbipam_ips_available', help: 'Addresses that a pool can still give out', labels: ['pool']}),
      ipsUsed: process.gauge({name: 'lbipam_ips_used', help: 'Addresses of a pool that Services have', labels: ['pool']}),
      servicesMatching: process.gauge({name: 'lbipam_services_matching', help: 'LoadBalancer Services that get their addresses from pools'}),
      servicesUnsatisfied: process.gauge({name: 'lbipam_services_unsatisfied', help: 'LoadBalancer Services that lack an address they ask for'}),
    },
    podCidrs: {
      available: own.gauge({name: 'pod_cidrs_available', help: 'PodCIDRs that a cluster pool can still give to nodes', labels: ['pool']}),
      used: own.gauge({name: 'pod_cidrs_used', help: 'PodCIDRs of a cluster pool that nodes have', labels: ['pool']}),
      nodesWithout: own.gauge({name: 'nodes_without_pod_cidr', help: 'Nodes that lack a PodCIDR because the cluster pools are full'}),
    },
    apiCallSeconds: own.histogram({name: 'api_call_seconds', help: 'Calls to the API server', labels: ['verb', 'code'], buckets: LATENCY_BUCKETS}),
    writes: own.counter({name: 'writes_total', help: 'Objects written to Kubernetes, or to --output', labels: ['kind', 'verb', 'result']}),
    writesPending: own.gauge({name: 'writes_pending', help: 'Objects that differ from what they should be'}),
    onScrape: (collect) => own.onScrape(collect),
    // Collecting is done by `own`, for both.
    render: async () => {
      const ours = await own.render();
      return `${await process.render()}${ours}`;
    },
    contentType: own.contentType,
  };
}
