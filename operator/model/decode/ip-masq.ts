// ConfigMap ip-masq-agent → MasqueradeFact: the ip-masq-agent's file format, YAML or JSON, under the key `config`.

import {parse} from 'yaml';
import {formatPrefix, parseInterfaceAddress, parsePrefix} from '../../../lib/core/ip.js';
import {compareStrings} from '../../../lib/core/order.js';
import type {KubeObject} from '../../watch/feed-types.js';
import type {MasqueradeFact} from '../facts.js';
import {record, refOf, text} from './json.js';

/** Absent, without the key, or empty: the defaults. Present but unreadable: broken, as a whole. */
export function decodeIpMasq(object: KubeObject): MasqueradeFact {
  const source = text(record(object['data'])['config']);
  if (source === '') return {kind: 'defaults'};
  const reference = refOf('ConfigMap', object);
  const broken = (reason: string): MasqueradeFact => ({kind: 'broken', object: reference, reason});
  let parsed: unknown;
  try {
    parsed = parse(source, {maxAliasCount: 0});
  } catch (error) {
    return broken(`config is neither YAML nor JSON: ${error instanceof Error ? (error.message.split('\n')[0] ?? '') : String(error)}`);
  }
  if (parsed !== null && (typeof parsed !== 'object' || Array.isArray(parsed))) return broken('config is not an object');
  const fields = record(parsed);
  const [cidrs, masqLinkLocal, masqLinkLocalIPv6] = [fieldOf(fields, 'nonMasqueradeCIDRs'), fieldOf(fields, 'masqLinkLocal'), fieldOf(fields, 'masqLinkLocalIPv6')];
  if (cidrs !== null && !Array.isArray(cidrs)) return broken('nonMasqueradeCIDRs is not a list');
  for (const [name, value] of Object.entries({masqLinkLocal, masqLinkLocalIPv6})) {
    if (value !== null && typeof value !== 'boolean') return broken(`${name} is neither true nor false`);
  }
  const prefixes = new Set<string>();
  for (const [i, item] of (cidrs ?? []).entries()) {
    const prefix = typeof item === 'string' && parseInterfaceAddress(item) !== null ? parsePrefix(item) : null;
    if (prefix === null) return broken(`nonMasqueradeCIDRs[${i}] is not a prefix: ${JSON.stringify(item)}`);
    prefixes.add(formatPrefix(prefix));
  }
  return {kind: 'configured', cidrs: [...prefixes].sort(compareStrings), masqueradeLinkLocal: masqLinkLocal === true, masqueradeLinkLocalIpv6: masqLinkLocalIPv6 === true};
}

/** The agents of others read such files with Go, for which the case of a name says nothing where no name is exact. */
function fieldOf(fields: Readonly<Record<string, unknown>>, name: string): unknown {
  const found = name in fields ? name : Object.keys(fields).find((key) => key.toLowerCase() === name.toLowerCase());
  return found === undefined ? null : (fields[found] ?? null);
}
