// CiliumBGPPeeringPolicies that contend for a node, hand over, and change what they announce: seen in the leaf's kernel and in its sessions.

import {afterAll, beforeAll, expect, test} from '@jest/globals';
import * as bgp from '../harness/checks/bgp.js';
import {Lab} from '../harness/lab.js';
import {BirdRouter} from '../harness/router-bird.js';
import {kernelRoutes} from '../harness/router.js';
import {RouteWatch} from '../harness/route-watch.js';
import {RunDirectory} from '../harness/run-dir.js';
import {nowMs, until} from '../harness/shell.js';
import {NODES} from '../harness/topology.js';
import {getJson} from '../harness/unix-http.js';

const MINUTE = 60_000;
const WITHDRAW_LIMIT_MS = 3_000;
/** Of rack0; both policies select it. */
const NODE = 'cilium-bgp-worker';
const NODE_ADDRESS = '10.1.5.11';
let lab: Lab;

beforeAll(async () => {
  lab = await Lab.start({api: 'real', leaf: 'bird', routingMode: 'native'}, RunDirectory.create('b'), () => undefined);
  await bgp.applyPeering(lab);
  expect(await bgp.leafRoutes(lab, 20_000)).toMatchObject({verdict: 'ok'});
}, 2 * MINUTE);

afterAll(async () => {
  expect(await lab.stop()).toEqual([]);
}, MINUTE);

async function applyContender(spec: {readonly exportPodCIDR: boolean; readonly peerAddress: string}): Promise<void> {
  await lab.objects.apply(JSON.stringify({
    apiVersion: 'cilium.io/v2alpha1', kind: 'CiliumBGPPeeringPolicy', metadata: {name: 'contender'},
    spec: {
      nodeSelector: {matchLabels: {'kubernetes.io/hostname': NODE}},
      virtualRouters: [{localASN: 65005, exportPodCIDR: spec.exportPodCIDR, neighbors: [{peerAddress: spec.peerAddress, peerASN: 65005}]}],
    },
  }));
}

async function conflictEvents(policy: string): Promise<readonly string[]> {
  const text = await lab.kubectl([
    'get', 'events', '-n', 'default', '--field-selector', `involvedObject.kind=CiliumBGPPeeringPolicy,involvedObject.name=${policy},reason=BGPPolicyConflict`,
    '-o', 'jsonpath={range .items[*]}{.type} {.message}{"\\n"}{end}',
  ]);
  return text.split('\n').filter((line) => line !== '');
}

/** BIRD's state and the time since when it holds, by the node's address. */
async function leafSessions(): Promise<ReadonlyMap<string, string>> {
  const leaf = lab.fabric.router('leaf0');
  if (!(leaf instanceof BirdRouter)) throw new Error('leaf0 is not run by BIRD');
  const lines = (await leaf.birdc('show protocols')).split('\n').map((line) => line.trim().split(/\s+/));
  return new Map(leaf.spec.neighbours.map(({name, address}) => {
    const fields = lines.find(([protocol]) => protocol === name) ?? [];
    return [address, `${fields.slice(5).join(' ')} since ${fields[4] ?? ''}`];
  }));
}

async function nodeSession(): Promise<ReadonlyMap<string, string>> {
  return new Map([...await leafSessions()].filter(([address]) => address === NODE_ADDRESS));
}

/** BIRD derives the time of day anew for each answer: the same moment may differ by a millisecond. A new session differs by far more. */
function moments(sessions: ReadonlyMap<string, string>): readonly {readonly address: string; readonly state: string; readonly sinceMs: number}[] {
  return [...sessions].map(([address, text]) => {
    const [state = '', clock = ''] = text.split(' since ');
    const [hours = 0, minutes = 0, seconds = 0] = clock.split(':').map(Number);
    return {address, state, sinceMs: ((hours * 60 + minutes) * 60 + seconds) * 1_000};
  });
}

function expectSameSessions(now: ReadonlyMap<string, string>, before: ReadonlyMap<string, string>): void {
  const earlier = moments(before);
  expect(earlier).not.toEqual([]);
  expect(moments(now)).toEqual(earlier.map(({address, state}) => ({address, state, sinceMs: expect.any(Number)})));
  for (const [i, {sinceMs}] of moments(now).entries()) expect(Math.abs(sinceMs - (earlier[i]?.sinceMs ?? Number.NaN))).toBeLessThan(50);
}

async function isRouted(node: string): Promise<boolean> {
  return (await kernelRoutes(lab.fabric.router('leaf0').netns)).some((route) => route.prefix === lab.podCidr(node));
}

/** Milliseconds until leaf0's kernel has, or has no longer, the node's prefix. */
async function routed(node: string, wanted: boolean, timeoutMs: number): Promise<number> {
  const started = nowMs();
  await until(`${lab.podCidr(node)} is ${wanted ? 'there' : 'gone'}`, {timeoutMs, intervalMs: 20}, async () => await isRouted(node) === wanted ? true : null);
  return nowMs() - started;
}

interface Peer {
  readonly address: string;
  readonly session: string;
  readonly localAsn: number;
}

function peers(node: string): Promise<readonly Peer[]> {
  return getJson<readonly Peer[]>(lab.stentor.agentSocket(node), '/v1/bgp/peers');
}

/** Ages of objects count in whole seconds. */
async function aSecondAfter(policy: string): Promise<void> {
  const created = Date.parse(await lab.kubectl(['get', 'ciliumbgppeeringpolicy', policy, '-o', 'jsonpath={.metadata.creationTimestamp}']));
  await until('a later second', {timeoutMs: 5_000}, () => Date.now() > created + 1_000 ? true : null);
}

test('two policies select a node: the older stays, without a change of session or route, and both say so', async () => {
  await aSecondAfter('rack0');
  const before = await leafSessions();
  expect(before.get(NODE_ADDRESS)).toMatch(/^Established/);
  const watches = await Promise.all([...lab.fabric.leaves, ...lab.fabric.spines].map((router) => RouteWatch.start(router.netns)));
  try {
    await applyContender({exportPodCIDR: false, peerAddress: '10.1.5.1/24'});
    for (const policy of ['rack0', 'contender']) {
      const [event = ''] = await until(`an Event on ${policy}`, {timeoutMs: 10_000}, async () => (await conflictEvents(policy)).length > 0 ? conflictEvents(policy) : null);
      expect(event).toMatch(/^Warning /);
      expect(event).toContain(NODE);
      expect(event).toMatch(/oldest, .*rack0, is in force/);
    }
    // Nothing but this node is contended.
    expect((await conflictEvents('rack0')).length).toBe(1);
    expect(await conflictEvents('rack1')).toEqual([]);
    expectSameSessions(await leafSessions(), before);
    expect(watches.flatMap((watch) => watch.changes())).toEqual([]);
    expect(await bgp.leafRoutes(lab, 500)).toMatchObject({verdict: 'ok'});
  } finally {
    for (const watch of watches) watch.stop();
  }
}, MINUTE);

test('removing the older hands over, and only where it was in force', async () => {
  const rack1 = RouteWatch.start(lab.fabric.router('leaf1').netns);
  await lab.objects.delete({kind: 'ciliumbgppeeringpolicy', namespace: null, name: 'rack0'});
  // The contender keeps the session and exports nothing; the other node of the rack has no policy any more.
  expect(await routed(NODE, false, 3 * WITHDRAW_LIMIT_MS)).toBeLessThan(WITHDRAW_LIMIT_MS);
  expect(await routed('cilium-bgp-control-plane', false, 3 * WITHDRAW_LIMIT_MS)).toBeLessThan(WITHDRAW_LIMIT_MS);
  await until('the other session ends', {timeoutMs: 10_000}, async () => (await leafSessions()).get('10.1.5.10')?.startsWith('Established') === false ? true : null);
  await until('the session of the contender', {timeoutMs: 10_000}, async () => (await leafSessions()).get(NODE_ADDRESS)?.startsWith('Established') === true ? true : null);
  await until('the agent has no peer', {timeoutMs: 5_000}, async () => (await peers('cilium-bgp-control-plane')).length === 0 ? true : null);
  const watch = await rack1;
  const ownRack = new Set(NODES.filter(({rack}) => rack === 'rack1').map(({name}) => lab.podCidr(name)));
  expect(watch.changes().filter(({prefix}) => ownRack.has(prefix))).toEqual([]);
  watch.stop();
}, MINUTE);

test('exportPodCIDR on and off: announced and withdrawn, the session stays; 10.1.5.1/24 is the peer 10.1.5.1', async () => {
  const before = await nodeSession();
  await applyContender({exportPodCIDR: true, peerAddress: '10.1.5.1/24'});
  await routed(NODE, true, 10_000);
  await applyContender({exportPodCIDR: false, peerAddress: '10.1.5.1/24'});
  expect(await routed(NODE, false, 3 * WITHDRAW_LIMIT_MS)).toBeLessThan(WITHDRAW_LIMIT_MS);
  // The same peer in another form is no other peer.
  await applyContender({exportPodCIDR: true, peerAddress: '10.1.5.1/32'});
  await routed(NODE, true, 10_000);
  expectSameSessions(await nodeSession(), before);
  expect(await peers(NODE)).toMatchObject([{address: '10.1.5.1', session: 'established', localAsn: 65005}]);
}, MINUTE);

test('the older policy comes back as the newer one: it waits, also after the operator was started anew', async () => {
  await aSecondAfter('contender');
  await lab.objects.apply(lab.manifest('bgp-lab/peering-policies.yaml'));
  await routed('cilium-bgp-control-plane', true, 20_000);
  const before = await nodeSession();
  await applyContender({exportPodCIDR: false, peerAddress: '10.1.5.1/24'});
  await routed(NODE, false, 3 * WITHDRAW_LIMIT_MS);
  await lab.stentor.killOperator();
  await lab.stentor.startOperator();
  await Promise.all(NODES.map(({name}) => lab.stentor.agentReady(name)));
  // Still the contender: were it rack0, the prefix would be announced.
  expect(await isRouted(NODE)).toBe(false);
  expectSameSessions(await nodeSession(), before);
  await lab.objects.delete({kind: 'ciliumbgppeeringpolicy', namespace: null, name: 'contender'});
  await routed(NODE, true, 10_000);
  expect(await bgp.leafRoutes(lab, 10_000)).toMatchObject({verdict: 'ok'});
}, 2 * MINUTE);
