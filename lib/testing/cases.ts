// Table cases that show documented statements: each is a test that runs, and the last test of a file fails when a statement that
// is listed for it had none.

import {expect, test} from '@jest/globals';

import {STATEMENTS} from './statements.js';

export class StatementCases {
  readonly #file: string;
  readonly #shown = new Set<string>();

  /** `file`: the source, as the list names it. */
  constructor(file: string) {
    this.#file = file;
  }

  /** Each row: ids of the statements that it shows (none = empty), what it is, and the arguments of `run`. */
  each<Row extends readonly unknown[]>(rows: readonly (readonly [ids: string, what: string, ...row: Row])[], run: (...row: Row) => void): void {
    for (const [ids, what, ...row] of rows) this.one(ids, what, () => run(...row));
  }

  one(ids: string, what: string, run: () => void | Promise<void>, timeoutMs?: number): void {
    test(ids === '' ? what : `${ids}: ${what}`, async () => {
      await run();
      for (const id of ids.split(' ')) this.#shown.add(id);
    }, timeoutMs);
  }

  /** The last one of the file. */
  complete(): void {
    test('every statement that is listed for this file was shown, and none besides', () => {
      const listed = STATEMENTS.filter(({file}) => file === this.#file).map(({id}) => id);
      expect(listed.length).toBeGreaterThan(0);
      expect(listed.filter((id) => !this.#shown.has(id))).toEqual([]);
      const known = new Set(STATEMENTS.map(({id}) => id));
      expect([...this.#shown].filter((id) => id !== '' && !known.has(id))).toEqual([]);
    });
  }
}
