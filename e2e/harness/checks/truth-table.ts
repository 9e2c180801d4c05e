// Every flow between the places of a lab: what the policy library says, and what the packets do. A blocked flow times out; anything else is a difference.

import {compareStrings} from '../../../lib/core/order.js';
import {PROTOCOL_NUMBERS} from '../../../lib/domain/policy.js';
import type {FlowJudge, FlowPeer} from '../../../lib/policy/flows.js';
import type {LabPod} from '../lab.js';
import {probes, type Place, type ProbeResult, type ProbeTarget} from '../traffic.js';

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

/** An address that is no pod: silent, and it speaks where it answers, unless `more` says otherwise. */
export function addressEnd(text: string, address: string, more: Partial<End>): End {
  return {text, peer: {kind: 'ip', address}, place: null, address, serves: [], speaks: true, ...more};
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

export interface Observation {
  readonly differences: readonly Difference[];
  /** Flows that passed at the second, longer attempt only: a busy machine is no drop. */
  readonly late: readonly string[];
  /** Of all answers to the first attempt. */
  readonly slowestMs: number;
}

/** A flow is blocked when nothing came back within the time-out. It is taken longer when an answer needed as much as half of it: that one might be late, too. */
const TIMEOUTS_MS = [400, 2_000] as const;
/** For flows that must pass. */
const PATIENT_MS = 2_500;

export async function observe(flows: readonly Flow[], expected: ReadonlyMap<string, boolean>): Promise<Observation> {
  let results: Results = new Map();
  let slowestMs = 0;
  for (const timeoutMs of TIMEOUTS_MS) {
    results = await probeAll(flows, timeoutMs);
    slowestMs = Math.max(...[...results.values()].filter(({result}) => result === 'ok').map(({ms}) => ms), 0);
    if (slowestMs < timeoutMs / 2) break;
  }
  const silent = flows.filter((flow) => expected.get(flow.text) === true && results.get(flow)?.result === 'timeout');
  const again = await probeAll(silent, PATIENT_MS);
  const found = flows.flatMap((flow): Difference[] => {
    const wanted = expected.get(flow.text) === true ? 'ok' : 'timeout';
    const seen = (again.get(flow) ?? results.get(flow))?.result ?? 'not probed';
    return seen === wanted ? [] : [{flow: flow.text, expected: wanted, seen}];
  });
  const late = silent.filter((flow) => again.get(flow)?.result === 'ok').map(({text}) => text);
  return {differences: found.sort((a, b) => compareStrings(a.flow, b.flow)), late, slowestMs};
}

export async function differences(flows: readonly Flow[], expected: ReadonlyMap<string, boolean>): Promise<readonly Difference[]> {
  return (await observe(flows, expected)).differences;
}

type Results = ReadonlyMap<Flow, ProbeResult>;

/** Every place asks all its questions at once, and all places together. */
async function probeAll(flows: readonly Flow[], timeoutMs: number): Promise<Results> {
  const byPlace = Map.groupBy(flows, ({from}) => from.place);
  const results = await Promise.all([...byPlace].map(async ([place, asked]) => {
    if (place === null) throw new Error(`nothing can be sent: ${asked[0]?.text ?? ''}`);
    const answers = await probes(place, asked.map(targetOf), timeoutMs);
    return answers.map((answer, i) => [asked[i], answer] as const);
  }));
  return new Map(results.flat().flatMap(([flow, answer]) => flow === undefined ? [] : [[flow, answer] as const]));
}

function targetOf({to: {address, speaks}, l4}: Flow): ProbeTarget {
  const [protocol = '', port] = l4.split('/');
  if (protocol === 'ICMP') return {kind: 'icmp', address, port: 0};
  const kind = protocol === 'UDP' ? 'udp' : speaks ? 'tcp' : 'handshake';
  return {kind, address, port: Number(port)};
}
