// The rack lab with the BGPv2 kinds: the same routes; changes that may not withdraw anything, counted on the wire; passwords, short timers, multihop.

import {join} from 'node:path';
import {afterAll, beforeAll, expect, test} from '@jest/globals';
import {bgpUpdates, type BgpUpdate} from '../harness/bgp-updates.js';
import {Capture} from '../harness/capture.js';
import * as bgp from '../harness/checks/bgp.js';
import {Lab} from '../harness/lab.js';
import {BirdRouter} from '../harness/router-bird.js';
import {ROOT, RunDirectory} from '../harness/run-dir.js';
import {nowMs, run, until} from '../harness/shell.js';
import {NODES} from '../harness/topology.js';
import {getJson, getText} from '../harness/unix-http.js';

const MINUTE = 60_000;
const RACK0 = ['10.1.5.10', '10.1.5.11'];
const NODE = 'cilium-bgp-worker';
let lab: Lab;

beforeAll(async () => {
  lab = await Lab.start({api: 'real', leaf: 'bird', routingMode: 'native'}, RunDirectory.create('v'), () => undefined);
}, 2 * MINUTE);

afterAll(async () => {
  expect(await lab.stop()).toEqual([]);
}, MINUTE);

function bird(name: string): BirdRouter {
  const router = lab.fabric.router(name);
  if (!(router instanceof BirdRouter)) throw new Error(`${name} is not run by BIRD`);
  return router;
}

const apply = (...objects: readonly object[]): Promise<unknown> => lab.objects.apply(objects.map((object) => JSON.stringify(object)).join('\n---\n'));

function peerConfig(name: string, spec: object = {}): object {
  const families = [{afi: 'ipv4', safi: 'unicast', advertisements: {matchLabels: {advertise: 'bgp'}}}];
  return {apiVersion: 'cilium.io/v2', kind: 'CiliumBGPPeerConfig', metadata: {name}, spec: {families, ...spec}};
}

function advertisement(attributes: object): object {
  return {
    apiVersion: 'cilium.io/v2', kind: 'CiliumBGPAdvertisement', metadata: {name: 'pods', labels: {advertise: 'bgp'}},
    spec: {advertisements: [{advertisementType: 'PodCIDR', attributes}]},
  };
}

/** What the nodes of rack 0 told their leaf while `change` was made and came into force. */
async function updatesDuring(change: () => Promise<void>): Promise<readonly BgpUpdate[]> {
  const capture = await Capture.start({netnsPath: bird('leaf0').netns.path}, {device: 'any', filter: 'tcp port 179', name: 'updates', snapLength: 4096}, lab.run);
  try {
    await change();
    await capture.settle();
    return bgpUpdates(capture.file).filter(({source}) => RACK0.includes(source));
  } finally {
    await capture.stop();
  }
}

/** BIRD's paths of the PodCIDRs of rack 0, from the nodes themselves. */
async function pathsAtLeaf(): Promise<string> {
  return bird('leaf0').birdc('show route where source = RTS_BGP && bgp_path.len = 0 all');
}

const countIn = (text: string, what: RegExp): number => [...text.matchAll(what)].length;
const established = async (leaf: string): Promise<number> => (await bird(leaf).sessions()).filter((session) => session.node && session.established).length;

test('the same sessions and routes as with the policies of the old kind', async () => {
  const started = nowMs();
  await lab.objects.apply(lab.manifest('bgp-lab/bgp-v2.yaml'));
  expect(await bgp.nodeSessions(lab, started)).toMatchObject({verdict: 'ok'});
  expect(await bgp.leafRoutes(lab)).toMatchObject({verdict: 'ok'});
}, MINUTE);

test('how it stands: conditions to wait for, columns, a CiliumBGPNodeConfig for each node', async () => {
  await lab.kubectl(['wait', '--for=condition=stentor.io/Established', 'ciliumbgpclusterconfig/rack0', 'ciliumbgpclusterconfig/rack1', '--timeout=15s']);
  expect(await lab.kubectl(['get', 'cbgpcluster'])).toMatch(/rack0\s+2\/2/);
  const config: unknown = JSON.parse(await lab.kubectl(['get', 'cbgpnode', NODE, '-o', 'json']));
  expect(config).toMatchObject({
    metadata: {ownerReferences: [{kind: 'CiliumBGPClusterConfig', name: 'rack0'}]},
    spec: {bgpInstances: [{name: 'asn-65005', localASN: 65005, routerID: '10.1.5.11', peers: [{name: 'leaf0', peerAddress: '10.1.5.1', peerConfigRef: {name: 'leaf0'}}]}]},
    status: {
      bgpInstances: [{peers: [{name: 'leaf0', peeringState: 'established', timers: {appliedHoldTimeSeconds: 90}, establishedTime: expect.any(String)}]}],
      conditions: expect.arrayContaining([expect.objectContaining({type: 'cilium.io/BGPReconcileError', status: 'False'})]),
    },
  });
  const conditions = await lab.kubectl(['get', 'cbgpcluster', 'rack0', '-o', 'jsonpath={range .status.conditions[*]}{.type}={.status} {end}']);
  expect(conditions.trim().split(' ').sort()).toEqual([
    'Valid=True', 'cilium.io/ConflictingClusterConfig=False', 'cilium.io/MissingPeerConfigs=False', 'cilium.io/NoMatchingNode=False', 'stentor.io/Established=True',
  ]);
  const metrics = await getText(lab.stentor.agentMetrics(NODE), '/metrics');
  expect(metrics).toMatch(/cilium_bgp_control_plane_session_state\{[^}]*instance_name="asn-65005"[^}]*\} 1/);
  expect(metrics).toMatch(/cilium_bgp_control_plane_reconcile_run_duration_seconds_count\{instance="asn-65005"\} [1-9]/);
}, MINUTE);

test('other attributes: new UPDATEs, not one withdrawal on the wire', async () => {
  const updates = await updatesDuring(async () => {
    await apply(advertisement({localPreference: 150, communities: {standard: ['65005:99'], wellKnown: ['no-peer'], large: ['65005:1:2']}}));
    await until('the communities at the leaf', {timeoutMs: 10_000}, async () => countIn(await pathsAtLeaf(), /\(65005,99\)/g) === 2 ? true : null);
    await apply(advertisement({communities: {standard: ['65005:100']}}));
    await until('the other community', {timeoutMs: 10_000}, async () => countIn(await pathsAtLeaf(), /\(65005,100\)/g) === 2 ? true : null);
  });
  expect(await pathsAtLeaf()).not.toMatch(/65005, 1, 2|\(65005,99\)/);
  expect(updates.length).toBeGreaterThanOrEqual(4);
  expect(updates.flatMap(({withdrawn}) => withdrawn)).toEqual([]);
}, MINUTE);

async function stentorctl(...words: readonly string[]): Promise<{readonly code: number | null; readonly value: unknown}> {
  const common = ['--kubeconfig', lab.controlPlane?.kubeconfig ?? '', '--api-socket', lab.stentor.agentSocket(NODE), '-o', 'json'];
  const {code, stdout, stderr} = await run([process.execPath, join(ROOT, 'dist/cli/stentorctl.js'), ...common, ...words]);
  if (stdout === '') throw new Error(stderr);
  return {code, value: JSON.parse(stdout) as unknown};
}

test('stentorctl on the cluster: every peer, why, and what a change would do', async () => {
  const {value: peers} = await stentorctl('bgp', 'peers', '--cluster');
  expect(peers).toEqual(NODES.map(({name}) => expect.objectContaining({node: name, session: 'established'})));
  expect(await stentorctl('bgp', 'why', lab.podCidr(NODE), '--node', NODE)).toMatchObject({code: 0, value: [{peer: '10.1.5.1', told: true, closed: null}]});
  expect(await stentorctl('bgp', 'why', lab.podCidr('cilium-bgp-worker2'), '--node', NODE)).toMatchObject({code: 1, value: [{told: false, closed: 'origin', reason: expect.stringContaining('cilium-bgp-worker2')}]});
  expect(await stentorctl('bgp', 'plan', join(ROOT, 'e2e/manifests/bgp-lab/bgp-v2.yaml'))).toMatchObject({code: 0, value: {paths: 4, withdrawn: 0, changes: NODES.map(() => ({change: 'attributes'}))}});
}, MINUTE);

test('a peer config that is gone, then back: nothing is said at all', async () => {
  const updates = await updatesDuring(async () => {
    await lab.objects.delete({kind: 'ciliumbgppeerconfig', namespace: null, name: 'leaf0'});
    await until('the agents hold the peer', {timeoutMs: 10_000}, async () => (await lab.kubectl(['get', 'events', '-A', '--field-selector', 'reason=BGPPeerHeld'])).includes('stay as they are') ? true : null);
    expect(await established('leaf0')).toBe(2);
    await apply(peerConfig('leaf0'));
    await until('the agents have nothing to say', {timeoutMs: 10_000}, async () => {
      const {errors} = await getJson<{errors: readonly unknown[]}>(lab.stentor.agentSocket(NODE), '/v1/status');
      return errors.length === 0 ? true : null;
    });
  });
  expect(updates).toEqual([]);
  expect(await bgp.leafRoutes(lab, 500)).toMatchObject({verdict: 'ok'});
}, MINUTE);

test('a policy of the old kind takes the node over and gives it back, without a word on the wire', async () => {
  const updates = await updatesDuring(async () => {
    await apply({
      apiVersion: 'cilium.io/v2alpha1', kind: 'CiliumBGPPeeringPolicy', metadata: {name: 'old-kind'},
      spec: {
        nodeSelector: {matchLabels: {'kubernetes.io/hostname': NODE}},
        virtualRouters: [{localASN: 65005, exportPodCIDR: true, neighbors: [{peerAddress: '10.1.5.1/24', peerASN: 65005, families: [{afi: 'ipv4', safi: 'unicast'}],
          advertisedPathAttributes: [{selectorType: 'PodCIDR', communities: {standard: ['65005:100']}}]}]}],
      },
    });
    await until('an Event', {timeoutMs: 10_000}, async () => (await lab.kubectl(['get', 'events', '-A', '--field-selector', 'reason=BGPPolicyConflict'])).includes('goes before BGPv2 kinds') ? true : null);
    await lab.objects.delete({kind: 'ciliumbgppeeringpolicy', namespace: null, name: 'old-kind'});
  });
  expect(updates).toEqual([]);
}, MINUTE);

test('the default gateway in place of the address: the same peer, nothing is said', async () => {
  const updates = await updatesDuring(async () => {
    const peer = {name: 'leaf0', peerASN: 65005, peerConfigRef: {name: 'leaf0'}, autoDiscovery: {mode: 'DefaultGateway', defaultGateway: {addressFamily: 'ipv4'}}};
    await apply({
      apiVersion: 'cilium.io/v2', kind: 'CiliumBGPClusterConfig', metadata: {name: 'rack0'},
      spec: {nodeSelector: {matchLabels: {rack: 'rack0'}}, bgpInstances: [{name: 'asn-65005', localASN: 65005, peers: [peer]}]},
    });
    await until('the node is told', {timeoutMs: 10_000}, async () => (await lab.kubectl(['get', 'cbgpnode', NODE, '-o', 'jsonpath={.spec.bgpInstances[0].peers[0].peerAddress}'])) === '0.0.0.0' ? true : null);
    await until('and stands as before', {timeoutMs: 10_000}, async () => {
      const status = await lab.kubectl(['get', 'cbgpnode', NODE, '-o', 'jsonpath={.status.bgpInstances[0].peers[0].peerAddress} {.status.bgpInstances[0].peers[0].peeringState}']);
      return status === '10.1.5.1 established' ? true : null;
    });
  });
  expect([updates, await established('leaf0')]).toEqual([[], 2]);
}, MINUTE);

test('TCP MD5: no Secret, no change; the right password, a session; a Secret that goes away takes nothing with it', async () => {
  await apply(peerConfig('leaf0', {authSecretRef: 'bgp-leaf0'}));
  await until('the missing Secret is told', {timeoutMs: 10_000}, async () => (await lab.kubectl(['get', 'events', '-A', '--field-selector', 'reason=BGPSecretMissing'])).includes('bgp-leaf0') ? true : null);
  expect(await established('leaf0')).toBe(2);
  await lab.objects.apply(lab.manifest('bgp-lab/secret-reader.yaml'));
  await apply({apiVersion: 'v1', kind: 'Secret', metadata: {name: 'bgp-leaf0', namespace: 'kube-system'}, stringData: {password: 'rack0-geheim'}});
  // The leaf knows no password yet: signed segments are dropped there.
  await until('both sessions are down', {timeoutMs: 20_000}, async () => await established('leaf0') === 0 ? true : null);
  await until('the condition says why', {timeoutMs: 20_000}, async () =>
    /TCP MD5 password/.test(await lab.kubectl(['get', 'cbgpcluster', 'rack0', '-o', "jsonpath={.status.conditions[?(@.type=='stentor.io/Established')].message}"])) ? true : null);
  await bird('leaf0').configure((config) => config.replaceAll('  passive on;', '  passive on; password "rack0-geheim";').replaceAll('as 65005;\n  connect', 'as 65005;\n  connect'));
  await until('both sessions', {timeoutMs: 20_000}, async () => await established('leaf0') === 2 ? true : null);
  const updates = await updatesDuring(async () => {
    await lab.objects.delete({kind: 'secret', namespace: 'kube-system', name: 'bgp-leaf0'});
    await until('the agents know', {timeoutMs: 10_000}, async () => {
      const {errors} = await getJson<{errors: readonly {code: string}[]}>(lab.stentor.agentSocket(NODE), '/v1/status');
      return errors.some(({code}) => code === 'BGP_SECRET_MISSING') ? true : null;
    });
  });
  expect([updates, await established('leaf0')]).toEqual([[], 2]);
  const state = JSON.stringify(await getJson(lab.stentor.agentSocket(NODE), '/v1/state'));
  expect(state).not.toContain('rack0-geheim');
}, 2 * MINUTE);

test('a hold time of 3 s, and an eBGP peer two hops away', async () => {
  await bird('spine0').configure((config) => `${config}
protocol bgp far { local 10.1.11.2 as 65500; neighbor 10.1.8.10 as 65008; multihop 4; passive on; ipv4 { import all; export none; }; }`);
  const far = {name: 'spine0', peerASN: 65500, peerAddress: '10.1.11.2', peerConfigRef: {name: 'far'}};
  const leaf = {name: 'leaf1', peerASN: 65008, peerAddress: '10.1.8.1', peerConfigRef: {name: 'leaf1'}};
  await apply(peerConfig('far', {ebgpMultihop: 4, timers: {holdTimeSeconds: 3, keepAliveTimeSeconds: 1}}), {
    apiVersion: 'cilium.io/v2', kind: 'CiliumBGPClusterConfig', metadata: {name: 'rack1'},
    spec: {nodeSelector: {matchLabels: {rack: 'rack1'}}, bgpInstances: [{name: 'asn-65008', localASN: 65008, peers: [leaf, far]}]},
  });
  await until('the session with the spine', {timeoutMs: 15_000}, async () => {
    const all = await bird('spine0').birdc('show protocols all far');
    return /Established/.test(all) && /Hold timer: +\S+\/3\s/.test(all) && /multihop/.test(all) ? true : null;
  });
  expect(await bird('spine0').birdc('show route protocol far')).toContain(lab.podCidr('cilium-bgp-worker2'));
  // The new peer touched no other.
  expect(await established('leaf1')).toBe(2);
}, MINUTE);
