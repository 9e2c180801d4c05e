// The client against real gRPC servers with mutual TLS on loopback.

import * as grpc from '@grpc/grpc-js';
import {afterAll, afterEach, beforeAll, describe, expect, test} from '@jest/globals';
import {mkdtempSync, rmSync, writeFileSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {diffStates, resource, stateVersion} from '../../lib/desired/diff.js';
import type {NodeState} from '../../lib/desired/node-state.js';
import {resourceId} from '../../lib/desired/node-state.js';
import type {Clock} from '../../lib/run/clock.js';
import {realClock} from '../../lib/run/clock.js';
import {defineService, method} from '../../lib/run/grpc.js';
import {silentLog} from '../../lib/run/log.js';
import {readKeyMaterial} from '../../lib/run/tls.js';
import type {IssuedKeys, TestKeys} from '../../lib/testing/keys.js';
import {makeTestCa} from '../../lib/testing/keys.js';
import {eventually} from '../../lib/testing/netns.js';
import {stentor} from '../../proto/gen/session.js';
import type {HeldDelta, HeldState} from '../desired/held.js';
import {EMPTY_HELD} from '../desired/held.js';
import {OperatorClient} from './client.js';

const {AgentMessage, OperatorMessage} = stentor.v1;
type Received = ReturnType<typeof AgentMessage.decode>;
type Call = grpc.ServerDuplexStream<Received, stentor.v1.OperatorMessage.$Properties | Buffer>;

const SERVICE = defineService('stentor.v1.NodeSessions', {Session: method('bidi', AgentMessage, OperatorMessage)});
const folder = mkdtempSync(join(tmpdir(), 'client-'));
const paths = {ca: join(folder, 'ca.crt'), cert: join(folder, 'tls.crt'), key: join(folder, 'tls.key')};
const servers: grpc.Server[] = [];
const stop = new AbortController();

let testCa: TestKeys;
let foreignCa: Buffer;
let good: IssuedKeys;
let foreign: IssuedKeys;
let otherName: IssuedKeys;

beforeAll(async () => {
  const [ca, otherCa] = [await makeTestCa(), await makeTestCa()];
  testCa = ca;
  foreignCa = (await otherCa.node('n1')).ca;
  const node = await ca.node('n1');
  good = await ca.server(['127.0.0.1']);
  otherName = await ca.server(['10.9.9.9', 'stentor-operator']);
  foreign = {...await otherCa.server(['127.0.0.1']), ca: node.ca};
  for (const name of ['ca', 'cert', 'key'] as const) writeFileSync(paths[name], node[name]);
});

afterEach(() => {
  for (const server of servers.splice(0)) server.forceShutdown();
});
afterAll(() => {
  stop.abort(new Error('the test is over'));
  rmSync(folder, {recursive: true});
});

/** An operator that welcomes, answers a hello with `state`, and keeps what it is told. */
async function operator(keys: IssuedKeys, state: NodeState, port = 0) {
  const received: Received[] = [];
  const calls: Call[] = [];
  const server = new grpc.Server();
  SERVICE.addTo(server, {Session: (call) => {
    calls.push(call);
    call.on('data', (message) => {
      received.push(message);
      if (!message.hello) return;
      call.write({welcome: {operatorVersion: 'test'}});
      send(call, new Map(), state, 1);
    });
    call.on('error', () => undefined);
  }});
  const credentials = grpc.ServerCredentials.createSsl(keys.ca, [{cert_chain: keys.cert, private_key: keys.key}], true);
  const bound = await new Promise<number>((resolve, reject) => {
    server.bindAsync(`127.0.0.1:${port}`, credentials, (error, actual) => (error === null ? resolve(actual) : reject(error)));
  });
  servers.push(server);
  return {server, received, calls, port: bound, address: `127.0.0.1:${bound}`};
}

function send(call: Call, from: NodeState, to: NodeState, sequence: number): void {
  const {base, version, upserts, removes} = diffStates(from, to);
  call.write({chunk: {
    base, version, sequence, last: true, removes: removes.map((name) => ({...name})),
    upserts: upserts.map(({kind, key, version: own, value}) => ({kind, key, version: own, value: Buffer.from(JSON.stringify(value))})),
  }});
}

function client(addresses: readonly string[], clock: Clock = realClock) {
  const desired = {
    held: EMPTY_HELD as HeldState,
    apply(delta: HeldDelta): boolean {
      const next = this.held.apply(delta);
      if (next !== null) this.held = next;
      return next !== null;
    },
  };
  const made = new OperatorClient(
    {node: 'n1', agentVersion: '1', addresses, serverName: '', backoffMaxMs: 50, keepaliveMs: 10_000, messageBytesMax: 1 << 20},
    {keys: () => readKeyMaterial(paths), desired, clock, log: silentLog, onSpanAck: () => undefined,
      greeting: () => [{nodeReport: {kernel: '6.18'}}]},
  );
  void made.run(stop.signal);
  return {client: made, desired};
}

function state(...names: string[]): NodeState {
  const items = names.map((name) => resource('node', name, {name, addresses: [], podCidrs: [], routerAddress: null}));
  return new Map(items.map((item) => [resourceId(item), item]));
}

describe('OperatorClient', () => {
  test('says hello and how things are, takes the state, acknowledges it when it is installed', async () => {
    const {received, address} = await operator(good, state('a'));
    const {client: agent, desired} = client([address]);
    await eventually(() => (desired.held.version === stateVersion(state('a')) ? true : null));
    expect(received.map(({body}) => body)).toEqual(['hello', 'nodeReport']);
    expect(agent.status).toMatchObject({connected: true, version: 'test', lastAckSequence: null, lastError: null});
    agent.installed({version: desired.held.version, errors: []});
    const ack = await eventually(() => received.find((message) => message.ack)?.ack ?? null);
    expect(ack).toMatchObject({sequence: 1, version: stateVersion(state('a'))});
  });

  test('what was installed before a change is not acknowledged for the state after it', async () => {
    const {received, calls, address} = await operator(good, state('a'));
    const {client: agent, desired} = client([address]);
    await eventually(() => (desired.held.version === stateVersion(state('a')) ? true : null));
    agent.installed({version: stateVersion(state('a')), errors: []});
    const [call] = calls;
    if (call === undefined) throw new Error('no session');
    send(call, state('a'), state('b'), 2);
    send(call, state('b'), state('a'), 3);
    await eventually(() => (desired.held.version === stateVersion(state('a')) && received.some(({ack}) => ack?.sequence === 1) ? true : null));
    await eventually(() => (call.writableLength === 0 ? true : null));
    expect(received.filter(({ack}) => ack).map(({ack}) => ack?.sequence)).toEqual([1]);
    agent.installed({version: stateVersion(state('a')), errors: []});
    await eventually(() => (received.some(({ack}) => ack?.sequence === 3) ? true : null));
  });

  test('comes again when the operator ends, names what it holds, and goes to another replica', async () => {
    const first = await operator(good, state('a'));
    const second = await operator(good, state('a', 'b'));
    const {desired} = client([first.address, second.address]);
    await eventually(() => (first.received.length > 0 ? true : null));
    await eventually(() => (desired.held.version === stateVersion(state('a')) ? true : null));
    first.server.forceShutdown();
    await eventually(() => (desired.held.version === stateVersion(state('a', 'b')) ? true : null));
    expect(second.received[0]?.hello?.held?.map(({key}) => key)).toEqual(['a']);
  });

  test.each([
    ['of another CA', () => foreign, /certificate|self.signed|UNABLE_TO_VERIFY|signature/i],
    ['for another address', () => otherName, /IP: 127\.0\.0\.1 is not in the cert/],
  ])('a server with a certificate %s is not believed; the client goes on trying', async (_which, keys, reason) => {
    const wrong = await operator(keys(), state('a'));
    const {client: agent, desired} = client([wrong.address]);
    const error = await eventually(() => agent.status.lastError);
    expect(error).toMatch(reason);
    expect(desired.held.version).toBe('');
    wrong.server.forceShutdown();
    await operator(good, state('b'), wrong.port);
    await eventually(() => (desired.held.version === stateVersion(state('b')) ? true : null), 10_000);
  });

  test('goes over to a new certificate: the old session serves until the new one has begun, and nothing is sent again', async () => {
    const {received, calls, address} = await operator(good, state('a', 'b'));
    const {client: agent, desired} = client([address, '127.0.0.1:1']);
    await eventually(() => (desired.held.version === stateVersion(state('a', 'b')) ? true : null));
    const [old] = calls;
    if (old === undefined) throw new Error('no session');
    const hellosAtItsEnd: number[] = [];
    old.on('cancelled', () => hellosAtItsEnd.push(received.filter(({hello}) => hello).length));
    const renewed = await testCa.node('n1');
    for (const name of ['cert', 'key'] as const) writeFileSync(paths[name], renewed[name]);
    let unconnected = 0;
    const reconnected = agent.reconnect();
    await eventually(() => {
      if (!agent.status.connected) unconnected++;
      return hellosAtItsEnd[0] ?? null;
    });
    await reconnected;
    expect(unconnected).toBe(0);
    expect(hellosAtItsEnd).toEqual([2]);
    const serial = (call: Call | undefined): string | undefined => call?.getAuthContext()?.sslPeerCertificate?.serialNumber;
    expect(serial(calls[1])).not.toBe(serial(old));
    expect(received.filter(({hello}) => hello).at(-1)?.hello?.held?.map(({key}) => key).sort()).toEqual(['a', 'b']);
    // It is the session of the same replica, and it lives.
    const [, next] = calls;
    if (next === undefined) throw new Error('no new session');
    send(next, state('a', 'b'), state('c'), 2);
    await eventually(() => (desired.held.version === stateVersion(state('c')) ? true : null));
    expect(calls).toHaveLength(2);
  });

  test('keeps the session when the operator cannot be reached anew', async () => {
    const {calls, address} = await operator(good, state('a'));
    const clock = {...realClock, now: () => Date.now() - 9_500};
    const {client: agent, desired} = client([address], clock);
    await eventually(() => (desired.held.version === stateVersion(state('a')) ? true : null));
    writeFileSync(paths.ca, foreignCa);
    await agent.reconnect();
    const node = await testCa.node('n1');
    writeFileSync(paths.ca, node.ca);
    expect(agent.status.connected).toBe(true);
    const [only] = calls;
    if (only === undefined) throw new Error('no session');
    send(only, state('a'), state('b'), 2);
    await eventually(() => (desired.held.version === stateVersion(state('b')) ? true : null));
    expect(calls).toHaveLength(1);
  });

  test('rubbish from the operator ends the session, and the next one starts anew', async () => {
    const {calls, address} = await operator(good, state('a'));
    const {desired} = client([address]);
    await eventually(() => (desired.held.version === stateVersion(state('a')) ? true : null));
    calls[0]?.write({chunk: {base: '', version: 'x', sequence: 5, last: false}});
    calls[0]?.write({chunk: {base: '', version: 'y', sequence: 6, last: true}});
    await eventually(() => (calls.length === 2 ? true : null));
    expect(desired.held.version).toBe(stateVersion(state('a')));
  });
});
