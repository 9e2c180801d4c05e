// The real agent in a namespace, the real CNI plugin, real packets: attach, talk, deny, survive, collect.

import {afterAll, beforeAll, describe, expect, test} from '@jest/globals';
import {spawn, spawnSync} from 'node:child_process';
import type {ChildProcess} from 'node:child_process';
import {mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync, writeFileSync} from 'node:fs';
import {request} from 'node:http';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {PRECEDENCE_ALLOW, PRECEDENCE_DENY} from '../lib/domain/policy.js';
import type {TestNetns} from '../lib/testing/netns.js';
import {eventually, makeNetns} from '../lib/testing/netns.js';

const ROOT = join(import.meta.dirname, '..', '..');
const PLUGIN = join(ROOT, 'build/stentor-cni');
const folder = mkdtempSync(join(tmpdir(), 'agent-test-'));
const socket = join(folder, 'agent.sock');
const statePath = join(folder, 'desired.json');

let node: TestNetns;
let web: TestNetns;
let client: TestNetns;
let bpfRoot: string;
let agent: ChildProcess;

interface Item {
  readonly kind: string;
  readonly key: string;
  readonly value: unknown;
}

const ORIGIN = {kind: 'CiliumNetworkPolicy', namespace: 'default', name: 'deny-client', uid: 'u', ruleIndex: 0};
const ENTRY = {direction: 'ingress', protocol: 0, port: 0, portPrefixLength: 0};
const ALLOW_ALL = {...ENTRY, deny: false, selector: '*', precedence: PRECEDENCE_ALLOW, origins: []};
const DENY_CLIENT = {...ENTRY, deny: true, selector: 'client', precedence: PRECEDENCE_DENY, origins: [ORIGIN]};

function policy(subject: number, entries: readonly unknown[]): Item {
  return {kind: 'policy', key: String(subject), value: {subject, ingressEnforced: entries.length > 0, egressEnforced: false, entries}};
}

function pod(name: string, identity: number): Item {
  return {kind: 'endpoint', key: `default/${name}`, value: {namespace: 'default', name, uid: '', identity, labels: [`k8s:app=${name}`], namedPorts: {}}};
}

/** Renamed into place, as a reader must never see half a file. */
function desire(webEntries: readonly unknown[], more: readonly Item[] = []): void {
  const resources: Item[] = [
    {kind: 'node-config', key: 'node-config', value: {nodeName: 'n1', routingMode: 'native', podCidrs: ['10.98.0.0/24'], nodeAddress: '10.1.5.10',
      ipv4NativeRoutingCidr: null, enableIPv4Masquerade: true, tunnelPort: 8472, clusterName: 'default'}},
    {kind: 'identity', key: '256', value: {id: 256, labels: ['k8s:app=web']}}, {kind: 'identity', key: '257', value: {id: 257, labels: ['k8s:app=client']}},
    {kind: 'selector', key: 'client', value: {id: 'client', identities: [257], prefixes: []}},
    policy(256, webEntries), policy(257, []), pod('web', 256), pod('client', 257), ...more,
    {kind: 'masquerade', key: 'masquerade', value: {hold: null, nonMasqueradeCidrs: ['10.0.0.0/8'], source: 'configmap'}},
  ];
  writeFileSync(`${statePath}.new`, JSON.stringify({resources}));
  renameSync(`${statePath}.new`, statePath);
}

function agentArguments(): string[] {
  return [`--net=${node.path}`, process.execPath, join(ROOT, 'dist/agent/main.js'), '--node-name', 'n1', '--desired-state', statePath,
    '--state-dir', join(folder, 'state'), '--bpf-root', bpfRoot, '--api-socket', socket, '--metrics-addr', join(folder, 'metrics.sock'),
    '--bpf-map-profile', 'small', '--log-level', 'warn'];
}

async function startAgent(): Promise<void> {
  agent = spawn('nsenter', agentArguments(), {stdio: ['ignore', 'ignore', 'inherit']});
  await eventually(async () => {
    const ready = await get('/readyz', join(folder, 'metrics.sock')).catch(() => '');
    return ready.includes('"ready":true') ? true : null;
  }, 20_000);
}

async function endAgent(signal: NodeJS.Signals): Promise<number | null> {
  const ended = new Promise<number | null>((resolve) => agent.once('exit', (code) => resolve(code)));
  agent.kill(signal);
  return ended;
}

function get(path: string, socketPath = socket): Promise<string> {
  return new Promise((resolve, reject) => {
    request({socketPath, path}, (response) => {
      let text = '';
      response.on('data', (data: Buffer) => (text += data.toString()));
      response.on('end', () => resolve(text));
    }).on('error', reject).end();
  });
}

async function json<T>(path: string): Promise<T> {
  return JSON.parse(await get(path)) as T;
}

function cni(command: string, containerId: string, options: {netns?: string; pod?: string; config?: Record<string, unknown>} = {}): {code: number; output: Record<string, unknown>} {
  const config = {cniVersion: '1.0.0', name: 'stentor', type: 'stentor-cni', agentSocket: socket, ...options.config};
  const result = spawnSync(PLUGIN, [], {
    input: JSON.stringify(config), encoding: 'utf8',
    env: {CNI_COMMAND: command, CNI_CONTAINERID: containerId, CNI_NETNS: options.netns ?? '', CNI_IFNAME: 'eth0',
      CNI_ARGS: `IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=${options.pod ?? ''}`},
  });
  return {code: result.status ?? -1, output: result.stdout === '' ? {} : JSON.parse(result.stdout) as Record<string, unknown>};
}

function addressOf(output: Record<string, unknown>): string {
  const [first] = output['ips'] as {address: string}[];
  return first?.address.split('/')[0] ?? '';
}

function pings(from: TestNetns, to: string): boolean {
  return spawnSync('nsenter', [`--net=${from.path}`, 'ping', '-c', '1', '-W', '1', to]).status === 0;
}

beforeAll(async () => {
  node = makeNetns('agent-node');
  web = makeNetns('agent-web');
  client = makeNetns('agent-client');
  bpfRoot = `/sys/fs/bpf/${node.name}`;
  mkdirSync(bpfRoot, {recursive: true});
  node.run('ip', 'link', 'add', 'eth0', 'type', 'veth', 'peer', 'name', 'wire');
  node.run('ip', 'addr', 'add', '10.1.5.10/24', 'dev', 'eth0');
  for (const name of ['eth0', 'wire']) node.run('ip', 'link', 'set', name, 'up');
  desire([]);
  await startAgent();
}, 60_000);

afterAll(async () => {
  if (agent.exitCode === null && agent.signalCode === null) await endAgent('SIGKILL');
  for (const netns of [web, client, node]) netns.remove();
  rmSync(bpfRoot, {recursive: true, force: true});
  rmSync(folder, {recursive: true, force: true});
});

let webResult: Record<string, unknown> = {};
let [webIp, clientIp] = ['', ''];

describe('an agent with a file for an operator', () => {
  test('attaches two pods that then talk to each other, to the node and from it', () => {
    const first = cni('ADD', 'c-web', {netns: web.path, pod: 'web'});
    const second = cni('ADD', 'c-client', {netns: client.path, pod: 'client'});
    expect([first.code, second.code]).toEqual([0, 0]);
    webResult = first.output;
    [webIp, clientIp] = [addressOf(first.output), addressOf(second.output)];
    expect([webIp, clientIp]).toEqual(['10.98.0.2', '10.98.0.3']);
    expect(pings(client, webIp)).toBe(true);
    expect(pings(web, clientIp)).toBe(true);
    expect(pings(web, '10.98.0.1')).toBe(true);
    expect(pings(node, webIp)).toBe(true);
  });

  test('CHECK compares with the result of ADD and with the pod', () => {
    expect(cni('CHECK', 'c-web', {netns: web.path, pod: 'web', config: {prevResult: webResult}}).code).toBe(0);
    web.run('ip', 'addr', 'del', `${webIp}/32`, 'dev', 'eth0');
    const broken = cni('CHECK', 'c-web', {netns: web.path, pod: 'web', config: {prevResult: webResult}});
    expect([broken.code, broken.output['code']]).toEqual([1, 101]);
    web.run('ip', 'addr', 'add', `${webIp}/32`, 'dev', 'eth0');
    web.run('ip', 'route', 'replace', '10.98.0.1/32', 'dev', 'eth0', 'scope', 'link');
    web.run('ip', 'route', 'replace', 'default', 'via', '10.98.0.1');
    expect(pings(client, webIp)).toBe(true);
  });

  test('a deny rule stops what it names and nothing else, and the drop names the rule', async () => {
    const drop = await firstLine('/v1/monitor?types=drop', (line) => line.includes('deny-client'));
    desire([ALLOW_ALL, DENY_CLIENT]);
    await eventually(() => (pings(client, webIp) ? null : true), 10_000);
    expect(pings(node, webIp)).toBe(true);
    expect(pings(web, clientIp)).toBe(true);
    expect(JSON.parse(await drop.line)).toMatchObject({
      type: 'drop', reason: 181, reasonText: 'Policy denied by denylist', direction: 'ingress', protocol: 'ICMP',
      source: {identity: 257, ip: clientIp, pod: 'default/client'}, destination: {identity: 256, ip: webIp, pod: 'default/web'},
      derivedFrom: [{kind: 'CiliumNetworkPolicy', namespace: 'default', name: 'deny-client', ruleIndex: 0}],
    });
    expect(await get('/metrics', join(folder, 'metrics.sock'))).toMatch(/cilium_drop_count_total\{direction="INGRESS",reason="Policy denied by denylist"\} [1-9]/);
    desire([]);
    await eventually(() => (pings(client, webIp) ? true : null), 10_000);
  }, 60_000);

  test('an attachment that fails leaves nothing behind', async () => {
    const failed = cni('ADD', 'c-bad', {netns: '/run/netns/agent-none', pod: 'bad'});
    expect(failed.code).toBe(1);
    expect((await json<{ipam: {allocated: number}; endpoints: {total: number}}>('/v1/status'))).toMatchObject({ipam: {allocated: 2}, endpoints: {total: 2}});
    const own = cni('ADD', 'c-own', {netns: node.path, pod: 'own'});
    expect([own.code, String(own.output['msg'])]).toEqual([1, 'CNI_NETNS is the namespace of the node itself']);
    expect(node.ip('link', 'show').filter(({ifname}) => String(ifname).startsWith('lxc')).length).toBe(2);
  });

  test('input that makes no sense is refused, and nothing else is disturbed', async () => {
    for (const path of ['/v1/monitor?types=everything', '/v1/status?x=1', '/v1/bgp/routes?peer=bogus', '/v1/bgp/routes?type=all', '/v1/nothing']) {
      expect(await get(path)).toMatch(/"error"/);
    }
    const garbage = spawnSync('sh', ['-c', `head -c 3000 /dev/urandom | curl -s --unix-socket ${socket} --data-binary @- http://localhost/v1/cni`], {encoding: 'utf8'});
    expect(JSON.parse(garbage.stdout)).toMatchObject({code: expect.any(Number), msg: expect.any(String)});
    expect((await json<{ok: boolean}>('/v1/status')).ok).toBe(true);
  });

  test('a second agent on the same folders is refused, with the reason', () => {
    const second = spawnSync('nsenter', agentArguments(), {encoding: 'utf8', timeout: 20_000});
    expect(second.status).toBe(1);
    expect(JSON.parse(second.stderr.trim().split('\n').at(-1) ?? '')).toMatchObject({fatal: 'LOCKED', hint: expect.stringContaining('--state-dir')});
  });
});

describe('an agent that is killed', () => {
  test('no packet is lost, and the next one takes everything over without making anything anew', async () => {
    const before = {programs: readdirSync(`${bpfRoot}/progs`), links: node.ip('link', 'show').map(({ifindex}) => ifindex)};
    const stream = spawn('nsenter', [`--net=${client.path}`, 'ping', '-i', '0.01', '-c', '300', '-W', '1', webIp], {stdio: ['ignore', 'pipe', 'inherit']});
    let output = '';
    stream.stdout.on('data', (data: Buffer) => (output += data.toString()));
    const ended = new Promise((resolve) => stream.once('exit', resolve));
    await eventually(() => (output.includes('icmp_seq=50') ? true : null));
    await endAgent('SIGKILL');
    await eventually(() => (output.includes('icmp_seq=100') ? true : null));
    await startAgent();
    await ended;
    expect(missing(output, 300)).toEqual([]);
    expect({programs: readdirSync(`${bpfRoot}/progs`), links: node.ip('link', 'show').map(({ifindex}) => ifindex)}).toEqual(before);
    expect((await json<{id: number; ipv4: string}[]>('/v1/endpoints')).map(({ipv4}) => ipv4)).toEqual([webIp, clientIp]);
  }, 60_000);

  test('deletes that came meanwhile are caught up with, and pods that vanished are collected', async () => {
    await endAgent('SIGKILL');
    expect(cni('ADD', 'c-late', {netns: client.path, pod: 'client'}).output['code']).toBe(11);
    expect(cni('DEL', 'c-web').code).toBe(0);
    client.run('ip', 'link', 'del', 'eth0');
    await startAgent();
    await eventually(async () => ((await json<unknown[]>('/v1/endpoints')).length === 0 ? true : null));
    expect(node.ip('link', 'show').filter(({ifname}) => String(ifname).startsWith('lxc'))).toEqual([]);
    await eventually(() => (readdirSync(join(folder, 'deleteQueue')).some((name) => name.endsWith('.del')) ? null : true));
    expect((await json<{ipam: {allocated: number}}>('/v1/status')).ipam.allocated).toBe(0);
    const {maps} = await json<{maps: {missing: string[]; different: string[]; extra: string[]}[]}>('/v1/state/diff');
    expect(maps.flatMap(({missing, different, extra}) => [...missing, ...different, ...extra])).toEqual([]);
  }, 60_000);

  test('asked to stop, it stops with 0 and leaves the kernel as it is', async () => {
    expect(cni('ADD', 'c-web2', {netns: web.path, pod: 'web'}).code).toBe(0);
    expect(await endAgent('SIGTERM')).toBe(0);
    expect(pings(web, '10.98.0.1')).toBe(true);
  }, 60_000);
});

/** Sequence numbers that ping has no answer to. */
function missing(output: string, count: number): number[] {
  const seen = new Set([...output.matchAll(/icmp_seq=(\d+) ttl/g)].map(([, n]) => Number(n)));
  return Array.from({length: count}, (_unused, i) => i + 1).filter((n) => !seen.has(n));
}

/** Resolves when the endless answer has begun, to its first line that fits. */
function firstLine(path: string, fits: (line: string) => boolean): Promise<{readonly line: Promise<string>}> {
  return new Promise((resolve, reject) => {
    const call = request({socketPath: socket, path}, (response) => {
      const line = new Promise<string>((found) => {
        let rest = '';
        response.on('data', (data: Buffer) => {
          const lines = (rest + data.toString()).split('\n');
          rest = lines.pop() ?? '';
          const fit = lines.find(fits);
          if (fit === undefined) return;
          found(fit);
          call.destroy();
        });
      });
      resolve({line});
    });
    call.on('error', reject);
    call.end();
  });
}
