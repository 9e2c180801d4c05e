import {describe, expect, test} from '@jest/globals';
import fc from 'fast-check';
import {decodeResource} from './decode.js';

const IPCACHE = {prefix: '10.98.0.0/24', identity: 3, labels: ['reserved:unmanaged'], tunnelEndpoint: '10.1.5.10', local: false};
const CONFIG = {nodeName: 'n', routingMode: 'native', podCidrs: ['10.98.0.0/24'], nodeAddress: '10.1.5.10', ipv4NativeRoutingCidr: null,
  enableIPv4Masquerade: true, tunnelPort: 8472, clusterName: 'default'};
const ENTRY = {direction: 'ingress', deny: false, selector: '*', protocol: 6, port: 80, portPrefixLength: 16, precedence: 0xffffff01,
  origins: [{kind: 'CiliumNetworkPolicy', namespace: 'default', name: 'p', uid: 'u', ruleIndex: 0}]};

function reasonOf(kind: string, key: string, value: unknown): string | null {
  return decodeResource(kind, key, '1', value).undecodable?.reason ?? null;
}

describe('decodeResource', () => {
  test('what the operator sends passes as it is', () => {
    expect(decodeResource('ipcache', '10.98.0.0/24', 'v', IPCACHE)).toEqual({resource: {kind: 'ipcache', key: '10.98.0.0/24', version: 'v', value: IPCACHE}, undecodable: null});
    expect(reasonOf('node-config', 'node-config', CONFIG)).toBeNull();
    expect(reasonOf('policy', '256', {subject: 256, ingressEnforced: true, egressEnforced: false, entries: [ENTRY]})).toBeNull();
    expect(reasonOf('ipcache', '10.98.0.0/24', {...IPCACHE, identity: null, ofTheFuture: 1})).toBeNull();
  });

  test.each<[string, string, unknown, string]>([
    ['ipcache', '10.98.0.1/24', {...IPCACHE, prefix: '10.98.0.1/24'}, 'value.prefix is not a canonical prefix'],
    ['ipcache', '10.98.0.0/24', {...IPCACHE, identity: -1}, 'value.identity'],
    ['ipcache', '10.98.0.0/24', {...IPCACHE, tunnelEndpoint: 'fd00::1'}, 'value.tunnelEndpoint is not an IPv4 address'],
    ['ipcache', '10.0.0.0/8', IPCACHE, 'the key does not agree'],
    ['node-config', 'node-config', {...CONFIG, routingMode: 'magic'}, 'one of native, tunnel'],
    ['policy', '256', {subject: 256, ingressEnforced: true, egressEnforced: true, entries: [{...ENTRY, port: 65536}]}, 'value.entries[0].port'],
    ['policy', '256', {subject: 256, ingressEnforced: true, egressEnforced: true, entries: [{...ENTRY, direction: 'up'}]}, 'value.entries[0].direction'],
    ['endpoint', 'a/b', {namespace: 'a', name: 'b', uid: '', identity: 1, labels: [], namedPorts: {http: {port: 0, protocol: 6}}}, 'value.namedPorts.http.port'],
    ['teapot', 'x', {}, 'unknown kind'],
    ['speaker', 'speaker', null, 'value is not an object'],
  ])('%s %s is refused with its path', (kind, key, value, expected) => {
    expect(reasonOf(kind, key, value)).toContain(expected);
  });

  test('no JSON whatever makes it throw', () => {
    const kinds = fc.constantFrom('node-config', 'node', 'identity', 'ipcache', 'selector', 'policy', 'endpoint', 'masquerade', 'speaker', 'other');
    fc.assert(fc.property(kinds, fc.string(), fc.jsonValue(), (kind, key, value) => {
      const {resource, undecodable} = decodeResource(kind, key, '', value);
      expect(resource === null).toBe(undecodable !== null);
    }));
  });
});
