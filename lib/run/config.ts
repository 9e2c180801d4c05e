// Options of a process: defaults, then a file, then the environment, then flags; checked; frozen.

import {readFile} from 'node:fs/promises';
import {StentorError} from '../core/errors.js';

interface CommonSpec {
  readonly help: string;
  /** Group title in `--help`. */
  readonly group?: string;
}

export type OptionSpec =
  | (CommonSpec & {readonly kind: 'string'; readonly default: string; readonly pattern?: string; readonly values?: readonly string[]; readonly required?: boolean})
  | (CommonSpec & {readonly kind: 'integer'; readonly default: number; readonly min: number; readonly max: number})
  | (CommonSpec & {readonly kind: 'boolean'; readonly default: boolean})
  /** Comma separated, and the flag may be repeated. */
  | (CommonSpec & {readonly kind: 'list'; readonly default: readonly string[]; readonly required?: boolean})
  /** `250ms`, `5s`, `2m`, `1h`, `2h13m20s`; a bare number is seconds. The value is in milliseconds. */
  | (CommonSpec & {readonly kind: 'duration'; readonly default: string; readonly minMs?: number; readonly maxMs?: number});

/** By flag name without the dashes (`state-dir`); the same name is the key in the file, and `STENTOR_STATE_DIR` in the environment. */
export type OptionTable = Readonly<Record<string, OptionSpec>>;

export type OptionValue<S extends OptionSpec> =
  S extends {kind: 'integer' | 'duration'} ? number
    : S extends {kind: 'boolean'} ? boolean
      : S extends {kind: 'list'} ? readonly string[]
        : S extends {values: readonly (infer V extends string)[]} ? V
          : string;

export type ConfigOf<T extends OptionTable> = {readonly [K in keyof T]: OptionValue<T[K]>};

export interface ConfigInput<T extends OptionTable> {
  readonly program: string;
  readonly about: string;
  readonly options: T;
  /** Without the interpreter and the script. */
  readonly argv: readonly string[];
  readonly env: Readonly<Record<string, string | undefined>>;
}

export type ConfigResult<T extends OptionTable> =
  | {readonly kind: 'config'; readonly value: ConfigOf<T>}
  | {readonly kind: 'help'; readonly text: string}
  | {readonly kind: 'version'};

type RawValues = Map<string, unknown>;

/** Throws `CONFIG_INVALID`: the message names the option, where its value came from, and what is accepted. */
export async function loadConfig<T extends OptionTable>(input: ConfigInput<T>): Promise<ConfigResult<T>> {
  const flags = readFlags(input);
  if (flags === 'help') return {kind: 'help', text: helpText(input)};
  if (flags === 'version') return {kind: 'version'};
  const environment = readEnvironment(input);
  const path = flags.get('config') ?? environment.get('config');
  const file = typeof path === 'string' && path !== '' ? await readConfigFile(input.options, path) : new Map<string, unknown>();
  const value: Record<string, unknown> = {};
  for (const [name, spec] of Object.entries(input.options)) {
    value[name] = flags.get(name) ?? environment.get(name) ?? file.get(name) ?? defaultOf(spec);
    requirePresence(name, spec, value[name]);
  }
  checkValues(input.options, value);
  return {kind: 'config', value: Object.freeze(value) as ConfigOf<T>};
}

function invalid(message: string, data: Readonly<Record<string, unknown>> = {}): StentorError {
  return new StentorError('CONFIG_INVALID', message, {hint: 'see --help', ...data});
}

function readFlags<T extends OptionTable>(input: ConfigInput<T>): RawValues | 'help' | 'version' {
  const values: RawValues = new Map();
  const queue = [...input.argv];
  for (let argument = queue.shift(); argument !== undefined; argument = queue.shift()) {
    if (argument === '--help' || argument === '-h') return 'help';
    if (argument === '--version') return 'version';
    if (!argument.startsWith('--')) throw invalid(`unexpected argument: ${argument}`);
    const equals = argument.indexOf('=');
    const name = equals < 0 ? argument.slice(2) : argument.slice(2, equals);
    const spec = input.options[name];
    if (spec === undefined) throw invalid(`unknown option: --${name}`);
    const text = equals < 0 ? flagValue(name, spec, queue) : argument.slice(equals + 1);
    const value = parseText(`--${name}`, spec, text);
    const before = values.get(name);
    values.set(name, Array.isArray(value) && Array.isArray(before) ? [...(before as string[]), ...(value as string[])] : value);
  }
  return values;
}

function flagValue(name: string, spec: OptionSpec, queue: string[]): string {
  if (spec.kind === 'boolean' && queue[0] !== 'true' && queue[0] !== 'false') return 'true';
  const text = queue.shift();
  if (text === undefined) throw invalid(`--${name} needs a value`);
  return text;
}

function readEnvironment<T extends OptionTable>(input: ConfigInput<T>): RawValues {
  const values: RawValues = new Map();
  for (const [name, spec] of Object.entries(input.options)) {
    const variable = environmentName(name);
    const text = input.env[variable];
    if (text !== undefined && text !== '') values.set(name, parseText(variable, spec, text));
  }
  return values;
}

function environmentName(option: string): string {
  return `STENTOR_${option.toUpperCase().replaceAll('-', '_')}`;
}

async function readConfigFile(options: OptionTable, path: string): Promise<RawValues> {
  const text = await readFile(path, 'utf8').catch((error: unknown) => {
    throw invalid(`cannot read the configuration file ${path}`, {path, cause: String(error)});
  });
  const parsed = await parseStructured(path, text);
  if (parsed === null || typeof parsed !== 'object' || Array.isArray(parsed)) throw invalid(`${path} is not a table of options`);
  const values: RawValues = new Map();
  for (const [name, value] of Object.entries(parsed)) {
    const spec = options[name];
    if (spec === undefined) throw invalid(`${path}: unknown option: ${name}`);
    values.set(name, typeof value === 'string' ? parseText(`${path}: ${name}`, spec, value) : fromFile(spec, value));
  }
  return values;
}

function fromFile(spec: OptionSpec, value: unknown): unknown {
  return spec.kind === 'duration' && typeof value === 'number' ? value * 1000 : value;
}

/** JSON without loading the YAML parser; anything else is YAML. */
async function parseStructured(path: string, text: string): Promise<unknown> {
  try {
    return JSON.parse(text);
  } catch {
    const yaml = await import('yaml');
    try {
      return yaml.parse(text);
    } catch (error) {
      throw invalid(`${path} is neither JSON nor YAML`, {cause: String(error)});
    }
  }
}

function parseText(where: string, spec: OptionSpec, text: string): unknown {
  switch (spec.kind) {
    case 'string':
      return text;
    case 'integer':
      if (!/^-?\d+$/.test(text)) throw invalid(`${where} is not a whole number: ${text}`);
      return Number(text);
    case 'boolean':
      if (text !== 'true' && text !== 'false') throw invalid(`${where} is true or false, not ${text}`);
      return text === 'true';
    case 'list':
      return text.split(',').map((item) => item.trim()).filter((item) => item !== '');
    case 'duration': {
      const durationMs = parseDuration(text);
      if (durationMs === null) throw invalid(`${where} is not a duration such as 250ms, 5s or 2h13m20s: ${text}`);
      return durationMs;
    }
  }
}

const UNIT_MS: Readonly<Record<string, number>> = {ms: 1, s: 1000, m: 60_000, h: 3_600_000};

/** Milliseconds, or null. */
export function parseDuration(text: string): number | null {
  if (/^\d+$/.test(text)) return Number(text) * 1000;
  if (!/^(\d+(ms|s|m|h))+$/.test(text)) return null;
  return [...text.matchAll(/(\d+)(ms|s|m|h)/g)].reduce((sum, [, n, unit]) => sum + Number(n) * (UNIT_MS[unit ?? ''] ?? 0), 0);
}

function defaultOf(spec: OptionSpec): unknown {
  return spec.kind === 'duration' ? parseDuration(spec.default) : spec.default;
}

function requirePresence(name: string, spec: OptionSpec, value: unknown): void {
  if ((spec.kind !== 'string' && spec.kind !== 'list') || spec.required !== true) return;
  if (value === '' || (Array.isArray(value) && value.length === 0)) {
    throw invalid(`--${name} (or ${environmentName(name)}) is required: ${spec.help}`);
  }
}

/** Also what a file has given, where a value can have any type. */
function checkValues(options: OptionTable, value: Record<string, unknown>): void {
  for (const [name, spec] of Object.entries(options)) {
    const problem = problemOf(spec, value[name]);
    if (problem !== null) throw invalid(`--${name} ${problem}${acceptedText(spec)}`, {option: name, value: value[name]});
  }
}

function problemOf(spec: OptionSpec, value: unknown): string | null {
  switch (spec.kind) {
    case 'string':
      if (typeof value !== 'string') return 'is not text';
      if (spec.values !== undefined && !spec.values.includes(value)) return 'is not one of the values';
      return spec.pattern === undefined || new RegExp(spec.pattern).test(value) ? null : `does not match ${spec.pattern}`;
    case 'integer':
      if (typeof value !== 'number' || !Number.isInteger(value)) return 'is not a whole number';
      return value < spec.min || value > spec.max ? 'is out of range' : null;
    case 'boolean':
      return typeof value === 'boolean' ? null : 'is not true or false';
    case 'list':
      return Array.isArray(value) && value.every((item) => typeof item === 'string') ? null : 'is not a list of texts';
    case 'duration':
      if (typeof value !== 'number' || Number.isNaN(value)) return 'is not a duration';
      return value < (spec.minMs ?? 0) || value > (spec.maxMs ?? Infinity) ? 'is out of range' : null;
  }
}

function acceptedText(spec: OptionSpec): string {
  if (spec.kind === 'integer') return ` (${spec.min}..${spec.max})`;
  if (spec.kind === 'string' && spec.values !== undefined) return ` (${spec.values.join(', ')})`;
  return '';
}

function helpText<T extends OptionTable>(input: ConfigInput<T>): string {
  const lines = [input.about, '', `Usage: ${input.program} [options]`];
  if ('config' in input.options) lines.push('Every option may also be given in the environment (--state-dir: STENTOR_STATE_DIR) or in the file of --config (state-dir: …).');
  const groups = new Map<string, string[]>();
  for (const [name, spec] of Object.entries(input.options)) {
    const group = groups.get(spec.group ?? 'Options') ?? [];
    group.push(`  ${`--${name} ${placeholder(spec)}`.trimEnd().padEnd(36)} ${spec.help}${defaultText(spec)}`);
    groups.set(spec.group ?? 'Options', group);
  }
  for (const [title, options] of groups) lines.push('', `${title}:`, ...options);
  lines.push('', '  --help, --version', '');
  return lines.join('\n');
}

function placeholder(spec: OptionSpec): string {
  switch (spec.kind) {
    case 'string':
      return spec.values === undefined ? 'TEXT' : spec.values.join('|');
    case 'integer':
      return 'N';
    case 'boolean':
      return '';
    case 'list':
      return 'A,B';
    case 'duration':
      return 'TIME';
  }
}

function defaultText(spec: OptionSpec): string {
  const text = Array.isArray(spec.default) ? spec.default.join(',') : String(spec.default);
  const bounds = spec.kind === 'integer' ? `; ${spec.min}..${spec.max}` : '';
  if (text === '') return '';
  return ` (default ${text}${bounds})`;
}

/** The one line a process prints when it cannot start; its fields are an interface. */
export function fatalLine(error: unknown): string {
  if (error instanceof StentorError) {
    const {hint, ...data} = error.data;
    return JSON.stringify({fatal: error.code, message: error.message, hint: typeof hint === 'string' ? hint : '', ...(Object.keys(data).length === 0 ? {} : {data})});
  }
  return JSON.stringify({fatal: 'INTERNAL', message: error instanceof Error ? error.message : String(error), hint: 'this is a defect: please report it with the log'});
}
