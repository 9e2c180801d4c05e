// Go's text/tabwriter for spaces: the layout that Cilium's tables have, to the byte.

export interface TabwriterOptions {
  readonly minWidth: number;
  readonly padding: number;
}

/**
 * Each line is its cells; all but the last are ended by a tab. A column is a run of lines that have that cell: its width is that of
 * its widest cell plus the padding, at least `minWidth`. What follows the last tab is not part of a column.
 */
export function tabwriter(lines: readonly (readonly string[])[], options: TabwriterOptions): string {
  const widths: number[][] = lines.map(() => []);
  const measure = (from: number, to: number, column: number): void => {
    for (let start = from; start < to; start++) {
      if (!hasCell(lines[start], column)) continue;
      let end = start;
      let width = options.minWidth;
      for (; end < to && hasCell(lines[end], column); end++) width = Math.max(width, displayWidth(lines[end]?.[column] ?? '') + options.padding);
      for (let line = start; line < end; line++) widths[line]?.push(width);
      measure(start, end, column + 1);
      start = end - 1;
    }
  };
  measure(0, lines.length, 0);
  return lines.map((cells, line) => `${cells.map((cell, column) => padded(cell, widths[line]?.[column])).join('')}\n`).join('');
}

function hasCell(cells: readonly string[] | undefined, column: number): boolean {
  return cells !== undefined && column < cells.length - 1;
}

function padded(text: string, width: number | undefined): string {
  return width === undefined ? text : text + ' '.repeat(Math.max(0, width - displayWidth(text)));
}

/** Columns of a terminal: wide East Asian characters take two, combining marks none. */
export function displayWidth(text: string): number {
  if (/^[\x20-\x7e]*$/.test(text)) return text.length;
  let width = 0;
  for (const character of text) {
    if (/\p{Mark}/u.test(character)) continue;
    width += /[\u1100-\u115f\u2e80-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6]|[\u{1f300}-\u{1faff}\u{20000}-\u{3fffd}]/u.test(character) ? 2 : 1;
  }
  return width;
}
