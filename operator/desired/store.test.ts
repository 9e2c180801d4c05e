// The store against a plain model: effective state, versions, and who is told.

import {describe, expect, test} from '@jest/globals';
import fc from 'fast-check';
import {gone, type LayerChange, type ResourceChange} from '../../lib/desired/changes.js';
import {resource, stateVersion} from '../../lib/desired/diff.js';
import type {Resource} from '../../lib/desired/node-state.js';
import {resourceId} from '../../lib/desired/node-state.js';
import {identityId} from '../../lib/domain/identity.js';
import {DesiredStore} from './store.js';

const item = (n: number, label: string): Resource => resource('identity', String(n), {id: identityId(n), labels: [label]});
const ownOfA = (change: ResourceChange): Map<string, LayerChange> => new Map([['a', {kind: 'edit', changes: [change]}]]);
const change = fc.tuple(fc.constantFrom('shared', 'a', 'b'), fc.integer({min: 1, max: 4}), fc.constantFrom('x', 'y', null));

describe('DesiredStore', () => {
  test('a node’s own resources hide the shared ones; the version is that of what it holds; readers hear of every difference', () => {
    fc.assert(fc.property(fc.array(fc.array(change, {maxLength: 5}), {maxLength: 15}), (steps) => {
      const store = new DesiredStore();
      const layers: Record<string, Map<string, Resource>> = {shared: new Map(), a: new Map(), b: new Map()};
      const subscription = store.subscribe('a', () => undefined);
      let seen = new Map<string, Resource>();
      for (const step of steps) {
        const changes: Record<string, ResourceChange[]> = {shared: [], a: [], b: []};
        for (const [layer, n, label] of step) {
          const name = {kind: 'identity', key: String(n)} as const;
          const value = label === null ? null : item(n, `${label}-${layer}`);
          changes[layer]?.push(value ?? gone(name.kind, name.key));
          if (value === null) layers[layer]?.delete(resourceId(name));
          else layers[layer]?.set(resourceId(name), value);
        }
        // The one node is told what changed, the other one what there is.
        const whole = [...layers['b']?.values() ?? []];
        const edited = new Map<string, LayerChange>([['a', {kind: 'edit', changes: changes['a'] ?? []}]]);
        store.apply({shared: changes['shared'] ?? [], nodes: edited.set('b', whole.length === 0 ? {kind: 'gone'} : {kind: 'replace', resources: whole})});
        for (const node of ['a', 'b', 'c']) {
          const expected = new Map([...layers['shared'] ?? [], ...layers[node] ?? []]);
          expect(store.nodeState(node)).toEqual(expected);
          if (node !== 'b' || step.length % 2 === 0) expect(store.version(node)).toBe(stateVersion(expected));
        }
        const dirty = new Set(subscription.take());
        const now = new Map(store.nodeState('a'));
        for (const id of new Set([...seen.keys(), ...now.keys()])) if (seen.get(id)?.version !== now.get(id)?.version) expect(dirty).toContain(id);
        seen = now;
      }
    }));
  });

  test('nothing changed is no revision, and what a node hides does not wake it', () => {
    const store = new DesiredStore();
    let woken = 0;
    const subscription = store.subscribe('a', () => woken++);
    const id = resourceId({kind: 'identity', key: '1'});
    expect(store.apply({shared: [], nodes: new Map()})).toBe(0);
    store.apply({shared: [item(1, 'shared')], nodes: ownOfA(item(1, 'own'))});
    expect(subscription.take()).toEqual([id]);
    expect(store.apply({shared: [item(1, 'shared')], nodes: ownOfA(item(1, 'own'))})).toBe(1);
    store.apply({shared: [item(1, 'other')], nodes: new Map()});
    expect([woken, subscription.dirtyCount, store.revision]).toEqual([1, 0, 2]);
    store.unsubscribe(subscription);
    store.apply({shared: [], nodes: ownOfA(gone('identity', '1'))});
    expect(subscription.dirtyCount).toBe(0);
  });
});
