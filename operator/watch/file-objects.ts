// Which objects a set of manifest files stands for, and what changes when one file changes. Pure but for its own tables.

import {contentHash} from '../../lib/core/hash.js';
import {canonicalJson, compareStrings} from '../../lib/core/order.js';
import {parseManifests, type Manifest} from '../../lib/kube/manifest.js';
import {isRecord, objectKey} from '../../lib/kube/object.js';
import type {Change, KubeObject, WatchedKind} from './feed-types.js';
import type {WatchedResource} from './kinds.js';

export interface FileContent {
  readonly path: string;
  readonly text: string;
}

export interface FileProblem {
  readonly path: string;
  readonly document: number;
  readonly line: number;
  readonly message: string;
}

export interface FileResult {
  readonly changes: readonly Change[];
  readonly problems: readonly FileProblem[];
}

export interface FileObjectsParts {
  readonly admit: (kind: WatchedKind, object: KubeObject) => {readonly object: KubeObject} | {readonly refused: string};
}

interface Held {
  readonly kind: WatchedKind;
  readonly key: string;
  readonly object: KubeObject;
}

interface Emitted extends Held {
  readonly content: string;
  readonly spec: string;
  readonly generation: number;
}

/** Two pseudo files: what the operator wrote comes before every path, namespaces that nobody declared after every path. */
const WRITTEN = '!written';
const IMPLIED = '~implied';
/** Of these the user writes everything but the status. */
const STATUS_IS_OURS: ReadonlySet<WatchedKind> = new Set([
  'CiliumNetworkPolicy', 'CiliumClusterwideNetworkPolicy', 'CiliumBGPPeeringPolicy', 'CiliumLoadBalancerIPPool',
  'CiliumBGPClusterConfig', 'CiliumBGPPeerConfig',
]);

/** Of these the user may write a status, and ours is what counts once there is one. */
const STATUS_IS_SHARED: ReadonlySet<WatchedKind> = new Set(['Service']);

export class FileObjects {
  /** By version and kind. */
  readonly #watched: ReadonlyMap<string, WatchedResource>;
  readonly #parts: FileObjectsParts;
  readonly #byFile = new Map<string, ReadonlyMap<string, Held>>();
  /** Paths that hold each object; the first in order counts. */
  readonly #holders = new Map<string, Set<string>>();
  readonly #statuses = new Map<string, unknown>();
  readonly #emitted = new Map<string, Emitted>();
  readonly #problems = new Map<string, readonly FileProblem[]>();
  #version = 0;

  constructor(options: {readonly watched: readonly WatchedResource[]}, parts: FileObjectsParts) {
    this.#watched = byVersionAndKind(options.watched);
    this.#parts = parts;
  }

  /** What is there without any file. */
  start(): FileResult {
    const changes: Change[] = [];
    this.#updateImplied(changes);
    return {changes, problems: []};
  }

  problems(): readonly FileProblem[] {
    return [...this.#problems.values()].flat();
  }

  counts(): ReadonlyMap<WatchedKind, number> {
    const counts = new Map<WatchedKind, number>();
    for (const {kind} of this.#emitted.values()) counts.set(kind, (counts.get(kind) ?? 0) + 1);
    return counts;
  }

  /** A document that cannot be read keeps what the file held; an object that is refused keeps its own last version. */
  setFile(file: FileContent): FileResult {
    const {manifests, problems: broken} = parseManifests(file.text);
    const before = this.#byFile.get(file.path) ?? new Map<string, Held>();
    const next = new Map<string, Held>();
    const problems: FileProblem[] = broken.map((problem) => ({path: file.path, ...problem}));
    for (const manifest of manifests) {
      const watched = this.#watched.get(`${manifest.apiVersion}/${manifest.kind}`);
      if (watched === undefined) continue;
      const problem = (message: string): void =>
        void problems.push({path: file.path, document: manifest.document, line: manifest.line, message});
      this.#admit(manifest, watched, {before, next, problem});
    }
    if (broken.length > 0) for (const [id, held] of before) if (!next.has(id)) next.set(id, held);
    for (const id of next.keys()) {
      const other = [...this.#holders.get(id) ?? []].find((path) => path !== file.path && path !== WRITTEN && path !== IMPLIED);
      if (other !== undefined) problems.push({path: file.path, document: 0, line: 0, message: `${id} is also in ${other}: the first path in order counts`});
    }
    this.#problems.set(file.path, problems);
    const changes: Change[] = [];
    this.#replace(file.path, next, changes);
    this.#updateImplied(changes);
    return {changes, problems};
  }

  removeFile(path: string): FileResult {
    const changes: Change[] = [];
    this.#problems.delete(path);
    this.#replace(path, new Map(), changes);
    this.#updateImplied(changes);
    return {changes, problems: []};
  }

  /** What the operator wrote, read back: its own objects, and the status of policies. */
  written(kind: WatchedKind, key: string, object: KubeObject | null): readonly Change[] {
    const changes: Change[] = [];
    const id = `${kind}/${key}`;
    if (STATUS_IS_OURS.has(kind) || STATUS_IS_SHARED.has(kind)) {
      if (object === null) this.#statuses.delete(id);
      else this.#statuses.set(id, object['status']);
      this.#emit(id, changes);
      return changes;
    }
    const next = new Map(this.#byFile.get(WRITTEN));
    if (object === null) next.delete(id);
    else next.set(id, {kind, key, object});
    this.#replace(WRITTEN, next, changes);
    return changes;
  }

  /** A file of the output folder, at the start. */
  writtenFile(file: FileContent): readonly Change[] {
    return parseManifests(file.text).manifests.flatMap(({apiVersion, kind, object}) => {
      const watched = this.#watched.get(`${apiVersion}/${kind}`);
      return watched === undefined ? [] : this.written(watched.kind, objectKey(object), object);
    });
  }

  #admit(
    manifest: Manifest, watched: WatchedResource,
    into: {readonly before: ReadonlyMap<string, Held>; readonly next: Map<string, Held>; readonly problem: (message: string) => void},
  ): void {
    const object = asServed(manifest.object, watched);
    if (!watched.includes(object)) return;
    const key = objectKey(object);
    const id = `${watched.kind}/${key}`;
    if (into.next.has(id)) {
      into.problem(`${id} is in this file twice: the first one counts`);
      return;
    }
    const answer = this.#parts.admit(watched.kind, object);
    if ('object' in answer) {
      into.next.set(id, {kind: watched.kind, key, object: answer.object});
      return;
    }
    into.problem(`${id} is refused: ${answer.refused}`);
    const held = into.before.get(id);
    if (held !== undefined) into.next.set(id, held);
  }

  #replace(path: string, next: ReadonlyMap<string, Held>, changes: Change[]): void {
    const before = this.#byFile.get(path) ?? new Map<string, Held>();
    if (next.size === 0) this.#byFile.delete(path);
    else this.#byFile.set(path, next);
    for (const id of before.keys()) if (!next.has(id)) this.#holders.get(id)?.delete(path);
    for (const id of next.keys()) this.#holders.set(id, (this.#holders.get(id) ?? new Set()).add(path));
    for (const id of new Set([...before.keys(), ...next.keys()])) this.#emit(id, changes);
  }

  #emit(id: string, changes: Change[]): void {
    const [first] = [...this.#holders.get(id) ?? []].sort(compareStrings);
    const held = first === undefined ? undefined : this.#byFile.get(first)?.get(id);
    const before = this.#emitted.get(id);
    if (held === undefined) {
      this.#holders.delete(id);
      if (before === undefined) return;
      this.#emitted.delete(id);
      this.#statuses.delete(id);
      changes.push({kind: before.kind, key: before.key, object: null});
      return;
    }
    const status = this.#statuses.get(id) ?? (STATUS_IS_OURS.has(held.kind) ? undefined : held.object['status']);
    const {metadata: _, status: __, ...spec} = held.object;
    const specText = canonicalJson(spec);
    const content = canonicalJson([held.object.metadata, spec, status]);
    if (before?.content === content) return;
    const generation = before === undefined ? 1 : before.generation + (before.spec === specText ? 0 : 1);
    const object = this.#stamp(held, status, generation);
    this.#emitted.set(id, {...held, object, content, spec: specText, generation});
    changes.push({kind: held.kind, key: held.key, object});
  }

  /** What an API server adds. The uid follows from the name, so that it is the same after a restart. */
  #stamp(held: Held, status: unknown, generation: number): KubeObject {
    const {status: _, ...rest} = held.object;
    const metadata = {
      uid: uidOf(`${held.kind}/${held.key}`), ...held.object.metadata, generation, resourceVersion: String(++this.#version),
    };
    return {...rest, metadata, ...(status === undefined ? {} : {status})};
  }

  /** Every object's namespace exists, as it would in a cluster. */
  #updateImplied(changes: Change[]): void {
    const names = new Set(['default', 'kube-system']);
    for (const [path, held] of this.#byFile) {
      if (path === IMPLIED) continue;
      for (const {object} of held.values()) if (object.metadata.namespace !== undefined) names.add(object.metadata.namespace);
    }
    const known = this.#byFile.get(IMPLIED);
    if (known !== undefined && known.size === names.size && [...names].every((name) => known.has(`Namespace/${name}`))) return;
    const implied = new Map<string, Held>([...names].map((name) => [`Namespace/${name}`, {
      kind: 'Namespace', key: name,
      object: {apiVersion: 'v1', kind: 'Namespace', metadata: {name, labels: {'kubernetes.io/metadata.name': name}}},
    }]));
    this.#replace(IMPLIED, implied, changes);
  }
}

/** What several of one kind include, the one for that kind includes. */
function byVersionAndKind(watched: readonly WatchedResource[]): ReadonlyMap<string, WatchedResource> {
  const all = new Map<string, WatchedResource>();
  for (const item of watched) {
    for (const version of [item.resource.apiVersion, ...item.resource.olderVersions ?? []]) {
      const other = all.get(`${version}/${item.kind}`);
      all.set(`${version}/${item.kind}`, other === undefined ? item : {...item, includes: (object) => other.includes(object) || item.includes(object)});
    }
  }
  return all;
}

/** Version, namespace, labels and status as an API server would have them. */
function asServed(object: KubeObject, watched: WatchedResource): KubeObject {
  const {managedFields: _, namespace, ...metadata} = object.metadata as KubeObject['metadata'] & {readonly managedFields?: unknown};
  const placed = watched.resource.namespaced ? {...metadata, namespace: namespace ?? 'default'} : metadata;
  const labels = watched.kind === 'Namespace' ? {labels: {...metadata.labels, 'kubernetes.io/metadata.name': metadata.name}} : {};
  const {status, ...rest} = object;
  const served = {...rest, ...(object['apiVersion'] === undefined ? {} : {apiVersion: watched.resource.apiVersion}), metadata: {...placed, ...labels}};
  return STATUS_IS_OURS.has(watched.kind) || !isRecord(status) ? served : {...served, status};
}

function uidOf(id: string): string {
  const hex = contentHash(id) + contentHash(`uid of ${id}`);
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
}
