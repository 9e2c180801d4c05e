// A node that speaks to one good router (BIRD) and to several hostile ones (raw sockets), and what of it nobody may disturb.

import {readFileSync, writeFileSync} from 'node:fs';
import {join} from 'node:path';
import * as grpc from '@grpc/grpc-js';
import type {BgpPeer, Speaker} from '../../lib/domain/bgp.js';
import {collect} from '../../lib/run/grpc.js';
import {api} from '../../proto/gen/gobgp4.js';
import {goBgpService, type GoBgpClient} from '../../proto/gobgp.js';
import {recordProcess} from './cleanup.js';
import {NODE} from './helper.js';
import {connect, Netns, pidsIn} from './netns.js';
import {RawSpeaker} from './raw-speaker.js';
import {ROOT, type RunDirectory} from './run-dir.js';
import {must, startDaemon, until, type Daemon} from './shell.js';

const NODE_ASN = 65005;
export const HOSTILE_ASN = 65066;
const GOOD = {router: '10.50.0.1', node: '10.50.0.10'};
/** One link, many addresses: their sessions are apart. */
export const HOSTILE: readonly string[] = Array.from({length: 8}, (_, i) => `10.51.0.${i + 1}`);
export const OWN: readonly string[] = ['10.98.0.0/24', '172.20.0.1/32'];

export interface HostileLab {
  readonly node: Netns;
  readonly raw: RawSpeaker;
  readonly gobgpd: GoBgpClient;
  readonly speaker: Daemon;
  readonly birdc: (command: string) => Promise<string>;
  /** 0 = it does not run. */
  readonly gobgpdPid: () => number;
  /** Empty = the good router saw nothing, the node installed nothing, and gobgpd passes nothing on. */
  readonly disturbances: () => Promise<readonly string[]>;
  /** Whether gobgpd's log says everything: it does while a session is down. */
  readonly isVerbose: () => boolean;
  /** What gobgpd would announce. */
  readonly announced: () => Promise<readonly string[]>;
  /** Prefixes that gobgpd holds of a peer, before its import policy. */
  readonly learned: (peer: string) => Promise<readonly string[]>;
  readonly stop: () => Promise<void>;
}

function peer(address: string, asn: number): BgpPeer {
  return {
    address, asn, port: 179, holdTimeSeconds: 90, keepaliveSeconds: 30, connectRetrySeconds: 1, multihopTtl: 1,
    gracefulRestart: {enabled: asn === NODE_ASN, restartSeconds: 120}, authSecret: null, families: [{afi: 'ipv4', safi: 'unicast'}],
  };
}

const SPEAKER: Speaker = {
  source: null,
  instances: [{
    name: 'node', asn: NODE_ASN, routerId: GOOD.node, listenPort: -1, peers: [peer(GOOD.router, NODE_ASN), ...HOSTILE.map((address) => peer(address, HOSTILE_ASN))],
    advertisements: OWN.map((prefix) => ({prefix, peers: [], localPreference: null, communities: [], largeCommunities: [], origin: {kind: 'Service', namespace: 'default', name: 's', uid: ''}})),
  }],
};

export async function startHostileLab(run: RunDirectory): Promise<HostileLab> {
  const [node, router, rogue] = [await Netns.create(run, 'node'), await Netns.create(run, 'router'), await Netns.create(run, 'rogue')];
  await connect(node, 'good0', router, 'node0');
  await connect(node, 'rogue0', rogue, 'node0');
  await node.ip([`addr add ${GOOD.node}/24 dev good0`, 'addr add 10.51.0.100/24 dev rogue0']);
  await router.ip([`addr add ${GOOD.router}/24 dev node0`]);
  await rogue.ip(HOSTILE.map((address) => `addr add ${address}/24 dev node0`));
  const bird = await startBird(run, router);
  const raw = await RawSpeaker.start({netnsPath: rogue.path, asn: HOSTILE_ASN, routerId: HOSTILE[0] ?? '', holdSeconds: 90});
  const directory = run.folder('gobgpd');
  const file = run.file('speaker', 'speaker.json');
  writeFileSync(file, JSON.stringify(SPEAKER));
  const speaker = startDaemon({
    name: 'speaker', logFile: run.log('speaker'), command: [NODE, '--disable-warning=ExperimentalWarning', join(ROOT, 'dist/e2e/harness/speaker-process.js'), directory, file, 'nsenter', `--net=${node.path}`, join(ROOT, 'build/bin/gobgpd')],
  });
  recordProcess(run, speaker.pid, 'speaker');
  const birdc = (command: string): Promise<string> => must(['birdc', '-s', bird.control, ...command.split(' ')]);
  await until('the speaker is set', {timeoutMs: 10_000}, () => (readFileSync(run.log('speaker'), 'utf8').includes('[]') ? true : null));
  const gobgpd = goBgpService.connect(`unix:${join(directory, 'node', 'api.sock')}`, grpc.credentials.createInsecure(), {'grpc.max_receive_message_length': -1});
  await until('the good session and its routes', {timeoutMs: 10_000}, async () => ((await goodRoutes(birdc)).join() === OWN.join() ? true : null));
  await Promise.all(HOSTILE.map((address) => raw.established(address, 10_000)));
  const before = {flaps: await goodSession(birdc), kernel: await kernelRoutes(node)};
  return {
    node, raw, gobgpd, speaker, birdc,
    gobgpdPid: () => pidsIn(node.path).find((pid) => readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes('gobgpd')) ?? 0,
    disturbances: () => disturbances({birdc, node, gobgpd, before}),
    isVerbose: () => readFileSync(join(directory, 'node', 'log'), 'utf8').split('\n').slice(-5).some((line) => line.includes('"level":"DEBUG"')),
    announced: () => paths(gobgpd, {tableType: api.TableType.TABLE_TYPE_GLOBAL}),
    learned: (address) => paths(gobgpd, {tableType: api.TableType.TABLE_TYPE_ADJ_IN, name: address}),
    stop: async () => {
      gobgpd.channel.close();
      await speaker.stop('SIGKILL');
      await raw.stop();
      await bird.daemon.stop();
    },
  };
}

async function startBird(run: RunDirectory, router: Netns): Promise<{readonly daemon: Daemon; readonly control: string}> {
  const [config, control] = [run.file('routers', 'good.conf'), run.file('routers', 'good.ctl')];
  writeFileSync(config, [
    `router id ${GOOD.router};`, 'log stderr all;', 'protocol device { }',
    `protocol bgp good { local ${GOOD.router} as ${NODE_ASN}; neighbor ${GOOD.node} as ${NODE_ASN}; passive on; error wait time 1,2; graceful restart on; ipv4 { import all; export none; }; }`, '',
  ].join('\n'));
  const daemon = startDaemon({name: 'good', netns: router.path, logFile: run.log('good'), command: ['bird', '-f', '-c', config, '-s', control, '-P', `${control}.pid`]});
  await until('BIRD answers', {timeoutMs: 5_000}, async () => (await must(['birdc', '-s', control, 'show', 'status'])).includes('up and running') ? true : null);
  return {daemon, control};
}

type Birdc = HostileLab['birdc'];

/** Since when it is up, and what it was told. */
async function goodSession(birdc: Birdc): Promise<string> {
  const text = await birdc('show protocols all good');
  const since = /^good .*$/m.exec(text)?.[0].replace(/\s+/g, ' ') ?? 'no protocol';
  const count = (what: string): string => new RegExp(`Import ${what}: +(\\d+)`).exec(text)?.[1] ?? '?';
  return `${since}, ${count('updates')} updates, ${count('withdraws')} withdraws`;
}

async function goodRoutes(birdc: Birdc): Promise<readonly string[]> {
  return [...(await birdc('show route protocol good')).matchAll(/^(\d[\d.]+\/\d+)/gm)].map((match) => match[1] ?? '').sort();
}

async function kernelRoutes(node: Netns): Promise<string> {
  return must(['ip', '-n', node.fullName, 'route', 'show', 'table', 'all']);
}

async function paths(gobgpd: GoBgpClient, table: {readonly tableType: api.TableType; readonly name?: string}): Promise<readonly string[]> {
  const found = await collect(gobgpd.ListPath({...table, family: {afi: api.Family.Afi.AFI_IP, safi: api.Family.Safi.SAFI_UNICAST}}));
  return found.map(({destination}) => destination?.prefix ?? '').sort();
}

interface Watched {
  readonly birdc: Birdc;
  readonly node: Netns;
  readonly gobgpd: GoBgpClient;
  readonly before: {readonly flaps: string; readonly kernel: string};
}

async function disturbances({birdc, node, gobgpd, before}: Watched): Promise<readonly string[]> {
  const found: string[] = [];
  const [session, routes, kernel, table] = [await goodSession(birdc), await goodRoutes(birdc), await kernelRoutes(node), await paths(gobgpd, {tableType: api.TableType.TABLE_TYPE_GLOBAL})];
  if (session !== before.flaps) found.push(`the good session: ${session} instead of ${before.flaps}`);
  if (routes.join() !== OWN.join()) found.push(`the good router has ${routes.join()}`);
  if (kernel !== before.kernel) found.push('the node has other routes');
  if (table.join() !== OWN.join()) found.push(`gobgpd would announce ${table.join()}`);
  return found;
}

/** In kB: now, and the most that it ever was. */
export function residentKb(pid: number): {readonly now: number; readonly peak: number} {
  const text = readFileSync(`/proc/${pid}/status`, 'utf8');
  const of = (name: string): number => Number(new RegExp(`${name}:\\s+(\\d+) kB`).exec(text)?.[1] ?? NaN);
  return {now: of('VmRSS'), peak: of('VmHWM')};
}
