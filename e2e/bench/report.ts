// The table that `make bench` prints: ratios with their goals, what the harness checked, and the calibration lines.

export interface Row {
  readonly name: string;
  /** What was measured, and what it is compared with; `–` where there is nothing to compare. */
  readonly subject: string;
  readonly baseline: string;
  readonly result: string;
  readonly goal: string;
  /** Null: a value without a goal. */
  readonly reached: boolean | null;
}

/** Whether the measurement measured what it says: a failed one makes the numbers beside it void. */
export interface HarnessCheck {
  readonly name: string;
  readonly ok: boolean;
  readonly value: string;
}

export class Report {
  readonly #write: (text: string) => void;
  readonly #rows: Row[] = [];
  readonly #checks: HarnessCheck[] = [];
  readonly #notes: string[] = [];

  constructor(parts: {readonly write: (text: string) => void}) {
    this.#write = parts.write;
  }

  get json(): {readonly rows: readonly Row[]; readonly checks: readonly HarnessCheck[]; readonly notes: readonly string[]} {
    return {rows: this.#rows, checks: this.#checks, notes: this.#notes};
  }

  progress(text: string): void {
    this.#write(`… ${text}\n`);
  }

  add(...rows: readonly Row[]): void {
    for (const row of rows) {
      this.#rows.push(row);
      this.#write(`  ${row.name}: ${row.subject} / ${row.baseline} = ${row.result}${row.reached === null ? '' : ` (goal ${row.goal}: ${goalText(row)})`}\n`);
    }
  }

  check(...checks: readonly HarnessCheck[]): void {
    for (const item of checks) {
      this.#checks.push(item);
      this.#write(`  ${item.ok ? 'ok  ' : 'FAIL'} ${item.name}: ${item.value}\n`);
    }
  }

  note(text: string): void {
    this.#notes.push(text);
    this.#write(`  ${text}\n`);
  }

  /** Prints everything once more as a table. Returns the exit code: only the harness fails a run, a goal never does. */
  table(): number {
    const cells = [
      ['measured', 'subject', 'baseline', 'result', 'goal', ''],
      ...this.#rows.map((row) => [row.name, row.subject, row.baseline, row.result, row.goal, goalText(row)]),
    ];
    const widths = (cells[0] ?? []).map((_, column) => Math.max(...cells.map((row) => (row[column] ?? '').length)));
    const line = (row: readonly string[]): string => row.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join('  ').trimEnd();
    const bad = this.#checks.filter((item) => !item.ok);
    const [head = [], ...body] = cells;
    this.#write([
      '', line(head), widths.map((width) => '-'.repeat(width)).join('  '), ...body.map(line),
      '', `harness checks: ${this.#checks.length - bad.length} ok, ${bad.length} failed`,
      ...bad.map((item) => `  FAIL ${item.name}: ${item.value}`), ...this.#notes, '',
    ].join('\n'));
    return bad.length === 0 && this.#checks.length > 0 && this.#rows.length > 0 ? 0 : 1;
  }
}

function goalText(row: Row): string {
  if (row.reached === null) return '';
  return row.reached ? 'reached' : 'NOT reached';
}

export function microseconds(ns: number): string {
  return `${(ns / 1000).toFixed(1)} µs`;
}

export function milliseconds(ms: number): string {
  return `${ms.toFixed(ms < 10 ? 2 : 1)} ms`;
}

export function times(ratio: number): string {
  return `${ratio.toFixed(2)}×`;
}

export function megabytes(kilobytes: number): string {
  return `${(kilobytes / 1024).toFixed(1)} MB`;
}
