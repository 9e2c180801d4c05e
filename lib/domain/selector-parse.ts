// A Kubernetes LabelSelector in JSON → Selector, with Cilium's source prefixes (`k8s:app`, `reserved:host`, `$host`, `any:app`).

import type {Problems} from './problem.js';
import {canonicalSelector} from './selector.js';
import type {Operator, Requirement, Selector} from './selector.js';

/** Sources are words of ours; the text of a selector has its own use for other characters. */
const SOURCE = /^[-A-Za-z0-9_.]+$/;
const NAME = /^([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]$/;
const DNS_SUBDOMAIN = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/;

export interface ParseOptions {
  readonly path: string;
  /** Source of a key that names none: `any` in Cilium's kinds, `k8s` in Kubernetes' own. */
  readonly defaultSource: string;
  /** False: a colon in a key is an error, as in a plain Kubernetes selector. */
  readonly sources: boolean;
}

/** Null when anything is wrong; the reasons are in `problems`. */
export function parseSelector(json: unknown, options: ParseOptions, problems: Problems): Selector | null {
  const {path} = options;
  const before = problems.count;
  if (!isRecord(json)) {
    problems.refuse(path, 'InvalidSelector', 'a label selector is an object');
    return null;
  }
  const requirements = [
    ...parseMatchLabels(json['matchLabels'], options, problems),
    ...parseMatchExpressions(json['matchExpressions'], options, problems),
  ];
  return problems.count === before ? canonicalSelector(requirements) : null;
}

function parseMatchLabels(json: unknown, options: ParseOptions, problems: Problems): Requirement[] {
  if (json === undefined || json === null) return [];
  const path = `${options.path}.matchLabels`;
  if (!isRecord(json)) {
    problems.refuse(path, 'InvalidSelector', 'matchLabels is an object of strings');
    return [];
  }
  const requirements: Requirement[] = [];
  for (const [name, value] of Object.entries(json)) {
    const key = parseKey(name, path, options, problems);
    const wrong = valueProblem(value);
    if (wrong !== null) problems.refuse(`${path}[${name}]`, 'InvalidSelector', wrong);
    if (key !== null && typeof value === 'string') requirements.push({...key, operator: 'In', values: [value]});
  }
  return requirements;
}

function parseMatchExpressions(json: unknown, options: ParseOptions, problems: Problems): Requirement[] {
  if (json === undefined || json === null) return [];
  const path = `${options.path}.matchExpressions`;
  if (!Array.isArray(json)) {
    problems.refuse(path, 'InvalidSelector', 'matchExpressions is a list');
    return [];
  }
  return json.flatMap((item: unknown, i) => {
    const requirement = parseExpression(item, `${path}[${i}]`, options, problems);
    return requirement === null ? [] : [requirement];
  });
}

function parseExpression(json: unknown, path: string, options: ParseOptions, problems: Problems): Requirement | null {
  if (!isRecord(json) || typeof json['key'] !== 'string') {
    problems.refuse(path, 'InvalidSelector', 'an expression has a key and an operator');
    return null;
  }
  const key = parseKey(json['key'], `${path}.key`, options, problems);
  const operator = json['operator'];
  const values = json['values'] ?? [];
  if (!isOperator(operator)) {
    problems.refuse(`${path}.operator`, 'InvalidSelector', 'operator is one of In, NotIn, Exists, DoesNotExist');
    return null;
  }
  if (!isStrings(values)) {
    problems.refuse(`${path}.values`, 'InvalidSelector', 'values is a list of strings');
    return null;
  }
  const wantsValues = operator === 'In' || operator === 'NotIn';
  if (wantsValues !== (values.length > 0)) {
    const reason = wantsValues ? `${operator} needs at least one value` : `${operator} takes no values`;
    problems.refuse(`${path}.values`, 'InvalidSelector', reason);
    return null;
  }
  for (const [i, value] of values.entries()) {
    const wrong = valueProblem(value);
    if (wrong !== null) problems.refuse(`${path}.values[${i}]`, 'InvalidSelector', wrong);
  }
  return key === null ? null : {...key, operator, values};
}

/** The first colon splits; `$key` is short for `reserved:key`. What is left must be a Kubernetes label key. */
function parseKey(name: string, path: string, options: ParseOptions, problems: Problems): {source: string; key: string} | null {
  const split = options.sources ? splitKey(name, options.defaultSource) : {source: options.defaultSource, key: name};
  if (SOURCE.test(split.source) && isLabelKey(split.key)) return split;
  problems.refuse(path, 'InvalidSelector', `${JSON.stringify(name)} is not a label key`);
  return null;
}

function splitKey(name: string, defaultSource: string): {source: string; key: string} {
  if (name.startsWith('$')) return {source: 'reserved', key: name.slice(1)};
  const colon = name.indexOf(':');
  if (colon < 0) return {source: defaultSource, key: name};
  return {source: name.slice(0, colon), key: name.slice(colon + 1)};
}

function isLabelKey(key: string): boolean {
  const slash = key.indexOf('/');
  const name = key.slice(slash + 1);
  if (name.length > 63 || !NAME.test(name)) return false;
  if (slash < 0) return true;
  const prefix = key.slice(0, slash);
  return prefix.length <= 253 && DNS_SUBDOMAIN.test(prefix);
}

function valueProblem(value: unknown): string | null {
  if (typeof value !== 'string') return 'a label value is a string';
  if (value === '') return null;
  return value.length <= 63 && NAME.test(value) ? null : `${JSON.stringify(value)} is not a label value`;
}

function isOperator(value: unknown): value is Operator {
  return value === 'In' || value === 'NotIn' || value === 'Exists' || value === 'DoesNotExist';
}

function isStrings(value: unknown): value is string[] {
  return Array.isArray(value) && value.every((item) => typeof item === 'string');
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
