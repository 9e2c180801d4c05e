// The BGPv2 kinds, in v2 and v2alpha1 alike: CiliumBGPClusterConfig, PeerConfig, Advertisement, NodeConfigOverride → facts.

import {formatAddress, parseAddress} from '../../../lib/core/ip.js';
import {DEFAULT_GATEWAY} from '../../../lib/domain/bgp.js';
import {Labels} from '../../../lib/domain/labels.js';
import type {KubeObject} from '../../watch/feed-types.js';
import type {
  Announcement, BgpAdvertisementFact, BgpClusterConfigFact, BgpInstanceFact, BgpInstancePeerFact, BgpOverrideFact, BgpPeerConfigFact,
} from '../bgp-facts.js';
import {
  bfd, BOTH_FAMILIES, duplicates, family, Findings, gracefulRestart, integer, isAbsent, multihopTtl, objectFact, optionalInteger, optionalSelector,
  pathAttributes, peerPort, secretName, serviceAddressTypes, timers, U32_MAX,
} from './bgp-common.js';
import {list, record, refOf, stringMap, text, type Json} from './json.js';

export function decodeBgpClusterConfig(object: KubeObject): BgpClusterConfigFact {
  const findings = new Findings(refOf('CiliumBGPClusterConfig', object));
  const spec = record(object['spec']);
  const nodeSelector = optionalSelector(spec['nodeSelector'], 'spec.nodeSelector', findings);
  const instances = list(spec['bgpInstances']).map((item, i) => decodeInstance(record(item), `spec.bgpInstances[${i}]`, findings));
  if (instances.length === 0) findings.reject('spec.bgpInstances', 'at least one instance is needed');
  for (const name of duplicates(instances.map((instance) => instance.name))) findings.reject('spec.bgpInstances', `two instances have the name ${name}`);
  return {...objectFact('CiliumBGPClusterConfig', object, findings), nodeSelector, instances: findings.invalid === null ? instances : []};
}

function decodeInstance(item: Json, path: string, findings: Findings): BgpInstanceFact {
  const peers = list(item['peers']).map((peer, i) => decodePeer(record(peer), `${path}.peers[${i}]`, findings));
  for (const name of duplicates(peers.map((peer) => peer.name))) findings.reject(`${path}.peers`, `two peers have the name ${name}`);
  for (const address of duplicates(peers.flatMap((peer) => peer.address ?? []))) findings.reject(`${path}.peers`, `two peers have the address ${address}`);
  return {
    name: name(item, path, findings),
    localAsn: optionalInteger(item['localASN'], {path: `${path}.localASN`, min: 1, max: U32_MAX}, findings),
    localPort: optionalInteger(item['localPort'], {path: `${path}.localPort`, min: 1, max: 65535}, findings),
    peers,
  };
}

function name(item: Json, path: string, findings: Findings): string {
  if (text(item['name']) === '') findings.reject(`${path}.name`, 'a name is needed');
  return text(item['name']);
}

function decodePeer(item: Json, path: string, findings: Findings): BgpInstancePeerFact {
  const written = optionalAddress(item['peerAddress'], `${path}.peerAddress`, findings);
  const peerConfig = text(record(item['peerConfigRef'])['name']);
  return {
    name: name(item, path, findings),
    asn: integer(item['peerASN'], {path: `${path}.peerASN`, min: 0, max: U32_MAX, fallback: 0}, findings),
    address: written ?? discovered(item['autoDiscovery'], `${path}.autoDiscovery`, findings),
    peerConfig: peerConfig === '' ? null : peerConfig,
  };
}

/** The address that stands for the default gateway. */
function discovered(value: unknown, path: string, findings: Findings): string | null {
  if (isAbsent(value)) return null;
  const {mode, defaultGateway} = record(value);
  const {addressFamily} = record(defaultGateway);
  if (mode === 'DefaultGateway' && (addressFamily === 'ipv4' || addressFamily === 'ipv6')) return DEFAULT_GATEWAY[addressFamily];
  findings.reject(path, 'not the DefaultGateway of ipv4 or ipv6');
  return null;
}

function optionalAddress(value: unknown, path: string, findings: Findings): string | null {
  if (isAbsent(value) || value === '') return null;
  const address = parseAddress(text(value));
  if (address === null) findings.reject(path, `not an address: ${JSON.stringify(value)}`);
  return address === null ? null : formatAddress(address);
}

export function decodeBgpPeerConfig(object: KubeObject): BgpPeerConfigFact {
  const findings = new Findings(refOf('CiliumBGPPeerConfig', object));
  const spec = record(object['spec']);
  const transport = record(spec['transport']);
  const sourceInterface = text(transport['sourceInterface']);
  const localPort = optionalInteger(transport['localPort'], {path: 'spec.transport.localPort', min: 1, max: 65535}, findings);
  const families = list(spec['families']).map(record);
  return {
    settings: {
      port: peerPort(transport['peerPort'], 'spec.transport.peerPort', findings),
      ...timers(record(spec['timers']), 'spec.timers', findings),
      multihopTtl: multihopTtl(spec['ebgpMultihop'], 'spec.ebgpMultihop', findings),
      gracefulRestart: gracefulRestart(spec['gracefulRestart'], 'spec.gracefulRestart', findings),
      authSecret: secretName(spec['authSecretRef']),
      ...bfd(object, findings),
      ...(sourceInterface === '' ? {} : {sourceInterface}),
      ...(localPort === null ? {} : {localPort}),
    },
    families: families.length === 0 ? BOTH_FAMILIES.map((one) => ({family: one, advertisements: null})) : families.flatMap((item, i) => {
      const path = `spec.families[${i}]`;
      const one = family(item, path, findings);
      return one === null ? [] : [{family: one, advertisements: optionalSelector(item['advertisements'], `${path}.advertisements`, findings)}];
    }),
    ...objectFact('CiliumBGPPeerConfig', object, findings),
  };
}

/** Cilium's defaults, for a peer that names no configuration: nothing is announced to it. */
export const DEFAULT_PEER_CONFIG: BgpPeerConfigFact = decodeBgpPeerConfig({metadata: {name: ''}});

export function decodeBgpAdvertisement(object: KubeObject): BgpAdvertisementFact {
  const findings = new Findings(refOf('CiliumBGPAdvertisement', object));
  const items = list(record(object['spec'])['advertisements']).map(record);
  const announcements = items.flatMap((item, i) => {
    const path = `spec.advertisements[${i}]`;
    const what = announcement(item, path, findings);
    return what === null ? [] : [{what, attributes: pathAttributes(record(item['attributes']), `${path}.attributes`, findings)}];
  });
  return {
    labels: new Labels(Object.entries(stringMap(object.metadata.labels)).map(([key, value]) => ({source: 'k8s', key, value}))),
    announcements,
    ...objectFact('CiliumBGPAdvertisement', object, findings),
  };
}

/** null = nothing, as Cilium: services and pools need a selector. */
function announcement(item: Json, path: string, findings: Findings): Announcement | null {
  const type = item['advertisementType'];
  const selector = optionalSelector(item['selector'], `${path}.selector`, findings);
  switch (type) {
    case 'PodCIDR':
      return {kind: 'PodCIDR'};
    case 'CiliumPodIPPool':
      return selector === null ? null : {kind: 'CiliumPodIPPool', selector};
    case 'Service':
      return services(item, path, findings);
    case 'Interface':
      return interfaceName(item, path, findings);
    default:
      findings.reject(`${path}.advertisementType`, `not an advertisement type: ${JSON.stringify(type ?? null)}`);
      return null;
  }
}

function interfaceName(item: Json, path: string, findings: Findings): Announcement | null {
  const written = text(record(item['interface'])['name']);
  if (written !== '') return {kind: 'Interface', name: written};
  findings.reject(`${path}.interface.name`, 'the name of an interface is needed');
  return null;
}

function services(item: Json, path: string, findings: Findings): Announcement | null {
  const service = record(item['service']);
  const addresses = serviceAddressTypes(service['addresses'], `${path}.service.addresses`, findings);
  if (addresses.length === 0) findings.reject(`${path}.service.addresses`, 'at least one kind of address is needed');
  const selector = optionalSelector(item['selector'], `${path}.selector`, findings);
  if (selector === null) return null;
  return {
    kind: 'Service', selector, addresses,
    aggregation: {
      ipv4: aggregation(service['aggregationLengthIPv4'], {path: `${path}.service.aggregationLengthIPv4`, max: 31}, findings),
      ipv6: aggregation(service['aggregationLengthIPv6'], {path: `${path}.service.aggregationLengthIPv6`, max: 127}, findings),
    },
  };
}

/** 0 is the default, too: a host route. */
function aggregation(value: unknown, field: {path: string; max: number}, findings: Findings): number | null {
  const length = optionalInteger(value, {...field, min: 0}, findings);
  return length === 0 ? null : length;
}

export function decodeBgpOverride(object: KubeObject): BgpOverrideFact {
  const findings = new Findings(refOf('CiliumBGPNodeConfigOverride', object));
  const instances = list(record(object['spec'])['bgpInstances']).map((one, i) => decodeOverride(record(one), `spec.bgpInstances[${i}]`, findings));
  for (const twice of duplicates(instances.map((instance) => instance.name))) findings.reject('spec.bgpInstances', `two instances have the name ${twice}`);
  return {instances, ...objectFact('CiliumBGPNodeConfigOverride', object, findings)};
}

function decodeOverride(item: Json, path: string, findings: Findings): BgpOverrideFact['instances'][number] {
  const routerId = optionalAddress(item['routerID'], `${path}.routerID`, findings);
  if (routerId?.includes(':') === true) findings.reject(`${path}.routerID`, `not an IPv4 address: ${routerId}`);
  return {
    name: name(item, path, findings), routerId,
    localAsn: optionalInteger(item['localASN'], {path: `${path}.localASN`, min: 1, max: U32_MAX}, findings),
    localPort: optionalInteger(item['localPort'], {path: `${path}.localPort`, min: 1, max: 65535}, findings),
    peers: list(item['peers']).map(record).map((peer, i) => {
      const at = `${path}.peers[${i}]`;
      return {
        name: name(peer, at, findings), localAddress: optionalAddress(peer['localAddress'], `${at}.localAddress`, findings),
        localPort: optionalInteger(peer['localPort'], {path: `${at}.localPort`, min: 1, max: 65535}, findings),
      };
    }),
  };
}
