// Reading unknown JSON: each function gives the wanted type or the empty value of it, never throws.

import type {ObjectRef} from '../../../lib/core/errors.js';
import {compareStrings} from '../../../lib/core/order.js';
import type {Operator, Requirement, Selector} from '../../../lib/domain/selector.js';
import type {KubeObject} from '../../watch/feed-types.js';

export type Json = Readonly<Record<string, unknown>>;

const EMPTY: Json = {};

export function record(value: unknown): Json {
  return value !== null && typeof value === 'object' && !Array.isArray(value) ? value as Json : EMPTY;
}

export function list(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}

export function text(value: unknown): string {
  return typeof value === 'string' ? value : '';
}

/** null when absent, not a number, or (as everywhere in Kubernetes' defaulting) not finite. */
export function number(value: unknown): number | null {
  return typeof value === 'number' && Number.isFinite(value) ? value : null;
}

export function strings(value: unknown): string[] {
  return list(value).filter((item): item is string => typeof item === 'string');
}

export function stringMap(value: unknown): Readonly<Record<string, string>> {
  return Object.fromEntries(Object.entries(record(value)).filter((entry): entry is [string, string] => typeof entry[1] === 'string'));
}

const SHARED = new Map<string, Readonly<Record<string, string>>>();
const SHARED_MAX = 1 << 17;

/** As `stringMap`; equal maps are mostly the same object, so that what is made of one is found again for the others. */
export function sharedStringMap(value: unknown): Readonly<Record<string, string>> {
  let text = '';
  for (const [key, item] of Object.entries(record(value))) if (typeof item === 'string') text += `${key}\0${item}\0`;
  const held = SHARED.get(text);
  if (held !== undefined) return held;
  if (SHARED.size >= SHARED_MAX) SHARED.clear();
  const made = stringMap(value);
  SHARED.set(text, made);
  return made;
}

const NAMES = new Map<string, string>();
const NAMES_MAX = 1 << 15;

/** As `text`; equal names that many objects have (their node, their namespace) are mostly the same string. */
export function sharedText(value: unknown): string {
  const read = text(value);
  const held = NAMES.get(read);
  if (held !== undefined) return held;
  if (NAMES.size >= NAMES_MAX) NAMES.clear();
  NAMES.set(read, read);
  return read;
}

export function refOf(kind: string, object: KubeObject): ObjectRef {
  return {kind, namespace: object.metadata.namespace ?? '', name: object.metadata.name, uid: object.metadata.uid ?? ''};
}

const OPERATORS: ReadonlySet<string> = new Set(['In', 'NotIn', 'Exists', 'DoesNotExist']);

/** A LabelSelector over plain Kubernetes labels (of nodes, pools, …). null when it cannot be read. */
export function labelSelector(value: unknown): Selector | null {
  const {matchLabels, matchExpressions} = record(value);
  const requirements: Requirement[] = Object.entries(stringMap(matchLabels))
    .map(([key, wanted]) => ({source: 'k8s', key, operator: 'In', values: [wanted]}));
  for (const item of list(matchExpressions)) {
    const {key, operator, values} = record(item);
    if (text(key) === '' || !OPERATORS.has(text(operator))) return null;
    requirements.push({source: 'k8s', key: text(key), operator: operator as Operator, values: [...new Set(strings(values))].sort(compareStrings)});
  }
  return {requirements};
}

