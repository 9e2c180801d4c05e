// From the write of a policy to `Enforced`, as a client that watches the API server sees it, in turns with a bare write of a ConfigMap and its
// watch event. Every policy change concerns pods on all four nodes.

import type {KubeClient} from '../../lib/kube/client.js';
import type {KubeObject} from '../../lib/kube/object.js';
import {collectionPath, objectPath, RESOURCES} from '../../lib/kube/resources.js';
import {ENFORCED, holds, type ObjectAddress} from '../harness/enforced.js';
import {nowMs} from '../harness/shell.js';
import {milliseconds, times, type HarnessCheck, type Report} from './report.js';
import {interleave, percentile} from './rounds.js';

const EVENT_LIMIT_MS = 20_000;
export const POLICY_CHANGES = 120;
const GOAL_RATIO = 4;
const QUIET_P50_MS = 30;
const QUIET_P99_MS = 150;

/** One watch that stays open; `seen` resolves with the time at which it told what is waited for. */
class ObjectWatch {
  readonly #client: KubeClient;
  readonly #address: ObjectAddress;
  readonly #abort = new AbortController();
  #loop: Promise<void> = Promise.resolve();
  #waiting: {readonly test: (object: KubeObject) => boolean; readonly resolve: (atMs: number) => void} | null = null;

  constructor(client: KubeClient, address: ObjectAddress) {
    this.#client = client;
    this.#address = address;
  }

  async start(): Promise<void> {
    const path = collectionPath(RESOURCES[this.#address.kind], this.#address.namespace);
    const fieldSelector = `metadata.name=${this.#address.name}`;
    const {signal} = this.#abort;
    let {resourceVersion} = await this.#client.listAll(path, {fieldSelector}, signal);
    this.#loop = (async () => {
      while (!signal.aborted) {
        await this.#client.watch(path, {fieldSelector, resourceVersion, timeoutSeconds: 600, silenceLimitMs: 0}, (events) => {
          for (const event of events) {
            resourceVersion = event.object.metadata.resourceVersion ?? resourceVersion;
            if (event.type !== 'BOOKMARK') this.#look(event.object);
          }
        }, signal);
      }
    })().catch((error: unknown) => {
      if (!signal.aborted) throw error;
    });
  }

  /** Only events after this call count. */
  seen(test: (object: KubeObject) => boolean): Promise<number> {
    return new Promise((resolve, reject) => {
      const {kind, name} = this.#address;
      const timer = setTimeout(() => reject(new Error(`${kind} ${name}: not seen within ${EVENT_LIMIT_MS} ms`)), EVENT_LIMIT_MS);
      this.#waiting = {test, resolve: (atMs) => {
        clearTimeout(timer);
        resolve(atMs);
      }};
    });
  }

  async stop(): Promise<void> {
    this.#abort.abort();
    await this.#loop;
  }

  #look(object: KubeObject): void {
    if (this.#waiting === null || !this.#waiting.test(object)) return;
    const {resolve} = this.#waiting;
    this.#waiting = null;
    resolve(nowMs());
  }
}

interface Change {
  readonly ms: number;
  /** Until the watch told the new spec, before anybody had acted on it. */
  readonly specMs: number;
  /** Nodes that the condition counts as enforced. */
  readonly nodes: string;
}

const POLICY: ObjectAddress = {kind: 'CiliumNetworkPolicy', namespace: 'default', name: 'bench-latency'};
const CONFIG_MAP: ObjectAddress = {kind: 'ConfigMap', namespace: 'default', name: 'bench-latency'};

/** A port that no other round used: each change puts new entries into the kernel of every node. */
function policySpec(round: number): object {
  return {
    endpointSelector: {matchLabels: {app: 'app'}},
    ingress: [{fromEndpoints: [{matchLabels: {app: 'app'}}], toPorts: [{ports: [{port: String(10_000 + round), protocol: 'TCP'}]}]}],
  };
}

export async function measureLatency(client: KubeClient, report: Report): Promise<void> {
  await client.create(collectionPath(RESOURCES.ConfigMap, 'default'), {apiVersion: 'v1', kind: 'ConfigMap', metadata: {name: CONFIG_MAP.name, namespace: 'default'}, data: {}}, AbortSignal.timeout(5_000));
  await client.create(collectionPath(RESOURCES.CiliumNetworkPolicy, 'default'), {
    apiVersion: 'cilium.io/v2', kind: 'CiliumNetworkPolicy', metadata: {name: POLICY.name, namespace: 'default'}, spec: policySpec(0),
  }, AbortSignal.timeout(5_000));
  const watches = {policy: new ObjectWatch(client, POLICY), configMap: new ObjectWatch(client, CONFIG_MAP)};
  try {
    await Promise.all([watches.policy.start(), watches.configMap.start()]);
    const changes: Change[] = [];
    const series = await interleave(POLICY_CHANGES, {
      bare: (round) => bareWrite(client, watches.configMap, round),
      enforced: async (round) => {
        const change = await policyChange(client, watches.policy, round + 1);
        changes.push(change);
        return change.ms;
      },
    });
    tell(report, series);
    const spec = percentile(changes.map((change) => change.specMs), 0.5);
    report.add({
      name: 'of that: policy write → its own watch event, p50', subject: milliseconds(spec), baseline: `${milliseconds(percentile(series.bare, 0.5))} bare write → watch`,
      result: times(spec / percentile(series.bare, 0.5)), goal: '', reached: null,
    });
    report.check(everyNodeCounted(changes));
  } finally {
    await Promise.all(Object.values(watches).map((watch) => watch.stop()));
    for (const address of [POLICY, CONFIG_MAP]) await client.delete(pathOf(address), {}, AbortSignal.timeout(5_000));
  }
}

function pathOf({kind, namespace, name}: ObjectAddress): string {
  return objectPath(RESOURCES[kind], namespace, name);
}

async function bareWrite(client: KubeClient, watch: ObjectWatch, round: number): Promise<number> {
  const value = String(round);
  const seen = watch.seen((object) => (object['data'] as {readonly round?: string} | undefined)?.round === value);
  const startedMs = nowMs();
  await client.patch(pathOf(CONFIG_MAP), {type: 'merge', patch: {data: {round: value}}}, AbortSignal.timeout(EVENT_LIMIT_MS));
  return await seen - startedMs;
}

async function policyChange(client: KubeClient, watch: ObjectWatch, round: number): Promise<Change> {
  const port = String(10_000 + round);
  let nodes = '';
  let specAtMs = 0;
  const seen = watch.seen((object) => {
    if (!JSON.stringify(object['spec']).includes(`"${port}"`)) return false;
    if (specAtMs === 0) specAtMs = nowMs();
    if (!holds(object, ENFORCED, 'True')) return false;
    nodes = enforcedMessage(object);
    return true;
  });
  const startedMs = nowMs();
  await client.patch(pathOf(POLICY), {type: 'merge', patch: {spec: policySpec(round)}}, AbortSignal.timeout(EVENT_LIMIT_MS));
  const ms = await seen - startedMs;
  return {ms, specMs: specAtMs - startedMs, nodes};
}

function enforcedMessage(object: KubeObject): string {
  const status = object['status'] as {readonly conditions?: readonly {readonly type: string; readonly message?: string}[]} | undefined;
  return status?.conditions?.find((condition) => condition.type === ENFORCED)?.message ?? '';
}

function tell(report: Report, series: Readonly<Record<'bare' | 'enforced', readonly number[]>>): void {
  const at = (share: number): readonly [number, number] => [percentile(series.enforced, share), percentile(series.bare, share)];
  const [p50, bareP50] = at(0.5);
  const [p99, bareP99] = at(0.99);
  const of = `${series.enforced.length} changes in turns`;
  report.add({
    name: 'policy write → Enforced in the watch, p50', subject: milliseconds(p50), baseline: `${milliseconds(bareP50)} bare write → watch`,
    result: `${times(p50 / bareP50)} (${of})`, goal: `≤ ${times(GOAL_RATIO)}`, reached: p50 / bareP50 <= GOAL_RATIO,
  }, {
    name: 'policy write → Enforced in the watch, p99', subject: milliseconds(p99), baseline: `${milliseconds(bareP99)} bare write → watch`,
    result: `${times(p99 / bareP99)} (${of})`, goal: `p50 ${QUIET_P50_MS} ms, p99 ${QUIET_P99_MS} ms on a quiet machine`, reached: p50 <= QUIET_P50_MS && p99 <= QUIET_P99_MS,
  });
}

/** `Enforced` without nodes would cost nothing and say nothing. */
function everyNodeCounted(changes: readonly Change[]): HarnessCheck {
  const messages = [...new Set(changes.map((change) => change.nodes))];
  return {name: 'every change was enforced on all four nodes', ok: messages.length === 1 && /\b4\/4\b|\b4 of 4\b/.test(messages[0] ?? ''), value: messages.join('; ')};
}
