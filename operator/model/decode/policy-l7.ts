// L7 rules of a port rule: checked as Cilium checks them, kept as rule sets, and refused until an engine for their kind exists.

import {RE2JS} from 're2js';

import type {HeaderMatch, HttpMatch, L7Match, PortMatch} from '../../../lib/domain/policy.js';
import type {Problems} from '../../../lib/domain/problem.js';
import {isRecord, listAt, textOf} from './policy-common.js';
import type {Json, RuleList} from './policy-common.js';
import {decodeFqdn} from './policy-peers.js';

export interface PortRuleContext {
  readonly list: RuleList;
  readonly path: string;
  readonly ports: readonly PortMatch[];
}

const KINDS = ['http', 'dns', 'kafka', 'l7proto', 'l7'] as const;
type Kind = (typeof KINDS)[number];

/** `rules: {}` and empty lists ask for nothing. */
export function decodeL7(json: Json, context: PortRuleContext, problems: Problems): L7Match[] {
  const {path} = context;
  const rules = json['rules'] ?? {};
  if (!isRecord(rules)) {
    problems.refuse(`${path}.rules`, 'InvalidType', 'rules is an object');
    return [];
  }
  const kinds = KINDS.filter((kind) => isGiven(rules[kind]));
  const protocols = kinds.filter((kind) => kind !== 'l7' || !kinds.includes('l7proto'));
  if (protocols.length > 1) {
    problems.refuse(`${path}.rules`, 'InvalidL7', `only one of ${protocols.join(', ')} can be given`);
  }
  if (protocols.length > 0 && json['listener'] !== undefined) {
    problems.refuse(`${path}.listener`, 'InvalidListener', 'a listener and L7 rules exclude each other');
  }
  const found = protocols.flatMap((kind) => {
    checkPorts(kind, context, problems);
    const matches = decodeKind(kind, rules, context, problems);
    problems.unsupported(`${path}.rules.${kind}`, 'UnsupportedL7', `L7 rules (${kind}) are not supported`);
    return matches;
  });
  return [...found, ...decodeServerNames(json, context, protocols.length > 0, problems)];
}

function isGiven(value: unknown): boolean {
  return value !== undefined && value !== '' && !(Array.isArray(value) && value.length === 0);
}

function checkPorts(kind: Kind, {list, path, ports}: PortRuleContext, problems: Problems): void {
  const refuse = (reason: string): void => problems.refuse(`${path}.rules.${kind}`, 'InvalidL7', reason);
  if (ports.some((port) => port.port === 0 && port.name === undefined)) refuse('port 0 has no L7 rules');
  if (list.host === true && (list.direction === 'ingress' || kind === 'http')) refuse(`rules for nodes have no ${list.direction === 'ingress' ? 'L7' : 'HTTP'} rules at ${list.direction}`);
  if (kind === 'http' && ports.some((port) => port.protocol !== 'TCP')) refuse('HTTP rules need protocol TCP');
  if (kind !== 'dns') return;
  if (list.direction === 'ingress') refuse('DNS rules are for egress only');
  if (ports.length === 0) refuse('DNS rules need a port');
  if (ports.some((port) => port.endPort > port.port)) refuse('DNS rules take no port range');
  if (ports.some((port) => !['TCP', 'UDP', 'ANY'].includes(port.protocol))) refuse('DNS rules need protocol UDP, TCP or ANY');
}

function decodeKind(kind: Kind, rules: Json, {path, ports}: PortRuleContext, problems: Problems): L7Match[] {
  const at = `${path}.rules.${kind}`;
  const items = kind === 'http' || kind === 'dns' ? listAt(rules, kind, `${path}.rules`, problems) ?? [] : [];
  switch (kind) {
    case 'http': {
      const http = items.flatMap((item, i) => decodeHttp(item, `${at}[${i}]`, problems) ?? []);
      return [{ports, rules: {kind, http}}];
    }
    case 'dns': {
      const dns = items.flatMap((item, i) => decodeFqdn(item, `${at}[${i}]`, problems) ?? []);
      return [{ports, rules: {kind, dns}}];
    }
    case 'kafka':
    case 'l7proto':
    case 'l7':
      return [];
  }
}

/** `method` and `path` must compile; `host` and `headers` are taken as they are, as in Cilium. */
function decodeHttp(json: unknown, path: string, problems: Problems): HttpMatch | null {
  if (!isRecord(json)) {
    problems.refuse(path, 'InvalidL7', 'an HTTP rule is an object');
    return null;
  }
  const read = (field: 'method' | 'path' | 'host'): Partial<HttpMatch> => {
    const value = json[field];
    if (value === undefined || value === '') return {};
    const wrong = typeof value !== 'string' ? 'a text is needed' : field === 'host' ? null : regexProblem(value);
    if (wrong !== null) problems.refuse(`${path}.${field}`, 'InvalidL7', wrong);
    return {[field]: textOf(value)};
  };
  const headers = (listAt(json, 'headers', path, problems) ?? []).map((header, i) => {
    if (typeof header !== 'string') problems.refuse(`${path}.headers[${i}]`, 'InvalidL7', 'a header is a text: name, or name and value');
    return textOf(header);
  });
  const headerMatches = (listAt(json, 'headerMatches', path, problems) ?? [])
    .flatMap((match, i) => decodeHeaderMatch(match, `${path}.headerMatches[${i}]`, problems) ?? []);
  return {...read('method'), ...read('path'), ...read('host'), headers, headerMatches};
}

/** Null when it compiles as RE2. */
function regexProblem(text: string): string | null {
  try {
    RE2JS.compile(text);
    return null;
  } catch (error) {
    return `${JSON.stringify(text)} is not a regular expression: ${error instanceof Error ? error.message : String(error)}`;
  }
}

const MISMATCHES = ['LOG', 'ADD', 'DELETE', 'REPLACE'] as const;

function decodeHeaderMatch(json: unknown, path: string, problems: Problems): HeaderMatch | null {
  const {name, value, secret, mismatch} = isRecord(json) ? json : {};
  if (typeof name !== 'string' || name === '') {
    problems.refuse(`${path}.name`, 'InvalidL7', 'a header match needs the name of the header');
    return null;
  }
  const action = MISMATCHES.find((known) => known === mismatch);
  if (mismatch !== undefined && mismatch !== '' && action === undefined) {
    problems.refuse(`${path}.mismatch`, 'InvalidL7', `mismatch is one of ${MISMATCHES.join(', ')}`);
  }
  const secretName = isRecord(secret) ? textOf(secret['name']) : '';
  if (secret !== undefined && secretName === '') problems.refuse(`${path}.secret`, 'InvalidL7', 'the name of a Secret is needed');
  return {
    name,
    ...(typeof value === 'string' ? {value} : {}),
    ...(isRecord(secret) && secretName !== '' ? {secret: {namespace: textOf(secret['namespace']), name: secretName}} : {}),
    ...(action === undefined ? {} : {mismatch: action}),
  };
}

const SERVER_NAME = /^([-a-zA-Z0-9_*]+[.]?)+$/;
const SERVER_NAME_LENGTH_MAX = 255;

function decodeServerNames(json: Json, {path, ports}: PortRuleContext, hasL7: boolean, problems: Problems): L7Match[] {
  const names = listAt(json, 'serverNames', path, problems) ?? [];
  if (names.length === 0) return [];
  const at = `${path}.serverNames`;
  for (const [i, name] of names.entries()) {
    if (typeof name === 'string' && name.length <= SERVER_NAME_LENGTH_MAX && SERVER_NAME.test(name)) continue;
    problems.refuse(`${at}[${i}]`, 'InvalidTLS', `${JSON.stringify(name)} is not a server name`);
  }
  if (hasL7 && json['terminatingTLS'] === undefined) problems.refuse(at, 'InvalidTLS', 'server names beside L7 rules need terminatingTLS');
  problems.unsupported(at, 'UnsupportedTLS', 'rules by TLS server name are not supported');
  return [{ports, rules: {kind: 'sni', serverNames: names.filter((name) => typeof name === 'string')}}];
}
