// How long pods wait for their network: CNI ADD through the real plugin on one node of the lab, up to four at a time and 64 at once; and what an
// agent that starts anew with a hundred of them does, and how soon.

import {CniFailed} from '../harness/cni.js';
import type {Lab} from '../harness/lab.js';
import {MapWriteTrace, stateWrites} from '../harness/map-writes.js';
import {Runtime, type Sandbox} from '../harness/runtime.js';
import {nowMs, until} from '../harness/shell.js';
import type {Report} from './report.js';
import {percentile} from './rounds.js';

const NODE = 'cilium-bgp-worker2';
const STEADY = 120;
const AT_ONCE = 4;
const BURST = 64;
const KEPT = 100;
const RESTARTS = 5;
const P99_GOAL_MS = 150;
const BURST_GOAL_MS = 3_000;
const RESTART_GOAL_MS = 300;

export async function measureCni(lab: Lab, report: Report): Promise<void> {
  const runtime = new Runtime(lab, NODE);
  const sandboxes = await runtime.pods(names('burst', BURST), {app: 'bench-cni'});
  const startedMs = nowMs();
  await runtime.addAll(sandboxes, BURST);
  const tookMs = nowMs() - startedMs;
  await runtime.removeAll();
  const steady = await runtime.pods(names('steady', STEADY), {app: 'bench-cni'});
  const times = await runtime.addAll(steady, AT_ONCE);
  const [p50, p99] = [percentile(times, 0.5), percentile(times, 0.99)];
  const value = {baseline: '–', result: '–'} as const;
  report.add(
    {name: `${BURST} CNI ADDs at once, until the last has answered`, subject: `${(tookMs / 1000).toFixed(2)} s`, ...value, goal: `≤ ${BURST_GOAL_MS / 1000} s`, reached: tookMs <= BURST_GOAL_MS},
    {name: `CNI ADD, ${AT_ONCE} at a time, p50 of ${STEADY}`, subject: `${p50.toFixed(1)} ms`, ...value, goal: '–', reached: null},
    {name: 'the same, p99', subject: `${p99.toFixed(1)} ms`, ...value, goal: `≤ ${P99_GOAL_MS} ms`, reached: p99 <= P99_GOAL_MS},
  );
  for (const sandbox of steady.slice(KEPT)) await runtime.remove(sandbox);
  await measureRestart(lab, {runtime, report});
  await runtime.removeAll();
}

async function measureRestart(lab: Lab, {runtime, report}: {readonly runtime: Runtime; readonly report: Report}): Promise<void> {
  const {wrapper, trace} = MapWriteTrace.wrapping(lab.run);
  await lab.stentor.killAgent(NODE);
  await lab.stentor.startAgent(NODE, {wrapper});
  await lab.stentor.agentReady(NODE);
  // Its probes make maps of their own, which are closed and so without a name by now.
  const writes = stateWrites(await trace.stop()).filter(({map}) => map !== '');
  const newcomers = await runtime.pods(names('newcomer', RESTARTS), {app: 'bench-cni'});
  const times: number[] = [];
  for (const sandbox of newcomers) times.push(await restartAndAdd(lab, runtime, sandbox));
  const p50 = percentile(times, 0.5);
  const value = {baseline: '–', result: '–'} as const;
  report.add(
    {name: `agent killed and started anew with ${KEPT} pods: writes to maps of state`, subject: writes.length === 0 ? '0' : `${writes.length} (${[...new Set(writes.map(({map}) => map))].join(', ')})`, ...value, goal: '0', reached: writes.length === 0},
    {name: `the same, from exec to the first new pod with a network, p50 of ${RESTARTS}`, subject: `${p50.toFixed(0)} ms`, ...value, goal: `≤ ${RESTART_GOAL_MS} ms`, reached: p50 <= RESTART_GOAL_MS},
  );
}

/** As a runtime does: again until the agent is there. */
async function restartAndAdd(lab: Lab, runtime: Runtime, sandbox: Sandbox): Promise<number> {
  await lab.stentor.killAgent(NODE);
  const startedMs = nowMs();
  await lab.stentor.startAgent(NODE);
  await until('the pod has its network', {timeoutMs: 20_000, intervalMs: 2}, async () => {
    try {
      return await runtime.add(sandbox);
    } catch (error) {
      if (error instanceof CniFailed) return null;
      throw error;
    }
  });
  const tookMs = nowMs() - startedMs;
  await lab.stentor.agentReady(NODE);
  return tookMs;
}

function names(head: string, count: number): readonly string[] {
  return Array.from({length: count}, (_unused, i) => `bench-cni-${head}-${i}`);
}
