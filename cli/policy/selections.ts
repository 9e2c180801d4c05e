// Whether a peer selects anything among the label sets that are there. Selectors with a fixed label are found by it.

import type {Labels} from '../../lib/domain/labels.js';
import type {Peer} from '../../lib/domain/policy.js';
import {matches, type Selector} from '../../lib/domain/selector.js';
import {selectorId} from '../../lib/policy/selectors.js';

export class Selections {
  readonly #sets: readonly Labels[];
  readonly #byLabel = new Map<string, Labels[]>();
  readonly #answers = new Map<string, boolean>();

  constructor(labels: Iterable<Labels>) {
    this.#sets = [...new Map([...labels].map((set) => [set.key, set])).values()];
    for (const set of this.#sets) {
      for (const {key, value} of set.all) {
        const text = `${key}=${value}`;
        const known = this.#byLabel.get(text);
        if (known === undefined) this.#byLabel.set(text, [set]);
        else known.push(set);
      }
    }
  }

  get isEmpty(): boolean {
    return this.#sets.length === 0;
  }

  /** Peers that are no pods (nodes, world) are always there. */
  selectsAny(peer: Peer): boolean {
    if (peer.kind !== 'labels') return peer.kind !== 'none';
    if (peer.selector.requirements.some(({source}) => source !== 'k8s' && source !== 'any')) return true;
    const id = selectorId(peer);
    const held = this.#answers.get(id);
    if (held !== undefined) return held;
    const answer = this.#candidates(peer.selector).some((labels) => matches(peer.selector, labels));
    this.#answers.set(id, answer);
    return answer;
  }

  /** Sets that have the rarest label which the selector demands. */
  #candidates({requirements}: Selector): readonly Labels[] {
    let best: readonly Labels[] = this.#sets;
    for (const {operator, key, values} of requirements) {
      if (operator !== 'In' || values.length !== 1) continue;
      const sets = this.#byLabel.get(`${key}=${values[0] ?? ''}`) ?? [];
      if (sets.length < best.length) best = sets;
    }
    return best;
  }
}
