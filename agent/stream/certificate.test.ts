// A node's certificate against real gRPC servers with TLS, time being the test's.

import {createPublicKey} from 'node:crypto';
import {mkdtempSync, readFileSync, rmSync, statSync, writeFileSync} from 'node:fs';
import {rename} from 'node:fs/promises';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import * as grpc from '@grpc/grpc-js';
import {afterEach, beforeEach, describe, expect, test} from '@jest/globals';
import {parseCertificate} from '../../lib/run/certificate.js';
import {defineService, method} from '../../lib/run/grpc.js';
import {silentLog} from '../../lib/run/log.js';
import {FakeClock} from '../../lib/testing/fake-clock.js';
import type {TestKeys} from '../../lib/testing/keys.js';
import {makeTestCa} from '../../lib/testing/keys.js';
import {eventually} from '../../lib/testing/netns.js';
import {stentor} from '../../proto/gen/session.js';
import {NodeCertificate} from './certificate.js';
import {CertificateFiles, isKeyOf} from './certificate-files.js';
import {newCertificateRequest} from './csr.js';

const {BootstrapRequest, RenewRequest, CertificateResponse} = stentor.v1;
const BOOTSTRAP = defineService('stentor.v1.NodeBootstrap', {Bootstrap: method('unary', BootstrapRequest, CertificateResponse)});
const RENEWAL = defineService('stentor.v1.NodeCertificates', {Renew: method('unary', RenewRequest, CertificateResponse)});
const HOUR_MS = 3_600_000;

let folder: string;
let clock: FakeClock;
let stop: AbortController;
let ca: TestKeys;
let files: CertificateFiles;
const servers: grpc.Server[] = [];

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'certificate-'));
  clock = new FakeClock(Date.now());
  stop = new AbortController();
  ca = await makeTestCa();
  files = new CertificateFiles({ca: join(folder, 'ca.crt'), cert: join(folder, 'tls', 'tls.crt'), key: join(folder, 'tls', 'tls.key')});
  writeFileSync(files.paths.ca, (await ca.node('any')).ca);
  writeFileSync(join(folder, 'token'), 'the token\n');
});

afterEach(() => {
  stop.abort(new Error('the test is over'));
  for (const server of servers.splice(0)) server.forceShutdown();
  rmSync(folder, {recursive: true});
});

type Bootstrap = (token: string, request: Uint8Array) => Promise<Buffer>;
type Renew = (node: string, request: Uint8Array) => Promise<Buffer>;
const refuse = (code: grpc.status, details: string) => async (): Promise<Buffer> => Promise.reject(Object.assign(new Error(details), {code, details}));
const never = refuse(grpc.status.UNIMPLEMENTED, 'not expected');

/** One replica; where its sessions and its first certificates are. */
async function operator(answers: {readonly bootstrap?: Bootstrap; readonly renew?: Renew}): Promise<{readonly address: string; readonly bootstrapPort: number}> {
  const {bootstrap = never, renew = never} = answers;
  const keys = await ca.server(['127.0.0.1']);
  const answer = async (made: Promise<Buffer>, callback: grpc.sendUnaryData<stentor.v1.CertificateResponse.$Properties | Buffer>): Promise<void> => {
    await made.then((certificate) => callback(null, {certificate}), (error: grpc.ServiceError) => callback(error));
  };
  const [first, sessions] = [new grpc.Server(), new grpc.Server()];
  BOOTSTRAP.addTo(first, {Bootstrap: ({request: {token, certificateRequest}}, callback) => void answer(bootstrap(token ?? '', certificateRequest ?? new Uint8Array()), callback)});
  RENEWAL.addTo(sessions, {Renew: (call, callback) => {
    void answer(renew(String(call.getAuthContext()?.sslPeerCertificate?.subject.CN), call.request.certificateRequest ?? new Uint8Array()), callback);
  }});
  const listen = (server: grpc.Server, mutual: boolean): Promise<number> => new Promise((resolve, reject) => {
    servers.push(server);
    server.bindAsync('127.0.0.1:0', grpc.ServerCredentials.createSsl(keys.ca, [{cert_chain: keys.cert, private_key: keys.key}], mutual), (error, port) => (error === null ? resolve(port) : reject(error)));
  });
  return {address: `127.0.0.1:${await listen(sessions, true)}`, bootstrapPort: await listen(first, false)};
}

function agent(options: {readonly addresses: readonly string[]; readonly bootstrapPort?: number; readonly tokenFile?: string}) {
  const changes: string[] = [];
  const certificate = new NodeCertificate(
    {node: 'n1', serverName: '', bootstrapPort: 1, tokenFile: join(folder, 'token'), ...options},
    {files, clock, log: silentLog, random: () => 0, onChanged: () => changes.push(subject())},
  );
  return {certificate, changes, run: () => void certificate.run(stop.signal)};
}

const subject = (): string => parseCertificate(files.read().cert).subject;
const serial = (): string => parseCertificate(files.read().cert).serialNumber;

async function hold(node: string, life: {readonly nowMs: number; readonly validityMs: number} = {nowMs: clock.now(), validityMs: HOUR_MS}): Promise<void> {
  const keys = await ca.node(node, life);
  await files.writeKey(keys.key.toString());
  await files.install(keys.cert);
}

/** The loop must be asleep before more time passes. */
async function pass(ms: number, stepMs = 300_000): Promise<void> {
  for (let passed = 0; passed < ms; passed += stepMs) {
    await eventually(() => (clock.sleepers > 0 ? true : null));
    clock.advance(stepMs);
  }
}

test('the request is one that the operator’s library signs, for the key that was made', async () => {
  const made = newCertificateRequest();
  const certificate = parseCertificate(await ca.sign('n1', made.request));
  expect(isKeyOf(certificate, Buffer.from(made.keyPem))).toBe(true);
  expect(createPublicKey(made.keyPem).export({type: 'spki', format: 'der'})).toEqual(made.publicKey);
  expect(newCertificateRequest().keyPem).not.toBe(made.keyPem);
});

describe('the first certificate', () => {
  test('is got with the token, and lies where only root reads the key', async () => {
    const tokens: string[] = [];
    const {address, bootstrapPort} = await operator({bootstrap: async (token, request) => {
      tokens.push(token);
      return ca.sign('n1', request);
    }});
    const {certificate, changes, run} = agent({addresses: [address], bootstrapPort});
    expect(certificate.status).toEqual({expiresAtMs: null, lastError: null});
    run();
    await certificate.usable(stop.signal);
    expect(tokens).toEqual(['the token']);
    expect(changes).toEqual(['CN=system:node:n1\nO=system:nodes']);
    const {cert, key} = files.read();
    expect(isKeyOf(parseCertificate(cert), key)).toBe(true);
    expect(statSync(files.paths.key).mode & 0o777).toBe(0o600);
    expect(statSync(join(folder, 'tls')).mode & 0o777).toBe(0o700);
    await eventually(() => (certificate.status.expiresAtMs !== null && certificate.status.lastError === null ? true : null));
  });

  test.each([
    ['expired', async () => hold('n1', {nowMs: clock.now() - 2 * HOUR_MS, validityMs: HOUR_MS})],
    ['another node’s', async () => hold('n2')],
    ['of another key', async () => {
      await hold('n1');
      writeFileSync(files.paths.key, newCertificateRequest().keyPem);
    }],
    ['of another CA', async () => {
      await hold('n1');
      ca = await makeTestCa();
      writeFileSync(files.paths.ca, (await ca.node('any')).ca);
    }],
    ['no certificate at all', async () => {
      await hold('n1');
      writeFileSync(files.paths.cert, 'rubbish');
    }],
  ])('takes the place of one that is %s', async (_what, prepare) => {
    await prepare();
    const before = readFileSync(files.paths.cert);
    const {address, bootstrapPort} = await operator({bootstrap: async (_token, request) => ca.sign('n1', request)});
    const {certificate, run} = agent({addresses: [address], bootstrapPort});
    run();
    await certificate.usable(stop.signal);
    expect(files.read().cert).not.toEqual(before);
    expect(subject()).toContain('CN=system:node:n1');
  });

  test('a refusal is told, and tried again; another replica may answer', async () => {
    let refused = 0;
    const first = await operator({bootstrap: async (_token, request) => {
      refused++;
      return refused < 3 ? refuse(grpc.status.PERMISSION_DENIED, 'WRONG_SERVICE_ACCOUNT: the token is that of default/other')() : ca.sign('n1', request);
    }});
    const {certificate, run} = agent({addresses: ['127.0.0.2:1', first.address], bootstrapPort: first.bootstrapPort});
    run();
    await eventually(() => (refused === 1 && clock.sleepers === 1 ? true : null));
    expect(certificate.status.lastError).toMatch(/127\.0\.0\.2: .*ECONNREFUSED.*; no certificate from 127\.0\.0\.1: WRONG_SERVICE_ACCOUNT: the token is that of default\/other/);
    expect(() => files.read()).toThrow(/TLS cert/);
    await pass(60_000, 30_000);
    await certificate.usable(stop.signal);
    expect(refused).toBe(3);
  });

  test.each([
    ['for another node', async (request: Uint8Array) => ca.sign('n2', request), /another name than n1: CN=system:node:n2/],
    ['for another key', async () => ca.sign('n1', newCertificateRequest().request), /another key or CA/],
    ['of another CA', async (request: Uint8Array) => (await makeTestCa()).sign('n1', request), /another key or CA/],
    ['that is none', async () => Buffer.from('x'), /no certificate in PEM/],
  ])('an answer %s is not taken', async (_what, sign, reason) => {
    const {address, bootstrapPort} = await operator({bootstrap: (_token, request) => sign(request)});
    const {certificate, changes, run} = agent({addresses: [address], bootstrapPort});
    run();
    expect(await eventually(() => certificate.status.lastError)).toMatch(reason);
    expect(changes).toEqual([]);
    expect(() => files.read()).toThrow(/TLS cert/);
  });

  test('without a token file it is somebody else’s to put there, and is noticed then', async () => {
    const {certificate, run} = agent({addresses: ['127.0.0.1:1'], tokenFile: ''});
    run();
    expect(await eventually(() => certificate.status.lastError)).toMatch(/no --bootstrap-token-file to get one with: cannot read the TLS cert file .*tls\.crt/);
    await hold('n1');
    await pass(30_000, 30_000);
    await certificate.usable(stop.signal);
  });
});

describe('renewal', () => {
  test('when two thirds of the life are over, with the certificate that is held, for a new key', async () => {
    await hold('n1');
    const [firstKey, firstSerial] = [files.read().key, serial()];
    const asked: string[] = [];
    const {address} = await operator({renew: async (node, request) => {
      asked.push(node);
      return ca.sign('n1', request, {nowMs: clock.now(), validityMs: HOUR_MS});
    }});
    const {certificate, changes, run} = agent({addresses: [address]});
    run();
    await certificate.usable(stop.signal);
    // Dated back by six minutes, two thirds of 66 are over after 38.
    await pass(35 * 60_000);
    expect(asked).toEqual([]);
    await pass(5 * 60_000);
    await eventually(() => (changes.length === 1 ? true : null));
    expect(asked).toEqual(['system:node:n1']);
    expect(serial()).not.toBe(firstSerial);
    expect(files.read().key).not.toEqual(firstKey);
    expect(isKeyOf(parseCertificate(files.read().cert), files.read().key)).toBe(true);
    await eventually(() => ((certificate.status.expiresAtMs ?? 0) > clock.now() + 50 * 60_000 ? true : null));
    await pass(20 * 60_000);
    expect(asked).toHaveLength(1);
  });

  test('that fails leaves what is held, is told, and is tried again until it has expired; then the token is used', async () => {
    await hold('n1');
    const before = files.read().version;
    let renewals = 0;
    let tokens = 0;
    const {address, bootstrapPort} = await operator({
      renew: () => {
        renewals++;
        return refuse(grpc.status.PERMISSION_DENIED, 'NO_SUCH_NODE: there is no Node n1')();
      },
      bootstrap: async (_token, request) => {
        tokens++;
        return ca.sign('n1', request, {nowMs: clock.now(), validityMs: HOUR_MS});
      },
    });
    const {certificate, changes, run} = agent({addresses: [address], bootstrapPort});
    run();
    await pass(55 * 60_000);
    await eventually(() => (certificate.status.lastError?.includes('NO_SUCH_NODE') === true ? true : null));
    expect(renewals).toBeGreaterThan(1);
    expect([files.read().version, tokens, changes.length]).toEqual([before, 0, 0]);
    await pass(20 * 60_000);
    await eventually(() => (changes.length === 1 ? true : null));
    expect(tokens).toBe(1);
    await eventually(() => (certificate.status.lastError === null ? true : null));
  });

  test('nothing is asked for where it could not be written', async () => {
    writeFileSync(join(folder, 'tls'), 'a file where the folder should be');
    let tokens = 0;
    const {address, bootstrapPort} = await operator({bootstrap: async (_token, request) => {
      tokens++;
      return ca.sign('n1', request);
    }});
    const {certificate, run} = agent({addresses: [address], bootstrapPort});
    run();
    expect(await eventually(() => certificate.status.lastError)).toMatch(/EEXIST|ENOTDIR/);
    expect(tokens).toBe(0);
  });
});

describe('a stop between the two files', () => {
  test.each(['before the key', 'between key and certificate'])('%s leaves a pair', async (when) => {
    await hold('n1');
    const before = serial();
    const made = newCertificateRequest();
    await files.writeKey(made.keyPem);
    writeFileSync(`${files.paths.cert}.new`, await ca.sign('n1', made.request));
    if (when !== 'before the key') await rename(`${files.paths.key}.new`, files.paths.key);
    await files.repair();
    const {cert, key} = files.read();
    expect(isKeyOf(parseCertificate(cert), key)).toBe(true);
    expect(serial() === before).toBe(when === 'before the key');
  });

  test('what is no pair and cannot be finished stays as it is', async () => {
    await hold('n1');
    writeFileSync(`${files.paths.cert}.new`, 'half a certi');
    const before = files.read().version;
    await files.repair();
    expect(files.read().version).toBe(before);
  });
});
