// CiliumBGPPeeringPolicy v2alpha1 → BgpPolicyFact. Defaults as Cilium's SetDefaults: a 0 also becomes the default.

import type {ObjectRef, Rejection} from '../../../lib/core/errors.js';
import {formatAddress, parseInterfaceAddress} from '../../../lib/core/ip.js';
import {compareStrings} from '../../../lib/core/order.js';
import type {FamilyName} from '../../../lib/domain/bgp.js';
import type {KubeObject} from '../../watch/feed-types.js';
import type {BgpAttributesFact, BgpNeighborFact, BgpPolicyFact, BgpRouterFact} from '../facts.js';
import {labelSelector, list, number, record, refOf, strings, text, type Json} from './json.js';

const DEFAULTS = {port: 179, multihopTtl: 1, connectRetry: 120, hold: 90, keepalive: 30, restart: 120};
const U32_MAX = 0xffffffff;

const WELL_KNOWN: Readonly<Record<string, number>> = {
  'internet': 0x00000000, 'planned-shut': 0xffff0000, 'accept-own': 0xffff0001, 'route-filter-translated-v4': 0xffff0002,
  'route-filter-v4': 0xffff0003, 'route-filter-translated-v6': 0xffff0004, 'route-filter-v6': 0xffff0005, 'llgr-stale': 0xffff0006,
  'no-llgr': 0xffff0007, 'blackhole': 0xffff029a, 'no-export': 0xffffff01, 'no-advertise': 0xffffff02,
  'no-export-subconfed': 0xffffff03, 'no-peer': 0xffffff04,
};

/** Collects what is wrong, with the path; a policy with a fatal finding has no routers. */
class Findings {
  readonly all: Rejection[] = [];
  fatal = false;
  readonly #object: ObjectRef;

  constructor(object: ObjectRef) {
    this.#object = object;
  }

  reject(path: string, reason: string): void {
    this.fatal = true;
    this.all.push({object: this.#object, path, code: 'BGP_INVALID', reason});
  }

  unsupported(path: string, reason: string): void {
    this.all.push({object: this.#object, path, code: 'BGP_UNSUPPORTED', reason});
  }
}

export function decodeBgpPeeringPolicy(object: KubeObject): BgpPolicyFact {
  const ref = refOf('CiliumBGPPeeringPolicy', object);
  const findings = new Findings(ref);
  const spec = record(object['spec']);
  const nodeSelector = spec['nodeSelector'] === undefined || spec['nodeSelector'] === null ? null : labelSelector(spec['nodeSelector']);
  if (nodeSelector === null && spec['nodeSelector'] !== undefined && spec['nodeSelector'] !== null) findings.reject('spec.nodeSelector', 'cannot be read as a label selector');
  const routers = list(spec['virtualRouters']).map((item, i) => decodeRouter(record(item), `spec.virtualRouters[${i}]`, findings));
  if (routers.length === 0) findings.reject('spec.virtualRouters', 'at least one virtual router is needed');
  const asns = routers.map((router) => router.localAsn);
  for (const asn of new Set(asns.filter((one, i) => asns.indexOf(one) !== i))) findings.reject('spec.virtualRouters', `two virtual routers have the localASN ${asn}`);
  return {
    ref,
    apiVersion: text(object['apiVersion']) === '' ? 'cilium.io/v2alpha1' : text(object['apiVersion']),
    createdAt: object.metadata.creationTimestamp ?? '',
    nodeSelector,
    routers: findings.fatal ? [] : routers,
    rejections: findings.all,
  };
}

function decodeRouter(item: Json, path: string, findings: Findings): BgpRouterFact {
  for (const field of ['serviceSelector', 'podIPPoolSelector']) {
    if (item[field] !== undefined && item[field] !== null) findings.unsupported(`${path}.${field}`, `${field} is not supported yet: nothing is announced for it`);
  }
  const neighbors = list(item['neighbors']).map((neighbor, i) => decodeNeighbor(record(neighbor), `${path}.neighbors[${i}]`, findings));
  const keys = neighbors.map((neighbor) => neighbor.address);
  for (const address of new Set(keys.filter((one, i) => keys.indexOf(one) !== i))) findings.reject(`${path}.neighbors`, `two neighbors have the address ${address}`);
  return {localAsn: integer(item['localASN'], {path: `${path}.localASN`, min: 0, max: U32_MAX, fallback: null}, findings), exportPodCidr: item['exportPodCIDR'] === true, neighbors};
}

function decodeNeighbor(item: Json, path: string, findings: Findings): BgpNeighborFact {
  const holdTimeSeconds = integer(item['holdTimeSeconds'], {path: `${path}.holdTimeSeconds`, min: 3, max: 65535, fallback: DEFAULTS.hold}, findings);
  const keepaliveSeconds = integer(item['keepAliveTimeSeconds'], {path: `${path}.keepAliveTimeSeconds`, min: 1, max: 65535, fallback: DEFAULTS.keepalive}, findings);
  if (keepaliveSeconds > holdTimeSeconds) findings.reject(`${path}.keepAliveTimeSeconds`, `keepalive (${keepaliveSeconds} s) is longer than the hold time (${holdTimeSeconds} s)`);
  const restart = record(item['gracefulRestart']);
  const secret = text(item['authSecretRef']);
  if (secret !== '') findings.unsupported(`${path}.authSecretRef`, 'passwords from secrets are not supported yet: the session is not authenticated');
  return {
    address: peerAddress(item['peerAddress'], `${path}.peerAddress`, findings),
    asn: integer(item['peerASN'], {path: `${path}.peerASN`, min: 0, max: U32_MAX, fallback: null}, findings),
    port: integer(item['peerPort'], {path: `${path}.peerPort`, min: 1, max: 65535, fallback: DEFAULTS.port}, findings),
    holdTimeSeconds,
    keepaliveSeconds,
    connectRetrySeconds: integer(item['connectRetryTimeSeconds'], {path: `${path}.connectRetryTimeSeconds`, min: 1, max: 2147483647, fallback: DEFAULTS.connectRetry}, findings),
    multihopTtl: integer(item['eBGPMultihopTTL'], {path: `${path}.eBGPMultihopTTL`, min: 1, max: 255, fallback: DEFAULTS.multihopTtl}, findings),
    gracefulRestart: {
      enabled: restart['enabled'] === true,
      restartSeconds: integer(restart['restartTimeSeconds'], {path: `${path}.gracefulRestart.restartTimeSeconds`, min: 1, max: 4095, fallback: DEFAULTS.restart}, findings),
    },
    authSecret: secret === '' ? null : secret,
    families: families(item['families'], `${path}.families`, findings),
    podCidrAttributes: attributes(list(item['advertisedPathAttributes']), `${path}.advertisedPathAttributes`, findings),
  };
}

/** A prefix whose mask is ignored: `10.1.5.1/24` is the neighbor 10.1.5.1. */
function peerAddress(value: unknown, path: string, findings: Findings): string {
  const parsed = parseInterfaceAddress(text(value));
  if (parsed !== null) return formatAddress(parsed.address);
  findings.reject(path, `not an address with a length: ${JSON.stringify(value ?? null)}`);
  return '';
}

/** `fallback` null = the field is required, and 0 is a value. */
function integer(value: unknown, field: {path: string; min: number; max: number; fallback: number | null}, findings: Findings): number {
  const n = number(value);
  if (field.fallback !== null && (value === undefined || value === null || n === 0)) return field.fallback;
  if (n !== null && Number.isInteger(n) && n >= field.min && n <= field.max) return n;
  findings.reject(field.path, `not a whole number in ${field.min}..${field.max}: ${JSON.stringify(value ?? null)}`);
  return field.min;
}

/** Absent: both unicast families, as Cilium. */
function families(value: unknown, path: string, findings: Findings): readonly FamilyName[] {
  const items = list(value).map(record);
  if (items.length === 0) return [{afi: 'ipv4', safi: 'unicast'}, {afi: 'ipv6', safi: 'unicast'}];
  const supported: FamilyName[] = [];
  for (const [i, {afi, safi}] of items.entries()) {
    if ((afi === 'ipv4' || afi === 'ipv6') && safi === 'unicast') supported.push({afi, safi});
    else findings.unsupported(`${path}[${i}]`, `the family ${text(afi)}/${text(safi)} is not supported: it is not negotiated`);
  }
  return supported;
}

function attributes(items: readonly unknown[], path: string, findings: Findings): readonly BgpAttributesFact[] {
  return items.map(record).flatMap((item, i) => {
    if (item['selectorType'] !== 'PodCIDR') {
      findings.unsupported(`${path}[${i}]`, `selectorType ${text(item['selectorType'])} is not supported yet: no path has its attributes`);
      return [];
    }
    const selector = item['selector'] === undefined || item['selector'] === null ? null : labelSelector(item['selector']);
    if (selector === null && item['selector'] !== undefined && item['selector'] !== null) findings.reject(`${path}[${i}].selector`, 'cannot be read as a label selector');
    const communities = record(item['communities']);
    return [{
      selector,
      localPreference: number(item['localPreference']),
      communities: standardCommunities(communities, `${path}[${i}].communities`, findings),
      largeCommunities: [...new Set(strings(communities['large']))].sort(compareStrings),
    }];
  });
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
