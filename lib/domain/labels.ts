// Labels with a source, as Cilium's: `k8s:app=web`, `reserved:host`, `cidr:10.0.0.0/8` (pkg/labels/labels.go).

import {compareStrings} from '../core/order.js';

export interface Label {
  readonly source: string;
  readonly key: string;
  readonly value: string;
}

/** `source:key[=value]`; the first colon splits, a missing source is `unspec`. */
export function parseLabel(text: string): Label {
  const equals = text.indexOf('=');
  const left = equals < 0 ? text : text.slice(0, equals);
  const value = equals < 0 ? '' : text.slice(equals + 1);
  const colon = left.indexOf(':');
  if (colon < 0) return {source: 'unspec', key: left, value};
  return {source: left.slice(0, colon), key: left.slice(colon + 1), value};
}

export function formatLabel(label: Label): string {
  const name = `${label.source}:${label.key}`;
  return label.value === '' ? name : `${name}=${label.value}`;
}

/** Sources and keys are few; of those that were read one by one each keeps a text of its own alive. */
const NAMES = new Map<string, string>();
const NAMES_MAX = 10_000;

function shared(name: string): string {
  const held = NAMES.get(name);
  if (held !== undefined) return held;
  if (NAMES.size >= NAMES_MAX) NAMES.clear();
  NAMES.set(name, name);
  return name;
}

interface Written {
  readonly label: Label;
  readonly text: string;
}

/** Most labels are those of many sets: one object and one text for each of the last ones. */
const WRITTEN = new Map<string, Written>();
const WRITTEN_MAX = 1 << 17;

function written(label: Label): Written {
  const text = formatLabel(label);
  const held = WRITTEN.get(text);
  // Texts of odd labels need not be distinct.
  if (held !== undefined && held.label.source === label.source && held.label.key === label.key) return held;
  if (WRITTEN.size >= WRITTEN_MAX) WRITTEN.clear();
  const made = {label: {source: shared(label.source), key: shared(label.key), value: label.value}, text};
  WRITTEN.set(text, made);
  return made;
}

/** An immutable label set, sorted by source and key. */
export class Labels {
  readonly all: readonly Label[];
  /** Canonical text: equal sets have equal keys. */
  readonly key: string;
  readonly #texts: readonly string[];

  /** `texts`: as `formatLabel` writes them; given only when both are sorted. */
  constructor(labels: Iterable<Label>, texts: readonly string[] | null = null) {
    if (texts === null) {
      const sorted = Array.from(labels, written).sort((a, b) => compareStrings(a.text, b.text));
      this.all = sorted.map(({label}) => label);
      this.#texts = sorted.map(({text}) => text);
    } else {
      this.all = [...labels];
      this.#texts = texts;
    }
    this.key = this.#texts.join(';');
  }

  /** Of two sets that share no label. */
  static union(a: Labels, b: Labels): Labels {
    const labels = new Array<Label>();
    const texts = new Array<string>();
    const take = (from: Labels, i: number): void => {
      const [label, text] = [from.all[i], from.#texts[i]];
      if (label === undefined || text === undefined) return;
      labels.push(label);
      texts.push(text);
    };
    for (let i = 0, j = 0; i < a.all.length || j < b.all.length;) {
      const [ours, theirs] = [a.#texts[i], b.#texts[j]];
      if (theirs === undefined || (ours !== undefined && ours < theirs)) take(a, i++);
      else take(b, j++);
    }
    return new Labels(labels, texts.slice());
  }

  static parse(texts: Iterable<string>): Labels {
    return new Labels(Array.from(texts, parseLabel));
  }

  /** Values of `key` from `source`; source `any` asks every source. */
  valuesOf(source: string, key: string): string[] {
    return this.all.filter((label) => label.key === key && (source === 'any' || label.source === source)).map((label) => label.value);
  }

  /** The same list every time. */
  format(): readonly string[] {
    return this.#texts;
  }
}
