// What goes on while a part of Stentor, or the API server, is dead: packets, routes, denials, and no needless write afterwards.

import type {Lab, LabPod} from '../lab.js';
import {MapWriteTrace, stateWrites} from '../map-writes.js';
import {RouteWatch} from '../route-watch.js';
import {pause, until} from '../shell.js';
import {NODES} from '../topology.js';
import {startPace, type PaceSample} from '../traffic.js';
import {check, type CheckLine, type Measured} from './check.js';

const PACE = 100;

export interface Traffic {
  /** Must lose nothing. */
  readonly allowed: readonly [LabPod, LabPod];
  /** Must get nothing. */
  readonly denied: readonly [LabPod, LabPod];
}

/** Runs `during` under 100 packets/s; no allowed packet may be lost, no denied one answered, no route may change in any router. */
export async function undisturbed(lab: Lab, traffic: Traffic, during: () => Promise<string>): Promise<Measured> {
  const watches = await Promise.all([...lab.fabric.leaves, ...lab.fabric.spines].map((router) => RouteWatch.start(router.netns)));
  const allowed = startPace(traffic.allowed[0], traffic.allowed[1].address, 80, PACE);
  const denied = startPace(traffic.denied[0], traffic.denied[1].address, 80, PACE);
  let good: PaceSample | null = null;
  let bad: PaceSample | null = null;
  let text = '';
  try {
    await until('traffic flows', {timeoutMs: 5_000, intervalMs: 20}, () => (allowed.last?.received ?? 0) >= 20 && (denied.last?.sent ?? 0) >= 20 ? true : null);
    text = await during();
    await pause(500);
  } finally {
    good = await allowed.stop();
    bad = await denied.stop();
    for (const watch of watches) watch.stop();
  }
  const routes = watches.flatMap((watch) => watch.changes());
  const lost = good.sent - good.received;
  return {
    ok: lost === 0 && good.received > 0 && bad.received === 0 && routes.length === 0,
    value: `${lost} of ${good.sent} lost, longest gap ${Math.round(good.maxGapMs)} ms, ${bad.received} of ${bad.sent} denied got through, ${routes.length} route changes${text}`,
  };
}

export function agentKilled(lab: Lab, node: string, traffic: Traffic): Promise<CheckLine> {
  return check(`kill -9 of the agent of ${node}, then a new one`, () => undisturbed(lab, traffic, async () => {
    await lab.stentor.killAgent(node);
    await pause(2_000);
    await lab.stentor.startAgent(node);
    await lab.stentor.agentReady(node);
    await pause(1_000);
    return '';
  }));
}

/** After the operator is back, agents must write nothing that they held already: counted by tracing bpf(2). */
export async function operatorKilled(lab: Lab, traffic: Traffic): Promise<readonly CheckLine[]> {
  let writes = '';
  let count = -1;
  const line = await check('kill -9 of the operator, then a new one', () => undisturbed(lab, traffic, async () => {
    const pids = NODES.map((node) => lab.stentor.agent(node.name)?.pid ?? -1);
    const trace = await MapWriteTrace.start(pids, lab.run);
    await lab.stentor.killOperator();
    await pause(2_000);
    await lab.stentor.startOperator();
    await Promise.all(NODES.map((node) => lab.stentor.agentReady(node.name)));
    await pause(2_000);
    const seen = stateWrites(await trace.stop());
    count = seen.length;
    writes = [...new Set(seen.map((write) => `${write.call} ${write.map}`))].slice(0, 3).join(', ');
    return '';
  }));
  return [line, await check('after the operator’s restart: map writes in 4 agents (traced from outside)', async () => {
    if (count < 0) throw new Error('not measured: the line above failed');
    return {ok: count === 0, value: `${count}${writes === '' ? '' : `: ${writes}`}`};
  })];
}

export function apiServerStopped(lab: Lab, traffic: Traffic, seconds: number): Promise<CheckLine> {
  return check(`API server stopped for ${seconds} s`, () => undisturbed(lab, traffic, async () => {
    if (lab.controlPlane === null) throw new Error('there is no API server');
    await lab.controlPlane.stopProgram('kube-apiserver', 'SIGKILL');
    await pause(seconds * 1000);
    lab.controlPlane.startProgram('kube-apiserver');
    await until('the API server is back', {timeoutMs: 60_000, intervalMs: 200}, async () => {
      await lab.kubectl(['get', '--raw', '/readyz']);
      return true;
    });
    return '';
  }));
}
