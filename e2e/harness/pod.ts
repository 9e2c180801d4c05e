// One pod on a node: a network namespace, the CNI plugin's answer, and the containers' processes.

import {randomBytes} from 'node:crypto';
import {objectKey} from '../../lib/kube/object.js';
import {recordProcess} from './cleanup.js';
import type {CniResult, CniRunner} from './cni.js';
import {Container} from './container.js';
import {Netns} from './netns.js';
import type {Pod, PodCondition} from './pod-spec.js';
import type {RunDirectory} from './run-dir.js';
import {run as runCommand} from './shell.js';

export interface PodParts {
  readonly run: RunDirectory;
  readonly node: Netns;
  readonly nodeAddress: string;
  readonly cni: CniRunner;
  readonly onChange: () => void;
}

export type PodPhase = 'Pending' | 'Running' | 'Succeeded' | 'Failed';

export class PodSandbox {
  readonly pod: Pod;
  readonly key: string;
  readonly containerId = randomBytes(32).toString('hex');
  readonly #parts: PodParts;
  #netns: Netns | null = null;
  #addresses: readonly string[] = [];
  #containers: readonly Container[] = [];
  readonly #startedAt = new Date().toISOString();
  #transitions = new Map<string, {readonly status: string; readonly at: string}>();
  /** Why it is not running yet. */
  waiting = 'ContainerCreating';
  /** CNI ADD of the last attempt, in milliseconds. */
  addMs = 0;

  constructor(pod: Pod, parts: PodParts) {
    this.pod = pod;
    this.key = objectKey(pod);
    this.#parts = parts;
  }

  /** Only what the CNI plugin returned (or the node's own address for the host network). */
  get address(): string | null {
    return this.#addresses[0] ?? null;
  }

  /** All, as `status.podIPs` has them: IPv4 first where there is one. */
  get addresses(): readonly string[] {
    return this.#addresses;
  }

  get netns(): Netns | null {
    return this.#netns;
  }

  /** Makes the network, then starts the containers. Fails as the plugin fails; what was made stays for `destroy`. */
  async start(): Promise<void> {
    if (this.pod.spec.hostNetwork === true) {
      this.#netns = this.#parts.node;
      this.#addresses = [this.#parts.nodeAddress];
    } else {
      const {namespace = 'default', name} = this.pod.metadata;
      this.#netns ??= await Netns.create(this.#parts.run, `pod-${namespace}-${name}-${this.containerId.slice(0, 6)}`);
      const started = performance.now();
      const result = await this.#cni('ADD');
      this.addMs = performance.now() - started;
      const addresses = (result.ips ?? []).map(({address}) => address.split('/')[0] ?? '');
      if (addresses.length === 0) throw new Error(`the CNI plugin returned no address for ${this.key}`);
      this.#addresses = [...addresses.filter((address) => !address.includes(':')), ...addresses.filter((address) => address.includes(':'))];
    }
    this.#startContainers();
  }

  async destroy(): Promise<void> {
    const graceMs = Math.min((this.pod.spec.terminationGracePeriodSeconds ?? 30) * 1000, 2_000);
    await Promise.all(this.#containers.map((container) => container.stop(graceMs)));
    await this.#removeNetwork();
  }

  /** After a failed ADD, before the next attempt: as a runtime does. */
  async #removeNetwork(): Promise<void> {
    if (this.#netns === null || this.pod.spec.hostNetwork === true) return;
    await this.#cni('DEL');
    await this.#netns.remove();
    this.#netns = null;
  }

  async retry(): Promise<void> {
    await this.#removeNetwork();
    await this.start();
  }

  /** Runs a command in the pod's namespace. */
  exec(command: readonly string[]): ReturnType<typeof runCommand> {
    if (this.#netns === null) throw new Error(`${this.key} has no namespace yet`);
    return runCommand(command, {netns: this.#netns.path});
  }

  get phase(): PodPhase {
    const states = this.#containers.map((container) => container.state);
    if (states.length === 0) return 'Pending';
    const ended = this.pod.spec.restartPolicy !== undefined && this.pod.spec.restartPolicy !== 'Always'
      && states.every((state) => !state.running && state.exitCode !== null);
    if (!ended) return 'Running';
    return states.every((state) => state.exitCode === 0) ? 'Succeeded' : 'Failed';
  }

  get ready(): boolean {
    return this.#containers.length > 0 && this.#containers.every((container) => container.state.ready);
  }

  /** `status` as it is written to the API; conditions of others are kept. */
  status(): Readonly<Record<string, unknown>> {
    const {phase} = this;
    const states = this.#containers.map((container) => container.state);
    const address = this.#addresses.length === 0 ? {} : {podIP: this.#addresses[0], podIPs: this.#addresses.map((ip) => ({ip}))};
    return {
      phase, startTime: this.#startedAt, hostIP: this.#parts.nodeAddress, hostIPs: [{ip: this.#parts.nodeAddress}], ...address,
      conditions: this.#conditions(),
      containerStatuses: this.pod.spec.containers.map((spec, i) => {
        const state = states[i];
        return {
          name: spec.name, image: spec.image ?? '', imageID: '', containerID: `lab://${this.containerId}`, ready: state?.ready ?? false,
          started: state?.running ?? false, restartCount: state?.restarts ?? 0,
          state: state === undefined ? {waiting: {reason: 'ContainerCreating', message: this.waiting}}
            : state.running ? {running: {startedAt: state.startedAt}}
              : {terminated: {exitCode: state.exitCode ?? 137, reason: state.exitCode === 0 ? 'Completed' : 'Error', startedAt: state.startedAt}},
        };
      }),
    };
  }

  #conditions(): readonly PodCondition[] {
    const ready = this.ready ? 'True' : 'False';
    const network = this.#addresses.length === 0 ? 'False' : 'True';
    const own: readonly [string, string][] = [['PodReadyToStartContainers', network], ['Initialized', 'True'], ['ContainersReady', ready], ['Ready', ready]];
    const others = (this.pod.status?.conditions ?? []).filter((condition) => own.every(([type]) => type !== condition.type));
    return [...others, ...own.map(([type, status]) => ({type, status, lastTransitionTime: this.#since(type, status)}))];
  }

  #since(type: string, status: string): string {
    const held = this.#transitions.get(type);
    if (held?.status === status) return held.at;
    const at = new Date().toISOString().replace(/\.\d+Z$/, 'Z');
    this.#transitions.set(type, {status, at});
    return at;
  }

  #cni(command: 'ADD' | 'DEL'): Promise<CniResult> {
    const {namespace = 'default', name, uid = ''} = this.pod.metadata;
    return this.#parts.cni.call({command, containerId: this.containerId, netns: this.#netns?.path ?? '', namespace, name, uid});
  }

  #startContainers(): void {
    const {namespace = 'default', name} = this.pod.metadata;
    this.#containers = this.pod.spec.containers.map((spec) => new Container(
      {spec, restartPolicy: this.pod.spec.restartPolicy ?? 'Always'},
      {
        podNetns: this.#netns?.path ?? '', nodeNetns: this.#parts.node.path, podAddress: this.#addresses[0] ?? '',
        logFile: this.#parts.run.log(`pod-${namespace}-${name}-${spec.name}`), onChange: this.#parts.onChange,
        onStarted: (pid) => recordProcess(this.#parts.run, pid, `${this.key}/${spec.name}`),
      },
    ));
    for (const container of this.#containers) container.start();
  }
}
