// What `policy validate` finds: one shape for schema, semantics and lint, with a place and a way out.

import type {ObjectRef} from '../../lib/core/errors.js';

export type Severity = 'error' | 'warning' | 'note';

export interface Finding {
  readonly severity: Severity;
  readonly code: string;
  /** Null when the text could not be read as an object. */
  readonly object: ObjectRef | null;
  readonly path: string;
  readonly file: string;
  readonly line: number;
  readonly column: number;
  readonly reason: string;
  readonly fix: string;
}

export interface CheckedObject {
  readonly object: ObjectRef;
  readonly file: string;
  readonly line: number;
}

export interface Report {
  /** Policy objects, in the order given. */
  readonly objects: readonly CheckedObject[];
  readonly findings: readonly Finding[];
}

const ORDER: Readonly<Record<Severity, number>> = {error: 0, warning: 1, note: 2};

export function atLeast(severity: Severity, least: Severity): boolean {
  return ORDER[severity] <= ORDER[least];
}

/** What to do about each code; also the help of the rules in SARIF. */
export const FIXES: Readonly<Record<string, string>> = {
  SyntaxError: 'correct the YAML at this place',
  NotAnObject: 'give the document apiVersion, kind and metadata.name, or take it out of the input',
  Schema: 'correct the field; `kubectl explain` has the schema',
  UnknownField: 'correct the spelling or the indentation, or remove the field',
  UnknownVersion: 'write the apiVersion that the cluster serves',
  DuplicateObject: 'remove one of the two, or rename it',
  DuplicateRule: 'remove one of the two rules',
  ShadowedRule: 'remove the rule, or narrow the one that covers it',
  SubjectSelectsNothing: 'correct the labels of the selector, or remove the policy',
  PeerSelectsNothing: 'correct the labels of the peer (a peer of another namespace needs io.kubernetes.pod.namespace), or remove it',
  PortWithoutProtocol: 'write the protocol: TCP, UDP or SCTP',
  CIDRHostBits: 'write the prefix without host bits',
  CIDRCoversPods: 'select pods by labels: addresses of pods and nodes never match a CIDR',
  LabelNotInIdentity: 'select by a label that belongs to the identity: this one is filtered out',
  NullField: 'remove the field, or write [] where nothing is meant',
  IsolatesDNS: 'allow UDP and TCP port 53 to the DNS pods from all pods, or do not select them',
  EmptyPolicy: 'write a spec',
  EmptyRule: 'add at least one item, an empty one ({}) to isolate only',
  CombinedPeers: 'make one item for each kind of peer',
  CombinedPorts: 'make one item with toPorts and one with icmps',
  InvalidSubject: 'write exactly one endpointSelector (or, cluster-wide, nodeSelector)',
  InvalidCIDR: 'write an address with its prefix length, as in 10.0.0.0/8',
  InvalidPort: 'write a number within 1..65535 or a port name, in quotes',
  InvalidProtocol: 'write TCP, UDP, SCTP or ANY',
  InvalidSelector: 'write the selector as Kubernetes has it: matchLabels, matchExpressions',
  InvalidType: 'write the type that the field takes',
  TooManyPorts: 'make another port rule beside it: one takes 40 ports; or write a range',
  TooManyFields: 'make another ICMP rule beside it: one takes 40 types',
  InvalidICMP: 'write the type as a number within 0..255, or by the name that its family has for it',
  InvalidL7: 'correct the rule: HTTP needs TCP ports, DNS needs UDP or TCP ports at egress, one kind of rules for one list of ports, regular expressions as RE2 has them',
  InvalidListener: 'write listeners at egress, and without L7 rules beside them',
  InvalidTLS: 'name the Secret of the TLS context; beside L7 rules server names need terminatingTLS',
  InvalidFQDN: 'write one of matchName and matchPattern, with letters, digits, - _ . (and * in a pattern); names cannot be denied',
  InvalidService: 'write one of k8sService, with serviceName, and k8sServiceSelector',
  InvalidAuthentication: 'write the mode: disabled, required or test-always-fail',
  InvalidLog: 'write at most 32 printable characters',
  NodeSelectorsDisabled: 'name nodes by the entities host and remote-node, or by the addresses of what runs there',
  Removed: 'take the field out: say the same in the selectors of the peers',
  UnknownEntity: 'write one of all, world, cluster, host, remote-node, kube-apiserver, init, ingress, unmanaged, health, none',
};

/** For codes that have none of their own. */
export function fixOf(code: string): string {
  return FIXES[code] ?? (code.startsWith('Unsupported')
    ? 'remove this part: it allows nothing until it is supported (docs/compatibility.md)'
    : 'correct the field; Cilium would refuse the object as well');
}

export function compareFindings(a: Finding, b: Finding): number {
  return (a.file === b.file ? 0 : a.file < b.file ? -1 : 1) || a.line - b.line || a.column - b.column || (a.code < b.code ? -1 : Number(a.code > b.code));
}
