// What many nodes announce alike: the addresses of Services, worked out once for all nodes that announce the same ones to the same peers.

import {canonicalJson, compareStrings} from '../../lib/core/order.js';
import type {Advertisement, BgpPeer} from '../../lib/domain/bgp.js';
import {groupAdvertisements} from '../../lib/domain/bgp-advertisements.js';
import {plannedPaths, type Candidate, type NodeContext, type PeerPlan} from './bgp-routes.js';

/** Remembers what was asked for since the last `sweep`, and between the two before. */
export class SharedAdvertisements {
  readonly #ids = new WeakMap<readonly Candidate[], number>();
  #nextId = 0;
  #current = new Map<string, readonly Advertisement[]>();
  #before = new Map<string, readonly Advertisement[]>();

  sweep(): void {
    this.#before = this.#current;
    this.#current = new Map();
  }

  /** All advertisements of an instance: the same array for nodes that have nothing of their own. */
  of(plans: readonly PeerPlan[], peers: readonly BgpPeer[], context: NodeContext): readonly Advertisement[] {
    const shared = this.#services(plans, peers, context);
    const own = groupAdvertisements(plannedPaths(plans, context, 'own'), peers);
    if (own.length === 0) return shared;
    const prefixes = new Set(own.map(({prefix}) => prefix));
    // A prefix that comes both ways has the attributes of both.
    if (shared.some(({prefix}) => prefixes.has(prefix))) return groupAdvertisements(plannedPaths(plans, context, 'all'), peers);
    return [...shared, ...own].sort((a, b) => compareStrings(a.prefix, b.prefix));
  }

  #services(plans: readonly PeerPlan[], peers: readonly BgpPeer[], context: NodeContext): readonly Advertisement[] {
    const key = canonicalJson([peers.map(({address, families}) => [address, families]), plans.map(({peer, announcements}) => [
      peer.address, announcements.flatMap(({what, afis, attributes}) => (what.kind === 'Service' ? [[this.#idOf(context.routes.services(what)), afis, attributes]] : [])),
    ])]);
    const known = this.#current.get(key) ?? this.#before.get(key) ?? groupAdvertisements(plannedPaths(plans, context, 'shared'), peers);
    this.#current.set(key, known);
    return known;
  }

  #idOf(candidates: readonly Candidate[]): number {
    const id = this.#ids.get(candidates) ?? this.#nextId++;
    this.#ids.set(candidates, id);
    return id;
  }
}
