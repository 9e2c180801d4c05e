// A client of the cluster that the kubeconfig at hand names, as long as it is needed.

import {homedir} from 'node:os';
import {join} from 'node:path';
import {KubeClient} from '../lib/kube/client.js';
import {loadKubeConfig} from '../lib/kube/kube-config.js';
import {realClock} from '../lib/run/clock.js';
import type {CommonOptions} from './context.js';
import {CliError, EXIT} from './errors.js';

export async function withCluster<T>(common: Pick<CommonOptions, 'kubeconfig' | 'timeoutMs'>, act: (client: KubeClient) => Promise<T>): Promise<T> {
  // In a pod its service account.
  const inPod = common.kubeconfig === null && process.env['KUBERNETES_SERVICE_HOST'] !== undefined;
  const kubeconfig = inPod ? null : common.kubeconfig ?? join(homedir(), '.kube', 'config');
  try {
    const connection = await loadKubeConfig({kubeconfig});
    const client = new KubeClient({timeoutMs: common.timeoutMs, retries: 1}, {connection, clock: realClock});
    try {
      return await act(client);
    } finally {
      await client.close();
    }
  } catch (error) {
    if (error instanceof CliError) throw error;
    throw new CliError(EXIT.unreachable, `cannot reach the cluster (${kubeconfig ?? 'service account'}): ${error instanceof Error ? error.message : String(error)}`, {cause: error});
  }
}
