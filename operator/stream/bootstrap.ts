// Certificates for nodes over gRPC: the first one for a token, later ones for the one that is held. Every replica answers.

import * as grpc from '@grpc/grpc-js';
import {StentorError} from '../../lib/core/errors.js';
import type {Clock} from '../../lib/run/clock.js';
import {defineService, method} from '../../lib/run/grpc.js';
import {errorFields, type Log} from '../../lib/run/log.js';
import {stentor} from '../../proto/gen/session.js';
import {nodeOfCertificate} from './authn.js';
import {bind} from './listen.js';
import {RateLimit} from './rate-limit.js';

const {BootstrapRequest, RenewRequest, CertificateResponse} = stentor.v1;
const BOOTSTRAP = defineService('stentor.v1.NodeBootstrap', {Bootstrap: method('unary', BootstrapRequest, CertificateResponse)});
const RENEWAL = defineService('stentor.v1.NodeCertificates', {Renew: method('unary', RenewRequest, CertificateResponse)});

export type IssuedHow = 'bootstrap' | 'renewal';

export interface NodeCertificatesParts {
  /** null: this operator holds no CA. */
  readonly signNode: ((node: string, request: Uint8Array) => Promise<Buffer>) | null;
  /** Throws `NOT_READY` while it is not known. */
  readonly isNode: (node: string) => boolean;
  readonly clock: Clock;
  readonly log: Log;
  readonly onIssued: (how: IssuedHow) => void;
  readonly onRefused: (refusal: {readonly code: string; readonly message: string; readonly node: string | null; readonly peer: string}) => void;
}

interface Request {
  readonly how: IssuedHow;
  readonly peer: string;
  readonly request: Uint8Array;
  /** Throws when it is no node's. */
  readonly node: () => string | Promise<string>;
}

type Answer = grpc.sendUnaryData<stentor.v1.CertificateResponse.$Properties | Buffer>;

/** Per address: a rolling update asks once per node, an agent that is refused once per its backoff. */
const LIMIT = {burst: 5, intervalMs: 2000, sourcesMax: 10_000};

const STATUS: Readonly<Record<string, grpc.status>> = {
  TOKEN_REFUSED: grpc.status.UNAUTHENTICATED, NOT_A_NODE: grpc.status.UNAUTHENTICATED, WRONG_SERVICE_ACCOUNT: grpc.status.PERMISSION_DENIED,
  NO_SUCH_NODE: grpc.status.PERMISSION_DENIED, API_UNREACHABLE: grpc.status.UNAVAILABLE, NOT_READY: grpc.status.UNAVAILABLE,
  CSR_INVALID: grpc.status.INVALID_ARGUMENT, RATE_LIMITED: grpc.status.RESOURCE_EXHAUSTED, NO_CA: grpc.status.FAILED_PRECONDITION,
};

export class NodeCertificates {
  readonly #parts: NodeCertificatesParts;
  readonly #rate: RateLimit;

  constructor(parts: NodeCertificatesParts) {
    this.#parts = parts;
    this.#rate = new RateLimit(LIMIT, parts);
  }

  /** To a server that asks its clients for certificates. */
  addRenewalTo(server: grpc.Server): void {
    RENEWAL.addTo(server, {Renew: (call, answer) => void this.#answer({
      how: 'renewal', peer: call.getPeer(), request: call.request.certificateRequest ?? new Uint8Array(),
      node: () => nodeOfCertificate(call.getAuthContext()?.sslPeerCertificate),
    }, answer)});
  }

  /** `nodeOf` asks somebody else about the token: at most `concurrentMax` at a time. */
  addBootstrapTo(server: grpc.Server, nodeOf: (token: string) => Promise<string>, concurrentMax: number): void {
    let asking = 0;
    BOOTSTRAP.addTo(server, {Bootstrap: (call, answer) => void this.#answer({
      how: 'bootstrap', peer: call.getPeer(), request: call.request.certificateRequest ?? new Uint8Array(),
      node: async () => {
        if (asking >= concurrentMax) throw new StentorError('RATE_LIMITED', `${concurrentMax} others are asking at this moment`);
        asking++;
        try {
          return await nodeOf(call.request.token ?? '');
        } finally {
          asking--;
        }
      },
    }, answer)});
  }

  async #answer({how, peer, request, node: nodeOf}: Request, answer: Answer): Promise<void> {
    const {signNode, isNode, log, onIssued, onRefused} = this.#parts;
    let node: string | null = null;
    try {
      if (!this.#rate.take(hostOf(peer))) throw new StentorError('RATE_LIMITED', `more than ${LIMIT.burst} requests, and then one per ${LIMIT.intervalMs} ms, from this address`);
      if (signNode === null) throw new StentorError('NO_CA', 'this operator has a certificate but not the CA: it issues none');
      node = await nodeOf();
      if (!isNode(node)) throw new StentorError('NO_SUCH_NODE', `there is no Node ${node}`);
      const certificate = await signNode(node, request);
      log.info('certificate issued', {node, how, peer});
      onIssued(how);
      answer(null, {certificate});
    } catch (error) {
      const {code, message} = error instanceof StentorError ? error : new StentorError('INTERNAL', 'the certificate could not be issued');
      log.warn('no certificate issued', {node, how, peer, ...errorFields(error)});
      onRefused({code, message, node, peer});
      answer({code: STATUS[code] ?? grpc.status.INTERNAL, details: `${code}: ${message}`});
    }
  }
}

/** Of `address:port`. */
function hostOf(peer: string): string {
  return peer.slice(0, peer.lastIndexOf(':'));
}

export interface BootstrapServerParts {
  readonly certificates: NodeCertificates;
  readonly nodeOfToken: (token: string) => Promise<string>;
  readonly credentials: grpc.ServerCredentials;
}

/** Anybody may connect here: small messages, few streams, short connections. */
const LIMITS: grpc.ServerOptions = {
  'grpc.max_receive_message_length': 65_536, 'grpc.max_concurrent_streams': 2, 'grpc.max_connection_idle_ms': 10_000,
  'grpc.max_connection_age_ms': 30_000, 'grpc.max_connection_age_grace_ms': 5_000,
};

/** The port on which nodes without a certificate ask for one. */
export class BootstrapServer {
  readonly #listen: string;
  readonly #credentials: grpc.ServerCredentials;
  readonly #server = new grpc.Server(LIMITS);

  constructor(options: {readonly listen: string; readonly concurrentMax: number}, parts: BootstrapServerParts) {
    this.#listen = options.listen;
    this.#credentials = parts.credentials;
    parts.certificates.addBootstrapTo(this.#server, parts.nodeOfToken, options.concurrentMax);
  }

  /** Where it listens, with the real port. */
  listen(): Promise<string> {
    return bind(this.#server, this.#listen, this.#credentials);
  }

  close(): void {
    this.#server.forceShutdown();
  }
}
