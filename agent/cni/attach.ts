// Attaches pods: address, veth, maps, policy, program, and the link up last; everything is taken back when a step fails.

import {createHash, randomBytes} from 'node:crypto';
import {readFileSync, writeFileSync} from 'node:fs';
import {writeFile} from 'node:fs/promises';
import {StentorError} from '../../lib/core/errors.js';
import type {Log} from '../../lib/run/log.js';
import {errorFields} from '../../lib/run/log.js';
import {Netlink} from '../kernel/netlink.js';
import type {NetnsHandle} from '../kernel/netns.js';
import {currentNetns, inNetns, openNetns} from '../kernel/netns.js';
import {RTPROT_STENTOR, RT_TABLE_MAIN} from '../kernel/rtnetlink.js';
import type {LocalEndpoint} from '../model/local.js';
import {endpointAddresses, endpointOwner} from '../model/local.js';
import type {Ipam, PodAddresses} from './ipam.js';
import type {Attachment, CniRequest, PodName, Routers} from './protocol.js';
import {familyAddresses} from './protocol.js';
import type {NotReady, PodAttachments} from './server.js';

/** The endpoint table, as far as attaching needs it. */
export interface Endpoints {
  readonly all: ReadonlyMap<number, LocalEndpoint>;
  reserveId(): number;
  releaseId(id: number): void;
  put(endpoint: LocalEndpoint): void;
  remove(id: number): void;
  find(containerId: string, containerIfname: string): LocalEndpoint | null;
  flushed(): Promise<void>;
}

/** What attaching asks of the rest of the agent. */
export interface AttachPorts {
  /** Waits, within a limit, until the operator has said what this pod is. */
  awaitPod(pod: PodName): Promise<void>;
  /** Names the endpoints as they are now. */
  changesSoFar(): number;
  /** Resolves when the kernel holds what follows from the endpoints as they were at `changes`, or are now; throws when it refuses something of this one. */
  settle(endpointId: number, changes?: number): Promise<void>;
  /** Tells the operator, and waits within a limit until the address is known wherever it is needed. */
  announce(endpoint: LocalEndpoint): Promise<void>;
  /** Tells the operator that it is gone. */
  withdraw(endpoint: LocalEndpoint): void;
  /** Null when pods can be attached. */
  notReady(): NotReady | null;
  mtu(): {readonly device: number; readonly route: number};
}

export interface PodAttacherParts {
  readonly netlink: Netlink;
  readonly ipam: Ipam;
  readonly endpoints: Endpoints;
  readonly ports: AttachPorts;
  readonly log: Log;
}

const HOST_LINK_PREFIX = 'lxc';
/** IFNAMSIZ leaves 15 characters. */
const HOST_LINK_DIGITS = 12;

/** Cilium's rule: the first digits of the hash of container and interface. */
export function hostLinkName(containerId: string, ifname: string): string {
  return HOST_LINK_PREFIX + createHash('sha256').update(`${containerId}:${ifname}`).digest('hex').slice(0, HOST_LINK_DIGITS);
}

/** What has been done, newest last; `undo` runs in reverse. */
type Undo = {readonly what: string; readonly undo: () => void | Promise<unknown>}[];

export class PodAttacher implements PodAttachments {
  readonly #parts: PodAttacherParts;

  constructor(parts: PodAttacherParts) {
    this.#parts = parts;
  }

  async add(request: CniRequest): Promise<Attachment> {
    const pod = request.pod ?? {namespace: '', name: '', uid: ''};
    await this.remove(request.containerId, request.ifname);
    await this.#parts.ports.awaitPod(pod);
    const undo: Undo = [];
    const netns = netnsOf(request);
    try {
      const endpoint = await this.#build(request, pod, netns, undo);
      return this.#attachment(endpoint);
    } catch (error) {
      await this.#takeBack(undo);
      throw error;
    } finally {
      netns.close();
    }
  }

  async #build(request: CniRequest, pod: PodName, netns: NetnsHandle, undo: Undo): Promise<LocalEndpoint> {
    const {ipam, endpoints, ports, netlink} = this.#parts;
    requireOtherNetns(netns);
    const owner = `${pod.namespace}/${pod.name}`;
    const addresses = ipam.allocate(owner);
    undo.push({what: 'addresses', undo: () => release(ipam, addresses)});
    const id = endpoints.reserveId();
    undo.push({what: 'id', undo: () => endpoints.releaseId(id)});
    const link = await this.#createVeth(request, netns, undo);
    const endpoint: LocalEndpoint = {
      id, containerId: request.containerId, network: request.network, containerIfname: request.ifname, netns: request.netns, ...link, ...addresses,
      namespace: pod.namespace, name: pod.name, uid: pod.uid, state: 'creating',
    };
    endpoints.put(endpoint);
    const changes = ports.changesSoFar();
    undo.push({what: 'endpoint', undo: async () => {
      endpoints.remove(id);
      await ports.settle(id);
    }});
    await this.#configurePodSide(netns, endpoint);
    // Maps, policy and program are in place before the first packet can pass: the link goes up last.
    await ports.settle(id, changes);
    await netlink.setLink(endpoint.hostIfindex, {up: true});
    const ready: LocalEndpoint = {...endpoint, state: 'ready'};
    endpoints.put(ready);
    await endpoints.flushed();
    undo.push({what: 'announcement', undo: () => ports.withdraw(ready)});
    await ports.announce(ready);
    return ready;
  }

  async #createVeth(request: CniRequest, netns: NetnsHandle, undo: Undo): Promise<Pick<LocalEndpoint, 'hostIfname' | 'hostIfindex' | 'mac' | 'hostMac'>> {
    const {netlink, ports} = this.#parts;
    const name = hostLinkName(request.containerId, request.ifname);
    const [mac, hostMac] = [randomMac(), randomMac()];
    await inPod(netns, async (pod) => pod.deleteLink(request.ifname));
    await netlink.createVeth({name, peer: request.ifname, mtu: ports.mtu().device, mac: hostMac, peerMac: mac, peerNetnsFd: netns.fd});
    undo.push({what: 'veth', undo: () => netlink.deleteLink(name)});
    const link = await netlink.link(name);
    if (link === null) throw new StentorError('LINK_VANISHED', 'the pod’s link vanished while it was set up', {name});
    // The namespace's own default may ask for a reverse-path check, which the routes of pods never pass.
    await setSysctl('ipv4', name, 'rp_filter', '0');
    await setSysctl('ipv4', name, 'forwarding', '1');
    if (this.#parts.ipam.router(6) !== null) for (const [key, value] of Object.entries(HOST_SIDE_IPV6)) await setSysctl('ipv6', name, key, value);
    return {hostIfname: name, hostIfindex: link.ifindex, mac, hostMac};
  }

  async #configurePodSide(netns: NetnsHandle, endpoint: LocalEndpoint): Promise<void> {
    const families = familyAddresses(endpoint, this.#routers());
    const {device, route} = this.#parts.ports.mtu();
    if (endpoint.ipv6 !== null) inNetns(netns, () => podSideIpv6(endpoint.containerIfname));
    await inPod(netns, async (pod) => {
      const link = await pod.link(endpoint.containerIfname);
      if (link === null) throw new StentorError('LINK_VANISHED', 'the pod’s interface vanished while it was set up', {netns: endpoint.netns});
      const {ifindex} = link;
      for (const {address, length} of families) await pod.addAddress(ifindex, `${address}/${length}`);
      await pod.setLink(ifindex, {up: true});
      const common = {table: RT_TABLE_MAIN, protocol: RTPROT_STENTOR, ifindex};
      for (const {router, length, everywhere} of families) {
        await pod.replaceRoute({...common, prefix: `${router}/${length}`, scope: 'link'});
        // Who asks for the router while the host's side is down would ask again only a second later.
        await pod.replaceNeighbour(ifindex, router, endpoint.hostMac);
        await pod.replaceRoute({...common, prefix: everywhere, scope: 'global', via: router, ...(route === device ? {} : {mtu: route})});
      }
    });
  }

  async remove(containerId: string, ifname: string): Promise<void> {
    const {netlink, endpoints, ports, ipam, log} = this.#parts;
    const endpoint = endpoints.find(containerId, ifname);
    // Also a link that no endpoint is known of: of an attachment that a crash cut short.
    await netlink.deleteLink(hostLinkName(containerId, ifname));
    if (endpoint === null) return;
    endpoints.remove(endpoint.id);
    await ports.settle(endpoint.id).catch((error: unknown) => log.warn('the kernel still holds parts of a removed endpoint', {endpoint: endpointOwner(endpoint), ...errorFields(error)}));
    release(ipam, endpoint);
    await endpoints.flushed();
    ports.withdraw(endpoint);
  }

  find(containerId: string, ifname: string): Attachment | null {
    const endpoint = this.#parts.endpoints.find(containerId, ifname);
    return endpoint === null ? null : this.#attachment(endpoint);
  }

  async verify({endpoint}: Attachment): Promise<void> {
    const unhealthy = (message: string): StentorError => new StentorError('UNHEALTHY', message, {endpoint: endpointOwner(endpoint), link: endpoint.hostIfname});
    const link = await this.#parts.netlink.link(endpoint.hostIfname);
    if (link === null || link.ifindex !== endpoint.hostIfindex) throw unhealthy('the host side of the veth is gone');
    if (!link.up) throw unhealthy('the host side of the veth is down');
    const netns = openNetns(endpoint.netns);
    try {
      await inPod(netns, async (pod) => {
        const inside = await pod.link(endpoint.containerIfname);
        if (inside === null) throw unhealthy('the interface of the pod is gone');
        const addresses = await pod.addresses(inside.ifindex);
        const present = new Set(addresses.map(({address}) => address));
        for (const {address, length} of familyAddresses(endpoint, this.#routers())) {
          if (!present.has(`${address}/${length}`)) throw unhealthy(`the interface of the pod has lost its address ${address}`);
        }
      });
    } finally {
      netns.close();
    }
    await this.#parts.ports.settle(endpoint.id);
  }

  all(network: string): readonly {readonly containerId: string; readonly ifname: string}[] {
    return [...this.#parts.endpoints.all.values()].filter((endpoint) => endpoint.network === network).map(({containerId, containerIfname}) => ({containerId, ifname: containerIfname}));
  }

  notReady(): NotReady | null {
    const {ipv4, ipv6} = this.#routers();
    return this.#parts.ports.notReady() ?? (ipv4 === null && ipv6 === null ? {reason: 'the node has no PodCIDR yet', limited: false} : null);
  }

  #attachment(endpoint: LocalEndpoint): Attachment {
    return {endpoint, routers: this.#routers(), mtu: this.#parts.ports.mtu().device};
  }

  #routers(): Routers {
    const {ipam} = this.#parts;
    return {ipv4: ipam.router(4), ipv6: ipam.router(6)};
  }

  async #takeBack(undo: Undo): Promise<void> {
    for (const step of undo.toReversed()) {
      try {
        await step.undo();
      } catch (error) {
        this.#parts.log.warn('a step of a failed attachment could not be taken back', {step: step.what, ...errorFields(error)});
      }
    }
  }
}

function netnsOf({netns}: CniRequest): NetnsHandle {
  try {
    return openNetns(netns);
  } catch (error) {
    throw new StentorError('NO_NETNS', 'the namespace of the pod is not there', {netns}, {cause: error});
  }
}

/** A runtime that passes the node's own namespace would have the node's interface deleted. */
function requireOtherNetns(netns: NetnsHandle): void {
  const own = currentNetns();
  const isOwn = own.inode === netns.inode;
  own.close();
  if (isOwn) throw new StentorError('NETNS_IS_OWN', 'CNI_NETNS is the namespace of the node itself');
}

async function inPod<T>(netns: NetnsHandle, body: (netlink: Netlink) => Promise<T>): Promise<T> {
  const netlink = Netlink.open({netns: netns.fd});
  try {
    return await body(netlink);
  } finally {
    netlink.close();
  }
}

/** Mostly a new device has the value already. The kernel writes some of them only under its lock of all links, and tries until it gets it. */
async function setSysctl(family: 'ipv4' | 'ipv6', device: string, name: string, value: string): Promise<void> {
  const path = `/proc/sys/net/${family}/conf/${device}/${name}`;
  if (readFileSync(path, 'utf8').trim() !== value) await writeFile(path, value);
}

/** The host's side has no address of its own: it would be one that pods reach past the node's. */
const HOST_SIDE_IPV6 = {disable_ipv6: '0', addr_gen_mode: '1', accept_ra: '0', forwarding: '1'} as const;

/** A pod's router is this node, and no message says otherwise. */
function podSideIpv6(device: string): void {
  for (const [name, value] of [['accept_ra', '0'], ['disable_ipv6', '0']] as const) writeFileSync(`/proc/sys/net/ipv6/conf/${device}/${name}`, value);
}

function release(ipam: Ipam, addresses: PodAddresses): void {
  for (const address of endpointAddresses(addresses)) ipam.release(address);
}

/** Locally administered, unicast. */
function randomMac(): string {
  const bytes = randomBytes(6);
  bytes[0] = ((bytes[0] ?? 0) & 0xfc) | 0x02;
  return [...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join(':');
}
