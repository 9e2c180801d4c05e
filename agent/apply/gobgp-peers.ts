// Peers: ours → GoBGP's message, and GoBGP's answer → the same plain value, so that the two can be compared.

import {formatAddress, parseAddress} from '../../lib/core/ip.js';
import type {BfdTimers, BgpInstance, BgpPeer, BgpPeerStatus, BgpSessionState, SpeakerFailure} from '../../lib/domain/bgp.js';
import {api} from '../../proto/gen/gobgp4.js';

/** What decides how a peering behaves; equal values need no call. */
export interface PeerIntent {
  readonly address: string;
  readonly asn: number;
  readonly port: number;
  readonly password: string;
  /** Empty = the kernel's choice. */
  readonly localAddress: string;
  /** 0 = the kernel's choice. */
  readonly localPort: number;
  readonly timers: {readonly hold: number; readonly keepalive: number; readonly connectRetry: number; readonly idleHold: number};
  /** 0 = GoBGP's default for the kind of peering. */
  readonly multihopTtl: number;
  /** Null = no graceful restart. */
  readonly restartSeconds: number | null;
  readonly families: readonly string[];
  /** Null = no BFD. */
  readonly bfd: BfdTimers | null;
}

/** A speaker that does not listen is never called back, so it may not wait for minutes between its own attempts. Less than this GoBGP does not do. */
const CONNECT_RETRY_CAP_SECONDS = 2;
const IDLE_HOLD_SECONDS = 1;
/** How long a restarted speaker waits for its peers' End-of-RIB before it speaks; GoBGP's own default is six minutes. */
const DEFERRAL_SECONDS = 5;
const DEFAULT_PORT = 179;
/** Of a TCP MD5 key in Linux. */
const PASSWORD_BYTES_MAX = 80;

const SESSIONS: Readonly<Record<number, BgpSessionState>> = {
  [api.PeerState.SessionState.SESSION_STATE_IDLE]: 'idle',
  [api.PeerState.SessionState.SESSION_STATE_CONNECT]: 'connect',
  [api.PeerState.SessionState.SESSION_STATE_ACTIVE]: 'active',
  [api.PeerState.SessionState.SESSION_STATE_OPENSENT]: 'open_sent',
  [api.PeerState.SessionState.SESSION_STATE_OPENCONFIRM]: 'open_confirm',
  [api.PeerState.SessionState.SESSION_STATE_ESTABLISHED]: 'established',
};

export function sessionState(peer: api.Peer.$Properties): BgpSessionState {
  return SESSIONS[peer.state?.sessionState ?? 0] ?? 'unknown';
}

/** Canonical text of an address; null when it is none. GoBGP errs or panics on those, so they never reach it. A link-local one has its interface after `%`. */
export function canonicalAddress(text: string): string | null {
  const [bare = '', zone, ...more] = text.split('%');
  const address = parseAddress(bare);
  if (address === null || zone === '' || more.length > 0) return null;
  return zone === undefined ? formatAddress(address) : `${formatAddress(address)}%${zone}`;
}

export function peerIntents(instance: BgpInstance): {readonly intents: ReadonlyMap<string, PeerIntent>; readonly failures: readonly SpeakerFailure[]} {
  const intents = new Map<string, PeerIntent>();
  const failures: SpeakerFailure[] = [];
  for (const peer of instance.peers) {
    const address = canonicalAddress(peer.address);
    const problem = address === null ? `${peer.address} is not an address` : intents.has(address) ? 'the peer is named twice' : peerProblem(peer);
    if (address === null || problem !== null) {
      failures.push({instance: instance.name, peer: peer.address, prefix: '', code: 'BGP_PEER_INVALID', message: problem ?? ''});
      continue;
    }
    intents.set(address, intentOf(peer, address, instance.asn));
  }
  return {intents, failures};
}

function peerProblem(peer: BgpPeer): string | null {
  // 0 = whatever the peer says.
  if (!within(peer.asn, 0, 0xffffffff)) return `AS number ${peer.asn} is not within 0..4294967295`;
  if (!within(peer.port, 1, 65535)) return `port ${peer.port} is not within 1..65535`;
  if (!within(peer.holdTimeSeconds, 3, 65535)) return `hold time ${peer.holdTimeSeconds} s is not within 3..65535 s`;
  if (!within(peer.keepaliveSeconds, 1, peer.holdTimeSeconds)) return `keepalive ${peer.keepaliveSeconds} s is not between 1 s and the hold time`;
  if (!within(peer.connectRetrySeconds, 1, 0x7fffffff)) return `connect retry ${peer.connectRetrySeconds} s is less than 1 s`;
  if (!within(peer.multihopTtl, 0, 255)) return `multihop TTL ${peer.multihopTtl} is not within 1..255`;
  if (peer.gracefulRestart.enabled && !within(peer.gracefulRestart.restartSeconds, 1, 4095)) {
    return `graceful restart time ${peer.gracefulRestart.restartSeconds} s is not within 1..4095 s`;
  }
  if (Buffer.byteLength(peer.password ?? '') > PASSWORD_BYTES_MAX) return `the password is longer than ${PASSWORD_BYTES_MAX} bytes`;
  if (peer.localPort !== undefined && !within(peer.localPort, 1, 65535)) return `source port ${peer.localPort} is not within 1..65535`;
  if (peer.localAddress !== undefined && canonicalAddress(peer.localAddress) === null) return `${peer.localAddress} is not an address`;
  return peer.families.length === 0 ? 'no address family' : null;
}

export function within(n: number, least: number, most: number): boolean {
  return Number.isInteger(n) && n >= least && n <= most;
}

function intentOf(peer: BgpPeer, address: string, localAsn: number): PeerIntent {
  return {
    address,
    asn: peer.asn,
    port: peer.port,
    password: peer.password ?? '',
    localAddress: canonicalAddress(peer.localAddress ?? '') ?? '',
    localPort: peer.localPort ?? 0,
    timers: {
      hold: peer.holdTimeSeconds,
      keepalive: peer.keepaliveSeconds,
      connectRetry: Math.min(peer.connectRetrySeconds, CONNECT_RETRY_CAP_SECONDS),
      idleHold: IDLE_HOLD_SECONDS,
    },
    // An iBGP peering has no hop limit; GoBGP refuses multihop there.
    multihopTtl: peer.asn !== localAsn && peer.multihopTtl > 1 ? peer.multihopTtl : 0,
    restartSeconds: peer.gracefulRestart.enabled ? peer.gracefulRestart.restartSeconds : null,
    families: [...new Set(peer.families.map(({afi, safi}) => `${afi}/${safi}`))].sort(),
    bfd: peer.bfd ?? null,
  };
}

/** `restarted`: the routers may still hold this node's routes from before (RFC 4724, the restarting speaker). */
export function peerMessage(intent: PeerIntent, restarted: boolean): api.Peer.$Properties {
  const {timers, restartSeconds} = intent;
  return {
    conf: {neighborAddress: intent.address, peerAsn: intent.asn, authPassword: intent.password},
    timers: {
      config: {
        holdTime: timers.hold,
        keepaliveInterval: timers.keepalive,
        connectRetry: timers.connectRetry,
        idleHoldTimeAfterReset: timers.idleHold,
      },
    },
    transport: {remotePort: intent.port, ...(intent.localAddress === '' ? {} : {localAddress: intent.localAddress}), ...(intent.localPort === 0 ? {} : {localPort: intent.localPort})},
    ...(intent.multihopTtl > 0 ? {ebgpMultihop: {enabled: true, multihopTtl: intent.multihopTtl}} : {}),
    ...(restartSeconds === null ? {} : {gracefulRestart: {
      enabled: true, restartTime: restartSeconds, notificationEnabled: true, deferralTime: DEFERRAL_SECONDS, localRestarting: restarted,
    }}),
    ...(intent.bfd === null ? {} : {bfd: {
      enabled: true, desiredMinimumTxInterval: intent.bfd.intervalMs * 1000, requiredMinimumReceive: intent.bfd.intervalMs * 1000, detectionMultiplier: intent.bfd.multiplier,
    }}),
    afiSafis: intent.families.map((name) => ({
      config: {family: familyMessage(name), enabled: true},
      ...(restartSeconds === null ? {} : {mpGracefulRestart: {config: {enabled: true}}}),
    })),
  };
}

export function familyMessage(name: string): {afi: api.Family.Afi; safi: api.Family.Safi} {
  return {afi: name.startsWith('ipv6') ? api.Family.Afi.AFI_IP6 : api.Family.Afi.AFI_IP, safi: api.Family.Safi.SAFI_UNICAST};
}

function familyName(family: api.Family.$Properties | null | undefined): string {
  return `${family?.afi === api.Family.Afi.AFI_IP6 ? 'ipv6' : 'ipv4'}/unicast`;
}

/** What a running peer was configured with, as far as we set it. */
export function observedIntent(peer: api.Peer.$Properties): PeerIntent {
  const timers = peer.timers?.config;
  return {
    address: peerAddress(peer),
    asn: peer.conf?.peerAsn ?? 0,
    port: peerPort(peer),
    password: peer.conf?.authPassword ?? '',
    localAddress: canonicalAddress(peer.transport?.localAddress ?? '') ?? '',
    localPort: peer.transport?.localPort ?? 0,
    timers: {
      hold: Number(timers?.holdTime ?? 0),
      keepalive: Number(timers?.keepaliveInterval ?? 0),
      connectRetry: Number(timers?.connectRetry ?? 0),
      idleHold: Number(timers?.idleHoldTimeAfterReset ?? 0),
    },
    multihopTtl: peer.ebgpMultihop?.enabled === true ? (peer.ebgpMultihop.multihopTtl ?? 0) : 0,
    restartSeconds: peer.gracefulRestart?.enabled === true ? (peer.gracefulRestart.restartTime ?? 0) : null,
    bfd: bfdTimers(peer),
    families: (peer.afiSafis ?? []).filter((one) => one.config?.enabled === true).map((one) => familyName(one.config?.family)).sort(),
  };
}

/** GoBGP counts in microseconds. */
function bfdTimers({bfd}: api.Peer.$Properties): BfdTimers | null {
  return bfd?.enabled === true ? {intervalMs: (bfd.desiredMinimumTxInterval ?? 0) / 1000, multiplier: bfd.detectionMultiplier ?? 0} : null;
}

export function peerAddress(peer: api.Peer.$Properties): string {
  const text = peer.state?.neighborAddress ?? peer.conf?.neighborAddress ?? '';
  return canonicalAddress(text) ?? text;
}

function peerPort(peer: api.Peer.$Properties): number {
  const port = peer.transport?.remotePort ?? 0;
  return port === 0 ? DEFAULT_PORT : port;
}

/** `reason` comes from GoBGP's log: its API does not tell. */
export function peerStatus(
  instance: {readonly name: string; readonly asn: number},
  peer: api.Peer.$Properties,
  now: {readonly seconds: number; readonly reason: string},
): BgpPeerStatus {
  const session = sessionState(peer);
  const up = session === 'established';
  const since = Number(peer.timers?.state?.uptime?.seconds ?? 0);
  return {
    instance: instance.name,
    localAsn: instance.asn,
    peerAsn: peer.conf?.peerAsn ?? 0,
    address: peerAddress(peer),
    port: peerPort(peer),
    session,
    establishedAt: up ? since : 0,
    holdTimeSeconds: up ? Number(peer.timers?.state?.negotiatedHoldTime ?? 0) : 0,
    keepaliveSeconds: up ? Number(peer.timers?.state?.keepaliveInterval ?? 0) : 0,
    uptimeSeconds: up && since > 0 ? Math.max(0, Math.floor(now.seconds - since)) : 0,
    reason: up ? '' : now.reason,
    families: (peer.afiSafis ?? []).map((one) => ({
      family: familyName(one.config?.family),
      received: Number(one.state?.received ?? 0),
      accepted: Number(one.state?.accepted ?? 0),
      advertised: Number(one.state?.advertised ?? 0),
    })),
  };
}
