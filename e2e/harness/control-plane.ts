// The control plane in the namespace `ctl`: real etcd, kube-apiserver, kube-controller-manager and kube-scheduler.

import {CertificateAuthority, writeKubeconfig} from './certs.js';
import {recordProcess} from './cleanup.js';
import {tool} from './helper.js';
import type {Netns} from './netns.js';
import {startRelay} from './relay.js';
import type {RunDirectory} from './run-dir.js';
import {must, startDaemon, until, type Daemon} from './shell.js';
import {RACK_PLAN, type AddressPlan} from './site.js';
import {API_PORT} from './topology.js';
import {POD_CIDR6} from './topology6.js';

const ETCD = 'http://127.0.0.1:2379';
const ETCD_PEER = 'http://127.0.0.1:2380';

const CONTROLLERS = [
  'namespace-controller', 'serviceaccount-controller', 'serviceaccount-token-controller', 'root-ca-certificate-publisher-controller',
  'clusterrole-aggregation-controller', 'endpointslice-controller', 'node-ipam-controller', 'node-lifecycle-controller', 'taint-eviction-controller',
  'garbage-collector-controller', 'daemonset-controller', 'deployment-controller', 'replicaset-controller',
];

export interface ApiUser {
  /** Name of the certificate's files. */
  readonly file: string;
  readonly user: string;
  readonly group: string;
  /** The user runs in a namespace of the lab; else it reaches the API server through the relay. */
  readonly inside?: boolean;
}

export class ControlPlane {
  readonly #run: RunDirectory;
  readonly #netns: Netns;
  readonly #ipv6: boolean;
  readonly #plan: AddressPlan;
  readonly authority: CertificateAuthority;
  #daemons = new Map<string, Daemon>();
  #relayPort = 0;

  /** `ipv6`: nodes get a PodCIDR of each family. */
  constructor(options: {readonly ipv6: boolean; readonly plan?: AddressPlan}, parts: {readonly run: RunDirectory; readonly netns: Netns}) {
    this.#ipv6 = options.ipv6;
    this.#plan = options.plan ?? RACK_PLAN;
    this.#run = parts.run;
    this.#netns = parts.netns;
    this.authority = new CertificateAuthority(parts.run.folder('kubernetes'));
  }

  /** For programs on the machine: `system:masters`, through the relay. */
  get kubeconfig(): string {
    return this.#run.file('kubeconfig');
  }

  async start(): Promise<void> {
    await this.authority.create();
    const keys = await this.authority.serviceAccountKeys();
    await Promise.all([
      this.authority.server('kube-apiserver', ['DNS:localhost', 'DNS:kubernetes.default.svc', 'DNS:kubernetes', 'IP:127.0.0.1', `IP:${this.#plan.apiAddress}`, `IP:${this.#plan.firstServiceAddress}`]),
      this.authority.client('kubelet-client', 'kube-apiserver-kubelet-client', 'system:masters'),
    ]);
    await this.#startRelay();
    await this.userKubeconfig(this.kubeconfig, {file: 'admin', user: 'kubernetes-admin', group: 'system:masters'});
    this.startProgram('etcd');
    this.startProgram('kube-apiserver');
    await until('the API server is ready', {timeoutMs: 60_000, intervalMs: 100}, async () => {
      await this.kubectl(['get', '--raw', '/readyz']);
      return true;
    });
    for (const name of ['kube-controller-manager', 'kube-scheduler']) {
      await this.userKubeconfig(this.#controllerConfig(name), {file: name, user: `system:${name}`, group: 'system:masters', inside: true});
    }
    this.startProgram('kube-controller-manager', [`--service-account-private-key-file=${keys.privateKey}`]);
    this.startProgram('kube-scheduler');
    await until('the default ServiceAccount exists', {timeoutMs: 30_000, intervalMs: 100}, async () => {
      await this.kubectl(['get', 'serviceaccount', 'default', '-n', 'default']);
      return true;
    });
  }

  /** A client certificate and a kubeconfig for it. */
  async userKubeconfig(path: string, who: ApiUser): Promise<void> {
    const client = await this.authority.client(who.file, who.user, who.group);
    writeKubeconfig(path, who.inside === true ? `https://${this.#plan.apiAddress}:${API_PORT}` : `https://127.0.0.1:${this.#relayPort}`, this.authority, client);
  }

  kubectl(args: readonly string[], input?: string): Promise<string> {
    return must([tool('kubectl'), `--kubeconfig=${this.kubeconfig}`, ...args], input === undefined ? {} : {input});
  }

  get daemons(): ReadonlyMap<string, Daemon> {
    return this.#daemons;
  }

  async stopProgram(name: 'kube-apiserver' | 'etcd', signal: NodeJS.Signals): Promise<void> {
    await this.#daemons.get(name)?.stop(signal);
  }

  async stop(): Promise<void> {
    for (const name of ['kube-scheduler', 'kube-controller-manager', 'kube-apiserver', 'etcd', 'relay']) await this.#daemons.get(name)?.stop('SIGKILL');
    this.#daemons.clear();
  }

  /** The certificates of a former start are used again, so that a restarted API server is the same one to its clients. */
  startProgram(name: 'etcd' | 'kube-apiserver' | 'kube-controller-manager' | 'kube-scheduler', extra: readonly string[] = []): void {
    const flags = {
      'etcd': () => this.#etcdFlags(),
      'kube-apiserver': () => this.#apiServerFlags(),
      'kube-controller-manager': () => this.#controllerManagerFlags(),
      'kube-scheduler': () => [`--kubeconfig=${this.#controllerConfig('kube-scheduler')}`, '--leader-elect=false', '--secure-port=0', '--profiling=false'],
    }[name]();
    const daemon = startDaemon({name, netns: this.#netns.path, logFile: this.#run.log(name), command: [tool(name), ...flags, ...extra]});
    recordProcess(this.#run, daemon.pid, name);
    this.#daemons.set(name, daemon);
  }

  async #startRelay(): Promise<void> {
    const {daemon, port} = await startRelay(this.#netns, {address: this.#plan.apiAddress, port: API_PORT}, this.#run);
    this.#daemons.set('relay', daemon);
    this.#relayPort = port;
  }

  #controllerConfig(name: string): string {
    return this.#run.file('kubernetes', `${name}.kubeconfig`);
  }

  #etcdFlags(): readonly string[] {
    return [
      '--name=e', `--data-dir=${this.#run.folder('etcd')}`, '--unsafe-no-fsync', '--log-level=warn', '--heartbeat-interval=10', '--election-timeout=100',
      '--watch-progress-notify-interval=1s', `--listen-client-urls=${ETCD}`, `--advertise-client-urls=${ETCD}`,
      `--listen-peer-urls=${ETCD_PEER}`, `--initial-advertise-peer-urls=${ETCD_PEER}`, `--initial-cluster=e=${ETCD_PEER}`,
    ];
  }

  #apiServerFlags(): readonly string[] {
    const at = (name: string): string => `${this.authority.folder}/${name}`;
    return [
      `--etcd-servers=${ETCD}`, `--bind-address=${this.#plan.apiAddress}`, `--advertise-address=${this.#plan.apiAddress}`, `--secure-port=${API_PORT}`,
      `--tls-cert-file=${at('kube-apiserver.crt')}`, `--tls-private-key-file=${at('kube-apiserver.key')}`, `--client-ca-file=${at('ca.crt')}`,
      `--kubelet-client-certificate=${at('kubelet-client.crt')}`, `--kubelet-client-key=${at('kubelet-client.key')}`,
      '--service-account-issuer=https://kubernetes.default.svc', `--service-account-key-file=${at('sa.pub')}`, `--service-account-signing-key-file=${at('sa.key')}`,
      `--service-cluster-ip-range=${this.#plan.serviceCidr}`, '--service-node-port-range=30000-32767', '--allow-privileged=true', '--authorization-mode=Node,RBAC',
      '--enable-admission-plugins=NodeRestriction', '--profiling=false', '--kubelet-preferred-address-types=InternalIP',
    ];
  }

  #controllerManagerFlags(): readonly string[] {
    const podCidrs = this.#ipv6 ? [`--cluster-cidr=${this.#plan.podCidr},${POD_CIDR6}`, '--node-cidr-mask-size-ipv4=24', '--node-cidr-mask-size-ipv6=64']
      : [`--cluster-cidr=${this.#plan.podCidr}`, '--node-cidr-mask-size=24'];
    return [
      `--kubeconfig=${this.#controllerConfig('kube-controller-manager')}`, '--leader-elect=false', '--secure-port=0', '--profiling=false',
      '--kube-api-qps=500', '--kube-api-burst=1000', `--root-ca-file=${this.authority.certificate}`,
      '--allocate-node-cidrs=true', ...podCidrs, `--controllers=${CONTROLLERS.join(',')}`,
    ];
  }
}
