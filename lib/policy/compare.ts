// Who may talk to whom, by groups of pods with equal labels, and what changes between two compiled clusters.

import {contains} from '../core/ip.js';
import type {Prefix} from '../core/ip.js';
import {compareStrings} from '../core/order.js';
import {IDENTITY_HOST, IDENTITY_KUBE_APISERVER, IDENTITY_REMOTE_NODE, isLocalIdentity, worldIdentity} from '../domain/identity.js';
import type {IdentityId} from '../domain/identity.js';
import type {Direction} from '../domain/policy.js';
import type {CompiledCluster, CompiledEndpoint} from './offline.js';
import {REACH_ALL, ReachIndex, both, without} from './reach.js';
import type {Reach} from './reach.js';
import {prefixOfText} from './selectors.js';
import type {PolicyIndex} from './verdict.js';

/** One end of a comparison: pods that cannot be told apart, or something that is no pod. */
export interface Party {
  /** `default/web` or `reserved:world`, `192.0.2.0/24`. */
  readonly name: string;
  readonly kind: 'pods' | 'reserved' | 'prefix';
  /** Keys of the pods; the first one speaks for all. */
  readonly pods: readonly string[];
  /** Null for pods: each cluster knows theirs. */
  readonly id: IdentityId | null;
}

function outsideOf({families}: CompiledCluster): readonly (readonly [string, IdentityId])[] {
  const [v4, v6] = [worldIdentity(families, 4), worldIdentity(families, 6)];
  const worlds: readonly (readonly [string, IdentityId])[] = v4 === v6 ? [['world', v4]] : [['world-ipv4', v4], ['world-ipv6', v6]];
  return [...worlds, ['host', IDENTITY_HOST], ['remote-node', IDENTITY_REMOTE_NODE], ['kube-apiserver', IDENTITY_KUBE_APISERVER]];
}

/** Pods are in one party when they are alike in every cluster given. Pods first, then what is outside, each by name. */
export function partiesOf(clusters: readonly CompiledCluster[]): Party[] {
  const [first] = clusters;
  if (first === undefined) return [];
  const groups = new Map<string, string[]>();
  // Endpoints of one identity may differ in their expansion, for their named ports.
  const numbers = new Map<PolicyIndex, number>();
  const numberOf = (index: PolicyIndex): number => {
    const number = numbers.get(index) ?? numbers.size;
    numbers.set(index, number);
    return number;
  };
  for (const key of first.endpoints.keys()) {
    const all = clusters.map(({endpoints}) => endpoints.get(key));
    const alike = all.map((compiled) => (compiled === undefined ? '' : `${compiled.identity} ${numberOf(compiled.index)}`)).join(' ');
    const group = groups.get(alike);
    if (group === undefined) groups.set(alike, [key]);
    else group.push(key);
  }
  const pods = [...groups.values()].map((keys): Party => ({name: keys[0] ?? '', kind: 'pods', pods: keys, id: null}));
  const prefixes = new Set(clusters.flatMap((cluster) => [...prefixesOf(cluster).keys()]));
  const sorted = [...prefixes].sort(compareStrings);
  return [
    ...pods.sort((a, b) => compareStrings(a.name, b.name)),
    ...outsideOf(first).map(([name, id]): Party => ({name, kind: 'reserved', pods: [], id})),
    ...sorted.map((name): Party => ({name, kind: 'prefix', pods: [], id: null})),
  ];
}

/** Prefixes that have an identity, with it. */
function prefixesOf(cluster: CompiledCluster): ReadonlyMap<string, IdentityId> {
  return new Map(cluster.ipcache.filter(({identity}) => isLocalIdentity(identity)).map(({prefix, identity}) => [prefix, identity]));
}

/** Answers for one compiled cluster. */
export class Reachability {
  readonly #cluster: CompiledCluster;
  readonly #prefixes: readonly (readonly [Prefix, IdentityId])[];
  readonly #reaches = new Map<PolicyIndex, ReachIndex>();
  readonly #identities = new Map<string, IdentityId>();

  constructor(cluster: CompiledCluster) {
    this.#cluster = cluster;
    this.#prefixes = [...prefixesOf(cluster)].map(([text, id]) => [prefixOfText(text), id] as const).sort(([a], [b]) => b.length - a.length);
  }

  /** What the source may send the destination. Ends that are no pods hold nothing back themselves. */
  reach(source: Party, destination: Party): Reach {
    return both(this.sideOf('egress', source, destination), this.sideOf('ingress', destination, source));
  }

  sideOf(direction: Direction, subject: Party, peer: Party): Reach {
    const compiled = this.#endpoint(subject);
    return compiled === undefined ? REACH_ALL : this.#reachesOf(compiled.index).reach(direction, this.identityOf(peer));
  }

  enforced(direction: Direction, party: Party): boolean {
    const policy = this.#endpoint(party)?.policy;
    return (direction === 'ingress' ? policy?.ingressEnforced : policy?.egressEnforced) ?? false;
  }

  identityOf(party: Party): IdentityId {
    if (party.id !== null) return party.id;
    const compiled = this.#endpoint(party);
    if (compiled !== undefined) return compiled.identity;
    const held = this.#identities.get(party.name) ?? this.#identityOfPrefix(party.name);
    this.#identities.set(party.name, held);
    return held;
  }

  /** That of an address which no longer prefix covers. */
  #identityOfPrefix(text: string): IdentityId {
    const address = prefixOfText(text);
    return this.#prefixes.find(([prefix]) => contains(prefix, address))?.[1] ?? worldIdentity(this.#cluster.families, address.family);
  }

  #endpoint({pods: [key]}: Party): CompiledEndpoint | undefined {
    return key === undefined ? undefined : this.#cluster.endpoints.get(key);
  }

  #reachesOf(index: PolicyIndex): ReachIndex {
    const held = this.#reaches.get(index) ?? new ReachIndex(index);
    this.#reaches.set(index, held);
    return held;
  }
}

export interface ReachChange {
  readonly source: Party;
  readonly destination: Party;
  readonly gained: Reach;
  readonly lost: Reach;
}

/** Pairs whose reach differs. Two ends outside the cluster are no pair. */
export function changesOf(before: CompiledCluster, after: CompiledCluster): ReachChange[] {
  const parties = partiesOf([before, after]);
  const [old, now] = [new Reachability(before), new Reachability(after)];
  const changes: ReachChange[] = [];
  for (const source of parties) {
    for (const destination of parties) {
      if (source.kind !== 'pods' && destination.kind !== 'pods') continue;
      const same = (['egress', 'ingress'] as const).every((direction) => {
        const [subject, peer] = direction === 'egress' ? [source, destination] : [destination, source];
        return old.sideOf(direction, subject, peer).text === now.sideOf(direction, subject, peer).text;
      });
      if (same) continue;
      const [was, is] = [old.reach(source, destination), now.reach(source, destination)];
      if (was.text !== is.text) changes.push({source, destination, gained: without(is, was), lost: without(was, is)});
    }
  }
  return changes;
}

/** An end that stands for one reserved identity which no comparison has by itself: health, unmanaged, init, ingress. */
export function reservedParty(name: string, id: IdentityId): Party {
  return {name, kind: 'reserved', pods: [], id};
}

export interface SideChange {
  readonly direction: Direction;
  readonly subject: Party;
  readonly peer: Party;
  readonly gained: Reach;
  readonly lost: Reach;
}

/** The same for one side alone, whatever the other side says. `more`: ends besides those that every comparison has. */
export function sideChangesOf(before: CompiledCluster, after: CompiledCluster, more: readonly Party[] = []): SideChange[] {
  const parties = [...partiesOf([before, after]), ...more];
  const [old, now] = [new Reachability(before), new Reachability(after)];
  return parties.filter((party) => party.kind === 'pods' && policyText(before, party) !== policyText(after, party)).flatMap((subject) => (['ingress', 'egress'] as const).flatMap((direction) => parties.flatMap((peer) => {
    const [was, is] = [old.sideOf(direction, subject, peer), now.sideOf(direction, subject, peer)];
    return was.text === is.text ? [] : [{direction, subject, peer, gained: without(is, was), lost: without(was, is)}];
  })));
}

/** A subject with the same policy has the same verdicts. */
function policyText({endpoints}: CompiledCluster, {pods: [key = '']}: Party): string {
  const compiled = endpoints.get(key);
  return compiled === undefined ? '' : JSON.stringify(compiled.policy);
}
