// Sets of prefixes. cilium_ipmasq_v4, cilium_ipmasq_v6: destinations that are not masqueraded; cilium_announced_v4, cilium_announced_v6: addresses
// of Services that this node announces. Twins in agent/bpf/lib/maps.h and maps6.h.

import {formatAddress, parsePrefix} from '../../lib/core/ip.js';
import type {Family} from '../../lib/core/ip.js';
import {invariant} from '../../lib/core/invariant.js';
import {ipv4, ipv6, struct, u32} from './layout.js';
import type {MapCodec, Struct} from './layout.js';

export const IPMASQ_KEY = struct('ipmasq_key', 8, {
  prefixLength: u32(0, 'prefixlen'),
  address: ipv4(4, 'addr'),
});

export const IPMASQ_KEY6 = struct('ipmasq6_key', 20, {
  prefixLength: u32(0, 'prefixlen'),
  address: ipv6(4, 'addr'),
});

type KeyStruct = Struct<typeof IPMASQ_KEY.fields>;

/** Key: the prefix in canonical text. The value is one byte without meaning. */
function codecOf(map: string, keyStruct: KeyStruct, family: Family): MapCodec<string, null> {
  return {
    map, keyStruct, valueStruct: null,
    encodeKey(text) {
      const prefix = parsePrefix(text);
      invariant(prefix !== null && prefix.family === family, `an IPv${family} prefix`, {text});
      return keyStruct.encode({prefixLength: prefix.length, address: formatAddress(prefix)});
    },
    decodeKey(bytes) {
      const key = keyStruct.decode(bytes);
      return `${key.address}/${key.prefixLength}`;
    },
    encodeValue: () => new Uint8Array(1),
    decodeValue: () => null,
  };
}

export const ipmasqCodec = codecOf('cilium_ipmasq_v4', IPMASQ_KEY, 4);
export const announcedCodec = codecOf('cilium_announced_v4', IPMASQ_KEY, 4);
export const announced6Codec = codecOf('cilium_announced_v6', IPMASQ_KEY6, 6);
export const ipmasq6Codec = codecOf('cilium_ipmasq_v6', IPMASQ_KEY6, 6);
