// A node that is drained, and a change that would withdraw too much: seen at the leaf, counted on the wire, and by who sends packets meanwhile.

import {join} from 'node:path';
import {afterAll, beforeAll, expect, test} from '@jest/globals';
import {bgpUpdates, type BgpUpdate} from '../harness/bgp-updates.js';
import {Capture} from '../harness/capture.js';
import * as bgp from '../harness/checks/bgp.js';
import {Lab} from '../harness/lab.js';
import {BirdRouter} from '../harness/router-bird.js';
import {kernelRoutes} from '../harness/router.js';
import {ROOT, RunDirectory} from '../harness/run-dir.js';
import {run, until} from '../harness/shell.js';
import {NODES} from '../harness/topology.js';
import {startPace} from '../harness/traffic.js';

const MINUTE = 60_000;
const WAIT = {timeoutMs: 15_000, intervalMs: 50};
/** Long enough to be seen. */
const DRAIN_MS = 3_000;
const NODE = 'cilium-bgp-worker';
const NODE_ADDRESS = '10.1.5.11';
const VIP = '10.20.10.0';
let lab: Lab;

const peering = (rack: string, asn: number, peerAddress: string): object => ({
  apiVersion: 'cilium.io/v2alpha1', kind: 'CiliumBGPPeeringPolicy', metadata: {name: rack},
  spec: {nodeSelector: {matchLabels: {rack}}, virtualRouters: [{localASN: asn, exportPodCIDR: true, serviceSelector: {}, neighbors: [{peerAddress, peerASN: asn}]}]},
});
const service = (name: string): object => ({
  apiVersion: 'v1', kind: 'Service', metadata: {name, namespace: 'default'},
  spec: {type: 'LoadBalancer', selector: {app: name}, ports: [{port: 80}], allocateLoadBalancerNodePorts: false},
});
const echo = {
  apiVersion: 'v1', kind: 'Pod', metadata: {name: 'echo', namespace: 'default', labels: {app: 'echo'}},
  spec: {nodeName: NODE, terminationGracePeriodSeconds: 1, containers: [{name: 'echo', image: 'lab/echo', ports: [{containerPort: 80, protocol: 'TCP'}, {containerPort: 80, protocol: 'UDP'}]}]},
};

beforeAll(async () => {
  const operatorFlags = ['--bgp-drain-cordoned', 'true', '--bgp-drain-time', `${DRAIN_MS}ms`, '--bgp-max-withdraw', '20%', '--bgp-not-ready', 'deprefer'];
  lab = await Lab.start({api: 'real', leaf: 'bird', routingMode: 'native', operatorFlags}, RunDirectory.create('n'), () => undefined);
  await apply(
    peering('rack0', 65005, '10.1.5.1/24'), peering('rack1', 65008, '10.1.8.1/24'), echo, service('web'),
    {apiVersion: 'cilium.io/v2', kind: 'CiliumLoadBalancerIPPool', metadata: {name: 'blue'}, spec: {blocks: [{cidr: `${VIP}/29`}]}},
  );
  expect(await bgp.leafRoutes(lab, 20_000)).toMatchObject({verdict: 'ok'});
  await via('leaf0', `${VIP}/32`, '10.1.5.10 10.1.5.11');
  await lab.podsReady(['app', 'echo'], 1);
}, 2 * MINUTE);

afterAll(async () => {
  expect(await lab.stop()).toEqual([]);
}, MINUTE);

async function apply(...objects: readonly object[]): Promise<void> {
  await lab.objects.apply(JSON.stringify({apiVersion: 'v1', kind: 'List', items: objects}));
}

function leaf(name: string): BirdRouter {
  const router = lab.fabric.router(name);
  if (!(router instanceof BirdRouter)) throw new Error(`${name} is not run by BIRD`);
  return router;
}

/** Waits until the kernel of a leaf sends the prefix to these next hops. */
async function via(router: string, prefix: string, hops: string): Promise<void> {
  await until(`${prefix} via ${hops} at ${router}`, WAIT, async () => {
    const now = (await kernelRoutes(leaf(router).netns)).find((route) => route.prefix === prefix)?.nextHops.toSorted().join(' ') ?? '';
    if (now === hops) return true;
    throw new Error(`via ${now}`);
  });
}

/** BIRD's paths of the drained node alone. */
async function pathsOfNode(): Promise<readonly string[]> {
  const text = await leaf('leaf0').birdc('show route protocol node11 all');
  return text.split(/\n(?=\d)/).filter((one) => /^\d+\.\d+\.\d+\.\d+\//.test(one)).map((one) => {
    const [prefix = ''] = one.split(/\s/);
    return /BGP\.local_pref: 1\s/.test(one) && one.includes('(65535,0)') ? `${prefix} draining` : prefix;
  }).sort();
}

async function announcedByNode(...paths: readonly string[]): Promise<void> {
  await until(`the node announces ${paths.join(', ')}`, WAIT, async () => {
    const now = await pathsOfNode();
    if (now.join() === [...paths].sort().join()) return true;
    throw new Error(now.join(', '));
  });
}

/** What the node told its leaf meanwhile. */
async function updatesDuring(change: () => Promise<void>): Promise<readonly BgpUpdate[]> {
  const capture = await Capture.start({netnsPath: leaf('leaf0').netns.path}, {device: 'any', filter: 'tcp port 179', name: 'updates', snapLength: 4096}, lab.run);
  try {
    await change();
    await capture.settle();
    return bgpUpdates(capture.file).filter(({source}) => source === NODE_ADDRESS);
  } finally {
    await capture.stop();
  }
}

async function stentorctl(...words: readonly string[]): Promise<{readonly code: number | null; readonly value: unknown; readonly err: string}> {
  const {code, stdout, stderr} = await run([process.execPath, join(ROOT, 'dist/cli/stentorctl.js'), '--kubeconfig', lab.controlPlane?.kubeconfig ?? '', '-o', 'json', ...words]);
  return {code, err: stderr, value: stdout === '' ? null : JSON.parse(stdout) as unknown};
}

test('kubectl cordon: first the leaf goes elsewhere, then what others announce is withdrawn; no packet to a pod is lost', async () => {
  const pod = lab.pod('echo');
  const cidr = lab.podCidr(NODE);
  const pace = startPace(lab.ext, pod.address, 80, 100);
  await pace.first();
  const updates = await updatesDuring(async () => {
    await lab.kubectl(['cordon', NODE]);
    await announcedByNode(`${VIP}/32 draining`, `${cidr} draining`);
    // Still announced, and already not used.
    await via('leaf0', `${VIP}/32`, '10.1.5.10');
    expect(await lab.kubectl(['get', 'cbgpnode', NODE, '-o', "jsonpath={.status.conditions[?(@.type=='stentor.io/Draining')].reason}"])).toBe('GracefulShutdown');
    // Nobody else has the pods' prefix.
    await announcedByNode(`${cidr} draining`);
    await lab.kubectl(['wait', '--for=jsonpath={.status.conditions[?(@.type=="stentor.io/Draining")].reason}=Withdrawn', `cbgpnode/${NODE}`, '--timeout=10s']);
    await lab.kubectl(['uncordon', NODE]);
    await announcedByNode(`${VIP}/32`, cidr);
    await via('leaf0', `${VIP}/32`, '10.1.5.10 10.1.5.11');
  });
  // Withdrawn once, and only that: other attributes never are a withdrawal.
  expect(updates.flatMap(({withdrawn}) => withdrawn)).toEqual([`${VIP}/32`]);
  const {sent, received} = await pace.stop();
  expect([sent > 100, sent - received]).toEqual([true, 0]);
}, MINUTE);

test('a node that is not ready is passed by, and nothing of it is withdrawn', async () => {
  const cidr = lab.podCidr(NODE);
  const report = (status: string): Promise<string> => lab.kubectl([
    'patch', 'node', NODE, '--subresource=status', '--type=strategic', '-p', JSON.stringify({status: {conditions: [{type: 'Ready', status, reason: 'Test', message: 'said by the test'}]}}),
  ]);
  const updates = await updatesDuring(async () => {
    await report('False');
    await announcedByNode(`${VIP}/32 draining`, `${cidr} draining`);
    await via('leaf0', `${VIP}/32`, '10.1.5.10');
    expect(await lab.kubectl(['get', 'cbgpnode', NODE, '-o', "jsonpath={.status.conditions[?(@.type=='stentor.io/Draining')].message}"])).toBe('the node is not ready: routes are announced with GRACEFUL_SHUTDOWN');
    await report('True');
    await announcedByNode(`${VIP}/32`, cidr);
  });
  expect(updates.flatMap(({withdrawn}) => withdrawn)).toEqual([]);
}, MINUTE);

test('stentorctl bgp drain: all of it on demand, neither operator nor agent brings it back, --undo does', async () => {
  const done = await stentorctl('bgp', 'drain', NODE, '--withdraw', 'all', '--wait', '20s');
  expect(done).toMatchObject({code: 0, value: [{node: NODE, state: 'Withdrawn', annotation: 'all', cordoned: false}], err: expect.stringContaining('GRACEFUL_SHUTDOWN')});
  await announcedByNode();
  // Its sessions are up: it takes part again at once.
  expect((await leaf('leaf0').sessions()).filter(({node, established}) => node && established)).toHaveLength(2);
  const updates = await updatesDuring(async () => {
    await Promise.all([lab.stentor.killOperator(), lab.stentor.killAgent(NODE)]);
    await Promise.all([lab.stentor.startOperator(), lab.stentor.startAgent(NODE)]);
    await Promise.all(NODES.map(({name}) => lab.stentor.agentReady(name)));
  });
  expect(updates).toEqual([]);
  expect(await stentorctl('bgp', 'drain', NODE, '--undo', '--wait', '20s')).toMatchObject({code: 0, value: [{state: 'NotDraining', annotation: null}]});
  await announcedByNode(`${VIP}/32`, lab.podCidr(NODE));
}, MINUTE);

test('a policy is deleted: half of the paths would go, so they wait, also for the next operator; what is new comes; confirmed they go', async () => {
  const rack1 = NODES.filter(({rack}) => rack === 'rack1').map(({address}) => address).sort().join(' ');
  await lab.objects.delete({kind: 'ciliumbgppeeringpolicy', namespace: null, name: 'rack1'});
  await until('it waits', WAIT, async () => (await stentorctl('bgp', 'confirm')).code === 1 ? true : null);
  const {value} = await stentorctl('bgp', 'confirm');
  expect(value).toEqual([{object: 'CiliumBGPPeeringPolicy/rack1', change: expect.stringMatching(/^[0-9a-f]{12}$/), gone: true, message: expect.stringContaining('4 of 8 paths would be withdrawn (50%, more than 20%)')}]);
  await lab.stentor.killOperator();
  await lab.stentor.startOperator();
  await Promise.all(NODES.map(({name}) => lab.stentor.agentReady(name)));
  await apply(service('late'));
  await via('leaf1', '10.20.10.1/32', rack1);
  await via('leaf1', `${VIP}/32`, rack1);
  expect(await lab.kubectl(['get', 'events', '-A', '--field-selector', 'reason=BGPWithdrawalHeld'])).toContain('stentorctl bgp confirm CiliumBGPPeeringPolicy/rack1 --change');
  const [{change}] = value as readonly [{readonly change: string}];
  expect(await stentorctl('bgp', 'confirm', 'CiliumBGPPeeringPolicy/rack1', '--change', '000000000000')).toMatchObject({code: 1});
  expect(await stentorctl('bgp', 'confirm', 'CiliumBGPPeeringPolicy/rack1', '--change', change)).toMatchObject({code: 0});
  // Over the spines it is the other rack's now.
  await until('the rack is silent', WAIT, async () => (await leaf('leaf1').sessions()).some(({node, established}) => node && established) ? null : true);
  await until('nothing waits', WAIT, async () => (await stentorctl('bgp', 'confirm')).code === 0 ? true : null);
}, MINUTE);
