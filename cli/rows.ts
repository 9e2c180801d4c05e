// Decoded map entries → rows with stable field names. Pure: the same rows come from a map file in a test.

import {comparePrefixes, parseAddress, parsePrefix} from '../lib/core/ip.js';
import {compareStrings} from '../lib/core/order.js';
import {PrefixTrie} from '../lib/core/trie.js';
import {dropReasonText, SOURCE_FILES} from '../lib/domain/drop-reasons.js';
import {RESERVED_IDENTITIES, identityId} from '../lib/domain/identity.js';
import {PROTOCOL_NUMBERS} from '../lib/domain/policy.js';
import {CT_RX_CLOSING, CT_TX_CLOSING, TUPLE_IN, TUPLE_RELATED, type CT_ENTRY, type CT_TUPLE} from '../agent/maps/ct.js';
import type {EndpointConfig, LxcEntry} from '../agent/maps/endpoint.js';
import type {IpcacheEntry} from '../agent/maps/ipcache.js';
import type {ValueOf} from '../agent/maps/layout.js';
import {METRIC_EGRESS, METRIC_INGRESS, type METRICS_KEY, type MetricCount} from '../agent/maps/metrics.js';
import {NAT_IN, type NAT_ENTRY} from '../agent/maps/nat.js';
import type {PolicyMapKey, PolicyMapValue} from '../agent/maps/policy.js';
import type {PolicyOriginsOf} from '../lib/domain/agent-api.js';

/** What the agent adds to numbers, when it answers. */
export interface Names {
  labels(identity: number): readonly string[];
  origins(subject: number, cookie: number): PolicyOriginsOf['origins'];
}

export function namesOf(identities: readonly {readonly id: number; readonly labels: readonly string[]}[], origins: readonly PolicyOriginsOf[]): Names {
  const labels = new Map(identities.map((identity) => [identity.id, identity.labels]));
  const byCookie = new Map(origins.map((one) => [`${one.subject}/${one.cookie}`, one.origins]));
  return {
    labels: (identity) => labels.get(identity) ?? RESERVED_IDENTITIES.get(identityId(identity)) ?? [],
    origins: (subject, cookie) => byCookie.get(`${subject}/${cookie}`) ?? [],
  };
}

const PROTOCOL_NAMES: ReadonlyMap<number, string> = new Map(Object.entries(PROTOCOL_NUMBERS).map(([name, number]) => [number, name]));

export function protocolName(protocol: number): string {
  return protocol === 0 ? 'ANY' : (PROTOCOL_NAMES.get(protocol) ?? String(protocol));
}

export type IpcacheRow = ReturnType<typeof ipcacheRow>;

function ipcacheRow(prefix: string, entry: IpcacheEntry, names: Names) {
  const {identity, tunnelEndpoint, skipTunnel} = entry;
  return {prefix, identity: Number(identity), tunnelEndpoint, encryptKey: 0, skipTunnel, labels: names.labels(identity)};
}

export function ipcacheRows(entries: readonly (readonly [string, IpcacheEntry])[], names: Names): readonly IpcacheRow[] {
  return entries.map(([prefix, entry]) => ipcacheRow(prefix, entry, names)).sort((a, b) => byPrefix(a.prefix, b.prefix));
}

/** Where the packets of each remote PodCIDR go. */
export function tunnelRows(entries: readonly (readonly [string, IpcacheEntry])[]): readonly {readonly prefix: string; readonly tunnelEndpoint: string}[] {
  return entries.flatMap(([prefix, {tunnelEndpoint}]) => (tunnelEndpoint !== null && !prefix.endsWith('/32') ? [{prefix, tunnelEndpoint}] : []))
    .sort((a, b) => byPrefix(a.prefix, b.prefix));
}

/** As it stands before a port. */
export function addressText(address: string): string {
  return address.includes(':') ? `[${address}]` : address;
}

export function byPrefix(a: string, b: string): number {
  const [x, y] = [parsePrefix(a), parsePrefix(b)];
  return x === null || y === null ? compareStrings(a, b) : comparePrefixes(x, y);
}

/** The longest prefix that holds an address, of rows that a map gave. */
export function longestOf<T>(rows: readonly (readonly [string, T])[]): (address: string) => {readonly prefix: string; readonly value: T} | null {
  const trie = new PrefixTrie<{readonly prefix: string; readonly value: T}>();
  for (const [text, value] of rows) {
    const prefix = parsePrefix(text);
    if (prefix !== null) trie.set(prefix, {prefix: text, value});
  }
  return (address) => {
    const parsed = parseAddress(address);
    return parsed === null ? null : (trie.longestMatch(parsed)?.value ?? null);
  };
}

export type PolicyRow = ReturnType<typeof policyRow>;

function policyRow(endpoint: {readonly id: number; readonly identity: number}, key: PolicyMapKey, value: PolicyMapValue, names: Names) {
  return {
    endpoint: endpoint.id,
    direction: key.direction,
    identity: Number(key.identity),
    labels: key.identity === 0 ? [] : names.labels(key.identity),
    protocol: key.protocol,
    port: key.port,
    portPrefixLen: key.portPrefixLength,
    deny: value.deny,
    redirect: value.proxyPort !== 0,
    proxyPort: value.proxyPort,
    precedence: value.precedence,
    cookie: value.cookie,
    derivedFrom: value.cookie === 0 ? [] : names.origins(endpoint.identity, value.cookie),
  };
}

export interface PolicySlot {
  readonly id: number;
  readonly identity: number;
  readonly entries: readonly (readonly [PolicyMapKey, PolicyMapValue])[];
}

export function policyRows(slots: readonly PolicySlot[], names: Names): readonly PolicyRow[] {
  return slots.flatMap((slot) => slot.entries.map(([key, value]) => policyRow(slot, key, value, names))).sort((a, b) =>
    a.endpoint - b.endpoint || compareStrings(b.direction, a.direction) || Number(b.deny) - Number(a.deny) || a.identity - b.identity || a.protocol - b.protocol || a.port - b.port);
}

/** `80/TCP`, `TCP`, `ANY`, and a range of ports as Cilium writes it, `64-127/TCP`. */
export function portText({protocol, port, portPrefixLen}: Pick<PolicyRow, 'protocol' | 'port' | 'portPrefixLen'>): string {
  const name = protocolName(protocol);
  if (protocol === 0 || portPrefixLen === 0) return name;
  const last = port + 2 ** (16 - portPrefixLen) - 1;
  return last === port ? `${port}/${name}` : `${port}-${last}/${name}`;
}

type Tuple = ValueOf<typeof CT_TUPLE.fields>;

/** `nowSeconds`: of CLOCK_MONOTONIC, as the map counts. */
export function ctRows(map: string, entries: readonly (readonly [Tuple, ValueOf<typeof CT_ENTRY.fields>])[], nowSeconds: number) {
  return entries.map(([tuple, entry]) => ({
    map,
    direction: (tuple.flags & TUPLE_IN) !== 0 ? 'in' : 'out',
    related: (tuple.flags & TUPLE_RELATED) !== 0,
    ...flowOf(tuple),
    expiresSeconds: entry.lifetime - Math.floor(nowSeconds),
    packets: Number(entry.packets),
    bytes: Number(entry.bytes),
    closing: (entry.flags & (CT_RX_CLOSING | CT_TX_CLOSING)) !== 0,
    flags: entry.flags,
    txFlagsSeen: entry.txFlagsSeen,
    rxFlagsSeen: entry.rxFlagsSeen,
    revNat: entry.revNat,
    ifindex: entry.ifindex,
    sourceIdentity: entry.sourceIdentity,
  }));
}

export function natRows(entries: readonly (readonly [Tuple, ValueOf<typeof NAT_ENTRY.fields>])[], nowSeconds: number) {
  return entries.map(([tuple, entry]) => ({
    direction: (tuple.flags & NAT_IN) !== 0 ? 'in' : 'out',
    ...flowOf(tuple),
    toAddress: entry.toAddress,
    toPort: entry.toPort,
    ageSeconds: Math.max(0, Math.floor(nowSeconds - Number(entry.created) / 1e9)),
  }));
}

function flowOf(tuple: Tuple) {
  const {source, sourcePort, destination, destinationPort} = tuple;
  return {protocol: protocolName(tuple.protocol), source, sourcePort, destination, destinationPort};
}

/** Counted by reason, direction and place; the most frequent first. */
export function metricRows(entries: readonly (readonly [ValueOf<typeof METRICS_KEY.fields>, MetricCount])[]) {
  return entries.filter(([, {packets}]) => packets > 0n).map(([key, count]) => ({
    reason: key.reason,
    reasonText: dropReasonText(key.reason),
    direction: key.direction === METRIC_INGRESS ? 'ingress' : key.direction === METRIC_EGRESS ? 'egress' : 'service',
    packets: Number(count.packets),
    bytes: Number(count.bytes),
    file: SOURCE_FILES.get(key.file) ?? '',
    line: key.line,
  })).sort((a, b) => b.packets - a.packets || a.reason - b.reason);
}

/** The first code that is a drop. */
export const FIRST_DROP_REASON = 130;

export interface DropRow {
  /** Empty when no agent says which node it is. */
  readonly node: string;
  readonly reason: number;
  readonly reasonText: string;
  readonly direction: string;
  readonly packets: number;
  readonly bytes: number;
  /** Where in the programs. */
  readonly places: readonly {readonly file: string; readonly line: number; readonly packets: number}[];
}

/** One row for each reason and direction, the most frequent first. */
export function dropRows(entries: Parameters<typeof metricRows>[0], node: string): readonly DropRow[] {
  const rows = new Map<string, DropRow>();
  for (const {reason, reasonText, direction, packets, bytes, file, line} of metricRows(entries)) {
    if (reason < FIRST_DROP_REASON) continue;
    const key = `${reason}/${direction}`;
    const known = rows.get(key) ?? {node, reason, reasonText, direction, packets: 0, bytes: 0, places: []};
    rows.set(key, {...known, packets: known.packets + packets, bytes: known.bytes + bytes, places: [...known.places, {file, line, packets}]});
  }
  return [...rows.values()].sort((a, b) => b.packets - a.packets || a.reason - b.reason);
}

export function lxcRows(entries: readonly (readonly [string, LxcEntry])[]) {
  return entries.map(([ip, entry]) => ({ip, endpoint: entry.endpointId, host: entry.host, identity: Number(entry.identity), ifindex: entry.ifindex, mac: entry.mac, nodeMac: entry.nodeMac}))
    .sort((a, b) => byPrefix(a.ip, b.ip));
}

/** Endpoints as the datapath knows them: without the names of pods. */
export function pinnedEndpoints(entries: readonly (readonly [number, EndpointConfig | null])[], names: Names) {
  return entries.flatMap(([id, config]) => (config === null ? [] : [{
    id, namespace: '', name: '', containerId: '', identity: Number(config.identity), labels: names.labels(config.identity), ipv4: config.ipv4 ?? '', ipv6: config.ipv6 ?? '',
    ifname: `ifindex ${config.ifindex}`, mac: config.mac, policy: {ingress: config.ingressEnforced, egress: config.egressEnforced}, state: 'ready',
  }])).sort((a, b) => a.id - b.id);
}
