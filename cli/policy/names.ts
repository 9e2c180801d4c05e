// How label sets, peers and ports are called in tables.

import {LABEL_CLUSTER, LABEL_NAMESPACE, LABEL_NAMESPACE_LABELS, LABEL_SERVICE_ACCOUNT} from '../../lib/domain/label-filter.js';
import type {Labels} from '../../lib/domain/labels.js';
import type {Peer, PortMatch} from '../../lib/domain/policy.js';
import type {Requirement} from '../../lib/domain/selector.js';
import type {Party} from '../../lib/policy/compare.js';
import type {CompiledCluster} from '../../lib/policy/offline.js';
import {selectorId} from '../../lib/policy/selectors.js';
import {selectorKey} from '../../lib/domain/selector.js';

const GENERATED: readonly string[] = [LABEL_CLUSTER, LABEL_NAMESPACE, LABEL_SERVICE_ACCOUNT];

/** `shop: app=api,tier=backend`: what people wrote, without what every pod of the namespace has. */
export function labelsText(labels: Labels): string {
  const own = labels.all.filter(({key}) => !GENERATED.includes(key) && !key.startsWith(`${LABEL_NAMESPACE_LABELS}.`)).map(({key, value}) => (value === '' ? key : `${key}=${value}`));
  const namespace = labels.valuesOf('k8s', LABEL_NAMESPACE)[0];
  return namespace === undefined ? labels.format().join(',') : `${namespace}: ${own.length === 0 ? 'no labels' : own.join(',')}`;
}

/** What a party is in the clusters given: the label sets, once where they are equal. */
export function partyText(party: Party, clusters: readonly CompiledCluster[]): string {
  if (party.kind !== 'pods') return party.name;
  const [key = ''] = party.pods;
  const texts = new Set(clusters.flatMap(({endpoints}) => endpoints.get(key)?.endpoint.labels ?? []).map(labelsText));
  return [...texts].join(' ⇒ ');
}

export function peerText(peer: Peer): string {
  if (peer.kind === 'cidr') return `${peer.prefix}${peer.except.length > 0 ? ` except ${peer.except.join(', ')}` : ''}`;
  if (peer.kind === 'all') return 'all';
  if (peer.kind !== 'labels') return selectorId(peer);
  const {requirements} = peer.selector;
  const namespace = requirements.find(({key, operator}) => key === LABEL_NAMESPACE && operator === 'In');
  const rest = requirements.filter((requirement) => requirement !== namespace && requirement.key !== LABEL_CLUSTER && !(requirement.key === LABEL_NAMESPACE && requirement.operator === 'Exists'));
  const own = rest.map(requirementText).join(',');
  const isReserved = requirements.some(({source}) => source === 'reserved');
  if (isReserved) return own;
  return `${namespace === undefined ? 'any namespace' : namespace.values.join('|')}: ${own === '' ? 'all pods' : own}`;
}

function requirementText(requirement: Requirement): string {
  return selectorKey({requirements: [requirement]}).replaceAll(/\b(k8s|any):/g, '').replaceAll(`${LABEL_NAMESPACE_LABELS}.`, 'namespace label ');
}

export function portsText(ports: readonly PortMatch[] | null): string {
  if (ports === null) return 'all';
  return ports.length === 0 ? 'none' : ports.map(portText).join(' ');
}

function portText({protocol, port, endPort, name, exact}: PortMatch): string {
  const first = name ?? String(port);
  if (name === undefined && port === 0 && endPort === 0 && exact !== true) return protocol;
  return `${first}${endPort > port ? `-${endPort}` : ''}/${protocol}`;
}
