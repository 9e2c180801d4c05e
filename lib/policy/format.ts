// What `stentorctl policy compile|verdict|validate` print: stable field names over the compiled cluster. Formats, decides nothing.

import type {ObjectRef, Rejection} from '../core/errors.js';
import type {MapStateEntry, Origin} from '../domain/policy.js';
import type {FlowVerdict, JudgedSide} from './flows.js';
import {seenFrom} from './offline.js';
import type {CompiledCluster, CompiledEndpoint} from './offline.js';

export interface EntryJson {
  readonly direction: string;
  readonly identity: number;
  readonly protocol: number;
  readonly port: number;
  readonly portPrefixLen: number;
  readonly deny: boolean;
  readonly redirect: boolean;
  readonly l7: null;
  readonly auth: null;
  readonly precedence: number;
  /** Set on entries that no rule wrote: `allow-localhost` or `allow-any`. */
  readonly derived: string | null;
  readonly derivedFrom: readonly Origin[];
}

export interface CompileJson {
  readonly identities: readonly {readonly id: number; readonly labels: readonly string[]}[];
  readonly ipcache: readonly {
    readonly prefix: string; readonly identity: number; readonly tunnelEndpoint: string | null; readonly encryptKey: number;
  }[];
  readonly endpoints: readonly {
    readonly namespace: string; readonly name: string; readonly ips: readonly string[]; readonly node: string; readonly identity: number;
    readonly ingressEnforced: boolean; readonly egressEnforced: boolean; readonly entries: readonly EntryJson[];
  }[];
  readonly rejected: readonly RejectedJson[];
  readonly warnings: readonly string[];
}

export interface RejectedJson {
  readonly object: {readonly kind: string; readonly namespace: string; readonly name: string; readonly uid: string};
  readonly path: string;
  readonly reason: string;
  readonly code: string;
}

export interface CompileFindings {
  readonly rejections: readonly Rejection[];
  readonly warnings: readonly string[];
  /** Only endpoints of this node, and the ipcache as it sees it; null = all. */
  readonly node: string | null;
}

export function formatCompile(cluster: CompiledCluster, findings: CompileFindings): CompileJson {
  const endpoints = [...cluster.endpoints.values()].filter(({endpoint}) => findings.node === null || endpoint.node === findings.node);
  const overflow = endpoints.filter(({omitted}) => omitted > 0).map(({endpoint, omitted}) =>
    `endpoint ${endpoint.namespace}/${endpoint.name}: ${omitted} entries do not fit its policy map and are left out, closed`);
  return {
    identities: [...cluster.identities].map(([id, labels]) => ({id, labels: labels.format()})),
    ipcache: cluster.ipcache.map((entry) => {
      const {prefix, tunnelEndpoint} = entry;
      return {prefix, identity: seenFrom(entry, findings.node ?? ''), tunnelEndpoint, encryptKey: 0};
    }),
    endpoints: endpoints.map(formatEndpoint),
    rejected: findings.rejections.map(formatRejection),
    warnings: [...findings.warnings, ...overflow],
  };
}

function formatEndpoint({endpoint, identity, policy, entries}: CompiledEndpoint): CompileJson['endpoints'][number] {
  const {namespace, name, ips, node} = endpoint;
  const {ingressEnforced, egressEnforced} = policy;
  return {namespace, name, ips, node, identity, ingressEnforced, egressEnforced, entries: entries.map(formatEntry)};
}

export function formatEntry(entry: MapStateEntry): EntryJson {
  const {direction, identity, protocol, port, portPrefixLength, deny, precedence, derived, origins} = entry;
  return {
    direction, identity, protocol, port, portPrefixLen: portPrefixLength, deny, redirect: false, l7: null, auth: null, precedence,
    derived: derived ?? null, derivedFrom: origins,
  };
}

export function formatRejection({object, path, reason, code}: Rejection): RejectedJson {
  const {kind, namespace, name, uid} = object;
  return {object: {kind, namespace, name, uid}, path, reason, code};
}

export interface ValidateJson {
  readonly valid: boolean;
  readonly objects: readonly {
    readonly object: RejectedJson['object']; readonly valid: boolean; readonly findings: readonly Omit<RejectedJson, 'object'>[];
  }[];
}

/** One line per policy object, in the order given. */
export function formatValidate(objects: readonly {readonly object: ObjectRef; readonly rejections: readonly Rejection[]}[]): ValidateJson {
  const lines = objects.map(({object: {kind, namespace, name, uid}, rejections}) => ({
    object: {kind, namespace, name, uid}, valid: rejections.length === 0,
    findings: rejections.map(({path, reason, code}) => ({path, reason, code})),
  }));
  return {valid: lines.every(({valid}) => valid), objects: lines};
}

export interface FlowJson {
  readonly egress: 'allow' | 'deny' | 'n/a';
  readonly ingress: 'allow' | 'deny' | 'n/a';
  readonly verdict: 'allow' | 'deny';
  readonly matched: {readonly egress: MatchedJson | null; readonly ingress: MatchedJson | null};
  readonly reason: string;
}

export interface MatchedJson {
  readonly subject: number;
  readonly peer: number;
  readonly matchType: string;
  /** Null: no entry, the default drop. */
  readonly entry: EntryJson | null;
}

export function formatFlow(flow: FlowVerdict): FlowJson {
  const {egress, ingress, verdict} = flow;
  return {
    egress: egress?.verdict.verdict ?? 'n/a',
    ingress: ingress?.verdict.verdict ?? 'n/a',
    verdict,
    matched: {egress: formatMatched(egress), ingress: formatMatched(ingress)},
    reason: flow.error ?? [egress, ingress].filter((side) => side !== null).map(reasonOf).join('; '),
  };
}

function formatMatched(side: JudgedSide | null): MatchedJson | null {
  if (side === null) return null;
  const {entry, matchType} = side.verdict;
  return {subject: side.subject, peer: side.peer, matchType, entry: entry === null ? null : formatEntry(entry)};
}

function reasonOf(side: JudgedSide): string {
  const {direction, enforced, verdict} = side;
  const {entry} = verdict;
  if (!enforced) return `${direction}: not enforced`;
  if (entry === null) return `${direction}: no entry matches, denied by default`;
  const by = entry.derived ?? entry.origins.map(({kind, namespace, name, ruleIndex}) =>
    `${kind} ${namespace === '' ? name : `${namespace}/${name}`} rule ${ruleIndex}`).join(', ');
  return `${direction}: ${entry.deny ? 'denied' : 'allowed'} by ${by}`;
}
