// The operator's options: the only reader of the environment here.

import {ACCEPTED_CONFIG_MAP} from '../lib/domain/bgp-names.js';
import {loadConfig, type ConfigOf, type ConfigResult, type OptionTable} from '../lib/run/config.js';

const SERVING = 'Serving';
const CLUSTER = 'The cluster';
const LIMITS = 'Limits';

export const OPTIONS = {
  config: {kind: 'string', default: '', help: 'file with these options'},
  'log-level': {kind: 'string', default: 'info', values: ['error', 'warn', 'info', 'debug'], help: 'what is logged'},
  kubeconfig: {kind: 'string', default: '', group: CLUSTER, help: 'how to reach the API server; empty: KUBECONFIG, then the service account'},
  input: {kind: 'list', default: [], group: CLUSTER, help: 'files or folders of manifests, watched, instead of an API server'},
  output: {kind: 'string', default: '', group: CLUSTER, help: 'with --input: folder for what would be written to Kubernetes; read back at the start'},
  'cluster-name': {kind: 'string', default: 'default', pattern: '^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$', group: CLUSTER, help: 'value of the label io.cilium.k8s.policy.cluster'},
  'routing-mode': {kind: 'string', default: 'tunnel', values: ['native', 'tunnel'], group: CLUSTER, help: 'how pods on different nodes reach each other'},
  'tunnel-port': {kind: 'integer', default: 8472, min: 1, max: 65535, group: CLUSTER, help: 'UDP port of VXLAN'},
  ipam: {kind: 'string', default: 'kubernetes', values: ['kubernetes', 'cluster-pool'], group: CLUSTER, help: 'who gives out the nodes’ PodCIDRs: Kubernetes (Node.spec.podCIDRs), or this operator (CiliumNode.spec.ipam.podCIDRs)'},
  'cluster-pool-ipv4-cidr': {kind: 'list', default: [], group: CLUSTER, help: 'with --ipam cluster-pool: what IPv4 PodCIDRs are cut out of, in this order'},
  'cluster-pool-ipv4-mask-size': {kind: 'list', default: ['24'], group: CLUSTER, help: 'length of IPv4 PodCIDRs: one for all pools, or one for each'},
  'cluster-pool-ipv6-cidr': {kind: 'list', default: [], group: CLUSTER, help: 'the same for IPv6, while it is on'},
  'cluster-pool-ipv6-mask-size': {kind: 'list', default: ['112'], group: CLUSTER, help: 'length of IPv6 PodCIDRs: one for all pools, or one for each'},
  'ipv4-native-routing-cidr': {kind: 'string', default: '', pattern: '^$|/', group: CLUSTER, help: 'destinations that are never masqueraded; empty: the node’s own PodCIDRs'},
  'enable-ipv4-masquerade': {kind: 'boolean', default: true, group: CLUSTER, help: 'pods leave the cluster with the address of their node'},
  'enable-ipv6': {kind: 'boolean', default: false, group: CLUSTER, help: 'pods have IPv6 addresses where their node has an IPv6 PodCIDR (agents need the option too), and LoadBalancer Services may get them'},
  'ipv6-native-routing-cidr': {kind: 'string', default: '', pattern: '^$|/', group: CLUSTER, help: 'IPv6 destinations that are never masqueraded; empty: the node’s own PodCIDRs'},
  'enable-ipv6-masquerade': {kind: 'boolean', default: true, group: CLUSTER, help: 'the same for IPv6, while it is on'},
  'enable-policy': {kind: 'string', default: 'default', values: ['default', 'always', 'never'], group: CLUSTER, help: 'when endpoints are isolated'},
  'allow-localhost': {kind: 'string', default: 'auto', values: ['always', 'policy', 'auto'], group: CLUSTER, help: 'whether a node’s own host reaches its pods without a rule (auto: always)'},
  'invalid-policy': {kind: 'string', default: 'isolate', values: ['isolate', 'ignore'], group: CLUSTER, help: 'what a refused policy does to its subjects'},
  labels: {kind: 'string', default: '', group: CLUSTER, help: 'which labels make identities, on top of the default: [source:][!]regex between spaces; an include drops all others'},
  'icmp-type-zero': {kind: 'string', default: 'exact', values: ['exact', 'any'], group: CLUSTER, help: 'what ICMP type 0 in a policy means: echo replies, or (as in Cilium) every type'},
  'ip-masq-configmap': {kind: 'string', default: 'kube-system/ip-masq-agent', pattern: '^[^/]+/[^/]+$', group: CLUSTER, help: 'NAMESPACE/NAME of the masquerading rules'},
  'bgp-secrets-namespace': {kind: 'string', default: 'kube-system', pattern: '^[^/]+$', group: CLUSTER, help: 'where the Secrets lie that BGP objects name for passwords; only those named are read'},
  'bgp-drain-cordoned': {kind: 'boolean', default: false, group: CLUSTER, help: 'a cordoned node is drained: its routes are announced with GRACEFUL_SHUTDOWN (RFC 8326) and (iBGP) local preference 1, later withdrawn'},
  'bgp-drain-time': {kind: 'duration', default: '60s', minMs: 0, group: CLUSTER, help: 'how long a drained node announces so before it withdraws'},
  'bgp-drain-withdraw': {kind: 'string', default: 'redundant', values: ['never', 'redundant', 'all'], group: CLUSTER, help: 'what it withdraws then: nothing, what a node that stays announces as well, or everything'},
  'bgp-not-ready': {kind: 'string', default: 'keep', values: ['keep', 'deprefer', 'withdraw'], group: CLUSTER, help: 'routes of a node that is not ready: as they are, with GRACEFUL_SHUTDOWN, or drained (what no other node announces stays)'},
  'bgp-max-withdraw': {kind: 'string', default: '', pattern: '^(\\d{1,2}(\\.\\d+)?%)?$', group: CLUSTER, help: 'a change of BGP objects that would withdraw a larger share of all paths, such as 20%, waits until somebody confirms it; empty: none does'},
  'bgp-accepted-configmap': {kind: 'string', default: ACCEPTED_CONFIG_MAP, pattern: '^[^/]+/[^/]+$', group: CLUSTER, help: 'NAMESPACE/NAME of the ConfigMap that remembers, for that, what was let through'},
  'default-lb-service-ipam': {kind: 'string', default: 'lbipam', values: ['lbipam', 'nodeipam', 'none'], group: CLUSTER, help: 'who gives addresses to LoadBalancer Services without a class; only lbipam is ours'},
  'install-crds': {kind: 'boolean', default: true, group: CLUSTER, help: 'create and upgrade the CustomResourceDefinitions'},
  listen: {kind: 'string', default: '0.0.0.0:4240', pattern: ':\\d+$', group: SERVING, help: 'gRPC for agents'},
  'http-listen': {kind: 'string', default: '127.0.0.1:9963', group: SERVING, help: '/healthz /readyz /metrics /debug'},
  'tls-dir': {kind: 'string', default: '', group: SERVING, help: 'folder with ca.crt, tls.crt and tls.key of this operator'},
  'ca-dir': {kind: 'string', default: '', group: SERVING, help: 'folder of the CA: it is made when missing, and issues this operator’s certificate'},
  'ca-secret': {kind: 'string', default: 'kube-system/stentor-ca', pattern: '^[^/]+/[^/]+$', group: SERVING, help: 'with an API server and neither folder: NAMESPACE/NAME of the CA’s Secret, made when missing'},
  'certificate-validity': {kind: 'duration', default: '2160h', minMs: 10_000, group: SERVING, help: 'life of the certificates issued here; all are renewed in time'},
  'bootstrap-listen': {kind: 'string', default: '', pattern: '^$|:\\d+$', group: SERVING, help: 'gRPC for agents that have no certificate yet, as in 0.0.0.0:4241; empty: off'},
  'agent-service-account': {kind: 'string', default: 'kube-system/stentor-agent', pattern: '^[^/]+/[^/]+$', group: SERVING, help: 'NAMESPACE/NAME: whose tokens get a first certificate'},
  'server-names': {kind: 'list', default: ['localhost', '127.0.0.1', 'stentor-operator'], group: SERVING, help: 'names and addresses in a server certificate issued here'},
  'lease-namespace': {kind: 'string', default: 'kube-system', group: SERVING, help: 'where the Lease lies'},
  'lease-name': {kind: 'string', default: 'stentor-operator', group: SERVING, help: 'the Lease of the serving replica; empty: no election'},
  'lease-duration': {kind: 'duration', default: '15s', minMs: 1000, group: SERVING, help: 'after which another replica may take over'},
  'lease-renew-deadline': {kind: 'duration', default: '10s', minMs: 500, group: SERVING, help: 'after which the holder gives up'},
  'lease-retry-period': {kind: 'duration', default: '2s', minMs: 100, group: SERVING, help: 'between tries'},
  'advertise-address': {kind: 'string', default: '', group: SERVING, help: 'host:port that standby replicas name to agents; empty: the listen address'},
  'sessions-max': {kind: 'integer', default: 5000, min: 1, max: 100_000, group: LIMITS, help: 'agents at the same time'},
  'snapshots-max': {kind: 'integer', default: 16, min: 1, max: 10_000, group: LIMITS, help: 'agents that get their first state at the same time'},
  'in-flight-max': {kind: 'integer', default: 2, min: 1, max: 64, group: LIMITS, help: 'deltas sent to an agent and not acknowledged'},
  'chunk-bytes': {kind: 'integer', default: 256 << 10, min: 4096, max: 4 << 20, group: LIMITS, help: 'size of one message to an agent'},
  'message-bytes-max': {kind: 'integer', default: 16 << 20, min: 64 << 10, max: 256 << 20, group: LIMITS, help: 'size of one message from an agent'},
  'endpoints-per-node-max': {kind: 'integer', default: 1024, min: 1, max: 65_535, group: LIMITS, help: 'endpoints that one node may report'},
  'bootstraps-max': {kind: 'integer', default: 16, min: 1, max: 1000, group: LIMITS, help: 'tokens that the API server is asked about at the same time'},
  'span-ack-limit': {kind: 'duration', default: '100ms', minMs: 0, maxMs: 60_000, group: LIMITS, help: 'how long CNI ADD waits for the other nodes'},
  'hello-timeout': {kind: 'duration', default: '10s', minMs: 100, group: LIMITS, help: 'for the first message of an agent'},
  'keepalive': {kind: 'duration', default: '10s', minMs: 1000, group: LIMITS, help: 'between pings to a silent agent'},
  'unreachable-after': {kind: 'duration', default: '10s', minMs: 0, group: LIMITS, help: 'how long a lost agent still counts as enforcing'},
  'settle-time': {kind: 'duration', default: '10s', minMs: 0, group: LIMITS, help: 'after the start, how long missing agents leave conditions alone'},
} as const satisfies OptionTable;

const ABOUT = `Stentor operator: computes what every node should hold, and streams it.
Other commands: operator ca issue (certificates), operator render (a node’s state from files); each has --help.`;

export type OperatorConfig = ConfigOf<typeof OPTIONS>;

export function loadOperatorConfig(argv: readonly string[]): Promise<ConfigResult<typeof OPTIONS>> {
  return loadConfig({program: 'operator', about: ABOUT, options: OPTIONS, argv, env: process.env});
}

const RENDER_OPTIONS = {...OPTIONS, node: {kind: 'string', default: '', required: true, help: 'whose state'}} as const;

export function loadRenderConfig(argv: readonly string[]): Promise<ConfigResult<typeof RENDER_OPTIONS>> {
  return loadConfig({program: 'operator render', about: 'Prints the exact state that the operator would stream to a node.', options: RENDER_OPTIONS, argv, env: process.env});
}
