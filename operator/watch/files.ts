// The same feed from watched files of manifests, for `--input`: no API server. What the operator writes (`--output`) is read
// back through it. Fails closed: what cannot be read keeps the objects it held before; only a removed file or document removes.

import {watch as watchDirectory, type FSWatcher} from 'node:fs';
import {readdir, readFile, stat} from 'node:fs/promises';
import {dirname, join} from 'node:path';
import {compareStrings} from '../../lib/core/order.js';
import type {Clock} from '../../lib/run/clock.js';
import {errorFields, type Log} from '../../lib/run/log.js';
import type {Batch, KubeObject, WatchedKind} from './feed-types.js';
import {Batcher, type Feed, type FeedStatus} from './feed.js';
import {FileObjects, type FileContent, type FileProblem} from './file-objects.js';
import {DEFAULT_KIND_OPTIONS, watchedResources, watchedSecret, type KindOptions} from './kinds.js';

export interface FileFeedOptions {
  /** Files, or folders with everything below them that ends in .yaml, .yml or .json. Hidden ones are skipped. */
  readonly inputs: readonly string[];
  /** Where the operator's own objects are written; what lies there at the start is known before in-sync. */
  readonly outputDir: string | null;
  readonly kinds?: KindOptions;
  /** Everything is looked at again after this time, in case a change notification was lost. */
  readonly rescanMs?: number;
}

export interface FileFeedParts {
  readonly clock: Clock;
  readonly log: Log;
  readonly onBatch: (batch: Batch) => void;
  /** What the API server would say: the object with defaults set and unknown fields cut, or why it is refused. */
  readonly admit: (kind: WatchedKind, object: KubeObject) => {readonly object: KubeObject} | {readonly refused: string};
}

export interface FileFeed extends Feed {
  /** The operator wrote this (or removed it: null): it comes back as a change. Policies: only `status` is taken. */
  written(kind: WatchedKind, key: string, object: KubeObject | null): void;
  problems(): readonly FileProblem[];
}

/** A file that changed less long ago may still be in the middle of being written. */
const SETTLE_MS = 5;

export function startFileFeed(options: FileFeedOptions, parts: FileFeedParts, signal: AbortSignal): FileFeed {
  const scanner = new FileScanner(options, parts);
  return {
    status: () => scanner.status(),
    problems: () => scanner.objects.problems(),
    written: (kind, key, object) => scanner.written(kind, key, object),
    // What is in the files is read.
    wantSecrets: () => undefined,
    done: scanner.run(signal),
  };
}

interface SeenFile {
  readonly stamp: string;
  readonly empty: boolean;
}

class FileScanner {
  readonly objects: FileObjects;
  readonly #options: Required<FileFeedOptions>;
  readonly #parts: FileFeedParts;
  readonly #batcher: Batcher;
  readonly #kinds: readonly WatchedKind[];
  readonly #files = new Map<string, SeenFile>();
  readonly #watchers = new Map<string, FSWatcher>();
  #wake: (() => void) | null = null;
  #dirty = true;
  #scans = 0;

  constructor(options: FileFeedOptions, parts: FileFeedParts) {
    this.#options = {kinds: DEFAULT_KIND_OPTIONS, rescanMs: 10_000, ...options};
    this.#parts = parts;
    const watched = [...watchedResources(this.#options.kinds), watchedSecret(this.#options.kinds, null)];
    this.#kinds = watched.map((item) => item.kind);
    this.#batcher = new Batcher(this.#kinds, parts);
    this.objects = new FileObjects({watched}, {admit: parts.admit});
  }

  status(): FeedStatus {
    const counts = this.objects.counts();
    return {
      inSync: this.#batcher.inSync,
      kinds: this.#kinds.map((kind) => ({
        kind, listed: this.#batcher.inSync, objects: counts.get(kind) ?? 0, resourceVersion: '', lists: this.#scans, watches: this.#watchers.size,
        failure: null,
      })),
    };
  }

  written(kind: WatchedKind, key: string, object: KubeObject | null): void {
    const changes = this.objects.written(kind, key, object);
    if (changes.length > 0) this.#batcher.add(changes);
  }

  async run(signal: AbortSignal): Promise<void> {
    const {clock, log} = this.#parts;
    const stop = (): void => this.#wake?.();
    signal.addEventListener('abort', stop, {once: true});
    try {
      this.#add(this.objects.start());
      if (this.#options.outputDir !== null) await this.#loadOutput(this.#options.outputDir);
      while (!signal.aborted) {
        this.#dirty = false;
        await this.#scan(signal);
        if (!this.#batcher.inSync) for (const kind of this.#kinds) this.#batcher.listed(kind);
        if (this.#dirty || signal.aborted) continue;
        const wait = new AbortController();
        this.#wake = () => wait.abort();
        await clock.sleep(this.#options.rescanMs, wait.signal).catch(() => undefined);
        this.#wake = null;
      }
    } finally {
      signal.removeEventListener('abort', stop);
      for (const watcher of this.#watchers.values()) watcher.close();
      this.#watchers.clear();
      log.debug('file feed ended');
    }
  }

  #changed(): void {
    this.#dirty = true;
    this.#wake?.();
  }

  async #loadOutput(dir: string): Promise<void> {
    const files = await findManifests(dir, () => undefined).catch((error: unknown) => {
      if (isMissing(error)) return [];
      throw error;
    });
    for (const path of files.sort(compareStrings)) {
      const content = await this.#read(path);
      if (content !== null) this.#batcher.add(this.objects.writtenFile(content));
    }
  }

  async #scan(signal: AbortSignal): Promise<void> {
    this.#scans++;
    const found = new Set<string>();
    for (const input of this.#options.inputs) {
      const files = await findManifests(input, (dir) => this.#watch(dir)).catch((error: unknown) => {
        if (isMissing(error) && this.#files.has(input)) return [];
        this.#parts.log.warn('cannot read input', {input, ...errorFields(error)});
        return null;
      });
      // A folder that is away (a mount) says nothing about its files: their objects stay. A file that is away is removed.
      if (files === null) for (const path of this.#files.keys()) if (path === input || path.startsWith(`${input}/`)) found.add(path);
      for (const path of files ?? []) found.add(path);
    }
    for (const path of [...found].sort(compareStrings)) await this.#scanFile(path, signal);
    for (const path of [...this.#files.keys()].filter((known) => !found.has(known))) {
      this.#files.delete(path);
      this.#add(this.objects.removeFile(path));
    }
  }

  async #scanFile(path: string, signal: AbortSignal): Promise<void> {
    const before = await stat(path, {bigint: true}).catch(() => null);
    if (before === null) return;
    const stamp = `${before.mtimeNs}/${before.size}/${before.ino}`;
    if (this.#files.get(path)?.stamp === stamp) return;
    const ageMs = this.#parts.clock.now() - Number(before.mtimeNs / 1_000_000n);
    if (ageMs >= 0 && ageMs < SETTLE_MS) await this.#parts.clock.sleep(SETTLE_MS - ageMs, signal).catch(() => undefined);
    const content = await this.#read(path);
    const after = await stat(path, {bigint: true}).catch(() => null);
    if (content === null || after === null || `${after.mtimeNs}/${after.size}/${after.ino}` !== stamp) {
      this.#dirty = true;
      return;
    }
    const known = this.#files.get(path);
    this.#files.set(path, {stamp, empty: content.text === ''});
    // Writers truncate before they write: nothing at all is not a statement. A comment alone is one.
    if (content.text === '' && known !== undefined && !known.empty) {
      this.#parts.log.warn('file became empty: its objects are kept until it has content or is removed', {path});
      this.#files.set(path, {stamp, empty: false});
      return;
    }
    this.#add(this.objects.setFile(content));
  }

  #add(result: ReturnType<FileObjects['setFile']>): void {
    for (const problem of result.problems) this.#parts.log.warn('manifest refused', {...problem});
    if (result.changes.length > 0) this.#batcher.add(result.changes);
  }

  async #read(path: string): Promise<FileContent | null> {
    try {
      return {path, text: await readFile(path, 'utf8')};
    } catch (error) {
      this.#parts.log.debug('cannot read file', {path, ...errorFields(error)});
      return null;
    }
  }

  #watch(dir: string): void {
    if (this.#watchers.has(dir)) return;
    try {
      const watcher = watchDirectory(dir, () => this.#changed());
      watcher.on('error', () => {
        watcher.close();
        this.#watchers.delete(dir);
        this.#changed();
      });
      this.#watchers.set(dir, watcher);
      // What changed between the listing and the watch is seen by one more look.
      this.#dirty = true;
    } catch (error) {
      this.#parts.log.debug('cannot watch folder', {dir, ...errorFields(error)});
    }
  }
}

/** All manifest files at or below `input`; `onDirectory` is told each folder before it is listed. */
async function findManifests(input: string, onDirectory: (dir: string) => void): Promise<string[]> {
  const what = await stat(input);
  if (!what.isDirectory()) {
    onDirectory(dirname(input));
    return [input];
  }
  return findBelow(input, onDirectory);
}

async function findBelow(dir: string, onDirectory: (dir: string) => void): Promise<string[]> {
  onDirectory(dir);
  const files: string[] = [];
  for (const entry of await readdir(dir, {withFileTypes: true})) {
    if (entry.name.startsWith('.')) continue;
    const path = join(dir, entry.name);
    const isDirectory = entry.isSymbolicLink() ? await stat(path).then((item) => item.isDirectory(), () => false) : entry.isDirectory();
    if (isDirectory) files.push(...await findBelow(path, onDirectory));
    else if (/\.(ya?ml|json)$/.test(entry.name)) files.push(path);
  }
  return files;
}

function isMissing(error: unknown): boolean {
  return typeof error === 'object' && error !== null && 'code' in error && error.code === 'ENOENT';
}
