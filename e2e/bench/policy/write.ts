// Entries into a real policy map, in batches: the CPU time of it.

import type {MapStateEntry} from '../../../lib/domain/policy.js';
import {BpfMap} from '../../../agent/kernel/bpf.js';
import {encodePolicyKey, encodePolicyValue} from '../../../agent/maps/policy.js';
import {POLICY_INNER_MAP} from '../../../agent/maps/registry.js';
import {cpuMs} from './cluster.js';

/** NaN without the rights to make maps. */
export function writeEntries(entries: readonly MapStateEntry[]): number {
  if (process.getuid?.() !== 0) return Number.NaN;
  const map = BpfMap.create({...POLICY_INNER_MAP, maxEntries: Math.max(POLICY_INNER_MAP.maxEntries, entries.length)});
  try {
    return cpuMs(() => {
      map.updateBatch(entries.map((entry) => [encodePolicyKey(entry), encodePolicyValue(entry, {deny: entry.deny, precedence: entry.precedence, cookie: 0, proxyPort: 0})]));
    }).ms;
  } finally {
    map.close();
  }
}
