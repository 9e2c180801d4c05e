// A container runtime as far as networks go: sandboxes on one node of the lab, attached and detached by calling the CNI plugin. No containers.

import {randomBytes} from 'node:crypto';
import {objectPath, RESOURCES} from '../../lib/kube/resources.js';
import {CniFailed, CniRunner, type CniCall, type CniResult} from './cni.js';
import type {Lab} from './lab.js';
import {Netns} from './netns.js';
import {BY_HAND} from './pod-spec.js';
import {CNI_PLUGIN, HELPER} from './helper.js';
import {must, nowMs, until} from './shell.js';
import {getJson} from './unix-http.js';

export interface Sandbox {
  readonly namespace: string;
  readonly name: string;
  readonly containerId: string;
  readonly netns: Netns;
}

export interface Added {
  readonly result: CniResult;
  readonly address: string;
  readonly ms: number;
}

type Command = CniCall['command'];

export class Runtime {
  readonly node: string;
  readonly cni: CniRunner;
  readonly #lab: Lab;
  readonly #sandboxes = new Map<string, Sandbox>();

  constructor(lab: Lab, node: string) {
    this.#lab = lab;
    this.node = node;
    this.cni = new CniRunner({nodeNetns: lab.node(node).netnsPath, configFile: lab.stentor.cniConfig(node)});
  }

  /** Pods that exist, are bound to the node, and are known to its agent; none is attached yet. */
  async pods(names: readonly string[], labels: Readonly<Record<string, string>> = {}): Promise<readonly Sandbox[]> {
    await this.#lab.objects.apply(names.map((name) => JSON.stringify({
      apiVersion: 'v1', kind: 'Pod', metadata: {name, namespace: 'default', labels: {...labels, pod: name}, annotations: {[BY_HAND]: 'true'}},
      spec: {nodeName: this.node, terminationGracePeriodSeconds: 0, containers: [{name: 'c', image: 'lab/none'}]},
    })).join('\n---\n'));
    await until('the agent knows the pods', {timeoutMs: 20_000, intervalMs: 50}, async () => {
      const {resources} = await getJson<{readonly resources: readonly {readonly kind: string; readonly key: string}[]}>(this.#lab.stentor.agentSocket(this.node), '/v1/state');
      const known = new Set(resources.filter(({kind}) => kind === 'endpoint').map(({key}) => key));
      return names.every((name) => known.has(`default/${name}`)) ? true : null;
    });
    return Promise.all(names.map((name) => this.sandbox(name)));
  }

  async sandbox(name: string): Promise<Sandbox> {
    const containerId = randomBytes(32).toString('hex');
    const netns = await Netns.create(this.#lab.run, `hand-${name}-${containerId.slice(0, 6)}`);
    const sandbox = {namespace: 'default', name, containerId, netns};
    this.#sandboxes.set(containerId, sandbox);
    return sandbox;
  }

  call(command: Command, sandbox: Sandbox | null, config?: CniCall['config']): Promise<CniResult> {
    const {namespace = '', name = '', containerId = ''} = sandbox ?? {};
    return this.cni.call({command, namespace, name, containerId, uid: '', netns: sandbox?.netns.path ?? '', ...(config === undefined ? {} : {config})});
  }

  async add(sandbox: Sandbox, config?: CniCall['config']): Promise<Added> {
    const startedMs = nowMs();
    const result = await this.call('ADD', sandbox, config);
    const ms = nowMs() - startedMs;
    return {result, ms, address: result.ips?.find(({address}) => !address.includes(':'))?.address.split('/')[0] ?? ''};
  }

  /** An ADD whose plugin is killed after so many milliseconds; whether it was killed before it had answered. */
  async killedAfter(sandbox: Sandbox, ms: number): Promise<boolean> {
    const {namespace, name, containerId, netns} = sandbox;
    const call = this.cni.call({command: 'ADD', namespace, name, containerId, uid: '', netns: netns.path}, ms);
    return call.then(() => false, (error: unknown) => {
      if (error instanceof CniFailed) return true;
      throw error;
    });
  }

  /** At most `atOnce` at a time: how many milliseconds each plugin ran. One that fails is an error. */
  async addAll(sandboxes: readonly Sandbox[], atOnce: number): Promise<readonly number[]> {
    const input = sandboxes.map(({containerId, netns, namespace, name}) => `${containerId} ${netns.path} ${namespace} ${name}\n`).join('');
    const output = await must([HELPER, 'attach', CNI_PLUGIN, this.#lab.stentor.cniConfig(this.node), String(atOnce)], {input, netns: this.#lab.node(this.node).netnsPath});
    const done = output.trim().split('\n').map((line) => JSON.parse(line) as {readonly container: string; readonly ms: number; readonly code: number});
    const failed = done.filter(({code}) => code !== 0);
    if (failed.length > 0 || done.length !== sandboxes.length) throw new Error(`${failed.length} of ${done.length} ADDs failed`);
    return done.map(({ms}) => ms);
  }

  /** DEL, the namespace, and the Pod. */
  async remove(sandbox: Sandbox): Promise<void> {
    await this.call('DEL', sandbox);
    await sandbox.netns.remove();
    this.#sandboxes.delete(sandbox.containerId);
    const {client, objects} = this.#lab;
    if (client === null) await objects.delete({kind: 'pod', namespace: sandbox.namespace, name: sandbox.name});
    else await client.delete(objectPath(RESOURCES.Pod, sandbox.namespace, sandbox.name), {}, AbortSignal.timeout(10_000));
  }

  async removeAll(): Promise<void> {
    const queue = [...this.#sandboxes.values()];
    await Promise.all(Array.from({length: 4}, async () => {
      for (let next = queue.shift(); next !== undefined; next = queue.shift()) await this.remove(next);
    }));
  }
}
