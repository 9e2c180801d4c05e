// Manifests as people write them: YAML or JSON, several documents in one file, Lists. A broken document is a finding, not the end.

import {parseAllDocuments} from 'yaml';
import {isKubeObject, isRecord, type KubeObject} from './object.js';

export interface Manifest {
  readonly apiVersion: string;
  readonly kind: string;
  readonly object: KubeObject;
  /** Number of the document in its file, from 1, and the line it starts at, from 1. */
  readonly document: number;
  readonly line: number;
}

export interface ManifestProblem {
  readonly document: number;
  readonly line: number;
  readonly message: string;
}

export interface ManifestFile {
  readonly manifests: readonly Manifest[];
  readonly problems: readonly ManifestProblem[];
}

/** A List is opened: its items count as objects of the document. Documents without content are skipped. */
export function parseManifests(text: string): ManifestFile {
  const manifests: Manifest[] = [];
  const problems: ManifestProblem[] = [];
  const parsed = parseAllDocuments(text, {prettyErrors: true});
  if (!Array.isArray(parsed)) return {manifests, problems};
  for (const [index, document] of parsed.entries()) {
    const place = {document: index + 1, line: lineAt(text, document.contents?.range?.[0] ?? document.range[0])};
    const [error] = document.errors;
    if (error !== undefined) {
      problems.push({...place, line: error.linePos?.[0].line ?? place.line, message: error.message.split('\n')[0] ?? ''});
      continue;
    }
    try {
      const value: unknown = document.toJS();
      if (value === null || value === undefined) continue;
      for (const item of itemsOf(value)) addManifest(item, place, {manifests, problems});
    } catch (toJsError) {
      problems.push({...place, message: toJsError instanceof Error ? toJsError.message : String(toJsError)});
    }
  }
  return {manifests, problems};
}

function itemsOf(value: unknown): readonly unknown[] {
  if (!isRecord(value) || typeof value['kind'] !== 'string' || !value['kind'].endsWith('List')) return [value];
  return Array.isArray(value['items']) ? value['items'] as readonly unknown[] : [value];
}

function addManifest(
  value: unknown, place: {readonly document: number; readonly line: number},
  out: {readonly manifests: Manifest[]; readonly problems: ManifestProblem[]},
): void {
  if (!isKubeObject(value)) {
    out.problems.push({...place, message: 'not a Kubernetes object: metadata.name is missing, or metadata has members of a wrong type'});
    return;
  }
  const {apiVersion, kind} = value;
  if (typeof apiVersion !== 'string' || typeof kind !== 'string') {
    out.problems.push({...place, message: 'not a Kubernetes object: apiVersion or kind is missing'});
    return;
  }
  out.manifests.push({apiVersion, kind, object: value, ...place});
}

function lineAt(text: string, offset: number): number {
  let line = 1;
  for (let at = text.indexOf('\n'); at >= 0 && at < offset; at = text.indexOf('\n', at + 1)) line++;
  return line;
}
