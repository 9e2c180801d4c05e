// What is wrong with a user's object, found while decoding it. `Problems` collects; the decoder makes rejections from it.

import type {ObjectRef, Rejection} from '../core/errors.js';

/** `refused`: the whole object is invalid. `unsupported`: this part alone allows nothing. */
export type Severity = 'refused' | 'unsupported';

export interface Problem {
  readonly severity: Severity;
  readonly path: string;
  readonly code: string;
  readonly reason: string;
}

const NONE: readonly Rejection[] = [];

/** An append-only list with a length that callers compare to see whether a part was at fault. */
export class Problems {
  readonly #all: Problem[] = [];

  get count(): number {
    return this.#all.length;
  }

  get refused(): boolean {
    return this.#all.some((problem) => problem.severity === 'refused');
  }

  refuse(path: string, code: string, reason: string): void {
    this.#all.push({severity: 'refused', path, code, reason});
  }

  unsupported(path: string, code: string, reason: string): void {
    this.#all.push({severity: 'unsupported', path, code, reason});
  }

  rejections(object: ObjectRef): readonly Rejection[] {
    return this.#all.length === 0 ? NONE : this.#all.map(({path, code, reason}) => ({object, path, code, reason}));
  }
}
