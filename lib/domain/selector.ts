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

/** A selector as `canonicalSelector` makes it: its requirements are sorted, and its key is made once, when somebody asks for it. */
class CanonicalSelector implements Selector {
  readonly requirements: readonly Requirement[];
  #key: string | null = null;

  constructor(requirements: readonly Requirement[]) {
    this.requirements = requirements;
  }

  /** Null: it was made by hand. */
  static keyOf(selector: Selector): string | null {
    return #key in selector ? (selector.#key ??= keyOfTexts(selector.requirements.map(formatRequirement))) : null;
  }
}

function keyOfTexts(texts: readonly string[]): string {
  return texts.length === 0 ? '{}' : texts.join(',');
}

/** The objects of a namespace name the same selectors again and again: one object and one text for each of the last ones. */
const SELECTORS = new Map<string, Selector>();
const REQUIREMENTS = new Map<string, Requirement>();
const SHARED_MAX = 10_000;

/** The selector with sorted, distinct requirements and values. */
export function canonicalSelector(requirements: Iterable<Requirement>): Selector {
  const byText = new Map<string, Requirement>();
  for (const requirement of requirements) {
    const values = requirement.values.length < 2 ? requirement.values : [...new Set(requirement.values)].sort(compareStrings);
    const text = formatRequirement({...requirement, values});
    byText.set(text, shared(REQUIREMENTS, text, {...requirement, values}, equalRequirements));
  }
  const sorted = [...byText].sort(([a], [b]) => compareStrings(a, b));
  const made = new CanonicalSelector(sorted.map(([, requirement]) => requirement));
  return shared(SELECTORS, keyOfTexts(sorted.map(([text]) => text)), made, (a, b) => a.requirements.length === b.requirements.length
    && a.requirements.every((requirement, i) => requirement === b.requirements[i]));
}

/** What is known under the text, provided that it is what was made: texts of odd names need not be distinct. */
function shared<V>(known: Map<string, V>, text: string, made: V, equal: (a: V, b: V) => boolean): V {
  const held = known.get(text);
  if (held !== undefined && equal(held, made)) return held;
  if (known.size >= SHARED_MAX) known.clear();
  known.set(text, made);
  return made;
}

function equalRequirements(a: Requirement, b: Requirement): boolean {
  return a.source === b.source && a.key === b.key && a.operator === b.operator
    && a.values.length === b.values.length && a.values.every((value, i) => value === b.values[i]);
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
  return CanonicalSelector.keyOf(selector) ?? CanonicalSelector.keyOf(canonicalSelector(selector.requirements)) ?? '';
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
