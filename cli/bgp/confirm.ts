// bgp confirm: which changes of BGP objects wait because they would withdraw too much, and that one of them is meant.

import {StentorError} from '../../lib/core/errors.js';
import {ACCEPTED_CONFIG_MAP, CONFIRM_ANNOTATION, WAITING_KEY, WITHDRAWAL_HELD} from '../../lib/domain/bgp-names.js';
import type {KubeClient} from '../../lib/kube/client.js';
import {isRecord, type KubeObject} from '../../lib/kube/object.js';
import {collectionPath, objectPath, RESOURCES} from '../../lib/kube/resources.js';
import {withCluster} from '../cluster.js';
import type {Verb, VerbContext} from '../context.js';
import {CliError, EXIT, usage} from '../errors.js';
import {stringOption} from '../policy/input.js';
import {list} from '../verbs/common.js';

export interface WaitingChange {
  /** `CiliumBGPClusterConfig/rack0`. */
  readonly object: string;
  /** Its hash: what is confirmed. */
  readonly change: string;
  readonly gone: boolean;
  readonly message: string;
}

const FIELD_MANAGER = 'stentorctl';

export const confirm: Verb = async (context) => {
  const {common, signal} = context;
  const [object] = context.args;
  const [namespace = '', name = ''] = (stringOption(context, 'configmap') ?? ACCEPTED_CONFIG_MAP).split('/');
  const change = stringOption(context, 'change');
  if (object === undefined && change !== null) throw usage('which object?');
  return withCluster(common, async (client) => {
    const path = objectPath(RESOURCES.ConfigMap, namespace, name);
    const record = await client.get(path, signal).catch((error: unknown) => {
      if (error instanceof StentorError && error.code === 'NotFound') return null;
      throw error;
    });
    const all = waitingChanges(record, await messages(client, signal));
    if (object === undefined) return show(context, all);
    const found = all.find((one) => one.object.toLowerCase() === object.toLowerCase());
    if (found === undefined) throw new CliError(EXIT.findings, `no change of ${object} waits`);
    if (change === null) throw usage(`${found.message}\nwhich change? the one that waits is --change ${found.change}`);
    if (change !== found.change) throw new CliError(EXIT.findings, `the change of ${found.object} that waits is ${found.change}, not ${change}: ${found.message}`);
    await annotate(client, found, {path, before: record?.metadata.annotations?.[CONFIRM_ANNOTATION] ?? ''}, signal);
    context.io.err(`${found.object}: change ${change} is confirmed\n`);
    return EXIT.ok;
  });
};

/** An object that is gone has no annotations: the ConfigMap has them. */
async function annotate(client: KubeClient, {object, change, gone}: WaitingChange, record: {readonly path: string; readonly before: string}, signal: AbortSignal): Promise<void> {
  const [kind = '', name = ''] = object.split('/');
  const resource = Object.values(RESOURCES).find((one) => one.kind === kind);
  if (resource === undefined) throw new CliError(EXIT.findings, `${kind} is no kind of BGP objects`);
  const value = gone ? [...new Set([...record.before.split(/[\s,]+/).filter((one) => one !== ''), change])].join(' ') : change;
  const patch = {metadata: {annotations: {[CONFIRM_ANNOTATION]: value}}};
  await client.patch(gone ? record.path : objectPath(resource, null, name), {type: 'merge', patch, fieldManager: FIELD_MANAGER}, signal);
}

export function waitingChanges(record: KubeObject | null, said: readonly string[]): readonly WaitingChange[] {
  const data = isRecord(record?.['data']) ? record['data'] : {};
  const written: unknown = JSON.parse(typeof data[WAITING_KEY] === 'string' ? data[WAITING_KEY] : '[]');
  return (Array.isArray(written) ? written.filter(isRecord) : []).map(({id, hash, gone}) => ({
    object: String(id), change: String(hash), gone: gone === true, message: said.find((one) => one.includes(` --change ${String(hash)}`)) ?? '',
  }));
}

/** What the conditions say of it: a node has one as long as something of it waits. */
async function messages(client: KubeClient, signal: AbortSignal): Promise<readonly string[]> {
  const {items} = await client.listAll(collectionPath(RESOURCES.CiliumBGPNodeConfig), {}, signal);
  return items.flatMap((object) => {
    const status = isRecord(object['status']) ? object['status'] : {};
    const conditions: readonly unknown[] = Array.isArray(status['conditions']) ? status['conditions'] : [];
    return conditions.filter(isRecord).filter(({type}) => type === WITHDRAWAL_HELD).flatMap(({message}) => String(message).split(/; (?=\w+\/)/));
  });
}

function show(context: VerbContext, items: readonly WaitingChange[]): ReturnType<Verb> {
  return list(context, {
    items,
    columns: [
      {title: 'OBJECT', cell: ({object}) => object}, {title: 'CHANGE', cell: ({change}) => change}, {title: 'DELETED', cell: ({gone}) => (gone ? 'yes' : '')},
      {title: 'MESSAGE', cell: ({message}) => message},
    ],
    name: ({object}) => object, empty: 'no change waits',
  }, items.length > 0 ? EXIT.findings : EXIT.ok);
}
