// Calls the CNI plugin executable as a container runtime does: environment, configuration on stdin, result on stdout.

import {existsSync, readFileSync} from 'node:fs';
import {CNI_PLUGIN} from './helper.js';
import {run} from './shell.js';

export interface CniCall {
  readonly command: 'ADD' | 'DEL' | 'CHECK' | 'VERSION' | 'GC' | 'STATUS';
  readonly containerId: string;
  /** Path of the pod's namespace; empty for VERSION, GC and STATUS. */
  readonly netns: string;
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
  /** Members of the configuration that are others than in the file, as `cniVersion` and `prevResult`. */
  readonly config?: Readonly<Record<string, unknown>>;
}

export interface CniResult {
  readonly cniVersion?: string;
  readonly ips?: readonly {readonly address: string; readonly gateway?: string}[];
  readonly interfaces?: readonly {readonly name: string; readonly mac?: string; readonly sandbox?: string}[];
}

/** The plugin's own error document, or what it said instead. */
export class CniFailed extends Error {
  override readonly name = 'CniFailed';
  readonly code: number;

  constructor(command: string, code: number, message: string) {
    super(`CNI ${command}: ${message} (code ${code})`);
    this.code = code;
  }
}

export class CniRunner {
  readonly #nodeNetns: string;
  readonly #configFile: string;

  /** `configFile`: the network's configuration; the network is ready when it exists. */
  constructor(options: {readonly nodeNetns: string; readonly configFile: string}) {
    this.#nodeNetns = options.nodeNetns;
    this.#configFile = options.configFile;
  }

  get ready(): boolean {
    return existsSync(this.#configFile);
  }

  async call(call: CniCall, timeoutMs = 30_000): Promise<CniResult> {
    const result = await run([CNI_PLUGIN], {
      netns: this.#nodeNetns, timeoutMs, input: this.#configOf(call),
      env: {
        CNI_COMMAND: call.command, CNI_CONTAINERID: call.containerId, CNI_NETNS: call.netns, CNI_IFNAME: 'eth0', CNI_PATH: '/opt/cni/bin',
        CNI_ARGS: `IgnoreUnknown=1;K8S_POD_NAMESPACE=${call.namespace};K8S_POD_NAME=${call.name};K8S_POD_INFRA_CONTAINER_ID=${call.containerId};K8S_POD_UID=${call.uid}`,
      },
    });
    const answer = parse(result.stdout);
    if (result.code === 0) return answer;
    const {code, msg, details} = answer as {readonly code?: number; readonly msg?: string; readonly details?: string};
    throw new CniFailed(call.command, code ?? result.code ?? -1, msg === undefined ? (result.stderr || result.stdout).trim() : `${msg}${details ? `: ${details}` : ''}`);
  }

  #configOf({config}: CniCall): string {
    const text = readFileSync(this.#configFile, 'utf8');
    return config === undefined ? text : JSON.stringify({...JSON.parse(text) as object, ...config});
  }
}

function parse(text: string): CniResult {
  try {
    return text.trim() === '' ? {} : JSON.parse(text) as CniResult;
  } catch {
    return {};
  }
}
