// A node in a network namespace, by hand: devices, routes, one pod, the production programs on real hooks. For tests of what a redirect does.

import {execFileSync, spawn, spawnSync} from 'node:child_process';
import type {ChildProcess} from 'node:child_process';

import {attachTcx} from '../../kernel/attach.js';
import type {BpfLink} from '../../kernel/attach.js';
import {openNetns} from '../../kernel/netns.js';
import {Datapath} from '../probe/datapath.js';
import type {ProgramName} from '../probe/datapath.js';

export const sh = (script: string): string => execFileSync('bash', ['-euc', script], {encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe']});

export interface RunResult {
  readonly status: number;
  readonly output: string;
}

/** Runs a program inside a namespace to its end. */
export function inside(netns: string, ...command: readonly string[]): RunResult {
  const done = spawnSync('nsenter', [`--net=/run/netns/${netns}`, ...command], {encoding: 'utf8', timeout: 20_000});
  return {status: done.status ?? -1, output: `${done.stdout}${done.stderr}`};
}

export const ping = (netns: string, to: string, ...options: readonly string[]): boolean =>
  inside(netns, 'ping', '-c1', '-W1', '-n', ...options, to).status === 0;

export function start(netns: string, ...command: readonly string[]): ChildProcess {
  return spawn('nsenter', [`--net=/run/netns/${netns}`, ...command], {stdio: ['ignore', 'pipe', 'pipe']});
}

/** JavaScript inside a namespace: its output. */
export const script = (netns: string, code: string): RunResult => inside(netns, process.execPath, '-e', code);

export function mac(netns: string, device: string): string {
  return /link\/ether (\S+)/.exec(sh(`ip -n ${netns} link show ${device}`))?.[1] ?? '';
}

export function ifindex(netns: string, device: string): number {
  return Number(/^(\d+):/.exec(sh(`ip -n ${netns} -o link show ${device}`))?.[1]);
}

export interface NodeSpec {
  readonly name: string;
  /** Uplink address, in 10.1.5.0/24 of the bridge namespace. */
  readonly address: string;
  /** The /24's first three octets. */
  readonly podNet: string;
  readonly identity: number;
  readonly routingMode: 'native' | 'tunnel';
  /** Uplink address in fd00:1:5::/64, and the pods' /64 without its `::`. */
  readonly ipv6?: {readonly address: string; readonly podNet: string};
}

/** Each end of a namespace pair is created with a full MTU of the underlay; pods get room for the tunnel's header. */
export class TestNode {
  readonly spec: NodeSpec;
  readonly netns: string;
  readonly pod: {readonly netns: string; readonly ip: string; readonly ipv6?: string; readonly id: number};
  readonly datapath: Datapath;
  readonly #links: BpfLink[] = [];

  constructor(bridge: string, spec: NodeSpec) {
    this.spec = spec;
    this.netns = `${spec.name}n`;
    this.pod = {netns: `${spec.name}p`, ip: `${spec.podNet}.11`, id: 11, ...(spec.ipv6 === undefined ? {} : {ipv6: `${spec.ipv6.podNet}::11`})};
    this.#devices(bridge);
    this.datapath = new Datapath({
      nodeIpv4: spec.address, routingMode: spec.routingMode, overlayIfindex: ifindex(this.netns, 'cilium_vxlan'), podCidrs: [`${spec.podNet}.0/24`],
      devices: [{ifindex: ifindex(this.netns, 'eth0'), ipv4: spec.address, ipv6: spec.ipv6?.address ?? null}],
      ipv6: spec.ipv6 === undefined ? null
        : {podCidrs: [`${spec.ipv6.podNet}::/64`], masquerade: true, masqueradeExclusions: ['fd00:98::/32'], worldIpv4: 9, worldIpv6: 10},
    }, 'production');
    this.#maps();
    this.#attach();
  }

  get router(): string {
    return `${this.spec.podNet}.1`;
  }

  /** Only of a node that has IPv6. */
  get router6(): string {
    return `${this.spec.ipv6?.podNet ?? ''}::1`;
  }

  /** Tells this node of another one. */
  meet(other: TestNode): void {
    this.datapath.ipcache(`${other.spec.address}/32`, 6);
    this.datapath.ipcache(`${other.router}/32`, 6, other.spec.address);
    this.datapath.ipcache(`${other.pod.ip}/32`, other.spec.identity, other.spec.address);
    const via = this.spec.routingMode === 'native' ? `via ${other.spec.address}` : `dev cilium_host src ${this.router} mtu 1450`;
    sh(`ip -n ${this.netns} route add ${other.spec.podNet}.0/24 ${via}`);
    if (other.spec.ipv6 !== undefined) this.#meet6(other, other.spec.ipv6);
  }

  #meet6(other: TestNode, {address, podNet}: {readonly address: string; readonly podNet: string}): void {
    this.datapath.ipcache(`${address}/128`, 6);
    this.datapath.ipcache(`${other.router6}/128`, 6, other.spec.address);
    this.datapath.ipcache(`${podNet}::11/128`, other.spec.identity, other.spec.address);
    const via = this.spec.routingMode === 'native' ? `via ${address}` : `dev cilium_host src ${this.router6} mtu 1450`;
    sh(`ip -n ${this.netns} route add ${podNet}::/64 ${via}`);
  }

  close(): void {
    for (const link of this.#links) link.close();
    this.datapath.close();
    for (const netns of [this.netns, this.pod.netns]) spawnSync('ip', ['netns', 'del', netns]);
  }

  #devices(bridge: string): void {
    const {netns, pod, spec} = this;
    // Until duplicate address detection is over, about a second, no neighbour is solicited from a link-local address.
    sh(`ip netns add ${netns}; ip netns add ${pod.netns}
      nsenter --net=/run/netns/${netns} sysctl -qw net.ipv4.ip_forward=1 net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0 \\
        net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.default.accept_dad=0
      ip -n ${netns} link set lo up
      ip -n ${netns} link add eth0 type veth peer name ${spec.name} netns ${bridge}
      ip -n ${bridge} link set ${spec.name} master br0 up; ip -n ${netns} addr add ${spec.address}/24 dev eth0; ip -n ${netns} link set eth0 up
      ip -n ${netns} link add cilium_host type veth peer name cilium_net
      ip -n ${netns} link set cilium_host arp off up; ip -n ${netns} link set cilium_net arp off up
      ip -n ${netns} addr add ${this.router}/32 dev cilium_host
      ip -n ${netns} route add ${spec.podNet}.0/24 dev cilium_host src ${this.router}
      ip -n ${netns} link add cilium_vxlan type vxlan external dstport 8472; ip -n ${netns} link set cilium_vxlan up
      ip -n ${netns} link add lxc11 type veth peer name eth0 netns ${pod.netns}; ip -n ${netns} link set lxc11 up
      ip -n ${pod.netns} link set lo up; ip -n ${pod.netns} addr add ${pod.ip}/32 dev eth0; ip -n ${pod.netns} link set eth0 mtu 1450 up
      ip -n ${pod.netns} route add ${this.router} dev eth0 scope link; ip -n ${pod.netns} route add default via ${this.router}`);
    if (spec.ipv6 !== undefined) this.#devices6(spec.ipv6);
  }

  #devices6({address, podNet}: {readonly address: string; readonly podNet: string}): void {
    const {netns, pod} = this;
    sh(`nsenter --net=/run/netns/${netns} sysctl -qw net.ipv6.conf.all.forwarding=1
      nsenter --net=/run/netns/${pod.netns} sysctl -qw net.ipv6.conf.eth0.accept_ra=0
      ip -n ${netns} addr add ${address}/64 dev eth0 nodad; ip -n ${netns} addr add ${podNet}::1/128 dev cilium_host nodad
      ip -n ${netns} route add ${podNet}::/64 dev cilium_host src ${podNet}::1
      ip -n ${pod.netns} addr add ${podNet}::11/128 dev eth0 nodad
      ip -n ${pod.netns} route add ${podNet}::1 dev eth0; ip -n ${pod.netns} route add ::/0 via ${podNet}::1`);
  }

  #maps(): void {
    const {pod, spec} = this;
    this.datapath.host(spec.address);
    this.datapath.host(this.router);
    if (spec.ipv6 !== undefined) for (const address of [spec.ipv6.address, this.router6]) this.datapath.host(address);
    this.datapath.pod({...pod, identity: spec.identity, ifindex: ifindex(this.netns, 'lxc11'),
      macs: {mac: mac(pod.netns, 'eth0'), nodeMac: mac(this.netns, 'lxc11')}});
  }

  #attach(): void {
    const hooks: readonly (readonly [ProgramName, string, 'ingress' | 'egress'])[] = [
      ['cil_from_container', 'lxc11', 'ingress'], ['cil_from_netdev', 'eth0', 'ingress'], ['cil_to_netdev', 'eth0', 'egress'],
      ['cil_from_host', 'cilium_host', 'egress'], ['cil_to_host', 'cilium_net', 'ingress'], ['cil_from_overlay', 'cilium_vxlan', 'ingress'],
      ['cil_to_overlay', 'cilium_vxlan', 'egress'],
    ];
    const netns = openNetns(`/run/netns/${this.netns}`);
    for (const [program, device, direction] of hooks) {
      this.#links.push(attachTcx(this.datapath.program(program), ifindex(this.netns, device), direction, netns));
    }
    netns.close();
  }
}
