// STATE of `datapath run`: what `policy compile -o json` prints, and under `datapath` what a node is beyond that.

import type {CompileJson} from '../../lib/policy/format.js';
import {usage} from '../errors.js';

/** All of it may be left out. */
export interface NodeSettings {
  /** Whose endpoints are local: the first endpoint's when it is left out. */
  readonly node?: string;
  readonly nodeAddress?: string;
  readonly nodeAddressIpv6?: string;
  readonly routingMode?: 'native' | 'tunnel';
  readonly podCidrs?: readonly string[];
  readonly masquerade?: boolean;
  readonly masqueradeExclusions?: readonly string[];
  readonly nonMasqueradeCidrs?: readonly string[];
  readonly masqueradeRemoteNodes?: boolean;
  readonly announced?: readonly string[];
  /** What the kernel's routes would answer for packets that leave. */
  readonly route?: {readonly ifindex: number; readonly via?: string};
}

export interface EndpointPlace {
  readonly mac?: string;
  readonly nodeMac?: string;
  readonly ifindex?: number;
}

export type StateEndpoint = CompileJson['endpoints'][number] & EndpointPlace;

export interface DatapathState {
  readonly ipcache: CompileJson['ipcache'];
  readonly endpoints: readonly StateEndpoint[];
  readonly settings: NodeSettings;
}

export function decodeState(text: string, node: string | null): DatapathState {
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch (error) {
    throw usage(`--state is not JSON: ${String(error)}`);
  }
  const {ipcache, endpoints, datapath = {}} = record(parsed, 'the state');
  const settings = record(datapath, 'datapath') as NodeSettings;
  const all = list(endpoints, 'endpoints').map((endpoint, i) => decodeEndpoint(endpoint, `endpoints[${i}]`));
  const own = node ?? settings.node ?? all[0]?.node ?? '';
  return {
    ipcache: list(ipcache, 'ipcache').map((entry, i) => {
      const {prefix, identity, tunnelEndpoint = null} = record(entry, `ipcache[${i}]`);
      if (typeof prefix !== 'string' || typeof identity !== 'number' || (tunnelEndpoint !== null && typeof tunnelEndpoint !== 'string')) throw usage(`ipcache[${i}]: prefix, identity and tunnelEndpoint are needed`);
      return {prefix, identity, tunnelEndpoint, encryptKey: 0};
    }),
    endpoints: all.filter((endpoint) => endpoint.node === own), settings,
  };
}

function decodeEndpoint(value: unknown, path: string): StateEndpoint {
  const endpoint = record(value, path);
  const {namespace, name, ips, node, identity} = endpoint;
  if (typeof namespace !== 'string' || typeof name !== 'string' || typeof node !== 'string' || typeof identity !== 'number') throw usage(`${path}: namespace, name, node and identity are needed`);
  list(ips, `${path}.ips`);
  for (const [i, entry] of list(endpoint['entries'], `${path}.entries`).entries()) {
    const {direction, identity: peer, precedence} = record(entry, `${path}.entries[${i}]`);
    if ((direction !== 'ingress' && direction !== 'egress') || typeof peer !== 'number' || typeof precedence !== 'number') throw usage(`${path}.entries[${i}]: direction, identity and precedence are needed`);
  }
  return endpoint as unknown as StateEndpoint;
}

function record(value: unknown, path: string): Readonly<Record<string, unknown>> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw usage(`${path} is not an object`);
  return value as Readonly<Record<string, unknown>>;
}

function list(value: unknown, path: string): readonly unknown[] {
  if (!Array.isArray(value)) throw usage(`${path} is not a list: the state is what \`stentorctl policy compile -o json\` prints`);
  return value;
}
