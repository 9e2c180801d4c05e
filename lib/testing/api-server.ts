// Tests only: a real etcd and kube-apiserver on a loopback address of their own, ready in about 2 s, gone with the test.

import {execFile, execFileSync, spawn, type ChildProcess} from 'node:child_process';
import {generateKeyPairSync, randomBytes} from 'node:crypto';
import {mkdtempSync, openSync, readFileSync, rmSync, writeFileSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {KubeClient, type KubeClientOptions, type KubeClientParts} from '../kube/client.js';
import {loadKubeConfig} from '../kube/kube-config.js';
import {realClock} from '../run/clock.js';
import {eventually} from './netns.js';

const ROOT = join(import.meta.dirname, '../../..');

/** Folder with etcd, kube-apiserver and kubectl; fails with what to do when they are not there. */
export function controlPlaneBinaries(): string {
  return execFileSync(join(ROOT, 'tools/control-plane.sh'), ['--print-dir'], {encoding: 'utf8'}).trim();
}

export class TestApiServer {
  readonly kubeconfig: string;
  readonly #dir = mkdtempSync(join(tmpdir(), 'stentor-api-'));
  readonly #binaries = controlPlaneBinaries();
  /** A loopback address that no other run has: the ports need no choosing. */
  readonly #address = `127.${80 + (randomBytes(1)[0] ?? 0) % 100}.${randomBytes(1)[0] ?? 0}.${1 + (randomBytes(1)[0] ?? 0) % 250}`;
  readonly #children = new Map<string, ChildProcess>();
  readonly #extraFlags: readonly string[];

  private constructor(extraFlags: readonly string[]) {
    this.#extraFlags = extraFlags;
    const {publicKey, privateKey} = generateKeyPairSync('ec', {namedCurve: 'prime256v1'});
    writeFileSync(this.#file('sa.pub'), publicKey.export({type: 'spki', format: 'pem'}));
    writeFileSync(this.#file('sa.key'), privateKey.export({type: 'sec1', format: 'pem'}));
    writeFileSync(this.#file('tokens'), 'admin,admin,admin,system:masters\nuser,user,user,none\n');
    this.kubeconfig = this.#writeKubeconfig('admin');
  }

  static async start(extraFlags: readonly string[] = []): Promise<TestApiServer> {
    const server = new TestApiServer(extraFlags);
    server.#startEtcd();
    await server.startApiServer();
    return server;
  }

  async startApiServer(): Promise<void> {
    const flags = [
      '--etcd-servers=unix://etcd:1', `--bind-address=${this.#address}`, `--advertise-address=${this.#address}`, '--secure-port=6443',
      '--endpoint-reconciler-type=none', '--cert-dir=certificates', '--token-auth-file=tokens', '--authorization-mode=RBAC', '--profiling=false',
      '--service-account-issuer=https://kubernetes.default.svc', '--service-account-key-file=sa.pub', '--service-account-signing-key-file=sa.key',
      '--service-cluster-ip-range=10.96.0.0/16', '--enable-priority-and-fairness=false',
      '--disable-admission-plugins=ServiceAccount,TaintNodesByCondition,DefaultTolerationSeconds', ...this.#extraFlags,
    ];
    this.#spawn('kube-apiserver', flags);
    const client = this.client();
    const hooks = 'exclude=poststarthook/rbac/bootstrap-roles&exclude=poststarthook/scheduling/bootstrap-system-priority-classes';
    try {
      await eventually(async () => {
        const child = this.#children.get('kube-apiserver');
        if (child?.exitCode !== null) throw new Error(`kube-apiserver ended: ${readFileSync(this.#file('kube-apiserver.log'), 'utf8').slice(-2000)}`);
        const signal = AbortSignal.timeout(2_000);
        const ready = await client.getJson(`/readyz?${hooks}`, signal).catch(() => null);
        return ready === 'ok' ? client.get('/api/v1/namespaces/default', signal).catch(() => null) : null;
      }, 60_000);
    } finally {
      await client.close();
    }
  }

  /** SIGKILL, and waits until it is gone. What etcd holds stays. */
  async killApiServer(): Promise<void> {
    await this.#kill('kube-apiserver');
  }

  signalApiServer(signal: NodeJS.Signals): void {
    this.#children.get('kube-apiserver')?.kill(signal);
  }

  client(options: KubeClientOptions = {}, parts: Partial<KubeClientParts> = {}): KubeClient {
    const connection = {
      server: `https://${this.#address}:6443`, namespace: 'default',
      credentials: async () => (await loadKubeConfig({kubeconfig: this.kubeconfig})).credentials(),
    };
    return new KubeClient(options, {connection, clock: realClock, ...parts});
  }

  /** Rejects with what kubectl said. */
  kubectl(args: readonly string[], input = ''): Promise<string> {
    return new Promise((resolve, reject) => {
      const child = execFile(join(this.#binaries, 'kubectl'), [`--kubeconfig=${this.kubeconfig}`, ...args], (error, stdout, stderr) => {
        if (error === null) resolve(stdout);
        else reject(new Error(stderr));
      });
      child.stdin?.end(input);
    });
  }

  async stop(): Promise<void> {
    await Promise.all([...this.#children.keys()].map((name) => this.#kill(name)));
    rmSync(this.#dir, {recursive: true, force: true});
  }

  #file(name: string): string {
    return join(this.#dir, name);
  }

  #writeKubeconfig(token: string): string {
    const path = this.#file(`${token}.kubeconfig`);
    writeFileSync(path, JSON.stringify({
      'apiVersion': 'v1', 'kind': 'Config', 'current-context': 'test',
      'clusters': [{name: 'test', cluster: {'server': `https://${this.#address}:6443`, 'insecure-skip-tls-verify': true}}],
      'users': [{name: 'test', user: {token}}],
      'contexts': [{name: 'test', context: {cluster: 'test', user: 'test'}}],
    }));
    return path;
  }

  #startEtcd(): void {
    this.#spawn('etcd', [
      '--name=e', '--data-dir=data', '--unsafe-no-fsync', '--log-level=warn', '--heartbeat-interval=10', '--election-timeout=100',
      '--watch-progress-notify-interval=1s', '--listen-client-urls=unix://etcd:1', '--advertise-client-urls=unix://etcd:1',
      '--listen-peer-urls=unix://etcd:2', '--initial-advertise-peer-urls=unix://etcd:2', '--initial-cluster=e=unix://etcd:2',
    ]);
  }

  /** The children die with the test's process, however that ends. */
  #spawn(name: string, flags: readonly string[]): void {
    const log = openSync(this.#file(`${name}.log`), 'a');
    const child = spawn('setpriv', ['--pdeathsig', 'KILL', join(this.#binaries, name), ...flags], {cwd: this.#dir, stdio: ['ignore', log, log]});
    this.#children.set(name, child);
  }

  async #kill(name: string): Promise<void> {
    const child = this.#children.get(name);
    this.#children.delete(name);
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const gone = new Promise<void>((resolve) => child.once('exit', () => resolve()));
    child.kill('SIGKILL');
    await gone;
  }
}
