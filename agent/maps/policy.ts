// cilium_policy: endpoint id → inner LPM map of (identity, direction, protocol, port) → verdict. Twins in agent/bpf/lib/maps.h.

import {invariant} from '../../lib/core/invariant.js';
import {identityId} from '../../lib/domain/identity.js';
import type {IdentityId} from '../../lib/domain/identity.js';
import {PRECEDENCE_DEFAULT_ALLOW} from '../../lib/domain/policy.js';
import type {Direction} from '../../lib/domain/policy.js';
import {bits, decodeU32, encodeU32, portBe, struct, u32, u8} from './layout.js';
import type {MapCodec} from './layout.js';

/** Identity and direction are always significant; protocol adds 8 bits, the port up to 16 more. */
export const POLICY_STATIC_BITS = 40;
const PROTOCOL_BITS = 8;

export const POLICY_KEY = struct('policy_key', 12, {
  prefixLength: u32(0, 'prefixlen'),
  identity: u32(4, 'sec_label'),
  egress: bits(8, 'egress', 0, 1),
  protocol: u8(9, 'protocol'),
  port: portBe(10, 'dport'),
});

export const POLICY_ENTRY = struct('policy_entry', 16, {
  proxyPort: portBe(0, 'proxy_port'),
  deny: bits(2, 'deny', 0, 1),
  lpmPrefixLength: bits(2, 'lpm_prefix_length', 3, 5),
  authType: bits(3, 'auth_type', 0, 7),
  explicitAuth: bits(3, 'has_explicit_auth_type', 7, 1),
  precedence: u32(4, 'precedence'),
  cookie: u32(8, 'cookie'),
});

/** Protocol 0 = every protocol, and then no port. For ICMP the port is the type (prefix length 16). */
export interface PolicyMapKey {
  readonly identity: IdentityId;
  readonly direction: Direction;
  readonly protocol: number;
  readonly port: number;
  readonly portPrefixLength: number;
}

export interface PolicyMapValue {
  readonly deny: boolean;
  readonly precedence: number;
  /** Names the origins of the entry for events; 0 = none. */
  readonly cookie: number;
  readonly proxyPort: number;
}

/** Significant bits after identity and direction: 0, 8, 9..24. */
export function policyPrefixBits(key: PolicyMapKey): number {
  if (key.protocol === 0) {
    invariant(key.portPrefixLength === 0, 'a port needs a protocol', {...key});
    return 0;
  }
  return PROTOCOL_BITS + key.portPrefixLength;
}

export function encodePolicyKey(key: PolicyMapKey): Uint8Array {
  return POLICY_KEY.encode({prefixLength: POLICY_STATIC_BITS + policyPrefixBits(key), identity: key.identity,
    egress: key.direction === 'egress' ? 1 : 0, protocol: key.protocol, port: key.port & portMask(key.portPrefixLength)});
}

export function decodePolicyKey(bytes: Uint8Array): PolicyMapKey {
  const key = POLICY_KEY.decode(bytes);
  return {identity: identityId(key.identity), direction: key.egress === 1 ? 'egress' : 'ingress', protocol: key.protocol, port: key.port,
    portPrefixLength: Math.max(0, key.prefixLength - POLICY_STATIC_BITS - PROTOCOL_BITS)};
}

/** The value repeats the key's length, so that the datapath can compare two hits. */
export function encodePolicyValue(key: PolicyMapKey, value: PolicyMapValue): Uint8Array {
  return POLICY_ENTRY.encode({proxyPort: value.proxyPort, deny: value.deny ? 1 : 0, lpmPrefixLength: policyPrefixBits(key), authType: 0,
    explicitAuth: 0, precedence: value.precedence, cookie: value.cookie});
}

export function decodePolicyValue(bytes: Uint8Array): PolicyMapValue & {readonly lpmPrefixLength: number} {
  const entry = POLICY_ENTRY.decode(bytes);
  return {deny: entry.deny === 1, precedence: entry.precedence, cookie: entry.cookie, proxyPort: entry.proxyPort,
    lpmPrefixLength: entry.lpmPrefixLength};
}

/** A direction that is not enforced holds exactly this: every identity, protocol and port passes. */
export function allowAll(direction: Direction): {key: PolicyMapKey; value: PolicyMapValue} {
  return {
    key: {identity: identityId(0), direction, protocol: 0, port: 0, portPrefixLength: 0},
    value: {deny: false, precedence: PRECEDENCE_DEFAULT_ALLOW, cookie: 0, proxyPort: 0},
  };
}

/** Whether there is a packet that both keys match. Identity 0 is everybody, protocol 0 every protocol. */
export function policyKeysOverlap(a: PolicyMapKey, b: PolicyMapKey): boolean {
  if (a.direction !== b.direction || (a.identity !== b.identity && a.identity !== 0 && b.identity !== 0)) return false;
  if (a.protocol === 0 || b.protocol === 0) return true;
  return a.protocol === b.protocol && ((a.port ^ b.port) & portMask(Math.min(a.portPrefixLength, b.portPrefixLength))) === 0;
}

function portMask(length: number): number {
  return (0xffff0000 >> length) & 0xffff;
}

/** The outer array: endpoint id → inner map (an fd when written, a map id when read). */
export const policySlotCodec: MapCodec<number, number> = {
  map: 'cilium_policy', keyStruct: null, valueStruct: null,
  encodeKey: encodeU32, decodeKey: decodeU32, encodeValue: encodeU32, decodeValue: decodeU32,
};
