// The gRPC server that agents connect to: mTLS, one session per node, limits. What agents report goes to the engine.

import * as grpc from '@grpc/grpc-js';
import {StentorError} from '../../lib/core/errors.js';
import {InvariantError} from '../../lib/core/invariant.js';
import type {Clock} from '../../lib/run/clock.js';
import {defineService, method} from '../../lib/run/grpc.js';
import {errorFields, type Log} from '../../lib/run/log.js';
import {stentor} from '../../proto/gen/session.js';
import type {DesiredStore} from '../desired/store.js';
import {Admission} from './admission.js';
import {nodeOfCertificate} from './authn.js';
import {decodeAgentMessage, type FromAgent} from './decode.js';
import {Encoder, type SpanAck} from './encode.js';
import {bind} from './listen.js';
import {NodeSession} from './session.js';

export interface StreamServerOptions {
  /** `host:port`. */
  readonly listen: string;
  readonly operatorVersion: string;
  readonly sessionsMax: number;
  /** Sessions that get their first state at the same time. */
  readonly snapshotsMax: number;
  readonly inFlightMax: number;
  readonly chunkBytes: number;
  /** Largest message from an agent; a hello names every resource it holds. */
  readonly messageBytesMax: number;
  readonly helloTimeoutMs: number;
  readonly keepaliveMs: number;
}

/** What a session tells the rest of the operator. */
export interface SessionEvents {
  onConnect(node: string): void;
  /** `faults`: what the node had reported last. */
  onDisconnect(node: string, faults: NodeSession['faults']): void;
  onAck(node: string, faultsChanged: boolean): void;
  onReport(node: string, report: Exclude<FromAgent, {kind: 'hello' | 'ack' | 'snapshot-request'}>): void;
  /** The node has exactly these endpoints, by `namespace/name`: what it had before and did not report again is gone. */
  onGreeted(node: string, endpoints: ReadonlySet<string>): void;
  /** A client was turned away. `node`: as far as it is known. */
  onRefused(refusal: {readonly code: string; readonly message: string; readonly node: string | null; readonly peer: string}): void;
}

export interface StreamServerParts {
  readonly store: DesiredStore;
  /** Of a port that asks its clients for certificates. */
  readonly credentials: grpc.ServerCredentials;
  /** Adds what else is served there. */
  readonly addServices: (server: grpc.Server) => void;
  readonly clock: Clock;
  readonly log: Log;
  readonly events: SessionEvents;
}

const SERVICE = defineService('stentor.v1.NodeSessions', {Session: method('bidi', stentor.v1.AgentMessage, stentor.v1.OperatorMessage)});

type Call = grpc.ServerDuplexStream<stentor.v1.AgentMessage, stentor.v1.OperatorMessage.$Properties | Buffer>;

const STATUS: Readonly<Record<string, grpc.status>> = {
  NOT_A_NODE: grpc.status.UNAUTHENTICATED, NODE_MISMATCH: grpc.status.PERMISSION_DENIED, STREAM_PROTOCOL: grpc.status.INVALID_ARGUMENT,
  HELLO_TIMEOUT: grpc.status.DEADLINE_EXCEEDED, TOO_MANY_SESSIONS: grpc.status.RESOURCE_EXHAUSTED, SUPERSEDED: grpc.status.ABORTED,
  NOT_LEADER: grpc.status.UNAVAILABLE,
};

/** Every agent asks a standby now and then, and goes over to a new session when it has renewed its certificate; the others are worth a look. */
const LOG_LEVEL: Readonly<Record<string, 'debug' | 'info'>> = {NOT_LEADER: 'debug', SUPERSEDED: 'info'};

interface Open {
  readonly session: NodeSession;
  readonly refuse: (error: StentorError) => void;
}

export class StreamServer {
  readonly #options: StreamServerOptions;
  readonly #parts: StreamServerParts;
  readonly #server: grpc.Server;
  readonly #encoder: Encoder;
  readonly #admission: Admission;
  readonly #sessions = new Map<string, Open>();
  #calls = 0;
  #leading = false;
  #leader = '';

  constructor(options: StreamServerOptions, parts: StreamServerParts) {
    this.#options = options;
    this.#parts = parts;
    this.#encoder = new Encoder({chunkBytes: options.chunkBytes});
    this.#admission = new Admission({max: options.snapshotsMax});
    this.#server = new grpc.Server({
      'grpc.max_receive_message_length': options.messageBytesMax,
      'grpc.keepalive_time_ms': options.keepaliveMs,
      'grpc.keepalive_timeout_ms': options.keepaliveMs,
      'grpc-node.flow_control_window': 1 << 20,
    });
    SERVICE.addTo(this.#server, {Session: (call) => this.#accept(call)});
    parts.addServices(this.#server);
  }

  /** Where it listens, with the real port. */
  listen(): Promise<string> {
    return bind(this.#server, this.#options.listen, this.#parts.credentials);
  }

  /** The tables are in sync: sessions get their state from here on. */
  serve(): void {
    this.#admission.open();
  }

  /** A standby replica serves nobody and names the one that does. */
  setLeading(leading: boolean, leader: string): void {
    this.#leading = leading;
    this.#leader = leader;
    if (leading) return;
    for (const {refuse} of this.#sessions.values()) refuse(this.#notLeader());
  }

  get waitingCount(): number {
    return this.#admission.waitingCount;
  }

  #notLeader(): StentorError {
    return new StentorError('NOT_LEADER', `NOT_LEADER(${this.#leader})`, {leader: this.#leader});
  }

  close(): void {
    this.#server.forceShutdown();
    for (const {session} of this.#sessions.values()) session.close();
    this.#sessions.clear();
  }

  session(node: string): NodeSession | undefined {
    return this.#sessions.get(node)?.session;
  }

  sessions(): NodeSession[] {
    return [...this.#sessions.values()].map(({session}) => session);
  }

  spanAck(node: string, ack: SpanAck): void {
    this.#sessions.get(node)?.session.spanAck(ack);
  }

  #accept(call: Call): void {
    const peer = call.getPeer();
    let node: string | null = null;
    let ended = false;
    const refuse = (error: StentorError): void => {
      if (ended) return;
      end();
      this.#parts.log[LOG_LEVEL[error.code] ?? 'warn']('session refused', {peer, node, ...errorFields(error)});
      this.#parts.events.onRefused({code: error.code, message: error.message, node, peer});
      call.emit('error', {code: STATUS[error.code] ?? grpc.status.UNKNOWN, details: `${error.code}: ${error.message}`});
    };
    const cleanups: (() => void)[] = [];
    const end = (): void => {
      if (ended) return;
      ended = true;
      this.#calls--;
      for (const cleanup of cleanups) cleanup();
    };
    this.#calls++;
    call.on('cancelled', end);
    call.on('error', end);
    call.on('end', () => {
      if (!ended) call.end();
      end();
    });
    try {
      if (!this.#leading) throw this.#notLeader();
      if (this.#calls > this.#options.sessionsMax) throw new StentorError('TOO_MANY_SESSIONS', `there are ${this.#options.sessionsMax} sessions already`);
      node = nodeOfCertificate(call.getAuthContext()?.sslPeerCertificate);
      cleanups.push(this.#start(call, node, refuse));
    } catch (error) {
      refuse(asRefusal(error));
    }
  }

  /** Answers with what ends the session. */
  #start(call: Call, node: string, refuse: (error: StentorError) => void): () => void {
    let leave = (): void => undefined;
    let greeted = false;
    const session = new NodeSession({node, operatorVersion: this.#options.operatorVersion, inFlightMax: this.#options.inFlightMax}, {
      store: this.#parts.store,
      encoder: this.#encoder,
      send: (message) => call.write(message),
      admit: (start) => {
        greeted = true;
        this.#install(node, {session, refuse});
        leave = this.#admission.enter(start);
      },
      onAck: (faultsChanged) => {
        leave();
        this.#parts.events.onAck(node, faultsChanged);
      },
      onReport: (report) => this.#parts.events.onReport(node, report),
      onGreeted: (endpoints) => this.#parts.events.onGreeted(node, endpoints),
    });
    const timeout = new AbortController();
    this.#parts.clock.sleep(this.#options.helloTimeoutMs, timeout.signal).then(() => {
      if (!greeted) refuse(new StentorError('HELLO_TIMEOUT', `no hello within ${this.#options.helloTimeoutMs} ms`));
    }, () => undefined);
    call.on('data', (message) => {
      try {
        session.receive(decodeAgentMessage(message));
      } catch (error) {
        if (error instanceof InvariantError) throw error;
        refuse(asRefusal(error));
      }
    });
    call.on('drain', () => session.drained());
    return () => {
      timeout.abort(new Error('session ended'));
      leave();
      session.close();
      if (this.#sessions.get(node)?.session !== session) return;
      this.#sessions.delete(node);
      this.#parts.log.info('agent disconnected', {node});
      this.#parts.events.onDisconnect(node, session.faults);
    };
  }

  /** A node has one agent: a new session ends the old one, whose connection may not have been noticed to be dead. */
  #install(node: string, open: Open): void {
    const before = this.#sessions.get(node);
    this.#sessions.set(node, open);
    before?.refuse(new StentorError('SUPERSEDED', 'a newer session of this node has begun'));
    this.#parts.log.info('agent connected', {node});
    this.#parts.events.onConnect(node);
  }
}

function asRefusal(error: unknown): StentorError {
  if (error instanceof InvariantError) throw error;
  return error instanceof StentorError ? error : new StentorError('STREAM_PROTOCOL', error instanceof Error ? error.message : String(error));
}
