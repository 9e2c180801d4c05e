// Colour on a terminal, none anywhere else, and none when NO_COLOR asks for it.

import type {Io} from '../output.js';

export interface Colours {
  readonly good: Paint;
  readonly bad: Paint;
  readonly warn: Paint;
  readonly dim: Paint;
  readonly bold: Paint;
}

type Paint = (text: string) => string;

export function coloursOf(io: Pick<Io, 'width'>, env: Readonly<Record<string, string | undefined>> = process.env): Colours {
  const on = io.width !== null && (env['NO_COLOR'] ?? '') === '';
  const paint = (start: number, end: number): Paint => (text) => (on && text !== '' ? `\u001b[${start}m${text}\u001b[${end}m` : text);
  return {good: paint(32, 39), bad: paint(31, 39), warn: paint(33, 39), dim: paint(2, 22), bold: paint(1, 22)};
}
