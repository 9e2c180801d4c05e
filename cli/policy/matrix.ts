// policy matrix: who may talk to whom, as a table for a terminal or a picture for a browser.

import type {Verb} from '../context.js';
import {EXIT, usage} from '../errors.js';
import {printValue} from '../output.js';
import {coloursOf, type Colours} from './colours.js';
import {loadWorld, sayProblems} from './input.js';
import {matrixOf, type Matrix} from './matrix-data.js';
import {htmlOf, svgOf} from './matrix-svg.js';
import {compileWorld} from './world.js';

export const matrix: Verb = async (context) => {
  const {common, io, options} = context;
  const world = await loadWorld(context, context.args);
  const partial = sayProblems(context, {...world, warnings: []});
  if (world.cluster.endpoints.length === 0) throw usage('there are no pods in the input');
  const found = matrixOf(compileWorld(world), options['byPod'] === true);
  if (common.format === 'html') io.out(htmlOf(found));
  else if (common.format === 'svg') io.out(svgOf(found));
  else if (common.format === 'table' || common.format === 'wide') io.out(matrixText(found, coloursOf(io), common.format === 'wide' ? null : io.width));
  else await printValue(io, common.format, found);
  return partial ? EXIT.partial : EXIT.ok;
};

/** Columns have the numbers of the rows; a table that is wider than the terminal comes in parts. What "some" means stands below. */
export function matrixText({parties, reaches, cells}: Matrix, colours: Colours, terminal: number | null): string {
  const digits = String(parties.length).length;
  const labels = parties.map(({label}, i) => `${String(i + 1).padStart(digits)}  ${label}`);
  const width = Math.max(...labels.map(({length}) => length));
  const letters = lettersOf(reaches.length - 2);
  const mark = (reach: number): string => (reach < 0 ? ' ' : reach === 0 ? colours.dim('·') : reach === 1 ? colours.good('●') : colours.warn(letters[reach - 2] ?? '◐'));
  const part = (first: number, end: number): string => {
    const numbers = parties.slice(first, end).map((_party, i) => String(first + i + 1).padStart(digits));
    const heads = Array.from({length: digits}, (_, line) => `${' '.repeat(width + 2)}${numbers.map((number) => number[line] ?? ' ').join(' ')}\n`);
    const rows = cells.map((row, y) => `${(labels[y] ?? '').padEnd(width)}  ${row.slice(first, end).map(mark).join(' ')}\n`);
    return `${heads.join('')}${rows.join('')}`;
  };
  const columns = terminal === null ? parties.length : Math.max(COLUMNS_MIN, Math.floor((terminal - width - 1) / 2));
  const parts = Array.from({length: Math.ceil(parties.length / columns)}, (_, i) => part(i * columns, Math.min(parties.length, (i + 1) * columns)));
  const some = letters.length === 0 ? [] : reaches.slice(2).map((text, i) => `  ${letters[i] ?? ''}  ${text}\n`);
  return `${parts.join('\n')}\nrow sends to column: ● everything  · nothing${letters.length === 0 && reaches.length > 2 ? '  ◐ some ports (-o json names them)' : ''}\n${some.join('')}`;
}

/** On a terminal that has no room beside the names. */
const COLUMNS_MIN = 10;

/** One letter for each reach, as long as there are letters. */
function lettersOf(count: number): readonly string[] {
  const all = 'abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ'.split('');
  return count <= all.length ? all.slice(0, count) : [];
}
