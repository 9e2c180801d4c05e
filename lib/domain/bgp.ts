// Speaker: what one node should say over BGP. Our own small type; GoBGP's messages appear only in its adapter.

import type {ObjectRef} from '../core/errors.js';

export interface FamilyName {
  readonly afi: 'ipv4' | 'ipv6';
  readonly safi: 'unicast';
}

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
  readonly authSecret: string | null;
  readonly families: readonly FamilyName[];
}

export interface Advertisement {
  /** Canonical prefix. */
  readonly prefix: string;
  /** Peer addresses; empty = all peers of the instance. */
  readonly peers: readonly string[];
  readonly localPreference: number | null;
  /** `asn:value` pairs as u32. */
  readonly communities: readonly number[];
  readonly largeCommunities: readonly string[];
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
}

export interface Speaker {
  readonly instances: readonly BgpInstance[];
  /** The object in force, null when none matches. */
  readonly source: ObjectRef | null;
}
