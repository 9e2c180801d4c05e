// What the API server does with an object of our kinds, where there is none: schema, defaults, patterns (RE2), CEL rules.
// Unknown fields are refused, as kubectl does by default; the API server alone would cut them off.

import {Ajv, type ErrorObject, type ValidateFunction} from 'ajv';
import {Environment} from '@marcbachmann/cel-js';
import {RE2JS} from 're2js';
import {parseAddress, parseInterfaceAddress} from '../lib/core/ip.js';
import {canonicalJson} from '../lib/core/order.js';
import {
  ciliumBGPAdvertisement, ciliumBGPClusterConfig, ciliumBGPNodeConfig, ciliumBGPNodeConfigOverride, ciliumBGPPeerConfig, ciliumBGPPeeringPolicy,
} from './bgp-schemas.js';
import {ciliumCIDRGroup, ciliumEndpoint, ciliumIdentity, ciliumNode} from './kind-schemas.js';
import {ciliumLoadBalancerIPPool, ciliumPodIPPool} from './pool-schemas.js';
import {ciliumClusterwideNetworkPolicy, ciliumNetworkPolicy} from './rule-schema.js';
import type {Schema} from './schema-parts.js';

export interface SchemaProblem {
  /** As in `spec.ingress[0].toPorts[1].ports[0].port`; empty for the object itself. */
  readonly path: string;
  readonly message: string;
}

export type SchemaResult =
  | {readonly object: Readonly<Record<string, unknown>>}
  | {readonly problems: readonly SchemaProblem[]};

export type CrdKind =
  | 'CiliumNetworkPolicy' | 'CiliumClusterwideNetworkPolicy' | 'CiliumIdentity' | 'CiliumEndpoint' | 'CiliumNode' | 'CiliumBGPPeeringPolicy' | 'CiliumCIDRGroup'
  | 'CiliumLoadBalancerIPPool' | 'CiliumPodIPPool'
  | 'CiliumBGPClusterConfig' | 'CiliumBGPPeerConfig' | 'CiliumBGPAdvertisement' | 'CiliumBGPNodeConfig' | 'CiliumBGPNodeConfigOverride';

const SCHEMAS: Readonly<Record<CrdKind, Schema>> = {
  CiliumNetworkPolicy: ciliumNetworkPolicy, CiliumClusterwideNetworkPolicy: ciliumClusterwideNetworkPolicy, CiliumIdentity: ciliumIdentity,
  CiliumEndpoint: ciliumEndpoint, CiliumNode: ciliumNode, CiliumBGPPeeringPolicy: ciliumBGPPeeringPolicy, CiliumCIDRGroup: ciliumCIDRGroup,
  CiliumLoadBalancerIPPool: ciliumLoadBalancerIPPool, CiliumPodIPPool: ciliumPodIPPool,
  CiliumBGPClusterConfig: ciliumBGPClusterConfig, CiliumBGPPeerConfig: ciliumBGPPeerConfig, CiliumBGPAdvertisement: ciliumBGPAdvertisement,
  CiliumBGPNodeConfig: ciliumBGPNodeConfig, CiliumBGPNodeConfigOverride: ciliumBGPNodeConfigOverride,
};

export function isCrdKind(kind: string): kind is CrdKind {
  return Object.hasOwn(SCHEMAS, kind);
}

/** Compiled validators of all kinds; each is compiled at its first use. */
export class CrdSchemas {
  readonly #compiled = new Map<CrdKind, ValidateFunction>();

  /** A copy of `object` with defaults set, or every reason why the API server would refuse it. */
  validate(kind: CrdKind, object: Readonly<Record<string, unknown>>): SchemaResult {
    const validator = this.#compiled.get(kind) ?? compileSchema(SCHEMAS[kind]);
    this.#compiled.set(kind, validator);
    const copy = structuredClone(object) as Record<string, unknown>;
    cutNulls(copy, openApiSchema(SCHEMAS[kind]));
    return validator(copy) ? {object: copy} : {problems: problemsOf(validator.errors ?? [])};
  }

  /** The same as one sentence, for the file feed. Kinds that are not ours pass. */
  admit<T extends Readonly<Record<string, unknown>>>(kind: string, object: T): {readonly object: T} | {readonly refused: string} {
    if (!isCrdKind(kind)) return {object};
    const result = this.validate(kind, object);
    if ('object' in result) return {object: result.object as T};
    return {refused: result.problems.map(({path, message}) => (path === '' ? message : `${path}: ${message}`)).join('; ')};
  }
}

type Json = Readonly<Record<string, unknown>>;

/** A null of a field that the schema knows is as if it were not there, as in the API server. */
function cutNulls(value: unknown, schema: Json): void {
  if (Array.isArray(value)) {
    for (const item of value) cutNulls(item, (schema['items'] ?? {}) as Json);
    return;
  }
  if (typeof value !== 'object' || value === null) return;
  const {properties, additionalProperties} = schema as {readonly properties?: Readonly<Record<string, Json>>; readonly additionalProperties?: Json};
  const members = value as Record<string, unknown>;
  for (const [name, member] of Object.entries(members)) {
    const known = properties !== undefined && Object.hasOwn(properties, name) ? properties[name] : additionalProperties;
    if (known === undefined) continue;
    if (member === null) Reflect.deleteProperty(members, name);
    else cutNulls(member, known);
  }
}

function compileSchema(crd: Schema): ValidateFunction {
  const ajv = new Ajv({
    strict: false, useDefaults: true, allErrors: true, inlineRefs: false, validateFormats: true, verbose: true,
    formats: {
      'cidr': (value: string) => parseInterfaceAddress(value) !== null,
      'ipv4': (value: string) => parseAddress(value)?.family === 4,
      'date-time': /^\d{4}-\d{2}-\d{2}[Tt]\d{2}:\d{2}:\d{2}(\.\d+)?([Zz]|[+-]\d{2}:\d{2})$/,
      'int32': {type: 'number', validate: (value: number) => Number.isInteger(value) && value >= -(2 ** 31) && value < 2 ** 31},
      'int64': {type: 'number', validate: (value: number) => Number.isInteger(value)},
    },
    code: {regExp: Object.assign((pattern: string) => {
      const compiled = RE2JS.compile(pattern);
      // ajv takes patterns with the same toString for one.
      return {test: (value: string) => compiled.test(value), toString: () => pattern};
    }, {code: 'RE2'})},
  });
  ajv.addKeyword({keyword: 'x-kubernetes-validations', errors: 'full', compile: compileRules});
  return ajv.compile(withSharedParts(openApiSchema(crd)));
}

function openApiSchema(crd: Schema): Json {
  const {spec} = crd as {readonly spec: {readonly versions: readonly {readonly schema: {readonly openAPIV3Schema: Json}}[]}};
  return spec.versions[0]?.schema.openAPIV3Schema ?? {};
}

/** Parts that occur again and again become functions of their own: a tenth of the time to compile. */
function withSharedParts(schema: Json): Json {
  const parts = new Map<string, {readonly name: string; readonly schema: Json}>();
  const root = strictSchema(schema, (part) => {
    const text = canonicalJson(part);
    if (text.length < 200) return part;
    const known = parts.get(text) ?? {name: `part${parts.size}`, schema: part};
    parts.set(text, known);
    return {$ref: `#/definitions/${known.name}`};
  });
  return {...root, definitions: Object.fromEntries([...parts.values()].map(({name, schema: part}) => [name, part]))};
}

/** Without descriptions; objects take no members but those named, unless the schema says otherwise. */
function strictSchema(schema: Json, share: (part: Json) => Json): Json {
  const {description: _, properties, items, additionalProperties, 'x-kubernetes-list-type': listType, ...rest} = schema;
  const inner = (value: unknown): Json => share(strictSchema(value as Json, share));
  const isOpen = schema['x-kubernetes-preserve-unknown-fields'] === true || (properties === undefined && additionalProperties === undefined);
  return {
    ...rest,
    ...(properties === undefined ? {} : {
      properties: Object.fromEntries(Object.entries(properties as Json).map(([name, value]) => [name, inner(value)])),
    }),
    ...(items === undefined ? {} : {items: inner(items)}),
    ...(listType === 'set' ? {uniqueItems: true} : {}),
    ...(schema['type'] !== 'object' || isOpen ? {} : {
      additionalProperties: additionalProperties === undefined ? false : inner(additionalProperties),
    }),
  };
}

interface Rule {
  readonly rule: string;
  readonly message: string;
}

interface RuleCheck {
  (value: unknown): boolean;
  errors?: Partial<ErrorObject>[];
}

function compileRules(rules: readonly Rule[]): RuleCheck {
  const environment = new Environment({unlistedVariablesAreDyn: true});
  const compiled = rules.map(({rule, message}) => ({evaluate: environment.parse(rule), message}));
  const check: RuleCheck = (value) => {
    const self = celValue(value);
    check.errors = compiled.filter(({evaluate}) => !holds(evaluate, self))
      .map(({message}) => ({keyword: 'x-kubernetes-validations', message, params: {}}));
    return check.errors.length === 0;
  };
  return check;
}

/** A rule that cannot be evaluated on a value refuses it, as in the API server. */
function holds(evaluate: (context: {readonly self: unknown}) => unknown, self: unknown): boolean {
  try {
    return evaluate({self}) === true;
  } catch {
    return false;
  }
}

/** CEL tells integers from floating point numbers; JSON in JavaScript does not. */
function celValue(value: unknown): unknown {
  if (typeof value === 'number' && Number.isInteger(value)) return BigInt(value);
  if (Array.isArray(value)) return Array.from(value, celValue);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, celValue(inner)]));
}

function problemsOf(errors: readonly ErrorObject[]): readonly SchemaProblem[] {
  const problems = errors.filter((error) => !isEcho(error, errors)).map((error) => ({path: pathOf(error), message: messageOf(error)}));
  return [...new Map(problems.map((problem) => [`${problem.path} ${problem.message}`, problem])).values()];
}

/** What the branches of a combination say: only the combination's own error is worth reading. */
function isEcho(error: ErrorObject, errors: readonly ErrorObject[]): boolean {
  return errors.some((other) => ['oneOf', 'anyOf', 'not'].includes(other.keyword)
    && error.schemaPath.startsWith(`${other.schemaPath}/`) && error.instancePath.startsWith(other.instancePath));
}

function pathOf(error: ErrorObject): string {
  const steps = error.instancePath.split('/').slice(1).map((step) => step.replaceAll('~1', '/').replaceAll('~0', '~'));
  if (error.keyword === 'additionalProperties') steps.push(String(error.params['additionalProperty']));
  return steps.map((step, index) => (/^\d+$/.test(step) ? `[${step}]` : index === 0 ? step : `.${step}`)).join('');
}

function messageOf(error: ErrorObject): string {
  switch (error.keyword) {
    case 'additionalProperties': return 'unknown field';
    case 'required': return `${String(error.params['missingProperty'])} is missing`;
    case 'enum': return `must be one of ${(error.params['allowedValues'] as readonly unknown[]).join(', ')}`;
    case 'oneOf': return messageOfBranches(error.schema, 'exactly one of') ?? 'exactly one of its forms must fit';
    case 'anyOf': return messageOfBranches(error.schema, 'one of') ?? 'one of its forms must fit';
    case 'not': return messageOfExclusion(error.schema);
    case 'format': return `must be a ${String(error.params['format'])}`;
    default: return error.message ?? error.keyword;
  }
}

interface Branch {
  readonly required?: readonly string[];
  readonly not?: {readonly anyOf?: readonly Branch[]};
}

/** Null: the branches are not about which members are there. */
function messageOfBranches(schema: unknown, count: string): string | null {
  const branches = (Array.isArray(schema) ? schema : []) as readonly Branch[];
  const names = (all: readonly Branch[]): string => all.map(({required = []}) => required.join('+')).join(', ');
  const [first, ...others] = branches;
  if (first?.not?.anyOf !== undefined && others.every(({required}) => required !== undefined)) return `only one of ${names(others)} may have items`;
  return branches.length > 0 && branches.every(({required}) => required !== undefined) ? `${count} ${names(branches)} must be there` : null;
}

function messageOfExclusion(schema: unknown): string {
  const {required} = (schema ?? {}) as Branch;
  if (required === undefined) return 'some of its parts exclude each other';
  return required.length === 1 ? `${required.join('')} is not for this kind` : `${required.join(' and ')} exclude each other`;
}
