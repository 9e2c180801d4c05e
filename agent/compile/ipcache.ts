// cilium_ipcache: prefix → identity and tunnel endpoint, from the operator's entries, the pods and addresses of this node.

import type {ResourceOf} from '../../lib/desired/tables.js';
import {IDENTITY_HOST, IDENTITY_WORLD} from '../../lib/domain/identity.js';
import type {IdentityId} from '../../lib/domain/identity.js';
import type {IpcacheEntry} from '../maps/ipcache.js';
import {ipcacheCodec} from '../maps/ipcache.js';
import type {LocalIdentities} from '../model/local-identities.js';
import {assignLocalIdentities} from '../model/local-identities.js';
import {endpointOwner} from '../model/local.js';
import type {NodeTables} from '../../lib/desired/tables.js';
import type {CompileInput} from './input.js';
import {because, identityOf, mapEntry} from './input.js';
import type {MapContent, MapEntry} from './kernel-state.js';
import type {Memo} from './memo.js';

/** Every address: world, and never a local identity. */
export const ALL_IPV4 = '0.0.0.0/0';

/** The prefixes that need a number of this node. IPv4: the datapath has no other family yet. */
export function localIdentityPrefixes(tables: NodeTables): string[] {
  const prefixes: string[] = [];
  for (const {value} of tables.ipcache.values()) {
    if (value.identity === null && value.prefix !== ALL_IPV4 && !isIPv6(value.prefix)) prefixes.push(value.prefix);
  }
  return prefixes;
}

/** Numbers for what `tables` names now; those in `before` stay. */
export function numberLocalIdentities(before: LocalIdentities, tables: NodeTables): LocalIdentities {
  return assignLocalIdentities(before, localIdentityPrefixes(tables));
}

export function compileIpcache(input: CompileInput, memo: Memo<readonly [string, MapEntry] | null>): MapContent {
  const entries = new Map<string, MapEntry>([worldEntry()]);
  for (const item of input.tables.ipcache.values()) {
    const number = item.value.identity ?? input.facts.localIdentities.get(item.value.prefix);
    const tunnelled = input.config.routingMode === 'tunnel';
    const own = input.config.nodeAddress;
    const entry = memo.of(item.key, [item, number, tunnelled, own], () => resourceEntry(item, number, tunnelled ? own : null));
    if (entry !== null) entries.set(...entry);
  }
  // What this node knows by itself wins over what it was told: it is newer.
  for (const endpoint of input.facts.endpoints.values()) {
    const identity = identityOf(input.tables, endpoint);
    entries.set(...localEntry(`${endpoint.ipv4}/32`, identity, because('endpoint', endpointOwner(endpoint))));
  }
  return entries;
}

function worldEntry(): readonly [string, MapEntry] {
  return mapEntry(ipcacheCodec, ALL_IPV4, {identity: IDENTITY_WORLD, tunnelEndpoint: null, skipTunnel: false}, []);
}

function localEntry(prefix: string, identity: IdentityId, blame: MapEntry['because']): readonly [string, MapEntry] {
  return mapEntry(ipcacheCodec, prefix, {identity, tunnelEndpoint: null, skipTunnel: false}, blame);
}

/** `ownAddress` null = native routing: nothing is tunnelled. A prefix that got no number keeps the identity around it. */
function resourceEntry(item: ResourceOf<'ipcache'>, number: IdentityId | undefined, ownAddress: string | null): readonly [string, MapEntry] | null {
  const {prefix, tunnelEndpoint, local} = item.value;
  if (isIPv6(prefix)) return null;
  const identity = prefix === ALL_IPV4 ? IDENTITY_WORLD : local ? IDENTITY_HOST : number;
  if (identity === undefined) return null;
  const remote = ownAddress !== null && tunnelEndpoint !== ownAddress ? tunnelEndpoint : null;
  const entry: IpcacheEntry = {identity, tunnelEndpoint: remote, skipTunnel: false};
  return mapEntry(ipcacheCodec, prefix, entry, because('ipcache', item.key));
}

function isIPv6(prefix: string): boolean {
  return prefix.includes(':');
}
