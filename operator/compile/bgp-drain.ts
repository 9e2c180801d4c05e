// Nodes that are about to go: which ones, since when, and what that makes of their routes. First every route is announced with the community
// GRACEFUL_SHUTDOWN (RFC 8326) and (to iBGP peers) the least local preference, so that routers go elsewhere while it still works; later it is withdrawn.

import {compareStrings} from '../../lib/core/order.js';
import type {RowChange} from '../../lib/core/table.js';
import type {Advertisement, BgpInstance, PathAttributes, Speaker} from '../../lib/domain/bgp.js';
import {groupAdvertisements, peerPaths} from '../../lib/domain/bgp-advertisements.js';
import type {BgpDrainFact, DrainWithdraw, NodeHealthFact} from '../model/facts.js';
import type {Tables} from '../model/tables.js';

export interface DrainOptions {
  /** A cordoned node is drained. */
  readonly cordoned: boolean;
  /** What becomes of the routes of a node that is not ready. */
  readonly notReady: 'keep' | 'deprefer' | 'withdraw';
  /** From the announcement to the withdrawal. */
  readonly timeMs: number;
  readonly withdraw: DrainWithdraw;
}

export const BY_ANNOTATION: DrainOptions = {cordoned: false, notReady: 'keep', timeMs: 60_000, withdraw: 'redundant'};
/** RFC 8326: 65535:0. */
export const GRACEFUL_SHUTDOWN = 0xffff0000;
/** For iBGP peers that do not know the community. The least that GoBGP's policies can set. */
const DRAINING_PREFERENCE = 1;
const WITHDRAW: readonly DrainWithdraw[] = ['never', 'redundant', 'all'];

type DrainRow = RowChange<BgpDrainFact>;

/** When drains began is remembered here, and in a condition of the node's CiliumBGPNodeConfig for who comes after. */
export class Drains {
  readonly #options: DrainOptions;
  readonly #sinceMs = new Map<string, number>();

  constructor(options: DrainOptions) {
    this.#options = options;
  }

  /** Every row anew, and how long they hold. `restoring`: nothing is remembered here, so what the conditions say counts. */
  update(tables: Tables, nowMs: number, restoring: boolean): {readonly rows: readonly DrainRow[]; readonly holdMs: number | null} {
    const rows: DrainRow[] = [...tables.bgpDrains.keys()].filter((name) => !tables.nodeHealth.has(name)).map((name) => [name, null]);
    let holdMs: number | null = null;
    for (const [name, health] of tables.nodeHealth) {
      const wanted = drainOf(health, this.#options);
      if (wanted === null) {
        this.#sinceMs.delete(name);
        rows.push([name, null]);
        continue;
      }
      const sinceMs = this.#sinceMs.get(name) ?? (restoring ? tables.bgpDrainMarks.get(name)?.sinceMs : undefined) ?? nowMs;
      this.#sinceMs.set(name, sinceMs);
      const {timeMs} = this.#options;
      const leftMs = Math.max(0, sinceMs + timeMs - nowMs);
      rows.push([name, {...wanted, sinceMs, timeMs, withdrawn: wanted.withdraw !== 'never' && leftMs === 0}]);
      if (wanted.withdraw !== 'never' && leftMs > 0) holdMs = Math.min(holdMs ?? leftMs, leftMs);
    }
    for (const name of this.#sinceMs.keys()) if (!tables.nodeHealth.has(name)) this.#sinceMs.delete(name);
    return {rows, holdMs};
  }
}

/** null = the node stays. Who writes the annotation means this node; `false` keeps it out, whatever else is said. */
function drainOf({drain, unschedulable, ready}: NodeHealthFact, options: DrainOptions): Pick<BgpDrainFact, 'cause' | 'withdraw'> | null {
  if (drain === 'false') return null;
  if (drain !== null) return {cause: 'annotation', withdraw: WITHDRAW.find((one) => one === drain) ?? options.withdraw};
  if (unschedulable && options.cordoned) return {cause: 'cordoned', withdraw: options.withdraw};
  if (ready || options.notReady === 'keep') return null;
  // Nobody asked for it: what only this node announces stays in any case.
  return {cause: 'not ready', withdraw: options.notReady === 'deprefer' ? 'never' : 'redundant'};
}

/** `announcedElsewhere`: by a node that stays. A route that nobody else has is never withdrawn, unless all are to be. */
export function drainedSpeaker(speaker: Speaker, drain: BgpDrainFact, announcedElsewhere: (prefix: string) => boolean): Speaker {
  const stays = ({prefix}: Advertisement): boolean => !drain.withdrawn || (drain.withdraw === 'redundant' && !announcedElsewhere(prefix));
  return {...speaker, instances: speaker.instances.map((instance) => {
    const {interfaces = [], ...rest} = instance;
    // Nobody else has the node's own addresses.
    const own = drain.withdrawn && drain.withdraw === 'all' ? [] : interfaces;
    return {...rest, ...shutDown({...rest, advertisements: instance.advertisements.filter(stays), ...(own.length === 0 ? {} : {interfaces: own})})};
  })};
}

/** A local preference is nothing to a peer of another AS. */
function shutDown(instance: BgpInstance): Pick<BgpInstance, 'advertisements' | 'interfaces'> {
  const {asn, peers, advertisements} = instance;
  const draining = (attributes: PathAttributes, isInternal: boolean): PathAttributes => ({
    ...attributes, communities: [...new Set([...attributes.communities, GRACEFUL_SHUTDOWN])].sort((a, b) => a - b),
    localPreference: isInternal ? DRAINING_PREFERENCE : attributes.localPreference,
  });
  const internal = new Set(peers.filter((peer) => peer.asn === asn).map(({address}) => address));
  const isMixed = internal.size > 0 && internal.size < peers.length;
  return {
    advertisements: isMixed ? groupAdvertisements(peerPaths(instance).map((path) => ({...path, attributes: draining(path.attributes, internal.has(path.peer))})), peers)
      : advertisements.map((one) => ({...one, ...attributesOf(draining(one, internal.size > 0))})),
    ...(instance.interfaces === undefined ? {} : {interfaces: instance.interfaces.map((one) => ({...one, ...attributesOf(draining(one, internal.has(one.peer)))}))}),
  };
}

function attributesOf({localPreference, communities, largeCommunities}: PathAttributes): PathAttributes {
  return {localPreference, communities, largeCommunities};
}

/** Whether one of the speakers announces a prefix. Their lists are sorted, and long: few of a node's prefixes are looked for in them. */
export function announces(speakers: readonly Speaker[], prefix: string): boolean {
  return speakers.some(({instances}) => instances.some(({advertisements}) => has(advertisements, prefix)));
}

function has(sorted: readonly Advertisement[], prefix: string): boolean {
  let [low, high] = [0, sorted.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    const order = compareStrings(sorted[middle]?.prefix ?? '', prefix);
    if (order === 0) return true;
    if (order < 0) low = middle + 1;
    else high = middle;
  }
  return false;
}
