// What the answers depend on besides the objects: the operator's own options, or Cilium's ConfigMap.

import {readFile} from 'node:fs/promises';
import {parse} from 'yaml';
import {LabelFilter} from '../../lib/domain/label-filter.js';
import {parseLabelFilter} from '../../lib/domain/label-filter-parse.js';
import type {EnforcementMode} from '../../lib/domain/policy.js';
import {isRecord} from '../../lib/kube/object.js';
import {parseAddress} from '../../lib/core/ip.js';
import {usage} from '../errors.js';

export interface Settings {
  readonly clusterName: string;
  readonly mode: EnforcementMode;
  readonly allowLocalhost: boolean;
  readonly routingMode: 'native' | 'tunnel';
  readonly invalidPolicy: 'isolate' | 'ignore';
  /** Null: IPv6 when a pod or a node has such an address. */
  readonly enableIPv6: boolean | null;
  readonly defaultLbServiceIpam: 'lbipam' | 'nodeipam' | 'none';
  /** What ICMP type 0 means. */
  readonly icmpTypeZero: 'exact' | 'any';
  /** Which labels make identities. */
  readonly labelFilter: LabelFilter;
  /** What DNS would answer: lower case, with the dot of the root. */
  readonly names: Names;
}

export type Names = readonly (readonly [name: string, addresses: readonly string[]])[];

export const DEFAULT_SETTINGS: Settings = {
  clusterName: 'default', mode: 'default', allowLocalhost: true, routingMode: 'tunnel', invalidPolicy: 'isolate', enableIPv6: null, defaultLbServiceIpam: 'lbipam',
  icmpTypeZero: 'exact', labelFilter: LabelFilter.DEFAULT, names: [],
};

type Values = Readonly<Record<string, unknown>>;

/** `path`: the operator's file, or a ConfigMap such as cilium-config with the same names in `data`. */
export async function readSettings(path: string | null): Promise<Settings> {
  if (path === null) return DEFAULT_SETTINGS;
  const text = await readFile(path, 'utf8').catch((error: unknown) => {
    throw usage(`--config: ${error instanceof Error ? error.message : String(error)}`);
  });
  return settingsOf(text, path);
}

export function settingsOf(text: string, path: string): Settings {
  let json: unknown;
  try {
    json = parse(text);
  } catch (error) {
    throw usage(`--config ${path}: ${error instanceof Error ? error.message.split('\n')[0] ?? '' : String(error)}`);
  }
  if (!isRecord(json)) throw usage(`--config ${path}: names and values are expected`);
  const values: Values = isRecord(json['data']) ? json['data'] : json;
  const clusterName = values['cluster-name'] ?? DEFAULT_SETTINGS.clusterName;
  if (typeof clusterName !== 'string' || clusterName === '') throw usage(`--config ${path}: cluster-name is a name`);
  return {
    ...DEFAULT_SETTINGS,
    clusterName,
    mode: oneOf(values, 'enable-policy', ['default', 'always', 'never'], path) ?? DEFAULT_SETTINGS.mode,
    // `auto` is Cilium's default, which in Kubernetes means `always`.
    allowLocalhost: !['false', 'policy'].includes(oneOf(values, 'allow-localhost', ['true', 'false', 'auto', 'always', 'policy'], path) ?? 'auto'),
    routingMode: oneOf(values, 'routing-mode', ['native', 'tunnel'], path) ?? DEFAULT_SETTINGS.routingMode,
    invalidPolicy: oneOf(values, 'invalid-policy', ['isolate', 'ignore'], path) ?? DEFAULT_SETTINGS.invalidPolicy,
    defaultLbServiceIpam: oneOf(values, 'default-lb-service-ipam', ['lbipam', 'nodeipam', 'none'], path) ?? DEFAULT_SETTINGS.defaultLbServiceIpam,
    icmpTypeZero: oneOf(values, 'icmp-type-zero', ['exact', 'any'], path) ?? DEFAULT_SETTINGS.icmpTypeZero,
    labelFilter: labelFilterOf(values['labels'] ?? '', path),
    enableIPv6: ipv6Of(oneOf(values, 'enable-ipv6', ['true', 'false'], path)),
  };
}

function labelFilterOf(value: unknown, path: string): LabelFilter {
  const filter = typeof value === 'string' ? parseLabelFilter(value) : 'a text is expected';
  if (typeof filter === 'string') throw usage(`--config ${path}: labels: ${filter}`);
  return filter;
}

function ipv6Of(text: 'true' | 'false' | null): boolean | null {
  return text === null ? null : text === 'true';
}

function oneOf<T extends string>(values: Values, name: string, allowed: readonly T[], path: string): T | null {
  const value = values[name];
  if (value === undefined || value === '') return null;
  const found = allowed.find((known) => known === String(value as string | boolean));
  if (found === undefined) throw usage(`--config ${path}: ${name} is one of ${allowed.join(', ')}`);
  return found;
}

/** `--names`: addresses by DNS name, as YAML or JSON. */
export async function readNames(path: string): Promise<Names> {
  const text = await readFile(path, 'utf8').catch((error: unknown) => {
    throw usage(`--names: ${error instanceof Error ? error.message : String(error)}`);
  });
  const json: unknown = parse(text);
  if (!isRecord(json)) throw usage(`--names ${path}: names and their addresses are expected`);
  return Object.entries(json).map(([name, value]) => {
    const addresses: readonly unknown[] = Array.isArray(value) ? value : [value];
    const wrong = addresses.find((address) => typeof address !== 'string' || parseAddress(address) === null);
    if (wrong !== undefined) throw usage(`--names ${path}: ${name}: ${JSON.stringify(wrong)} is not an address`);
    return [`${name.toLowerCase().replace(/\.$/, '')}.`, addresses.map(String)] as const;
  });
}
