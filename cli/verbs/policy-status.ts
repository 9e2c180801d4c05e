// policy status: which policies are valid, and which are enforced on every node concerned; read from the API server.

import {compareStrings} from '../../lib/core/order.js';
import {KubeClient} from '../../lib/kube/client.js';
import {loadKubeConfig} from '../../lib/kube/kube-config.js';
import type {KubeObject} from '../../lib/kube/object.js';
import {RESOURCES, collectionPath} from '../../lib/kube/resources.js';
import {realClock} from '../../lib/run/clock.js';
import type {Verb} from '../context.js';
import {CliError, EXIT, usage} from '../errors.js';
import {list} from './common.js';

const KINDS = ['CiliumNetworkPolicy', 'CiliumClusterwideNetworkPolicy', 'NetworkPolicy'] as const;

export interface PolicyStatusRow {
  readonly kind: string;
  readonly namespace: string;
  readonly name: string;
  /** `True`, `False`, `Unknown`; null where the kind has no conditions. */
  readonly valid: string | null;
  readonly enforced: string | null;
  readonly reason: string;
  readonly message: string;
}

export const status: Verb = async (context) => {
  const {common, options, signal} = context;
  if (common.kubeconfig === null) throw usage('no cluster: --kubeconfig or KUBECONFIG names one');
  const namespace = typeof options['namespace'] === 'string' ? options['namespace'] : null;
  const objects = await read(common.kubeconfig, common.timeoutMs, signal);
  const items = objects.map(({kind, object}) => policyStatusRow(kind, object)).filter((row) => namespace === null || row.namespace === namespace)
    .sort((a, b) => compareStrings(`${a.kind}/${a.namespace}/${a.name}`, `${b.kind}/${b.namespace}/${b.name}`));
  const findings = items.some(({valid, enforced}) => valid === 'False' || enforced === 'False');
  return list(context, {
    items,
    columns: [
      {title: 'KIND', cell: ({kind}) => kind}, {title: 'NAMESPACE', cell: (row) => row.namespace}, {title: 'NAME', cell: ({name}) => name},
      {title: 'VALID', cell: ({valid}) => valid ?? '-'}, {title: 'ENFORCED', cell: ({enforced}) => enforced ?? '-'},
      {title: 'REASON', cell: ({reason}) => reason}, {title: 'MESSAGE', cell: ({message}) => message},
    ],
    name: ({kind, namespace: ns, name}) => `${kind.toLowerCase()}/${ns === '' ? '' : `${ns}/`}${name}`,
    empty: 'no policies',
  }, findings ? EXIT.findings : EXIT.ok);
};

async function read(kubeconfig: string, timeoutMs: number, signal: AbortSignal): Promise<readonly {readonly kind: string; readonly object: KubeObject}[]> {
  try {
    const connection = await loadKubeConfig({kubeconfig});
    const client = new KubeClient({timeoutMs, retries: 1}, {connection, clock: realClock});
    try {
      const lists = await Promise.all(KINDS.map(async (kind) => (await client.listAll(collectionPath(RESOURCES[kind]), {}, signal)).items.map((object) => ({kind, object}))));
      return lists.flat();
    } finally {
      await client.close();
    }
  } catch (error) {
    throw new CliError(EXIT.unreachable, `cannot read the policies: ${error instanceof Error ? error.message : String(error)}`, {cause: error});
  }
}

export function policyStatusRow(kind: string, object: KubeObject): PolicyStatusRow {
  const conditions = conditionsOf(object);
  const valid = conditions.find(({type}) => type === 'Valid') ?? null;
  const enforced = conditions.find(({type}) => type === 'stentor.io/Enforced') ?? null;
  const says = valid?.status === 'False' ? valid : enforced;
  return {
    kind,
    namespace: object.metadata.namespace ?? '',
    name: object.metadata.name,
    valid: valid?.status ?? null,
    enforced: enforced?.status ?? null,
    reason: says?.reason ?? '',
    message: says?.message ?? '',
  };
}

interface Condition {
  readonly type: string;
  readonly status: string;
  readonly reason?: string;
  readonly message?: string;
}

function conditionsOf(object: KubeObject): readonly Condition[] {
  const {conditions} = (object['status'] ?? {}) as {conditions?: readonly Condition[]};
  return conditions ?? [];
}
