// A Kubernetes object as it comes from outside: plain JSON of which only `metadata.name` is sure to be there.

import {StentorError} from '../core/errors.js';

export type KubeObject = Readonly<Record<string, unknown>> & {
  readonly metadata: {readonly name: string; readonly namespace?: string; readonly uid?: string; readonly generation?: number;
    readonly resourceVersion?: string; readonly creationTimestamp?: string; readonly deletionTimestamp?: string;
    readonly labels?: Readonly<Record<string, string>>; readonly annotations?: Readonly<Record<string, string>>};
};

/** `namespace/name`, or `name` for cluster-scoped objects: the key of tables and changes. */
export function objectKey(object: KubeObject): string {
  const {namespace, name} = object.metadata;
  return namespace === undefined || namespace === '' ? name : `${namespace}/${name}`;
}

export function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** True when `value` has a `metadata.name`; members of metadata that have a wrong type make it false too. */
export function isKubeObject(value: unknown): value is KubeObject {
  if (!isRecord(value) || !isRecord(value['metadata'])) return false;
  const metadata = value['metadata'];
  return typeof metadata['name'] === 'string' && metadata['name'] !== ''
    && ['namespace', 'uid', 'resourceVersion', 'creationTimestamp', 'deletionTimestamp'].every((key) => isStringOrAbsent(metadata[key]))
    && (metadata['generation'] === undefined || typeof metadata['generation'] === 'number')
    && isStringMapOrAbsent(metadata['labels']) && isStringMapOrAbsent(metadata['annotations']);
}

function isStringOrAbsent(value: unknown): boolean {
  return value === undefined || typeof value === 'string';
}

function isStringMapOrAbsent(value: unknown): boolean {
  return value === undefined || (isRecord(value) && Object.values(value).every((item) => typeof item === 'string'));
}

/** The object, or a StentorError `NotAnObject` that says where it came from. */
export function asKubeObject(value: unknown, source: string): KubeObject {
  if (isKubeObject(value)) return value;
  throw new StentorError('NotAnObject', `${source} is not a Kubernetes object`, {source});
}
