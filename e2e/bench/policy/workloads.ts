// The workloads W1, W2, W6, W7 and W10: clusters as objects, so that every implementation that is compared gets the same.

import type {Change, WatchedKind} from '../../../operator/watch/feed-types.js';
import type {KubeObject} from '../../../lib/kube/object.js';

export interface Workload {
  /** Made as they are asked for: what a watch delivers is not kept, either. */
  readonly objects: () => Generator<Change>;
  /** Where agents would report them to be. */
  readonly pods: () => Generator<Placed>;
}

export interface Placed {
  readonly namespace: string;
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly node: string;
  readonly address: string;
}

type Content = Readonly<Record<string, unknown>> & {readonly labels?: Readonly<Record<string, string>>};

function change(kind: WatchedKind, namespace: string | null, name: string, content: Content): Change {
  const {labels, ...rest} = content;
  const metadata = {name, uid: `${kind}-${name}`, ...(namespace === null ? {} : {namespace}), ...(labels === undefined ? {} : {labels})};
  return {kind, key: namespace === null ? name : `${namespace}/${name}`, object: {kind, metadata, ...rest}};
}

export function namespaceOf(name: string, labels: Readonly<Record<string, string>> = {}): Change {
  return change('Namespace', null, name, {labels: {'kubernetes.io/metadata.name': name, ...labels}});
}

export function podOf(namespace: string, name: string, labels: Readonly<Record<string, string>>, node: string): Change {
  return change('Pod', namespace, name, {labels, spec: {nodeName: node, serviceAccountName: 'default', containers: [{name: 'c'}]}, status: {phase: 'Running'}});
}

function nodeOf(i: number): Change {
  return change('Node', null, `node-${i}`, {
    spec: {podCIDRs: [`10.${64 + (i >> 8)}.${i & 255}.0/24`]}, status: {addresses: [{type: 'InternalIP', address: `172.${16 + (i >> 16)}.${(i >> 8) & 255}.${i & 255}`}]},
  });
}

/** Pods take addresses in turn; a real node has room for all of its own. */
function address(i: number): string {
  return `10.${64 + (i >> 16)}.${(i >> 8) & 255}.${i & 255}`;
}

function networkPolicy(namespace: string, name: string, spec: object): Change {
  return change('NetworkPolicy', namespace, name, {spec});
}

function podOfPlaced({namespace, name, labels, node}: Placed): Change {
  return podOf(namespace, name, labels, node);
}

function* nodesOf(count: number): Generator<Change> {
  for (let i = 0; i < count; i++) yield nodeOf(i);
}

/** 4 pods and 3 policies in each namespace: each policy selects by label, one peer at ingress and one at egress. */
export function smallNamespaces(namespaces: number, nodes: number): Workload {
  function* podsOf(n: number): Generator<Placed> {
    for (let p = 0; p < 4; p++) {
      const index = n * 4 + p;
      yield {namespace: `ns-${n}`, name: `pod-${p}`, labels: {app: `app-${p % 2}`}, node: `node-${index % nodes}`, address: address(index)};
    }
  }
  return {
    * objects() {
      yield* nodesOf(nodes);
      for (let n = 0; n < namespaces; n++) {
        yield namespaceOf(`ns-${n}`);
        for (const pod of podsOf(n)) yield podOfPlaced(pod);
        yield* smallNamespacePolicies(`ns-${n}`);
      }
    },
    * pods() {
      for (let n = 0; n < namespaces; n++) yield* podsOf(n);
    },
  };
}

export function* smallNamespacePolicies(namespace: string): Generator<Change> {
  const between = (subject: object, app: string): object => {
    const peers = [{podSelector: {matchLabels: {app}}}];
    return {podSelector: subject, policyTypes: ['Ingress', 'Egress'], ingress: [{from: peers}], egress: [{to: peers}]};
  };
  yield networkPolicy(namespace, 'np-1', between({matchLabels: {app: 'app-0'}}, 'app-1'));
  yield networkPolicy(namespace, 'np-2', between({matchLabels: {app: 'app-1'}}, 'app-0'));
  yield networkPolicy(namespace, 'np-3', between({}, 'app-0'));
}

/** One namespace; every policy selects every pod. */
export function oneNamespace(pods: number, policies: number, nodes: number): Workload {
  function* placed(): Generator<Placed> {
    for (let p = 0; p < pods; p++) yield {namespace: 'big', name: `pod-${p}`, labels: {app: 'one'}, node: `node-${p % nodes}`, address: address(p)};
  }
  const all = {podSelector: {}, policyTypes: ['Ingress', 'Egress'], ingress: [{from: [{podSelector: {}}]}], egress: [{to: [{podSelector: {}}]}]};
  return {
    * objects() {
      yield* nodesOf(nodes);
      yield namespaceOf('big');
      for (const pod of placed()) yield podOfPlaced(pod);
      for (let i = 0; i < policies; i++) yield networkPolicy('big', `np-${i}`, structuredClone(all));
    },
    pods: placed,
  };
}

/** The labels of a customer's pods. */
export function tenantLabels(customer: number): Readonly<Record<string, string>> {
  return {customer: `c-${customer}`, tier: `t-${customer % 3}`, region: `r-${customer % 7}`};
}

/** Customers by label in one namespace, two pods each, isolated from all others; 100 pods on a node. */
export function isolatedTenants(pods: number): Workload {
  const nodes = Math.max(1, Math.ceil(pods / 100));
  function* placed(): Generator<Placed> {
    for (let p = 0; p < pods; p++) yield {namespace: 'saas', name: `pod-${p}`, labels: tenantLabels(p >> 1), node: `node-${p % nodes}`, address: address(p)};
  }
  return {
    * objects() {
      yield* nodesOf(nodes);
      yield namespaceOf('saas');
      for (const pod of placed()) yield podOfPlaced(pod);
      for (let customer = 0; customer < pods >> 1; customer++) {
        const own = {matchLabels: {customer: `c-${customer}`}};
        yield networkPolicy('saas', `np-${customer}`, {podSelector: own, policyTypes: ['Ingress'], ingress: [{from: [{podSelector: structuredClone(own)}]}]});
      }
    },
    pods: placed,
  };
}

/** `count` CIDRs of lengths 8..32 that are spread over the space. */
function cidrs(count: number, seed: number): string[] {
  return Array.from({length: count}, (_, i) => {
    const length = 8 + (i % 25);
    const mixed = Math.imul(i + seed, 0x9e3779b1) >>> 0;
    const bits = (length === 32 ? mixed : mixed & ~(2 ** (32 - length) - 1)) >>> 0;
    return `${bits >>> 24}.${(bits >>> 16) & 255}.${(bits >>> 8) & 255}.${bits & 255}/${length}`;
  });
}

/** 1,000 allow and 1,000 deny rules by CIDR with changing ports: one CiliumNetworkPolicy. */
export function cidrDeny(count = 1000): KubeObject {
  const item = (cidr: string, port: number): object => ({toCIDR: [cidr], toPorts: [{ports: [{port: String(port), protocol: 'TCP'}]}]});
  const spec = {
    endpointSelector: {}, egress: cidrs(count, 1).map((cidr, i) => item(cidr, 80 + (i % 97))), egressDeny: cidrs(count, 77).map((cidr, i) => item(cidr, 80 + (i % 131))),
  };
  return {apiVersion: 'cilium.io/v2', kind: 'CiliumNetworkPolicy', metadata: {namespace: 'default', name: 'cidrs', uid: 'cidrs'}, spec};
}
