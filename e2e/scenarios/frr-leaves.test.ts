// The same racks with FRR as leaves.

import {afterAll, beforeAll, expect, test} from '@jest/globals';
import * as bgp from '../harness/checks/bgp.js';
import type {CheckLine} from '../harness/checks/check.js';
import * as pods from '../harness/checks/pods.js';
import {Lab, type LabPod} from '../harness/lab.js';
import {RunDirectory} from '../harness/run-dir.js';
import {NODES} from '../harness/topology.js';

const MINUTE = 60_000;
let lab: Lab;
let app: readonly LabPod[];

beforeAll(async () => {
  lab = await Lab.start({api: 'real', leaf: 'frr', routingMode: 'native'}, RunDirectory.create('f'), () => undefined);
  await lab.objects.apply(lab.manifest('bgp-lab/daemonset.yaml'));
  app = await lab.podsReady(['app', 'app'], NODES.length);
}, 2 * MINUTE);

afterAll(async () => {
  expect(await lab.stop()).toEqual([]);
}, MINUTE);

function green(lines: CheckLine | readonly CheckLine[]): void {
  expect([lines].flat().filter((line) => line.verdict !== 'ok')).toEqual([]);
}

test('sessions, routes, pods, a relabelled node', async () => {
  expect(lab.fabric.leaves.map((leaf) => leaf.program)).toEqual(['frr', 'frr']);
  green(await bgp.fabricSessions(lab));
  green(await bgp.nodeSessions(lab, await bgp.applyPeering(lab)));
  green(await bgp.leafRoutes(lab));
  green(await pods.pingMatrix(app));
  green(await pods.sourcesUnchanged(app));
  green(await pods.bothUplinks(lab, app));
  green(await bgp.relabel(lab));
}, 2 * MINUTE);
