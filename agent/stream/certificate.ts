// The certificate of this node: the first one for a token, another one when two thirds of its life are over. Never stops by itself.

import {readFile} from 'node:fs/promises';
import {StentorError} from '../../lib/core/errors.js';
import {isIssuedBy, NODE_CN_PREFIX, parseCertificate, renewAtMs, validityOf} from '../../lib/run/certificate.js';
import type {Clock} from '../../lib/run/clock.js';
import {defineService, method} from '../../lib/run/grpc.js';
import type {Log} from '../../lib/run/log.js';
import {runLoop} from '../../lib/run/loop.js';
import type {KeyMaterial} from '../../lib/run/tls.js';
import {stentor} from '../../proto/gen/session.js';
import type {CertificateFiles} from './certificate-files.js';
import {isKeyOf} from './certificate-files.js';
import {newCertificateRequest} from './csr.js';
import {callError, hostOf, operatorChannel} from './operator-channel.js';

const {BootstrapRequest, RenewRequest, CertificateResponse} = stentor.v1;
const BOOTSTRAP = defineService('stentor.v1.NodeBootstrap', {Bootstrap: method('unary', BootstrapRequest, CertificateResponse)});
const RENEWAL = defineService('stentor.v1.NodeCertificates', {Renew: method('unary', RenewRequest, CertificateResponse)});

export interface NodeCertificateOptions {
  readonly node: string;
  /** `host:port` of every replica's sessions, which is where certificates are renewed. */
  readonly addresses: readonly string[];
  readonly bootstrapPort: number;
  readonly serverName: string;
  /** Empty: first certificates are put there by somebody else. */
  readonly tokenFile: string;
}

export interface NodeCertificateParts {
  readonly files: CertificateFiles;
  readonly clock: Clock;
  readonly log: Log;
  readonly random?: () => number;
  /** The files hold another certificate than the one that connections were made with. */
  readonly onChanged: () => void;
}

export interface CertificateStatus {
  /** Null while there is none. */
  readonly expiresAtMs: number | null;
  readonly lastError: string | null;
}

interface Held {
  readonly keys: KeyMaterial;
  readonly renewAtMs: number;
}

/** Also how soon other files are noticed; far below what a timer can hold. */
const LOOK_MS = 60_000;
const RETRY = {baseMs: 500, maxMs: 30_000};
const CALL_TIMEOUT_MS = 10_000;

export class NodeCertificate {
  readonly #options: NodeCertificateOptions;
  readonly #parts: NodeCertificateParts;
  readonly #first = Promise.withResolvers<void>();
  /** Fixed for a certificate, so that looking often does not bring its renewal forward. */
  #jitter: {readonly version: string; readonly value: number} = {version: '', value: 0};
  #expiresAtMs: number | null = null;
  #lastError: string | null = null;

  constructor(options: NodeCertificateOptions, parts: NodeCertificateParts) {
    this.#options = options;
    this.#parts = parts;
  }

  get status(): CertificateStatus {
    return {expiresAtMs: this.#expiresAtMs, lastError: this.#lastError};
  }

  /** Resolves when there is one to connect with, or `signal` has aborted. */
  async usable(signal: AbortSignal): Promise<void> {
    if (signal.aborted) return;
    await new Promise<void>((resolve) => {
      signal.addEventListener('abort', () => resolve(), {once: true});
      void this.#first.promise.then(resolve);
    });
  }

  async run(signal: AbortSignal): Promise<void> {
    const {clock, files} = this.#parts;
    await files.repair();
    await runLoop({name: 'certificate', backoff: RETRY}, this.#parts, signal, async () => {
      try {
        const waitMs = await this.#keep();
        this.#lastError = null;
        await clock.sleep(Math.min(waitMs, LOOK_MS), signal).catch(() => undefined);
      } catch (error) {
        this.#lastError = error instanceof Error ? error.message : String(error);
        throw error;
      }
    });
  }

  /** Answers with how long nothing has to be done. */
  async #keep(): Promise<number> {
    const {clock} = this.#parts;
    const held = this.#look();
    if (typeof held === 'string') {
      await this.#bootstrap(held);
      return 0;
    }
    this.#first.resolve();
    const waitMs = held.renewAtMs - clock.now();
    if (waitMs > 0) return waitMs;
    await this.#renew(held.keys);
    return 0;
  }

  /** What the files hold, or why it cannot be used. */
  #look(): Held | string {
    const {node} = this.#options;
    const {files, clock, random = Math.random} = this.#parts;
    this.#expiresAtMs = null;
    try {
      const keys = files.read();
      const certificate = parseCertificate(keys.cert);
      const validity = validityOf(certificate);
      this.#expiresAtMs = validity.notAfterMs;
      if (!certificate.subject.split('\n').includes(`CN=${NODE_CN_PREFIX}${node}`)) return `that in ${files.paths.cert} is not for the node ${node}: ${certificate.subject.replaceAll('\n', ', ')}`;
      if (!isKeyOf(certificate, keys.key)) return `${files.paths.key} is not the key of ${files.paths.cert}`;
      if (!isIssuedBy(certificate, keys.ca)) return `that in ${files.paths.cert} is not of the CA in ${files.paths.ca}`;
      if (validity.notAfterMs <= clock.now()) return `that in ${files.paths.cert} expired at ${new Date(validity.notAfterMs).toISOString()}`;
      if (this.#jitter.version !== keys.version) this.#jitter = {version: keys.version, value: random()};
      return {keys, renewAtMs: renewAtMs(validity, this.#jitter.value)};
    } catch (error) {
      if (!(error instanceof StentorError)) throw error;
      return `${error.message} ${typeof error.data['path'] === 'string' ? error.data['path'] : ''}`.trim();
    }
  }

  async #bootstrap(reason: string): Promise<void> {
    const {tokenFile, bootstrapPort, serverName} = this.#options;
    if (tokenFile === '') throw new StentorError('NO_CERTIFICATE', `there is no usable certificate, and no --bootstrap-token-file to get one with: ${reason}`);
    this.#parts.log.warn('no usable certificate: asking for one with the token of this pod', {reason, tokenFile});
    const ca = await readGiven(this.#parts.files.paths.ca);
    const token = (await readGiven(tokenFile)).toString('utf8').trim();
    await this.#replace('first certificate', ca, async (address, certificateRequest) => {
      const at = `${hostOf(address)}:${bootstrapPort}`;
      const {credentials, options} = operatorChannel(at, serverName, {ca, cert: null, key: null});
      const client = BOOTSTRAP.connect(at, credentials, options);
      return client.Bootstrap({token, certificateRequest}, this.#deadline()).finally(() => client.channel.close());
    });
  }

  async #renew(keys: KeyMaterial): Promise<void> {
    await this.#replace('certificate renewed', keys.ca, async (address, certificateRequest) => {
      const {credentials, options} = operatorChannel(address, this.#options.serverName, keys);
      const client = RENEWAL.connect(address, credentials, options);
      return client.Renew({certificateRequest}, this.#deadline()).finally(() => client.channel.close());
    });
  }

  #deadline(): {readonly deadline: Date} {
    return {deadline: new Date(this.#parts.clock.now() + CALL_TIMEOUT_MS)};
  }

  async #replace(what: string, ca: Buffer, ask: (address: string, request: Uint8Array) => Promise<{certificate?: Uint8Array | null}>): Promise<void> {
    const {files, log, onChanged} = this.#parts;
    const made = newCertificateRequest();
    await files.writeKey(made.keyPem);
    const pem = await this.#askAny((address) => ask(address, made.request));
    const certificate = parseCertificate(pem);
    const {node} = this.#options;
    // The token may be that of a pod on another node.
    if (!certificate.subject.split('\n').includes(`CN=${NODE_CN_PREFIX}${node}`)) {
      throw new StentorError('WRONG_NODE', `the operator knows this node under another name than ${node}: ${certificate.subject.replaceAll('\n', ', ')}`);
    }
    if (!isIssuedBy(certificate, ca) || !certificate.publicKey.export({type: 'spki', format: 'der'}).equals(made.publicKey)) {
      throw new StentorError('WRONG_CERTIFICATE', 'the operator answered with a certificate of another key or CA');
    }
    await files.install(pem);
    log.info(what, {node, expires: new Date(validityOf(certificate).notAfterMs).toISOString()});
    onChanged();
  }

  /** Every replica can; the first that does. */
  async #askAny(ask: (address: string) => Promise<{certificate?: Uint8Array | null}>): Promise<Buffer> {
    const errors: StentorError[] = [];
    for (const address of this.#options.addresses) {
      try {
        return Buffer.from((await ask(address)).certificate ?? []);
      } catch (error) {
        errors.push(callError(`no certificate from ${hostOf(address)}`, error instanceof Error ? error : new Error(String(error)), address));
      }
    }
    const [first] = errors;
    throw new StentorError(first?.code ?? 'NO_OPERATOR', errors.map(({message}) => message).join('; '), {addresses: this.#options.addresses}, {cause: first});
  }
}

async function readGiven(path: string): Promise<Buffer> {
  try {
    return await readFile(path);
  } catch (error) {
    throw new StentorError('BOOTSTRAP_FILE', `${path} cannot be read`, {path}, {cause: error});
  }
}
