// Where the stand-in for the kubelet gets its pods and writes their status: the API server, or a folder of manifests.

import {existsSync, readFileSync, readdirSync} from 'node:fs';
import {join} from 'node:path';
import {parseAllDocuments} from 'yaml';
import type {KubeClient} from '../../lib/kube/client.js';
import {isKubeError} from '../../lib/kube/errors.js';
import {isKubeObject, objectKey, type KubeObject} from '../../lib/kube/object.js';
import {collectionPath, objectPath, RESOURCES} from '../../lib/kube/resources.js';
import {asPod, type Pod} from './pod-spec.js';
import {pause} from './shell.js';

export interface PodStore {
  /** Calls `onPods` with all pods bound to `node`, by key, whenever they changed; until `signal`. */
  follow(node: string, onPods: (pods: ReadonlyMap<string, Pod>) => void, signal: AbortSignal): Promise<void>;
  writeStatus(pod: Pod, status: Readonly<Record<string, unknown>>, signal: AbortSignal): Promise<void>;
  /** The pod has ended: its object goes. */
  confirmEnd(pod: Pod, signal: AbortSignal): Promise<void>;
}

export class ApiPodStore implements PodStore {
  readonly #client: KubeClient;

  constructor(client: KubeClient) {
    this.#client = client;
  }

  async follow(node: string, onPods: (pods: ReadonlyMap<string, Pod>) => void, signal: AbortSignal): Promise<void> {
    const path = collectionPath(RESOURCES.Pod);
    const fieldSelector = `spec.nodeName=${node}`;
    while (!signal.aborted) {
      try {
        const page = await this.#client.listAll(path, {fieldSelector}, signal);
        const pods = new Map(page.items.flatMap(entryOf));
        onPods(pods);
        let {resourceVersion} = page;
        for (;;) {
          await this.#client.watch(path, {fieldSelector, resourceVersion, timeoutSeconds: 300, silenceLimitMs: 0}, (events) => {
            for (const event of events) {
              resourceVersion = event.object.metadata.resourceVersion ?? resourceVersion;
              if (event.type === 'BOOKMARK') continue;
              if (event.type === 'DELETED') pods.delete(objectKey(event.object));
              else for (const [key, pod] of entryOf(event.object)) pods.set(key, pod);
            }
            onPods(pods);
          }, signal);
        }
      } catch {
        // The API server is away or the version too old: list again, as a kubelet does.
        if (!signal.aborted) await pause(200);
      }
    }
  }

  async writeStatus(pod: Pod, status: Readonly<Record<string, unknown>>, signal: AbortSignal): Promise<void> {
    const path = objectPath(RESOURCES.Pod, pod.metadata.namespace ?? 'default', pod.metadata.name, 'status');
    try {
      await this.#client.patch(path, {type: 'merge', patch: {metadata: {uid: pod.metadata.uid}, status}}, signal);
    } catch (error) {
      if (!isKubeError(error, 'NotFound', 'Conflict')) throw error;
    }
  }

  async confirmEnd(pod: Pod, signal: AbortSignal): Promise<void> {
    const path = objectPath(RESOURCES.Pod, pod.metadata.namespace ?? 'default', pod.metadata.name);
    try {
      await this.#client.delete(path, {gracePeriodSeconds: 0, ...(pod.metadata.uid === undefined ? {} : {uid: pod.metadata.uid})}, signal);
    } catch (error) {
      if (!isKubeError(error, 'Conflict')) throw error;
    }
  }
}

/** The folder that the operator reads too. Only plain Pods with `spec.nodeName`; status is kept by the stand-in. */
export class FilesPodStore implements PodStore {
  readonly #folder: string;

  constructor(folder: string) {
    this.#folder = folder;
  }

  async follow(node: string, onPods: (pods: ReadonlyMap<string, Pod>) => void, signal: AbortSignal): Promise<void> {
    let last = '';
    while (!signal.aborted) {
      const pods = new Map(readManifests(this.#folder).flatMap(entryOf).filter(([, pod]) => pod.spec.nodeName === node));
      const text = JSON.stringify([...pods]);
      if (text !== last) onPods(pods);
      last = text;
      await pause(50);
    }
  }

  async writeStatus(): Promise<void> {
    // Nobody to tell: the operator takes addresses from the agents.
  }

  async confirmEnd(): Promise<void> {
    // The file is gone already.
  }
}

/** Every object in the YAML and JSON files of a folder; a file that is being written is read on the next round. */
export function readManifests(folder: string): readonly KubeObject[] {
  if (!existsSync(folder)) return [];
  return readdirSync(folder).filter((name) => /\.(ya?ml|json)$/.test(name)).sort().flatMap((name) => {
    try {
      return parseManifests(readFileSync(join(folder, name), 'utf8'));
    } catch {
      return [];
    }
  });
}

export function parseManifests(text: string): readonly KubeObject[] {
  return parseAllDocuments(text).map((document) => document.toJS() as unknown).filter(isKubeObject);
}

function entryOf(object: KubeObject): readonly [string, Pod][] {
  const pod = asPod(object);
  return pod === null ? [] : [[objectKey(pod), pod]];
}
