// Where the API server is and who we are, from a kubeconfig or from the pod's service account. Parsing and plug-in
// credentials are client-node's, imported file by file: its entry point costs 84 MB.

import {readFile, stat} from 'node:fs/promises';
import {dirname, isAbsolute, join} from 'node:path';
import {newClusters, newContexts, newUsers, type Cluster, type User} from '@kubernetes/client-node/dist/config_types.js';
import {ExecAuth} from '@kubernetes/client-node/dist/exec_auth.js';
import {parse} from 'yaml';
import {StentorError} from '../core/errors.js';
import {isRecord} from './object.js';

const SERVICE_ACCOUNT = '/var/run/secrets/kubernetes.io/serviceaccount';

export interface KubeConfigOptions {
  /** Path of a kubeconfig, or several joined with `:` (first one wins per name); null = the pod's service account. */
  readonly kubeconfig: string | null;
  /** Default: the file's current-context. */
  readonly context?: string;
  /** `host:port` of the API server in a pod: no Service address is needed to reach it. */
  readonly inClusterServer?: string;
  readonly serviceAccountDir?: string;
}

/** What one request needs. A new `version` means new TLS material: connections are made anew. */
export interface KubeCredentials {
  readonly version: string;
  readonly tls: KubeTls;
  readonly headers: Readonly<Record<string, string>>;
}

export interface KubeTls {
  readonly ca?: Buffer;
  readonly cert?: Buffer;
  readonly key?: Buffer;
  readonly servername?: string;
  readonly rejectUnauthorized?: boolean;
}

export interface KubeConnection {
  /** `https://host:port`, without a path at the end. */
  readonly server: string;
  /** The context's namespace; `default` when it names none. */
  readonly namespace: string;
  /** Read again from files when they changed. */
  credentials(): Promise<KubeCredentials>;
}

export async function loadKubeConfig(options: KubeConfigOptions): Promise<KubeConnection> {
  if (options.kubeconfig === null) return inCluster(options);
  const files = await Promise.all(options.kubeconfig.split(':').filter((path) => path !== '').map(readConfigFile));
  const contextName = options.context ?? files.map((file) => file.currentContext).find((name) => name !== '') ?? '';
  const context = files.flatMap((file) => file.contexts).find((item) => item.name === contextName);
  if (context === undefined) throw new StentorError('KubeConfig', `no context "${contextName}" in ${options.kubeconfig}`);
  const cluster = files.flatMap((file) => file.clusters).find((item) => item.name === context.cluster);
  if (cluster === undefined) throw new StentorError('KubeConfig', `no cluster "${context.cluster}" in ${options.kubeconfig}`);
  if (cluster.proxyUrl !== undefined) throw new StentorError('KubeConfig', 'proxy-url is not supported', {cluster: cluster.name});
  const user = files.flatMap((file) => file.users).find((item) => item.name === context.user) ?? {name: context.user};
  const source = new CredentialFiles(cluster, user);
  return {server: cluster.server, namespace: context.namespace ?? 'default', credentials: () => source.load()};
}

async function inCluster(options: KubeConfigOptions): Promise<KubeConnection> {
  const dir = options.serviceAccountDir ?? SERVICE_ACCOUNT;
  const namespace = await readFile(join(dir, 'namespace'), 'utf8').catch(() => 'default');
  const server = `https://${options.inClusterServer ?? 'kubernetes.default.svc'}`;
  const cluster: Cluster = {name: 'in-cluster', server, skipTLSVerify: false, caFile: join(dir, 'ca.crt')};
  const user: User = {name: 'service-account', authProvider: {name: 'tokenFile', config: {tokenFile: join(dir, 'token')}}};
  const source = new CredentialFiles(cluster, user);
  return {server, namespace: namespace.trim(), credentials: () => source.load()};
}

interface ConfigFile {
  readonly clusters: readonly Cluster[];
  readonly users: readonly User[];
  readonly contexts: readonly {readonly name: string; readonly cluster: string; readonly user: string; readonly namespace?: string}[];
  readonly currentContext: string;
}

async function readConfigFile(path: string): Promise<ConfigFile> {
  let content: unknown;
  try {
    content = parse(await readFile(path, 'utf8'));
  } catch (error) {
    throw new StentorError('KubeConfig', `cannot read ${path}: ${error instanceof Error ? error.message : String(error)}`, {path});
  }
  if (!isRecord(content)) throw new StentorError('KubeConfig', `${path} is not a kubeconfig`, {path});
  const absolute = (file: string | undefined): string | undefined =>
    typeof file !== 'string' || file === '' || isAbsolute(file) ? file : join(dirname(path), file);
  const currentContext = content['current-context'];
  try {
    return {
      clusters: newClusters(content['clusters']).map((cluster) => ({...cluster, ...optional('caFile', absolute(cluster.caFile))})),
      users: newUsers(content['users']).map((user) => ({
        ...user, ...optional('certFile', absolute(user.certFile)), ...optional('keyFile', absolute(user.keyFile)),
      })),
      contexts: newContexts(content['contexts']),
      currentContext: typeof currentContext === 'string' ? currentContext : '',
    };
  } catch (error) {
    throw new StentorError('KubeConfig', `${path}: ${error instanceof Error ? error.message : String(error)}`, {path});
  }
}

function optional<K extends string, V>(key: K, value: V | undefined): Partial<Record<K, V>> {
  const none: Partial<Record<K, V>> = {};
  return value === undefined ? none : {...none, [key]: value};
}

/** Reads key material once and again when a file's modification time moves. */
class CredentialFiles {
  readonly #cluster: Cluster;
  readonly #user: User;
  readonly #exec = new ExecAuth();
  readonly #files = new Map<string, {readonly mtimeMs: number; readonly content: Buffer}>();

  constructor(cluster: Cluster, user: User) {
    this.#cluster = cluster;
    this.#user = user;
  }

  async load(): Promise<KubeCredentials> {
    const cluster = this.#cluster;
    const user = this.#user;
    const fromPlugin = await this.#pluginOptions();
    const ca = await this.#bytes(cluster.caFile, cluster.caData);
    const cert = fromPlugin.cert ?? await this.#bytes(user.certFile, user.certData);
    const key = fromPlugin.key ?? await this.#bytes(user.keyFile, user.keyData);
    return {
      version: [ca, cert, key].map((item) => item?.toString('base64') ?? '').join('|'),
      tls: {
        ...optional('ca', ca), ...optional('cert', cert), ...optional('key', key),
        ...optional('servername', cluster.tlsServerName ?? undefined),
        ...(cluster.skipTLSVerify ? {rejectUnauthorized: false} : {}),
      },
      headers: {...fromPlugin.headers, ...await this.#headers()},
    };
  }

  async #headers(): Promise<Record<string, string>> {
    const user = this.#user;
    const headers: Record<string, string> = {};
    const tokenFile: unknown = user.authProvider?.config?.tokenFile;
    if (typeof tokenFile === 'string') {
      headers['authorization'] = `Bearer ${(await this.#bytes(tokenFile, undefined))?.toString('utf8').trim() ?? ''}`;
    }
    if (user.username) {
      headers['authorization'] = `Basic ${Buffer.from(`${user.username}:${user.password ?? ''}`).toString('base64')}`;
    }
    if (user.token) headers['authorization'] = `Bearer ${user.token}`;
    if (user.impersonateUser) headers['impersonate-user'] = user.impersonateUser;
    return headers;
  }

  /** Credentials from an `exec` plug-in, or from an `auth-provider` (rare: only then is all of client-node loaded). */
  async #pluginOptions(): Promise<{cert?: Buffer; key?: Buffer; headers: Record<string, string>}> {
    const user = this.#user;
    const options: {cert?: string | Buffer; key?: string | Buffer; headers: Record<string, string>} = {headers: {}};
    if (this.#exec.isAuthProvider(user)) {
      await this.#exec.applyAuthentication(user, options);
    } else if (user.authProvider && user.authProvider.name !== 'tokenFile') {
      const {KubeConfig} = await import('@kubernetes/client-node/dist/config.js');
      const config = new KubeConfig();
      config.loadFromClusterAndUser(this.#cluster, user);
      await config.applyToHTTPSOptions(options);
    }
    const headers = Object.fromEntries(Object.entries(options.headers).map(([name, value]) => [name.toLowerCase(), value]));
    return {...optional('cert', bufferOf(options.cert)), ...optional('key', bufferOf(options.key)), headers};
  }

  async #bytes(file: string | undefined, data: string | undefined): Promise<Buffer | undefined> {
    if (!file) return data ? Buffer.from(data, 'base64') : undefined;
    const {mtimeMs} = await stat(file).catch((error: unknown) => {
      throw new StentorError('KubeConfig', `cannot read ${file}`, {file}, {cause: error});
    });
    const held = this.#files.get(file);
    if (held !== undefined && held.mtimeMs === mtimeMs) return held.content;
    const content = await readFile(file);
    this.#files.set(file, {mtimeMs, content});
    return content;
  }
}

function bufferOf(value: string | Buffer | undefined): Buffer | undefined {
  return typeof value === 'string' ? Buffer.from(value) : value;
}
