// Certificates against a real API server: the CA's Secret, tokens that name a node, and the operator that gives a node its first certificate.

import {readFileSync} from 'node:fs';
import {join} from 'node:path';
import 'reflect-metadata';
import * as grpc from '@grpc/grpc-js';
import {afterAll, afterEach, beforeAll, describe, expect, test} from '@jest/globals';
import * as x509 from '@peculiar/x509';
import {StentorError} from '../lib/core/errors.js';
import type {KubeClient} from '../lib/kube/client.js';
import {loadKubeConfig} from '../lib/kube/kube-config.js';
import {isRecord, type KubeObject} from '../lib/kube/object.js';
import {collectionPath, objectPath, RESOURCES, type ApiResource} from '../lib/kube/resources.js';
import {parseCertificate} from '../lib/run/certificate.js';
import {defineService, method} from '../lib/run/grpc.js';
import {Lifecycle} from '../lib/run/lifecycle.js';
import {silentLog} from '../lib/run/log.js';
import {TestApiServer} from '../lib/testing/api-server.js';
import {eventually} from '../lib/testing/netns.js';
import {stentor} from '../proto/gen/session.js';
import {loadOperatorConfig} from './config.js';
import {loadOrCreateSecretCa, publishCa} from './stream/ca-secret.js';
import {nodeOfToken} from './stream/token-review.js';
import {wireOperator, type Operator} from './wire.js';

const NAMESPACE = 'kube-system';
const AGENT = {namespace: NAMESPACE, name: 'stentor-agent'};
const OPTIONS = {audience: 'stentor', serviceAccount: AGENT};
const CA = {namespace: NAMESPACE, name: 'stentor-ca'};
const SERVICE_ACCOUNT: ApiResource = {apiVersion: 'v1', kind: 'ServiceAccount', plural: 'serviceaccounts', namespaced: true};
const P256 = {name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256'};
const {BootstrapRequest, CertificateResponse} = stentor.v1;
const BOOTSTRAP = defineService('stentor.v1.NodeBootstrap', {Bootstrap: method('unary', BootstrapRequest, CertificateResponse)});

let server: TestApiServer;
let client: KubeClient;
/** With the rights of the manifest, and no others. */
let restricted: KubeClient;
const lifecycles: Lifecycle[] = [];
const deadline = (): AbortSignal => AbortSignal.timeout(10_000);

beforeAll(async () => {
  server = await TestApiServer.start();
  client = server.client();
  const admin = await loadKubeConfig({kubeconfig: server.kubeconfig});
  restricted = server.client({}, {connection: {...admin, credentials: async () => {
    const credentials = await admin.credentials();
    return {...credentials, headers: {...credentials.headers, 'impersonate-user': 'stentor-operator'}};
  }}});
  await server.kubectl(['apply', '-f', '-'], readFileSync(join(import.meta.dirname, '../../e2e/manifests/operator-rbac.yaml'), 'utf8'));
  for (const name of ['n1', 'n2']) await create(RESOURCES.Node, {apiVersion: 'v1', kind: 'Node', metadata: {name}});
  for (const name of ['stentor-agent', 'other']) await create(SERVICE_ACCOUNT, {apiVersion: 'v1', kind: 'ServiceAccount', metadata: {name, namespace: NAMESPACE}});
  for (const [name, nodeName, serviceAccountName] of [['agent-n1', 'n1', 'stentor-agent'], ['agent-n2', 'n2', 'stentor-agent'], ['other-n1', 'n1', 'other']] as const) {
    await create(RESOURCES.Pod, {apiVersion: 'v1', kind: 'Pod', metadata: {name, namespace: NAMESPACE}, spec: {nodeName, serviceAccountName, containers: [{name: 'c', image: 'i'}]}});
  }
}, 90_000);

afterEach(async () => {
  for (const lifecycle of lifecycles.splice(0)) await lifecycle.stop();
});

afterAll(async () => {
  await restricted?.close();
  await client?.close();
  await server?.stop();
});

async function create(of: ApiResource, object: KubeObject): Promise<void> {
  await client.create(collectionPath(of, object.metadata.namespace ?? null), object, deadline());
}

/** As the kubelet asks for a projected token; `pod` null: bound to nothing. */
async function token(pod: string | null, options: {readonly audience?: string; readonly account?: string} = {}): Promise<string> {
  const {audience = 'stentor', account = 'stentor-agent'} = options;
  const bound = pod === null ? {} : {boundObjectRef: {apiVersion: 'v1', kind: 'Pod', name: pod, uid: (await client.get(objectPath(RESOURCES.Pod, NAMESPACE, pod), deadline())).metadata.uid}};
  const answer = await client.createJson(`${objectPath(SERVICE_ACCOUNT, NAMESPACE, account)}/token`, {
    apiVersion: 'authentication.k8s.io/v1', kind: 'TokenRequest', spec: {audiences: [audience], expirationSeconds: 600, ...bound},
  }, deadline());
  const status = isRecord(answer) && isRecord(answer['status']) ? answer['status'] : {};
  return String(status['token']);
}

async function refusal(promise: Promise<unknown>): Promise<string> {
  return promise.then(() => 'answered', (error: unknown) => (error instanceof StentorError ? `${error.code} ${error.message}` : String(error)));
}

describe('a token', () => {
  test('names the node of the pod that it is bound to', async () => {
    expect(await nodeOfToken(OPTIONS, restricted, await token('agent-n1'), deadline())).toBe('n1');
    expect(await nodeOfToken(OPTIONS, restricted, await token('agent-n2'), deadline())).toBe('n2');
  });

  test.each([
    ['that is none', async () => 'x.y.z', /^TOKEN_REFUSED the API server does not accept the token for the audience stentor: .*invalid/],
    ['that is empty', async () => '', /^TOKEN_REFUSED there is no token$/],
    ['for the API server', () => token('agent-n1', {audience: 'https://kubernetes.default.svc'}), /^TOKEN_REFUSED .*audience/],
    ['of another service account', () => token('other-n1', {account: 'other'}), /^WRONG_SERVICE_ACCOUNT the token is that of system:serviceaccount:kube-system:other, not of system:serviceaccount:kube-system:stentor-agent$/],
    ['that is bound to no pod', () => token(null), /^TOKEN_REFUSED the token names no node/],
    ['of a user who is no service account', async () => 'admin', /^TOKEN_REFUSED/],
  ])('%s is refused', async (_what, make, reason) => {
    expect(await refusal(nodeOfToken(OPTIONS, restricted, await make(), deadline()))).toMatch(reason);
  });

  test('of a pod that is gone is refused', async () => {
    await create(RESOURCES.Pod, {apiVersion: 'v1', kind: 'Pod', metadata: {name: 'short', namespace: NAMESPACE}, spec: {nodeName: 'n1', serviceAccountName: 'stentor-agent', containers: [{name: 'c', image: 'i'}]}});
    const held = await token('short');
    await client.delete(objectPath(RESOURCES.Pod, NAMESPACE, 'short'), {gracePeriodSeconds: 0}, deadline());
    expect(await eventually(async () => {
      const answer = await refusal(nodeOfToken(OPTIONS, restricted, held, deadline()));
      return answer === 'answered' ? null : answer;
    }, 20_000)).toMatch(/^TOKEN_REFUSED/);
  }, 30_000);

  test('cannot be judged without the API server: to be tried again', async () => {
    const nobody = server.client({retries: 0}, {connection: {server: 'https://127.0.0.1:1', namespace: 'default', credentials: async () => ({version: '', tls: {}, headers: {}})}});
    expect(await refusal(nodeOfToken(OPTIONS, nobody, 'x', deadline()))).toMatch(/^API_UNREACHABLE the API server cannot be asked about the token/);
    await nobody.close();
  });
});

describe('the CA in a Secret', () => {
  test('is the same one for replicas that start together, and its certificate is published without the key', async () => {
    const made = await Promise.all(Array.from({length: 5}, () => loadOrCreateSecretCa(CA, restricted, Date.now(), deadline())));
    expect(new Set(made.map(({certPem}) => certPem)).size).toBe(1);
    const [ca] = made;
    if (ca === undefined) throw new Error('no CA');
    expect(await loadOrCreateSecretCa(CA, restricted, Date.now(), deadline())).toEqual(ca);
    for (let times = 0; times < 2; times++) await publishCa(CA, restricted, ca, deadline());
    expect((await client.get(objectPath(RESOURCES.ConfigMap, NAMESPACE, CA.name), deadline()))['data']).toEqual({'ca.crt': ca.certPem});
    const secret = await client.get(objectPath(RESOURCES.Secret, NAMESPACE, CA.name), deadline());
    expect(secret['type']).toBe('kubernetes.io/tls');
    await expect(restricted.get(objectPath(RESOURCES.Secret, NAMESPACE, 'another'), deadline())).rejects.toThrow(/forbidden/);
  });
});

async function startOperator(): Promise<Operator> {
  const config = await loadOperatorConfig([
    '--kubeconfig', server.kubeconfig, '--listen', '127.0.0.1:0', '--bootstrap-listen', '127.0.0.1:0', '--http-listen', '127.0.0.1:0', '--server-names', '127.0.0.1',
  ]);
  if (config.kind !== 'config') throw new Error('no configuration');
  const lifecycle = new Lifecycle({log: silentLog});
  lifecycles.push(lifecycle);
  const operator = await wireOperator(config.value, {log: silentLog, lifecycle, fail: (error) => {
    throw error;
  }});
  await lifecycle.start();
  await eventually(() => (operator.engine.inSync ? true : null), 20_000);
  return operator;
}

test('every replica gives a node its first certificate, for the same CA; without the API server it says when to come again', async () => {
  const replicas = await Promise.all([startOperator(), startOperator()]);
  const ca = (await client.get(objectPath(RESOURCES.ConfigMap, NAMESPACE, CA.name), deadline()))['data'] as {readonly 'ca.crt': string};
  const keys = await crypto.subtle.generateKey(P256, true, ['sign', 'verify']) as CryptoKeyPair;
  const csr = await x509.Pkcs10CertificateRequestGenerator.create({name: 'CN=system:node:n2', keys, signingAlgorithm: P256});
  const certificateRequest = new Uint8Array(csr.rawData);
  const clients = replicas.map(({addresses}) => BOOTSTRAP.connect(addresses.bootstrap, grpc.credentials.createSsl(Buffer.from(ca['ca.crt'])), {'grpc.use_local_subchannel_pool': 1}));
  try {
    for (const one of clients) {
      const {certificate} = await one.Bootstrap({token: await token('agent-n1'), certificateRequest});
      expect(parseCertificate(Buffer.from(certificate ?? [])).subject).toContain('CN=system:node:n1');
    }
    const metrics = await (await fetch(`http://${replicas[0]?.addresses.http ?? ''}/metrics`)).text();
    expect(metrics).toMatch(/^stentor_operator_certificates_issued_total\{how="bootstrap"\} 1$/m);
    expect(Number(/^stentor_operator_certificate_expiry_seconds\{certificate="server"\} (\d+)$/m.exec(metrics)?.[1])).toBeGreaterThan(2159 * 3600);
    expect(Number(/^stentor_operator_certificate_expiry_seconds\{certificate="ca"\} (\d+)$/m.exec(metrics)?.[1])).toBeGreaterThan(9 * 365 * 86_400);
    const held = await token('agent-n1');
    await server.killApiServer();
    const [one] = clients;
    await expect(one?.Bootstrap({token: held, certificateRequest})).rejects.toMatchObject({code: grpc.status.UNAVAILABLE, details: expect.stringMatching(/^API_UNREACHABLE/)});
    await server.startApiServer();
    await expect(one?.Bootstrap({token: held, certificateRequest})).resolves.toHaveProperty('certificate');
  } finally {
    for (const one of clients) one.channel.close();
  }
}, 90_000);
