// The checkpoint on disk: the last state held, so that a restart without an operator goes on enforcing it.

import type {Undecodable} from '../../lib/desired/decode.js';
import {decodeResource} from '../../lib/desired/decode.js';
import type {Resource} from '../../lib/desired/node-state.js';
import {allResources} from '../../lib/desired/tables.js';
import type {Log} from '../../lib/run/log.js';
import {LatestFile, readSealed} from '../../lib/run/state-file.js';
import {EMPTY_HELD, HeldState} from './held.js';

interface StoredItem {
  readonly kind: string;
  readonly key: string;
  readonly version: string;
  readonly value?: unknown;
}

/** `state.json` in the state folder. */
export class StateStore {
  readonly #path: string;
  readonly #log: Log;
  readonly #file: LatestFile;

  constructor(options: {readonly path: string}, parts: {readonly log: Log}) {
    this.#path = options.path;
    this.#log = parts.log;
    this.#file = new LatestFile(options, parts);
  }

  async load(): Promise<HeldState> {
    const stored = await readSealed(this.#path, this.#log);
    return stored === null ? EMPTY_HELD : heldOf(stored);
  }

  save(held: HeldState): void {
    this.#file.write(() => JSON.stringify(storedOf(held)));
  }

  async flushed(): Promise<void> {
    await this.#file.flushed();
  }
}

function storedOf(held: HeldState): readonly StoredItem[] {
  return [...allResources(held.tables), ...[...held.undecodable.values()].map(({kind, key, version}) => ({kind, key, version}))];
}

/** What an older agent wrote may not decode any more: it then counts as undecodable, and the operator sends it again. */
function heldOf(stored: unknown): HeldState {
  const resources: Resource[] = [];
  const undecodable: Undecodable[] = [];
  for (const item of (Array.isArray(stored) ? stored : []) as readonly StoredItem[]) {
    const decoded = decodeResource(item.kind, item.key, item.version, item.value);
    if (decoded.resource !== null) resources.push(decoded.resource);
    else undecodable.push({...decoded.undecodable, version: ''});
  }
  return HeldState.of(resources, undecodable);
}
