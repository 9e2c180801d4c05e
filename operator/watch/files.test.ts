import {mkdir, mkdtemp, rename, rm, writeFile} from 'node:fs/promises';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {afterEach, beforeEach, describe, expect, test} from '@jest/globals';
import {realClock} from '../../lib/run/clock.js';
import {silentLog} from '../../lib/run/log.js';
import type {Batch, KubeObject} from './feed-types.js';
import {startFileFeed, type FileFeed} from './files.js';

let dir: string;
let stop: AbortController;
let feed: FileFeed;
let objects: Map<string, KubeObject>;
let batches: Batch[];

beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'stentor-files-'));
  await mkdir(join(dir, 'in'));
  stop = new AbortController();
});

afterEach(async () => {
  stop.abort();
  await feed.done;
  await rm(dir, {recursive: true});
});

function start(): FileFeed {
  objects = new Map();
  batches = [];
  feed = startFileFeed({inputs: [join(dir, 'in')], outputDir: join(dir, 'out'), rescanMs: 60_000}, {
    clock: realClock, log: silentLog,
    admit: (_kind, object) => (object['spec'] === 'refused' ? {refused: 'for the test'} : {object}),
    onBatch: (batch) => {
      batches.push(batch);
      for (const {kind, key, object} of batch.changes) {
        if (object === null) objects.delete(`${kind}/${key}`);
        else objects.set(`${kind}/${key}`, object);
      }
    },
  }, stop.signal);
  return feed;
}

async function until(condition: () => boolean): Promise<void> {
  const deadline = Date.now() + 3_000;
  while (!condition()) {
    if (Date.now() > deadline) throw new Error(`not reached: ${condition.toString()} with ${[...objects.keys()].join(' ')}`);
    await new Promise((resolve) => setImmediate(resolve));
  }
}

/** Whole files appear at once, as a careful writer makes them. */
async function put(name: string, text: string): Promise<void> {
  const path = join(dir, 'in', name);
  await writeFile(join(dir, 'next'), text);
  await rename(join(dir, 'next'), path);
}

const policy = (name: string, spec: unknown): string =>
  JSON.stringify({apiVersion: 'cilium.io/v2', kind: 'CiliumNetworkPolicy', metadata: {name}, spec});
const mine = (): string[] => [...objects.keys()].filter((id) => id.startsWith('Cilium')).sort();
const get = (id: string): KubeObject | undefined => objects.get(id);

describe('file feed', () => {
  test('documents, lists and folders become objects with namespace, uid and generation; other kinds are left out', async () => {
    await put('a.yaml', [
      policy('one', {v: 1}), '# only a comment', 'apiVersion: v1\nkind: Service\nmetadata: {name: s}',
      'apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: Node, metadata: {name: n}}\n- {apiVersion: v1, kind: ConfigMap, metadata: {name: other}}',
      'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: ip-masq-agent, namespace: kube-system}\ndata: {config: x}',
    ].join('\n---\n'));
    await mkdir(join(dir, 'in', 'deep'));
    await put('deep/pod.yml', 'apiVersion: v1\nkind: Pod\nmetadata: {name: p, namespace: shop}');
    start();
    await until(() => feed.status().inSync && objects.has('Pod/shop/p'));
    expect([...objects.keys()].sort()).toEqual([
      'CiliumNetworkPolicy/default/one', 'ConfigMap/kube-system/ip-masq-agent', 'Namespace/default', 'Namespace/kube-system',
      'Namespace/shop', 'Node/n', 'Pod/shop/p', 'Service/default/s',
    ]);
    expect(get('CiliumNetworkPolicy/default/one')?.metadata).toMatchObject({namespace: 'default', generation: 1, uid: expect.any(String)});
    expect(get('Namespace/shop')?.metadata.labels).toEqual({'kubernetes.io/metadata.name': 'shop'});
    expect(batches.at(-1)?.inSync).toBe(true);
  });

  test('a change moves the generation and not the uid; removing a document or a file removes', async () => {
    await put('a.yaml', `${policy('one', {v: 1})}\n---\n${policy('two', {v: 1})}`);
    start();
    await until(() => mine().length === 2);
    const {uid} = get('CiliumNetworkPolicy/default/one')?.metadata ?? {};
    await put('a.yaml', policy('one', {v: 2}));
    await until(() => mine().length === 1 && get('CiliumNetworkPolicy/default/one')?.metadata.generation === 2);
    expect(get('CiliumNetworkPolicy/default/one')?.metadata.uid).toBe(uid);
    await rm(join(dir, 'in', 'a.yaml'));
    await until(() => mine().length === 0);
  });

  test('fails closed: a broken document, a refused object and a truncated file keep what was there', async () => {
    await put('a.yaml', `${policy('one', {v: 1})}\n---\n${policy('two', {v: 1})}`);
    start();
    await until(() => mine().length === 2);
    await put('a.yaml', `${policy('one', {v: 2})}\n---\nspec: [broken`);
    await until(() => get('CiliumNetworkPolicy/default/one')?.metadata.generation === 2);
    expect(mine()).toHaveLength(2);
    expect(feed.problems()).toMatchObject([{path: join(dir, 'in', 'a.yaml'), document: 2, line: expect.any(Number)}]);
    await put('a.yaml', `${policy('one', 'refused')}\n---\n${policy('two', {v: 3})}\n---\n${policy('three', 'refused')}`);
    await until(() => get('CiliumNetworkPolicy/default/two')?.['spec'] !== undefined && feed.problems().length === 2);
    expect(get('CiliumNetworkPolicy/default/one')?.['spec']).toEqual({v: 2});
    expect(mine()).toEqual(['CiliumNetworkPolicy/default/one', 'CiliumNetworkPolicy/default/two']);
    await put('a.yaml', '');
    await put('b.yaml', policy('marker', {}));
    await until(() => mine().length === 3);
    expect(mine()).toContain('CiliumNetworkPolicy/default/one');
    await put('a.yaml', '# nothing any more');
    await until(() => mine().length === 1);
  });

  test('what the operator writes comes back, and is known before in-sync after a restart', async () => {
    await put('a.yaml', policy('one', {v: 1}));
    start();
    await until(() => mine().length === 1);
    feed.written('CiliumIdentity', '4711', {metadata: {name: '4711'}, 'security-labels': {'k8s:app': 'x'}});
    feed.written('CiliumNetworkPolicy', 'default/one', {metadata: {name: 'one', namespace: 'default'}, status: {conditions: []}});
    await until(() => objects.has('CiliumIdentity/4711') && get('CiliumNetworkPolicy/default/one')?.['status'] !== undefined);
    expect(get('CiliumNetworkPolicy/default/one')?.metadata.generation).toBe(1);
    stop.abort();
    await feed.done;
    stop = new AbortController();
    await mkdir(join(dir, 'out', 'ciliumidentities'), {recursive: true});
    await writeFile(join(dir, 'out', 'ciliumidentities', '4711.yaml'), 'apiVersion: cilium.io/v2\nkind: CiliumIdentity\nmetadata: {name: "4711"}\n');
    start();
    await until(() => feed.status().inSync && batches.some((batch) => batch.inSync));
    const known = batches.findIndex((batch) => batch.changes.some((change) => change.key === '4711'));
    expect(known).toBeGreaterThanOrEqual(0);
    expect(known).toBeLessThanOrEqual(batches.findIndex((batch) => batch.inSync));
  });

  test('an input folder that goes away keeps its objects', async () => {
    await put('a.yaml', policy('one', {v: 1}));
    start();
    await until(() => mine().length === 1);
    await rename(join(dir, 'in'), join(dir, 'elsewhere'));
    await new Promise((resolve) => setImmediate(resolve));
    await rename(join(dir, 'elsewhere'), join(dir, 'in'));
    await put('b.yaml', policy('two', {v: 1}));
    stop.abort();
    await feed.done;
    expect(mine()).toContain('CiliumNetworkPolicy/default/one');
  });
});
