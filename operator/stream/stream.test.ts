// Parts of the stream without a socket: encoding, the session's state machine, admission, certificates.

import {describe, expect, test} from '@jest/globals';
import type {PeerCertificate} from 'node:tls';
import {gunzipSync} from 'node:zlib';
import {StentorError} from '../../lib/core/errors.js';
import {resource, stateVersion} from '../../lib/desired/diff.js';
import type {Resource} from '../../lib/desired/node-state.js';
import {resourceId} from '../../lib/desired/node-state.js';
import {identityId} from '../../lib/domain/identity.js';
import {stentor} from '../../proto/gen/session.js';
import {DesiredStore} from '../desired/store.js';
import {Admission} from './admission.js';
import {nodeOfCertificate} from './authn.js';
import {decodeAgentMessage} from './decode.js';
import {Encoder} from './encode.js';
import {NodeSession} from './session.js';

const item = (n: number, labels: readonly string[] = ['k8s:a=b']): Resource => resource('identity', String(n), {id: identityId(n), labels});

function codeOf(act: () => unknown): string {
  try {
    act();
  } catch (error) {
    return error instanceof StentorError ? error.code : String(error);
  }
  return 'nothing was thrown';
}

describe('Encoder', () => {
  test('chunks keep their limit, only the last one is marked, and every value comes back', () => {
    const encoder = new Encoder({chunkBytes: 400});
    const upserts = Array.from({length: 30}, (_, n) => item(300 + n));
    const messages = encoder.delta({base: 'b', version: 'v', upserts, removes: [{kind: 'identity', key: '9'}]}, 7);
    const chunks = messages.map((message) => stentor.v1.OperatorMessage.decode(message).chunk);
    expect(messages.every((message) => message.length < 500)).toBe(true);
    expect(chunks.map((chunk) => chunk?.last === true)).toEqual([...Array.from({length: chunks.length - 1}, () => false), true]);
    expect(new Set(chunks.map((chunk) => `${chunk?.base} ${chunk?.version} ${chunk?.sequence}`))).toEqual(new Set(['b v 7']));
    const values = chunks.flatMap((chunk) => chunk?.upserts ?? []).map(({value}) => JSON.parse(Buffer.from(value ?? []).toString('utf8')) as unknown);
    expect(values).toEqual(upserts.map(({value}) => value));
    expect(chunks.at(-1)?.removes).toMatchObject([{kind: 'identity', key: '9'}]);
  });

  test('a large value is compressed, and a resource is encoded once', () => {
    const encoder = new Encoder({chunkBytes: 1000});
    const large = item(400, Array.from({length: 2000}, (_, i) => `k8s:label-${i}=x`));
    const delta = {base: '', version: 'v', upserts: [large], removes: []};
    const [message] = encoder.delta(delta, 1);
    const upsert = stentor.v1.OperatorMessage.decode(message ?? Buffer.alloc(0)).chunk?.upserts?.[0];
    expect(upsert?.gzip).toBe(true);
    expect(JSON.parse(gunzipSync(upsert?.value ?? new Uint8Array()).toString('utf8'))).toEqual(large.value);
    expect(encoder.delta(delta, 1)).toEqual([message]);
  });
});

describe('NodeSession', () => {
  function open(options: {readonly inFlightMax?: number} = {}) {
    const store = new DesiredStore();
    const sent: stentor.v1.OperatorMessage.$Properties[] = [];
    const stream = {full: false};
    const greetings: string[][] = [];
    let start = (): void => undefined;
    const session = new NodeSession({node: 'n', operatorVersion: '1', inFlightMax: options.inFlightMax ?? 2}, {
      store, encoder: new Encoder({chunkBytes: 1 << 20}),
      send: (message) => {
        sent.push(stentor.v1.OperatorMessage.decode(message));
        return !stream.full;
      },
      admit: (run) => {
        start = run;
      },
      onAck: () => undefined, onReport: () => undefined, onGreeted: (endpoints) => greetings.push([...endpoints]),
    });
    const put = async (...items: Resource[]): Promise<void> => {
      store.apply({shared: items, nodes: new Map()});
      await Promise.resolve();
    };
    const chunks = () => sent.splice(0).flatMap(({chunk}) => (chunk ? [chunk] : []));
    return {store, session, put, chunks, stream, greetings, begin: () => start()};
  }
  const hello = (held: readonly Resource[] = []) => ({kind: 'hello', hello: {node: 'n', agentVersion: '1', held: held.map(({kind, key, version}) => ({kind, key, version}))}} as const);
  const ack = (sequence: number) => ({kind: 'ack', ack: {sequence, version: '', errors: []}} as const);

  test('nothing is sent before admission; what is held decides what is', async () => {
    const {store, session, put, chunks, begin} = open();
    await put(item(1), item(2));
    session.receive(hello([item(1), item(3)]));
    expect(chunks()).toEqual([]);
    begin();
    const [chunk] = chunks();
    expect(chunk?.base).toBe(stateVersion(new Map([item(1), item(3)].map((one) => [resourceId(one), one]))));
    expect(chunk?.upserts?.map(({key}) => key)).toEqual(['2']);
    expect(chunk?.removes?.map(({key}) => key)).toEqual(['3']);
    expect(chunk?.version).toBe(store.version('n'));
  });

  test('the first report of peers ends the greeting: the endpoints named by then are all there are', () => {
    const {session, greetings} = open();
    const endpoint = (name: string, state: 'ready' | 'disconnected') => ({kind: 'endpoint', report: {namespace: 'default', name, uid: '', endpointId: 1, addresses: [], containerId: '', state}} as const);
    session.receive(hello());
    session.receive(endpoint('a', 'ready'));
    session.receive(endpoint('b', 'disconnected'));
    expect(greetings).toEqual([]);
    session.receive({kind: 'peers', peers: []});
    session.receive(endpoint('c', 'ready'));
    session.receive({kind: 'peers', peers: []});
    expect(greetings).toEqual([['default/a']]);
  });

  test('equal states still exchange an empty delta: its acknowledgement is the proof', async () => {
    const {session, put, chunks, begin} = open();
    await put(item(1));
    session.receive(hello([item(1)]));
    begin();
    const [chunk] = chunks();
    expect([chunk?.upserts?.length, chunk?.removes?.length, chunk?.last]).toEqual([0, 0, true]);
    expect(session.ackedRevision).toBe(-1);
    session.receive(ack(1));
    expect(session.ackedRevision).toBe(1);
  });

  test('the acknowledged revision is that of the newest delta acknowledged; an idle session is at the newest of all', async () => {
    const {store, session, put, chunks, begin} = open();
    session.receive(hello());
    begin();
    session.receive(ack(1));
    await put(item(1));
    await put(item(2));
    expect(chunks().map(({sequence}) => sequence)).toEqual([1, 2, 3]);
    session.receive(ack(2));
    expect(session.ackedRevision).toBe(1);
    session.receive(ack(3));
    expect(session.ackedRevision).toBe(2);
    store.apply({shared: [], nodes: new Map([['other', {kind: 'edit', changes: [item(9)]}]])});
    expect(session.ackedRevision).toBe(3);
    session.receive(ack(99));
    session.receive(ack(1));
    expect(session.ackedRevision).toBe(3);
  });

  test('a full stream and a full window collect keys, and send the latest state of each once', async () => {
    const {session, put, chunks, stream, begin} = open({inFlightMax: 1});
    session.receive(hello());
    begin();
    stream.full = true;
    session.receive(ack(1));
    await put(item(1, ['k8s:v=1']));
    expect(chunks().map(({sequence}) => sequence)).toEqual([1, 2]);
    session.receive(ack(2));
    await put(item(1, ['k8s:v=2']));
    await put(item(1, ['k8s:v=3']), item(2));
    expect(chunks()).toEqual([]);
    stream.full = false;
    session.drained();
    const [chunk, ...more] = chunks();
    expect(more).toEqual([]);
    expect(chunk?.upserts?.map(({key, version}) => [key, version])).toEqual([['1', item(1, ['k8s:v=3']).version], ['2', item(2).version]]);
  });

  test('a request for a snapshot starts again from nothing', async () => {
    const {session, put, chunks, begin} = open();
    session.receive(hello());
    begin();
    await put(item(1));
    chunks();
    session.receive({kind: 'snapshot-request', reason: ''});
    const [chunk] = chunks();
    expect([chunk?.base, chunk?.upserts?.length]).toEqual(['', 1]);
    session.receive(ack(2));
    expect(session.ackedRevision).toBe(-1);
    session.receive(ack(3));
    expect(session.ackedRevision).toBe(1);
  });

  test.each([
    ['a report before the hello', () => open().session.receive(ack(1)), 'STREAM_PROTOCOL'],
    ['another node', () => open().session.receive({kind: 'hello', hello: {node: 'm', agentVersion: '', held: []}}), 'NODE_MISMATCH'],
  ])('%s is refused', (_name, act, code) => {
    expect(codeOf(act)).toBe(code);
  });
});

describe('decode', () => {
  test.each([
    [{}, 'without a known body'],
    [{endpointReport: {namespace: '', name: 'x'}}, 'names no pod'],
  ])('%j is a protocol error', (message, text) => {
    expect(() => decodeAgentMessage(message)).toThrow(text);
  });

  test('addresses are canonical, and what is none is left out', () => {
    const decoded = decodeAgentMessage({endpointReport: {namespace: 'a', name: 'b', addresses: ['10.0.0.1', 'FE80::0:1', '010.0.0.1', 'x'], state: 'strange'}});
    expect(decoded).toMatchObject({kind: 'endpoint', report: {addresses: ['10.0.0.1', 'fe80::1'], state: 'ready'}});
  });
});

describe('Admission', () => {
  test('at most so many at a time, nobody before it is open, a place is given back once', () => {
    const admission = new Admission({max: 2});
    const started: number[] = [];
    const leave = [0, 1, 2, 3].map((n) => admission.enter(() => started.push(n)));
    expect(started).toEqual([]);
    admission.open();
    expect(started).toEqual([0, 1]);
    leave[2]?.();
    leave[0]?.();
    leave[0]?.();
    expect([started, admission.waitingCount]).toEqual([[0, 1, 3], 0]);
  });
});

describe('nodeOfCertificate', () => {
  const certificate = (subject: object): PeerCertificate => ({subject}) as unknown as PeerCertificate;

  test('the name in the CN, with the organisation of nodes', () => {
    expect(nodeOfCertificate(certificate({CN: 'system:node:n1.example', O: 'system:nodes'}))).toBe('n1.example');
    expect(nodeOfCertificate(certificate({CN: 'system:node:n1', O: ['other', 'system:nodes']}))).toBe('n1');
  });

  test.each([
    [undefined], [certificate({})], [certificate({CN: 'n1', O: 'system:nodes'})], [certificate({CN: 'system:node:n1'})],
    [certificate({CN: 'system:node:n1', O: 'system:masters'})], [certificate({CN: ['system:node:n1', 'system:node:n2'], O: 'system:nodes'})],
    [certificate({CN: 'system:node:', O: 'system:nodes'})], [certificate({CN: 'system:node:../x', O: 'system:nodes'})],
  ])('%j is no node', (peer) => {
    expect(codeOf(() => nodeOfCertificate(peer))).toBe('NOT_A_NODE');
  });
});
