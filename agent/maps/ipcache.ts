// cilium_ipcache: prefix → identity and tunnel endpoint. Twin of `struct ipcache_key/ipcache_value` in agent/bpf/lib/maps.h.

import {formatAddress, parsePrefix} from '../../lib/core/ip.js';
import type {Family} from '../../lib/core/ip.js';
import {invariant} from '../../lib/core/invariant.js';
import {identityId} from '../../lib/domain/identity.js';
import type {IdentityId} from '../../lib/domain/identity.js';
import {addressIn16, ipv4In16, struct, u16, u32, u8} from './layout.js';
import type {MapCodec} from './layout.js';

/** Bits of the key before the address: cluster id, padding, family. */
export const IPCACHE_STATIC_BITS = 32;
export const FAMILY_IPV4 = 1;
export const FAMILY_IPV6 = 2;

/** From the byte in which a key says what its address is. */
export function familyAt(offset: number): (view: DataView) => Family {
  return (view) => (view.getUint8(offset) === FAMILY_IPV6 ? 6 : 4);
}

export function familyNumber(family: Family): number {
  return family === 6 ? FAMILY_IPV6 : FAMILY_IPV4;
}

const SKIP_TUNNEL = 1;
const HAS_TUNNEL_ENDPOINT = 2;

export const IPCACHE_KEY = struct('ipcache_key', 24, {
  prefixLength: u32(0, 'prefixlen'),
  clusterId: u16(4, 'cluster_id'),
  family: u8(7, 'family'),
  address: addressIn16(8, 'addr', familyAt(7)),
});

export const IPCACHE_VALUE = struct('ipcache_value', 24, {
  identity: u32(0, 'sec_identity'),
  tunnelEndpoint: ipv4In16(4, 'tunnel_endpoint'),
  encryptKey: u8(22, 'key'),
  flags: u8(23, 'flags'),
});

export interface IpcacheEntry {
  readonly identity: IdentityId;
  /** Null: no tunnel (local, the node's own, outside, or native routing). */
  readonly tunnelEndpoint: string | null;
  readonly skipTunnel: boolean;
}

/** Key: the prefix in canonical text. */
export const ipcacheCodec: MapCodec<string, IpcacheEntry> = {
  map: 'cilium_ipcache', keyStruct: IPCACHE_KEY, valueStruct: IPCACHE_VALUE,
  encodeKey(text) {
    const prefix = parsePrefix(text);
    invariant(prefix !== null, 'a prefix', {text});
    return IPCACHE_KEY.encode({prefixLength: IPCACHE_STATIC_BITS + prefix.length, clusterId: 0, family: familyNumber(prefix.family),
      address: formatAddress(prefix)});
  },
  decodeKey(bytes) {
    const key = IPCACHE_KEY.decode(bytes);
    return `${key.address}/${key.prefixLength - IPCACHE_STATIC_BITS}`;
  },
  encodeValue: (entry) => IPCACHE_VALUE.encode({identity: entry.identity, tunnelEndpoint: entry.tunnelEndpoint ?? '0.0.0.0', encryptKey: 0,
    flags: (entry.skipTunnel ? SKIP_TUNNEL : 0) | (entry.tunnelEndpoint === null ? 0 : HAS_TUNNEL_ENDPOINT)}),
  decodeValue(bytes) {
    const value = IPCACHE_VALUE.decode(bytes);
    return {identity: identityId(value.identity), skipTunnel: (value.flags & SKIP_TUNNEL) !== 0,
      tunnelEndpoint: (value.flags & HAS_TUNNEL_ENDPOINT) === 0 ? null : value.tunnelEndpoint};
  },
};
