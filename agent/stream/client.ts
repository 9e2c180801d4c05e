// Keeps a session with one of the operator's replicas: mTLS, backoff, the next address after every failure. Never stops by itself.

import {isIP} from 'node:net';
import {checkServerIdentity} from 'node:tls';
import * as grpc from '@grpc/grpc-js';
import {StentorError} from '../../lib/core/errors.js';
import type {Clock} from '../../lib/run/clock.js';
import {defineService, method} from '../../lib/run/grpc.js';
import type {Log} from '../../lib/run/log.js';
import {runLoop} from '../../lib/run/loop.js';
import type {KeyFiles} from '../../lib/run/tls.js';
import {stentor} from '../../proto/gen/session.js';
import type {AgentMessage} from './report.js';
import type {DesiredState, Installed, SpanAck} from './session.js';
import {Session} from './session.js';

const NODE_SESSIONS = defineService('stentor.v1.NodeSessions', {Session: method('bidi', stentor.v1.AgentMessage, stentor.v1.OperatorMessage)});

export interface OperatorClientOptions {
  readonly node: string;
  readonly agentVersion: string;
  /** `host:port` of every replica. */
  readonly addresses: readonly string[];
  /** Name in the operator's certificate; empty = the host of the address. */
  readonly serverName: string;
  readonly backoffMaxMs: number;
  readonly keepaliveMs: number;
  /** Largest message that is accepted. */
  readonly messageBytesMax: number;
}

export interface OperatorClientParts {
  readonly keys: KeyFiles;
  readonly desired: DesiredState;
  readonly clock: Clock;
  readonly log: Log;
  readonly onSpanAck: (ack: SpanAck) => void;
  /** What to say after the hello of every new session: the node, all its endpoints, and its peers, which end the greeting. */
  readonly greeting: () => readonly AgentMessage[];
}

export interface OperatorStatus {
  readonly connected: boolean;
  readonly address: string;
  readonly version: string | null;
  readonly lastAckSequence: number | null;
  /** Why there is no session, as the last attempt saw it. */
  readonly lastError: string | null;
}

/** First wait after a failure; doubles up to `backoffMaxMs`. */
const BACKOFF_BASE_MS = 100;
/** Data flows from operator to agent: a window larger than gRPC's 64 kB keeps a snapshot from waiting for round trips. */
const FLOW_WINDOW_BYTES = 4 << 20;
/** What is sent as the server's name when it is reached by address. */
const SERVER_NAME = 'stentor-operator';

export class OperatorClient {
  readonly #options: OperatorClientOptions;
  readonly #parts: OperatorClientParts;
  #next = 0;
  #session: Session | null = null;
  #send: ((message: AgentMessage) => void) | null = null;
  #installed: Installed | null = null;
  #lastError: string | null = null;

  constructor(options: OperatorClientOptions, parts: OperatorClientParts) {
    this.#options = options;
    this.#parts = parts;
  }

  get status(): OperatorStatus {
    const {operatorVersion, lastAckSequence} = this.#session?.status ?? {operatorVersion: null, lastAckSequence: null};
    return {connected: operatorVersion !== null, address: this.#address, version: operatorVersion, lastAckSequence, lastError: this.#lastError};
  }

  /** Lost when there is no session: the greeting of the next one says everything that is so then. */
  report(message: AgentMessage): void {
    this.#send?.(message);
  }

  installed(installed: Installed): void {
    this.#installed = installed;
    this.#session?.installed(installed);
  }

  async run(signal: AbortSignal): Promise<void> {
    await runLoop({name: 'operator-session', backoff: {baseMs: BACKOFF_BASE_MS, maxMs: this.#options.backoffMaxMs}}, this.#parts, signal, async () => {
      const startedMs = this.#parts.clock.monotonicMs();
      try {
        await this.#runSession(signal);
      } catch (error) {
        this.#lastError = error instanceof Error ? error.message : String(error);
        // A session that lasted ends the row of failures: the next attempt is at once.
        const lasted = this.#session?.status.operatorVersion !== null && this.#parts.clock.monotonicMs() - startedMs > this.#options.backoffMaxMs;
        if (!lasted || signal.aborted) throw error;
        this.#parts.log.warn('session with the operator ended', {address: this.#address, error: this.#lastError});
      } finally {
        this.#session = null;
        this.#send = null;
        this.#next = (this.#next + 1) % this.#options.addresses.length;
      }
    });
  }

  get #address(): string {
    return this.#options.addresses[this.#next] ?? '';
  }

  /** Ends only by throwing: a stream that the operator closes is a reason to come again, after a while. */
  async #runSession(signal: AbortSignal): Promise<void> {
    const {keys, log} = this.#parts;
    keys.refresh();
    const {ca, key, cert} = keys.current;
    const name = this.#options.serverName === '' ? hostOf(this.#address) : this.#options.serverName;
    const credentials = grpc.credentials.createSsl(ca, key, cert, {checkServerIdentity: (_host, peer) => checkServerIdentity(name, peer)});
    const client = NODE_SESSIONS.connect(this.#address, credentials, {
      'grpc.keepalive_time_ms': this.#options.keepaliveMs,
      'grpc.keepalive_timeout_ms': this.#options.keepaliveMs,
      'grpc.keepalive_permit_without_calls': 1,
      'grpc.max_receive_message_length': this.#options.messageBytesMax,
      'grpc-node.flow_control_window': FLOW_WINDOW_BYTES,
      'grpc.use_local_subchannel_pool': 1,
      // An address must not be sent as a server name (RFC 6066): the certificate is checked against `name` all the same.
      'grpc.ssl_target_name_override': isIP(name) === 0 ? name : SERVER_NAME,
    });
    const call = client.Session();
    const abort = (): void => call.cancel();
    signal.addEventListener('abort', abort, {once: true});
    try {
      await new Promise<void>((_resolve, reject) => {
        const send = (message: AgentMessage): void => void call.write(message);
        const session = new Session(this.#options, {desired: this.#desired(), send, onSpanAck: this.#parts.onSpanAck, log});
        call.on('data', (message) => {
          try {
            const isFirst = session.status.operatorVersion === null;
            session.receive(message);
            if (isFirst && session.status.operatorVersion !== null) this.#established();
            if (this.#installed !== null) session.installed(this.#installed);
          } catch (error) {
            call.cancel();
            reject(error instanceof Error ? error : new Error(String(error)));
          }
        });
        call.on('error', (error) => reject(streamError(error, this.#address)));
        call.on('end', () => reject(new StentorError('STREAM_CLOSED', 'the operator closed the session', {address: this.#address})));
        this.#session = session;
        this.#send = send;
        session.start();
        for (const message of this.#parts.greeting()) send(message);
      });
    } finally {
      signal.removeEventListener('abort', abort);
      client.channel.close();
    }
  }

  /** What was installed before a change says nothing about the state after it, even when the version comes back. */
  #desired(): DesiredState {
    const {desired} = this.#parts;
    return {
      get held() {
        return desired.held;
      },
      apply: (delta) => {
        const before = desired.held.version;
        const applied = desired.apply(delta);
        if (desired.held.version !== before) this.#installed = null;
        return applied;
      },
    };
  }

  #established(): void {
    this.#lastError = null;
    this.#parts.log.info('session with the operator', {address: this.#address});
  }
}

/** Of `host:port` or `[host]:port`. */
function hostOf(address: string): string {
  return address.slice(0, address.lastIndexOf(':')).replace(/^\[|\]$/g, '');
}

function streamError(error: Error & {readonly code?: number; readonly details?: string}, address: string): StentorError {
  const name = error.code === undefined ? 'UNKNOWN' : (grpc.status[error.code] ?? 'UNKNOWN');
  return new StentorError(`GRPC_${name}`, `no session with the operator: ${error.details ?? error.message}`, {address}, {cause: error});
}
