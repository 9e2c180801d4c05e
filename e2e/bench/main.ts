// `make bench`: the numbers of docs/performance.md, as ratios measured in one run, with their goals. Exit code 1 when a goal is missed.

import {Lab, type LabPod} from '../harness/lab.js';
import {cleanUp} from '../harness/cleanup.js';
import {applyPeering, leafRoutes} from '../harness/checks/bgp.js';
import {RunDirectory} from '../harness/run-dir.js';
import {getText} from '../harness/unix-http.js';
import {NODES, type NodeSpec} from '../harness/topology.js';
import {bareVeth, kernelRouting, kernelVxlan} from './baselines.js';
import {measureEnforce} from './enforce.js';
import {idleNodeMb, residentMb} from './memory.js';
import {compareRoundTrips, type Path} from './round-trip.js';

const ROUNDS = 300;
const GOALS = {enforce: 4, sameNode: 1.15, native: 1.05, vxlan: 1.05, agentMb: 35, operatorMb: 60};

interface Row {
  readonly name: string;
  readonly measured: string;
  readonly goal: string;
  readonly ok: boolean;
}

async function main(): Promise<number> {
  const say = (text: string): void => void process.stderr.write(`${text}\n`);
  const run = RunDirectory.create('b');
  const rows: Row[] = [];
  let lab: Lab | null = null;
  try {
    lab = await Lab.start({api: 'real', leaf: 'bird', routingMode: 'native'}, run, say);
    await lab.objects.apply(lab.manifest('overview/pods.yaml'));
    const app = await startApp(lab);
    await lab.podsReady(['org', 'empire'], 2);
    await lab.podsReady(['org', 'alliance'], 2);
    await applyPeering(lab);
    const routes = await leafRoutes(lab, 10_000);
    if (routes.verdict !== 'ok') throw new Error(`${routes.name}: ${routes.value}`);
    rows.push(await enforceRow(lab), ...await memoryRows(lab));
    await lab.objects.apply(ALLOW_ALL);
    rows.push(await pathRow(lab, {name: 'round trip pod ↔ pod on a node / bare veth pair', goal: GOALS.sameNode}, await bareVeth(lab), pathBetween(lab.pod('ywing'), lab.pod('deathstar'))));
    rows.push(await pathRow(lab, {name: 'round trip pod ↔ pod across nodes, native / kernel routing', goal: GOALS.native}, await kernelRouting(lab, pair()), crossNode(app)));
    await lab.objects.delete({kind: 'daemonset', namespace: 'default', name: 'app'});
    for (const name of ['deathstar', 'tiefighter', 'xwing', 'ywing', 'myservice']) await lab.objects.delete({kind: 'pod', namespace: 'default', name});
    await lab.noPods();
    await lab.restartStentor('tunnel');
    rows.push(await pathRow(lab, {name: 'round trip pod ↔ pod across nodes, VXLAN / kernel VXLAN', goal: GOALS.vxlan}, await kernelVxlan(lab, pair()), crossNode(await startApp(lab))));
  } finally {
    if (lab === null) await cleanUp(run);
    else await lab.stop();
  }
  const width = Math.max(...rows.map((row) => row.name.length));
  for (const row of rows) process.stdout.write(`${row.name.padEnd(width)}  ${row.measured.padEnd(60)}  goal ${row.goal.padEnd(22)} ${row.ok ? 'met' : 'MISSED'}\n`);
  return rows.every((row) => row.ok) ? 0 : 1;
}

/** Policy is on for every pod: each packet is looked up, tracked and counted. */
const ALLOW_ALL = `
apiVersion: cilium.io/v2
kind: CiliumClusterwideNetworkPolicy
metadata: {name: bench}
spec:
  endpointSelector: {}
  ingress: [{fromEndpoints: [{}], toPorts: [{ports: [{port: "5201", protocol: TCP}, {port: "80", protocol: ANY}]}]}]
  egress: [{toEndpoints: [{}], toPorts: [{ports: [{port: "5201", protocol: TCP}, {port: "80", protocol: ANY}]}]}]
`;

async function startApp(lab: Lab): Promise<readonly LabPod[]> {
  await lab.objects.apply(lab.manifest('bgp-lab/daemonset.yaml'));
  return lab.podsReady(['app', 'app'], NODES.length);
}

function pair(): {readonly from: NodeSpec; readonly to: NodeSpec} {
  const [from, to] = NODES;
  if (from === undefined || to === undefined) throw new Error('the lab has no two nodes');
  return {from, to};
}

function crossNode(app: readonly LabPod[]): Path {
  const {from, to} = pair();
  const [client, server] = [from, to].map((node) => app.find((pod) => pod.node === node.name));
  if (client === undefined || server === undefined) throw new Error('there is no pod on both nodes');
  return pathBetween(client, server);
}

function pathBetween(client: LabPod, server: LabPod): Path {
  return {client, server, address: server.address};
}

async function enforceRow(lab: Lab): Promise<Row> {
  const {bare, enforced} = await measureEnforce(lab, ROUNDS);
  const ratio = enforced.p50 / bare.p50;
  return {
    name: 'policy change → Enforced / bare write → watch event (p50)', ok: ratio <= GOALS.enforce, goal: `≤ ${GOALS.enforce}`,
    measured: `${ratio.toFixed(2)} = ${enforced.p50.toFixed(1)} / ${bare.p50.toFixed(1)} ms; p99 ${enforced.p99.toFixed(1)} / ${bare.p99.toFixed(1)} ms`,
  };
}

async function memoryRows(lab: Lab): Promise<readonly Row[]> {
  const idle = await idleNodeMb();
  const agents = NODES.map((node) => residentMb(lab.stentor.agent(node.name)?.pid ?? -1));
  const operator = residentMb(lab.stentor.operator?.pid ?? -1);
  const row = (name: string, value: number, limit: number): Row => ({
    name, ok: value <= idle + limit, goal: `≤ idle + ${limit} MB`, measured: `${value.toFixed(0)} MB = idle ${idle.toFixed(0)} MB + ${(value - idle).toFixed(0)} MB`,
  });
  return [row('memory of the largest agent', Math.max(...agents), GOALS.agentMb), row('memory of the operator', operator, GOALS.operatorMb)];
}

/** A comparison counts only when the datapath's own counters moved during it. */
async function pathRow(lab: Lab, what: {readonly name: string; readonly goal: number}, baseline: Path, subject: Path): Promise<Row> {
  const before = await forwarded(lab);
  const {baselineUs, subjectUs, ratio} = await compareRoundTrips(baseline, subject, lab.run);
  const counted = await forwarded(lab) - before;
  if (counted < 1_000) throw new Error(`${what.name}: only ${counted} packets were counted by the datapath: it was not measured`);
  return {
    name: what.name, ok: ratio <= what.goal, goal: `≤ ${what.goal}`,
    measured: `${ratio.toFixed(2)} = ${subjectUs.toFixed(1)} / ${baselineUs.toFixed(1)} µs (${counted} packets counted)`,
  };
}

async function forwarded(lab: Lab): Promise<number> {
  const texts = await Promise.all(NODES.map((node) => getText(lab.stentor.agentMetrics(node.name), '/metrics')));
  return texts.flatMap((text) => [...text.matchAll(/^cilium_forward_count_total(?:\{[^}]*\})? (\S+)$/gm)]).reduce((sum, match) => sum + Number(match[1]), 0);
}

try {
  process.exitCode = await main();
} catch (error) {
  process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 2;
}
process.exit();
