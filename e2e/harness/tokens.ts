// What a DaemonSet of agents would have on every node: a pod of its service account, and the token that the kubelet projects into it.

import {mkdirSync, writeFileSync} from 'node:fs';
import {join} from 'node:path';
import type {KubeClient} from '../../lib/kube/client.js';
import {isRecord} from '../../lib/kube/object.js';
import {objectPath, RESOURCES, type ApiResource} from '../../lib/kube/resources.js';
import type {Lab} from './lab.js';
import type {FirstCertificate} from './stentor.js';
import {until} from './shell.js';
import {NODES} from './topology.js';

const NAMESPACE = 'kube-system';
const ACCOUNT = 'stentor-agent';
/** Another service account, with a pod on the first node. */
export const OTHER_ACCOUNT = 'other';
const SERVICE_ACCOUNT: ApiResource = {apiVersion: 'v1', kind: 'ServiceAccount', plural: 'serviceaccounts', namespaced: true};

export class AgentTokens {
  readonly #lab: Lab;
  readonly #client: KubeClient;

  private constructor(lab: Lab, client: KubeClient) {
    this.#lab = lab;
    this.#client = client;
  }

  static async create(lab: Lab): Promise<AgentTokens> {
    if (lab.client === null) throw new Error('there are no tokens without an API server');
    const [first] = NODES;
    const accounts = [ACCOUNT, OTHER_ACCOUNT].map((name) => ({apiVersion: 'v1', kind: 'ServiceAccount', metadata: {name, namespace: NAMESPACE}}));
    const pods = [...NODES.map(({name}) => pod(ACCOUNT, name)), pod(OTHER_ACCOUNT, first?.name ?? '')];
    await lab.objects.apply([...accounts, ...pods].map((object) => JSON.stringify(object)).join('\n---\n'));
    await lab.podsReady(['tokens', ACCOUNT], NODES.length);
    await lab.podsReady(['tokens', OTHER_ACCOUNT], 1);
    return new AgentTokens(lab, lab.client);
  }

  /** As the kubelet asks for it. */
  async token(node: string, options: {readonly audience?: string; readonly account?: string; readonly bound?: boolean} = {}): Promise<string> {
    const {audience = 'stentor', account = ACCOUNT, bound = true} = options;
    const signal = AbortSignal.timeout(10_000);
    const name = `${account}-${node}`;
    const uid = bound ? (await this.#client.get(objectPath(RESOURCES.Pod, NAMESPACE, name), signal)).metadata.uid : '';
    const answer = await this.#client.createJson(`${objectPath(SERVICE_ACCOUNT, NAMESPACE, account)}/token`, {
      apiVersion: 'authentication.k8s.io/v1', kind: 'TokenRequest',
      spec: {audiences: [audience], expirationSeconds: 600, ...(bound ? {boundObjectRef: {apiVersion: 'v1', kind: 'Pod', name, uid}} : {})},
    }, signal);
    const token = isRecord(answer) && isRecord(answer['status']) ? answer['status']['token'] : null;
    if (typeof token !== 'string') throw new Error(`no token for ${name}`);
    return token;
  }

  /** What a pod has mounted. `tokenOf`: the node whose token it is. */
  async mounted(node: string, tokenOf = node): Promise<FirstCertificate> {
    const folder = this.#lab.run.folder('mounted', node);
    mkdirSync(folder, {recursive: true});
    const ca = await until('the CA is published', {timeoutMs: 10_000}, async () => {
      const data = (await this.#client.get(objectPath(RESOURCES.ConfigMap, NAMESPACE, 'stentor-ca'), AbortSignal.timeout(5_000)))['data'];
      return isRecord(data) && typeof data['ca.crt'] === 'string' ? data['ca.crt'] : null;
    });
    const files = {caFile: join(folder, 'ca.crt'), tokenFile: join(folder, 'token')};
    writeFileSync(files.caFile, ca);
    writeFileSync(files.tokenFile, await this.token(tokenOf), {mode: 0o600});
    return files;
  }
}

function pod(account: string, nodeName: string): object {
  return {
    apiVersion: 'v1', kind: 'Pod', metadata: {name: `${account}-${nodeName}`, namespace: NAMESPACE, labels: {tokens: account}},
    spec: {nodeName, serviceAccountName: account, terminationGracePeriodSeconds: 1, containers: [{name: 'c', image: 'lab/echo'}]},
  };
}
