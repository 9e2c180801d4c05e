import {describe, expect, test} from '@jest/globals';
import type {Advertisement, BgpInstance, BgpPeer, Speaker} from '../../lib/domain/bgp.js';
import {resolveHolds} from './speaker-holds.js';

const origin = {kind: 'Node', namespace: '', name: 'n', uid: ''};
const peer = (address: string, more: Partial<BgpPeer> = {}): BgpPeer => ({
  address, asn: 65001, port: 179, holdTimeSeconds: 90, keepaliveSeconds: 30, connectRetrySeconds: 120, multihopTtl: 1,
  gracefulRestart: {enabled: false, restartSeconds: 120}, authSecret: null, families: [{afi: 'ipv4', safi: 'unicast'}], ...more,
});
const path = (prefix: string, ...peers: string[]): Advertisement => ({prefix, peers, localPreference: null, communities: [], largeCommunities: [], origin});
const instance = (name: string, peers: readonly BgpPeer[], advertisements: readonly Advertisement[]): BgpInstance =>
  ({name, asn: 65000, routerId: '1.1.1.1', listenPort: -1, peers, advertisements});
const speaker = (...instances: BgpInstance[]): Speaker => ({instances, source: origin});

const A = instance('a', [peer('10.0.0.1'), peer('10.0.0.2')], [path('10.98.0.0/24')]);
const B = instance('b', [peer('10.0.1.1')], [path('10.98.0.0/24')]);

describe('holds', () => {
  test('none: what is wanted', () => {
    const {speaker: now, failures, leaves} = resolveHolds(speaker(A), speaker(B));
    expect([now, failures, leaves('b')]).toEqual([speaker(A), [], false]);
  });

  test('of everything: what ran goes on, and what nobody remembers is left alone', () => {
    const {speaker: now, leaves, failures} = resolveHolds({instances: [], source: origin, holds: [{instance: null, peer: null, reason: 'broken'}]}, speaker(A, B));
    expect([now.instances, leaves('x'), failures[0]?.code]).toEqual([[A, B], true, 'BGP_HELD']);
  });

  test('of an instance: the others change', () => {
    const next = {...B, advertisements: []};
    const {speaker: now} = resolveHolds({instances: [next], source: origin, holds: [{instance: 'a', peer: null, reason: 'x'}]}, speaker(A, B));
    expect(now.instances).toEqual([next, A]);
  });

  test('of a peer: it keeps its session and its paths, the others get what is new', () => {
    const next = instance('a', [peer('10.0.0.2')], [path('10.99.0.0/24')]);
    const {speaker: now} = resolveHolds({instances: [next], source: origin, holds: [{instance: 'a', peer: '10.0.0.1', reason: 'x'}]}, speaker(A));
    expect(now.instances[0]?.peers.map(({address}) => address).sort()).toEqual(['10.0.0.1', '10.0.0.2']);
    expect(now.instances[0]?.advertisements).toEqual([path('10.98.0.0/24', '10.0.0.1'), path('10.99.0.0/24', '10.0.0.2')]);
  });

  test('of a peer that never ran: it stays down', () => {
    const {speaker: now} = resolveHolds({instances: [A], source: origin, holds: [{instance: 'a', peer: '10.0.0.9', reason: 'x'}]}, speaker(A));
    expect(now.instances).toEqual([A]);
  });

  test('a Secret that is gone: a running session keeps its password, a new one is not opened', () => {
    const wanted = instance('a', [peer('10.0.0.1', {authSecret: 's', holdTimeSeconds: 9, keepaliveSeconds: 3}), peer('10.0.0.2', {authSecret: 's'})], []);
    const before = instance('a', [peer('10.0.0.1', {authSecret: 's', password: 'geheim'})], []);
    const {speaker: now, failures} = resolveHolds(speaker(wanted), speaker(before));
    expect(now.instances[0]?.peers).toEqual([peer('10.0.0.1', {authSecret: 's', password: 'geheim', holdTimeSeconds: 9, keepaliveSeconds: 3})]);
    expect(failures.map(({peer: address, code}) => `${address} ${code}`)).toEqual(['10.0.0.1 BGP_SECRET_MISSING', '10.0.0.2 BGP_SECRET_MISSING']);
  });

  test('resolving again, from what was resolved, changes nothing', () => {
    const wanted: Speaker = {instances: [instance('a', [peer('10.0.0.2')], [path('10.99.0.0/24')])], source: origin, holds: [{instance: 'a', peer: '10.0.0.1', reason: 'x'}, {instance: 'b', peer: null, reason: 'y'}]};
    const once = resolveHolds(wanted, speaker(A, B)).speaker;
    expect(resolveHolds(wanted, once).speaker).toEqual(once);
  });
});
