// Which rules add nothing: covered by a broader one, overruled by a deny, or selecting nobody. Compares rules, not entries, so
// that the answer holds for every cluster; what depends on the pods that are there is asked of `SelectorMembers`.

import {contains} from '../core/ip.js';
import {PROTOCOL_NUMBERS} from '../domain/policy.js';
import type {Peer, PortMatch, Rule} from '../domain/policy.js';
import {selectorKey} from '../domain/selector.js';
import type {Requirement, Selector} from '../domain/selector.js';
import {prefixOfText, selectorId} from './selectors.js';

/** `duplicate`: the two say the same. `covered`: the other one allows (or denies) more. `denied`: the other one denies all of it. */
export interface Shadow {
  readonly rule: Rule;
  readonly by: Rule;
  readonly how: 'duplicate' | 'covered' | 'denied';
}

/** Subsets are looked up, so a subject with more requirements than this is compared with its equals only. */
const REQUIREMENTS_MAX = 6;

/** Each rule that could be left out, with one reason. Rules that are there only to isolate are none of them. */
export function shadowsOf(rules: readonly Rule[]): Shadow[] {
  const groups = new Map<string, Rule[]>();
  for (const rule of rules) {
    const key = groupKey(rule, rule.subject);
    const group = groups.get(key);
    if (group === undefined) groups.set(key, [rule]);
    else group.push(rule);
  }
  const order = new Map(rules.map((rule, i) => [rule, i]));
  const isBefore = (a: Rule, b: Rule): boolean => (order.get(a) ?? 0) < (order.get(b) ?? 0);
  return rules.flatMap((rule) => {
    if (isIsolation(rule)) return [];
    for (const subject of broaderSubjects(rule.subject)) {
      for (const other of groups.get(groupKey(rule, subject)) ?? []) {
        const how = other === rule ? null : shadowedBy(rule, other, isBefore);
        if (how !== null) return [{rule, by: other, how}];
      }
    }
    return [];
  });
}

function groupKey({direction}: Rule, subject: Selector): string {
  return `${direction} ${selectorKey(subject)}`;
}

/** Allows or denies nothing; its only effect is default deny. */
export function isIsolation({peers, ports, deny}: Rule): boolean {
  return !deny && (peers.length === 0 || ports?.length === 0);
}

function shadowedBy(rule: Rule, other: Rule, isBefore: (a: Rule, b: Rule) => boolean): Shadow['how'] | null {
  if (!covers(other, rule)) return null;
  if (other.deny && !rule.deny) return 'denied';
  // An allow under a broader allow is not needed; but it may be the one that turns on default deny.
  if (other.deny !== rule.deny || (rule.defaultDeny && !other.defaultDeny)) return null;
  if (!covers(rule, other) || selectorKey(rule.subject) !== selectorKey(other.subject)) return 'covered';
  return isBefore(other, rule) || (other.defaultDeny && !rule.defaultDeny) ? 'duplicate' : null;
}

/** The subject itself, and each that has fewer of its requirements. */
function broaderSubjects(subject: Selector): Selector[] {
  const {requirements} = subject;
  if (requirements.length > REQUIREMENTS_MAX) return [subject];
  const count = 2 ** requirements.length;
  return Array.from({length: count}, (_, mask) => ({requirements: requirements.filter((_requirement, i) => ((count - 1 - mask) >> i) % 2 === 1)}));
}

/** Whatever `inner` names of peers and ports, `outer` names as well. */
export function covers(outer: Rule, inner: Rule): boolean {
  return portsCover(outer.ports, inner.ports) && inner.peers.every((peer) => outer.peers.some((other) => peerCovers(other, peer)));
}

export function peerCovers(outer: Peer, inner: Peer): boolean {
  if (inner.kind === 'none' || outer.kind === 'all') return true;
  if (outer.kind === 'labels') return inner.kind === 'labels' && isSubset(outer.selector.requirements, inner.selector.requirements);
  if (outer.kind !== 'cidr' || inner.kind !== 'cidr') return selectorId(outer) === selectorId(inner);
  const hole = (prefix: string): boolean => inner.except.some((except) => contains(prefixOfText(except), prefixOfText(prefix)));
  const outside = (prefix: string): boolean => !contains(prefixOfText(inner.prefix), prefixOfText(prefix)) && !contains(prefixOfText(prefix), prefixOfText(inner.prefix));
  return contains(prefixOfText(outer.prefix), prefixOfText(inner.prefix)) && outer.except.every((except) => outside(except) || hole(except));
}

/** All of `few` are among `many`: the selector with fewer requirements selects more. */
function isSubset(few: readonly Requirement[], many: readonly Requirement[]): boolean {
  const texts = new Set(many.map((requirement) => selectorKey({requirements: [requirement]})));
  return few.every((requirement) => texts.has(selectorKey({requirements: [requirement]})));
}

export function portsCover(outer: readonly PortMatch[] | null, inner: readonly PortMatch[] | null): boolean {
  if (outer === null) return true;
  return inner !== null && inner.every((port) => outer.some((other) => portCovers(other, port)));
}

function portCovers(outer: PortMatch, inner: PortMatch): boolean {
  const anyWithPorts = outer.protocol === 'ANY' && ['ANY', 'TCP', 'UDP', 'SCTP'].includes(inner.protocol);
  if (!anyWithPorts && PROTOCOL_NUMBERS[outer.protocol] !== PROTOCOL_NUMBERS[inner.protocol]) return false;
  if (isEveryPort(outer)) return true;
  if (outer.name !== undefined || inner.name !== undefined) return outer.name === inner.name && (outer.endPort === inner.endPort);
  return !isEveryPort(inner) && outer.port <= inner.port && Math.max(outer.port, outer.endPort) >= Math.max(inner.port, inner.endPort);
}

function isEveryPort({name, port, endPort, exact}: PortMatch): boolean {
  return name === undefined && port === 0 && endPort === 0 && exact !== true;
}
