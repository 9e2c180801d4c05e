// The rack lab with BIRD leaves: every line that the demo prints, and for each a control that breaks the feature and must turn it red.

import {rmSync} from 'node:fs';
import {join} from 'node:path';
import {afterAll, beforeAll, describe, expect, test} from '@jest/globals';
import * as bgp from '../harness/checks/bgp.js';
import type {CheckLine} from '../harness/checks/check.js';
import {enforcedIsTrue} from '../harness/checks/convergence.js';
import * as crash from '../harness/checks/crash.js';
import * as masquerade from '../harness/checks/masquerade.js';
import * as pods from '../harness/checks/pods.js';
import * as policy from '../harness/checks/policy.js';
import {cleanUp} from '../harness/cleanup.js';
import {Lab, type LabPod} from '../harness/lab.js';
import {MapWriteTrace, stateWrites} from '../harness/map-writes.js';
import {RunDirectory} from '../harness/run-dir.js';
import {must, until} from '../harness/shell.js';
import {NODES} from '../harness/topology.js';
import {udp} from '../harness/traffic.js';

const MINUTE = 60_000;
let lab: Lab;
let app: readonly LabPod[];

beforeAll(async () => {
  lab = await Lab.start({api: 'real', leaf: 'bird', routingMode: 'native'}, RunDirectory.create('n'), () => undefined);
  await lab.objects.apply(lab.manifest('bgp-lab/daemonset.yaml'));
  await lab.objects.apply(lab.manifest('overview/pods.yaml'));
  app = await lab.podsReady(['app', 'app'], NODES.length);
  await lab.podsReady(['org', 'empire'], 2);
  await lab.podsReady(['org', 'alliance'], 2);
  await lab.podsReady(['app', 'myService'], 1);
}, 2 * MINUTE);

afterAll(async () => {
  const left = await lab.stop();
  expect(left).toEqual([]);
}, MINUTE);

function green(lines: CheckLine | readonly CheckLine[]): void {
  expect([lines].flat().filter((line) => line.verdict !== 'ok')).toEqual([]);
}

function red(line: CheckLine): void {
  expect(line).toMatchObject({verdict: 'FAIL'});
}

describe('BGP', () => {
  test('sessions and routes', async () => {
    green(await bgp.fabricSessions(lab));
    const applied = await bgp.applyPeering(lab);
    green(await bgp.nodeSessions(lab, applied));
    green(await bgp.leafRoutes(lab));
  }, MINUTE);

  test('control: a stopped spine turns sessions and routes red', async () => {
    const spine = lab.fabric.router('spine1');
    await spine.stop();
    await until('the leaves notice', {timeoutMs: 20_000}, async () => (await bgp.fabricSessions(lab)).verdict === 'FAIL' ? true : null);
    red(await bgp.leafRoutes(lab, 500));
    await spine.start();
    await until('the spine is back', {timeoutMs: 20_000}, async () => (await bgp.leafRoutes(lab, 100)).verdict === 'ok' ? true : null);
    green(await bgp.fabricSessions(lab));
  }, MINUTE);

  test('control: deleting a peering policy turns the node sessions red', async () => {
    await lab.objects.delete({kind: 'ciliumbgppeeringpolicy', namespace: null, name: 'rack1'});
    await until('the sessions end', {timeoutMs: 10_000}, async () => (await bgp.nodeSessions(lab, null)).verdict === 'FAIL' ? true : null);
    red(await bgp.leafRoutes(lab, 500));
    green(await bgp.nodeSessions(lab, await bgp.applyPeering(lab)));
    green(await bgp.leafRoutes(lab));
  }, MINUTE);

  test('a node that changes its rack', async () => {
    green(await bgp.relabel(lab));
  }, MINUTE);

  test('control: with a frozen operator the relabelled node stays', async () => {
    lab.stentor.operator?.signal('SIGSTOP');
    const thaw = setTimeout(() => lab.stentor.operator?.signal('SIGCONT'), 10_000);
    const [withdrawn] = await bgp.relabel(lab);
    clearTimeout(thaw);
    lab.stentor.operator?.signal('SIGCONT');
    expect(withdrawn).toMatchObject({verdict: 'FAIL'});
    await until('the operator has caught up', {timeoutMs: 20_000}, async () => (await bgp.leafRoutes(lab, 100)).verdict === 'ok' ? true : null);
  }, MINUTE);
});

describe('pods', () => {
  test('reach each other with their own addresses over both uplinks, without a tunnel', async () => {
    green(await pods.pingMatrix(app));
    green(await pods.sourcesUnchanged(app));
    green(await pods.noVxlan(lab, app));
    green(await pods.bothUplinks(lab, app));
  }, MINUTE);

  test('control: without its route in the leaf a pod is out of reach', async () => {
    const leaf = lab.fabric.router('leaf0');
    const prefix = lab.podCidr('cilium-bgp-worker');
    await leaf.netns.ip([`route add blackhole ${prefix} metric 1`]);
    red(await pods.pingMatrix(app));
    await leaf.netns.ip([`route del blackhole ${prefix} metric 1`]);
    green(await pods.pingMatrix(app));
  }, MINUTE);

  test('control: a router that rewrites sources is noticed', async () => {
    const {path} = lab.fabric.router('leaf1').netns;
    await must(['iptables', '-t', 'nat', '-A', 'POSTROUTING', '-s', '10.98.0.0/16', '-j', 'MASQUERADE'], {netns: path});
    red(await pods.sourcesUnchanged(app));
    await must(['iptables', '-t', 'nat', '-D', 'POSTROUTING', '-s', '10.98.0.0/16', '-j', 'MASQUERADE'], {netns: path});
  }, MINUTE);

  test('control: a tunnel packet on a wire is noticed', async () => {
    red(await pods.noVxlan(lab, app, () => udp(lab.node('cilium-bgp-worker'), '10.1.8.10', 8472, {timeoutMs: 20})));
  }, MINUTE);

  test('control: flows that are not spread over the uplinks are noticed', async () => {
    const {netns} = lab.fabric.router('leaf0');
    await netns.sysctl({'net.ipv4.fib_multipath_hash_policy': 0});
    red(await pods.bothUplinks(lab, app));
    await netns.sysctl({'net.ipv4.fib_multipath_hash_policy': 1});
    red(await pods.vniIsIdentity(lab, app));
  }, MINUTE);
});

describe('policy', () => {
  test('the L3/L4 policy of the article', async () => {
    green(await policy.openBefore(lab));
    green(await policy.applyL3L4(lab));
    green(await policy.l3l4Verdicts(lab));
  }, MINUTE);

  test('control: a policy that allows everybody turns the verdicts red', async () => {
    const open = 'apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {name: open, namespace: default}\nspec: {endpointSelector: {}, ingress: [{fromEntities: [all]}]}\n';
    await lab.objects.apply(open);
    await until('it is open', {timeoutMs: 5_000}, async () => (await policy.l3l4Verdicts(lab)).verdict === 'FAIL' ? true : null);
    red(await policy.deleteStopsStream(lab));
    await lab.objects.delete({kind: 'ciliumnetworkpolicy', namespace: 'default', name: 'open'});
    red(await policy.l3l4Verdicts(lab));
    green(await policy.applyL3L4(lab));
    green(await policy.l3l4Verdicts(lab));
  }, MINUTE);

  test('deleting the rule stops an established stream', async () => {
    green(await policy.deleteStopsStream(lab));
    // A deletion returns before the nodes have applied it.
    await until('it is open again', {timeoutMs: 10_000}, async () => (await policy.openBefore(lab)).verdict === 'ok' ? true : null);
  }, MINUTE);

  test('the CIDR policy of the article at its borders', async () => {
    green(await policy.cidrPolicy(lab));
  }, MINUTE);

  test('control: without it the borders are open', async () => {
    const judge = () => policy.judge([policy.expectTcp(lab.pod('myservice'), {name: '10.96.0.1', address: '10.96.0.1'}, 80, false)]);
    await until('the verdict turns', {timeoutMs: 10_000}, async () => (await judge()).ok ? null : true);
  }, MINUTE);

  test('nothing slips through after Enforced=True', async () => {
    green(await enforcedIsTrue(lab, 1_000));
  }, 10 * MINUTE);
});

describe('masquerading', () => {
  test('the node address outside, the pod address inside, and the ConfigMap at once', async () => {
    const [pod] = app;
    if (pod === undefined) throw new Error('no pod');
    green(await masquerade.sourceOutside(lab, pod));
    green(await masquerade.editConfigMap(lab, pod));
    green(await masquerade.articleEntries(lab));
  }, MINUTE);

  test('controls: an address on the list, a frozen operator, a removed pin', async () => {
    const [pod] = app;
    const [node] = NODES;
    if (pod === undefined || node === undefined) throw new Error('no pod');
    lab.stentor.operator?.signal('SIGSTOP');
    const [edited] = await masquerade.editConfigMap(lab, pod);
    lab.stentor.operator?.signal('SIGCONT');
    expect(edited).toMatchObject({verdict: 'FAIL'});
    await masquerade.removeConfigMap(lab);
    rmSync(join(lab.stentor.bpfRoot(node.name), 'maps', 'cilium_ipmasq_v4'));
    red(await masquerade.articleEntries(lab));
    await lab.stentor.killAgent(node.name);
    await lab.stentor.startAgent(node.name);
    await lab.stentor.agentReady(node.name);
    await masquerade.removeConfigMap(lab);
  }, MINUTE);
});

describe('parts die under traffic', () => {
  function traffic(): crash.Traffic {
    const deathstar = lab.pod('deathstar');
    const on = (node: string): LabPod => {
      const pod = app.find((item) => item.node === node);
      if (pod === undefined) throw new Error(`no pod on ${node}`);
      return pod;
    };
    return {allowed: [on('cilium-bgp-control-plane'), on(deathstar.node)], denied: [lab.pod('xwing'), deathstar]};
  }

  test('the agent, the operator, the API server', async () => {
    green(await policy.applyL3L4(lab));
    green(await crash.agentKilled(lab, lab.pod('deathstar').node, traffic()));
    green(await crash.operatorKilled(lab, traffic()));
    green(await crash.apiServerStopped(lab, traffic(), 30));
  }, 5 * MINUTE);

  test('control: a lost packet and an answered denial are noticed', async () => {
    const {netns} = lab.fabric.router('leaf1');
    const rule = ['FORWARD', '-d', lab.podCidr('cilium-bgp-worker2'), '-j', 'DROP'];
    const blocked = await crash.undisturbed(lab, traffic(), async () => {
      await must(['iptables', '-A', ...rule], {netns: netns.path});
      await until('the rule dropped a packet', {timeoutMs: 5_000, intervalMs: 5}, async () => {
        const listed = await must(['iptables', '-nvxL', 'FORWARD'], {netns: netns.path});
        return /^\s*[1-9]\d*\s.*\bDROP\b/m.test(listed) ? true : null;
      });
      await must(['iptables', '-D', ...rule], {netns: netns.path});
      return '';
    });
    expect(blocked.ok).toBe(false);
    const {allowed, denied} = traffic();
    expect((await crash.undisturbed(lab, {allowed, denied: allowed}, async () => '')).ok).toBe(false);
    expect((await crash.undisturbed(lab, {allowed: denied, denied}, async () => '').catch(() => ({ok: false}))).ok).toBe(false);
  }, MINUTE);

  test('control: the trace sees the writes of a policy change', async () => {
    const trace = await MapWriteTrace.start(NODES.map((node) => lab.stentor.agent(node.name)?.pid ?? -1), lab.run);
    await lab.objects.delete({kind: 'ciliumnetworkpolicy', namespace: 'default', name: 'rule1'});
    await until('the policy is gone', {timeoutMs: 10_000}, async () => (await policy.openBefore(lab)).verdict === 'ok' ? true : null);
    expect(stateWrites(await trace.stop()).length).toBeGreaterThan(0);
  }, MINUTE);
});

test('control: what is left behind is named', async () => {
  const other = RunDirectory.create('left');
  await must(['ip', 'netns', 'add', other.netnsName('forgotten')]);
  expect((await cleanUp(other)).join()).toContain('forgotten');
  await must(['ip', 'netns', 'delete', other.netnsName('forgotten')]);
  expect(await cleanUp(other)).toEqual([]);
}, MINUTE);
