// Writing Kubernetes objects into a lab: with kubectl where there is an API server, as files where the operator reads a folder.

import {readdirSync, renameSync, rmSync, writeFileSync, existsSync, readFileSync} from 'node:fs';
import {join} from 'node:path';
import {stringify} from 'yaml';
import type {KubeObject} from '../../lib/kube/object.js';
import type {ControlPlane} from './control-plane.js';
import {parseManifests} from './pod-store.js';
import {NODES, POD_CIDR} from './topology.js';
import {podCidrsOf, twin} from './topology6.js';

export interface ObjectName {
  /** As kubectl knows it: `pod`, `ciliumnetworkpolicy`. */
  readonly kind: string;
  readonly namespace: string | null;
  readonly name: string;
}

export interface ObjectWriter {
  /** Manifests as text. */
  apply(text: string): Promise<void>;
  delete(name: ObjectName): Promise<void>;
  /** Null removes a label. */
  label(name: ObjectName, labels: Readonly<Record<string, string | null>>): Promise<void>;
}

export class KubectlWriter implements ObjectWriter {
  readonly #controlPlane: ControlPlane;

  constructor(controlPlane: ControlPlane) {
    this.#controlPlane = controlPlane;
  }

  async apply(text: string): Promise<void> {
    await this.#controlPlane.kubectl(['apply', '-f', '-'], text);
  }

  async delete(name: ObjectName): Promise<void> {
    await this.#controlPlane.kubectl(['delete', name.kind, name.name, ...namespaceFlag(name), '--ignore-not-found', '--wait=false']);
  }

  async label(name: ObjectName, labels: Readonly<Record<string, string | null>>): Promise<void> {
    const settings = Object.entries(labels).map(([key, value]) => value === null ? `${key}-` : `${key}=${value}`);
    await this.#controlPlane.kubectl(['label', name.kind, name.name, ...namespaceFlag(name), '--overwrite', ...settings]);
  }
}

function namespaceFlag(name: ObjectName): readonly string[] {
  return name.namespace === null ? [] : ['-n', name.namespace];
}

/**
 * One file per object. There is no controller here: a DaemonSet is written as the plain Pods that it would have, one per node, bound to it; an object
 * without a namespace that should have one goes to `default`.
 */
export class FolderWriter implements ObjectWriter {
  readonly #folder: string;

  constructor(folder: string) {
    this.#folder = folder;
  }

  /** The objects that a control plane and kubelets would have made: nodes with PodCIDRs, the first namespaces. */
  async writeCluster(ipv6: boolean): Promise<void> {
    for (const name of ['default', 'kube-system']) {
      this.#write({apiVersion: 'v1', kind: 'Namespace', metadata: {name, labels: {'kubernetes.io/metadata.name': name}}});
    }
    for (const [i, node] of NODES.entries()) {
      const podCIDRs = ipv6 ? podCidrsOf(i, filesPodCidr(i)) : [filesPodCidr(i)];
      const addresses = [node.address, ...(ipv6 ? [twin(node.address)] : [])].map((address) => ({type: 'InternalIP', address}));
      this.#write({
        apiVersion: 'v1', kind: 'Node',
        metadata: {name: node.name, labels: {'kubernetes.io/hostname': node.name, 'kubernetes.io/os': 'linux', rack: node.rack}},
        spec: {podCIDR: podCIDRs[0], podCIDRs},
        status: {addresses: [...addresses, {type: 'Hostname', address: node.name}], conditions: [{type: 'Ready', status: 'True'}]},
      });
    }
  }

  async apply(text: string): Promise<void> {
    for (const object of parseManifests(text)) for (const plain of expand(object)) this.#write(plain);
  }

  async delete(name: ObjectName): Promise<void> {
    if (name.kind !== 'daemonset') {
      rmSync(this.#path(name.kind, name.namespace, name.name), {force: true});
      return;
    }
    for (const node of NODES) rmSync(this.#path('pod', name.namespace, daemonPodName(name.name, node.name)), {force: true});
  }

  async label(name: ObjectName, labels: Readonly<Record<string, string | null>>): Promise<void> {
    const path = this.#path(name.kind, name.namespace, name.name);
    const [object] = existsSync(path) ? parseManifests(readFileSync(path, 'utf8')) : [];
    if (object === undefined) throw new Error(`${name.kind} ${name.name} is not in the folder`);
    const merged = Object.entries({...object.metadata.labels, ...labels}).filter((entry): entry is [string, string] => entry[1] !== null);
    this.#write({...object, metadata: {...object.metadata, labels: Object.fromEntries(merged)}});
  }

  names(): readonly string[] {
    return readdirSync(this.#folder);
  }

  #path(kind: string, namespace: string | null, name: string): string {
    return join(this.#folder, `${[kind.toLowerCase(), ...(namespace === null ? [] : [namespace]), name].join('_')}.yaml`);
  }

  /** By rename, so that a reader never sees half a file. */
  #write(object: KubeObject): void {
    const kind = String(object['kind']);
    const path = this.#path(kind, CLUSTER_KINDS.has(kind) ? null : (object.metadata.namespace ?? 'default'), object.metadata.name);
    writeFileSync(`${path}.new`, stringify(object));
    renameSync(`${path}.new`, path);
  }
}

/** What node IPAM would give to the nodes, in their order. */
export function filesPodCidr(index: number): string {
  const [a = '', b = ''] = POD_CIDR.split('.');
  return `${a}.${b}.${index}.0/24`;
}

const CLUSTER_KINDS: ReadonlySet<string> = new Set(['Namespace', 'Node', 'CiliumClusterwideNetworkPolicy', 'CiliumBGPPeeringPolicy', 'CiliumNode', 'CiliumIdentity', 'CiliumCIDRGroup']);

function daemonPodName(daemonSet: string, node: string): string {
  return `${daemonSet}-${node}`;
}

interface DaemonSetTemplate {
  readonly template?: {readonly metadata?: {readonly labels?: Readonly<Record<string, string>>}; readonly spec?: Readonly<Record<string, unknown>>};
}

function expand(object: KubeObject): readonly KubeObject[] {
  const namespaced = CLUSTER_KINDS.has(String(object['kind'])) ? object : {...object, metadata: {namespace: 'default', ...object.metadata}};
  if (object['kind'] !== 'DaemonSet') return [namespaced];
  const {template} = object['spec'] as DaemonSetTemplate;
  return NODES.map((node) => ({
    apiVersion: 'v1', kind: 'Pod',
    metadata: {name: daemonPodName(object.metadata.name, node.name), namespace: object.metadata.namespace ?? 'default', labels: template?.metadata?.labels ?? {}},
    spec: {...template?.spec, nodeName: node.name},
  }));
}
