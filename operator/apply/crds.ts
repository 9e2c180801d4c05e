// Installs our CRDs: creates what is missing, replaces what is older by `io.cilium.k8s.crd.schema.version`, never goes back.

import {readdir, readFile} from 'node:fs/promises';
import {join} from 'node:path';
import {StentorError} from '../../lib/core/errors.js';
import {compareStrings} from '../../lib/core/order.js';
import type {KubeClient} from '../../lib/kube/client.js';
import {isKubeError} from '../../lib/kube/errors.js';
import {parseManifests} from '../../lib/kube/manifest.js';
import {isRecord, type KubeObject} from '../../lib/kube/object.js';
import {collectionPath, objectPath, RESOURCES} from '../../lib/kube/resources.js';
import type {Clock} from '../../lib/run/clock.js';
import type {Log} from '../../lib/run/log.js';

export const SCHEMA_VERSION_LABEL = 'io.cilium.k8s.crd.schema.version';

export interface InstallCrdsOptions {
  /** Folder with one CRD per YAML file. */
  readonly dir: string;
  /** How long a CRD may take to be served. */
  readonly establishedTimeoutMs?: number;
}

export interface InstallCrdsParts {
  readonly client: KubeClient;
  readonly clock: Clock;
  readonly log: Log;
}

export type CrdOutcome = 'created' | 'upgraded' | 'kept';

/** Returns what happened to each CRD, by name, once all of them are served. */
export async function installCrds(
  options: InstallCrdsOptions, parts: InstallCrdsParts, signal: AbortSignal,
): Promise<ReadonlyMap<string, CrdOutcome>> {
  const crds = await readCrds(options.dir);
  const outcomes = await Promise.all(crds.map(async (crd): Promise<[string, CrdOutcome]> => {
    const outcome = await installOne(crd, parts, signal);
    await waitEstablished(crd.metadata.name, options.establishedTimeoutMs ?? 30_000, parts, signal);
    return [crd.metadata.name, outcome];
  }));
  parts.log.info('CRDs are served', Object.fromEntries(outcomes));
  return new Map(outcomes);
}

export async function readCrds(dir: string): Promise<readonly KubeObject[]> {
  const files = (await readdir(dir)).filter((name) => name.endsWith('.yaml')).sort(compareStrings);
  const crds: KubeObject[] = [];
  for (const file of files) {
    const {manifests, problems} = parseManifests(await readFile(join(dir, file), 'utf8'));
    const [problem] = problems;
    if (problem !== undefined) throw new StentorError('BadCrd', `${file}: ${problem.message}`, {file});
    for (const {kind, object} of manifests) {
      if (kind !== 'CustomResourceDefinition') throw new StentorError('BadCrd', `${file} holds a ${kind}`, {file});
      crds.push(object);
    }
  }
  if (crds.length === 0) throw new StentorError('BadCrd', `no CRD in ${dir}`, {dir});
  return crds;
}

async function installOne(crd: KubeObject, parts: InstallCrdsParts, signal: AbortSignal): Promise<CrdOutcome> {
  const {client, log} = parts;
  const {name} = crd.metadata;
  const path = objectPath(RESOURCES.CustomResourceDefinition, null, name);
  for (;;) {
    try {
      const existing = await client.get(path, signal).catch((error: unknown) => {
        if (isKubeError(error, 'NotFound')) return null;
        throw error;
      });
      if (existing === null) {
        await client.create(collectionPath(RESOURCES.CustomResourceDefinition), crd, signal);
        return 'created';
      }
      if (!isOlder(existing.metadata.labels?.[SCHEMA_VERSION_LABEL], crd.metadata.labels?.[SCHEMA_VERSION_LABEL])) return 'kept';
      const {metadata} = existing;
      await client.update(path, {
        ...crd, metadata: {...metadata, labels: {...metadata.labels, ...crd.metadata.labels}, annotations: {...metadata.annotations, ...crd.metadata.annotations}},
      }, signal);
      return 'upgraded';
    } catch (error) {
      // Another replica was at it: look again.
      if (!isKubeError(error, 'AlreadyExists', 'Conflict')) throw error;
      log.debug('CRD changed meanwhile', {name});
    }
  }
}

/** A version that is missing or cannot be read counts as older than any. */
export function isOlder(existing: string | undefined, ours: string | undefined): boolean {
  const a = parseVersion(existing);
  const b = parseVersion(ours);
  if (b === null) return false;
  if (a === null) return true;
  for (let i = 0; i < 3; i++) if (a[i] !== b[i]) return (a[i] ?? 0) < (b[i] ?? 0);
  return false;
}

function parseVersion(text: string | undefined): readonly number[] | null {
  const match = /^(\d{1,9})\.(\d{1,9})\.(\d{1,9})$/.exec(text ?? '');
  return match === null ? null : match.slice(1).map(Number);
}

async function waitEstablished(name: string, timeoutMs: number, parts: InstallCrdsParts, signal: AbortSignal): Promise<void> {
  const deadlineMs = parts.clock.monotonicMs() + timeoutMs;
  for (let waitMs = 10; ; waitMs = Math.min(waitMs * 2, 250)) {
    const crd = await parts.client.get(objectPath(RESOURCES.CustomResourceDefinition, null, name), signal);
    const conditions = conditionsOf(crd);
    if (conditions.get('Established') === 'True') return;
    if (conditions.get('NamesAccepted') === 'False') throw new StentorError('CrdNamesTaken', `the names of ${name} belong to another CRD`, {name});
    if (parts.clock.monotonicMs() > deadlineMs) throw new StentorError('CrdNotEstablished', `${name} is not served after ${timeoutMs} ms`, {name});
    await parts.clock.sleep(waitMs, signal);
  }
}

function conditionsOf(crd: KubeObject): ReadonlyMap<string, unknown> {
  const status = isRecord(crd['status']) ? crd['status'] : {};
  const list: readonly unknown[] = Array.isArray(status['conditions']) ? status['conditions'] : [];
  return new Map(list.filter(isRecord).map((condition) => [String(condition['type']), condition['status']]));
}
