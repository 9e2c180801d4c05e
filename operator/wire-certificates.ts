// Builds what has to do with certificates: the CA or the files, the operator's own, those of nodes, the port for first ones.

import {join} from 'node:path';
import {StentorError} from '../lib/core/errors.js';
import type {Clock} from '../lib/run/clock.js';
import type {Lifecycle} from '../lib/run/lifecycle.js';
import type {Log} from '../lib/run/log.js';
import {readKeyMaterial} from '../lib/run/tls.js';
import type {OperatorConfig} from './config.js';
import type {OperatorMetrics} from './observe/metrics.js';
import {Authority} from './stream/authority.js';
import {BootstrapServer, NodeCertificates} from './stream/bootstrap.js';
import {loadOrCreateCa} from './stream/ca-files.js';
import {ServerCertificate} from './stream/server-certificate.js';
import type {Engine} from './wire-engine.js';
import type {ClusterSource} from './wire-source.js';

export interface CertificateNeeds {
  readonly source: ClusterSource;
  readonly engine: Engine;
  readonly metrics: OperatorMetrics;
  readonly clock: Clock;
  readonly log: Log;
}

export interface Certificates {
  readonly server: ServerCertificate;
  readonly nodes: NodeCertificates;
  readonly bootstrap: BootstrapServer | null;
}

export function wireCertificates(config: OperatorConfig, parts: CertificateNeeds): Certificates {
  const {engine, metrics, clock, log} = parts;
  const authority = authorityOf(config, parts);
  const dir = config['tls-dir'];
  const files = {kind: 'files' as const, load: async () => readKeyMaterial({ca: join(dir, 'ca.crt'), cert: join(dir, 'tls.crt'), key: join(dir, 'tls.key')})};
  const server = new ServerCertificate({source: authority ?? files, clock, log});
  metrics.onScrape(() => {
    for (const [certificate, expiresAtMs] of Object.entries(server.expiresAtMs ?? {})) {
      metrics.certificateExpirySeconds.set({certificate}, Math.round((expiresAtMs - clock.now()) / 1000));
    }
  });
  const nodes = new NodeCertificates({
    signNode: authority === null ? null : (node, request) => authority.signNode(node, request),
    isNode: (node) => {
      if (!engine.inSync) throw new StentorError('NOT_READY', 'the cluster has not been listed yet');
      return engine.tables.nodes.has(node);
    },
    clock, log, onIssued: (how) => metrics.certificatesIssued.add({how}), onRefused: (refusal) => engine.onRefused(refusal),
  });
  return {server, nodes, bootstrap: bootstrapServer(config, {authority, nodes, server, source: parts.source})};
}

/** null: the operator has files of its own. */
function authorityOf(config: OperatorConfig, {source, clock}: CertificateNeeds): Authority | null {
  if (config['tls-dir'] !== '') return null;
  const loadCa = config['ca-dir'] === '' ? source.loadCa : () => loadOrCreateCa(config['ca-dir'], clock.now());
  if (loadCa === null) throw new StentorError('CONFIG_INVALID', 'agents are served over mTLS only: --tls-dir or --ca-dir is required', {hint: 'see --help'});
  return new Authority({serverNames: config['server-names'], validityMs: config['certificate-validity']}, {loadCa, clock});
}

type BootstrapNeeds = Pick<Certificates, 'nodes' | 'server'> & {readonly authority: Authority | null; readonly source: ClusterSource};

function bootstrapServer(config: OperatorConfig, {authority, nodes, server, source}: BootstrapNeeds): BootstrapServer | null {
  const listen = config['bootstrap-listen'];
  if (listen === '') return null;
  if (authority === null || source.nodeOfToken === null) {
    throw new StentorError('CONFIG_INVALID', '--bootstrap-listen needs a CA, and an API server that knows the tokens', {hint: 'leave out --tls-dir and --input'});
  }
  return new BootstrapServer({listen, concurrentMax: config['bootstraps-max']}, {certificates: nodes, nodeOfToken: source.nodeOfToken, credentials: server.credentials(false)});
}

/** Before the stream: it shows the certificate. */
export function addCertificateParts(
  lifecycle: Lifecycle, {server, bootstrap}: Certificates, parts: {readonly addresses: {bootstrap: string}; readonly fail: (error: unknown) => void},
): void {
  lifecycle.add({name: 'certificate', start: async (signal) => {
    await server.load();
    server.run(signal).catch(parts.fail);
  }});
  if (bootstrap === null) return;
  lifecycle.add({name: 'bootstrap', start: async () => {
    parts.addresses.bootstrap = await bootstrap.listen();
  }, stop: () => bootstrap.close()});
}
