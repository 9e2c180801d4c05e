// The ip-masq-agent ConfigMap → which destinations pods reach with their own address.

import {comparePrefixes, formatPrefix, parsePrefix, type Prefix} from '../../lib/core/ip.js';
import {resource} from '../../lib/desired/diff.js';
import type {Resource} from '../../lib/desired/node-state.js';
import {hasFamily, type Families} from '../../lib/domain/identity.js';
import type {MasqueradeFact} from '../model/facts.js';

/** What applies without a ConfigMap, or with an empty one (RFC 6890 and friends; Cilium's list). */
const DEFAULT_CIDRS = [
  '10.0.0.0/8', '172.16.0.0/12', '192.168.0.0/16', '100.64.0.0/10', '192.0.0.0/24', '192.0.2.0/24', '192.88.99.0/24',
  '198.18.0.0/15', '198.51.100.0/24', '203.0.113.0/24', '240.0.0.0/4',
];
const LINK_LOCAL = '169.254.0.0/16';
const LINK_LOCAL_IPV6 = 'fe80::/10';

export const MASQUERADE_KEY = 'masquerade';

/** Prefixes of a family that is off are left out. */
export function compileMasquerade(fact: MasqueradeFact | null, families: Families): Resource {
  if (fact === null || fact.kind === 'defaults') {
    return resource('masquerade', MASQUERADE_KEY, {hold: null, nonMasqueradeCidrs: canonical([...DEFAULT_CIDRS, LINK_LOCAL, LINK_LOCAL_IPV6], families), source: 'defaults'});
  }
  if (fact.kind === 'broken') {
    return resource('masquerade', MASQUERADE_KEY, {hold: {reason: fact.reason}, nonMasqueradeCidrs: [], source: 'configmap'});
  }
  const cidrs = [...fact.cidrs, ...(fact.masqueradeLinkLocal ? [] : [LINK_LOCAL]), ...(fact.masqueradeLinkLocalIpv6 ? [] : [LINK_LOCAL_IPV6])];
  return resource('masquerade', MASQUERADE_KEY, {hold: null, nonMasqueradeCidrs: canonical(cidrs, families), source: 'configmap'});
}

function canonical(cidrs: readonly string[], families: Families): string[] {
  const prefixes = new Map<string, Prefix>();
  for (const cidr of cidrs) {
    const prefix = parsePrefix(cidr);
    if (prefix !== null && hasFamily(families, prefix.family)) prefixes.set(formatPrefix(prefix), prefix);
  }
  return [...prefixes].sort(([, a], [, b]) => comparePrefixes(a, b)).map(([text]) => text);
}
