// LB-IPAM through the whole operator against a real API server: what it writes, what it clears, what it takes over from somebody else.

import {mkdtemp, rm} from 'node:fs/promises';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {afterAll, afterEach, beforeAll, expect, test} from '@jest/globals';
import type {KubeObject} from '../lib/kube/object.js';
import {collectionPath, objectPath, RESOURCES} from '../lib/kube/resources.js';
import {Lifecycle} from '../lib/run/lifecycle.js';
import {silentLog} from '../lib/run/log.js';
import {eventually} from '../lib/testing/netns.js';
import {useApiServer} from '../lib/testing/use-api-server.js';
import {loadOperatorConfig} from './config.js';
import {wireOperator, type Operator} from './wire.js';

const SIGNAL = AbortSignal.timeout(5 * 60_000);
const FOREIGN = 'cilium-operator-lb-ipam';
let dir: string;
let lifecycle: Lifecycle | null = null;
const api = useApiServer();

beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'lbipam-kube-'));
});

afterEach(async () => stopOperator());

afterAll(async () => rm(dir, {recursive: true, force: true}));

async function startOperator(): Promise<Operator> {
  const config = await loadOperatorConfig([
    '--kubeconfig', api.server.kubeconfig, '--ca-dir', join(dir, 'ca'), '--listen', '127.0.0.1:0', '--http-listen', '127.0.0.1:0', '--lease-name', '',
  ]);
  if (config.kind !== 'config') throw new Error('no configuration');
  lifecycle = new Lifecycle({log: silentLog});
  const operator = await wireOperator(config.value, {log: silentLog, lifecycle, fail: (error) => {
    throw error;
  }});
  await lifecycle.start();
  await eventually(() => (operator.engine.inSync ? true : null), 20_000);
  return operator;
}

async function stopOperator(): Promise<void> {
  await lifecycle?.stop();
  lifecycle = null;
}

const path = (name: string, subresource?: 'status'): string => objectPath(RESOURCES.Service, 'default', name, subresource);

async function create(name: string, spec: object = {}): Promise<KubeObject> {
  return api.client.create(collectionPath(RESOURCES.Service, 'default'), {
    apiVersion: 'v1', kind: 'Service', metadata: {name}, spec: {type: 'LoadBalancer', allocateLoadBalancerNodePorts: false, ports: [{port: 80}], ...spec},
  }, SIGNAL);
}

async function change(name: string, spec: object): Promise<void> {
  await api.client.patch(path(name), {type: 'merge', patch: {spec}, fieldManager: 'user'}, SIGNAL);
}

interface Status {
  readonly addresses: readonly string[];
  readonly condition: string;
  readonly version: string;
}

async function status(name: string): Promise<Status> {
  const object = await api.client.get(path(name), SIGNAL) as KubeObject & {readonly status?: {
    readonly loadBalancer?: {readonly ingress?: readonly {readonly ip: string}[]}; readonly conditions?: readonly {readonly type: string; readonly status: string; readonly reason: string}[];
  }};
  const condition = object.status?.conditions?.find(({type}) => type === 'cilium.io/IPAMRequestSatisfied');
  return {
    addresses: (object.status?.loadBalancer?.ingress ?? []).map(({ip}) => ip), condition: condition === undefined ? '' : `${condition.status} ${condition.reason}`,
    version: object.metadata.resourceVersion ?? '',
  };
}

async function becomes(name: string, addresses: readonly string[], condition: string): Promise<void> {
  await eventually(async () => {
    const is = await status(name);
    return is.addresses.join() === addresses.join() && is.condition === condition ? true : null;
  }, 10_000);
}

test('given, exchanged, cleared when the type changes, given again; what somebody else wrote is taken over without a move; a restart writes nothing', async () => {
  await startOperator();
  await api.client.create(collectionPath(RESOURCES.CiliumLoadBalancerIPPool), {
    apiVersion: 'cilium.io/v2', kind: 'CiliumLoadBalancerIPPool', metadata: {name: 'blue'}, spec: {blocks: [{cidr: '10.20.10.0/29'}]},
  }, SIGNAL);
  await create('a');
  await becomes('a', ['10.20.10.0'], 'True satisfied');
  await change('a', {loadBalancerIP: '10.20.10.5'});
  await becomes('a', ['10.20.10.5'], 'True satisfied');
  await change('a', {type: 'ClusterIP', loadBalancerIP: null, allocateLoadBalancerNodePorts: null});
  await becomes('a', [], '');
  await change('a', {type: 'LoadBalancer'});
  await becomes('a', ['10.20.10.0'], 'True satisfied');
  await stopOperator();
  // Cilium's operator was here before us.
  const {generation = 0} = (await create('foreign')).metadata;
  await api.client.patch(path('foreign', 'status'), {type: 'merge', fieldManager: FOREIGN, patch: {status: {
    loadBalancer: {ingress: [{ip: '10.20.10.6'}]},
    conditions: [{type: 'cilium.io/IPAMRequestSatisfied', status: 'True', reason: 'satisfied', message: '', observedGeneration: generation, lastTransitionTime: '2026-01-01T00:00:00Z'}],
  }}}, SIGNAL);
  const before = [await status('a'), await status('foreign')];
  const operator = await startOperator();
  await create('b');
  await becomes('b', ['10.20.10.1'], 'True satisfied');
  expect([await status('a'), await status('foreign')]).toEqual(before);
  expect(operator.engine.lb.ipam.poolUse().get('blue')).toMatchObject({used: 3n, available: 5n});
  const metrics = await (await fetch(`http://${operator.addresses.http}/metrics`)).text();
  // The one for b; an apply that changes nothing would be a write, too.
  expect(metrics.split('\n').filter((line) => /writes_total\{kind="Service"/.test(line)).map((line) => line.split(' ').at(-1))).toEqual(['1']);
  // What the other one wrote goes as well when it has to.
  await change('foreign', {type: 'ClusterIP', allocateLoadBalancerNodePorts: null});
  await becomes('foreign', [], '');
  await api.client.delete(path('a'), {}, SIGNAL);
  await eventually(() => (operator.engine.lb.ipam.poolUse().get('blue')?.used === 1n ? true : null));
}, 60_000);
