// Rule: the one normalised form of CiliumNetworkPolicy, CiliumClusterwideNetworkPolicy and NetworkPolicy.

import type {ObjectRef} from '../core/errors.js';
import type {IdentityId} from './identity.js';
import type {Selector} from './selector.js';

export type Direction = 'ingress' | 'egress';

/** Where a rule, and later a map entry, comes from. `ruleIndex` counts items over ingress, ingressDeny, egress, egressDeny. */
export interface Origin extends ObjectRef {
  readonly ruleIndex: number;
}

/** Written out, as whatever there is very much of: what is spread into another object takes half as much room again. */
export function originOf({kind, namespace, name, uid}: ObjectRef, ruleIndex: number): Origin {
  return {kind, namespace, name, uid, ruleIndex};
}

/** IANA protocol numbers; 0 is the wildcard. */
export const PROTOCOL_NUMBERS = {
  ANY: 0, ICMP: 1, IGMP: 2, IPIP: 4, TCP: 6, UDP: 17, IPV6: 41, GRE: 47, ESP: 50, AH: 51, ICMPv6: 58, VRRP: 112, SCTP: 132,
} as const;
export type Protocol = keyof typeof PROTOCOL_NUMBERS;

/**
 * What a rule lets match. `all` is the wildcard (identity 0: everything, known or not). `labels` matches identities by
 * their labels, `cidr` matches CIDR identities inside `prefix` and outside every `except`. `none` matches nothing.
 * `named` matches what `source` stands for at the moment, outside every `except`: nothing as long as nobody has said.
 */
export type Peer =
  | {readonly kind: 'all'}
  | {readonly kind: 'none'}
  | {readonly kind: 'labels'; readonly selector: Selector}
  | {readonly kind: 'cidr'; readonly prefix: string; readonly except: readonly string[]}
  | {readonly kind: 'named'; readonly source: PeerSource; readonly except: readonly string[]};

/** A name whose meaning comes from other objects, or from DNS. An empty `namespace` of services is any. */
export type PeerSource =
  | {readonly kind: 'cidr-group'; readonly name: string}
  | {readonly kind: 'cidr-groups'; readonly selector: Selector}
  | {readonly kind: 'service'; readonly namespace: string; readonly name: string}
  | {readonly kind: 'services'; readonly namespace: string; readonly selector: Selector}
  | {readonly kind: 'fqdn'; readonly name: string}
  | {readonly kind: 'fqdn-pattern'; readonly pattern: string};

/** What a source stands for: canonical prefixes outside the cluster, and pods by their labels. */
export interface SourceMeaning {
  readonly prefixes: readonly string[];
  readonly selectors: readonly Selector[];
}

/** `port` 0 is the wildcard; `endPort` is inclusive; for ICMP `port` is the type, kept exact by `exact` (type 0 is a type). */
export interface PortMatch {
  readonly protocol: Protocol;
  readonly port: number;
  readonly endPort: number;
  /** Set instead of `port` for a named port. Lower case. */
  readonly name?: string;
  /** ICMP only: `port` is a type, also when it is 0. */
  readonly exact?: boolean;
}

/** What an L7 engine is to check on some ports. Without an engine for it nothing of it is allowed. */
export interface L7Match {
  readonly ports: readonly PortMatch[];
  readonly rules: L7Rules;
}

export interface HttpMatch {
  /** RE2, matched against the whole value. */
  readonly method?: string;
  readonly path?: string;
  readonly host?: string;
  readonly headers: readonly string[];
  readonly headerMatches: readonly HeaderMatch[];
}

export interface HeaderMatch {
  readonly name: string;
  readonly value?: string;
  readonly secret?: {readonly namespace: string; readonly name: string};
  /** Absent = no match. */
  readonly mismatch?: 'LOG' | 'ADD' | 'DELETE' | 'REPLACE';
}

export type FqdnSource = Extract<PeerSource, {kind: 'fqdn' | 'fqdn-pattern'}>;

export type L7Rules =
  | {readonly kind: 'http'; readonly http: readonly HttpMatch[]}
  | {readonly kind: 'dns'; readonly dns: readonly FqdnSource[]}
  | {readonly kind: 'sni'; readonly serverNames: readonly string[]};

/** One item of one list of one object, after defaulting, namespace injection and cluster injection. */
export interface Rule {
  readonly origin: Origin;
  readonly subject: Selector;
  readonly direction: Direction;
  readonly deny: boolean;
  /** Whether this item turns on default deny for its direction. */
  readonly defaultDeny: boolean;
  /** Union. Empty = selects nothing. */
  readonly peers: readonly Peer[];
  /** Union. Null = every protocol and port; empty = matches nothing. */
  readonly ports: readonly PortMatch[] | null;
  /** Ports with rules for an L7 engine: kept, and allowed by none of `ports`. */
  readonly l7?: readonly L7Match[];
  /** What flow records of this rule carry. */
  readonly log?: string;
}

/** The subject-independent name of a peer: canonical text of a Peer. Key of the Selector resource on the wire. */
export type SelectorId = string;

/** Why an entry exists that no rule wrote: the node's own host, or `enableDefaultDeny: false`. */
export type Derived = 'allow-localhost' | 'allow-any';

/** One entry of a per-subject policy, over selectors rather than numbers (what the operator streams). */
export interface PolicyEntry {
  readonly direction: Direction;
  readonly deny: boolean;
  /** `*` for the wildcard peer. */
  readonly selector: SelectorId;
  readonly protocol: number;
  /** 0 with `portPrefixLength` 0 is every port. */
  readonly port: number;
  /** 0..16 significant bits of `port`. */
  readonly portPrefixLength: number;
  /**
   * A named port, in lower case; `port` is then 0. At ingress it is the subject's own port of that name (and runs up to
   * `endPort`), at egress each peer's. A name that nothing defines matches nothing.
   */
  readonly portName?: string;
  readonly endPort?: number;
  /** The higher one wins; one of the PRECEDENCE_ words. */
  readonly precedence: number;
  readonly derived?: Derived;
  readonly origins: readonly Origin[];
}

/** Everything one identity is subject to. Not enforced in a direction = everything passes in it. */
export interface SubjectPolicy {
  readonly ingressEnforced: boolean;
  readonly egressEnforced: boolean;
  readonly entries: readonly PolicyEntry[];
  /** Whose rules turned on default deny: what a packet that no entry lets through was denied by. Absent = no rule did. */
  readonly isolatedBy?: IsolatedBy;
}

export type IsolatedBy = Readonly<Record<Direction, readonly Origin[]>>;

/** `default`: a direction is enforced once a rule of that direction selects the subject. */
export type EnforcementMode = 'default' | 'always' | 'never';


/** Who a selector stands for: cluster and reserved identities by number, local-scope ones by prefix. Both sorted. */
export interface Members {
  readonly identities: readonly IdentityId[];
  readonly prefixes: readonly string[];
}

/** Precedence bytes (Cilium ≥ 1.19, pkg/policy/types/entry.go): priority 0 in the upper bits. */
export const PRECEDENCE_DENY = 0xffffffff;
export const PRECEDENCE_ALLOW = 0xffffff01;
export const PRECEDENCE_DEFAULT_ALLOW = 0x00000001;

/** One entry as the kernel's policy map holds it: key (identity, direction, protocol, port/prefix) → verdict. */
export interface MapStateEntry {
  readonly direction: Direction;
  readonly identity: IdentityId;
  readonly protocol: number;
  readonly port: number;
  readonly portPrefixLength: number;
  readonly deny: boolean;
  readonly precedence: number;
  readonly derived?: Derived;
  readonly origins: readonly Origin[];
}
