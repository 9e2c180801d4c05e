// One agent's map update fails: `Enforced` stays False and names the object and the node, though the others have applied it.

import {afterAll, beforeAll, expect, test} from '@jest/globals';
import {join} from 'node:path';
import {conditionsOf, ENFORCED, watchEnforced, watchUntil} from '../harness/enforced.js';
import {Lab} from '../harness/lab.js';
import {RunDirectory} from '../harness/run-dir.js';
import {must} from '../harness/shell.js';
import {NODES} from '../harness/topology.js';

const MINUTE = 60_000;
const BROKEN = 'cilium-bgp-worker2';
let lab: Lab;

beforeAll(async () => {
  lab = await Lab.start({api: 'real', leaf: 'bird', routingMode: 'native'}, RunDirectory.create('g'), () => undefined);
  await lab.objects.apply(lab.manifest('bgp-lab/daemonset.yaml'));
  await lab.podsReady(['app', 'app'], NODES.length);
}, 2 * MINUTE);

afterAll(async () => {
  expect(await lab.stop()).toEqual([]);
}, MINUTE);

/** Forty ports: such a change swaps the policy map's slot (a few keys are written in place, into a map that is not frozen). */
function policyText(name: string, ports: readonly number[]): string {
  return JSON.stringify({
    apiVersion: 'cilium.io/v2', kind: 'CiliumNetworkPolicy', metadata: {name, namespace: 'default'},
    spec: {endpointSelector: {matchLabels: {app: 'app'}}, ingress: [{fromEndpoints: [{}], toPorts: [{ports: ports.map((port) => ({port: String(port), protocol: 'TCP'}))}]}]},
  });
}

test('control: with every agent able to write it is True', async () => {
  if (lab.client === null) throw new Error('no API server');
  await lab.objects.apply(policyText('healthy', [80]));
  await watchEnforced(lab.client, {kind: 'CiliumNetworkPolicy', namespace: 'default', name: 'healthy'});
}, MINUTE);

test('a frozen map on one node', async () => {
  if (lab.client === null) throw new Error('no API server');
  // The kernel refuses every later write from user space to a frozen map: the agent's update fails, nothing is faked.
  await must(['bpftool', 'map', 'freeze', 'pinned', join(lab.stentor.bpfRoot(BROKEN), 'maps', 'cilium_policy')]);
  await lab.objects.apply(policyText('broken', Array.from({length: 40}, (_unused, i) => 81 + i)));
  const address = {kind: 'CiliumNetworkPolicy', namespace: 'default', name: 'broken'} as const;
  const {object} = await watchUntil(lab.client, address, 20_000, (item) => conditionsOf(item).some((condition) => condition.type === ENFORCED && condition.status === 'False' && (condition.message ?? '').includes(BROKEN)));
  const condition = conditionsOf(object).find((item) => item.type === ENFORCED);
  expect(condition).toMatchObject({status: 'False', observedGeneration: object.metadata.generation});
  expect(condition?.message).toContain(BROKEN);
  for (const node of NODES.filter((item) => item.name !== BROKEN)) expect(condition?.message).not.toMatch(new RegExp(`${node.name}(?!\\d)`));
  await expect(watchEnforced(lab.client, address, 3_000)).rejects.toThrow(BROKEN);
}, MINUTE);
