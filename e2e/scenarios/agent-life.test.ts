// The life of an agent and of its pods: restarts, an operator that is away, pods that come, go and change their labels, a second agent on one node.

import {existsSync, readFileSync} from 'node:fs';
import {join} from 'node:path';
import {afterAll, beforeAll, describe, expect, test} from '@jest/globals';
import type {KubeClient} from '../../lib/kube/client.js';
import * as bgp from '../harness/checks/bgp.js';
import {expectTcp, judge, type Expectation} from '../harness/checks/policy.js';
import {watchEnforced} from '../harness/enforced.js';
import {STENTORCTL} from '../harness/helper.js';
import {Lab, type LabPod} from '../harness/lab.js';
import {pidsIn} from '../harness/netns.js';
import {RunDirectory} from '../harness/run-dir.js';
import {must, run, until} from '../harness/shell.js';
import {NODES} from '../harness/topology.js';
import {getJson} from '../harness/unix-http.js';

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
