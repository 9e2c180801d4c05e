// bgp drain: has the routes of a node announced with GRACEFUL_SHUTDOWN and withdrawn later, or takes that back; and which nodes are drained.

import {compareStrings} from '../../lib/core/order.js';
import {DRAIN_ANNOTATION, DRAINING} from '../../lib/domain/bgp-names.js';
import type {KubeClient} from '../../lib/kube/client.js';
import {isRecord, type KubeObject} from '../../lib/kube/object.js';
import {collectionPath, objectPath, RESOURCES} from '../../lib/kube/resources.js';
import {parseDuration} from '../../lib/run/config.js';
import {realClock} from '../../lib/run/clock.js';
import {withCluster} from '../cluster.js';
import type {Verb, VerbContext} from '../context.js';
import {CliError, EXIT, usage, type ExitCode} from '../errors.js';
import {stringOption} from '../policy/input.js';
import {list} from '../verbs/common.js';

export interface DrainState {
  readonly node: string;
  /** `GracefulShutdown`, `Withdrawn`, `NotDraining`; empty = the operator has said nothing yet, or the node has no instance. */
  readonly state: string;
  readonly since: string;
  /** The annotation; null = there is none. */
  readonly annotation: string | null;
  readonly cordoned: boolean;
  readonly message: string;
}

const FIELD_MANAGER = 'stentorctl';
const POLL_MS = 200;
const WAIT_DEFAULT = '5m';

export const drain: Verb = async (context) => {
  const {common, options, signal} = context;
  const [node] = context.args;
  const waitMs = waitOf(context);
  const value = annotationOf(context);
  return withCluster(common, async (client) => {
    if (node === undefined) return show(context, await drainStates(client, signal));
    await annotate(client, node, value, signal);
    if (waitMs !== null) await reached(context, client, {node, waitMs, undone: options['undo'] === true});
    return show(context, (await drainStates(client, signal)).filter((one) => one.node === node));
  });
};

function annotationOf(context: VerbContext): string | null {
  const withdraw = stringOption(context, 'withdraw');
  if (context.options['undo'] === true) {
    if (withdraw !== null) throw usage('--undo and --withdraw do not go together');
    return null;
  }
  if (withdraw !== null && !['never', 'redundant', 'all'].includes(withdraw)) throw usage(`--withdraw ${withdraw}: never, redundant or all is expected`);
  return withdraw ?? 'true';
}

function waitOf({options: {wait, undo, withdraw}, args}: VerbContext): number | null {
  if (args.length === 0 && (wait !== undefined || undo === true || withdraw !== undefined)) throw usage('which node?');
  if (wait === undefined || wait === false) return null;
  const text = typeof wait === 'string' ? wait : WAIT_DEFAULT;
  const ms = parseDuration(text);
  if (ms === null) throw usage(`--wait ${text}: a time such as 90s or 5m is expected`);
  return ms;
}

async function annotate(client: KubeClient, node: string, value: string | null, signal: AbortSignal): Promise<void> {
  const patch = {metadata: {annotations: {[DRAIN_ANNOTATION]: value}}};
  await client.patch(objectPath(RESOURCES.Node, null, node), {type: 'merge', patch, fieldManager: FIELD_MANAGER}, signal);
}

async function reached(context: VerbContext, client: KubeClient, wanted: {readonly node: string; readonly waitMs: number; readonly undone: boolean}): Promise<void> {
  const {node, waitMs, undone} = wanted;
  const limit = realClock.monotonicMs() + waitMs;
  let told = '';
  for (;;) {
    const state = (await drainStates(client, context.signal)).find((one) => one.node === node);
    if (state !== undefined && isDone(state, undone)) return;
    if (state !== undefined && state.message !== told) context.io.err(`${node}: ${state.message}\n`);
    told = state?.message ?? '';
    if (realClock.monotonicMs() > limit) throw new CliError(EXIT.timeout, `${node} is ${state?.state ?? 'unknown'}: not within ${waitMs / 1000} s`);
    await realClock.sleep(POLL_MS, context.signal);
  }
}

/** A node that is cordoned may stay drained when the annotation goes. One that withdraws nothing is done at once. */
export function isDone({state, annotation, message}: DrainState, undone: boolean): boolean {
  if (undone) return state === 'NotDraining' || (state !== '' && !message.startsWith('asked for'));
  return state === 'Withdrawn' || (state === 'GracefulShutdown' && annotation === 'never');
}

async function drainStates(client: KubeClient, signal: AbortSignal): Promise<readonly DrainState[]> {
  const [nodes, configs] = await Promise.all(['Node' as const, 'CiliumBGPNodeConfig' as const].map(async (kind) => (await client.listAll(collectionPath(RESOURCES[kind]), {}, signal)).items));
  const byNode = new Map((configs ?? []).map((object) => [object.metadata.name, object]));
  return (nodes ?? []).map((node) => drainStateOf(node, byNode.get(node.metadata.name))).sort((a, b) => compareStrings(a.node, b.node));
}

export function drainStateOf(node: KubeObject, config: KubeObject | undefined): DrainState {
  const status = isRecord(config?.['status']) ? config['status'] : {};
  const conditions: readonly unknown[] = Array.isArray(status['conditions']) ? status['conditions'] : [];
  const condition = conditions.filter(isRecord).find(({type}) => type === DRAINING) ?? {};
  const text = (value: unknown): string => (typeof value === 'string' ? value : '');
  return {
    node: node.metadata.name, state: text(condition['reason']), since: condition['status'] === 'True' ? text(condition['lastTransitionTime']) : '',
    annotation: node.metadata.annotations?.[DRAIN_ANNOTATION] ?? null, cordoned: isRecord(node['spec']) && node['spec']['unschedulable'] === true, message: text(condition['message']),
  };
}

function show(context: VerbContext, items: readonly DrainState[]): Promise<ExitCode> {
  return list(context, {
    items,
    columns: [
      {title: 'NODE', cell: ({node}) => node}, {title: 'STATE', cell: ({state}) => state}, {title: 'SINCE', cell: ({since}) => since},
      {title: 'ANNOTATION', cell: ({annotation}) => annotation ?? ''}, {title: 'CORDONED', cell: ({cordoned}) => (cordoned ? 'yes' : '')}, {title: 'MESSAGE', cell: ({message}) => message},
    ],
    name: ({node}) => node, empty: 'no nodes',
  });
}
