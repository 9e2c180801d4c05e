// One agent's session: hello → snapshot or difference → deltas → acknowledgements. A state machine without timers or sockets.
// It holds dirty keys (in its subscription), the versions in flight, and no message.

import {StentorError} from '../../lib/core/errors.js';
import {StateDigest} from '../../lib/desired/diff.js';
import type {Resource, ResourceKind, ResourceName} from '../../lib/desired/node-state.js';
import {resourceId} from '../../lib/desired/node-state.js';
import {compareForAdd, compareForRemove} from '../../lib/desired/order.js';
import type {DesiredStore, Subscription} from '../desired/store.js';
import type {AckMessage, FromAgent, HelloMessage} from './decode.js';
import {encodeSpanAck, encodeWelcome, type Encoder, type SpanAck} from './encode.js';

export interface SessionOptions {
  /** From the certificate. */
  readonly node: string;
  readonly operatorVersion: string;
  /** Deltas sent and not acknowledged; above that the session collects. */
  readonly inFlightMax: number;
}

/** What the stream and the rest of the operator do for a session. */
export interface SessionParts {
  readonly store: DesiredStore;
  readonly encoder: Encoder;
  /** False when the stream's buffer is full: `drained` follows. */
  readonly send: (message: Buffer) => boolean;
  /** Calls back when the first state may be sent: the tables are in sync and not too many others get theirs. */
  readonly admit: (start: () => void) => void;
  readonly onAck: (faultsChanged: boolean) => void;
  readonly onReport: (report: Exclude<FromAgent, {kind: 'hello' | 'ack' | 'snapshot-request'}>) => void;
  /** The agent has said what is on its node: these endpoints (`namespace/name`) and no others. */
  readonly onGreeted: (endpoints: ReadonlySet<string>) => void;
}

interface InFlight {
  readonly sequence: number;
  readonly revision: number;
}

type Phase = 'hello' | 'admission' | 'open' | 'closed';

export class NodeSession {
  readonly node: string;
  readonly #options: SessionOptions;
  readonly #parts: SessionParts;
  readonly #subscription: Subscription;
  #phase: Phase = 'hello';
  #agentVersion = '';
  #held: HelloMessage['held'] = [];
  /** The version that the agent has when it has taken everything that was sent; null before the first state was. */
  #sentVersion: string | null = null;
  #sequence = 0;
  #inFlight: readonly InFlight[] = [];
  #ackedRevision = -1;
  #faults: AckMessage['errors'] = [];
  /** Endpoints reported since the hello; null once the greeting is over, which the first report of peers says. */
  #greeting: Set<string> | null = new Set();
  #blocked = false;
  #scheduled = false;

  constructor(options: SessionOptions, parts: SessionParts) {
    this.node = options.node;
    this.#options = options;
    this.#parts = parts;
    this.#subscription = parts.store.subscribe(options.node, () => this.#schedule());
  }

  /** Everything of the node's state up to this revision is installed; -1 before the first acknowledgement. */
  get ackedRevision(): number {
    const idle = this.#phase === 'open' && this.#inFlight.length === 0 && this.#subscription.dirtyCount === 0 && this.#ackedRevision >= 0;
    return idle ? this.#parts.store.revision : this.#ackedRevision;
  }

  get faults(): AckMessage['errors'] {
    return this.#faults;
  }

  get status(): Readonly<Record<string, unknown>> {
    return {
      node: this.node, phase: this.#phase, agentVersion: this.#agentVersion, ackedRevision: this.ackedRevision, sequence: this.#sequence,
      stateVersion: this.#sentVersion ?? '', inFlight: this.#inFlight.length, dirty: this.#subscription.dirtyCount, blocked: this.#blocked, faults: this.#faults,
    };
  }

  /** Throws `STREAM_PROTOCOL` or `NODE_MISMATCH`: the stream is then to be ended. */
  receive(message: FromAgent): void {
    if (this.#phase === 'closed') return;
    if ((this.#phase === 'hello') !== (message.kind === 'hello')) {
      throw new StentorError('STREAM_PROTOCOL', this.#phase === 'hello' ? 'the first message is the hello' : 'a second hello');
    }
    switch (message.kind) {
      case 'hello':
        this.#greet(message.hello);
        return;
      case 'ack':
        this.#acknowledge(message.ack);
        return;
      case 'snapshot-request':
        this.#restart();
        return;
      case 'endpoint':
        if (message.report.state !== 'disconnected') this.#greeting?.add(`${message.report.namespace}/${message.report.name}`);
        this.#parts.onReport(message);
        return;
      case 'node':
        this.#parts.onReport(message);
        return;
      case 'peers':
        this.#parts.onReport(message);
        if (this.#greeting !== null) this.#parts.onGreeted(this.#greeting);
        this.#greeting = null;
    }
  }

  drained(): void {
    this.#blocked = false;
    this.#flush();
  }

  spanAck(ack: SpanAck): void {
    if (this.#phase !== 'closed') this.#write([encodeSpanAck(ack)]);
  }

  close(): void {
    this.#phase = 'closed';
    this.#parts.store.unsubscribe(this.#subscription);
  }

  #greet(hello: HelloMessage): void {
    if (hello.node !== this.node) {
      throw new StentorError('NODE_MISMATCH', `the certificate is that of node ${this.node}, the hello says ${hello.node}`, {node: this.node, claimed: hello.node});
    }
    this.#agentVersion = hello.agentVersion;
    this.#held = hello.held;
    this.#phase = 'admission';
    this.#write([encodeWelcome(this.#options.operatorVersion)]);
    this.#parts.admit(() => this.#open());
  }

  /** What the agent holds against what it should hold. Also sent when nothing differs: its acknowledgement says that all is installed. */
  #open(): void {
    if (this.#phase !== 'admission') return;
    this.#phase = 'open';
    const held = this.#held;
    this.#held = [];
    const digest = new StateDigest();
    const versions = new Map<string, string>();
    for (const {kind, key, version} of held) {
      const name = {kind: kind as ResourceKind, key};
      versions.set(resourceId(name), version);
      digest.add({...name, version});
    }
    this.#subscription.take();
    const state = this.#parts.store.nodeState(this.node);
    const upserts = [...state.values()].filter((item) => versions.get(resourceId(item)) !== item.version);
    const removes: ResourceName[] = held.filter(({kind, key}) => !state.has(`${kind}/${key}`)).map(({kind, key}) => ({kind: kind as ResourceKind, key}));
    this.#sendDelta(digest.version(), upserts, removes);
  }

  #restart(): void {
    if (this.#phase !== 'open') return;
    this.#subscription.take();
    this.#inFlight = [];
    this.#sendDelta('', [...this.#parts.store.nodeState(this.node).values()], []);
  }

  #acknowledge(ack: AckMessage): void {
    const last = this.#inFlight.findLast(({sequence}) => sequence <= ack.sequence);
    if (last === undefined && ack.sequence !== this.#sequence) return;
    this.#inFlight = this.#inFlight.filter(({sequence}) => sequence > ack.sequence);
    this.#ackedRevision = Math.max(this.#ackedRevision, last?.revision ?? -1);
    const faultsChanged = JSON.stringify(ack.errors) !== JSON.stringify(this.#faults);
    this.#faults = ack.errors;
    this.#parts.onAck(faultsChanged);
    this.#flush();
  }

  /** At the end of the present turn, so that one batch becomes one delta. */
  #schedule(): void {
    if (this.#scheduled || this.#phase !== 'open') return;
    this.#scheduled = true;
    queueMicrotask(() => {
      this.#scheduled = false;
      this.#flush();
    });
  }

  #flush(): void {
    if (this.#phase !== 'open' || this.#blocked || this.#sentVersion === null) return;
    if (this.#subscription.dirtyCount === 0 || this.#inFlight.length >= this.#options.inFlightMax) return;
    const upserts: Resource[] = [];
    const removes: ResourceName[] = [];
    for (const id of this.#subscription.take()) {
      const item = this.#parts.store.get(this.node, id);
      if (item === null) removes.push(nameOf(id));
      else upserts.push(item);
    }
    this.#sendDelta(this.#sentVersion, upserts, removes);
  }

  #sendDelta(base: string, upserts: Resource[], removes: ResourceName[]): void {
    const {store, encoder} = this.#parts;
    const version = store.version(this.node);
    this.#sequence++;
    this.#inFlight = [...this.#inFlight, {sequence: this.#sequence, revision: store.revision}];
    this.#sentVersion = version;
    this.#write(encoder.delta({base, version, upserts: upserts.sort(compareForAdd), removes: removes.sort(compareForRemove)}, this.#sequence));
  }

  #write(messages: readonly Buffer[]): void {
    for (const message of messages) if (!this.#parts.send(message)) this.#blocked = true;
  }
}

function nameOf(id: string): ResourceName {
  const slash = id.indexOf('/');
  return {kind: id.slice(0, slash) as ResourceKind, key: id.slice(slash + 1)};
}
