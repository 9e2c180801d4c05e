// /metrics, /healthz, /readyz and JSON endpoints, on TCP or a Unix socket.

import {createServer, type IncomingMessage, type Server, type ServerResponse} from 'node:http';
import {mkdir, rm} from 'node:fs/promises';
import {dirname} from 'node:path';
import {StentorError} from '../core/errors.js';

export type HttpHandler = (request: IncomingMessage, response: ServerResponse, url: URL) => void | Promise<void>;

export interface HttpServerOptions {
  /** `host:port`, or a path (then a Unix socket, mode 0600). */
  readonly listen: string;
  /** By `METHOD /path`; the longest path prefix that ends in `/` also matches. */
  readonly routes: Readonly<Record<string, HttpHandler>>;
  readonly bodyLimitBytes?: number;
}

export interface HttpServerHandle {
  /** Where it listens, with the real port. */
  readonly address: string;
  close(): Promise<void>;
}

export async function startHttpServer(options: HttpServerOptions): Promise<HttpServerHandle> {
  const server = createServer((request, response) => void dispatch(options, request, response));
  server.on('clientError', (_error, socket) => {
    if (socket.writable) socket.end('HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\nnot HTTP\n');
  });
  const isPath = options.listen.startsWith('/');
  if (isPath) {
    await mkdir(dirname(options.listen), {recursive: true});
    await rm(options.listen, {force: true});
  }
  await listen(server, options.listen, isPath);
  const bound = server.address();
  const address = bound !== null && typeof bound === 'object' ? `${bound.address}:${bound.port}` : options.listen;
  return {
    address,
    close: () => new Promise((resolve) => {
      server.close(() => resolve());
      server.closeAllConnections();
    }),
  };
}

function listen(server: Server, where: string, isPath: boolean): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    if (isPath) {
      // The socket is bound inside `listen`: nobody else can open it, not even for a moment.
      const before = process.umask(0o177);
      server.listen(where, () => resolve());
      process.umask(before);
      return;
    }
    const colon = where.lastIndexOf(':');
    server.listen(Number(where.slice(colon + 1)), where.slice(0, colon).replace(/^\[|\]$/g, ''), () => resolve());
  });
}

async function dispatch(options: HttpServerOptions, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const url = parseUrl(request.url ?? '/');
  if (url === null) {
    sendJson(response, 400, {error: 'the request has no valid path'});
    return;
  }
  const handler = findHandler(options.routes, `${request.method ?? 'GET'} ${url.pathname}`);
  if (handler === null) {
    sendJson(response, 404, {error: `no such endpoint: ${request.method ?? ''} ${url.pathname}`});
    return;
  }
  try {
    await handler(request, response, url);
  } catch (error) {
    if (response.headersSent) {
      response.destroy();
      return;
    }
    const refused = error instanceof StentorError && error.code === 'BAD_REQUEST';
    sendJson(response, refused ? 400 : 500, {error: error instanceof Error ? error.message : String(error)});
  }
}

function parseUrl(text: string): URL | null {
  return URL.canParse(text, 'http://localhost') ? new URL(text, 'http://localhost') : null;
}

/** What a handler throws for input it refuses: answered with 400 and the message. */
export function badRequest(message: string): StentorError {
  return new StentorError('BAD_REQUEST', message);
}

function findHandler(routes: Readonly<Record<string, HttpHandler>>, wanted: string): HttpHandler | null {
  const exact = routes[wanted];
  if (exact !== undefined) return exact;
  const prefix = Object.keys(routes).filter((route) => route.endsWith('/') && wanted.startsWith(route)).sort((a, b) => b.length - a.length)[0];
  return prefix === undefined ? null : (routes[prefix] ?? null);
}

export function sendJson(response: ServerResponse, status: number, body: unknown): void {
  response.writeHead(status, {'content-type': 'application/json'});
  response.end(`${JSON.stringify(body)}\n`);
}

/** The whole body, at most `limitBytes` (default 1 MiB): more is an error. */
export async function readBody(request: IncomingMessage, limitBytes = 1 << 20): Promise<Buffer> {
  const parts: Buffer[] = [];
  let size = 0;
  for await (const part of request as AsyncIterable<Buffer>) {
    size += part.length;
    if (size > limitBytes) throw badRequest(`the body is larger than ${limitBytes} bytes`);
    parts.push(part);
  }
  return Buffer.concat(parts);
}
