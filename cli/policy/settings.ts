// What the answers depend on besides the objects: the operator's own options, or Cilium's ConfigMap.

import {readFile} from 'node:fs/promises';
import {parse} from 'yaml';
import type {EnforcementMode} from '../../lib/domain/policy.js';
import {isRecord} from '../../lib/kube/object.js';
import {usage} from '../errors.js';

export interface Settings {
  readonly clusterName: string;
  readonly mode: EnforcementMode;
  readonly allowLocalhost: boolean;
  readonly routingMode: 'native' | 'tunnel';
  readonly invalidPolicy: 'isolate' | 'ignore';
}

export const DEFAULT_SETTINGS: Settings = {clusterName: 'default', mode: 'default', allowLocalhost: true, routingMode: 'tunnel', invalidPolicy: 'isolate'};

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
    clusterName,
    mode: oneOf(values, 'enable-policy', ['default', 'always', 'never'], path) ?? DEFAULT_SETTINGS.mode,
    // `auto` is Cilium's default, which in Kubernetes means `always`.
    allowLocalhost: !['false', 'policy'].includes(oneOf(values, 'allow-localhost', ['true', 'false', 'auto', 'always', 'policy'], path) ?? 'auto'),
    routingMode: oneOf(values, 'routing-mode', ['native', 'tunnel'], path) ?? DEFAULT_SETTINGS.routingMode,
    invalidPolicy: oneOf(values, 'invalid-policy', ['isolate', 'ignore'], path) ?? DEFAULT_SETTINGS.invalidPolicy,
  };
}

function oneOf<T extends string>(values: Values, name: string, allowed: readonly T[], path: string): T | null {
  const value = values[name];
  if (value === undefined || value === '') return null;
  const found = allowed.find((known) => known === String(value as string | boolean));
  if (found === undefined) throw usage(`--config ${path}: ${name} is one of ${allowed.join(', ')}`);
  return found;
}
