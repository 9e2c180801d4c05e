// The picture of the matrix, read back: well-formed, and each of its cells, by colour and under the pointer, is that of the table.

import {mkdtempSync, rmSync, writeFileSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {runInNewContext} from 'node:vm';
import {afterAll, describe, expect, test} from '@jest/globals';
import {transformSync} from 'esbuild';
import type {Matrix} from './matrix-data.js';
import {SHOP, stentorctl} from './testing/run.js';

const folder = mkdtempSync(join(tmpdir(), 'policy-picture-'));
afterAll(() => rmSync(folder, {recursive: true, force: true}));

interface Element {
  readonly tag: string;
  readonly attributes: Readonly<Record<string, string>>;
  readonly children: readonly (Element | string)[];
}

/** A parser that refuses what is not closed, not quoted, or not escaped: JSX is as strict as XML. */
function parsed(markup: string): Element {
  const {code} = transformSync(`(${markup})`, {loader: 'jsx', jsxFactory: 'h'});
  const h = (tag: string, attributes: Element['attributes'] | null, ...children: Element['children']): Element => ({tag, attributes: attributes ?? {}, children});
  return runInNewContext(code, {h}) as Element;
}

function* within(element: Element): Generator<Element> {
  yield element;
  for (const child of element.children) if (typeof child !== 'string') yield* within(child);
}

function only(elements: Iterable<Element>): Element {
  const [first, ...others] = elements;
  if (first === undefined || others.length > 0) throw new Error(`${others.length + 1} elements instead of one`);
  return first;
}

function textOf({children}: Element): string {
  return children.map((child) => (typeof child === 'string' ? child : textOf(child))).join('');
}

function number(element: Element, name: string): number {
  return Number(element.attributes[name]);
}

/** HTML closes `meta` by itself, and says what it is first. */
function pageOf(html: string): {readonly svg: Element; readonly script: string} {
  expect(html.startsWith('<!doctype html>\n')).toBe(true);
  const script = /<script>\n([^]*)<\/script>/.exec(html)?.[1] ?? '';
  const page = parsed(html.slice('<!doctype html>\n'.length).replace('<meta charset="utf-8">', '<meta charset="utf-8"/>')
    .replace(/<style>[^]*<\/style>/, '<style/>').replace(/<script>[^]*<\/script>/, '<script/>'));
  expect(page.tag).toBe('html');
  expect([...within(page)].filter(({attributes}) => 'id' in attributes).map(({attributes}) => attributes['id'])).toEqual(['what', 'cells']);
  return {svg: only([...within(page)].filter(({tag}) => tag === 'svg')), script};
}

/** What the colour of each cell says: the words of the legend. Null = no rectangle there. */
function coloursOf(svg: Element, parties: number): (string | null)[][] {
  const [legend, cells] = [...within(svg)].filter(({tag}) => tag === 'g');
  if (legend === undefined || cells === undefined) throw new Error('no legend, or no cells');
  const words = new Map<string, string>();
  for (const [i, item] of legend.children.entries()) {
    const text = legend.children[i + 1];
    if (typeof item !== 'string' && item.tag === 'rect' && text !== undefined && typeof text !== 'string') words.set(item.attributes['fill'] ?? '', textOf(text));
  }
  const [left, top, size] = [number(cells, 'data-left'), number(cells, 'data-top'), number(cells, 'data-cell')];
  const found = Array.from({length: parties}, () => Array.from({length: parties}, (): string | null => null));
  for (const rect of [...within(cells)].filter(({tag}) => tag === 'rect')) {
    const row = found[(number(rect, 'y') - top) / size];
    const first = (number(rect, 'x') - left) / size;
    for (let i = 0; i < number(rect, 'width') / size; i++) {
      expect(row?.[first + i]).toBeNull();
      row?.splice(first + i, 1, words.get(rect.attributes['fill'] ?? '') ?? 'no such colour');
    }
  }
  return found;
}

/** What the page says under the pointer in the middle of each cell. */
function hovered({svg, script}: ReturnType<typeof pageOf>, parties: number): string[][] {
  const attributes = only([...within(svg)].filter((element) => element.attributes['id'] === 'cells')).attributes;
  const [left, top, cell] = [attributes['data-left'], attributes['data-top'], attributes['data-cell']];
  let move: (event: {readonly clientX: number; readonly clientY: number}) => void = () => undefined;
  const what = {textContent: ''};
  const ownerSVGElement = {
    addEventListener: (_type: string, listener: typeof move) => {
      move = listener;
    },
    getBoundingClientRect: () => ({left: 5, top: 7}),
  };
  runInNewContext(script, {document: {getElementById: (id: string) => (id === 'cells' ? {ownerSVGElement, dataset: {left, top, cell}} : what)}});
  const middle = (start: string | undefined, i: number): number => Number(start) + (i + 0.5) * Number(cell);
  return Array.from({length: parties}, (_row, y) => Array.from({length: parties}, (_column, x) => {
    what.textContent = '';
    move({clientX: middle(left, x) + 5, clientY: middle(top, y) + 7});
    return what.textContent;
  }));
}

/** The marks of the table for a terminal, by row and column. */
function marksOf(table: string, parties: number): string[][] {
  const rows = table.split('\n').filter((line) => /^ *\d+ {2}\S/.test(line));
  expect(rows).toHaveLength(parties);
  return rows.map((line) => Array.from({length: parties}, (_, x) => line[line.length - 2 * (parties - x) + 1] ?? ''));
}

function oddNames(): string {
  const file = join(folder, 'odd.json');
  const pods = Array.from({length: 12}, (_, i) => ({apiVersion: 'v1', kind: 'Pod', metadata: {name: `p${i}`, namespace: `n${i % 3}`, labels: {app: `a${i}&<b>"'</script>`}}, spec: {}}));
  const policies = Array.from({length: 3}, (_, i) => ({
    apiVersion: 'networking.k8s.io/v1', kind: 'NetworkPolicy', metadata: {name: 'own', namespace: `n${i}`},
    spec: {podSelector: {}, policyTypes: ['Ingress'], ingress: [{from: [{podSelector: {}}], ...(i === 0 ? {} : {ports: [{port: 80 + i}]})}]},
  }));
  writeFileSync(file, JSON.stringify({apiVersion: 'v1', kind: 'List', items: [...pods, ...policies]}));
  return file;
}

describe.each([['the shop', SHOP, []], ['names that need escapes', oddNames(), []], ['a row for each pod', oddNames(), ['--by-pod']]])('the picture of %s', (_name, path, options) => {
  const drawn = (format: string): string => stentorctl(['policy', 'matrix', path, '-o', format, ...options]).out;
  const {parties, reaches, cells} = JSON.parse(drawn('json')) as Matrix;
  const word = (reach: number): string | null => (reach < 0 ? null : reach === 0 ? 'nothing' : reach === 1 ? 'everything' : 'some ports');

  test('is well-formed, and its colours are those of the table', () => {
    const page = pageOf(drawn('html'));
    for (const svg of [page.svg, parsed(drawn('svg'))]) expect(coloursOf(svg, parties.length)).toEqual(cells.map((row) => row.map(word)));
    expect(new Set(cells.flat().map(word)).size).toBeGreaterThan(2);
    const letters = 'abcdefghijklmnopqrstuvwxyz'.split('');
    expect(marksOf(drawn('wide'), parties.length)).toEqual(cells.map((row) => row.map((reach) => (reach < 0 ? ' ' : ['·', '●', ...letters][reach]))));
  });

  test('says under the pointer what the table says', () => {
    const said = hovered(pageOf(drawn('html')), parties.length);
    expect(said).toEqual(cells.map((row, y) => row.map((reach, x) => (reach < 0 ? '' : `${parties[y]?.label ?? ''} → ${parties[x]?.label ?? ''}: ${reaches[reach] ?? ''}`))));
  });
});
