// A BGP speaker on a bare socket, which says whatever a test wants: it opens sessions as a router does, and then any bytes.

import {createServer, type Server, type Socket} from 'node:net';
import {inNetns, openNetns} from '../../agent/kernel/netns.js';
import {HEADER_BYTES, keepalive, KEEPALIVE, NOTIFICATION, OPEN, open, UPDATE} from './bgp-messages.js';
import {updatePrefixes, type UpdatePrefixes} from './bgp-updates.js';
import {nowMs, until} from './shell.js';

export interface RawSpeakerOptions {
  readonly netnsPath: string;
  readonly asn: number;
  readonly routerId: string;
  readonly holdSeconds: number;
  /** 179 when absent. */
  readonly port?: number;
}

/** One connection, from its OPEN on. */
export class RawSession {
  readonly #socket: Socket;
  /** The address that the other side called. */
  readonly address: string;
  /** The other side's. */
  readonly remote: string;
  #rest = Buffer.alloc(0);
  isEstablished = false;
  isClosed = false;
  /** Code and subcode of what the other side said last before it closed. */
  notification: string | null = null;
  /** What the other side announces, with the time at which it last said so. */
  readonly announced = new Map<string, number>();
  /** Prefixes that it has taken back. */
  withdrawals = 0;

  constructor(socket: Socket, options: RawSpeakerOptions, onEstablished: (session: RawSession) => void) {
    this.#socket = socket;
    this.address = plainAddress(socket.localAddress);
    this.remote = plainAddress(socket.remoteAddress);
    socket.setNoDelay(true);
    const alive = setInterval(() => this.send(keepalive()), options.holdSeconds * 1000 / 3);
    socket.on('data', (data: Buffer) => this.#read(data, {options, onEstablished}));
    // The other side resets what it was sent in vain.
    socket.on('error', () => undefined);
    socket.on('close', () => {
      clearInterval(alive);
      this.isClosed = true;
      this.isEstablished = false;
    });
  }

  /** Resolves when the kernel has taken it, or the connection is gone. */
  send(bytes: Buffer): Promise<void> {
    return new Promise((resolve) => {
      if (this.isClosed || !this.#socket.writable) resolve();
      else this.#socket.write(bytes, () => resolve());
    });
  }

  close(): void {
    this.isClosed = true;
    this.#socket.destroy();
  }

  #read(data: Buffer, {options, onEstablished}: {readonly options: RawSpeakerOptions; readonly onEstablished: (session: RawSession) => void}): void {
    this.#rest = Buffer.concat([this.#rest, data]);
    for (;;) {
      const length = this.#rest.length < HEADER_BYTES ? Infinity : this.#rest.readUInt16BE(16);
      if (this.#rest.length < length) return;
      const [type, body] = [this.#rest[18], this.#rest.subarray(HEADER_BYTES, length)];
      this.#rest = this.#rest.subarray(length);
      if (type === OPEN) void this.send(Buffer.concat([open(options), keepalive()]));
      else if (type === KEEPALIVE && !this.isEstablished) {
        this.isEstablished = true;
        onEstablished(this);
      }
      else if (type === NOTIFICATION) this.notification = `${body[0] ?? 0}/${body[1] ?? 0}`;
      else if (type === UPDATE) this.#learn(updatePrefixes(body));
    }
  }

  #learn({announced, withdrawn}: UpdatePrefixes): void {
    const atMs = nowMs();
    for (const prefix of withdrawn) this.announced.delete(prefix);
    for (const prefix of announced) this.announced.set(prefix, atMs);
    this.withdrawals += withdrawn.length;
  }
}

/** The server listens for both families. */
function plainAddress(text: string | undefined): string {
  return (text ?? '').replace('::ffff:', '');
}

export class RawSpeaker {
  readonly #server: Server;
  readonly #sessions: RawSession[] = [];
  #onEstablished: ((session: RawSession) => void) | null = null;

  private constructor(server: Server, options: RawSpeakerOptions) {
    this.#server = server;
    server.on('connection', (socket) => this.#sessions.push(new RawSession(socket, options, (session) => this.#onEstablished?.(session))));
  }

  /** Waits for connections in the namespace. */
  static async start(options: RawSpeakerOptions): Promise<RawSpeaker> {
    const server = createServer();
    const netns = openNetns(options.netnsPath);
    // Without an address the socket is made before `listen` returns, so inside.
    inNetns(netns, () => server.listen({port: options.port ?? 179, exclusive: true}));
    netns.close();
    await new Promise<void>((resolve, reject) => {
      server.once('listening', () => resolve());
      server.once('error', reject);
    });
    return new RawSpeaker(server, options);
  }

  /** How many connections there have been to `address`. */
  connections(address: string): number {
    return this.#sessions.filter((session) => session.address === address).length;
  }

  /** The session of `address` that is up, waited for; with `remote` when more than one calls it. */
  established(address: string, timeoutMs: number, remote: string | null = null): Promise<RawSession> {
    return until(`a session with ${address}`, {timeoutMs, intervalMs: 5}, () => this.#sessions.findLast((session) => (
      session.address === address && (remote === null || session.remote === remote) && session.isEstablished && !session.isClosed)) ?? null);
  }

  /** Ends the sessions of `address`. */
  close(address: string): void {
    for (const session of this.#sessions) if (session.address === address) session.close();
  }

  /** Calls `body` with every session that opens from now on, as soon as it is up. */
  onEstablished(body: (session: RawSession) => void): void {
    this.#onEstablished = body;
  }

  async stop(): Promise<void> {
    for (const session of this.#sessions) session.close();
    await new Promise<void>((resolve) => {
      this.#server.close(() => resolve());
    });
  }
}
