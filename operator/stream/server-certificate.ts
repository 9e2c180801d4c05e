// The certificate that the operator's ports show: another one in good time, without an end to what is open.

import * as grpc from '@grpc/grpc-js';
import type {Clock} from '../../lib/run/clock.js';
import {parseCertificate, renewAtMs, validityOf} from '../../lib/run/certificate.js';
import type {Log} from '../../lib/run/log.js';
import {runLoop} from '../../lib/run/loop.js';

export interface ServerKeys {
  readonly ca: Buffer;
  readonly cert: Buffer;
  readonly key: Buffer;
}

/** Where keys come from: issued here, or files that somebody else renews. */
export interface KeySource {
  readonly load: () => Promise<ServerKeys>;
  /** `issued`: every load gives another certificate, asked for when it is due. `files`: looked at every minute. */
  readonly kind: 'issued' | 'files';
}

export interface ServerCertificateParts {
  readonly source: KeySource;
  readonly clock: Clock;
  readonly log: Log;
  readonly random?: () => number;
}

type CaListener = Parameters<grpc.experimental.CertificateProvider['addCaCertificateListener']>[0];
type IdentityListener = Parameters<grpc.experimental.CertificateProvider['addIdentityCertificateListener']>[0];

/** Also what a suspended machine has slept too long; far below what a timer can hold. */
const LOOK_MS = 60_000;
const RETRY = {baseMs: 1000, maxMs: 60_000};

export class ServerCertificate implements grpc.experimental.CertificateProvider {
  readonly #parts: ServerCertificateParts;
  readonly #caListeners = new Set<CaListener>();
  readonly #identityListeners = new Set<IdentityListener>();
  #keys: ServerKeys | null = null;
  #renewAtMs = 0;

  constructor(parts: ServerCertificateParts) {
    this.#parts = parts;
  }

  /** null before the first was loaded. */
  get expiresAtMs(): {readonly server: number; readonly ca: number} | null {
    if (this.#keys === null) return null;
    const {ca, cert} = this.#keys;
    return {server: validityOf(parseCertificate(cert)).notAfterMs, ca: validityOf(parseCertificate(ca)).notAfterMs};
  }

  /** For a port; `requireClient`: only clients with a certificate of the same CA. Else none is needed, and one that is shown says nothing. */
  credentials(requireClient: boolean): grpc.ServerCredentials {
    return grpc.experimental.createCertificateProviderServerCredentials(this, this, requireClient);
  }

  /** Whoever listens has the new keys from the next connection on. */
  async load(): Promise<void> {
    const keys = await this.#parts.source.load();
    const before = this.#keys;
    const validity = validityOf(parseCertificate(keys.cert));
    this.#keys = keys;
    this.#renewAtMs = renewAtMs(validity, (this.#parts.random ?? Math.random)());
    if (before?.cert.equals(keys.cert) === true && before.key.equals(keys.key) && before.ca.equals(keys.ca)) return;
    this.#parts.log.info('operator’s certificate', {expires: new Date(validity.notAfterMs).toISOString()});
    for (const listener of this.#caListeners) listener({caCertificate: keys.ca});
    for (const listener of this.#identityListeners) listener({certificate: keys.cert, privateKey: keys.key});
  }

  async run(signal: AbortSignal): Promise<void> {
    const {source, clock} = this.#parts;
    await runLoop({name: 'server-certificate', backoff: RETRY}, this.#parts, signal, async () => {
      const dueMs = source.kind === 'files' ? LOOK_MS : this.#renewAtMs - clock.now();
      if (dueMs > 0) await clock.sleep(Math.min(dueMs, LOOK_MS), signal).catch(() => undefined);
      if (!signal.aborted && (source.kind === 'files' || clock.now() >= this.#renewAtMs)) await this.load();
    });
  }

  addCaCertificateListener(listener: CaListener): void {
    this.#caListeners.add(listener);
    // The server registers itself only after this call.
    process.nextTick(() => listener(this.#keys === null ? null : {caCertificate: this.#keys.ca}));
  }

  removeCaCertificateListener(listener: CaListener): void {
    this.#caListeners.delete(listener);
  }

  addIdentityCertificateListener(listener: IdentityListener): void {
    this.#identityListeners.add(listener);
    process.nextTick(() => listener(this.#keys === null ? null : {certificate: this.#keys.cert, privateKey: this.#keys.key}));
  }

  removeIdentityCertificateListener(listener: IdentityListener): void {
    this.#identityListeners.delete(listener);
  }
}
