// What follows from a node's PodCIDRs.

import {addressAt, contains, formatAddress, maxLength, parseAddress, parsePrefix, prefixOf, type Family} from '../../lib/core/ip.js';

/** The CiliumInternalIP: first address of the first PodCIDR of the family that has room for pods. Null without one. */
export function routerAddress(podCidrs: readonly string[], family: Family = 4): string | null {
  for (const text of podCidrs) {
    const prefix = parsePrefix(text);
    if (prefix === null || prefix.family !== family || prefix.length > maxLength(family) - 2) continue;
    const first = addressAt(prefix, 1);
    return first === null ? null : formatAddress(first);
  }
  return null;
}

export function inPodCidrs(podCidrs: readonly string[], address: string): boolean {
  const parsed = parseAddress(address);
  if (parsed === null) return false;
  return podCidrs.some((text) => {
    const prefix = parsePrefix(text);
    return prefix !== null && prefix.family === parsed.family && contains(prefix, prefixOf(parsed, parsed.family === 4 ? 32 : 128));
  });
}
