// Peer states of the running speakers as they change, with the reasons that GoBGP gives only in its log.

import {watch as watchFile} from 'node:fs';
import {open} from 'node:fs/promises';
import {deepEqual} from '../../lib/core/equal.js';
import type {BgpPeerStatus} from '../../lib/domain/bgp.js';
import type {Clock} from '../../lib/run/clock.js';
import {errorFields, type Log} from '../../lib/run/log.js';
import type {GoBgpClient} from '../../proto/gobgp.js';

/** The speaker, as far as its events are concerned. */
export interface SpeakerSource {
  instances(): readonly {readonly name: string; readonly client: GoBgpClient; readonly logPath: string}[];
  peers(reason: (instance: string, address: string) => string): Promise<readonly BgpPeerStatus[]>;
  /** Has the log of an instance say why connections fail, or not any more. */
  explain(instance: string, verbose: boolean): Promise<void>;
  /** Told when the events of an instance end: its process may have. */
  look(): void;
  /** Told when a session is lost that had been up for a while. */
  reopen(instance: string, address: string): Promise<void>;
}

export interface SpeakerEventsParts {
  readonly source: SpeakerSource;
  readonly clock: Clock;
  readonly log: Log;
}

/** Counters have no events: this is how old they may be. */
const REFRESH_MS = 5000;
/** A session that is lost sooner than this has a reason to wait. */
const STEADY_SECONDS = 10;
/** New instances are found by looking. */
const LOOK_MS = 250;

export class SpeakerEvents {
  readonly #parts: SpeakerEventsParts;
  readonly #reasons = new Map<string, string>();
  readonly #followed = new Map<string, AbortController>();
  /** What was last asked of each instance's log. */
  readonly #explained = new Map<string, boolean>();
  readonly #listeners = new Set<(peers: readonly BgpPeerStatus[]) => void>();
  #last: readonly BgpPeerStatus[] = [];
  #stale = true;

  constructor(parts: SpeakerEventsParts) {
    this.#parts = parts;
  }

  /** Calls with all peers whenever something other than an uptime has changed. */
  onChange(listener: (peers: readonly BgpPeerStatus[]) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** The peers as they are now. */
  peers(): Promise<readonly BgpPeerStatus[]> {
    return this.#parts.source.peers((instance, address) => this.#reasonOf(instance, address));
  }

  async run(signal: AbortSignal): Promise<void> {
    const {clock, log} = this.#parts;
    let readAt = -Infinity;
    while (!signal.aborted) {
      this.#followInstances();
      if (this.#stale || clock.monotonicMs() - readAt >= REFRESH_MS) {
        this.#stale = false;
        readAt = clock.monotonicMs();
        await this.#read().catch((error: unknown) => log.debug('the peers were not read', errorFields(error)));
      }
      await clock.sleep(LOOK_MS, signal).catch(() => undefined);
    }
    for (const follower of this.#followed.values()) follower.abort();
    this.#followed.clear();
  }

  async #read(): Promise<void> {
    const peers = await this.peers();
    await this.#explain(peers);
    const timeless = peers.map((peer) => ({...peer, uptimeSeconds: 0}));
    if (deepEqual(timeless, this.#last)) return;
    const lost = this.#lost(peers);
    this.#last = timeless;
    for (const {instance, address} of lost) await this.#parts.source.reopen(instance, address);
    for (const listener of this.#listeners) listener(peers);
  }

  /** Was up for a while at the last look, and is not now. */
  #lost(peers: readonly BgpPeerStatus[]): readonly BgpPeerStatus[] {
    const steadySince = this.#parts.clock.now() / 1000 - STEADY_SECONDS;
    const steady = new Set(this.#last.filter(({session, establishedAt}) => session === 'established' && establishedAt <= steadySince).map(({instance, address}) => `${instance} ${address}`));
    return peers.filter(({instance, address, session}) => session !== 'established' && steady.has(`${instance} ${address}`));
  }

  /** Only while something is down: the debug log of a busy speaker would be cut again and again. */
  async #explain(peers: readonly BgpPeerStatus[]): Promise<void> {
    for (const name of this.#followed.keys()) {
      const verbose = peers.some(({instance, session}) => instance === name && session !== 'established');
      if (this.#explained.get(name) === verbose) continue;
      this.#explained.set(name, verbose);
      await this.#parts.source.explain(name, verbose);
    }
  }

  #reasonOf(instance: string, address: string): string {
    return this.#reasons.get(`${instance} ${address}`) ?? 'no session yet';
  }

  #followInstances(): void {
    const now = new Map(this.#parts.source.instances().map((one) => [one.name, one]));
    for (const [name, follower] of this.#followed) {
      if (now.has(name) && !follower.signal.aborted) continue;
      follower.abort();
      this.#followed.delete(name);
      this.#explained.delete(name);
      this.#stale = true;
    }
    for (const [name, {client, logPath}] of now) {
      if (this.#followed.has(name)) continue;
      const follower = new AbortController();
      this.#followed.set(name, follower);
      this.#followEvents(client, follower);
      void this.#followLog(name, logPath, follower.signal);
    }
  }

  /** An event says only that it is time to look: what it carries lacks the counters. */
  #followEvents(client: GoBgpClient, follower: AbortController): void {
    const events = client.WatchEvent({peer: {}}, {deadline: Infinity});
    events.on('data', () => (this.#stale = true));
    // The stream ends with its gobgpd; the next look finds the new one.
    const ended = (): void => {
      if (follower.signal.aborted) return;
      follower.abort();
      this.#parts.source.look();
    };
    events.on('error', ended);
    events.on('end', ended);
    follower.signal.addEventListener('abort', () => events.cancel(), {once: true});
  }

  async #followLog(instance: string, path: string, signal: AbortSignal): Promise<void> {
    const {log} = this.#parts;
    const tail = new LogTail(path, (line) => {
      const found = downReason(line);
      if (found === null) return;
      this.#reasons.set(`${instance} ${found.peer}`, found.reason);
      this.#stale = true;
    });
    const pump = (): void => void tail.read().catch((error: unknown) => log.debug('the log of gobgpd was not read', {instance, ...errorFields(error)}));
    try {
      const watcher = watchFile(path, pump);
      signal.addEventListener('abort', () => watcher.close(), {once: true});
    } catch (error) {
      log.debug('the log of gobgpd is not watched', {instance, ...errorFields(error)});
    }
    pump();
  }
}

const CHUNK_BYTES = 64 << 10;
/** What lies further back than this is not read: a router that floods fills the log faster than anybody reads it. */
const TAIL_BYTES = 1 << 20;
/** The lines that say something about a session are short; those that list what a router sent are not. */
const LINE_CHARS = 4096;

/** Reads what a file has gained, line by line; starts over when it was cut. However fast the file grows, its memory is that of one chunk. */
export class LogTail {
  readonly #path: string;
  readonly #onLine: (line: string) => void;
  #offset = 0;
  #rest = '';
  #reading: Promise<void> | null = null;
  /** The file may have grown since the look that is under way. */
  #again: Promise<void> | null = null;

  constructor(path: string, onLine: (line: string) => void) {
    this.#path = path;
    this.#onLine = onLine;
  }

  /** Resolves when what the file holds now is read. */
  read(): Promise<void> {
    if (this.#reading === null) return (this.#reading = this.#readOnce().finally(() => (this.#reading = null)));
    return (this.#again ??= this.#reading.catch(() => undefined).then(() => {
      this.#again = null;
      return this.read();
    }));
  }

  async #readOnce(): Promise<void> {
    const file = await open(this.#path, 'r');
    try {
      const {size} = await file.stat();
      if (size < this.#offset) this.#moveTo(0);
      if (size - this.#offset > TAIL_BYTES) this.#moveTo(size - TAIL_BYTES);
      const bytes = Buffer.alloc(Math.min(CHUNK_BYTES, size - this.#offset));
      while (this.#offset < size) {
        const {bytesRead} = await file.read(bytes, 0, Math.min(bytes.length, size - this.#offset), this.#offset);
        if (bytesRead === 0) return;
        this.#offset += bytesRead;
        this.#take(bytes.toString('utf8', 0, bytesRead));
      }
    } finally {
      await file.close();
    }
  }

  #moveTo(offset: number): void {
    this.#offset = offset;
    this.#rest = '';
  }

  #take(text: string): void {
    const lines = text.split('\n');
    lines[0] = this.#rest + (lines[0] ?? '');
    // Of a long line only that it is long matters.
    this.#rest = (lines.pop() ?? '').slice(0, LINE_CHARS + 1);
    for (const line of lines) if (line.length <= LINE_CHARS) this.#onLine(line);
  }
}

/** Null when the line says nothing about why a session is not up. */
export function downReason(line: string): {readonly peer: string; readonly reason: string} | null {
  let fields: Readonly<Record<string, unknown>>;
  try {
    fields = JSON.parse(line) as Readonly<Record<string, unknown>>;
  } catch {
    return null;
  }
  const {msg, Key: peer, Reason: reason, Code: code, Subcode: subcode, Error: error} = fields;
  if (typeof peer !== 'string') return null;
  if (msg === 'Peer Down' && typeof reason === 'string') return {peer, reason};
  if (msg === 'failed to connect' && typeof error === 'string') return {peer, reason: connectReason(error)};
  if ((msg === 'sent notification' || msg === 'received notification') && typeof code === 'number') {
    return {peer, reason: `${msg.replace('notification', 'notification:')} ${notificationName(code, typeof subcode === 'number' ? subcode : 0)}`};
  }
  return null;
}

/** The kernel's words of a failed connect, and what an operator of routers would look at. */
function connectReason(error: string): string {
  if (error.includes('connection refused')) return 'connection refused: nothing listens there for this node';
  if (/no route to host|network is unreachable/.test(error)) return `no route to the peer: ${error.includes('no route') ? 'no neighbour answers' : 'the network is unreachable'}`;
  if (error.includes('timeout')) return 'no answer to the TCP connection: the peer is down or filtered, or its TCP MD5 password is another one';
  return `cannot connect: ${error.slice(error.lastIndexOf(': ') + 2)}`;
}

/** RFC 4271 §4.5 and RFC 4486. */
const ERRORS: Readonly<Record<number, string>> = {1: 'message header error', 2: 'open message error', 3: 'update message error', 4: 'hold timer expired', 5: 'state machine error', 6: 'cease'};
const DETAILS: Readonly<Record<string, string>> = {
  '2/1': 'unsupported version number', '2/2': 'bad peer AS', '2/3': 'bad BGP identifier', '2/4': 'unsupported optional parameter', '2/6': 'unacceptable hold time', '2/7': 'unsupported capability',
  '6/1': 'maximum number of prefixes reached', '6/2': 'administrative shutdown', '6/3': 'peer de-configured', '6/4': 'administrative reset', '6/5': 'connection rejected',
  '6/6': 'other configuration change', '6/7': 'connection collision resolution', '6/8': 'out of resources', '6/9': 'hard reset', '6/10': 'BFD down',
};

export function notificationName(code: number, subcode: number): string {
  const name = ERRORS[code] ?? `code ${code}`;
  const detail = DETAILS[`${code}/${subcode}`] ?? (subcode === 0 ? '' : `subcode ${subcode}`);
  return detail === '' ? name : `${name}, ${detail}`;
}
