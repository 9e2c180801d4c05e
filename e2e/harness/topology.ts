// The lab as data: reference article's racks, leaves and spines, plus the control plane's segment and the world outside.

export interface RouterSpec {
  readonly name: string;
  readonly asn: number;
  readonly routerId: string;
  /** Prefixes announced from connected networks. */
  readonly networks: readonly string[];
  /** Prefixes announced that lie behind another host. */
  readonly statics: readonly {readonly prefix: string; readonly via: string}[];
  readonly neighbours: readonly NeighbourSpec[];
}

export interface NeighbourSpec {
  readonly name: string;
  readonly address: string;
  readonly asn: number;
  readonly localAddress: string;
  /** A Kubernetes node: it connects, the router waits. */
  readonly node: boolean;
}

export interface NodeSpec {
  readonly name: string;
  readonly rack: 'rack0' | 'rack1';
  readonly address: string;
  readonly gateway: string;
  readonly leaf: string;
}

export const POD_CIDR = '10.98.0.0/16';
export const SERVICE_CIDR = '10.222.0.0/16';
export const FIRST_SERVICE_ADDRESS = '10.222.0.1';
export const API_ADDRESS = '10.1.1.10';
export const API_PORT = 6443;
export const EXT_ADDRESS = '172.31.0.10';

/** Addresses of the world outside: the CIDR policy's host, and the borders of the article's `except`. */
export const WORLD_ADDRESSES: readonly string[] = [
  '20.1.1.1', '20.1.1.2', '10.95.255.255', '10.96.0.1', '10.111.255.254', '10.112.0.1',
];

/** Where it answers, TCP and UDP. */
export const WORLD_PORTS: readonly number[] = [53, 80, 8080];

export const NODES: readonly NodeSpec[] = [
  {name: 'cilium-bgp-control-plane', rack: 'rack0', address: '10.1.5.10', gateway: '10.1.5.1', leaf: 'leaf0'},
  {name: 'cilium-bgp-worker', rack: 'rack0', address: '10.1.5.11', gateway: '10.1.5.1', leaf: 'leaf0'},
  {name: 'cilium-bgp-worker2', rack: 'rack1', address: '10.1.8.10', gateway: '10.1.8.1', leaf: 'leaf1'},
  {name: 'cilium-bgp-worker3', rack: 'rack1', address: '10.1.8.11', gateway: '10.1.8.1', leaf: 'leaf1'},
];

export interface LinkSpec {
  readonly a: string;
  readonly aDevice: string;
  readonly aAddress: string;
  readonly b: string;
  readonly bDevice: string;
  readonly bAddress: string;
}

/** Router-to-router links, named as in the article (leaf eth1, eth2 = its uplinks), and the two stub segments. */
export const LINKS: readonly LinkSpec[] = [
  {a: 'leaf0', aDevice: 'eth1', aAddress: '10.1.10.1/30', b: 'spine0', bDevice: 'eth1', bAddress: '10.1.10.2/30'},
  {a: 'leaf0', aDevice: 'eth2', aAddress: '10.1.12.1/30', b: 'spine1', bDevice: 'eth1', bAddress: '10.1.12.2/30'},
  {a: 'leaf1', aDevice: 'eth1', aAddress: '10.1.11.1/30', b: 'spine0', bDevice: 'eth2', bAddress: '10.1.11.2/30'},
  {a: 'leaf1', aDevice: 'eth2', aAddress: '10.1.13.1/30', b: 'spine1', bDevice: 'eth2', bAddress: '10.1.13.2/30'},
  {a: 'ctl', aDevice: 'net0', aAddress: `${API_ADDRESS}/24`, b: 'spine0', bDevice: 'eth3', bAddress: '10.1.1.1/24'},
  {a: 'ext', aDevice: 'net0', aAddress: `${EXT_ADDRESS}/24`, b: 'spine1', bDevice: 'eth3', bAddress: '172.31.0.1/24'},
];

/** Hosts that are no routers, with their gateway. */
export const STUBS: readonly {readonly name: string; readonly gateway: string}[] = [
  {name: 'ctl', gateway: '10.1.1.1'},
  {name: 'ext', gateway: '172.31.0.1'},
];

export const SPINE_AS = {spine0: 65500, spine1: 65501} as const;
export const RACK_AS = {rack0: 65005, rack1: 65008} as const;

function nodesOf(leaf: string): readonly NodeSpec[] {
  return NODES.filter((node) => node.leaf === leaf);
}

function leaf(name: 'leaf0' | 'leaf1', asn: number, gateway: string): RouterSpec {
  const uplinks = LINKS.filter((link) => link.a === name).map((link) => ({
    name: link.b, address: host(link.bAddress), asn: link.b === 'spine0' ? SPINE_AS.spine0 : SPINE_AS.spine1, localAddress: host(link.aAddress), node: false,
  }));
  const nodes = nodesOf(name).map((node) => ({
    name: `node${node.address.split('.')[3] ?? ''}`, address: node.address, asn, localAddress: gateway, node: true,
  }));
  return {name, asn, routerId: gateway, networks: [gateway.replace(/\.1$/, '.0/24')], statics: [], neighbours: [...uplinks, ...nodes]};
}

function spine(name: 'spine0' | 'spine1', routerId: string, stub: Pick<RouterSpec, 'networks' | 'statics'>): RouterSpec {
  const neighbours = LINKS.filter((link) => link.b === name && link.a.startsWith('leaf')).map((link) => ({
    name: link.a, address: host(link.aAddress), asn: link.a === 'leaf0' ? RACK_AS.rack0 : RACK_AS.rack1, localAddress: host(link.bAddress), node: false,
  }));
  return {name, asn: SPINE_AS[name], routerId, neighbours, ...stub};
}

export const LEAVES: readonly RouterSpec[] = [leaf('leaf0', RACK_AS.rack0, '10.1.5.1'), leaf('leaf1', RACK_AS.rack1, '10.1.8.1')];

export const SPINES: readonly RouterSpec[] = [
  spine('spine0', '10.1.1.1', {networks: ['10.1.1.0/24'], statics: []}),
  spine('spine1', '172.31.0.1', {
    networks: ['172.31.0.0/24'],
    statics: WORLD_ADDRESSES.map((address) => ({prefix: `${address}/32`, via: EXT_ADDRESS})),
  }),
];

function host(interfaceAddress: string): string {
  return interfaceAddress.slice(0, interfaceAddress.indexOf('/'));
}
