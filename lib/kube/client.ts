// The only Kubernetes API client: get, list in pages, watch, create, patch, delete over one pool of kept connections.
// 429 and 503 are waited out as Retry-After says; what stays wrong is a StentorError with a code of errors.ts.

import Pool from 'undici/lib/dispatcher/pool.js';
import type {Pool as PoolType} from 'undici';
import {backoffMs} from '../core/backoff.js';
import {StentorError} from '../core/errors.js';
import {InvariantError} from '../core/invariant.js';
import type {Clock} from '../run/clock.js';
import {kubeError} from './errors.js';
import {abortedError, exchange, type Exchange, type ExchangeResult} from './http.js';
import type {KubeConnection, KubeCredentials} from './kube-config.js';
import {asKubeObject, isRecord, type KubeObject} from './object.js';
import {WatchDecoder, type WatchEvent} from './watch-decoder.js';

export interface KubeClientOptions {
  /** Connections for everything but watches; each watch has its own. Calls above that wait. */
  readonly connections?: number;
  readonly timeoutMs?: number;
  /** How often a call that was answered 429 or 503 is made again. */
  readonly retries?: number;
  readonly bodyLimitBytes?: number;
  readonly userAgent?: string;
}

export interface KubeClientParts {
  readonly connection: KubeConnection;
  readonly clock: Clock;
  readonly random?: () => number;
  /** Called after each answered or failed call; `code` is the HTTP status, or the error's code. */
  readonly onCall?: (verb: string, code: string, seconds: number) => void;
}

export interface ListOptions {
  readonly labelSelector?: string;
  readonly fieldSelector?: string;
  /** Objects per page; default 500. */
  readonly limit?: number;
  /** `0` = any version the server has in memory; absent = the newest. */
  readonly resourceVersion?: string;
}

export interface ListPage {
  readonly items: readonly KubeObject[];
  readonly resourceVersion: string;
}

export interface WatchOptions {
  readonly labelSelector?: string;
  readonly fieldSelector?: string;
  readonly resourceVersion: string;
  /** The server ends the watch after this time. */
  readonly timeoutSeconds: number;
  /** The watch fails with `Timeout` when nothing at all came for so long; 0 = never. */
  readonly silenceLimitMs: number;
}

export type PatchType = 'apply' | 'merge' | 'json';

export interface PatchOptions {
  readonly fieldManager?: string;
  /** Only for `apply`: take fields that another manager owns. */
  readonly force?: boolean;
}

export interface DeleteOptions {
  readonly uid?: string;
  readonly resourceVersion?: string;
  readonly propagationPolicy?: 'Background' | 'Foreground' | 'Orphan';
  /** 0 = at once: for a Pod, what the node says when it has ended. */
  readonly gracePeriodSeconds?: number;
}

const PATCH_CONTENT_TYPE: Readonly<Record<PatchType, string>> = {
  apply: 'application/apply-patch+yaml', merge: 'application/merge-patch+json', json: 'application/json-patch+json',
};

/** The API server closes idle connections after 90 s; ours go first, so that no request meets a closing one. */
const KEEP_ALIVE_MS = 60_000;
const CREDENTIALS_FRESH_MS = 30_000;
const RETRY_BACKOFF = {baseMs: 100, maxMs: 5_000};
const RETRY_AFTER_MAX_MS = 30_000;

interface Call extends Omit<Exchange, 'headers' | 'headersTimeoutMs' | 'bodyTimeoutMs'> {
  readonly contentType?: string;
  /** May be sent again when the connection broke before an answer came. */
  readonly idempotent: boolean;
}

interface Pools {
  readonly version: string;
  readonly calls: PoolType;
  readonly watches: PoolType;
}

export class KubeClient {
  readonly #options: Required<KubeClientOptions>;
  readonly #parts: KubeClientParts;
  #pools: Pools | null = null;
  #credentials: {readonly value: Promise<KubeCredentials>; readonly loadedAtMs: number} | null = null;

  constructor(options: KubeClientOptions, parts: KubeClientParts) {
    this.#options = {connections: 16, timeoutMs: 30_000, retries: 5, bodyLimitBytes: 256 << 20, userAgent: 'stentor', ...options};
    this.#parts = parts;
  }

  /** The namespace of the kubeconfig's context. */
  get namespace(): string {
    return this.#parts.connection.namespace;
  }

  async get(path: string, signal: AbortSignal): Promise<KubeObject> {
    return asKubeObject(await this.getJson(path, signal), path);
  }

  /** For answers that are not objects: `/version`, `/readyz?verbose`. Text that is not JSON comes back as a string. */
  async getJson(path: string, signal: AbortSignal): Promise<unknown> {
    return this.#call('get', {method: 'GET', path, body: null, idempotent: true}, signal);
  }

  /** Page by page, so that no list is ever held as one string. An expired continue token is `Gone`: list again. */
  async *list(path: string, options: ListOptions, signal: AbortSignal): AsyncGenerator<ListPage, void, undefined> {
    let continueToken = '';
    do {
      const query = {...selectors(options), limit: String(options.limit ?? 500),
        ...(continueToken === '' ? {resourceVersion: options.resourceVersion} : {continue: continueToken})};
      const answer = await this.#call('list', {method: 'GET', path: withQuery(path, query), body: null, idempotent: true}, signal);
      const page = decodeListPage(answer, path);
      yield page;
      continueToken = page.continueToken;
    } while (continueToken !== '');
  }

  /** All pages in one array: for kinds that are known to be few. */
  async listAll(path: string, options: ListOptions, signal: AbortSignal): Promise<ListPage> {
    const items: KubeObject[] = [];
    let resourceVersion = '';
    for await (const page of this.list(path, options, signal)) {
      for (const item of page.items) items.push(item);
      resourceVersion = page.resourceVersion;
    }
    return {items, resourceVersion};
  }

  /**
   * Hands over the events of each piece that arrives, in order, until the server ends the watch. Returns then; throws
   * `Gone` when the version is too old, and what `onEvents` throws.
   */
  async watch(path: string, options: WatchOptions, onEvents: (events: readonly WatchEvent[]) => void, signal: AbortSignal): Promise<void> {
    const query = {...selectors(options), watch: '1', allowWatchBookmarks: 'true', resourceVersion: options.resourceVersion,
      timeoutSeconds: String(options.timeoutSeconds)};
    const started = this.#parts.clock.monotonicMs();
    const decoder = new WatchDecoder(path);
    let thrown: unknown = null;
    const onData = (chunk: Buffer): void => {
      try {
        const events = decoder.push(chunk);
        if (events.length > 0) onEvents(events);
      } catch (error) {
        thrown = error;
        throw error;
      }
    };
    const {pools, headers} = await this.#ready();
    try {
      const result = await exchange(pools.watches, {
        method: 'GET', path: withQuery(path, query), headers, body: null,
        headersTimeoutMs: this.#options.timeoutMs, bodyTimeoutMs: options.silenceLimitMs,
      }, signal, {onData, bodyLimitBytes: this.#options.bodyLimitBytes});
      this.#parts.onCall?.('watch', String(result.status), (this.#parts.clock.monotonicMs() - started) / 1000);
      if (result.status >= 300) {
        if (result.status === 401) this.#credentials = null;
        throw kubeError(result.status, parseBody(result.body), {verb: 'watch', path, retryAfterMs: retryAfterMs(result)});
      }
    } catch (error) {
      if (thrown !== null) throw thrown as Error;
      throw outsideError(error, {verb: 'watch', path});
    }
  }

  async create(path: string, object: KubeObject, signal: AbortSignal, options: {readonly fieldManager?: string} = {}): Promise<KubeObject> {
    return asKubeObject(await this.createJson(withQuery(path, {fieldManager: options.fieldManager}), object, signal), path);
  }

  /** For what is answered and not stored, and has no name: reviews, tokens. */
  async createJson(path: string, object: unknown, signal: AbortSignal): Promise<unknown> {
    return this.#call('create', {method: 'POST', path, body: JSON.stringify(object), contentType: 'application/json', idempotent: false}, signal);
  }

  /** Replaces with the object's resourceVersion as precondition. Only for objects whose every field is ours (Lease). */
  async update(path: string, object: KubeObject, signal: AbortSignal): Promise<KubeObject> {
    const answer = await this.#call('update', {
      method: 'PUT', path, body: JSON.stringify(object), contentType: 'application/json', idempotent: false,
    }, signal);
    return asKubeObject(answer, path);
  }

  async patch(
    path: string, body: {readonly type: PatchType; readonly patch: unknown} & PatchOptions, signal: AbortSignal,
  ): Promise<KubeObject> {
    const answer = await this.#call(body.type === 'apply' ? 'apply' : 'patch', {
      method: 'PATCH', path: withQuery(path, {fieldManager: body.fieldManager, force: body.force === true ? 'true' : undefined}),
      body: JSON.stringify(body.patch), contentType: PATCH_CONTENT_TYPE[body.type], idempotent: body.type !== 'json',
    }, signal);
    return asKubeObject(answer, path);
  }

  /** True when it was there. */
  async delete(path: string, options: DeleteOptions, signal: AbortSignal): Promise<boolean> {
    const preconditions = {uid: options.uid, resourceVersion: options.resourceVersion};
    const body = {apiVersion: 'v1', kind: 'DeleteOptions', propagationPolicy: options.propagationPolicy,
      gracePeriodSeconds: options.gracePeriodSeconds, preconditions};
    try {
      await this.#call('delete', {method: 'DELETE', path, body: JSON.stringify(body), contentType: 'application/json', idempotent: true}, signal);
      return true;
    } catch (error) {
      if (error instanceof StentorError && error.code === 'NotFound') return false;
      throw error;
    }
  }

  /** Ends every call and watch, and the connections. */
  async close(): Promise<void> {
    const pools = this.#pools;
    this.#pools = null;
    if (pools === null) return;
    await Promise.all([pools.calls.destroy(), pools.watches.destroy()]);
  }

  async #call(verb: string, call: Call, signal: AbortSignal): Promise<unknown> {
    let broken = 0;
    for (let attempt = 0; ; attempt++) {
      const started = this.#parts.clock.monotonicMs();
      const seconds = (): number => (this.#parts.clock.monotonicMs() - started) / 1000;
      let result: ExchangeResult;
      try {
        result = await this.#exchange(call, signal);
      } catch (error) {
        const outside = outsideError(error, {verb, path: call.path});
        if (outside instanceof StentorError) this.#parts.onCall?.(verb, outside.code, seconds());
        // A kept connection may be closed by the server at the moment of use: an idempotent call is sent once more.
        if (call.idempotent && isBrokenConnection(error) && broken++ === 0 && !signal.aborted) continue;
        throw outside;
      }
      this.#parts.onCall?.(verb, String(result.status), seconds());
      if (result.status < 300) return parseBody(result.body);
      if ((result.status === 429 || result.status === 503) && attempt < this.#options.retries) {
        await this.#pause(result, attempt, signal);
        continue;
      }
      if (result.status === 401) {
        this.#credentials = null;
        if (attempt === 0) continue;
      }
      throw kubeError(result.status, parseBody(result.body), {verb, path: call.path});
    }
  }

  async #exchange(call: Call, signal: AbortSignal): Promise<ExchangeResult> {
    const {pools, headers} = await this.#ready();
    const {timeoutMs, bodyLimitBytes} = this.#options;
    const {contentType, idempotent: _, ...rest} = call;
    return exchange(pools.calls, {
      ...rest, headers: contentType === undefined ? headers : {...headers, 'content-type': contentType},
      headersTimeoutMs: timeoutMs, bodyTimeoutMs: timeoutMs,
    }, signal, {onData: null, bodyLimitBytes});
  }

  async #pause(result: ExchangeResult, attempt: number, signal: AbortSignal): Promise<void> {
    const jitter = (this.#parts.random ?? Math.random)();
    const told = retryAfterMs(result);
    const ms = told === null ? backoffMs(RETRY_BACKOFF, attempt, jitter) : told * (1 + jitter / 4);
    await this.#parts.clock.sleep(ms, signal).catch(() => {
      throw abortedError(signal);
    });
  }

  async #ready(): Promise<{readonly pools: Pools; readonly headers: Readonly<Record<string, string>>}> {
    const nowMs = this.#parts.clock.monotonicMs();
    if (this.#credentials === null || nowMs - this.#credentials.loadedAtMs > CREDENTIALS_FRESH_MS) {
      this.#credentials = {value: this.#parts.connection.credentials(), loadedAtMs: nowMs};
    }
    const held = this.#credentials;
    let credentials: KubeCredentials;
    try {
      credentials = await held.value;
    } catch (error) {
      if (this.#credentials === held) this.#credentials = null;
      throw error;
    }
    if (this.#pools === null || this.#pools.version !== credentials.version) this.#pools = this.#openPools(credentials);
    const headers = {accept: 'application/json', 'user-agent': this.#options.userAgent, ...credentials.headers};
    return {pools: this.#pools, headers};
  }

  /** Connections with the old key material end when their calls have ended. */
  #openPools(credentials: KubeCredentials): Pools {
    const old = this.#pools;
    if (old !== null) {
      void old.calls.close();
      void old.watches.close();
    }
    const common = {keepAliveTimeout: KEEP_ALIVE_MS, keepAliveMaxTimeout: KEEP_ALIVE_MS, connect: {...credentials.tls, timeout: 10_000}};
    const server = this.#parts.connection.server;
    return {
      version: credentials.version,
      calls: new Pool(server, {...common, connections: this.#options.connections}),
      watches: new Pool(server, {...common, connections: null}),
    };
  }
}

function selectors(options: {readonly labelSelector?: string; readonly fieldSelector?: string}): Record<string, string | undefined> {
  return {labelSelector: options.labelSelector, fieldSelector: options.fieldSelector};
}

function withQuery(path: string, query: Readonly<Record<string, string | undefined>>): string {
  const params = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) if (value !== undefined) params.set(name, value);
  const text = params.toString();
  return text === '' ? path : `${path}${path.includes('?') ? '&' : '?'}${text}`;
}

function parseBody(body: Buffer): unknown {
  const text = body.toString('utf8');
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

function retryAfterMs(result: ExchangeResult): number | null {
  if (result.retryAfter === null || !/^\d{1,6}$/.test(result.retryAfter.trim())) return null;
  return Math.min(Number(result.retryAfter) * 1000, RETRY_AFTER_MAX_MS);
}

function decodeListPage(answer: unknown, path: string): ListPage & {readonly continueToken: string} {
  if (!isRecord(answer) || !Array.isArray(answer['items']) || !isRecord(answer['metadata'])) {
    throw new StentorError('BadResponse', `${path} did not answer with a list`, {path});
  }
  const {resourceVersion, continue: continueToken} = answer['metadata'];
  return {
    items: answer['items'].map((item: unknown) => asKubeObject(item, path)),
    resourceVersion: typeof resourceVersion === 'string' ? resourceVersion : '',
    continueToken: typeof continueToken === 'string' ? continueToken : '',
  };
}

function codeOf(error: unknown): string {
  return typeof error === 'object' && error !== null && 'code' in error && typeof error.code === 'string' ? error.code : '';
}

function isBrokenConnection(error: unknown): boolean {
  return ['UND_ERR_SOCKET', 'ECONNRESET', 'EPIPE'].includes(codeOf(error));
}

/** Our own mistakes stay what they are; everything else that is not ours yet becomes a StentorError. */
function outsideError(error: unknown, data: Readonly<Record<string, unknown>>): Error {
  if (error instanceof StentorError || error instanceof InvariantError) return error;
  const code = codeOf(error);
  const message = error instanceof Error ? error.message : String(error);
  const timeout = code === 'UND_ERR_HEADERS_TIMEOUT' || code === 'UND_ERR_BODY_TIMEOUT' || code === 'UND_ERR_CONNECT_TIMEOUT';
  return new StentorError(timeout ? 'Timeout' : 'Unreachable', `${code === '' ? '' : `${code}: `}${message}`, data, {cause: error});
}
