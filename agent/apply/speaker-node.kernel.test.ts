// What only the node knows of its sessions, against real gobgpd and BIRD in two network namespaces (root): the default gateway by its link-local
// address, addresses of an interface, the source port; and a drained node's attributes for an iBGP peer and one of another AS.

import {execFileSync, spawn, type ChildProcess} from 'node:child_process';
import {mkdtempSync, rmSync, writeFileSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {afterAll, beforeAll, expect, test} from '@jest/globals';
import {DEFAULT_GATEWAY, type BgpInstance, type BgpPeer, type PathAttributes, type Speaker} from '../../lib/domain/bgp.js';
import {realClock} from '../../lib/run/clock.js';
import {silentLog} from '../../lib/run/log.js';
import type {NodeFacts} from './speaker-local.js';
import {SpeakerSession} from './speaker.js';

const ROOT = join(import.meta.dirname, '../../..');
const NODE = `drain-node-${process.pid}`;
const ROUTER = `drain-router-${process.pid}`;
const COMMAND = ['nsenter', `--net=/run/netns/${NODE}`, join(ROOT, 'build/bin/gobgpd')];
const folder = mkdtempSync(join(tmpdir(), 'speaker-node-'));
const origin = {kind: 'Node', namespace: '', name: 'n', uid: ''};
const SOURCE_PORT = 40_179;

const PEER: BgpPeer = {
  address: '10.1.5.1', asn: 65005, port: 179, holdTimeSeconds: 90, keepaliveSeconds: 30, connectRetrySeconds: 120, multihopTtl: 1,
  gracefulRestart: {enabled: false, restartSeconds: 120}, authSecret: null, families: [{afi: 'ipv4', safi: 'unicast'}, {afi: 'ipv6', safi: 'unicast'}],
};
const NOTHING: PathAttributes = {localPreference: null, communities: [], largeCommunities: []};
const path = (prefix: string, peers: readonly string[] = [], attributes = NOTHING): BgpInstance['advertisements'][number] => ({prefix, peers, ...attributes, origin});
const speaker = (peers: readonly BgpPeer[], more: Partial<BgpInstance>): Speaker =>
  ({instances: [{name: 'main', asn: 65005, routerId: '10.1.5.10', listenPort: -1, peers, advertisements: [], ...more}], source: origin});

const sh = (...words: readonly string[]): string => execFileSync(words[0] ?? '', words.slice(1), {encoding: 'utf8'});
const inside = (netns: string, ...words: readonly string[]): string => sh('nsenter', `--net=/run/netns/${netns}`, ...words);
const birdc = (...words: readonly string[]): string => sh('birdc', '-s', join(folder, 'bird.ctl'), ...words);

async function until(what: string, limitMs: number, holds: () => boolean): Promise<void> {
  const start = performance.now();
  while (!holds()) {
    if (performance.now() - start > limitMs) throw new Error(`not within ${limitMs} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

let facts: NodeFacts = {gateways: {ipv4: null, ipv6: 'fe80::1%node0'}, interfaces: new Map([['lo', ['127.0.0.1', '10.99.0.7', '2001:db8:99::7', '::1']]])};
let session: SpeakerSession;
let bird: ChildProcess;

beforeAll(async () => {
  for (const name of [NODE, ROUTER]) {
    sh('ip', 'netns', 'add', name);
    sh('ip', '-n', name, 'link', 'set', 'lo', 'up');
  }
  for (const [device, node, router] of [['0', '10', '1'], ['1', '20', '2']] as const) {
    sh('ip', '-n', NODE, 'link', 'add', `node${device}`, 'type', 'veth', 'peer', 'name', `router${device}`, 'netns', ROUTER);
    for (const [netns, link, host] of [[NODE, `node${device}`, node], [ROUTER, `router${device}`, router]] as const) {
      inside(netns, 'sysctl', '-qw', `net.ipv6.conf.${link}.disable_ipv6=0`, `net.ipv6.conf.${link}.addr_gen_mode=1`, `net.ipv6.conf.${link}.accept_dad=0`);
      sh('ip', '-n', netns, 'addr', 'add', `10.1.${5 + Number(device)}.${host}/24`, 'dev', link);
      sh('ip', '-n', netns, 'link', 'set', link, 'up');
      sh('ip', '-n', netns, 'addr', 'add', `fe80::${host}/64`, 'dev', link, 'nodad');
    }
  }
  writeFileSync(join(folder, 'bird.conf'), `
    log "${folder}/bird.log" all;
    router id 10.1.5.1;
    protocol device { scan time 1; }
    protocol direct { ipv4; }
    protocol kernel k4 { ipv4 { export where source = RTS_BGP; import none; }; }
    protocol kernel k6 { ipv6 { export where source = RTS_BGP; import none; }; }
    template bgp node { passive on; error wait time 1,2; ipv4 { import all; export none; extended next hop on; }; ipv6 { import all; export none; }; }
    protocol bgp unnumbered from node { interface "router0"; local fe80::1 as 65005; neighbor fe80::10 as 65005; direct; }
    protocol bgp numbered from node { local 10.1.5.1 as 65005; neighbor 10.1.5.10 as 65005; }
    protocol bgp outside from node { local 10.1.6.2 as 65100; neighbor 10.1.6.20 as 65005; }
  `);
  bird = spawn('nsenter', [`--net=/run/netns/${ROUTER}`, 'bird', '-f', '-c', join(folder, 'bird.conf'), '-s', join(folder, 'bird.ctl')], {stdio: 'ignore'});
  await until('BIRD answers', 3000, () => {
    try {
      return birdc('show', 'status').includes('up and running');
    } catch {
      return false;
    }
  });
  session = new SpeakerSession({directory: join(folder, 'gobgpd'), command: COMMAND}, {clock: realClock, log: silentLog, node: () => Promise.resolve(facts)});
}, 30_000);

afterAll(async () => {
  await session.set({instances: [], source: null});
  session.close();
  bird.kill('SIGKILL');
  for (const name of [NODE, ROUTER]) sh('ip', 'netns', 'del', name);
  rmSync(folder, {recursive: true, force: true});
}, 30_000);

const isUp = (protocol: string): boolean => birdc('show', 'protocols', protocol).includes('Established');
const routes = (family: '-4' | '-6'): string => sh('ip', '-n', ROUTER, family, 'route', 'show', 'proto', 'bird');

test('unnumbered: the default gateway is link-local, and takes routes of both families over IPv6', async () => {
  const wanted = speaker([{...PEER, address: DEFAULT_GATEWAY.ipv6}], {advertisements: [path('10.98.0.0/24'), path('2001:db8:98::/64')]});
  expect(await session.set(wanted)).toEqual([]);
  await until('the session', 10_000, () => isUp('unnumbered'));
  await until('the IPv4 route', 3000, () => /10\.98\.0\.0\/24 via inet6 fe80::10 dev router0/.test(routes('-4')));
  await until('the IPv6 route', 3000, () => /2001:db8:98::\/64 via fe80::10 dev router0/.test(routes('-6')));
  expect((await session.peers(() => '')).map(({address, session: state}) => `${address} ${state}`)).toEqual(['fe80::1%node0 established']);
  // Equal is no change; what went away for a moment takes no session with it, and neither does an agent that forgets it all.
  const before = birdc('show', 'protocols', 'unnumbered');
  expect(await session.set(wanted)).toEqual([]);
  facts = {...facts, gateways: {ipv4: null, ipv6: null}};
  expect((await session.set(wanted)).map(({code}) => code)).toEqual(['BGP_HELD']);
  session.close();
  session = new SpeakerSession({directory: join(folder, 'gobgpd'), command: COMMAND}, {clock: realClock, log: silentLog, node: () => Promise.resolve(facts)});
  expect((await session.set(wanted)).map(({code}) => code)).toEqual(['BGP_HELD']);
  expect(birdc('show', 'protocols', 'unnumbered')).toBe(before);
}, 30_000);

test('a source port that was asked for; addresses of an interface, as host routes', async () => {
  const told = (afi: 'ipv4' | 'ipv6'): NonNullable<BgpInstance['interfaces']>[number] => ({interface: 'lo', afi, peer: '10.1.5.1', ...NOTHING, origin});
  const wanted = speaker([{...PEER, localPort: SOURCE_PORT}], {advertisements: [path('10.98.0.0/24')], interfaces: [told('ipv4'), told('ipv6')]});
  expect(await session.set(wanted)).toEqual([]);
  await until('the session', 10_000, () => isUp('numbered'));
  expect(inside(NODE, 'ss', '-Htn', 'state', 'established', 'dport', '=', ':179')).toMatch(new RegExp(`10\\.1\\.5\\.10:${SOURCE_PORT}\\s+10\\.1\\.5\\.1:179`));
  await until('the addresses', 3000, () => routes('-4').includes('10.99.0.7 via 10.1.5.10'));
  // BIRD has no next hop for them in a session over IPv4.
  expect((await session.routes({type: 'advertised', family: {afi: 'ipv6', safi: 'unicast'}, peer: null, vrouter: null})).map(({prefix}) => prefix)).toEqual(['2001:db8:99::7/128']);
  expect(routes('-4')).not.toContain('127.0.0.1');
  // One address less: only that is gone, and an equal state is no reason to connect anew.
  facts = {...facts, interfaces: new Map([['lo', ['10.99.0.8']]])};
  expect(await session.set(wanted)).toEqual([]);
  await until('the other address', 3000, () => routes('-4').includes('10.99.0.8 via') && !routes('-4').includes('10.99.0.7 via'));
  expect(isUp('numbered')).toBe(true);
}, 30_000);

test('a drained node: the peer of the own AS is told the least preference, the one outside only the community', async () => {
  const outside: BgpPeer = {...PEER, address: '10.1.6.2', asn: 65100};
  const shutdown = {...NOTHING, communities: [0xffff0000]};
  const before = speaker([PEER, outside], {advertisements: [path('10.98.0.0/24')]});
  expect(await session.set(before)).toEqual([]);
  await until('both sessions', 15_000, () => isUp('numbered') && isUp('outside'));
  expect(await session.set(speaker([PEER, outside], {advertisements: [path('10.98.0.0/24', ['10.1.5.1'], {...shutdown, localPreference: 1}), path('10.98.0.0/24', ['10.1.6.2'], shutdown)]}))).toEqual([]);
  await until('the own AS knows', 3000, () => /local_pref: 1\s[^]*\(65535,0\)/.test(birdc('show', 'route', 'protocol', 'numbered', 'all')));
  await until('the other one, too', 3000, () => birdc('show', 'route', 'protocol', 'outside', 'all').includes('(65535,0)'));
  expect(birdc('show', 'route', 'protocol', 'outside', 'all')).not.toMatch(/local_pref: 1\s/);
  expect(await session.set(before)).toEqual([]);
  await until('as before', 3000, () => !birdc('show', 'route', 'all').includes('(65535,0)'));
}, 40_000);
