// From the number of a rule, as entries carry it, to its path in the object. The inverse of the decoders' counting.

import {isRecord} from '../../lib/kube/object.js';

type Json = Readonly<Record<string, unknown>>;

const LISTS = ['ingress', 'ingressDeny', 'egress', 'egressDeny'];

/** Paths by `ruleIndex`. An item that the decoder made up itself (isolation without rules) has the path of its spec. */
export function rulePaths(kind: string, object: Json): readonly string[] {
  if (kind === 'NetworkPolicy') return isRecord(object['spec']) ? [...itemPaths(object['spec'], 'spec', ['ingress', 'egress']), 'spec', 'spec'] : [];
  const specs: (readonly [unknown, string])[] = [];
  if (object['spec'] !== undefined) specs.push([object['spec'], 'spec']);
  if (Array.isArray(object['specs'])) specs.push(...(object['specs'] as readonly unknown[]).map((spec, i) => [spec, `specs[${i}]`] as const));
  return specs.flatMap(([spec, path]) => (isRecord(spec) ? specPaths(spec, path) : []));
}

function specPaths(spec: Json, path: string): string[] {
  const paths = LISTS.flatMap((field) => {
    const value = spec[field];
    if (value === undefined) return [];
    return Array.isArray(value) ? value.map((_, i) => `${path}.${field}[${i}]`) : [`${path}.${field}`];
  });
  return paths.length > 0 ? paths : LISTS.filter((field) => spec[field] !== undefined).map((field) => `${path}.${field}`);
}

function itemPaths(spec: Json, path: string, fields: readonly string[]): string[] {
  return fields.flatMap((field) => {
    const value = spec[field];
    return Array.isArray(value) ? value.map((_, i) => `${path}.${field}[${i}]`) : [];
  });
}
