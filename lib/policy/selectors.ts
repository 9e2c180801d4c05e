// Selector ids: the canonical text of a peer, and the peer of a text. And which CIDR prefixes rules name.

import {invariant} from '../core/invariant.js';
import {comparePrefixes, formatPrefix, parsePrefix} from '../core/ip.js';
import type {Prefix} from '../core/ip.js';
import {compareStrings} from '../core/order.js';
import type {Peer, Rule, SelectorId} from '../domain/policy.js';
import {selectorKey, selectorOfKey} from '../domain/selector.js';

/** The wildcard peer: map identity 0, never a resource. */
export const SELECTOR_ANY: SelectorId = '*';
export const SELECTOR_HOST: SelectorId = 'reserved:host';
/** Selects nothing. It never appears in an entry. */
export const SELECTOR_NONE: SelectorId = 'none';

const CIDR = 'cidr=';

/** `*`, `k8s:app=web,k8s:io.kubernetes.pod.namespace=default`, `cidr=10.0.0.0/8!10.96.0.0/12`. */
export function selectorId(peer: Peer): SelectorId {
  switch (peer.kind) {
    case 'all':
      return SELECTOR_ANY;
    case 'none':
      return SELECTOR_NONE;
    case 'labels':
      return selectorKey(peer.selector);
    case 'cidr':
      return CIDR + [canonical(peer.prefix), ...[...new Set(peer.except.map(canonical))].sort(compareStrings)].join('!');
  }
}

/** The inverse of `selectorId`. */
export function peerOf(id: SelectorId): Peer {
  if (id === SELECTOR_ANY) return {kind: 'all'};
  if (id === SELECTOR_NONE) return {kind: 'none'};
  if (!id.startsWith(CIDR)) return {kind: 'labels', selector: selectorOfKey(id)};
  const [prefix = '', ...except] = id.slice(CIDR.length).split('!');
  return {kind: 'cidr', prefix, except};
}

/**
 * Prefixes that need an identity of their own: each CIDR and each `except` that the rules name, IPv4 only, in address order.
 * 0.0.0.0/0 is world and never one of them.
 */
export function knownPrefixes(rules: Iterable<Rule>): string[] {
  const found = new Map<string, Prefix>();
  for (const rule of rules) {
    for (const peer of rule.peers) {
      if (peer.kind !== 'cidr') continue;
      for (const text of [peer.prefix, ...peer.except]) {
        const prefix = prefixOfText(text);
        if (prefix.family === 4 && prefix.length > 0) found.set(formatPrefix(prefix), prefix);
      }
    }
  }
  return [...found].sort(([, a], [, b]) => comparePrefixes(a, b)).map(([text]) => text);
}

/** The labels of a prefix that a policy names; the agent numbers it from them. */
export function prefixLabels(prefix: string): string[] {
  return [`cidr:${prefix}`, 'reserved:world'];
}

export function prefixOfText(text: string): Prefix {
  const prefix = parsePrefix(text);
  invariant(prefix !== null, 'a peer holds canonical prefixes', {text});
  return prefix;
}

function canonical(text: string): string {
  return formatPrefix(prefixOfText(text));
}
