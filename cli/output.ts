// What a command prints: one list in any of the formats. JSON field names are an interface; tables are for people.

import {usage} from './errors.js';
import {table, type Column} from './table.js';

export const FORMATS = ['table', 'wide', 'json', 'yaml', 'jsonl', 'name'] as const;
/** Of single verbs. */
export type ExtraFormat = 'sarif' | 'junit' | 'html' | 'svg';
export type Format = (typeof FORMATS)[number] | ExtraFormat;

export interface Io {
  out(text: string): void;
  err(text: string): void;
  /** Resolves when what was written is no longer held in memory. */
  drained(): Promise<void>;
  /** Of the terminal; null when the output goes elsewhere. */
  readonly width: number | null;
}

export interface Listing<T> {
  readonly items: readonly T[];
  readonly columns: readonly Column<T>[];
  readonly name: (item: T) => string;
  /** Said on stderr in place of an empty table. */
  readonly empty: string;
}

export function parseFormat(text: string, extra: readonly ExtraFormat[] = []): Format {
  const formats: readonly Format[] = [...FORMATS, ...extra];
  const format = formats.find((known) => known === text);
  if (format === undefined) throw usage(`-o ${text}: not one of ${formats.join(', ')}`);
  return format;
}

export async function printListing<T>(io: Io, format: Format, listing: Listing<T>): Promise<void> {
  const {items, columns, name, empty} = listing;
  if (format === 'name') {
    for (const item of items) io.out(`${name(item)}\n`);
  } else if (format === 'table' || format === 'wide') {
    if (items.length === 0) io.err(`${empty}\n`);
    else io.out(table(columns.filter(({wide}) => format === 'wide' || wide !== true), items, format === 'wide' ? null : io.width));
  } else {
    await printValue(io, format, items);
  }
}

/** A value without a table of its own: JSON where a table was asked for. */
export async function printValue(io: Io, format: Format, value: unknown): Promise<void> {
  if (format === 'yaml') {
    const {stringify} = await import('yaml');
    io.out(stringify(plain(value)));
  } else if (format === 'jsonl') {
    for (const item of Array.isArray(value) ? (value as readonly unknown[]) : [value]) io.out(`${toJson(item, 0)}\n`);
  } else {
    io.out(`${toJson(value, 2)}\n`);
  }
}

/** 64-bit counters as numbers: exact up to 2^53, which no counter of a node reaches. */
function toJson(value: unknown, indent: number): string {
  return JSON.stringify(value, (_key, inner: unknown) => (typeof inner === 'bigint' ? Number(inner) : inner), indent);
}

function plain(value: unknown): unknown {
  return JSON.parse(toJson(value, 0));
}
