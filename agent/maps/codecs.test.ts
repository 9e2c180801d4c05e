// Codecs: what is encoded decodes to itself, and bytes lie where the C structs have them.

import {describe, expect, test} from '@jest/globals';

import {identityId} from '../../lib/domain/identity.js';
import {ctTcpCodec, TUPLE_OUT} from './ct.js';
import {endpointConfigCodec, hostLxcEntry, lxcCodec} from './endpoint.js';
import {DROP_MESSAGE, decodeEvent} from './events.js';
import {ipcacheCodec} from './ipcache.js';
import {toHex} from './layout.js';
import {ipmasqCodec} from './masq.js';
import {METRICS_VALUE, metricsCodec} from './metrics.js';
import {allowAll, decodePolicyKey, decodePolicyValue, encodePolicyKey, encodePolicyValue, policyKeysOverlap} from './policy.js';
import type {PolicyMapKey} from './policy.js';
import {encodeProgramConfig, PROGRAM_DEFAULTS, PROGRAM_VARIABLES} from './program-config.js';
import type {ProgramVariable} from './program-config.js';
import {MAPS, SMALL_SIZES, withSizes} from './registry.js';

describe('ipcache', () => {
  test.each([['10.98.1.0/24', 56], ['0.0.0.0/0', 32], ['10.98.1.7/32', 64]])('%s has %i significant bits', (prefix, length) => {
    const key = ipcacheCodec.encodeKey(prefix);
    expect(new DataView(key.buffer).getUint32(0, true)).toBe(length);
    expect(ipcacheCodec.decodeKey(key)).toBe(prefix);
  });

  test('a tunnel endpoint is kept, and its absence too', () => {
    for (const tunnelEndpoint of ['10.1.5.10', null]) {
      const entry = {identity: identityId(4242), tunnelEndpoint, skipTunnel: false};
      expect(ipcacheCodec.decodeValue(ipcacheCodec.encodeValue(entry))).toEqual(entry);
    }
    expect(toHex(ipcacheCodec.encodeValue({identity: identityId(7), tunnelEndpoint: '10.1.5.10', skipTunnel: true})))
      .toBe('070000000a01050a00000000000000000000000000000003');
  });

  test('host bits are cut off, both families', () => {
    expect(ipcacheCodec.decodeKey(ipcacheCodec.encodeKey('10.98.1.7/24'))).toBe('10.98.1.0/24');
    expect(ipcacheCodec.decodeKey(ipcacheCodec.encodeKey('fd00:98:1::7/64'))).toBe('fd00:98:1::/64');
    expect(toHex(ipcacheCodec.encodeKey('fd00:98::/32'))).toBe('4000000000000002fd000098000000000000000000000000');
    expect(() => ipcacheCodec.encodeKey('fd00')).toThrow('a prefix');
  });
});

describe('endpoints', () => {
  test('a pod and a host address', () => {
    const pod = {ifindex: 12, endpointId: 700, host: false, mac: '02:00:00:00:00:01', nodeMac: '02:00:00:00:00:02', identity: identityId(300)};
    expect(lxcCodec.decodeValue(lxcCodec.encodeValue(pod))).toEqual(pod);
    expect(lxcCodec.decodeValue(lxcCodec.encodeValue(hostLxcEntry())).host).toBe(true);
    for (const address of ['10.98.1.7', 'fd00:98:1::7']) expect(lxcCodec.decodeKey(lxcCodec.encodeKey(address))).toBe(address);
  });

  test('an empty slot is not an endpoint', () => {
    const config = {identity: identityId(300), ipv4: '10.98.1.7', ipv6: 'fd00:98:1::7', ifindex: 12, mac: '02:00:00:00:00:01', nodeMac: '02:00:00:00:00:02',
      ingressEnforced: true, egressEnforced: false, audit: false};
    expect(endpointConfigCodec.decodeValue(endpointConfigCodec.encodeValue(config))).toEqual(config);
    expect(endpointConfigCodec.decodeValue(new Uint8Array(56))).toBeNull();
    expect(endpointConfigCodec.encodeValue(null)).toEqual(new Uint8Array(56));
  });
});

describe('policy', () => {
  test('keys overlap when there is a packet that both match', () => {
    const key: PolicyMapKey = {identity: identityId(300), direction: 'ingress', protocol: 6, port: 80, portPrefixLength: 16};
    const overlaps = (change: Partial<PolicyMapKey>): boolean => {
      const other = {...key, ...change};
      expect(policyKeysOverlap(other, key)).toBe(policyKeysOverlap(key, other));
      return policyKeysOverlap(key, other);
    };
    const everyPort = {port: 0, portPrefixLength: 0};
    expect([{}, {identity: identityId(0)}, everyPort, {protocol: 0, ...everyPort}, {port: 64, portPrefixLength: 10}].map(overlaps)).toEqual([true, true, true, true, true]);
    expect([{identity: identityId(301)}, {direction: 'egress' as const}, {protocol: 17}, {port: 81}, {port: 128, portPrefixLength: 10}].map(overlaps))
      .toEqual([false, false, false, false, false]);
  });

  const key = (protocol: number, port: number, portPrefixLength: number): PolicyMapKey =>
    ({identity: identityId(300), direction: 'egress', protocol, port, portPrefixLength});

  test.each([
    [key(0, 0, 0), 40, 0], [key(6, 0, 0), 48, 8], [key(6, 80, 16), 64, 24], [key(6, 64, 10), 58, 18], [key(1, 8, 16), 64, 24],
  ])('%j has prefix %i, and %i bits of L4', (k, prefix, l4) => {
    const bytes = encodePolicyKey(k);
    expect(new DataView(bytes.buffer).getUint32(0, true)).toBe(prefix);
    expect(decodePolicyKey(bytes)).toEqual(k);
    const value = {deny: true, precedence: 0xffffffff, cookie: 9, proxyPort: 0};
    expect(decodePolicyValue(encodePolicyValue(k, value))).toEqual({...value, lpmPrefixLength: l4});
  });

  test('ports are in network order, bits past the prefix are cut off', () => {
    expect(toHex(encodePolicyKey(key(6, 80, 16)))).toBe('400000002c01000001060050');
    expect(decodePolicyKey(encodePolicyKey(key(6, 80, 10))).port).toBe(64);
  });

  test('a port without a protocol is refused', () => {
    expect(() => encodePolicyKey(key(0, 80, 16))).toThrow('a port needs a protocol');
  });

  test('allow-all is identity 0 with prefix 40', () => {
    expect(toHex(encodePolicyKey(allowAll('ingress').key))).toBe('280000000000000000000000');
  });
});

describe('other maps', () => {
  test('a connection', () => {
    const tuple = {destination: '10.0.0.2', source: '10.0.0.1', destinationPort: 80, sourcePort: 40_000, protocol: 6, flags: TUPLE_OUT};
    expect(toHex(ctTcpCodec.encodeKey(tuple))).toBe('0a0000020a00000100509c400600');
    expect(ctTcpCodec.decodeKey(ctTcpCodec.encodeKey(tuple))).toEqual(tuple);
  });

  test('a non-masquerade prefix', () => {
    expect(ipmasqCodec.decodeKey(ipmasqCodec.encodeKey('172.16.0.0/12'))).toBe('172.16.0.0/12');
  });

  test('metrics of all processors are added up', () => {
    const perCpu = new Uint8Array(32);
    perCpu.set(METRICS_VALUE.encode({packets: 3n, bytes: 300n}), 0);
    perCpu.set(METRICS_VALUE.encode({packets: 4n, bytes: 400n}), 16);
    expect(metricsCodec.decodeValue(perCpu)).toEqual({packets: 7n, bytes: 700n});
  });

  test('a drop event, its packet cut to what was captured', () => {
    const record = new Uint8Array(DROP_MESSAGE.size + 128);
    record.set(DROP_MESSAGE.encode({type: 1, subtype: 133, source: 7, hash: 0, originalLength: 98, capturedLength: 98, version: 3,
      extensionVersion: 1, sourceIdentity: 300, destinationIdentity: 400, destinationEndpoint: 7, line: 1, file: 2, extendedError: 0, ifindex: 5,
      flags: 0, ipTraceId: 0n, cookie: 77, direction: 1}));
    const event = decodeEvent(record);
    expect(event).toMatchObject({kind: 'drop', message: {subtype: 133, cookie: 77, sourceIdentity: 300}});
    expect(event?.packet.length).toBe(98);
    expect(decodeEvent(Uint8Array.of(9, 9))).toBeNull();
  });
});

describe('registry', () => {
  test('sizes are overridden by name', () => {
    const small = withSizes(SMALL_SIZES);
    expect(small.length).toBe(MAPS.size);
    expect(small.find(({name}) => name === 'cilium_ct4_global')?.maxEntries).toBe(16_384);
    expect(small.find(({name}) => name === 'cilium_metrics')?.maxEntries).toBe(1_024);
  });

  test('every variable of the programs has a value of its size', () => {
    const values = encodeProgramConfig({...PROGRAM_DEFAULTS, nodeIpv4: '10.1.5.10', routingMode: 'tunnel', overlayIfindex: 4,
      podCidrs: ['10.98.1.0/24'], devices: [{ifindex: 2, ipv4: '10.1.5.10', ipv6: null}], masquerade: true, masqueradeExclusions: ['10.98.0.0/16']});
    expect([...values.keys()]).toEqual(Object.keys(PROGRAM_VARIABLES));
    const prefixes = values.get('config_snat_exclusions');
    expect(prefixes instanceof Uint8Array ? toHex(prefixes.subarray(0, 8)) : '').toBe('0a620000ffff0000');
  });

  test('IPv6 values', () => {
    const values = encodeProgramConfig({...PROGRAM_DEFAULTS, nodeIpv4: '10.1.5.10', routingMode: 'native', overlayIfindex: 0, podCidrs: [],
      devices: [{ifindex: 2, ipv4: null, ipv6: null}, {ifindex: 3, ipv4: null, ipv6: 'fd00::5'}], masquerade: false, masqueradeExclusions: [],
      ipv6: {podCidrs: ['fd00:98:1::/60'], masquerade: true, masqueradeExclusions: [], worldIpv4: 9, worldIpv6: 10}});
    const hex = (name: ProgramVariable): string => {
      const value = values.get(name);
      return value instanceof Uint8Array ? toHex(value) : '';
    };
    expect(hex('config_pod_cidrs6').slice(0, 64)).toBe('fd00009800010000000000000000000' + '0fffffffffffffff00000000000000000');
    expect(hex('config_device_ipv6').slice(0, 64)).toBe(`${'0'.repeat(32)}fd000000000000000000000000000005`);
    expect(['config_ipv6', 'config_masquerade6', 'config_world_ipv6'].map((name) => values.get(name as ProgramVariable))).toEqual([1, 1, 10]);
  });
});
