// Assertions as people write them beside the manifests, and what each one means: flows, what is expected, and because of whom.

import {labelSelector} from '../../operator/model/decode/json.js';
import {LABEL_NAMESPACE} from '../../lib/domain/label-filter.js';
import type {OfflineEndpoint} from '../../lib/policy/offline.js';
import {matches, type Selector} from '../../lib/domain/selector.js';
import {isRecord} from '../../lib/kube/object.js';
import type {OtherDocument} from './documents.js';
import {endOf, l4Of, type L4} from './flow-args.js';
import {isAssertions} from './sources.js';

/** One end: what `decodeFlow` takes, and what it is called. */
export interface AssertedEnd {
  readonly name: string;
  readonly end: Readonly<Record<string, unknown>>;
}

export interface Assertion {
  readonly name: string;
  readonly file: string;
  readonly line: number;
  readonly from: readonly AssertedEnd[];
  readonly to: readonly AssertedEnd[];
  readonly ports: readonly L4[];
  readonly expect: 'allow' | 'deny';
  /** `name`, `namespace/name`, `Kind namespace/name`; `default` for no rule at all; null = whatever. */
  readonly because: string | null;
  /** Why it cannot be asked; it then fails. */
  readonly problem: string | null;
}

type Json = Readonly<Record<string, unknown>>;

const FIELDS: ReadonlySet<string> = new Set(['name', 'from', 'to', 'ports', 'port', 'expect', 'because']);

/** `PolicyTest` documents with `tests`, bare lists of assertions, and single ones. */
export function assertionsOf(documents: readonly OtherDocument[], endpoints: readonly OfflineEndpoint[]): Assertion[] {
  return documents.filter(({value}) => isAssertions(value)).flatMap(({value, source}) => {
    const namespace = namespaceOf(value);
    return itemsOf(value, '').map(({item, path}) => {
      const {file, line} = source.locate(path);
      return assertionOf(item, {file, line, namespace, endpoints});
    });
  });
}

function namespaceOf(value: unknown): string {
  const metadata = isRecord(value) && isRecord(value['metadata']) ? value['metadata'] : {};
  return typeof metadata['namespace'] === 'string' ? metadata['namespace'] : 'default';
}

function itemsOf(value: unknown, path: string): {readonly item: unknown; readonly path: string}[] {
  if (Array.isArray(value)) return value.flatMap((inner, i) => itemsOf(inner, `${path}[${i}]`));
  if (!isRecord(value)) return [{item: value, path}];
  const holder = isRecord(value['spec']) && Array.isArray(value['spec']['tests']) ? 'spec.tests' : Array.isArray(value['tests']) ? 'tests' : null;
  if (holder === null) return [{item: value, path}];
  const tests = holder === 'tests' ? value['tests'] : (value['spec'] as Json)['tests'];
  return itemsOf(tests, path === '' ? holder : `${path}.${holder}`);
}

interface AssertionScope {
  readonly file: string;
  readonly line: number;
  readonly namespace: string;
  readonly endpoints: readonly OfflineEndpoint[];
}

function assertionOf(item: unknown, scope: AssertionScope): Assertion {
  const problems: string[] = [];
  const json: Json = isRecord(item) ? item : {};
  if (!isRecord(item)) problems.push('an assertion has from, to, ports and expect');
  const unknown = Object.keys(json).filter((key) => !FIELDS.has(key));
  if (unknown.length > 0) problems.push(`unknown field ${unknown.join(', ')}`);
  const [from, to] = [endsOf(json['from'], 'from', scope, problems), endsOf(json['to'], 'to', scope, problems)];
  const ports = portsOf(json['ports'] ?? json['port'], problems);
  const {expect, because, name} = json;
  if (expect !== 'allow' && expect !== 'deny') problems.push('expect is allow or deny');
  if (because !== undefined && typeof because !== 'string') problems.push('because is the name of a policy');
  const title = typeof name === 'string' ? name : `${namesOf(json['from'])} → ${namesOf(json['to'])}`;
  return {
    name: title, file: scope.file, line: scope.line, from, to, ports, expect: expect === 'deny' ? 'deny' : 'allow',
    because: typeof because === 'string' ? because : null, problem: problems.length === 0 ? null : problems.join('; '),
  };
}

function namesOf(value: unknown): string {
  return typeof value === 'string' ? value : JSON.stringify(value) ?? 'nothing';
}

/** A name, `{pod|ip|identity|entity}`, `{namespace?, labels?|selector?}`, or a list of those. */
function endsOf(value: unknown, field: string, scope: AssertionScope, problems: string[]): AssertedEnd[] {
  if (Array.isArray(value)) return value.flatMap((one) => endsOf(one, field, scope, problems));
  if (typeof value === 'string') return [{name: value, end: endOf(value, scope.namespace)}];
  if (!isRecord(value)) {
    problems.push(`${field}: a pod, an address, an entity or labels`);
    return [];
  }
  for (const key of ['pod', 'ip', 'identity', 'entity']) {
    if (value[key] !== undefined) return [{name: String(value[key] as string | number), end: key === 'pod' ? endOf(String(value[key] as string), scope.namespace) : {[key]: value[key]}}];
  }
  return podsOf(value, field, scope, problems);
}

function podsOf(value: Json, field: string, scope: AssertionScope, problems: string[]): AssertedEnd[] {
  const {namespace = scope.namespace, labels, selector, ...rest} = value;
  if (Object.keys(rest).length > 0) problems.push(`${field}: unknown field ${Object.keys(rest).join(', ')}`);
  const parsed: Selector | null = labelSelector(selector ?? {matchLabels: labels ?? {}});
  if (parsed === null) {
    problems.push(`${field}: not a label selector`);
    return [];
  }
  const found = scope.endpoints.filter((endpoint) => (namespace === '*' || endpoint.labels.valuesOf('k8s', LABEL_NAMESPACE).includes(String(namespace as string)))
    && matches(parsed, endpoint.labels));
  if (found.length === 0) problems.push(`${field}: no pod has these labels`);
  return found.map((endpoint) => ({name: `${endpoint.namespace}/${endpoint.name}`, end: {pod: `${endpoint.namespace}/${endpoint.name}`}}));
}

function portsOf(value: unknown, problems: string[]): L4[] {
  const list: readonly unknown[] = Array.isArray(value) ? value : value === undefined ? [] : [value];
  if (list.length === 0) problems.push('ports: at least one, as in 80/TCP');
  return list.flatMap((item) => {
    const parsed = l4Of(isRecord(item) ? `${String(item['port'] as string)}/${String(item['protocol'] as string ?? 'TCP')}` : String(item as string | number));
    if (typeof parsed !== 'string') return [parsed];
    problems.push(`ports: ${parsed}`);
    return [];
  });
}
