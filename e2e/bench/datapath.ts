// Round trips between pods against plain kernel parts, in turns: on one node, across nodes natively, across nodes in VXLAN. Policy, connection
// tracking and events are on; that they were, is checked by counters after each turn.

import {watchEnforced} from '../harness/enforced.js';
import type {Lab, LabPod} from '../harness/lab.js';
import {until} from '../harness/shell.js';
import {NODES} from '../harness/topology.js';
import {connectionsTo, MonitorReader, newDrops, packetCounts} from './counters.js';
import {microseconds, times, type HarnessCheck, type Report} from './report.js';
import {compare, interleave} from './rounds.js';
import {answers, IDLE_COMMAND, PORT, replyTtl, roundTrips, ROUND_TRIPS, SERVER_COMMAND, type Mode} from './rr.js';
import type {Endpoints} from './topology.js';

const [FIRST, SECOND] = NODES.map((node) => node.name);

function pod(name: string, node: string | undefined, role: 'client' | 'server'): object {
  const command = role === 'server' ? SERVER_COMMAND : IDLE_COMMAND;
  return {
    apiVersion: 'v1', kind: 'Pod', metadata: {name, namespace: 'default', labels: {app: `bench-${role}`}},
    spec: {nodeName: node, terminationGracePeriodSeconds: 0, containers: [{name: role, image: 'bench', command}]},
  };
}

/** Both directions of both pods are enforced; the only thing allowed is what is measured, and the ping that counts hops. */
const POLICIES: readonly object[] = [
  policy('bench-client', {
    egress: [
      {toEndpoints: [{matchLabels: {app: 'bench-server'}}], toPorts: [{ports: [{port: String(PORT), protocol: 'TCP'}]}]},
      {toEndpoints: [{matchLabels: {app: 'bench-server'}}], icmps: [{fields: [{type: 8, family: 'IPv4'}]}]},
    ],
    ingress: [{}],
  }),
  policy('bench-server', {
    ingress: [
      {fromEndpoints: [{matchLabels: {app: 'bench-client'}}], toPorts: [{ports: [{port: String(PORT), protocol: 'TCP'}]}]},
      {fromEndpoints: [{matchLabels: {app: 'bench-client'}}], icmps: [{fields: [{type: 8, family: 'IPv4'}]}]},
    ],
    egress: [{}],
  }),
];

function policy(name: string, rules: object): object {
  return {
    apiVersion: 'cilium.io/v2', kind: 'CiliumNetworkPolicy', metadata: {name, namespace: 'default'},
    spec: {endpointSelector: {matchLabels: {app: name}}, ...rules},
  };
}

export interface BenchPods {
  readonly client: LabPod;
  readonly near: LabPod;
  readonly far: LabPod;
}

/** Applies pods and policies; resolves when both policies are enforced and both servers answer. */
export async function startPods(lab: Lab): Promise<BenchPods> {
  const manifests = [pod('bench-client', FIRST, 'client'), pod('bench-near', FIRST, 'server'), pod('bench-far', SECOND, 'server'), ...POLICIES];
  await lab.objects.apply(manifests.map((object) => JSON.stringify(object)).join('\n---\n'));
  await lab.podsReady(['app', 'bench-client'], 1);
  await lab.podsReady(['app', 'bench-server'], 2);
  for (const name of ['bench-client', 'bench-server']) {
    if (lab.client !== null) await watchEnforced(lab.client, {kind: 'CiliumNetworkPolicy', namespace: 'default', name});
  }
  const pods = {client: lab.pod('bench-client'), near: lab.pod('bench-near'), far: lab.pod('bench-far')};
  for (const server of [pods.near, pods.far]) await answers(pods.client, server.address);
  return pods;
}

export async function deletePods(lab: Lab): Promise<void> {
  for (const name of ['bench-client', 'bench-near', 'bench-far']) await lab.objects.delete({kind: 'pod', namespace: 'default', name});
  for (const name of ['bench-client', 'bench-server']) await lab.objects.delete({kind: 'ciliumnetworkpolicy', namespace: 'default', name});
}

export interface Path {
  readonly name: string;
  readonly client: LabPod;
  readonly server: LabPod;
  readonly baselineName: string;
  readonly baseline: Endpoints;
  readonly goal: number;
  readonly rounds: number;
}

/** Both modes on one path. */
export async function measurePath(lab: Lab, path: Path, report: Report): Promise<void> {
  const {client, server, baseline} = path;
  await answers(baseline.client, baseline.serverAddress);
  report.check(await verdictsTold(lab, path));
  for (const mode of ['rr', 'crr'] as const) {
    const turns: Turn[] = [];
    const series = await interleave(path.rounds, {
      baseline: async () => (await roundTrips(baseline.client, baseline.serverAddress, mode)).p50,
      subject: async () => {
        const [p50, turn] = await watchedTurn(lab, {client, server}, mode);
        turns.push(turn);
        return p50;
      },
    });
    const result = compare(series.subject, series.baseline);
    report.add({
      name: `${path.name}, ${MODE_TEXT[mode]} p50`, subject: microseconds(result.subject), baseline: `${microseconds(result.baseline)} ${path.baselineName}`,
      result: `${times(result.ratio)} (best ${times(result.ratioOfBest)}, ${result.rounds} rounds)`, goal: `≤ ${times(path.goal)}`, reached: result.ratio <= path.goal,
    });
    report.check(countersMoved(path, mode, turns));
  }
}

const MODE_TEXT: Readonly<Record<Mode, string>> = {rr: 'round trip', crr: 'connect + round trip + reset'};

interface Turn {
  /** On the node where fewer moved. */
  readonly forwarded: number;
  readonly connections: number;
  readonly packetsOfOne: number;
  readonly drops: readonly string[];
}

interface Pair {
  readonly client: LabPod;
  readonly server: LabPod;
}

async function watchedTurn(lab: Lab, {client, server}: Pair, mode: Mode): Promise<readonly [number, Turn]> {
  const nodes = [...new Set([client.node, server.node])];
  const before = nodes.map((node) => packetCounts(lab, node));
  const {p50} = await roundTrips(client, server.address, mode);
  const moved = before.map((was, i) => {
    const is = packetCounts(lab, nodes[i] ?? '');
    return {forwarded: is.forwarded - was.forwarded, drops: newDrops(was, is)};
  });
  const tracked = nodes.map((node) => connectionsTo(lab, node, server.address));
  return [p50, {
    forwarded: Math.min(...moved.map((item) => item.forwarded)), drops: moved.flatMap((item) => item.drops),
    connections: Math.min(...tracked.map((item) => item.count)), packetsOfOne: Math.min(...tracked.map((item) => item.packetsMax)),
  }];
}

/** The client's ports repeat now and then within a turn: such connections share an entry. */
const OWN_ENTRY_SHARE = 0.9;

/** A subject whose counters stood still was not Stentor; one that dropped packets has measured retransmissions. */
function countersMoved(path: Path, mode: Mode, turns: readonly Turn[]): HarnessCheck {
  const trips = ROUND_TRIPS[mode];
  const forwarded = Math.min(...turns.map((turn) => turn.forwarded));
  const drops = turns.flatMap((turn) => turn.drops);
  const tracked = Math.min(...turns.map((turn) => mode === 'rr' ? turn.packetsOfOne : turn.connections));
  const enough = mode === 'rr' ? trips : OWN_ENTRY_SHARE * trips;
  return {
    name: `${path.name}, ${mode}: forwarded and tracked by Stentor, nothing dropped`, ok: forwarded >= 2 * trips && tracked >= enough && drops.length === 0,
    value: `per turn of ${trips}: ≥ ${forwarded} packets forwarded, ≥ ${tracked} ${mode === 'rr' ? 'packets on the connection’s entry' : 'connections tracked'}, dropped: ${drops.join(', ') || 'none'}`,
  };
}

const VERDICT_ROUNDS = 50;

/** New connections tell policy verdicts that name the policies, from the client's egress and the server's ingress: policy and events are on. */
async function verdictsTold(lab: Lab, {name, client, server}: Path): Promise<HarnessCheck> {
  const monitors = new Map([client.node, server.node].map((node) => [node, new MonitorReader(lab, node, 'policy-verdict')]));
  try {
    await Promise.all([...monitors.values()].map((monitor) => monitor.connected()));
    await roundTrips(client, server.address, 'crr', VERDICT_ROUNDS);
    const told = (node: string, direction: string, policyName: string): number => (monitors.get(node)?.records ?? []).filter((record) =>
      record.direction === direction && record.verdict === 'allowed' && record.destination.ip === server.address && record.destination.port === PORT
      && record.derivedFrom.some((origin) => origin.name === policyName)).length;
    const counts = (): readonly [number, number] => [told(client.node, 'egress', 'bench-client'), told(server.node, 'ingress', 'bench-server')];
    await until('verdicts are told', {timeoutMs: 3_000}, () => Math.min(...counts()) >= VERDICT_ROUNDS ? true : null).catch(() => undefined);
    const [egress, ingress] = counts();
    return {
      name: `${name}: policy and events are on`, ok: Math.min(egress, ingress) >= VERDICT_ROUNDS,
      value: `${VERDICT_ROUNDS} connections told ${egress} verdicts of bench-client’s egress, ${ingress} of bench-server’s ingress`,
    };
  } finally {
    for (const monitor of monitors.values()) monitor.stop();
  }
}

/** Both go through the same number of routers. */
export async function sameHops(path: Path): Promise<HarnessCheck> {
  const [subject, baseline] = [await replyTtl(path.client, path.server.address), await replyTtl(path.baseline.client, path.baseline.serverAddress)];
  return {name: `${path.name}: as many hops as the baseline`, ok: subject !== null && subject === baseline, value: `replies arrive with TTL ${subject ?? 'none'} and ${baseline ?? 'none'}`};
}
