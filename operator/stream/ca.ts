// A small CA: the operator's server certificate and the nodes' client certificates, EC P-256. Loaded only where something is issued.

import 'reflect-metadata';
import {randomBytes, webcrypto} from 'node:crypto';
import {isIP} from 'node:net';
import * as x509 from '@peculiar/x509';
import {StentorError} from '../../lib/core/errors.js';
import {NODE_CN_PREFIX, NODE_ORGANISATION} from '../../lib/run/certificate.js';

x509.cryptoProvider.set(webcrypto as Crypto);

const ALGORITHM = {name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256'};
/** Clocks of a young cluster differ: a tenth of the validity, at most this. */
const BACKDATED_MAX_MS = 3_600_000;

export interface CaMaterial {
  readonly certPem: string;
  readonly keyPem: string;
}

export interface IssuedKeys {
  readonly ca: Buffer;
  readonly cert: Buffer;
  readonly key: Buffer;
}

export interface CaOptions {
  readonly nowMs: number;
  readonly validityMs: number;
}

export async function createCa(options: CaOptions): Promise<CaMaterial> {
  const keys = await newKeys();
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    ...validity(options), keys, signingAlgorithm: ALGORITHM, name: 'CN=stentor-ca',
    extensions: [
      new x509.BasicConstraintsExtension(true, 0, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  });
  return {certPem: certificate.toString('pem'), keyPem: await keyPem(keys.privateKey)};
}

/** `names`: host names and addresses that agents dial. */
export async function issueServer(ca: CaMaterial, names: readonly string[], options: CaOptions): Promise<IssuedKeys> {
  const general = names.map((name) => ({type: isIP(name) === 0 ? 'dns' as const : 'ip' as const, value: name}));
  return issue(ca, options, {
    name: 'CN=stentor-operator', usage: x509.ExtendedKeyUsage.serverAuth, extensions: [new x509.SubjectAlternativeNameExtension(general)],
  });
}

export async function issueNode(ca: CaMaterial, node: string, options: CaOptions): Promise<IssuedKeys> {
  return issue(ca, options, nodeSubject(node));
}

function nodeSubject(node: string): Subject {
  const name = new x509.Name([{CN: [`${NODE_CN_PREFIX}${node}`]}, {O: [NODE_ORGANISATION]}]).toString();
  return {name, usage: x509.ExtendedKeyUsage.clientAuth, extensions: []};
}

/** For the key of a request (PKCS#10 in DER), and of it nothing but the key. Throws `CSR_INVALID`. */
export async function signNode(ca: CaMaterial, node: string, request: Uint8Array, options: CaOptions): Promise<Buffer> {
  return sign(ca, options, nodeSubject(node), await requestedKey(request));
}

async function requestedKey(request: Uint8Array): Promise<x509.PublicKey> {
  const invalid = (reason: string, cause?: unknown): StentorError => new StentorError('CSR_INVALID', `not a certificate request that can be signed: ${reason}`, {}, {cause});
  let parsed: x509.Pkcs10CertificateRequest;
  try {
    parsed = new x509.Pkcs10CertificateRequest(Uint8Array.from(request).buffer);
  } catch (error) {
    throw invalid('it is no PKCS#10', error);
  }
  const {namedCurve} = parsed.publicKey.algorithm as {readonly namedCurve?: string};
  if (namedCurve !== ALGORITHM.namedCurve) throw invalid(`its key is not on ${ALGORITHM.namedCurve}`);
  // The requester has the key: the signature is its own.
  if (!await parsed.verify().catch(() => false)) throw invalid('its signature is not that of its key');
  return parsed.publicKey;
}

interface Subject {
  readonly name: string;
  readonly usage: x509.ExtendedKeyUsage;
  readonly extensions: readonly x509.Extension[];
}

async function issue(ca: CaMaterial, options: CaOptions, subject: Subject): Promise<IssuedKeys> {
  const keys = await newKeys();
  return {ca: Buffer.from(ca.certPem), cert: await sign(ca, options, subject, keys.publicKey), key: Buffer.from(await keyPem(keys.privateKey))};
}

async function sign(ca: CaMaterial, options: CaOptions, subject: Subject, publicKey: CryptoKey | x509.PublicKey): Promise<Buffer> {
  const issuer = new x509.X509Certificate(ca.certPem);
  const signingKey = await webcrypto.subtle.importKey('pkcs8', x509.PemConverter.decodeFirst(ca.keyPem), ALGORITHM, false, ['sign']);
  const certificate = await x509.X509CertificateGenerator.create({
    ...validity(options), subject: subject.name, issuer: issuer.subject, publicKey, signingKey: signingKey as CryptoKey, signingAlgorithm: ALGORITHM,
    extensions: [
      new x509.BasicConstraintsExtension(false, undefined, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
      new x509.ExtendedKeyUsageExtension([subject.usage]),
      await x509.AuthorityKeyIdentifierExtension.create(issuer),
      ...subject.extensions,
    ],
  });
  return Buffer.from(certificate.toString('pem'));
}

function validity({nowMs, validityMs}: CaOptions): {serialNumber: string; notBefore: Date; notAfter: Date} {
  // A positive serial number of 127 bits.
  const serial = randomBytes(16);
  serial[0] = (serial[0] ?? 0) & 0x7f | 0x01;
  return {serialNumber: serial.toString('hex'), notBefore: new Date(nowMs - Math.min(BACKDATED_MAX_MS, validityMs / 10)), notAfter: new Date(nowMs + validityMs)};
}

async function newKeys(): Promise<CryptoKeyPair> {
  return await webcrypto.subtle.generateKey(ALGORITHM, true, ['sign', 'verify']) as CryptoKeyPair;
}

async function keyPem(key: CryptoKey): Promise<string> {
  return x509.PemConverter.encode(await webcrypto.subtle.exportKey('pkcs8', key), 'PRIVATE KEY');
}
