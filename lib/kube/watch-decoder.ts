// Bytes of a watch → events: one JSON document per line, however the network cuts them.

import {StentorError} from '../core/errors.js';
import {kubeError} from './errors.js';
import {asKubeObject, isRecord, type KubeObject} from './object.js';

export interface WatchEvent {
  readonly type: 'ADDED' | 'MODIFIED' | 'DELETED' | 'BOOKMARK';
  /** For a bookmark only `metadata.resourceVersion` means something; its name is empty. */
  readonly object: KubeObject;
}

/** etcd takes no object above 1.5 MB by default; a line beyond this is not one. */
const LINE_LIMIT_BYTES = 16 << 20;
const NEWLINE = 0x0a;

export class WatchDecoder {
  readonly #source: string;
  #rest: Buffer[] = [];
  #restBytes = 0;

  constructor(source: string) {
    this.#source = source;
  }

  /** The events that are complete with this piece. An ERROR event is thrown as the error it stands for. */
  push(chunk: Buffer): WatchEvent[] {
    const events: WatchEvent[] = [];
    let start = 0;
    for (let end = chunk.indexOf(NEWLINE); end >= 0; end = chunk.indexOf(NEWLINE, start)) {
      const line = this.#rest.length === 0 ? chunk.subarray(start, end) : Buffer.concat([...this.#rest, chunk.subarray(start, end)]);
      this.#rest = [];
      this.#restBytes = 0;
      start = end + 1;
      if (line.length > 0) events.push(this.#decode(line));
    }
    if (start < chunk.length) {
      this.#restBytes += chunk.length - start;
      if (this.#restBytes > LINE_LIMIT_BYTES) throw new StentorError('BadResponse', 'a watch event is too long', {path: this.#source});
      this.#rest.push(chunk.subarray(start));
    }
    return events;
  }

  #decode(line: Buffer): WatchEvent {
    let event: unknown;
    try {
      event = JSON.parse(line.toString('utf8'));
    } catch (error) {
      throw new StentorError('BadResponse', 'a watch event is not JSON', {path: this.#source}, {cause: error});
    }
    if (!isRecord(event)) throw new StentorError('BadResponse', 'a watch event is not an object', {path: this.#source});
    const {type, object} = event;
    switch (type) {
      case 'ADDED': case 'MODIFIED': case 'DELETED':
        return {type, object: asKubeObject(object, this.#source)};
      case 'BOOKMARK': {
        const metadata = isRecord(object) && isRecord(object['metadata']) ? object['metadata'] : {};
        const resourceVersion = typeof metadata['resourceVersion'] === 'string' ? metadata['resourceVersion'] : '';
        return {type, object: {metadata: {name: '', resourceVersion}}};
      }
      case 'ERROR': {
        const status = isRecord(object) && typeof object['code'] === 'number' ? object['code'] : 500;
        throw kubeError(status, object, {verb: 'watch', path: this.#source});
      }
      default:
        throw new StentorError('BadResponse', 'a watch event of no known type', {path: this.#source, type});
    }
  }
}
