import {describe, expect, test} from '@jest/globals';
import fc from 'fast-check';
import {mkdir, mkdtemp, readFile, rm, writeFile} from 'node:fs/promises';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {diffStates, resource, stateVersion} from '../../lib/desired/diff.js';
import type {NodeState, Resource} from '../../lib/desired/node-state.js';
import {resourceId} from '../../lib/desired/node-state.js';
import {allResources} from '../../lib/desired/tables.js';
import {identityId} from '../../lib/domain/identity.js';
import {silentLog} from '../../lib/run/log.js';
import {seal} from '../../lib/run/state-file.js';
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
  interface Place {
    readonly path: string;
    readonly journalPath: string;
  }

  async function inFolder(body: (place: Place) => Promise<void>): Promise<void> {
    const folder = await mkdtemp(join(tmpdir(), 'store-'));
    try {
      await body({path: join(folder, 'deep', 'state.json'), journalPath: join(folder, 'deep', 'state.journal')});
    } finally {
      await rm(folder, {recursive: true});
    }
  }

  const storeAt = (place: Place): StateStore => new StateStore(place, {log: silentLog});
  const loadedFrom = (place: Place): Promise<HeldState> => storeAt(place).load();
  const whole = (held: HeldState, undecodable: HeldDelta['undecodable'] = []): HeldDelta => (
    {base: '', version: held.version, upserts: [...allResources(held.tables)], undecodable, removes: []});
  const step = (from: HeldState, to: HeldState, upserts: readonly Resource[], removes: readonly Resource[] = []): HeldDelta => (
    {base: from.version, version: to.version, upserts, undecodable: [], removes});

  const n1 = node('n1');
  const [a, b, c] = [identity(256, 'k8s:a'), identity(257, 'k8s:b'), identity(258, 'k8s:c')];
  const states = [HeldState.of([n1]), HeldState.of([n1, a]), HeldState.of([n1, a, b]), HeldState.of([n1, b])] as const;
  const steps = [whole(states[0]), step(states[0], states[1], [a]), step(states[1], states[2], [b]), step(states[2], states[3], [], [a])] as const;

  function saveAll(store: StateStore): void {
    for (const [index, held] of states.entries()) {
      const delta = steps[index];
      if (delta !== undefined) store.save(held, delta);
    }
  }

  test('a restart holds the last state, also what cannot be decoded', () => inFolder(async (place) => {
    expect((await loadedFrom(place)).version).toBe('');
    const teapot = {kind: 'teapot', key: 'x', version: '1', reason: ''};
    const held = HeldState.of([n1, a], [teapot]);
    storeAt(place).save(held, whole(held, [teapot]));
    const loaded = await loadedFrom(place);
    expect(content(loaded)).toEqual(content(held));
    expect(loaded.undecodable.size).toBe(1);
  }));

  test('what was saved is there for who starts at once, and for the one after', () => inFolder(async (place) => {
    saveAll(storeAt(place));
    const second = storeAt(place);
    expect((await second.load()).version).toBe(states[3].version);
    await expect(readFile(place.journalPath)).rejects.toThrow('ENOENT');
    const next = HeldState.of([n1, b, c]);
    second.save(next, step(states[3], next, [c]));
    expect((await loadedFrom(place)).version).toBe(next.version);
  }));

  test('changes that the checkpoint holds already do no harm, wherever the process ended', () => inFolder(async (place) => {
    saveAll(storeAt(place));
    const lines = (await readFile(place.journalPath, 'utf8')).split('\n').slice(0, -1);
    await loadedFrom(place);
    expect(lines).toHaveLength(4);
    for (let old = 0; old <= lines.length; old++) {
      await writeFile(`${place.journalPath}.old`, lines.slice(0, old).map((line) => `${line}\n`).join(''));
      await writeFile(place.journalPath, lines.slice(old).map((line) => `${line}\n`).join(''));
      expect((await loadedFrom(place)).version).toBe(states[3].version);
    }
  }));

  test('a line cut short is left out, with what follows', () => inFolder(async (place) => {
    saveAll(storeAt(place));
    const text = await readFile(place.journalPath, 'utf8');
    await writeFile(place.journalPath, text.slice(0, -3));
    expect((await loadedFrom(place)).version).toBe(states[2].version);
    await rm(place.path);
    await writeFile(place.journalPath, text.replace('k8s:a', 'k8s:z'));
    expect((await loadedFrom(place)).version).toBe(states[0].version);
  }));

  test('what was damaged is not written on', () => inFolder(async (place) => {
    const first = storeAt(place);
    first.save(states[0], steps[0]);
    await first.load();
    await writeFile(place.journalPath, 'a line cut short');
    const second = storeAt(place);
    expect((await second.load()).version).toBe(states[0].version);
    second.save(states[1], steps[1]);
    expect((await loadedFrom(place)).version).toBe(states[1].version);
  }));

  test('while the first checkpoint of a process cannot be written, its changes wait for one that can', () => inFolder(async (place) => {
    saveAll(storeAt(place));
    const lines = (await readFile(place.journalPath, 'utf8')).split('\n');
    await writeFile(place.journalPath, lines.toSpliced(1, 1).join('\n'));
    await mkdir(`${place.path}.tmp`);
    const store = storeAt(place);
    expect((await store.load()).version).toBe(states[0].version);
    await rm(`${place.path}.tmp`, {recursive: true});
    store.save(states[1], steps[1]);
    await store.flushed();
    expect((await loadedFrom(place)).version).toBe(states[1].version);
  }));

  test('without the state that they start from, changes count for nothing', () => inFolder(async (place) => {
    saveAll(storeAt(place));
    const lines = (await readFile(place.journalPath, 'utf8')).split('\n');
    await writeFile(place.journalPath, lines.slice(1).join('\n'));
    expect((await loadedFrom(place)).version).toBe('');
  }));

  test('a long journal becomes a checkpoint', () => inFolder(async (place) => {
    const store = storeAt(place);
    const long = identity(300, `k8s:long=${'x'.repeat(1 << 20)}`);
    const held = HeldState.of([n1, long]);
    store.save(held, whole(held));
    store.save(HeldState.of([n1, long, a]), step(held, HeldState.of([n1, long, a]), [a]));
    await store.flushed();
    expect((await readFile(place.journalPath, 'utf8')).length).toBeLessThan(1_000);
    await expect(readFile(`${place.journalPath}.old`)).rejects.toThrow('ENOENT');
    expect((await loadedFrom(place)).version).toBe(HeldState.of([n1, long, a]).version);
  }));

  test('a journal that cannot be written is replaced by checkpoints, and goes on after them', () => inFolder(async (place) => {
    const store = storeAt(place);
    await mkdir(place.journalPath, {recursive: true});
    store.save(states[0], steps[0]);
    store.save(states[1], steps[1]);
    await store.flushed();
    await rm(place.journalPath, {recursive: true});
    expect((await loadedFrom(place)).version).toBe(states[1].version);
    store.save(states[2], steps[2]);
    expect(await readFile(place.journalPath, 'utf8')).toContain('k8s:b');
    expect((await loadedFrom(place)).version).toBe(states[2].version);
  }));

  test('a change that follows a missing one is left out', () => inFolder(async (place) => {
    saveAll(storeAt(place));
    const lines = (await readFile(place.journalPath, 'utf8')).split('\n');
    await writeFile(place.journalPath, lines.toSpliced(1, 1).join('\n'));
    expect((await loadedFrom(place)).version).toBe(states[0].version);
  }));

  test('the list of an agent before the journal is read', () => inFolder(async (place) => {
    await mkdir(join(place.path, '..'));
    await writeFile(place.path, seal(JSON.stringify([...allResources(states[2].tables)])));
    expect((await loadedFrom(place)).version).toBe(states[2].version);
  }));

  test.each([
    ['cut short', (text: string) => text.slice(0, -10)],
    ['with a flipped bit', (text: string) => text.replace('n1', 'n3')],
    ['empty', () => ''],
    ['of another format', (text: string) => text.replace('"format":1', '"format":99')],
  ])('a checkpoint %s counts as none and is set aside', (_how, damage) => inFolder(async (place) => {
    storeAt(place).save(states[0], steps[0]);
    await loadedFrom(place);
    await writeFile(place.path, damage(await readFile(place.path, 'utf8')));
    expect((await loadedFrom(place)).version).toBe('');
    await expect(readFile(place.path)).rejects.toThrow('ENOENT');
    await expect(readFile(`${place.path}.damaged`)).resolves.toBeDefined();
  }));
});
