// Keeps a session with one of the operator's replicas: mTLS, backoff, the next address after every failure. Never stops by itself.

import {StentorError} from '../../lib/core/errors.js';
import type {Clock} from '../../lib/run/clock.js';
import {defineService, method} from '../../lib/run/grpc.js';
import {errorFields, type Log} from '../../lib/run/log.js';
import {runLoop} from '../../lib/run/loop.js';
import {stentor} from '../../proto/gen/session.js';
import {callError, operatorChannel, type ChannelKeys} from './operator-channel.js';
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
  /** Asked for at every connection; throws while there are none. */
  readonly keys: () => ChannelKeys;
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

const NO_SESSION = {operatorVersion: null, lastAckSequence: null};
/** First wait after a failure; doubles up to `backoffMaxMs`. */
const BACKOFF_BASE_MS = 100;
/** Data flows from operator to agent: a window larger than gRPC's 64 kB keeps a snapshot from waiting for round trips. */
const FLOW_WINDOW_BYTES = 4 << 20;
/** For the new connection, while the old one still serves. */
const RECONNECT_TIMEOUT_MS = 10_000;

type Connection = ReturnType<typeof NODE_SESSIONS.connect>;

/** A session whose successor has not been welcomed yet. What it still says is not listened to: the hello after it names what is held. */
interface Retired {
  readonly session: Session;
  readonly close: () => void;
}

export class OperatorClient {
  readonly #options: OperatorClientOptions;
  readonly #parts: OperatorClientParts;
  #next = 0;
  #session: Session | null = null;
  #send: ((message: AgentMessage) => void) | null = null;
  #installed: Installed | null = null;
  /** Ends the session in favour of `#prepared`. */
  #handOver: (() => void) | null = null;
  #prepared: Connection | null = null;
  #retired: Retired | null = null;
  #lastError: string | null = null;

  constructor(options: OperatorClientOptions, parts: OperatorClientParts) {
    this.#options = options;
    this.#parts = parts;
  }

  get status(): OperatorStatus {
    const present = this.#session?.status;
    const {operatorVersion, lastAckSequence} = (present?.operatorVersion ?? null) === null ? this.#retired?.session.status ?? NO_SESSION : present ?? NO_SESSION;
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

  /**
   * Goes over to a connection with the present certificate. The old one serves until the new one stands, the operator takes the old
   * session as ended only when the new one has said hello, and what is held is not sent again.
   */
  async reconnect(): Promise<void> {
    const handOver = this.#handOver;
    // Without a session the next attempt takes the present certificate anyway.
    if (handOver === null) return;
    const connection = this.#connect();
    try {
      await ready(connection, new Date(this.#parts.clock.now() + RECONNECT_TIMEOUT_MS));
    } catch (error) {
      connection.channel.close();
      this.#parts.log.warn('no new connection: the session goes on with the certificate that it began with', {address: this.#address, ...errorFields(error)});
      return;
    }
    if (this.#handOver !== handOver) {
      connection.channel.close();
      return;
    }
    this.#prepared = connection;
    handOver();
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
        if (this.#prepared === null) this.#next = (this.#next + 1) % this.#options.addresses.length;
      }
    });
    this.#retire();
    this.#prepared?.channel.close();
  }

  get #address(): string {
    return this.#options.addresses[this.#next] ?? '';
  }

  #connect(): Connection {
    const {credentials, options} = operatorChannel(this.#address, this.#options.serverName, this.#parts.keys());
    return NODE_SESSIONS.connect(this.#address, credentials, {
      ...options,
      'grpc.keepalive_time_ms': this.#options.keepaliveMs,
      'grpc.keepalive_timeout_ms': this.#options.keepaliveMs,
      'grpc.keepalive_permit_without_calls': 1,
      'grpc.max_receive_message_length': this.#options.messageBytesMax,
      'grpc-node.flow_control_window': FLOW_WINDOW_BYTES,
      // Nothing of a session can be sent again: a new one begins with a new hello.
      'grpc.enable_retries': 0,
    });
  }

  /** Ends by throwing, or in favour of a prepared connection: a stream that the operator closes is a reason to come again, after a while. */
  async #runSession(signal: AbortSignal): Promise<void> {
    const client = this.#prepared ?? this.#connect();
    this.#prepared = null;
    const call = client.Session();
    const abort = (): void => call.cancel();
    const send = (message: AgentMessage): void => void call.write(message);
    const session = new Session(this.#options, {desired: this.#desired(), send, onSpanAck: this.#parts.onSpanAck, log: this.#parts.log});
    signal.addEventListener('abort', abort, {once: true});
    try {
      await new Promise<void>((resolve, reject) => {
        this.#handOver = resolve;
        call.on('data', (message) => {
          if (this.#session !== session) return;
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
        call.on('error', (error) => reject(callError('no session with the operator', error, this.#address)));
        call.on('end', () => reject(new StentorError('STREAM_CLOSED', 'the operator closed the session', {address: this.#address})));
        this.#session = session;
        this.#send = send;
        session.start();
        for (const message of this.#parts.greeting()) send(message);
      });
    } finally {
      signal.removeEventListener('abort', abort);
      this.#handOver = null;
      this.#retire();
      this.#retired = {session, close: () => {
        call.cancel();
        client.channel.close();
      }};
      if (this.#prepared === null) this.#retire();
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

  #retire(): void {
    this.#retired?.close();
    this.#retired = null;
  }

  #established(): void {
    this.#retire();
    this.#lastError = null;
    this.#parts.log.info('session with the operator', {address: this.#address});
  }
}

function ready({channel}: Connection, deadline: Date): Promise<void> {
  return new Promise((resolve, reject) => {
    channel.waitForReady(deadline, (error) => (error === undefined ? resolve() : reject(error)));
  });
}
