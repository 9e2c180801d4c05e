import {describe, expect, test} from '@jest/globals';
import type {BgpInstance, BgpPeer, InterfaceAdvertisement, Speaker} from '../../lib/domain/bgp.js';
import {RTN_UNICAST, RT_TABLE_MAIN, type Route} from '../kernel/rtnetlink.js';
import {defaultGateways, needsNode, withNode, type Gateways} from './speaker-local.js';

const origin = {kind: 'Node', namespace: '', name: 'n', uid: ''};
const route = (prefix: string, via: string | null, more: Partial<Route> = {}): Route => ({
  family: prefix.includes(':') ? 6 : 4, prefix, table: RT_TABLE_MAIN, protocol: 3, scope: 'global', type: RTN_UNICAST, ifindex: 2, via, source: null, mtu: null, priority: null, onLink: false, nextHops: [], ...more,
});
const peer = (address: string): BgpPeer => ({
  address, asn: 1, port: 179, holdTimeSeconds: 90, keepaliveSeconds: 30, connectRetrySeconds: 120, multihopTtl: 1, gracefulRestart: {enabled: false, restartSeconds: 120}, authSecret: null, families: [{afi: 'ipv4', safi: 'unicast'}],
});
const instance = (...addresses: string[]): BgpInstance => ({
  name: 'a', asn: 1, routerId: '1.1.1.1', listenPort: -1, peers: addresses.map(peer),
  advertisements: [{prefix: '10.98.0.0/24', peers: addresses, localPreference: null, communities: [], largeCommunities: [], origin}],
});
const speaker = (...instances: BgpInstance[]): Speaker => ({instances, source: origin});

const facts = (gateways: Gateways, interfaces: Readonly<Record<string, readonly string[]>> = {}): Parameters<typeof withNode>[1] => ({gateways, interfaces: new Map(Object.entries(interfaces))});
const NO_GATEWAYS: Gateways = {ipv4: null, ipv6: null};

const nameOf = (ifindex: number): string | null => ['', 'lo', 'net0', 'net1'][ifindex] ?? null;

test('the default route with the lowest metric', () => {
  expect(defaultGateways([
    route('0.0.0.0/0', '10.0.0.9', {priority: 200}), route('0.0.0.0/0', '10.0.0.1', {priority: 100}), route('0.0.0.0/0', '10.0.0.5', {table: 100}), route('10.0.0.0/8', '10.0.0.7'),
    route('::/0', null, {nextHops: [{ifindex: 2, via: 'fd00::1'}, {ifindex: 3, via: 'fd00::2'}]}),
  ], nameOf)).toEqual({ipv4: '10.0.0.1', ipv6: 'fd00::1'});
  expect(defaultGateways([], nameOf)).toEqual({ipv4: null, ipv6: null});
  expect(defaultGateways([route('::/0', 'fe80::1', {ifindex: 3})], nameOf)).toEqual({ipv4: null, ipv6: 'fe80::1%net1'});
  expect(defaultGateways([route('::/0', null, {ifindex: 9, nextHops: [{ifindex: 3, via: 'fe80::1'}]})], nameOf)).toEqual({ipv4: null, ipv6: 'fe80::1%net1'});
  expect(defaultGateways([route('::/0', 'fe80::1', {ifindex: 9})], nameOf)).toEqual({ipv4: null, ipv6: null});
});

describe('peers that are found', () => {
  test('take the gateway’s address, in advertisements as well', () => {
    const wanted = speaker(instance('0.0.0.0', '10.1.5.1'));
    expect([needsNode(wanted), withNode(wanted, facts({ipv4: '10.0.0.1', ipv6: null}))]).toEqual([true, speaker(instance('10.0.0.1', '10.1.5.1'))]);
    expect(needsNode(speaker(instance('10.1.5.1')))).toBe(false);
  });

  test.each([
    ['no default route', '0.0.0.0', {ipv4: null, ipv6: null}],
    ['a gateway that is a peer already', '0.0.0.0', {ipv4: '10.1.5.1', ipv6: null}],
  ])('%s holds the instance', (_what, standIn, gateways) => {
    expect(withNode(speaker(instance(standIn, '10.1.5.1')), facts(gateways))).toMatchObject({instances: [], holds: [{instance: 'a', peer: null}]});
  });
});

describe('a source interface', () => {
  const sourced = (more: Partial<BgpPeer> = {}): Speaker => speaker({...instance('10.1.5.1'), peers: [{...peer('10.1.5.1'), sourceInterface: 'lo', ...more}]});
  const interfaces = {lo: ['fe80::1', '127.0.0.1', '10.99.0.7', 'fd00::7']};

  test('gives its first address of the family; one that was asked for goes before', () => {
    expect(needsNode(sourced())).toBe(true);
    expect(withNode(sourced(), facts(NO_GATEWAYS, {eth0: ['10.1.5.9']}))).toMatchObject({holds: [{instance: 'a', peer: '10.1.5.1'}]});
    expect(withNode(sourced(), facts(NO_GATEWAYS, interfaces)).instances[0]?.peers).toEqual([{...peer('10.1.5.1'), localAddress: '10.99.0.7'}]);
    expect(withNode(sourced({address: 'fd00::1'}), facts(NO_GATEWAYS, interfaces)).instances[0]?.peers).toMatchObject([{localAddress: 'fd00::7'}]);
    expect(withNode(sourced({localAddress: '10.1.5.9'}), facts(NO_GATEWAYS, interfaces)).instances[0]?.peers).toEqual([{...peer('10.1.5.1'), localAddress: '10.1.5.9'}]);
  });
});

describe('interfaces that are advertised', () => {
  const told = (afi: 'ipv4' | 'ipv6', address: string): InterfaceAdvertisement => ({interface: 'lo1', afi, peer: address, localPreference: 7, communities: [1], largeCommunities: [], origin});
  const both = (...all: InterfaceAdvertisement[]): Speaker => speaker({
    ...instance('10.1.5.1', '10.1.5.2'), interfaces: all, peers: ['10.1.5.1', '10.1.5.2'].map((address) => ({...peer(address), families: [{afi: 'ipv4', safi: 'unicast'}, {afi: 'ipv6', safi: 'unicast'}]})),
  });
  const paths = (wanted: Speaker, addresses: readonly string[]): unknown =>
    withNode(wanted, facts(NO_GATEWAYS, {lo1: addresses})).instances[0]?.advertisements.map(({prefix, peers, localPreference}) => [prefix, peers, localPreference]);

  test('their addresses go to who is to be told, as host routes; what has no meaning elsewhere does not', () => {
    const wanted = both(told('ipv4', '10.1.5.1'), told('ipv6', '10.1.5.1'), told('ipv6', '10.1.5.2'));
    expect(needsNode(wanted)).toBe(true);
    expect(paths(wanted, ['10.99.0.7', '127.0.0.2', '169.254.1.1', 'fe80::1', 'fd00::7', '::1'])).toEqual([
      ['10.98.0.0/24', [], null], ['10.99.0.7/32', ['10.1.5.1'], 7], ['fd00::7/128', [], 7],
    ]);
  });

  test('what is announced anyway keeps its attributes; without the interface there is nothing to add', () => {
    const same = {...told('ipv4', '10.1.5.1')};
    const known = both(same);
    const [first] = known.instances;
    const announced = speaker({...first ?? instance(), advertisements: [{prefix: '10.99.0.7/32', peers: [], localPreference: 1, communities: [], largeCommunities: [], origin}]});
    expect(paths(announced, ['10.99.0.7'])).toEqual([['10.99.0.7/32', [], 1]]);
    expect(withNode(known, facts(NO_GATEWAYS, {eth0: ['10.1.5.9']})).instances).toEqual([expect.not.objectContaining({interfaces: expect.anything() as unknown})]);
  });

  test('when nothing is known of the node, the instance stays as it is', () => {
    expect(withNode(both(told('ipv4', '10.1.5.1')), facts(NO_GATEWAYS))).toMatchObject({instances: [], holds: [{instance: 'a', peer: null}]});
  });
});
