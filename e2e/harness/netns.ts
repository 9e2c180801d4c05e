// Network namespaces of a run, and iproute2 inside them. Links are made where they belong: the machine's own namespace is never touched.

import {existsSync, readFileSync, readdirSync, readlinkSync, statSync} from 'node:fs';
import type {RunDirectory} from './run-dir.js';
import {must, pause, run} from './shell.js';

export class Netns {
  /** Without the run's prefix: `leaf0`. */
  readonly name: string;
  readonly fullName: string;
  readonly path: string;

  constructor(run_: RunDirectory, name: string) {
    this.name = name;
    this.fullName = run_.netnsName(name);
    this.path = run_.netnsPath(name);
  }

  static async create(run_: RunDirectory, name: string): Promise<Netns> {
    const netns = new Netns(run_, name);
    run_.append('namespaces', netns.fullName);
    await must(['ip', 'netns', 'add', netns.fullName]);
    await netns.ip(['link set lo up']);
    return netns;
  }

  /** iproute2 commands, one per item, in one process. */
  async ip(commands: readonly string[]): Promise<void> {
    await must(['ip', '-n', this.fullName, '-batch', '-'], {input: `${commands.join('\n')}\n`});
  }

  /** `ip -j …` inside the namespace. */
  async ipJson<T>(args: readonly string[]): Promise<T> {
    const text = await must(['ip', '-n', this.fullName, '-j', ...args]);
    return JSON.parse(text === '' ? '[]' : text) as T;
  }

  async sysctl(values: Readonly<Record<string, string | number>>): Promise<void> {
    const settings = Object.entries(values).map(([key, value]) => `${key}=${value}`);
    await must(['sysctl', '-q', '-w', ...settings], {netns: this.path});
  }

  exists(): boolean {
    return existsSync(this.path);
  }

  /** Ends what runs in it, then deletes it. */
  async remove(): Promise<void> {
    if (!this.exists()) return;
    await killAllIn(this.path);
    await run(['ip', 'netns', 'delete', this.fullName]);
  }
}

/** A veth pair between two namespaces, both ends up. */
export async function connect(a: Netns, aDevice: string, b: Netns, bDevice: string): Promise<void> {
  await must(['ip', '-n', a.fullName, 'link', 'add', aDevice, 'type', 'veth', 'peer', 'name', bDevice, 'netns', b.fullName]);
  await a.ip([`link set ${aDevice} up`]);
  await b.ip([`link set ${bDevice} up`]);
}

/** What a forwarding namespace needs: no reverse-path filter, no redirects, flow hashing over ports. */
export const ROUTER_SYSCTLS: Readonly<Record<string, number>> = {
  'net.ipv4.ip_forward': 1,
  'net.ipv4.conf.all.rp_filter': 0,
  'net.ipv4.conf.default.rp_filter': 0,
  'net.ipv4.conf.all.send_redirects': 0,
  'net.ipv4.conf.default.send_redirects': 0,
  'net.ipv4.fib_multipath_hash_policy': 1,
  'net.ipv6.conf.all.disable_ipv6': 1,
  'net.ipv6.conf.default.disable_ipv6': 1,
};

/** Processes whose network namespace is the one at `path`. */
export function pidsIn(path: string): readonly number[] {
  if (!existsSync(path)) return [];
  return pidsOfInode(statSync(path).ino);
}

function pidsOfInode(inode: number): readonly number[] {
  const wanted = `net:[${inode}]`;
  return readdirSync('/proc').filter((name) => /^\d+$/.test(name)).map(Number).filter((pid) => {
    try {
      return readlinkSync(`/proc/${pid}/ns/net`) === wanted && !isZombie(pid);
    } catch {
      return false;
    }
  });
}

function isZombie(pid: number): boolean {
  return /^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
}

export async function killAllIn(path: string): Promise<void> {
  for (let round = 0; round < 80; round++) {
    const pids = pidsIn(path);
    if (pids.length === 0) return;
    for (const pid of pids) {
      try {
        process.kill(pid, 'SIGKILL');
      } catch {
        // It ended by itself.
      }
    }
    await pause(25);
  }
}
