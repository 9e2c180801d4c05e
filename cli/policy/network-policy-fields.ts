// The fields of a NetworkPolicy, as the API server would check them: unknown ones are refused.

import {isRecord} from '../../lib/kube/object.js';

export interface FieldProblem {
  readonly path: string;
  readonly code: 'UnknownField' | 'Schema';
  readonly message: string;
}

/** A leaf, a list of something (`[x]`), or an object with these fields. */
type Shape = 'any' | 'string' | readonly [Shape] | {readonly [field: string]: Shape};

const SELECTOR: Shape = {matchLabels: 'any', matchExpressions: [{key: 'string', operator: 'string', values: ['string']}]};
const PEER: Shape = {podSelector: SELECTOR, namespaceSelector: SELECTOR, ipBlock: {cidr: 'string', except: ['string']}};
const PORTS: Shape = [{port: 'any', endPort: 'any', protocol: 'string'}];
const NETWORK_POLICY: Shape = {
  apiVersion: 'string', kind: 'string', metadata: 'any', status: 'any',
  spec: {podSelector: SELECTOR, policyTypes: ['string'], ingress: [{from: [PEER], ports: PORTS}], egress: [{to: [PEER], ports: PORTS}]},
};

export function networkPolicyProblems(object: unknown): FieldProblem[] {
  const problems: FieldProblem[] = [];
  check(object, NETWORK_POLICY, '', problems);
  checkWords(object, problems);
  return problems;
}

function check(value: unknown, shape: Shape, path: string, problems: FieldProblem[]): void {
  if (shape === 'any' || value === null || value === undefined) return;
  if (shape === 'string') {
    if (typeof value !== 'string') problems.push({path, code: 'Schema', message: 'must be a string'});
  } else if (Array.isArray(shape)) {
    if (!Array.isArray(value)) problems.push({path, code: 'Schema', message: 'must be a list'});
    else for (const [i, item] of value.entries()) check(item, (shape as readonly [Shape])[0], `${path}[${i}]`, problems);
  } else if (!isRecord(value)) {
    problems.push({path, code: 'Schema', message: 'must be an object'});
  } else {
    for (const [name, inner] of Object.entries(value)) {
      const field = (shape as Readonly<Record<string, Shape>>)[name];
      const at = path === '' ? name : `${path}.${name}`;
      if (field === undefined) problems.push({path: at, code: 'UnknownField', message: 'unknown field'});
      else check(inner, field, at, problems);
    }
  }
}

function checkWords(object: unknown, problems: FieldProblem[]): void {
  const spec = isRecord(object) ? object['spec'] : undefined;
  const types = isRecord(spec) ? spec['policyTypes'] : undefined;
  if (!Array.isArray(types)) return;
  for (const [i, type] of types.entries()) {
    if (type !== 'Ingress' && type !== 'Egress') problems.push({path: `spec.policyTypes[${i}]`, code: 'Schema', message: 'must be one of Ingress, Egress'});
  }
}
