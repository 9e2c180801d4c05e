// The composition root: builds every part, in start order.

import {readFileSync} from 'node:fs';
import {join} from 'node:path';
import {StentorError} from '../lib/core/errors.js';
import {BGP_CLASS} from '../lib/domain/exposed-service.js';
import type {LabelFilter} from '../lib/domain/label-filter.js';
import {parseLabelFilter} from '../lib/domain/label-filter-parse.js';
import {parseClusterPools, type ClusterPool} from '../lib/ipam/cluster-pools.js';
import type {DemandOptions} from '../lib/lbipam/demand.js';
import {realClock, type Clock} from '../lib/run/clock.js';
import type {HttpServerHandle} from '../lib/run/http.js';
import type {Lifecycle, Part} from '../lib/run/lifecycle.js';
import type {Log} from '../lib/run/log.js';
import type {DrainOptions} from './compile/bgp-drain.js';
import {bgpSecretNames} from './compile/bgp-speakers.js';
import type {CompileOptions} from './compile/graph.js';
import type {OperatorConfig} from './config.js';
import {DesiredStore} from './desired/store.js';
import {decoders, type DecoderOptions} from './model/decoders.js';
import {startObserveServer} from './observe/http.js';
import {createMetrics, type OperatorMetrics} from './observe/metrics.js';
import {StreamServer} from './stream/server.js';
import {addCertificateParts, wireCertificates} from './wire-certificates.js';
import {debugView} from './wire-debug.js';
import {Engine, type EngineObserver} from './wire-engine.js';
import {acceptedConfigMap, createSource, masqueradeConfigMap, type ClusterSource} from './wire-source.js';

/** Of package.json, which lies two folders above the compiled file. */
export const VERSION = (JSON.parse(readFileSync(join(import.meta.dirname, '../../package.json'), 'utf8')) as {readonly version: string}).version;

export function compileOptions(config: OperatorConfig): CompileOptions {
  return {
    clusterName: config['cluster-name'], routingMode: config['routing-mode'], tunnelPort: config['tunnel-port'],
    ipv4NativeRoutingCidr: config['ipv4-native-routing-cidr'] === '' ? null : config['ipv4-native-routing-cidr'],
    enableIPv4Masquerade: config['enable-ipv4-masquerade'], ...ipv6Options(config), enforcement: config['enable-policy'], allowLocalhost: config['allow-localhost'] !== 'policy',
    labelFilter: labelFilterOf(config), bgpMaxWithdraw: config['bgp-max-withdraw'] === '' ? null : Number(config['bgp-max-withdraw'].replace('%', '')) / 100,
  };
}

export function lbIpamOptions(config: OperatorConfig): DemandOptions {
  return {families: config['enable-ipv6'] ? [4, 6] : [4], defaultIpam: config['default-lb-service-ipam'] === 'lbipam', classes: new Set([BGP_CLASS])};
}

function drainOptions(config: OperatorConfig): DrainOptions {
  return {cordoned: config['bgp-drain-cordoned'], notReady: config['bgp-not-ready'], timeMs: config['bgp-drain-time'], withdraw: config['bgp-drain-withdraw']};
}

function labelFilterOf(config: OperatorConfig): LabelFilter {
  const filter = parseLabelFilter(config.labels);
  if (typeof filter === 'string') throw new StentorError('CONFIG_INVALID', `--labels: ${filter}`, {hint: 'see --help'});
  return filter;
}

function ipv6Options(config: OperatorConfig): Pick<CompileOptions, 'ipv6'> {
  if (!config['enable-ipv6']) return {};
  const cidr = config['ipv6-native-routing-cidr'];
  return {ipv6: {nativeRoutingCidr: cidr === '' ? null : cidr, enableMasquerade: config['enable-ipv6-masquerade']}};
}

export function decoderOptions(config: OperatorConfig): DecoderOptions {
  const accepted = acceptedConfigMap(config);
  return {
    clusterName: config['cluster-name'], masquerade: masqueradeConfigMap(config), invalidPolicy: config['invalid-policy'], icmpTypeZero: config['icmp-type-zero'],
    ipv6: config['enable-ipv6'], ipam: config.ipam, ...(accepted === null ? {} : {bgpAccepted: accepted}),
  };
}

/** Null where Kubernetes gives out PodCIDRs. Throws `CONFIG_INVALID`. */
export function clusterPools(config: OperatorConfig): readonly ClusterPool[] | null {
  if (config.ipam === 'kubernetes') return null;
  const pools = ([4, 6] as const).flatMap((family) => {
    const parsed = parseClusterPools(family, config[`cluster-pool-ipv${family}-cidr`], config[`cluster-pool-ipv${family}-mask-size`]);
    if (typeof parsed === 'string') throw new StentorError('CONFIG_INVALID', `--cluster-pool-ipv${family}-cidr: ${parsed}`, {hint: 'see --help'});
    return family === 4 || config['enable-ipv6'] ? parsed : [];
  });
  if (pools.length === 0) throw new StentorError('CONFIG_INVALID', '--ipam cluster-pool needs --cluster-pool-ipv4-cidr, or with --enable-ipv6 --cluster-pool-ipv6-cidr', {hint: 'see --help'});
  return pools;
}

export interface OperatorParts {
  readonly log: Log;
  readonly lifecycle: Lifecycle;
  /** Ends the process. */
  readonly fail: (error: unknown) => void;
  readonly clock?: Clock;
}

export interface Operator {
  readonly engine: Engine;
  readonly store: DesiredStore;
  /** Where agents and HTTP clients find it, once started. */
  readonly addresses: {grpc: string; http: string; bootstrap: string};
}

/** Adds every part to the lifecycle; the caller starts it. */
export async function wireOperator(config: OperatorConfig, parts: OperatorParts): Promise<Operator> {
  const {log, lifecycle, fail, clock = realClock} = parts;
  const metrics = createMetrics();
  const store = new DesiredStore();
  // Called back only after the lifecycle was started, when everything below exists.
  const source = await createSource(config, {
    clock, log, fail, onBatch: (batch) => {
      engine.onBatch(batch);
      source.wantSecrets(bgpSecretNames(engine.tables));
    },
    onLeading: (leading, leader) => {
      metrics.leading.set({name: config['lease-name']}, leading ? 1 : 0);
      engine.setLeading(leading);
      server.setLeading(leading, leader);
    },
    onApiCall: (verb, code, seconds) => metrics.apiCallSeconds.observe({verb, code}, seconds),
    onWrite: (kind, verb, result) => metrics.writes.add({kind, verb, result}),
    onServiceSettled: (key) => engine.onServiceSettled(key),
  });
  const engine: Engine = new Engine(engineOptions(config), {
    store, clock, log, observer: observerOf(metrics),
    sessions: {get: (node) => server.session(node), all: () => server.sessions(), spanAck: (node, ack) => server.spanAck(node, ack)},
    onClusterState: (state) => source.applier?.set(state),
    onInSync: () => server.serve(),
  });
  const certificates = wireCertificates(config, {source, engine, metrics, clock, log});
  const server = new StreamServer({
    listen: config.listen, operatorVersion: VERSION, sessionsMax: config['sessions-max'], snapshotsMax: config['snapshots-max'],
    inFlightMax: config['in-flight-max'], chunkBytes: config['chunk-bytes'], messageBytesMax: config['message-bytes-max'],
    helloTimeoutMs: config['hello-timeout'], keepaliveMs: config.keepalive,
  }, {
    store, clock, log, events: engine, credentials: certificates.server.credentials(true), addServices: (grpcServer) => certificates.nodes.addRenewalTo(grpcServer),
  });
  collectGauges(metrics, {engine, server, store, source});
  const addresses = {grpc: '', http: '', bootstrap: ''};
  const debug = {engine, store, server, source};
  lifecycle.add(httpPart(config, {engine, metrics, addresses, debug: (path) => debugView(debug, path)}));
  addCertificateParts(lifecycle, certificates, {addresses, fail});
  lifecycle.add({
    name: 'stream',
    start: async () => {
      addresses.grpc = await server.listen();
      log.info('serving', {...addresses, version: VERSION});
    },
    stop: () => {
      engine.stop();
      server.close();
    },
  });
  for (const part of source.parts) lifecycle.add(part);
  return {engine, store, addresses};
}

function engineOptions(config: OperatorConfig): ConstructorParameters<typeof Engine>[0] {
  return {
    compile: compileOptions(config), lbIpam: lbIpamOptions(config), decoders: decoders(decoderOptions(config)), unreachableAfterMs: config['unreachable-after'],
    drain: drainOptions(config), clusterPools: clusterPools(config), settleMs: config['settle-time'], spanAckLimitMs: config['span-ack-limit'], endpointsPerNodeMax: config['endpoints-per-node-max'],
  };
}

function observerOf(metrics: OperatorMetrics): EngineObserver {
  return {
    compiled: (seconds) => metrics.compileSeconds.observe({}, seconds),
    converged: (seconds) => metrics.convergenceSeconds.observe({}, seconds),
    spanAcked: (seconds, complete) => {
      metrics.spanAckSeconds.observe({}, seconds);
      if (!complete) metrics.spanAckIncomplete.add({});
    },
    refused: (code) => metrics.refused.add({code}),
    lbIpam: (event, seconds) => metrics.lbIpam.eventSeconds.observe({...event}, seconds),
  };
}

function collectGauges(metrics: OperatorMetrics, parts: {engine: Engine; server: StreamServer; store: DesiredStore; source: ClusterSource}): void {
  const {engine, server, store, source} = parts;
  metrics.onScrape(() => {
    metrics.sessions.set({}, server.sessions().length);
    metrics.admissionQueue.set({}, server.waitingCount);
    metrics.revision.set({}, store.revision);
    metrics.policiesPending.set({}, engine.enforcement.pendingCount);
    metrics.writesPending.set({}, source.applier?.pending ?? 0);
    metrics.unmanagedPods.set({}, engine.unmanagedPods());
    metrics.nodesDrained.set({}, engine.tables.bgpDrains.size);
    metrics.withdrawalsHeld.set({}, engine.compiler.speakers.guard?.state.withdrawn ?? 0);
    collectLbIpam(metrics, engine);
    collectPodCidrs(metrics, engine);
    for (const [table, rows] of Object.entries(engine.tables)) metrics.rows.set({table}, rows.size);
  });
}

function collectLbIpam({lbIpam}: OperatorMetrics, engine: Engine): void {
  const {ipam} = engine.lb;
  const pools = ipam.poolUse();
  lbIpam.conflictingPools.set({}, [...pools.values()].filter(({conflict}) => conflict !== null).length);
  lbIpam.servicesMatching.set({}, ipam.assignments.size);
  lbIpam.servicesUnsatisfied.set({}, ipam.unsatisfied);
  lbIpam.ipsAvailable.clear();
  lbIpam.ipsUsed.clear();
  for (const [pool, {available, used}] of pools) {
    lbIpam.ipsAvailable.set({pool}, Number(available));
    lbIpam.ipsUsed.set({pool}, Number(used));
  }
}

function collectPodCidrs({podCidrs}: OperatorMetrics, engine: Engine): void {
  if (engine.podCidrs === null) return;
  podCidrs.nodesWithout.set({}, engine.podCidrs.wanting);
  for (const {pool, total, used} of engine.podCidrs.use) {
    podCidrs.available.set({pool}, total - used);
    podCidrs.used.set({pool}, used);
  }
}

function httpPart(
  config: OperatorConfig,
  parts: {engine: Engine; metrics: OperatorMetrics; addresses: {http: string}; debug: (path: string) => unknown},
): Part {
  let handle: HttpServerHandle | null = null;
  return {
    name: 'http',
    start: async () => {
      handle = await startObserveServer({listen: config['http-listen']}, {
        metrics: parts.metrics, health: () => null, ready: () => (parts.engine.inSync ? null : 'the cluster has not been listed yet'), debug: parts.debug,
      });
      parts.addresses.http = handle.address;
    },
    stop: () => handle?.close(),
  };
}
