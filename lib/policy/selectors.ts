// Selector ids: the canonical text of a peer, and the peer of a text. And which CIDR prefixes rules name.

import {invariant} from '../core/invariant.js';
import {comparePrefixes, formatPrefix, parsePrefix} from '../core/ip.js';
import type {Prefix} from '../core/ip.js';
import {compareStrings} from '../core/order.js';
import {IPV4_ONLY, hasFamily, worldLabel} from '../domain/identity.js';
import type {Families} from '../domain/identity.js';
import type {Peer, PeerSource, Rule, SelectorId, SourceMeaning} from '../domain/policy.js';
import {selectorKey, selectorOfKey} from '../domain/selector.js';

/** The wildcard peer: map identity 0, never a resource. */
export const SELECTOR_ANY: SelectorId = '*';
export const SELECTOR_HOST: SelectorId = 'reserved:host';
/** Selects nothing. It never appears in an entry. */
export const SELECTOR_NONE: SelectorId = 'none';

const CIDR = 'cidr=';

/** Peers do not change. */
const IDS = new WeakMap<Peer, SelectorId>();

/** `*`, `k8s:app=web,k8s:io.kubernetes.pod.namespace=default`, `cidr=10.0.0.0/8!10.96.0.0/12`. */
export function selectorId(peer: Peer): SelectorId {
  // A selector knows its key.
  if (peer.kind === 'labels') return selectorKey(peer.selector);
  const held = IDS.get(peer);
  if (held !== undefined) return held;
  const made = makeSelectorId(peer);
  IDS.set(peer, made);
  return made;
}

function makeSelectorId(peer: Exclude<Peer, {kind: 'labels'}>): SelectorId {
  switch (peer.kind) {
    case 'all':
      return SELECTOR_ANY;
    case 'none':
      return SELECTOR_NONE;
    case 'cidr':
      return CIDR + [canonical(peer.prefix), ...exceptions(peer.except)].join('!');
    case 'named':
      return [sourceId(peer.source), ...exceptions(peer.except)].join(';!');
  }
}

function exceptions(except: readonly string[]): string[] {
  return [...new Set(except.map(canonical))].sort(compareStrings);
}

/** `cidrgroup=offices`, `service=default/db`, `services=default/k8s:app=db`, `fqdn=a.example.`, `fqdnpattern=*.example.` */
export function sourceId(source: PeerSource): string {
  switch (source.kind) {
    case 'cidr-group':
      return `cidrgroup=${source.name}`;
    case 'cidr-groups':
      return `cidrgroups=${selectorKey(source.selector)}`;
    case 'service':
      return `service=${source.namespace}/${source.name}`;
    case 'services':
      return `services=${source.namespace}/${selectorKey(source.selector)}`;
    case 'fqdn':
      return `fqdn=${source.name}`;
    case 'fqdn-pattern':
      return `fqdnpattern=${source.pattern}`;
  }
}

const SOURCES: Readonly<Record<string, (text: string) => PeerSource>> = {
  cidrgroup: (name) => ({kind: 'cidr-group', name}),
  cidrgroups: (text) => ({kind: 'cidr-groups', selector: selectorOfKey(text)}),
  service: (text) => ({kind: 'service', ...namespaced(text, 'name')}),
  services: (text) => {
    const {namespace, key} = namespaced(text, 'key');
    return {kind: 'services', namespace, selector: selectorOfKey(key)};
  },
  fqdn: (name) => ({kind: 'fqdn', name}),
  fqdnpattern: (pattern) => ({kind: 'fqdn-pattern', pattern}),
};

function namespaced<K extends string>(text: string, rest: K): {readonly namespace: string} & Readonly<Record<K, string>> {
  const slash = text.indexOf('/');
  return {namespace: text.slice(0, slash), [rest]: text.slice(slash + 1)} as {readonly namespace: string} & Readonly<Record<K, string>>;
}

/** The inverse of `selectorId`. A label selector has a colon before its first `=`, a source has none. */
export function peerOf(id: SelectorId): Peer {
  if (id === SELECTOR_ANY) return {kind: 'all'};
  if (id === SELECTOR_NONE) return {kind: 'none'};
  if (id.startsWith(CIDR)) {
    const [prefix = '', ...except] = id.slice(CIDR.length).split('!');
    return {kind: 'cidr', prefix, except};
  }
  const equals = id.indexOf('=');
  const make = Object.hasOwn(SOURCES, id.slice(0, equals)) ? SOURCES[id.slice(0, equals)] : undefined;
  if (make === undefined) return {kind: 'labels', selector: selectorOfKey(id)};
  const [text = '', ...except] = id.slice(equals + 1).split(';!');
  return {kind: 'named', source: make(text), except};
}

export const NO_MEANING: SourceMeaning = {prefixes: [], selectors: []};

/** What names stand for; a name that nobody knows stands for nothing. */
export type Meanings = (source: PeerSource) => SourceMeaning;

export const NO_MEANINGS: Meanings = () => NO_MEANING;

export interface PrefixOptions {
  readonly families?: Families;
  readonly meanings?: Meanings;
}

/**
 * Prefixes that need an identity of their own: each CIDR and each `except` that the rules name, of the families there are, in
 * address order. 0.0.0.0/0 and ::/0 are world and never one of them.
 */
export function knownPrefixes(rules: Iterable<Rule>, options: PrefixOptions = {}): string[] {
  const {families = IPV4_ONLY, meanings = NO_MEANINGS} = options;
  const found = new Map<string, Prefix>();
  for (const rule of rules) {
    for (const peer of rule.peers) {
      if (peer.kind !== 'cidr' && peer.kind !== 'named') continue;
      const named = peer.kind === 'cidr' ? [peer.prefix] : meanings(peer.source).prefixes;
      for (const text of [...named, ...peer.except]) {
        const prefix = prefixOfText(text);
        if (hasFamily(families, prefix.family) && prefix.length > 0) found.set(formatPrefix(prefix), prefix);
      }
    }
  }
  return [...found].sort(([, a], [, b]) => comparePrefixes(a, b)).map(([text]) => text);
}

/** The sources that rules refer to, by id. */
export function sourcesOf(rules: Iterable<Rule>): Map<string, PeerSource> {
  const found = new Map<string, PeerSource>();
  for (const {peers} of rules) for (const peer of peers) if (peer.kind === 'named') found.set(sourceId(peer.source), peer.source);
  return found;
}

/** The labels of a prefix that a policy names; the agent numbers it from them. */
export function prefixLabels(prefix: string, families: Families = IPV4_ONLY): string[] {
  return [`cidr:${prefix}`, worldLabel(families, prefixOfText(prefix).family)];
}

export function prefixOfText(text: string): Prefix {
  const prefix = parsePrefix(text);
  invariant(prefix !== null, 'a peer holds canonical prefixes', {text});
  return prefix;
}

function canonical(text: string): string {
  return formatPrefix(prefixOfText(text));
}
