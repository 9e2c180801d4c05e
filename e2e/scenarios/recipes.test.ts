// The recipes, one after the other: what every packet between nine pods in three namespaces, nodes, the API server and the world does is what
// `stentorctl policy verdict` says, within a second of the change; and what is blocked is silent.

import {readFileSync, writeFileSync} from 'node:fs';
import {afterAll, beforeAll, describe, expect, test} from '@jest/globals';
import {checkManifests} from '../../cli/policy/check.js';
import {DEFAULT_SETTINGS} from '../../cli/policy/settings.js';
import {readManifests} from '../../cli/policy/sources.js';
import * as bgp from '../harness/checks/bgp.js';
import {addressEnd, expectations, flowsBetween, observe, podEnd, type End, type Flow, type Observation} from '../harness/checks/truth-table.js';
import {Lab, type LabPod} from '../harness/lab.js';
import {PolicyChanges} from '../harness/policy-changes.js';
import {policyOracle} from '../harness/policy-oracle.js';
import {RunDirectory} from '../harness/run-dir.js';
import {must, until} from '../harness/shell.js';
import {API_ADDRESS, API_PORT, EXT_ADDRESS, NODES} from '../harness/topology.js';
import {forgottenManifests, readRecipes, recipesPage, RECIPES_CLUSTER, RECIPES_PAGE, type Recipe} from './recipes.js';

const MINUTE = 60_000;
const LIMIT_MS = 1_000;
const PODS = 9;
const POD_SERVES = ['TCP/53', 'TCP/8080', 'UDP/53', 'UDP/8080', 'ICMP/8'];
const RECIPES = readRecipes();

test('docs/recipes.md shows every manifest as it is', () => {
  expect(forgottenManifests()).toEqual([]);
  if (process.env['UPDATE'] !== undefined) writeFileSync(RECIPES_PAGE, recipesPage());
  expect(readFileSync(RECIPES_PAGE, 'utf8')).toBe(recipesPage());
});

test('stentorctl policy validate finds nothing in them', async () => {
  for (const {path} of RECIPES) {
    const {objects, findings} = checkManifests(await readManifests([RECIPES_CLUSTER, path]), DEFAULT_SETTINGS);
    expect(findings).toEqual([]);
    expect(objects.length).toBeGreaterThan(0);
  }
});

describe('in the lab', () => {
  let lab: Lab;
  let changes: PolicyChanges;
  let flows: readonly Flow[];
  const rows: (readonly string[])[] = [];

  beforeAll(async () => {
    lab = await Lab.start({api: 'real', leaf: 'bird', routingMode: 'native'}, RunDirectory.create('r'), () => undefined);
    await lab.objects.apply(lab.manifest('recipes/cluster/namespaces.yaml'));
    for (const namespace of ['shop', 'edge', 'kube-system']) {
      await until('the namespace has its ServiceAccount', {timeoutMs: 20_000}, () => lab.kubectl(['get', 'serviceaccount', 'default', '-n', namespace]));
    }
    await lab.objects.apply(lab.manifest('recipes/cluster/pods.yaml'));
    await bgp.applyPeering(lab);
    const pods = await lab.podsReady(['example', 'recipes'], PODS);
    expect(await bgp.leafRoutes(lab, 20_000)).toMatchObject({verdict: 'ok'});
    flows = flowsBetween([...pods.map((pod) => podEnd(pod, POD_SERVES)), ...outside(lab)]);
    expect(flows.filter(isBetweenPods)).toHaveLength(PODS * (PODS - 1) * POD_SERVES.length);
    changes = await PolicyChanges.start(lab);
    await until('everything passes', {timeoutMs: 20_000}, async () => {
      const {differences} = await open();
      if (differences.length > 0) throw new Error(JSON.stringify(differences.slice(0, 5)));
      return true;
    });
  }, 3 * MINUTE);

  afterAll(async () => {
    process.stdout.write(tableText([['recipe', 'allowed', 'denied', 'of pods', 'in force', 'gone', 'slowest', 'verdict'], ...rows]));
    await changes?.stop();
    expect(await lab?.stop()).toEqual([]);
  }, MINUTE);

  /** Without a policy everything passes: the state between two recipes, and the control of what is blocked by them. */
  function open(): Promise<Observation> {
    return observe(flows, new Map(flows.map(({text}) => [text, true])));
  }

  async function verdicts(): Promise<ReadonlyMap<string, boolean>> {
    return expectations(flows, await policyOracle(lab));
  }

  async function withRecipe<T>(name: string, work: () => Promise<T>): Promise<T> {
    const recipe = RECIPES.find((item) => item.name === name);
    if (recipe === undefined) throw new Error(`no recipe ${name}`);
    await changes.apply(recipe.objects);
    try {
      return await work();
    } finally {
      await changes.remove(recipe.objects);
    }
  }

  test.each(RECIPES.map((recipe) => [recipe.name, recipe] as const))('%s', async (_name, recipe) => {
    const inForceMs = await changes.apply(recipe.objects);
    const expected = await verdicts();
    const seen = await observe(flows, expected);
    const goneMs = await changes.remove(recipe.objects);
    const after = await open();
    const isOk = seen.differences.length + after.differences.length === 0;
    rows.push(rowOf(recipe, {expected, flows, inForceMs, goneMs, seen, isOk}));

    expect(byHand(recipe, expected)).toEqual({allowed: [], denied: []});
    expect(seen.differences).toEqual([]);
    expect(after.differences).toEqual([]);
    // A lost packet is tolerated, and told.
    expect(seen.late.length + after.late.length).toBeLessThan(flows.length / 50);
    expect(inForceMs).toBeLessThanOrEqual(LIMIT_MS);
    expect(goneMs).toBeLessThanOrEqual(LIMIT_MS);
  }, MINUTE);

  test('control: a cell that is expected otherwise turns the table red, whichever way', async () => {
    await withRecipe('tiers', async () => {
      const expected = await verdicts();
      const flipped = (text: string): ReadonlyMap<string, boolean> => new Map([...expected, [text, expected.get(text) !== true]]);
      const [allowed, denied] = ['shop/frontend -> shop/api TCP/8080', 'shop/frontend -> shop/db TCP/53'] as const;
      expect((await observe(flows, flipped(allowed))).differences).toEqual([{flow: allowed, expected: 'timeout', seen: 'ok'}]);
      expect((await observe(flows, flipped(denied))).differences).toEqual([{flow: denied, expected: 'ok', seen: 'timeout'}]);
    });
  }, MINUTE);

  test('control: a pod that loses its program turns the table red, and a new agent mends it', async () => {
    const pod = lab.pod('frontend', 'shop');
    await withRecipe('deny-all-egress', async () => {
      const expected = await verdicts();
      // Stopped, so that it does not mend it.
      lab.stentor.agent(pod.node)?.signal('SIGSTOP');
      await must(['tc', 'filter', 'del', 'dev', await hostDevice(lab, pod), 'ingress'], {netns: lab.node(pod.node).netnsPath});
      const {differences} = await observe(flows, expected);
      await lab.stentor.killAgent(pod.node);
      await lab.stentor.startAgent(pod.node);
      await lab.stentor.agentReady(pod.node);
      expect(differences.filter(({flow}) => !flow.startsWith('shop/frontend ->'))).toEqual([]);
      expect(differences.filter(({seen}) => seen === 'ok').length).toBeGreaterThan(PODS);
      await until('the table is as it was', {timeoutMs: 20_000}, async () => (await observe(flows, expected)).differences.length === 0 ? true : null);
    });
    expect((await open()).differences).toEqual([]);
  }, 2 * MINUTE);
});

/** Nodes are the host of their own pods and remote to the others; of a node only what it answers itself: pings. Addresses on both sides of the recipes' prefixes. */
function outside(lab: Lab): readonly End[] {
  const nodes = ([['node1', 1], ['node3', 3]] as const).map(([text, index]) => {
    const spec = NODES[index];
    if (spec === undefined) throw new Error(`the lab has no ${index + 1} nodes`);
    return addressEnd(text, spec.address, {place: lab.node(spec.name), serves: ['ICMP/8']});
  });
  return [
    ...nodes,
    addressEnd('apiserver', API_ADDRESS, {serves: [`TCP/${API_PORT}`], speaks: false}),
    addressEnd('world', EXT_ADDRESS, {place: lab.ext, serves: POD_SERVES}),
    ...['20.1.1.1', '20.1.1.2', '10.96.0.1', '10.112.0.1'].map((address) => addressEnd(address, address, {serves: ['TCP/53', 'TCP/8080']})),
  ];
}

function isBetweenPods({from, to}: Flow): boolean {
  return from.peer.kind === 'pod' && to.peer.kind === 'pod';
}

/** What the library says otherwise. */
function byHand({allowed, denied}: Recipe, expected: ReadonlyMap<string, boolean>): Pick<Recipe, 'allowed' | 'denied'> {
  return {allowed: allowed.filter((text) => expected.get(text) !== true), denied: denied.filter((text) => expected.get(text) !== false)};
}

/** The node's end of the pod's veth. */
async function hostDevice(lab: Lab, pod: LabPod): Promise<string> {
  const links = async (netns: string): Promise<readonly LinkView[]> => JSON.parse(await must(['ip', '-j', 'link', 'show'], {netns})) as LinkView[];
  const inPod = (await links(pod.netnsPath)).find(({ifname}) => ifname !== 'lo');
  const found = (await links(lab.node(pod.node).netnsPath)).find(({ifindex}) => ifindex === inPod?.link_index);
  if (found === undefined) throw new Error(`${pod.name} has no device on ${pod.node}`);
  return found.ifname;
}

interface LinkView {
  readonly ifname: string;
  readonly ifindex: number;
  readonly link_index?: number;
}

interface Run {
  readonly expected: ReadonlyMap<string, boolean>;
  readonly flows: readonly Flow[];
  readonly inForceMs: number;
  readonly goneMs: number;
  readonly seen: Observation;
  readonly isOk: boolean;
}

function rowOf(recipe: Recipe, {expected, flows, inForceMs, goneMs, seen, isOk}: Run): readonly string[] {
  const allowed = flows.filter(({text}) => expected.get(text) === true);
  const late = seen.late.length === 0 ? '' : ` (at the second attempt: ${seen.late.join(', ')})`;
  return [
    recipe.name, String(allowed.length), String(flows.length - allowed.length),
    `${allowed.filter(isBetweenPods).length}/${flows.filter(isBetweenPods).length}`,
    `${inForceMs.toFixed(0)} ms`, `${goneMs.toFixed(0)} ms`, `${seen.slowestMs.toFixed(0)} ms`, `${isOk ? 'ok' : 'DIFFERS'}${late}`,
  ];
}

function tableText(rows: readonly (readonly string[])[]): string {
  const widths = (rows[0] ?? []).map((_, i) => Math.max(...rows.map((row) => row[i]?.length ?? 0)));
  const line = (row: readonly string[]): string => row.map((cell, i) => (i === 0 || i === row.length - 1 ? cell.padEnd(widths[i] ?? 0) : cell.padStart(widths[i] ?? 0))).join('  ').trimEnd();
  return `\n${rows.map(line).join('\n')}\n\n`;
}
