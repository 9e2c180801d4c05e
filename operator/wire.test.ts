// The operator as a whole, in files mode: manifests in, agents over real gRPC and mTLS, conditions and objects out.

import {afterEach, beforeEach, describe, expect, test} from '@jest/globals';
import {readFile} from 'node:fs/promises';
import {join} from 'node:path';
import * as grpc from '@grpc/grpc-js';
import {deepEqual} from '../lib/core/equal.js';
import {stateVersion} from '../lib/desired/diff.js';
import type {Condition} from '../lib/desired/cluster-state.js';
import type {NodeState, Resource} from '../lib/desired/node-state.js';
import {createCa, issueNode} from './stream/ca.js';
import {Harness, until} from './testing/harness.js';

const NODES = ['a', 'b'].map((name, i) => ({
  apiVersion: 'v1', kind: 'Node', metadata: {name, labels: {rack: `rack${i}`}}, spec: {podCIDR: `10.98.${i}.0/24`, podCIDRs: [`10.98.${i}.0/24`]},
  status: {addresses: [{type: 'InternalIP', address: `10.1.${i}.10`}]},
}));
const pod = (name: string, nodeName: string, app: string): object => ({
  apiVersion: 'v1', kind: 'Pod', metadata: {name, namespace: 'default', uid: `pod-${name}`, labels: {app}}, spec: {nodeName, containers: [{name: 'c'}]},
});
const POLICY = (port: string): object => ({
  apiVersion: 'cilium.io/v2', kind: 'CiliumNetworkPolicy', metadata: {name: 'db', namespace: 'default'},
  spec: {endpointSelector: {matchLabels: {app: 'db'}}, ingress: [{fromEndpoints: [{matchLabels: {app: 'web'}}], toPorts: [{ports: [{port, protocol: 'TCP'}]}]}]},
});

let harness: Harness;

beforeEach(async () => {
  harness = await Harness.create();
  await harness.write('nodes', ...NODES);
  await harness.write('pods', pod('web', 'a', 'web'), pod('db', 'b', 'db'));
});

afterEach(async () => {
  await harness.close();
  expect(harness.failure).toBeNull();
});

function identityOf(state: NodeState, name: string): number | undefined {
  const item = state.get(`endpoint/default/${name}`);
  return item?.kind === 'endpoint' ? item.value.identity : undefined;
}

function valueOf(state: NodeState, id: string): Resource['value'] | undefined {
  return state.get(id)?.value;
}

function conditions(): readonly Condition[] {
  const [status] = harness.operator?.engine.clusterState.policyStatuses.values() ?? [];
  return status?.conditions ?? [];
}

function enforced(): string {
  const condition = conditions().find(({type}) => type === 'stentor.io/Enforced');
  return condition === undefined ? '' : `${condition.status} ${condition.reason} ${condition.message}`;
}

describe('IPAM mode cluster-pool', () => {
  const POOL = ['--ipam', 'cluster-pool', '--cluster-pool-ipv4-cidr', '10.7.0.0/23', '--cluster-pool-ipv4-mask-size', '24'];
  const EXPORT = {
    apiVersion: 'cilium.io/v2alpha1', kind: 'CiliumBGPPeeringPolicy', metadata: {name: 'rack'},
    spec: {virtualRouters: [{localASN: 65001, exportPodCIDR: true, neighbors: [{peerAddress: '10.1.0.1/32', peerASN: 65000}]}]},
  };
  const third = {apiVersion: 'v1', kind: 'Node', metadata: {name: 'c'}, spec: {podCIDR: '10.98.9.0/24'}, status: {addresses: [{type: 'InternalIP', address: '10.1.2.10'}]}};
  const podCidrs = (state: NodeState): unknown => (valueOf(state, 'node-config/node-config') as {readonly podCidrs?: unknown} | undefined)?.podCidrs;
  const advertised = (state: NodeState): string => JSON.stringify(valueOf(state, 'speaker/speaker') ?? '');
  const ciliumNode = async (name: string): Promise<string> => readFile(join(harness.dir, 'output/ciliumnodes', `${name}.yaml`), 'utf8').catch(() => '');

  test('PodCIDRs come from the pool, outlive the operator, and are what BGP announces; a full pool is said', async () => {
    await harness.write('bgp', EXPORT);
    await harness.start(POOL);
    const [a, b] = [await harness.agent('a'), await harness.agent('b')];
    await until('both have theirs', () => deepEqual([podCidrs(a.held), podCidrs(b.held)], [['10.7.0.0/24'], ['10.7.1.0/24']]));
    expect(advertised(b.held)).toContain('10.7.1.0/24');
    expect(advertised(b.held)).not.toContain('10.98.');
    a.report('web', '10.7.0.5');
    await until('its address is known', () => b.held.has('ipcache/10.7.0.5/32'));
    await harness.write('third', third);
    await until('the third has none', () => harness.operator?.engine.tables.nodes.get('c')?.assigned?.error === 'no IPv4 PodCIDR is left: 10.7.0.0/23 has 2 of /24');
    const c = await harness.agent('c');
    await until('and its agent knows', () => deepEqual(podCidrs(c.held), []));
    await eventually('its CiliumNode says so', async () => (await ciliumNode('c')).includes('error: "no IPv4 PodCIDR is left'));

    await harness.stopOperator();
    await harness.write('nodes', ...NODES.slice(1));
    await harness.start(POOL);
    const [b2, c2] = [await harness.agent('b'), await harness.agent('c')];
    await until('the second keeps its own, the third has what the first had', () => deepEqual([podCidrs(b2.held), podCidrs(c2.held)], [['10.7.1.0/24'], ['10.7.0.0/24']]));
    await eventually('nothing is wrong any more', async () => (await ciliumNode('c')).includes('operator-status: {}'));
    expect((await ciliumNode('c')).includes('10.7.0.0/24')).toBe(true);
  });
});

async function eventually(what: string, condition: () => Promise<boolean>, limitMs = 3000): Promise<void> {
  const deadline = performance.now() + limitMs;
  while (!await condition()) if (performance.now() > deadline) throw new Error(`not within ${limitMs} ms: ${what}`);
}

describe('streaming', () => {
  test('identities are created, read back, and then used; addresses come from the agents', async () => {
    await harness.start();
    const [a, b] = [await harness.agent('a'), await harness.agent('b')];
    await until('both endpoints', () => identityOf(a.held, 'web') !== undefined && identityOf(b.held, 'db') !== undefined);
    expect(a.held.has('endpoint/default/db')).toBe(false);
    a.report('web', '10.98.0.5');
    await until('the span ack', () => a.spanAcks.length === 1);
    expect(a.spanAcks[0]).toMatchObject({name: 'web', addresses: ['10.98.0.5'], complete: true});
    expect(valueOf(b.held, 'ipcache/10.98.0.5/32')).toMatchObject({identity: identityOf(a.held, 'web'), tunnelEndpoint: null});
    expect([...harness.operator?.engine.clusterState.endpoints.keys() ?? []]).toEqual(['default/web']);
    await until('its CiliumEndpoint was read back', () => harness.operator?.engine.tables.endpoints.has('default/web') === true);
    a.report('web', '10.98.0.5', {state: 'disconnected'});
    await until('the address goes', () => !b.held.has('ipcache/10.98.0.5/32'));
    await until('its CiliumEndpoint goes', () => harness.operator?.engine.tables.endpoints.has('default/web') === false);
    await until('both hold what the store has', () => stateVersion(a.held) === harness.operator?.store.version('a') && stateVersion(b.held) === harness.operator.store.version('b'));
  });

  test('an endpoint whose end nobody told is gone when its node does not name it again', async () => {
    await harness.write('more', pod('late', 'a', 'web'));
    await harness.start();
    const [a, b] = [await harness.agent('a'), await harness.agent('b')];
    await until('state', () => a.held.has('endpoint/default/late') && b.deltas.length > 0);
    a.report('web', '10.98.0.5');
    a.report('late', '10.98.0.6');
    const both = (): boolean => b.held.has('ipcache/10.98.0.5/32') && b.held.has('ipcache/10.98.0.6/32');
    await until('both addresses', both);
    await until('both objects', () => harness.operator?.engine.tables.endpoints.size === 2);
    a.close();
    await harness.remove('more');
    await until('the pod is gone', () => harness.operator?.engine.tables.pods.has('default/late') === false);
    // Its address may be in use as long as its node has not spoken.
    expect(both()).toBe(true);
    const again = await harness.agent('a');
    again.report('web', '10.98.0.5');
    again.send({peerReport: {peers: []}});
    await until('the address of the ended pod goes', () => !b.held.has('ipcache/10.98.0.6/32'));
    expect(b.held.has('ipcache/10.98.0.5/32')).toBe(true);
    again.close();
    // A node that was started anew has none, although their objects are there and the operator is another one.
    await harness.stopOperator();
    await harness.start();
    const after = await harness.agent('b');
    await until('what the objects tell', () => after.held.has('ipcache/10.98.0.5/32'));
    const empty = await harness.agent('a');
    empty.send({peerReport: {peers: []}});
    await until('nothing is left', () => !after.held.has('ipcache/10.98.0.5/32') && harness.operator?.engine.tables.endpoints.size === 0);
  });

  test('a restarted operator writes nothing where nothing changed', async () => {
    await harness.start();
    const [a, b] = [await harness.agent('a'), await harness.agent('b')];
    await until('endpoints', () => a.held.has('endpoint/default/web') && b.held.has('endpoint/default/db'));
    a.send({nodeReport: {devices: ['eth0'], addresses: ['10.1.0.10'], routerAddress: '10.98.0.1', routerMac: '', kernel: '6.1', features: []}});
    a.report('web', '10.98.0.5');
    await until('the address and the router are on b', () => b.held.has('ipcache/10.98.0.5/32') && b.held.has('ipcache/10.98.0.1/32'));
    await until('the objects are written', () => (harness.operator?.engine.tables.endpoints.size ?? 0) === 1
      && harness.operator?.engine.tables.ciliumNodes.get('a')?.routerAddress === '10.98.0.1');
    await harness.stopOperator();
    await harness.start();
    const again = await harness.agent('b', {held: b.held});
    await until('the first delta', () => again.deltas.length === 1);
    expect(again.deltas[0]).toMatchObject({upserts: [], removes: []});
    const first = await harness.agent('a', {held: a.held});
    first.report('web', '10.98.0.5');
    first.send({nodeReport: {devices: ['eth0'], addresses: ['10.1.0.10'], routerAddress: '10.98.0.1', routerMac: '', kernel: '6.1', features: []}});
    await until('the span ack', () => first.spanAcks.length === 1);
    await until('the report is in', () => harness.operator?.engine.tables.nodeReports.size === 1);
    expect([first, again].flatMap((agent) => agent.deltas.flatMap(({upserts, removes}) => [...upserts, ...removes]))).toEqual([]);
  });

  test('a held state that is older gets the difference, one that cannot be used a snapshot', async () => {
    await harness.start();
    const first = await harness.agent('a');
    await until('state', () => first.held.has('endpoint/default/web') && [...first.held.keys()].filter((id) => id.startsWith('identity/')).length === 2);
    const old = first.held;
    first.close();
    await harness.write('more', pod('late', 'a', 'web'));
    await until('the pod is known', () => harness.operator?.engine.tables.pods.has('default/late') === true);
    const second = await harness.agent('a', {held: old});
    await until('the difference', () => second.held.has('endpoint/default/late'));
    expect(second.deltas[0]?.upserts.map(({kind, key}) => `${kind}/${key}`)).toEqual(['endpoint/default/late']);
    second.send({snapshotRequest: {reason: 'test'}});
    await until('the snapshot', () => second.deltas.length === 2);
    expect(second.deltas[1]?.upserts.length).toBe(second.held.size);
  });

  test('a slow agent gets the latest state, not the steps', async () => {
    await harness.start(['--in-flight-max', '1']);
    const agent = await harness.agent('a', {acknowledge: false});
    await until('the first state', () => agent.deltas.length === 1);
    for (const name of ['p1', 'p2', 'p3']) {
      await harness.write('more', pod(name, 'a', 'web'));
      await until(`${name} is compiled`, () => harness.operator?.store.get('a', `endpoint/default/${name}`) !== null);
    }
    expect(agent.deltas.length).toBe(1);
    agent.ack();
    await until('the second delta', () => agent.deltas.length === 2);
    const kept = agent.deltas[1]?.upserts.filter(({kind}) => kind === 'endpoint').map(({key}) => key);
    expect(kept).not.toContain('default/p1');
    expect(kept).toContain('default/p3');
  });

  test('large states come in several chunks', async () => {
    await harness.start(['--chunk-bytes', '4096']);
    const objects = Array.from({length: 40}, (_, i) => pod(`p${i}`, 'a', `app-${i}`));
    await harness.write('more', ...objects);
    const agent = await harness.agent('a');
    await until('all endpoints', () => [...agent.held.keys()].filter((id) => id.startsWith('endpoint/')).length === 41);
    const late = await harness.agent('a', {held: new Map()});
    await until('the snapshot', () => late.deltas.length > 0);
    expect(late.deltas[0]?.chunks).toBeGreaterThan(3);
    expect(stateVersion(late.held)).toBe(stateVersion(agent.held));
    await until('the older session was ended', () => agent.error !== null);
    expect(agent.error?.details).toContain('SUPERSEDED');
  });
});

describe('enforcement', () => {
  test('True only when the node concerned has acknowledged; names object and node of what could not be applied', async () => {
    await harness.start(['--settle-time', '0s']);
    const [a, b] = [await harness.agent('a'), await harness.agent('b')];
    await until('endpoints', () => b.held.has('endpoint/default/db') && a.held.has('endpoint/default/web'));
    b.acknowledge = false;
    await harness.write('policy', POLICY('5432'));
    await until('the policy is on b', () => [...b.held.values()].some((item) => item.kind === 'policy' && item.value.ingressEnforced && item.key !== '5'));
    await until('pending', () => enforced() === 'False Pending acknowledged by 0/1 nodes, not yet by b');
    expect(conditions().find(({type}) => type === 'Valid')?.status).toBe('True');
    b.errors = [{kind: 'policy', key: String(identityOf(b.held, 'db')), code: 'E2BIG', message: 'the map is full'}];
    b.ack();
    await until('the fault', () => enforced() === `False ApplyFailed b: policy ${identityOf(b.held, 'db')}: E2BIG the map is full`);
    b.errors = [];
    b.ack();
    await until('enforced', () => enforced() === 'True Enforced 1/1');
    const before = b.deltas.length;
    await harness.write('policy', POLICY('5433'));
    await until('the change is pending', () => enforced().startsWith('False Pending'));
    await until('the change is on b', () => b.deltas.length > before);
    b.ack();
    await until('enforced again', () => enforced() === 'True Enforced 1/1');
  });

  test('a node that is away: the old state holds for a while, a change does not', async () => {
    await harness.start(['--settle-time', '0s', '--unreachable-after', '300ms']);
    const b = await harness.agent('b');
    await until('the endpoint', () => b.held.has('endpoint/default/db'));
    await harness.write('policy', POLICY('5432'));
    await until('enforced', () => enforced() === 'True Enforced 1/1');
    b.close();
    await until('the session is gone', () => harness.operator?.engine !== undefined && enforced() === 'False NodesUnreachable 1/1: b');
    const again = await harness.agent('b', {held: b.held});
    await until('enforced again', () => enforced() === 'True Enforced 1/1');
    again.close();
    await harness.write('policy', POLICY('5433'));
    await until('unreachable', () => enforced() === 'False NodesUnreachable 1/1: b');
    await harness.write('pods', pod('web', 'a', 'web'));
    await until('nobody concerned', () => enforced() === 'True Enforced 0/0');
  });

  test('a replica that does not serve judges nobody, and gives the nodes time when it serves again', async () => {
    const {engine} = await harness.start(['--settle-time', '100ms', '--unreachable-after', '10ms']);
    const b = await harness.agent('b');
    await until('the endpoint', () => b.held.has('endpoint/default/db'));
    await harness.write('policy', POLICY('5432'));
    await until('enforced', () => enforced() === 'True Enforced 1/1');
    engine.setLeading(false);
    b.close();
    await until('the session is gone', () => engine.tables.nodes.size === 2 && harness.operator?.store.revision !== 0 && b.error !== null);
    await harness.write('more', pod('other', 'b', 'db'));
    await until('the pod is compiled', () => harness.operator?.store.get('b', 'endpoint/default/other') !== null);
    expect(enforced()).toBe('True Enforced 1/1');
    engine.setLeading(true);
    expect(enforced()).toBe('True Enforced 1/1');
    await until('settled', () => enforced() === 'False NodesUnreachable 1/1: b');
  });

  test('a policy with an unsupported part is invalid, isolates, and says so in an Event', async () => {
    await harness.start(['--settle-time', '0s']);
    const b = await harness.agent('b');
    await harness.write('policy', {
      apiVersion: 'cilium.io/v2', kind: 'CiliumNetworkPolicy', metadata: {name: 'l7', namespace: 'default'},
      spec: {endpointSelector: {matchLabels: {app: 'db'}}, ingress: [{toPorts: [{ports: [{port: '80', protocol: 'TCP'}], rules: {http: [{method: 'GET'}]}}]}]},
    });
    await until('invalid', () => conditions().find(({type}) => type === 'Valid')?.status === 'False');
    expect(conditions().find(({type}) => type === 'Valid')?.message).toContain('spec.ingress[0].toPorts[0].rules');
    await until('isolated', () => {
      const item = b.held.get(`policy/${identityOf(b.held, 'db')}`);
      return item?.kind === 'policy' && item.value.ingressEnforced && item.value.entries.every(({derived}) => derived !== undefined);
    });
    expect([...harness.operator?.engine.clusterState.events.values() ?? []].map(({object, reason}) => `${object.name} ${reason}`)).toEqual(['l7 PolicyInvalid']);
  });
});

describe('hostile clients', () => {
  test('another node’s name in the hello is refused, and the node gets an Event', async () => {
    await harness.start();
    const b = await harness.agent('b');
    await until('state', () => b.deltas.length > 0);
    const liar = await harness.agent('a', {claim: 'b'});
    await until('refused', () => liar.error !== null);
    expect(liar.error?.code).toBe(grpc.status.PERMISSION_DENIED);
    expect(liar.error?.details).toContain('the certificate is that of node a, the hello says b');
    expect(liar.deltas).toEqual([]);
    expect(b.error).toBeNull();
    await until('the Event', () => [...harness.operator?.engine.clusterState.events.values() ?? []].some(({object, reason}) => object.name === 'a' && reason === 'AgentRefused'));
  });

  test('certificates of another CA, of no node, and none at all get nothing', async () => {
    await harness.start();
    const nowMs = Date.now();
    const good = await harness.keys('a');
    const foreign = await issueNode(await createCa({nowMs, validityMs: 86_400_000}), 'a', {nowMs, validityMs: 86_400_000});
    const {loadOrCreateCa} = await import('./stream/ca-files.js');
    const {issueServer} = await import('./stream/ca.js');
    const server = await issueServer(await loadOrCreateCa(`${harness.dir}/ca`, nowMs), ['localhost'], {nowMs, validityMs: 86_400_000});
    const clients = [
      await harness.agent('a', {keys: {...foreign, ca: good.ca}}),
      await harness.agent('a', {keys: {ca: good.ca, cert: null, key: null}}),
      await harness.agent('a', {keys: server}),
    ];
    await until('all refused', () => clients.every((client) => client.error !== null));
    expect(clients.slice(0, 2).map((client) => client.error?.code)).toEqual([grpc.status.UNAVAILABLE, grpc.status.UNAVAILABLE]);
    for (const client of clients) expect(client.held.size).toBe(0);
  });

  test('no hello, a second hello, garbage, and reports outside the node’s PodCIDR disturb nobody', async () => {
    await harness.start(['--hello-timeout', '200ms']);
    const good = await harness.agent('b');
    await until('state', () => good.deltas.length > 0);
    const silent = await harness.agent('a', {claim: null});
    await until('timed out', () => silent.error !== null);
    expect(silent.error?.code).toBe(grpc.status.DEADLINE_EXCEEDED);
    const twice = await harness.agent('a');
    twice.send({hello: {node: 'a'}});
    await until('refused', () => twice.error !== null);
    expect(twice.error?.code).toBe(grpc.status.INVALID_ARGUMENT);
    const garbage = await harness.agent('a', {claim: null});
    garbage.raw(Buffer.from('ff0102030405ff', 'hex'));
    await until('garbage refused', () => garbage.error !== null);
    const thief = await harness.agent('a');
    thief.report('db', '10.98.1.6');
    await until('answered', () => thief.spanAcks.length === 1);
    expect(thief.spanAcks[0]?.addresses).toEqual([]);
    expect(good.held.has('ipcache/10.98.1.6/32')).toBe(false);
    expect(good.error).toBeNull();
  });
});

describe('seeing', () => {
  test('health, readiness, metrics and debug', async () => {
    await harness.start();
    const b = await harness.agent('b');
    await until('state', () => b.held.has('endpoint/default/db'));
    const base = `http://${harness.operator?.addresses.http ?? ''}`;
    expect((await fetch(`${base}/healthz`)).status).toBe(200);
    expect((await fetch(`${base}/readyz`)).status).toBe(200);
    const metrics = await (await fetch(`${base}/metrics`)).text();
    expect(metrics).toMatch(/^stentor_operator_sessions 1$/m);
    expect(metrics).toMatch(/^stentor_operator_convergence_seconds_count [1-9]/m);
    expect(metrics).toMatch(/^cilium_operator_process_resident_memory_bytes /m);
    expect(await harness.debug('nodes')).toEqual(['a', 'b']);
    expect(await harness.debug('nodes/b')).toMatchObject({version: stateVersion(b.held)});
    const {upserts} = await harness.debug('nodes/b') as {readonly upserts: readonly object[]};
    for (const each of upserts) expect(Object.keys(each)).toEqual(['kind', 'key', 'version', 'value']);
    expect(await harness.debug('sessions')).toMatchObject([{node: 'b', phase: 'open'}]);
    expect(await harness.debug('tables')).toMatchObject({pods: 2, nodes: 2});
    expect((await fetch(`${base}/debug/nothing`)).status).toBe(404);
  });
});
