// A small CA: the operator's server certificate and the nodes' client certificates, EC P-256. Loaded only where something is issued.

import 'reflect-metadata';
import {randomBytes, webcrypto} from 'node:crypto';
import {isIP} from 'node:net';
import * as x509 from '@peculiar/x509';
import {NODE_CN_PREFIX, NODE_ORGANISATION} from './authn.js';

x509.cryptoProvider.set(webcrypto as Crypto);

const ALGORITHM = {name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256'};
const DAY_MS = 86_400_000;
/** Clocks of a young cluster differ. */
const BACKDATED_MS = 3_600_000;

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
  readonly validityDays: number;
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
  const name = new x509.Name([{CN: [`${NODE_CN_PREFIX}${node}`]}, {O: [NODE_ORGANISATION]}]).toString();
  return issue(ca, options, {name, usage: x509.ExtendedKeyUsage.clientAuth, extensions: []});
}

interface Subject {
  readonly name: string;
  readonly usage: x509.ExtendedKeyUsage;
  readonly extensions: readonly x509.Extension[];
}

async function issue(ca: CaMaterial, options: CaOptions, subject: Subject): Promise<IssuedKeys> {
  const issuer = new x509.X509Certificate(ca.certPem);
  const signingKey = await webcrypto.subtle.importKey('pkcs8', x509.PemConverter.decodeFirst(ca.keyPem), ALGORITHM, false, ['sign']);
  const keys = await newKeys();
  const certificate = await x509.X509CertificateGenerator.create({
    ...validity(options), subject: subject.name, issuer: issuer.subject, publicKey: keys.publicKey, signingKey: signingKey as CryptoKey, signingAlgorithm: ALGORITHM,
    extensions: [
      new x509.BasicConstraintsExtension(false, undefined, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
      new x509.ExtendedKeyUsageExtension([subject.usage]),
      await x509.AuthorityKeyIdentifierExtension.create(issuer),
      ...subject.extensions,
    ],
  });
  return {ca: Buffer.from(ca.certPem), cert: Buffer.from(certificate.toString('pem')), key: Buffer.from(await keyPem(keys.privateKey))};
}

function validity({nowMs, validityDays}: CaOptions): {serialNumber: string; notBefore: Date; notAfter: Date} {
  // A positive serial number of 127 bits.
  const serial = randomBytes(16);
  serial[0] = (serial[0] ?? 0) & 0x7f | 0x01;
  return {serialNumber: serial.toString('hex'), notBefore: new Date(nowMs - BACKDATED_MS), notAfter: new Date(nowMs + validityDays * DAY_MS)};
}

async function newKeys(): Promise<CryptoKeyPair> {
  return await webcrypto.subtle.generateKey(ALGORITHM, true, ['sign', 'verify']) as CryptoKeyPair;
}

async function keyPem(key: CryptoKey): Promise<string> {
  return x509.PemConverter.encode(await webcrypto.subtle.exportKey('pkcs8', key), 'PRIVATE KEY');
}
