// What the BGP kinds share: findings, numbers with defaults, timers, families, communities. A 0 also becomes the default, as in Cilium's SetDefaults.

import type {ObjectRef, Rejection} from '../../../lib/core/errors.js';
import {compareStrings} from '../../../lib/core/order.js';
import type {BfdTimers, FamilyName, PathAttributes} from '../../../lib/domain/bgp.js';
import type {Selector} from '../../../lib/domain/selector.js';
import type {KubeObject} from '../../watch/feed-types.js';
import type {BgpManifest, BgpObjectFact, BgpSessionSettings} from '../bgp-facts.js';
import {labelSelector, list, number, record, refOf, stringMap, strings, text, type Json} from './json.js';

export const U32_MAX = 0xffffffff;
export const BOTH_FAMILIES: readonly FamilyName[] = [{afi: 'ipv4', safi: 'unicast'}, {afi: 'ipv6', safi: 'unicast'}];
const DEFAULTS = {port: 179, multihopTtl: 1, connectRetry: 120, hold: 90, keepalive: 30, restart: 120};

const WELL_KNOWN: Readonly<Record<string, number>> = {
  'internet': 0x00000000, 'planned-shut': 0xffff0000, 'accept-own': 0xffff0001, 'route-filter-translated-v4': 0xffff0002,
  'route-filter-v4': 0xffff0003, 'route-filter-translated-v6': 0xffff0004, 'route-filter-v6': 0xffff0005, 'llgr-stale': 0xffff0006,
  'no-llgr': 0xffff0007, 'blackhole': 0xffff029a, 'no-export': 0xffffff01, 'no-advertise': 0xffffff02,
  'no-export-subconfed': 0xffffff03, 'no-peer': 0xffffff04,
};

/** Collects what is wrong with one object, with the path. */
export class Findings {
  readonly all: Rejection[] = [];
  /** The first reason why nothing of the object can be used. */
  invalid: string | null = null;
  readonly #object: ObjectRef;

  constructor(object: ObjectRef) {
    this.#object = object;
  }

  reject(path: string, reason: string): void {
    this.invalid ??= `${path}: ${reason}`;
    this.all.push({object: this.#object, path, code: 'BGP_INVALID', reason});
  }

  /** The rest of the object stays in force. */
  unsupported(path: string, reason: string): void {
    this.all.push({object: this.#object, path, code: 'BGP_UNSUPPORTED', reason});
  }
}

/** The members of every BGP object; read when all of it was looked at. */
export function objectFact(kind: string, object: KubeObject, findings: Findings): BgpObjectFact {
  return {
    ref: refOf(kind, object),
    apiVersion: apiVersionOf(object),
    manifest: objectManifest(kind, object),
    generation: object.metadata.generation ?? 0,
    createdAt: object.metadata.creationTimestamp ?? '',
    rejections: findings.all,
    invalid: findings.invalid,
  };
}

/** Of our own annotations on BGP objects. */
const ANNOTATION_PREFIX = 'bgp.stentor.io/';

function apiVersionOf(object: KubeObject): string {
  return text(object['apiVersion']) === '' ? 'cilium.io/v2' : text(object['apiVersion']);
}

export function objectManifest(kind: string, object: KubeObject): BgpManifest {
  const {metadata} = object;
  const annotations = Object.entries(stringMap(metadata.annotations)).filter(([key]) => key.startsWith(ANNOTATION_PREFIX));
  return {
    apiVersion: apiVersionOf(object), kind, spec: record(object['spec']),
    metadata: {
      name: metadata.name, uid: metadata.uid ?? '', creationTimestamp: metadata.creationTimestamp ?? '', labels: stringMap(metadata.labels),
      annotations: Object.fromEntries(annotations),
    },
  };
}

export interface IntegerField {
  readonly path: string;
  readonly min: number;
  readonly max: number;
  /** null = the field is required, and 0 is a value. */
  readonly fallback: number | null;
}

export function integer(value: unknown, field: IntegerField, findings: Findings): number {
  const n = number(value);
  if (field.fallback !== null && (isAbsent(value) || n === 0)) return field.fallback;
  if (n !== null && Number.isInteger(n) && n >= field.min && n <= field.max) return n;
  findings.reject(field.path, `not a whole number in ${field.min}..${field.max}: ${JSON.stringify(value ?? null)}`);
  return field.min;
}

export function isAbsent(value: unknown): boolean {
  return value === undefined || value === null;
}

/** null = absent. */
export function optionalInteger(value: unknown, field: Omit<IntegerField, 'fallback'>, findings: Findings): number | null {
  return isAbsent(value) ? null : integer(value, {...field, fallback: null}, findings);
}

/** null = absent, or (with a finding) unreadable. */
export function optionalSelector(value: unknown, path: string, findings: Findings): Selector | null {
  if (isAbsent(value)) return null;
  const selector = labelSelector(value);
  if (selector === null) findings.reject(path, 'cannot be read as a label selector');
  return selector;
}

/** The same of `neighbors[]` and of a CiliumBGPPeerConfig's `timers`. */
export function timers(item: Json, path: string, findings: Findings): Pick<BgpSessionSettings, 'holdTimeSeconds' | 'keepaliveSeconds' | 'connectRetrySeconds'> {
  const holdTimeSeconds = integer(item['holdTimeSeconds'], {path: `${path}.holdTimeSeconds`, min: 3, max: 65535, fallback: DEFAULTS.hold}, findings);
  const keepaliveSeconds = integer(item['keepAliveTimeSeconds'], {path: `${path}.keepAliveTimeSeconds`, min: 1, max: 65535, fallback: DEFAULTS.keepalive}, findings);
  if (keepaliveSeconds > holdTimeSeconds) findings.reject(`${path}.keepAliveTimeSeconds`, `keepalive (${keepaliveSeconds} s) is longer than the hold time (${holdTimeSeconds} s)`);
  return {
    holdTimeSeconds, keepaliveSeconds,
    connectRetrySeconds: integer(item['connectRetryTimeSeconds'], {path: `${path}.connectRetryTimeSeconds`, min: 1, max: 2147483647, fallback: DEFAULTS.connectRetry}, findings),
  };
}

export function gracefulRestart(value: unknown, path: string, findings: Findings): BgpSessionSettings['gracefulRestart'] {
  const item = record(value);
  return {
    enabled: item['enabled'] === true,
    restartSeconds: integer(item['restartTimeSeconds'], {path: `${path}.restartTimeSeconds`, min: 1, max: 4095, fallback: DEFAULTS.restart}, findings),
  };
}

export const BFD_ANNOTATION = 'bgp.stentor.io/bfd';

/** `50ms x 3`; Cilium's kinds have no field for it. */
export function bfd({metadata}: KubeObject, findings: Findings): {readonly bfd?: BfdTimers} {
  const written = metadata.annotations?.[BFD_ANNOTATION];
  if (written === undefined) return {};
  const [, interval = '', unit = '', multiplier = ''] = /^\s*(\d{1,5})(ms|s)\s*x\s*(\d{1,3})\s*$/.exec(written) ?? [];
  const detection = {intervalMs: Number(interval) * (unit === 's' ? 1000 : 1), multiplier: Number(multiplier)};
  const fits = detection.intervalMs >= 10 && detection.intervalMs <= 60_000 && detection.multiplier >= 2 && detection.multiplier <= 255;
  if (fits) return {bfd: detection};
  findings.reject(`metadata.annotations[${BFD_ANNOTATION}]`, `not an interval (10ms to 60s) and a multiplier (2 to 255) such as 50ms x 3: ${written}`);
  return {};
}

export function peerPort(value: unknown, path: string, findings: Findings): number {
  return integer(value, {path, min: 1, max: 65535, fallback: DEFAULTS.port}, findings);
}

export function multihopTtl(value: unknown, path: string, findings: Findings): number {
  return integer(value, {path, min: 1, max: 255, fallback: DEFAULTS.multihopTtl}, findings);
}

export function secretName(value: unknown): string | null {
  return text(value) === '' ? null : text(value);
}

/** null = one that is not supported, with a finding. */
export function family(item: Json, path: string, findings: Findings): FamilyName | null {
  const {afi, safi} = item;
  if ((afi === 'ipv4' || afi === 'ipv6') && safi === 'unicast') return {afi, safi};
  findings.unsupported(path, `the family ${text(afi)}/${text(safi)} is not supported: it is not negotiated`);
  return null;
}

/** `communities` and `localPreference` of `item`. */
export function pathAttributes(item: Json, path: string, findings: Findings): PathAttributes {
  const communities = record(item['communities']);
  return {
    localPreference: optionalInteger(item['localPreference'], {path: `${path}.localPreference`, min: 0, max: U32_MAX}, findings),
    communities: standardCommunities(communities, `${path}.communities`, findings),
    largeCommunities: largeCommunities(communities['large'], `${path}.communities.large`, findings),
  };
}

function standardCommunities(item: Json, path: string, findings: Findings): number[] {
  const values = new Set<number>();
  for (const [i, written] of strings(item['standard']).entries()) {
    const value = parseCommunity(written);
    if (value === null) findings.reject(`${path}.standard[${i}]`, `not a community: ${written}`);
    else values.add(value);
  }
  for (const [i, name] of strings(item['wellKnown']).entries()) {
    const value = WELL_KNOWN[name];
    if (value === undefined) findings.reject(`${path}.wellKnown[${i}]`, `not a well-known community: ${name}`);
    else values.add(value);
  }
  return [...values].sort((a, b) => a - b);
}

/** `65000:100` or a decimal u32. */
function parseCommunity(written: string): number | null {
  const pair = /^(\d{1,5}):(\d{1,5})$/.exec(written);
  if (pair !== null) {
    const [high, low] = [Number(pair[1]), Number(pair[2])];
    return high > 0xffff || low > 0xffff ? null : high * 0x10000 + low;
  }
  return /^\d{1,10}$/.test(written) && Number(written) <= U32_MAX ? Number(written) : null;
}

/** Canonical: without leading zeros. */
function largeCommunities(value: unknown, path: string, findings: Findings): string[] {
  const values = new Set<string>();
  for (const [i, written] of strings(value).entries()) {
    const parts = /^\d{1,10}:\d{1,10}:\d{1,10}$/.test(written) ? written.split(':').map(Number) : [];
    if (parts.length === 0 || parts.some((part) => part > U32_MAX)) findings.reject(`${path}[${i}]`, `not a large community: ${written}`);
    else values.add(parts.join(':'));
  }
  return [...values].sort(compareStrings);
}

const ADDRESS_TYPES = ['LoadBalancerIP', 'ExternalIP', 'ClusterIP'] as const;

/** Sorted as above, each once. */
export function serviceAddressTypes(value: unknown, path: string, findings: Findings): (typeof ADDRESS_TYPES)[number][] {
  const written = list(value);
  for (const [i, item] of written.entries()) {
    if (!ADDRESS_TYPES.some((type) => type === item)) findings.reject(`${path}[${i}]`, `not one of ${ADDRESS_TYPES.join(', ')}: ${JSON.stringify(item)}`);
  }
  return ADDRESS_TYPES.filter((type) => written.includes(type));
}

/** Each value that occurs more than once, once. */
export function duplicates<T>(values: readonly T[]): T[] {
  return [...new Set(values.filter((one, i) => values.indexOf(one) !== i))];
}
