// CiliumBGPPeeringPolicy v2alpha1 → BgpPolicyFact.

import {formatAddress, parseInterfaceAddress} from '../../../lib/core/ip.js';
import type {FamilyName} from '../../../lib/domain/bgp.js';
import type {KubeObject} from '../../watch/feed-types.js';
import type {Announcement, AttributeRule, BgpNeighborFact, BgpPolicyFact, BgpRouterFact} from '../bgp-facts.js';
import {
  bfd, BOTH_FAMILIES, duplicates, family, Findings, gracefulRestart, integer, multihopTtl, objectFact, optionalSelector, pathAttributes, peerPort,
  secretName, serviceAddressTypes, timers, U32_MAX,
} from './bgp-common.js';
import {list, record, refOf, text, type Json} from './json.js';

const KIND = 'CiliumBGPPeeringPolicy';

export function decodeBgpPeeringPolicy(object: KubeObject): BgpPolicyFact {
  const findings = new Findings(refOf(KIND, object));
  const spec = record(object['spec']);
  const nodeSelector = optionalSelector(spec['nodeSelector'], 'spec.nodeSelector', findings);
  const detection = bfd(object, findings);
  const routers = list(spec['virtualRouters']).map((item, i) => withDetection(decodeRouter(record(item), `spec.virtualRouters[${i}]`, findings), detection));
  if (routers.length === 0) findings.reject('spec.virtualRouters', 'at least one virtual router is needed');
  for (const asn of duplicates(routers.map((router) => router.localAsn))) findings.reject('spec.virtualRouters', `two virtual routers have the localASN ${asn}`);
  return {
    ...objectFact(KIND, {apiVersion: 'cilium.io/v2alpha1', ...object}, findings),
    nodeSelector, routers: findings.invalid === null ? routers : [],
  };
}

function decodeRouter(item: Json, path: string, findings: Findings): BgpRouterFact {
  const neighbors = list(item['neighbors']).map((neighbor, i) => decodeNeighbor(record(neighbor), `${path}.neighbors[${i}]`, findings));
  for (const address of duplicates(neighbors.map(({peer}) => peer.address))) findings.reject(`${path}.neighbors`, `two neighbors have the address ${address}`);
  return {
    localAsn: integer(item['localASN'], {path: `${path}.localASN`, min: 0, max: U32_MAX, fallback: null}, findings),
    neighbors, announcements: announcements(item, path, findings),
  };
}

/** The annotation is about every neighbor. */
function withDetection(router: BgpRouterFact, detection: ReturnType<typeof bfd>): BgpRouterFact {
  return {...router, neighbors: router.neighbors.map((neighbor) => ({...neighbor, peer: {...neighbor.peer, ...detection}}))};
}

function announcements(item: Json, path: string, findings: Findings): readonly Announcement[] {
  const services = optionalSelector(item['serviceSelector'], `${path}.serviceSelector`, findings);
  const pools = optionalSelector(item['podIPPoolSelector'], `${path}.podIPPoolSelector`, findings);
  const addresses = serviceAddressTypes(item['serviceAdvertisements'], `${path}.serviceAdvertisements`, findings);
  const all: Announcement[] = [];
  if (item['exportPodCIDR'] === true) all.push({kind: 'PodCIDR'});
  if (services !== null) all.push({kind: 'Service', selector: services, addresses: addresses.length === 0 ? ['LoadBalancerIP'] : addresses, aggregation: {ipv4: null, ipv6: null}});
  if (pools !== null) all.push({kind: 'CiliumPodIPPool', selector: pools});
  return all;
}

function decodeNeighbor(item: Json, path: string, findings: Findings): BgpNeighborFact {
  return {
    peer: {
      address: peerAddress(item['peerAddress'], `${path}.peerAddress`, findings),
      asn: integer(item['peerASN'], {path: `${path}.peerASN`, min: 0, max: U32_MAX, fallback: null}, findings),
      port: peerPort(item['peerPort'], `${path}.peerPort`, findings),
      ...timers(item, path, findings),
      multihopTtl: multihopTtl(item['eBGPMultihopTTL'], `${path}.eBGPMultihopTTL`, findings),
      gracefulRestart: gracefulRestart(item['gracefulRestart'], `${path}.gracefulRestart`, findings),
      authSecret: secretName(item['authSecretRef']),
      families: families(item['families'], `${path}.families`, findings),
    },
    attributes: list(item['advertisedPathAttributes']).map((one, i) => attributeRule(record(one), `${path}.advertisedPathAttributes[${i}]`, findings)),
  };
}

/** A prefix whose mask is ignored: `10.1.5.1/24` is the neighbor 10.1.5.1. */
function peerAddress(value: unknown, path: string, findings: Findings): string {
  const parsed = parseInterfaceAddress(text(value));
  if (parsed !== null) return formatAddress(parsed.address);
  findings.reject(path, `not an address with a length: ${JSON.stringify(value ?? null)}`);
  return '';
}

/** Absent: both unicast families, as Cilium. */
function families(value: unknown, path: string, findings: Findings): readonly FamilyName[] {
  const items = list(value).map(record);
  return items.length === 0 ? BOTH_FAMILIES : items.flatMap((item, i) => family(item, `${path}[${i}]`, findings) ?? []);
}

const SELECTOR_TYPES = ['PodCIDR', 'CiliumLoadBalancerIPPool', 'CiliumPodIPPool'] as const;

function attributeRule(item: Json, path: string, findings: Findings): AttributeRule {
  const from = SELECTOR_TYPES.find((type) => type === item['selectorType']);
  if (from === undefined) findings.reject(`${path}.selectorType`, `not one of ${SELECTOR_TYPES.join(', ')}: ${JSON.stringify(item['selectorType'] ?? null)}`);
  return {from: from ?? 'PodCIDR', selector: optionalSelector(item['selector'], `${path}.selector`, findings), attributes: pathAttributes(item, path, findings)};
}
