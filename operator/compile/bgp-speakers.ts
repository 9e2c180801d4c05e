// The speaker of every node, kept up to date: a node's own objects recompute it alone, the others' recompute all.

import {deepEqual} from '../../lib/core/equal.js';
import {resource} from '../../lib/desired/diff.js';
import type {Resource} from '../../lib/desired/node-state.js';
import type {ChangedKeys, TableName, Tables} from '../model/tables.js';
import {compileSpeaker, NO_SPEAKER, type CompiledSpeaker} from './bgp.js';
import type {BgpFinding} from './bgp-plan.js';
import {SharedAdvertisements} from './bgp-shared.js';
import {ServiceRoutes} from './service-routes.js';

const KEY = 'speaker';
const NO_RESOURCE = resource('speaker', KEY, NO_SPEAKER);
/** What any node's speaker may depend on. */
const OF_ALL: readonly TableName[] = ['bgpPolicies', 'bgpClusterConfigs', 'bgpPeerConfigs', 'bgpAdvertisements', 'bgpSecrets'];
const OF_ONE: readonly TableName[] = ['nodes', 'bgpOverrides'];

export class Speakers {
  readonly #all = new Map<string, CompiledSpeaker & {readonly resource: Resource}>();
  readonly #routes = new ServiceRoutes();
  readonly #shared = new SharedAdvertisements();

  /** Nodes whose speaker is another one now. */
  update(tables: Tables, changed: ChangedKeys): ReadonlySet<string> {
    const names = new Set(OF_ONE.flatMap((table) => [...changed[table] ?? []]));
    const elsewhere = this.#routes.update(tables, changed);
    for (const name of elsewhere === 'all' ? tables.nodes.keys() : elsewhere) names.add(name);
    if (OF_ALL.some((table) => changed[table] !== undefined)) for (const name of tables.nodes.keys()) names.add(name);
    if (names.size === 0) return names;
    const inputs = {
      policies: [...tables.bgpPolicies.values()], clusterConfigs: [...tables.bgpClusterConfigs.values()], peerConfigs: tables.bgpPeerConfigs,
      advertisements: [...tables.bgpAdvertisements.values()], overrides: tables.bgpOverrides, secrets: tables.bgpSecrets, routes: this.#routes, shared: this.#shared,
    };
    const stale = new Set<string>();
    if (names.size > 0) this.#shared.sweep();
    for (const name of names) {
      const node = tables.nodes.get(name);
      if (node === undefined) {
        if (this.#all.delete(name)) stale.add(name);
        continue;
      }
      const compiled = compileSpeaker(node, inputs);
      const before = this.#all.get(name);
      if (before !== undefined && deepEqual({...before, resource: null}, {...compiled, resource: null})) continue;
      this.#all.set(name, {...compiled, resource: resource('speaker', KEY, compiled.speaker)});
      stale.add(name);
    }
    return stale;
  }

  resource(node: string): Resource {
    return this.#all.get(node)?.resource ?? NO_RESOURCE;
  }

  /** By node. */
  get all(): ReadonlyMap<string, CompiledSpeaker> {
    return this.#all;
  }

  findings(): readonly BgpFinding[] {
    return [...this.#all.values()].flatMap(({findings}) => findings);
  }
}

/** The Secrets that some object names. */
export function bgpSecretNames(tables: Tables): ReadonlySet<string> {
  const ofPolicies = [...tables.bgpPolicies.values()].flatMap(({routers}) => routers.flatMap(({neighbors}) => neighbors.map(({peer}) => peer.authSecret)));
  const ofPeerConfigs = [...tables.bgpPeerConfigs.values()].map(({settings}) => settings.authSecret);
  return new Set([...ofPolicies, ...ofPeerConfigs].filter((name) => name !== null));
}
