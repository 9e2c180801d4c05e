// What a change of an instance costs in calls to gobgpd, and that what is held changes only with calls that were answered.

import {status} from '@grpc/grpc-js';
import {beforeEach, describe, expect, test} from '@jest/globals';
import type {Advertisement, BgpInstance, BgpPeer} from '../../lib/domain/bgp.js';
import {api} from '../../proto/gen/gobgp4.js';
import type {GoBgpClient} from '../../proto/gobgp.js';
import {applyInstance, isLost, type Applied} from './gobgp-apply.js';
import type {HeldState} from './gobgp-held.js';

const origin = {kind: 'Service', namespace: 'default', name: 's', uid: ''};
const advertise = (prefix: string, more: Partial<Advertisement> = {}): Advertisement => ({prefix, peers: [], localPreference: null, communities: [], largeCommunities: [], origin, ...more});
const peer = (address: string, more: Partial<BgpPeer> = {}): BgpPeer => ({
  address, asn: 65000, port: 179, holdTimeSeconds: 90, keepaliveSeconds: 30, connectRetrySeconds: 120, multihopTtl: 1,
  gracefulRestart: {enabled: false, restartSeconds: 120}, authSecret: null, families: [{afi: 'ipv4', safi: 'unicast'}], ...more,
});
const instance = (advertisements: readonly Advertisement[], peers: readonly BgpPeer[] = [peer('10.0.0.1'), peer('10.0.0.2')]): BgpInstance => (
  {name: 'one', asn: 65001, routerId: '10.0.0.9', listenPort: -1, peers, advertisements});
const many = (count: number): Advertisement[] => Array.from({length: count}, (_, i) => advertise(`172.20.${i >> 8}.${i & 255}/32`));

/** Notes every call in words, and answers as a gobgpd that takes everything but `refused`. */
class RecordingGobgpd {
  calls: string[] = [];
  refused: string | null = null;
  lost = false;
  readonly client = new Proxy({}, {get: (_, name) => (request: unknown) => this.#call(String(name), request)}) as GoBgpClient;

  #call(name: string, request: unknown): unknown {
    this.calls.push(name === 'AddPathStream' ? `${name} ${pathsOf(request).map(({prefix, isWithdraw}) => `${isWithdraw ? '-' : '+'}${prefix}`).join(' ')}` : name);
    if (this.lost) return Promise.reject(Object.assign(new Error('lost'), {code: status.UNAVAILABLE}));
    const isRefused = name === 'AddPathStream' && pathsOf(request).some(({prefix}) => prefix === this.refused);
    if (isRefused) return Promise.reject(Object.assign(new Error('no'), {code: status.UNKNOWN, details: 'gobgpd says no'}));
    return name.startsWith('List') ? streamOf(name === 'ListPeer' ? [{peer: {state: {neighborAddress: '10.0.0.1', sessionState: api.PeerState.SessionState.SESSION_STATE_ESTABLISHED}}}] : []) : Promise.resolve({});
  }
}

function pathsOf(requests: unknown): {prefix: string; isWithdraw: boolean}[] {
  return (requests as readonly api.AddPathStreamRequest.$Properties[]).flatMap(({paths}) => (paths ?? []).map(({nlri, isWithdraw}) => ({prefix: nlri?.prefix?.prefix ?? '', isWithdraw: isWithdraw === true})));
}

function streamOf(messages: readonly unknown[]): object {
  const on = (event: string, listener: (message?: unknown) => void): void => {
    if (event === 'data') for (const message of messages) listener(message);
    if (event === 'end') listener();
  };
  return {on};
}

let gobgpd: RecordingGobgpd;
let held: HeldState;
let before: BgpInstance | null;

beforeEach(() => {
  gobgpd = new RecordingGobgpd();
  held = {importPolicies: {names: [], rejects: false}, exportPolicies: {names: [], rejects: false}, paths: new Map(), peers: new Map()};
  before = null;
});

async function apply(next: BgpInstance): Promise<Applied & {readonly calls: readonly string[]}> {
  gobgpd.calls = [];
  const done = await applyInstance({client: gobgpd.client, restarted: false}, next, {held, instance: before, nowSeconds: 1});
  before = next;
  return {...done, calls: gobgpd.calls};
}

describe('what a change costs', () => {
  test('one path of ten thousand: one call with one path; nothing: no call', async () => {
    const advertisements = many(10_000);
    expect((await apply(instance(advertisements))).counts).toMatchObject({pathsAdded: 10_000, peersAdded: 2});
    expect((await apply(instance([...advertisements]))).calls).toEqual([]);
    expect((await apply(instance([...advertisements, advertise('10.98.0.0/24')]))).calls).toEqual(['AddPathStream +10.98.0.0']);
    expect((await apply(instance([...advertisements, advertise('10.98.0.0/24', {communities: [7]})]))).calls).toEqual(['AddPathStream +10.98.0.0']);
    expect((await apply(instance(advertisements))).calls).toEqual(['AddPathStream -10.98.0.0']);
  });

  test('ten thousand paths: twenty calls to add and twenty to withdraw', async () => {
    expect((await apply(instance(many(10_000)))).calls.filter((call) => call.startsWith('AddPathStream'))).toHaveLength(20);
    expect((await apply(instance([]))).calls).toHaveLength(20);
    expect(held.paths.size).toBe(0);
  });

  test('an address that is no longer asked for as the source is taken back, also on one that was read before', async () => {
    await apply(instance([], [peer('10.0.0.1', {localAddress: '10.0.0.9'})]));
    expect((await apply(instance([], [peer('10.0.0.1')]))).calls).toEqual(['UpdatePeer']);
    const read = held.peers.get('10.0.0.1');
    if (read !== undefined) held.peers.set('10.0.0.1', {intent: {...read.intent, localAddress: '10.0.0.9'}, isRead: true});
    expect((await apply(instance([], [peer('10.0.0.1')]))).calls).toEqual([]);
  });

  test('prefixes that only some peers get are one statement, and what comes or goes sends nothing else anew', async () => {
    const only = (prefix: string, more: Partial<Advertisement> = {}): Advertisement => advertise(prefix, {peers: ['10.0.0.1'], ...more});
    await apply(instance([only('10.98.0.0/24'), only('10.98.1.0/24')]));
    const added = await apply(instance([only('10.98.0.0/24'), only('10.98.1.0/24'), only('10.98.2.0/24')]));
    expect(added.calls).toContain('AddPathStream +10.98.2.0');
    expect(added.calls).not.toContain('ResetPeer');
    // Control: other attributes of a prefix that stays.
    expect((await apply(instance([only('10.98.0.0/24', {communities: [1]}), only('10.98.1.0/24'), only('10.98.2.0/24')]))).calls).toContain('ResetPeer');
  });
});

describe('what gobgpd does not take', () => {
  test('a refused path is named, its neighbours are applied, and it does not count as held', async () => {
    gobgpd.refused = '10.98.1.0';
    const done = await apply(instance([advertise('10.98.0.0/24'), advertise('10.98.1.0/24'), advertise('10.98.2.0/24')]));
    expect(done.refusals).toEqual([{instance: 'one', peer: '', prefix: '10.98.1.0/24', code: 'BGP_PATH_REFUSED', message: 'gobgpd says no'}]);
    expect([...held.paths.keys()]).toEqual(['10.98.0.0/24', '10.98.2.0/24']);
  });

  test('a gobgpd that does not answer is lost: nothing counts as held, and no other call follows', async () => {
    await apply(instance([]));
    gobgpd.lost = true;
    const error = await apply(instance(many(1000))).catch((reason: unknown) => reason);
    expect([isLost(error), gobgpd.calls.length, held.paths.size]).toEqual([true, 1, 0]);
  });
});
