// The matrix as a picture: SVG that needs nothing else, and the same inside a page that names the cell under the pointer.

import type {Matrix, MatrixParty} from './matrix-data.js';
import {xml} from './xml.js';

const FONT = 'ui-monospace, SFMono-Regular, Menlo, Consolas, monospace';
const COLOURS = {all: '#2f9e61', some: '#e8b339', none: '#f3f4f6', outside: '#ffffff', line: '#9aa1ab', text: '#1f2430'} as const;
const LABEL_MAX = 44;

interface Layout {
  readonly cell: number;
  readonly font: number;
  readonly left: number;
  readonly top: number;
  readonly width: number;
  readonly height: number;
}

/** Cells shrink with the number of parties, never below what a label needs. */
function layoutOf({parties}: Matrix): Layout {
  const cell = parties.length <= 30 ? 18 : parties.length <= 80 ? 13 : 9;
  const font = Math.min(11, cell - 1);
  const label = Math.max(...parties.map((party) => shortLabel(party).length), 1) * font * 0.62 + 8;
  const size = parties.length * cell;
  return {cell, font, left: Math.ceil(label), top: Math.ceil(label) + 40, width: Math.ceil(label) + size + 20, height: Math.ceil(label) + 40 + size + 20};
}

function shortLabel({label}: MatrixParty): string {
  return label.length <= LABEL_MAX ? label : `${label.slice(0, LABEL_MAX - 1)}…`;
}

export function svgOf(matrix: Matrix): string {
  const layout = layoutOf(matrix);
  const {left, top, width, height} = layout;
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" font-family="${FONT}" font-size="${layout.font}" fill="${COLOURS.text}">
<title>Who may talk to whom</title>
<rect width="${width}" height="${height}" fill="#ffffff"/>
${legend()}
<g id="cells" data-left="${left}" data-top="${top}" data-cell="${layout.cell}" shape-rendering="crispEdges">
${matrix.cells.map((row, y) => rowSvg(row, y, layout)).join('')}</g>
${bands(matrix, layout)}${labels(matrix, layout)}</svg>
`;
}

function legend(): string {
  const entries: readonly (readonly [string, string])[] = [[COLOURS.all, 'everything'], [COLOURS.some, 'some ports'], [COLOURS.none, 'nothing']];
  return `<g font-size="12">${entries.map(([colour, text], i) => `<rect x="${8 + i * 110}" y="8" width="12" height="12" fill="${colour}" stroke="${COLOURS.line}" stroke-width="0.5"/><text x="${26 + i * 110}" y="18">${text}</text>`).join('')}<text x="345" y="18">row sends to column</text></g>`;
}

function colourOf(reach: number): string {
  return reach < 0 ? COLOURS.outside : reach === 0 ? COLOURS.none : reach === 1 ? COLOURS.all : COLOURS.some;
}

/** Neighbours of one colour are one rectangle: 200 parties are some kilobytes, not megabytes. */
function rowSvg(row: readonly number[], y: number, {cell, left, top}: Layout): string {
  let out = '';
  for (let start = 0; start < row.length;) {
    const colour = colourOf(row[start] ?? 0);
    let end = start + 1;
    while (end < row.length && colourOf(row[end] ?? 0) === colour) end++;
    if (colour !== COLOURS.outside) out += `<rect x="${left + start * cell}" y="${top + y * cell}" width="${(end - start) * cell}" height="${cell}" fill="${colour}"/>`;
    start = end;
  }
  return `${out}\n`;
}

/** Hair lines between parties, stronger ones between namespaces. */
function bands({parties}: Matrix, {cell, left, top}: Layout): string {
  const size = parties.length * cell;
  const lines = Array.from({length: parties.length + 1}, (_, i) => {
    const strong = i === 0 || i === parties.length || parties[i]?.namespace !== parties[i - 1]?.namespace;
    const stroke = `stroke="${strong ? COLOURS.line : '#ffffff'}" stroke-width="${strong ? 1 : 0.5}"`;
    return `<path d="M${left} ${top + i * cell}h${size}M${left + i * cell} ${top}v${size}" ${stroke}/>`;
  });
  return `${lines.join('')}\n`;
}

function labels({parties}: Matrix, {cell, font, left, top}: Layout): string {
  return parties.map((party, i) => {
    const text = xml(shortLabel(party));
    const middle = i * cell + cell / 2 + font * 0.35;
    return `<text x="${left - 5}" y="${(top + middle).toFixed(1)}" text-anchor="end">${text}</text><text transform="translate(${(left + middle).toFixed(1)} ${top - 5}) rotate(-90)">${text}</text>\n`;
  }).join('');
}

export function htmlOf(matrix: Matrix): string {
  const data = JSON.stringify({labels: matrix.parties.map(({label}) => label), reaches: matrix.reaches, cells: matrix.cells}).replaceAll('<', '\\u003c');
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>Who may talk to whom</title>
<style>
body { margin: 16px; font: 14px system-ui, sans-serif; color: ${COLOURS.text}; background: #ffffff; }
#what { position: sticky; top: 0; left: 0; padding: 8px 0; min-height: 1.4em; background: #ffffff; font-weight: 600; }
</style>
</head>
<body>
<div id="what">Point at a cell.</div>
${svgOf(matrix)}
<script>
const data = ${data};
const cells = document.getElementById('cells');
const svg = cells.ownerSVGElement;
const what = document.getElementById('what');
svg.addEventListener('mousemove', (event) => {
  const box = svg.getBoundingClientRect();
  const {left, top, cell} = cells.dataset;
  const x = Math.floor((event.clientX - box.left - left) / cell);
  const y = Math.floor((event.clientY - box.top - top) / cell);
  const reach = data.cells[y]?.[x];
  if (reach === undefined || reach < 0) return;
  what.textContent = data.labels[y] + ' → ' + data.labels[x] + ': ' + data.reaches[reach];
});
</script>
</body>
</html>
`;
}
