// Changes on disk since the last checkpoint: one sealed line each, in the page cache when `append` returns, so that no kill takes it back.

import {hash} from 'node:crypto';
import {closeSync, fstatSync, ftruncateSync, mkdirSync, openSync, renameSync, writeSync} from 'node:fs';
import {readFile, rm} from 'node:fs/promises';
import {dirname} from 'node:path';
import type {Log} from '../../lib/run/log.js';

const SUM_CHARS = 16;

/**
 * Two files: `PATH`, which grows, and `PATH.old`, which goes when the checkpoint that holds its changes is written. Not synchronised with the disk:
 * a machine that lost its power has an empty kernel and asks its operator.
 */
export class Journal {
  readonly #path: string;
  readonly #old: string;
  #fd: number | null = null;
  #bytes = 0;
  #hasOld = false;

  constructor(options: {readonly path: string}) {
    this.#path = options.path;
    this.#old = `${options.path}.old`;
  }

  /** Of the file that grows. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Throws what the file system says. */
  append(change: unknown): void {
    const body = JSON.stringify(change);
    const line = Buffer.from(`${sumOf(body)} ${body}\n`);
    const fd = this.#fd ?? this.#open();
    try {
      for (let at = 0; at < line.length;) at += writeSync(fd, line, at);
    } catch (error) {
      // Half a line would hide those after it.
      ftruncateSync(fd, this.#bytes);
      throw error;
    }
    this.#bytes += line.length;
  }

  /** What was appended so far goes with the next `forget`; while an older part still waits for that, all stays together. */
  rotate(): void {
    if (this.#fd === null || this.#hasOld) return;
    closeSync(this.#fd);
    this.#fd = null;
    this.#bytes = 0;
    renameSync(this.#path, this.#old);
    this.#hasOld = true;
  }

  async forget(): Promise<void> {
    await rm(this.#old, {force: true});
    this.#hasOld = false;
  }

  /** Changes in order, without those that are damaged; both files are left as they are. */
  async read(log: Log): Promise<readonly unknown[]> {
    const changes: unknown[] = [];
    for (const path of [this.#old, this.#path]) {
      const text = await readFile(path, 'utf8').catch((error: unknown) => {
        if ((error as {code?: unknown}).code === 'ENOENT') return '';
        throw error;
      });
      for (const line of text.split('\n')) {
        const body = bodyOf(line);
        if (body !== null) changes.push(JSON.parse(body));
        else if (line !== '') log.warn('a change in the journal is damaged: a kill cut it short, or the disk did', {path});
      }
    }
    return changes;
  }

  /** Before the first `append`: both files go, when a checkpoint holds what they say. */
  async clear(): Promise<void> {
    await this.forget();
    await rm(this.#path, {force: true});
  }

  #open(): number {
    mkdirSync(dirname(this.#path), {recursive: true, mode: 0o700});
    this.#fd = openSync(this.#path, 'a', 0o600);
    this.#bytes = fstatSync(this.#fd).size;
    return this.#fd;
  }
}

function sumOf(body: string): string {
  return hash('sha256', body).slice(0, SUM_CHARS);
}

function bodyOf(line: string): string | null {
  const body = line.slice(SUM_CHARS + 1);
  return line.slice(0, SUM_CHARS) === sumOf(body) ? body : null;
}
