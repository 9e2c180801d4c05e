// CiliumNetworkPolicy and CiliumClusterwideNetworkPolicy → rules, or what is wrong with them. Fails closed: a part that cannot be
// compiled allows nothing (or denies everything, if it denies), and the subject stays isolated in the directions it names.

import type {ObjectRef} from '../../../lib/core/errors.js';
import {LABEL_NAMESPACE} from '../../../lib/domain/label-filter.js';
import {originOf} from '../../../lib/domain/policy.js';
import type {Direction, Rule} from '../../../lib/domain/policy.js';
import {Problems} from '../../../lib/domain/problem.js';
import {canonicalSelector, equalsRequirement} from '../../../lib/domain/selector.js';
import type {Selector} from '../../../lib/domain/selector.js';
import {parseSelector} from '../../../lib/domain/selector-parse.js';
import {ANY_PEER, closedItem, isRecord, join, refOf, textOf, withoutNulls} from './policy-common.js';
import type {DecodeContext, DecodedPolicy, Json, RuleList, RuleScope} from './policy-common.js';
import {decodePeers} from './policy-peers.js';
import {decodePorts, widenTypeZero} from './policy-ports.js';

const LISTS: readonly RuleList[] = [
  {field: 'ingress', direction: 'ingress', deny: false},
  {field: 'ingressDeny', direction: 'ingress', deny: true},
  {field: 'egress', direction: 'egress', deny: false},
  {field: 'egressDeny', direction: 'egress', deny: true},
];

/** The namespaced kind unless `kind` says otherwise; without a kind, an object without a namespace is cluster-wide. */
export function decodeCiliumNetworkPolicy(given: Json, context: DecodeContext): DecodedPolicy {
  const object = withoutNulls(given);
  const kind = kindOf(object);
  const ref = refOf(object, kind, kind === 'CiliumNetworkPolicy');
  const problems = new Problems();
  const rules = new RuleBuilder(ref, {context, problems});
  for (const {spec, path} of specsOf(object, problems)) rules.addSpec(spec, path);
  return {rules: rules.build(), rejections: problems.rejections(ref)};
}

function kindOf(object: Json): string {
  const kind = textOf(object['kind']);
  if (kind !== '') return kind;
  const metadata = isRecord(object['metadata']) ? object['metadata'] : {};
  return textOf(metadata['namespace']) === '' ? 'CiliumClusterwideNetworkPolicy' : 'CiliumNetworkPolicy';
}

/** `spec` and `specs` together. */
function specsOf(object: Json, problems: Problems): {spec: Json; path: string}[] {
  const found: {spec: unknown; path: string}[] = [];
  if (object['spec'] !== undefined) found.push({spec: object['spec'], path: 'spec'});
  const specs = object['specs'];
  if (Array.isArray(specs)) found.push(...specs.map((spec: unknown, i) => ({spec, path: `specs[${i}]`})));
  else if (specs !== undefined) problems.refuse('specs', 'InvalidType', 'specs is a list');
  if (found.length === 0 && problems.count === 0) problems.refuse('spec', 'EmptyPolicy', 'the object has neither spec nor specs');
  return found.flatMap(({spec, path}) => {
    if (isRecord(spec)) return [{spec, path}];
    problems.refuse(path, 'InvalidType', 'a rule is an object');
    return [];
  });
}

interface BuilderParts {
  readonly context: DecodeContext;
  readonly problems: Problems;
}

/** Collects the rules of one object; whether the object is refused is known only after its last part. */
class RuleBuilder {
  readonly #ref: ObjectRef;
  readonly #parts: BuilderParts;
  readonly #rules: Rule[] = [];
  #index = 0;

  constructor(ref: ObjectRef, parts: BuilderParts) {
    this.#ref = ref;
    this.#parts = parts;
  }

  addSpec(spec: Json, path: string): void {
    const {problems, context} = this.#parts;
    const subject = subjectOf(spec, path, this.#ref.namespace, problems);
    const initSubject = subject?.requirements.some(({source, key}) => source === 'reserved' && key === 'init') ?? false;
    const {clusterName, ipv6 = false, fqdnMembers = false} = context;
    const scope: RuleScope = {namespace: this.#ref.namespace, clusterName, initSubject, ipv6, fqdnMembers, problems};
    const log = logOf(spec, path, problems);
    const defaultDeny = defaultDenyOf(spec, path, problems);
    const before = this.#index;
    const host = spec['nodeSelector'] !== undefined;
    for (const list of LISTS) this.#addList(spec, {...list, host}, {path, subject, scope, log, defaultDeny: defaultDeny[list.direction]});
    if (this.#index > before) return;
    problems.refuse(path, 'EmptyRule', 'at least one of ingress, ingressDeny, egress, egressDeny needs an item');
    for (const list of LISTS) {
      if (spec[list.field] === undefined) continue;
      this.#addClosed({...list, deny: false}, {path, subject, scope, log, defaultDeny: defaultDeny[list.direction]});
    }
  }

  /** Once the object is refused, nothing in it allows anything. */
  build(): Rule[] {
    if (!this.#parts.problems.refused) return this.#rules;
    return this.#rules.map((rule) => (rule.deny ? rule : {...rule, peers: []}));
  }

  #addList(spec: Json, list: RuleList, at: SpecContext): void {
    const value = spec[list.field];
    if (value === undefined) return;
    const path = join(at.path, list.field);
    if (!Array.isArray(value)) {
      at.scope.problems.refuse(path, 'InvalidType', `${list.field} is a list`);
      this.#addClosed(list, at);
      return;
    }
    for (const [i, item] of value.entries()) this.#addItem(item, list, {...at, path: `${path}[${i}]`});
  }

  #addItem(item: unknown, list: RuleList, at: SpecContext): void {
    const {problems} = at.scope;
    const before = problems.count;
    if (!isRecord(item)) {
      problems.refuse(at.path, 'InvalidType', 'an item is an object');
      this.#addClosed(list, at);
      return;
    }
    const peers = decodePeers(item, list.direction, at.path, at.scope);
    if (list.deny && item['toFQDNs'] !== undefined) problems.refuse(`${at.path}.toFQDNs`, 'InvalidFQDN', 'names have no deny rules');
    const decoded = decodePorts(item, list, at.path, problems);
    const ports = this.#parts.context.icmpTypeZero === 'any' ? widenTypeZero(decoded.ports) : decoded.ports;
    const authenticated = list.deny || checkAuthentication(item, at.path, problems);
    if (list.deny && problems.count > before) {
      this.#addClosed(list, at);
      return;
    }
    const content = closedItem({peers, ports, l7: decoded.l7});
    this.#add(list, at, authenticated ? content : {...content, peers: []});
  }

  /** An item that could not be read: allows nothing, or denies everything. */
  #addClosed(list: RuleList, at: SpecContext): void {
    this.#add(list, at, {peers: list.deny ? ANY_PEER : [], ports: null});
  }

  #add(list: RuleList, at: SpecContext, content: Pick<Rule, 'peers' | 'ports' | 'l7'>): void {
    const {subject, defaultDeny, log} = at;
    const origin = originOf(this.#ref, this.#index++);
    if (subject === null) return;
    const rule = {origin, subject, direction: list.direction, deny: list.deny, defaultDeny, ...content};
    this.#rules.push(log === null ? rule : {...rule, log});
  }
}

interface SpecContext {
  readonly path: string;
  readonly subject: Selector | null;
  readonly scope: RuleScope;
  readonly defaultDeny: boolean;
  readonly log: string | null;
}

const LOG_LENGTH_MAX = 32;

function logOf(spec: Json, path: string, problems: Problems): string | null {
  const json = spec['log'];
  if (json === undefined) return null;
  const value = isRecord(json) ? (json['value'] ?? '') : null;
  if (typeof value === 'string' && value.length <= LOG_LENGTH_MAX && !/\p{C}/u.test(value)) return value === '' ? null : value;
  problems.refuse(join(path, 'log'), 'InvalidLog', `log.value is a text of at most ${LOG_LENGTH_MAX} printable characters`);
  return null;
}

/** Null selects nothing: no selector, one that cannot be read, or nodes, whose host endpoint is not subject to policy yet. */
function subjectOf(spec: Json, path: string, namespace: string, problems: Problems): Selector | null {
  const endpoints = spec['endpointSelector'];
  const nodes = spec['nodeSelector'];
  if ((endpoints === undefined) === (nodes === undefined)) {
    problems.refuse(path, 'InvalidSubject', 'exactly one of endpointSelector and nodeSelector is needed');
  }
  if (nodes !== undefined) {
    const nodePath = join(path, 'nodeSelector');
    if (namespace !== '') problems.refuse(nodePath, 'InvalidSubject', 'nodeSelector is for cluster-wide policies only');
    else problems.unsupported(nodePath, 'UnsupportedSubject', 'policies for nodes are not supported');
  }
  if (endpoints === undefined) return null;
  const options = {path: join(path, 'endpointSelector'), defaultSource: 'any', sources: true};
  const selector = parseSelector(endpoints, options, problems);
  return selector === null || namespace === '' ? selector : inNamespace(selector, endpoints, namespace);
}

/** A namespaced policy is about pods of its namespace: what its author wrote in matchLabels for `k8s:` is replaced. */
function inNamespace(selector: Selector, json: unknown, namespace: string): Selector {
  const name = `k8s:${LABEL_NAMESPACE}`;
  const labels = isRecord(json) && isRecord(json['matchLabels']) ? json['matchLabels'] : {};
  const written = labels[name];
  const kept = selector.requirements.filter(
    ({source, key, operator, values}) =>
      !(source === 'k8s' && key === LABEL_NAMESPACE && operator === 'In' && values.length === 1 && values[0] === written),
  );
  return canonicalSelector([...kept, equalsRequirement(name, namespace)]);
}

/** Unset: an item turns on default deny for its direction. */
function defaultDenyOf(spec: Json, path: string, problems: Problems): Readonly<Record<Direction, boolean>> {
  const json = spec['enableDefaultDeny'];
  if (json === undefined) return {ingress: true, egress: true};
  const at = join(path, 'enableDefaultDeny');
  if (!isRecord(json)) {
    problems.refuse(at, 'InvalidType', 'enableDefaultDeny is an object');
    return {ingress: true, egress: true};
  }
  const read = (direction: Direction): boolean => {
    const value = json[direction];
    if (value === undefined || typeof value === 'boolean') return value ?? true;
    problems.refuse(join(at, direction), 'InvalidType', 'a boolean is needed');
    return true;
  };
  return {ingress: read('ingress'), egress: read('egress')};
}

/** False when the item asks for an authentication that cannot be given. */
function checkAuthentication(item: Json, path: string, problems: Problems): boolean {
  const json = item['authentication'];
  if (json === undefined) return true;
  const mode = isRecord(json) ? json['mode'] : undefined;
  if (mode === 'disabled') return true;
  const at = `${path}.authentication`;
  if (mode === 'required' || mode === 'test-always-fail') {
    problems.unsupported(at, 'UnsupportedAuthentication', `mutual authentication (${mode}) is not supported`);
  } else problems.refuse(at, 'InvalidAuthentication', 'mode is disabled, required or test-always-fail');
  return false;
}
