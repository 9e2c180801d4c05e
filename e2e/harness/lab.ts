// The whole lab: fabric, control plane, nodes, Stentor; started in this order, ended in the reverse one.

import {readFileSync} from 'node:fs';
import {join} from 'node:path';
import {realClock} from '../../lib/run/clock.js';
import {KubeClient} from '../../lib/kube/client.js';
import {loadKubeConfig} from '../../lib/kube/kube-config.js';
import {objectPath, RESOURCES} from '../../lib/kube/resources.js';
import {cleanUp, keepLogs, recordMachine, recordProcess} from './cleanup.js';
import {CniRunner} from './cni.js';
import {ControlPlane} from './control-plane.js';
import type {Fabric} from './fabric.js';
import {HELPER, tool} from './helper.js';
import {Kubelet} from './kubelet.js';
import {filesPodCidr, FolderWriter, KubectlWriter, type ObjectWriter} from './objects.js';
import type {PodSandbox} from './pod.js';
import {ApiPodStore, FilesPodStore, type PodStore} from './pod-store.js';
import {ROOT, type RunDirectory} from './run-dir.js';
import {must, startDaemon, until} from './shell.js';
import {Stentor, type RoutingMode} from './stentor.js';
import {racks, type Site} from './site.js';
import {WORLD_PORTS} from './topology.js';
import {twin} from './topology6.js';
import {tcp, type Place} from './traffic.js';

export interface LabOptions {
  readonly api: 'real' | 'files';
  readonly leaf: 'bird' | 'frr';
  readonly routingMode: RoutingMode;
  /** Dual stack; without an API server, where the lab itself gives out PodCIDRs, the last node has IPv6 alone. */
  readonly ipv6?: boolean;
  readonly operatorFlags?: readonly string[];
  /** What it is built on; absent: the racks. */
  readonly site?: Site;
}

export interface LabPod extends Place {
  readonly namespace: string;
  readonly name: string;
  readonly node: string;
  readonly address: string;
  /** All, that one first. */
  readonly addresses: readonly string[];
  readonly labels: Readonly<Record<string, string>>;
}

export type Progress = (text: string) => void;

export class Lab {
  readonly options: LabOptions;
  readonly run: RunDirectory;
  readonly fabric: Fabric;
  readonly controlPlane: ControlPlane | null;
  /** `system:masters`; null without an API server. */
  readonly client: KubeClient | null;
  readonly objects: ObjectWriter;
  #stentor: Stentor;
  readonly #kubelets = new Map<string, Kubelet>();
  readonly #podCidrs = new Map<string, string>();
  readonly #kubeletClients: KubeClient[] = [];
  readonly #say: Progress;
  readonly #site: Site;
  #operatorFlags: readonly string[];

  private constructor(options: LabOptions, parts: {run: RunDirectory; fabric: Fabric; controlPlane: ControlPlane | null; client: KubeClient | null; say: Progress}) {
    this.options = options;
    this.#site = siteOf(options);
    this.#operatorFlags = options.operatorFlags ?? [];
    this.run = parts.run;
    this.fabric = parts.fabric;
    this.controlPlane = parts.controlPlane;
    this.client = parts.client;
    this.#say = parts.say;
    this.objects = parts.controlPlane === null ? new FolderWriter(this.inputFolder) : new KubectlWriter(parts.controlPlane);
    this.#stentor = this.#newStentor(options.routingMode);
  }

  /** A lab that could not be started is cleaned up, and the error says where its logs are. */
  static async start(options: LabOptions, run: RunDirectory, say: Progress): Promise<Lab> {
    try {
      return await Lab.#start(options, run, say);
    } catch (error) {
      const logs = await keepLogs(run);
      await cleanUp(run);
      throw new Error(`${error instanceof Error ? error.message : String(error)} (logs kept in ${logs})`, {cause: error});
    }
  }

  static async #start(options: LabOptions, run: RunDirectory, say: Progress): Promise<Lab> {
    await recordMachine(run);
    await mountBpfFileSystem();
    const site = siteOf(options);
    const fabric = await site.build(run);
    say(`fabric wired: ${fabric.spines.length} spines, ${fabric.leaves.length} leaves (${options.leaf.toUpperCase()}), ${new Set(site.nodes.map(({rack}) => rack)).size} racks`);
    let controlPlane: ControlPlane | null = null;
    let client: KubeClient | null = null;
    if (options.api === 'real') {
      controlPlane = new ControlPlane({ipv6: options.ipv6 === true, plan: site}, {run, netns: fabric.ctl});
      await controlPlane.start();
      client = await clientOf(controlPlane.kubeconfig);
      say('control plane ready: etcd, kube-apiserver, kube-controller-manager, kube-scheduler');
    }
    const sessions = await site.established(fabric, 30_000);
    say(`${sessions} BGP sessions between leaves and spines established`);
    const lab = new Lab(options, {run, fabric, controlPlane, client, say});
    try {
      await lab.#startWorld();
      if (lab.objects instanceof FolderWriter) await lab.objects.writeCluster(options.ipv6 === true);
      else await lab.#startKubelets();
      await lab.#startStentor();
      if (lab.objects instanceof FolderWriter) await lab.#startKubelets();
      return lab;
    } catch (error) {
      // What runs in this process would keep it from ending.
      await lab.#endParts().catch(() => undefined);
      throw error;
    }
  }

  get stentor(): Stentor {
    return this.#stentor;
  }

  get kubelets(): ReadonlyMap<string, Kubelet> {
    return this.#kubelets;
  }

  get inputFolder(): string {
    return this.run.folder('input');
  }

  get outputFolder(): string {
    return this.run.folder('output');
  }

  manifest(name: string): string {
    return readFileSync(join(ROOT, 'e2e', 'manifests', name), 'utf8');
  }

  node(name: string): Place {
    const netns = this.fabric.nodes.get(name);
    if (netns === undefined) throw new Error(`the lab has no node ${name}`);
    return {netnsPath: netns.path};
  }

  get ext(): Place {
    return {netnsPath: this.fabric.ext.path};
  }

  /** Pods that have a network, by node order. */
  pods(matches: (pod: LabPod) => boolean = () => true): readonly LabPod[] {
    return [...this.#kubelets.values()].flatMap((kubelet) => [...kubelet.pods.values()].flatMap((sandbox) => labPod(kubelet.spec.name, sandbox))).filter(matches);
  }

  pod(name: string, namespace = 'default'): LabPod {
    const [pod] = this.pods((item) => item.name === name && item.namespace === namespace);
    if (pod === undefined) throw new Error(`pod ${namespace}/${name} has no network`);
    return pod;
  }

  /** Resolves with the pods of a label when there are `count` of them and all are ready. */
  async podsReady(label: readonly [string, string], count: number, timeoutMs = 60_000): Promise<readonly LabPod[]> {
    const [key, value] = label;
    return until(`${count} pods with ${key}=${value} are ready`, {timeoutMs}, () => {
      const sandboxes = [...this.#kubelets.values()].flatMap((kubelet) => [...kubelet.pods.values()]);
      const wanted = sandboxes.filter((sandbox) => sandbox.pod.metadata.labels?.[key] === value);
      if (wanted.length !== count || !wanted.every((sandbox) => sandbox.ready)) {
        throw new Error(`${wanted.filter((sandbox) => sandbox.ready).length} ready of ${wanted.length}${waitingText(wanted)}`);
      }
      return this.pods((pod) => pod.labels[key] === value);
    });
  }

  async noPods(timeoutMs = 30_000): Promise<void> {
    await until('all pods are gone', {timeoutMs, intervalMs: 100}, () => [...this.#kubelets.values()].every((kubelet) => kubelet.idle) ? true : null);
  }

  /** Ends the operator and the agents, empties what they left on the nodes, starts them in another mode. Pods have to be deleted before. */
  async restartStentor(routingMode: RoutingMode, operatorFlags = this.#operatorFlags): Promise<void> {
    this.#operatorFlags = operatorFlags;
    await this.#stentor.stop();
    for (const node of this.fabric.nodes.values()) await wipeNode(node.path);
    await must(['rm', '-rf', this.run.bpfRoot, ...this.#site.nodes.map((node) => this.#stentor.stateDir(node.name))]);
    this.#stentor = this.#newStentor(routingMode);
    await this.#startStentor();
  }

  /** Everything ends, in the reverse order of the start. Resolves with what is left of it: nothing. */
  async stop(): Promise<readonly string[]> {
    if (process.env['STENTOR_LAB_KEEP_LOGS'] !== undefined) this.#say(`logs kept in ${await keepLogs(this.run)}`);
    await this.#endParts();
    return cleanUp(this.run);
  }

  async #endParts(): Promise<void> {
    await Promise.all([...this.#kubelets.values()].map((kubelet) => kubelet.stop()));
    await Promise.all([...this.#kubelets.values()].map((kubelet) => kubelet.destroyPods()));
    await Promise.all([...(this.client === null ? [] : [this.client]), ...this.#kubeletClients].map((client) => client.close()));
    await this.#stentor.stop();
    await Promise.all([...this.fabric.leaves, ...this.fabric.spines].map((router) => router.stop()));
    await this.controlPlane?.stop();
  }

  #newStentor(routingMode: RoutingMode): Stentor {
    return new Stentor({
      routingMode, ipv6: this.options.ipv6 === true, operatorFlags: this.#operatorFlags, plan: this.#site, kubeconfig: this.controlPlane === null ? null : this.run.file('kubernetes', 'operator.kubeconfig'), input: this.inputFolder, output: this.outputFolder,
    }, {run: this.run, ctl: this.fabric.ctl, nodes: this.fabric.nodes});
  }

  async #startStentor(): Promise<void> {
    const stentor = this.#stentor;
    if (stentor.options.kubeconfig !== null) {
      await this.controlPlane?.userKubeconfig(stentor.options.kubeconfig, {file: 'stentor-operator', user: 'stentor-operator', group: 'stentor', inside: true});
      await this.kubectl(['apply', '-f', '-'], this.manifest('operator-rbac.yaml'));
    }
    await stentor.startOperator();
    this.#say('operator ready');
    for (const node of this.#site.nodes) await stentor.startAgent(node.name);
    await Promise.all(this.#site.nodes.map((node) => stentor.agentReady(node.name)));
    this.#say(`${this.#site.nodes.length} agents connected, ${stentor.options.routingMode} routing`);
  }

  /** The world outside answers on every of its addresses. */
  async #startWorld(): Promise<void> {
    const daemon = startDaemon({name: 'world', netns: this.fabric.ext.path, logFile: this.run.log('world'), command: [HELPER, 'serve', ...WORLD_PORTS.flatMap((port) => [`tcp:${port}`, `udp:${port}`])]});
    recordProcess(this.run, daemon.pid, 'world');
    await until('the world answers', {timeoutMs: 5_000, intervalMs: 10}, async () => (await tcp(this.ext, '127.0.0.1', 80)).result === 'ok' ? true : null);
  }

  async #startKubelets(): Promise<void> {
    for (const spec of this.#site.nodes) {
      const netns = this.fabric.nodes.get(spec.name);
      if (netns === undefined) throw new Error(`the lab has no node ${spec.name}`);
      const client = await this.#kubeletClient(spec.name);
      const store: PodStore = client === null ? new FilesPodStore(this.inputFolder) : new ApiPodStore(client);
      const cni = new CniRunner({nodeNetns: netns.path, configFile: this.#stentor.cniConfig(spec.name)});
      const kubelet = new Kubelet(spec, {run: this.run, netns, cni, store, client, addresses: [spec.address, ...(this.options.ipv6 === true ? [twin(spec.address)] : [])]});
      await kubelet.start();
      this.#kubelets.set(spec.name, kubelet);
      // One after the other, so that PodCIDRs come in the nodes' order.
      await this.#podCidrAllocated(spec.name);
    }
    this.#say(`${this.#site.nodes.length} nodes registered`);
  }

  async #kubeletClient(node: string): Promise<KubeClient | null> {
    if (this.controlPlane === null) return null;
    const path = this.run.file('kubernetes', `kubelet-${node}.kubeconfig`);
    await this.controlPlane.userKubeconfig(path, {file: `kubelet-${node}`, user: `system:node:${node}`, group: 'system:nodes'});
    const client = await clientOf(path);
    this.#kubeletClients.push(client);
    return client;
  }

  podCidr(node: string): string {
    const cidr = this.#podCidrs.get(node);
    if (cidr === undefined) throw new Error(`${node} has no PodCIDR`);
    return cidr;
  }

  async #podCidrAllocated(node: string): Promise<void> {
    const {client} = this;
    if (client === null) {
      this.#podCidrs.set(node, filesPodCidr(this.#site.nodes.findIndex((spec) => spec.name === node)));
      return;
    }
    const cidr = await until(`${node} has a PodCIDR`, {timeoutMs: 20_000}, async () => {
      const object = await client.get(objectPath(RESOURCES.Node, null, node), AbortSignal.timeout(5_000));
      return (object['spec'] as {readonly podCIDR?: string} | undefined)?.podCIDR ?? null;
    });
    this.#podCidrs.set(node, cidr);
  }

  kubectl(args: readonly string[], input?: string): Promise<string> {
    if (this.controlPlane === null) throw new Error('there is no API server in this mode');
    return this.controlPlane.kubectl(args, input);
  }

  get kubectlPath(): string {
    return tool('kubectl');
  }
}

function siteOf(options: LabOptions): Site {
  return options.site ?? racks({leaf: options.leaf, ipv6: options.ipv6 === true ? {podRoutes: options.routingMode === 'native'} : null});
}

async function clientOf(kubeconfig: string): Promise<KubeClient> {
  return new KubeClient({userAgent: 'lab'}, {connection: await loadKubeConfig({kubeconfig}), clock: realClock});
}

function labPod(node: string, sandbox: PodSandbox): readonly LabPod[] {
  if (sandbox.address === null || sandbox.netns === null) return [];
  const {namespace = 'default', name, labels = {}} = sandbox.pod.metadata;
  return [{namespace, name, node, address: sandbox.address, addresses: sandbox.addresses, labels, netnsPath: sandbox.netns.path}];
}

function waitingText(sandboxes: readonly PodSandbox[]): string {
  const reasons = [...new Set(sandboxes.filter((sandbox) => !sandbox.ready).map((sandbox) => sandbox.waiting))];
  return reasons.length === 0 ? '' : `: ${reasons.join('; ')}`;
}

/** What a node would lose in a reboot: our links, routes and gobgpd. Only between two modes; nothing here is part of a product path. */
async function wipeNode(netnsPath: string): Promise<void> {
  const script = 'pkill -KILL --ns $$ --nslist net -x gobgpd; for link in $(ip -o link | sed -nE "s/^[0-9]+: (cilium_[a-z]+|lxc[^@:]*).*/\\1/p"); do ip link del "$link" 2>/dev/null; done; '
    + 'ip route flush proto 78; for dev in net0 lo; do tc qdisc del dev "$dev" clsact 2>/dev/null; done; true';
  await must(['sh', '-c', script], {netns: netnsPath});
}

async function mountBpfFileSystem(): Promise<void> {
  const type = (await must(['stat', '-f', '-c', '%T', '/sys/fs/bpf'])).trim();
  if (type !== 'bpf_fs') await must(['mount', '-t', 'bpf', 'bpf', '/sys/fs/bpf']);
}

