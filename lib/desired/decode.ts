// JSON → resource, checked: what passes here can be compiled and written without further doubt. Bad input is a value, not an error.

import {formatPrefix, parseAddress, parsePrefix} from '../core/ip.js';
import type {Resource, ResourceKind} from './node-state.js';
import {KIND_ORDER} from './order.js';

export interface Undecodable {
  readonly kind: string;
  readonly key: string;
  readonly version: string;
  /** Path inside the value and what is wrong there. */
  readonly reason: string;
}

export type Decoded = {readonly resource: Resource; readonly undecodable: null} | {readonly resource: null; readonly undecodable: Undecodable};

/** Unknown members are kept and ignored: an operator may be newer than an agent. */
export function decodeResource(kind: string, key: string, version: string, value: unknown): Decoded {
  const refuse = (reason: string): Decoded => ({resource: null, undecodable: {kind, key, version, reason}});
  if (!isKind(kind)) return refuse(`unknown kind ${JSON.stringify(kind)}`);
  const {shape, keyOf} = KINDS[kind];
  const problem = shape(value, 'value');
  if (problem !== null) return refuse(problem);
  const expected = keyOf((value ?? {}) as Readonly<Record<string, unknown>>);
  if (expected !== key) return refuse(`the key does not agree with the value: ${JSON.stringify(key)}, expected ${JSON.stringify(expected)}`);
  return {resource: {kind, key, version, value} as Resource, undecodable: null};
}

export function isKind(text: string): text is ResourceKind {
  return (KIND_ORDER as readonly string[]).includes(text);
}

/** Null when `value` fits; else the path and what is wrong. */
type Shape = (value: unknown, path: string) => string | null;

const text: Shape = (value, path) => (typeof value === 'string' ? null : `${path} is not text`);
const flag: Shape = (value, path) => (typeof value === 'boolean' ? null : `${path} is not true or false`);

function integer(min: number, max: number): Shape {
  return (value, path) => (typeof value === 'number' && Number.isInteger(value) && value >= min && value <= max ? null : `${path} is not a whole number from ${min} to ${max}`);
}

const u8 = integer(0, 0xff);
const u16 = integer(0, 0xffff);
const u32 = integer(0, 0xffffffff);

const prefix: Shape = (value, path) => {
  const parsed = typeof value === 'string' ? parsePrefix(value) : null;
  return parsed !== null && formatPrefix(parsed) === value ? null : `${path} is not a canonical prefix`;
};

const address: Shape = (value, path) => (typeof value === 'string' && parseAddress(value) !== null ? null : `${path} is not an address`);
/** A link-local one may have its interface after `%`. */
const peerAddress: Shape = (value, path) => address(typeof value === 'string' ? value.replace(/%[^%]+$/, '') : value, path);
const address4: Shape = (value, path) => (typeof value === 'string' && parseAddress(value)?.family === 4 ? null : `${path} is not an IPv4 address`);

function oneOf(...values: readonly string[]): Shape {
  return (value, path) => (typeof value === 'string' && values.includes(value) ? null : `${path} is not one of ${values.join(', ')}`);
}

function nullable(inner: Shape): Shape {
  return (value, path) => (value === null ? null : inner(value, path));
}

function optional(inner: Shape): Shape {
  return (value, path) => (value === undefined ? null : inner(value, path));
}

function list(inner: Shape): Shape {
  return (value, path) => {
    if (!Array.isArray(value)) return `${path} is not a list`;
    for (const [i, item] of value.entries()) {
      const problem = inner(item, `${path}[${i}]`);
      if (problem !== null) return problem;
    }
    return null;
  };
}

function record(inner: Shape): Shape {
  return (value, path) => {
    if (!isObject(value)) return `${path} is not an object`;
    for (const [name, item] of Object.entries(value)) {
      const problem = inner(item, `${path}.${name}`);
      if (problem !== null) return problem;
    }
    return null;
  };
}

function object(members: Readonly<Record<string, Shape>>): Shape {
  const entries = Object.entries(members);
  return (value, path) => {
    if (!isObject(value)) return `${path} is not an object`;
    for (const [name, shape] of entries) {
      const problem = shape(value[name], `${path}.${name}`);
      if (problem !== null) return problem;
    }
    return null;
  };
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return value !== null && typeof value === 'object' && !Array.isArray(value);
}

const REF = {kind: text, namespace: text, name: text, uid: text};

const ORIGINS = list(object({...REF, ruleIndex: integer(-1, 0xffffffff)}));

const POLICY_ENTRY = object({
  direction: oneOf('ingress', 'egress'), deny: flag, selector: text, protocol: u8, port: u16, portPrefixLength: integer(0, 16),
  portName: optional(text), endPort: optional(u16), precedence: u32, derived: optional(oneOf('allow-localhost', 'allow-any')),
  origins: ORIGINS,
});

const BGP_PEER = object({
  address: peerAddress, asn: u32, port: u16, holdTimeSeconds: u16, keepaliveSeconds: u16, connectRetrySeconds: u32, multihopTtl: integer(1, 255),
  gracefulRestart: object({enabled: flag, restartSeconds: u16}), authSecret: nullable(text), password: optional(text), localAddress: optional(address), localPort: optional(u16), sourceInterface: optional(text),
  bfd: optional(object({intervalMs: integer(10, 60_000), multiplier: integer(2, 0xff)})),
  families: list(object({afi: oneOf('ipv4', 'ipv6'), safi: oneOf('unicast')})),
});

const ADVERTISEMENT = object({
  prefix, peers: list(peerAddress), localPreference: nullable(u32), communities: list(u32), largeCommunities: list(text), origin: object(REF),
});

const INTERFACE_ADVERTISEMENT = object({
  interface: text, afi: oneOf('ipv4', 'ipv6'), peer: peerAddress, localPreference: nullable(u32), communities: list(u32), largeCommunities: list(text), origin: object(REF),
});

const BGP_INSTANCE = object({
  name: text, asn: u32, routerId: address4, listenPort: integer(-1, 0xffff), peers: list(BGP_PEER), advertisements: list(ADVERTISEMENT), interfaces: optional(list(INTERFACE_ADVERTISEMENT)),
});

const SPEAKER_HOLD = object({instance: nullable(text), peer: nullable(peerAddress), reason: text});

interface KindShape {
  readonly shape: Shape;
  readonly keyOf: (value: Readonly<Record<string, unknown>>) => string;
}

const KINDS: Readonly<Record<ResourceKind, KindShape>> = {
  'node-config': {
    shape: object({
      nodeName: text, routingMode: oneOf('native', 'tunnel'), podCidrs: list(prefix), nodeAddress: address4, ipv4NativeRoutingCidr: nullable(prefix),
      enableIPv4Masquerade: flag, tunnelPort: integer(1, 0xffff), clusterName: text,
      ipv6: optional(object({nativeRoutingCidr: nullable(prefix), enableMasquerade: flag})),
    }),
    keyOf: () => 'node-config',
  },
  'node': {
    shape: object({name: text, addresses: list(address), podCidrs: list(prefix), routerAddress: nullable(address)}),
    keyOf: ({name}) => String(name),
  },
  'identity': {
    shape: object({id: u32, labels: list(text), namedPorts: optional(list(object({name: text, protocol: u8, port: integer(1, 0xffff)})))}),
    keyOf: ({id}) => String(id),
  },
  'ipcache': {
    shape: object({prefix, identity: nullable(u32), labels: list(text), tunnelEndpoint: nullable(address4), local: flag}),
    keyOf: (value) => String(value['prefix']),
  },
  'selector': {shape: object({id: text, identities: list(u32), prefixes: list(prefix)}), keyOf: ({id}) => String(id)},
  'policy': {
    shape: object({subject: u32, ingressEnforced: flag, egressEnforced: flag, entries: list(POLICY_ENTRY), isolatedBy: optional(object({ingress: ORIGINS, egress: ORIGINS}))}),
    keyOf: ({subject}) => String(subject),
  },
  'endpoint': {
    shape: object({namespace: text, name: text, uid: text, identity: u32, labels: list(text), namedPorts: record(object({port: integer(1, 0xffff), protocol: u8}))}),
    keyOf: ({namespace, name}) => `${String(namespace)}/${String(name)}`,
  },
  'masquerade': {
    shape: object({hold: nullable(object({reason: text})), nonMasqueradeCidrs: list(prefix), source: oneOf('configmap', 'defaults')}),
    keyOf: () => 'masquerade',
  },
  'speaker': {
    shape: object({instances: list(BGP_INSTANCE), source: nullable(object(REF)), holds: optional(list(SPEAKER_HOLD))}),
    keyOf: () => 'speaker',
  },
};
