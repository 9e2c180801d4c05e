// The agent's options. The only reader of its environment.

import {dirname, join} from 'node:path';
import type {ConfigOf, ConfigResult, OptionTable} from '../lib/run/config.js';
import {loadConfig} from '../lib/run/config.js';
import {StentorError} from '../lib/core/errors.js';
import type {LogLevel} from '../lib/run/log.js';
import type {KeyFilePaths} from '../lib/run/tls.js';
import type {CompileOptions} from './compile/input.js';
import {MONITOR_AGGREGATION} from './maps/runtime-config.js';
import type {MapSizes} from './maps/registry.js';
import {IPV6_OFF_SIZES, POLICY_INNER_MAP, SMALL_SIZES, withSizes} from './maps/registry.js';

/** From `dist/agent` to the root of the build. */
const ROOT = join(import.meta.dirname, '..', '..');

const NODE = 'Node';
const OPERATOR = 'Operator';
const KERNEL = 'Kernel';
const MAPS = 'BPF maps (0 = the profile’s size)';
const CONNECTIONS = 'Connections';
const PODS = 'Pods';

const MAP_MAX = 16_777_216;

function mapSize(help: string) {
  return {kind: 'integer', default: 0, min: 0, max: MAP_MAX, help, group: MAPS} as const;
}

function duration(value: string, group: string, help: string) {
  return {kind: 'duration', default: value, help, group} as const;
}

export const AGENT_OPTIONS = {
  'config': {kind: 'string', default: '', help: 'file with options, YAML or JSON', group: NODE},
  'node-name': {kind: 'string', default: '', required: true, help: 'name of this node, as in Kubernetes', group: NODE},
  'state-dir': {kind: 'string', default: '/var/lib/stentor', help: 'what survives a restart', group: NODE},
  'api-socket': {kind: 'string', default: '/var/run/stentor/agent.sock', help: 'socket of the CNI plugin and of stentorctl', group: NODE},
  'metrics-addr': {kind: 'string', default: '0.0.0.0:9962', help: '/metrics, /healthz and /readyz; empty = off', group: NODE},
  'log-level': {kind: 'string', default: 'info', values: ['error', 'warn', 'info', 'debug'], help: 'least severe line that is logged', group: NODE},
  'desired-state': {kind: 'string', default: '', help: 'desired state from a file or folder of JSON (watched) instead of an operator', group: NODE},

  'operator-address': {kind: 'list', default: [], help: 'host:port of every replica of the operator', group: OPERATOR},
  'operator-name': {kind: 'string', default: '', help: 'name in the operator’s certificate, when it is not the host of its address', group: OPERATOR},
  'tls-ca': {kind: 'string', default: '', help: 'certificate of the CA that signs operator and agents', group: OPERATOR},
  'tls-cert': {kind: 'string', default: '', help: 'certificate of this node, renewed by the agent; with a token file: tls/tls.crt in the state folder', group: OPERATOR},
  'tls-key': {kind: 'string', default: '', help: 'key of that certificate; with a token file: tls/tls.key in the state folder', group: OPERATOR},
  'bootstrap-token-file': {kind: 'string', default: '', help: 'projected token of this pod, for the audience stentor: what the first certificate is got with', group: OPERATOR},
  'bootstrap-port': {kind: 'integer', default: 4241, min: 1, max: 65_535, help: 'where operators give first certificates', group: OPERATOR},
  'operator-backoff-max': duration('5s', OPERATOR, 'longest wait between attempts to reach the operator'),
  'operator-keepalive': {kind: 'duration', default: '10s', minMs: 1000, help: 'silence after which the operator is asked whether it is there', group: OPERATOR},
  'operator-message-max': {kind: 'integer', default: 67_108_864, min: 65_536, max: 1_073_741_824, help: 'bytes of one message of the operator', group: OPERATOR},

  'bpf-root': {kind: 'string', default: '/sys/fs/bpf/stentor', help: 'folder of the pins, on a BPF file system', group: KERNEL},
  'cgroup-root': {kind: 'string', default: '/sys/fs/cgroup', help: 'cgroup whose sockets are this node’s; read by nothing yet', group: KERNEL},
  'bpf-objects': {kind: 'string', default: join(ROOT, 'build/bpf'), help: 'folder of the compiled datapath', group: KERNEL},
  'devices': {kind: 'list', default: [], help: 'uplinks; empty = the devices that hold the node’s address', group: KERNEL},
  'enable-ipv6': {kind: 'boolean', default: false, help: 'room for IPv6 in the maps; it is on where the operator has it on too', group: KERNEL},
  'mtu': {kind: 'integer', default: 0, min: 0, max: 65_535, help: 'of pod links; 0 = that of the uplinks', group: KERNEL},
  'gobgpd': {kind: 'string', default: join(ROOT, 'build/bin/gobgpd'), help: 'the BGP speaker', group: KERNEL},
  'monitor-aggregation': {kind: 'string', default: 'medium', values: ['none', 'low', 'medium'], help: 'which forwarded packets make events', group: KERNEL},
  'monitor-capture-bytes': {kind: 'integer', default: 128, min: 0, max: 128, help: 'bytes of the packet in an event', group: KERNEL},
  'monitor-queue': {kind: 'integer', default: 16_384, min: 16, max: 1_048_576, help: 'events kept for one slow reader; more are counted as lost', group: KERNEL},
  'apply-retry-max': {kind: 'duration', default: '30s', minMs: 100, help: 'longest wait before a refused write is tried again', group: KERNEL},
  'resync-interval': {kind: 'duration', default: '60s', minMs: 1000, help: 'how often what the kernel holds is read back', group: KERNEL},

  'bpf-map-profile': {kind: 'string', default: 'default', values: ['default', 'small'], help: 'sizes of the maps; small: many nodes on one machine', group: MAPS},
  'bpf-ipcache-max': mapSize('cilium_ipcache'),
  'bpf-lxc-max': mapSize('endpoints of this node'),
  'bpf-policy-map-max': {kind: 'integer', default: POLICY_INNER_MAP.maxEntries, min: 256, max: POLICY_INNER_MAP.maxEntries, help: 'entries of one policy map', group: MAPS},
  'bpf-ct-global-tcp-max': mapSize('tracked TCP connections'),
  'bpf-ct-global-any-max': mapSize('tracked flows of other protocols'),
  'bpf-nat-global-max': mapSize('cilium_snat_v4_external'),
  'bpf-ipmasq-max': mapSize('destinations that are not masqueraded'),
  'bpf-announced-max': mapSize('announced addresses of Services'),
  'bpf-fragments-map-max': mapSize('fragmented datagrams'),
  'bpf-events-bytes': mapSize('ring of events, a power of two'),

  'bpf-ct-timeout-regular-tcp': duration('2h13m20s', CONNECTIONS, 'idle TCP connection'),
  'bpf-ct-timeout-regular-tcp-syn': duration('60s', CONNECTIONS, 'TCP connection without an answer'),
  'bpf-ct-timeout-regular-tcp-fin': duration('10s', CONNECTIONS, 'closing TCP connection'),
  'bpf-ct-timeout-regular-any': duration('60s', CONNECTIONS, 'idle flow of another protocol'),
  'conntrack-gc-interval': {kind: 'duration', default: '5m', minMs: 1000, help: 'first interval of the collection of dead entries; adapts', group: CONNECTIONS},
  'conntrack-gc-min-interval': {kind: 'duration', default: '10s', minMs: 1000, help: 'shortest interval', group: CONNECTIONS},
  'conntrack-gc-max-interval': {kind: 'duration', default: '12h', minMs: 1000, help: 'longest interval', group: CONNECTIONS},
  'masquerade-port-min': {kind: 'integer', default: 32_768, min: 1024, max: 65_535, help: 'first port for masquerading', group: CONNECTIONS},
  'masquerade-port-max': {kind: 'integer', default: 65_535, min: 1024, max: 65_535, help: 'last port for masquerading', group: CONNECTIONS},
  'enable-remote-node-masquerade': {kind: 'boolean', default: false, help: 'masquerade towards other nodes too', group: CONNECTIONS},

  'cni-pod-wait': duration('2s', PODS, 'how long CNI ADD waits for the operator to know the pod; then it is reserved:init'),
  'cni-span-wait': duration('100ms', PODS, 'how long CNI ADD waits for the other nodes to know the address'),
  'cni-settle-wait': {kind: 'duration', default: '20s', minMs: 100, help: 'how long CNI ADD waits for the kernel to hold everything', group: PODS},
  'cni-delete-queue': {kind: 'string', default: '', help: 'folder of the deletes that came while there was no agent; empty = deleteQueue beside the socket', group: PODS},
} as const satisfies OptionTable;

export type AgentConfig = ConfigOf<typeof AGENT_OPTIONS>;

/** Throws `CONFIG_INVALID`. */
export async function loadAgentConfig(argv: readonly string[], env: Readonly<Record<string, string | undefined>> = process.env): Promise<ConfigResult<typeof AGENT_OPTIONS>> {
  const result = await loadConfig({
    program: 'stentor-agent', about: 'Makes the state that the operator has computed true on this node.', options: AGENT_OPTIONS, argv, env,
  });
  if (result.kind === 'config') checkTogether(result.value);
  return result;
}

function checkTogether(config: AgentConfig): void {
  const invalid = (message: string): never => {
    throw new StentorError('CONFIG_INVALID', message, {hint: 'see --help'});
  };
  const source = config['desired-state'] === '';
  if (source && config['operator-address'].length === 0) invalid('--operator-address or --desired-state is needed: there is nobody to say what this node should do');
  if (!source && config['operator-address'].length > 0) invalid('--operator-address and --desired-state exclude each other');
  const {ca, cert, key} = keyPathsOf(config);
  if (source && [ca, cert, key].includes('')) invalid('--tls-ca, and --tls-cert with --tls-key or --bootstrap-token-file, are needed to talk to the operator');
  if (config['masquerade-port-min'] > config['masquerade-port-max']) invalid('--masquerade-port-min is above --masquerade-port-max');
  const ring = config['bpf-events-bytes'];
  if (ring !== 0 && (ring < 4096 || (ring & (ring - 1)) !== 0)) invalid('--bpf-events-bytes is not a power of two from 4096');
  if (!/^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$/.test(config['node-name'])) invalid('--node-name is not a node name of Kubernetes');
}

/** What an agent makes itself lies in its state folder. */
export function keyPathsOf(config: AgentConfig): KeyFilePaths {
  const own = (name: string, path: string): string => (path === '' && config['bootstrap-token-file'] !== '' ? join(config['state-dir'], 'tls', name) : path);
  return {ca: config['tls-ca'], cert: own('tls.crt', config['tls-cert']), key: own('tls.key', config['tls-key'])};
}

/** Where the plugin leaves deletes; without an option of its own it looks beside the socket too. */
export function deleteQueueOf(config: AgentConfig): string {
  return config['cni-delete-queue'] === '' ? join(dirname(config['api-socket']), 'deleteQueue') : config['cni-delete-queue'];
}

export function logLevelOf(config: AgentConfig): LogLevel {
  return config['log-level'];
}

export function mapSizesOf(config: AgentConfig): MapSizes {
  const profile: MapSizes = config['bpf-map-profile'] === 'small' ? SMALL_SIZES : {};
  const given: MapSizes = {
    cilium_ipcache: config['bpf-ipcache-max'], cilium_lxc: config['bpf-lxc-max'], cilium_ipmasq_v4: config['bpf-ipmasq-max'],
    cilium_announced_v4: config['bpf-announced-max'], cilium_announced_v6: config['bpf-announced-max'],
    cilium_ct4_global: config['bpf-ct-global-tcp-max'], cilium_ct_any4_global: config['bpf-ct-global-any-max'],
    cilium_snat_v4_external: config['bpf-nat-global-max'], cilium_ipv4_frag_datagrams: config['bpf-fragments-map-max'],
    cilium_events: config['bpf-events-bytes'],
    cilium_ipmasq_v6: config['bpf-ipmasq-max'], cilium_ct6_global: config['bpf-ct-global-tcp-max'], cilium_ct_any6_global: config['bpf-ct-global-any-max'],
    cilium_snat_v6_external: config['bpf-nat-global-max'], cilium_ipv6_frag_datagrams: config['bpf-fragments-map-max'],
  };
  const sizes: MapSizes = {...profile, ...Object.fromEntries(Object.entries(given).filter(([, size]) => size !== 0))};
  return config['enable-ipv6'] ? sizes : {...sizes, ...IPV6_OFF_SIZES};
}

/** Ids index arrays: the smallest of them bounds how many endpoints there can be. */
export function endpointIdMax(config: AgentConfig): number {
  const bounded = new Set(['cilium_policy', 'cilium_ep_config']);
  return Math.min(65_535, ...withSizes(mapSizesOf(config)).filter(({name}) => bounded.has(name)).map(({maxEntries}) => maxEntries - 1));
}

export function compileOptionsOf(config: AgentConfig): CompileOptions {
  const seconds = (ms: number): number => Math.max(1, Math.round(ms / 1000));
  return {
    devices: config.devices, mtu: config.mtu, enableIpv6: config['enable-ipv6'],
    policyEntriesMax: config['bpf-policy-map-max'],
    monitorAggregation: MONITOR_AGGREGATION[config['monitor-aggregation']],
    masqueradeRemoteNodes: config['enable-remote-node-masquerade'],
    snatPorts: {min: config['masquerade-port-min'], max: config['masquerade-port-max']},
    timeouts: {
      tcpSeconds: seconds(config['bpf-ct-timeout-regular-tcp']), tcpSynSeconds: seconds(config['bpf-ct-timeout-regular-tcp-syn']),
      tcpCloseSeconds: seconds(config['bpf-ct-timeout-regular-tcp-fin']), anySeconds: seconds(config['bpf-ct-timeout-regular-any']),
    },
    captureBytes: config['monitor-capture-bytes'],
  };
}
