// cilium_ipcache: prefix → identity and tunnel endpoint, from the operator's entries, the pods and addresses of this node.

import {maxLength} from '../../lib/core/ip.js';
import type {Family} from '../../lib/core/ip.js';
import {single} from '../../lib/desired/tables.js';
import type {ResourceOf} from '../../lib/desired/tables.js';
import {hasFamily, IDENTITY_HOST, worldIdentity} from '../../lib/domain/identity.js';
import type {IdentityId} from '../../lib/domain/identity.js';
import type {IpcacheEntry} from '../maps/ipcache.js';
import {ipcacheCodec} from '../maps/ipcache.js';
import type {LocalIdentities} from '../model/local-identities.js';
import {assignLocalIdentities} from '../model/local-identities.js';
import {endpointAddresses, endpointOwner} from '../model/local.js';
import type {NodeTables} from '../../lib/desired/tables.js';
import type {CompileInput} from './input.js';
import {because, familiesOf, familyOf, identityOf, isActive, mapEntry} from './input.js';
import type {MapContent, MapEntry} from './kernel-state.js';
import type {Memo} from './memo.js';

/** Every address of a family: its world, and never a local identity. */
const EVERYWHERE: ReadonlyMap<string, Family> = new Map([['0.0.0.0/0', 4], ['::/0', 6]]);

/** The prefixes that need a number of this node: of IPv6 only while it is on in the cluster. */
export function localIdentityPrefixes(tables: NodeTables): string[] {
  const prefixes: string[] = [];
  const hasIpv6 = single(tables, 'node-config')?.ipv6 !== undefined;
  for (const {value} of tables.ipcache.values()) {
    if (value.identity !== null || EVERYWHERE.has(value.prefix)) continue;
    if (hasIpv6 || familyOf(value.prefix) === 4) prefixes.push(value.prefix);
  }
  return prefixes;
}

/** Numbers for what `tables` names now; those in `before` stay. */
export function numberLocalIdentities(before: LocalIdentities, tables: NodeTables): LocalIdentities {
  return assignLocalIdentities(before, localIdentityPrefixes(tables));
}

export function compileIpcache(input: CompileInput, memo: Memo<readonly [string, MapEntry] | null>): MapContent {
  const families = familiesOf(input);
  const entries = new Map<string, MapEntry>();
  for (const [prefix, family] of EVERYWHERE) if (hasFamily(families, family)) entries.set(...localEntry(prefix, worldIdentity(families, family), []));
  for (const item of input.tables.ipcache.values()) {
    if (EVERYWHERE.has(item.value.prefix) || !isActive(input, item.value.prefix)) continue;
    const number = item.value.identity ?? input.facts.localIdentities.get(item.value.prefix);
    const tunnelled = input.config.routingMode === 'tunnel';
    const own = input.config.nodeAddress;
    const entry = memo.of(item.key, [item, number, tunnelled, own], () => resourceEntry(item, number, tunnelled ? own : null));
    if (entry !== null) entries.set(...entry);
  }
  // What this node knows by itself wins over what it was told: it is newer.
  for (const endpoint of input.facts.endpoints.values()) {
    const identity = identityOf(input.tables, endpoint);
    for (const address of endpointAddresses(endpoint)) {
      const owner = endpointOwner(endpoint);
      const entry = memo.of(`pod ${address}`, [identity, owner], () => localEntry(`${address}/${maxLength(familyOf(address))}`, identity, because('endpoint', owner)));
      if (entry !== null) entries.set(...entry);
    }
  }
  return entries;
}

function localEntry(prefix: string, identity: IdentityId, blame: MapEntry['because']): readonly [string, MapEntry] {
  return mapEntry(ipcacheCodec, prefix, {identity, tunnelEndpoint: null, skipTunnel: false}, blame);
}

/** `ownAddress` null = native routing: nothing is tunnelled. A prefix that got no number keeps the identity around it. */
function resourceEntry(item: ResourceOf<'ipcache'>, number: IdentityId | undefined, ownAddress: string | null): readonly [string, MapEntry] | null {
  const {prefix, tunnelEndpoint, local} = item.value;
  const identity = local ? IDENTITY_HOST : number;
  if (identity === undefined) return null;
  const remote = ownAddress !== null && tunnelEndpoint !== ownAddress ? tunnelEndpoint : null;
  const entry: IpcacheEntry = {identity, tunnelEndpoint: remote, skipTunnel: false};
  return mapEntry(ipcacheCodec, prefix, entry, because('ipcache', item.key));
}
