// One HTTP exchange over an undici pool: the whole body, or its chunks as they come. Aborts reject at once.

import type {Dispatcher, Pool} from 'undici';
import {StentorError} from '../core/errors.js';

export interface Exchange {
  readonly method: 'GET' | 'POST' | 'PATCH' | 'PUT' | 'DELETE';
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string | null;
  /** Longest wait for the response's headers. */
  readonly headersTimeoutMs: number;
  /** Longest pause between two pieces of the body; 0 = none. */
  readonly bodyTimeoutMs: number;
}

export interface ExchangeResult {
  readonly status: number;
  readonly retryAfter: string | null;
  /** Empty when the body was handed to `onData`. */
  readonly body: Buffer;
}

/** `onData` gets the body of 2xx answers piece by piece; other bodies are collected, at most `bodyLimitBytes`. */
export function exchange(
  pool: Pool, what: Exchange, signal: AbortSignal, stream: {readonly onData: ((chunk: Buffer) => void) | null; readonly bodyLimitBytes: number},
): Promise<ExchangeResult> {
  return new Promise((resolve, reject) => {
    if (signal.aborted) {
      reject(abortedError(signal));
      return;
    }
    const handler = new ExchangeHandler(signal, stream, {resolve, reject});
    pool.dispatch({
      method: what.method, path: what.path, headers: what.headers, body: what.body,
      headersTimeout: what.headersTimeoutMs, bodyTimeout: what.bodyTimeoutMs,
    }, handler);
  });
}

export function abortedError(signal: AbortSignal): StentorError {
  return new StentorError('Aborted', 'the call was aborted', {}, {cause: signal.reason});
}

class ExchangeHandler implements Dispatcher.DispatchHandler {
  readonly #signal: AbortSignal;
  readonly #stream: {readonly onData: ((chunk: Buffer) => void) | null; readonly bodyLimitBytes: number};
  readonly #settle: {readonly resolve: (result: ExchangeResult) => void; readonly reject: (error: Error) => void};
  readonly #chunks: Buffer[] = [];
  #size = 0;
  #status = 0;
  #retryAfter: string | null = null;
  #controller: Dispatcher.DispatchController | null = null;

  constructor(
    signal: AbortSignal, stream: {readonly onData: ((chunk: Buffer) => void) | null; readonly bodyLimitBytes: number},
    settle: {readonly resolve: (result: ExchangeResult) => void; readonly reject: (error: Error) => void},
  ) {
    this.#signal = signal;
    this.#stream = stream;
    this.#settle = settle;
    signal.addEventListener('abort', this.#onAbort, {once: true});
  }

  readonly #onAbort = (): void => {
    const error = abortedError(this.#signal);
    this.#settle.reject(error);
    this.#controller?.abort(error);
  };

  onRequestStart(controller: Dispatcher.DispatchController): void {
    this.#controller = controller;
    if (this.#signal.aborted) controller.abort(abortedError(this.#signal));
  }

  onResponseStart(
    _controller: Dispatcher.DispatchController, status: number, headers: Readonly<Record<string, string | string[] | undefined>>,
  ): void {
    this.#status = status;
    const retryAfter = headers['retry-after'];
    this.#retryAfter = typeof retryAfter === 'string' ? retryAfter : null;
  }

  onResponseData(controller: Dispatcher.DispatchController, chunk: Buffer): void {
    if (this.#stream.onData !== null && this.#status >= 200 && this.#status < 300) {
      try {
        this.#stream.onData(chunk);
      } catch (error) {
        controller.abort(error instanceof Error ? error : new Error(String(error)));
      }
      return;
    }
    this.#size += chunk.length;
    if (this.#size > this.#stream.bodyLimitBytes) {
      controller.abort(new StentorError('BadResponse', `the body is larger than ${this.#stream.bodyLimitBytes} bytes`));
      return;
    }
    this.#chunks.push(chunk);
  }

  onResponseEnd(): void {
    this.#signal.removeEventListener('abort', this.#onAbort);
    this.#settle.resolve({status: this.#status, retryAfter: this.#retryAfter, body: Buffer.concat(this.#chunks)});
  }

  onResponseError(_controller: Dispatcher.DispatchController, error: Error): void {
    this.#signal.removeEventListener('abort', this.#onAbort);
    this.#settle.reject(error);
  }
}
