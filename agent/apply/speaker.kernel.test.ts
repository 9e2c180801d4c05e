// The speaker against real gobgpd and BIRD in two network namespaces (root).

import {execFileSync, spawn, type ChildProcess, type ChildProcessByStdio} from 'node:child_process';
import {mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import type {Readable} from 'node:stream';
import {afterAll, beforeAll, describe, expect, test} from '@jest/globals';
import type {Advertisement, BgpInstance, BgpPeer, BgpPeerStatus, Speaker} from '../../lib/domain/bgp.js';
import {realClock} from '../../lib/run/clock.js';
import {silentLog, type Log} from '../../lib/run/log.js';
import {SpeakerEvents} from '../watch/speaker-events.js';
import {SpeakerSession} from './speaker.js';

const ROOT = join(import.meta.dirname, '../../..');
// Two runs on one machine must not take each other's namespaces away.
const NODE = `speaker-node-${process.pid}`;
const ROUTER = `speaker-router-${process.pid}`;
const COMMAND = ['nsenter', `--net=/run/netns/${NODE}`, join(ROOT, 'build/bin/gobgpd')];
const folder = mkdtempSync(join(tmpdir(), 'speaker-'));
const directory = join(folder, 'gobgpd');
const origin = {kind: 'Node', namespace: '', name: 'n', uid: ''};

const INTERNAL: BgpPeer = {
  address: '10.1.5.1', asn: 65005, port: 179, holdTimeSeconds: 90, keepaliveSeconds: 30, connectRetrySeconds: 120, multihopTtl: 1,
  gracefulRestart: {enabled: true, restartSeconds: 120}, authSecret: null, families: [{afi: 'ipv4', safi: 'unicast'}, {afi: 'ipv6', safi: 'unicast'}],
};
const EXTERNAL: BgpPeer = {...INTERNAL, address: '10.1.6.2', asn: 65100, multihopTtl: 5, gracefulRestart: {enabled: false, restartSeconds: 120}};

function advertise(prefix: string, more: Partial<Advertisement> = {}): Advertisement {
  return {prefix, peers: [], localPreference: null, communities: [], largeCommunities: [], origin, ...more};
}

function speaker(peers: readonly BgpPeer[], advertisements: readonly Advertisement[], more: Partial<BgpInstance> = {}): Speaker {
  return {instances: [{name: '65005', asn: 65005, routerId: '10.1.5.10', listenPort: -1, peers, advertisements, ...more}], source: origin};
}

const sh = (...words: readonly string[]): string => execFileSync(words[0] ?? '', words.slice(1), {encoding: 'utf8'});
function quiet(...words: readonly string[]): void {
  try {
    execFileSync(words[0] ?? '', words.slice(1), {stdio: 'ignore'});
  } catch {
    // It was not there.
  }
}
const routes = (): string => sh('ip', '-n', ROUTER, 'route', 'show', 'proto', 'bird');
const birdc = (...words: readonly string[]): string => sh('birdc', '-s', join(folder, 'bird.ctl'), ...words);
const gobgpds = (): number[] => sh('pgrep', '-f', '--', `unix://${directory}`).split('\n').filter((pid) => pid !== '').map(Number);

async function until(what: string, limitMs: number, holds: () => boolean | Promise<boolean>): Promise<number> {
  const start = performance.now();
  while (!(await holds())) {
    if (performance.now() - start > limitMs) throw new Error(`not within ${limitMs} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  return performance.now() - start;
}

let session: SpeakerSession;
let events: SpeakerEvents;
let bird: ChildProcess;
let driver: ChildProcessByStdio<null, Readable, null> | null = null;
const stop = new AbortController();
const peers = (): Promise<readonly BgpPeerStatus[]> => events.peers();
const state = async (address: string): Promise<string> => (await peers()).find((peer) => peer.address === address)?.session ?? 'absent';
const established = async (...addresses: readonly string[]): Promise<boolean> =>
  (await Promise.all(addresses.map((address) => state(address)))).every((one) => one === 'established');

beforeAll(async () => {
  for (const name of [NODE, ROUTER]) {
    sh('ip', 'netns', 'add', name);
    sh('ip', '-n', name, 'link', 'set', 'lo', 'up');
  }
  sh('ip', '-n', NODE, 'link', 'add', 'node0', 'type', 'veth', 'peer', 'name', 'router0', 'netns', ROUTER);
  sh('ip', '-n', NODE, 'addr', 'add', '10.1.5.10/24', 'dev', 'node0');
  sh('ip', '-n', ROUTER, 'addr', 'add', '10.1.5.1/24', 'dev', 'router0');
  sh('ip', '-n', NODE, 'link', 'set', 'node0', 'up');
  sh('ip', '-n', ROUTER, 'link', 'set', 'router0', 'up');
  // A second link, because BIRD takes only one peering per neighbour address.
  sh('ip', '-n', NODE, 'link', 'add', 'node1', 'type', 'veth', 'peer', 'name', 'router1', 'netns', ROUTER);
  sh('ip', '-n', NODE, 'addr', 'add', '10.1.6.10/24', 'dev', 'node1');
  sh('ip', '-n', ROUTER, 'addr', 'add', '10.1.6.2/24', 'dev', 'router1');
  sh('ip', '-n', NODE, 'link', 'set', 'node1', 'up');
  sh('ip', '-n', ROUTER, 'link', 'set', 'router1', 'up');
  writeFileSync(join(folder, 'bird.conf'), `
    log "${folder}/bird.log" all;
    router id 10.1.5.1;
    protocol device { scan time 1; }
    protocol direct { ipv4; }
    protocol kernel { ipv4 { export where source = RTS_BGP; import none; }; }
    protocol static { ipv4; route 192.0.2.0/24 blackhole; }
    template bgp node { passive on; error wait time 1,2; ipv4 { import all; export where source = RTS_STATIC; }; ipv6 { import all; export none; }; }
    protocol bgp inside from node { local 10.1.5.1 as 65005; neighbor 10.1.5.10 as 65005; }
    protocol bgp outside from node { local 10.1.6.2 as 65100; neighbor 10.1.6.10 as 65005; multihop 5; ipv4 { preference 50; import all; export none; }; }
  `);
  bird = spawn('nsenter', [`--net=/run/netns/${ROUTER}`, 'bird', '-f', '-c', join(folder, 'bird.conf'), '-s', join(folder, 'bird.ctl')], {stdio: 'ignore'});
  await until('BIRD answers', 3000, () => {
    try {
      return birdc('show', 'status').includes('up and running');
    } catch {
      return false;
    }
  });
  session = new SpeakerSession({directory, command: COMMAND}, {clock: realClock, log: silentLog});
  events = new SpeakerEvents({source: session, clock: realClock, log: silentLog});
  void events.run(stop.signal);
}, 30_000);

// Also after a test that failed half-way: nothing of this run is left.
afterAll(async () => {
  stop.abort();
  driver?.kill('SIGKILL');
  session.close();
  for (const name of ['gobgpd', 'other', 'md5']) {
    const last = new SpeakerSession({directory: join(folder, name), command: COMMAND}, {clock: realClock, log: silentLog});
    await last.set({instances: [], source: null});
    last.close();
  }
  bird.kill('SIGKILL');
  quiet('ip', 'netns', 'del', NODE);
  quiet('ip', 'netns', 'del', ROUTER);
  rmSync(folder, {recursive: true, force: true});
}, 30_000);

describe('speaker', () => {
  test('sessions come up within 5 s, and the prefix is in the kernel of the router', async () => {
    const start = performance.now();
    expect(await session.set(speaker([INTERNAL, EXTERNAL], [advertise('10.98.0.0/24')]))).toEqual([]);
    await until('both sessions', 5000, () => established('10.1.5.1', '10.1.6.2'));
    await until('the route', 1000, () => routes().includes('10.98.0.0/24 via 10.1.5.10'));
    const total = performance.now() - start;
    console.info(`set() to the route in the router's kernel: ${Math.round(total)} ms`);
    expect(total).toBeLessThan(5000);
    expect(birdc('show', 'protocols', 'all', 'outside')).toContain('Established');
  }, 20_000);

  test('what the router says is counted, but neither installed nor passed on', async () => {
    await until('the route of the router', 3000, async () => (await peers())[0]?.families[0]?.received === 1);
    const [internal] = await peers();
    expect(internal?.families).toEqual([{family: 'ipv4/unicast', received: 1, accepted: 1, advertised: 1}, {family: 'ipv6/unicast', received: 0, accepted: 0, advertised: 0}]);
    const available = await session.routes({type: 'available', family: {afi: 'ipv4', safi: 'unicast'}, peer: null, vrouter: null});
    expect(available).toEqual([{vrouter: 65005, prefix: '10.98.0.0/24', nextHop: '0.0.0.0', ageSeconds: expect.any(Number), attrs: ['{Origin: i}', '{Nexthop: 0.0.0.0}']}]);
    const advertised = await session.routes({type: 'advertised', family: {afi: 'ipv4', safi: 'unicast'}, peer: '10.1.6.2', vrouter: 65005});
    expect(advertised.map(({peer, prefix, nextHop, attrs}) => ({peer, prefix, nextHop, attrs})))
      .toEqual([{peer: '10.1.6.2', prefix: '10.98.0.0/24', nextHop: '10.1.6.10', attrs: ['{Origin: i}', '{AsPath: 65005}', '{Nexthop: 10.1.6.10}']}]);
    expect(sh('ip', '-n', NODE, 'route')).not.toContain('192.0.2.0');
  });

  test('an equal state needs no call: nothing changes in gobgpd, its log included', async () => {
    const log = (): string => readFileSync(join(directory, '65005', 'log'), 'utf8');
    // While a session was down the log explained more; that ends a moment after it is up.
    await until('the log is as ever', 3000, () => log().includes('"NewLevel":"INFO"'));
    const before = [log(), birdc('show', 'route', 'all')];
    expect(await session.set(speaker([INTERNAL, EXTERNAL], [advertise('10.98.0.0/24')]))).toEqual([]);
    expect([log(), birdc('show', 'route', 'all')]).toEqual(before);
  });

  test('IPv6 prefixes and passwords are read back as they were set', async () => {
    // By an agent that comes later, too: it has to read.
    const changes: string[] = [];
    const log: Log = {...silentLog, info: (message, fields) => void changes.push(`${message} ${JSON.stringify(fields)}`)};
    const other = new SpeakerSession({directory: join(folder, 'md5'), command: COMMAND}, {clock: realClock, log});
    const wanted = speaker([{...EXTERNAL, address: '10.1.6.3', authSecret: 'a-secret', password: 'a secret', localAddress: '10.1.6.10'}, {...INTERNAL, address: 'fd00::1'}], [
      advertise('2001:db8:98::/64', {localPreference: 300, communities: [7], largeCommunities: ['1:2:3']}), advertise('10.98.0.0/24'),
      advertise('2001:db8:99::/64', {peers: ['fd00::1']}), advertise('10.99.0.0/24', {peers: ['10.1.6.3']}),
    ]);
    expect(await other.set(wanted)).toEqual([]);
    expect(changes.at(-1)).toContain('"peersAdded":2,"pathsAdded":4');
    changes.length = 0;
    expect(await other.set(wanted)).toEqual([]);
    expect(changes).toEqual([]);
    const heir = new SpeakerSession({directory: join(folder, 'md5'), command: COMMAND}, {clock: realClock, log});
    expect(await heir.set(wanted)).toEqual([]);
    expect(changes.filter((text) => text.startsWith('speaker changed'))).toEqual([]);
    heir.close();
    const [path] = await other.routes({type: 'available', family: {afi: 'ipv6', safi: 'unicast'}, peer: null, vrouter: null});
    expect(path?.attrs).toContain('{MpReach(ipv6-unicast): {Nexthop: ::, NLRIs: [2001:db8:98::/64]}}');
    expect(await other.set({instances: [], source: null})).toEqual([]);
    other.close();
  });

  test('adding and withdrawing a prefix reaches the kernel of the router in milliseconds', async () => {
    const added: number[] = [];
    const withdrawn: number[] = [];
    for (let i = 0; i < 20; i++) {
      let start = performance.now();
      await session.set(speaker([INTERNAL, EXTERNAL], [advertise('10.98.0.0/24'), advertise('10.98.77.0/24')]));
      await until('the new route', 2000, () => routes().includes('10.98.77.0/24'));
      added.push(performance.now() - start);
      start = performance.now();
      await session.set(speaker([INTERNAL, EXTERNAL], [advertise('10.98.0.0/24')]));
      await until('the route is gone', 2000, () => !routes().includes('10.98.77.0/24'));
      withdrawn.push(performance.now() - start);
    }
    const middle = (values: number[]): number => values.sort((a, b) => a - b)[10] ?? 0;
    console.info(`set() to kernel route, p50: added ${middle(added).toFixed(1)} ms, withdrawn ${middle(withdrawn).toFixed(1)} ms`);
    expect(middle(added)).toBeLessThan(200);
    expect(middle(withdrawn)).toBeLessThan(200);
  }, 60_000);

  test('attributes and peers of an advertisement decide what each router gets', async () => {
    const only = (peer: string, prefix: string, more: Partial<Advertisement> = {}): Advertisement => advertise(prefix, {peers: [peer], ...more});
    const differing = (outside: number): Advertisement[] => [
      advertise('10.98.0.0/24'),
      advertise('10.98.1.0/24', {localPreference: 200, communities: [65005 * 65536 + 7]}),
      only('10.1.5.1', '10.98.2.0/24', {communities: [65005 * 65536 + 1], largeCommunities: ['65005:1:2']}),
      only('10.1.6.2', '10.98.2.0/24', {communities: [65005 * 65536 + outside]}),
      only('10.1.6.2', '10.98.3.0/24'),
    ];
    expect(await session.set(speaker([INTERNAL, EXTERNAL], differing(2)))).toEqual([]);
    const from = (protocol: string, prefix: string): string => birdc('show', 'route', 'protocol', protocol, 'all', 'for', prefix);
    await until('the routes', 3000, () => birdc('show', 'route', 'protocol', 'outside').includes('10.98.3.0/24'));
    expect(from('inside', '10.98.1.0/24')).toMatch(/BGP.local_pref: 200[\s\S]*BGP.community: \(65005,7\)/);
    expect(from('outside', '10.98.1.0/24')).toContain('(65005,7)');
    expect(from('inside', '10.98.2.0/24')).toMatch(/BGP.community: \(65005,1\)\s+BGP.large_community: \(65005, 1, 2\)/);
    expect(from('outside', '10.98.2.0/24')).toContain('(65005,2)');
    expect(birdc('show', 'route', 'protocol', 'inside')).not.toContain('10.98.3.0/24');
    // What changes for one peer is not said to the other.
    const heard = (protocol: string): string => /Import updates: +(\d+)/.exec(birdc('show', 'protocols', 'all', protocol))?.[1] ?? '';
    const [inside, outside] = [heard('inside'), heard('outside')];
    expect(await session.set(speaker([INTERNAL, EXTERNAL], differing(3)))).toEqual([]);
    await until('the other community', 3000, () => from('outside', '10.98.2.0/24').includes('(65005,3)'));
    expect([heard('inside'), heard('outside')]).toEqual([inside, expect.not.stringMatching(`^${outside}$`)]);
    expect(await session.set(speaker([INTERNAL, EXTERNAL], [advertise('10.98.0.0/24'), advertise('10.98.3.0/24')]))).toEqual([]);
    await until('the prefix goes to both', 3000, () => birdc('show', 'route', 'protocol', 'inside').includes('10.98.3.0/24'));
    expect(await session.set(speaker([INTERNAL, EXTERNAL], [advertise('10.98.0.0/24')]))).toEqual([]);
  }, 20_000);

  test('invalid input is named and keeps nothing else from working', async () => {
    const failures = await session.set(speaker(
      [INTERNAL, EXTERNAL, {...INTERNAL, address: '10.1.5.999'}, {...INTERNAL, address: '10.1.5.3', keepaliveSeconds: 100}],
      [advertise('10.98.0.0/24'), advertise('10.98.4.1/24'), advertise('10.98.5.0/24', {largeCommunities: ['1:2']})],
    ));
    expect(failures.map(({peer, prefix, code}) => [peer, prefix, code])).toEqual([
      ['10.1.5.999', '', 'BGP_PEER_INVALID'], ['10.1.5.3', '', 'BGP_PEER_INVALID'], ['', '10.98.4.1/24', 'BGP_PATH_INVALID'], ['', '10.98.5.0/24', 'BGP_PATH_INVALID'],
    ]);
    expect(await established('10.1.5.1', '10.1.6.2')).toBe(true);
    expect((await session.set(speaker([], [], {routerId: 'x'})))[0]?.code).toBe('BGP_INSTANCE_INVALID');
    expect(await established('10.1.5.1', '10.1.6.2')).toBe(true);
  });

  test('new timers are in force after a short reset of that session alone; the reason is told', async () => {
    const quick: BgpPeer = {...EXTERNAL, holdTimeSeconds: 9, keepaliveSeconds: 3};
    const internalUp = birdc('show', 'protocols', 'inside');
    expect(await session.set(speaker([INTERNAL, quick], [advertise('10.98.0.0/24')]))).toEqual([]);
    await until('the reason', 3000, async () => (await peers())[1]?.reason.includes('administrative reset') ?? false);
    const took = await until('the session again', 6000, () => established('10.1.6.2'));
    console.info(`timers changed, session back after ${Math.round(took)} ms`);
    await until('BIRD has the new hold time', 2000, () => /Hold timer: +\S+\/9/.test(birdc('show', 'protocols', 'all', 'outside')));
    expect((await peers())[1]?.reason).toBe('');
    expect(birdc('show', 'protocols', 'inside')).toBe(internalUp);
  }, 20_000);

  test('a connection that fails says why: refused, no route', async () => {
    const nowhere: BgpPeer = {...EXTERNAL, address: '203.0.113.9'};
    expect(await session.set(speaker([INTERNAL, {...EXTERNAL, port: 1799}, nowhere], [advertise('10.98.0.0/24')]))).toEqual([]);
    const reason = async (address: string): Promise<string> => (await peers()).find((peer) => peer.address === address)?.reason ?? '';
    await until('the refusal', 8000, async () => (await reason('10.1.6.2')).startsWith('connection refused'));
    await until('the missing route', 8000, async () => (await reason('203.0.113.9')).startsWith('no route'));
    expect(await session.set(speaker([INTERNAL, {...EXTERNAL, holdTimeSeconds: 9, keepaliveSeconds: 3}], [advertise('10.98.0.0/24')]))).toEqual([]);
    await until('the session again', 8000, () => established('10.1.6.2'));
    expect((await peers())[1]).toMatchObject({holdTimeSeconds: 9, keepaliveSeconds: 3, establishedAt: expect.any(Number)});
  }, 40_000);

  test('kill -9 of the agent: sessions and routes stay, the next agent adopts the process', async () => {
    session.close();
    const script = `
      import {SpeakerSession} from ${JSON.stringify(join(ROOT, 'dist/agent/apply/speaker.js'))};
      import {realClock} from ${JSON.stringify(join(ROOT, 'dist/lib/run/clock.js'))};
      import {silentLog} from ${JSON.stringify(join(ROOT, 'dist/lib/run/log.js'))};
      const session = new SpeakerSession(${JSON.stringify({directory: join(folder, 'other'), command: COMMAND})}, {clock: realClock, log: silentLog});
      const failures = await session.set(${JSON.stringify(speaker([], [], {name: 'second', asn: 65006}))});
      console.log(JSON.stringify(failures));
      setInterval(() => 0, 1000);`;
    const agent = spawn(process.execPath, ['--input-type=module', '-e', script], {stdio: ['ignore', 'pipe', 'inherit']});
    driver = agent;
    const said = await new Promise<string>((resolve) => agent.stdout.once('data', (data: Buffer) => resolve(data.toString())));
    expect(JSON.parse(said)).toEqual([]);
    const left = (): string => sh('pgrep', '-f', '--', `unix://${join(folder, 'other')}`).trim();
    const pid = left();
    agent.kill('SIGKILL');
    await new Promise((resolve) => agent.once('exit', resolve));
    expect(left()).toBe(pid);
    const heir = new SpeakerSession({directory: join(folder, 'other'), command: COMMAND}, {clock: realClock, log: silentLog});
    expect(await heir.set(speaker([], [advertise('10.98.9.0/24')], {name: 'second', asn: 65006}))).toEqual([]);
    expect(left()).toBe(pid);
    expect(await heir.routes({type: 'available', family: {afi: 'ipv4', safi: 'unicast'}, peer: null, vrouter: 65006})).toHaveLength(1);
    expect(await heir.set({instances: [], source: null})).toEqual([]);
    expect(() => left()).toThrow();
    heir.close();
    // The sessions of the first process went on all the while.
    const before = birdc('show', 'protocols', 'inside');
    expect(before).toContain('Established');
    expect(await session.set(speaker([INTERNAL, EXTERNAL], [advertise('10.98.0.0/24')]))).toEqual([]);
    expect(birdc('show', 'protocols', 'inside')).toBe(before);
    expect(gobgpds()).toHaveLength(1);
  }, 20_000);

  test('kill -9 of gobgpd: it comes back, with graceful restart the route never leaves the kernel', async () => {
    const end = new AbortController();
    const watched = session.supervise(end.signal);
    await until('both sessions', 8000, () => established('10.1.5.1', '10.1.6.2'));
    let missed = 0;
    let looks = 0;
    for (const pid of gobgpds()) process.kill(pid, 'SIGKILL');
    await until('a new process', 5000, () => {
      looks++;
      if (!routes().includes('10.98.0.0/24')) missed++;
      return session.instances().length === 1 && gobgpdsOrNone().length === 1;
    });
    await until('both sessions again', 15_000, async () => {
      looks++;
      if (!routes().includes('10.98.0.0/24')) missed++;
      return established('10.1.5.1', '10.1.6.2').catch(() => false);
    });
    end.abort();
    await watched;
    expect(looks).toBeGreaterThan(10);
    expect(missed).toBe(0);
  }, 40_000);

  test('what somebody else takes from gobgpd or adds to it is found by looking, and put right', async () => {
    const wanted = speaker([INTERNAL, EXTERNAL], [advertise('10.98.0.0/24'), advertise('10.98.6.0/24', {communities: [65005 * 65536 + 6]})]);
    expect(await session.set(wanted)).toEqual([]);
    await until('the routes', 3000, () => routes().includes('10.98.6.0/24'));
    const rib = (...words: readonly string[]): string => sh(join(ROOT, 'build/bin/gobgp'), '--target', `unix://${join(directory, '65005', 'api.sock')}`, 'global', 'rib', ...words);
    rib('del', '10.98.0.0/24');
    await until('the route is gone', 3000, () => !routes().includes('10.98.0.0/24'));
    // What is known is not read again for an equal state: only looking finds it.
    expect(await session.set(wanted)).toEqual([]);
    expect(routes()).not.toContain('10.98.0.0/24');
    const end = new AbortController();
    const watched = session.supervise(end.signal);
    await until('the route is back', 8000, () => routes().includes('10.98.0.0/24'));
    rib('add', '10.98.66.0/24');
    await until('a route of nobody', 3000, () => routes().includes('10.98.66.0/24'));
    await until('it is gone', 8000, () => !routes().includes('10.98.66.0/24'));
    // As many paths as before, but one says something else.
    rib('add', '10.98.6.0/24', 'community', '65005:9');
    await until('another community', 3000, () => birdc('show', 'route', 'all', 'for', '10.98.6.0/24').includes('(65005,9)'));
    await until('the community is back', 8000, () => birdc('show', 'route', 'all', 'for', '10.98.6.0/24').includes('(65005,6)'));
    end.abort();
    await watched;
    expect(await session.set(speaker([INTERNAL, EXTERNAL], [advertise('10.98.0.0/24')]))).toEqual([]);
  }, 40_000);

  test('a hung gobgpd is replaced', async () => {
    const [hung = 0] = gobgpds();
    process.kill(hung, 'SIGSTOP');
    // Its threads stop one after the other; one that still runs would answer.
    const threads = (): string[] => readdirSync(`/proc/${hung}/task`).map((id) => readFileSync(`/proc/${hung}/task/${id}/stat`, 'utf8'));
    await until('every thread has stopped', 2000, () => threads().every((stat) => / T /.test(stat)));
    const start = performance.now();
    expect(await session.set(speaker([INTERNAL, EXTERNAL], [advertise('10.98.0.0/24')]))).toEqual([]);
    console.info(`a hung gobgpd was replaced after ${Math.round(performance.now() - start)} ms`);
    expect(gobgpds()).not.toContain(hung);
    await until('both sessions', 10_000, () => established('10.1.5.1', '10.1.6.2'));
  }, 30_000);

  test('a hold outlives the agent and gobgpd: both come back, and with them what was said', async () => {
    expect(await session.set(speaker([INTERNAL, EXTERNAL], [advertise('10.98.0.0/24')]))).toEqual([]);
    await until('both sessions', 15_000, () => established('10.1.5.1', '10.1.6.2'));
    const held: Speaker = {instances: [], source: origin, holds: [{instance: null, peer: null, reason: 'the policy is broken'}]};
    const said = birdc('show', 'protocols', 'inside');
    expect((await session.set(held)).map(({code, message}) => `${code} ${message}`)).toEqual(['BGP_HELD the policy is broken']);
    expect([await established('10.1.5.1', '10.1.6.2'), birdc('show', 'protocols', 'inside')]).toEqual([true, said]);
    session.close();
    for (const pid of gobgpds()) process.kill(pid, 'SIGKILL');
    const next = new SpeakerSession({directory, command: COMMAND}, {clock: realClock, log: silentLog});
    try {
      expect((await next.set(held)).map(({code}) => code)).toEqual(['BGP_HELD']);
      await until('the sessions again', 15_000, () => ['inside', 'outside'].every((one) => birdc('show', 'protocols', one).includes('Established')));
      await until('the route', 3000, () => routes().includes('10.98.0.0/24'));
    } finally {
      next.close();
    }
  }, 60_000);

  test('removing a peer ends its session alone; removing the instance withdraws all and leaves no process', async () => {
    expect(await session.set(speaker([INTERNAL], [advertise('10.98.0.0/24')]))).toEqual([]);
    await until('BIRD sees it', 3000, () => !birdc('show', 'protocols', 'outside').includes('Established'));
    expect(birdc('show', 'protocols', 'inside')).toContain('Established');
    const start = performance.now();
    expect(await session.set({instances: [], source: null})).toEqual([]);
    await until('the route is gone', 3000, () => routes() === '');
    console.info(`instance removed: route gone after ${Math.round(performance.now() - start)} ms`);
    expect(gobgpdsOrNone()).toEqual([]);
  }, 20_000);
});

function gobgpdsOrNone(): number[] {
  try {
    return gobgpds();
  } catch {
    return [];
  }
}
