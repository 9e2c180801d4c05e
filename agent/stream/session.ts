// One session with one operator: hello → deltas → acknowledgements. A state machine without timers; the client gives it a stream.

import type {Log} from '../../lib/run/log.js';
import type {ApplyError} from '../../lib/domain/reports.js';
import type {stentor} from '../../proto/gen/session.js';
import type {HeldDelta, HeldState} from '../desired/held.js';
import {ChunkAssembly} from './decode.js';
import type {AgentMessage} from './report.js';
import {ackMessage} from './report.js';

type OperatorMessage = stentor.v1.OperatorMessage.$Properties;

/** Where deltas go. */
export interface DesiredState {
  readonly held: HeldState;
  /** False when the delta does not fit: a snapshot is then asked for. */
  apply(delta: HeldDelta): boolean;
}

export interface SpanAck {
  readonly namespace: string;
  readonly name: string;
  readonly addresses: readonly string[];
  readonly complete: boolean;
}

/** What is installed: the version compiled from, and what could not be installed of it. */
export interface Installed {
  readonly version: string;
  readonly errors: readonly ApplyError[];
}

export interface SessionParts {
  readonly desired: DesiredState;
  readonly send: (message: AgentMessage) => void;
  readonly onSpanAck: (ack: SpanAck) => void;
  readonly log: Log;
}

export interface SessionStatus {
  readonly operatorVersion: string | null;
  readonly lastAckSequence: number | null;
}

export class Session {
  readonly #node: string;
  readonly #agentVersion: string;
  readonly #parts: SessionParts;
  readonly #assembly = new ChunkAssembly();
  /** Deltas taken over and not yet acknowledged, oldest first. */
  #unacknowledged: {readonly sequence: number; readonly version: string}[] = [];
  #acknowledged: {readonly sequence: number; readonly version: string; readonly errors: string} | null = null;
  #operatorVersion: string | null = null;

  constructor(options: {readonly node: string; readonly agentVersion: string}, parts: SessionParts) {
    this.#node = options.node;
    this.#agentVersion = options.agentVersion;
    this.#parts = parts;
  }

  get status(): SessionStatus {
    return {operatorVersion: this.#operatorVersion, lastAckSequence: this.#acknowledged?.sequence ?? null};
  }

  start(): void {
    const held = [...this.#parts.desired.held.names()].map(({kind, key, version}) => ({kind, key, version}));
    this.#parts.send({hello: {node: this.#node, agentVersion: this.#agentVersion, held}});
  }

  receive(message: OperatorMessage): void {
    if (message.welcome !== undefined && message.welcome !== null) {
      this.#operatorVersion = message.welcome.operatorVersion ?? '';
    } else if (message.chunk !== undefined && message.chunk !== null) {
      this.#receiveChunk(message.chunk);
    } else if (message.endpointSpanAck !== undefined && message.endpointSpanAck !== null) {
      const {namespace, name, addresses, complete} = message.endpointSpanAck;
      this.#parts.onSpanAck({namespace: namespace ?? '', name: name ?? '', addresses: addresses ?? [], complete: complete ?? false});
    }
  }

  #receiveChunk(chunk: stentor.v1.StateChunk.$Properties): void {
    const delta = this.#assembly.add(chunk);
    if (delta === null) return;
    if (!this.#parts.desired.apply(delta)) {
      this.#parts.log.info('delta does not fit what is held: asking for a snapshot', {base: delta.base, held: this.#parts.desired.held.version});
      this.#parts.send({snapshotRequest: {reason: `delta from ${delta.base || 'nothing'} to ${delta.version} does not fit ${this.#parts.desired.held.version || 'nothing'}`}});
      return;
    }
    this.#unacknowledged.push({sequence: delta.sequence, version: delta.version});
  }

  /**
   * Acknowledges the newest delta that led to `installed.version`, and with it all before it. When nothing is new,
   * says so only if the errors have changed.
   */
  installed(installed: Installed): void {
    const index = this.#unacknowledged.findLastIndex(({version}) => version === installed.version);
    const errors = JSON.stringify(installed.errors);
    let sequence: number;
    if (index >= 0) {
      sequence = this.#unacknowledged[index]?.sequence ?? 0;
      this.#unacknowledged = this.#unacknowledged.slice(index + 1);
    } else if (this.#acknowledged !== null && this.#acknowledged.version === installed.version && this.#acknowledged.errors !== errors) {
      sequence = this.#acknowledged.sequence;
    } else {
      return;
    }
    this.#acknowledged = {sequence, version: installed.version, errors};
    this.#parts.send(ackMessage(sequence, installed.version, installed.errors));
  }
}
