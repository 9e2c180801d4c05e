// The words that CRD schemas are written in: small constructors, and the parts that several kinds share.

export interface Schema {
  readonly [keyword: string]: unknown;
}

type More = Readonly<Record<string, unknown>>;

export function text(description: string, more: More = {}): Schema {
  return {description, type: 'string', ...more};
}

export function oneOfWords(description: string, words: readonly string[], more: More = {}): Schema {
  return {description, type: 'string', enum: words, ...more};
}

export function flag(description: string, more: More = {}): Schema {
  return {description, type: 'boolean', ...more};
}

export function integer(description: string, more: More = {}): Schema {
  return {description, type: 'integer', ...more};
}

export function int32(description: string, minimum: number, maximum: number, more: More = {}): Schema {
  return {description, type: 'integer', format: 'int32', minimum, maximum, ...more};
}

export function int64(description: string, more: More = {}): Schema {
  return {description, type: 'integer', format: 'int64', ...more};
}

export function list(description: string, items: Schema, more: More = {}): Schema {
  return {description, type: 'array', items, ...more};
}

export function map(description: string, values: Schema, more: More = {}): Schema {
  return {description, type: 'object', additionalProperties: values, ...more};
}

/** Member names that end in `*` are required. */
export function object(description: string, members: Readonly<Record<string, Schema>>, more: More = {}): Schema {
  const required = Object.keys(members).filter((name) => name.endsWith('*')).map((name) => name.slice(0, -1));
  const properties = Object.fromEntries(Object.entries(members).map(([name, schema]) => [name.replace(/\*$/, ''), schema]));
  return {description, type: 'object', ...(required.length === 0 ? {} : {required}), properties, ...more};
}

/** Fields that are taken and kept, and never looked at. */
export function opaque(description: string): Schema {
  return {description, type: 'object', 'x-kubernetes-preserve-unknown-fields': true};
}

/** Branches of `oneOf` and `anyOf`: exactly one (at least one) of these members, or member groups, is there. */
export function presence(...groups: readonly (string | readonly string[])[]): readonly Schema[] {
  return groups.map((group) => {
    const required = typeof group === 'string' ? [group] : group;
    return {properties: Object.fromEntries(required.map((name) => [name, {}])), required};
  });
}

export const ATOMIC = {'x-kubernetes-list-type': 'atomic'};

const LABEL_VALUE = '^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$';

/** Keys are not restricted here: `k8s:app`, `any:app` and `reserved:host` are Cilium's. `bounds`: of an expression, and of each of its values. */
export function labelSelector(description: string, bounds: More & {readonly values?: Schema} = {}): Schema {
  const {values = {type: 'string'}, ...more} = bounds;
  return object(description, {
    matchExpressions: list('Requirements that must all hold.', object('One requirement.', {
      'key*': text('Label key.'),
      'operator*': oneOfWords('Relation of the key to the values.', ['In', 'NotIn', 'Exists', 'DoesNotExist']),
      values: list('For In and NotIn; empty otherwise.', values, ATOMIC),
    }, more), ATOMIC),
    matchLabels: map('Labels that must all be there with these values.', {type: 'string', maxLength: 63, pattern: LABEL_VALUE}),
  }, {'x-kubernetes-map-type': 'atomic'});
}

export const cidr = (description: string): Schema => text(description, {format: 'cidr'});

export const conditions = (description: string): Schema => list(description, object('One condition.', {
  'type*': text('Name of the condition: `Valid`, `stentor.io/Enforced`.'),
  'status*': text('True, False or Unknown.'),
  reason: text('One word for programs.'),
  message: text('One sentence for people.'),
  lastTransitionTime: text('When the status last changed.', {format: 'date-time'}),
  observedGeneration: int64('The metadata.generation this speaks of.', {minimum: 0}),
}), {'x-kubernetes-list-type': 'map', 'x-kubernetes-list-map-keys': ['type']});

export interface PrinterColumn {
  readonly name: string;
  readonly type: 'string' | 'date' | 'integer' | 'boolean';
  readonly jsonPath: string;
  readonly description?: string;
  readonly priority?: number;
}

export const AGE: PrinterColumn = {name: 'Age', type: 'date', jsonPath: '.metadata.creationTimestamp'};

export function conditionColumn(name: string, type: string): PrinterColumn {
  return {name, type: 'string', jsonPath: `.status.conditions[?(@.type=='${type}')].status`};
}

/**
 * Cilium's number for the release we follow (1.33.9), with the last part above any of that line: the same label keeps
 * Cilium's operator from replacing ours, and a later Cilium (1.34.x) may. Raise the last part with every change here.
 */
export const SCHEMA_VERSION = '1.33.106';

export interface CrdOptions {
  readonly kind: string;
  readonly plural: string;
  readonly shortNames: readonly string[];
  readonly categories: readonly string[];
  readonly scope: 'Namespaced' | 'Cluster';
  /** Stored. */
  readonly version: string;
  /** Served with the same schema, and called deprecated. */
  readonly olderVersions?: readonly string[];
  readonly columns: readonly PrinterColumn[];
  readonly statusSubresource: boolean;
  readonly schema: Schema;
}

export function crd(options: CrdOptions): Schema {
  const {kind, plural, shortNames, categories, scope, version, olderVersions = [], columns, statusSubresource, schema} = options;
  const content = {
    ...(statusSubresource ? {subresources: {status: {}}} : {}),
    additionalPrinterColumns: columns,
    schema: {openAPIV3Schema: schema},
  };
  return {
    apiVersion: 'apiextensions.k8s.io/v1',
    kind: 'CustomResourceDefinition',
    metadata: {name: `${plural}.cilium.io`, labels: {'io.cilium.k8s.crd.schema.version': SCHEMA_VERSION}},
    spec: {
      group: 'cilium.io',
      scope,
      names: {kind, listKind: `${kind}List`, plural, singular: kind.toLowerCase(), shortNames, categories},
      versions: [
        {name: version, served: true, storage: true, ...content},
        ...olderVersions.map((name) => ({name, served: true, storage: false, deprecated: true, ...content})),
      ],
    },
  };
}

/** The root of every kind: the three members that Kubernetes itself defines, then ours. */
export function root(description: string, members: Readonly<Record<string, Schema>>, more: More = {}): Schema {
  return object(description, {
    apiVersion: text('Group and version of this object.'),
    kind: text('Kind of this object.'),
    'metadata*': {type: 'object'},
    ...members,
  }, more);
}
