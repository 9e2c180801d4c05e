// Where the cluster's objects come from and go to: an API server, or folders of manifests.

import {readlinkSync} from 'node:fs';
import {hostname} from 'node:os';
import {join} from 'node:path';
import {StentorError} from '../lib/core/errors.js';
import {KubeClient} from '../lib/kube/client.js';
import {loadKubeConfig} from '../lib/kube/kube-config.js';
import type {Clock} from '../lib/run/clock.js';
import type {Part} from '../lib/run/lifecycle.js';
import {errorFields, type Log} from '../lib/run/log.js';
import {ClusterApplier} from './apply/cluster-applier.js';
import {installCrds} from './apply/crds.js';
import {FileTarget} from './apply/file-target.js';
import {KubeTarget} from './apply/kube-target.js';
import type {OperatorConfig} from './config.js';
import type {CaMaterial} from './stream/ca.js';
import {loadOrCreateSecretCa, publishCa, type SecretRef} from './stream/ca-secret.js';
import {nodeOfToken} from './stream/token-review.js';
import type {Batch, KubeObject, WatchedKind} from './watch/feed-types.js';
import {startKubeFeed, type Feed, type FeedStatus} from './watch/feed.js';
import {startFileFeed, type FileFeed, type FileFeedParts} from './watch/files.js';
import {watchedResources, type KindOptions} from './watch/kinds.js';
import {LeaderElector} from './watch/leader.js';

export interface SourceParts {
  readonly clock: Clock;
  readonly log: Log;
  readonly onBatch: (batch: Batch) => void;
  /** Whether this replica serves; `leader`: the address of the one that does, as far as it is known. */
  readonly onLeading: (leading: boolean, leader: string) => void;
  /** Ends the process. */
  readonly fail: (error: unknown) => void;
  readonly onApiCall: (verb: string, code: string, seconds: number) => void;
  readonly onWrite: (kind: string, verb: string, result: string, seconds: number) => void;
  readonly onServiceSettled: (key: string) => void;
}

export interface ClusterSource {
  /** null: what should be written is only kept for looking at. */
  readonly applier: ClusterApplier | null;
  feedStatus(): FeedStatus | null;
  /** Which Secrets are read from now on. */
  wantSecrets(names: ReadonlySet<string>): void;
  /** The CA that is kept in the cluster; null when there is no API server. */
  readonly loadCa: (() => Promise<CaMaterial>) | null;
  /** Of an agent's token; null when there is no API server to ask. */
  readonly nodeOfToken: ((token: string) => Promise<string>) | null;
  /** In start order. */
  readonly parts: readonly Part[];
}

/** For reading the CA's Secret, or making it. */
const CA_TIMEOUT_MS = 30_000;
const TOKEN_REVIEW_TIMEOUT_MS = 5000;
/** What an agent's projected token is made for. */
const TOKEN_AUDIENCE = 'stentor';
const CRDS_DIR = join(import.meta.dirname, '../../crds');

export function createSource(config: OperatorConfig, parts: SourceParts): Promise<ClusterSource> {
  return config.input.length > 0 ? fileSource(config, parts) : kubeSource(config, parts);
}

export function masqueradeConfigMap(config: OperatorConfig): KindOptions['ipMasqConfigMap'] {
  return namespacedName(config['ip-masq-configmap']);
}

/** null: a change may withdraw what it will, and nothing has to be remembered. */
export function acceptedConfigMap(config: OperatorConfig): KindOptions['bgpAcceptedConfigMap'] {
  return config['bgp-max-withdraw'] === '' ? null : namespacedName(config['bgp-accepted-configmap']);
}

export function kindOptions(config: OperatorConfig): KindOptions {
  return {ipMasqConfigMap: masqueradeConfigMap(config), bgpAcceptedConfigMap: acceptedConfigMap(config), bgpSecretsNamespace: config['bgp-secrets-namespace']};
}

function namespacedName(text: string): {readonly namespace: string; readonly name: string} {
  const [namespace = '', name = ''] = text.split('/');
  return {namespace, name};
}

/** What the API server would say to an object. Loaded where there is none: the schemas cost 30 MB. */
export async function loadAdmission(): Promise<FileFeedParts['admit']> {
  const {CrdSchemas} = await import('../crds/schema.js');
  const schemas = new CrdSchemas();
  return (kind, object) => schemas.admit(kind, object);
}

async function fileSource(config: OperatorConfig, parts: SourceParts): Promise<ClusterSource> {
  const admit = await loadAdmission();
  let feed: FileFeed | null = null;
  const output = config.output === '' ? null : config.output;
  const kinds = kindOptions(config);
  const watched = new Map<string, WatchedKind>(watchedResources(kinds).map(({kind}) => [kind, kind]));
  // Of what is written only the watched kinds are read back; Events are not.
  const onWritten = (name: string, key: string, object: KubeObject | null): void => {
    const kind = watched.get(name);
    if (kind !== undefined) feed?.written(kind, key, object);
  };
  const target = output === null ? null : new FileTarget({dir: output}, {onWritten});
  const applier = target === null ? null : createApplier(config, parts, target);
  return {
    applier,
    loadCa: null,
    nodeOfToken: null,
    feedStatus: () => feed?.status() ?? null,
    wantSecrets: (names) => feed?.wantSecrets(names),
    parts: [
      ...(applier === null ? [] : [applierPart(applier, parts)]),
      {
        name: 'feed',
        start: (signal) => {
          parts.onLeading(true, '');
          applier?.setLeading(true);
          feed = startFileFeed({inputs: config.input, outputDir: output, kinds}, {
            clock: parts.clock, log: parts.log, onBatch: deliver(applier, parts), admit,
          }, signal);
          feed.done.catch(parts.fail);
        },
      },
    ],
  };
}

async function kubeSource(config: OperatorConfig, parts: SourceParts): Promise<ClusterSource> {
  const {clock, log} = parts;
  const connection = await loadKubeConfig({kubeconfig: config.kubeconfig === '' ? null : config.kubeconfig});
  const client = new KubeClient({}, {connection, clock, onCall: parts.onApiCall});
  const applier = createApplier(config, parts, new KubeTarget({}, {client, clock}));
  let feed: Feed | null = null;
  const lead = (leading: boolean, leader: string): void => {
    log.info(leading ? 'leading' : 'standby', {leader});
    applier.setLeading(leading);
    parts.onLeading(leading, leader);
  };
  return {
    applier,
    loadCa: () => secretCa(namespacedName(config['ca-secret']), client, parts),
    nodeOfToken: (token) => nodeOfToken(
      {audience: TOKEN_AUDIENCE, serviceAccount: namespacedName(config['agent-service-account'])}, client, token, AbortSignal.timeout(TOKEN_REVIEW_TIMEOUT_MS),
    ),
    feedStatus: () => feed?.status() ?? null,
    wantSecrets: (names) => feed?.wantSecrets(names),
    parts: [
      {name: 'client', start: () => undefined, stop: () => client.close()},
      ...(config['install-crds'] ? [{name: 'crds', start: async (signal: AbortSignal) => void await installCrds({dir: CRDS_DIR}, {client, clock, log}, signal)}] : []),
      applierPart(applier, parts),
      {
        name: 'feed',
        start: (signal) => {
          feed = startKubeFeed({kinds: kindOptions(config)}, {client, clock, log, onBatch: deliver(applier, parts)}, signal);
          feed.done.catch(parts.fail);
        },
      },
      leaderPart(config, {...parts, client, lead}),
    ],
  };
}

async function secretCa(ref: SecretRef, client: KubeClient, {clock, log}: SourceParts): Promise<CaMaterial> {
  const signal = AbortSignal.timeout(CA_TIMEOUT_MS);
  const ca = await loadOrCreateSecretCa(ref, client, clock.now(), signal);
  // Agents that have the file already need no ConfigMap.
  await publishCa(ref, client, ca, signal).catch((error: unknown) => log.warn('the CA’s certificate could not be published', {...ref, ...errorFields(error)}));
  return ca;
}

function leaderPart(config: OperatorConfig, parts: SourceParts & {readonly client: KubeClient; readonly lead: (leading: boolean, leader: string) => void}): Part {
  if (config['lease-name'] === '') return {name: 'leader', start: () => parts.lead(true, '')};
  const address = config['advertise-address'] === '' ? config.listen : config['advertise-address'];
  const elector = new LeaderElector({
    namespace: config['lease-namespace'], leaseName: config['lease-name'], identity: `${hostname()}_${networkNamespace()}_${address}`,
    leaseMs: config['lease-duration'], renewDeadlineMs: config['lease-renew-deadline'], retryMs: config['lease-retry-period'],
  }, {
    client: parts.client, clock: parts.clock, log: parts.log,
    onChange: ({leading, holder}) => parts.lead(leading, holder.slice(holder.lastIndexOf('_') + 1)),
  });
  let done: Promise<void> = Promise.resolve();
  return {
    name: 'leader',
    start: (signal) => {
      done = elector.run(signal);
      done.catch(parts.fail);
    },
    // The Lease is given back before the client's connections are closed.
    stop: () => done.catch(() => undefined),
  };
}

/**
 * With the host and the port, which this process has bound by now, it names a replica: one that was killed and started
 * again is the same one, and need not wait for its own Lease to expire.
 */
function networkNamespace(): string {
  try {
    return readlinkSync('/proc/self/ns/net').replace(/\D/g, '');
  } catch {
    return String(process.pid);
  }
}

function createApplier(config: OperatorConfig, parts: SourceParts, target: FileTarget | KubeTarget): ClusterApplier {
  return new ClusterApplier({instance: hostname(), bgpAcceptedKey: config['bgp-accepted-configmap']}, {target, clock: parts.clock, log: parts.log, onWrite: parts.onWrite, onServiceSettled: parts.onServiceSettled});
}

function applierPart(applier: ClusterApplier, parts: SourceParts): Part {
  return {
    name: 'apply',
    start: (signal) => {
      applier.run(signal).catch(parts.fail);
    },
  };
}

/** The applier sees what is there before the state that is compiled from it. */
function deliver(applier: ClusterApplier | null, parts: SourceParts): (batch: Batch) => void {
  return (batch) => {
    try {
      applier?.observe(batch);
      parts.onBatch(batch);
    } catch (error) {
      parts.fail(error instanceof Error ? error : new StentorError('ENGINE', String(error)));
    }
  };
}
