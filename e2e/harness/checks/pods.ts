// Pods reach each other, with their own addresses, over the wires that the routing mode says.

import {Capture, type Packet} from '../capture.js';
import type {Lab, LabPod} from '../lab.js';
import {flows, ping, seenAddress, tcp, udp} from '../traffic.js';
import {getJson} from '../unix-http.js';
import {NODES} from '../topology.js';
import {check, share, type CheckLine} from './check.js';

const VXLAN = 'udp port 8472';
const FLOWS = 64;
const PACKETS_PER_FLOW = 4;
/** Each uplink carries at least this part of the flows' packets. */
const UPLINK_SHARE_MIN = 0.1;

type Pair = readonly [LabPod, LabPod];

export function orderedPairs(pods: readonly LabPod[]): readonly Pair[] {
  return pods.flatMap((a) => pods.filter((b) => b !== a).map((b): Pair => [a, b]));
}

export function pingMatrix(pods: readonly LabPod[]): Promise<CheckLine> {
  return check('ordered pod pairs that ping', async () => {
    const pairs = orderedPairs(pods);
    const answers = await Promise.all(pairs.map(([a, b]) => ping(a, b.address)));
    return share(answers.filter(Boolean).length, pairs.length);
  });
}

/** The echo server tells the address it saw: TCP and UDP of every ordered pair. */
export function sourcesUnchanged(pods: readonly LabPod[], port = 80): Promise<CheckLine> {
  return check('pod to pod keeps the source address (TCP and UDP)', async () => {
    const pairs = orderedPairs(pods);
    const seen = await Promise.all(pairs.flatMap(([a, b]) => [tcp(a, b.address, port), udp(a, b.address, port)].map(async (result) => ({expected: a.address, seen: seenAddress(await result)}))));
    const other = seen.find((item) => item.seen !== item.expected);
    const {ok, value} = share(seen.filter((item) => item.seen === item.expected).length, 2 * pairs.length);
    return {ok, value: other === undefined ? value : `${value}, for example ${other.expected} seen as ${other.seen ?? 'nothing'}`};
  });
}

/** Captures on every port of every router while `during` runs. */
async function captureWires(lab: Lab, filter: string, during: () => Promise<unknown>): Promise<readonly Packet[]> {
  const routers = [...lab.fabric.leaves, ...lab.fabric.spines];
  const captures = await Promise.all(routers.map((router) => Capture.start({netnsPath: router.netns.path}, {device: 'any', filter, name: router.spec.name}, lab.run)));
  try {
    await during();
  } finally {
    await Promise.all(captures.map((capture) => capture.settle()));
  }
  return (await Promise.all(captures.map((capture) => capture.stop()))).flat();
}

/** `alongside` runs with the pings while everything is captured: what a control adds. */
export function noVxlan(lab: Lab, pods: readonly LabPod[], alongside: () => Promise<unknown> = () => Promise.resolve()): Promise<CheckLine> {
  return check('native routing: no UDP 8472 on any wire', async () => {
    let reached = 0;
    const pairs = orderedPairs(pods);
    // ICMP is captured too: a capture that hears nothing at all proves nothing.
    const packets = await captureWires(lab, `${VXLAN} or icmp`, async () => {
      const [answers] = await Promise.all([Promise.all(pairs.map(([a, b]) => ping(a, b.address))), alongside()]);
      reached = answers.filter(Boolean).length;
    });
    const vxlan = packets.filter((packet) => packet.protocol === 17).length;
    const heard = packets.filter((packet) => packet.protocol === 1).length;
    return {ok: vxlan === 0 && heard > 0 && reached === pairs.length, value: `${vxlan} of ${packets.length} packets captured at 4 routers`};
  });
}

interface LinkCounters {
  readonly ifname: string;
  readonly stats64: {readonly tx: {readonly packets: number}};
}

async function uplinkPackets(lab: Lab, leaf: string): Promise<readonly number[]> {
  const links = await lab.fabric.router(leaf).netns.ipJson<readonly LinkCounters[]>(['-s', 'link']);
  return ['eth1', 'eth2'].map((name) => links.find((link) => link.ifname === name)?.stats64.tx.packets ?? 0);
}

/** Flows from a pod of rack0 to one of rack1: packets that left leaf0 through each uplink. */
export function bothUplinks(lab: Lab, pods: readonly LabPod[], port = 80): Promise<CheckLine> {
  return check(`both uplinks of leaf0 carry ${FLOWS} flows`, async () => {
    const rackOf = (pod: LabPod): string => NODES.find((node) => node.name === pod.node)?.rack ?? '';
    const from = pods.find((pod) => rackOf(pod) === 'rack0');
    const to = pods.find((pod) => rackOf(pod) === 'rack1');
    if (from === undefined || to === undefined) throw new Error('there is no pod in each rack');
    const before = await uplinkPackets(lab, 'leaf0');
    const answered = await flows(from, {address: to.address, port}, FLOWS, PACKETS_PER_FLOW);
    const after = await uplinkPackets(lab, 'leaf0');
    const [a = 0, b = 0] = after.map((count, i) => count - (before[i] ?? 0));
    const least = Math.min(a, b) / Math.max(1, a + b);
    const sent = FLOWS * PACKETS_PER_FLOW;
    return {ok: answered === FLOWS && a + b >= sent && least >= UPLINK_SHARE_MIN, value: `eth1 ${a}, eth2 ${b} packets; ${answered}/${FLOWS} flows answered`};
  });
}

interface AgentEndpoint {
  readonly ipv4: string;
  readonly identity: number;
}

/** Security identity by pod address, from the agents. */
export async function identities(lab: Lab): Promise<ReadonlyMap<string, number>> {
  const lists = await Promise.all(NODES.map((node) => getJson<readonly AgentEndpoint[]>(lab.stentor.agentSocket(node.name), '/v1/endpoints')));
  return new Map(lists.flat().map((endpoint) => [endpoint.ipv4, endpoint.identity]));
}

/** In tunnel mode: every pod packet between nodes is VXLAN, and its VNI is the identity of the pod that sent it. */
export function vniIsIdentity(lab: Lab, pods: readonly LabPod[]): Promise<CheckLine> {
  return check('tunnel: pod packets between nodes are VXLAN with VNI = source identity', async () => {
    const known = await identities(lab);
    const pairs = orderedPairs(pods);
    const addresses = new Set(pods.map((pod) => pod.address));
    let reached = 0;
    const packets = await captureWires(lab, `${VXLAN} or icmp`, async () => {
      reached = (await Promise.all(pairs.map(([a, b]) => ping(a, b.address)))).filter(Boolean).length;
    });
    const plain = packets.filter((packet) => packet.protocol === 1 && addresses.has(packet.source)).length;
    const inner = packets.flatMap((packet) => packet.vxlan ?? []).filter((vxlan) => addresses.has(vxlan.source));
    const wrong = inner.filter((vxlan) => known.get(vxlan.source) !== vxlan.vni);
    const [first] = wrong;
    return {
      ok: plain === 0 && inner.length > 0 && wrong.length === 0 && reached === pairs.length,
      value: `${inner.length - wrong.length}/${inner.length} VXLAN packets, ${plain} outside a tunnel, ${reached}/${pairs.length} pairs`
        + (first === undefined ? '' : `; ${first.source} has VNI ${first.vni}, identity ${known.get(first.source) ?? 'none'}`),
    };
  });
}
