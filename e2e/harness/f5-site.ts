// The set-up of reference/cilium-bgp-f5-article.md: three nodes in 11.8.37.0/24, two switches whose BGP comes from their loopbacks, and the external
// load balancer with its SNAT pool in the nodes' network and its health checks from 11.11.248.0/21.
//
// What stands for what: BIRD for the two Cisco switches (AS 64512, update-source loopback0); the kernel's NAT, by nftables, for the F5's virtual
// server and SNAT pool; a host in its network for the address that its health monitors come from.

import type {Fabric} from './fabric.js';
import {connect, Netns, ROUTER_SYSCTLS} from './netns.js';
import {BirdRouter} from './router-bird.js';
import type {RunDirectory} from './run-dir.js';
import {must} from './shell.js';
import type {Site} from './site.js';
import type {NodeSpec, RouterSpec} from './topology.js';

export const ASN = 64512;
export const VIRTUAL_SERVER = '11.16.22.80';
/** The article's SNAT-vlan130. */
export const SNAT_POOL = ['11.8.37.4', '11.8.37.5', '11.8.37.6', '11.8.37.7', '11.8.37.8', '11.8.37.9', '11.8.37.10'] as const;
/** The article's `--bigip-url`. */
export const HEALTH_CHECK_ADDRESS = '11.11.250.12';
export const CLIENT_ADDRESS = '172.31.0.10';
export const SWITCH_ADDRESSES = ['11.8.37.252', '11.8.37.253', '11.8.37.254'] as const;

const GATEWAY = '11.8.37.254';
const POD_CIDR = '188.188.0.0/16';

const node = (name: string, address: string): NodeSpec => ({name, rack: 'rack0', address, gateway: GATEWAY, leaf: 'switch1'});
export const F5_NODES: readonly NodeSpec[] = [
  node('ydt-net-cilium1-nomasquerade', '11.8.37.63'), node('ydt-net-cilium2-nomasquerade', '11.8.37.67'), node('ydt-net-cilium3-nomasquerade', '11.8.37.68'),
];

const switchSpec = (name: string, loopback: string): RouterSpec => ({
  name, asn: ASN, routerId: loopback, networks: ['11.8.37.0/24'], statics: [],
  neighbours: F5_NODES.map(({address}) => ({name: `node${address.split('.')[3] ?? ''}`, address, asn: ASN, localAddress: loopback, node: true})),
});
const SWITCHES = [switchSpec('switch1', '11.11.255.1'), switchSpec('switch2', '11.11.255.2')] as const;

/** The API server is on the first node, as `advertiseAddress` says. */
export const F5_SITE: Site = {
  nodes: F5_NODES, apiAddress: '11.8.37.63', podCidr: POD_CIDR, serviceCidr: '18.18.0.0/16', firstServiceAddress: '18.18.0.1', nativeRoutingCidr: '11.8.37.0/24',
  clusterName: 'cilium-nomasquerade', build, established: () => Promise.resolve(0),
};

async function build(run: RunDirectory): Promise<Fabric> {
  const all = new Map<string, Netns>();
  for (const name of ['switch1', 'switch2', 'f5', 'monitor', 'ext', ...F5_NODES.map((one) => one.name)]) all.set(name, await Netns.create(run, name));
  const netns = (name: string): Netns => {
    const found = all.get(name);
    if (found === undefined) throw new Error(`the site has no ${name}`);
    return found;
  };
  await Promise.all(['switch1', 'switch2', 'f5'].map((name) => netns(name).sysctl(ROUTER_SYSCTLS)));
  await wireSwitches(netns('switch1'), netns('switch2'));
  for (const spec of F5_NODES) await attachNode(netns(spec.name), netns('switch1'), spec);
  await wireLoadBalancer(netns);
  await connect(netns('ext'), 'net0', netns('switch1'), 'world');
  await netns('switch1').ip(['addr add 172.31.0.1/24 dev world']);
  await netns('ext').ip([`addr add ${CLIENT_ADDRESS}/24 dev net0`, 'route add default via 172.31.0.1']);
  const switches = SWITCHES.map((spec) => new BirdRouter(spec, {netns: netns(spec.name), run}));
  await Promise.all(switches.map((one) => one.start()));
  const [first] = F5_NODES;
  if (first === undefined) throw new Error('the site has no node');
  return {
    leaves: switches, spines: [], ctl: netns(first.name), ext: netns('ext'), nodes: new Map(F5_NODES.map(({name}) => [name, netns(name)])),
    router: (name) => {
      const found = switches.find(({spec}) => spec.name === name);
      if (found === undefined) throw new Error(`the site has no router ${name}`);
      return found;
    },
  };
}

/** The nodes' network is a bridge in the first switch, which has the gateway's address, too. */
async function wireSwitches(first: Netns, second: Netns): Promise<void> {
  await first.ip([
    'link add vlan37 type bridge', 'link set vlan37 up', 'addr add 11.8.37.252/24 dev vlan37', `addr add ${GATEWAY}/24 dev vlan37`, 'addr add 11.11.255.1/32 dev lo',
    'route add 11.11.255.2/32 via 11.8.37.253',
  ]);
  await connect(second, 'vlan37', first, 'to-switch2');
  await first.ip(['link set to-switch2 master vlan37']);
  await second.ip(['addr add 11.8.37.253/24 dev vlan37', 'addr add 11.11.255.2/32 dev lo', `route add default via ${GATEWAY}`]);
}

async function attachNode(netns: Netns, first: Netns, {address, gateway}: NodeSpec): Promise<void> {
  const port = `to-${address.split('.')[3] ?? ''}`;
  await netns.sysctl({'net.ipv4.ip_forward': 1, 'net.ipv6.conf.all.disable_ipv6': 1, 'net.ipv6.conf.default.disable_ipv6': 1});
  await connect(netns, 'net0', first, port);
  await first.ip([`link set ${port} master vlan37`]);
  await netns.ip([`addr add ${address}/24 dev net0`, `route add default via ${gateway}`]);
}

/** One arm in the nodes' network, for its SNAT pool; one in front, for the virtual server; the health monitors' network beside them. */
async function wireLoadBalancer(netns: (name: string) => Netns): Promise<void> {
  const [f5, monitor, first] = [netns('f5'), netns('monitor'), netns('switch1')];
  await connect(f5, 'vlan130', first, 'to-f5');
  await connect(f5, 'front', first, 'f5-front');
  await connect(monitor, 'net0', first, 'monitors');
  await first.ip(['link set to-f5 master vlan37', 'addr add 11.16.22.1/24 dev f5-front', 'addr add 11.11.248.1/21 dev monitors']);
  await f5.ip([
    ...SNAT_POOL.map((address) => `addr add ${address}/24 dev vlan130`), 'addr add 11.16.22.2/24 dev front', `addr add ${VIRTUAL_SERVER}/32 dev front`,
    `route add ${POD_CIDR} via ${GATEWAY}`, 'route add default via 11.16.22.1',
  ]);
  await monitor.ip([`addr add ${HEALTH_CHECK_ADDRESS}/21 dev net0`, 'route add default via 11.11.248.1']);
}

/** `--pool-member-type=cluster`: the members of the virtual server are the pods themselves, in turn; they see addresses of the SNAT pool. */
export async function setPoolMembers(f5: Netns, port: number, pods: readonly string[]): Promise<void> {
  const members = pods.map((address, i) => `${i} : ${address}`).join(', ');
  await must(['nft', '-f', '-'], {netns: f5.path, input: `
table ip f5
delete table ip f5
table ip f5 {
  chain virtual { type nat hook prerouting priority dstnat; ip daddr ${VIRTUAL_SERVER} tcp dport ${port} dnat to numgen inc mod ${pods.length} map { ${members} }; }
  chain pool { type nat hook postrouting priority srcnat; ip daddr ${POD_CIDR} snat to ${SNAT_POOL[0]}-${SNAT_POOL[SNAT_POOL.length - 1] ?? ''}; }
}
`});
}
