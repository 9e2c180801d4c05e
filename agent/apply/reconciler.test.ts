// The reconciler over a target in memory that fails on purpose: it ends in the desired state, and writes nothing that is so already.

import {describe, expect, test} from '@jest/globals';
import fc from 'fast-check';
import {StentorError} from '../../lib/core/errors.js';
import type {ResourceName} from '../../lib/desired/node-state.js';
import {Reconciler} from './reconciler.js';
import type {Failure, Target} from './target.js';

const BACKOFF = {baseMs: 100, maxMs: 1_000};

class MemoryTarget implements Target<string, number> {
  readonly name = 'memory';
  readonly content = new Map<string, number>();
  /** Keys that are refused now; `*` = the whole call throws. */
  refused: ReadonlySet<string> = new Set();
  loadFails = false;
  readonly calls: string[] = [];

  async load(): Promise<ReadonlyMap<string, number>> {
    this.calls.push('load');
    if (this.loadFails) throw new StentorError('EIO', 'load failed');
    return new Map(this.content);
  }

  async upsert(entries: readonly (readonly [string, number])[]): Promise<readonly Failure<string>[]> {
    this.calls.push(`upsert ${entries.map(([key]) => key).join()}`);
    return this.#each(entries.map(([key]) => key), (key) => {
      const entry = entries.find(([candidate]) => candidate === key);
      if (entry !== undefined) this.content.set(...entry);
    });
  }

  async remove(keys: readonly string[]): Promise<readonly Failure<string>[]> {
    this.calls.push(`remove ${keys.join()}`);
    return this.#each(keys, (key) => this.content.delete(key));
  }

  equal(a: number, b: number): boolean {
    return a === b;
  }

  owns(key: string): boolean {
    return !key.startsWith('foreign');
  }

  because(value: number): readonly ResourceName[] {
    return [{kind: 'endpoint', key: String(value)}];
  }

  #each(keys: readonly string[], body: (key: string) => void): Failure<string>[] {
    const failures: Failure<string>[] = [];
    for (const [i, key] of keys.entries()) {
      if (this.refused.has('*') && i === Math.floor(keys.length / 2)) throw new StentorError('EIO', 'gave up half way');
      if (this.refused.has(key)) failures.push({key, error: new StentorError('ENOSPC', `${key} refused`)});
      else body(key);
    }
    return failures;
  }
}

function make(): {target: MemoryTarget; reconciler: Reconciler<string, number>; clock: {now: number}} {
  const target = new MemoryTarget();
  const clock = {now: 0};
  const reconciler = new Reconciler({backoff: BACKOFF}, {target, clock: {monotonicMs: () => clock.now}, random: () => 0});
  return {target, reconciler, clock};
}

async function round(reconciler: Reconciler<string, number>): Promise<void> {
  await reconciler.upsert();
  await reconciler.prune();
}

describe('reconciler', () => {
  test('writes only differences, removes only what is ours', async () => {
    const {target, reconciler} = make();
    for (const [key, value] of [['same', 1], ['old', 1], ['changed', 1], ['foreign', 1]] as const) target.content.set(key, value);
    reconciler.setDesired(new Map([['same', 1], ['changed', 2], ['new', 3]]));
    await round(reconciler);
    expect(target.calls).toEqual(['load', 'upsert changed,new', 'remove old']);
    expect(Object.fromEntries(target.content)).toEqual({same: 1, changed: 2, new: 3, foreign: 1});
    target.calls.length = 0;
    await round(reconciler);
    reconciler.setDesired(new Map([['same', 1], ['changed', 2], ['new', 3]]));
    await round(reconciler);
    expect(target.calls).toEqual([]);
  });

  test('nothing is removed without prune', async () => {
    const {target, reconciler} = make();
    target.content.set('old', 1);
    reconciler.setDesired(new Map());
    await reconciler.upsert();
    expect(target.content.has('old')).toBe(true);
  });

  test('a key that fails keeps no other back, is blamed, and is tried again when due', async () => {
    const {target, reconciler, clock} = make();
    target.refused = new Set(['b']);
    reconciler.setDesired(new Map([['a', 1], ['b', 2], ['c', 3]]));
    await round(reconciler);
    expect([...target.content.keys()]).toEqual(['a', 'c']);
    expect(reconciler.errors()).toEqual([{target: 'memory', because: [{kind: 'endpoint', key: '2'}], error: expect.objectContaining({code: 'ENOSPC'})}]);
    expect(reconciler.nextRetryMs()).toBe(100);
    target.calls.length = 0;
    clock.now = 99;
    await round(reconciler);
    expect(target.calls).toEqual([]);
    clock.now = 100;
    await round(reconciler);
    expect(target.calls).toEqual(['upsert b']);
    expect(reconciler.nextRetryMs()).toBe(300);
    target.refused = new Set();
    clock.now = 300;
    await round(reconciler);
    expect(target.content.get('b')).toBe(2);
    expect(reconciler.errors()).toEqual([]);
    expect(reconciler.nextRetryMs()).toBeNull();
  });

  test('another value for a key that failed is tried at once', async () => {
    const {target, reconciler} = make();
    target.refused = new Set(['a']);
    reconciler.setDesired(new Map([['a', 1]]));
    await round(reconciler);
    target.refused = new Set();
    reconciler.setDesired(new Map([['a', 2]]));
    await round(reconciler);
    expect(target.content.get('a')).toBe(2);
    expect(reconciler.errors()).toEqual([]);
  });

  test('a failure of what is not wanted any more is forgotten', async () => {
    const {target, reconciler} = make();
    target.refused = new Set(['a']);
    reconciler.setDesired(new Map([['a', 1]]));
    await round(reconciler);
    reconciler.setDesired(new Map());
    await round(reconciler);
    expect(reconciler.errors()).toEqual([]);
  });

  test('a removal that fails stays pending', async () => {
    const {target, reconciler, clock} = make();
    target.content.set('old', 7);
    target.refused = new Set(['old']);
    reconciler.setDesired(new Map());
    await round(reconciler);
    expect(reconciler.errors()).toMatchObject([{because: [{kind: 'endpoint', key: '7'}]}]);
    target.refused = new Set();
    clock.now = 100;
    await round(reconciler);
    expect(target.content.size).toBe(0);
    expect(reconciler.errors()).toEqual([]);
  });

  test('while nothing can be read nothing is written, and everything desired is blamed', async () => {
    const {target, reconciler, clock} = make();
    target.loadFails = true;
    reconciler.setDesired(new Map([['a', 1]]));
    await round(reconciler);
    expect(target.calls).toEqual(['load']);
    expect(reconciler.errors()).toMatchObject([{because: [{kind: 'endpoint', key: '1'}], error: {code: 'EIO'}}]);
    await round(reconciler);
    expect(target.calls).toEqual(['load']);
    target.loadFails = false;
    clock.now = 100;
    await round(reconciler);
    expect(target.content.get('a')).toBe(1);
    expect(reconciler.errors()).toEqual([]);
  });

  test('after a call that gave up half way, reality is read again', async () => {
    const {target, reconciler, clock} = make();
    target.refused = new Set(['*']);
    reconciler.setDesired(new Map([['a', 1], ['b', 2]]));
    await round(reconciler);
    expect(reconciler.errors()).toHaveLength(2);
    target.refused = new Set();
    clock.now = 100;
    await round(reconciler);
    expect(target.calls).toEqual(['load', 'upsert a,b', 'load', 'upsert b']);
    expect(reconciler.errors()).toEqual([]);
  });

  test('what others changed is repaired after invalidate', async () => {
    const {target, reconciler} = make();
    const desired = new Map([['a', 1]]);
    reconciler.setDesired(desired);
    await round(reconciler);
    target.content.delete('a');
    target.content.set('x', 9);
    await round(reconciler);
    expect(target.content.has('a')).toBe(false);
    reconciler.invalidate();
    await round(reconciler);
    expect(Object.fromEntries(target.content)).toEqual({a: 1});
  });

  test('whatever the walk and the faults, it ends in the last desired state', async () => {
    const keys = fc.constantFrom('a', 'b', 'c', 'd');
    const step = fc.record({
      desired: fc.dictionary(keys, fc.nat(2)), refused: fc.uniqueArray(fc.constantFrom('a', 'b', 'c', 'd', '*'), {maxLength: 2}),
      loadFails: fc.boolean(), invalidate: fc.boolean(), advanceMs: fc.nat(500),
    });
    await fc.assert(fc.asyncProperty(fc.array(step, {minLength: 1, maxLength: 8}), async (steps) => {
      const {target, reconciler, clock} = make();
      let last: ReadonlyMap<string, number> = new Map();
      for (const {desired, refused, loadFails, invalidate, advanceMs} of steps) {
        last = new Map(Object.entries(desired));
        target.refused = new Set(refused);
        target.loadFails = loadFails;
        clock.now += advanceMs;
        reconciler.setDesired(last);
        if (invalidate) reconciler.invalidate();
        await round(reconciler);
      }
      target.refused = new Set();
      target.loadFails = false;
      for (let retries = 0; reconciler.nextRetryMs() !== null && retries < 5; retries++) {
        clock.now = Math.max(clock.now, reconciler.nextRetryMs() ?? 0);
        await round(reconciler);
      }
      expect(Object.fromEntries(target.content)).toEqual(Object.fromEntries(last));
      expect(reconciler.errors()).toEqual([]);
      target.calls.length = 0;
      await round(reconciler);
      expect(target.calls).toEqual([]);
    }));
  });
});
