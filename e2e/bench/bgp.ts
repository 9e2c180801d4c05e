// BGP in the lab: from a Service to the router's wire beside a bare write → watch event and a bare AddPath; ten thousand at once; an agent that dies; a router that
// comes back; a node that goes silent. The router is a bare socket of this process: its clock is the one that everything is measured with.

import {join} from 'node:path';
import * as grpc from '@grpc/grpc-js';
import {SpeakerSession} from '../../agent/apply/speaker.js';
import type {Speaker} from '../../lib/domain/bgp.js';
import type {KubeClient} from '../../lib/kube/client.js';
import type {KubeObject} from '../../lib/kube/object.js';
import {collectionPath, objectPath, RESOURCES} from '../../lib/kube/resources.js';
import type {DemandOptions} from '../../lib/lbipam/demand.js';
import {LbIpam} from '../../lib/lbipam/lb-ipam.js';
import {byKey, byName, pool as ipPool, service as ipService} from '../../lib/lbipam/testing/builders.js';
import {realClock} from '../../lib/run/clock.js';
import {silentLog} from '../../lib/run/log.js';
import {api} from '../../proto/gen/gobgp4.js';
import {goBgpService, type GoBgpClient} from '../../proto/gobgp.js';
import {birdRouter, connectLinks, LINKS, peerOf, silenceMs} from '../harness/bgp-matrix.js';
import {applyPeering} from '../harness/checks/bgp.js';
import {recordProcess} from '../harness/cleanup.js';
import type {Lab} from '../harness/lab.js';
import {Netns} from '../harness/netns.js';
import {RawSpeaker, type RawSession, type RawSpeakerOptions} from '../harness/raw-speaker.js';
import {ROOT} from '../harness/run-dir.js';
import {nowMs, pause, startDaemon, until} from '../harness/shell.js';
import {NODES} from '../harness/topology.js';
import {startPace} from '../harness/traffic.js';
import {milliseconds, times, type Report} from './report.js';
import {interleave, median, percentile} from './rounds.js';

const ASN = 65005;
const PORT = 1790;
/** Two addresses of one raw router at the rack's switch: one for the lab's nodes, one for a gobgpd of its own. */
const ROUTER = '10.1.5.201';
const BARE_ROUTER = '10.1.5.202';
const SESSION_MS = 30_000;
const SERVICES = 120;
const MANY = 10_000;
const WRITERS = 32;
const OUTAGES_MS = [1_000, 3_000, 5_000];
/** A session that is lost sooner is not opened at once. */
const STEADY_MS = 11_000;
const CRASH_MS = 5_000;
const PACKETS_PER_SECOND = 1_000;
const FAMILY = {afi: api.Family.Afi.AFI_IP, safi: api.Family.Safi.SAFI_UNICAST};

interface Bench {
  readonly lab: Lab;
  readonly client: KubeClient;
  readonly raw: RawSpeaker;
  /** With the agent of the first node. */
  readonly session: () => Promise<RawSession>;
  readonly bare: GoBgpClient;
  readonly report: Report;
}

export async function measureBgp(lab: Lab, client: KubeClient, report: Report): Promise<void> {
  await lab.fabric.router('leaf0').netns.ip([ROUTER, BARE_ROUTER].map((address) => `addr add ${address}/24 dev rack-sw`));
  const options: RawSpeakerOptions = {netnsPath: lab.fabric.router('leaf0').netns.path, asn: ASN, routerId: ROUTER, holdSeconds: 90, port: PORT};
  const raw = await RawSpeaker.start(options);
  await lab.objects.apply(JSON.stringify(PEERING));
  const bench: Bench = {lab, client, raw, report, bare: await startBareGobgpd(lab), session: () => raw.established(ROUTER, SESSION_MS, FIRST.address)};
  await bench.session();
  await raw.established(BARE_ROUTER, SESSION_MS);
  measureAllocation(report);
  await measureServices(bench);
  await measureMany(bench);
  await measureCrash(bench);
  await measureRestart(bench, options);
  await applyPeering(lab);
  await measureSilence(lab, report);
}

/** LB-IPAM alone: from an empty pool, and from one that is as full as it was left. */
function measureAllocation(report: Report): void {
  const options: DemandOptions = {families: [4], defaultIpam: true, classes: new Set()};
  const pools = byName([ipPool('many', ['10.21.0.0/17'])]);
  const services = Array.from({length: MANY}, (_, i) => ipService(`default/many-${i}`));
  const startedMs = nowMs();
  const first = new LbIpam(options);
  first.update(byKey(services), pools);
  const ms = nowMs() - startedMs;
  const given = (ipam: LbIpam): readonly string[] => services.map(({ref}) => {
    const assignment = ipam.assignment(`${ref.namespace}/${ref.name}`);
    return assignment?.kind === 'assigned' ? assignment.addresses.join() : '';
  });
  const before = given(first);
  const second = new LbIpam(options);
  second.update(byKey(services.map((one, i) => ({...one, ingress: [before[i] ?? ''], hasCondition: true}))), pools);
  const moved = given(second).filter((address, i) => address !== before[i] || address === '').length;
  report.add({
    name: `LB-IPAM: ${MANY.toLocaleString('en')} Services from an empty pool`, subject: milliseconds(ms), baseline: '–', result: `after a restart ${moved} addresses are others`, goal: '≤ 1 s, 0 others', reached: ms <= 1_000 && moved === 0,
  });
}

const [FIRST, , OTHER] = firstThree();

function firstThree(): readonly [(typeof NODES)[number], (typeof NODES)[number], (typeof NODES)[number]] {
  const [a, b, c] = NODES;
  if (a === undefined || b === undefined || c === undefined) throw new Error('the lab has four nodes');
  return [a, b, c];
}

/** The article's policy of the rack, with the raw router and the addresses of Services. */
const PEERING = {
  apiVersion: 'cilium.io/v2alpha1', kind: 'CiliumBGPPeeringPolicy', metadata: {name: 'rack0'},
  spec: {nodeSelector: {matchLabels: {rack: 'rack0'}}, virtualRouters: [{
    localASN: ASN, exportPodCIDR: true, serviceSelector: {matchLabels: {bench: 'one'}}, serviceAdvertisements: ['LoadBalancerIP', 'ExternalIP'],
    neighbors: [{peerAddress: '10.1.5.1/24', peerASN: ASN}, {peerAddress: `${ROUTER}/32`, peerASN: ASN, peerPort: PORT}],
  }]},
};

type BenchSet = 'one' | 'many';
const pool = (set: BenchSet, cidr: string): KubeObject => ({
  apiVersion: 'cilium.io/v2', kind: 'CiliumLoadBalancerIPPool', metadata: {name: `bench-${set}`}, spec: {blocks: [{cidr}], serviceSelector: {matchLabels: {bench: set}}},
});
/** `loadBalancerClass`: somebody else's Service, with which nobody does anything. */
const service = (name: string, set: BenchSet, more: {readonly ip?: string; readonly externalIp?: string; readonly loadBalancerClass?: string} = {}): KubeObject => ({
  apiVersion: 'v1', kind: 'Service', metadata: {name, namespace: 'default', labels: {bench: set}, annotations: more.ip === undefined ? {} : {'lbipam.cilium.io/ips': more.ip}},
  spec: {
    type: 'LoadBalancer', ports: [{name: 'http', port: 80}], allocateLoadBalancerNodePorts: false, ...(more.loadBalancerClass === undefined ? {} : {loadBalancerClass: more.loadBalancerClass}),
    ...(more.externalIp === undefined ? {} : {externalIPs: [more.externalIp]}),
  },
});

const OTHERS = 'example.com/nobody';
const servicePath = (name: string): string => objectPath(RESOURCES.Service, 'default', name);

function createService(client: KubeClient, object: KubeObject): Promise<KubeObject> {
  return client.create(collectionPath(RESOURCES.Service, 'default'), object, AbortSignal.timeout(30_000));
}

/** Told by nobody but this process. */
async function startBareGobgpd(lab: Lab): Promise<GoBgpClient> {
  const socket = lab.run.file('routers', 'bare.sock');
  const daemon = startDaemon({
    name: 'bare-gobgpd', netns: lab.node(FIRST.name).netnsPath, logFile: lab.run.log('bare-gobgpd'),
    command: [join(ROOT, 'build/bin/gobgpd'), '--api-hosts', `unix://${socket}`, '--pprof-disable', '--metrics-path', ''],
  });
  recordProcess(lab.run, daemon.pid, 'bare-gobgpd');
  const client = goBgpService.connect(`unix:${socket}`, grpc.credentials.createInsecure(), {'grpc.initial_reconnect_backoff_ms': 20, 'grpc.max_reconnect_backoff_ms': 100});
  await until('the bare gobgpd answers', {timeoutMs: 5_000}, () => client.GetBgp({}));
  await client.StartBgp({global: {asn: ASN, routerId: FIRST.address, listenPort: -1}});
  await client.AddPeer({peer: {conf: {neighborAddress: BARE_ROUTER, peerAsn: ASN}, transport: {remotePort: PORT}, timers: {config: {connectRetry: 1, idleHoldTimeAfterReset: 1}}}});
  return client;
}

function barePath(prefix: string): api.Path.$Properties {
  const [address = '', length = '0'] = prefix.split('/');
  return {family: FAMILY, nlri: {prefix: {prefix: address, prefixLen: Number(length)}}, pattrs: [{origin: {origin: 0}}, {nextHop: {nextHop: '0.0.0.0'}}]};
}

/** When the router was told of it. */
function toldAt(session: RawSession, prefix: string): Promise<number> {
  return until(`an UPDATE with ${prefix}`, {timeoutMs: 20_000, intervalMs: 1}, () => session.announced.get(prefix) ?? null);
}

/** When the API's watch first told of each Service. */
class ServiceWatch {
  readonly created = new Map<string, number>();
  readonly #abort = new AbortController();
  #loop: Promise<void> = Promise.resolve();

  async start(client: KubeClient): Promise<void> {
    const path = collectionPath(RESOURCES.Service, 'default');
    const {signal} = this.#abort;
    const {resourceVersion} = await client.listAll(path, {}, signal);
    this.#loop = client.watch(path, {resourceVersion, timeoutSeconds: 600, silenceLimitMs: 0}, (events) => {
      for (const {object} of events) {
        const name = object.metadata.name ?? '';
        if (!this.created.has(name)) this.created.set(name, nowMs());
      }
    }, signal).then(() => undefined, (error: unknown) => {
      if (!signal.aborted) throw error;
    });
  }

  async stop(): Promise<void> {
    this.#abort.abort();
    await this.#loop;
  }
}

function seenAt(events: ReadonlyMap<string, number>, name: string): Promise<number> {
  return until(`an event of ${name}`, {timeoutMs: 20_000, intervalMs: 1}, () => events.get(name) ?? null);
}

async function measureServices({lab, client, raw, session, bare, report}: Bench): Promise<void> {
  report.progress('Services and their UPDATEs');
  await lab.objects.apply(JSON.stringify(pool('one', '10.20.0.0/23')));
  const [router, bareRouter] = [await session(), await raw.established(BARE_ROUTER, SESSION_MS)];
  const watch = new ServiceWatch();
  await watch.start(client);
  await createService(client, service('external', 'one', {loadBalancerClass: OTHERS}));
  try {
    const series = await interleave(SERVICES, {
      watch: async (round) => {
        const started = nowMs();
        await createService(client, service(`bare-${round}`, 'one', {loadBalancerClass: OTHERS}));
        return await seenAt(watch.created, `bare-${round}`) - started;
      },
      path: async (round) => {
        const started = nowMs();
        await bare.AddPath({tableType: api.TableType.TABLE_TYPE_GLOBAL, path: barePath(`10.30.0.${round}/32`)});
        return await toldAt(bareRouter, `10.30.0.${round}/32`) - started;
      },
      address: async (round) => {
        const started = nowMs();
        await client.patch(servicePath('external'), {type: 'merge', patch: {spec: {externalIPs: [`10.22.0.${round + 1}`]}}}, AbortSignal.timeout(30_000));
        return await toldAt(router, `10.22.0.${round + 1}/32`) - started;
      },
      service: async (round) => {
        const started = nowMs();
        await createService(client, service(`bench-${round}`, 'one', {ip: `10.20.0.${round + 1}`}));
        return await toldAt(router, `10.20.0.${round + 1}/32`) - started;
      },
    });
    const floor = median(series.watch) + median(series.path);
    for (const [name, share, goal] of [['p50', 0.5, 2], ['p99', 0.99, 6]] as const) {
      const subject = percentile(series.address, share);
      report.add({
        name: `address of a Service written to the API → UPDATE at the router, ${name}`, subject: milliseconds(subject),
        baseline: `${milliseconds(median(series.watch))} bare write → watch + ${milliseconds(median(series.path))} bare AddPath → UPDATE (p50)`,
        result: `${times(subject / floor)} (${SERVICES} in turns)`, goal: `≤ ${times(goal)}`, reached: subject / floor <= goal,
      });
    }
    const [subject, written] = [median(series.service), 2 * median(series.watch) + median(series.path)];
    report.add({
      name: 'LoadBalancer Service written, LB-IPAM writes its address → UPDATE at the router, p50', subject: milliseconds(subject), baseline: `${milliseconds(written)}: the same floor with two writes`,
      result: `${times(subject / written)}, p99 ${milliseconds(percentile(series.service, 0.99))}`, goal: '', reached: null,
    });
  } finally {
    await watch.stop();
  }
}

async function measureMany({client, raw, session, bare, report}: Bench): Promise<void> {
  report.progress(`${MANY} Services with addresses that nobody announces yet`);
  let next = 0;
  // Given by hand: LB-IPAM's addresses are written to 200 statuses a second, and this is not about that.
  await Promise.all(Array.from({length: WRITERS}, async () => {
    for (let i = next++; i < MANY; i = next++) await createService(client, service(`many-${i}`, 'many', {externalIp: `10.21.${i >> 8}.${i & 255}`, loadBalancerClass: OTHERS}));
  }));
  const [router, bareRouter] = [await session(), await raw.established(BARE_ROUTER, SESSION_MS)];
  const lastOf = (of: RawSession, net: string): Promise<number> => until(`${MANY} prefixes of ${net}`, {timeoutMs: 60_000, intervalMs: 10}, () => {
    const told = [...of.announced].flatMap(([prefix, atMs]) => (prefix.startsWith(net) ? [atMs] : []));
    return told.length >= MANY ? told.reduce((last, atMs) => Math.max(last, atMs), 0) : null;
  });
  const paths = Array.from({length: MANY}, (_, i) => barePath(`10.31.${i >> 8}.${i & 255}/32`));
  const bareStarted = nowMs();
  await bare.AddPathStream(Array.from({length: MANY / 500}, (_, i) => ({tableType: api.TableType.TABLE_TYPE_GLOBAL, paths: paths.slice(i * 500, i * 500 + 500)})));
  const bareMs = await lastOf(bareRouter, '10.31.') - bareStarted;
  const started = nowMs();
  const selector = {matchExpressions: [{key: 'bench', operator: 'Exists'}]};
  const [virtualRouter] = PEERING.spec.virtualRouters;
  await client.patch(objectPath(RESOURCES.CiliumBGPPeeringPolicy, '', 'rack0'), {
    type: 'merge', patch: {spec: {virtualRouters: [{...virtualRouter, serviceSelector: selector}]}},
  }, AbortSignal.timeout(30_000));
  const ms = await lastOf(router, '10.21.') - started;
  report.add({
    name: `policy written that announces ${MANY.toLocaleString('en')} addresses of Services → the last UPDATE at the router`, subject: milliseconds(ms), baseline: `${milliseconds(bareMs)} bare AddPathStream`,
    result: times(ms / bareMs), goal: '≤ 2 s', reached: ms <= 2_000,
  });
  await measureOneOfMany({client, router, report});
}

/** What one more costs beside them. */
async function measureOneOfMany({client, router, report}: Pick<Bench, 'client' | 'report'> & {readonly router: RawSession}): Promise<void> {
  const tookMs: number[] = [];
  for (let i = 0; i < 20; i++) {
    const started = nowMs();
    await client.patch(servicePath('external'), {type: 'merge', patch: {spec: {externalIPs: [`10.22.1.${i}`]}}}, AbortSignal.timeout(30_000));
    tookMs.push(await toldAt(router, `10.22.1.${i}/32`) - started);
  }
  report.add({
    name: `one more address beside ${MANY.toLocaleString('en')} → UPDATE at the router, p50`, subject: milliseconds(median(tookMs)), baseline: '–', result: `p90 ${milliseconds(percentile(tookMs, 0.9))}`, goal: '', reached: null,
  });
}

/** The agent of a node dies under traffic to a pod of it, and comes back. */
async function measureCrash({lab, session, report}: Bench): Promise<void> {
  report.progress('an agent that is killed');
  await lab.objects.apply(lab.manifest('bgp-lab/daemonset.yaml'));
  await lab.podsReady(['app', 'app'], NODES.length);
  const router = await session();
  const before = router.withdrawals;
  const [server] = lab.pods((pod) => pod.labels['app'] === 'app' && pod.node === FIRST.name);
  const [source] = lab.pods((pod) => pod.labels['app'] === 'app' && pod.node === OTHER.name);
  if (server === undefined || source === undefined) throw new Error('the pods of the lab are not there');
  const pace = startPace(source, server.address, 80, PACKETS_PER_SECOND);
  await pace.first();
  await lab.stentor.killAgent(FIRST.name);
  await lab.stentor.startAgent(FIRST.name);
  await lab.stentor.agentReady(FIRST.name);
  await pause(CRASH_MS);
  const {sent, received} = await pace.stop();
  const withdrawn = router.withdrawals - before;
  report.add({
    name: `agent killed and started again under ${PACKETS_PER_SECOND.toLocaleString('en')} packets/s`, subject: `${sent - received} lost, ${withdrawn} withdrawn`, baseline: `${sent.toLocaleString('en')} sent, ${router.announced.size.toLocaleString('en')} prefixes told`,
    result: router.isClosed ? 'the session was lost' : 'the session stayed', goal: '0 lost, 0 withdrawn', reached: sent > 0 && sent === received && withdrawn === 0 && !router.isClosed,
  });
}

/** From the moment at which the router takes connections again. */
async function measureRestart({raw, report}: Bench, options: RawSpeakerOptions): Promise<void> {
  report.progress('a router that is away and comes back');
  const tookMs: number[] = [];
  let router = raw;
  for (const outageMs of OUTAGES_MS) {
    await router.established(ROUTER, SESSION_MS, FIRST.address);
    await pause(STEADY_MS);
    await router.stop();
    await pause(outageMs);
    router = await RawSpeaker.start(options);
    const started = nowMs();
    await router.established(ROUTER, SESSION_MS, FIRST.address);
    tookMs.push(nowMs() - started);
  }
  await router.stop();
  report.add({
    name: `router back after ${OUTAGES_MS.map((ms) => ms / 1000).join(', ')} s → session`, subject: tookMs.map((ms) => milliseconds(ms)).join(', '), baseline: '–', result: `worst ${milliseconds(Math.max(...tookMs))}`, goal: '≤ 1 s',
    reached: Math.max(...tookMs) <= 1_000,
  });
}

/** BFD 50 ms × 3 with BIRD, on a link of its own that never goes down. */
async function measureSilence(lab: Lab, report: Report): Promise<void> {
  report.progress('a node that goes silent');
  const [node, netns] = [await Netns.create(lab.run, 'bfd-node'), await Netns.create(lab.run, 'bfd-router')];
  await connectLinks(node, netns);
  const router = birdRouter({netns, run: lab.run});
  const link = LINKS.find(({feature}) => feature.peer.bfd !== undefined);
  if (link === undefined) throw new Error('no feature has BFD');
  const speaker: Speaker = {source: null, instances: [{name: 'bfd', asn: link.feature.asn, routerId: '10.98.255.1', listenPort: -1, peers: [peerOf(link)], advertisements: []}]};
  const session = new SpeakerSession({directory: lab.run.folder('bfd-gobgpd'), command: ['nsenter', `--net=${node.path}`, join(ROOT, 'build/bin/gobgpd')]}, {clock: realClock, log: silentLog});
  await router.start();
  try {
    const refused = await session.set(speaker);
    if (refused.length > 0) throw new Error(refused.map(({message}) => message).join('; '));
    await until('the session with BFD', {timeoutMs: SESSION_MS}, async () => {
      const seen = await router.seen(link);
      return seen.established && seen.bfdUp ? true : null;
    });
    const ms = await silenceMs(router, netns);
    report.add({name: 'node silent → the router has ended its session, BFD 50 ms × 3', subject: milliseconds(ms), baseline: '–', result: 'BIRD', goal: '≤ 200 ms', reached: ms <= 200});
  } finally {
    await session.set({instances: [], source: null});
    session.close();
    await router.stop();
  }
}
