// The port fields of one rule item: toPorts and icmps, and the parts of toPorts that are not supported yet.

import {PROTOCOL_NUMBERS} from '../../../lib/domain/policy.js';
import type {L7Match, PortMatch, Protocol} from '../../../lib/domain/policy.js';
import type {Problems} from '../../../lib/domain/problem.js';
import {icmpTypeOf} from './icmp-types.js';
import {decodeL7} from './policy-l7.js';
import {isRecord, join, listAt} from './policy-common.js';
import type {Json, RuleList} from './policy-common.js';

const PORTS_MAX = 40;
const ICMP_FIELDS_MAX = 40;
const PORT_MAX = 65535;

export interface DecodedPorts {
  /** Null when neither field says anything: every protocol and port. */
  readonly ports: readonly PortMatch[] | null;
  /** Well-formed rules for L7 engines. */
  readonly l7: readonly L7Match[];
}

export function decodePorts(item: Json, list: RuleList, path: string, problems: Problems): DecodedPorts {
  const toPorts = listAt(item, 'toPorts', path, problems) ?? [];
  const icmps = listAt(item, 'icmps', path, problems) ?? [];
  if (toPorts.length > 0 && icmps.length > 0) {
    problems.refuse(path, 'CombinedPorts', 'combining toPorts and icmps is not supported');
  }
  const rules = toPorts.map((rule, i) => decodePortRule(rule, list, `${path}.toPorts[${i}]`, problems));
  const matches = [...rules.flatMap((rule) => rule.ports), ...icmps.flatMap((rule, i) => decodeIcmpRule(rule, `${path}.icmps[${i}]`, problems))];
  return {ports: toPorts.length + icmps.length === 0 ? null : matches, l7: rules.flatMap((rule) => rule.l7)};
}

/** ICMP type 0 as Cilium reads it: port 0, which is every type of its family. */
export function widenTypeZero(ports: readonly PortMatch[] | null): readonly PortMatch[] | null {
  return ports?.map(({exact, ...match}) => (exact === true && match.port > 0 ? {...match, exact} : match)) ?? null;
}

const NO_PORTS = {ports: [], l7: []} as const;

/** A port rule with a part that is not supported allows nothing; what an L7 engine would need of it is kept. */
function decodePortRule(json: unknown, list: RuleList, path: string, problems: Problems): {ports: readonly PortMatch[]; l7: readonly L7Match[]} {
  if (!isRecord(json)) {
    problems.refuse(path, 'InvalidType', 'a port rule is an object');
    return NO_PORTS;
  }
  const before = problems.count;
  const ports = listAt(json, 'ports', path, problems) ?? [];
  if (ports.length > PORTS_MAX) problems.refuse(`${path}.ports`, 'TooManyPorts', `at most ${PORTS_MAX} ports`);
  const matches = ports.flatMap((port, i) => decodePort(port, `${path}.ports[${i}]`, problems));
  if (list.deny) return problems.count === before ? {ports: matches, l7: []} : NO_PORTS;
  const wellFormed = problems.count === before;
  const l7 = decodeL7(json, {list, path, ports: matches}, problems);
  checkUnsupported(json, list, path, problems);
  return {ports: problems.count === before ? matches : [], l7: wellFormed ? l7 : []};
}

function checkUnsupported(json: Json, list: RuleList, path: string, problems: Problems): void {
  for (const name of ['terminatingTLS', 'originatingTLS']) {
    if (json[name] === undefined) continue;
    checkTls(json[name], join(path, name), problems);
    problems.unsupported(join(path, name), 'UnsupportedTLS', `${name} is not supported`);
  }
  if (json['listener'] === undefined) return;
  if (list.direction === 'ingress') problems.refuse(`${path}.listener`, 'InvalidListener', 'a listener is for egress only');
  else problems.unsupported(`${path}.listener`, 'UnsupportedListener', 'listeners are not supported');
}

function checkTls(json: unknown, path: string, problems: Problems): void {
  const secret = isRecord(json) ? json['secret'] : undefined;
  if (isRecord(secret) && typeof secret['name'] === 'string' && secret['name'] !== '') return;
  problems.refuse(`${path}.secret`, 'InvalidTLS', 'the name of a Secret is needed');
}

function decodePort(json: unknown, path: string, problems: Problems): PortMatch[] {
  if (!isRecord(json)) {
    problems.refuse(path, 'InvalidType', 'a port is an object');
    return [];
  }
  const protocol = protocolOf(json['protocol'], path, problems);
  const port = portOf(json['port'], protocol, path, problems);
  const endPort = endPortOf(json['endPort'], path, problems);
  if (protocol === null || port === null || endPort === null) return [];
  if (typeof port === 'string') return [{protocol, port: 0, endPort, name: port}];
  if (port === 0 && endPort > 0) {
    problems.refuse(`${path}.endPort`, 'InvalidPort', 'port 0 stands for every port and begins no range');
    return [];
  }
  return [{protocol, port, endPort: endPort > port ? endPort : port}];
}

function protocolOf(json: unknown, path: string, problems: Problems): Protocol | null {
  if (json === undefined || json === '') return 'ANY';
  const protocol = typeof json === 'string' ? json.toUpperCase() : '';
  if (isPortProtocol(protocol)) return protocol;
  problems.refuse(`${path}.protocol`, 'InvalidProtocol', `${JSON.stringify(json)} is not a protocol`);
  return null;
}

/** ICMP has its own field. */
function isPortProtocol(text: string): text is Protocol {
  return text in PROTOCOL_NUMBERS && !text.startsWith('ICMP');
}

const PROTOCOLS_WITH_PORTS: ReadonlySet<Protocol> = new Set(['ANY', 'TCP', 'UDP', 'SCTP']);

/** A number, a name in lower case, or null when it is neither. Protocols without ports have 0 or none. */
function portOf(json: unknown, protocol: Protocol | null, path: string, problems: Problems): number | string | null {
  const hasPorts = protocol === null || PROTOCOLS_WITH_PORTS.has(protocol);
  if (!hasPorts && (json === undefined || json === '' || json === '0')) return 0;
  if (!hasPorts) {
    problems.refuse(`${path}.port`, 'InvalidPort', `${protocol} has no ports`);
    return null;
  }
  if (typeof json !== 'string' || json === '') {
    problems.refuse(`${path}.port`, 'InvalidPort', 'a port is a string: a number or a name');
    return null;
  }
  if (isServiceName(json)) return json.toLowerCase();
  const number = parseGoInteger(json);
  if (number !== null && number <= PORT_MAX) return number;
  problems.refuse(`${path}.port`, 'InvalidPort', `${JSON.stringify(json)} is neither a port number nor a port name`);
  return null;
}

/** RFC 6335: letters, digits and single hyphens inside, at least one letter, at most 15. `0x50` is therefore a name. */
export function isServiceName(text: string): boolean {
  return text.length <= 15 && /[a-zA-Z]/.test(text) && /^[a-zA-Z0-9]+(-[a-zA-Z0-9]+)*$/.test(text);
}

/** Decimal, or octal after a leading 0, with `_` between digits: what Go's ParseUint takes with base 0 and no letters. */
function parseGoInteger(text: string): number | null {
  if (!/^\d+(_\d+)*$/.test(text)) return null;
  const digits = text.replaceAll('_', '');
  if (digits.length > 1 && digits.startsWith('0')) return /^[0-7]+$/.test(digits) ? Number.parseInt(digits, 8) : null;
  return Number(digits);
}

function endPortOf(json: unknown, path: string, problems: Problems): number | null {
  if (json === undefined) return 0;
  if (typeof json === 'number' && Number.isInteger(json) && json >= 0 && json <= PORT_MAX) return json;
  problems.refuse(`${path}.endPort`, 'InvalidPort', `${JSON.stringify(json)} is not a port number`);
  return null;
}

function decodeIcmpRule(json: unknown, path: string, problems: Problems): PortMatch[] {
  if (!isRecord(json)) {
    problems.refuse(path, 'InvalidType', 'an ICMP rule is an object');
    return [];
  }
  const fields = listAt(json, 'fields', path, problems) ?? [];
  if (fields.length > ICMP_FIELDS_MAX) problems.refuse(`${path}.fields`, 'TooManyFields', `at most ${ICMP_FIELDS_MAX} ICMP fields`);
  return fields.flatMap((field, i) => decodeIcmpField(field, `${path}.fields[${i}]`, problems));
}

function decodeIcmpField(json: unknown, path: string, problems: Problems): PortMatch[] {
  if (!isRecord(json)) {
    problems.refuse(path, 'InvalidType', 'an ICMP field is an object');
    return [];
  }
  const family = json['family'] ?? 'IPv4';
  if (family !== 'IPv4' && family !== 'IPv6' && family !== '') {
    problems.refuse(`${path}.family`, 'InvalidICMP', 'family is IPv4 or IPv6');
    return [];
  }
  const type = icmpTypeOf(family === 'IPv6' ? 6 : 4, json['type']);
  if (type === null) {
    problems.refuse(`${path}.type`, 'InvalidICMP', `${JSON.stringify(json['type'])} is not an ICMP type`);
    return [];
  }
  return [{protocol: family === 'IPv6' ? 'ICMPv6' : 'ICMP', port: type, endPort: type, exact: true}];
}
