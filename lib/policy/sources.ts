// What the names in policies stand for: CIDR groups, Services, and DNS names whose addresses somebody has said.

import {compareStrings} from '../core/order.js';
import {formatPrefix, parsePrefix} from '../core/ip.js';
import {LABEL_CLUSTER, LABEL_NAMESPACE} from '../domain/label-filter.js';
import type {CidrGroup, PolicyService} from '../domain/peer-objects.js';
import type {PeerSource, SourceMeaning} from '../domain/policy.js';
import {canonicalSelector, equalsRequirement, matches} from '../domain/selector.js';
import type {Selector} from '../domain/selector.js';
import {NO_MEANING} from './selectors.js';

export interface SourceFacts {
  groups(): Iterable<CidrGroup>;
  group(name: string): CidrGroup | undefined;
  services(): Iterable<PolicyService>;
  /** Of a Service without a selector. */
  backends(namespace: string, name: string): Iterable<string>;
  /** Addresses by DNS name: lower case, with the dot of the root. */
  names(): Iterable<readonly [name: string, addresses: readonly string[]]>;
  readonly clusterName: string;
}

/** Nothing for what is not there: never everything. */
export function meaningOf(source: PeerSource, facts: SourceFacts): SourceMeaning {
  switch (source.kind) {
    case 'cidr-group':
      return {prefixes: distinct(facts.group(source.name)?.prefixes ?? []), selectors: []};
    case 'cidr-groups':
      return {prefixes: distinct([...facts.groups()].filter(({labels}) => matches(source.selector, labels)).flatMap(({prefixes}) => prefixes)), selectors: []};
    case 'service':
      return meaningOfServices(facts, source.namespace, (service) => service.name === source.name);
    case 'services':
      return meaningOfServices(facts, source.namespace, (service) => matches(source.selector, service.labels));
    case 'fqdn':
      return meaningOfNames(facts, (name) => name === source.name);
    case 'fqdn-pattern': {
      const pattern = fqdnPattern(source.pattern);
      return meaningOfNames(facts, (name) => pattern.test(name));
    }
  }
}

/** A Service is its backends: the pods that it selects, or the addresses that were written for it. Its own address is none of them. */
function meaningOfServices(facts: SourceFacts, namespace: string, wanted: (service: PolicyService) => boolean): SourceMeaning {
  const prefixes: string[] = [];
  const selectors: Selector[] = [];
  for (const service of facts.services()) {
    if ((namespace !== '' && service.namespace !== namespace) || !wanted(service)) continue;
    if (service.selector === null) prefixes.push(...hostPrefixes(facts.backends(service.namespace, service.name)));
    else selectors.push(podsOf(service, service.selector, facts.clusterName));
  }
  return prefixes.length + selectors.length === 0 ? NO_MEANING : {prefixes: distinct(prefixes), selectors};
}

function podsOf(service: PolicyService, selector: Readonly<Record<string, string>>, clusterName: string): Selector {
  return canonicalSelector([
    ...Object.entries(selector).map(([key, value]) => equalsRequirement(`k8s:${key}`, value)),
    equalsRequirement(`k8s:${LABEL_NAMESPACE}`, service.namespace), equalsRequirement(`k8s:${LABEL_CLUSTER}`, clusterName),
  ]);
}

function meaningOfNames(facts: SourceFacts, wanted: (name: string) => boolean): SourceMeaning {
  const found = [...facts.names()].filter(([name]) => wanted(name)).flatMap(([, addresses]) => hostPrefixes(addresses));
  return {prefixes: distinct(found), selectors: []};
}

const LABEL = '[-a-zA-Z0-9_]';

/**
 * `*` is zero or more characters of one label, a leading `**.` one or more whole labels, `*` alone every name. Anchored at both
 * ends; the pattern is in lower case and ends with the dot of the root.
 */
export function fqdnPattern(pattern: string): RegExp {
  if (pattern === '*' || pattern === '*.') return /^/;
  const anyLabels = pattern.startsWith('**.');
  const rest = anyLabels ? pattern.slice(3) : pattern;
  const text = rest.replaceAll('.', '[.]').replaceAll(/\*+/g, `${LABEL}*`);
  return new RegExp(`^${anyLabels ? `(${LABEL}+[.])+` : ''}${text}$`);
}

function hostPrefixes(addresses: Iterable<string>): string[] {
  return [...addresses].flatMap((address) => {
    const prefix = parsePrefix(address);
    return prefix === null ? [] : [formatPrefix(prefix)];
  });
}

function distinct(prefixes: readonly string[]): string[] {
  return [...new Set(prefixes)].sort(compareStrings);
}
