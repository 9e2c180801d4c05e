// The same objects from a live cluster, with the kubeconfig at hand.

import {StentorError} from '../../lib/core/errors.js';
import {RESOURCES, collectionPath, type KnownKind} from '../../lib/kube/resources.js';
import {withCluster} from '../cluster.js';
import type {CommonOptions} from '../context.js';
import {ObjectSource, type SourceObject} from './documents.js';
import type {Manifests} from './sources.js';

const KINDS = [
  'Namespace', 'Node', 'Pod', 'NetworkPolicy', 'CiliumNetworkPolicy', 'CiliumClusterwideNetworkPolicy', 'CiliumIdentity', 'CiliumEndpoint', 'CiliumNode',
  'CiliumCIDRGroup', 'Service', 'EndpointSlice',
] as const;

export async function readCluster(
  common: Pick<CommonOptions, 'kubeconfig' | 'timeoutMs'>, signal: AbortSignal, kinds: readonly KnownKind[] = KINDS,
): Promise<Manifests> {
  return withCluster(common, async (client) => {
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
  });
}

/** Objects of a cluster are in no file. */
const NOWHERE = new ObjectSource({file: '', base: []}, () => ({node: null, lines: {linePos: () => ({line: 0, col: 0})}}));
