// The kernel alone, for comparison: a bare veth pair, routed namespaces behind two nodes, the same through the kernel's own VXLAN.

import {connect, Netns} from '../harness/netns.js';
import type {Lab} from '../harness/lab.js';
import type {NodeSpec} from '../harness/topology.js';
import type {Path} from './round-trip.js';

const VXLAN_PORT = 14_789;

/** Two namespaces, one veth pair. */
export async function bareVeth(lab: Lab): Promise<Path> {
  const [a, b] = [await Netns.create(lab.run, 'bare-a'), await Netns.create(lab.run, 'bare-b')];
  await connect(a, 'eth0', b, 'eth0');
  await a.ip(['addr add 192.168.77.1/24 dev eth0']);
  await b.ip(['addr add 192.168.77.2/24 dev eth0']);
  return {client: {netnsPath: a.path}, server: {netnsPath: b.path}, address: '192.168.77.2'};
}

export interface NodePair {
  readonly from: NodeSpec;
  readonly to: NodeSpec;
}

/** A namespace behind each node, forwarded by the kernel; between the nodes the same way through the leaf as the pods' packets. */
export async function kernelRouting(lab: Lab, pair: NodePair): Promise<Path> {
  const path = await behindNodes(lab, pair, {tag: 'plain', net: 101});
  const leaf = lab.fabric.router(pair.from.leaf);
  await leaf.netns.ip([`route add 10.101.0.0/24 via ${pair.from.address}`, `route add 10.101.1.0/24 via ${pair.to.address}`]);
  return path;
}

/** The same with a VXLAN device of the kernel between the nodes. */
export async function kernelVxlan(lab: Lab, pair: NodePair): Promise<Path> {
  const path = await behindNodes(lab, pair, {tag: 'tunnel', net: 102});
  for (const [local, remote, index] of [[pair.from, pair.to, 0], [pair.to, pair.from, 1]] as const) {
    const node = nodeNetns(lab, local);
    await node.ip([
      `link add vxbench type vxlan id 77 dstport ${VXLAN_PORT} local ${local.address} remote ${remote.address} dev net0`,
      `addr add 192.168.78.${index + 1}/24 dev vxbench`, 'link set vxbench up', `route add 10.102.${1 - index}.0/24 via 192.168.78.${2 - index}`,
    ]);
  }
  return path;
}

async function behindNodes(lab: Lab, pair: NodePair, options: {readonly tag: string; readonly net: number}): Promise<Path> {
  const hosts: Netns[] = [];
  for (const [index, spec] of [pair.from, pair.to].entries()) {
    const node = nodeNetns(lab, spec);
    const host = await Netns.create(lab.run, `${options.tag}-${index}`);
    const device = `${options.tag}0`;
    await connect(host, 'eth0', node, device);
    await node.ip([`addr add 10.${options.net}.${index}.1/24 dev ${device}`]);
    await host.ip([`addr add 10.${options.net}.${index}.2/24 dev eth0`, `route add default via 10.${options.net}.${index}.1`]);
    hosts.push(host);
  }
  const [client, server] = hosts;
  if (client === undefined || server === undefined) throw new Error('no hosts');
  return {client: {netnsPath: client.path}, server: {netnsPath: server.path}, address: `10.${options.net}.1.2`};
}

function nodeNetns(lab: Lab, spec: NodeSpec): Netns {
  const netns = lab.fabric.nodes.get(spec.name);
  if (netns === undefined) throw new Error(`the lab has no node ${spec.name}`);
  return netns;
}
