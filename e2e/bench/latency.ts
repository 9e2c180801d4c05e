// From the write of a policy to `Enforced`, as a client that watches the API server sees it, in turns with a bare write of a ConfigMap and its
// watch event. Every policy change concerns pods on all four nodes. After that the same for a policy that concerns no node: what the API server and
// the operator take of it.

import {join} from 'node:path';
import type {KubeClient} from '../../lib/kube/client.js';
import type {KubeObject} from '../../lib/kube/object.js';
import {collectionPath, objectPath, RESOURCES} from '../../lib/kube/resources.js';
import {ENFORCED, holds, type ObjectAddress} from '../harness/enforced.js';
import {NODE} from '../harness/helper.js';
import type {Lab} from '../harness/lab.js';
import {ROOT} from '../harness/run-dir.js';
import {nowMs} from '../harness/shell.js';
import {NODES} from '../harness/topology.js';
import {milliseconds, times, type HarnessCheck, type Report, type Row} from './report.js';
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
const IDLE_POLICY: ObjectAddress = {...POLICY, name: 'bench-latency-idle'};
/** Labels of the pods that a policy is about: those of all nodes, or none. */
const APP = {[POLICY.name]: 'app', [IDLE_POLICY.name]: 'none'};
const CONFIG_MAP: ObjectAddress = {kind: 'ConfigMap', namespace: 'default', name: 'bench-latency'};

/** A port that no other round used: each change puts new entries into the kernel of every node. */
function policySpec({name}: ObjectAddress, round: number): object {
  return {
    endpointSelector: {matchLabels: {app: APP[name]}},
    ingress: [{fromEndpoints: [{matchLabels: {app: 'app'}}], toPorts: [{ports: [{port: String(10_000 + round), protocol: 'TCP'}]}]}],
  };
}

async function createAll(client: KubeClient): Promise<void> {
  await client.create(collectionPath(RESOURCES.ConfigMap, 'default'), {apiVersion: 'v1', kind: 'ConfigMap', metadata: {name: CONFIG_MAP.name, namespace: 'default'}, data: {}}, AbortSignal.timeout(5_000));
  for (const policy of [POLICY, IDLE_POLICY]) {
    await client.create(collectionPath(RESOURCES.CiliumNetworkPolicy, 'default'), {
      apiVersion: 'cilium.io/v2', kind: 'CiliumNetworkPolicy', metadata: {name: policy.name, namespace: 'default'}, spec: policySpec(policy, 0),
    }, AbortSignal.timeout(5_000));
  }
}

async function deleteAll(client: KubeClient): Promise<void> {
  for (const address of [POLICY, IDLE_POLICY, CONFIG_MAP]) await client.delete(pathOf(address), {}, AbortSignal.timeout(5_000));
}

export async function measureLatency(client: KubeClient, report: Report): Promise<void> {
  await createAll(client);
  const bare = new ObjectWatch(client, CONFIG_MAP);
  try {
    await bare.start();
    const {series, changes} = await inTurns(client, bare, POLICY);
    tell(report, series);
    const spec = percentile(changes.map((change) => change.specMs), 0.5);
    report.add(versusBare('of that: policy write → its own watch event, p50', spec, series.bare));
    report.check(counted('every change was enforced on all four nodes', changes, /\b4\/4\b/));
    const idle = await inTurns(client, bare, IDLE_POLICY);
    report.add(versusBare('the same for a policy that concerns no node, p50', percentile(idle.series.enforced, 0.5), idle.series.bare));
    report.check(counted('no node had to enforce that one', idle.changes, /\b0\/0\b/));
  } finally {
    await bare.stop();
    await deleteAll(client);
  }
}

const BARE_AGENT = join(ROOT, 'dist', 'e2e', 'bench', 'bare-agent.js');

/** The same with four processes in the agents' place that acknowledge what they are sent and do nothing else: no agent can be quicker. Agents run again at its end. */
export async function measureLatencyFloor(lab: Lab, client: KubeClient, report: Report): Promise<void> {
  const replaceAgents = async (wrapper: readonly string[]): Promise<void> => {
    for (const {name} of NODES) {
      await lab.stentor.killAgent(name);
      await lab.stentor.startAgent(name, {wrapper});
    }
  };
  await createAll(client);
  const bare = new ObjectWatch(client, CONFIG_MAP);
  try {
    await bare.start();
    await replaceAgents([NODE, BARE_AGENT]);
    await enforcedAnew(client);
    const {series, changes} = await inTurns(client, bare, POLICY);
    report.add(versusBare('the same with agents that do nothing but acknowledge, p50', percentile(series.enforced, 0.5), series.bare));
    report.check(counted('four agents that do nothing acknowledged every change', changes, /\b4\/4\b/));
  } finally {
    await bare.stop();
    await deleteAll(client);
    await replaceAgents([]);
    await Promise.all(NODES.map(({name}) => lab.stentor.agentReady(name)));
  }
}

/** Waits for the sessions: the first change that all nodes acknowledge, to a port that no round uses. */
async function enforcedAnew(client: KubeClient): Promise<void> {
  const watch = new ObjectWatch(client, POLICY);
  try {
    await watch.start();
    await policyChange(client, {watch, policy: POLICY}, POLICY_CHANGES + 1);
  } finally {
    await watch.stop();
  }
}

interface Turns {
  readonly series: Series;
  readonly changes: readonly Change[];
}

async function inTurns(client: KubeClient, bare: ObjectWatch, policy: ObjectAddress): Promise<Turns> {
  const watch = new ObjectWatch(client, policy);
  try {
    await watch.start();
    const changes: Change[] = [];
    const series = await interleave(POLICY_CHANGES, {
      bare: (round) => bareWrite(client, bare, `${policy.name} ${round}`),
      enforced: async (round) => {
        const change = await policyChange(client, {watch, policy}, round + 1);
        changes.push(change);
        return change.ms;
      },
    });
    return {series, changes};
  } finally {
    await watch.stop();
  }
}

function versusBare(name: string, ms: number, bare: readonly number[]): Row {
  const bareMs = percentile(bare, 0.5);
  return {name, subject: milliseconds(ms), baseline: `${milliseconds(bareMs)} bare write → watch`, result: times(ms / bareMs), goal: '', reached: null};
}

function pathOf({kind, namespace, name}: ObjectAddress): string {
  return objectPath(RESOURCES[kind], namespace, name);
}

async function bareWrite(client: KubeClient, watch: ObjectWatch, value: string): Promise<number> {
  const seen = watch.seen((object) => (object['data'] as {readonly round?: string} | undefined)?.round === value);
  const startedMs = nowMs();
  await client.patch(pathOf(CONFIG_MAP), {type: 'merge', patch: {data: {round: value}}}, AbortSignal.timeout(EVENT_LIMIT_MS));
  return await seen - startedMs;
}

async function policyChange(client: KubeClient, {watch, policy}: {readonly watch: ObjectWatch; readonly policy: ObjectAddress}, round: number): Promise<Change> {
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
  await client.patch(pathOf(policy), {type: 'merge', patch: {spec: policySpec(policy, round)}}, AbortSignal.timeout(EVENT_LIMIT_MS));
  const ms = await seen - startedMs;
  return {ms, specMs: specAtMs - startedMs, nodes};
}

function enforcedMessage(object: KubeObject): string {
  const status = object['status'] as {readonly conditions?: readonly {readonly type: string; readonly message?: string}[]} | undefined;
  return status?.conditions?.find((condition) => condition.type === ENFORCED)?.message ?? '';
}

type Series = Readonly<Record<'bare' | 'enforced', readonly number[]>>;

function tell(report: Report, series: Series): void {
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
function counted(name: string, changes: readonly Change[], nodes: RegExp): HarnessCheck {
  const messages = [...new Set(changes.map((change) => change.nodes))];
  return {name, ok: messages.length === 1 && nodes.test(messages[0] ?? ''), value: messages.join('; ')};
}
