// Policy change → Enforced, as a client that watches the API sees it, against a bare write → watch event of the same API server, in turns.

import {objectPath, RESOURCES} from '../../lib/kube/resources.js';
import {flipPolicy, percentiles} from '../harness/checks/convergence.js';
import {ConditionWatch} from '../harness/condition-watch.js';
import {ENFORCED} from '../harness/enforced.js';
import type {Lab} from '../harness/lab.js';
import {nowMs} from '../harness/shell.js';

export interface EnforceTimes {
  readonly bare: {readonly p50: number; readonly p99: number};
  readonly enforced: {readonly p50: number; readonly p99: number};
}

export async function measureEnforce(lab: Lab, rounds: number): Promise<EnforceTimes> {
  const {client} = lab;
  if (client === null) throw new Error('there is no API server');
  const signal = AbortSignal.timeout(rounds * 5_000);
  const policies = await ConditionWatch.start(client, 'CiliumNetworkPolicy', 'default');
  const maps = await ConditionWatch.start(client, 'ConfigMap', 'default');
  const policyPath = objectPath(RESOURCES.CiliumNetworkPolicy, 'default', 'flip');
  const mapPath = objectPath(RESOURCES.ConfigMap, 'default', 'bare');
  const bare: number[] = [];
  const enforced: number[] = [];
  try {
    for (let i = 0; i < rounds; i++) {
      bare.push(await timed(async () => {
        const seen = maps.until('bare', 10_000, (object) => (object?.['data'] as {round?: string} | undefined)?.round === String(i));
        await client.patch(mapPath, {type: 'apply', fieldManager: 'lab', force: true, patch: {apiVersion: 'v1', kind: 'ConfigMap', metadata: {name: 'bare', namespace: 'default'}, data: {round: String(i)}}}, signal);
        return seen;
      }));
      enforced.push(await timed(async () => {
        const object = await client.patch(policyPath, {type: 'apply', fieldManager: 'lab', force: true, patch: flipPolicy(i % 2 === 1)}, signal);
        return policies.condition('flip', {type: ENFORCED, status: 'True', generation: object.metadata.generation ?? 0}, 15_000);
      }));
    }
  } finally {
    await policies.stop();
    await maps.stop();
    await client.delete(policyPath, {}, AbortSignal.timeout(10_000));
    await client.delete(mapPath, {}, AbortSignal.timeout(10_000));
  }
  return {bare: percentiles(bare), enforced: percentiles(enforced)};
}

async function timed(work: () => Promise<number>): Promise<number> {
  const started = nowMs();
  return await work() - started;
}
