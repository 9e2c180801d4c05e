// Is what was computed fast also right? The verdicts of nodes' states, expanded as agents do, against the slow reference implementation.

import {PROTOCOL_NUMBERS} from '../../../lib/domain/policy.js';
import type {NodeState} from '../../../lib/desired/node-state.js';
import {expandPolicy} from '../../../lib/policy/entries.js';
import {indexEntries, lookup, type PolicyIndex} from '../../../lib/policy/verdict.js';
import {referenceVerdict} from '../../../lib/testing/reference.js';
import type {RefWorld} from '../../../lib/testing/reference-world.js';
import type {Change} from '../../../operator/watch/feed-types.js';
import type {BenchCluster} from './cluster.js';
import type {Placed} from './workloads.js';

export interface Sample {
  /** The pods that are asked about, all of them with each other. */
  readonly pods: readonly Placed[];
  /** Every policy that may concern them. */
  readonly policies: readonly Change[];
  readonly namespaces: readonly string[];
}

/** Verdicts asked for, and those that differ. */
export function disagreements(cluster: BenchCluster, {pods, policies, namespaces}: Sample): {readonly asked: number; readonly wrong: number} {
  const world: RefWorld = {
    pods: pods.map(({namespace, name, labels, node, address}) => ({namespace, name, labels, node, ips: [address], ports: []})),
    namespaces: Object.fromEntries(namespaces.map((name) => [name, {'kubernetes.io/metadata.name': name}])),
    policies: policies.flatMap(({kind, object}) => (object === null ? [] : [{...object, kind}])),
    nodes: [], apiServers: [], groups: [], services: [], names: {}, hostPods: [], mode: 'default', allowLocalhost: true, ipv6: false,
  };
  let asked = 0;
  let wrong = 0;
  for (const subject of pods) {
    const state = cluster.store.nodeState(subject.node);
    const index = mapOf(state, `${subject.namespace}/${subject.name}`);
    for (const peer of pods) {
      const entry = state.get(`ipcache/${peer.address}/32`);
      const identity = entry?.kind === 'ipcache' ? entry.value.identity : null;
      for (const direction of ['ingress', 'egress'] as const) {
        const flow = {direction, subject: `${subject.namespace}/${subject.name}`, peer: `${peer.namespace}/${peer.name}`, protocol: 'TCP', port: 80};
        asked++;
        if (identity === null || lookup(index, {direction, identity, protocol: PROTOCOL_NUMBERS.TCP, port: 80}).verdict !== referenceVerdict(world, flow)) wrong++;
      }
    }
  }
  return {asked, wrong};
}

function mapOf(state: NodeState, pod: string): PolicyIndex {
  const endpoint = state.get(`endpoint/${pod}`);
  const policy = endpoint?.kind === 'endpoint' ? state.get(`policy/${endpoint.value.identity}`) : undefined;
  if (policy?.kind !== 'policy') return indexEntries([]);
  return indexEntries(expandPolicy(policy.value, {
    members: (id) => {
      const selector = state.get(`selector/${id}`);
      return selector?.kind === 'selector' ? selector.value : {identities: [], prefixes: []};
    },
    numberOf: () => undefined, namedPort: () => undefined, peerNamedPorts: () => new Map(),
  }).entries);
}
