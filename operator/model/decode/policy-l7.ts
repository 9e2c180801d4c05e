// L7 rules of a port rule: checked as Cilium checks them, then refused as not supported.

import type {PortMatch} from '../../../lib/domain/policy.js';
import type {Problems} from '../../../lib/domain/problem.js';
import {isRecord} from './policy-common.js';
import type {Json, RuleList} from './policy-common.js';

export interface PortRuleContext {
  readonly list: RuleList;
  readonly path: string;
  readonly ports: readonly PortMatch[];
}

const KINDS = ['http', 'dns', 'kafka', 'l7proto', 'l7'] as const;
type Kind = (typeof KINDS)[number];

/** `rules: {}` and empty lists ask for nothing. */
export function checkL7(json: Json, context: PortRuleContext, problems: Problems): void {
  const {path} = context;
  const rules = json['rules'];
  if (rules === undefined) return;
  if (!isRecord(rules)) {
    problems.refuse(`${path}.rules`, 'InvalidType', 'rules is an object');
    return;
  }
  const kinds = KINDS.filter((kind) => isGiven(rules[kind]));
  const protocols = kinds.filter((kind) => kind !== 'l7' || !kinds.includes('l7proto'));
  if (protocols.length > 1) {
    problems.refuse(`${path}.rules`, 'InvalidL7', `only one of ${protocols.join(', ')} can be given`);
  }
  if (protocols.length > 0 && json['listener'] !== undefined) {
    problems.refuse(`${path}.listener`, 'InvalidListener', 'a listener and L7 rules exclude each other');
  }
  for (const kind of protocols) {
    checkKind(kind, context, problems);
    problems.unsupported(`${path}.rules.${kind}`, 'UnsupportedL7', `L7 rules (${kind}) are not supported`);
  }
}

function isGiven(value: unknown): boolean {
  return value !== undefined && value !== '' && !(Array.isArray(value) && value.length === 0);
}

function checkKind(kind: Kind, context: PortRuleContext, problems: Problems): void {
  const {list, path, ports} = context;
  const refuse = (reason: string): void => problems.refuse(`${path}.rules.${kind}`, 'InvalidL7', reason);
  if (ports.some((port) => port.port === 0 && port.name === undefined)) refuse('port 0 has no L7 rules');
  if (kind === 'http' && ports.some((port) => port.protocol !== 'TCP')) refuse('HTTP rules need protocol TCP');
  if (kind !== 'dns') return;
  if (list.direction === 'ingress') refuse('DNS rules are for egress only');
  if (ports.length === 0) refuse('DNS rules need a port');
  if (ports.some((port) => port.endPort > port.port)) refuse('DNS rules take no port range');
  if (ports.some((port) => !['TCP', 'UDP', 'ANY'].includes(port.protocol))) refuse('DNS rules need protocol UDP, TCP or ANY');
}
