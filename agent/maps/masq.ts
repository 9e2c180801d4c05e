// cilium_ipmasq_v4: destinations that are not masqueraded. Twin of `struct ipmasq_key` in agent/bpf/lib/maps.h.

import {formatAddress, parsePrefix} from '../../lib/core/ip.js';
import {invariant} from '../../lib/core/invariant.js';
import {ipv4, struct, u32} from './layout.js';
import type {MapCodec} from './layout.js';

export const IPMASQ_KEY = struct('ipmasq_key', 8, {
  prefixLength: u32(0, 'prefixlen'),
  address: ipv4(4, 'addr'),
});

/** Key: the prefix in canonical text. The value is one byte without meaning. */
export const ipmasqCodec: MapCodec<string, null> = {
  map: 'cilium_ipmasq_v4', keyStruct: IPMASQ_KEY, valueStruct: null,
  encodeKey(text) {
    const prefix = parsePrefix(text);
    invariant(prefix !== null && prefix.family === 4, 'an IPv4 prefix', {text});
    return IPMASQ_KEY.encode({prefixLength: prefix.length, address: formatAddress(prefix)});
  },
  decodeKey(bytes) {
    const key = IPMASQ_KEY.decode(bytes);
    return `${key.address}/${key.prefixLength}`;
  },
  encodeValue: () => new Uint8Array(1),
  decodeValue: () => null,
};
