// What the pods are compared with, made of plain kernel parts: two namespaces joined by a veth pair, and two shadow nodes on the switch of
// a rack, each with a namespace behind it that is reached by the kernel's own routing and, at a second address, by its own VXLAN.

import type {Fabric} from '../harness/fabric.js';
import {connect, Netns} from '../harness/netns.js';
import type {RunDirectory} from '../harness/run-dir.js';
import {startServer} from './rr.js';
import type {Place} from '../harness/traffic.js';

export interface Endpoints {
  readonly client: Place;
  readonly server: Place;
  readonly serverAddress: string;
}

/** The floor for two pods of a node. */
export async function bareVethPair(run: RunDirectory): Promise<Endpoints> {
  const [a, b] = [await Netns.create(run, 'bench-veth0'), await Netns.create(run, 'bench-veth1')];
  await connect(a, 'eth0', b, 'eth0');
  await a.ip(['addr add 10.99.9.1/24 dev eth0']);
  await b.ip(['addr add 10.99.9.2/24 dev eth0']);
  startServer(run, 'bare', {netnsPath: b.path});
  return {client: {netnsPath: a.path}, server: {netnsPath: b.path}, serverAddress: '10.99.9.2'};
}

export interface ShadowNodes {
  readonly routed: Endpoints;
  readonly vxlan: Endpoints;
}

interface ShadowSpec {
  readonly index: 0 | 1;
  readonly nodeAddress: string;
}

const GATEWAY = '10.1.5.1';
const SHADOWS: readonly [ShadowSpec, ShadowSpec] = [{index: 0, nodeAddress: '10.1.5.110'}, {index: 1, nodeAddress: '10.1.5.111'}];
const VXLAN_MTU = 1450;

const routedAddress = (shadow: ShadowSpec): string => `10.99.${shadow.index}.10`;
const vxlanAddress = (shadow: ShadowSpec): string => `10.100.${shadow.index}.10`;
const vtepMac = (shadow: ShadowSpec): string => `02:00:00:00:08:0${shadow.index}`;

/** On leaf0's switch, as the lab's first two nodes are; the leaf routes their pods by static routes, hop by hop as for Stentor's pods. */
export async function shadowNodes(run: RunDirectory, fabric: Fabric): Promise<ShadowNodes> {
  const leaf = fabric.router('leaf0').netns;
  const [client, server] = [await shadowNode(run, leaf, SHADOWS[0]), await shadowNode(run, leaf, SHADOWS[1])];
  await client.node.ip(overlay(SHADOWS[0], SHADOWS[1]));
  await server.node.ip(overlay(SHADOWS[1], SHADOWS[0]));
  const places = {client: {netnsPath: client.pod.path}, server: {netnsPath: server.pod.path}};
  startServer(run, 'shadow', places.server);
  return {
    routed: {...places, serverAddress: routedAddress(SHADOWS[1])},
    vxlan: {...places, serverAddress: vxlanAddress(SHADOWS[1])},
  };
}

async function shadowNode(run: RunDirectory, leaf: Netns, shadow: ShadowSpec): Promise<{readonly node: Netns; readonly pod: Netns}> {
  const {index, nodeAddress} = shadow;
  const [node, pod] = [await Netns.create(run, `bench-shadow${index}`), await Netns.create(run, `bench-plain${index}`)];
  await node.sysctl({'net.ipv4.ip_forward': 1, 'net.ipv6.conf.all.disable_ipv6': 1, 'net.ipv6.conf.default.disable_ipv6': 1});
  await connect(node, 'net0', leaf, `to-shadow${index}`);
  await leaf.ip([`link set to-shadow${index} master rack-sw`, `route add 10.99.${index}.0/24 via ${nodeAddress}`]);
  await node.ip([`addr add ${nodeAddress}/24 dev net0`, `route add default via ${GATEWAY}`]);
  await connect(node, 'pod0', pod, 'eth0');
  await node.ip([`addr add 10.99.${index}.1/24 dev pod0`, `addr add 10.100.${index}.1/24 dev pod0`]);
  await pod.ip([
    `addr add ${routedAddress(shadow)}/24 dev eth0`, `addr add ${vxlanAddress(shadow)}/24 dev eth0`, `route add default via 10.99.${index}.1`,
    // From the overlay's address to the overlay, with room for its headers.
    `route add 10.100.0.0/16 via 10.100.${index}.1 src ${vxlanAddress(shadow)} mtu ${VXLAN_MTU}`,
  ]);
  return {node, pod};
}

/** One VXLAN device, with a route and a neighbour for the peer, as a simple overlay network has it. */
function overlay(own: ShadowSpec, peer: ShadowSpec): readonly string[] {
  return [
    `link add vxlan0 address ${vtepMac(own)} mtu ${VXLAN_MTU} type vxlan id 300 dstport 8472 local ${own.nodeAddress} remote ${peer.nodeAddress} dev net0 nolearning`,
    `addr add 10.100.${own.index}.0/32 dev vxlan0`, 'link set vxlan0 up',
    `neigh replace 10.100.${peer.index}.0 lladdr ${vtepMac(peer)} dev vxlan0 nud permanent`,
    `route add 10.100.${peer.index}.0/24 via 10.100.${peer.index}.0 dev vxlan0 onlink`,
  ];
}
