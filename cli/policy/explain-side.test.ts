// Every denied side of many flows, in four inputs: a change is found, and made on the objects it flips this verdict and no other.

import {join} from 'node:path';
import {expect, test} from '@jest/globals';
import {IDENTITY_WORLD} from '../../lib/domain/identity.js';
import type {Flow} from '../../lib/policy/flows.js';
import {FlowJudge} from '../../lib/policy/flows.js';
import {applyEdit} from './edit.js';
import {endOf, flowOf, l4Of} from './flow-args.js';
import {explainSide, type ExplainedSide} from './explain-side.js';
import {DEFAULT_SETTINGS} from './settings.js';
import {readManifests, type Manifests} from './sources.js';
import {ROOT, SHOP} from './testing/run.js';
import {compileWorld, RulePlaces, worldOf, type World} from './world.js';

const PODS = ['shop/frontend', 'shop/api', 'shop/db', 'monitoring/prometheus', 'kube-system/coredns'];
const OTHERS = ['192.0.2.1', '192.0.2.200', '198.51.100.1', '10.1.5.12', '10.1.5.11', '10.98.2.99', 'world', 'host', 'remote-node', 'health', 'ingress'];
const L4 = ['53/UDP', '80/TCP', '443/TCP', '5432/TCP', '9090/TCP', 'ICMP/8', '443/SCTP', 'VRRP'];
/** One in so many changes is made and judged. */
const MADE = 23;

function flows(): Flow[] {
  return [...PODS, ...OTHERS].flatMap((source) => [...PODS, ...OTHERS].flatMap((destination) => (PODS.includes(source) || PODS.includes(destination) ? L4 : []).map((text) => {
    const l4 = l4Of(text);
    const flow = typeof l4 === 'string' ? l4 : flowOf(endOf(source, 'default'), endOf(destination, 'default'), l4);
    if (typeof flow === 'string') throw new Error(flow);
    return flow;
  })));
}

function sidesOf(world: World, flow: Flow): readonly string[] {
  const {egress, ingress} = new FlowJudge(compileWorld(world)).judge(flow);
  return [egress, ingress].map((side) => side?.verdict.verdict ?? 'n/a');
}

/** The input with the change made. */
function made(manifests: Manifests, {change}: ExplainedSide): Manifests {
  const steps = change === null ? [] : [change, ...change.more];
  const objects = manifests.objects.map((item) => {
    const own = steps.filter(({edit, object}) => edit.op !== 'create' && object.kind === item.kind && object.name === item.object.metadata.name);
    return {...item, object: own.reduce((before, {edit}) => applyEdit(before, edit), item.object)};
  });
  const [first] = manifests.objects;
  if (first === undefined) throw new Error('an empty input');
  const created = steps.flatMap(({edit}) => (edit.op === 'create'
    ? [{apiVersion: 'cilium.io/v2', kind: 'CiliumNetworkPolicy', source: first.source, object: edit.value as typeof first.object}] : []));
  return {...manifests, objects: [...objects, ...created]};
}

test.each([
  ['', 0], ['deny.yaml', 16], ['deny-two.yaml', 16], ['isolated.yaml', 0],
])('beside the shop %s: changes that flip more are at most %i, and told', async (more, inexactMax) => {
  const manifests = await readManifests([SHOP, ...(more === '' ? [] : [`cli/policy/testing/${more}`])].map((path) => join(ROOT, path)));
  const world = worldOf(manifests, DEFAULT_SETTINGS);
  const context = {world, compiled: compileWorld(world), places: new RulePlaces(world.policies)};
  const judge = new FlowJudge(context.compiled);
  const all = flows();
  let [sides, inexact, tried] = [0, 0, 0];
  for (const flow of all) {
    const judged = judge.judge(flow);
    for (const side of [judged.egress, judged.ingress]) {
      if (side?.verdict.verdict !== 'deny') continue;
      const explained = explainSide(context, side, flow);
      expect([flow, explained.change]).toEqual([flow, expect.anything()]);
      if (explained.change?.others.length !== 0) inexact++;
      else if (sides % MADE === 0) {
        tried++;
        const after = worldOf(made(manifests, explained), DEFAULT_SETTINGS);
        const changedJudge = new FlowJudge(compileWorld(after));
        const others = all.filter((other) => {
          const [was, is] = [judge.judge(other)[side.direction], changedJudge.judge(other)[side.direction]];
          return was?.verdict.verdict !== is?.verdict.verdict && !((was?.peer === side.peer || side.peer === IDENTITY_WORLD) && isAlias(other, flow));
        });
        expect([flow, others]).toEqual([flow, []]);
        expect(sidesOf(after, flow)[side.direction === 'egress' ? 0 : 1]).toBe('allow');
      }
      sides++;
    }
  }
  expect(sides).toBeGreaterThan(300);
  expect(tried).toBeGreaterThan(10);
  expect(inexact).toBeLessThanOrEqual(inexactMax);
}, 120_000);

/** The same flow by other names: an end is the same, or one of the two says what it is and the other where. Prefixes are part of the world. */
function isAlias(a: Flow, b: Flow): boolean {
  const same = (one: Flow['source'], other: Flow['source']): boolean => JSON.stringify(one) === JSON.stringify(other) || (one.kind === 'identity') !== (other.kind === 'identity');
  return a.protocol === b.protocol && a.port === b.port && same(a.source, b.source) && same(a.destination, b.destination);
}
