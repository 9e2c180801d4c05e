// One container: its process in the pod's namespace, started again when it ends, and its readiness probe from the node.

import {HELPER} from './helper.js';
import {portNumber, servedPorts, type ContainerSpec, type ReadinessProbe} from './pod-spec.js';
import {nowMs, pause, run, startDaemon, type Daemon} from './shell.js';

export interface ContainerParts {
  readonly podNetns: string;
  readonly nodeNetns: string;
  readonly podAddress: string;
  readonly logFile: string;
  readonly onChange: () => void;
  readonly onStarted: (pid: number) => void;
}

export interface ContainerState {
  readonly name: string;
  readonly image: string;
  readonly running: boolean;
  readonly ready: boolean;
  readonly restarts: number;
  /** Null while it runs. */
  readonly exitCode: number | null;
  readonly startedAt: string;
}

const RESTART_MAX_MS = 10_000;
const STARTUP_PROBE_MS = 50;

export class Container {
  readonly #spec: ContainerSpec;
  readonly #parts: ContainerParts;
  readonly #restartPolicy: 'Always' | 'OnFailure' | 'Never';
  #daemon: Daemon | null = null;
  #stopped = false;
  #ready = false;
  #restarts = 0;
  #startedAt = new Date().toISOString();

  constructor(options: {readonly spec: ContainerSpec; readonly restartPolicy: 'Always' | 'OnFailure' | 'Never'}, parts: ContainerParts) {
    this.#spec = options.spec;
    this.#restartPolicy = options.restartPolicy;
    this.#parts = parts;
  }

  get state(): ContainerState {
    const running = this.#daemon?.running === true;
    return {
      name: this.#spec.name, image: this.#spec.image ?? '', running, ready: running && this.#ready, restarts: this.#restarts,
      exitCode: running ? null : (this.#daemon?.exitCode ?? null), startedAt: this.#startedAt,
    };
  }

  start(): void {
    void this.#keepRunning();
    void this.#probe();
  }

  async stop(graceMs: number): Promise<void> {
    this.#stopped = true;
    await this.#daemon?.stop('SIGTERM', graceMs);
  }

  async #keepRunning(): Promise<void> {
    const {command, args = [], env = []} = this.#spec;
    const argv = command === undefined || command.length === 0 ? [HELPER, 'serve', ...servedPorts(this.#spec)] : [...command, ...args];
    for (let delayMs = 500; !this.#stopped; delayMs = Math.min(2 * delayMs, RESTART_MAX_MS)) {
      this.#startedAt = new Date().toISOString();
      this.#daemon = startDaemon({
        name: this.#spec.name, netns: this.#parts.podNetns, logFile: this.#parts.logFile, command: argv,
        env: Object.fromEntries(env.map((item) => [item.name, item.value ?? ''])),
      });
      this.#parts.onStarted(this.#daemon.pid);
      this.#parts.onChange();
      await this.#daemon.exited();
      if (!this.#stopped) this.#parts.onChange();
      if (this.#restartPolicy === 'Never' || (this.#restartPolicy === 'OnFailure' && this.#daemon.exitCode === 0)) return;
      await pause(delayMs);
      this.#restarts += this.#stopped ? 0 : 1;
    }
  }

  async #probe(): Promise<void> {
    const probe = this.#effectiveProbe();
    let failures = 0;
    while (!this.#stopped) {
      const good = this.#daemon?.running === true && (probe === null || await this.#ask(probe));
      failures = good ? 0 : failures + 1;
      const ready = good || (this.#ready && failures < (probe?.failureThreshold ?? 3) && this.#daemon?.running === true);
      if (ready !== this.#ready) {
        this.#ready = ready;
        this.#parts.onChange();
      }
      await this.#wait(ready ? (probe?.periodSeconds ?? 10) * 1000 : STARTUP_PROBE_MS);
    }
  }

  /** In short steps, so that a stopped container's loop ends soon. */
  async #wait(ms: number): Promise<void> {
    const end = nowMs() + ms;
    while (!this.#stopped && nowMs() < end) await pause(Math.max(0, Math.min(250, end - nowMs())));
  }

  /** The declared one, else a TCP connect to the first TCP port; a container without either is ready when it runs. */
  #effectiveProbe(): ReadinessProbe | null {
    if (this.#spec.readinessProbe !== undefined) return this.#spec.readinessProbe;
    const port = (this.#spec.ports ?? []).find((item) => item.protocol !== 'UDP');
    return port === undefined ? null : {tcpSocket: {port: port.containerPort}};
  }

  async #ask(probe: ReadinessProbe): Promise<boolean> {
    const timeoutMs = (probe.timeoutSeconds ?? 1) * 1000;
    if (probe.exec !== undefined) return (await run(probe.exec.command, {netns: this.#parts.podNetns, timeoutMs})).code === 0;
    const port = probe.httpGet?.port ?? probe.tcpSocket?.port;
    if (port === undefined) return true;
    const text = probe.httpGet === undefined ? '-' : `GET ${probe.httpGet.path ?? '/'} HTTP/1.1\r\nHost: ${this.#parts.podAddress}\r\nConnection: close\r\n\r\n`;
    const result = await run(
      [HELPER, '--netns', this.#parts.nodeNetns, 'connect', this.#parts.podAddress, String(portNumber(this.#spec, port)), String(timeoutMs), text],
      {timeoutMs: timeoutMs + 2_000},
    );
    return result.code === 0 && (probe.httpGet === undefined || /"reply":"HTTP\/1\.[01] [23]/.test(result.stdout));
  }
}
