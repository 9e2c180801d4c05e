// What the decoders of policy kinds share: where a part stands, JSON access that reports, the labels that scope a peer.

import type {ObjectRef, Rejection} from '../../../lib/core/errors.js';
import {LABEL_CLUSTER, LABEL_NAMESPACE, LABEL_NAMESPACE_LABELS} from '../../../lib/domain/label-filter.js';
import type {Direction, L7Match, Peer, PortMatch, Rule} from '../../../lib/domain/policy.js';
import type {Problems} from '../../../lib/domain/problem.js';
import {canonicalSelector, equalsRequirement, existsRequirement} from '../../../lib/domain/selector.js';
import type {Requirement, Selector} from '../../../lib/domain/selector.js';

export type Json = Readonly<Record<string, unknown>>;

export interface DecodeContext {
  readonly clusterName: string;
  /** The cluster has both address families. */
  readonly ipv6?: boolean;
  /** Somebody says which addresses DNS names have. */
  readonly fqdnMembers?: boolean;
  /** What ICMP type 0 in a rule means: echo replies, or every type, as Cilium takes it. Default: exact. */
  readonly icmpTypeZero?: 'exact' | 'any';
}

/** `rejections` empty = the object is valid. What was rejected allows nothing and still isolates its subject. */
export interface DecodedPolicy {
  readonly rules: readonly Rule[];
  readonly rejections: readonly Rejection[];
}

/** What the parts of one rule need to know about it. */
export interface RuleScope {
  /** Empty in a cluster-wide policy. */
  readonly namespace: string;
  readonly clusterName: string;
  /** The rule's subject is `reserved:init`: its peers need no namespace. */
  readonly initSubject: boolean;
  readonly ipv6: boolean;
  readonly fqdnMembers: boolean;
  readonly problems: Problems;
}

/** One list of a rule, and where it stands. */
export interface RuleList {
  readonly field: string;
  readonly direction: Direction;
  readonly deny: boolean;
  /** Of a rule for nodes. */
  readonly host?: boolean;
}

/** What one item selects: `peers` null = no peer field is there; `ports` null = no port field says anything. */
export interface ItemContent {
  readonly peers: readonly Peer[] | null;
  readonly ports: readonly PortMatch[] | null;
  readonly l7?: readonly L7Match[];
}

export const ANY_PEER: readonly Peer[] = [{kind: 'all'}];

/** An item without peers and ports selects nothing; ports alone mean any peer; peers alone mean every port. */
export function closedItem(content: ItemContent): Pick<Rule, 'peers' | 'ports' | 'l7'> {
  const {peers, ports, l7 = []} = content;
  const rest = {ports, ...(l7.length === 0 ? {} : {l7})};
  if (peers === null) return {peers: ports === null ? [] : ANY_PEER, ...rest};
  return {peers, ...rest};
}

export function isRecord(value: unknown): value is Json {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/**
 * A null member is as if it were not there: the API server cuts it off, and files get the same meaning. The object itself when it has none. A null
 * in a list stays, and is refused.
 */
export function withoutNulls<T>(value: T): T {
  if (Array.isArray(value)) {
    const items: unknown[] = value.map(withoutNulls);
    return items.some((item, i) => item !== value[i]) ? (items as T) : value;
  }
  if (!isRecord(value)) return value;
  const members = Object.entries(value).filter(([, member]) => member !== null).map(([name, member]) => [name, withoutNulls(member)] as const);
  const same = members.length === Object.keys(value).length && members.every(([name, member]) => member === value[name]);
  return same ? value : (Object.fromEntries(members) as T);
}

/** Null when absent. Anything but a list is refused. */
export function listAt(json: Json, field: string, path: string, problems: Problems): readonly unknown[] | null {
  const value = json[field];
  if (value === undefined) return null;
  if (Array.isArray(value)) return value;
  problems.refuse(join(path, field), 'InvalidType', `${field} is a list`);
  return null;
}

export function join(path: string, field: string): string {
  return path === '' ? field : `${path}.${field}`;
}

/** `metadata` of any object. A namespaced kind without a namespace is in `default`, as kubectl would put it. */
export function refOf(object: Json, kind: string, namespaced: boolean): ObjectRef {
  const metadata = isRecord(object['metadata']) ? object['metadata'] : {};
  const namespace = namespaced ? textOf(metadata['namespace']) || 'default' : '';
  return {kind, namespace, name: textOf(metadata['name']), uid: textOf(metadata['uid'])};
}

export function textOf(value: unknown): string {
  return typeof value === 'string' ? value : '';
}

/**
 * A peer by labels is a pod of this cluster: of the policy's namespace unless it names another, in a cluster-wide policy of any
 * namespace. Selectors of reserved labels stay as written.
 */
export function peerSelector(selector: Selector, scope: RuleScope): Selector {
  const {requirements} = selector;
  if (requirements.some((requirement) => requirement.source === 'reserved')) return selector;
  return canonicalSelector([...requirements, ...namespaceRequirement(requirements, scope), ...clusterRequirement(requirements, scope)]);
}

function namespaceRequirement(requirements: readonly Requirement[], scope: RuleScope): Requirement[] {
  if (requirements.some((requirement) => isPodKey(requirement, LABEL_NAMESPACE))) return [];
  if (scope.namespace === '') return scope.initSubject ? [] : [existsRequirement(`k8s:${LABEL_NAMESPACE}`)];
  const byNamespaceLabels = requirements.some(
    ({source, key}) => (source === 'k8s' || source === 'any') && key.startsWith(`${LABEL_NAMESPACE_LABELS}.`),
  );
  return byNamespaceLabels ? [] : [equalsRequirement(`k8s:${LABEL_NAMESPACE}`, scope.namespace)];
}

/** Without it a selector by absent labels would match world and nodes, too. */
function clusterRequirement(requirements: readonly Requirement[], scope: RuleScope): Requirement[] {
  if (requirements.some((requirement) => isPodKey(requirement, LABEL_CLUSTER))) return [];
  return [equalsRequirement(`k8s:${LABEL_CLUSTER}`, scope.clusterName)];
}

function isPodKey(requirement: Requirement, key: string): boolean {
  return requirement.key === key && (requirement.source === 'k8s' || requirement.source === 'any');
}
