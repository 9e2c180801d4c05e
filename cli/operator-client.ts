// The operator's /debug: what every node should hold, and how far each has come.

import type {ApplyError} from '../lib/domain/reports.js';
import {CliError, EXIT} from './errors.js';
import {bodyOf, openHttp, whyUnreachable} from './http-client.js';

export interface OperatorSession {
  readonly node: string;
  readonly phase: string;
  /** Sent and not acknowledged; not sent yet. */
  readonly inFlight: number;
  readonly dirty: number;
  readonly faults: readonly ApplyError[];
}

export interface OperatorNodeState {
  readonly upserts: readonly {readonly kind: string; readonly key: string; readonly version: string; readonly value: unknown}[];
}

export class OperatorClient {
  readonly #options: {readonly at: string; readonly timeoutMs: number};

  constructor(options: {readonly at: string; readonly timeoutMs: number}) {
    this.#options = options;
  }

  async nodes(): Promise<readonly string[]> {
    return (await this.#get('nodes')) as readonly string[];
  }

  async nodeState(node: string): Promise<OperatorNodeState> {
    return (await this.#get(`nodes/${encodeURIComponent(node)}`)) as OperatorNodeState;
  }

  async sessions(): Promise<readonly OperatorSession[]> {
    return (await this.#get('sessions')) as readonly OperatorSession[];
  }

  async #get(what: string): Promise<unknown> {
    const {at, timeoutMs} = this.#options;
    const signal = AbortSignal.timeout(timeoutMs);
    try {
      const response = await openHttp({at, path: `/debug/${what}`, signal});
      const text = await bodyOf(response);
      if (response.statusCode !== 200) throw new CliError(EXIT.unreachable, `the operator answered ${response.statusCode ?? 0}: ${text.trim()}`);
      return JSON.parse(text);
    } catch (error) {
      if (error instanceof CliError) throw error;
      if (signal.aborted) throw new CliError(EXIT.timeout, `the operator at ${at} did not answer within ${timeoutMs} ms`);
      throw new CliError(EXIT.unreachable, `cannot reach the operator at ${at}: ${whyUnreachable(error)} (--operator or STENTOR_OPERATOR_HTTP names another)`, {cause: error});
    }
  }
}
