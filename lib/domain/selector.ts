// Label selectors over identities' labels: `source:key` with Kubernetes' operators.

import {invariant} from '../core/invariant.js';
import {compareStrings} from '../core/order.js';
import type {Labels} from './labels.js';

export type Operator = 'In' | 'NotIn' | 'Exists' | 'DoesNotExist';

/** `source` is `any` when the user wrote none. */
export interface Requirement {
  readonly source: string;
  readonly key: string;
  readonly operator: Operator;
  /** Sorted, distinct. */
  readonly values: readonly string[];
}

/** All requirements hold. An empty list matches every identity that has labels. */
export interface Selector {
  readonly requirements: readonly Requirement[];
}

/** `NotIn` and `DoesNotExist` match when the key is absent, as in Kubernetes. */
export function matches(selector: Selector, labels: Labels): boolean {
  for (const requirement of selector.requirements) if (!requirementHolds(requirement, labels)) return false;
  return true;
}

/** The innermost step of every compile: it makes nothing. */
function requirementHolds({source, key, operator, values}: Requirement, labels: Labels): boolean {
  const byValue = operator === 'In' || operator === 'NotIn';
  const wanted = operator === 'In' || operator === 'Exists';
  for (const label of labels.all) {
    if (label.key === key && (source === 'any' || label.source === source) && (!byValue || values.includes(label.value))) return wanted;
  }
  return !wanted;
}

/** The selector with sorted, distinct requirements and values. */
export function canonicalSelector(requirements: Iterable<Requirement>): Selector {
  const byText = new Map<string, Requirement>();
  for (const requirement of requirements) {
    const values = [...new Set(requirement.values)].sort(compareStrings);
    const canonical = {...requirement, values};
    byText.set(formatRequirement(canonical), canonical);
  }
  return {requirements: [...byText].sort(([a], [b]) => compareStrings(a, b)).map(([, requirement]) => requirement)};
}

/** `key` is `source:key`. */
export function equalsRequirement(name: string, value: string): Requirement {
  return requirementOf(name, 'In', [value]);
}

export function existsRequirement(name: string): Requirement {
  return requirementOf(name, 'Exists', []);
}

function requirementOf(name: string, operator: Operator, values: readonly string[]): Requirement {
  const colon = name.indexOf(':');
  invariant(colon > 0, 'a requirement names its source', {name});
  return {source: name.slice(0, colon), key: name.slice(colon + 1), operator, values};
}

/** Equal selectors have equal keys, whatever the order they were written in. */
export function selectorKey(selector: Selector): string {
  const {requirements} = canonicalSelector(selector.requirements);
  return requirements.length === 0 ? '{}' : requirements.map(formatRequirement).join(',');
}

/** `k8s:app=web`, `k8s:app=db|web`, `k8s:app!=web`, `k8s:app`, `!k8s:app`. */
function formatRequirement(requirement: Requirement): string {
  const name = `${requirement.source}:${requirement.key}`;
  switch (requirement.operator) {
    case 'Exists':
      return name;
    case 'DoesNotExist':
      return `!${name}`;
    case 'In':
      return `${name}=${requirement.values.join('|')}`;
    case 'NotIn':
      return `${name}!=${requirement.values.join('|')}`;
  }
}

/** The inverse of `selectorKey`. */
export function selectorOfKey(key: string): Selector {
  return {requirements: key === '{}' ? [] : key.split(',').map(requirementOfText)};
}

function requirementOfText(text: string): Requirement {
  if (text.startsWith('!')) return requirementOf(text.slice(1), 'DoesNotExist', []);
  const equals = text.indexOf('=');
  if (equals < 0) return requirementOf(text, 'Exists', []);
  const values = text.slice(equals + 1).split('|');
  const negated = text[equals - 1] === '!';
  return requirementOf(text.slice(0, negated ? equals - 1 : equals), negated ? 'NotIn' : 'In', values);
}
