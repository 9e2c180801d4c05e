// The same objects from a live cluster, with the kubeconfig at hand.

import {homedir} from 'node:os';
import {join} from 'node:path';
import {StentorError} from '../../lib/core/errors.js';
import {KubeClient} from '../../lib/kube/client.js';
import {loadKubeConfig} from '../../lib/kube/kube-config.js';
import {RESOURCES, collectionPath, type KnownKind} from '../../lib/kube/resources.js';
import {realClock} from '../../lib/run/clock.js';
import type {CommonOptions} from '../context.js';
import {CliError, EXIT} from '../errors.js';
import {ObjectSource, type SourceObject} from './documents.js';
import type {Manifests} from './sources.js';

const KINDS = [
  'Namespace', 'Node', 'Pod', 'NetworkPolicy', 'CiliumNetworkPolicy', 'CiliumClusterwideNetworkPolicy', 'CiliumIdentity', 'CiliumEndpoint', 'CiliumNode',
  'CiliumCIDRGroup', 'Service', 'EndpointSlice',
] as const;

export async function readCluster(
  common: Pick<CommonOptions, 'kubeconfig' | 'timeoutMs'>, signal: AbortSignal, kinds: readonly KnownKind[] = KINDS,
): Promise<Manifests> {
  // In a pod its service account.
  const inPod = common.kubeconfig === null && process.env['KUBERNETES_SERVICE_HOST'] !== undefined;
  const kubeconfig = inPod ? null : common.kubeconfig ?? join(homedir(), '.kube', 'config');
  try {
    const connection = await loadKubeConfig({kubeconfig});
    const client = new KubeClient({timeoutMs: common.timeoutMs, retries: 1}, {connection, clock: realClock});
    try {
      const list = async (kind: KnownKind): Promise<SourceObject[]> => {
        const {apiVersion} = RESOURCES[kind];
        const path = collectionPath(RESOURCES[kind]);
        const {items} = await client.listAll(path, {}, signal).catch((error: unknown) => {
          // A cluster without Cilium's kinds has none of them.
          if (error instanceof StentorError && error.code === 'NotFound') return {items: []};
          throw error;
        });
        return items.map((object) => ({apiVersion, kind, object, source: NOWHERE}));
      };
      const lists = await Promise.all(kinds.map(list));
      return {objects: lists.flat(), others: [], problems: []};
    } finally {
      await client.close();
    }
  } catch (error) {
    throw new CliError(EXIT.unreachable, `cannot read the cluster (${kubeconfig ?? 'service account'}): ${error instanceof Error ? error.message : String(error)}`, {cause: error});
  }
}

/** Objects of a cluster are in no file. */
const NOWHERE = new ObjectSource({file: '', base: []}, () => ({node: null, lines: {linePos: () => ({line: 0, col: 0})}}));
