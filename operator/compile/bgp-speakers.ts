// The speaker that each node is told: what was compiled of the tables; what a change that waits would withdraw; and of nodes that are drained
// what is left of that.

import {deepEqual} from '../../lib/core/equal.js';
import {resource} from '../../lib/desired/diff.js';
import type {Resource} from '../../lib/desired/node-state.js';
import type {ChangedKeys, Tables} from '../model/tables.js';
import {NO_SPEAKER, type CompiledSpeaker} from './bgp.js';
import {CompiledSpeakers} from './bgp-compiled.js';
import {announces, drainedSpeaker} from './bgp-drain.js';
import {WithdrawGuard} from './bgp-guard.js';
import type {BgpFinding} from './bgp-plan.js';

const KEY = 'speaker';
const NO_RESOURCE = resource('speaker', KEY, NO_SPEAKER);

export class Speakers {
  readonly #compiled = new CompiledSpeakers();
  readonly #guard: WithdrawGuard | null;
  readonly #all = new Map<string, CompiledSpeaker & {readonly resource: Resource}>();

  /** `maxWithdraw`: share of all paths that a change may withdraw; null = any. */
  constructor({maxWithdraw}: {readonly maxWithdraw: number | null} = {maxWithdraw: null}) {
    this.#guard = maxWithdraw === null ? null : new WithdrawGuard(maxWithdraw);
  }

  /** Which changes wait; null = none ever does. */
  get guard(): WithdrawGuard | null {
    return this.#guard;
  }

  /** Nodes whose speaker is another one now. */
  update(tables: Tables, changed: ChangedKeys): ReadonlySet<string> {
    const different = this.#compiled.update(tables, changed);
    const names = new Set([...different, ...changed.bgpDrains ?? []]);
    for (const name of this.#guard?.update(tables, changed, this.#compiled) ?? []) names.add(name);
    // What may be withdrawn depends on what the others announce.
    if (names.size > 0 || changed.nodeHealth !== undefined) for (const [name, {withdrawn}] of tables.bgpDrains) if (withdrawn) names.add(name);
    const stale = new Set<string>();
    for (const name of names) {
      const compiled = this.#compiled.all.get(name);
      if (compiled === undefined) {
        if (this.#all.delete(name)) stale.add(name);
        continue;
      }
      const told = this.#drained(tables, name, this.#guard?.told(name, compiled) ?? compiled);
      const before = this.#all.get(name);
      // What was compiled anew and is told as it is need not be compared a second time.
      const isNew = told === compiled && different.has(name);
      if (!isNew && before !== undefined && deepEqual({...before, resource: null}, {...told, resource: null})) continue;
      this.#all.set(name, {...told, resource: resource('speaker', KEY, told.speaker)});
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
    return [...[...this.#all.values()].flatMap(({findings}) => findings), ...this.#guard?.findings() ?? []];
  }

  #drained(tables: Tables, name: string, compiled: CompiledSpeaker): CompiledSpeaker {
    const drain = tables.bgpDrains.get(name);
    if (drain === undefined) return compiled;
    const staying = [...this.#compiled.all].filter(([other]) => !tables.bgpDrains.has(other) && tables.nodeHealth.get(other)?.ready !== false);
    const speakers = staying.map(([, {speaker}]) => speaker);
    const speaker = drainedSpeaker(compiled.speaker, drain, (prefix) => announces(speakers, prefix));
    return {...compiled, speaker, withdrawn: pathCount(compiled) - pathCount({speaker})};
  }
}

function pathCount({speaker: {instances}}: Pick<CompiledSpeaker, 'speaker'>): number {
  return instances.reduce((sum, {advertisements}) => sum + advertisements.length, 0);
}

/** The Secrets that some object names. */
export function bgpSecretNames(tables: Tables): ReadonlySet<string> {
  const ofPolicies = [...tables.bgpPolicies.values()].flatMap(({routers}) => routers.flatMap(({neighbors}) => neighbors.map(({peer}) => peer.authSecret)));
  const ofPeerConfigs = [...tables.bgpPeerConfigs.values()].map(({settings}) => settings.authSecret);
  return new Set([...ofPolicies, ...ofPeerConfigs].filter((name) => name !== null));
}
