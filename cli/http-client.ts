// One GET of JSON, from a Unix socket or an address: what agents and the operator answer.

import {request, type IncomingMessage} from 'node:http';

export interface HttpTarget {
  /** A path is a socket; else `host:port`, with or without `http://`. */
  readonly at: string;
  readonly path: string;
  readonly signal: AbortSignal;
}

export function openHttp({at, path, signal}: HttpTarget): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const call = at.startsWith('/') || at.startsWith('.') ? request({socketPath: at, path, signal}, resolve) : request(new URL(path, at.includes('://') ? at : `http://${at}`), {signal}, resolve);
    call.on('error', reject);
    call.end();
  });
}

export async function bodyOf(response: IncomingMessage): Promise<string> {
  const parts: Buffer[] = [];
  for await (const part of response as AsyncIterable<Buffer>) parts.push(part);
  return Buffer.concat(parts).toString();
}

/** Why nobody was reached, in words. */
export function whyUnreachable(error: unknown): string {
  switch ((error as {code?: unknown}).code) {
    case 'ENOENT': return 'there is no such socket';
    case 'ECONNREFUSED': return 'nobody listens there';
    case 'EACCES': return 'permission denied';
    default: return String(error);
  }
}
