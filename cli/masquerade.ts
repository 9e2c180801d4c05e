// Whether a pod's packet to a destination is masqueraded: every exclusion in the documented order (docs/design/datapath.md), and the first that
// matched. The same answer as masquerade.h gives; a test compares the two.

import type {Family} from '../lib/core/ip.js';
import {IDENTITY_KUBE_APISERVER, IDENTITY_REMOTE_NODE} from '../lib/domain/identity.js';
import type {MasqueradeSettings} from '../lib/domain/masquerade.js';
import type {LxcEntry} from '../agent/maps/endpoint.js';
import type {IpcacheEntry} from '../agent/maps/ipcache.js';
import {longestOf} from './rows.js';

export interface MasqueradeFacts {
  /** Null: no agent answers, and what the programs were loaded with is not known. */
  readonly settings: MasqueradeSettings | null;
  readonly routingMode: 'native' | 'tunnel' | null;
  /** The ip-masq-agent's list as the map holds it. */
  readonly nonMasqueradeCidrs: readonly string[];
  readonly local: (address: string) => LxcEntry | null;
  readonly remote: (address: string) => IpcacheEntry | null;
  /** Connections that the destination opened to the pod. */
  readonly opened: (destination: string, pod: string) => number;
}

export interface Exclusion {
  readonly order: number;
  readonly name: string;
  /** Null: not known without the agent. */
  readonly matched: boolean | null;
  /** The prefix that holds the destination. */
  readonly prefix: string | null;
  readonly detail: string;
}

export interface MasqueradeAnswer {
  readonly source: string;
  readonly destination: string;
  /** Null: an exclusion that would come first is not known. */
  readonly masqueraded: boolean | null;
  /** What the packet leaves with, by uplink. */
  readonly addresses: readonly {readonly uplink: string; readonly address: string}[];
  readonly decidedBy: string;
  readonly prefix: string | null;
  readonly exclusions: readonly Exclusion[];
}

type Verdict = Omit<Exclusion, 'order' | 'name'>;
type Check = (flow: Flow) => Verdict;

interface Flow {
  readonly facts: MasqueradeFacts;
  readonly source: string;
  readonly destination: string;
  readonly family: Family;
}

const UNKNOWN: Verdict = {matched: null, prefix: null, detail: 'the agent does not answer'};
const no = (detail: string): Verdict => ({matched: false, prefix: null, detail});
const yes = (detail: string, prefix: string | null = null): Verdict => ({matched: true, prefix, detail});

const CHECKS: readonly (readonly [string, Check])[] = [
  ['masquerading-off', isOff],
  ['stays-on-node', staysHere],
  ['tunnel', isTunnelled],
  ['uplink-address', isUplinkAddress],
  ['reply', isReply],
  ['egress-gateway', () => no('no egress gateways are served')],
  ['native-routing-cidr', isNativeRouted],
  ['host-endpoint', isHost],
  ['ip-masq-agent', isListed],
  ['remote-node', isRemoteNode],
  ['no-local-pod', isNoPod],
];

export function masqueradeAnswer(facts: MasqueradeFacts, source: string, destination: string): MasqueradeAnswer {
  const flow: Flow = {facts, source, destination, family: destination.includes(':') ? 6 : 4};
  const exclusions = CHECKS.map(([name, check], order): Exclusion => ({order, name, ...check(flow)}));
  const first = exclusions.find(({matched}) => matched !== false);
  const addresses = first === undefined ? uplinkAddresses(flow) : [];
  return {
    source, destination, masqueraded: first === undefined ? true : first.matched === null ? null : false, addresses,
    decidedBy: first?.name ?? 'local-pod', prefix: first?.prefix ?? null, exclusions,
  };
}

function familySettings({facts, family}: Flow): MasqueradeSettings['ipv4'] | null {
  return facts.settings === null ? null : family === 4 ? facts.settings.ipv4 : facts.settings.ipv6;
}

function uplinkAddresses({facts, family}: Flow): MasqueradeAnswer['addresses'] {
  return (facts.settings?.uplinks ?? []).flatMap(({name, ipv4, ipv6}) => {
    const address = family === 4 ? ipv4 : ipv6;
    return address === null ? [] : [{uplink: name, address}];
  });
}

function isOff(flow: Flow): Verdict {
  const settings = familySettings(flow);
  if (settings === null) return UNKNOWN;
  return settings.enabled ? no(`IPv${flow.family} is masqueraded by eBPF`) : yes(`masquerading of IPv${flow.family} is off`);
}

function staysHere({facts, destination}: Flow): Verdict {
  const local = facts.local(destination);
  if (local === null) return no('the destination is not on this node');
  return yes(local.host ? 'the destination is this node itself' : `the destination is endpoint ${local.endpointId} of this node`);
}

function isTunnelled({facts, destination}: Flow): Verdict {
  const endpoint = tunnelOf(facts.remote(destination));
  if (endpoint === null) return no('no tunnel leads there');
  if (facts.routingMode === null) return UNKNOWN;
  return facts.routingMode === 'tunnel' ? yes(`inside the tunnel to ${endpoint}`) : no('pods of other nodes are routed natively');
}

function tunnelOf(entry: IpcacheEntry | null): string | null {
  return entry === null || entry.skipTunnel ? null : entry.tunnelEndpoint;
}

/** The node's own connections keep address and, where it is free, port. */
function isUplinkAddress(flow: Flow): Verdict {
  if (flow.facts.settings === null) return UNKNOWN;
  const own = uplinkAddresses(flow).find(({address}) => address === flow.source);
  return own === undefined ? no('the source is no uplink’s address') : yes(`the source is the address of ${own.uplink}`);
}

function isReply({facts, source, destination}: Flow): Verdict {
  const count = facts.opened(destination, source);
  return no(count === 0 ? 'a new connection is no reply' : `a new connection is no reply; answers to the ${count} that ${destination} has opened keep the pod’s address`);
}

function isNativeRouted(flow: Flow): Verdict {
  const settings = familySettings(flow);
  if (settings === null) return UNKNOWN;
  const prefix = longest(settings.exclusions, flow.destination);
  return prefix === null ? no(`not in ${settings.exclusions.join(', ') || 'any'}`) : yes('the native-routing CIDR, or a PodCIDR of this node', prefix);
}

function isHost({facts, source}: Flow): Verdict {
  return facts.local(source)?.host === true ? yes('the source is this node itself') : no('the source is not this node');
}

function isListed({facts, destination}: Flow): Verdict {
  const prefix = longest(facts.nonMasqueradeCidrs, destination);
  return prefix === null ? no(`in none of the ${facts.nonMasqueradeCidrs.length} prefixes`) : yes('listed as not to be masqueraded', prefix);
}

function isRemoteNode({facts, destination}: Flow): Verdict {
  const entry = facts.remote(destination);
  if (entry === null || (entry.identity !== IDENTITY_REMOTE_NODE && entry.identity !== IDENTITY_KUBE_APISERVER)) return no('the destination is no other node');
  if (facts.settings === null || facts.routingMode === null) return UNKNOWN;
  if (facts.settings.remoteNodes) return no('other nodes are masqueraded to as well (enable-remote-node-masquerade)');
  const routed = facts.routingMode === 'native' || entry.skipTunnel;
  return routed ? yes('another node, which knows the way to the pod') : no('another node, but only pods are reached through the tunnel');
}

function isNoPod({facts, source}: Flow): Verdict {
  return facts.local(source) === null ? yes('the source is no pod of this node') : no('the source is a pod of this node');
}

function longest(prefixes: readonly string[], address: string): string | null {
  return longestOf(prefixes.map((prefix) => [prefix, null] as const))(address)?.prefix ?? null;
}
