// Holds of a Speaker against what ran last: what is held stays as it was, what never ran stays down. Pure.

import type {BgpInstance, BgpPeer, Speaker, SpeakerFailure, SpeakerHold} from '../../lib/domain/bgp.js';
import {groupAdvertisements, peerPaths} from '../../lib/domain/bgp-advertisements.js';

export interface ResolvedSpeaker {
  /** What is to run, without holds. */
  readonly speaker: Speaker;
  /** Whether a running instance that `speaker` does not name is to be left alone. */
  readonly leaves: (instance: string) => boolean;
  readonly failures: readonly SpeakerFailure[];
}

export function resolveHolds(wanted: Speaker, last: Speaker): ResolvedSpeaker {
  const holds = wanted.holds ?? [];
  const failures: SpeakerFailure[] = holds.map(({instance, peer, reason}) => ({instance: instance ?? '', peer: peer ?? '', prefix: '', code: 'BGP_HELD', message: reason}));
  const before = new Map(last.instances.map((instance) => [instance.name, instance]));
  const named = new Set(wanted.instances.map(({name}) => name));
  const isHeld = (instance: string): boolean => holds.some((hold) => hold.peer === null && (hold.instance === null || hold.instance === instance));
  const kept = last.instances.filter(({name}) => !named.has(name) && isHeld(name));
  const instances = wanted.instances.map((instance) => {
    const old = before.get(instance.name);
    const withPeers = keepPeers(instance, old, holds.filter((hold) => hold.instance === instance.name && hold.peer !== null));
    return withKnownPasswords(withPeers, old, failures);
  });
  return {speaker: {instances: [...instances, ...kept], source: wanted.source}, leaves: isHeld, failures};
}

/** Held peers as they were, with the paths that they were told. */
function keepPeers(instance: BgpInstance, old: BgpInstance | undefined, holds: readonly SpeakerHold[]): BgpInstance {
  const kept = (old?.peers ?? []).filter(({address}) => holds.some(({peer}) => peer === address) && instance.peers.every((peer) => peer.address !== address));
  if (old === undefined || kept.length === 0) return instance;
  const isKept = (address: string): boolean => kept.some((peer) => peer.address === address);
  const peers = [...instance.peers, ...kept];
  const paths = [...peerPaths(instance).filter(({peer}) => !isKept(peer)), ...peerPaths(old).filter(({peer}) => isKept(peer))];
  return {...instance, peers, advertisements: groupAdvertisements(paths, peers)};
}

/** A peer whose Secret cannot be read goes on as it runs; one that does not run is not opened without its password. */
function withKnownPasswords(instance: BgpInstance, old: BgpInstance | undefined, failures: SpeakerFailure[]): BgpInstance {
  const peers = instance.peers.flatMap((peer): BgpPeer[] => {
    if (peer.authSecret === null || peer.password !== undefined) return [peer];
    const running = old?.peers.find(({address}) => address === peer.address);
    const message = `the Secret ${peer.authSecret} cannot be read: ${running === undefined ? 'no session is opened without its password' : 'the session goes on as it is'}`;
    failures.push({instance: instance.name, peer: peer.address, prefix: '', code: 'BGP_SECRET_MISSING', message});
    if (running === undefined) return [];
    return [{...peer, authSecret: running.authSecret, ...(running.password === undefined ? {} : {password: running.password})}];
  });
  return {...instance, peers};
}
