import {describe, expect, test} from '@jest/globals';
import {gzipSync} from 'node:zlib';
import {diffStates, resource, stateVersion} from '../../lib/desired/diff.js';
import type {NodeState, Resource} from '../../lib/desired/node-state.js';
import {resourceId} from '../../lib/desired/node-state.js';
import {silentLog} from '../../lib/run/log.js';
import type {HeldDelta} from '../desired/held.js';
import {EMPTY_HELD, HeldState} from '../desired/held.js';
import type {AgentMessage} from './report.js';
import type {SpanAck} from './session.js';
import {Session} from './session.js';

class Desired {
  held = EMPTY_HELD;

  apply(delta: HeldDelta): boolean {
    const next = this.held.apply(delta);
    if (next !== null) this.held = next;
    return next !== null;
  }
}

function node(name: string): Resource {
  return resource('node', name, {name, addresses: [], podCidrs: [], routerAddress: null});
}

function stateOf(...items: Resource[]): NodeState {
  return new Map(items.map((item) => [resourceId(item), item]));
}

/** The messages an operator would send, one resource per chunk. */
function chunks(sequence: number, from: NodeState, to: NodeState, gzip = false) {
  const {base, version, upserts, removes} = diffStates(from, to);
  const pieces = [
    ...upserts.map(({kind, key, version: itemVersion, value}) => {
      const bytes = Buffer.from(JSON.stringify(value));
      return {upserts: [{kind, key, version: itemVersion, value: gzip ? gzipSync(bytes) : bytes, gzip}]};
    }),
    ...removes.map((name) => ({removes: [{...name}]})),
    {},
  ];
  return pieces.map((piece, i) => ({chunk: {base, version, sequence, last: i === pieces.length - 1, ...piece}}));
}

function open() {
  const desired = new Desired();
  const sent: AgentMessage[] = [];
  const spanAcks: SpanAck[] = [];
  const session = new Session({node: 'n1', agentVersion: '1'}, {desired, send: (message) => sent.push(message), onSpanAck: (ack) => spanAcks.push(ack), log: silentLog});
  const take = (): AgentMessage[] => sent.splice(0);
  return {desired, session, take, spanAcks};
}

describe('Session', () => {
  const a = stateOf(node('n1'));
  const b = stateOf(node('n1'), node('n2'));
  const c = stateOf(node('n2'));

  test('hello names what is held', () => {
    const {desired, session, take} = open();
    desired.held = HeldState.of([...b.values()]);
    session.start();
    const [hello] = take();
    expect(hello?.hello?.node).toBe('n1');
    expect(hello?.hello?.held?.map(({key}) => key).sort()).toEqual(['n1', 'n2']);
  });

  test.each([false, true])('a delta is applied as a whole when its last chunk is there (gzip %s)', (gzip) => {
    const {desired, session, take} = open();
    for (const message of chunks(1, new Map(), b, gzip)) {
      expect(desired.held.version).toBe('');
      session.receive(message);
    }
    expect(desired.held.version).toBe(stateVersion(b));
    expect(take()).toEqual([]);
  });

  test('a delta is acknowledged when its version is installed, one acknowledgement for all before it', () => {
    const {session, take} = open();
    for (const message of [...chunks(1, new Map(), a), ...chunks(2, a, b), ...chunks(3, b, c)]) session.receive(message);
    session.installed({version: stateVersion(b), errors: []});
    expect(take()).toEqual([{ack: {sequence: 2, version: stateVersion(b), errors: []}}]);
    session.installed({version: stateVersion(b), errors: []});
    session.installed({version: stateVersion(a), errors: []});
    expect(take()).toEqual([]);
    session.installed({version: stateVersion(c), errors: []});
    expect(take()).toEqual([{ack: {sequence: 3, version: stateVersion(c), errors: []}}]);
  });

  test('errors are acknowledged, and again when they have changed', () => {
    const {session, take} = open();
    for (const message of chunks(1, new Map(), a)) session.receive(message);
    const errors = [{kind: 'policy' as const, key: '256', code: 'E2BIG', message: 'the map is full'}];
    session.installed({version: stateVersion(a), errors});
    session.installed({version: stateVersion(a), errors});
    session.installed({version: stateVersion(a), errors: []});
    expect(take().map(({ack}) => [ack?.sequence, ack?.errors?.length])).toEqual([[1, 1], [1, 0]]);
  });

  test('a delta that does not fit is answered with a request for a snapshot, and the snapshot is taken', () => {
    const {desired, session, take} = open();
    for (const message of chunks(5, a, b)) session.receive(message);
    expect(take()[0]?.snapshotRequest?.reason).toContain('does not fit');
    expect(desired.held.version).toBe('');
    for (const message of chunks(6, new Map(), b)) session.receive(message);
    expect(desired.held.version).toBe(stateVersion(b));
  });

  test('a resource that cannot be read is held as such; the rest of the delta is applied', () => {
    const {desired, session} = open();
    const [good] = [...a.values()];
    const version = HeldState.of(good === undefined ? [] : [good], [{kind: 'policy', key: '9', version: 'x', reason: ''}]).version;
    session.receive({chunk: {base: '', version, sequence: 1, last: true, upserts: [
      {kind: 'node', key: 'n1', version: good?.version ?? '', value: Buffer.from(JSON.stringify(good?.value))},
      {kind: 'policy', key: '9', version: 'x', value: Buffer.from('{')},
    ]}});
    expect(desired.held.tables.node.size).toBe(1);
    expect([...desired.held.undecodable.values()].map(({key}) => key)).toEqual(['9']);
  });

  test('chunks of two deltas mixed are a protocol error', () => {
    const {session} = open();
    session.receive({chunk: {base: '', version: 'x', sequence: 1, last: false}});
    expect(() => session.receive({chunk: {base: '', version: 'y', sequence: 2, last: true}})).toThrow('another delta');
  });

  test('span acknowledgements are handed on', () => {
    const {session, spanAcks} = open();
    session.receive({endpointSpanAck: {namespace: 'a', name: 'b', addresses: ['10.0.0.1'], complete: true}});
    expect(spanAcks).toEqual([{namespace: 'a', name: 'b', addresses: ['10.0.0.1'], complete: true}]);
  });
});
