// Dual stack as a cluster has it: PodCIDRs from kube-controller-manager, pods and policies through the API, conditions from acknowledgements.

import {afterAll, beforeAll, expect, test} from '@jest/globals';
import {objectPath, RESOURCES} from '../../lib/kube/resources.js';
import {ENFORCED, holds, watchUntil} from '../harness/enforced.js';
import {Lab, type LabPod} from '../harness/lab.js';
import {RunDirectory} from '../harness/run-dir.js';
import {until} from '../harness/shell.js';
import {NODES} from '../harness/topology.js';
import {podCidr6, twin, WORLD6} from '../harness/topology6.js';
import {seenAddress, tcp, type Place} from '../harness/traffic.js';

const MINUTE = 60_000;
let lab: Lab;
let pods: readonly LabPod[];

beforeAll(async () => {
  lab = await Lab.start({api: 'real', leaf: 'bird', routingMode: 'tunnel', ipv6: true}, RunDirectory.create('6a'), () => undefined);
  await lab.objects.apply(lab.manifest('bgp-lab/daemonset.yaml'));
  pods = await lab.podsReady(['app', 'app'], NODES.length);
}, 2 * MINUTE);

afterAll(async () => {
  expect(await lab.stop()).toEqual([]);
}, MINUTE);

const six = (pod: LabPod | undefined): string => pod?.addresses[1] ?? '';

async function seen(from: Place, address: string): Promise<string> {
  const result = await tcp(from, address, 80, {timeoutMs: 400});
  return seenAddress(result) ?? result.result;
}

async function read(kind: 'Node' | 'Pod' | 'CiliumEndpoint', namespace: string | null, name: string): Promise<Readonly<Record<string, unknown>>> {
  if (lab.client === null) throw new Error('no API server');
  return lab.client.get(objectPath(RESOURCES[kind], namespace, name), AbortSignal.timeout(5_000));
}

test('nodes have a PodCIDR of each family, pods an address of each, and their objects say so', async () => {
  for (const [index, node] of NODES.entries()) {
    expect((await read('Node', null, node.name))['spec']).toMatchObject({podCIDRs: [lab.podCidr(node.name), podCidr6(index)]});
  }
  const [first] = pods;
  if (first === undefined) throw new Error('no pod');
  const [ipv4, ipv6] = first.addresses;
  expect((await read('Pod', first.namespace, first.name))['status']).toMatchObject({podIP: ipv4, podIPs: [{ip: ipv4}, {ip: ipv6}]});
  await until('the CiliumEndpoint', {timeoutMs: 5_000}, async () => {
    expect((await read('CiliumEndpoint', first.namespace, first.name))['status']).toMatchObject({networking: {addressing: [{ipv4, ipv6}]}});
    return true;
  });
});

test('every pod reaches every other in both families', async () => {
  const pairs = pods.flatMap((from) => pods.filter((to) => to !== from).map((to) => [from, to] as const));
  const wrong = await Promise.all(pairs.map(async ([from, to]) => {
    const answers = await Promise.all(to.addresses.map((address) => seen(from, address)));
    return answers.join() === from.addresses.join() ? [] : [{from: from.name, to: to.name, answers}];
  }));
  expect(wrong.flat()).toEqual([]);
});

test('a policy of IPv6 is Enforced, and is', async () => {
  const [first, second] = pods;
  if (lab.client === null || first === undefined || second === undefined) throw new Error('no API server, or no pods');
  expect(await seen(first, WORLD6)).toBe(twin(NODES.find(({name}) => name === first.node)?.address ?? ''));
  await lab.objects.apply(JSON.stringify({
    apiVersion: 'cilium.io/v2', kind: 'CiliumNetworkPolicy', metadata: {name: 'outside', namespace: 'default'},
    spec: {endpointSelector: {matchLabels: {app: 'app'}}, egress: [{toEntities: ['cluster']}, {toCIDRSet: [{cidr: '2001:db8::/32', except: [`${WORLD6}/128`]}]}]},
  }));
  await watchUntil(lab.client, {kind: 'CiliumNetworkPolicy', namespace: 'default', name: 'outside'}, 20_000, (object) => holds(object, ENFORCED, 'True'));
  expect(await Promise.all([seen(first, WORLD6), seen(first, six(second))])).toEqual(['timeout', six(first)]);
  await lab.objects.delete({kind: 'ciliumnetworkpolicy', namespace: 'default', name: 'outside'});
  await until('it is open again', {timeoutMs: 5_000, intervalMs: 50}, async () => (await seen(first, WORLD6) !== 'timeout' ? true : null));
}, MINUTE);
