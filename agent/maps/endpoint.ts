// cilium_lxc, cilium_ep_config, cilium_if_to_ep: the endpoints of this node. Twins in agent/bpf/lib/maps.h.

import {identityId} from '../../lib/domain/identity.js';
import type {IdentityId} from '../../lib/domain/identity.js';
import {familyAt, familyNumber} from './ipcache.js';
import {addressIn16, decodeU32, encodeU32, ipv4, ipv6, mac, struct, u16, u32, u8} from './layout.js';
import type {MapCodec} from './layout.js';

export const ENDPOINT_KEY = struct('endpoint_key', 20, {
  address: addressIn16(0, 'addr', familyAt(16)),
  family: u8(16, 'family'),
  key: u8(17, 'key'),
  clusterId: u16(18, 'cluster_id'),
});

export const ENDPOINT_INFO = struct('endpoint_info', 48, {
  ifindex: u32(0, 'ifindex'),
  endpointId: u16(6, 'lxc_id'),
  flags: u32(8, 'flags'),
  mac: mac(16, 'mac'),
  nodeMac: mac(24, 'node_mac'),
  identity: u32(32, 'sec_id'),
  parentIfindex: u32(36, 'parent_ifindex'),
});

const LXC_HOST = 1;
const LXC_AT_HOST_NS = 2;
const NO_MAC = '00:00:00:00:00:00';

/** `host`: an address of the node itself (router address, device addresses); packets to it go to the stack. */
export interface LxcEntry {
  readonly ifindex: number;
  readonly endpointId: number;
  readonly host: boolean;
  /** The pod's own MAC, and that of the veth's host side. */
  readonly mac: string;
  readonly nodeMac: string;
  readonly identity: IdentityId;
}

/** The entry of an address of the node itself. */
export function hostLxcEntry(): LxcEntry {
  return {ifindex: 0, endpointId: 0, host: true, mac: NO_MAC, nodeMac: NO_MAC, identity: identityId(1)};
}

/** Key: the address. */
export const lxcCodec: MapCodec<string, LxcEntry> = {
  map: 'cilium_lxc', keyStruct: ENDPOINT_KEY, valueStruct: ENDPOINT_INFO,
  encodeKey: (address) => ENDPOINT_KEY.encode({address, family: familyNumber(address.includes(':') ? 6 : 4), key: 0, clusterId: 0}),
  decodeKey: (bytes) => ENDPOINT_KEY.decode(bytes).address,
  encodeValue: (entry) => ENDPOINT_INFO.encode({ifindex: entry.ifindex, endpointId: entry.endpointId,
    flags: entry.host ? LXC_HOST | LXC_AT_HOST_NS : 0, mac: entry.mac, nodeMac: entry.nodeMac, identity: entry.identity, parentIfindex: 0}),
  decodeValue(bytes) {
    const value = ENDPOINT_INFO.decode(bytes);
    return {ifindex: value.ifindex, endpointId: value.endpointId, host: (value.flags & LXC_HOST) !== 0, mac: value.mac,
      nodeMac: value.nodeMac, identity: identityId(value.identity)};
  },
};

export const ENDPOINT_CONFIG = struct('endpoint_config', 56, {
  identity: u32(0, 'sec_id'),
  ipv4: ipv4(4, 'ipv4'),
  ifindex: u32(8, 'ifindex'),
  flags: u32(12, 'flags'),
  mac: mac(16, 'mac'),
  nodeMac: mac(24, 'node_mac'),
  ipv6: ipv6(32, 'ipv6'),
});

const NO_IPV4 = '0.0.0.0';
const NO_IPV6 = '::';

const CONFIG_VALID = 1;
const CONFIG_INGRESS_ENFORCED = 2;
const CONFIG_EGRESS_ENFORCED = 4;
const CONFIG_AUDIT = 8;

/** What the shared program needs to know of the endpoint it runs for. An array slot without it is all zero: not an endpoint. */
export interface EndpointConfig {
  readonly identity: IdentityId;
  /** Null = the endpoint has no address of the family. */
  readonly ipv4: string | null;
  readonly ipv6: string | null;
  readonly ifindex: number;
  readonly mac: string;
  readonly nodeMac: string;
  /** For display: the verdict comes from the policy map alone. */
  readonly ingressEnforced: boolean;
  readonly egressEnforced: boolean;
  /** Policy drops become passes, and verdict events say so. */
  readonly audit: boolean;
}

/** Key: the endpoint id. An empty slot decodes to null; writing null empties it. */
export const endpointConfigCodec: MapCodec<number, EndpointConfig | null> = {
  map: 'cilium_ep_config', keyStruct: null, valueStruct: ENDPOINT_CONFIG,
  encodeKey: encodeU32, decodeKey: decodeU32,
  encodeValue(config) {
    if (config === null) return new Uint8Array(ENDPOINT_CONFIG.size);
    const flags = CONFIG_VALID | (config.ingressEnforced ? CONFIG_INGRESS_ENFORCED : 0) |
      (config.egressEnforced ? CONFIG_EGRESS_ENFORCED : 0) | (config.audit ? CONFIG_AUDIT : 0);
    return ENDPOINT_CONFIG.encode({...config, ipv4: config.ipv4 ?? NO_IPV4, ipv6: config.ipv6 ?? NO_IPV6, flags});
  },
  decodeValue(bytes) {
    const {flags, ...value} = ENDPOINT_CONFIG.decode(bytes);
    if ((flags & CONFIG_VALID) === 0) return null;
    return {...value, ipv4: value.ipv4 === NO_IPV4 ? null : value.ipv4, ipv6: value.ipv6 === NO_IPV6 ? null : value.ipv6,
      identity: identityId(value.identity), ingressEnforced: (flags & CONFIG_INGRESS_ENFORCED) !== 0,
      egressEnforced: (flags & CONFIG_EGRESS_ENFORCED) !== 0, audit: (flags & CONFIG_AUDIT) !== 0};
  },
};

/** Key: ifindex of the veth's host side; value: endpoint id. */
export const ifToEndpointCodec: MapCodec<number, number> = {
  map: 'cilium_if_to_ep', keyStruct: null, valueStruct: null,
  encodeKey: encodeU32, decodeKey: decodeU32, encodeValue: encodeU32, decodeValue: decodeU32,
};
