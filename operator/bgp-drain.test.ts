// A drain through the whole operator: options, time, condition, and the operator after it.

import {afterEach, beforeEach, expect, test} from '@jest/globals';
import {GRACEFUL_SHUTDOWN} from './compile/bgp-drain.js';
import type {TestAgent} from './testing/agent.js';
import {Harness, until} from './testing/harness.js';

let harness: Harness;
beforeEach(async () => {
  harness = await Harness.create();
  await harness.write('bgp', {
    apiVersion: 'cilium.io/v2alpha1', kind: 'CiliumBGPPeeringPolicy', metadata: {name: 'p'},
    spec: {virtualRouters: [{localASN: 65005, exportPodCIDR: true, neighbors: [{peerAddress: '10.1.5.1/24', peerASN: 65005}]}]},
  });
});
afterEach(async () => {
  await harness.close();
  expect(harness.failure).toBeNull();
});

const writeNode = (more: object, annotations: object = {}): Promise<void> => harness.write('node', {
  apiVersion: 'v1', kind: 'Node', metadata: {name: 'a', annotations}, spec: {podCIDR: '10.98.0.0/24', ...more}, status: {addresses: [{type: 'InternalIP', address: '10.1.0.10'}]},
});

const agent = (): Promise<TestAgent> => harness.greetedAgent('a');

/** What the agent of the node is to announce. */
function announced({held}: TestAgent): string {
  const speaker = held.get('speaker/speaker');
  if (speaker?.kind !== 'speaker') return 'nothing known';
  return speaker.value.instances.flatMap(({advertisements}) => advertisements.map(({prefix, communities, localPreference}) =>
    `${prefix}${communities.includes(GRACEFUL_SHUTDOWN) && localPreference === 1 ? ' draining' : ''}`)).join(' ');
}

function condition(): string {
  const all = harness.operator?.engine.clusterState.bgpNodeConfigs?.get('a')?.conditions ?? [];
  const one = all.find(({type}) => type === 'stentor.io/Draining');
  return `${one?.status ?? ''} ${one?.reason ?? ''} ${one?.message ?? ''}`;
}

test('cordoned: depreferred, withdrawn after the time; the next operator knows; uncordoned: as before', async () => {
  const flags = ['--bgp-drain-cordoned', 'true', '--bgp-drain-time', '300ms', '--bgp-drain-withdraw', 'all', '--settle-time', '0s'];
  await writeNode({});
  await harness.start(flags);
  const a = await agent();
  await until('the route', () => announced(a) === '10.98.0.0/24');
  await writeNode({unschedulable: true});
  await until('depreferred', () => announced(a) === '10.98.0.0/24 draining');
  await until('told', () => /^True GracefulShutdown the node is cordoned: .*, withdrawn at \S+Z$/.test(condition()));
  await until('withdrawn', () => announced(a) === '');
  await until('told, too', () => condition() === 'True Withdrawn the node is cordoned: 1 routes are withdrawn');
  await until('it is written', () => harness.operator?.engine.tables.bgpDrainMarks.has('a') === true);
  a.close();
  await harness.stopOperator();
  const restartedMs = Date.now();
  await harness.start(flags);
  await until('the drain is known', () => harness.operator?.engine.tables.bgpDrains.has('a') === true);
  expect(harness.operator?.engine.tables.bgpDrains.get('a')).toMatchObject({withdrawn: true});
  expect(harness.operator?.engine.tables.bgpDrains.get('a')?.sinceMs).toBeLessThan(restartedMs - 300);
  const again = await agent();
  await until('state', () => announced(again) === '');
  expect(again.deltas.flatMap(({upserts}) => upserts).filter(({kind}) => kind === 'speaker')).toHaveLength(1);
  await writeNode({});
  await until('announced again', () => announced(again) === '10.98.0.0/24');
  await until('told at last', () => condition() === 'False NotDraining ');
});

test('without options a cordoned node is nothing, and the annotation is all; taken back it goes', async () => {
  await writeNode({unschedulable: true});
  await harness.start(['--bgp-drain-time', '0s', '--settle-time', '0s']);
  const a = await agent();
  await until('the route', () => announced(a) === '10.98.0.0/24');
  await writeNode({}, {'bgp.stentor.io/drain': 'true'});
  // Nobody else announces it.
  await until('kept', () => announced(a) === '10.98.0.0/24 draining' && condition().startsWith('True Withdrawn asked for: 0 routes'));
  await writeNode({}, {'bgp.stentor.io/drain': 'all'});
  await until('withdrawn', () => announced(a) === '');
  await writeNode({});
  await until('back', () => announced(a) === '10.98.0.0/24');
});
