// The node's key and certificate on disk: two files that change together, also when the machine stops in between.

import type {X509Certificate} from 'node:crypto';
import {createPrivateKey} from 'node:crypto';
import {mkdir, open, rename} from 'node:fs/promises';
import {dirname} from 'node:path';
import {parseCertificate} from '../../lib/run/certificate.js';
import {readKeyMaterial, type KeyFilePaths, type KeyMaterial} from '../../lib/run/tls.js';

export class CertificateFiles {
  readonly paths: KeyFilePaths;

  constructor(paths: KeyFilePaths) {
    this.paths = paths;
  }

  /** Throws `TLS_FILE` naming the file that cannot be read. */
  read(): KeyMaterial {
    return readKeyMaterial(this.paths);
  }

  /** Fails here, before a certificate is asked for, where the files are somebody else's to write. */
  async writeKey(keyPem: string): Promise<void> {
    for (const path of [this.paths.key, this.paths.cert]) await mkdir(dirname(path), {recursive: true, mode: 0o700});
    await writeNew(this.paths.key, keyPem, 0o600);
  }

  /** Of the key that was written last. The key goes first: `repair` can then tell what is missing. */
  async install(certificate: Buffer): Promise<void> {
    await writeNew(this.paths.cert, certificate, 0o644);
    await rename(`${this.paths.key}.new`, this.paths.key);
    await rename(`${this.paths.cert}.new`, this.paths.cert);
  }

  /** Finishes what was interrupted between two renames. */
  async repair(): Promise<void> {
    const {ca, cert, key} = this.paths;
    try {
      const {cert: next, key: present} = readKeyMaterial({ca, cert: `${cert}.new`, key});
      if (isKeyOf(parseCertificate(next), present)) await rename(`${cert}.new`, cert);
    } catch {
      // There is nothing to finish: what the files hold is judged by whoever reads them.
    }
  }
}

export function isKeyOf(certificate: X509Certificate, keyPem: Buffer): boolean {
  try {
    return certificate.checkPrivateKey(createPrivateKey(keyPem));
  } catch {
    return false;
  }
}

async function writeNew(path: string, content: string | Buffer, mode: number): Promise<void> {
  const file = await open(`${path}.new`, 'w', mode);
  try {
    await file.chmod(mode);
    await file.writeFile(content);
    await file.datasync();
  } finally {
    await file.close();
  }
}
