// HTTP over a Unix socket: the way to the agents and the operator, whatever namespace they are in.

import {request} from 'node:http';

export function getText(socketPath: string, path: string): Promise<string> {
  return send(socketPath, {method: 'GET', path});
}

export async function getJson<T>(socketPath: string, path: string): Promise<T> {
  return JSON.parse(await getText(socketPath, path)) as T;
}

export interface UnixRequest {
  readonly method: string;
  readonly path: string;
  readonly body?: string | Uint8Array;
}

/** Any status but 2xx is an error that carries the answer's text. */
export function send(socketPath: string, what: UnixRequest): Promise<string> {
  return new Promise((resolve, reject) => {
    const call = request({socketPath, method: what.method, path: what.path, timeout: 10_000}, (response) => {
      const parts: Buffer[] = [];
      response.on('data', (part: Buffer) => parts.push(part));
      response.on('error', reject);
      response.on('end', () => {
        const text = Buffer.concat(parts).toString();
        const status = response.statusCode ?? 0;
        if (status >= 200 && status < 300) resolve(text);
        else reject(new Error(`${what.method} ${what.path}: ${status} ${text.trim()}`));
      });
    });
    call.on('timeout', () => call.destroy(new Error(`${what.method} ${what.path}: no answer within 10 s`)));
    call.on('error', reject);
    call.end(what.body);
  });
}
