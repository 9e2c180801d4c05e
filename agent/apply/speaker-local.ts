// What only the node knows of its peers: the default gateway that stands in for one, the address of a source interface. Pure.

import {parseAddress} from '../../lib/core/ip.js';
import {groupAdvertisements, peerPaths, type PeerPath} from '../../lib/domain/bgp-advertisements.js';
import {DEFAULT_GATEWAY, type BgpInstance, type BgpPeer, type InterfaceAdvertisement, type Speaker, type SpeakerHold} from '../../lib/domain/bgp.js';
import {RTN_UNICAST, RT_TABLE_MAIN, type Route} from '../kernel/rtnetlink.js';

/** null = there is none. */
export interface Gateways {
  readonly ipv4: string | null;
  readonly ipv6: string | null;
}

export interface NodeFacts {
  readonly gateways: Gateways;
  /** Addresses of each interface, without lengths, in the kernel's order. */
  readonly interfaces: ReadonlyMap<string, readonly string[]>;
}

/** The gateway of the default route with the lowest metric; the first next hop of several. A link-local one is named with its interface. */
export function defaultGateways(routes: readonly Route[], nameOf: (ifindex: number) => string | null): Gateways {
  const of = (prefix: string): string | null => {
    const [best] = routes.filter((route) => route.prefix === prefix && route.table === RT_TABLE_MAIN && route.type === RTN_UNICAST)
      .sort((a, b) => (a.priority ?? 0) - (b.priority ?? 0));
    const hop = [best, ...best?.nextHops ?? []].find((one) => one?.via !== null && one?.via !== undefined);
    const via = hop?.via ?? null;
    if (via === null || !isLinkLocal(via)) return via;
    const name = nameOf(hop?.ifindex ?? 0);
    return name === null ? null : `${via}%${name}`;
  };
  return {ipv4: of('0.0.0.0/0'), ipv6: of('::/0')};
}

export function needsNode({instances}: Speaker): boolean {
  return instances.some(({peers, interfaces = []}) => interfaces.length > 0 || peers.some(({address, sourceInterface}) => isStandIn(address) || sourceInterface !== undefined));
}

function isStandIn(address: string): boolean {
  return address === DEFAULT_GATEWAY.ipv4 || address === DEFAULT_GATEWAY.ipv6;
}

/** What is not known is held: a route or an address that is away for a moment takes no session with it. */
export function withNode(wanted: Speaker, {gateways, interfaces}: NodeFacts): Speaker {
  const holds: SpeakerHold[] = [];
  const instances = wanted.instances.flatMap((instance): BgpInstance[] => {
    // A node has interfaces: when none is known, nothing is.
    const unknown = (instance.interfaces ?? []).length > 0 && interfaces.size === 0 ? 'the interfaces of the node are not known' : null;
    const problem = unknown ?? instance.peers.map(({address}) => problemOf(address, gateways, instance)).find((one) => one !== null) ?? null;
    if (problem !== null) {
      holds.push({instance: instance.name, peer: null, reason: problem});
      return [];
    }
    const {interfaces: ofInterfaces = [], ...rest} = instance;
    const {peers, advertisements} = withInterfaces({...rest, ...substituted(instance, gateways)}, ofInterfaces.map((one) => ({...one, peer: found(one.peer, gateways) ?? one.peer})), interfaces);
    return [{...rest, advertisements, peers: peers.flatMap((peer) => {
      const sourced = withSource(peer, interfaces);
      if (sourced === null) holds.push({instance: instance.name, peer: peer.address, reason: `the interface ${peer.sourceInterface ?? ''} has no address of the peer's family`});
      return sourced ?? [];
    })}];
  });
  return holds.length === 0 ? {...wanted, instances} : {...wanted, instances, holds: [...wanted.holds ?? [], ...holds]};
}

/** Addresses of interfaces as host routes; what is announced already stays as it is. */
function withInterfaces(instance: BgpInstance, all: readonly InterfaceAdvertisement[], interfaces: NodeFacts['interfaces']): BgpInstance {
  if (all.length === 0) return instance;
  const paths = peerPaths(instance);
  const told = new Set(paths.map(({peer, prefix}) => `${peer} ${prefix}`));
  const more = all.flatMap(({interface: name, afi, peer, origin, ...attributes}) => (interfaces.get(name) ?? [])
    .filter((address) => address.includes(':') === (afi === 'ipv6') && isGlobal(address))
    .map((address): PeerPath => ({peer, prefix: `${address}/${afi === 'ipv6' ? 128 : 32}`, attributes, origin})));
  return {...instance, advertisements: groupAdvertisements([...paths, ...more.filter(({peer, prefix}) => !told.has(`${peer} ${prefix}`))], instance.peers)};
}

/** An address that was asked for goes before the interface's. */
function withSource({sourceInterface, ...peer}: BgpPeer, interfaces: NodeFacts['interfaces']): BgpPeer | null {
  // A link-local session comes from the interface's own link-local address.
  if (sourceInterface === undefined || peer.localAddress !== undefined || peer.address.includes('%')) return peer;
  const address = (interfaces.get(sourceInterface) ?? []).find((one) => one.includes(':') === peer.address.includes(':') && isGlobal(one));
  return address === undefined ? null : {...peer, localAddress: address};
}

function isGlobal(address: string): boolean {
  return !isLinkLocal(address) && !address.startsWith('127.') && !address.startsWith('169.254.') && address !== '::1';
}

function isLinkLocal(address: string): boolean {
  const parsed = parseAddress(address);
  return parsed !== null && parsed.family === 6 && parsed.bytes[0] === 0xfe && ((parsed.bytes[1] ?? 0) & 0xc0) === 0x80;
}

function found(address: string, {ipv4, ipv6}: Gateways): string | null {
  return address === DEFAULT_GATEWAY.ipv4 ? ipv4 : address === DEFAULT_GATEWAY.ipv6 ? ipv6 : address;
}

function problemOf(address: string, gateways: Gateways, {peers}: BgpInstance): string | null {
  if (!isStandIn(address)) return null;
  const gateway = found(address, gateways);
  const family = address === DEFAULT_GATEWAY.ipv4 ? 'IPv4' : 'IPv6';
  if (gateway === null) return `there is no default route of ${family} with a gateway`;
  return peers.some((peer) => peer.address === gateway) ? `the default gateway ${gateway} is a peer by its address already` : null;
}

function substituted({peers, advertisements}: BgpInstance, gateways: Gateways): Pick<BgpInstance, 'peers' | 'advertisements'> {
  const real = (address: string): string => found(address, gateways) ?? address;
  return {
    peers: peers.map((peer) => (isStandIn(peer.address) ? {...peer, address: real(peer.address)} : peer)),
    advertisements: advertisements.map((one) => (one.peers.some(isStandIn) ? {...one, peers: one.peers.map(real)} : one)),
  };
}
