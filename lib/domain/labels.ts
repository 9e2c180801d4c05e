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

interface Written {
  readonly label: Label;
  readonly text: string;
}

/** Most labels are those of many sets: one object and one text for each of the last ones. */
const WRITTEN = new Map<string, Written>();
const WRITTEN_MAX = 10_000;

function written(label: Label): Written {
  const text = formatLabel(label);
  const held = WRITTEN.get(text);
  // Texts of odd labels need not be distinct.
  if (held !== undefined && held.label.source === label.source && held.label.key === label.key) return held;
  if (WRITTEN.size >= WRITTEN_MAX) WRITTEN.clear();
  const made = {label, text};
  WRITTEN.set(text, made);
  return made;
}

/** An immutable label set, sorted by source and key. */
export class Labels {
  readonly all: readonly Label[];
  /** Canonical text: equal sets have equal keys. */
  readonly key: string;
  readonly #texts: readonly string[];

  constructor(labels: Iterable<Label>) {
    const sorted = Array.from(labels, written).sort((a, b) => compareStrings(a.text, b.text));
    this.all = sorted.map(({label}) => label);
    this.#texts = sorted.map(({text}) => text);
    this.key = this.#texts.join(';');
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
