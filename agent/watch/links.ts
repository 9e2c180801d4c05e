// The devices of this node and their addresses, read again whenever the kernel says that something has changed.

import type {Log} from '../../lib/run/log.js';
import {errorFields} from '../../lib/run/log.js';
import {deepEqual} from '../../lib/core/equal.js';
import {POD_DEVICE} from '../../lib/domain/devices.js';
import type {Netlink} from '../kernel/netlink.js';
import type {NetlinkChange} from '../kernel/netlink-watch.js';
import type {LocalLink} from '../model/local.js';

export interface LinkWatchParts {
  readonly netlink: Netlink;
  readonly log: Log;
}

export class LinkWatch {
  readonly #parts: LinkWatchParts;
  readonly #listeners = new Set<() => void>();
  #links: ReadonlyMap<string, LocalLink> = new Map();
  #podLinks: ReadonlyMap<string, number> = new Map();
  #reading: Promise<void> | null = null;
  #again = false;
  #unsubscribe: (() => void) | null = null;

  constructor(parts: LinkWatchParts) {
    this.#parts = parts;
  }

  /** By name; another object only when something has changed. */
  get all(): ReadonlyMap<string, LocalLink> {
    return this.#links;
  }

  /** ifindex of every pod link that was there at the last reading. */
  get podLinks(): ReadonlyMap<string, number> {
    return this.#podLinks;
  }

  onChange(listener: () => void): void {
    this.#listeners.add(listener);
  }

  async start(): Promise<void> {
    // Subscribed before the first reading: a change between the two is not lost.
    this.#unsubscribe = this.#parts.netlink.subscribe(['link', 'address4', 'address6'], (change) => {
      if (this.#isOfPod(change)) return;
      this.refresh().catch((error: unknown) => this.#parts.log.warn('links cannot be read', errorFields(error)));
    });
    await this.refresh();
  }

  /** Pods' links come and go with the endpoints, which know them better: of one that is known nothing has to be read. */
  #isOfPod({kind, ifindex, removed}: NetlinkChange): boolean {
    if (kind !== 'link' || ifindex === null) return false;
    const known = [...this.#podLinks].find(([, index]) => index === ifindex);
    if (known === undefined) return false;
    if (removed) this.#podLinks = new Map([...this.#podLinks].filter((link) => link !== known));
    return true;
  }

  stop(): void {
    this.#unsubscribe?.();
    this.#unsubscribe = null;
  }

  /** Resolves when a reading that began after this call is done. Calls during a reading share the next one. */
  async refresh(): Promise<void> {
    if (this.#reading !== null) {
      this.#again = true;
      await this.#reading;
      return;
    }
    this.#reading = this.#readUntilQuiet();
    try {
      await this.#reading;
    } finally {
      this.#reading = null;
    }
  }

  async #readUntilQuiet(): Promise<void> {
    do {
      this.#again = false;
      await this.#read();
    } while (this.#again);
  }

  async #read(): Promise<void> {
    const [links, addresses] = await Promise.all([this.#parts.netlink.links(), this.#parts.netlink.addresses()]);
    const byIndex = new Map<number, string[]>();
    for (const {ifindex, address} of addresses) byIndex.set(ifindex, [...(byIndex.get(ifindex) ?? []), address]);
    const podLinks = links.filter(({name}) => POD_DEVICE.test(name));
    this.#podLinks = new Map(podLinks.map(({name, ifindex}) => [name, ifindex]));
    const next = new Map(links.filter(({name}) => !POD_DEVICE.test(name)).map(({ifindex, name, mac, mtu, up}): [string, LocalLink] =>
      [name, {ifindex, name, mac, mtu, up, addresses: byIndex.get(ifindex) ?? []}]));
    if (deepEqual(next, this.#links)) return;
    this.#links = next;
    for (const listener of this.#listeners) listener();
  }
}
