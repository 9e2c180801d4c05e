// masq compile: which destinations the nodes of the manifests would not masquerade towards, by the operator's own decoder and compiler.

import {readFile} from 'node:fs/promises';
import {parse} from 'yaml';
import {compareStrings} from '../../lib/core/order.js';
import type {MasqueradeResource} from '../../lib/desired/node-state.js';
import {isRecord} from '../../lib/kube/object.js';
import {compileMasquerade} from '../../operator/compile/masquerade.js';
import {decodeIpMasq} from '../../operator/model/decode/ip-masq.js';
import {decodeNode} from '../../operator/model/decode/node.js';
import type {MasqueradeFact} from '../../operator/model/facts.js';
import type {Verb, VerbContext} from '../context.js';
import {EXIT, usage} from '../errors.js';
import {listOption, loadSettings, stringOption} from '../policy/input.js';
import {readManifests} from '../policy/sources.js';
import {list} from './common.js';

interface NodeJson {
  readonly name: string;
  readonly enabled: boolean;
  readonly nonMasqueradeCidrs: readonly string[];
  readonly masqLinkLocal: boolean;
  readonly masqLinkLocalIPv6: boolean;
  readonly source: string;
  /** Why the nodes keep what they have; null when the list is good. */
  readonly hold: string | null;
}

const CONFIG_MAP = {namespace: 'kube-system', name: 'ip-masq-agent'};

export const compile: Verb = async (context) => {
  const paths = [...listOption(context, 'input'), ...context.args];
  if (paths.length === 0) throw usage('masq compile: --input names manifests');
  const {objects, problems} = await readManifests(paths);
  for (const {place: {file, line, column}, message} of problems) context.io.err(`${file}:${line}:${column}: ${message}\n`);
  const nodes = objects.filter(({apiVersion, kind}) => apiVersion === 'v1' && kind === 'Node').map(({object}) => decodeNode(object));
  const found = objects.find(({apiVersion, kind, object: {metadata}}) =>
    apiVersion === 'v1' && kind === 'ConfigMap' && metadata.name === CONFIG_MAP.name && (metadata.namespace ?? 'default') === CONFIG_MAP.namespace);
  const fact = found === undefined ? null : decodeIpMasq(found.object);
  const {enableIPv6} = await loadSettings(context);
  const ipv6 = enableIPv6 ?? nodes.some(({podCidrs}) => podCidrs.some((cidr) => cidr.includes(':')));
  const enabled = await masqueradeEnabled(context);
  const rows = nodes.map(({name}) => name).sort(compareStrings).map((name): NodeJson => ({name, enabled, ...exceptionsOf(fact, ipv6)}));
  const exit = problems.length > 0 ? EXIT.partial : rows.some(({hold}) => hold !== null) ? EXIT.findings : EXIT.ok;
  if (context.common.format === 'json' || context.common.format === 'yaml') {
    const {printValue} = await import('../output.js');
    await printValue(context.io, context.common.format, {nodes: rows});
    return exit;
  }
  return list(context, {
    items: rows,
    columns: [
      {title: 'NODE', cell: ({name}) => name}, {title: 'MASQUERADED', cell: (row) => (row.enabled ? 'yes' : 'no')}, {title: 'FROM', cell: ({source}) => source},
      {title: 'EXCEPTIONS', cell: ({nonMasqueradeCidrs}) => nonMasqueradeCidrs}, {title: 'HELD', cell: ({hold}) => hold ?? ''},
    ],
    name: ({name}) => `node/${name}`, empty: 'the input has no nodes',
  }, exit);
};

function exceptionsOf(fact: MasqueradeFact | null, ipv6: boolean): Omit<NodeJson, 'name' | 'enabled'> {
  const {hold, nonMasqueradeCidrs, source} = compileMasquerade(fact, {ipv4: true, ipv6}).value as MasqueradeResource;
  const configured = fact?.kind === 'configured' ? fact : null;
  return {
    nonMasqueradeCidrs, masqLinkLocal: configured?.masqueradeLinkLocal ?? false, masqLinkLocalIPv6: configured?.masqueradeLinkLocalIpv6 ?? false, source,
    hold: hold?.reason ?? null,
  };
}

/** Of the operator's options, or of a ConfigMap with the same names. */
async function masqueradeEnabled(context: VerbContext): Promise<boolean> {
  const path = stringOption(context, 'config');
  if (path === null) return true;
  const parsed: unknown = parse(await readFile(path, 'utf8'));
  const values = isRecord(parsed) && isRecord(parsed['data']) ? parsed['data'] : parsed;
  return !isRecord(values) || ![false, 'false'].some((off) => values['enable-ipv4-masquerade'] === off);
}
