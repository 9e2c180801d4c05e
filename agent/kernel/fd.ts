// A descriptor with an owner: closed once, by name; a second close is our own mistake and harmless to others.

import {close as closeLater, closeSync, mkdirSync, unlinkSync} from 'node:fs';
import {dirname} from 'node:path';
import {native} from '../../bpf-native/index.js';
import {StentorError} from '../../lib/core/errors.js';
import {check, codeOf, ENOENT} from './errno.js';

export class Fd {
  readonly #what: string;
  #number: number;

  constructor(number: number, what: string) {
    this.#number = number;
    this.#what = what;
  }

  /** Throws EBADF after close, so that a number the kernel has given to another file is never used. */
  get number(): number {
    if (this.#number < 0) throw new StentorError('EBADF', `${this.#what} is closed`, {what: this.#what});
    return this.#number;
  }

  get closed(): boolean {
    return this.#number < 0;
  }

  close(): void {
    if (this.#number < 0) return;
    const number = this.#number;
    this.#number = -1;
    closeSync(number);
  }

  /** In a worker: the last reference to a link or an inner map waits for RTNL or RCU. */
  closeAsync(): Promise<void> {
    if (this.#number < 0) return Promise.resolve();
    const number = this.#number;
    this.#number = -1;
    return new Promise((resolve, reject) => {
      closeLater(number, (error) => (error === null || error === undefined ? resolve() : reject(error)));
    });
  }
}

/** The descriptor of a pinned object, or null when nothing is pinned at `path`. */
export function openPin(path: string): Fd | null {
  const result = native().objGet(path);
  if (result === -ENOENT) return null;
  return new Fd(check(result, 'BPF_OBJ_GET', {path}), path);
}

export function pin(fd: Fd, path: string): void {
  mkdirSync(dirname(path), {recursive: true, mode: 0o700});
  check(native().objPin(fd.number, path), 'BPF_OBJ_PIN', {path});
}

/** False when nothing was pinned at `path`. */
export function unpin(path: string): boolean {
  try {
    unlinkSync(path);
    return true;
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return false;
    throw error;
  }
}
