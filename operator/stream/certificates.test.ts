// Certificates with real TLS on loopback: what is issued, what is refused, and a change of the operator's own under an open call.

import {createPrivateKey, X509Certificate} from 'node:crypto';
import {mkdtemp, rm, stat} from 'node:fs/promises';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import * as grpc from '@grpc/grpc-js';
import {afterEach, beforeEach, describe, expect, test} from '@jest/globals';
import 'reflect-metadata';
import * as x509 from '@peculiar/x509';
import {StentorError} from '../../lib/core/errors.js';
import {isIssuedBy, parseCertificate, renewAtMs, validityOf} from '../../lib/run/certificate.js';
import {defineService, method} from '../../lib/run/grpc.js';
import {silentLog} from '../../lib/run/log.js';
import {FakeClock} from '../../lib/testing/fake-clock.js';
import {eventually} from '../../lib/testing/netns.js';
import {stentor} from '../../proto/gen/session.js';
import {Authority} from './authority.js';
import {BootstrapServer, NodeCertificates} from './bootstrap.js';
import {createCa, issueNode, signNode, type CaMaterial} from './ca.js';
import {loadOrCreateCa} from './ca-files.js';
import {bind} from './listen.js';
import {RateLimit} from './rate-limit.js';
import {ServerCertificate} from './server-certificate.js';

const HOUR_MS = 3_600_000;
const P256 = {name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256'};
const {BootstrapRequest, RenewRequest, CertificateResponse} = stentor.v1;
const BOOTSTRAP = defineService('stentor.v1.NodeBootstrap', {Bootstrap: method('unary', BootstrapRequest, CertificateResponse)});
const RENEWAL = defineService('stentor.v1.NodeCertificates', {Renew: method('unary', RenewRequest, CertificateResponse)});

let clock: FakeClock;
let stop: AbortController;
const cleanups: (() => void)[] = [];

beforeEach(() => {
  clock = new FakeClock(Date.now());
  stop = new AbortController();
});

afterEach(() => {
  stop.abort(new Error('the test is over'));
  for (const cleanup of cleanups.splice(0)) cleanup();
});

async function request(name = '', algorithm: Parameters<typeof crypto.subtle.generateKey>[0] = P256): Promise<Uint8Array> {
  const keys = await crypto.subtle.generateKey(algorithm, true, ['sign', 'verify']) as CryptoKeyPair;
  const made = await x509.Pkcs10CertificateRequestGenerator.create({name, keys, signingAlgorithm: algorithm as EcdsaParams});
  return new Uint8Array(made.rawData);
}

async function codeOf(promise: Promise<unknown>): Promise<unknown> {
  return promise.then(() => null, (error: unknown) => (error instanceof StentorError ? error.code : String(error)));
}

describe('the CA', () => {
  const options = {nowMs: Date.now(), validityMs: HOUR_MS};

  test('a request gets a certificate for the node that was named, whatever the request says, and for nothing but clients', async () => {
    const ca = await createCa(options);
    const certificate = new X509Certificate(await signNode(ca, 'n1', await request('CN=system:node:n2, O=system:masters'), options));
    expect(certificate.subject.split('\n').sort()).toEqual(['CN=system:node:n1', 'O=system:nodes']);
    expect(isIssuedBy(certificate, Buffer.from(ca.certPem))).toBe(true);
    expect(isIssuedBy(certificate, Buffer.from((await createCa(options)).certPem))).toBe(false);
    expect(certificate.ca).toBe(false);
    expect(certificate.keyUsage).toEqual(['1.3.6.1.5.5.7.3.2']);
    expect(certificate.subjectAltName).toBeUndefined();
    const {notBeforeMs, notAfterMs} = validityOf(certificate);
    expect(notAfterMs - notBeforeMs).toBe(66 * 60_000);
  });

  test.each([
    ['garbage', async () => Uint8Array.from([1, 2, 3])],
    ['nothing', async () => new Uint8Array()],
    ['a certificate instead', async () => new X509Certificate((await createCa(options)).certPem).raw],
    ['another curve', () => request('', {...P256, namedCurve: 'P-384'} as typeof P256)],
    ['a signature of another key', async () => {
      const bytes = await request();
      const last = bytes.length - 1;
      bytes[last] = (bytes[last] ?? 0) ^ 1;
      return bytes;
    }],
  ])('%s is not signed', async (_what, make) => {
    expect(await codeOf(signNode(await createCa(options), 'n1', await make(), options))).toBe('CSR_INVALID');
  });

  test('renewal is due when two thirds of the life are over, and before three quarters', () => {
    const validity = {notBeforeMs: 1000, notAfterMs: 13_000};
    expect(renewAtMs(validity, 0)).toBe(9000);
    expect(renewAtMs(validity, 0.999_999)).toBeCloseTo(10_000, 0);
  });
});

test('a source may ask a few times at once, then at intervals; others are not concerned; the sources remembered are bounded', () => {
  const limit = new RateLimit({burst: 3, intervalMs: 1000, sourcesMax: 2}, {clock});
  const take = (source: string, times: number): boolean[] => Array.from({length: times}, () => limit.take(source));
  expect(take('a', 4)).toEqual([true, true, true, false]);
  expect(take('b', 1)).toEqual([true]);
  clock.advance(1000);
  expect(take('a', 2)).toEqual([true, false]);
  clock.advance(60_000);
  expect(take('a', 4)).toEqual([true, true, true, false]);
  expect([...take('c', 1), ...take('d', 1), ...take('a', 1)]).toEqual([true, true, true]);
});

interface World {
  readonly ca: CaMaterial;
  readonly server: ServerCertificate;
  readonly bootstrap: string;
  readonly sessions: string;
  readonly issued: string[];
  readonly refused: string[];
}

/** Both ports. Tokens are `node of NAME`. */
async function world(options: {readonly validityMs?: number; readonly concurrentMax?: number; readonly review?: (token: string) => Promise<string>} = {}): Promise<World> {
  const ca = await createCa({nowMs: clock.now(), validityMs: 24 * HOUR_MS});
  const authority = new Authority({serverNames: ['127.0.0.1'], validityMs: options.validityMs ?? HOUR_MS}, {loadCa: async () => ca, clock});
  const server = new ServerCertificate({source: authority, clock, log: silentLog, random: () => 0});
  await server.load();
  const issued: string[] = [];
  const refused: string[] = [];
  const nodes = new NodeCertificates({
    signNode: (node, csr) => authority.signNode(node, csr), isNode: (node) => node !== 'gone', clock, log: silentLog,
    onIssued: (how) => issued.push(how), onRefused: ({code}) => refused.push(code),
  });
  const nodeOfToken = options.review ?? (async (token: string): Promise<string> => {
    if (!token.startsWith('node of ')) throw new StentorError('TOKEN_REFUSED', 'not a token');
    return token.slice('node of '.length);
  });
  const port = new BootstrapServer({listen: '127.0.0.1:0', concurrentMax: options.concurrentMax ?? 4}, {certificates: nodes, nodeOfToken, credentials: server.credentials(false)});
  const sessions = new grpc.Server();
  nodes.addRenewalTo(sessions);
  cleanups.push(() => port.close(), () => sessions.forceShutdown());
  return {ca, server, bootstrap: await port.listen(), sessions: await bind(sessions, '127.0.0.1:0', server.credentials(true)), issued, refused};
}

function bootstrapClient({ca, bootstrap}: World) {
  const client = BOOTSTRAP.connect(bootstrap, grpc.credentials.createSsl(Buffer.from(ca.certPem)), {'grpc.use_local_subchannel_pool': 1});
  cleanups.push(() => client.channel.close());
  return client;
}

async function renewClient({ca, sessions}: World, keys: {readonly cert: Buffer; readonly key: Buffer} | null) {
  const client = RENEWAL.connect(sessions, grpc.credentials.createSsl(Buffer.from(ca.certPem), keys?.key ?? null, keys?.cert ?? null), {'grpc.use_local_subchannel_pool': 1});
  cleanups.push(() => client.channel.close());
  return client;
}

function refusal(call: Promise<unknown>): Promise<string> {
  return call.then(() => 'answered', (error: grpc.ServiceError) => `${grpc.status[error.code]} ${error.details}`);
}

describe('the first certificate', () => {
  test('is for the node of the token', async () => {
    const here = await world();
    const {certificate} = await bootstrapClient(here).Bootstrap({token: 'node of n1', certificateRequest: await request('CN=system:node:n2')});
    expect(parseCertificate(Buffer.from(certificate ?? [])).subject).toContain('CN=system:node:n1');
    expect([here.issued, here.refused]).toEqual([['bootstrap'], []]);
  });

  test('is refused with the reason', async () => {
    const here = await world({review: async (token) => {
      if (token === 'unreachable') throw new StentorError('API_UNREACHABLE', 'the API server cannot be asked about the token: connect ECONNREFUSED');
      if (token === 'other') throw new StentorError('WRONG_SERVICE_ACCOUNT', 'the token is that of system:serviceaccount:default:other');
      if (token === 'bug') throw new TypeError('secret detail');
      return token;
    }});
    const client = bootstrapClient(here);
    const certificateRequest = await request();
    expect(await refusal(client.Bootstrap({token: 'unreachable', certificateRequest}))).toMatch(/^UNAVAILABLE API_UNREACHABLE: .*ECONNREFUSED/);
    expect(await refusal(client.Bootstrap({token: 'other', certificateRequest}))).toMatch(/^PERMISSION_DENIED WRONG_SERVICE_ACCOUNT/);
    expect(await refusal(client.Bootstrap({token: 'gone', certificateRequest}))).toBe('PERMISSION_DENIED NO_SUCH_NODE: there is no Node gone');
    expect(await refusal(client.Bootstrap({token: 'n1', certificateRequest: new Uint8Array(9)}))).toMatch(/^INVALID_ARGUMENT CSR_INVALID/);
    expect(await refusal(client.Bootstrap({token: 'bug', certificateRequest}))).toBe('INTERNAL INTERNAL: the certificate could not be issued');
    expect(await refusal(client.Bootstrap({token: 'n1', certificateRequest}))).toMatch(/^RESOURCE_EXHAUSTED RATE_LIMITED: more than 5 requests/);
    expect(here.issued).toEqual([]);
    expect(here.refused).toEqual(['API_UNREACHABLE', 'WRONG_SERVICE_ACCOUNT', 'NO_SUCH_NODE', 'CSR_INVALID', 'INTERNAL', 'RATE_LIMITED']);
    clock.advance(2000);
    await client.Bootstrap({token: 'n1', certificateRequest});
    expect(here.issued).toEqual(['bootstrap']);
  });

  test('the API server is asked about so many at a time and no more', async () => {
    const {promise, resolve} = Promise.withResolvers<string>();
    const here = await world({concurrentMax: 1, review: () => promise});
    const client = bootstrapClient(here);
    const certificateRequest = await request();
    const first = client.Bootstrap({token: 'a', certificateRequest});
    const second = refusal(client.Bootstrap({token: 'b', certificateRequest}));
    expect(await second).toMatch(/^RESOURCE_EXHAUSTED RATE_LIMITED: 1 others are asking/);
    resolve('n1');
    await first;
  });

  test('sessions and renewal are not served there', async () => {
    const here = await world();
    const client = RENEWAL.connect(here.bootstrap, grpc.credentials.createSsl(Buffer.from(here.ca.certPem)), {'grpc.use_local_subchannel_pool': 1});
    cleanups.push(() => client.channel.close());
    expect(await refusal(client.Renew({certificateRequest: await request()}))).toMatch(/^UNIMPLEMENTED/);
  });
});

describe('renewal', () => {
  test('gives the node of the client certificate another one; without a certificate there is no call', async () => {
    const here = await world();
    const keys = await issueNode(here.ca, 'n1', {nowMs: Date.now(), validityMs: HOUR_MS});
    const {certificate} = await (await renewClient(here, keys)).Renew({certificateRequest: await request('CN=system:node:n2')});
    expect(parseCertificate(Buffer.from(certificate ?? [])).subject).toContain('CN=system:node:n1');
    expect(await refusal((await renewClient(here, null)).Renew({certificateRequest: await request()}))).toMatch(/^UNAVAILABLE/);
    const expired = await issueNode(here.ca, 'n1', {nowMs: Date.now() - 2 * HOUR_MS, validityMs: HOUR_MS});
    expect(await refusal((await renewClient(here, expired)).Renew({certificateRequest: await request()}))).toMatch(/^UNAVAILABLE/);
    const gone = await issueNode(here.ca, 'gone', {nowMs: Date.now(), validityMs: HOUR_MS});
    expect(await refusal((await renewClient(here, gone)).Renew({certificateRequest: await request()}))).toBe('PERMISSION_DENIED NO_SUCH_NODE: there is no Node gone');
    expect(here.issued).toEqual(['renewal']);
  });
});

describe('the operator’s own certificate', () => {
  test('is another one in time: new connections see it, an open call goes on', async () => {
    const here = await world({validityMs: 3 * HOUR_MS});
    void here.server.run(stop.signal);
    const serial = (): Promise<string> => serialOf(here.sessions);
    const first = await serial();
    const keys = await issueNode(here.ca, 'n1', {nowMs: clock.now(), validityMs: HOUR_MS});
    const client = await renewClient(here, keys);
    await client.Renew({certificateRequest: await request()});
    const before = here.server.expiresAtMs?.server ?? 0;
    for (let minutes = 0; minutes < 100; minutes += 10) await pass(600_000);
    expect(await serial()).toBe(first);
    for (let minutes = 0; minutes < 30; minutes += 10) await pass(600_000);
    await eventually(() => ((here.server.expiresAtMs?.server ?? 0) > before ? true : null));
    expect(await serial()).not.toBe(first);
    expect(await serialOf(here.bootstrap)).toBe(await serial());
    clock.advance(60_000);
    // The connection of before, which has seen the old one, still serves.
    expect(client.channel.getChannel().getConnectivityState(false)).toBe(grpc.connectivityState.READY);
    await client.Renew({certificateRequest: await request()});
  });

  /** One sleep at a time: the loop must have gone back to sleep before more time passes. */
  async function pass(ms: number): Promise<void> {
    await eventually(() => (clock.sleepers > 0 ? true : null));
    clock.advance(ms);
  }

  test('what cannot be loaded is tried again, and the present one stays', async () => {
    const ca = await createCa({nowMs: clock.now(), validityMs: 24 * HOUR_MS});
    let broken = false;
    const authority = new Authority({serverNames: ['localhost'], validityMs: HOUR_MS}, {clock, loadCa: async () => {
      if (broken) throw new StentorError('Unreachable', 'no API server');
      return ca;
    }});
    const server = new ServerCertificate({source: authority, clock, log: silentLog, random: () => 0});
    expect(server.expiresAtMs).toBeNull();
    await server.load();
    const before = server.expiresAtMs;
    broken = true;
    void server.run(stop.signal);
    for (let minutes = 0; minutes < 50; minutes += 10) await pass(600_000);
    expect(server.expiresAtMs).toEqual(before);
    broken = false;
    await pass(60_000);
    await eventually(() => ((server.expiresAtMs?.server ?? 0) > (before?.server ?? 0) ? true : null));
  });
});

test('a CA in a folder is made once, and only its owner reads the key', async () => {
  const dir = await mkdtemp(join(tmpdir(), 'certificates-'));
  cleanups.push(() => void rm(dir, {recursive: true}));
  const made = await loadOrCreateCa(join(dir, 'ca'), Date.now());
  expect(await loadOrCreateCa(join(dir, 'ca'), Date.now())).toEqual(made);
  expect(new X509Certificate(made.certPem).checkPrivateKey(createPrivateKey(made.keyPem))).toBe(true);
  expect((await stat(join(dir, 'ca', 'ca.key'))).mode & 0o777).toBe(0o600);
});

async function serialOf(address: string): Promise<string> {
  const {connect} = await import('node:tls');
  const [host = '', port = ''] = address.split(':');
  return new Promise((resolve, reject) => {
    const socket = connect({host, port: Number(port), rejectUnauthorized: false, ALPNProtocols: ['h2']}, () => {
      resolve(socket.getPeerCertificate().serialNumber);
      socket.destroy();
    });
    socket.on('error', reject);
  });
}
