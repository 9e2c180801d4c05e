// The life of an agent and of its pods: restarts, an operator that is away, pods that come, go and change their labels, a second agent on one node.

import {createHash} from 'node:crypto';
import {existsSync, readFileSync, rmSync, statSync} from 'node:fs';
import {join} from 'node:path';
import * as grpc from '@grpc/grpc-js';
import {afterAll, beforeAll, describe, expect, test} from '@jest/globals';
import type {KubeClient} from '../../lib/kube/client.js';
import {collectionPath, RESOURCES} from '../../lib/kube/resources.js';
import {defineService, method} from '../../lib/run/grpc.js';
import {stentor} from '../../proto/gen/session.js';
import * as bgp from '../harness/checks/bgp.js';
import {undisturbed} from '../harness/checks/crash.js';
import {expectTcp, judge, type Expectation} from '../harness/checks/policy.js';
import {conditionsOf, ENFORCED, watchEnforced} from '../harness/enforced.js';
import {STENTORCTL} from '../harness/helper.js';
import {Lab, type LabPod} from '../harness/lab.js';
import {MapWriteTrace, stateWrites} from '../harness/map-writes.js';
import {pidsIn} from '../harness/netns.js';
import {startRelay} from '../harness/relay.js';
import {RunDirectory} from '../harness/run-dir.js';
import {must, run, until} from '../harness/shell.js';
import {BOOTSTRAP_PORT, OPERATOR_NAME} from '../harness/stentor.js';
import {AgentTokens, OTHER_ACCOUNT} from '../harness/tokens.js';
import {API_ADDRESS, NODES} from '../harness/topology.js';
import {getJson, getText} from '../harness/unix-http.js';

const MINUTE = 60_000;
/** Runs deathstar and ywing. */
const NODE = 'cilium-bgp-worker2';
const CRD = 'ciliumidentities.cilium.io';
const SCHEMA_LABEL = 'io.cilium.k8s.crd.schema.version';
let lab: Lab;
let client: KubeClient;

interface Endpoint {
  readonly id: number;
  readonly namespace: string;
  readonly name: string;
  readonly identity: number;
  readonly ipv4: string;
  readonly ifname: string;
}

beforeAll(async () => {
  lab = await Lab.start({api: 'real', leaf: 'bird', routingMode: 'native'}, RunDirectory.create('l'), () => undefined);
  if (lab.client === null) throw new Error('no API server');
  ({client} = lab);
  await lab.objects.apply(lab.manifest('overview/pods.yaml'));
  await lab.podsReady(['org', 'empire'], 2);
  await lab.podsReady(['org', 'alliance'], 2);
  await lab.podsReady(['app', 'myService'], 1);
  await bgp.applyPeering(lab);
  expect(await bgp.leafRoutes(lab, 20_000)).toMatchObject({verdict: 'ok'});
  await lab.objects.apply(lab.manifest('overview/l3-l4-policy.yaml'));
  await watchEnforced(client, {kind: 'CiliumNetworkPolicy', namespace: 'default', name: 'rule1'});
}, 2 * MINUTE);

afterAll(async () => {
  expect(await lab.stop()).toEqual([]);
}, MINUTE);

const to = (from: string, target: string, allowed: boolean): Expectation => expectTcp(lab.pod(from), lab.pod(target), 80, allowed);

async function verdicts(...expectations: readonly Expectation[]): Promise<void> {
  const {ok, value} = await judge(expectations);
  expect(ok ? 'as expected' : value).toBe('as expected');
}

/** rule1 holds at deathstar. */
function ruleHolds(): Promise<void> {
  return verdicts(to('tiefighter', 'deathstar', true), to('xwing', 'deathstar', false), to('ywing', 'deathstar', false), to('xwing', 'tiefighter', true));
}

function endpoints(node = NODE): Promise<readonly Endpoint[]> {
  return getJson<readonly Endpoint[]>(lab.stentor.agentSocket(node), '/v1/endpoints');
}

async function endpointOf(pod: string, node = NODE): Promise<Endpoint> {
  const found = (await endpoints(node)).find(({name}) => name === pod);
  if (found === undefined) throw new Error(`the agent of ${node} has no endpoint ${pod}`);
  return found;
}

/** From the pinned maps of a node. */
async function pinned<T>(words: string, node = NODE): Promise<T> {
  return JSON.parse(await must([STENTORCTL, ...words.split(' '), '-o', 'json', '--pinned'], {env: {STENTOR_BPF_ROOT: lab.stentor.bpfRoot(node), STENTOR_API_SOCKET: '/nonexistent'}})) as T;
}

async function startPod(name: string, labels: Readonly<Record<string, string>>): Promise<LabPod> {
  await lab.objects.apply(JSON.stringify({
    apiVersion: 'v1', kind: 'Pod', metadata: {name, namespace: 'default', labels: {...labels, pod: name}},
    spec: {nodeName: NODE, terminationGracePeriodSeconds: 1, containers: [{name: 'c', image: 'lab/echo'}]},
  }));
  await lab.podsReady(['pod', name], 1);
  return lab.pod(name);
}

async function deletePod(name: string): Promise<void> {
  // Waits for the kubelet, which has called the CNI plugin before it lets the object go.
  await lab.kubectl(['delete', 'pod', name, '--timeout=30s']);
}

/** Of the node. */
function gobgpd(): readonly number[] {
  return pidsIn(lab.node(NODE).netnsPath).filter((pid) => readFileSync(`/proc/${pid}/comm`, 'utf8').trim() === 'gobgpd');
}

async function answers(node: string): Promise<void> {
  await until(`the agent of ${node} answers`, {timeoutMs: 30_000}, () => lab.stentor.status(node));
}

describe('an agent that starts anew', () => {
  test.each(['SIGTERM', 'SIGKILL'] as const)('after %s it has the same endpoints, and gives no address twice', async (signal) => {
    const before = await endpoints();
    const pids = gobgpd();
    expect(pids).toHaveLength(1);
    await lab.stentor.killAgent(NODE, signal);
    await ruleHolds();
    await lab.stentor.startAgent(NODE);
    await lab.stentor.agentReady(NODE);
    expect(await endpoints()).toEqual(before);
    // Its speaker was not started anew.
    expect(gobgpd()).toEqual(pids);
    await ruleHolds();
    const pod = await startPod('newcomer', {org: 'alliance'});
    expect(before.map(({ipv4}) => ipv4)).not.toContain(pod.address);
    await verdicts(to('newcomer', 'deathstar', false), to('newcomer', 'xwing', true));
    await deletePod('newcomer');
  }, MINUTE);

  test('a pod that is deleted while there is no agent is gone when it is back', async () => {
    const {address} = await startPod('leaver', {org: 'alliance'});
    const {ifname} = await endpointOf('leaver');
    await lab.stentor.killAgent(NODE);
    await deletePod('leaver');
    expect(await pinned<readonly {readonly ip: string}[]>('bpf endpoint list')).toContainEqual(expect.objectContaining({ip: address}));
    await lab.stentor.startAgent(NODE);
    await lab.stentor.agentReady(NODE);
    await gone(address, ifname);
    await ruleHolds();
  }, MINUTE);
});

/** No link, no entry in a map of any node, no CiliumEndpoint says that there was a pod with this address. */
async function gone(address: string, ifname: string): Promise<void> {
  await until(`${address} is gone`, {timeoutMs: 20_000}, async () => {
    const [local, connections, ...caches] = await Promise.all([
      pinned<readonly {readonly ip: string}[]>('bpf endpoint list'),
      pinned<readonly {readonly source: string; readonly destination: string}[]>('bpf ct list'),
      ...NODES.map((node) => pinned<readonly {readonly prefix: string}[]>('bpf ipcache list', node.name)),
    ]);
    const {stdout: links} = await run(['ip', '-o', 'link', 'show'], {netns: lab.node(NODE).netnsPath});
    const objects = await lab.kubectl(['get', 'ciliumendpoints', '-o', 'jsonpath={.items[*].status.networking.addressing[*].ipv4}']);
    const {ipam} = await getJson<{readonly ipam: {readonly addresses: readonly {readonly ip: string}[]}}>(lab.stentor.agentSocket(NODE), '/v1/status');
    const left = [
      ...(local.some(({ip}) => ip === address) ? ['cilium_lxc'] : []),
      ...(connections.some(({source, destination}) => source === address || destination === address) ? ['cilium_ct'] : []),
      ...(caches.flat().some(({prefix}) => prefix === `${address}/32`) ? ['cilium_ipcache'] : []),
      ...(links.includes(ifname) ? [ifname] : []),
      ...(objects.split(' ').includes(address) ? ['CiliumEndpoint'] : []),
      ...(ipam.addresses.some(({ip}) => ip === address) ? ['ipam'] : []),
    ];
    if (left.length > 0) throw new Error(left.join(', '));
    return true;
  });
}

describe('pods', () => {
  test('a deleted one leaves nothing: address, link, map entries of all nodes, connections, CiliumEndpoint', async () => {
    const slots = async (): Promise<ReadonlySet<number>> => new Set((await pinned<readonly {readonly endpoint: number}[]>('bpf policy list')).map(({endpoint}) => endpoint));
    const before = await slots();
    const pod = await startPod('visitor', {org: 'empire'});
    const {id, ifname} = await endpointOf('visitor');
    await verdicts(to('visitor', 'deathstar', true), to('xwing', 'visitor', true));
    // The control: all of it is there first.
    expect(await slots()).toEqual(new Set([...before, id]));
    for (const node of NODES) expect(await pinned('bpf ipcache list', node.name)).toContainEqual(expect.objectContaining({prefix: `${pod.address}/32`}));
    expect(await pinned('bpf ct list')).toContainEqual(expect.objectContaining({destination: pod.address}));
    await deletePod('visitor');
    await gone(pod.address, ifname);
    expect(await slots()).toEqual(before);
  }, MINUTE);

  test('a relabelled one gets another identity, and policy follows', async () => {
    const before = await endpointOf('ywing');
    await verdicts(to('ywing', 'deathstar', false));
    await lab.objects.label({kind: 'pod', namespace: 'default', name: 'ywing'}, {org: 'empire'});
    await until('ywing is let in', {timeoutMs: 10_000}, async () => (await judge([to('ywing', 'deathstar', true)])).ok ? true : null);
    const after = await endpointOf('ywing');
    expect(after.identity).not.toBe(before.identity);
    expect({...after, identity: 0, labels: []}).toEqual({...before, identity: 0, labels: []});
    for (const node of NODES) expect(await pinned('bpf ipcache list', node.name)).toContainEqual(expect.objectContaining({prefix: `${after.ipv4}/32`, identity: after.identity}));
    expect(await lab.kubectl(['get', 'ciliumendpoint', 'ywing', '-o', 'jsonpath={.status.identity.id}'])).toBe(String(after.identity));
    await lab.objects.label({kind: 'pod', namespace: 'default', name: 'ywing'}, {org: 'alliance'});
    await until('ywing is kept out again', {timeoutMs: 10_000}, async () => (await judge([to('ywing', 'deathstar', false)])).ok ? true : null);
    expect((await endpointOf('ywing')).identity).toBe(before.identity);
    await ruleHolds();
  }, MINUTE);
});

describe('while the operator is away', () => {
  test('a known pod is attached with its identity, also by an agent that started anew; an unknown one is reserved:init and denied until it is back', async () => {
    const known = await endpointOf('ywing');
    await lab.stentor.killOperator();
    await lab.stentor.killAgent(NODE);
    await lab.stentor.startAgent(NODE);
    await answers(NODE);
    await ruleHolds();

    // As a runtime that makes the sandbox anew.
    const sandbox = lab.kubelets.get(NODE)?.pods.get('default/ywing');
    if (sandbox === undefined) throw new Error('ywing has no sandbox');
    await sandbox.destroy();
    await sandbox.start();
    expect(await endpointOf('ywing')).toMatchObject({identity: known.identity});
    await until('ywing is ready', {timeoutMs: 10_000}, () => sandbox.ready ? true : null);
    await verdicts(to('ywing', 'deathstar', false), expectTcp(lab.pod('deathstar'), lab.pod('ywing'), 80, true));

    await startPod('stranger', {org: 'empire'});
    expect(await endpointOf('stranger')).toMatchObject({identity: 5});
    await verdicts(to('stranger', 'deathstar', false), to('stranger', 'ywing', false), to('ywing', 'stranger', false), to('deathstar', 'stranger', false));
    await ruleHolds();

    await lab.stentor.startOperator();
    await lab.stentor.agentReady(NODE);
    await until('the stranger is known', {timeoutMs: 20_000}, async () => (await judge([to('stranger', 'deathstar', true), to('ywing', 'stranger', true), to('xwing', 'stranger', true), to('xwing', 'ywing', true)])).ok ? true : null);
    expect((await endpointOf('stranger')).identity).toBeGreaterThan(255);
    await ruleHolds();
    await deletePod('stranger');
  }, 2 * MINUTE);

  test('a newer CRD is kept by the operator that starts', async () => {
    const version = (): Promise<string> => lab.kubectl(['get', 'crd', CRD, '-o', `jsonpath={.metadata.labels.${SCHEMA_LABEL.replaceAll('.', '\\.')}} {.metadata.generation}`]);
    const [label = '', generation = ''] = (await version()).split(' ');
    expect(label).toMatch(/^\d+\.\d+\.\d+$/);
    await lab.stentor.killOperator('SIGTERM');
    await lab.objects.label({kind: 'crd', namespace: null, name: CRD}, {[SCHEMA_LABEL]: '99.0.0'});
    await lab.stentor.startOperator();
    expect(await version()).toBe(`99.0.0 ${generation}`);
    // The control: an older one is replaced.
    await lab.stentor.killOperator('SIGTERM');
    await lab.objects.label({kind: 'crd', namespace: null, name: CRD}, {[SCHEMA_LABEL]: '0.0.1'});
    await lab.stentor.startOperator();
    expect((await version()).split(' ')[0]).toBe(label);
    await Promise.all(NODES.map(({name}) => lab.stentor.agentReady(name)));
    await ruleHolds();
  }, MINUTE);
});

describe('a second agent on one node', () => {
  async function second(replaced: Readonly<Record<string, string>>): Promise<{readonly code: number | null; readonly text: string}> {
    const pid = lab.stentor.agent(NODE)?.pid ?? -1;
    const words = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0').slice(0, -1);
    const command = words.map((word, i) => replaced[words[i - 1] ?? ''] ?? word);
    const {code, stdout, stderr} = await run(command, {netns: lab.node(NODE).netnsPath, timeoutMs: 20_000});
    return {code, text: stdout + stderr};
  }

  test.each(['the same state folder and pins', 'its own state folder, the same pins', 'its own pins, the same state folder'])('with %s is refused; the first goes on', async (what) => {
    const other = lab.run.folder('second', what.replaceAll(/\W+/g, '-'));
    const socket = {'--api-socket': join(other, 'agent.sock'), '--metrics-addr': join(other, 'metrics.sock')};
    const replaced = {
      'the same state folder and pins': {},
      'its own state folder, the same pins': {...socket, '--state-dir': join(other, 'state')},
      'its own pins, the same state folder': {...socket, '--bpf-root': `${lab.run.bpfRoot}/second`},
    }[what] ?? {};
    const before = await endpoints();
    const {code, text} = await second(replaced);
    expect(code).toBeGreaterThan(0);
    expect(text).toMatch(/LOCKED/);
    expect(text).toContain(String(lab.stentor.agent(NODE)?.pid));
    expect(existsSync(join(other, 'agent.sock'))).toBe(false);
    expect(await endpoints()).toEqual(before);
    expect((await lab.stentor.status(NODE)).operator?.connected).toBe(true);
    await ruleHolds();
  }, MINUTE);
});

/** Short, so that all of them are renewed while the test looks. */
const VALIDITY_S = 60;
const {BootstrapRequest, CertificateResponse} = stentor.v1;
const BOOTSTRAP = defineService('stentor.v1.NodeBootstrap', {Bootstrap: method('unary', BootstrapRequest, CertificateResponse)});

describe('certificates', () => {
  let tokens: AgentTokens;
  const names = NODES.map(({name}) => name);
  const keyFile = (node: string): string => join(lab.stentor.stateDir(node), 'tls', 'tls.key');
  const expiries = async (): Promise<readonly (string | null | undefined)[]> => Promise.all(names.map(async (node) => (await lab.stentor.status(node)).certificate?.expires));
  const logged = (message: string): readonly Readonly<Record<string, unknown>>[] => readFileSync(lab.run.log('operator'), 'utf8').split('\n')
    .filter((line) => line.includes(message)).map((line) => JSON.parse(line) as Readonly<Record<string, unknown>>);

  test('agents without any get their first one with the token of their pod, from an operator whose CA is a Secret', async () => {
    tokens = await AgentTokens.create(lab);
    for (const node of names) await lab.stentor.killAgent(node, 'SIGTERM');
    await lab.stentor.killOperator('SIGTERM');
    await lab.stentor.startOperator(['--ca-dir', '', '--certificate-validity', `${VALIDITY_S}s`, '--bootstrap-listen', `${API_ADDRESS}:${BOOTSTRAP_PORT}`]);
    for (const node of names) await lab.stentor.startAgent(node, {first: await tokens.mounted(node)});
    for (const node of names) await lab.stentor.agentReady(node);
    for (const node of names) expect(statSync(keyFile(node)).mode & 0o777).toBe(0o600);
    const {stdout} = await run([STENTORCTL, 'status'], {env: {STENTOR_API_SOCKET: lab.stentor.agentSocket(NODE)}});
    expect(stdout).toMatch(/^Certificate: +valid until 20\d\d-/m);
    await ruleHolds();
  }, MINUTE);

  test('all are renewed under traffic: nothing is lost, nothing written, no condition moves, nobody is missed', async () => {
    const before = await expiries();
    const keys = names.map((node) => createHash('sha256').update(readFileSync(keyFile(node))).digest('hex'));
    const [disconnected, superseded, issued] = [logged('agent disconnected').length, logged('"SUPERSEDED"').length, logged('certificate issued').length];
    const enforced: string[] = [];
    const stop = new AbortController();
    const watch = watchStatuses(stop.signal, enforced);
    const trace = await MapWriteTrace.start(names.map((node) => lab.stentor.agent(node)?.pid ?? -1), lab.run);
    let missed = 0;
    const measured = await undisturbed(lab, {allowed: [lab.pod('xwing'), lab.pod('tiefighter')], denied: [lab.pod('xwing'), lab.pod('deathstar')]}, async () => {
      await until('all have another certificate', {timeoutMs: (VALIDITY_S + 10) * 1000, intervalMs: 100}, async () => {
        for (const node of names) if ((await lab.stentor.status(node)).operator?.connected !== true) missed++;
        return (await expiries()).every((expires, i) => expires !== before[i]) ? true : null;
      });
      await until('their sessions have gone over', {timeoutMs: 10_000}, () => new Set(logged('"SUPERSEDED"').slice(superseded).map(({node}) => node)).size === names.length ? true : null);
      return '';
    });
    const writes = stateWrites(await trace.stop());
    stop.abort();
    await watch;
    expect(measured).toMatchObject({ok: true});
    expect([missed, writes, enforced.filter((text) => text !== 'True')]).toEqual([0, [], []]);
    expect(logged('agent disconnected')).toHaveLength(disconnected);
    expect(new Set(logged('certificate issued').slice(issued).filter(({how}) => how === 'renewal').map(({node}) => node))).toEqual(new Set(names));
    expect(names.map((node) => createHash('sha256').update(readFileSync(keyFile(node))).digest('hex')).filter((hash) => keys.includes(hash))).toEqual([]);
    // The operator's own has been replaced, too.
    expect(Number(/^stentor_operator_certificate_expiry_seconds\{certificate="server"\} (\d+)/m.exec(await getText(lab.stentor.operatorHttp, '/metrics'))?.[1])).toBeGreaterThan(0);
    expect(logged('operator’s certificate').length).toBeGreaterThan(1);
    await ruleHolds();
  }, 3 * MINUTE);

  async function watchStatuses(signal: AbortSignal, statuses: string[]): Promise<void> {
    const path = collectionPath(RESOURCES.CiliumNetworkPolicy, 'default');
    const {resourceVersion} = await client.listAll(path, {}, signal);
    await client.watch(path, {resourceVersion, timeoutSeconds: 600, silenceLimitMs: 0}, (events) => {
      for (const {type, object} of events) if (type !== 'BOOKMARK') statuses.push(conditionsOf(object).find((condition) => condition.type === ENFORCED)?.status ?? 'none');
    }, signal).catch((error: unknown) => {
      if (!signal.aborted) throw error;
    });
  }

  test('a token that is none, for another audience, of another account or of no pod gets nothing', async () => {
    const {port} = await startRelay(lab.fabric.ctl, {address: API_ADDRESS, port: BOOTSTRAP_PORT}, lab.run);
    const ca = readFileSync((await tokens.mounted(NODE)).caFile);
    const bootstrap = BOOTSTRAP.connect(`127.0.0.1:${port}`, grpc.credentials.createSsl(ca), {'grpc.ssl_target_name_override': OPERATOR_NAME, 'grpc.use_local_subchannel_pool': 1});
    const [first = ''] = names;
    const wrong = [
      ['rubbish', 'UNAUTHENTICATED TOKEN_REFUSED'], [await tokens.token(NODE, {audience: 'https://kubernetes.default.svc'}), 'UNAUTHENTICATED TOKEN_REFUSED'],
      [await tokens.token(first, {account: OTHER_ACCOUNT}), 'PERMISSION_DENIED WRONG_SERVICE_ACCOUNT'], [await tokens.token(NODE, {bound: false}), 'UNAUTHENTICATED TOKEN_REFUSED'],
      // The token is good, and not enough.
      [await tokens.token(NODE), 'INVALID_ARGUMENT CSR_INVALID'],
    ] as const;
    const answers: string[] = [];
    for (const [token] of wrong) {
      answers.push(await bootstrap.Bootstrap({token, certificateRequest: new Uint8Array(8)})
        .then(() => 'answered', (error: grpc.ServiceError) => `${grpc.status[error.code]} ${error.details.split(':')[0]}`));
    }
    bootstrap.channel.close();
    expect(answers).toEqual(wrong.map(([, answer]) => answer));
    await ruleHolds();
  }, MINUTE);

  test('an agent with another node’s token is that node to nobody; the datapath goes on; with its own it is back', async () => {
    await lab.stentor.killAgent(NODE);
    rmSync(join(lab.stentor.stateDir(NODE), 'tls'), {recursive: true});
    await lab.stentor.startAgent(NODE, {first: await tokens.mounted(NODE, 'cilium-bgp-worker')});
    await answers(NODE);
    const status = await until('it is told', {timeoutMs: 20_000}, async () => {
      const now = await lab.stentor.status(NODE);
      return (now.certificate?.lastError ?? null) === null ? null : now;
    });
    expect(status.certificate?.lastError).toMatch(/another name than cilium-bgp-worker2: CN=system:node:cilium-bgp-worker/);
    expect(status.operator?.connected).toBe(false);
    expect(existsSync(join(lab.stentor.stateDir(NODE), 'tls', 'tls.crt'))).toBe(false);
    await ruleHolds();
    // The kubelet renews what it has mounted.
    await tokens.mounted(NODE);
    await lab.stentor.agentReady(NODE, 60_000);
    await ruleHolds();
  }, 2 * MINUTE);
});
