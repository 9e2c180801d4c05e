// Masquerading: the address that the world outside sees, and how fast an edited ConfigMap changes it.

import {run, nowMs, until} from '../shell.js';
import {STENTORCTL} from '../helper.js';
import type {Lab, LabPod} from '../lab.js';
import {seenAddress, tcp} from '../traffic.js';
import {NODES} from '../topology.js';
import {stringify} from 'yaml';
import {check, ms, type CheckLine} from './check.js';

const EDIT_LIMIT_MS = 1_000;
const OUTSIDE = '20.1.1.1';
const INSIDE = '10.95.255.255';

/** The article's ConfigMap as `kubectl create configmap --from-file=agent-config` makes it. */
export const ARTICLE_ENTRIES: readonly string[] = [
  '11.8.37.4/32', '11.8.37.5/32', '11.8.37.6/32', '11.8.37.7/32', '11.8.37.8/32', '11.8.37.9/32', '11.8.37.10/32', '11.8.37.252/32', '11.8.37.253/32', '11.8.37.254/32',
  '11.11.248.0/21', '169.254.0.0/16',
];

function configMap(config: string): string {
  return stringify({apiVersion: 'v1', kind: 'ConfigMap', metadata: {name: 'ip-masq-agent', namespace: 'kube-system'}, data: {config}});
}

async function seenAs(from: LabPod, address: string): Promise<string> {
  const result = await tcp(from, address, 80, {timeoutMs: 500});
  return seenAddress(result) ?? result.result;
}

export function sourceOutside(lab: Lab, pod: LabPod): Promise<CheckLine> {
  return check('outside the native CIDR the node address leaves, inside the pod address', async () => {
    const node = NODES.find((item) => item.name === pod.node)?.address ?? '';
    const [outside, inside] = await Promise.all([seenAs(pod, OUTSIDE), seenAs(pod, INSIDE)]);
    return {ok: outside === node && inside === pod.address, value: `${OUTSIDE} sees ${outside}, ${INSIDE} sees ${inside}`};
  });
}

/** Puts the outside host on the list and takes it off again; each change must show in new connections within the limit. */
export async function editConfigMap(lab: Lab, pod: LabPod): Promise<readonly CheckLine[]> {
  const node = NODES.find((item) => item.name === pod.node)?.address ?? '';
  const switchTo = async (config: string, wanted: string): Promise<number> => {
    await lab.objects.apply(configMap(config));
    const written = nowMs();
    await until(`${OUTSIDE} sees ${wanted}`, {timeoutMs: 5 * EDIT_LIMIT_MS, intervalMs: 10}, async () => await seenAs(pod, OUTSIDE) === wanted ? true : null);
    return nowMs() - written;
  };
  return [
    await check('ConfigMap ip-masq-agent edited (+20.1.1.0/24): the pod address leaves', async () => {
      const tookMs = await switchTo('nonMasqueradeCIDRs: [10.0.0.0/8, 20.1.1.0/24]\n', pod.address);
      return {ok: tookMs < EDIT_LIMIT_MS, value: ms(tookMs)};
    }),
    await check('ConfigMap ip-masq-agent edited (−20.1.1.0/24): the node address leaves', async () => {
      const tookMs = await switchTo('nonMasqueradeCIDRs: [10.0.0.0/8]\n', node);
      return {ok: tookMs < EDIT_LIMIT_MS, value: ms(tookMs)};
    }),
  ];
}

/** The f5 article's ConfigMap: `cilium bpf ipmasq list` on a node prints its twelve entries, read from the pinned map. */
export function articleEntries(lab: Lab): Promise<CheckLine> {
  return check('cilium bpf ipmasq list prints the article’s 12 entries', async () => {
    const [node] = NODES;
    if (node === undefined) throw new Error('the lab has no node');
    await lab.objects.apply(configMap(lab.manifest('ip-masq/agent-config/config')));
    let listed: readonly string[] = [];
    const wanted = [...ARTICLE_ENTRIES].sort();
    await until('the entries', {timeoutMs: 3_000, intervalMs: 50}, async () => {
      const result = await run([STENTORCTL.replace(/stentorctl$/, 'cilium'), 'bpf', 'ipmasq', 'list', '--bpf-root', lab.stentor.bpfRoot(node.name)]);
      if (result.code !== 0) throw new Error(result.stderr.trim());
      listed = result.stdout.split('\n').slice(1).map((line) => line.trim()).filter((line) => line !== '').sort();
      return listed.join() === wanted.join() ? true : null;
    }).catch((error: unknown) => {
      if (listed.length === 0) throw error;
    });
    return {ok: listed.join() === wanted.join(), value: `${listed.length} entries, ${listed.filter((entry) => wanted.includes(entry)).length} of the article's 12`};
  });
}

export async function removeConfigMap(lab: Lab): Promise<void> {
  await lab.objects.delete({kind: 'configmap', namespace: 'kube-system', name: 'ip-masq-agent'});
}
