// What a Service asks for: whether it is ours at all, which families, and with whom it may share an address.

import {deepEqual} from '../core/equal.js';
import type {Family} from '../core/ip.js';
import type {ExposedService} from '../domain/exposed-service.js';

export interface DemandOptions {
  /** Families that a Service gets when it leaves the choice to the cluster. */
  readonly families: readonly Family[];
  /** Whether Services without a class are ours. */
  readonly defaultIpam: boolean;
  /** Classes that are ours. */
  readonly classes: ReadonlySet<string>;
}

export function isResponsible(service: ExposedService, options: DemandOptions): boolean {
  if (service.type !== 'LoadBalancer') return false;
  return service.loadBalancerClass === null ? options.defaultIpam : options.classes.has(service.loadBalancerClass);
}

/** In the order in which they are satisfied: IPv4 first. */
export function wantedFamilies(service: ExposedService, options: DemandOptions): readonly Family[] {
  const enabled = options.families.toSorted((a, b) => a - b);
  const {ipFamilies, ipFamilyPolicy} = service;
  if (ipFamilyPolicy === 'RequireDualStack') return enabled;
  if (ipFamilyPolicy === 'PreferDualStack') return ipFamilies.length === 0 ? enabled : enabled.filter((family) => ipFamilies.includes(family));
  return ipFamilies.length > 0 ? ipFamilies.slice(0, 1) : enabled.slice(0, 1);
}

/** Why the two may not have one address; null = they may. */
export function whyNotShared(a: ExposedService, b: ExposedService): string | null {
  if (a.sharingKey === '' || a.sharingKey !== b.sharingKey) return 'different sharing key';
  if (a.ref.namespace !== b.ref.namespace && !(permits(a, b.ref.namespace) && permits(b, a.ref.namespace))) return 'sharing across these namespaces is not permitted by both services';
  const taken = new Set(a.ports.map(({port, protocol}) => `${port}/${protocol}`));
  const clash = b.ports.find(({port, protocol}) => taken.has(`${port}/${protocol}`));
  if (clash !== undefined) return `same port and protocol: ${clash.port}/${clash.protocol}`;
  if (a.externalTrafficPolicy !== b.externalTrafficPolicy) return 'different externalTrafficPolicy';
  if (a.externalTrafficPolicy === 'Local' && (a.selector === null || !deepEqual(a.selector, b.selector))) return 'externalTrafficPolicy Local with different selectors, or with none';
  return null;
}

function permits({sharingNamespaces}: ExposedService, namespace: string): boolean {
  return sharingNamespaces.includes('*') || sharingNamespaces.includes(namespace);
}
