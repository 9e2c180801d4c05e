// Stentor itself in the lab: one operator in `ctl`, one agent per node started in the node's namespace, certificates from the operator's CA.

import {existsSync, mkdirSync, readFileSync, writeFileSync} from 'node:fs';
import {join} from 'node:path';
import {recordProcess} from './cleanup.js';
import {NODE, tool} from './helper.js';
import type {Netns} from './netns.js';
import {ROOT, type RunDirectory} from './run-dir.js';
import {must, startDaemon, until, type Daemon} from './shell.js';
import {getJson, getText} from './unix-http.js';
import {RACK_PLAN, type AddressPlan} from './site.js';
import type {NodeSpec} from './topology.js';
import {NATIVE6} from './topology6.js';

export type RoutingMode = 'native' | 'tunnel';

export interface StentorOptions {
  readonly routingMode: RoutingMode;
  readonly ipv6: boolean;
  readonly plan?: AddressPlan;
  /** Options of the operator besides those that every lab has. */
  readonly operatorFlags?: readonly string[];
  /** Null: the operator reads `input` instead of an API server. */
  readonly kubeconfig: string | null;
  readonly input: string;
  readonly output: string;
}

export interface StentorParts {
  readonly run: RunDirectory;
  readonly ctl: Netns;
  readonly nodes: ReadonlyMap<string, Netns>;
}

/** What an agent without a certificate is given. */
export interface FirstCertificate {
  readonly caFile: string;
  readonly tokenFile: string;
}

interface StartOptions {
  readonly first?: FirstCertificate | null;
  readonly wrapper?: readonly string[];
}

export const OPERATOR_PORT = 9964;
export const BOOTSTRAP_PORT = 9965;
/** In the operator's certificate. */
export const OPERATOR_NAME = 'stentor-operator';
const PROGRAMS = {operator: join(ROOT, 'dist', 'operator', 'main.js'), agent: join(ROOT, 'dist', 'agent', 'main.js')};

export class Stentor {
  readonly options: StentorOptions;
  readonly #parts: StentorParts;
  readonly #plan: AddressPlan;
  #operator: Daemon | null = null;
  readonly #agents = new Map<string, Daemon>();

  constructor(options: StentorOptions, parts: StentorParts) {
    this.options = options;
    this.#plan = options.plan ?? RACK_PLAN;
    this.#parts = parts;
  }

  get operatorHttp(): string {
    return this.#parts.run.file('operator.sock');
  }

  /** The agent's API socket. */
  agentSocket(node: string): string {
    return join(this.#nodeFolder(node), 'agent.sock');
  }

  agentMetrics(node: string): string {
    return join(this.#nodeFolder(node), 'metrics.sock');
  }

  bpfRoot(node: string): string {
    return join(this.#parts.run.bpfRoot, node);
  }

  /** The configuration that a runtime hands to the CNI plugin; it exists once the agent has answered. */
  cniConfig(node: string): string {
    return join(this.#nodeFolder(node), 'cni', '05-stentor.conf');
  }

  stateDir(node: string): string {
    return join(this.#nodeFolder(node), 'state');
  }

  get operator(): Daemon | null {
    return this.#operator;
  }

  agent(node: string): Daemon | null {
    return this.#agents.get(node) ?? null;
  }

  /** `flags`: after its own, which they replace. */
  async startOperator(flags: readonly string[] = []): Promise<void> {
    const {run, ctl} = this.#parts;
    const source = this.options.kubeconfig === null
      ? ['--input', this.options.input, '--output', this.options.output]
      : ['--kubeconfig', this.options.kubeconfig];
    this.#operator = startDaemon({
      name: 'operator', netns: ctl.path, logFile: run.log('operator'),
      command: [NODE, PROGRAMS.operator, ...source, '--listen', `${this.#plan.apiAddress}:${OPERATOR_PORT}`, '--http-listen', this.operatorHttp, '--ca-dir', this.#caDir,
        '--server-names', OPERATOR_NAME, '--routing-mode', this.options.routingMode, '--ipv4-native-routing-cidr', this.#plan.nativeRoutingCidr, '--cluster-name', this.#plan.clusterName,
        ...(this.options.ipv6 ? ['--enable-ipv6', 'true', '--ipv6-native-routing-cidr', NATIVE6] : []), ...this.options.operatorFlags ?? [], ...flags],
    });
    recordProcess(run, this.#operator.pid, 'operator');
    await this.#answers(this.#operator, 'the operator is ready', 30_000, () => getText(this.operatorHttp, '/readyz'));
  }

  /** With a certificate of the CA folder, or what it can get with a token. `wrapper`: a program that starts the agent in its own place. Ready when `agentReady` says so. */
  async startAgent(node: string, {first = null, wrapper = []}: StartOptions = {}): Promise<void> {
    const spec = this.#plan.nodes.find((item) => item.name === node);
    const netns = this.#parts.nodes.get(node);
    if (spec === undefined || netns === undefined) throw new Error(`the lab has no node ${node}`);
    const tls = first === null ? tlsFlags(await this.#certificate(node)) : ['--tls-ca', first.caFile, '--bootstrap-token-file', first.tokenFile, '--bootstrap-port', String(BOOTSTRAP_PORT)];
    this.#mountBpf(node);
    const daemon = startDaemon({
      name: `agent-${node}`, netns: netns.path, logFile: this.#parts.run.log(`agent-${node}`), command: [...wrapper, NODE, PROGRAMS.agent, ...this.#agentFlags(spec, tls)],
    });
    recordProcess(this.#parts.run, daemon.pid, `agent-${node}`);
    this.#agents.set(node, daemon);
  }

  /** Ready when the agent answers on its socket and holds a state of the operator. */
  async agentReady(node: string, timeoutMs = 30_000): Promise<void> {
    const daemon = this.#agents.get(node);
    if (daemon === undefined) throw new Error(`no agent runs on ${node}`);
    await this.#answers(daemon, `the agent of ${node} is ready`, timeoutMs, async () => {
      const status = await this.status(node);
      if (status.operator?.connected !== true || (status.operator.stateVersion ?? '') === '') throw new Error('no state of the operator yet');
    });
    this.#writeCniConfig(node);
  }

  status(node: string): Promise<AgentStatus> {
    return getJson<AgentStatus>(this.agentSocket(node), '/v1/status');
  }

  async killAgent(node: string, signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    await this.#agents.get(node)?.stop(signal);
    this.#agents.delete(node);
  }

  async killOperator(signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    await this.#operator?.stop(signal);
    this.#operator = null;
  }

  async stop(): Promise<void> {
    await Promise.all([...this.#agents.keys()].map((node) => this.killAgent(node, 'SIGTERM')));
    await this.killOperator('SIGTERM');
  }

  get #caDir(): string {
    return this.#parts.run.folder('stentor-ca');
  }

  #nodeFolder(node: string): string {
    return this.#parts.run.folder('nodes', node);
  }

  #mountBpf(node: string): void {
    mkdirSync(this.bpfRoot(node), {recursive: true});
    mkdirSync(join(this.#parts.run.cgroupRoot, node), {recursive: true});
  }

  #agentFlags(spec: NodeSpec, tls: readonly string[]): readonly string[] {
    return [
      '--node-name', spec.name, '--operator-address', `${this.#plan.apiAddress}:${OPERATOR_PORT}`, '--operator-name', OPERATOR_NAME, '--devices', 'net0', ...tls,
      '--state-dir', this.stateDir(spec.name), '--bpf-root', this.bpfRoot(spec.name), '--cgroup-root', join(this.#parts.run.cgroupRoot, spec.name),
      '--api-socket', this.agentSocket(spec.name), '--metrics-addr', this.agentMetrics(spec.name), '--gobgpd', tool('gobgpd'),
      '--bpf-map-profile', 'small', '--enable-ipv6', String(this.options.ipv6),
    ];
  }

  /** A folder with `ca.crt`, `tls.crt`, `tls.key`; the certificate names the node. */
  async #certificate(node: string): Promise<string> {
    const folder = join(this.#nodeFolder(node), 'tls');
    if (!existsSync(join(folder, 'tls.crt'))) {
      mkdirSync(folder, {recursive: true});
      await must([NODE, PROGRAMS.operator, 'ca', 'issue', '--ca-dir', this.#caDir, '--node', node, '--out', folder]);
    }
    return folder;
  }

  #writeCniConfig(node: string): void {
    const path = this.cniConfig(node);
    if (existsSync(path)) return;
    mkdirSync(join(path, '..'), {recursive: true});
    writeFileSync(path, `${JSON.stringify({
      cniVersion: '1.0.0', name: 'stentor', type: 'stentor-cni', agentSocket: this.agentSocket(node), deleteQueueDir: join(this.#nodeFolder(node), 'deleteQueue'),
    })}\n`);
  }

  async #answers(daemon: Daemon, what: string, timeoutMs: number, ask: () => Promise<unknown>): Promise<void> {
    await until(what, {timeoutMs, intervalMs: 50}, async () => {
      if (!daemon.running) return 'ended';
      await ask();
      return 'ready';
    }).then(async (state) => {
      if (state === 'ended') throw new Error(`${daemon.name} ended with ${daemon.exitCode ?? 'a signal'}: ${lastLines(daemon.logFile)}`);
    });
  }
}

function tlsFlags(folder: string): readonly string[] {
  return ['--tls-ca', join(folder, 'ca.crt'), '--tls-cert', join(folder, 'tls.crt'), '--tls-key', join(folder, 'tls.key')];
}

function lastLines(file: string): string {
  return readFileSync(file, 'utf8').trim().split('\n').slice(-5).join(' | ').slice(-1000);
}

/** The members of `GET /v1/status` that the lab reads. */
export interface AgentStatus {
  readonly operator?: {readonly connected: boolean; readonly stateVersion?: string};
  readonly certificate?: {readonly expires: string | null; readonly lastError: string | null};
  readonly ok?: boolean;
}
