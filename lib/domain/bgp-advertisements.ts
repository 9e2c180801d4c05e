// Advertisements between two forms: what each peer is told, and one entry for all peers that are told the same.

import {deepEqual} from '../core/equal.js';
import {canonicalJson, compareStrings} from '../core/order.js';
import type {ObjectRef} from '../core/errors.js';
import type {Advertisement, BgpInstance, BgpPeer, PathAttributes, Speaker} from './bgp.js';

/** One prefix as one peer is told it. */
export interface PeerPath {
  readonly peer: string;
  readonly prefix: string;
  readonly attributes: PathAttributes;
  readonly origin: ObjectRef;
}

interface Group {
  readonly path: PeerPath;
  readonly peers: string[];
}

/**
 * At most one path of a prefix per peer. A peer without the prefix's family is not told; `peers` is empty where every other one is told the same.
 * Sorted, so that equal paths give equal lists.
 */
export function groupAdvertisements(paths: Iterable<PeerPath>, peers: readonly BgpPeer[]): Advertisement[] {
  const keys = new Map<PathAttributes, string>();
  const byPrefix = new Map<string, Map<string, Group>>();
  const speaking = {ipv4: speakersOf(peers, 'ipv4'), ipv6: speakersOf(peers, 'ipv6')};
  for (const path of paths) {
    if (!speaking[familyOf(path.prefix)].has(path.peer)) continue;
    const key = keys.get(path.attributes) ?? canonicalJson(path.attributes);
    keys.set(path.attributes, key);
    const groups = byPrefix.get(path.prefix) ?? new Map<string, Group>();
    byPrefix.set(path.prefix, groups);
    const group = groups.get(key) ?? {path, peers: []};
    groups.set(key, group);
    group.peers.push(path.peer);
  }
  return [...byPrefix].sort(([a], [b]) => compareStrings(a, b)).flatMap(([prefix, groups]) => {
    const all = speaking[familyOf(prefix)].size;
    return [...groups].sort(([a], [b]) => compareStrings(a, b)).map(([, {path, peers: told}]): Advertisement => ({
      prefix, peers: told.length === all ? [] : told.sort(compareStrings), ...path.attributes, origin: path.origin,
    }));
  });
}

/** The inverse: what each peer of the instance is told. An entry for named peers goes before one for all. */
export function peerPaths(instance: BgpInstance): PeerPath[] {
  const told = new Set<string>();
  const paths: PeerPath[] = [];
  const speaking = {ipv4: speakersOf(instance.peers, 'ipv4'), ipv6: speakersOf(instance.peers, 'ipv6')};
  const byWidth = [...instance.advertisements].sort((a, b) => Number(a.peers.length === 0) - Number(b.peers.length === 0));
  for (const {prefix, peers, origin, ...attributes} of byWidth) {
    for (const peer of peers.length === 0 ? speaking[familyOf(prefix)] : peers) {
      const key = `${peer} ${prefix}`;
      if (told.has(key)) continue;
      told.add(key);
      paths.push({peer, prefix, attributes, origin});
    }
  }
  return paths;
}

/** `after` with the advertisements of `before` where they are equal: what was made of one then still stands. */
export function shareAdvertisements(before: Speaker, after: Speaker): Speaker {
  const known = new Map<string, Advertisement>();
  for (const {name, advertisements} of before.instances) for (const one of advertisements) known.set(`${name} ${one.prefix} ${one.peers.join()}`, one);
  const shared = ({name, advertisements, ...rest}: BgpInstance): BgpInstance => ({
    ...rest, name, advertisements: advertisements.map((one) => {
      const old = known.get(`${name} ${one.prefix} ${one.peers.join()}`);
      return old !== undefined && deepEqual(old, one) ? old : one;
    }),
  });
  return {...after, instances: after.instances.map(shared)};
}

export function familyOf(prefix: string): 'ipv4' | 'ipv6' {
  return prefix.includes(':') ? 'ipv6' : 'ipv4';
}

function speakersOf(peers: readonly BgpPeer[], afi: 'ipv4' | 'ipv6'): ReadonlySet<string> {
  return new Set(peers.filter(({families}) => families.some((family) => family.afi === afi)).map(({address}) => address));
}
