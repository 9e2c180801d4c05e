// The stand-in for the kubelet and the container runtime, one per node: the only stand-in of the lab. It registers the Node, keeps its lease,
// runs the pods bound to it through the real CNI plugin, and reports what it sees. It talks to no other part of Stentor.

import type {KubeClient} from '../../lib/kube/client.js';
import {isKubeError} from '../../lib/kube/errors.js';
import {collectionPath, objectPath, RESOURCES} from '../../lib/kube/resources.js';
import type {CniRunner} from './cni.js';
import type {Netns} from './netns.js';
import {PodSandbox} from './pod.js';
import {isByHand, type Pod} from './pod-spec.js';
import type {PodStore} from './pod-store.js';
import type {RunDirectory} from './run-dir.js';
import {nowMs, pause} from './shell.js';
import type {NodeSpec} from './topology.js';

export interface KubeletParts {
  readonly run: RunDirectory;
  readonly netns: Netns;
  readonly cni: CniRunner;
  readonly store: PodStore;
  /** Null without an API server. */
  readonly client: KubeClient | null;
  /** InternalIPs, that of `spec` first. */
  readonly addresses: readonly string[];
}

const LEASE_SECONDS = 40;
const LEASE_RENEW_MS = 10_000;
const RETRY_MS = 500;

export class Kubelet {
  readonly spec: NodeSpec;
  readonly #parts: KubeletParts;
  readonly #abort = new AbortController();
  readonly #sandboxes = new Map<string, PodSandbox>();
  /** Work on one pod runs one after the other. */
  readonly #queues = new Map<string, Promise<void>>();
  readonly #written = new Map<string, string>();
  #loops: readonly Promise<void>[] = [];

  constructor(spec: NodeSpec, parts: KubeletParts) {
    this.spec = spec;
    this.#parts = parts;
  }

  /** By `namespace/name`; all pods that this node runs or is about to run. */
  get pods(): ReadonlyMap<string, PodSandbox> {
    return new Map([...this.#sandboxes.values()].map((sandbox) => [sandbox.key, sandbox]));
  }

  /** No pod, and no work on a former one. */
  get idle(): boolean {
    return this.#sandboxes.size === 0 && this.#queues.size === 0;
  }

  async start(): Promise<void> {
    const {signal} = this.#abort;
    if (this.#parts.client !== null) await this.#register(this.#parts.client);
    this.#loops = [
      this.#parts.store.follow(this.spec.name, (pods) => this.#sync(pods), signal),
      ...(this.#parts.client === null ? [] : [this.#heartbeat(this.#parts.client)]),
    ];
  }

  /** Stops following; the pods keep running. */
  async stop(): Promise<void> {
    this.#abort.abort();
    await Promise.allSettled(this.#loops);
    await Promise.allSettled(this.#queues.values());
  }

  async destroyPods(): Promise<void> {
    await Promise.allSettled([...this.#sandboxes.values()].map((sandbox) => sandbox.destroy()));
    this.#sandboxes.clear();
  }

  #sync(pods: ReadonlyMap<string, Pod>): void {
    const wanted = new Set<string>();
    for (const pod of pods.values()) {
      const id = pod.metadata.uid ?? `${pod.metadata.namespace ?? ''}/${pod.metadata.name}`;
      if (isByHand(pod)) continue;
      const ending = pod.metadata.deletionTimestamp !== undefined;
      if (!ending) wanted.add(id);
      if (ending && !this.#sandboxes.has(id)) this.#enqueue(id, () => this.#parts.store.confirmEnd(pod, this.#abort.signal));
      if (ending || this.#sandboxes.has(id) || pod.status?.phase === 'Succeeded' || pod.status?.phase === 'Failed') continue;
      const sandbox = new PodSandbox(pod, {...this.#parts, node: this.#parts.netns, nodeAddress: this.spec.address, onChange: () => this.#report(id)});
      this.#sandboxes.set(id, sandbox);
      this.#enqueue(id, () => this.#startPod(id, sandbox));
    }
    for (const [id, sandbox] of this.#sandboxes) {
      if (wanted.has(id)) continue;
      this.#sandboxes.delete(id);
      this.#enqueue(id, () => this.#endPod(id, sandbox));
    }
  }

  async #startPod(id: string, sandbox: PodSandbox): Promise<void> {
    for (let attempt = 0; !this.#abort.signal.aborted && this.#sandboxes.get(id) === sandbox; attempt++) {
      if (!this.#parts.cni.ready && sandbox.pod.spec.hostNetwork !== true) {
        sandbox.waiting = 'NetworkPluginNotReady';
        await pause(50);
        continue;
      }
      try {
        await (sandbox.netns === null ? sandbox.start() : sandbox.retry());
        this.#parts.run.append('cni-adds', JSON.stringify({pod: sandbox.key, node: this.spec.name, ms: Math.round(sandbox.addMs * 10) / 10, attempt}));
        this.#report(id);
        return;
      } catch (error) {
        sandbox.waiting = error instanceof Error ? error.message : String(error);
        this.#parts.run.append('logs/kubelet.log', `${new Date().toISOString()} ${this.spec.name} ${sandbox.key}: ${sandbox.waiting}`);
        this.#report(id);
        await pause(RETRY_MS);
      }
    }
  }

  async #endPod(id: string, sandbox: PodSandbox): Promise<void> {
    for (let attempt = 0; attempt < 60 && !this.#abort.signal.aborted; attempt++) {
      try {
        await sandbox.destroy();
        await this.#parts.store.confirmEnd(sandbox.pod, this.#abort.signal);
        this.#written.delete(id);
        return;
      } catch (error) {
        this.#parts.run.append('logs/kubelet.log', `${new Date().toISOString()} ${this.spec.name} end of ${sandbox.key}: ${String(error)}`);
        await pause(RETRY_MS);
      }
    }
  }

  #report(id: string): void {
    this.#enqueue(`${id}/status`, async () => {
      const sandbox = this.#sandboxes.get(id);
      if (sandbox === undefined) return;
      const status = sandbox.status();
      const text = JSON.stringify(status);
      if (this.#written.get(id) === text) return;
      await this.#parts.store.writeStatus(sandbox.pod, status, this.#abort.signal);
      this.#written.set(id, text);
    });
  }

  #enqueue(key: string, work: () => Promise<void>): void {
    const before = this.#queues.get(key) ?? Promise.resolve();
    const next = before.then(work).catch(async (error: unknown) => {
      if (this.#abort.signal.aborted) return;
      this.#parts.run.append('logs/kubelet.log', `${new Date().toISOString()} ${this.spec.name} ${key}: ${String(error)}`);
      await pause(RETRY_MS);
      this.#enqueue(key, work);
    });
    this.#queues.set(key, next);
    void next.finally(() => {
      if (this.#queues.get(key) === next) this.#queues.delete(key);
    });
  }

  async #register(client: KubeClient): Promise<void> {
    const node = {
      apiVersion: 'v1', kind: 'Node',
      metadata: {name: this.spec.name, labels: {
        'kubernetes.io/hostname': this.spec.name, 'kubernetes.io/os': 'linux', 'kubernetes.io/arch': process.arch === 'x64' ? 'amd64' : process.arch, rack: this.spec.rack,
      }},
    };
    try {
      await client.create(collectionPath(RESOURCES.Node), node, this.#abort.signal);
    } catch (error) {
      if (!isKubeError(error, 'AlreadyExists')) throw error;
    }
    await this.#writeNodeStatus(client);
  }

  async #writeNodeStatus(client: KubeClient): Promise<boolean> {
    const {ready} = this.#parts.cni;
    const now = new Date().toISOString().replace(/\.\d+Z$/, 'Z');
    const condition = (type: string, status: string, reason: string): object => ({type, status, reason, message: reason, lastHeartbeatTime: now, lastTransitionTime: now});
    const resources = {cpu: '4', memory: '8Gi', pods: '110', 'ephemeral-storage': '50Gi'};
    await client.patch(objectPath(RESOURCES.Node, null, this.spec.name, 'status'), {type: 'merge', patch: {status: {
      addresses: [...this.#parts.addresses.map((address) => ({type: 'InternalIP', address})), {type: 'Hostname', address: this.spec.name}],
      capacity: resources, allocatable: resources,
      conditions: [
        condition('MemoryPressure', 'False', 'KubeletHasSufficientMemory'), condition('DiskPressure', 'False', 'KubeletHasNoDiskPressure'),
        condition('PIDPressure', 'False', 'KubeletHasSufficientPID'),
        ready ? condition('Ready', 'True', 'KubeletReady') : condition('Ready', 'False', 'NetworkPluginNotReady'),
      ],
      nodeInfo: {
        machineID: this.spec.name, systemUUID: this.spec.name, bootID: this.spec.name, kernelVersion: '', osImage: 'lab', containerRuntimeVersion: 'lab://1',
        kubeletVersion: 'v1.34.10', kubeProxyVersion: '', operatingSystem: 'linux', architecture: 'amd64',
      },
    }}}, this.#abort.signal);
    return ready;
  }

  async #heartbeat(client: KubeClient): Promise<void> {
    let reported = false;
    let nextLeaseMs = 0;
    while (!this.#abort.signal.aborted) {
      try {
        if (this.#parts.cni.ready !== reported) reported = await this.#writeNodeStatus(client);
        if (nowMs() >= nextLeaseMs) {
          await this.#renewLease(client);
          nextLeaseMs = nowMs() + LEASE_RENEW_MS;
        }
      } catch {
        // The API server is away: tried again on the next round.
      }
      await pause(100);
    }
  }

  async #renewLease(client: KubeClient): Promise<void> {
    const spec = {holderIdentity: this.spec.name, leaseDurationSeconds: LEASE_SECONDS, renewTime: new Date().toISOString().replace('Z', '000Z')};
    const path = objectPath(RESOURCES.Lease, 'kube-node-lease', this.spec.name);
    try {
      await client.patch(path, {type: 'merge', patch: {spec}}, this.#abort.signal);
    } catch (error) {
      if (!isKubeError(error, 'NotFound')) throw error;
      const lease = {apiVersion: 'coordination.k8s.io/v1', kind: 'Lease', metadata: {name: this.spec.name, namespace: 'kube-node-lease'}, spec};
      await client.create(collectionPath(RESOURCES.Lease, 'kube-node-lease'), lease, this.#abort.signal);
    }
  }
}
