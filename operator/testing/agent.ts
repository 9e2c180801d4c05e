// An agent for tests: a real gRPC client that holds what it is sent and acknowledges when it is told to. Refuses deltas that do not fit.

import * as grpc from '@grpc/grpc-js';
import {gunzipSync} from 'node:zlib';
import {applyDelta, resource, stateVersion} from '../../lib/desired/diff.js';
import type {NodeState, Resource, ResourceKind, ResourceName} from '../../lib/desired/node-state.js';
import {defineService, method} from '../../lib/run/grpc.js';
import {stentor} from '../../proto/gen/session.js';

const SERVICE = defineService('stentor.v1.NodeSessions', {Session: method('bidi', stentor.v1.AgentMessage, stentor.v1.OperatorMessage)});

type FromOperator = stentor.v1.OperatorMessage.$Properties;
type Chunk = stentor.v1.StateChunk.$Properties;

export interface AgentKeys {
  readonly ca: Buffer;
  readonly cert: Buffer | null;
  readonly key: Buffer | null;
}

export interface TestAgentOptions {
  readonly address: string;
  readonly node: string;
  readonly keys: AgentKeys;
  readonly held?: NodeState;
  /** Acknowledge every delta at once; default true. */
  readonly acknowledge?: boolean;
  /** What the hello says; null = no hello is sent. */
  readonly claim?: string | null;
}

export class TestAgent {
  held: NodeState;
  readonly deltas: {readonly sequence: number; readonly upserts: readonly Resource[]; readonly removes: readonly ResourceName[]; readonly chunks: number}[] = [];
  readonly spanAcks: FromOperator['endpointSpanAck'][] = [];
  error: {readonly code: number; readonly details: string} | null = null;
  /** Named in every acknowledgement. */
  errors: {kind: string; key: string; code: string; message: string}[] = [];
  acknowledge: boolean;
  readonly #client;
  readonly #call;
  #chunks: Chunk[] = [];
  #lastSequence = 0;

  constructor(options: TestAgentOptions) {
    this.held = options.held ?? new Map();
    this.acknowledge = options.acknowledge ?? true;
    const {ca, key, cert} = options.keys;
    this.#client = SERVICE.connect(options.address, grpc.credentials.createSsl(ca, key, cert), {'grpc.use_local_subchannel_pool': 1});
    this.#call = this.#client.Session();
    this.#call.on('data', (message) => this.#receive(message));
    this.#call.on('error', (error: grpc.ServiceError) => {
      this.error = {code: error.code, details: error.details};
    });
    const claim = options.claim === undefined ? options.node : options.claim;
    if (claim === null) return;
    const held = [...this.held.values()].map(({kind, key: name, version}) => ({kind, key: name, version}));
    this.send({hello: {node: claim, agentVersion: 'test', held}});
  }

  send(message: stentor.v1.AgentMessage.$Properties): void {
    this.#call.write(message);
  }

  raw(bytes: Buffer): void {
    this.#call.write(bytes);
  }

  pause(): void {
    this.#call.pause();
  }

  resume(): void {
    this.#call.resume();
  }

  /** Everything received so far is installed. */
  ack(): void {
    this.send({ack: {sequence: this.#lastSequence, version: stateVersion(this.held), errors: this.errors}});
  }

  report(name: string, address: string, extra: Partial<stentor.v1.EndpointReport.$Properties> = {}): void {
    this.send({endpointReport: {namespace: 'default', name, uid: `pod-${name}`, endpointId: 7, addresses: [address], containerId: 'c1', state: 'ready', ...extra}});
  }

  close(): void {
    this.#call.cancel();
    this.#client.channel.close();
  }

  #receive(message: FromOperator): void {
    if (message.endpointSpanAck) this.spanAcks.push(message.endpointSpanAck);
    const chunk = message.chunk;
    if (!chunk) return;
    this.#chunks.push(chunk);
    if (chunk.last !== true) return;
    const chunks = this.#chunks;
    this.#chunks = [];
    const upserts = chunks.flatMap((one) => (one.upserts ?? []).map(decodeUpsert));
    const removes = chunks.flatMap((one) => (one.removes ?? []).map(({kind, key}) => ({kind: kind as ResourceKind, key: key ?? ''})));
    const next = applyDelta(this.held, {base: chunk.base ?? '', version: chunk.version ?? '', upserts, removes});
    if (next === null) {
      this.send({snapshotRequest: {reason: 'does not fit'}});
      return;
    }
    this.held = next;
    this.#lastSequence = chunk.sequence ?? 0;
    this.deltas.push({sequence: this.#lastSequence, upserts, removes, chunks: chunks.length});
    if (this.acknowledge) this.ack();
  }
}

function decodeUpsert({kind, key, version, value, gzip}: stentor.v1.Upsert.$Properties): Resource {
  const bytes = value ?? new Uint8Array();
  const decoded = resource(kind as ResourceKind, key ?? '', JSON.parse(Buffer.from(gzip === true ? gunzipSync(bytes) : bytes).toString('utf8')) as never);
  if (decoded.version !== version) throw new Error(`${kind ?? ''}/${key ?? ''} has another version than its content`);
  return decoded;
}
