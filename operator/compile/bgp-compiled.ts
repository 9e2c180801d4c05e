// What the tables say of every node's speaker, kept up to date: a node's own objects recompute it alone, the others' recompute all.

import {deepEqual} from '../../lib/core/equal.js';
import type {ChangedKeys, TableName, Tables} from '../model/tables.js';
import {compileSpeaker, type CompiledSpeaker} from './bgp.js';
import {SharedAdvertisements} from './bgp-shared.js';
import {ServiceRoutes} from './service-routes.js';

/** What any node's speaker may depend on. */
const OF_ALL: readonly TableName[] = ['bgpPolicies', 'bgpClusterConfigs', 'bgpPeerConfigs', 'bgpAdvertisements', 'bgpSecrets'];
const OF_ONE: readonly TableName[] = ['nodes', 'bgpOverrides'];

const READ: readonly TableName[] = [...OF_ALL, ...OF_ONE, 'exposedServices', 'backends', 'lbPools', 'podIpPools', 'ciliumNodes'];

export class CompiledSpeakers {
  readonly #all = new Map<string, CompiledSpeaker>();
  readonly #routes = new ServiceRoutes();
  readonly #shared = new SharedAdvertisements();

  /** Of tables that nothing is known of yet. */
  static of(tables: Tables): CompiledSpeakers {
    const compiled = new CompiledSpeakers();
    const changed: Partial<Record<TableName, ReadonlySet<string>>> = {};
    for (const name of READ) changed[name] = new Set(tables[name].keys());
    compiled.update(tables, changed);
    return compiled;
  }

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
    this.#shared.sweep();
    for (const name of names) {
      const node = tables.nodes.get(name);
      if (node === undefined) {
        if (this.#all.delete(name)) stale.add(name);
        continue;
      }
      const compiled = compileSpeaker(node, inputs);
      const before = this.#all.get(name);
      if (before !== undefined && deepEqual(before, compiled)) continue;
      this.#all.set(name, compiled);
      stale.add(name);
    }
    return stale;
  }

  /** By node. */
  get all(): ReadonlyMap<string, CompiledSpeaker> {
    return this.#all;
  }
}
