// Tests only: entries of maps as `compile` makes them, by the numbers that a test gives.

import {identityId} from '../../../lib/domain/identity.js';
import type {MapEntry, PolicyMapContent} from '../../compile/kernel-state.js';
import {encodeU32} from '../../maps/layout.js';
import {encodePolicyKey, encodePolicyValue} from '../../maps/policy.js';
import {hex} from '../bpf-map.js';

export function entry(key: Uint8Array, value: Uint8Array, because: MapEntry['because'] = []): [string, MapEntry] {
  return [hex(key), {key, value, because}];
}

export function policy(subject: number, ports: readonly number[]): PolicyMapContent {
  return {subject, entries: new Map(ports.map((port) => allowEntry(port, 16, subject)))};
}

/** `bits` 0: every port. */
export function allowEntry(port: number, bits: number, subject = 1001): [string, MapEntry] {
  const key = {identity: identityId(300), direction: 'ingress', protocol: 6, port, portPrefixLength: bits} as const;
  return entry(encodePolicyKey(key), encodePolicyValue(key, {deny: false, precedence: 1, cookie: 7, proxyPort: 0}), [{kind: 'policy', key: String(subject)}]);
}

export function ipcacheEntry(last: number, identity: number): [string, MapEntry] {
  const key = new Uint8Array(24);
  key.set(encodeU32(64));
  key.set([1], 7);
  key.set([10, 98, 0, last], 8);
  const value = new Uint8Array(24);
  value.set(encodeU32(identity));
  return entry(key, value, [{kind: 'ipcache', key: `10.98.0.${last}/32`}]);
}

export function endpointConfig(id: number): [string, MapEntry] {
  return entry(encodeU32(id), new Uint8Array(56).fill(id), [{kind: 'endpoint', key: `default/pod${id}`}]);
}
