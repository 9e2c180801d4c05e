// Small clusters for tests: pods, nodes and policy objects in, verdicts by the production code out.

import {decodeCiliumNetworkPolicy} from '../../operator/model/decode/cilium-network-policy.js';
import {decodeNetworkPolicy} from '../../operator/model/decode/network-policy.js';
import type {DecodeContext, DecodedPolicy, Json} from '../../operator/model/decode/policy-common.js';
import type {Rejection} from '../core/errors.js';
import {identityLabels} from '../domain/label-filter.js';
import {PROTOCOL_NUMBERS} from '../domain/policy.js';
import type {EnforcementMode, Protocol, Rule} from '../domain/policy.js';
import {FlowJudge} from '../policy/flows.js';
import type {FlowPeer, FlowVerdict} from '../policy/flows.js';
import {compileCluster} from '../policy/offline.js';
import type {CompiledCluster, OfflineEndpoint, OfflineHostPod, OfflineNamedPort, OfflineNode} from '../policy/offline.js';
import {identityId, type Families} from '../domain/identity.js';
import type {CidrGroup, PolicyService} from '../domain/peer-objects.js';
import {sourcesOf} from '../policy/selectors.js';
import {meaningOf, type SourceFacts} from '../policy/sources.js';

export const CLUSTER = 'default';

export interface PodSpec {
  readonly labels?: Readonly<Record<string, string>>;
  /** Unless given, its name alone. */
  readonly namespaceLabels?: Readonly<Record<string, string>>;
  readonly ip: string;
  /** More addresses of the same pod. */
  readonly moreIps?: readonly string[];
  readonly node?: string;
  readonly namedPorts?: readonly OfflineNamedPort[];
}

/** `name` is `namespace/name`. */
export function pod(name: string, spec: PodSpec): OfflineEndpoint {
  const [namespace = '', podName = ''] = name.split('/');
  const labels = identityLabels({
    podLabels: spec.labels ?? {}, namespace, namespaceLabels: spec.namespaceLabels ?? {'kubernetes.io/metadata.name': namespace}, serviceAccount: 'default',
    clusterName: CLUSTER,
  });
  return {namespace, name: podName, labels, ips: [spec.ip, ...spec.moreIps ?? []], node: spec.node ?? 'node0', namedPorts: spec.namedPorts ?? []};
}

/** A CiliumNetworkPolicy in `default` around one rule. */
export function cnp(spec: unknown, name = 'p'): Json {
  return {apiVersion: 'cilium.io/v2', kind: 'CiliumNetworkPolicy', metadata: {namespace: 'default', name, uid: `uid-${name}`}, spec};
}

export function ccnp(spec: unknown, name = 'p'): Json {
  return {apiVersion: 'cilium.io/v2', kind: 'CiliumClusterwideNetworkPolicy', metadata: {name, uid: `uid-${name}`}, spec};
}

export function networkPolicy(spec: unknown, name = 'p'): Json {
  return {apiVersion: 'networking.k8s.io/v1', kind: 'NetworkPolicy', metadata: {namespace: 'default', name, uid: `uid-${name}`}, spec};
}

export function decodePolicy(object: Json, options: Partial<DecodeContext> = {}): DecodedPolicy {
  const context = {clusterName: CLUSTER, ...options};
  return object['kind'] === 'NetworkPolicy' ? decodeNetworkPolicy(object, context) : decodeCiliumNetworkPolicy(object, context);
}

export interface LabSpec {
  readonly pods: readonly OfflineEndpoint[];
  readonly nodes?: readonly OfflineNode[];
  readonly policies: readonly Json[];
  readonly mode?: EnforcementMode;
  readonly allowLocalhost?: boolean;
  readonly apiServerAddresses?: readonly string[];
  readonly hostPods?: readonly OfflineHostPod[];
  readonly families?: Families;
  readonly groups?: readonly CidrGroup[];
  readonly services?: readonly PolicyService[];
  /** By `namespace/name`. */
  readonly backends?: Readonly<Record<string, readonly string[]>>;
  /** Addresses by DNS name; when given, rules by name are supported. */
  readonly names?: Readonly<Record<string, readonly string[]>>;
  readonly icmpTypeZero?: 'exact' | 'any';
  /** What becomes of a rule on its way to the compiler: faults that a test seeds. Null = forgotten. */
  readonly changeRule?: (rule: Rule) => Rule | null;
}

function sourceFacts(spec: LabSpec): SourceFacts {
  const {groups = [], services = [], backends = {}, names = {}} = spec;
  return {
    clusterName: CLUSTER, groups: () => groups, group: (name) => groups.find((group) => group.name === name), services: () => services,
    backends: (namespace, name) => backends[`${namespace}/${name}`] ?? [], names: () => Object.entries(names),
  };
}

/** What the policies make of the pods. */
export class PolicyLab {
  readonly rules: readonly Rule[];
  readonly rejections: readonly Rejection[];
  readonly compiled: CompiledCluster;
  readonly #judge: FlowJudge;

  constructor(spec: LabSpec) {
    const context = {ipv6: spec.families?.ipv6 ?? false, fqdnMembers: spec.names !== undefined, icmpTypeZero: spec.icmpTypeZero ?? 'exact'};
    const decoded = spec.policies.map((object) => decodePolicy(object, context));
    const {changeRule = (rule: Rule): Rule => rule} = spec;
    this.rules = decoded.flatMap(({rules}) => rules.flatMap((rule) => changeRule(rule) ?? []));
    this.rejections = decoded.flatMap(({rejections}) => rejections);
    const facts = sourceFacts(spec);
    this.compiled = compileCluster(
      {
        endpoints: spec.pods, hostPods: spec.hostPods ?? [], nodes: spec.nodes ?? [], rules: this.rules, apiServerAddresses: spec.apiServerAddresses ?? [],
        meanings: new Map([...sourcesOf(this.rules)].map(([id, source]) => [id, meaningOf(source, facts)])),
      },
      {
        mode: spec.mode ?? 'default', allowLocalhost: spec.allowLocalhost ?? true, routingMode: 'native',
        ...(spec.families === undefined ? {} : {families: spec.families}),
      },
    );
    this.#judge = new FlowJudge(this.compiled);
  }

  /** `a -> b`: each end a pod `ns/name`, an address, or `#number`. `l4` as in `TCP/80`, `ICMP/8`. */
  judge(flow: string, l4: string): FlowVerdict {
    const [source = '', destination = ''] = flow.split(' -> ');
    const [protocol = '', port = '0'] = l4.split('/');
    return this.#judge.judge({
      source: peerOf(source), destination: peerOf(destination), protocol: PROTOCOL_NUMBERS[protocol as Protocol], port: Number(port),
    });
  }

  verdict(flow: string, l4: string): string {
    const {verdict, error} = this.judge(flow, l4);
    return error ?? verdict;
  }
}

function peerOf(text: string): FlowPeer {
  if (text.startsWith('#')) return {kind: 'identity', id: identityId(Number(text.slice(1)))};
  return text.includes('/') ? {kind: 'pod', name: text} : {kind: 'ip', address: text};
}
