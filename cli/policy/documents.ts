// Manifests with the place of every part: YAML or JSON, several documents in one text, Lists.

import {isMap, isScalar, isSeq, LineCounter, parseAllDocuments, parseDocument, type Document, type Node} from 'yaml';
import {isKubeObject, isRecord, type KubeObject} from '../../lib/kube/object.js';

/** Counted from 1. */
export interface Place {
  readonly file: string;
  readonly line: number;
  readonly column: number;
}

export interface SourceObject {
  readonly apiVersion: string;
  readonly kind: string;
  readonly object: KubeObject;
  readonly source: ObjectSource;
}

export interface DocumentProblem {
  readonly place: Place;
  readonly code: 'SyntaxError' | 'NotAnObject';
  readonly message: string;
}

/** A document that is no Kubernetes object: assertions of `policy test`, values of a chart. */
export interface OtherDocument {
  readonly value: unknown;
  readonly source: ObjectSource;
}

export interface Documents {
  readonly objects: readonly SourceObject[];
  readonly others: readonly OtherDocument[];
  readonly problems: readonly DocumentProblem[];
}

type Step = string | number;

interface Root {
  readonly node: Node | null;
  readonly lines: {linePos(offset: number): {readonly line: number; readonly col: number}};
}

/** Where one object stands. Its text is parsed for places when the first one is asked for, not before. */
export class ObjectSource {
  readonly file: string;
  readonly #root: () => Root;
  readonly #base: readonly Step[];

  constructor(options: {readonly file: string; readonly base: readonly Step[]}, root: () => Root) {
    this.file = options.file;
    this.#base = options.base;
    this.#root = root;
  }

  /** The key, or the list item, that `path` names; of a part that is not there the nearest one around it. */
  locate(path: string): Place {
    const {node, lines} = this.#root();
    let at = node;
    let offset = node?.range?.[0] ?? 0;
    const enter = (step: Step): boolean => {
      const found = stepInto(at, step);
      if (found === null) return false;
      [at, offset] = [found.node, found.offset];
      return true;
    };
    if (this.#base.every(enter)) for (let rest = path; rest !== '';) {
      const next = nextStep(at, rest);
      if (next === null || !enter(next.step)) break;
      rest = next.rest;
    }
    const {line, col} = lines.linePos(offset);
    return {file: this.file, line: Math.max(1, line), column: Math.max(1, col)};
  }
}

function stepInto(node: Node | null, step: Step): {readonly node: Node | null; readonly offset: number} | null {
  if (typeof step === 'number') {
    const item = isSeq(node) ? node.items[step] : undefined;
    return item === undefined ? null : {node: item as Node, offset: (item as Node).range?.[0] ?? 0};
  }
  if (!isMap(node)) return null;
  const pair = node.items.find(({key}) => isScalar(key) && String(key.value) === step);
  if (pair === undefined) return null;
  return {node: pair.value as Node | null, offset: (pair.key as Node).range?.[0] ?? 0};
}

/** Keys may hold dots and slashes: the longest key of the map that the path begins with is meant. */
function nextStep(node: Node | null, path: string): {readonly step: Step; readonly rest: string} | null {
  const index = /^\[(\d+)\]\.?/.exec(path);
  if (index !== null && isSeq(node)) return {step: Number(index[1]), rest: path.slice(index[0].length)};
  if (!isMap(node)) return null;
  const bare = path.startsWith('[') ? path.slice(1) : path;
  const keys = node.items.map(({key}) => (isScalar(key) ? String(key.value) : '')).filter((key) => key !== '' && bare.startsWith(key));
  const fitting = keys.filter((key) => /^($|[.[\]])/.test(bare.slice(key.length))).sort((a, b) => b.length - a.length);
  const [key] = fitting;
  return key === undefined ? null : {step: key, rest: bare.slice(key.length).replace(/^\]/, '').replace(/^\./, '')};
}

export function parseDocuments(text: string, file: string): Documents {
  const out: Collected = {file, objects: [], others: [], problems: []};
  const json = parseJson(text);
  if (json === null) parseYaml(text, out);
  else for (const {value, offset, length} of json) {
    let root: Root | undefined;
    addValue(value, () => (root ??= jsonRoot(text, offset, length)), out);
  }
  return out;
}

interface Collected {
  readonly file: string;
  readonly objects: SourceObject[];
  readonly others: OtherDocument[];
  readonly problems: DocumentProblem[];
}

interface JsonValue {
  readonly value: unknown;
  readonly offset: number;
  readonly length: number;
}

/** One JSON value, or one on each line. Null when it is neither: JSON is far faster to read than YAML. */
function parseJson(text: string): readonly JsonValue[] | null {
  if (!/^\s*[{[]/.test(text)) return null;
  try {
    return [{value: JSON.parse(text) as unknown, offset: 0, length: text.length}];
  } catch {
    return parseJsonLines(text);
  }
}

function parseJsonLines(text: string): readonly JsonValue[] | null {
  const values: JsonValue[] = [];
  let offset = 0;
  for (const line of text.split('\n')) {
    if (line.trim() !== '') {
      try {
        values.push({value: JSON.parse(line) as unknown, offset, length: line.length});
      } catch {
        return null;
      }
    }
    offset += line.length + 1;
  }
  return values;
}

function jsonRoot(text: string, offset: number, length: number): Root {
  // Blank in place of what comes before: offsets and lines stay those of the file.
  const before = text.slice(0, offset).replaceAll(/[^\n]/g, ' ');
  const lines = new LineCounter();
  const document = parseDocument(before + text.slice(offset, offset + length), {lineCounter: lines});
  return {node: document.contents, lines};
}

function parseYaml(text: string, out: Collected): void {
  const lines = new LineCounter();
  const parsed = parseAllDocuments(text, {lineCounter: lines, prettyErrors: false, merge: true});
  if (!Array.isArray(parsed)) return;
  for (const document of parsed as readonly Document.Parsed[]) {
    const [error] = document.errors;
    const at = (offset: number): Place => {
      const {line, col} = lines.linePos(offset);
      return {file: out.file, line: Math.max(1, line), column: Math.max(1, col)};
    };
    if (error !== undefined) {
      out.problems.push({place: at(error.pos[0]), code: 'SyntaxError', message: firstLine(error.message)});
      continue;
    }
    try {
      const value: unknown = document.toJS();
      if (value !== null && value !== undefined) addValue(value, () => ({node: document.contents, lines}), out);
    } catch (aliasError) {
      out.problems.push({place: at(document.range[0]), code: 'SyntaxError', message: firstLine(aliasError instanceof Error ? aliasError.message : String(aliasError))});
    }
  }
}

function firstLine(text: string): string {
  return text.split('\n')[0] ?? '';
}

function addValue(value: unknown, root: () => Root, out: Collected): void {
  if (isRecord(value) && typeof value['kind'] === 'string' && value['kind'].endsWith('List') && Array.isArray(value['items'])) {
    const [apiVersion, kind] = [value['apiVersion'], value['kind'].slice(0, -4)];
    for (const [i, item] of (value['items'] as readonly unknown[]).entries()) {
      // Items of a typed list need not repeat what they are.
      const typed = kind === '' || !isRecord(item) || item['kind'] !== undefined ? item : {apiVersion, kind, ...item};
      addObject(typed, new ObjectSource({file: out.file, base: ['items', i]}, root), out);
    }
    return;
  }
  addObject(value, new ObjectSource({file: out.file, base: []}, root), out);
}

function addObject(value: unknown, source: ObjectSource, out: Collected): void {
  if (!isRecord(value) || value['kind'] === 'PolicyTest' || typeof value['apiVersion'] !== 'string' || typeof value['kind'] !== 'string') {
    out.others.push({value, source});
  } else if (isKubeObject(value)) {
    out.objects.push({apiVersion: value['apiVersion'], kind: value['kind'], object: value, source});
  } else {
    const message = `${value['kind']}: metadata.name is missing, or metadata has members of a wrong type`;
    out.problems.push({place: source.locate('metadata'), code: 'NotAnObject', message});
  }
}
