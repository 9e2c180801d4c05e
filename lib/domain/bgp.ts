// Speaker: what one node should say over BGP. Our own small type; GoBGP's messages appear only in its adapter.

import type {ObjectRef} from '../core/errors.js';

export interface FamilyName {
  readonly afi: 'ipv4' | 'ipv6';
  readonly safi: 'unicast';
}

export interface BfdTimers {
  readonly intervalMs: number;
  readonly multiplier: number;
}

/** Addresses of peers that stand for the node's default gateway: its agent puts in the real one. */
export const DEFAULT_GATEWAY = {ipv4: '0.0.0.0', ipv6: '::'} as const;

export interface BgpPeer {
  /** Without a mask. */
  readonly address: string;
  readonly asn: number;
  readonly port: number;
  readonly holdTimeSeconds: number;
  readonly keepaliveSeconds: number;
  readonly connectRetrySeconds: number;
  /** 1 = directly connected. */
  readonly multihopTtl: number;
  readonly gracefulRestart: {readonly enabled: boolean; readonly restartSeconds: number};
  /** Name of the Secret with the TCP MD5 password. */
  readonly authSecret: string | null;
  /** What that Secret says. Absent beside an `authSecret`: it cannot be read, so a running session keeps what it has and none is opened. */
  readonly password?: string;
  /** BFD: a peer that is silent for `multiplier` intervals is down. Single hop, and in one instance of a node alone. */
  readonly bfd?: BfdTimers;
  /** Source address of the session; absent = the kernel's choice. */
  readonly localAddress?: string;
  /** Source port of the session; absent = the kernel's choice. */
  readonly localPort?: number;
  /** Interface whose address is the source, unless there is a `localAddress`. */
  readonly sourceInterface?: string;
  readonly families: readonly FamilyName[];
}

export interface PathAttributes {
  readonly localPreference: number | null;
  /** `asn:value` pairs as u32. */
  readonly communities: readonly number[];
  readonly largeCommunities: readonly string[];
}

export const NO_ATTRIBUTES: PathAttributes = {localPreference: null, communities: [], largeCommunities: []};

export interface Advertisement extends PathAttributes {
  /** Canonical prefix. */
  readonly prefix: string;
  /** Peer addresses; empty = all peers of the instance. */
  readonly peers: readonly string[];
  readonly origin: ObjectRef;
}

/** An interface of the node whose addresses a peer is told: its agent puts in the prefixes. */
export interface InterfaceAdvertisement extends PathAttributes {
  readonly interface: string;
  readonly afi: 'ipv4' | 'ipv6';
  readonly peer: string;
  readonly origin: ObjectRef;
}

export interface BgpInstance {
  readonly name: string;
  readonly asn: number;
  readonly routerId: string;
  /** -1 = does not listen. */
  readonly listenPort: number;
  readonly peers: readonly BgpPeer[];
  readonly advertisements: readonly Advertisement[];
  readonly interfaces?: readonly InterfaceAdvertisement[];
}

/** What stays as it is because what should be is not known: a broken object never withdraws a route. What does not run yet stays down. */
export interface SpeakerHold {
  /** null = every instance. */
  readonly instance: string | null;
  /** Address of one peer; null = the instance as a whole. */
  readonly peer: string | null;
  readonly reason: string;
}

export interface Speaker {
  /** Without those that are held. */
  readonly instances: readonly BgpInstance[];
  /** The object in force, null when none matches. */
  readonly source: ObjectRef | null;
  readonly holds?: readonly SpeakerHold[];
}

/** GoBGP's and Cilium's session names. */
export type BgpSessionState = 'idle' | 'connect' | 'active' | 'open_sent' | 'open_confirm' | 'established' | 'unknown';

/** How one peering stands: read from the running speaker, never from what was asked for. */
export interface BgpPeerStatus {
  readonly instance: string;
  readonly localAsn: number;
  readonly peerAsn: number;
  readonly address: string;
  readonly port: number;
  readonly session: BgpSessionState;
  readonly uptimeSeconds: number;
  /** Seconds since 1970; 0 while it is not up. */
  readonly establishedAt: number;
  /** As agreed on with the peer; 0 while it is not up. */
  readonly holdTimeSeconds: number;
  readonly keepaliveSeconds: number;
  /** Why the session is not up, or why it last went down; empty while established. */
  readonly reason: string;
  readonly families: readonly {
    /** `ipv4/unicast`. */
    readonly family: string;
    readonly received: number;
    readonly accepted: number;
    readonly advertised: number;
  }[];
}

export interface BgpRouteStatus {
  /** The instance's AS number, as Cilium's `VRouter`. */
  readonly vrouter: number;
  /** Only of advertised routes. */
  readonly peer?: string;
  readonly prefix: string;
  readonly nextHop: string;
  readonly ageSeconds: number;
  /** GoBGP's words: `{Origin: i}`, `{Nexthop: 0.0.0.0}`. */
  readonly attrs: readonly string[];
}

/** Something of a Speaker that is not in force, and why. `peer` or `prefix` is empty when it is about the whole instance. */
export interface SpeakerFailure {
  readonly instance: string;
  readonly peer: string;
  readonly prefix: string;
  readonly code: string;
  readonly message: string;
}

/** As people write it: `65000:100`. */
export function communityText(community: number): string {
  return `${Math.floor(community / 65536)}:${community % 65536}`;
}
