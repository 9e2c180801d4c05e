// Malformed and hostile input is refused with a clear message, and disturbs nothing else.

import {randomBytes} from 'node:crypto';
import {readFileSync} from 'node:fs';
import {connect} from 'node:net';
import {join} from 'node:path';
import * as grpc from '@grpc/grpc-js';
import {afterAll, beforeAll, describe, expect, test} from '@jest/globals';
import {defineService, method} from '../../lib/run/grpc.js';
import {stentor} from '../../proto/gen/session.js';
import {judge, expectTcp} from '../harness/checks/policy.js';
import {conditionsOf, holds, watchUntil} from '../harness/enforced.js';
import {Lab} from '../harness/lab.js';
import {startRelay} from '../harness/relay.js';
import {ROOT, RunDirectory} from '../harness/run-dir.js';
import {CommandFailed, must, until} from '../harness/shell.js';
import {NODE} from '../harness/helper.js';
import {OPERATOR_NAME, OPERATOR_PORT} from '../harness/stentor.js';
import {API_ADDRESS, NODES} from '../harness/topology.js';
import {send} from '../harness/unix-http.js';

const MINUTE = 60_000;
const SESSIONS = defineService('stentor.v1.NodeSessions', {Session: method('bidi', stentor.v1.AgentMessage, stentor.v1.OperatorMessage)});
let lab: Lab;
let operatorPort: number;

beforeAll(async () => {
  lab = await Lab.start({api: 'real', leaf: 'bird', routingMode: 'native'}, RunDirectory.create('h'), () => undefined);
  await lab.objects.apply(lab.manifest('overview/pods.yaml'));
  await lab.podsReady(['org', 'empire'], 2);
  await lab.podsReady(['org', 'alliance'], 2);
  operatorPort = (await startRelay(lab.fabric.ctl, {address: API_ADDRESS, port: OPERATOR_PORT}, lab.run)).port;
}, 2 * MINUTE);

afterAll(async () => {
  expect(await lab.stop()).toEqual([]);
}, MINUTE);

/** On one node, so that no route is needed. */
async function undisturbed(): Promise<void> {
  expect(await judge([expectTcp(lab.pod('ywing'), lab.pod('deathstar'), 80, true)])).toMatchObject({ok: true});
  for (const node of NODES) expect((await lab.stentor.status(node.name)).operator).toMatchObject({connected: true});
  expect(lab.stentor.operator?.running).toBe(true);
}

function policyText(name: string, spec: unknown): string {
  return JSON.stringify({apiVersion: 'cilium.io/v2', kind: 'CiliumNetworkPolicy', metadata: {name, namespace: 'default'}, spec});
}

const DEATHSTAR = {endpointSelector: {matchLabels: {class: 'deathstar'}}};

describe('policies', () => {
  test.each([
    ['a port that is none', {...DEATHSTAR, ingress: [{toPorts: [{ports: [{port: 'eighty!', protocol: 'TCP'}]}]}]}, /ports\[0\]\.port/],
    ['a protocol that is none', {...DEATHSTAR, ingress: [{toPorts: [{ports: [{port: '80', protocol: 'TPC'}]}]}]}, /protocol/],
    ['an unknown field', {...DEATHSTAR, ingres: []}, /ingres/],
    ['a wrong type', {...DEATHSTAR, ingress: 'all'}, /ingress/],
    ['a CIDR that is none', {...DEATHSTAR, ingress: [{fromCIDR: ['10.0.0.0/33x']}]}, /fromCIDR/],
  ])('the API server refuses %s', async (_what, spec, message) => {
    const refused = lab.objects.apply(policyText('refused', spec));
    await expect(refused).rejects.toBeInstanceOf(CommandFailed);
    await expect(refused).rejects.toThrow(message);
    await undisturbed();
  }, MINUTE);

  test('an unsupported part is Valid=False with path and reason, has an Event, and denies what it would have allowed', async () => {
    await lab.objects.apply(lab.manifest('overview/l7-policy.yaml'));
    if (lab.client === null) throw new Error('no API server');
    const {object} = await watchUntil(lab.client, {kind: 'CiliumNetworkPolicy', namespace: 'default', name: 'rule1'}, 20_000, (item) => holds(item, 'Valid', 'False'));
    const valid = conditionsOf(object).find((condition) => condition.type === 'Valid');
    expect(valid?.message).toMatch(/spec\.ingress\[0\]\.toPorts\[0\]\.rules/);
    await until('it is denied', {timeoutMs: 10_000}, async () => (await judge([expectTcp(lab.pod('tiefighter'), lab.pod('deathstar'), 80, false), expectTcp(lab.pod('ywing'), lab.pod('deathstar'), 80, false)])).ok ? true : null);
    const events = await until('an Event', {timeoutMs: 10_000}, async () => {
      const text = await lab.kubectl(['get', 'events', '-n', 'default', '--field-selector', 'involvedObject.name=rule1', '-o', 'jsonpath={range .items[*]}{.type} {.reason} {.message}{"\\n"}{end}']);
      return text.includes('Warning') ? text : null;
    });
    expect(events).toMatch(/rules/);
    await lab.objects.delete({kind: 'ciliumnetworkpolicy', namespace: 'default', name: 'rule1'});
    await until('it is open again', {timeoutMs: 10_000}, async () => (await judge([expectTcp(lab.pod('ywing'), lab.pod('deathstar'), 80, true)])).ok ? true : null);
    await undisturbed();
  }, MINUTE);
});

interface Refusal {
  readonly code: string;
  readonly details: string;
}

/** Opens a session as `tlsFolder` says and greets as `node`; resolves with the refusal, or null when the operator answered. */
function greet(tlsFolder: string, node: string): Promise<Refusal | null> {
  const file = (name: string): Buffer => readFileSync(join(tlsFolder, name));
  const ca = readFileSync(join(lab.run.path, 'nodes', NODES[0]?.name ?? '', 'tls', 'ca.crt'));
  const client = SESSIONS.connect(`127.0.0.1:${operatorPort}`, grpc.credentials.createSsl(ca, file('tls.key'), file('tls.crt')), {'grpc.ssl_target_name_override': OPERATOR_NAME, 'grpc.use_local_subchannel_pool': 1});
  return new Promise((resolve) => {
    const call = client.Session();
    const end = (result: Refusal | null): void => {
      resolve(result);
      call.cancel();
      client.channel.close();
    };
    call.on('error', (error: Error & {readonly code?: number; readonly details?: string}) => end({code: grpc.status[error.code ?? 2] ?? 'UNKNOWN', details: error.details ?? error.message}));
    call.on('data', () => end(null));
    call.write({hello: {node, agentVersion: 'test', held: []}});
  });
}

describe('the operator’s port', () => {
  const tls = (node: string): string => join(lab.run.path, 'nodes', node, 'tls');

  test('another node’s name in the hello is refused', async () => {
    const refusal = await greet(tls('cilium-bgp-worker'), 'cilium-bgp-worker2');
    expect(refusal).toMatchObject({code: 'PERMISSION_DENIED'});
    expect(refusal?.details).toMatch(/cilium-bgp-worker2/);
    await undisturbed();
  }, MINUTE);

  test('a certificate of another CA is refused', async () => {
    const folder = lab.run.folder('foreign');
    await must([NODE, join(ROOT, 'dist/operator/main.js'), 'ca', 'issue', '--ca-dir', join(folder, 'ca'), '--node', 'cilium-bgp-worker', '--out', join(folder, 'tls')]);
    expect(await greet(join(folder, 'tls'), 'cilium-bgp-worker')).toMatchObject({code: 'UNAVAILABLE'});
    await undisturbed();
  }, MINUTE);

  test('control: the node’s own name with its certificate is answered', async () => {
    expect(await greet(tls('cilium-bgp-worker'), 'cilium-bgp-worker')).toBeNull();
    await until('the agent is back', {timeoutMs: 20_000}, async () => (await lab.stentor.status('cilium-bgp-worker')).operator?.connected === true ? true : null);
  }, MINUTE);

  test('garbage on the wire', async () => {
    await new Promise<void>((resolve) => {
      const socket = connect(operatorPort, '127.0.0.1', () => socket.end(randomBytes(65_536)));
      socket.on('error', () => undefined);
      socket.on('close', () => resolve());
      socket.resume();
    });
    await undisturbed();
  }, MINUTE);
});

describe('the agent’s socket', () => {
  const socket = (): string => lab.stentor.agentSocket('cilium-bgp-worker2');

  test('garbage instead of HTTP', async () => {
    await new Promise<void>((resolve) => {
      const client = connect(socket(), () => client.end(randomBytes(65_536)));
      client.on('error', () => undefined);
      client.on('close', () => resolve());
      client.resume();
    });
    await undisturbed();
  }, MINUTE);

  test.each([
    ['random bytes', randomBytes(4_096)],
    ['no terminator', Buffer.from('CNI_COMMAND=ADD')],
    ['a namespace that is none', Buffer.from('CNI_COMMAND=ADD\0CNI_CONTAINERID=x\0CNI_NETNS=/etc/passwd\0CNI_IFNAME=eth0\0CNI_ARGS=K8S_POD_NAMESPACE=default;K8S_POD_NAME=nobody\0\0{"cniVersion":"1.0.0","name":"stentor","type":"stentor-cni"}')],
    ['a container id that walks out of its folder', Buffer.from('CNI_COMMAND=DEL\0CNI_CONTAINERID=../../../etc\0CNI_NETNS=\0CNI_IFNAME=eth0\0\0{"cniVersion":"1.0.0","name":"stentor"}')],
  ])('a CNI call with %s is answered with an error', async (_what, body) => {
    const answer = await send(socket(), {method: 'POST', path: '/v1/cni', body}).catch((error: unknown) => String(error));
    expect(answer).toMatch(/"code"|\b4\d\d\b/);
    await undisturbed();
  }, MINUTE);
});
