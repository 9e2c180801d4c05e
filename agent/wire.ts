// Composition root: builds the parts of the agent in start order and joins them. The only file that sees every folder.

import {readFileSync, readdirSync, statfsSync} from 'node:fs';
import {mkdir, readFile, readdir, realpath, rm} from 'node:fs/promises';
import {createHash} from 'node:crypto';
import {arch, release} from 'node:os';
import {join} from 'node:path';
import {StentorError} from '../lib/core/errors.js';
import type {BgpPeerStatus} from '../lib/domain/bgp.js';
import {POD_DEVICE} from '../lib/domain/devices.js';
import type {Clock} from '../lib/run/clock.js';
import {realClock} from '../lib/run/clock.js';
import {sendJson, startHttpServer} from '../lib/run/http.js';
import {Lifecycle} from '../lib/run/lifecycle.js';
import {acquireLock} from '../lib/run/lock-file.js';
import {runLoop} from '../lib/run/loop.js';
import type {Log} from '../lib/run/log.js';
import {errorFields} from '../lib/run/log.js';
import {Metrics} from '../lib/run/metrics.js';
import {readKeyMaterial} from '../lib/run/tls.js';
import type {SweepResult} from './apply/conntrack-gc.js';
import {ConntrackGc} from './apply/conntrack-gc.js';
import {KernelApply, defaultAttachMode} from './apply/kernel.js';
import type {MapSet} from './apply/map-set.js';
import {closeMapSet, openMapSet} from './apply/map-set.js';
import {SpeakerSession} from './apply/speaker.js';
import {defaultGateways} from './apply/speaker-local.js';
import {PodAttacher} from './cni/attach.js';
import {Ipam} from './cni/ipam.js';
import {CniServer} from './cni/server.js';
import type {AgentConfig} from './config.js';
import {activePodCidrs} from './compile/input.js';
import {compileOptionsOf, deleteQueueOf, endpointIdMax, keyPathsOf, mapSizesOf} from './config.js';
import type {BpfMap} from './kernel/bpf.js';
import {Netlink} from './kernel/netlink.js';
import type {Feature} from './kernel/probe.js';
import {missingFeatures, probeFeatures} from './kernel/probe.js';
import type {MapName} from './maps/registry.js';
import {endpointAddresses, endpointOwner} from './model/local.js';
import {apiRoutes} from './observe/api.js';
import type {AgentMetrics, MetricSources} from './observe/metrics.js';
import {eventsLost, type EventsLost} from './maps/events.js';
import {declareMetrics} from './observe/metrics.js';
import {Monitor} from './observe/monitor.js';
import {StateStore} from './desired/store.js';
import {NodeCertificate} from './stream/certificate.js';
import {CertificateFiles} from './stream/certificate-files.js';
import {OperatorClient} from './stream/client.js';
import type {OperatorStatus} from './stream/client.js';
import {FileSource} from './stream/file-source.js';
import type {AgentMessage} from './stream/report.js';
import {nodeMessage, peersMessage} from './stream/report.js';
import {EndpointTable} from './watch/endpoints.js';
import {LinkWatch} from './watch/links.js';
import {SpeakerEvents} from './watch/speaker-events.js';
import {AgentView, goneSince} from './wire-api.js';
import {stateDiff} from './wire-diff.js';
import {routeAnswer} from './wire-route.js';
import {NodeEngine} from './wire-engine.js';
import {PodPorts} from './wire-pods.js';

export interface Agent {
  /** Rejects when a part fails in a way that only a restart repairs. */
  readonly failed: Promise<never>;
  stop(): Promise<void>;
}

const BPF_FS_MAGIC = 0xcafe4a11;
/** Locks of BPF roots: a BPF file system holds no files. */
const LOCK_FOLDER = '/run/stentor/locks';
const APPLY_RETRY_MS = 100;
const LOST_CHECK_MS = 1000;
const LOST_RETRY_MAX_MS = 30_000;

export async function startAgent(config: AgentConfig, parts: {readonly version: string; readonly log: Log}): Promise<Agent> {
  const lifecycle = new Lifecycle(parts);
  let fail = (_error: unknown): void => {};
  const failed = new Promise<never>((_resolve, reject) => {
    fail = reject;
  });
  failed.catch(() => undefined);
  await acquireLocks(config, lifecycle);
  try {
    const agent = await buildAgent(config, {...parts, clock: realClock, lifecycle});
    addLoops(agent, lifecycle, fail);
    await lifecycle.start();
  } catch (error) {
    await lifecycle.stop();
    throw error;
  }
  parts.log.info('agent started', {node: config['node-name'], version: parts.version});
  return {failed, stop: () => lifecycle.stop()};
}

async function acquireLocks(config: AgentConfig, lifecycle: Lifecycle): Promise<void> {
  await mkdir(config['state-dir'], {recursive: true, mode: 0o700});
  await makeBpfRoot(config['bpf-root']);
  const rootId = createHash('sha256').update(await realpath(config['bpf-root'])).digest('hex').slice(0, 32);
  for (const path of [join(config['state-dir'], 'agent.lock'), join(LOCK_FOLDER, rootId)]) {
    let lock: {release(): Promise<void>} | null = null;
    lifecycle.add({name: `lock ${path}`, start: async () => {
      lock = await acquireLock(path);
    }, stop: () => lock?.release()});
  }
  await lifecycle.start();
}

async function makeBpfRoot(root: string): Promise<void> {
  const hint = 'mount -t bpf bpf /sys/fs/bpf';
  try {
    for (const folder of ['maps', 'progs', 'links']) await mkdir(join(root, folder), {recursive: true, mode: 0o700});
  } catch (error) {
    throw new StentorError('BPF_ROOT', `the folder of the pins cannot be made: ${root}`, {root, hint}, {cause: error});
  }
  if (statfsSync(root).type !== BPF_FS_MAGIC) throw new StentorError('BPF_ROOT', `${root} is not on a BPF file system`, {root, hint});
}

interface Context {
  readonly version: string;
  readonly log: Log;
  readonly clock: Clock;
  readonly lifecycle: Lifecycle;
}

interface Built {
  readonly config: AgentConfig;
  readonly context: Context;
  readonly netlink: Netlink;
  readonly maps: MapSet;
  readonly kernel: KernelApply;
  readonly endpoints: EndpointTable;
  readonly links: LinkWatch;
  readonly engine: NodeEngine;
  readonly ipam: Ipam;
  readonly ports: PodPorts;
  readonly view: AgentView;
  readonly monitor: Monitor;
  readonly gc: ConntrackGc;
  readonly cni: CniServer;
  readonly speaker: SpeakerSession;
  readonly speakerEvents: SpeakerEvents;
  readonly client: OperatorClient | null;
  readonly certificate: NodeCertificate | null;
  readonly files: FileSource | null;
  readonly metrics: Metrics;
  readonly counts: AgentMetrics;
}

/** What parts learn from each other only after all of them are made. */
interface Late {
  client: OperatorClient | null;
  certificate: NodeCertificate | null;
  counts: AgentMetrics | null;
  peers: readonly BgpPeerStatus[];
  sweep: SweepResult | null;
  nodeReport: string;
  /** The values that it was made of. */
  nodeReportedFrom: readonly unknown[];
}

async function buildAgent(config: AgentConfig, context: Context): Promise<Built> {
  const {log, clock} = context;
  const late: Late = {client: null, certificate: null, counts: null, peers: [], sweep: null, nodeReport: '', nodeReportedFrom: []};
  const features = await requiredFeatures(config['bpf-root']);
  const netlink = Netlink.open();
  const maps = openMapSet({root: config['bpf-root'], sizes: mapSizesOf(config)}, {log});
  const kernel = new KernelApply(
    {root: config['bpf-root'], backoff: {baseMs: APPLY_RETRY_MS, maxMs: config['apply-retry-max']}, attachMode: defaultAttachMode},
    {maps, objects: readObjects(config['bpf-objects']), netlink, clock, random: Math.random, log},
  );
  const stateFile = (name: string): string => join(config['state-dir'], name);
  const endpoints = new EndpointTable({path: stateFile('endpoints.json'), idMax: endpointIdMax(config)}, {log});
  const links = new LinkWatch({netlink, log});
  const ipam = new Ipam();
  const speaker = new SpeakerSession({directory: stateFile('gobgpd'), command: [config['gobgpd']]}, {
    clock, log, onReconciled: (instance, errors, seconds) => late.counts?.bgpReconciled(instance, errors, seconds),
    node: async () => ({
      gateways: defaultGateways(
        [...await netlink.routes({family: 4}), ...await netlink.routes({family: 6})],
        (ifindex) => [...links.all.values()].find((link) => link.ifindex === ifindex)?.name ?? null,
      ),
      interfaces: new Map([...links.all].map(([name, {addresses}]) => [name, addresses.map((text) => text.slice(0, text.indexOf('/')))] as const)),
    }),
  });
  const speakerEvents = new SpeakerEvents({source: speaker, clock, log});
  const engine = new NodeEngine(
    {compile: compileOptionsOf(config), localIdentitiesPath: stateFile('local-identities.json'), retryMaxMs: config['apply-retry-max'], resyncMs: config['resync-interval']},
    {
      kernel, speaker, endpoints, links, store: new StateStore({path: stateFile('state.json'), journalPath: stateFile('state.journal')}, {log}), clock, log,
      hasMasquerade: () => mapOf(maps, 'cilium_ipmasq_v4').entries().length > 0,
      onInstalled: (installed, seconds) => {
        late.client?.installed(installed);
        afterAcknowledgement(built, late, seconds);
      },
    },
  );
  engine.onHeld(() => ipam.setPodCidrs(engine.config === null ? [] : activePodCidrs({config: engine.config, options: compileOptionsOf(config)})));
  const gc = conntrackGc(config, {...context, maps, late});
  const ports = podPorts(config, {...context, engine, endpoints, links, gc, late});
  const view = new AgentView({
    node: config['node-name'], version: context.version, compile: compileOptionsOf(config), engine, endpoints, links, ipam, kernel, maps,
    operator: () => late.client?.status ?? fileStatus(files), peers: () => late.peers, lastSweep: () => late.sweep, features: () => features,
    certificate: () => late.certificate?.status ?? null,
  });
  const monitor = new Monitor({queueMax: config['monitor-queue']}, {names: view, clock});
  const cni = new CniServer({attachments: new PodAttacher({netlink, ipam, endpoints, ports, log}), log});
  const metrics = new Metrics({prefix: 'cilium_', processMetrics: true});
  const counts = declareMetrics(metrics, metricSources({context, maps, view, engine, ipam, monitor, late}));
  late.counts = counts;
  const {files, client, certificate} = desiredSource(config, {...context, engine, ports, late});
  const built: Built = {
    config, context, netlink, maps, kernel, endpoints, links, engine, ipam, ports, view, monitor, gc, cni, speaker, speakerEvents, client, certificate, files, metrics, counts,
  };
  speakerEvents.onChange((peers) => {
    late.peers = peers;
    client?.report(peersMessage(peers.map(peerReport)));
  });
  return built;
}

/** What the datapath cannot do without. Everything else is probed for the status alone. */
const REQUIRED_FEATURES = ['bpf', 'bpffs', 'lpm_trie', 'lru_hash', 'ringbuf', 'map_in_map', 'bpf_redirect_neigh', 'bpf_redirect_peer', 'tcx', 'rtnetlink'];

async function requiredFeatures(bpfRoot: string): Promise<readonly Feature[]> {
  const features = await probeFeatures({bpfRoot});
  const missing = missingFeatures(features, REQUIRED_FEATURES);
  if (missing.length === 0) return features;
  throw new StentorError('KERNEL_FEATURES', `this kernel, or what this process may do, is not enough: ${missing.map(({name, reason}) => `${name} (${reason})`).join(', ')}`,
    {kernel: release(), hint: 'run as root with CAP_BPF, CAP_NET_ADMIN and CAP_SYS_ADMIN on Linux 6.6 or newer'});
}

function readObjects(folder: string): {name: string; bytes: Uint8Array}[] {
  const suffix = '.bpf.o';
  let names: string[];
  try {
    names = readdirSync(folder).filter((name) => name.endsWith(suffix));
  } catch (error) {
    throw new StentorError('BPF_OBJECTS', `the compiled datapath cannot be read: ${folder}`, {folder, hint: 'make bpf, or --bpf-objects'}, {cause: error});
  }
  if (names.length === 0) throw new StentorError('BPF_OBJECTS', `there is no compiled datapath in ${folder}`, {folder, hint: 'make bpf, or --bpf-objects'});
  return names.map((name) => ({name: name.slice(0, -suffix.length), bytes: readFileSync(join(folder, name))}));
}

function mapOf(maps: MapSet, name: MapName): BpfMap {
  const map = maps.get(name);
  if (map === undefined) throw new StentorError('NO_MAP', `the map ${name} is not open`, {map: name});
  return map;
}

function conntrackGc(config: AgentConfig, parts: Context & {readonly maps: MapSet; readonly late: Late}): ConntrackGc {
  const {maps, late, clock, log} = parts;
  return new ConntrackGc(
    {intervalMs: config['conntrack-gc-interval'], intervalMinMs: config['conntrack-gc-min-interval'], intervalMaxMs: config['conntrack-gc-max-interval']},
    {
      tcp: mapOf(maps, 'cilium_ct4_global'), any: mapOf(maps, 'cilium_ct_any4_global'), nat: mapOf(maps, 'cilium_snat_v4_external'),
      ipv6: {tcp: mapOf(maps, 'cilium_ct6_global'), any: mapOf(maps, 'cilium_ct_any6_global'), nat: mapOf(maps, 'cilium_snat_v6_external')}, clock, log,
      bootSeconds: () => Number(process.hrtime.bigint() / 1_000_000_000n),
      onSweep: (result) => {
        late.sweep = result;
        late.counts?.conntrackSweep(result);
      },
    },
  );
}

type PodPortsNeeds = Context & {readonly engine: NodeEngine; readonly endpoints: EndpointTable; readonly links: LinkWatch; readonly gc: ConntrackGc; readonly late: Late};

function podPorts(config: AgentConfig, parts: PodPortsNeeds): PodPorts {
  const {engine, endpoints, links, gc, late, clock, log} = parts;
  return new PodPorts(
    {podWaitMs: config['cni-pod-wait'], spanWaitMs: config['cni-span-wait'], settleWaitMs: config['cni-settle-wait'], compile: compileOptionsOf(config)},
    {
      engine, facts: () => ({endpoints: endpoints.all, links: links.all}), connected: () => late.client?.status.connected ?? false,
      report: (message) => late.client?.report(message), onReleased: (address) => gc.purge(address), metrics: () => late.counts, clock, log,
    },
  );
}

/** Files, or an operator. */
function desiredSource(config: AgentConfig, parts: ClientNeeds): Pick<Built, 'files' | 'client' | 'certificate'> {
  const {engine, late, log} = parts;
  const path = config['desired-state'];
  if (path !== '') return {files: new FileSource({path}, {desired: engine, log}), client: null, certificate: null};
  late.client = operatorClient(config, parts);
  late.certificate = nodeCertificate(config, parts);
  return {files: null, client: late.client, certificate: late.certificate};
}

type ClientNeeds = Context & {readonly engine: NodeEngine; readonly ports: PodPorts; readonly late: Late};

function operatorClient(config: AgentConfig, parts: ClientNeeds): OperatorClient {
  const {engine, ports, late, clock, log, version} = parts;
  return new OperatorClient(
    {
      node: config['node-name'], agentVersion: version, addresses: config['operator-address'], serverName: config['operator-name'],
      backoffMaxMs: config['operator-backoff-max'], keepaliveMs: config['operator-keepalive'], messageBytesMax: config['operator-message-max'],
    },
    {
      keys: () => readKeyMaterial(keyPathsOf(config)), desired: engine, clock, log,
      onSpanAck: (ack) => ports.onSpanAck(ack),
      greeting: (): AgentMessage[] => {
        const report: AgentMessage[] = late.nodeReport === '' ? [] : [nodeMessage(JSON.parse(late.nodeReport) as Parameters<typeof nodeMessage>[0])];
        return [...report, ...ports.greeting(), peersMessage(late.peers.map(peerReport))];
      },
    },
  );
}

function nodeCertificate(config: AgentConfig, {clock, log, late}: ClientNeeds): NodeCertificate {
  const files = new CertificateFiles(keyPathsOf(config));
  const tokenFile = config['bootstrap-token-file'];
  // Nobody would ever make them.
  if (tokenFile === '') files.read();
  return new NodeCertificate(
    {node: config['node-name'], addresses: config['operator-address'], bootstrapPort: config['bootstrap-port'], serverName: config['operator-name'], tokenFile},
    {files, clock, log, onChanged: () => void late.client?.reconnect()},
  );
}

/** It leaves the process first. `seconds`: from the change to its acknowledgement. */
function afterAcknowledgement(built: Built, late: Late, seconds: number | null): void {
  setImmediate(() => {
    if (seconds !== null) late.counts?.policyImplementation(seconds);
    reportNode(built, late);
  });
}

/** Said again only when it has changed. */
function reportNode({engine, links, view, client}: Pick<Built, 'engine' | 'links' | 'view' | 'client'>, late: Late): void {
  const {compiled, config} = engine;
  const from = [config, links.all] as const;
  if (compiled === null || config === null || from.every((value, i) => value === late.nodeReportedFrom[i])) return;
  late.nodeReportedFrom = from;
  const devices = view.devices();
  const router6 = view.routerAddress(6);
  const report = {
    devices, addresses: devices.flatMap((name) => links.all.get(name)?.addresses ?? []).map((text) => text.slice(0, text.indexOf('/'))),
    routerAddress: view.routerAddress(4), ...(router6 === null ? {} : {routerAddress6: router6}), routerMac: links.all.get('cilium_host')?.mac ?? '', kernel: release(),
    features: view.features().filter(({available}) => available).map(({name}) => name),
  };
  const text = JSON.stringify(report);
  if (text === late.nodeReport) return;
  late.nodeReport = text;
  client?.report(nodeMessage(report));
}

function peerReport(peer: BgpPeerStatus) {
  const {port: _, families, ...rest} = peer;
  const sum = (pick: (family: BgpPeerStatus['families'][number]) => number): number => families.reduce((total, family) => total + pick(family), 0);
  return {...rest, families, received: sum(({received}) => received), advertised: sum(({advertised}) => advertised)};
}

function fileStatus(files: FileSource | null): OperatorStatus {
  const lastError = files?.lastError ?? null;
  return {connected: lastError === null, address: '', version: null, lastAckSequence: null, lastError};
}

type MetricNeeds = Pick<Built, 'context' | 'maps' | 'view' | 'engine' | 'ipam' | 'monitor'> & {readonly late: Late};

function metricSources({context, maps, view, engine, ipam, monitor, late}: MetricNeeds): MetricSources {
  return {
    version: context.version, arch: arch(),
    datapathCounters: () => ({dropped: mapOf(maps, 'cilium_metrics'), forwarded: mapOf(maps, 'cilium_forwarded')}), eventsLost: () => mapOf(maps, 'cilium_events_lost'),
    endpoints: () => view.countEndpoints(), identities: () => view.countIdentities(), policies: () => engine.held.tables.policy.size,
    nodes: () => engine.held.tables.node.size, ipam: () => ipam.status(), maps: () => view.maps(), bgpPeers: () => late.peers,
    certificateExpirySeconds: () => secondsUntil(late.certificate?.status.expiresAtMs ?? null, context.clock),
    failing: () => view.controllers().filter(({ok}) => !ok).length, monitorLost: () => monitor.counts.lost,
  };
}

function secondsUntil(atMs: number | null, clock: Clock): number | null {
  return atMs === null ? null : Math.round((atMs - clock.now()) / 1000);
}

/** In start order: facts, what was held, the kernel, then those who change something. */
function addLoops(agent: Built, lifecycle: Lifecycle, fail: (error: unknown) => void): void {
  const {config, engine, links, endpoints, monitor, maps, speaker, speakerEvents, gc, client, certificate, files, kernel, netlink} = agent;
  const loop = (name: string, run: (signal: AbortSignal) => Promise<void>): void => {
    let done: Promise<void> = Promise.resolve();
    lifecycle.add({name, start: (signal) => {
      done = run(signal).catch(fail);
    }, stop: () => done});
  };
  lifecycle.add({name: 'kernel', start: () => undefined, stop: async () => {
    await kernel.close();
    closeMapSet(maps);
    netlink.close();
  }});
  lifecycle.add({name: 'links', start: () => links.start(), stop: () => links.stop()});
  lifecycle.add({name: 'restore', start: () => restore(agent), stop: () => endpoints.flushed()});
  if (files !== null) lifecycle.add({name: 'first desired state', start: () => files.read()});
  loop('engine', (signal) => engine.run(signal));
  lifecycle.add({name: 'monitor', start: () => monitor.start(mapOf(maps, 'cilium_events')), stop: () => monitor.stop()});
  loop('lost events', (signal) => watchLost(agent, signal));
  loop('conntrack-gc', (signal) => gc.run(signal));
  lifecycle.add({name: 'speaker', start: () => undefined, stop: () => speaker.close()});
  loop('speaker', (signal) => speaker.supervise(signal));
  loop('speaker-events', (signal) => speakerEvents.run(signal));
  if (files !== null) loop('desired-state', (signal) => files.run(signal));
  if (certificate !== null) loop('certificate', (signal) => certificate.run(signal));
  if (client !== null) {
    loop('operator-session', async (signal) => {
      await certificate?.usable(signal);
      await client.run(signal);
    });
  }
  addServer(lifecycle, 'api', () => startHttpServer({listen: config['api-socket'], routes: timed(agent, apiRoutes({
    status: () => agent.view.status(), endpoints: () => agent.view.endpointList(), identities: () => agent.view.identities(), nodes: () => agent.view.nodes(),
    bgpPeers: () => speakerEvents.peers(), policyOrigins: () => agent.view.policyOrigins(), state: () => agent.view.state(),
    bgpRoutes: ({type, afi, peer, vrouter}) => speaker.routes({type, family: {afi, safi: 'unicast'}, peer, vrouter}),
    route: (to) => routeAnswer(netlink, links, to),
    stateDiff: async () => stateDiff(engine.compiled, maps), cni: (body, gone) => agent.cni.answer(body, gone),
  }, monitor))}));
  if (config['metrics-addr'] !== '') addServer(lifecycle, 'metrics', () => startHttpServer({listen: config['metrics-addr'], routes: metricRoutes(agent)}));
  loop('cni-delete-queue', () => replayDeletes(agent));
}

function addServer(lifecycle: Lifecycle, name: string, start: () => ReturnType<typeof startHttpServer>): void {
  let server: Awaited<ReturnType<typeof startHttpServer>> | null = null;
  lifecycle.add({name, start: async () => {
    server = await start();
  }, stop: () => server?.close()});
}

type Routes = ReturnType<typeof apiRoutes>;

function timed({counts, context}: Built, routes: Routes): Routes {
  return Object.fromEntries(Object.entries(routes).map(([route, handler]): [string, Routes[string]] => [route, async (request, response, url) => {
    const startMs = context.clock.monotonicMs();
    const [method = '', path = ''] = route.split(' ');
    response.on('finish', () => counts.apiRequest(path, method, response.statusCode, (context.clock.monotonicMs() - startMs) / 1000));
    await handler(request, response, url);
  }]));
}

function metricRoutes({metrics, view, engine}: Built): Routes {
  return {
    'GET /metrics': async (_request, response) => {
      const text = await metrics.render();
      response.writeHead(200, {'content-type': metrics.contentType});
      response.end(text);
    },
    'GET /healthz': (_request, response) => {
      const controllers = view.controllers();
      sendJson(response, 200, {ok: controllers.every(({ok}) => ok), controllers});
    },
    'GET /readyz': (_request, response) => sendJson(response, engine.compiled === null ? 503 : 200, {ready: engine.compiled !== null}),
  };
}

/** Takes over what an agent before this one has left, and collects what is no longer there. */
async function restore({endpoints, links, ipam, engine, ports, netlink, context}: Built): Promise<void> {
  const gone = await endpoints.restore((endpoint) => !goneSince(endpoint, links.podLinks));
  for (const endpoint of endpoints.all.values()) for (const address of endpointAddresses(endpoint)) ipam.claim(address, endpointOwner(endpoint));
  for (const endpoint of gone) ports.withdraw(endpoint);
  const known = new Set([...endpoints.all.values()].map(({hostIfname}) => hostIfname));
  for (const name of links.podLinks.keys()) {
    if (known.has(name) || !POD_DEVICE.test(name)) continue;
    context.log.info('removing a pod link that no endpoint has', {link: name});
    await netlink.deleteLink(name);
  }
  await engine.restore();
  context.log.info('restored', {endpoints: endpoints.all.size, collected: gone.length, stateVersion: engine.held.version});
}

/** A look that fails is taken again: a counter that cannot be read must not end the agent. */
async function watchLost({maps, monitor, context}: Built, signal: AbortSignal): Promise<void> {
  let before: EventsLost | null = null;
  await runLoop({name: 'lost events', backoff: {baseMs: LOST_CHECK_MS, maxMs: LOST_RETRY_MAX_MS}}, context, signal, async () => {
    const now = eventsLost(mapOf(maps, 'cilium_events_lost'));
    const last = before ?? now;
    monitor.ringLost({'drop': now.drop - last.drop, 'trace': now.trace - last.trace, 'policy-verdict': now['policy-verdict'] - last['policy-verdict']});
    before = now;
    await context.clock.sleep(LOST_CHECK_MS, signal).catch(() => undefined);
  });
}

/** Deletes that came while there was no agent. A file goes when its delete was answered, whatever the answer. */
async function replayDeletes({config, cni, context}: Built): Promise<void> {
  const folder = deleteQueueOf(config);
  const names = (await readdir(folder).catch(() => [])).filter((name) => name.endsWith('.del'));
  for (const name of names) {
    const path = join(folder, name);
    try {
      await cni.answer(await readFile(path));
      await rm(path, {force: true});
    } catch (error) {
      context.log.warn('a queued delete could not be replayed', {path, ...errorFields(error)});
    }
  }
}
