// The pods of this node: what CNI adds and deletes have made, on disk, so that a restart finds every one again.

import {deepEqual} from '../../lib/core/equal.js';
import {invariant} from '../../lib/core/invariant.js';
import {StentorError} from '../../lib/core/errors.js';
import type {Log} from '../../lib/run/log.js';
import {LatestFile, readSealed} from '../../lib/run/state-file.js';
import type {LocalEndpoint} from '../model/local.js';
import {attachmentKey} from '../model/local.js';

export interface EndpointTableOptions {
  readonly path: string;
  /** Ids run from 1 to this. */
  readonly idMax: number;
}

/** The map is replaced, never changed: readers may keep it. */
export class EndpointTable {
  readonly #options: EndpointTableOptions;
  readonly #log: Log;
  readonly #file: LatestFile;
  readonly #listeners = new Set<() => void>();
  #endpoints: ReadonlyMap<number, LocalEndpoint> = new Map();
  #nextId = 1;
  /** Ids given out whose endpoint is not in the table yet. */
  readonly #reserved = new Set<number>();

  constructor(options: EndpointTableOptions, parts: {readonly log: Log}) {
    this.#options = options;
    this.#log = parts.log;
    this.#file = new LatestFile({path: options.path, survives: 'process'}, parts);
  }

  get all(): ReadonlyMap<number, LocalEndpoint> {
    return this.#endpoints;
  }

  onChange(listener: () => void): void {
    this.#listeners.add(listener);
  }

  /** `exists` says whether an endpoint's link is still there; those that are not are forgotten and returned. */
  async restore(exists: (endpoint: LocalEndpoint) => boolean): Promise<readonly LocalEndpoint[]> {
    const stored = await readSealed(this.#options.path, this.#log);
    const known = (Array.isArray(stored) ? stored : []).map(withFamilies).filter(isEndpoint);
    const kept = known.filter((endpoint) => endpoint.state === 'ready' && exists(endpoint));
    this.#endpoints = new Map(kept.map((endpoint) => [endpoint.id, endpoint]));
    this.#nextId = Math.max(0, ...this.#endpoints.keys()) + 1;
    const gone = known.filter((endpoint) => !this.#endpoints.has(endpoint.id));
    if (gone.length > 0) this.#save();
    return gone;
  }

  /** Next-fit: an id given up is used again as late as possible. Throws `ENDPOINT_IDS_EXHAUSTED`. */
  reserveId(): number {
    for (let tried = 0; tried < this.#options.idMax; tried++) {
      const id = this.#nextId > this.#options.idMax ? 1 : this.#nextId;
      this.#nextId = id + 1;
      if (this.#endpoints.has(id) || this.#reserved.has(id)) continue;
      this.#reserved.add(id);
      return id;
    }
    throw new StentorError('ENDPOINT_IDS_EXHAUSTED', 'no endpoint id is free', {max: this.#options.idMax});
  }

  releaseId(id: number): void {
    this.#reserved.delete(id);
  }

  put(endpoint: LocalEndpoint): void {
    invariant(endpoint.id >= 1 && endpoint.id <= this.#options.idMax, 'an endpoint id is in range', {id: endpoint.id});
    const before = this.#endpoints.get(endpoint.id);
    this.#endpoints = new Map(this.#endpoints).set(endpoint.id, endpoint);
    this.#reserved.delete(endpoint.id);
    // How far it is follows from what the kernel holds, not the other way round: nobody has to do anything.
    if (before !== undefined && deepEqual({...before, state: endpoint.state}, endpoint)) this.#save();
    else this.#changed();
  }

  remove(id: number): void {
    const next = new Map(this.#endpoints);
    if (!next.delete(id)) return;
    this.#endpoints = next;
    this.#changed();
  }

  find(containerId: string, containerIfname: string): LocalEndpoint | null {
    const wanted = attachmentKey({containerId, containerIfname});
    for (const endpoint of this.#endpoints.values()) if (attachmentKey(endpoint) === wanted) return endpoint;
    return null;
  }

  /** Resolves when the table is on disk. */
  async flushed(): Promise<void> {
    await this.#file.flushed();
  }

  #changed(): void {
    this.#save();
    for (const listener of this.#listeners) listener();
  }

  #save(): void {
    this.#file.write(() => JSON.stringify([...this.#endpoints.values()]));
  }
}

const TEXTS = ['containerId', 'containerIfname', 'netns', 'hostIfname', 'mac', 'hostMac', 'namespace', 'name', 'uid', 'state'] as const;

/** What was written before endpoints had two families names one. */
function withFamilies(value: unknown): unknown {
  return value !== null && typeof value === 'object' ? {ipv4: null, ipv6: null, ...value} : value;
}

function isAddressOrNull(value: unknown): boolean {
  return value === null || typeof value === 'string';
}

function isEndpoint(value: unknown): value is LocalEndpoint {
  if (value === null || typeof value !== 'object') return false;
  const record = value as Readonly<Record<string, unknown>>;
  if (!isAddressOrNull(record['ipv4']) || !isAddressOrNull(record['ipv6'])) return false;
  return Number.isInteger(record['id']) && Number.isInteger(record['hostIfindex']) && TEXTS.every((member) => typeof record[member] === 'string');
}
