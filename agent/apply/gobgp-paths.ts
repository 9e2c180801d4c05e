// Advertisements: ours → GoBGP's paths and the export policy for those that not every peer gets; and paths read back.

import {contentHash} from '../../lib/core/hash.js';
import {formatPrefix, hasHostBits, parsePrefix, type Prefix} from '../../lib/core/ip.js';
import {canonicalJson, compareStrings} from '../../lib/core/order.js';
import {communityText, type Advertisement, type BgpInstance, type SpeakerFailure} from '../../lib/domain/bgp.js';
import {api} from '../../proto/gen/gobgp4.js';
import {canonicalAddress, familyMessage, within} from './gobgp-peers.js';

/** One path of the global table. Equal values need no call. */
export interface PathIntent {
  /** Canonical. */
  readonly prefix: string;
  readonly localPreference: number | null;
  readonly communities: readonly number[];
  readonly largeCommunities: readonly string[];
}

/** An advertisement that only some peers get, or that differs between them: a statement of the export policy. */
export interface ExportRule {
  readonly path: PathIntent;
  readonly peers: readonly string[];
}

export interface PathPlan {
  readonly paths: ReadonlyMap<string, PathIntent>;
  /** Empty = every path goes to every peer. */
  readonly exports: readonly ExportRule[];
  readonly failures: readonly SpeakerFailure[];
}

/** Advertisements that stay the same from one Speaker to the next are checked once. */
const CHECKED = new WeakMap<Advertisement, ExportRule | string>();

export function planPaths(instance: BgpInstance): PathPlan {
  const failures: SpeakerFailure[] = [];
  const paths = new Map<string, PathIntent>();
  const ruled = new Map<string, ExportRule[]>();
  for (const advertisement of instance.advertisements) {
    const rule = CHECKED.get(advertisement) ?? checked(advertisement);
    CHECKED.set(advertisement, rule);
    if (typeof rule === 'string') {
      failures.push({instance: instance.name, peer: '', prefix: advertisement.prefix, code: 'BGP_PATH_INVALID', message: rule});
      continue;
    }
    const {prefix} = rule.path;
    const first = paths.get(prefix);
    if (first === undefined && rule.peers.length === 0) {
      paths.set(prefix, rule.path);
      continue;
    }
    // Told to some peers, or in several ways: the path itself is bare, and rules say who gets what.
    const rules = ruled.get(prefix) ?? (first === undefined ? [] : [{path: first, peers: []}]);
    ruled.set(prefix, [...rules, rule]);
    paths.set(prefix, {prefix, localPreference: null, communities: [], largeCommunities: []});
  }
  return {paths, exports: [...ruled].sort(([a], [b]) => compareStrings(a, b)).flatMap(([, rules]) => rules.sort(narrowFirst)), failures};
}

/** What is wrong with it, or its rule. */
function checked(advertisement: Advertisement): ExportRule | string {
  const prefix = parsePrefix(advertisement.prefix);
  if (prefix === null || hasHostBits(advertisement.prefix)) return `${advertisement.prefix} is not a prefix`;
  return advertisementProblem(advertisement) ?? ruleOf(advertisement, formatPrefix(prefix));
}

/** The first statement that matches decides, so those for named peers go before those for all. */
function narrowFirst(a: ExportRule, b: ExportRule): number {
  const wide = Number(a.peers.length === 0) - Number(b.peers.length === 0);
  return wide !== 0 ? wide : compareStrings(canonicalJson(a), canonicalJson(b));
}

function advertisementProblem(advertisement: Advertisement): string | null {
  const peer = advertisement.peers.find((one) => canonicalAddress(one) === null);
  if (peer !== undefined) return `${peer} is not an address`;
  const linkLocal = advertisement.peers.find((one) => one.includes('%'));
  if (linkLocal !== undefined) return `a link-local peer such as ${linkLocal} cannot be told something else than the others`;
  const {localPreference} = advertisement;
  if (localPreference !== null && !within(localPreference, 0, 0xffffffff)) return `local preference ${localPreference} does not fit 32 bits`;
  const community = advertisement.communities.find((one) => !within(one, 0, 0xffffffff));
  if (community !== undefined) return `community ${community} does not fit 32 bits`;
  const large = advertisement.largeCommunities.find((one) => largeCommunity(one) === null);
  return large === undefined ? null : `large community ${large} is not three 32-bit numbers`;
}

function ruleOf(advertisement: Advertisement, prefix: string): ExportRule {
  return {
    path: {
      prefix,
      localPreference: advertisement.localPreference,
      communities: [...new Set(advertisement.communities)].sort((a, b) => a - b),
      largeCommunities: [...new Set(advertisement.largeCommunities)].sort(compareStrings),
    },
    peers: [...new Set(advertisement.peers.flatMap((peer) => canonicalAddress(peer) ?? []))].sort(compareStrings),
  };
}

function largeCommunity(text: string): {globalAdmin: number; localData1: number; localData2: number} | null {
  const parts = text.split(':').map(Number);
  const [globalAdmin = -1, localData1 = -1, localData2 = -1] = parts;
  const fits = parts.length === 3 && [globalAdmin, localData1, localData2].every((part) => within(part, 0, 0xffffffff));
  return fits ? {globalAdmin, localData1, localData2} : null;
}

/** Next hop "self": GoBGP puts in its own address of each peering. It does not note the time of a path by itself. */
export function pathMessage(intent: PathIntent, nowSeconds: number): api.Path.$Properties {
  const {family, nlri} = destinationOf(intent.prefix);
  const v6 = family.afi === api.Family.Afi.AFI_IP6;
  const pattrs: api.Attribute.$Properties[] = [
    {origin: {origin: 0}},
    v6 ? {mpReach: {family, nextHops: ['::'], nlris: [nlri]}} : {nextHop: {nextHop: '0.0.0.0'}},
  ];
  if (intent.localPreference !== null) pattrs.push({localPref: {localPref: intent.localPreference}});
  if (intent.communities.length > 0) pattrs.push({communities: {communities: [...intent.communities]}});
  const large = intent.largeCommunities.flatMap((one) => largeCommunity(one) ?? []);
  if (large.length > 0) pattrs.push({largeCommunities: {communities: large}});
  return {family, nlri, pattrs, age: {seconds: Math.floor(nowSeconds)}};
}

export function withdrawMessage(prefix: string): api.Path.$Properties {
  return {...pathMessage({prefix, localPreference: null, communities: [], largeCommunities: []}, 0), isWithdraw: true};
}

function destinationOf(prefix: string): {family: ReturnType<typeof familyMessage>; nlri: api.NLRI.$Properties} {
  const parsed: Prefix | null = parsePrefix(prefix);
  const [address = '', length = '0'] = prefix.split('/');
  return {
    family: familyMessage(parsed?.family === 6 ? 'ipv6/unicast' : 'ipv4/unicast'),
    nlri: {prefix: {prefix: address, prefixLen: Number(length)}},
  };
}

export function observedPath(prefix: string, path: api.Path.$Properties): PathIntent {
  const canonical = parsePrefix(prefix);
  const attributes = path.pattrs ?? [];
  return {
    prefix: canonical === null ? prefix : formatPrefix(canonical),
    localPreference: attributes.find((one) => one.localPref !== undefined && one.localPref !== null)?.localPref?.localPref ?? null,
    communities: attributes.flatMap((one) => one.communities?.communities ?? []).sort((a, b) => a - b),
    largeCommunities: attributes.flatMap((one) => one.largeCommunities?.communities ?? [])
      .map((one) => `${one.globalAdmin ?? 0}:${one.localData1 ?? 0}:${one.localData2 ?? 0}`).sort(compareStrings),
  };
}

/** The export policy as GoBGP takes it. Its name carries the hash of its content: a policy of that name is that policy. */
export interface ExportPolicy {
  readonly policy: api.Policy.$Properties & {readonly name: string};
  readonly sets: readonly api.DefinedSet.$Properties[];
}

export const EXPORT_POLICY_PREFIX = 'stentor-export-';

/** Null when every path goes to every peer. What a rule names goes only where a rule sends it; all else goes everywhere. */
export function exportPolicy(rules: readonly ExportRule[]): ExportPolicy | null {
  if (rules.length === 0) return null;
  const name = EXPORT_POLICY_PREFIX + contentHash(canonicalJson(rules));
  const sets: api.DefinedSet.$Properties[] = [];
  const statements = groupRules(rules).map(({path, peers, prefixes}, i): api.Statement.$Properties => {
    const prefixSet = `${name}-prefix-${i}`;
    sets.push(prefixSetOf(prefixSet, prefixes));
    const neighborSet = `${name}-peers-${i}`;
    if (peers.length > 0) {
      sets.push({definedType: api.DefinedType.DEFINED_TYPE_NEIGHBOR, name: neighborSet, list: peers.map((peer) => `${peer}/${peer.includes(':') ? 128 : 32}`)});
    }
    return {
      name: `${name}-${i}`,
      conditions: {prefixSet: {type: api.MatchSet.Type.TYPE_ANY, name: prefixSet}, ...(peers.length > 0 ? {neighborSet: {type: api.MatchSet.Type.TYPE_ANY, name: neighborSet}} : {})},
      actions: actionsOf(path),
    };
  });
  // A prefix set holds one family.
  for (const v6 of [false, true]) {
    const prefixes = [...new Set(rules.map((rule) => rule.path.prefix).filter((prefix) => prefix.includes(':') === v6))];
    if (prefixes.length === 0) continue;
    const rest = `${name}-rest-${v6 ? 6 : 4}`;
    sets.push(prefixSetOf(rest, prefixes));
    statements.push({
      name: rest,
      conditions: {prefixSet: {type: api.MatchSet.Type.TYPE_ANY, name: rest}},
      actions: {routeAction: api.RouteAction.ROUTE_ACTION_REJECT},
    });
  }
  return {policy: {name, statements}, sets};
}

/** Rules that say the same of several prefixes, as one statement each: GoBGP goes through the statements for every path. */
function groupRules(rules: readonly ExportRule[]): readonly (ExportRule & {readonly prefixes: readonly string[]})[] {
  const groups = new Map<string, ExportRule & {readonly prefixes: string[]}>();
  for (const rule of rules) {
    const {prefix, ...attributes} = rule.path;
    const key = canonicalJson({attributes, peers: rule.peers, v6: prefix.includes(':')});
    const group = groups.get(key) ?? {...rule, prefixes: []};
    groups.set(key, group);
    group.prefixes.push(prefix);
  }
  return [...groups.values()].sort((a, b) => Number(a.peers.length === 0) - Number(b.peers.length === 0));
}

function prefixSetOf(name: string, prefixes: readonly string[]): api.DefinedSet.$Properties {
  return {
    definedType: api.DefinedType.DEFINED_TYPE_PREFIX,
    name,
    prefixes: prefixes.map((prefix) => {
      const length = Number(prefix.split('/')[1]);
      return {ipPrefix: prefix, maskLengthMin: length, maskLengthMax: length};
    }),
  };
}

function actionsOf(path: PathIntent): api.Actions.$Properties {
  const type = api.CommunityAction.Type.TYPE_ADD;
  return {
    routeAction: api.RouteAction.ROUTE_ACTION_ACCEPT,
    ...(path.localPreference === null ? {} : {localPref: {value: path.localPreference}}),
    ...(path.communities.length === 0 ? {} : {community: {type, communities: path.communities.map(communityText)}}),
    ...(path.largeCommunities.length === 0 ? {} : {largeCommunity: {type, communities: [...path.largeCommunities]}}),
  };
}
