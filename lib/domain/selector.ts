// Label selectors over identities' labels: `source:key` with Kubernetes' operators.

import {canonicalJson} from '../core/order.js';
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
  return selector.requirements.every((requirement) => requirementHolds(requirement, labels));
}

function requirementHolds(requirement: Requirement, labels: Labels): boolean {
  const values = labels.valuesOf(requirement.source, requirement.key);
  switch (requirement.operator) {
    case 'Exists':
      return values.length > 0;
    case 'DoesNotExist':
      return values.length === 0;
    case 'In':
      return values.some((value) => requirement.values.includes(value));
    case 'NotIn':
      return !values.some((value) => requirement.values.includes(value));
  }
}

/** Equal selectors have equal keys, whatever the order they were written in. */
export function selectorKey(selector: Selector): string {
  return selector.requirements.map((requirement) => canonicalJson(requirement)).sort().join('&');
}
