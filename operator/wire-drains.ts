// Looks at the drains of nodes when their Nodes change, and when the time of one is over.

import type {Clock} from '../lib/run/clock.js';
import {Drains, type DrainOptions} from './compile/bgp-drain.js';
import {applyRows, type Applied, type Tables} from './model/tables.js';

export interface DrainClockParts {
  readonly clock: Clock;
  /** Calls back later, unless everything ends before. */
  readonly after: (ms: number, act: () => void) => void;
  /** The time of a drain is over: `follow` is to be called. */
  readonly onDue: () => void;
}

export class DrainClock {
  readonly #drains: Drains;
  readonly #parts: DrainClockParts;
  /** Counts the looks: a newer one makes those that were to come superfluous. */
  #looks = 0;

  constructor(options: DrainOptions, parts: DrainClockParts) {
    this.#drains = new Drains(options);
    this.#parts = parts;
  }

  /** `first`: the first time that the tables are whole. */
  follow(applied: Applied, first: boolean): Applied {
    if (!first && applied.changed.nodeHealth === undefined) return applied;
    return this.#look(applied, first);
  }

  due(tables: Tables): Applied {
    return this.#look({tables, changed: {}}, false);
  }

  #look({tables, changed}: Applied, first: boolean): Applied {
    const {rows, holdMs} = this.#drains.update(tables, this.#parts.clock.now(), first);
    const look = ++this.#looks;
    if (holdMs !== null) {
      this.#parts.after(holdMs, () => {
        if (this.#looks === look) this.#parts.onDue();
      });
    }
    const drained = applyRows(tables, 'bgpDrains', rows);
    return {tables: drained.tables, changed: {...changed, ...drained.changed}};
  }
}
