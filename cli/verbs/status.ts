// status: one node at a glance; `--verbose` adds addresses, maps, features and controllers.

import type {AgentStatus} from '../../lib/domain/agent-api.js';
import type {Verb, VerbContext} from '../context.js';
import {CliError, EXIT, type ExitCode} from '../errors.js';
import {printValue} from '../output.js';
import {table} from '../table.js';
import {tabwriter} from '../tabwriter.js';
import {agentOf} from './common.js';

export const status: Verb = async (context) => {
  const {common, io, options} = context;
  let answer: AgentStatus;
  try {
    answer = await agentOf(common).get('/v1/status');
  } catch (error) {
    if (!(error instanceof CliError)) throw error;
    await withoutAgent(context);
    throw error;
  }
  const exit: ExitCode = answer.ok ? EXIT.ok : EXIT.findings;
  if (common.format === 'name') io.out(`${answer.ok ? 'OK' : 'degraded'}\n`);
  else if (common.format !== 'table' && common.format !== 'wide') await printValue(io, common.format, answer);
  else io.out(statusText(answer, options['verbose'] === true || common.format === 'wide'));
  return exit;
};

/** What still works on a node whose agent is dead. */
async function withoutAgent({common, io}: VerbContext): Promise<void> {
  if (common.format !== 'table' && common.format !== 'wide') return;
  const {listMaps} = await import('../pins.js');
  const pinned = await Promise.resolve().then(() => listMaps(common.bpfRoot)).catch(() => []);
  const held = pinned.filter((map) => map.pinned);
  if (held.length === 0) return;
  io.out(tabwriter([['Agent:', 'does not answer'], ['Datapath:', `goes on with ${held.length} of ${pinned.length} maps pinned in ${common.bpfRoot}`]], {minWidth: 0, padding: 3}));
  io.out(`\n${mapTable(held.flatMap(({name, entries, maxEntries}) => (entries === null ? [] : [{name, entries, maxEntries}])))}`);
}

export function statusText(status: AgentStatus, verbose: boolean): string {
  const {operator, masquerade, ipam, endpoints} = status;
  const held = masquerade.hold === null ? '' : `, held: ${masquerade.hold}`;
  const lines: (readonly [string, string])[] = [
    ['Node:', `${status.node}, agent ${status.version}`],
    ['Status:', status.ok ? 'OK' : 'degraded'],
    ['Operator:', operatorText(status)],
    ['Certificate:', certificateText(status)],
    ['Desired state:', operator.stateVersion === '' ? 'none yet' : operator.stateVersion],
    ['Routing:', `${status.routingMode ?? 'not known yet'}   [${status.devices.join(', ')}]`],
    ['Masquerading:', masquerade.enabled ? `${masquerade.mode}, ${masquerade.entries} exceptions from ${masquerade.source ?? 'nowhere yet'}${held}` : 'disabled'],
    ['IPAM:', `${ipam.allocated}/${ipam.capacity} allocated from ${ipam.podCidrs.join(', ') || 'no PodCIDR'}`],
    ['Endpoints:', `${endpoints.ready}/${endpoints.total} ready`],
    ['BGP:', status.bgp.length === 0 ? 'no instance' : status.bgp.map(({asn, established, peers}) => `AS ${asn}: ${established}/${peers} established`).join(', ')],
    ['Errors:', status.errors.length === 0 ? 'none' : String(status.errors.length)],
  ];
  const parts = [tabwriter(lines, {minWidth: 0, padding: 3})];
  if (status.errors.length > 0) {
    parts.push(table([
      {title: 'RESOURCE', cell: (one) => `${one.kind}/${one.key}`}, {title: 'CODE', cell: (one) => one.code}, {title: 'MESSAGE', cell: (one) => one.message},
    ], status.errors, null));
  }
  if (verbose) parts.push(...details(status));
  return parts.join('\n');
}

function operatorText({operator: {connected, address, version, lastAckSequence}, controllers}: AgentStatus): string {
  const where = address === '' ? 'files' : `${address}${version === null ? '' : ` (${version})`}`;
  if (!connected) {
    const reason = controllers.find(({name}) => name === 'operator-session')?.lastError ?? null;
    return `not connected${address === '' ? '' : ` (last ${address})`}; the node goes on with what it holds${reason === null ? '' : `: ${reason}`}`;
  }
  return `connected to ${where}${lastAckSequence === null ? '' : `, acknowledged ${lastAckSequence}`}`;
}

function certificateText({certificate}: AgentStatus): string {
  if (certificate === null) return 'none needed';
  const {expires, lastError} = certificate;
  return `${expires === null ? 'none' : `valid until ${expires}`}${lastError === null ? '' : `: ${lastError}`}`;
}

function details({ipam, maps, features, controllers}: AgentStatus): readonly string[] {
  return [
    table([{title: 'ADDRESS', cell: ({ip}) => ip}, {title: 'OWNER', cell: ({owner}) => owner}], ipam.addresses, null),
    mapTable(maps),
    table([{title: 'FEATURE', cell: ({name}) => name}, {title: 'AVAILABLE', cell: ({available}) => (available ? 'yes' : 'no')}, {title: 'REASON', cell: ({reason}) => reason}], features, null),
    table([{title: 'CONTROLLER', cell: ({name}) => name}, {title: 'STATE', cell: ({ok}) => (ok ? 'ok' : 'failing')}, {title: 'LAST ERROR', cell: ({lastError}) => lastError ?? ''}], controllers, null),
  ];
}

function mapTable(maps: AgentStatus['maps']): string {
  return table([
    {title: 'MAP', cell: ({name}) => name}, {title: 'ENTRIES', cell: ({entries}) => entries, right: true}, {title: 'MAX', cell: ({maxEntries}) => maxEntries, right: true},
    {title: 'FULL', cell: ({entries, maxEntries}) => `${maxEntries === 0 ? 0 : Math.floor((100 * entries) / maxEntries)} %`, right: true},
  ], maps, null);
}
