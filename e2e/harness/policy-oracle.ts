// What the policy library says about flows of a lab: from the objects that the API server holds now, by the same functions that the operator,
// the agents and the CLI call. Packets are then compared with it.

import type {KubeClient} from '../../lib/kube/client.js';
import {objectKey} from '../../lib/kube/object.js';
import {collectionPath, RESOURCES} from '../../lib/kube/resources.js';
import {identityLabels} from '../../lib/domain/label-filter.js';
import {FlowJudge} from '../../lib/policy/flows.js';
import {compileCluster, type OfflineCluster} from '../../lib/policy/offline.js';
import {decoders} from '../../operator/model/decoders.js';
import {API_SERVER_SERVICE} from '../../operator/model/decode/endpoint-slice.js';
import {applyBatch, emptyTables, type Tables} from '../../operator/model/tables.js';
import type {Change, WatchedKind} from '../../operator/watch/feed-types.js';
import type {LabPod} from './lab.js';

/** As the lab's operator is started. */
const CLUSTER_NAME = 'cilium-bgp';

const KINDS = [
  'Pod', 'Namespace', 'Node', 'CiliumNode', 'EndpointSlice', 'CiliumIdentity', 'NetworkPolicy', 'CiliumNetworkPolicy', 'CiliumClusterwideNetworkPolicy',
] as const satisfies readonly WatchedKind[];

/** `pods`: addresses as the CNI plugin gave them. */
export async function policyOracle(client: KubeClient, pods: readonly LabPod[]): Promise<FlowJudge> {
  const signal = AbortSignal.timeout(20_000);
  const lists = await Promise.all(KINDS.map(async (kind) => {
    const page = await client.listAll(collectionPath(RESOURCES[kind]), {}, signal);
    return page.items.map((object): Change => ({kind, key: objectKey(object), object}));
  }));
  const options = {clusterName: CLUSTER_NAME, masquerade: {namespace: 'kube-system', name: 'ip-masq-agent'}, invalidPolicy: 'isolate'} as const;
  const {tables} = applyBatch(emptyTables(), {changes: lists.flat(), inSync: true, receivedAtMs: 0}, decoders(options));
  return new FlowJudge(compileCluster(clusterOf(tables, pods), {mode: 'default', allowLocalhost: true, routingMode: 'native'}));
}

function clusterOf(tables: Tables, pods: readonly LabPod[]): OfflineCluster {
  const addresses = new Map(pods.map((pod) => [`${pod.namespace}/${pod.name}`, pod.address]));
  return {
    endpoints: [...tables.pods.entries()].flatMap(([key, pod]) => {
      const address = addresses.get(key);
      if (address === undefined || pod.hostNetwork || pod.ended) return [];
      const labels = identityLabels({
        podLabels: pod.labels, namespace: pod.namespace, namespaceLabels: tables.namespaces.get(pod.namespace)?.labels ?? {},
        serviceAccount: pod.serviceAccount, clusterName: CLUSTER_NAME,
      });
      const namedPorts = Object.entries(pod.namedPorts).map(([name, {port, protocol}]) => ({name, port, protocol}));
      return [{namespace: pod.namespace, name: pod.name, labels, ips: [address], node: pod.nodeName ?? '', namedPorts}];
    }),
    hostPods: [],
    nodes: [...tables.nodes.values()].map((node) => {
      const {routerAddress = null} = tables.ciliumNodes.get(node.name) ?? {};
      return {name: node.name, addresses: [...node.addresses.map(({ip}) => ip), ...(routerAddress === null ? [] : [routerAddress])], podCidrs: node.podCidrs};
    }),
    rules: [...tables.policies.values()].flatMap(({rules}) => rules),
    apiServerAddresses: [...tables.slices.keysBy('service', API_SERVER_SERVICE)].flatMap((key) => tables.slices.get(key)?.addresses ?? []),
    identities: new Map([...tables.identities.values()].map(({id, labels}) => [labels.key, id])),
  };
}
