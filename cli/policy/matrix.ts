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
  else if (common.format === 'table' || common.format === 'wide') io.out(matrixText(found, coloursOf(io)));
  else await printValue(io, common.format, found);
  return partial ? EXIT.partial : EXIT.ok;
};

/** Columns have the numbers of the rows, so that the picture is as narrow as can be; what "some" means stands below. */
function matrixText({parties, reaches, cells}: Matrix, colours: Colours): string {
  const digits = String(parties.length).length;
  const labels = parties.map(({label}, i) => `${String(i + 1).padStart(digits)}  ${label}`);
  const width = Math.max(...labels.map(({length}) => length));
  const heads = Array.from({length: digits}, (_, line) => `${' '.repeat(width + 2)}${parties.map((_party, i) => String(i + 1).padStart(digits)[line] ?? ' ').join(' ')}\n`);
  const letters = lettersOf(reaches.length - 2);
  const mark = (reach: number): string => (reach < 0 ? ' ' : reach === 0 ? colours.dim('·') : reach === 1 ? colours.good('●') : colours.warn(letters[reach - 2] ?? '◐'));
  const rows = cells.map((row, y) => `${(labels[y] ?? '').padEnd(width)}  ${row.map(mark).join(' ')}\n`);
  const some = letters.length === 0 ? [] : reaches.slice(2).map((text, i) => `  ${letters[i] ?? ''}  ${text}\n`);
  return `${heads.join('')}${rows.join('')}\nrow sends to column: ● everything  · nothing${letters.length === 0 && reaches.length > 2 ? '  ◐ some ports (-o json names them)' : ''}\n${some.join('')}`;
}

/** One letter for each reach, as long as there are letters. */
function lettersOf(count: number): readonly string[] {
  const all = 'abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ'.split('');
  return count <= all.length ? all.slice(0, count) : [];
}
