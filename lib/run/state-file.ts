// Files that survive a crash: written beside and renamed, with a checksum; a damaged one is set aside.

import {createHash} from 'node:crypto';
import {mkdir, open, readFile, rename, rm} from 'node:fs/promises';
import {dirname} from 'node:path';
import type {Log} from './log.js';
import {errorFields} from './log.js';

/** Goes up when old files cannot be read any more: they then count as absent. */
const FORMAT = 1;

/** Writes `text` so that a reader sees the old file or the new one, also after a crash of what it survives. */
async function writeAtomically(path: string, text: string, survives: Survives): Promise<void> {
  const temporary = `${path}.tmp`;
  const file = await open(temporary, 'w', 0o600);
  try {
    await file.writeFile(text);
    if (survives === 'machine') await file.datasync();
  } finally {
    await file.close();
  }
  await rename(temporary, path);
}

/** First line: format and checksum of the rest. */
export function seal(body: string): string {
  return `${JSON.stringify({format: FORMAT, sha256: createHash('sha256').update(body).digest('hex')})}\n${body}\n`;
}

/** Null when the file is not one that `seal` made. */
export function unseal(text: string): string | null {
  const end = text.indexOf('\n');
  const body = text.slice(end + 1, -1);
  try {
    const head = JSON.parse(text.slice(0, end)) as {format?: unknown; sha256?: unknown};
    return head.format === FORMAT && head.sha256 === createHash('sha256').update(body).digest('hex') ? body : null;
  } catch {
    return null;
  }
}

/** Null when there is none; a damaged one is logged, set aside and counts as none. */
export async function readSealed(path: string, log: Log): Promise<unknown> {
  const text = await readFile(path, 'utf8').catch((error: unknown) => {
    if ((error as {code?: unknown}).code !== 'ENOENT') log.warn('state file cannot be read', {path, ...errorFields(error)});
    return null;
  });
  if (text === null) return null;
  const body = unseal(text);
  if (body !== null) return JSON.parse(body) as unknown;
  log.warn('state file is damaged and was set aside', {path});
  await rm(`${path}.damaged`, {force: true});
  await rename(path, `${path}.damaged`);
  return null;
}

/** `process`: of no use without the kernel that it speaks of, so that it need not be on the disk when that is gone. */
export type Survives = 'machine' | 'process';

/** Writes the newest value of a file; values that come while one is being written replace each other. */
export class LatestFile {
  readonly #path: string;
  readonly #log: Log;
  #hasFolder = false;
  #next: (() => string) | null = null;
  #writing: Promise<void> | null = null;
  #isWritten = true;
  readonly #survives: Survives;
  /** How many values were given, and how many of them the file has got past. */
  #given = 0;
  #done = 0;
  #waiting: (() => void)[] = [];

  constructor(options: {readonly path: string; readonly survives?: Survives}, parts: {readonly log: Log}) {
    this.#path = options.path;
    this.#survives = options.survives ?? 'machine';
    this.#log = parts.log;
  }

  /** `render` is called when its turn comes. */
  write(render: () => string): void {
    this.#next = render;
    this.#given++;
    this.#writing ??= this.#drain();
  }

  /** Resolves when what was given until now is written; false when it could not be. What is given later is not waited for. */
  async flushed(): Promise<boolean> {
    const wanted = this.#given;
    while (this.#done < wanted && this.#writing !== null) await new Promise<void>((resolve) => this.#waiting.push(resolve));
    return this.#isWritten;
  }

  async #drain(): Promise<void> {
    // Off the path of the caller: a checkpoint is never what an acknowledgement waits for.
    await Promise.resolve();
    for (let render = this.#next; render !== null; render = this.#next) {
      this.#next = null;
      const given = this.#given;
      try {
        if (!this.#hasFolder) await mkdir(dirname(this.#path), {recursive: true, mode: 0o700});
        this.#hasFolder = true;
        await writeAtomically(this.#path, seal(render()), this.#survives);
        this.#isWritten = true;
      } catch (error) {
        this.#isWritten = false;
        this.#log.warn('state file cannot be written', {path: this.#path, ...errorFields(error)});
      }
      this.#done = given;
      const waiting = this.#waiting;
      this.#waiting = [];
      for (const resolve of waiting) resolve();
    }
    this.#writing = null;
  }
}
