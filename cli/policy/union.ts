// Two worlds made comparable: the pods and nodes of both are in each, so that what differs is what policies and labels say. Without
// any pod, one stands for each selector that the policies have.

import {LABEL_CLUSTER, LABEL_NAMESPACE, LABEL_NAMESPACE_LABELS, LABEL_SERVICE_ACCOUNT, identityLabels} from '../../lib/domain/label-filter.js';
import type {Rule} from '../../lib/domain/policy.js';
import {selectorKey, type Selector} from '../../lib/domain/selector.js';
import {keyOf, type OfflineEndpoint} from '../../lib/policy/offline.js';
import type {World} from './world.js';

export function comparable(a: World, b: World): readonly [World, World] {
  const rules = [...a.cluster.rules, ...b.cluster.rules];
  const none = a.cluster.endpoints.length + b.cluster.endpoints.length === 0;
  const made = none ? podsOfRules(rules, a.settings.clusterName) : [];
  return [withAll(a, b, made), withAll(b, a, made)];
}

function withAll(world: World, other: World, made: readonly OfflineEndpoint[]): World {
  const {cluster} = world;
  const keys = new Set(cluster.endpoints.map(keyOf));
  const nodes = new Set(cluster.nodes.map(({name}) => name));
  return {
    ...world,
    cluster: {
      ...cluster,
      endpoints: [...cluster.endpoints, ...other.cluster.endpoints.filter((endpoint) => !keys.has(keyOf(endpoint))), ...made],
      nodes: [...cluster.nodes, ...other.cluster.nodes.filter(({name}) => !nodes.has(name))],
      apiServerAddresses: [...new Set([...cluster.apiServerAddresses, ...other.cluster.apiServerAddresses])],
    },
  };
}

/** The least that each selector asks for, and in every namespace a pod without labels. */
export function podsOfRules(rules: readonly Rule[], clusterName: string): OfflineEndpoint[] {
  const selectors = rules.flatMap(({subject, peers}) => [subject, ...peers.flatMap((peer) => (peer.kind === 'labels' ? [peer.selector] : []))]);
  const pods = new Map<string, OfflineEndpoint>();
  const add = (endpoint: OfflineEndpoint | null): void => {
    if (endpoint !== null && !pods.has(endpoint.labels.key)) pods.set(endpoint.labels.key, endpoint);
  };
  const namespaces = new Set(['default']);
  for (const selector of new Map(selectors.map((one) => [selectorKey(one), one])).values()) {
    const endpoint = podOfSelector(selector, clusterName);
    if (endpoint !== null) namespaces.add(endpoint.namespace);
    add(endpoint);
  }
  for (const namespace of namespaces) add(podWith({}, namespace, clusterName));
  return [...pods.values()];
}

function podOfSelector({requirements}: Selector, clusterName: string): OfflineEndpoint | null {
  if (requirements.some(({source}) => source !== 'k8s' && source !== 'any')) return null;
  const labels: Record<string, string> = {};
  for (const {key, operator, values} of requirements) {
    if (operator === 'In') labels[key] = values[0] ?? '';
    else if (operator === 'Exists') labels[key] ??= '';
  }
  const {[LABEL_NAMESPACE]: namespace = '', ...own} = labels;
  return podWith(own, namespace === '' ? 'default' : namespace, clusterName);
}

function podWith(labels: Readonly<Record<string, string>>, namespace: string, clusterName: string): OfflineEndpoint {
  const own = Object.entries(labels).filter(([key]) => key !== LABEL_CLUSTER && key !== LABEL_SERVICE_ACCOUNT && !key.startsWith(LABEL_NAMESPACE_LABELS));
  const namespaceLabels = Object.entries(labels).filter(([key]) => key.startsWith(`${LABEL_NAMESPACE_LABELS}.`)).map(([key, value]) => [key.slice(LABEL_NAMESPACE_LABELS.length + 1), value]);
  const set = identityLabels({
    podLabels: Object.fromEntries(own), namespace, namespaceLabels: Object.fromEntries(namespaceLabels) as Readonly<Record<string, string>>,
    serviceAccount: labels[LABEL_SERVICE_ACCOUNT] ?? '', clusterName,
  });
  const name = own.length === 0 && namespaceLabels.length === 0 ? '(other)' : `(${[...own, ...namespaceLabels].map(([key, value]) => `${key}=${value}`).join(',')})`;
  return {namespace, name, labels: set, ips: [], node: '', namedPorts: []};
}
