// The CA in a folder: `ca.crt`, `ca.key`. What it issues: `ca.crt`, `tls.crt`, `tls.key`, as in a Kubernetes TLS secret.

import {mkdir, readFile, rename, writeFile} from 'node:fs/promises';
import {join} from 'node:path';
import {StentorError} from '../../lib/core/errors.js';
import type {CaMaterial, IssuedKeys} from './ca.js';

const DAY_MS = 86_400_000;
export const CA_VALIDITY_MS = 3650 * DAY_MS;

/** Reads the CA of `dir`; makes one when there is none. */
export async function loadOrCreateCa(dir: string, nowMs: number): Promise<CaMaterial> {
  const [certPem, keyPem] = await Promise.all([readText(join(dir, 'ca.crt')), readText(join(dir, 'ca.key'))]);
  if (certPem !== null && keyPem !== null) return {certPem, keyPem};
  if (certPem !== null || keyPem !== null) throw new StentorError('CA_INCOMPLETE', `${dir} holds only one of ca.crt and ca.key`, {dir});
  const {createCa} = await import('./ca.js');
  const made = await createCa({nowMs, validityMs: CA_VALIDITY_MS});
  await mkdir(dir, {recursive: true, mode: 0o700});
  await writeWhole(join(dir, 'ca.key'), made.keyPem, 0o600);
  await writeWhole(join(dir, 'ca.crt'), made.certPem, 0o644);
  return made;
}

export async function writeIssued(dir: string, issued: IssuedKeys): Promise<void> {
  await mkdir(dir, {recursive: true, mode: 0o700});
  await writeWhole(join(dir, 'tls.key'), issued.key, 0o600);
  await writeWhole(join(dir, 'tls.crt'), issued.cert, 0o644);
  await writeWhole(join(dir, 'ca.crt'), issued.ca, 0o644);
}

async function readText(path: string): Promise<string | null> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    if (typeof error === 'object' && error !== null && 'code' in error && error.code === 'ENOENT') return null;
    throw new StentorError('CA_FILE', `cannot read ${path}`, {path}, {cause: error});
  }
}

async function writeWhole(path: string, content: string | Buffer, mode: number): Promise<void> {
  await writeFile(`${path}.new`, content, {mode});
  await rename(`${path}.new`, path);
}
