// `Enforced` means what it says: a packet sent after a client saw it is judged by the new policy, change after change.

import {objectPath, RESOURCES} from '../../../lib/kube/resources.js';
import {ConditionWatch} from '../condition-watch.js';
import {ENFORCED} from '../enforced.js';
import type {Lab} from '../lab.js';
import {nowMs, pause, until} from '../shell.js';
import {Talk} from '../traffic.js';
import {check, type CheckLine} from './check.js';

const NAME = 'flip';

/** Denies or allows org=alliance at deathstar. */
export function flipPolicy(allow: boolean): object {
  return {
    apiVersion: 'cilium.io/v2', kind: 'CiliumNetworkPolicy', metadata: {name: NAME, namespace: 'default'},
    spec: {endpointSelector: {matchLabels: {class: 'deathstar'}}, ingress: [{fromEndpoints: [{matchLabels: {org: allow ? 'alliance' : 'nobody'}}]}]},
  };
}

export interface FlipResult {
  /** Milliseconds from the write to `Enforced` as the watch told it. */
  readonly latenciesMs: readonly number[];
  /** Probes sent after a deny was enforced that were answered all the same. */
  readonly slipped: readonly string[];
  /** Probes sent after an allow was enforced that were not answered. */
  readonly lost: readonly string[];
}

/** Flips the policy `changes` times; after each `Enforced=True` one datagram is sent. */
export async function flip(lab: Lab, changes: number): Promise<FlipResult> {
  const {client} = lab;
  if (client === null) throw new Error('there is no API server');
  const signal = AbortSignal.timeout(60_000 + changes * 2_000);
  const path = objectPath(RESOURCES.CiliumNetworkPolicy, 'default', NAME);
  const watch = await ConditionWatch.start(client, 'CiliumNetworkPolicy', 'default');
  const deathstar = lab.pod('deathstar');
  const [witness] = lab.pods((pod) => pod.node === deathstar.node && pod.labels['app'] === 'app');
  if (witness === undefined) throw new Error('there is no pod without a policy next to deathstar');
  const talk = new Talk(lab.pod('xwing'), 80);
  const latenciesMs: number[] = [];
  const said: string[] = [];
  try {
    await talk.ready();
    for (let i = 0; i < changes; i++) {
      const allow = i % 2 === 1;
      const started = nowMs();
      const object = await client.patch(path, {type: 'apply', patch: flipPolicy(allow), fieldManager: 'lab', force: true}, signal);
      const at = await watch.condition(NAME, {type: ENFORCED, status: 'True', generation: object.metadata.generation ?? 0}, 15_000);
      latenciesMs.push(at - started);
      const text = `${allow ? 'allowed' : 'denied'}-${i}`;
      said.push(text);
      talk.say(deathstar.address, text);
      // The next change must not overtake the probe: a packet sent after it on the same way has come back.
      talk.say(witness.address, `witness-${i}`);
      await until('the witness answers', {timeoutMs: 2_000, intervalMs: 1}, () => talk.heard(`witness-${i}`) ? true : null);
    }
    await pause(500);
  } finally {
    talk.stop();
    await watch.stop();
    await client.delete(path, {}, AbortSignal.timeout(10_000));
  }
  return {
    latenciesMs, slipped: said.filter((text) => text.startsWith('denied') && talk.heard(text)), lost: said.filter((text) => text.startsWith('allowed') && !talk.heard(text)),
  };
}

/** The middle and the 99th percentile, in milliseconds. */
export function percentiles(values: readonly number[]): {readonly p50: number; readonly p99: number} {
  const sorted = [...values].sort((a, b) => a - b);
  const at = (share: number): number => sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? Number.NaN;
  return {p50: at(0.5), p99: at(0.99)};
}

export function enforcedIsTrue(lab: Lab, changes: number): Promise<CheckLine> {
  return check(`${changes} policy changes: packets that slip through after Enforced=True`, async () => {
    const {slipped, lost, latenciesMs} = await flip(lab, changes);
    const {p50, p99} = percentiles(latenciesMs);
    return {
      ok: slipped.length === 0 && lost.length === 0 && latenciesMs.length === changes,
      value: `${slipped.length} slipped${someOf(slipped)}, ${lost.length} wrongly dropped${someOf(lost)}; write → Enforced p50 ${p50.toFixed(0)} ms, p99 ${p99.toFixed(0)} ms`,
    };
  });
}

function someOf(texts: readonly string[]): string {
  return texts.length === 0 ? '' : ` (${texts.slice(0, 5).join(' ')})`;
}
