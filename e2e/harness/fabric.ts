// The fabric: routers, the racks' switches, the nodes' namespaces and the two stub hosts, wired and running BGP.

import {connect, Netns, ROUTER_SYSCTLS} from './netns.js';
import {BirdRouter} from './router-bird.js';
import {FrrRouter} from './router-frr.js';
import {kernelRoutes, type Router} from './router.js';
import type {RunDirectory} from './run-dir.js';
import {until} from './shell.js';
import {addresses6, ROUTERS6, routes6} from './topology6.js';
import {LEAVES, LINKS, NODES, SPINES, STUBS, WORLD_ADDRESSES, type NodeSpec, type RouterSpec} from './topology.js';

export interface FabricOptions {
  readonly leaf: 'bird' | 'frr';
  /** Null: no IPv6 anywhere. */
  readonly ipv6: {readonly podRoutes: boolean} | null;
}

export interface Fabric {
  readonly leaves: readonly Router[];
  readonly spines: readonly Router[];
  readonly ctl: Netns;
  readonly ext: Netns;
  /** By node name. */
  readonly nodes: ReadonlyMap<string, Netns>;
  router(name: string): Router;
}

export async function buildFabric(options: FabricOptions, run: RunDirectory): Promise<Fabric> {
  const names = [...SPINES, ...LEAVES, ...STUBS, ...NODES].map((item) => item.name);
  const all = new Map<string, Netns>();
  for (const name of names) all.set(name, await Netns.create(run, name));
  const netns = (name: string): Netns => lookUp(all, name);

  await Promise.all([...SPINES, ...LEAVES].map((router) => netns(router.name).sysctl(ROUTER_SYSCTLS)));
  for (const link of LINKS) {
    await connect(netns(link.a), link.aDevice, netns(link.b), link.bDevice);
    await netns(link.a).ip([`addr add ${link.aAddress} dev ${link.aDevice}`]);
    await netns(link.b).ip([`addr add ${link.bAddress} dev ${link.bDevice}`]);
  }
  for (const stub of STUBS) await netns(stub.name).ip([`route add default via ${stub.gateway}`]);
  await netns('ext').ip(WORLD_ADDRESSES.map((address) => `addr add ${address}/32 dev lo`));
  for (const leaf of LEAVES) await addRackSwitch(netns(leaf.name), leaf);
  for (const node of NODES) await attachNode(netns(node.name), netns(node.leaf), node);
  if (options.ipv6 !== null) await addIpv6(netns, options.ipv6);

  const spines = SPINES.map((spec) => new BirdRouter(spec, {netns: netns(spec.name), run}));
  const leaves = LEAVES.map((spec) => options.leaf === 'frr'
    ? new FrrRouter(spec, {netns: netns(spec.name), run})
    : new BirdRouter(spec, {netns: netns(spec.name), run}));
  await Promise.all([...spines, ...leaves].map((router) => router.start()));
  const routers = new Map<string, Router>([...spines, ...leaves].map((router) => [router.spec.name, router]));
  return {
    leaves, spines, ctl: netns('ctl'), ext: netns('ext'),
    nodes: new Map(NODES.map((node) => [node.name, netns(node.name)])),
    router: (name) => lookUp(routers, name),
  };
}

/** Before it IPv6 is off in every router and node. Addresses are used at once: nobody here has one of another. */
async function addIpv6(netns: (name: string) => Netns, {podRoutes}: {readonly podRoutes: boolean}): Promise<void> {
  const hosts = [...new Set([...ROUTERS6, ...NODES.map(({name}) => name), ...STUBS.map(({name}) => name)])];
  for (const name of hosts) {
    await netns(name).sysctl({
      'net.ipv6.conf.default.accept_dad': 0, 'net.ipv6.conf.all.accept_dad': 0, 'net.ipv6.conf.default.disable_ipv6': 0, 'net.ipv6.conf.all.disable_ipv6': 0,
      'net.ipv6.conf.all.forwarding': ROUTERS6.includes(name) ? 1 : 0,
    });
  }
  for (const {host, device, address} of addresses6()) await netns(host).ip([`addr add ${address} dev ${device} nodad`]);
  for (const {host, prefix, via} of routes6(podRoutes)) await netns(host).ip([`route add ${prefix} via ${via}`]);
}

/** Resolves with the number of sessions when every leaf has both spines, the other rack over two next hops and the stubs in its kernel. */
export async function fabricEstablished(fabric: Fabric, timeoutMs: number): Promise<number> {
  return until('BGP between leaves and spines', {timeoutMs, intervalMs: 100}, async () => {
    const sessions = (await Promise.all(fabric.leaves.map((leaf) => leaf.sessions()))).flat().filter((session) => !session.node);
    const routed = await Promise.all(fabric.leaves.map(async (leaf) => {
      const routes = await kernelRoutes(leaf.netns);
      const others = LEAVES.filter((other) => other.name !== leaf.spec.name).flatMap((other) => other.networks);
      return others.every((prefix) => routes.some((route) => route.prefix === prefix && route.nextHops.length === 2))
        && STUBS.every((stub) => routes.some((route) => route.prefix === stub.gateway.replace(/\.1$/, '.0/24')));
    }));
    return sessions.every((session) => session.established) && routed.every(Boolean) ? sessions.length : null;
  });
}

/** The switch of a rack is a bridge in its leaf; the leaf's address on it is the nodes' gateway. */
async function addRackSwitch(netns: Netns, leaf: RouterSpec): Promise<void> {
  await netns.ip(['link add rack-sw type bridge', 'link set rack-sw up', `addr add ${leaf.routerId}/24 dev rack-sw`]);
}

async function attachNode(node: Netns, leaf: Netns, spec: NodeSpec): Promise<void> {
  const port = `to-${spec.address.split('.')[3] ?? ''}`;
  // A Kubernetes node forwards packets; kubeadm asks for it before the network plugin comes.
  await node.sysctl({'net.ipv4.ip_forward': 1, 'net.ipv6.conf.all.disable_ipv6': 1, 'net.ipv6.conf.default.disable_ipv6': 1});
  await connect(node, 'net0', leaf, port);
  await leaf.ip([`link set ${port} master rack-sw`]);
  await node.ip([`addr add ${spec.address}/24 dev net0`, `route add default via ${spec.gateway}`]);
}

function lookUp<T>(all: ReadonlyMap<string, T>, name: string): T {
  const found = all.get(name);
  if (found === undefined) throw new Error(`the lab has no ${name}`);
  return found;
}
