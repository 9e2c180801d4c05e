// The workloads W1, W2, W6, W7 and W10: clusters as objects, so that every implementation that is compared gets the same.

import type {Change, WatchedKind} from '../../../operator/watch/feed-types.js';
import type {KubeObject} from '../../../lib/kube/object.js';

export interface Workload {
  readonly changes: Change[];
  /** `namespace/name` → node and address, as agents would report them. */
  readonly placed: {readonly namespace: string; readonly name: string; readonly node: string; readonly address: string}[];
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

/** 4 pods and 3 policies in each namespace: each policy selects by label, one peer at ingress and one at egress. */
export function smallNamespaces(namespaces: number, nodes: number): Workload {
  const changes: Change[] = Array.from({length: nodes}, (_, i) => nodeOf(i));
  const placed: Workload['placed'] = [];
  for (let n = 0; n < namespaces; n++) {
    const namespace = `ns-${n}`;
    changes.push(namespaceOf(namespace));
    for (let p = 0; p < 4; p++) {
      const index = n * 4 + p;
      const node = `node-${index % nodes}`;
      changes.push(podOf(namespace, `pod-${p}`, {app: `app-${p % 2}`}, node));
      placed.push({namespace, name: `pod-${p}`, node, address: address(index)});
    }
    const peer = (app: string): object => ({podSelector: {matchLabels: {app}}});
    changes.push(networkPolicy(namespace, 'np-1', {podSelector: {matchLabels: {app: 'app-0'}}, policyTypes: ['Ingress', 'Egress'], ingress: [{from: [peer('app-1')]}], egress: [{to: [peer('app-1')]}]}));
    changes.push(networkPolicy(namespace, 'np-2', {podSelector: {matchLabels: {app: 'app-1'}}, policyTypes: ['Ingress', 'Egress'], ingress: [{from: [peer('app-0')]}], egress: [{to: [peer('app-0')]}]}));
    changes.push(networkPolicy(namespace, 'np-3', {podSelector: {}, policyTypes: ['Ingress', 'Egress'], ingress: [{from: [peer('app-0')]}], egress: [{to: [peer('app-0')]}]}));
  }
  return {changes, placed};
}

/** One namespace; every policy selects every pod. */
export function oneNamespace(pods: number, policies: number, nodes: number): Workload {
  const changes: Change[] = [...Array.from({length: nodes}, (_, i) => nodeOf(i)), namespaceOf('big')];
  const placed: Workload['placed'] = [];
  for (let p = 0; p < pods; p++) {
    const node = `node-${p % nodes}`;
    changes.push(podOf('big', `pod-${p}`, {app: 'one'}, node));
    placed.push({namespace: 'big', name: `pod-${p}`, node, address: address(p)});
  }
  for (let i = 0; i < policies; i++) {
    changes.push(networkPolicy('big', `np-${i}`, {podSelector: {}, policyTypes: ['Ingress', 'Egress'], ingress: [{from: [{podSelector: {}}]}], egress: [{to: [{podSelector: {}}]}]}));
  }
  return {changes, placed};
}

/** Tenants by label in shared namespaces, each isolated from all others; 100 pods on a node. */
export function isolatedTenants(tenants: number): Workload {
  const nodes = Math.max(1, Math.ceil(tenants / 100));
  const changes: Change[] = [...Array.from({length: nodes}, (_, i) => nodeOf(i)), namespaceOf('saas')];
  const placed: Workload['placed'] = [];
  for (let t = 0; t < tenants; t++) {
    const node = `node-${t % nodes}`;
    const labels = {customer: `c-${t}`, tier: `t-${t % 3}`, region: `r-${t % 7}`};
    changes.push(podOf('saas', `pod-${t}`, labels, node));
    placed.push({namespace: 'saas', name: `pod-${t}`, node, address: address(t)});
    const own = {podSelector: {matchLabels: {customer: labels.customer}}};
    changes.push(networkPolicy('saas', `np-${t}`, {podSelector: {matchLabels: {customer: labels.customer}}, policyTypes: ['Ingress'], ingress: [{from: [own]}]}));
  }
  return {changes, placed};
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
