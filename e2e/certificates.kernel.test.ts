// The life of a node's certificate with the real parts: API server, operator and agent as processes, two pods that talk all the time.

import {spawn, type ChildProcess} from 'node:child_process';
import {existsSync, mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {createInterface} from 'node:readline';
import {afterAll, beforeAll, expect, test} from '@jest/globals';
import type {AgentStatus} from '../lib/domain/agent-api.js';
import type {KubeClient} from '../lib/kube/client.js';
import {isRecord, type KubeObject} from '../lib/kube/object.js';
import {collectionPath, objectPath, RESOURCES} from '../lib/kube/resources.js';
import {TestApiServer} from '../lib/testing/api-server.js';
import {eventually, makeNetns, type TestNetns} from '../lib/testing/netns.js';
import {conditionsOf, ENFORCED, holds} from './harness/enforced.js';
import {getJson} from './harness/unix-http.js';

const ROOT = join(import.meta.dirname, '..', '..');
const ACCOUNTS = '/api/v1/namespaces/kube-system/serviceaccounts';
/** Renewed about every 13 s. */
const VALIDITY = '20s';
const RENEWALS = 2;
const POLICIES = collectionPath(RESOURCES.CiliumNetworkPolicy, 'default');
const folder = mkdtempSync(join(tmpdir(), 'certificates-'));
const file = (name: string): string => join(folder, name);
const children: ChildProcess[] = [];
const operatorLog: Readonly<Record<string, unknown>>[] = [];
let server: TestApiServer;
let client: KubeClient;
let [node, web, talker]: TestNetns[] = [];
let bpfRoot = '';
let agent: ChildProcess;
let ports: {readonly sessions: string; readonly bootstrap: string};
const deadline = (): AbortSignal => AbortSignal.timeout(10_000);

function start(netns: TestNetns | null, command: readonly string[], onLine: (line: string) => void = () => undefined): ChildProcess {
  const inside = netns === null ? [] : ['nsenter', `--net=${netns.path}`];
  const [program = '', ...args] = [...inside, 'setpriv', '--pdeathsig', 'KILL', ...command];
  const child = spawn(program, args, {stdio: ['pipe', 'pipe', 'pipe']});
  children.push(child);
  for (const stream of [child.stdout, child.stderr]) createInterface(stream).on('line', onLine);
  return child;
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = new Promise((resolve) => child.once('exit', resolve));
  child.kill('SIGKILL');
  await ended;
}

async function create(path: string, ...objects: readonly KubeObject[]): Promise<void> {
  for (const object of objects) await client.create(path, object, deadline());
}

function pod(namespace: string, name: string, nodeName: string, serviceAccountName = 'default'): KubeObject {
  return {apiVersion: 'v1', kind: 'Pod', metadata: {name, namespace, labels: {app: name}}, spec: {nodeName, serviceAccountName, containers: [{name: 'c', image: 'i'}]}};
}

/** Of the agents' pod on a node, where the kubelet would put it. */
async function mountToken(nodeName: string): Promise<void> {
  const {uid} = (await client.get(objectPath(RESOURCES.Pod, 'kube-system', `agent-${nodeName}`), deadline())).metadata;
  const answer = await client.createJson(`${ACCOUNTS}/stentor-agent/token`, {
    apiVersion: 'authentication.k8s.io/v1', kind: 'TokenRequest',
    spec: {audiences: ['stentor'], expirationSeconds: 600, boundObjectRef: {apiVersion: 'v1', kind: 'Pod', name: `agent-${nodeName}`, uid}},
  }, deadline());
  writeFileSync(file('token'), isRecord(answer) && isRecord(answer['status']) ? String(answer['status']['token']) : '');
}

/** In the node's namespace; answers with its port there. */
function relay(address: string): Promise<string> {
  const [host = '', port = ''] = address.split(':');
  return new Promise((resolve) => {
    start(node ?? null, [join(ROOT, 'build/lab-helper'), 'relay', `/proc/${process.pid}/ns/net`, host, port], resolve);
  });
}

function startAgent(): ChildProcess {
  return start(node ?? null, [process.execPath, join(ROOT, 'dist/agent/main.js'), '--node-name', 'n1', '--operator-address', `127.0.0.1:${ports.sessions}`, '--operator-name', 'stentor-operator',
    '--tls-ca', file('ca.crt'), '--bootstrap-token-file', file('token'), '--bootstrap-port', ports.bootstrap, '--state-dir', file('state'), '--bpf-root', bpfRoot,
    '--api-socket', file('agent.sock'), '--metrics-addr', '', '--bpf-map-profile', 'small', '--cni-span-wait', '0s']);
}

const status = (): Promise<AgentStatus> => getJson<AgentStatus>(file('agent.sock'), '/v1/status');
const tellsConnected = async (): Promise<true | null> => ((await status().catch(() => null))?.operator.connected === true ? true : null);

async function attach(netns: TestNetns, name: string): Promise<string> {
  const child = spawn(join(ROOT, 'build/stentor-cni'), [], {env: {CNI_COMMAND: 'ADD', CNI_CONTAINERID: name, CNI_NETNS: netns.path, CNI_IFNAME: 'eth0',
    CNI_ARGS: `K8S_POD_NAMESPACE=default;K8S_POD_NAME=${name}`}});
  child.stdin.end(JSON.stringify({cniVersion: '1.0.0', name: 'stentor', type: 'stentor-cni', agentSocket: file('agent.sock')}));
  let output = '';
  child.stdout.on('data', (data: Buffer) => (output += data.toString()));
  await new Promise((resolve) => child.once('close', resolve));
  const {ips} = JSON.parse(output) as {readonly ips?: readonly {readonly address: string}[]};
  const [address = ''] = ips?.[0]?.address.split('/') ?? [];
  if (address === '') throw new Error(output);
  return address;
}

beforeAll(async () => {
  [node, web, talker] = ['certificates-n', 'certificates-w', 'certificates-t'].map(makeNetns);
  bpfRoot = `/sys/fs/bpf/${node?.name ?? ''}`;
  mkdirSync(bpfRoot, {recursive: true});
  for (const command of ['link add eth0 type veth peer name wire', 'addr add 10.1.5.10/24 dev eth0', 'link set eth0 up', 'link set wire up']) node?.run('ip', ...command.split(' '));
  server = await TestApiServer.start();
  client = server.client();
  for (const [name, i] of [['n1', 0], ['n2', 1]] as const) {
    await create('/api/v1/nodes', {apiVersion: 'v1', kind: 'Node', metadata: {name}, spec: {podCIDR: `10.98.${i}.0/24`, podCIDRs: [`10.98.${i}.0/24`]}});
    await client.patch(`/api/v1/nodes/${name}/status`, {type: 'merge', patch: {status: {addresses: [{type: 'InternalIP', address: `10.1.5.1${i}`}]}}}, deadline());
  }
  await create(ACCOUNTS, {apiVersion: 'v1', kind: 'ServiceAccount', metadata: {name: 'stentor-agent', namespace: 'kube-system'}});
  await create('/api/v1/namespaces/kube-system/pods', pod('kube-system', 'agent-n1', 'n1', 'stentor-agent'), pod('kube-system', 'agent-n2', 'n2', 'stentor-agent'));
  await create('/api/v1/namespaces/default/pods', pod('default', 'web', 'n1'), pod('default', 'talker', 'n1'));
  start(null, [process.execPath, join(ROOT, 'dist/operator/main.js'), '--kubeconfig', server.kubeconfig, '--listen', '127.0.0.1:0', '--bootstrap-listen', '127.0.0.1:0', '--http-listen', '127.0.0.1:0',
    '--certificate-validity', VALIDITY, '--routing-mode', 'native', '--settle-time', '0s'], (line) => operatorLog.push(line.startsWith('{') ? JSON.parse(line) as Readonly<Record<string, unknown>> : {msg: line}));
  const {grpc, bootstrap} = await eventually(() => operatorLog.find(({msg}) => msg === 'serving') ?? null, 20_000);
  ports = {sessions: await relay(String(grpc)), bootstrap: await relay(String(bootstrap))};
  const published = await client.get(objectPath(RESOURCES.ConfigMap, 'kube-system', 'stentor-ca'), deadline());
  writeFileSync(file('ca.crt'), isRecord(published['data']) ? String(published['data']['ca.crt']) : '');
  await mountToken('n1');
  agent = startAgent();
  await eventually(tellsConnected, 30_000);
}, 120_000);

afterAll(async () => {
  for (const child of children) await end(child);
  await client?.close();
  await server?.stop();
  for (const netns of [web, talker, node]) netns?.remove();
  rmSync(bpfRoot, {recursive: true, force: true});
  rmSync(folder, {recursive: true, force: true});
});

const ECHO = "const s = require('dgram').createSocket('udp4'); s.on('message', (m, r) => s.send(m, r.port, r.address)); s.bind(80, () => console.log('up'))";
const TALK = `const s = require('dgram').createSocket('udp4'); let sent = 0; let heard = 0; s.on('message', () => heard++); s.bind(0);
setInterval(() => { if (sent < 1e6) s.send(String(sent++), 80, process.argv[1]) }, 10);
process.stdin.on('data', () => { const told = sent; sent = 1e6; setTimeout(() => console.log(told + ' ' + heard), 500) })`;

test('is renewed again and again: no packet lost, no condition moved, never without a session, a new key each time', async () => {
  if (web === undefined || talker === undefined) throw new Error('no namespaces');
  expect(statSync(file('state/tls/tls.key')).mode & 0o777).toBe(0o600);
  await create(POLICIES, {apiVersion: 'cilium.io/v2', kind: 'CiliumNetworkPolicy', metadata: {name: 'web', namespace: 'default'},
    spec: {endpointSelector: {matchLabels: {app: 'web'}}, ingress: [{fromEndpoints: [{matchLabels: {app: 'talker'}}]}]}});
  const address = await attach(web, 'web');
  await attach(talker, 'talker');
  const policy = objectPath(RESOURCES.CiliumNetworkPolicy, 'default', 'web');
  const {resourceVersion = ''} = (await eventually(async () => {
    const object = await client.get(policy, deadline());
    return holds(object, ENFORCED, 'True') ? object : null;
  }, 20_000)).metadata;
  await new Promise<string>((resolve) => {
    start(web ?? null, [process.execPath, '-e', ECHO], resolve);
  });
  const conditions: string[] = [];
  const stop = new AbortController();
  const watching = client.watch(POLICIES, {resourceVersion, timeoutSeconds: 600, silenceLimitMs: 0}, (events) => {
    for (const {type, object} of events) if (type !== 'BOOKMARK') conditions.push(JSON.stringify(conditionsOf(object)));
  }, stop.signal).catch((error: unknown) => {
    if (!stop.signal.aborted) throw error;
  });
  let counted = '';
  const talk = start(talker, [process.execPath, '-e', TALK, address], (line) => (counted = line));
  const seen = new Set<string | null | undefined>();
  const inodes = new Set<number>();
  let without = 0;
  const disconnected = operatorLog.filter(({msg}) => msg === 'agent disconnected').length;
  await eventually(async () => {
    const {operator, certificate} = await status();
    if (!operator.connected) without++;
    seen.add(certificate?.expires);
    inodes.add(statSync(file('state/tls/tls.key')).ino);
    return seen.size > RENEWALS && operatorLog.filter(({code}) => code === 'SUPERSEDED').length >= RENEWALS ? true : null;
  }, 60_000);
  talk.stdin?.write('stop\n');
  const [sent = 0, heard = 0] = (await eventually(() => counted || null)).split(' ').map(Number);
  stop.abort();
  await watching;
  expect(sent).toBeGreaterThan(1000);
  expect({lost: sent - heard, without, conditions}).toEqual({lost: 0, without: 0, conditions: []});
  expect(inodes.size).toBeGreaterThan(RENEWALS);
  expect(operatorLog.filter(({msg}) => msg === 'agent disconnected')).toHaveLength(disconnected);
  // The operator's own was due as often.
  expect(operatorLog.filter(({msg}) => msg === 'operator’s certificate').length).toBeGreaterThan(RENEWALS);
}, 90_000);

test('another node’s token makes it nobody; what it enforces stays; its own brings it back', async () => {
  await end(agent);
  rmSync(file('state/tls'), {recursive: true});
  await mountToken('n2');
  agent = startAgent();
  const refused = await eventually(async () => {
    const now = await status().catch(() => null);
    return (now?.certificate?.lastError ?? null) === null ? null : now;
  }, 20_000);
  expect(refused?.certificate?.lastError).toMatch(/another name than n1: CN=system:node:n2/);
  expect([refused?.operator.connected, refused?.certificate?.expires, existsSync(file('state/tls/tls.crt'))]).toEqual([false, null, false]);
  expect(refused?.endpoints.total).toBe(2);
  await mountToken('n1');
  await eventually(tellsConnected, 60_000);
  expect((await status()).certificate?.lastError).toBeNull();
}, 120_000);
