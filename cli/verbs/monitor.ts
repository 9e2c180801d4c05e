// monitor: what the datapath does with packets, as it happens; lines as Cilium's monitor prints them, with the policy that decided.

import {parseAddress} from '../../lib/core/ip.js';
import {PROTOCOL_NUMBERS} from '../../lib/domain/policy.js';
import type {MonitorPeer, MonitorRecord} from '../../lib/domain/agent-api.js';
import type {Verb, VerbContext} from '../context.js';
import {EXIT, usage} from '../errors.js';
import {agentOf, identityText, numberOption, originText} from './common.js';

const TYPES = ['drop', 'trace', 'policy-verdict'];

export const monitor: Verb = async (context) => {
  const {common, io, options, signal} = context;
  const wanted = filterOf(context);
  const types = options['types'] ?? options['type'];
  const query = typeof types === 'string' ? {types: checkedTypes(types)} : {};
  const {format} = common;
  if (format === 'table' || format === 'wide') io.err('Press Ctrl-C to quit\n');
  for await (const line of agentOf(common).follow('/v1/monitor', query, signal)) {
    const record = JSON.parse(line) as MonitorRecord;
    if (!wanted(record)) continue;
    if (format === 'table' || format === 'wide') io.out(`${record.time.slice(11, 23)} ${monitorLine(record)}\n`);
    else io.out(`${line}\n`);
  }
  return EXIT.ok;
};

function checkedTypes(text: string): string {
  const types = text.split(',').map((type) => type.trim());
  const unknown = types.find((type) => !TYPES.includes(type));
  if (unknown !== undefined) throw usage(`--types: ${unknown} is not one of ${TYPES.join(', ')}`);
  return types.join(',');
}

/** Filters name either side of a packet. */
function filterOf(context: VerbContext): (record: MonitorRecord) => boolean {
  const endpoint = numberOption(context, 'endpoint');
  const identity = numberOption(context, 'identity');
  const {ip, pod} = context.options;
  if (typeof ip === 'string' && parseAddress(ip) === null) throw usage(`--ip: ${ip} is not an address`);
  return (record) => {
    if (record.type === 'lost') return true;
    const sides = [record.source, record.destination];
    return (endpoint === null || record.endpointId === endpoint) && (identity === null || sides.some((side) => side.identity === identity)) &&
      (typeof ip !== 'string' || sides.some((side) => side.ip === ip)) && (typeof pod !== 'string' || sides.some((side) => side.pod === pod));
  };
}

export function monitorLine(record: MonitorRecord): string {
  switch (record.type) {
    case 'drop': return dropLine(record);
    case 'trace': return traceLine(record);
    case 'policy-verdict': return verdictLine(record);
    case 'lost': return `!! ${record.count ?? 0} events lost`;
  }
}

function dropLine(record: MonitorRecord): string {
  const where = record.endpointId === 0 ? '' : ` to endpoint ${record.endpointId}`;
  return `xx drop (${record.reasonText ?? `reason ${record.reason ?? 0}`})${where}, ifindex ${record.ifindex}, ${identities(record)}: ${flow(record)}${decidedBy(record)}`;
}

function traceLine(record: MonitorRecord): string {
  const point = record.point ?? '';
  const [way = '', place = ''] = point.split(/-(.*)/);
  const arrow = way === 'from' ? '<-' : '->';
  const where = place === 'endpoint' ? `endpoint ${record.endpointId}` : place;
  return `${arrow} ${where} ${identities(record)} state ${record.reasonText ?? 'unknown'} ifindex ${record.ifindex}: ${flow(record)}`;
}

const ACTIONS: Readonly<Record<string, string>> = {allowed: 'allow', denied: 'deny', redirected: 'redirect'};

function verdictLine(record: MonitorRecord): string {
  const remote = record.direction === 'ingress' ? record.source : record.destination;
  const protocol = Object.entries(PROTOCOL_NUMBERS).find(([name]) => name === record.protocol)?.[1] ?? record.protocol;
  return `Policy verdict log: local EP ID ${record.endpointId}, remote ID ${identityText(remote.identity)}, proto ${protocol}, ${record.direction}, ` +
    `action ${ACTIONS[record.verdict ?? ''] ?? 'unknown'}, auth: disabled, match ${record.matchType ?? 'none'}, ${flow(record)}${decidedBy(record)}`;
}

function identities({source, destination}: MonitorRecord): string {
  return `identity ${identityText(source.identity)}->${identityText(destination.identity)}`;
}

function flow(record: MonitorRecord): string {
  if (record.source.ip === '' && record.destination.ip === '') return 'no IPv4 packet';
  const icmp = record.icmpType === undefined ? '' : ` type ${record.icmpType}`;
  return `${side(record.source)} -> ${side(record.destination)} ${record.protocol.toLowerCase()}${icmp}`;
}

function side({ip, port, pod}: MonitorPeer): string {
  const address = ip.includes(':') && port !== 0 ? `[${ip}]` : ip;
  return `${address}${port === 0 ? '' : `:${port}`}${pod === undefined ? '' : ` (${pod})`}`;
}

/** 133: no rule allows it, which is a decision too; the objects are those that isolate the endpoint. */
function decidedBy(record: MonitorRecord): string {
  const objects = originText(record.derivedFrom).join(', ');
  if (record.reason === 133) return objects === '' ? ' by no rule that allows it' : ` isolated by ${objects}, no rule allows it`;
  return objects === '' ? '' : ` by ${objects}`;
}
