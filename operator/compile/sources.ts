// What the names in policies stand for at the moment: kept for those that policies use, computed anew when an object they may come
// from changes.

import {deepEqual} from '../../lib/core/equal.js';
import type {PeerSource, SourceMeaning} from '../../lib/domain/policy.js';
import {meaningOf, type SourceFacts} from '../../lib/policy/sources.js';
import {NO_MEANING, sourceId, type Meanings} from '../../lib/policy/selectors.js';
import {serviceKey} from '../model/decode/endpoint-slice.js';
import type {ChangedKeys, Tables} from '../model/tables.js';

interface Held {
  readonly source: PeerSource;
  meaning: SourceMeaning;
}

export class Sources {
  readonly #clusterName: string;
  readonly #held = new Map<string, Held>();

  constructor(options: {readonly clusterName: string}) {
    this.#clusterName = options.clusterName;
  }

  get meanings(): Meanings {
    return (source) => this.#held.get(sourceId(source))?.meaning ?? NO_MEANING;
  }

  meaning(id: string): SourceMeaning {
    return this.#held.get(id)?.meaning ?? NO_MEANING;
  }

  /** `wanted`: the sources in use, by id. Answers with the ids whose meaning is another one now; those no longer wanted mean nothing. */
  update(tables: Tables, changed: ChangedKeys, wanted: ReadonlyMap<string, PeerSource>): ReadonlySet<string> {
    const different = new Set<string>();
    for (const id of this.#held.keys()) {
      if (wanted.has(id)) continue;
      this.#held.delete(id);
      different.add(id);
    }
    const facts = factsOf(tables, this.#clusterName);
    for (const [id, source] of wanted) {
      const before = this.#held.get(id);
      if (before !== undefined && !dependsOn(source, changed)) continue;
      const meaning = meaningOf(source, facts);
      if (before !== undefined && deepEqual(meaning, before.meaning)) continue;
      this.#held.set(id, {source, meaning});
      different.add(id);
    }
    return different;
  }
}

function dependsOn(source: PeerSource, changed: ChangedKeys): boolean {
  switch (source.kind) {
    case 'cidr-group':
    case 'cidr-groups':
      return changed.cidrGroups !== undefined;
    case 'service':
    case 'services':
      return changed.services !== undefined || changed.slices !== undefined;
    case 'fqdn':
    case 'fqdn-pattern':
      return false;
  }
}

function factsOf(tables: Tables, clusterName: string): SourceFacts {
  return {
    clusterName,
    groups: () => tables.cidrGroups.values(),
    group: (name) => tables.cidrGroups.get(name),
    services: () => tables.services.values(),
    backends: (namespace, name) => [...tables.slices.keysBy('service', serviceKey(namespace, name))].flatMap((key) => tables.slices.get(key)?.addresses ?? []),
    names: () => [],
  };
}
