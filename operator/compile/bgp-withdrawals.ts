// What a change of speakers withdraws, and the speaker that says what is new without withdrawing. Pure.

import {deepEqual} from '../../lib/core/equal.js';
import type {BgpInstance, BgpPeer, Speaker, SpeakerHold} from '../../lib/domain/bgp.js';
import {familyOf, groupAdvertisements, peerPaths, type PeerPath} from '../../lib/domain/bgp-advertisements.js';

export interface Withdrawals {
  /** Paths told to peers before: one for each node, peer and prefix. */
  readonly paths: number;
  readonly withdrawn: number;
}

type Told = ReadonlyMap<string, {readonly speaker: Speaker}>;

export function withdrawalsOf(before: Told, after: Told): Withdrawals {
  let [paths, withdrawn] = [0, 0];
  for (const [node, {speaker}] of before) {
    const now = after.get(node)?.speaker;
    for (const instance of speaker.instances) {
      paths += peerPaths(instance).length;
      if (!saysTheSame(instance, now)) withdrawn += withdrawnPaths(instance, now).length;
    }
  }
  return {paths, withdrawn};
}

/** Of most instances nothing has changed: that is found out sooner than what they say. */
function saysTheSame(before: BgpInstance, after: Speaker | undefined): boolean {
  const now = after?.instances.find(({name}) => name === before.name);
  return now !== undefined && deepEqual(before.peers, now.peers) && deepEqual(before.advertisements, now.advertisements);
}

/** What is held stays: nothing of it is withdrawn. */
export function withdrawnPaths(before: BgpInstance, after: Speaker | undefined): PeerPath[] {
  const now = after?.instances.find(({name}) => name === before.name);
  if (now === undefined && isHeld(after?.holds, before.name, null)) return [];
  const told = new Set((now === undefined ? [] : peerPaths(now)).map(({peer, prefix}) => `${peer} ${prefix}`));
  return peerPaths(before).filter(({peer, prefix}) => !told.has(`${peer} ${prefix}`) && !isHeld(after?.holds, before.name, peer));
}

export function isHeld(holds: readonly SpeakerHold[] | undefined, instance: string, peer: string | null): boolean {
  return (holds ?? []).some((hold) => (hold.instance === null || hold.instance === instance) && (hold.peer === null || hold.peer === peer));
}

/** All that `wanted` says, and what `before` said besides: with its peers and instances, where they are gone. */
export function withoutWithdrawals(wanted: Speaker, before: Speaker): Speaker {
  const old = new Map(before.instances.map((instance) => [instance.name, instance]));
  const changed = wanted.instances.map((instance) => {
    const earlier = old.get(instance.name);
    return earlier === undefined ? instance : withPaths(instance, earlier, withdrawnPaths(earlier, wanted));
  });
  const gone = before.instances.filter((instance) => wanted.instances.every(({name}) => name !== instance.name) && withdrawnPaths(instance, wanted).length > 0);
  if (gone.length === 0 && changed.every((instance, i) => instance === wanted.instances[i])) return wanted;
  const instances = [...changed, ...gone].sort((a, b) => a.asn - b.asn || (a.name < b.name ? -1 : 1));
  return {...wanted, instances, source: wanted.source ?? withoutOwner(before.source)};
}

/** What is in force nowhere owns nothing: it may be gone already. */
function withoutOwner(source: Speaker['source']): Speaker['source'] {
  return source === null ? null : {...source, uid: ''};
}

function withPaths(instance: BgpInstance, earlier: BgpInstance, kept: readonly PeerPath[]): BgpInstance {
  if (kept.length === 0) return instance;
  const needed = new Map<string, Set<'ipv4' | 'ipv6'>>();
  for (const {peer, prefix} of kept) needed.set(peer, (needed.get(peer) ?? new Set()).add(familyOf(prefix)));
  const there = instance.peers.map((peer) => withFamilies(peer, earlier, needed.get(peer.address)));
  const gone = earlier.peers.filter(({address}) => needed.has(address) && instance.peers.every((peer) => peer.address !== address));
  const peers = [...there, ...gone].sort((a, b) => (a.address < b.address ? -1 : 1));
  return {...instance, peers, advertisements: groupAdvertisements([...peerPaths(instance), ...kept], peers)};
}

/** A family that a peer loses takes its paths with it. */
function withFamilies(peer: BgpPeer, earlier: BgpInstance, needed: ReadonlySet<string> | undefined): BgpPeer {
  const missing = (earlier.peers.find(({address}) => address === peer.address)?.families ?? [])
    .filter(({afi}) => needed?.has(afi) === true && peer.families.every((family) => family.afi !== afi));
  return missing.length === 0 ? peer : {...peer, families: [...peer.families, ...missing]};
}
