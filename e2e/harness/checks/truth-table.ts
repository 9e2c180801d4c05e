// Every flow between the places of a lab: what the policy library says, and what the packets do. A blocked flow times out; anything else is a difference.

import {PROTOCOL_NUMBERS} from '../../../lib/domain/policy.js';
import type {FlowJudge, FlowPeer} from '../../../lib/policy/flows.js';
import type {LabPod} from '../lab.js';
import {ping, tcp, udp, type Place} from '../traffic.js';

/** One end of flows. Without `place` it only receives, without `address` it only sends. */
export interface End {
  readonly text: string;
  readonly peer: FlowPeer;
  readonly place: Place | null;
  readonly address: string;
  /** What it answers, as `TCP/80` or `ICMP/8`. */
  readonly serves: readonly string[];
  /** Sent after the handshake; null = the handshake is the answer. */
  readonly speaks: boolean;
}

export interface Flow {
  /** `default/client -> default/web TCP/80` */
  readonly text: string;
  readonly from: End;
  readonly to: End;
  readonly l4: string;
}

export interface Difference {
  readonly flow: string;
  readonly expected: 'ok' | 'timeout';
  readonly seen: string;
}

export function podEnd(pod: LabPod, serves: readonly string[]): End {
  const text = `${pod.namespace}/${pod.name}`;
  return {text, peer: {kind: 'pod', name: text}, place: pod, address: pod.address, serves, speaks: true};
}

export function flowsBetween(ends: readonly End[]): readonly Flow[] {
  return ends.flatMap((from) => ends.flatMap((to) => {
    const isPod = from.peer.kind === 'pod' || to.peer.kind === 'pod';
    if (from === to || from.place === null || !isPod) return [];
    return to.serves.map((l4): Flow => ({text: `${from.text} -> ${to.text} ${l4}`, from, to, l4}));
  }));
}

/** By the flow's text: is it allowed? */
export function expectations(flows: readonly Flow[], judge: FlowJudge): ReadonlyMap<string, boolean> {
  return new Map(flows.map((flow) => {
    const [protocol = '', port = ''] = flow.l4.split('/');
    const verdict = judge.judge({source: flow.from.peer, destination: flow.to.peer, protocol: protocolNumber(protocol), port: Number(port)});
    if (verdict.error !== null) throw new Error(`${flow.text}: ${verdict.error}`);
    return [flow.text, verdict.verdict === 'allow'];
  }));
}

function protocolNumber(name: string): number {
  if (name === 'TCP' || name === 'UDP' || name === 'ICMP') return PROTOCOL_NUMBERS[name];
  throw new Error(`no probe for ${name}`);
}

const PARALLEL = 48;
const PROBE_MS = 800;
/** For flows that must pass: a busy machine is no drop. */
const PATIENT_MS = 4_000;

export async function differences(flows: readonly Flow[], expected: ReadonlyMap<string, boolean>): Promise<readonly Difference[]> {
  const queue = [...flows];
  const found: Difference[] = [];
  const work = async (): Promise<void> => {
    for (let flow = queue.shift(); flow !== undefined; flow = queue.shift()) {
      const wanted = expected.get(flow.text) === true ? 'ok' : 'timeout';
      let seen = await probe(flow, PROBE_MS);
      if (wanted === 'ok' && seen === 'timeout') seen = await probe(flow, PATIENT_MS);
      if (seen !== wanted) found.push({flow: flow.text, expected: wanted, seen});
    }
  };
  await Promise.all(Array.from({length: PARALLEL}, work));
  return found.sort((a, b) => (a.flow < b.flow ? -1 : 1));
}

async function probe(flow: Flow, timeoutMs: number): Promise<string> {
  const {from: {place}, to: {address, speaks}, l4} = flow;
  if (place === null) throw new Error(`nothing can be sent: ${flow.text}`);
  const [protocol, port] = l4.split('/');
  if (protocol === 'ICMP') return await ping(place, address, Math.ceil(timeoutMs / 1000)) ? 'ok' : 'timeout';
  const send = protocol === 'UDP' ? udp : tcp;
  return (await send(place, address, Number(port), {timeoutMs, ...(speaks ? {} : {text: '-'})})).result;
}
