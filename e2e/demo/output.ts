// What the demo prints: progress with times, one line per check as it is known, and the verdict table at the end.

import type {CheckLine, Verdict} from '../harness/checks/check.js';
import {failed} from '../harness/checks/check.js';
import {nowMs} from '../harness/shell.js';

const COLOURS: Readonly<Record<Verdict, string>> = {'ok': '\u001b[32m', 'FAIL': '\u001b[31m', 'not in this mode': '\u001b[33m'};

export class Output {
  readonly #startedMs = nowMs();
  readonly #colour: boolean;
  readonly #write: (text: string) => void;
  readonly #lines: CheckLine[] = [];

  constructor(options: {readonly colour: boolean}, parts: {readonly write: (text: string) => void}) {
    this.#colour = options.colour;
    this.#write = parts.write;
  }

  get lines(): readonly CheckLine[] {
    return this.#lines;
  }

  readonly progress = (text: string): void => {
    this.#write(`${this.#time()} ${text}\n`);
  };

  heading(text: string): void {
    this.#write(`\n${this.#time()} == ${text}\n`);
  }

  add(...lines: readonly CheckLine[]): void {
    for (const line of lines) {
      this.#lines.push(line);
      this.#write(`${this.#time()}   ${this.#verdict(line.verdict)} ${line.name}: ${line.value}\n`);
    }
  }

  async show(lines: Promise<CheckLine | readonly CheckLine[]>): Promise<void> {
    this.add(...[await lines].flat());
  }

  /** The table and the sum. Returns the exit code. */
  table(): number {
    const width = Math.max(...this.#lines.map((line) => line.name.length), 10);
    this.#write(`\n${'check'.padEnd(width)}  verdict           measured\n${'-'.repeat(width)}  ${'-'.repeat(16)}  ${'-'.repeat(40)}\n`);
    for (const line of this.#lines) this.#write(`${line.name.padEnd(width)}  ${this.#verdict(line.verdict, 16)}  ${line.value}\n`);
    const bad = failed(this.#lines).length;
    const skipped = this.#lines.filter((line) => line.verdict === 'not in this mode').length;
    this.#write(`\n${this.#lines.length - bad - skipped} ok, ${bad} failed, ${skipped} not in this mode, after ${((nowMs() - this.#startedMs) / 1000).toFixed(0)} s\n`);
    return bad === 0 && this.#lines.length > skipped ? 0 : 1;
  }

  #time(): string {
    return `[${((nowMs() - this.#startedMs) / 1000).toFixed(1).padStart(6)} s]`;
  }

  #verdict(verdict: Verdict, width = 4): string {
    const text = verdict.padEnd(width);
    return this.#colour ? `${COLOURS[verdict]}${text}\u001b[0m` : text;
  }
}
