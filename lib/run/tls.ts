// Key material from files. Files may be rotated under us: every reader asks again and is told whether they changed.

import {createHash} from 'node:crypto';
import {readFileSync} from 'node:fs';
import {StentorError} from '../core/errors.js';

export interface KeyFilePaths {
  readonly ca: string;
  readonly cert: string;
  readonly key: string;
}

export interface KeyMaterial {
  readonly ca: Buffer;
  readonly cert: Buffer;
  readonly key: Buffer;
  /** Names the content: equal files have equal versions. */
  readonly version: string;
}

/** Throws `TLS_FILE` naming the file that cannot be read. */
export function readKeyMaterial(paths: KeyFilePaths): KeyMaterial {
  const [ca, cert, key] = [readKeyFile('ca', paths.ca), readKeyFile('cert', paths.cert), readKeyFile('key', paths.key)];
  const version = createHash('sha256').update(ca).update(cert).update(key).digest('hex');
  return {ca, cert, key, version};
}

function readKeyFile(what: keyof KeyFilePaths, path: string): Buffer {
  try {
    return readFileSync(path);
  } catch (error) {
    throw new StentorError('TLS_FILE', `cannot read the TLS ${what} file`, {path, what}, {cause: error});
  }
}

/** The material as last read; `refresh` reads it again and says whether it is another one. */
export class KeyFiles {
  readonly #paths: KeyFilePaths;
  #current: KeyMaterial;

  constructor(paths: KeyFilePaths) {
    this.#paths = paths;
    this.#current = readKeyMaterial(paths);
  }

  get current(): KeyMaterial {
    return this.#current;
  }

  /** Half-written files keep the old material: throws and changes nothing. */
  refresh(): boolean {
    const next = readKeyMaterial(this.#paths);
    const changed = next.version !== this.#current.version;
    this.#current = next;
    return changed;
  }
}
