// The pods' network as a container runtime sees it: the real plugin and the real agent, every command in every version, kills between the steps,
// and pods that send at their first instant.

import {copyFileSync, existsSync, readFileSync, readdirSync} from 'node:fs';
import {join} from 'node:path';
import {afterAll, beforeAll, describe, expect, test} from '@jest/globals';
import {applyPeering, leafRoutes} from '../harness/checks/bgp.js';
import {expectUdp, judge} from '../harness/checks/policy.js';
import {CniFailed, type CniResult} from '../harness/cni.js';
import {CNI_PLUGIN, HELPER, STENTORCTL} from '../harness/helper.js';
import {MainThread} from '../harness/kill-at.js';
import {Lab} from '../harness/lab.js';
import {pidsIn} from '../harness/netns.js';
import {RunDirectory} from '../harness/run-dir.js';
import {Runtime, type Sandbox} from '../harness/runtime.js';
import {must, run, startDaemon, until} from '../harness/shell.js';
import {getJson} from '../harness/unix-http.js';

const MINUTE = 60_000;
const NODE = 'cilium-bgp-worker2';
const OTHER = 'cilium-bgp-worker3';
const VERSIONS = ['0.3.1', '0.4.0', '1.0.0', '1.1.0'] as const;
const PORT = 80;
/** Of the steps of an ADD: each would take a restart of the agent. */
const KILLS = Number(process.env['STENTOR_CNI_KILLS'] ?? 8);
let lab: Lab;
let runtime: Runtime;

beforeAll(async () => {
  lab = await Lab.start({api: 'files', leaf: 'bird', routingMode: 'native'}, RunDirectory.create('c'), () => undefined);
  // Pods of other nodes are reached as the leaves have learned it.
  await applyPeering(lab);
  expect(await leafRoutes(lab, 20_000)).toMatchObject({verdict: 'ok'});
  runtime = new Runtime(lab, NODE);
}, MINUTE);

afterAll(async () => {
  expect(await lab.stop()).toEqual([]);
}, MINUTE);

/** Everything that an attachment has anywhere on the node, and its object. */
async function inventory(): Promise<Readonly<Record<string, readonly string[]>>> {
  const socket = lab.stentor.agentSocket(NODE);
  const netns = lab.node(NODE).netnsPath;
  const [endpoints, {ipam}, local, slots, links, routes] = await Promise.all([
    getJson<readonly {readonly id: number; readonly name: string}[]>(socket, '/v1/endpoints'),
    getJson<{readonly ipam: {readonly addresses: readonly {readonly ip: string}[]}}>(socket, '/v1/status'),
    pinned<readonly {readonly ip: string}[]>('bpf endpoint list'),
    pinned<readonly {readonly endpoint: number}[]>('bpf policy list'),
    must(['ip', '-o', 'link', 'show'], {netns}),
    must(['ip', '-o', 'route', 'show', 'table', 'all'], {netns}),
  ]);
  const objects = join(lab.outputFolder, 'ciliumendpoints', 'default');
  const sorted = (items: readonly string[]): readonly string[] => [...new Set(items)].sort();
  return {
    endpoints: sorted(endpoints.map(({id, name}) => `${id} ${name}`)), addresses: sorted(ipam.addresses.map(({ip}) => ip)),
    cilium_lxc: sorted(local.map(({ip}) => ip)), cilium_policy: sorted(slots.map(({endpoint}) => String(endpoint))),
    links: sorted(links.split('\n').flatMap((line) => /lxc\w+/.exec(line)?.[0] ?? [])), routes: sorted(routes.split('\n').filter((line) => line.includes('lxc'))),
    pins: sorted(['maps', 'progs', 'links'].flatMap((folder) => readdirSync(join(lab.stentor.bpfRoot(NODE), folder)).map((name) => `${folder}/${name}`))),
    objects: sorted(listed(objects)),
  };
}

function listed(folder: string): readonly string[] {
  try {
    return readdirSync(folder).filter((name) => !name.startsWith('.'));
  } catch {
    return [];
  }
}

async function pinned<T>(words: string): Promise<T> {
  return JSON.parse(await must([STENTORCTL, ...words.split(' '), '-o', 'json', '--pinned'], {env: {STENTOR_BPF_ROOT: lab.stentor.bpfRoot(NODE), STENTOR_API_SOCKET: '/nonexistent'}})) as T;
}

async function expectAsBefore(before: Awaited<ReturnType<typeof inventory>>): Promise<void> {
  let last: unknown = null;
  await until('nothing is left', {timeoutMs: 10_000, intervalMs: 100}, async () => {
    last = await inventory();
    return JSON.stringify(last) === JSON.stringify(before) ? true : null;
  }).catch(() => expect(last).toEqual(before));
}

async function linksIn(sandbox: Sandbox): Promise<readonly string[]> {
  return (await sandbox.netns.ipJson<readonly {readonly ifname: string}[]>(['link', 'show'])).map(({ifname}) => ifname);
}

async function codeOf(call: Promise<CniResult>): Promise<number> {
  try {
    await call;
    return 0;
  } catch (error) {
    if (error instanceof CniFailed) return error.code;
    throw error;
  }
}

describe('the commands', () => {
  test.each(VERSIONS)('version %s: ADD, CHECK, DEL, DEL again', async (cniVersion) => {
    const [sandbox] = await runtime.pods(['versions']);
    if (sandbox === undefined) throw new Error('no sandbox');
    const before = await inventory();
    const {result, address} = await runtime.add(sandbox, {cniVersion});
    expect(result).toMatchObject({cniVersion, interfaces: [{}, {name: 'eth0', sandbox: sandbox.netns.path}], ips: [{address: `${address}/32`, interface: 1}]});
    expect(await linksIn(sandbox)).toContain('eth0');
    expect(await codeOf(runtime.call('CHECK', sandbox, {cniVersion, prevResult: result}))).toBe(cniVersion === '0.3.1' ? 1 : 0);
    await sandbox.netns.ip(['address flush dev eth0']);
    expect(await codeOf(runtime.call('CHECK', sandbox, {cniVersion, prevResult: result}))).toBe(cniVersion === '0.3.1' ? 1 : 101);
    for (const _again of [1, 2]) expect(await runtime.call('DEL', sandbox, {cniVersion})).toEqual({});
    expect(await linksIn(sandbox)).toEqual(['lo']);
    await expectAsBefore(before);
    await runtime.remove(sandbox);
  }, MINUTE);

  test('VERSION answers in the version asked; STATUS and GC are there from 1.1.0 on', async () => {
    for (const cniVersion of VERSIONS) {
      expect(await runtime.call('VERSION', null, {cniVersion})).toEqual({cniVersion, supportedVersions: expect.arrayContaining([...VERSIONS])});
      expect(await codeOf(runtime.call('STATUS', null, {cniVersion}))).toBe(cniVersion === '1.1.0' ? 0 : 1);
    }
  }, MINUTE);

  test('64 at once: each pod has an address of its own; GC removes those that the runtime does not name', async () => {
    const before = await inventory();
    const sandboxes = await runtime.pods(Array.from({length: 64}, (_unused, i) => `crowd-${i}`));
    const all = await Promise.all(sandboxes.map((sandbox) => runtime.add(sandbox)));
    expect(new Set(all.map(({address}) => address)).size).toBe(64);
    const kept = sandboxes.slice(0, 2);
    const valid = kept.map(({containerId}) => ({containerID: containerId, ifname: 'eth0'}));
    expect(await runtime.call('GC', null, {cniVersion: '1.1.0', name: 'another', 'cni.dev/valid-attachments': []})).toEqual({});
    expect((await inventory())['links']).toHaveLength(64);
    expect(await runtime.call('GC', null, {cniVersion: '1.1.0', 'cni.dev/valid-attachments': valid})).toEqual({});
    expect((await inventory())['links']).toHaveLength(2);
    await runtime.removeAll();
    await expectAsBefore(before);
  }, MINUTE);

  test('without an agent: ADD says later, STATUS not available, a DEL is kept for the next one', async () => {
    const before = await inventory();
    const [stays, goes] = await runtime.pods(['stays', 'goes']);
    if (stays === undefined || goes === undefined) throw new Error('no sandboxes');
    const {address} = await runtime.add(stays);
    await lab.stentor.killAgent(NODE);
    expect([await codeOf(runtime.call('ADD', goes)), await codeOf(runtime.call('STATUS', null, {cniVersion: '1.1.0'})), await codeOf(runtime.call('DEL', stays))]).toEqual([11, 50, 0]);
    await lab.stentor.startAgent(NODE);
    await lab.stentor.agentReady(NODE);
    await until('the queued delete is done', {timeoutMs: 5_000}, async () => (await inventory())['addresses']?.includes(address) === false ? true : null);
    await runtime.removeAll();
    await expectAsBefore(before);
  }, MINUTE);
});

describe('kill -9', () => {
  test('of the plugin before the answer leaves nothing, though nobody calls DEL; after it DEL takes all', async () => {
    const before = await inventory();
    const [first] = await runtime.pods(['plugin']);
    if (first === undefined) throw new Error('no sandbox');
    let cut = 0;
    for (const afterMs of [2, 5, 8, 12, 16, 20, 25]) {
      const sandbox = await runtime.sandbox('plugin');
      const wasKilled = await runtime.killedAfter(sandbox, afterMs);
      const isGone = wasKilled && await until('it is taken back', {timeoutMs: 1_000}, async () => (JSON.stringify(await inventory()) === JSON.stringify(before) ? true : null)).catch(() => false);
      if (isGone) cut++;
      else await runtime.call('DEL', sandbox);
      await expectAsBefore(before);
      await sandbox.netns.remove();
    }
    expect(cut).toBeGreaterThan(0);
    await runtime.removeAll();
  }, MINUTE);

  test('of the agent between the steps of an ADD leaves nothing once the runtime has called DEL, and the next ADD works', async () => {
    const [known] = await runtime.pods(['victim']);
    if (known === undefined) throw new Error('no sandbox');
    const before = await inventory();
    const agentPid = (): number => lab.stentor.agent(NODE)?.pid ?? -1;
    const watched = await MainThread.trace(agentPid(), null, lab.run);
    await runtime.add(known);
    const steps = await watched.stop();
    await runtime.call('DEL', known);
    await expectAsBefore(before);
    expect(steps).toBeGreaterThan(KILLS);
    const codes: number[] = [];
    for (let i = 0; i < KILLS; i++) {
      const sandbox = await runtime.sandbox('victim');
      const killer = await MainThread.trace(agentPid(), 1 + Math.floor(0.7 * i * steps / KILLS), lab.run);
      codes.push(await codeOf(runtime.call('ADD', sandbox)));
      await lab.stentor.killAgent(NODE);
      await killer.stop();
      await lab.stentor.startAgent(NODE);
      await lab.stentor.agentReady(NODE);
      for (const _again of [1, 2]) await runtime.call('DEL', sandbox);
      expect(await linksIn(sandbox)).toEqual(['lo']);
      await expectAsBefore(before);
      await sandbox.netns.remove();
    }
    // It was the agent's death that cut them short.
    expect(codes.filter((code) => code === 11).length).toBeGreaterThanOrEqual(KILLS / 2);
    const {address} = await runtime.add(known);
    expect(address).not.toBe('');
    await runtime.removeAll();
  }, 3 * MINUTE);
});

interface Datagram {
  readonly target: string;
  readonly atMs: number;
  readonly answered: boolean;
}

/** Sends from the first instant at which `sandbox` can; `then` is done meanwhile. */
async function eager(sandbox: {readonly netnsPath: string}, targets: readonly string[], then: () => Promise<void>): Promise<readonly Datagram[]> {
  const running = must([HELPER, '--netns', sandbox.netnsPath, 'eager', '2000', '2', ...targets]);
  await then();
  return (await running).trim().split('\n').filter((line) => line !== '').map((line) => JSON.parse(line) as Datagram);
}

test('the first packet is under policy: nothing denied gets through while a pod is attached, nothing allowed is lost from the moment ADD has answered', async () => {
  await lab.objects.apply(['near', 'far'].map((name, i) => JSON.stringify({
    apiVersion: 'v1', kind: 'Pod', metadata: {name, namespace: 'default', labels: {app: 'server'}},
    spec: {nodeName: [NODE, OTHER][i], terminationGracePeriodSeconds: 1, containers: [{name: 'c', image: 'lab/echo'}]},
  })).join('\n---\n'));
  await lab.objects.apply(JSON.stringify({
    apiVersion: 'cilium.io/v2', kind: 'CiliumNetworkPolicy', metadata: {name: 'servers', namespace: 'default'},
    spec: {endpointSelector: {matchLabels: {app: 'server'}}, ingress: [{fromEndpoints: [{matchLabels: {app: 'friend'}}], toPorts: [{ports: [{port: String(PORT), protocol: 'UDP'}]}]}]},
  }));
  const servers = await lab.podsReady(['app', 'server'], 2);
  const targets = servers.map(({address}) => `${address}:${PORT}`);
  const [[friend], [foe], [server]] = [await runtime.pods(['friend'], {app: 'friend'}), await runtime.pods(['foe'], {app: 'foe'}), await runtime.pods(['late'], {app: 'server'})];
  if (friend === undefined || foe === undefined || server === undefined) throw new Error('no sandboxes');

  let toldMs = Infinity;
  // Who is denied sends before there is anything to send on; who is allowed is there when ADD has answered, as a container is.
  const ofFoe = await eager({netnsPath: foe.netns.path}, targets, async () => {
    await runtime.add(foe);
    toldMs = Date.now();
  });
  expect(ofFoe.filter(({atMs}) => atMs > toldMs).length).toBeGreaterThan(100);
  expect(ofFoe.filter(({answered}) => answered)).toEqual([]);
  await runtime.add(friend);
  const ofFriend = await eager({netnsPath: friend.netns.path}, targets, async () => undefined);
  expect(ofFriend.length).toBeGreaterThan(100);
  expect(ofFriend.filter(({answered}) => !answered)).toEqual([]);

  // And towards the new pod: it answers before it has a network, on the address that is given out next.
  const daemon = startDaemon({name: 'late', netns: server.netns.path, logFile: lab.run.log('late'), command: [HELPER, 'serve', `udp:${PORT}`]});
  const next = [...(await inventory())['addresses'] ?? []].map((ip) => ip.split('.').map(Number)).sort((a, b) => (a[3] ?? 0) - (b[3] ?? 0)).at(-1) ?? [];
  const guess = [...next.slice(0, 3), (next[3] ?? 0) + 1].join('.');
  let address = '';
  const [toFoe, toFriend] = await Promise.all([
    eager({netnsPath: foe.netns.path}, [`${guess}:${PORT}`], async () => {
      ({address} = await runtime.add(server));
      toldMs = Date.now();
    }),
    eager({netnsPath: friend.netns.path}, [`${guess}:${PORT}`], async () => undefined),
  ]);
  expect(address).toBe(guess);
  expect(toFoe.filter(({answered}) => answered)).toEqual([]);
  expect(toFriend.filter(({atMs}) => atMs > toldMs).length).toBeGreaterThan(100);
  expect(toFriend.filter(({atMs, answered}) => atMs > toldMs && !answered)).toEqual([]);
  const place = (sandbox: Sandbox, ip: string) => ({name: sandbox.name, namespace: 'default', node: NODE, address: ip, addresses: [ip], labels: {}, netnsPath: sandbox.netns.path});
  expect(await judge([expectUdp(place(friend, ''), {name: 'late', address}, PORT, true), expectUdp(place(foe, ''), {name: 'late', address}, PORT, false)])).toMatchObject({ok: true});
  await daemon.stop('SIGTERM');
  await runtime.removeAll();
}, MINUTE);

test('stentorctl node uninstall leaves no trace: it refuses while an agent runs or a pod has its network, and says before what would go', async () => {
  const netns = lab.node(NODE).netnsPath;
  const plugin = join(lab.run.folder('nodes', NODE), 'stentor-cni');
  copyFileSync(CNI_PLUGIN, plugin);
  const speakers = (): readonly number[] => pidsIn(netns).filter((pid) => readFileSync(`/proc/${pid}/comm`, 'utf8').trim() === 'gobgpd');
  expect(speakers()).toHaveLength(1);
  const [pod] = await runtime.pods(['last']);
  if (pod === undefined) throw new Error('no sandbox');
  await runtime.add(pod);
  const uninstall = async (...flags: readonly string[]): Promise<{readonly code: number | null; readonly stderr: string; readonly kinds: ReadonlySet<string>; readonly rows: readonly {readonly kind: string; readonly result: string}[]}> => {
    const {code, stdout, stderr} = await run([STENTORCTL, 'node', 'uninstall', '--state-dir', lab.stentor.stateDir(NODE), '--cni-conf', lab.stentor.cniConfig(NODE), '--cni-plugin', plugin, '-o', 'json', ...flags], {
      netns, env: {STENTOR_BPF_ROOT: lab.stentor.bpfRoot(NODE), STENTOR_API_SOCKET: lab.stentor.agentSocket(NODE)},
    });
    const rows = JSON.parse(stdout === '' ? '[]' : stdout) as readonly {readonly kind: string; readonly result: string}[];
    return {code, stderr, rows, kinds: new Set(rows.map(({kind}) => kind))};
  };
  const all = new Set(['cni-configuration', 'cni-plugin', 'pod-device', 'speaker', 'pin', 'route', 'device', 'state']);

  expect(await uninstall('--force')).toMatchObject({code: 1, stderr: expect.stringContaining('an agent runs here')});
  await lab.stentor.killAgent(NODE, 'SIGKILL');
  expect(await uninstall()).toMatchObject({code: 1, stderr: expect.stringContaining('--force')});
  const dry = await uninstall('--dry-run');
  expect([dry.code, dry.kinds]).toEqual([0, all]);
  expect((await uninstall('--dry-run')).rows).toEqual(dry.rows);

  const done = await uninstall('--force');
  expect([done.code, done.kinds, done.rows.filter(({result}) => result !== 'removed')]).toEqual([0, all, []]);
  expect(await must(['ip', '-o', 'link', 'show'], {netns})).not.toMatch(/lxc|cilium_/);
  for (const family of ['-4', '-6']) expect(await must(['ip', family, 'route', 'show', 'table', 'all', 'proto', '78'], {netns})).toBe('');
  expect(await must(['bpftool', '-j', 'net', 'show'], {netns})).not.toContain('cil_');
  expect([lab.stentor.bpfRoot(NODE), lab.stentor.stateDir(NODE), lab.stentor.cniConfig(NODE), plugin].filter((path) => existsSync(path))).toEqual([]);
  expect(speakers()).toEqual([]);
  expect(await linksIn(pod)).toEqual(['lo']);
  expect(await uninstall()).toMatchObject({code: 0, rows: []});

  // And an agent finds a node as it was before the first one.
  await lab.stentor.startAgent(NODE);
  await lab.stentor.agentReady(NODE);
  await runtime.add(pod);
  await runtime.removeAll();
}, MINUTE);
