// What a certificate says of itself, and when it is time for the next one.

import {X509Certificate} from 'node:crypto';
import {StentorError} from '../core/errors.js';

/** A node's certificate, as a kubelet's: CN `system:node:NAME`, O `system:nodes`. */
export const NODE_CN_PREFIX = 'system:node:';
export const NODE_ORGANISATION = 'system:nodes';

export interface Validity {
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
}

/** Throws `NOT_A_CERTIFICATE`. */
export function parseCertificate(pem: Buffer | string): X509Certificate {
  try {
    return new X509Certificate(pem);
  } catch (error) {
    throw new StentorError('NOT_A_CERTIFICATE', 'there is no certificate in PEM', {}, {cause: error});
  }
}

export function validityOf(certificate: X509Certificate): Validity {
  return {notBeforeMs: certificate.validFromDate.getTime(), notAfterMs: certificate.validToDate.getTime()};
}

/** When two thirds of the life are over, up to a twelfth of it later: what was issued together does not come back together. `jitter` in [0, 1). */
export function renewAtMs({notBeforeMs, notAfterMs}: Validity, jitter: number): number {
  return notBeforeMs + (notAfterMs - notBeforeMs) * (2 / 3 + jitter / 12);
}

/** `bundle`: one CA certificate or several. */
export function isIssuedBy(certificate: X509Certificate, bundle: Buffer): boolean {
  const blocks = bundle.toString('latin1').match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? [];
  return blocks.map(parseCertificate).some((ca) => certificate.checkIssued(ca) && certificate.verify(ca.publicKey));
}
