import {describe, expect, test} from '@jest/globals';
import fc from 'fast-check';
import {mkdtemp, readFile, rm, writeFile} from 'node:fs/promises';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {diffStates, resource, stateVersion} from '../../lib/desired/diff.js';
import type {NodeState, Resource} from '../../lib/desired/node-state.js';
import {resourceId} from '../../lib/desired/node-state.js';
import {allResources} from '../../lib/desired/tables.js';
import {identityId} from '../../lib/domain/identity.js';
import {silentLog} from '../../lib/run/log.js';
import type {HeldDelta} from './held.js';
import {EMPTY_HELD, HeldState} from './held.js';
import {StateStore} from './store.js';

function identity(id: number, label: string): Resource {
  return resource('identity', String(id), {id: identityId(id), labels: [label]});
}

function node(name: string): Resource {
  return resource('node', name, {name, addresses: ['10.1.5.10'], podCidrs: ['10.98.0.0/24'], routerAddress: null});
}

function stateOf(...items: Resource[]): NodeState {
  return new Map(items.map((item) => [resourceId(item), item]));
}

/** Plain, whether it was made here or decoded. */
function content(held: HeldState): NodeState {
  return plainState(new Map([...allResources(held.tables)].map((item) => [resourceId(item), item])));
}

function plainState(state: NodeState): NodeState {
  return new Map([...state].map(([id, item]) => [id, plain(item)]));
}

function plain({kind, key, version, value}: Resource): Resource {
  return {kind, key, version, value} as Resource;
}

function delta(from: NodeState, to: NodeState): HeldDelta {
  return {...diffStates(from, to), undecodable: []};
}

const ITEMS = [identity(256, 'k8s:a'), identity(256, 'k8s:b'), identity(257, 'k8s:c'), node('n1'), node('n2')];
const STATE = fc.subarray(ITEMS).map((items) => stateOf(...items));

describe('HeldState', () => {
  test('any walk of deltas leads to the state it names, the same as a snapshot of it', () => {
    fc.assert(fc.property(fc.array(STATE, {maxLength: 10}), (walk) => {
      let held = EMPTY_HELD;
      let before: NodeState = new Map();
      for (const state of walk) {
        const next = held.apply(delta(before, state));
        expect(next).not.toBeNull();
        held = next ?? held;
        before = state;
        expect(held.version).toBe(stateVersion(state));
        expect(content(held)).toEqual(plainState(state));
        expect(content(held.apply(delta(new Map(), state)) ?? EMPTY_HELD)).toEqual(plainState(state));
      }
    }));
  });

  test('a delta from another version, or with another result, is refused', () => {
    const a = stateOf(node('n1'));
    const held = HeldState.of([...a.values()]);
    expect(held.apply(delta(stateOf(node('n2')), a))).toBeNull();
    expect(held.apply({...delta(a, stateOf(node('n1'), node('n2'))), version: 'other'})).toBeNull();
  });

  test('kinds and resources that do not change stay the same objects', () => {
    const a = stateOf(node('n1'), identity(256, 'k8s:a'));
    const held = HeldState.of([...a.values()]);
    const next = held.apply(delta(a, stateOf(node('n1'), node('n2'), identity(256, 'k8s:a'))));
    expect(next?.tables.identity).toBe(held.tables.identity);
    expect(next?.tables.node.get('n1')).toBe(held.tables.node.get('n1'));
    const snapshot = held.apply(delta(new Map(), stateOf(node('n1'), identity(256, 'k8s:a'))));
    expect(snapshot?.tables.identity).toBe(held.tables.identity);
  });

  test('what cannot be decoded counts for the version and puts the old content out of force', () => {
    const before = identity(256, 'k8s:a');
    const held = HeldState.of([before, node('n1')]);
    const broken = {kind: 'identity', key: '256', version: 'ffff', reason: 'value.id is missing'};
    const after = HeldState.of([node('n1')], [broken]);
    const next = held.apply({base: held.version, version: after.version, upserts: [], undecodable: [broken], removes: []});
    expect(next?.tables.identity.size).toBe(0);
    expect([...(next?.undecodable.values() ?? [])]).toEqual([broken]);
    const repaired = next?.apply({base: next.version, version: held.version, upserts: [before], undecodable: [], removes: []});
    expect(repaired?.undecodable.size).toBe(0);
    expect(repaired?.tables.identity.get('256')).toEqual(before);
  });

  test('a kind of the future is kept by name', () => {
    const future = {kind: 'teapot', key: 'x', version: '1', reason: 'unknown kind'};
    const held = HeldState.of([], [future]);
    expect([...held.names()]).toEqual([{kind: 'teapot', key: 'x', version: '1'}]);
    expect(held.apply({base: '', version: '', upserts: [], undecodable: [], removes: []})?.version).toBe('');
  });
});

describe('StateStore', () => {
  async function inFolder(body: (path: string) => Promise<void>): Promise<void> {
    const folder = await mkdtemp(join(tmpdir(), 'store-'));
    try {
      await body(join(folder, 'deep', 'state.json'));
    } finally {
      await rm(folder, {recursive: true});
    }
  }

  test('a restart holds the last state', () => inFolder(async (path) => {
    const store = new StateStore({path}, {log: silentLog});
    expect((await store.load()).version).toBe('');
    const held = HeldState.of([node('n1'), identity(256, 'k8s:a')], [{kind: 'teapot', key: 'x', version: '1', reason: ''}]);
    store.save(HeldState.of([node('n2')]));
    store.save(held);
    await store.flushed();
    const loaded = await new StateStore({path}, {log: silentLog}).load();
    expect(content(loaded)).toEqual(content(held));
    expect(loaded.undecodable.size).toBe(1);
  }));

  test.each([
    ['cut short', (text: string) => text.slice(0, -10)],
    ['with a flipped bit', (text: string) => text.replace('n1', 'n3')],
    ['empty', () => ''],
    ['of another format', (text: string) => text.replace('"format":1', '"format":99')],
  ])('a file %s counts as none and is set aside', (_how, damage) => inFolder(async (path) => {
    const store = new StateStore({path}, {log: silentLog});
    store.save(HeldState.of([node('n1')]));
    await store.flushed();
    await writeFile(path, damage(await readFile(path, 'utf8')));
    expect((await store.load()).version).toBe('');
    await expect(readFile(path)).rejects.toThrow('ENOENT');
    await expect(readFile(`${path}.damaged`)).resolves.toBeDefined();
  }));
});
