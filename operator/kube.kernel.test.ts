// Watch and apply stages against a real API server: what it does to them when it is restarted, and what they leave in it.

import {join} from 'node:path';
import {afterEach, beforeEach, describe, expect, test} from '@jest/globals';
import type {ClusterState} from '../lib/desired/cluster-state.js';
import {identityId} from '../lib/domain/identity.js';
import type {KubeObject} from '../lib/kube/object.js';
import {collectionPath, objectPath, RESOURCES} from '../lib/kube/resources.js';
import {realClock} from '../lib/run/clock.js';
import {silentLog} from '../lib/run/log.js';
import {eventually} from '../lib/testing/netns.js';
import {useApiServer} from '../lib/testing/use-api-server.js';
import {ClusterApplier} from './apply/cluster-applier.js';
import {installCrds} from './apply/crds.js';
import {KubeTarget} from './apply/kube-target.js';
import {planPolicyStatus} from './apply/policy-status.js';
import type {Batch, KubeObject as FeedObject} from './watch/feed-types.js';
import {startKubeFeed, type Feed} from './watch/feed.js';
import {LeaderElector, type LeaderState} from './watch/leader.js';

const CRDS = join(import.meta.dirname, '../../crds');
const NONE: ClusterState = {identities: new Map(), nodes: new Map(), endpoints: new Map(), services: new Map(), policyStatuses: new Map(), events: new Map()};
const api = useApiServer(async ({client}) => installCrds({dir: CRDS}, {client, clock: realClock, log: silentLog}, AbortSignal.timeout(30_000)));
let stop: AbortController;
let feed: Feed;
let objects: Map<string, FeedObject>;
let batches: Batch[];
const listeners: ((batch: Batch) => void)[] = [];

beforeEach(async () => {
  stop = new AbortController();
  objects = new Map();
  batches = [];
  listeners.length = 0;
  feed = startKubeFeed({reflector: {pageSize: 3}}, {client: api.client, clock: realClock, log: silentLog, onBatch: (batch) => {
    batches.push(batch);
    for (const {kind, key, object} of batch.changes) {
      if (object === null) objects.delete(`${kind}/${key}`);
      else objects.set(`${kind}/${key}`, object);
    }
    for (const listener of listeners) listener(batch);
  }}, stop.signal);
  await eventually(() => (feed.status().inSync && batches.some((batch) => batch.inSync) ? true : null), 20_000);
});

afterEach(async () => {
  stop.abort();
  await feed.done;
});

function identityObject(name: string, app: string): KubeObject {
  return {apiVersion: 'cilium.io/v2', kind: 'CiliumIdentity', metadata: {name}, 'security-labels': {'k8s:app': app}};
}

const identities = (): string[] => [...objects.keys()].filter((id) => id.startsWith('CiliumIdentity/')).sort();

async function deleteAll(): Promise<void> {
  for (const key of identities()) await api.client.delete(objectPath(RESOURCES.CiliumIdentity, null, key.slice('CiliumIdentity/'.length)), {}, stop.signal);
  await eventually(() => (identities().length === 0 ? true : null));
}

describe('feed', () => {
  test('creates, changes and deletions arrive; of ConfigMaps only the one for masquerading', async () => {
    const path = collectionPath(RESOURCES.ConfigMap, 'kube-system');
    for (const name of ['other', 'ip-masq-agent']) {
      await api.client.create(path, {apiVersion: 'v1', kind: 'ConfigMap', metadata: {name}, data: {config: 'a'}}, stop.signal);
    }
    await eventually(() => (objects.has('ConfigMap/kube-system/ip-masq-agent') ? true : null));
    await api.client.patch(`${path}/ip-masq-agent`, {type: 'merge', patch: {data: {config: 'b'}}}, stop.signal);
    await eventually(() => (JSON.stringify(objects.get('ConfigMap/kube-system/ip-masq-agent')?.['data']) === '{"config":"b"}' ? true : null));
    await api.client.delete(`${path}/ip-masq-agent`, {}, stop.signal);
    await eventually(() => (objects.has('ConfigMap/kube-system/ip-masq-agent') ? null : true));
    expect([...objects.keys()].filter((id) => id.startsWith('ConfigMap/'))).toEqual([]);
    expect(objects.has('Namespace/default')).toBe(true);
  });

  test('after a kill of the API server the feed is whole again, and tells only what changed meanwhile', async () => {
    for (const [index, name] of ['300', '301', '302', '303', '304', '305', '306'].entries()) {
      await api.client.create(collectionPath(RESOURCES.CiliumIdentity), identityObject(name, `a${index}`), stop.signal);
    }
    await eventually(() => (identities().length === 7 ? true : null));
    const before = batches.length;
    const lists = feed.status().kinds.find(({kind}) => kind === 'CiliumIdentity')?.lists ?? 0;
    await api.server.killApiServer();
    await api.server.startApiServer();
    // The reflectors back off while the server is away; these changes are made while most of them wait.
    await api.client.delete(objectPath(RESOURCES.CiliumIdentity, null, '300'), {}, stop.signal);
    await api.client.delete(objectPath(RESOURCES.CiliumIdentity, null, '301'), {}, stop.signal);
    await api.client.create(collectionPath(RESOURCES.CiliumIdentity), identityObject('301', 'new'), stop.signal);
    await api.client.create(collectionPath(RESOURCES.CiliumIdentity), identityObject('307', 'a7'), stop.signal);
    await eventually(() => (objects.has('CiliumIdentity/307') && !objects.has('CiliumIdentity/300') ? true : null), 20_000);
    await eventually(() => (feed.status().kinds.every(({failure}) => failure === null) ? true : null), 20_000);
    expect(JSON.stringify(objects.get('CiliumIdentity/301')?.['security-labels'])).toBe('{"k8s:app":"new"}');
    expect(identities()).toHaveLength(7);
    const told = batches.slice(before).flatMap((batch) => batch.changes).filter(({kind}) => kind === 'CiliumIdentity');
    expect(new Set(told.map(({key}) => key))).toEqual(new Set(['300', '301', '307']));
    expect(told.filter(({key}) => key === '301').map(({object}) => object === null)).toEqual([true, false]);
    // Resumed, or listed again when the restarted server has forgotten the version; never more than once.
    expect(feed.status().kinds.find(({kind}) => kind === 'CiliumIdentity')?.lists).toBeLessThanOrEqual(lists + 1);
    await deleteAll();
  }, 60_000);

  test('a kind whose CRD comes later is listed when it is served', async () => {
    await api.server.kubectl(['delete', 'crd', 'ciliumbgppeeringpolicies.cilium.io']);
    await eventually(() => ((feed.status().kinds.find(({kind}) => kind === 'CiliumBGPPeeringPolicy')?.failure ?? null) === null ? null : true), 10_000);
    await installCrds({dir: CRDS}, {client: api.client, clock: realClock, log: silentLog}, stop.signal);
    await api.server.kubectl(['apply', '-f', join(import.meta.dirname, '../../e2e/manifests/bgp-lab/peering-policies.yaml')]);
    await eventually(() => (objects.has('CiliumBGPPeeringPolicy/rack0') && objects.has('CiliumBGPPeeringPolicy/rack1') ? true : null), 10_000);
  }, 40_000);
});

describe('applier', () => {
  const policy = (name: string): KubeObject => ({
    apiVersion: 'cilium.io/v2', kind: 'CiliumNetworkPolicy', metadata: {name, namespace: 'default'}, spec: {endpointSelector: {}, ingress: [{}]}});
  const policies = collectionPath(RESOURCES.CiliumNetworkPolicy, 'default');

  function startApplier(writes: string[] = []): ClusterApplier {
    const applier = new ClusterApplier({instance: 'test'}, {
      target: new KubeTarget({}, {client: api.client, clock: realClock}), clock: realClock, log: silentLog,
      onWrite: (kind, verb, result) => void writes.push(`${verb} ${kind} ${result}`),
    });
    applier.observe({changes: [...objects].map(([id, object]) => ({kind: id.split('/')[0] ?? '', key: id.slice(id.indexOf('/') + 1), object})), inSync: true});
    listeners.push((batch) => applier.observe(batch));
    applier.setLeading(true);
    stop.signal.addEventListener('abort', () => applier.setLeading(false));
    return applier;
  }

  function stateFor(written: KubeObject, value: 'True' | 'False'): ClusterState {
    const {name, uid = ''} = written.metadata;
    const object = {kind: 'CiliumNetworkPolicy', namespace: 'default', name, uid};
    return {
      identities: new Map([['400', {id: identityId(400), securityLabels: {'k8s:io.kubernetes.pod.namespace': 'default', 'k8s:app': 'x'}}]]),
      nodes: new Map([['n1', {name: 'n1', nodeUid: 'none', labels: {rack: 'rack0'},
        spec: {addresses: [{type: 'InternalIP', ip: '10.1.5.10'}], ipam: {podCIDRs: ['10.98.0.0/24']}}}]]),
      endpoints: new Map([['default/p', {namespace: 'default', name: 'p', podUid: 'none',
        status: {id: 7, state: 'ready', identity: {id: 400, labels: ['k8s:app=x']}, networking: {addressing: [{ipv4: '10.98.0.7'}], node: '10.1.5.10'}}}]]),
      services: new Map(),
      policyStatuses: new Map([[uid, {object, apiVersion: 'cilium.io/v2', conditions: [
        {type: 'Valid', status: 'True', reason: 'Valid', message: 'Policy validation succeeded', observedGeneration: 1},
        {type: 'stentor.io/Enforced', status: value, reason: 'Installed', message: '1/1', observedGeneration: 1}]}]]),
      events: new Map([['e', {object, apiVersion: 'cilium.io/v2', type: 'Warning', reason: 'PolicyInvalid', message: 'for the test'}]]),
    };
  }

  test('writes identity, node, endpoint, conditions and event; a second leader writes nothing; what a stranger changes is repaired', async () => {
    const writes: string[] = [];
    const written = await api.client.create(policies, policy('one'), stop.signal);
    await eventually(() => (objects.has('CiliumNetworkPolicy/default/one') ? true : null));
    const applier = startApplier(writes);
    const state = stateFor(written, 'True');
    applier.set(state);
    await eventually(() => (['CiliumIdentity/400', 'CiliumNode/n1', 'CiliumEndpoint/default/p'].every((id) => objects.has(id))
      && objects.get('CiliumNetworkPolicy/default/one')?.['status'] !== undefined && applier.pending === 0 ? true : null));
    expect(applier.problems()).toEqual([]);
    expect(writes.sort()).toEqual(['apply CiliumEndpoint ok', 'apply CiliumNode ok', 'applyStatus CiliumNetworkPolicy ok', 'create CiliumIdentity ok', 'create Event ok']);
    await api.server.kubectl(['wait', '--for=condition=stentor.io/Enforced', 'cnp/one', '--timeout=5s']);
    expect(await api.server.kubectl(['get', 'cnp', 'one'])).toMatch(/NAME\s+AGE\s+VALID\s+ENFORCED\s+one\s+\S+\s+True\s+True/);
    expect(await api.server.kubectl(['get', 'cep', 'p'])).toMatch(/p\s+400\s+ready\s+10\.98\.0\.7/);
    expect(await api.server.kubectl(['get', 'events', '--field-selector', 'involvedObject.name=one'])).toContain('PolicyInvalid');

    const more: string[] = [];
    applier.setLeading(false);
    const second = startApplier(more);
    second.set(structuredClone({...state, events: new Map()}));
    await second.whenIdle();
    expect(more).toEqual([]);

    const transition = (): unknown => (objects.get('CiliumNetworkPolicy/default/one')?.['status'] as {conditions: {lastTransitionTime: string; type: string}[]} | undefined)
      ?.conditions.find(({type}) => type === 'Valid')?.lastTransitionTime;
    const before = transition();
    expect(before).toEqual(expect.any(String));
    second.set({...stateFor(written, 'False'), events: new Map()});
    await eventually(() => (JSON.stringify(objects.get('CiliumNetworkPolicy/default/one')?.['status']).includes('"False"') ? true : null));
    expect(transition()).toBe(before);

    await api.client.patch(objectPath(RESOURCES.CiliumNode, null, 'n1'), {type: 'merge', patch: {spec: {addresses: []}}}, stop.signal);
    await eventually(() => (JSON.stringify(objects.get('CiliumNode/n1')?.['spec']).includes('10.1.5.10') && more.includes('apply CiliumNode ok') ? true : null));

    second.set(NONE);
    await eventually(() => (!objects.has('CiliumNode/n1') && !objects.has('CiliumEndpoint/default/p') ? true : null));
    expect(objects.has('CiliumIdentity/400')).toBe(true);
  }, 30_000);

  test('the status of a policy that was made anew meanwhile is not written', async () => {
    const written = await api.client.create(policies, policy('two'), stop.signal);
    await eventually(() => (objects.has('CiliumNetworkPolicy/default/two') ? true : null));
    await api.client.delete(`${policies}/two`, {}, stop.signal);
    await api.client.create(policies, policy('two'), stop.signal);
    const uid = written.metadata.uid ?? '';
    const plan = planPolicyStatus(stateFor(written, 'True').policyStatuses.get(uid), written, '2024-01-02T03:04:05Z');
    if (plan.verb !== 'applyStatus') throw new Error(plan.verb);
    const target = new KubeTarget({}, {client: api.client, clock: realClock});
    await expect(target.applyStatus(plan.resource, plan.object, stop.signal)).rejects.toMatchObject({code: 'Conflict'});
    expect(await api.client.get(`${policies}/two`, stop.signal)).not.toHaveProperty('status');
  });

  test('the conditions follow a policy that others keep changing', async () => {
    const written = await api.client.create(policies, policy('three'), stop.signal);
    await eventually(() => (objects.has('CiliumNetworkPolicy/default/three') ? true : null));
    const applier = startApplier();
    for (let i = 0; i < 30; i++) {
      const change = api.client.patch(`${policies}/three`, {type: 'merge', patch: {metadata: {annotations: {i: String(i)}}}}, stop.signal);
      applier.set({...stateFor(written, i % 2 === 0 ? 'True' : 'False'), events: new Map()});
      await change;
    }
    await eventually(() => (JSON.stringify(objects.get('CiliumNetworkPolicy/default/three')?.['status'])?.includes('"False"') && applier.pending === 0 ? true : null));
    expect(applier.problems()).toEqual([]);
  });
});

describe('leader election', () => {
  const elector = (identity: string, states: LeaderState[]): LeaderElector => new LeaderElector(
    {namespace: 'kube-system', leaseName: 'stentor-test', identity, leaseMs: 1_500, renewDeadlineMs: 1_000, retryMs: 100},
    {client: api.client, clock: realClock, log: silentLog, onChange: (state) => void states.push(state)});

  test('one leads; when it goes it hands over at once; when it dies the other follows after the lease', async () => {
    const a: LeaderState[] = [];
    const b: LeaderState[] = [];
    const c: LeaderState[] = [];
    const stopA = new AbortController();
    const first = elector('a', a);
    const running = first.run(stopA.signal);
    await eventually(() => (first.state().leading ? true : null));
    const second = elector('b', b);
    const stopB = new AbortController();
    const runningB = second.run(stopB.signal);
    await eventually(() => (second.state().holder === 'a' ? true : null));
    stopA.abort();
    await running;
    const handed = performance.now();
    await eventually(() => (second.state().leading ? true : null));
    expect(performance.now() - handed).toBeLessThan(1_000);
    expect(a.map(({leading}) => leading)).toEqual([true, false]);

    // A holder that died without giving the lease back.
    const path = objectPath(RESOURCES.Lease, 'kube-system', 'stentor-test');
    stopB.abort();
    await runningB;
    await api.client.patch(path, {type: 'merge', patch: {spec: {holderIdentity: 'dead', renewTime: '2020-01-01T00:00:00.000000Z'}}}, stop.signal);
    const third = elector('c', c);
    const stopC = new AbortController();
    const started = performance.now();
    const runningC = third.run(stopC.signal);
    await eventually(() => (third.state().leading ? true : null));
    // The times in the lease say it expired years ago: only our own clock counts.
    expect(performance.now() - started).toBeGreaterThanOrEqual(1_400);
    expect(c[0]).toEqual({leading: false, holder: 'dead'});
    stopC.abort();
    await runningC;
  }, 20_000);

  test('a leader that cannot renew stops leading before others may take over', async () => {
    const states: LeaderState[] = [];
    const only = elector('x', states);
    const stopOnly = new AbortController();
    const running = only.run(stopOnly.signal);
    await eventually(() => (only.state().leading ? true : null));
    api.server.signalApiServer('SIGSTOP');
    try {
      const stopped = performance.now();
      await eventually(() => (only.state().leading ? null : true), 5_000);
      expect(performance.now() - stopped).toBeLessThan(1_500);
    } finally {
      api.server.signalApiServer('SIGCONT');
    }
    await eventually(() => (only.state().leading ? true : null), 10_000);
    stopOnly.abort();
    await running;
  }, 30_000);
});
