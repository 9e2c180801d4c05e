// A key of this node and the request (PKCS#10) for its certificate. Written out in DER: an X.509 library costs 21 MB of memory, to encode
// these five fields. Nothing is parsed here; the operator, which signs, has the library.

import {generateKeyPairSync, sign} from 'node:crypto';

export interface CertificateRequest {
  /** PKCS#8 in PEM. */
  readonly keyPem: string;
  /** SubjectPublicKeyInfo in DER. */
  readonly publicKey: Buffer;
  readonly request: Buffer;
}

const SEQUENCE = 0x30;
const BIT_STRING = 0x03;
const VERSION_0 = Buffer.from([0x02, 0x01, 0x00]);
/** The operator knows the name. */
const NO_NAME = Buffer.from([SEQUENCE, 0x00]);
const NO_ATTRIBUTES = Buffer.from([0xa0, 0x00]);
/** 1.2.840.10045.4.3.2 */
const ECDSA_WITH_SHA256 = Buffer.from('06082a8648ce3d040302', 'hex');

export function newCertificateRequest(): CertificateRequest {
  const {publicKey, privateKey} = generateKeyPairSync('ec', {namedCurve: 'P-256'});
  const spki = publicKey.export({type: 'spki', format: 'der'});
  const info = der(SEQUENCE, VERSION_0, NO_NAME, spki, NO_ATTRIBUTES);
  const signature = der(BIT_STRING, Buffer.from([0]), sign('sha256', info, privateKey));
  return {
    keyPem: privateKey.export({type: 'pkcs8', format: 'pem'}).toString(), publicKey: spki,
    request: der(SEQUENCE, info, der(SEQUENCE, ECDSA_WITH_SHA256), signature),
  };
}

/** Tag, length, content; of what is written here nothing is longer than 64 kB. */
function der(tag: number, ...parts: readonly Uint8Array[]): Buffer {
  const content = Buffer.concat(parts);
  const {length} = content;
  const head = length < 0x80 ? [tag, length] : length < 0x100 ? [tag, 0x81, length] : [tag, 0x82, length >> 8, length & 0xff];
  return Buffer.concat([Buffer.from(head), content]);
}
