// Tables for people: aligned columns, cells of several lines, cut to the terminal where there is one.

import {displayWidth} from './tabwriter.js';

export interface Column<T> {
  readonly title: string;
  /** Several lines make the row several lines high. */
  readonly cell: (item: T) => string | number | readonly string[];
  /** Only with `-o wide`. */
  readonly wide?: boolean;
  readonly right?: boolean;
}

const GAP = '   ';

/** `width` null = as wide as it gets (files and pipes are never cut). */
export function table<T>(columns: readonly Column<T>[], items: readonly T[], width: number | null): string {
  const rows = items.map((item) => columns.map(({cell}) => linesOf(cell(item))));
  const natural = columns.map(({title}, i) => Math.max(displayWidth(title), ...rows.flatMap((row) => (row[i] ?? []).map(displayWidth))));
  const widths = width === null ? natural : shrink(natural, columns.map(({title}) => displayWidth(title)), width - GAP.length * (columns.length - 1));
  const line = (cells: readonly string[]): string =>
    `${cells.map((cell, i) => fit(cell, widths[i] ?? 0, columns[i]?.right === true)).join(GAP).trimEnd()}\n`;
  const out = [line(columns.map(({title}) => title))];
  for (const row of rows) {
    const height = Math.max(1, ...row.map((cell) => cell.length));
    for (let y = 0; y < height; y++) out.push(line(row.map((cell) => cell[y] ?? '')));
  }
  return out.join('');
}

function linesOf(cell: string | number | readonly string[]): readonly string[] {
  return typeof cell === 'object' ? cell : [String(cell)];
}

/** Takes room from the widest column, again and again, but never below its title. */
function shrink(natural: readonly number[], titles: readonly number[], room: number): readonly number[] {
  const widths = [...natural];
  const sum = (): number => widths.reduce((total, one) => total + one, 0);
  while (sum() > room) {
    let widest = -1;
    for (const [i, one] of widths.entries()) if (one > (titles[i] ?? 0) && one > (widths[widest] ?? 0)) widest = i;
    if (widest < 0) break;
    widths[widest] = (widths[widest] ?? 0) - 1;
  }
  return widths;
}

function fit(text: string, width: number, right: boolean): string {
  const short = displayWidth(text) > width ? cut(text, width) : text;
  const pad = ' '.repeat(Math.max(0, width - displayWidth(short)));
  return right ? pad + short : short + pad;
}

function cut(text: string, width: number): string {
  let short = '';
  for (const character of text) {
    if (displayWidth(short + character) > width - 1) break;
    short += character;
  }
  return `${short}…`;
}
