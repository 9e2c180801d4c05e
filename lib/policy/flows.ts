// Flows judged against a compiled cluster: egress by the source's map, ingress by the destination's, as the two nodes would.

import {formatAddress, parseAddress, parsePrefix, prefixOf} from '../core/ip.js';
import type {Address} from '../core/ip.js';
import {formatPrefix} from '../core/ip.js';
import {IDENTITY_HOST, IDENTITY_REMOTE_NODE, IDENTITY_WORLD, IDENTITY_WORLD_IPV4, IDENTITY_WORLD_IPV6, RESERVED_IDENTITIES, hasFamily, identityId, worldIdentity} from '../domain/identity.js';
import type {IdentityId} from '../domain/identity.js';
import {PROTOCOL_NUMBERS} from '../domain/policy.js';
import type {Direction} from '../domain/policy.js';
import {keyOf, seenFrom} from './offline.js';
import type {CompiledCluster, CompiledEndpoint, CompiledIpCacheEntry} from './offline.js';
import {lookup} from './verdict.js';
import type {PolicyVerdict} from './verdict.js';

/** One end of a flow, as asked. */
export type FlowPeer =
  | {readonly kind: 'pod'; readonly name: string}
  | {readonly kind: 'ip'; readonly address: string}
  | {readonly kind: 'identity'; readonly id: IdentityId};

export interface Flow {
  readonly source: FlowPeer;
  readonly destination: FlowPeer;
  readonly protocol: number;
  /** For ICMP the type. */
  readonly port: number;
}

/** One end of a flow, as found. */
interface FlowEnd {
  readonly endpoint: CompiledEndpoint | null;
  /** Empty = not known. */
  readonly node: string;
  identitySeenFrom(node: string): IdentityId;
}

export interface JudgedSide {
  readonly direction: Direction;
  readonly subject: IdentityId;
  readonly peer: IdentityId;
  readonly enforced: boolean;
  readonly verdict: PolicyVerdict;
}

export interface FlowVerdict {
  /** Null = that end is no endpoint and is not judged. */
  readonly egress: JudgedSide | null;
  readonly ingress: JudgedSide | null;
  readonly verdict: 'allow' | 'deny';
  /** Why it could not be judged, e.g. a pod that is not there; the verdict is then `deny`. */
  readonly error: string | null;
}

/** Holds the address index of one compiled cluster. */
export class FlowJudge {
  readonly #cluster: CompiledCluster;
  readonly #byPrefix: ReadonlyMap<string, CompiledIpCacheEntry>;
  readonly #lengths: Readonly<Record<4 | 6, readonly number[]>>;
  readonly #podsByAddress = new Map<string, CompiledEndpoint>();
  /** An address of each node, by its name. */
  readonly #nodes: ReadonlyMap<string, CompiledIpCacheEntry>;
  readonly #ends = new Map<string, FlowEnd | string>();

  constructor(cluster: CompiledCluster) {
    this.#cluster = cluster;
    this.#byPrefix = new Map(cluster.ipcache.map((entry) => [entry.prefix, entry]));
    this.#nodes = new Map(cluster.ipcache.filter(({node}) => node !== '').map((entry) => [entry.node, entry]));
    this.#lengths = {4: lengthsOf(cluster, 4), 6: lengthsOf(cluster, 6)};
    for (const compiled of cluster.endpoints.values()) {
      for (const ip of compiled.endpoint.ips) {
        const address = parseAddress(ip);
        if (address !== null) this.#podsByAddress.set(formatAddress(address), compiled);
      }
    }
  }

  judge(flow: Flow): FlowVerdict {
    const source = this.#end(flow.source);
    const destination = this.#end(flow.destination);
    if (typeof source === 'string') return failed(source);
    if (typeof destination === 'string') return failed(destination);
    const egress = judgeSide('egress', source, destination, flow);
    const ingress = judgeSide('ingress', destination, source, flow);
    const denied = egress?.verdict.verdict === 'deny' || ingress?.verdict.verdict === 'deny';
    return {egress, ingress, verdict: denied ? 'deny' : 'allow', error: null};
  }

  /** Remembered: flows of one file name the same ends again and again. The number of distinct ends bounds it. */
  #end(peer: FlowPeer): FlowEnd | string {
    const key = peer.kind === 'pod' ? `pod ${peer.name}` : peer.kind === 'ip' ? `ip ${peer.address}` : `identity ${peer.id}`;
    const held = this.#ends.get(key);
    if (held !== undefined) return held;
    const end = this.#find(peer);
    if (this.#ends.size < ENDS_MAX) this.#ends.set(key, end);
    return end;
  }

  #find(peer: FlowPeer): FlowEnd | string {
    switch (peer.kind) {
      case 'identity': {
        // With both families there are two worlds; who asks for `world` means the one of IPv4.
        const id = peer.id === IDENTITY_WORLD ? worldIdentity(this.#cluster.families, 4) : peer.id;
        return {endpoint: null, node: '', identitySeenFrom: () => id};
      }
      case 'pod': {
        const compiled = this.#cluster.endpoints.get(peer.name);
        if (compiled !== undefined) return endOfPod(compiled);
        const host = this.#cluster.hostPods.get(peer.name);
        return host === undefined ? `no pod ${peer.name}` : this.#endOfNode(host.node);
      }
      case 'ip': {
        const address = parseAddress(peer.address);
        if (address === null) return `${JSON.stringify(peer.address)} is not an address`;
        if (!hasFamily(this.#cluster.families, address.family)) return `the cluster has no IPv${address.family}: ${peer.address}`;
        return this.#endOfAddress(address);
      }
    }
  }

  /** What the node's own address is: its host, another node, or one with an API server. A node that is not given is another one. */
  #endOfNode(name: string): FlowEnd {
    const entry = this.#nodes.get(name);
    return {endpoint: null, node: name, identitySeenFrom: (node) => (entry === undefined ? hostOf(name, node) : seenFrom(entry, node))};
  }

  #endOfAddress(address: Address): FlowEnd {
    const pod = this.#podsByAddress.get(formatAddress(address));
    if (pod !== undefined) return endOfPod(pod);
    for (const length of this.#lengths[address.family]) {
      const entry = this.#byPrefix.get(formatPrefix(prefixOf(address, length)));
      if (entry !== undefined) return {endpoint: null, node: entry.node, identitySeenFrom: (node) => seenFrom(entry, node)};
    }
    return {endpoint: null, node: '', identitySeenFrom: () => worldIdentity(this.#cluster.families, address.family)};
  }
}

function hostOf(name: string, node: string): IdentityId {
  return node !== '' && node === name ? IDENTITY_HOST : IDENTITY_REMOTE_NODE;
}

const ENDS_MAX = 100_000;

/** Prefix lengths in use, longest first. */
function lengthsOf(cluster: CompiledCluster, family: 4 | 6): number[] {
  const prefixes = cluster.ipcache.flatMap(({prefix}) => parsePrefix(prefix) ?? []);
  return [...new Set(prefixes.filter((prefix) => prefix.family === family).map(({length}) => length))].sort((a, b) => b - a);
}

function endOfPod(compiled: CompiledEndpoint): FlowEnd {
  return {endpoint: compiled, node: compiled.endpoint.node, identitySeenFrom: () => compiled.identity};
}

function failed(error: string): FlowVerdict {
  return {egress: null, ingress: null, verdict: 'deny', error};
}

function judgeSide(direction: Direction, subject: FlowEnd, other: FlowEnd, flow: Flow): JudgedSide | null {
  const {endpoint, node} = subject;
  if (endpoint === null) return null;
  const peer = other.identitySeenFrom(node);
  const verdict = lookup(endpoint.index, {direction, identity: peer, protocol: flow.protocol, port: flow.port});
  const enforced = direction === 'ingress' ? endpoint.policy.ingressEnforced : endpoint.policy.egressEnforced;
  return {direction, subject: endpoint.identity, peer, enforced, verdict};
}

/** Reserved identities by the entity that names them. */
const ENTITIES: ReadonlyMap<string, IdentityId> = new Map([
  ...[...RESERVED_IDENTITIES].flatMap(([id, labels]) => labels.slice(0, 1).map((label) => [label.replace('reserved:', ''), id] as const)),
  ['world-ipv4', IDENTITY_WORLD_IPV4], ['world-ipv6', IDENTITY_WORLD_IPV6],
]);

/**
 * A flow in JSON: `{src, dst, protocol, port, icmpType?}`, each end `{pod}`, `{ip}`, `{identity}` or `{entity}`.
 * A string says what is wrong with it.
 */
export function decodeFlow(json: unknown): Flow | string {
  if (!isRecord(json)) return 'a flow is an object';
  const source = decodePeer(json['src']);
  if (typeof source === 'string') return `src: ${source}`;
  const destination = decodePeer(json['dst']);
  if (typeof destination === 'string') return `dst: ${destination}`;
  const protocol = decodeProtocol(json['protocol'] ?? 'TCP');
  if (protocol === null) return `${JSON.stringify(json['protocol'])} is not a protocol`;
  const isIcmp = protocol === PROTOCOL_NUMBERS.ICMP || protocol === PROTOCOL_NUMBERS.ICMPv6;
  const port = (isIcmp ? json['icmpType'] : json['port']) ?? 0;
  const max = isIcmp ? 255 : 65535;
  if (typeof port !== 'number' || !Number.isInteger(port) || port < 0 || port > max) return `${isIcmp ? 'icmpType' : 'port'} is 0..${max}`;
  return {source, destination, protocol, port};
}

function decodePeer(json: unknown): FlowPeer | string {
  if (!isRecord(json)) return 'one of {pod}, {ip}, {identity}, {entity} is needed';
  const {pod, ip, identity, entity} = json;
  if (typeof pod === 'string') return {kind: 'pod', name: pod.includes('/') ? pod : keyOf({namespace: 'default', name: pod})};
  if (typeof ip === 'string') return {kind: 'ip', address: ip};
  if (typeof identity === 'number' && Number.isInteger(identity) && identity >= 0 && identity < 2 ** 32) {
    return {kind: 'identity', id: identityId(identity)};
  }
  if (typeof entity !== 'string') return 'one of {pod}, {ip}, {identity}, {entity} is needed';
  const id = ENTITIES.get(entity);
  return id === undefined ? `${JSON.stringify(entity)} is not the entity of one identity` : {kind: 'identity', id};
}

function decodeProtocol(json: unknown): number | null {
  if (typeof json === 'number') return Number.isInteger(json) && json >= 0 && json <= 255 ? json : null;
  if (typeof json !== 'string') return null;
  const wanted = json.toLowerCase();
  for (const [name, number] of Object.entries(PROTOCOL_NUMBERS)) if (name.toLowerCase() === wanted && number > 0) return number;
  return null;
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
