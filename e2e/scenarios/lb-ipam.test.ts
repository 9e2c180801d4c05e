// Addresses for LoadBalancer Services: given from a pool, shown by kubectl, announced to the leaves, moved with their endpoints, and the
// same after the operator was killed.

import {afterAll, beforeAll, expect, test} from '@jest/globals';
import * as bgp from '../harness/checks/bgp.js';
import {Lab} from '../harness/lab.js';
import {kernelRoutes} from '../harness/router.js';
import {RouteWatch} from '../harness/route-watch.js';
import {RunDirectory} from '../harness/run-dir.js';
import {until} from '../harness/shell.js';
import {NODES} from '../harness/topology.js';
import {udp} from '../harness/traffic.js';
import {getText} from '../harness/unix-http.js';

const MINUTE = 60_000;
const WAIT = {timeoutMs: 10_000, intervalMs: 20};
let lab: Lab;

const peering = (rack: string, asn: number, peerAddress: string): object => ({
  apiVersion: 'cilium.io/v2alpha1', kind: 'CiliumBGPPeeringPolicy', metadata: {name: rack},
  spec: {nodeSelector: {matchLabels: {rack}}, virtualRouters: [{
    localASN: asn, exportPodCIDR: true, neighbors: [{peerAddress, peerASN: asn}],
    serviceSelector: {matchExpressions: [{key: 'advertise', operator: 'NotIn', values: ['no']}]},
  }]},
});
const pool = (name: string, blocks: readonly object[], more: object = {}): object =>
  ({apiVersion: 'cilium.io/v2', kind: 'CiliumLoadBalancerIPPool', metadata: {name}, spec: {blocks, ...more}});
const service = (name: string, spec: object = {}, annotations: object = {}): object => ({
  apiVersion: 'v1', kind: 'Service', metadata: {name, namespace: 'default', annotations},
  spec: {type: 'LoadBalancer', selector: {app: name}, ports: [{name: 'http', port: 80}], allocateLoadBalancerNodePorts: false, ...spec},
});
const podOn = (name: string, node: string): object => ({
  apiVersion: 'v1', kind: 'Pod', metadata: {name, namespace: 'default', labels: {app: 'local'}},
  spec: {nodeName: node, terminationGracePeriodSeconds: 1, containers: [{name: 'echo', image: 'lab/echo', ports: [{containerPort: 80}]}]},
});
const HOPS: Readonly<Record<string, string>> = Object.fromEntries(NODES.map(({name, address}) => [name, address]));
const hops = (...nodes: readonly string[]): string => nodes.map((name) => HOPS[name] ?? '').sort().join(' ');
const RACK0 = hops('cilium-bgp-control-plane', 'cilium-bgp-worker');
const RACK1 = hops('cilium-bgp-worker2', 'cilium-bgp-worker3');

beforeAll(async () => {
  lab = await Lab.start({api: 'real', leaf: 'bird', routingMode: 'native'}, RunDirectory.create('i'), () => undefined);
  await apply(peering('rack0', 65005, '10.1.5.1/24'), peering('rack1', 65008, '10.1.8.1/24'));
  expect(await bgp.leafRoutes(lab, 20_000)).toMatchObject({verdict: 'ok'});
}, 2 * MINUTE);

afterAll(async () => {
  expect(await lab.stop()).toEqual([]);
}, MINUTE);

async function apply(...objects: readonly object[]): Promise<void> {
  await lab.objects.apply(JSON.stringify({apiVersion: 'v1', kind: 'List', items: objects}));
}

async function addresses(name: string): Promise<string> {
  return (await lab.kubectl(['get', 'service', name, '-o', 'jsonpath={.status.loadBalancer.ingress[*].ip}'])).trim();
}

/** `True satisfied`. */
async function satisfied(name: string): Promise<string> {
  return (await lab.kubectl(['get', 'service', name, '-o', 'jsonpath={range .status.conditions[?(@.type=="cilium.io/IPAMRequestSatisfied")]}{.status} {.reason}{end}'])).trim();
}

async function given(name: string, address: string): Promise<void> {
  await until(`${name} has ${address}`, WAIT, async () => await addresses(name) === address ? true : null);
}

/** Gateways of the prefix in the kernel of a leaf; empty = no route. */
async function via(leaf: string, address: string): Promise<string> {
  const route = (await kernelRoutes(lab.fabric.router(leaf).netns)).find(({prefix}) => prefix === `${address}/32`);
  return route?.nextHops.join(' ') ?? '';
}

async function routed(address: string, leaf0: string, leaf1: string): Promise<void> {
  await until(`${address} via ${leaf0} at leaf0 and ${leaf1} at leaf1`, WAIT, async () => {
    const seen = [await via('leaf0', address), await via('leaf1', address)];
    if (seen[0] === leaf0 && seen[1] === leaf1) return true;
    throw new Error(`via ${seen.join(' and ')}`);
  });
}

/** Packets for announced addresses that nothing serves. */
async function drops(node: string): Promise<number> {
  const text = await getText(lab.stentor.agentMetrics(node), '/metrics');
  const line = /^cilium_drop_count_total\{(?=[^}]*reason="Service backend not found")[^}]*direction="EGRESS"[^}]*\} (\d+)/m.exec(text);
  return Number(line?.[1] ?? 0);
}

async function events(kind: string, name: string): Promise<string> {
  return lab.kubectl(['get', 'events', '-n', 'default', '--field-selector', `involvedObject.kind=${kind},involvedObject.name=${name}`, '-o', 'jsonpath={range .items[*]}{.reason}: {.message}{"\\n"}{end}']);
}

test('a pool and a Service: the address is in its status, printed by kubectl, and at both leaves as a host route', async () => {
  await apply(pool('blue', [{cidr: '10.20.10.0/29'}]), service('web'));
  await given('web', '10.20.10.0');
  expect(await satisfied('web')).toBe('True satisfied');
  await routed('10.20.10.0', RACK0, RACK1);
  expect(await lab.kubectl(['get', 'service', 'web', '--no-headers'])).toMatch(/^web +LoadBalancer +\S+ +10\.20\.10\.0 +80\/TCP/);
  await until('the counts', WAIT, async () => /^blue +false +False +7 /.test(await lab.kubectl(['get', 'ippools', '--no-headers'])) ? true : null);
  await lab.kubectl(['wait', '--for=condition=cilium.io/IPAMRequestSatisfied', 'service/web', '--timeout=5s']);
}, MINUTE);

test('nothing serves the address yet: each packet is dropped on a node, once, with a reason that is counted', async () => {
  const counted = async (): Promise<number> => (await Promise.all(NODES.map(({name}) => drops(name)))).reduce((sum, one) => sum + one, 0);
  const before = await counted();
  const results = await Promise.all(Array.from({length: 20}, () => udp(lab.ext, '10.20.10.0', 80, {timeoutMs: 500})));
  expect(new Set(results.map(({result}) => result))).toEqual(new Set(['timeout']));
  // On its way round a packet would be counted by every node that it passes, or end as too old.
  expect(await counted() - before).toBe(20);
}, MINUTE);

test('what the selector does not want any more is withdrawn, and only that; the address stays the Service’s', async () => {
  await apply(service('other'));
  await given('other', '10.20.10.1');
  await routed('10.20.10.1', RACK0, RACK1);
  const watch = await RouteWatch.start(lab.fabric.router('leaf0').netns);
  await lab.objects.label({kind: 'service', namespace: 'default', name: 'web'}, {advertise: 'no'});
  await routed('10.20.10.0', '', '');
  await lab.objects.label({kind: 'service', namespace: 'default', name: 'web'}, {advertise: null});
  await routed('10.20.10.0', RACK0, RACK1);
  expect(await addresses('web')).toBe('10.20.10.0');
  await lab.objects.delete({kind: 'service', namespace: 'default', name: 'other'});
  await routed('10.20.10.1', '', '');
  expect(new Set(watch.changes().map(({prefix}) => prefix))).toEqual(new Set(['10.20.10.0', '10.20.10.1']));
  watch.stop();
}, MINUTE);

test('externalTrafficPolicy Local: announced where an endpoint is ready, and the route moves with it', async () => {
  await apply(service('local', {externalTrafficPolicy: 'Local'}), podOn('local-0', 'cilium-bgp-worker'));
  await given('local', '10.20.10.1');
  await lab.podsReady(['app', 'local'], 1);
  // The other rack reaches it over both spines.
  await until('leaf0 goes to the node of the endpoint', WAIT, async () => await via('leaf0', '10.20.10.1') === hops('cilium-bgp-worker') ? true : null);
  expect((await via('leaf1', '10.20.10.1')).split(' ')).toHaveLength(2);
  await apply(podOn('local-1', 'cilium-bgp-worker2'));
  await routed('10.20.10.1', hops('cilium-bgp-worker'), hops('cilium-bgp-worker2'));
  await lab.objects.delete({kind: 'pod', namespace: 'default', name: 'local-0'});
  await until('leaf0 goes to the other rack', WAIT, async () => (await via('leaf0', '10.20.10.1')).split(' ').length === 2 && await via('leaf1', '10.20.10.1') === hops('cilium-bgp-worker2') ? true : null);
  await lab.objects.delete({kind: 'pod', namespace: 'default', name: 'local-1'});
  await routed('10.20.10.1', '', '');
}, MINUTE);

test('an address by name, one that is taken, sharing, and pools that overlap: each says what it is', async () => {
  const shared = {'lbipam.cilium.io/sharing-key': 'edge', 'lbipam.cilium.io/ips': '10.20.10.5'};
  await apply(
    service('named', {}, {'lbipam.cilium.io/ips': '10.20.10.6'}), service('edge-http', {}, shared), service('edge-https', {ports: [{name: 'https', port: 443}]}, shared),
  );
  await given('named', '10.20.10.6');
  await given('edge-http', '10.20.10.5');
  await given('edge-https', '10.20.10.5');
  await apply(service('late', {}, {'lbipam.cilium.io/ips': '10.20.10.6'}), service('clash', {}, shared), service('far', {}, {'lbipam.cilium.io/ips': '192.0.2.1'}));
  for (const [name, reason] of [['late', 'already_allocated'], ['clash', 'already_allocated_incompatible_service'], ['far', 'no_pool']] as const) {
    await until(`${name}: ${reason}`, WAIT, async () => await satisfied(name) === `False ${reason}` ? true : null);
    expect(await addresses(name)).toBe('');
  }
  expect(await events('Service', 'clash')).toContain('LBIPAMUnsatisfied: The IP \'10.20.10.5\' is already allocated to an incompatible service. Reason: same port and protocol: 80/TCP');
  // The address is withdrawn when the last one leaves, and goes to who waits for it.
  await routed('10.20.10.5', RACK0, RACK1);
  await lab.objects.delete({kind: 'service', namespace: 'default', name: 'clash'});
  await lab.objects.delete({kind: 'service', namespace: 'default', name: 'edge-http'});
  await lab.objects.delete({kind: 'service', namespace: 'default', name: 'named'});
  await given('late', '10.20.10.6');
  expect(await via('leaf0', '10.20.10.5')).toBe(RACK0);
  await lab.objects.delete({kind: 'service', namespace: 'default', name: 'edge-https'});
  await routed('10.20.10.5', '', '');
  await apply(pool('young', [{start: '10.20.10.7', stop: '10.20.10.20'}]));
  await until('the conflict', WAIT, async () => /^young +false +True /m.test(await lab.kubectl(['get', 'ippools', '--no-headers'])) ? true : null);
  expect(await events('CiliumLoadBalancerIPPool', 'young')).toContain("LBIPPoolConflict: Pool conflicts since range '10.20.10.7 - 10.20.10.20' overlaps range '10.20.10.0 - 10.20.10.7' from IP Pool 'blue'");
}, MINUTE);

test('the operator is killed and started again: no address moves, no object is written, no route changes', async () => {
  const versions = (): Promise<string> => lab.kubectl(['get', 'services,ippools', '-A', '-o', 'jsonpath={range .items[*]}{.metadata.name} {.metadata.resourceVersion} {.status.loadBalancer.ingress[*].ip}{"\\n"}{end}']);
  const before = await versions();
  expect(before).toMatch(/^web \d+ 10\.20\.10\.0$/m);
  const watches = await Promise.all(lab.fabric.leaves.map((leaf) => RouteWatch.start(leaf.netns)));
  await lab.stentor.killOperator();
  await lab.stentor.startOperator();
  await Promise.all(NODES.map(({name}) => lab.stentor.agentReady(name)));
  // The new one works: it gives the next address, and that is the only change.
  await apply(service('after'));
  await given('after', '10.20.10.2');
  await routed('10.20.10.2', RACK0, RACK1);
  const others = (text: string): readonly string[] => text.split('\n').filter((line) => !/^(after|blue) /.test(line));
  expect(others(await versions())).toEqual(others(before));
  expect(new Set(watches.flatMap((watch) => watch.changes()).map(({prefix}) => prefix))).toEqual(new Set(['10.20.10.2']));
  for (const watch of watches) watch.stop();
}, MINUTE);
