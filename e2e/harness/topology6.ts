// IPv6 beside the lab's IPv4: every address follows from its IPv4 twin, and the fabric's routes of it are static.

import {formatPrefix, parsePrefix} from '../../lib/core/ip.js';
import {LEAVES, LINKS, NODES, SPINES, STUBS, type NodeSpec} from './topology.js';

/** `10.1.5.10` → `fd00:10:1:5::10`: the IPv4 network is the /64. */
export function twin(ipv4: string): string {
  const [a = '', b = '', c = '', d = ''] = ipv4.split('.');
  return canonical(`fd00:${a}:${b}:${c}::${d}/128`).replace('/128', '');
}

function twinNetwork(ipv4: string): string {
  const [a = '', b = '', c = ''] = ipv4.split('.');
  return canonical(`fd00:${a}:${b}:${c}::/64`);
}

/** As everybody writes it: texts are compared. */
function canonical(text: string): string {
  const prefix = parsePrefix(text);
  if (prefix === null) throw new Error(`not a prefix: ${text}`);
  return formatPrefix(prefix);
}

/** Of the world outside, reached through `spine1`. */
export const WORLD6 = '2001:db8:20::1';
const WORLD6_NETWORK = '2001:db8:20::/48';
/** Of the cluster and its fabric: never masqueraded. */
export const NATIVE6 = 'fd00:10::/32';

/** The nodes' are /64 of it, in their order. */
export const POD_CIDR6 = 'fd00:10:98::/48';

export function podCidr6(index: number): string {
  return canonical(`fd00:10:98:${index}::/64`);
}

/** What a node has: two families, and IPv6 alone on the last. */
export function podCidrsOf(index: number, ipv4: string): readonly string[] {
  return index === NODES.length - 1 ? [podCidr6(index)] : [ipv4, podCidr6(index)];
}

/** A static route of one host or router. */
export interface Route6 {
  readonly host: string;
  readonly prefix: string;
  readonly via: string;
}

/** The pods' networks are routed by the fabric only in native mode: in tunnel mode nobody but the nodes knows them. */
export function routes6(podRoutes: boolean): readonly Route6[] {
  return [
    ...NODES.map((node): Route6 => ({host: node.name, prefix: '::/0', via: twin(node.gateway)})),
    ...STUBS.map((stub): Route6 => ({host: stub.name, prefix: '::/0', via: twin(stub.gateway)})),
    {host: 'spine1', prefix: WORLD6_NETWORK, via: twin('172.31.0.10')},
    ...LEAVES.flatMap((leaf): readonly Route6[] => {
      const uplink = LINKS.find((link) => link.a === leaf.name && link.b === 'spine1');
      if (uplink === undefined) throw new Error(`${leaf.name} has no link to spine1`);
      const racks = leaf.networks.map((network) => twinNetwork(network));
      const pods = podRoutes ? nodesBehind(leaf.name).map(({index}) => podCidr6(index)) : [];
      return [
        {host: leaf.name, prefix: '::/0', via: twin(host(uplink.bAddress))},
        ...[...racks, ...pods].map((prefix) => ({host: 'spine1', prefix, via: twin(host(uplink.aAddress))})),
        ...(podRoutes ? nodesBehind(leaf.name).map(({node, index}) => ({host: leaf.name, prefix: podCidr6(index), via: twin(node.address)})) : []),
      ];
    }),
  ];
}

/** Interface addresses, with their lengths. */
export function addresses6(): readonly {readonly host: string; readonly device: string; readonly address: string}[] {
  return [
    ...LINKS.flatMap((link) => [
      {host: link.a, device: link.aDevice, address: `${twin(host(link.aAddress))}/64`}, {host: link.b, device: link.bDevice, address: `${twin(host(link.bAddress))}/64`},
    ]),
    ...LEAVES.map((leaf) => ({host: leaf.name, device: 'rack-sw', address: `${twin(leaf.routerId)}/64`})),
    ...NODES.map((node) => ({host: node.name, device: 'net0', address: `${twin(node.address)}/64`})),
    {host: 'ext', device: 'lo', address: `${WORLD6}/128`},
  ];
}

export const ROUTERS6: readonly string[] = [...SPINES, ...LEAVES].map(({name}) => name);

function nodesBehind(leaf: string): readonly {readonly node: NodeSpec; readonly index: number}[] {
  return NODES.flatMap((node, index) => (node.leaf === leaf ? [{node, index}] : []));
}

function host(interfaceAddress: string): string {
  return interfaceAddress.slice(0, interfaceAddress.indexOf('/'));
}
