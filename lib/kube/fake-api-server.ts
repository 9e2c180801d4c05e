// Tests only: an HTTP server whose answers a test scripts one by one, for the faults that a real API server gives only rarely.

import {createServer, type IncomingMessage, type Server, type ServerResponse} from 'node:http';
import type {KubeConnection} from './kube-config.js';

export interface FakeRequest {
  readonly method: string;
  readonly url: URL;
  readonly body: string;
  readonly headers: IncomingMessage['headers'];
}

export type FakeAnswer = (request: FakeRequest, response: ServerResponse) => void;

export class FakeApiServer {
  readonly requests: FakeRequest[] = [];
  readonly #server: Server;
  #answer: FakeAnswer = (_request, response) => sendStatus(response, 404, 'NotFound');

  private constructor() {
    this.#server = createServer((request, response) => void this.#serve(request, response));
  }

  static async start(): Promise<FakeApiServer> {
    const fake = new FakeApiServer();
    await new Promise<void>((resolve) => fake.#server.listen(0, '127.0.0.1', () => resolve()));
    return fake;
  }

  /** From now on every request is answered by this. */
  answer(answer: FakeAnswer): void {
    this.#answer = answer;
  }

  connection(): KubeConnection {
    const address = this.#server.address();
    const port = address !== null && typeof address === 'object' ? address.port : 0;
    return {
      server: `http://127.0.0.1:${port}`, namespace: 'default',
      credentials: () => Promise.resolve({version: '1', tls: {}, headers: {authorization: 'Bearer t'}}),
    };
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise<void>((resolve) => this.#server.close(() => resolve()));
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    let body = '';
    for await (const part of request as AsyncIterable<Buffer>) body += part.toString('utf8');
    const seen = {method: request.method ?? '', url: new URL(request.url ?? '/', 'http://fake'), body, headers: request.headers};
    this.requests.push(seen);
    this.#answer(seen, response);
  }
}

export function sendObject(response: ServerResponse, object: unknown, status = 200): void {
  response.writeHead(status, {'content-type': 'application/json'});
  response.end(JSON.stringify(object));
}

export function sendStatus(response: ServerResponse, code: number, reason: string, headers: Record<string, string> = {}): void {
  response.writeHead(code, {'content-type': 'application/json', ...headers});
  response.end(JSON.stringify({kind: 'Status', code, reason, message: `${reason} for the test`}));
}

export function sendList(response: ServerResponse, items: readonly unknown[], metadata: Readonly<Record<string, string>>): void {
  sendObject(response, {kind: 'List', items, metadata});
}

/** Starts a watch's answer; the returned functions send one event, or cut the connection. */
export function openWatch(response: ServerResponse): {readonly send: (type: string, object: unknown) => void; readonly cut: () => void; readonly end: () => void} {
  response.writeHead(200, {'content-type': 'application/json'});
  response.flushHeaders();
  return {
    send: (type, object) => void response.write(`${JSON.stringify({type, object})}\n`),
    cut: () => void response.destroy(),
    end: () => void response.end(),
  };
}
