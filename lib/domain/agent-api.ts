// Answers of the agent's socket, as its contract names their fields: what the agent gives and the CLI reads.

import type {BgpPeerStatus, BgpRouteStatus} from './bgp.js';
import type {MasqueradeSettings} from './masquerade.js';
import type {Direction} from './policy.js';
import type {ApplyError} from './reports.js';

export interface AgentStatus {
  readonly ok: boolean;
  readonly node: string;
  readonly version: string;
  readonly operator: {readonly connected: boolean; readonly address: string; readonly version: string | null; readonly lastAckSequence: number | null; readonly stateVersion: string};
  /** Of this node, for the operator; null without an operator. `expires`: as in RFC 3339, null while there is none. `lastError`: why there is none, or no newer one. */
  readonly certificate: {readonly expires: string | null; readonly lastError: string | null} | null;
  /** Null until there is a desired state. */
  readonly routingMode: 'native' | 'tunnel' | null;
  readonly devices: readonly string[];
  readonly masquerade: {
    readonly enabled: boolean; readonly mode: string; readonly entries: number; readonly source: string | null; readonly hold: string | null;
    /** Of the list that the node was given, by content: equal on nodes that were given the same. Null until there is one. */
    readonly revision: string | null;
    /** Null until there is a desired state. */
    readonly settings: MasqueradeSettings | null;
  };
  readonly ipam: {readonly podCidrs: readonly string[]; readonly allocated: number; readonly capacity: number; readonly addresses: readonly {readonly ip: string; readonly owner: string}[]};
  readonly endpoints: {readonly total: number; readonly ready: number};
  readonly maps: readonly {readonly name: string; readonly entries: number; readonly maxEntries: number}[];
  readonly bgp: readonly {readonly instance: string; readonly asn: number; readonly peers: number; readonly established: number}[];
  readonly features: readonly {readonly name: string; readonly available: boolean; readonly reason: string}[];
  readonly errors: readonly ApplyError[];
  readonly controllers: readonly {readonly name: string; readonly ok: boolean; readonly lastError: string | null}[];
}

export interface AgentEndpoint {
  readonly id: number;
  readonly namespace: string;
  readonly name: string;
  readonly containerId: string;
  readonly identity: number;
  readonly labels: readonly string[];
  /** Empty when it has no address of the family. */
  readonly ipv4: string;
  readonly ipv6: string;
  readonly ifname: string;
  readonly mac: string;
  /** Whether a direction is enforced. */
  readonly policy: {readonly ingress: boolean; readonly egress: boolean};
  /** The rules that isolate it: in that direction nothing passes but what some rule allows. Absent without an agent. */
  readonly isolatedBy?: Readonly<Record<Direction, PolicyOriginsOf['origins']>>;
  readonly state: string;
}

export interface AgentIdentity {
  readonly id: number;
  readonly labels: readonly string[];
}

export interface AgentNode {
  readonly name: string;
  readonly ipv4: string;
  readonly podCidr: string;
  /** Null while the node has no PodCIDR. */
  readonly routerAddress: string | null;
}

export interface PolicyOriginsOf {
  readonly subject: number;
  readonly cookie: number;
  readonly origins: readonly {readonly kind: string; readonly namespace: string; readonly name: string; readonly uid: string; readonly ruleIndex: number}[];
}

export type MonitorType = 'drop' | 'trace' | 'policy-verdict' | 'lost';

export interface MonitorPeer {
  readonly identity: number;
  readonly labels: readonly string[];
  readonly ip: string;
  readonly port: number;
  /** `namespace/name`, of pods of this node. */
  readonly pod?: string;
}

/** Field names are an interface. */
export interface MonitorRecord {
  readonly time: string;
  readonly node: string;
  readonly type: MonitorType;
  readonly reason?: number;
  readonly reasonText?: string;
  /** Of traces: where the packet was seen. */
  readonly point?: string;
  readonly direction: 'ingress' | 'egress' | 'unknown';
  readonly source: MonitorPeer;
  readonly destination: MonitorPeer;
  readonly protocol: string;
  readonly icmpType?: number;
  readonly endpointId: number;
  readonly ifindex: number;
  readonly verdict?: 'allowed' | 'denied' | 'redirected';
  readonly matchType?: string;
  readonly derivedFrom: readonly {readonly kind: string; readonly namespace: string; readonly name: string; readonly ruleIndex: number}[];
  readonly bytes: number;
  /** Of `lost`: how many. */
  readonly count?: number;
}

/** The node's way to an address; `device` empty: there is none. */
export interface RouteAnswer {
  readonly device: string;
  /** Null: on the link itself. */
  readonly via: string | null;
  readonly mtu: number | null;
}

/** Keys in hex. `held`: the map is left as it is on purpose. */
export interface StateDiff {
  readonly maps: readonly {
    readonly name: string;
    readonly held: boolean;
    readonly missing: readonly string[];
    readonly different: readonly string[];
    readonly extra: readonly string[];
  }[];
}

/** What each endpoint answers. */
export interface AgentAnswers {
  readonly '/v1/status': AgentStatus;
  readonly '/v1/endpoints': readonly AgentEndpoint[];
  readonly '/v1/identities': readonly AgentIdentity[];
  readonly '/v1/nodes': readonly AgentNode[];
  readonly '/v1/bgp/peers': readonly BgpPeerStatus[];
  readonly '/v1/bgp/routes': readonly BgpRouteStatus[];
  readonly '/v1/policy-origins': readonly PolicyOriginsOf[];
  readonly '/v1/route': RouteAnswer;
  readonly '/v1/state': unknown;
  readonly '/v1/state/diff': StateDiff;
}
