// `--desired-state FILE|DIR`: the node's state from JSON files instead of an operator, read again when they change.

import {watch} from 'node:fs';
import {readFile, readdir, stat} from 'node:fs/promises';
import {basename, dirname, join} from 'node:path';
import {StentorError} from '../../lib/core/errors.js';
import {contentHash} from '../../lib/core/hash.js';
import {canonicalJson} from '../../lib/core/order.js';
import type {Undecodable} from '../../lib/desired/decode.js';
import {decodeResource} from '../../lib/desired/decode.js';
import type {Resource} from '../../lib/desired/node-state.js';
import type {Log} from '../../lib/run/log.js';
import {errorFields} from '../../lib/run/log.js';
import {HeldState} from '../desired/held.js';
import type {DesiredState} from './session.js';

interface FileItem {
  readonly kind?: unknown;
  readonly key?: unknown;
  readonly value?: unknown;
}

export class FileSource {
  readonly #path: string;
  readonly #desired: DesiredState;
  readonly #log: Log;
  #lastError: string | null = null;

  constructor(options: {readonly path: string}, parts: {readonly desired: DesiredState; readonly log: Log}) {
    this.#path = options.path;
    this.#desired = parts.desired;
    this.#log = parts.log;
  }

  /** Why the files as they are now are not in force; null when they are. */
  get lastError(): string | null {
    return this.#lastError;
  }

  /** The first reading must succeed; later ones that fail keep what is held. */
  async run(signal: AbortSignal): Promise<void> {
    const isFolder = (await stat(this.#path)).isDirectory();
    const folder = isFolder ? this.#path : dirname(this.#path);
    let changed = true;
    let wake = (): void => {};
    // The watch starts before the reading, so that a change between them is not lost.
    const watcher = watch(folder, (_event, name) => {
      if (!isFolder && name !== null && name !== basename(this.#path)) return;
      changed = true;
      wake();
    });
    const stop = (): void => wake();
    signal.addEventListener('abort', stop);
    try {
      await this.read();
      changed = false;
      while (!signal.aborted) {
        // The flag is looked at after `wake` is set: no event falls between them.
        await new Promise<void>((resolve) => {
          wake = resolve;
          if (changed || signal.aborted) resolve();
        });
        changed = false;
        if (!signal.aborted) await this.#readAgain();
      }
    } finally {
      signal.removeEventListener('abort', stop);
      watcher.close();
    }
  }

  async #readAgain(): Promise<void> {
    try {
      await this.read();
    } catch (error) {
      this.#lastError = error instanceof Error ? error.message : String(error);
      this.#log.warn('desired state cannot be read: keeping what is held', {path: this.#path, ...errorFields(error)});
    }
  }

  async read(): Promise<void> {
    const items = (await Promise.all((await this.#files()).map(readItems))).flat();
    const held = heldOf(items);
    this.#lastError = null;
    if (held.version === this.#desired.held.version) return;
    const upserts: Resource[] = [];
    for (const table of Object.values(held.tables)) upserts.push(...(table.values() as Iterable<Resource>));
    this.#desired.apply({base: '', version: held.version, upserts, undecodable: [...held.undecodable.values()], removes: []});
    for (const {kind, key, reason} of held.undecodable.values()) this.#log.warn('resource cannot be decoded', {kind, key, reason});
  }

  async #files(): Promise<readonly string[]> {
    if (!(await stat(this.#path)).isDirectory()) return [this.#path];
    const names = (await readdir(this.#path)).filter((name) => name.endsWith('.json')).sort((a, b) => (a < b ? -1 : 1));
    return names.map((name) => join(this.#path, name));
  }
}

async function readItems(path: string): Promise<readonly FileItem[]> {
  const text = await readFile(path, 'utf8');
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch (error) {
    throw new StentorError('DESIRED_STATE_INVALID', `${path} is not JSON`, {path}, {cause: error});
  }
  const items: unknown = Array.isArray(parsed) ? parsed : (parsed as {resources?: unknown} | null)?.resources;
  if (!Array.isArray(items)) throw new StentorError('DESIRED_STATE_INVALID', `${path} has no list "resources"`, {path});
  return items as readonly FileItem[];
}

/** Versions are made here from the content: a file need not name them. */
function heldOf(items: readonly FileItem[]): HeldState {
  const resources: Resource[] = [];
  const undecodable: Undecodable[] = [];
  for (const {kind, key, value} of items) {
    const decoded = decodeResource(String(kind), String(key), contentHash(canonicalJson(value)), value);
    if (decoded.resource !== null) resources.push(decoded.resource);
    else undecodable.push(decoded.undecodable);
  }
  return HeldState.of(resources, undecodable);
}
