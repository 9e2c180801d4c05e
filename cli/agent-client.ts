// The agent's socket: one question, one answer, and an error that says what to do when nobody answers.

import type {IncomingMessage} from 'node:http';
import type {AgentAnswers} from '../lib/domain/agent-api.js';
import {CliError, EXIT} from './errors.js';
import {bodyOf, openHttp, whyUnreachable} from './http-client.js';

export interface AgentClientOptions {
  readonly socket: string;
  readonly timeoutMs: number;
}

export class AgentClient {
  readonly #options: AgentClientOptions;

  constructor(options: AgentClientOptions) {
    this.#options = options;
  }

  async get<P extends keyof AgentAnswers>(path: P, query: Readonly<Record<string, string>> = {}): Promise<AgentAnswers[P]> {
    const signal = AbortSignal.timeout(this.#options.timeoutMs);
    try {
      const response = await this.#open(path, query, signal);
      const text = await bodyOf(response);
      if (response.statusCode !== 200) throw new CliError(EXIT.unreachable, `the agent answered ${response.statusCode ?? 0}: ${errorText(text)}`);
      return JSON.parse(text) as AgentAnswers[P];
    } catch (error) {
      throw this.#explained(error, signal);
    }
  }

  /** The answer, or null when no agent answers: for what can be shown without it. */
  async ask<P extends keyof AgentAnswers>(path: P, query: Readonly<Record<string, string>> = {}): Promise<AgentAnswers[P] | null> {
    return this.get(path, query).catch(() => null);
  }

  /** Lines of an answer that does not end by itself. */
  async *follow(path: string, query: Readonly<Record<string, string>>, signal: AbortSignal): AsyncIterable<string> {
    const response = await this.#open(path, query, signal).catch((error: unknown) => {
      throw this.#explained(error, signal);
    });
    let rest = '';
    response.setEncoding('utf8');
    const failed = response.statusCode === 200 ? null : `the agent answered ${response.statusCode ?? 0}: `;
    try {
      for await (const part of response as AsyncIterable<string>) {
        const lines = (rest + part).split('\n');
        rest = lines.pop() ?? '';
        if (failed !== null) throw new CliError(EXIT.unreachable, failed + errorText(lines.join('\n') + rest));
        yield* lines;
      }
    } catch (error) {
      if (signal.aborted) return;
      throw this.#explained(error, signal);
    }
    throw new CliError(EXIT.unreachable, 'the agent has ended the stream');
  }

  #open(path: string, query: Readonly<Record<string, string>>, signal: AbortSignal): Promise<IncomingMessage> {
    const parameters = new URLSearchParams(query).toString();
    return openHttp({at: this.#options.socket, path: parameters === '' ? path : `${path}?${parameters}`, signal});
  }

  #explained(error: unknown, signal: AbortSignal): CliError {
    if (error instanceof CliError) return error;
    const {socket, timeoutMs} = this.#options;
    if (signal.aborted) return new CliError(EXIT.timeout, `the agent at ${socket} did not answer within ${timeoutMs} ms`);
    return new CliError(EXIT.unreachable, `cannot reach the agent at ${socket}: ${whyUnreachable(error)} (--api-socket or STENTOR_API_SOCKET names another)`, {cause: error});
  }
}

function errorText(body: string): string {
  try {
    const {error} = JSON.parse(body) as {error?: unknown};
    return typeof error === 'string' ? error : body.trim();
  } catch {
    return body.trim();
  }
}
