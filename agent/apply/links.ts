// The node's own devices: cilium_host and cilium_net (a veth pair), cilium_vxlan. Pods' devices are made and removed by the CNI part.

import {writeFileSync} from 'node:fs';
import {StentorError} from '../../lib/core/errors.js';
import type {ResourceName} from '../../lib/desired/node-state.js';
import {NODE_DEVICES} from '../../lib/domain/devices.js';
import type {LinkSpec} from '../compile/kernel-state.js';
import {codeOf} from '../kernel/errno.js';
import type {Netlink} from '../kernel/netlink.js';
import {inNetns, type NetnsHandle} from '../kernel/netns.js';
import type {Link} from '../kernel/rtnetlink.js';
import {sysctlPath} from './sysctls.js';
import type {Failure, Target} from './target.js';

export class LinksTarget implements Target<string, LinkSpec> {
  readonly name = 'links';
  readonly #netlink: Netlink;
  readonly #netns: NetnsHandle | undefined;

  constructor(parts: {readonly netlink: Netlink; readonly netns?: NetnsHandle}) {
    this.#netlink = parts.netlink;
    this.#netns = parts.netns;
  }

  async load(): Promise<ReadonlyMap<string, LinkSpec>> {
    const links = await this.#netlink.links();
    const addresses = await this.#netlink.addresses();
    const found = new Map<string, LinkSpec>();
    for (const link of links) {
      if (!NODE_DEVICES.has(link.name)) continue;
      const peer = link.peerNetnsId === null ? links.find((other) => other.ifindex === link.peerIfindex) : undefined;
      found.set(link.name, describe(link, peer, addresses.filter((address) => address.ifindex === link.ifindex).map((address) => address.address)));
    }
    return found;
  }

  async upsert(entries: readonly (readonly [string, LinkSpec])[]): Promise<readonly Failure<string>[]> {
    const failures: Failure<string>[] = [];
    for (const [key, spec] of entries) {
      try {
        await this.#ensure(spec);
      } catch (error) {
        if (!(error instanceof StentorError)) throw error;
        failures.push({key, error});
      }
    }
    return failures;
  }

  async remove(names: readonly string[]): Promise<readonly Failure<string>[]> {
    for (const name of names) await this.#netlink.deleteLink(name);
    return [];
  }

  equal(desired: LinkSpec, actual: LinkSpec): boolean {
    return desired.kind === actual.kind && desired.mtu === actual.mtu && (desired.noArp ?? false) === (actual.noArp ?? false) &&
      desired.peer === actual.peer && desired.vxlanPort === actual.vxlanPort &&
      [...desired.addresses].sort().join() === [...actual.addresses].sort().join();
  }

  owns(name: string): boolean {
    return NODE_DEVICES.has(name);
  }

  because(spec: LinkSpec): readonly ResourceName[] {
    return spec.because ?? [];
  }

  async #ensure(spec: LinkSpec): Promise<void> {
    const link = await this.#existing(spec) ?? await this.#create(spec);
    const ends = [link];
    if (spec.peer !== undefined) ends.push(await this.#require(spec.peer));
    for (const end of ends) {
      await this.#netlink.setLink(end.ifindex, {mtu: spec.mtu, noArp: spec.noArp ?? false, up: true});
    }
    // A node may have IPv6 off for devices that come: then this one refuses its address.
    if (spec.addresses.some((address) => address.includes(':'))) this.#enableIpv6(spec.name);
    await this.#ensureAddresses(link.ifindex, spec.addresses);
  }

  /** Null when there is none, or one that cannot become what is wanted and was removed. */
  async #existing(spec: LinkSpec): Promise<Link | null> {
    const link = await this.#netlink.link(spec.name);
    if (link === null) return null;
    const peer = spec.peer === undefined ? null : await this.#netlink.link(spec.peer);
    const isWanted = link.kind === spec.kind && (spec.vxlanPort === undefined || (link.vxlan?.external === true && link.vxlan.port === spec.vxlanPort)) &&
      (spec.peer === undefined || (peer !== null && peer.ifindex === link.peerIfindex));
    if (isWanted) return link;
    await this.#netlink.deleteLink(link.ifindex);
    return null;
  }

  async #create(spec: LinkSpec): Promise<Link> {
    if (spec.kind === 'vxlan') await this.#netlink.createVxlan({name: spec.name, port: spec.vxlanPort ?? 8472, mtu: spec.mtu});
    else await this.#netlink.createVeth({name: spec.name, peer: spec.peer ?? `${spec.name}_peer`, mtu: spec.mtu});
    return this.#require(spec.name);
  }

  #enableIpv6(device: string): void {
    const write = (): void => writeFileSync(sysctlPath(`net.ipv6.conf.${device}.disable_ipv6`), '0');
    try {
      if (this.#netns === undefined) write();
      else inNetns(this.#netns, write);
    } catch (error) {
      throw new StentorError(codeOf(error) ?? 'EIO', `IPv6 cannot be enabled on ${device}`, {device}, {cause: error});
    }
  }

  async #require(name: string): Promise<Link> {
    const link = await this.#netlink.link(name);
    if (link === null) throw new StentorError('ENODEV', `the device ${name} is gone`, {device: name});
    return link;
  }

  async #ensureAddresses(ifindex: number, wanted: readonly string[]): Promise<void> {
    const has = (await this.#netlink.addresses(ifindex)).map((address) => address.address);
    for (const address of wanted) {
      if (!has.includes(address)) await this.#netlink.addAddress(ifindex, address);
    }
    for (const address of has) {
      if (!wanted.includes(address) && !isLinkLocal(address)) await this.#netlink.deleteAddress(ifindex, address);
    }
  }
}

/** As it is. What is down, or whose peer is elsewhere, equals nothing that is wanted. */
function describe(link: Link, peer: Link | undefined, addresses: readonly string[]): LinkSpec {
  const isUp = link.up && (link.kind !== 'veth' || peer?.up === true);
  return {
    name: link.name,
    kind: link.kind === 'vxlan' ? 'vxlan' : 'veth',
    mtu: isUp ? link.mtu : 0,
    addresses: addresses.filter((address) => !isLinkLocal(address)),
    noArp: link.noArp,
    ...(peer === undefined || link.kind !== 'veth' ? {} : {peer: peer.name}),
    ...(link.vxlan === null ? {} : {vxlanPort: link.vxlan.external ? link.vxlan.port : 0}),
  };
}

/** Made by the kernel for every device. */
function isLinkLocal(address: string): boolean {
  return address.startsWith('fe80:');
}
