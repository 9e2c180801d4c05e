// What a node cannot install, and a node that does not answer: `Enforced` says so by name, nothing is let through, nobody else notices, and it heals.

import {afterAll, afterEach, beforeAll, describe, expect, test} from '@jest/globals';
import type {KubeClient} from '../../lib/kube/client.js';
import type {KubeObject} from '../../lib/kube/object.js';
import {BpfFault} from '../harness/bpf-fault.js';
import * as bgp from '../harness/checks/bgp.js';
import {expectTcp, judge, type Expectation} from '../harness/checks/policy.js';
import {conditionsOf, ENFORCED, holds, watchEnforced, watchUntil, type ConditionView, type ObjectAddress} from '../harness/enforced.js';
import {Lab} from '../harness/lab.js';
import {RunDirectory} from '../harness/run-dir.js';
import {until} from '../harness/shell.js';
import {NODES} from '../harness/topology.js';

const MINUTE = 60_000;
/** Runs deathstar and ywing. */
const VICTIM = 'cilium-bgp-worker2';
let lab: Lab;
let client: KubeClient;
let fault: BpfFault | null = null;

beforeAll(async () => {
  lab = await Lab.start({api: 'real', leaf: 'bird', routingMode: 'native'}, RunDirectory.create('a'), () => undefined);
  if (lab.client === null) throw new Error('no API server');
  ({client} = lab);
  await lab.objects.apply(lab.manifest('overview/pods.yaml'));
  await lab.podsReady(['org', 'empire'], 2);
  await lab.podsReady(['org', 'alliance'], 2);
  await lab.podsReady(['app', 'myService'], 1);
  await bgp.applyPeering(lab);
  expect(await bgp.leafRoutes(lab, 20_000)).toMatchObject({verdict: 'ok'});
}, 2 * MINUTE);

afterEach(async () => {
  await fault?.stop();
  fault = null;
  lab.stentor.agent(VICTIM)?.signal('SIGCONT');
});

afterAll(async () => {
  expect(await lab.stop()).toEqual([]);
}, MINUTE);

const address = (name: string): ObjectAddress => ({kind: 'CiliumNetworkPolicy', namespace: 'default', name});

/** Lets `from` (labels) into the pods with `to` on 80/TCP. */
async function apply(name: string, to: Readonly<Record<string, string>>, from: Readonly<Record<string, string>>): Promise<void> {
  await lab.objects.apply(JSON.stringify({
    apiVersion: 'cilium.io/v2', kind: 'CiliumNetworkPolicy', metadata: {name, namespace: 'default'},
    spec: {endpointSelector: {matchLabels: to}, ingress: [{fromEndpoints: [{matchLabels: from}], toPorts: [{ports: [{port: '80', protocol: 'TCP'}]}]}]},
  }));
}

/** Ends when every client reaches deathstar again. */
async function remove(...names: readonly string[]): Promise<void> {
  for (const name of names) await lab.objects.delete({kind: 'ciliumnetworkpolicy', namespace: 'default', name});
  await until('it is open', {timeoutMs: 20_000}, async () => (await judge([to('tiefighter', true), to('xwing', true), to('ywing', true)])).ok ? true : null);
}

function enforced(object: KubeObject): ConditionView | undefined {
  return conditionsOf(object).find((condition) => condition.type === ENFORCED);
}

/** Waits until `Enforced` of the present generation is False for `reason`. */
async function refused(name: string, reason: string, timeoutMs = 20_000): Promise<ConditionView> {
  const {object} = await watchUntil(client, address(name), timeoutMs, (item) => holds(item, ENFORCED, 'False') && enforced(item)?.reason === reason);
  const condition = enforced(object);
  if (condition === undefined) throw new Error('the condition went away');
  return condition;
}

async function kubectlWait(name: string, seconds: number): Promise<string> {
  return lab.kubectl(['wait', '--for=condition=stentor.io/Enforced', `cnp/${name}`, `--timeout=${seconds}s`]).then(() => 'met', (error: unknown) => String(error));
}

/** To deathstar. */
const to = (from: string, allowed: boolean, port = 80): Expectation => expectTcp(lab.pod(from), lab.pod('deathstar'), port, allowed);

async function verdicts(...expectations: readonly Expectation[]): Promise<void> {
  const {ok, value} = await judge(expectations);
  expect(ok ? 'as expected' : value).toBe('as expected');
}

function victimPid(): number {
  return lab.stentor.agent(VICTIM)?.pid ?? -1;
}

describe('a policy with more entries than a policy map takes', () => {
  test('Enforced says on which node how many are left out; nothing is let through, and a smaller one heals it', async () => {
    // 42,000 entries: ports that no prefix covers together, from prefixes that no other covers.
    const fromCIDR = Array.from({length: 1050}, (_, i) => `198.${18 + (i >> 9)}.${(i >> 1) & 255}.${(i & 1) * 128}/25`);
    const ports = Array.from({length: 40}, (_, i) => ({port: String(2001 + 2 * i), protocol: 'TCP'}));
    const large = (cidrs: readonly string[]): string => JSON.stringify({
      apiVersion: 'cilium.io/v2', kind: 'CiliumNetworkPolicy', metadata: {name: 'too-large', namespace: 'default'},
      spec: {endpointSelector: {matchLabels: {class: 'deathstar'}}, ingress: [{fromCIDR: cidrs, toPorts: [{ports}]}]},
    });
    await lab.objects.apply(large(fromCIDR));
    const condition = await refused('too-large', 'ApplyFailed', 60_000);
    expect(condition.message).toContain(`${VICTIM}: policy `);
    expect(condition.message).toMatch(/POLICY_MAP_FULL \d+ entries do not fit into the policy map/);
    await verdicts(to('tiefighter', false), to('xwing', false), to('ywing', false));

    await lab.objects.apply(large(fromCIDR.slice(0, 10)));
    await watchEnforced(client, address('too-large'), 60_000);
    await verdicts(to('tiefighter', false), to('xwing', false));
    await remove('too-large');
  }, 3 * MINUTE);
});

describe('a node whose map writes fail', () => {
  test('Enforced names node and object; the old policy stays in force; others are not touched; it heals by itself', async () => {
    await lab.objects.apply(lab.manifest('overview/l3-l4-policy.yaml'));
    // The control: without the fault the same node acknowledges.
    await watchEnforced(client, address('rule1'));
    await verdicts(to('tiefighter', true), to('tiefighter', false, 81), to('xwing', false), to('ywing', false));

    fault = await BpfFault.start(victimPid(), 'ENOSPC', lab.run);
    await apply('let-alliance-in', {class: 'deathstar'}, {org: 'alliance'});
    const condition = await refused('let-alliance-in', 'ApplyFailed');
    const identity = (await lab.kubectl(['get', 'ciliumendpoint', 'deathstar', '-o', 'jsonpath={.status.identity.id}'])).trim();
    expect(condition.message).toContain(VICTIM);
    expect(condition.message).toContain(`policy ${identity}`);
    expect(condition.message).toContain('ENOSPC');
    for (const node of NODES) if (node.name !== VICTIM) expect(condition.message).not.toContain(`${node.name}:`);
    expect(await kubectlWait('let-alliance-in', 2)).toMatch(/timed out/);
    expect(fault.refused.size).toBeGreaterThan(0);
    // Not wider, not narrower than what was in force before.
    await verdicts(to('tiefighter', true), to('tiefighter', false, 81), to('xwing', false), to('ywing', false));

    // Another node, another policy.
    await apply('tiefighter-only-xwing', {class: 'tiefighter'}, {class: 'xwing'});
    await watchEnforced(client, address('tiefighter-only-xwing'));
    await verdicts(
      expectTcp(lab.pod('xwing'), lab.pod('tiefighter'), 80, true), expectTcp(lab.pod('myservice'), lab.pod('tiefighter'), 80, false),
      to('tiefighter', true), to('xwing', false),
    );

    await fault.stop();
    fault = null;
    await watchEnforced(client, address('let-alliance-in'), 60_000);
    await watchEnforced(client, address('rule1'));
    await verdicts(to('tiefighter', true), to('xwing', true), to('ywing', true), to('myservice', false));
    expect(await kubectlWait('let-alliance-in', 10)).toBe('met');
    await remove('rule1', 'let-alliance-in', 'tiefighter-only-xwing');
  }, 3 * MINUTE);

  test('a pod that starts meanwhile has no network, and gets it when the fault ends', async () => {
    await lab.objects.apply(lab.manifest('overview/l3-l4-policy.yaml'));
    await watchEnforced(client, address('rule1'));
    fault = await BpfFault.start(victimPid(), 'ENOMEM', lab.run);
    await lab.objects.apply(JSON.stringify({
      apiVersion: 'v1', kind: 'Pod', metadata: {name: 'late', namespace: 'default', labels: {org: 'alliance', class: 'late'}},
      spec: {nodeName: VICTIM, terminationGracePeriodSeconds: 1, containers: [{name: 'late', image: 'lab/echo'}]},
    }));
    const waiting = await until('the CNI plugin has answered', {timeoutMs: 40_000}, () => {
      const text = lab.kubelets.get(VICTIM)?.pods.get('default/late')?.waiting ?? '';
      return text.startsWith('CNI ADD') ? text : null;
    });
    expect(waiting).toMatch(/ENOMEM/);
    expect(await lab.kubectl(['get', 'pod', 'late', '-o', 'jsonpath={.status.phase} {.status.podIP}'])).toBe('Pending ');
    await verdicts(to('tiefighter', true), to('ywing', false));
    await fault.stop();
    fault = null;
    await lab.podsReady(['class', 'late'], 1, 90_000);
    await verdicts(to('late', false), expectTcp(lab.pod('late'), lab.pod('ywing'), 80, true));
    await lab.objects.delete({kind: 'pod', namespace: 'default', name: 'late'});
    await remove('rule1');
  }, 3 * MINUTE);
});

describe('a node that does not answer', () => {
  test.each([
    ['is killed', 'SIGKILL', 30_000],
    ['hangs', 'SIGSTOP', 60_000],
  ] as const)('the agent %s: NodesUnreachable 1/4, then True', async (_what, signal, timeoutMs) => {
    if (signal === 'SIGKILL') await lab.stentor.killAgent(VICTIM);
    else lab.stentor.agent(VICTIM)?.signal(signal);
    await apply('everyone', {}, {org: 'empire'});
    // Its packets go on; and a policy of other nodes does not wait for it.
    await verdicts(to('xwing', true), to('ywing', true));
    await apply('tiefighter-only-xwing', {class: 'tiefighter'}, {class: 'xwing'});
    await watchEnforced(client, address('tiefighter-only-xwing'));
    expect(await refused('everyone', 'NodesUnreachable', timeoutMs)).toMatchObject({message: `1/${NODES.length}: ${VICTIM}`});
    expect(await kubectlWait('everyone', 1)).toMatch(/timed out/);

    if (signal === 'SIGKILL') {
      await lab.stentor.startAgent(VICTIM);
      await lab.stentor.agentReady(VICTIM);
    } else {
      lab.stentor.agent(VICTIM)?.signal('SIGCONT');
    }
    await watchEnforced(client, address('everyone'), 60_000);
    await verdicts(to('tiefighter', true), to('xwing', false), to('ywing', false));
    await remove('everyone', 'tiefighter-only-xwing');
  }, 3 * MINUTE);
});
