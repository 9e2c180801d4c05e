// Kernel settings of the node's namespace. Set when they differ; never set back: what they were before is not ours to know.

import {readFileSync, writeFileSync} from 'node:fs';
import {StentorError} from '../../lib/core/errors.js';
import type {ResourceName} from '../../lib/desired/node-state.js';
import {codeOf} from '../kernel/errno.js';
import {inNetns, type NetnsHandle} from '../kernel/netns.js';
import type {Failure, Target} from './target.js';

export class SysctlsTarget implements Target<string, string> {
  readonly name = 'sysctls';
  readonly #netns: NetnsHandle | undefined;

  constructor(parts: {readonly netns?: NetnsHandle}) {
    this.#netns = parts.netns;
  }

  async load(desired: ReadonlyMap<string, string>): Promise<ReadonlyMap<string, string>> {
    const found = new Map<string, string>();
    for (const key of desired.keys()) {
      const value = this.#inside(() => read(key));
      if (value !== null) found.set(key, value);
    }
    return found;
  }

  async upsert(entries: readonly (readonly [string, string])[]): Promise<readonly Failure<string>[]> {
    return entries.flatMap(([key, value]) => {
      const error = this.#inside(() => write(key, value));
      return error === null ? [] : [{key, error}];
    });
  }

  async remove(): Promise<readonly Failure<string>[]> {
    return [];
  }

  equal(desired: string, actual: string): boolean {
    return desired === actual;
  }

  owns(): boolean {
    return false;
  }

  because(): readonly ResourceName[] {
    return [];
  }

  #inside<T>(body: () => T): T {
    return this.#netns === undefined ? body() : inNetns(this.#netns, body);
  }
}

const OF_DEVICE = /^net\.(ipv4|ipv6)\.(conf|neigh)\.(.+)\.([^.]+)$/;

/** Dots part the name, but a device's own dots are its own: `net.ipv4.conf.eth0.100.forwarding`. */
export function sysctlPath(key: string): string {
  const [, family, table, device, leaf] = OF_DEVICE.exec(key) ?? [];
  if (device === undefined) return `/proc/sys/${key.replaceAll('.', '/')}`;
  return `/proc/sys/net/${family}/${table}/${device}/${leaf}`;
}

/** Null when the kernel has no such setting (yet). */
function read(key: string): string | null {
  try {
    return readFileSync(sysctlPath(key), 'utf8').trim().replaceAll('\t', ' ');
  } catch {
    return null;
  }
}

function write(key: string, value: string): StentorError | null {
  try {
    writeFileSync(sysctlPath(key), value);
    return null;
  } catch (error) {
    return new StentorError(codeOf(error) ?? 'EIO', `${key} cannot be set to ${value}`, {sysctl: key, value}, {cause: error});
  }
}
