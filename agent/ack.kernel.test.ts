// An acknowledgement means that the kernel holds it: the test is the operator, flips a policy, and sends a packet after every answer.

import * as grpc from '@grpc/grpc-js';
import {afterAll, beforeAll, expect, test} from '@jest/globals';
import {spawn} from 'node:child_process';
import type {ChildProcess} from 'node:child_process';
import {mkdirSync, mkdtempSync, rmSync, writeFileSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {StateDigest, diffStates, resource} from '../lib/desired/diff.js';
import type {NodeState} from '../lib/desired/node-state.js';
import {resourceId} from '../lib/desired/node-state.js';
import {identityId} from '../lib/domain/identity.js';
import {PRECEDENCE_ALLOW} from '../lib/domain/policy.js';
import {defineService, method} from '../lib/run/grpc.js';
import {makeTestCa} from '../lib/testing/keys.js';
import type {TestNetns} from '../lib/testing/netns.js';
import {eventually, makeNetns} from '../lib/testing/netns.js';
import {stentor} from '../proto/gen/session.js';

const {AgentMessage, OperatorMessage} = stentor.v1;
type Received = ReturnType<typeof AgentMessage.decode>;
type Sent = stentor.v1.OperatorMessage.$Properties;

const ROOT = join(import.meta.dirname, '..', '..');
const FLIPS = 300;
const folder = mkdtempSync(join(tmpdir(), 'agent-ack-'));
const processes: ChildProcess[] = [];
const server = new grpc.Server();
let [node, web, client]: TestNetns[] = [];
let bpfRoot = '';
let call: grpc.ServerDuplexStream<Received, Sent | Buffer> | null = null;
let sequence = 0;
const acks: NonNullable<Received['ack']>[] = [];

/** What a flip changes: one key, several of which no packet meets two (edited in place as well), or two that one packet meets (maps are swapped). */
const MODES = ['one', 'several', 'overlapping'] as const;

function state(allow: boolean, mode: typeof MODES[number]): NodeState {
  const origin = {kind: 'CiliumNetworkPolicy', namespace: 'default', name: 'flip', uid: 'u'};
  const entry = (selector: string, ruleIndex: number, l4 = {protocol: 0, port: 0, portPrefixLength: 0}) => ({direction: 'ingress' as const, deny: false, selector, ...l4,
    precedence: PRECEDENCE_ALLOW, origins: [{...origin, ruleIndex}]});
  const selector = (id: string, ...members: number[]) => resource('selector', id, {id, identities: allow ? members.map(identityId) : [], prefixes: []});
  const items = [
    resource('node-config', 'node-config', {nodeName: 'n1', routingMode: 'native', podCidrs: ['10.98.0.0/24'], nodeAddress: '10.1.5.10',
      ipv4NativeRoutingCidr: null, enableIPv4Masquerade: true, tunnelPort: 8472, clusterName: 'default'}),
    selector('clients', 257), selector('others', ...(mode === 'several' ? [300, 301] : [])), selector('again', ...(mode === 'overlapping' ? [257] : [])),
    resource('policy', '256', {subject: identityId(256), ingressEnforced: true, egressEnforced: false,
      entries: [entry('clients', 0), entry('others', 1), entry('again', 2, {protocol: 17, port: 80, portPrefixLength: 16})]}),
    resource('policy', '257', {subject: identityId(257), ingressEnforced: false, egressEnforced: false, entries: []}),
    ...[['web', 256], ['client', 257]].map(([name, id]) => resource('endpoint', `default/${name}`,
      {namespace: 'default', name: String(name), uid: '', identity: identityId(Number(id)), labels: [], namedPorts: {}})),
    resource('masquerade', 'masquerade', {hold: null, nonMasqueradeCidrs: ['10.0.0.0/8'], source: 'configmap'}),
  ];
  return new Map(items.map((item) => [resourceId(item), item]));
}

async function send(from: NodeState, to: NodeState): Promise<NonNullable<Received['ack']>> {
  const {base, version, upserts, removes} = diffStates(from, to);
  const mine = ++sequence;
  call?.write({chunk: {base, version, sequence: mine, last: true, removes: removes.map((name) => ({...name})),
    upserts: upserts.map(({kind, key, version: own, value}) => ({kind, key, version: own, value: Buffer.from(JSON.stringify(value))}))}});
  return eventually(() => acks.find((ack) => (ack.sequence ?? 0) >= mine) ?? null, 10_000);
}

function start(netns: TestNetns, ...command: string[]): ChildProcess {
  const child = spawn('nsenter', [`--net=${netns.path}`, ...command], {stdio: ['pipe', 'pipe', 'inherit']});
  processes.push(child);
  return child;
}

function attach(netns: TestNetns, pod: string): Promise<string> {
  const child = spawn(join(ROOT, 'build/stentor-cni'), [], {env: {CNI_COMMAND: 'ADD', CNI_CONTAINERID: pod, CNI_NETNS: netns.path, CNI_IFNAME: 'eth0',
    CNI_ARGS: `K8S_POD_NAMESPACE=default;K8S_POD_NAME=${pod}`}});
  child.stdin.end(JSON.stringify({cniVersion: '1.0.0', name: 'stentor', type: 'stentor-cni', agentSocket: join(folder, 'agent.sock')}));
  return new Promise((resolve, reject) => {
    let output = '';
    child.stdout.on('data', (data: Buffer) => (output += data.toString()));
    child.on('exit', (code) => {
      const {ips} = JSON.parse(output) as {ips?: {address: string}[]};
      if (code === 0) resolve(ips?.[0]?.address.split('/')[0] ?? '');
      else reject(new Error(output));
    });
  });
}

beforeAll(async () => {
  [node, web, client] = ['agent-ackn', 'agent-ackw', 'agent-ackc'].map(makeNetns);
  if (node === undefined) throw new Error('no namespace');
  bpfRoot = `/sys/fs/bpf/${node.name}`;
  mkdirSync(bpfRoot, {recursive: true});
  for (const command of ['link add eth0 type veth peer name wire', 'addr add 10.1.5.10/24 dev eth0', 'link set eth0 up', 'link set wire up']) node.run('ip', ...command.split(' '));
  const ca = await makeTestCa();
  const [agentKeys, serverKeys] = [await ca.node('n1'), await ca.server(['stentor-operator'])];
  for (const name of ['ca', 'cert', 'key'] as const) writeFileSync(join(folder, name), agentKeys[name]);
  defineService('stentor.v1.NodeSessions', {Session: method('bidi', AgentMessage, OperatorMessage)}).addTo(server, {Session: (stream) => {
    call = stream;
    stream.on('error', () => undefined);
    stream.on('data', ({hello, ack}) => {
      if (hello) stream.write({welcome: {operatorVersion: 'test'}});
      if (ack) acks.push(ack);
    });
  }});
  const address = `unix:${join(folder, 'operator.sock')}`;
  const credentials = grpc.ServerCredentials.createSsl(serverKeys.ca, [{cert_chain: serverKeys.cert, private_key: serverKeys.key}], true);
  await new Promise<void>((resolve, reject) => {
    server.bindAsync(address, credentials, (error) => (error === null ? resolve() : reject(error)));
  });
  start(node, process.execPath, join(ROOT, 'dist/agent/main.js'), '--node-name', 'n1', '--operator-address', address, '--operator-name', 'stentor-operator',
    '--tls-ca', join(folder, 'ca'), '--tls-cert', join(folder, 'cert'), '--tls-key', join(folder, 'key'), '--state-dir', join(folder, 'state'),
    '--bpf-root', bpfRoot, '--api-socket', join(folder, 'agent.sock'), '--metrics-addr', '', '--bpf-map-profile', 'small', '--log-level', 'warn',
    '--resync-interval', '1s', '--cni-span-wait', '0s');
  await eventually(() => call, 20_000);
}, 60_000);

afterAll(async () => {
  for (const child of processes) {
    const ended = new Promise((resolve) => child.once('exit', resolve));
    child.kill('SIGKILL');
    await ended;
  }
  server.forceShutdown();
  for (const netns of [web, client, node]) netns?.remove();
  rmSync(bpfRoot, {recursive: true, force: true});
  rmSync(folder, {recursive: true, force: true});
});

const ECHO = "const s = require('dgram').createSocket('udp4'); s.on('message', (m, r) => s.send(m, r.port, r.address)); s.bind(80, () => console.log('up'))";
const TALK = `const s = require('dgram').createSocket('udp4'); s.on('message', (m) => process.stdout.write(m + '\\n')); s.bind(0);
process.stdin.on('data', (d) => { for (const l of d.toString().split('\\n')) if (l) s.send(l, 80, process.argv[1], () => process.stdout.write('sent ' + l + '\\n')) })`;

test('no packet after an acknowledgement is judged by the policy before it', async () => {
  if (web === undefined || client === undefined) throw new Error('no namespaces');
  expect((await send(new Map(), state(true, 'one'))).errors).toEqual([]);
  const address = await attach(web, 'web');
  await attach(client, 'client');
  const echo = start(web, process.execPath, '-e', ECHO);
  await new Promise((resolve) => echo.stdout?.once('data', resolve));
  const talk = start(client, process.execPath, '-e', TALK, address);
  const heard = new Set<string>();
  talk.stdout?.on('data', (data: Buffer) => data.toString().split('\n').forEach((line) => heard.add(line)));
  const say = (text: string): void => void talk.stdin?.write(`${text}\n`);
  say('hello');
  await eventually(() => (heard.has('hello') ? true : null));

  let before = state(true, 'one');
  for (let i = 0; i < FLIPS; i++) {
    const allow = i % 2 === 1;
    const next = state(allow, MODES[Math.floor(i / 2) % MODES.length] ?? 'one');
    expect((await send(before, next)).errors).toEqual([]);
    before = next;
    const text = `${allow ? 'allowed' : 'denied'}-${i}`;
    say(text);
    // The verdict on a packet falls inside the call that sends it: the next change cannot overtake it.
    await eventually(() => (heard.has(allow ? text : `sent ${text}`) ? true : null));
  }
  expect([...heard].filter((text) => text.startsWith('denied'))).toEqual([]);
  expect([...heard].filter((text) => text.startsWith('allowed')).length).toBe(FLIPS / 2);
}, 120_000);

test('what cannot be installed is in the acknowledgement, by resource; the rest is in force', async () => {
  const before = state(false, 'one');
  const broken = {kind: 'selector', key: 'broken', version: 'x', value: Buffer.from('{"id": 7}')};
  acks.length = 0;
  const mine = ++sequence;
  const upserts = [...before.values()].map(({kind, key, version: own, value}) => ({kind, key, version: own, value: Buffer.from(JSON.stringify(value))}));
  const digest = new StateDigest();
  for (const item of [...before.values(), {kind: 'selector' as const, key: 'broken', version: 'x'}]) digest.add(item);
  call?.write({chunk: {base: '', version: digest.version(), sequence: mine, last: true, upserts: [...upserts, broken]}});
  const ack = await eventually(() => acks.find(({sequence: acknowledged}) => acknowledged === mine) ?? null, 10_000);
  expect(ack.errors).toMatchObject([{kind: 'selector', key: 'broken', code: 'UNDECODABLE'}]);
});
