// The CA as the running operator uses it: its own server certificate, and certificates for nodes.

import type {Clock} from '../../lib/run/clock.js';
import {StentorError} from '../../lib/core/errors.js';
import type {CaMaterial} from './ca.js';
import type {KeySource, ServerKeys} from './server-certificate.js';

export interface AuthorityOptions {
  readonly serverNames: readonly string[];
  /** Of what is issued. */
  readonly validityMs: number;
}

export interface AuthorityParts {
  /** Read again whenever the server certificate is due: another CA in its place holds from then on. */
  readonly loadCa: () => Promise<CaMaterial>;
  readonly clock: Clock;
}

export class Authority implements KeySource {
  readonly kind = 'issued';
  readonly #options: AuthorityOptions;
  readonly #parts: AuthorityParts;
  #ca: CaMaterial | null = null;

  constructor(options: AuthorityOptions, parts: AuthorityParts) {
    this.#options = options;
    this.#parts = parts;
  }

  readonly load = async (): Promise<ServerKeys> => {
    const {issueServer} = await import('./ca.js');
    this.#ca = await this.#parts.loadCa();
    return issueServer(this.#ca, this.#options.serverNames, this.#validity);
  };

  /** `request`: PKCS#10 in DER. */
  async signNode(node: string, request: Uint8Array): Promise<Buffer> {
    if (this.#ca === null) throw new StentorError('NOT_READY', 'the CA has not been loaded yet');
    const {signNode} = await import('./ca.js');
    return signNode(this.#ca, node, request, this.#validity);
  }

  get #validity(): {readonly nowMs: number; readonly validityMs: number} {
    return {nowMs: this.#parts.clock.now(), validityMs: this.#options.validityMs};
  }
}
