import {mkdtemp, readFile, rm} from 'node:fs/promises';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {afterEach, beforeEach, describe, expect, test} from '@jest/globals';
import {parse} from 'yaml';
import {StentorError} from '../../lib/core/errors.js';
import type {ClusterState, DesiredPolicyStatus} from '../../lib/desired/cluster-state.js';
import {identityId} from '../../lib/domain/identity.js';
import {objectKey, type KubeObject} from '../../lib/kube/object.js';
import type {ApiResource} from '../../lib/kube/resources.js';
import {realClock, type Clock} from '../../lib/run/clock.js';
import {silentLog} from '../../lib/run/log.js';
import {ClusterApplier} from './cluster-applier.js';
import {FileTarget} from './file-target.js';
import {OURS, type ObjectTarget} from './kube-target.js';

const NONE: ClusterState = {identities: new Map(), nodes: new Map(), endpoints: new Map(), services: new Map(), policyStatuses: new Map(), events: new Map()};

/** Remembers objects as an API server would, refuses when told to, and can hold answers back. */
class FakeTarget implements ObjectTarget {
  readonly calls: string[] = [];
  readonly objects = new Map<string, KubeObject>();
  readonly refusals: StentorError[] = [];
  gate: Promise<void> = Promise.resolve();
  inFlight = 0;
  inFlightMax = 0;
  #version = 100;

  async #write(verb: string, resource: ApiResource, object: KubeObject): Promise<KubeObject> {
    const id = `${resource.kind}/${objectKey(object)}`;
    this.calls.push(`${verb} ${id}`);
    this.inFlight++;
    this.inFlightMax = Math.max(this.inFlightMax, this.inFlight);
    await this.gate;
    this.inFlight--;
    const refusal = this.refusals.shift();
    if (refusal !== undefined) throw refusal;
    if (verb === 'create' && this.objects.has(id)) throw new StentorError('AlreadyExists', 'there already');
    const before = this.objects.get(id);
    const after = {...before, ...object, metadata: {uid: 'u', ...before?.metadata, ...object.metadata, resourceVersion: String(++this.#version)}};
    this.objects.set(id, after);
    return after;
  }

  create = (resource: ApiResource, object: KubeObject): Promise<KubeObject> => this.#write('create', resource, object);
  apply = (resource: ApiResource, object: KubeObject): Promise<KubeObject> => this.#write('apply', resource, object);
  applyStatus = (resource: ApiResource, object: KubeObject): Promise<KubeObject> => this.#write('status', resource, object);
  merge = (resource: ApiResource, object: KubeObject): Promise<KubeObject> => this.#write('merge', resource, object);
  mergeStatus = (resource: ApiResource, object: KubeObject): Promise<KubeObject> => this.#write('merge status', resource, object);
  remove = async (resource: ApiResource, object: KubeObject): Promise<boolean> => {
    await this.#write('remove', resource, object);
    return this.objects.delete(`${resource.kind}/${objectKey(object)}`);
  };
  get = (resource: ApiResource, object: KubeObject): Promise<KubeObject> => {
    const held = this.objects.get(`${resource.kind}/${objectKey(object)}`);
    return held === undefined ? Promise.reject(new StentorError('NotFound', 'not there')) : Promise.resolve(held);
  };
}

let target: FakeTarget;
let applier: ClusterApplier;
let stop: AbortController;
let nowMs: number;

beforeEach(() => {
  target = new FakeTarget();
  stop = new AbortController();
  nowMs = 0;
  const clock: Clock = {now: () => 1_700_000_000_000 + nowMs, monotonicMs: () => nowMs, sleep: (_ms, signal) => realClock.sleep(1, signal)};
  applier = new ClusterApplier({instance: 'test', identityDelayMs: 60_000}, {target, clock, log: silentLog, random: () => 0});
});

afterEach(() => {
  applier.setLeading(false);
  stop.abort();
});

function begin(objects: readonly (readonly [string, KubeObject])[] = []): void {
  applier.observe({changes: objects.map(([kind, object]) => ({kind, key: objectKey(object), object})), inSync: true});
  applier.setLeading(true);
}

async function settled(): Promise<void> {
  const deadline = Date.now() + 2_000;
  do {
    await applier.whenIdle();
    await new Promise((resolve) => setImmediate(resolve));
    if (Date.now() > deadline) throw new Error(`not settled: ${target.calls.join(', ')}`);
  } while (applier.pending > 0);
}

const identity = (id: number, app: string): [string, {id: ReturnType<typeof identityId>; securityLabels: Record<string, string>}] =>
  [String(id), {id: identityId(id), securityLabels: {'k8s:app': app}}];
const policy: KubeObject = {metadata: {name: 'p', namespace: 'a', uid: 'pu', generation: 1, resourceVersion: '1'}};
const status = (reason: string, value: 'True' | 'False' = 'True'): [string, DesiredPolicyStatus] => ['pu', {
  object: {kind: 'CiliumNetworkPolicy', namespace: 'a', name: 'p', uid: 'pu'}, apiVersion: 'cilium.io/v2',
  conditions: [{type: 'stentor.io/Enforced', status: value, reason, message: '', observedGeneration: 1}],
}];

describe('cluster applier', () => {
  test('writes nothing before in-sync, before a state is known, nor while not leading', async () => {
    applier.setLeading(true);
    applier.set({...NONE, identities: new Map([identity(300, 'x')])});
    await new Promise((resolve) => setImmediate(resolve));
    expect(target.calls).toEqual([]);
    applier.setLeading(false);
    applier.observe({changes: [], inSync: true});
    await new Promise((resolve) => setImmediate(resolve));
    expect(target.calls).toEqual([]);
    applier.setLeading(true);
    await settled();
    expect(target.calls).toEqual(['create CiliumIdentity/300']);
  });

  test('a restarted operator that finds everything as it should be writes nothing', async () => {
    const state: ClusterState = {...NONE, identities: new Map([identity(300, 'x')]),
      nodes: new Map([['n', {name: 'n', nodeUid: 'nu', labels: {}, spec: {addresses: []}}]]), policyStatuses: new Map([status('Installed')])};
    begin([['CiliumNetworkPolicy', policy]]);
    applier.set(state);
    await settled();
    expect(target.calls).toHaveLength(3);
    const second = new ClusterApplier({instance: 'second'}, {target, clock: realClock, log: silentLog});
    second.observe({changes: [...target.objects].map(([id, object]) => ({kind: id.split('/')[0] ?? '', key: objectKey(object), object})), inSync: true});
    second.setLeading(true);
    second.set(structuredClone(state));
    await second.whenIdle();
    second.setLeading(false);
    expect(target.calls).toHaveLength(3);
  });

  test('only the newest state of an object is written after the one on its way', async () => {
    let open = (): void => undefined;
    target.gate = new Promise((resolve) => void (open = resolve));
    begin([['CiliumNetworkPolicy', policy]]);
    for (const reason of ['One', 'Two', 'Three', 'Four']) applier.set({...NONE, policyStatuses: new Map([status(reason)])});
    open();
    await settled();
    expect(target.calls).toHaveLength(2);
    expect(target.objects.get('CiliumNetworkPolicy/a/p')).toMatchObject({status: {conditions: [{reason: 'Four'}]}});
  });

  test('different objects are written in parallel, at most sixteen at once', async () => {
    let open = (): void => undefined;
    target.gate = new Promise((resolve) => void (open = resolve));
    begin();
    applier.set({...NONE, identities: new Map(Array.from({length: 50}, (_, i) => identity(300 + i, `x${i}`)))});
    await new Promise((resolve) => setImmediate(resolve));
    expect(target.inFlight).toBe(16);
    open();
    await settled();
    expect(target.inFlightMax).toBe(16);
    expect(target.objects.size).toBe(50);
  });

  test('a failed write is tried again until it succeeds, and is a problem until then', async () => {
    target.refusals.push(...['ServerError', 'Unreachable', 'Conflict'].map((code) => new StentorError(code, 'for the test')));
    begin();
    applier.set({...NONE, nodes: new Map([['n', {name: 'n', nodeUid: '', labels: {}, spec: {}}]])});
    await applier.whenIdle();
    expect(applier.problems()).toMatchObject([{object: 'CiliumNode/n', code: 'ServerError'}]);
    await settled();
    expect(target.calls).toHaveLength(4);
    expect(applier.problems()).toEqual([]);
  });

  test('an identity is deleted only after the delay, and not when it is used again meanwhile', async () => {
    const two = new Map([identity(300, 'x'), identity(301, 'y')]);
    begin();
    applier.set({...NONE, identities: two});
    await settled();
    const running = applier.run(stop.signal);
    applier.set(NONE);
    await settled();
    nowMs = 30_000;
    applier.set({...NONE, identities: new Map([identity(301, 'y')])});
    await settled();
    applier.set(NONE);
    await settled();
    expect(target.objects.size).toBe(2);
    nowMs = 61_000;
    const deadline = Date.now() + 2_000;
    while (target.objects.size > 1 && Date.now() < deadline) await new Promise((resolve) => setTimeout(resolve, 2));
    expect([...target.objects.keys()]).toEqual(['CiliumIdentity/301']);
    stop.abort();
    await running;
  });

  test('an object of ours that nobody wants is removed, a strange one is not', async () => {
    begin([['CiliumEndpoint', {metadata: {name: 'ours', namespace: 'a', uid: '1', labels: OURS}}],
      ['CiliumEndpoint', {metadata: {name: 'theirs', namespace: 'a', uid: '2'}}]]);
    applier.set(NONE);
    await settled();
    expect(target.calls).toEqual(['remove CiliumEndpoint/a/ours']);
  });

  test('fields that the API server cuts off do not make it write for ever', async () => {
    const cut: KubeObject = {metadata: {name: 'n', uid: 'u'}, spec: {}};
    begin([['CiliumNode', cut]]);
    const write = target.apply;
    target.apply = async (resource, object) => ({...await write(resource, object), spec: {}});
    const nodes = new Map([['n', {name: 'n', nodeUid: '', labels: {}, spec: {unknown: 1}}]]);
    applier.set({...NONE, nodes});
    await settled();
    applier.set({...NONE, nodes: new Map(nodes)});
    applier.observe({changes: [{kind: 'CiliumNode', key: 'n', object: {...cut, ...target.objects.get('CiliumNode/n'), spec: {}}}], inSync: true});
    await settled();
    expect(target.calls).toEqual(['apply CiliumNode/n']);
  });

  test('an event is written once; when it comes back it counts', async () => {
    const event = {object: {kind: 'CiliumNetworkPolicy', namespace: 'a', name: 'p', uid: 'pu'}, apiVersion: 'cilium.io/v2', type: 'Warning',
      reason: 'PolicyInvalid', message: 'm'} as const;
    const events = new Map([['k', event]]);
    begin();
    applier.set({...NONE, events});
    await settled();
    applier.set({...NONE, events: new Map(events)});
    await settled();
    expect(target.calls).toHaveLength(1);
    applier.set(NONE);
    applier.set({...NONE, events});
    await settled();
    expect(target.calls.map((call) => call.split(' ')[0])).toEqual(['create', 'merge']);
  });

  test('a stale event of the watch does not undo what the answer to our write showed', async () => {
    begin([['CiliumNetworkPolicy', policy]]);
    applier.set({...NONE, policyStatuses: new Map([status('Installed')])});
    await settled();
    applier.observe({changes: [{kind: 'CiliumNetworkPolicy', key: 'a/p', object: {...policy, metadata: {...policy.metadata, resourceVersion: '2'}}}], inSync: true});
    await settled();
    expect(target.calls).toHaveLength(1);
  });
});

describe('file target', () => {
  test('writes one file per object, reads it back into the feed, and refuses names that leave the folder', async () => {
    const dir = await mkdtemp(join(tmpdir(), 'stentor-out-'));
    const back: string[] = [];
    const files = new FileTarget({dir}, {onWritten: (kind, key, object) => void back.push(`${object === null ? '-' : '+'}${kind}/${key}`)});
    const toFiles = new ClusterApplier({instance: 'test'}, {target: files, clock: realClock, log: silentLog});
    toFiles.observe({changes: [{kind: 'CiliumNetworkPolicy', key: 'a/p', object: policy},
      {kind: 'CiliumEndpoint', key: 'a/old', object: {metadata: {name: 'old', namespace: 'a', labels: OURS}}}], inSync: true});
    toFiles.setLeading(true);
    toFiles.set({...NONE, identities: new Map([identity(300, 'x')]), policyStatuses: new Map([status('Installed')]),
      endpoints: new Map([['../../x', {namespace: '..', name: '../x', podUid: '', status: {}}]])});
    await toFiles.whenIdle();
    toFiles.setLeading(false);
    expect(back.sort()).toEqual(['+CiliumIdentity/300', '+CiliumNetworkPolicy/a/p', '-CiliumEndpoint/a/old']);
    expect(parse(await readFile(join(dir, 'ciliumidentities/300.yaml'), 'utf8'))).toMatchObject({kind: 'CiliumIdentity', 'security-labels': {'k8s:app': 'x'}});
    expect(parse(await readFile(join(dir, 'ciliumnetworkpolicies/a/p.yaml'), 'utf8'))).toMatchObject({status: {conditions: [{reason: 'Installed'}]}});
    expect(toFiles.problems()).toMatchObject([{code: 'Invalid'}]);
    await rm(dir, {recursive: true});
  });
});
