// The blast radius through the whole operator: option, conditions, ConfigMap, and the operator after it.

import {readFile} from 'node:fs/promises';
import {join} from 'node:path';
import {afterEach, beforeEach, expect, test} from '@jest/globals';
import {CONFIRM_ANNOTATION} from '../lib/domain/bgp-names.js';
import type {TestAgent} from './testing/agent.js';
import {Harness, until} from './testing/harness.js';

let harness: Harness;
beforeEach(async () => {
  harness = await Harness.create();
  await harness.write('nodes', ...['a', 'b'].map((name, i) => ({
    apiVersion: 'v1', kind: 'Node', metadata: {name}, spec: {podCIDR: `10.98.${i}.0/24`}, status: {addresses: [{type: 'InternalIP', address: `10.1.0.1${i}`}]},
  })));
  await harness.write('bgp', policy(true));
});
afterEach(async () => {
  await harness.close();
  expect(harness.failure).toBeNull();
});

const FLAGS = ['--bgp-max-withdraw', '20%', '--settle-time', '0s'];
const policy = (exportPodCIDR: boolean, annotations: object = {}): object => ({
  apiVersion: 'cilium.io/v2alpha1', kind: 'CiliumBGPPeeringPolicy', metadata: {name: 'p', annotations},
  spec: {virtualRouters: [{localASN: 65005, exportPodCIDR, neighbors: [{peerAddress: '10.1.5.1/24', peerASN: 65005}]}]},
});

const agent = (): Promise<TestAgent> => harness.greetedAgent('a');

function announced({held}: TestAgent): string {
  const speaker = held.get('speaker/speaker');
  return speaker?.kind !== 'speaker' ? 'nothing known' : speaker.value.instances.flatMap(({advertisements}) => advertisements.map(({prefix}) => prefix)).join(' ');
}

/** Of the policy, and of the node's CiliumBGPNodeConfig. */
function held(): string {
  const {policyStatuses, bgpNodeConfigs} = harness.operator?.engine.clusterState ?? {};
  const conditions = [...policyStatuses?.values() ?? []].find(({object}) => object.name === 'p')?.conditions ?? [];
  return [conditions, bgpNodeConfigs?.get('a')?.conditions ?? []].map((all) => all.find(({type}) => type === 'stentor.io/WithdrawalHeld')?.status ?? '-').join(' ');
}

const events = (): readonly string[] => [...harness.operator?.engine.clusterState.events.values() ?? []].filter(({reason}) => reason === 'BGPWithdrawalHeld').map(({message}) => message);
const hash = (): string => harness.operator?.engine.compiler.speakers.guard?.state.held[0]?.hash ?? '';

test('it waits in a condition, also after a restart, until the object says that it is meant', async () => {
  await harness.start(FLAGS);
  const a = await agent();
  await until('the route', () => announced(a) === '10.98.0.0/24' && held() === 'False False');
  await harness.write('bgp', policy(false));
  await until('it waits', () => held() === 'True True');
  expect(events()).toEqual([expect.stringContaining(`2 of 2 paths would be withdrawn (100%, more than 20%): they stay; if that is meant: stentorctl bgp confirm CiliumBGPPeeringPolicy/p --change ${hash()}`)]);
  expect(announced(a)).toBe('10.98.0.0/24');
  expect(await harness.debug('bgp')).toMatchObject({guard: {paths: 2, withdrawn: 2, share: 0.2, held: [{id: 'CiliumBGPPeeringPolicy/p', gone: false}]}});
  expect(await (await fetch(`http://${harness.operator?.addresses.http ?? ''}/metrics`)).text()).toMatch(/^stentor_operator_bgp_withdrawals_held 2$/m);
  await until('it is written', () => harness.operator?.engine.tables.bgpAccepted.get('accepted')?.held['CiliumBGPPeeringPolicy/p'] === hash());
  const before = hash();
  await harness.stopOperator();
  await harness.start(FLAGS);
  const again = await agent();
  await until('it waits still', () => held() === 'True True' && announced(again) === '10.98.0.0/24');
  expect(hash()).toBe(before);
  await harness.write('bgp', policy(false, {[CONFIRM_ANNOTATION]: before}));
  await until('withdrawn', () => announced(again) === '' && held() === 'False False');
});

test('deleted while no operator ran: it waits; without the option it goes', async () => {
  await harness.start(FLAGS);
  await until('it is written', () => Object.keys(harness.operator?.engine.tables.bgpAccepted.get('accepted')?.manifests ?? {}).length === 1);
  await harness.stopOperator();
  expect(await readFile(join(harness.dir, 'output/configmaps/kube-system/stentor-bgp-accepted.yaml'), 'utf8')).toContain('CiliumBGPPeeringPolicy.p:');
  await harness.remove('bgp');
  await harness.start(FLAGS);
  const a = await agent();
  await until('it waits', () => announced(a) === '10.98.0.0/24' && held() === '- True');
  expect(harness.operator?.engine.clusterState.bgpNodeConfigs?.get('a')?.owner.uid).toBe('');
  await harness.stopOperator();
  await harness.start(['--settle-time', '0s']);
  const free = await agent();
  await until('gone', () => announced(free) === '');
});
