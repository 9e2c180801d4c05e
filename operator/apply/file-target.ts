// Where the operator's objects go without an API server: one YAML file each below `--output`, and back into the feed.

import {mkdir, readFile, rename, rm, writeFile} from 'node:fs/promises';
import {dirname, join} from 'node:path';
import {parse, stringify} from 'yaml';
import {StentorError} from '../../lib/core/errors.js';
import {asKubeObject, objectKey, type KubeObject} from '../../lib/kube/object.js';
import type {ApiResource} from '../../lib/kube/resources.js';
import type {ObjectTarget} from './kube-target.js';

export interface FileTargetParts {
  /** The file feed's `written`: what is on disk is read back as the API server's watch would bring it. */
  readonly onWritten: (kind: string, key: string, object: KubeObject | null) => void;
}

export class FileTarget implements ObjectTarget {
  readonly #dir: string;
  readonly #parts: FileTargetParts;
  #next = 0;

  constructor(options: {readonly dir: string}, parts: FileTargetParts) {
    this.#dir = options.dir;
    this.#parts = parts;
  }

  async create(resource: ApiResource, object: KubeObject): Promise<KubeObject> {
    return this.#write(resource, object, true);
  }

  async apply(resource: ApiResource, object: KubeObject): Promise<KubeObject> {
    return this.#write(resource, object, false);
  }

  async applyStatus(resource: ApiResource, object: KubeObject): Promise<KubeObject> {
    return this.#write(resource, object, false);
  }

  async merge(resource: ApiResource, object: KubeObject): Promise<KubeObject> {
    return this.#write(resource, {...await this.get(resource, object), ...object}, false);
  }

  async mergeStatus(resource: ApiResource, object: KubeObject): Promise<KubeObject> {
    return this.#write(resource, object, false);
  }

  async remove(resource: ApiResource, object: KubeObject): Promise<boolean> {
    const path = this.#path(resource, object);
    const was = await readFile(path).then(() => true, () => false);
    await rm(path, {force: true});
    this.#parts.onWritten(resource.kind, objectKey(object), null);
    return was;
  }

  async get(resource: ApiResource, object: KubeObject): Promise<KubeObject> {
    const path = this.#path(resource, object);
    const text = await readFile(path, 'utf8').catch((error: unknown) => {
      throw new StentorError('NotFound', `${path} is not there`, {path}, {cause: error});
    });
    return asKubeObject(parse(text), path);
  }

  /** A file is whole or absent: written beside its place, then renamed. */
  async #write(resource: ApiResource, object: KubeObject, isNew: boolean): Promise<KubeObject> {
    const path = this.#path(resource, object);
    const temporary = join(dirname(path), `.${this.#next++}.${process.pid}.tmp`);
    try {
      await mkdir(dirname(path), {recursive: true});
      if (isNew && await readFile(path).then(() => true, () => false)) {
        throw new StentorError('AlreadyExists', `${path} is there already`, {path});
      }
      const {resourceVersion: _, ...metadata} = object.metadata;
      await writeFile(temporary, stringify({...object, metadata}, {lineWidth: 0, aliasDuplicateObjects: false}));
      await rename(temporary, path);
    } catch (error) {
      if (error instanceof StentorError) throw error;
      throw new StentorError('WriteFailed', `cannot write ${path}: ${error instanceof Error ? error.message : String(error)}`, {path}, {cause: error});
    }
    this.#parts.onWritten(resource.kind, objectKey(object), object);
    return object;
  }

  #path(resource: ApiResource, object: KubeObject): string {
    const {namespace, name} = object.metadata;
    const parts = [...(namespace === undefined ? [] : [namespace]), name];
    // Names come from files that no API server has checked.
    if (parts.some((part) => !/^[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$/.test(part))) {
      throw new StentorError('Invalid', 'the name cannot be a file name', {namespace, name});
    }
    const file = `${parts.at(-1) ?? ''}.yaml`;
    return join(this.#dir, resource.plural, ...parts.slice(0, -1), file);
  }
}
