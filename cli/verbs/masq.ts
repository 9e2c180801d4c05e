// masq list|check|status: what is masqueraded and what not, why so, and which list each node runs.

import {parseAddress} from '../../lib/core/ip.js';
import {compareStrings} from '../../lib/core/order.js';
import type {AgentStatus} from '../../lib/domain/agent-api.js';
import type {Verb, VerbContext} from '../context.js';
import {CliError, EXIT, type ExitCode, usage} from '../errors.js';
import {masqueradeAnswer, type MasqueradeAnswer} from '../masquerade.js';
import {nodePlace, readNode} from '../node-view.js';
import {OperatorClient, type OperatorSession} from '../operator-client.js';
import {printValue} from '../output.js';
import {readIpmasq} from '../pins.js';
import {byPrefix} from '../rows.js';
import {table} from '../table.js';
import {tabwriter} from '../tabwriter.js';
import {agentOf, argument, list as printList, monotonicSeconds} from './common.js';
import {endpoints} from './endpoint.js';

type Masquerade = AgentStatus['masquerade'];

interface Exception {
  readonly prefix: string;
  readonly exclusion: 'native-routing-cidr' | 'ip-masq-agent';
  readonly source: string | null;
}

/** Every destination that a pod reaches with its own address. */
export const list: Verb = async (context) => {
  const status = await statusOf(context);
  const {settings = null, source = null} = status?.masquerade ?? {};
  const routed = [...(settings?.ipv4.exclusions ?? []), ...(settings?.ipv6.exclusions ?? [])]
    .map((prefix): Exception => ({prefix, exclusion: 'native-routing-cidr', source: 'node configuration'}));
  const listed = readIpmasq(context.common.bpfRoot).map((prefix): Exception => ({prefix, exclusion: 'ip-masq-agent', source}));
  return printList<Exception>(context, {
    items: [...routed.sort((a, b) => byPrefix(a.prefix, b.prefix)), ...listed],
    columns: [{title: 'PREFIX', cell: ({prefix}) => prefix}, {title: 'EXCLUSION', cell: ({exclusion}) => exclusion}, {title: 'FROM', cell: (row) => row.source ?? '-'}],
    name: ({prefix}) => prefix,
    empty: 'no exceptions: everything that leaves the node is masqueraded',
  }, exitOf(context, status));
};

export const check: Verb = async (context) => {
  const [source, destination] = [await podAddress(context, argument(context, 0, 'the pod'), argument(context, 1, 'the destination')), argument(context, 1, 'the destination')];
  const node = await readNode(nodePlace(context.common), monotonicSeconds());
  const answer = masqueradeAnswer(node.masquerade, source, destination);
  const {io, common} = context;
  if (common.format === 'name') io.out(`${answer.decidedBy}\n`);
  else if (common.format !== 'table' && common.format !== 'wide') await printValue(io, common.format, answer);
  else io.out(answerText(answer, common.format === 'wide' ? null : io.width));
  return answer.masqueraded === null ? EXIT.partial : exitOf(context, node.status);
};

function answerText(answer: MasqueradeAnswer, width: number | null): string {
  const {source, destination, masqueraded, addresses, decidedBy, prefix, exclusions} = answer;
  const as = addresses.map(({uplink, address}) => `${address} (${uplink})`).join(' or ');
  const verdict = masqueraded === null ? `not known: ${decidedBy} comes first, and the agent does not answer`
    : masqueraded ? `masqueraded as ${as === '' ? 'nothing: no uplink has an address of this family, so the packet is dropped' : as}`
      : `not masqueraded: ${decidedBy}${prefix === null ? '' : ` ${prefix}`}`;
  return `${source} -> ${destination}: ${verdict}\n\n${table([
    {title: '#', cell: ({order}) => order, right: true},
    {title: 'EXCLUSION', cell: ({name}) => name},
    {title: 'MATCH', cell: ({name, matched}) => (matched === null ? '?' : matched ? (name === decidedBy ? 'yes, decides' : 'yes') : 'no')},
    {title: 'PREFIX', cell: (row) => row.prefix ?? '-'},
    {title: 'WHY', cell: ({detail}) => detail},
  ], exclusions, width)}`;
}

/** An address as it is; a pod by `namespace/name`, in the family of the destination. */
async function podAddress(context: VerbContext, pod: string, destination: string): Promise<string> {
  if (parseAddress(destination) === null) throw usage(`${destination} is not an address`);
  const isIpv6 = destination.includes(':');
  if (parseAddress(pod) !== null) {
    if (pod.includes(':') !== isIpv6) throw usage(`${pod} and ${destination} are of two families`);
    return pod;
  }
  const name = pod.includes('/') ? pod : `default/${pod}`;
  const found = (await endpoints(context)).value.find((one) => `${one.namespace}/${one.name}` === name);
  if (found === undefined) throw new CliError(EXIT.findings, `no pod ${name} on this node`);
  const address = isIpv6 ? found.ipv6 : found.ipv4;
  if (address === '') throw new CliError(EXIT.findings, `${name} has no IPv${isIpv6 ? 6 : 4} address`);
  return address;
}

interface NodeRow {
  readonly node: string;
  /** Null: the node was given no list. */
  readonly revision: string | null;
  /** `installed`: the kernel holds it; `held`: the list before it, on purpose. */
  readonly state: 'installed' | 'held' | 'pending' | 'failed' | 'disconnected' | 'none';
  readonly source: string | null;
  readonly entries: number;
  readonly reason: string;
}

/** This node alone, or all of them when there is an operator to ask. */
export const status: Verb = async (context) => {
  const operator = context.options['operator'] ?? process.env['STENTOR_OPERATOR_HTTP'];
  if (typeof operator === 'string' && operator !== '') return nodesStatus(context, operator);
  const answer = await statusOf(context);
  const entries = readIpmasq(context.common.bpfRoot);
  const {common, io} = context;
  const value = {node: answer?.node ?? null, routingMode: answer?.routingMode ?? null, ...answer?.masquerade, installed: entries.length};
  if (common.format === 'name') io.out(`${answer?.masquerade.revision ?? '-'}\n`);
  else if (common.format !== 'table' && common.format !== 'wide') await printValue(io, common.format, value);
  else io.out(tabwriter(statusLines(answer?.masquerade ?? null, entries.length), {minWidth: 0, padding: 3}));
  return exitOf(context, answer);
};

function statusLines(masquerade: Masquerade | null, installed: number): readonly (readonly string[])[] {
  const exceptions: readonly string[] = ['Exceptions:', `${installed} installed`];
  if (masquerade === null) return [['Masquerading:', 'unknown: the agent does not answer'], exceptions];
  const {settings, source, hold, revision} = masquerade;
  const families = settings === null ? [] : ([['IPv4', settings.ipv4], ['IPv6', settings.ipv6]] as const).map(([name, {enabled, exclusions}]) =>
    [`${name}:`, enabled ? `${masquerade.mode}, but not towards ${exclusions.join(', ') || 'anything'}` : 'not masqueraded']);
  const uplinks = (settings?.uplinks ?? []).map(({name, ipv4, ipv6}, i) => [i === 0 ? 'Uplinks:' : '', `${name} ${[ipv4, ipv6].filter((one) => one !== null).join(' ')}`]);
  return [
    ['Masquerading:', masquerade.enabled || settings?.ipv6.enabled === true ? masquerade.mode : 'disabled'], ...families, ...uplinks,
    ['Revision:', revision ?? 'none yet'], ['Exceptions from:', source ?? 'nowhere yet'], exceptions,
    ...(hold === null ? [] : [['Held:', `${hold}: what was installed before is kept`]]),
  ];
}

async function nodesStatus(context: VerbContext, at: string): Promise<ExitCode> {
  const operator = new OperatorClient({at, timeoutMs: context.common.timeoutMs});
  const [names, sessions] = await Promise.all([operator.nodes(), operator.sessions()]);
  const rows = await Promise.all([...names].sort(compareStrings).map(async (node) => {
    const {upserts} = await operator.nodeState(node);
    const found = upserts.find(({kind}) => kind === 'masquerade');
    return nodeRow(node, found === undefined ? null : {version: found.version, value: found.value as Given}, sessions.find((one) => one.node === node) ?? null);
  }));
  const exit = rows.every(({state}) => state === 'installed') ? EXIT.ok : EXIT.findings;
  return printList<NodeRow>(context, {
    items: rows,
    columns: [
      {title: 'NODE', cell: ({node}) => node}, {title: 'REVISION', cell: ({revision}) => revision ?? '-'}, {title: 'STATE', cell: ({state}) => state},
      {title: 'FROM', cell: ({source}) => source ?? '-'}, {title: 'ENTRIES', cell: ({entries}) => entries, right: true}, {title: 'REASON', cell: ({reason}) => reason},
    ],
    name: ({node, revision}) => `${node}/${revision ?? '-'}`,
    empty: 'the operator knows no nodes',
  }, exit);
}

interface Given {
  readonly hold: {readonly reason: string} | null;
  readonly nonMasqueradeCidrs: readonly string[];
  readonly source: string;
}

/** A session without anything under way has all of its node's state in the kernel, but for its faults. */
function nodeRow(node: string, given: {readonly version: string; readonly value: Given} | null, session: OperatorSession | null): NodeRow {
  if (given === null) return {node, revision: null, state: 'none', source: null, entries: 0, reason: 'the node was given no list'};
  const row = {node, revision: given.version, source: given.value.source, entries: given.value.nonMasqueradeCidrs.length};
  const fault = session?.faults.find(({kind}) => kind === 'masquerade');
  if (session === null || session.phase !== 'open') return {...row, state: 'disconnected', reason: 'the agent has no session'};
  if (fault !== undefined) return {...row, state: 'failed', reason: fault.message};
  if (session.dirty + session.inFlight > 0) return {...row, state: 'pending', reason: 'not acknowledged yet'};
  return given.value.hold === null ? {...row, state: 'installed', reason: ''} : {...row, state: 'held', reason: given.value.hold.reason};
}

async function statusOf({common}: VerbContext): Promise<AgentStatus | null> {
  return common.pinned ? null : agentOf(common).ask('/v1/status');
}

function exitOf({common}: VerbContext, answer: AgentStatus | null): ExitCode {
  return answer === null && !common.pinned ? EXIT.partial : EXIT.ok;
}
