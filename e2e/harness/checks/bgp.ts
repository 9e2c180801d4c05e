// BGP: sessions of the fabric and of the nodes, the prefixes in the leaves' kernels, and what a change of a node's label does to them.

import type {Lab} from '../lab.js';
import {kernelRoutes, type BgpSession, type Router} from '../router.js';
import {RouteWatch} from '../route-watch.js';
import {nowMs, until} from '../shell.js';
import {NODES, type NodeSpec} from '../topology.js';
import {check, ms, share, type CheckLine} from './check.js';

const SESSION_LIMIT_MS = 5_000;
const WITHDRAW_LIMIT_MS = 3_000;

async function leafSessions(lab: Lab): Promise<readonly BgpSession[]> {
  return (await Promise.all(lab.fabric.leaves.map((leaf) => leaf.sessions()))).flat();
}

export function fabricSessions(lab: Lab): Promise<CheckLine> {
  return check('fabric BGP sessions (leaf–spine) established', async () => {
    const sessions = (await leafSessions(lab)).filter((session) => !session.node);
    return share(sessions.filter((session) => session.established).length, 4);
  });
}

/** Applies the article's two policies, unchanged. */
export async function applyPeering(lab: Lab): Promise<number> {
  const started = nowMs();
  await lab.objects.apply(lab.manifest('bgp-lab/peering-policies.yaml'));
  return started;
}

/** `appliedMs`: when the policies were applied; null = long ago, then only the state counts. */
export function nodeSessions(lab: Lab, appliedMs: number | null): Promise<CheckLine> {
  return check('node BGP sessions (node–leaf) established', async () => {
    const countUp = async (): Promise<number> => (await leafSessions(lab)).filter((session) => session.node && session.established).length;
    if (appliedMs === null) return share(await countUp(), NODES.length);
    await until('four sessions', {timeoutMs: Math.max(0, appliedMs + 3 * SESSION_LIMIT_MS - nowMs())}, async () => await countUp() === NODES.length ? true : null)
      .catch(() => undefined);
    const tookMs = nowMs() - appliedMs;
    const {ok, value} = share(await countUp(), NODES.length);
    return {ok: ok && tookMs <= SESSION_LIMIT_MS, value: `${value}, ${ms(tookMs)} after apply`};
  });
}

/** Every leaf reaches its own nodes' PodCIDRs directly and the other rack's over both spines: asked of the kernel. */
export function leafRoutes(lab: Lab, timeoutMs = 5_000): Promise<CheckLine> {
  return check('leaves route every PodCIDR: own rack 1 next hop, other rack 2', async () => {
    let problems: readonly string[] = [];
    await until('routes', {timeoutMs, intervalMs: 100}, async () => {
      problems = (await Promise.all(lab.fabric.leaves.map((leaf) => routeProblems(lab, leaf)))).flat();
      return problems.length === 0 ? true : null;
    }).catch(() => undefined);
    const own = await kernelRoutes(lab.fabric.router('leaf0').netns);
    const text = NODES.map((node) => {
      const hops = own.find((route) => route.prefix === lab.podCidr(node.name))?.nextHops ?? [];
      return `${lab.podCidr(node.name).replace('10.98.', '.').replace('.0/24', '')}→${hops.length}`;
    });
    return {ok: problems.length === 0, value: problems.length === 0 ? `leaf0: ${text.join(' ')}` : problems.join('; ')};
  });
}

async function routeProblems(lab: Lab, leaf: Router): Promise<readonly string[]> {
  const routes = await kernelRoutes(leaf.netns);
  return NODES.flatMap((node) => {
    const prefix = lab.podCidr(node.name);
    const hops = routes.find((route) => route.prefix === prefix)?.nextHops ?? [];
    const good = node.leaf === leaf.spec.name ? hops.length === 1 && hops[0] === node.address : hops.length === 2;
    return good ? [] : [`${leaf.spec.name}: ${prefix} via [${hops.join(', ')}]`];
  });
}

/** Moves a node to the other rack by its label, looks, and moves it back. */
export async function relabel(lab: Lab, node: NodeSpec = nodeAt(1)): Promise<readonly CheckLine[]> {
  const other = node.rack === 'rack0' ? 'rack1' : 'rack0';
  const name = {kind: 'node', namespace: null, name: node.name};
  const leaf = lab.fabric.router(node.leaf);
  const prefix = lab.podCidr(node.name);
  const watches = await Promise.all([...lab.fabric.leaves, ...lab.fabric.spines].map((router) => RouteWatch.start(router.netns)));
  try {
    const started = nowMs();
    await lab.objects.label(name, {rack: other});
    const withdrawn = await check(`relabel ${node.name} to ${other}: session down, prefix withdrawn`, async () => {
      const tookMs = await until('withdrawal', {timeoutMs: 3 * WITHDRAW_LIMIT_MS, intervalMs: 20}, async () => {
        const gone = (await kernelRoutes(leaf.netns)).every((route) => route.prefix !== prefix);
        const session = (await leaf.sessions()).find((item) => item.neighbour === node.address);
        return gone && session?.established === false ? nowMs() - started : null;
      });
      return {ok: tookMs < WITHDRAW_LIMIT_MS, value: ms(tookMs)};
    });
    const others = await check('relabel: routes of other nodes untouched', async () => {
      const touched = watches.flatMap((watch) => watch.changes()).filter((change) => NODES.some((item) => item.name !== node.name && change.prefix === lab.podCidr(item.name)));
      const up = (await leafSessions(lab)).filter((session) => session.node && session.established).length;
      return {ok: touched.length === 0 && up === NODES.length - 1, value: `${touched.length} route changes, ${up} other sessions up`};
    });
    return [withdrawn, others];
  } finally {
    for (const watch of watches) watch.stop();
    await lab.objects.label(name, {rack: node.rack});
    await until('the node is back', {timeoutMs: 20_000, intervalMs: 100}, async () =>
      (await Promise.all(lab.fabric.leaves.map((item) => routeProblems(lab, item)))).flat().length === 0 ? true : null).catch(() => undefined);
  }
}

function nodeAt(index: number): NodeSpec {
  const node = NODES[index];
  if (node === undefined) throw new Error(`the lab has no node number ${index}`);
  return node;
}
