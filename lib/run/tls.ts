// Key material from files. Files may be rotated under us: every reader asks again, and sees by the version whether they changed.

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
