// The external load balancer of reference/cilium-bgp-f5-article.md: it talks straight to pod addresses over routes that the nodes announce, and
// they answer as themselves. Method one: VXLAN between nodes, masquerading but for the article's ConfigMap. Method two: neither.

import {join} from 'node:path';
import {afterAll, beforeAll, expect, test} from '@jest/globals';
import {recordProcess} from '../harness/cleanup.js';
import {Capture, type Packet} from '../harness/capture.js';
import {ARTICLE_ENTRIES} from '../harness/checks/masquerade.js';
import {CLIENT_ADDRESS, F5_NODES, F5_SITE, HEALTH_CHECK_ADDRESS, setPoolMembers, SNAT_POOL, SWITCH_ADDRESSES, VIRTUAL_SERVER} from '../harness/f5-site.js';
import {HELPER} from '../harness/helper.js';
import {Lab, type LabPod} from '../harness/lab.js';
import {Netns} from '../harness/netns.js';
import {kernelRoutes} from '../harness/router.js';
import {ROOT, RunDirectory} from '../harness/run-dir.js';
import {must, startDaemon, until} from '../harness/shell.js';
import {ping, seenAddress, tcp} from '../harness/traffic.js';

const MINUTE = 60_000;
const WAIT = {timeoutMs: 20_000, intervalMs: 50};
/** Where the load balancer, the health monitors and the switches answer. */
const PORT = 8080;
let lab: Lab;
let pods: readonly LabPod[] = [];

beforeAll(async () => {
  lab = await Lab.start({api: 'real', leaf: 'bird', routingMode: 'tunnel', site: F5_SITE}, RunDirectory.create('f'), () => undefined);
  for (const name of ['f5', 'monitor', 'switch1', 'switch2']) {
    const daemon = startDaemon({name: `${name}-answers`, netns: place(name).path, logFile: lab.run.log(`${name}-answers`), command: [HELPER, 'serve', `tcp:${PORT}`]});
    recordProcess(lab.run, daemon.pid, `${name}-answers`);
  }
}, 2 * MINUTE);

afterAll(async () => {
  expect(await lab.stop()).toEqual([]);
}, MINUTE);

const place = (name: string): Netns => new Netns(lab.run, name);
const at = (name: string): {readonly netnsPath: string} => ({netnsPath: place(name).path});

/** The article's commands, as it has them after `kubectl exec … --`. */
function cilium(node: string, ...words: readonly string[]): Promise<string> {
  return must([process.execPath, join(ROOT, 'dist/cli/cilium.js'), ...words, '--bpf-root', lab.stentor.bpfRoot(node), '--api-socket', lab.stentor.agentSocket(node)]);
}

async function routesLearned(): Promise<void> {
  const wanted = F5_NODES.map(({address}, i) => `188.188.${i}.0/24 via ${address}`);
  for (const {netns, spec} of lab.fabric.leaves) {
    await until(`${spec.name} has the PodCIDRs`, WAIT, async () => {
      const bgp = (await kernelRoutes(netns)).filter(({protocol}) => protocol === 'bird').map(({prefix, nextHops}) => `${prefix} via ${nextHops.join(' ')}`).sort();
      if (bgp.join() === wanted.join()) return true;
      throw new Error(bgp.join(', '));
    });
  }
}

async function capturedDuring(where: string, filter: string, act: () => Promise<void>): Promise<readonly Packet[]> {
  const capture = await Capture.start(at(where), {device: 'any', filter, name: `f5-${where}`}, lab.run);
  await act();
  await capture.settle();
  return capture.stop();
}

const isPod = (address: string): boolean => pods.some((pod) => pod.address === address);
const seen = async (from: {readonly netnsPath: string}, address: string, port: number): Promise<string | null> => seenAddress(await tcp(from, address, port));

async function applyWorkload(): Promise<void> {
  await lab.objects.apply(lab.manifest('f5/nginx-http.yaml'));
  pods = await lab.podsReady(['app', 'nginx-http'], 3);
}

/** What the controller on the F5's side would do with the article's ConfigMap and the Service's endpoints. */
async function configureVirtualServer(): Promise<{readonly port: number; readonly monitor: string}> {
  const configMap = JSON.parse(await lab.kubectl(['get', 'configmap', '-l', 'f5type=virtual-server', '-o', 'json'])) as {items: [{data: {data: string}}]};
  const {virtualServer: {backend, frontend}} = JSON.parse(configMap.items[0].data.data) as {
    virtualServer: {backend: {serviceName: string; servicePort: number; healthMonitors: [{send: string}]}; frontend: {virtualAddress: {bindAddr: string; port: number}}};
  };
  const members = await until('the Service has its endpoints', WAIT, async () => {
    const addresses = (await lab.kubectl(['get', 'endpointslices', '-l', `kubernetes.io/service-name=${backend.serviceName}`, '-o', 'jsonpath={.items[*].endpoints[?(@.conditions.ready==true)].addresses[0]}'])).split(' ').sort();
    return addresses.join() === pods.map(({address}) => address).sort().join() ? addresses : null;
  });
  expect(frontend.virtualAddress.bindAddr).toBe(VIRTUAL_SERVER);
  await setPoolMembers(place('f5'), backend.servicePort, members);
  return {port: frontend.virtualAddress.port, monitor: backend.healthMonitors[0].send};
}

/** Through the virtual server, and by the health monitors: straight to the pods and back, in no tunnel, with nobody's address changed but by the F5. */
async function loadBalanced(): Promise<void> {
  const {port, monitor} = await configureVirtualServer();
  const packets = await capturedDuring('switch1', 'net 188.188.0.0/16 or udp port 8472', async () => {
    for (let i = 0; i < 6; i++) expect(SNAT_POOL).toContain(await seen(lab.ext, VIRTUAL_SERVER, port));
    for (const pod of pods) {
      const check = await tcp(at('monitor'), pod.address, port, {text: monitor});
      expect(check).toMatchObject({result: 'ok', reply: expect.stringMatching(new RegExp(`^HTTP/1.1 200 OK[^]*${HEALTH_CHECK_ADDRESS}`))});
    }
  });
  expect(packets.filter(({vxlan}) => vxlan !== null)).toEqual([]);
  const served = new Set(packets.filter(({source}) => isPod(source)).map(({source}) => source));
  expect(served).toEqual(new Set(pods.map(({address}) => address)));
}

function twoNodes(): readonly [LabPod, LabPod] {
  const [first] = pods;
  const other = pods.find(({node}) => node !== first?.node);
  if (first === undefined || other === undefined) throw new Error('the pods are on one node');
  return [first, other];
}

const nodeAddress = (pod: LabPod): string => F5_NODES.find(({name}) => name === pod.node)?.address ?? '';

test('BGP: each node tells both switches, at their loopbacks, its PodCIDR; cilium node list as in the article', async () => {
  await lab.objects.apply(lab.manifest('f5/peering-policy.yaml'));
  await routesLearned();
  for (const router of lab.fabric.leaves) expect((await router.sessions()).map(({established}) => established)).toEqual([true, true, true]);
  const lines = (await cilium(F5_NODES[0]?.name ?? '', 'node', 'list')).trimEnd().split('\n').map((line) => line.trim().split(/\s{2,}/));
  // Newer versions have one column more than the article's.
  expect(lines.map((line) => line.slice(0, line[0] === 'Name' ? 5 : 3))).toEqual([
    ['Name', 'IPv4 Address', 'Endpoint CIDR', 'IPv6 Address', 'Endpoint CIDR'],
    ...F5_NODES.map(({name, address}, i) => [name, address, `188.188.${i}.0/24`]),
  ]);
}, MINUTE);

test('kubectl create configmap ip-masq-agent: the article’s twelve prefixes on every node', async () => {
  await lab.kubectl(['create', 'configmap', 'ip-masq-agent', `--from-file=${join(ROOT, 'e2e/manifests/ip-masq/agent-config')}`, '--namespace=kube-system']);
  for (const {name} of F5_NODES) {
    await until(`the entries on ${name}`, WAIT, async () => {
      const [header, ...entries] = (await cilium(name, 'bpf', 'ipmasq', 'list')).trimEnd().split('\n').map((line) => line.trim());
      return header === 'IP PREFIX/ADDRESS' && entries.sort().join() === [...ARTICLE_ENTRIES].sort().join() ? true : null;
    });
  }
}, MINUTE);

test('the load balancer reaches pods directly: not in the tunnel, answered by the pods themselves', async () => {
  for (const name of ['bigip-ctlr', 'virtual-server']) await lab.objects.apply(lab.manifest(`f5/${name}.yaml`));
  await applyWorkload();
  await loadBalanced();
}, MINUTE);

test('pods go out with the node’s address, but to F5, health monitors and switches with their own; to each other in VXLAN', async () => {
  const [pod, other] = twoNodes();
  expect(await seen(pod, CLIENT_ADDRESS, 80)).toBe(nodeAddress(pod));
  const asThemselves = [...SNAT_POOL, ...SWITCH_ADDRESSES, HEALTH_CHECK_ADDRESS];
  expect(await Promise.all(asThemselves.map((address) => seen(pod, address, PORT)))).toEqual(asThemselves.map(() => pod.address));
  const packets = await capturedDuring('switch1', 'udp port 8472 or net 188.188.0.0/16', async () => {
    expect(await seen(pod, other.address, 80)).toBe(pod.address);
  });
  const tunnelled = packets.filter(({vxlan}) => vxlan?.source === pod.address && vxlan.destination === other.address);
  expect([tunnelled.length > 0, packets.every(({vxlan}) => vxlan !== null)]).toEqual([true, true]);
  expect(tunnelled[0]).toMatchObject({source: nodeAddress(pod), destination: nodeAddress(other)});
}, MINUTE);

test('the other health monitor of the article: HEAD', async () => {
  await lab.objects.apply(lab.manifest('f5/virtual-server-head.yaml'));
  await loadBalanced();
}, MINUTE);

test('method two: no tunnel, no masquerading: pod addresses everywhere, over the routes of the switches', async () => {
  await lab.kubectl(['delete', 'deployment', 'nginx-http', '--wait=true']);
  await lab.noPods();
  await lab.restartStentor('native', ['--enable-ipv4-masquerade', 'false']);
  await routesLearned();
  await applyWorkload();
  await loadBalanced();
  const [pod, other] = twoNodes();
  const packets = await capturedDuring('switch1', 'udp port 8472 or net 188.188.0.0/16', async () => {
    expect(await seen(pod, other.address, 80)).toBe(pod.address);
    expect(await seen(pod, CLIENT_ADDRESS, 80)).toBe(pod.address);
    expect(await ping(pod, HEALTH_CHECK_ADDRESS)).toBe(true);
  });
  expect(packets.filter(({vxlan}) => vxlan !== null)).toEqual([]);
  expect(packets.some(({source, destination}) => source === pod.address && destination === other.address)).toBe(true);
}, 2 * MINUTE);
