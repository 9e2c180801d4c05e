// Which program runs on which device: tcx links (pinned) on the node's devices, clsact filters on pods' (see docs/adr).

import {existsSync, readdirSync} from 'node:fs';
import {StentorError} from '../../lib/core/errors.js';
import type {ResourceName} from '../../lib/desired/node-state.js';
import {attachTcxAsync, BpfLink, type Direction} from '../kernel/attach.js';
import type {BpfProgram} from '../kernel/bpf.js';
import {attachClsact, detachClsact, queryClsactAll} from '../kernel/clsact.js';
import {unpin} from '../kernel/fd.js';
import type {Netlink} from '../kernel/netlink.js';
import type {NetnsHandle} from '../kernel/netns.js';
import type {Failure, Target} from './target.js';

export type AttachMode = 'tcx' | 'clsact';

/** A program on a hook, by the device's index: a device of the same name that was made anew is another. */
export interface AttachmentState {
  readonly device: string;
  readonly direction: Direction;
  /** Null while there is no such device. */
  readonly ifindex: number | null;
  readonly mode: AttachMode;
  readonly programName: string;
  readonly programId: number;
  readonly because: readonly ResourceName[];
}

export interface AttachmentsParts {
  readonly netlink: Netlink;
  /** Of the set that desired states were made from. */
  readonly program: (name: string) => BpfProgram | null;
  readonly netns?: NetnsHandle;
}

/** Cilium's prefix of every program: a filter with such a name is ours. */
const PROGRAM_PREFIX = 'cil_';

export function attachmentKey(state: Pick<AttachmentState, 'device' | 'direction'>): string {
  return `${state.device}/${state.direction}`;
}

export class AttachmentsTarget implements Target<string, AttachmentState> {
  readonly name = 'attachments';
  readonly #directory: string;
  readonly #parts: AttachmentsParts;
  /** What was found or made, for removal. */
  readonly #known = new Map<string, AttachmentState>();

  constructor(options: {readonly root: string}, parts: AttachmentsParts) {
    this.#directory = `${options.root}/links`;
    this.#parts = parts;
  }

  async load(): Promise<ReadonlyMap<string, AttachmentState>> {
    this.#known.clear();
    const links = (await this.#parts.netlink.links()).filter((link) => !link.loopback);
    const hooks = links.flatMap(({name, ifindex}) => (['ingress', 'egress'] as const).map((direction) => ({device: name, ifindex, direction})));
    const filters = await queryClsactAll(this.#parts.netlink, hooks);
    for (const [i, hook] of hooks.entries()) {
      const filter = filters[i] ?? null;
      if (filter === null || !filter.name.startsWith(PROGRAM_PREFIX)) continue;
      this.#know({...hook, mode: 'clsact', programName: filter.name, programId: filter.programId, because: []});
    }
    // A device with both is being moved from one to the other: the link counts, and the filter goes with the change.
    for (const state of this.#loadLinks()) this.#know(state);
    return new Map(this.#known);
  }

  async upsert(entries: readonly (readonly [string, AttachmentState])[]): Promise<readonly Failure<string>[]> {
    const failures: Failure<string>[] = [];
    for (const [key, state] of entries) {
      try {
        await this.#attach(state);
        this.#known.set(key, state);
      } catch (error) {
        if (!(error instanceof StentorError)) throw error;
        failures.push({key, error});
      }
    }
    return failures;
  }

  async remove(keys: readonly string[]): Promise<readonly Failure<string>[]> {
    const failures: Failure<string>[] = [];
    for (const key of keys) {
      const state = this.#known.get(key);
      if (state === undefined) continue;
      try {
        await this.#detach(state);
        this.#known.delete(key);
      } catch (error) {
        if (!(error instanceof StentorError)) throw error;
        failures.push({key, error});
      }
    }
    return failures;
  }

  equal(desired: AttachmentState, actual: AttachmentState): boolean {
    return desired.ifindex !== null && desired.ifindex === actual.ifindex && desired.programId === actual.programId && desired.mode === actual.mode;
  }

  owns(): boolean {
    return true;
  }

  because(state: AttachmentState): readonly ResourceName[] {
    return state.because;
  }

  #know(state: AttachmentState): void {
    this.#known.set(attachmentKey(state), state);
  }

  #loadLinks(): AttachmentState[] {
    const found: AttachmentState[] = [];
    if (!existsSync(this.#directory)) return found;
    for (const name of readdirSync(this.#directory)) {
      const where = parsePinName(name);
      const link = BpfLink.openPinned(`${this.#directory}/${name}`);
      if (where === null || link === null) continue;
      const {ifindex, programId} = link.info();
      link.close();
      found.push({...where, ifindex: ifindex === 0 ? null : ifindex, mode: 'tcx', programName: '', programId, because: []});
    }
    return found;
  }

  async #attach(state: AttachmentState): Promise<void> {
    const {device, direction, ifindex, programName} = state;
    if (ifindex === null) throw new StentorError('ENODEV', `there is no device ${device}`, {device, program: programName});
    const program = this.#parts.program(programName);
    if (program === null) throw new StentorError('NO_PROGRAM', `no object has a program ${programName}`, {device, program: programName});
    if (state.mode === 'tcx') {
      await this.#attachLink(state, program, ifindex);
      await detachClsact(this.#parts.netlink, ifindex, direction);
    } else {
      await attachClsact(this.#parts.netlink, program, {ifindex, direction}, `${programName}-${device}`);
      await this.#removeLink(state);
    }
  }

  async #attachLink(state: AttachmentState, program: BpfProgram, ifindex: number): Promise<void> {
    const path = this.#pinPath(state);
    const pinned = BpfLink.openPinned(path);
    if (pinned !== null) {
      try {
        if (pinned.info().ifindex === ifindex) {
          if (pinned.info().programId !== state.programId) pinned.update(program);
          return;
        }
        // Of a device that is gone: the descriptor lets go of it in a worker.
        unpin(path);
      } finally {
        await pinned.closeAsync();
      }
    }
    const link = await attachTcxAsync(program, ifindex, state.direction, this.#parts.netns);
    try {
      link.pin(path);
    } finally {
      await link.closeAsync();
    }
  }

  async #detach(state: AttachmentState): Promise<void> {
    if (state.mode === 'tcx') await this.#removeLink(state);
    else if (state.ifindex !== null) await detachClsact(this.#parts.netlink, state.ifindex, state.direction);
  }

  /** Unpinning would drop the last reference on this thread and wait 10 ms there; the descriptor does so in a worker. */
  async #removeLink(state: AttachmentState): Promise<void> {
    const path = this.#pinPath(state);
    const link = BpfLink.openPinned(path);
    unpin(path);
    await link?.closeAsync();
  }

  #pinPath(state: Pick<AttachmentState, 'device' | 'direction'>): string {
    return `${this.#directory}/${formatPinName(state)}`;
  }
}

/** bpffs refuses names with dots, which VLAN devices have. */
function formatPinName({device, direction}: Pick<AttachmentState, 'device' | 'direction'>): string {
  return `${device.replaceAll('%', '%25').replaceAll('.', '%2e')}-${direction}`;
}

function parsePinName(name: string): {device: string; direction: Direction} | null {
  const match = /^(.+)-(ingress|egress)$/.exec(name);
  const [, device, direction] = match ?? [];
  if (device === undefined || (direction !== 'ingress' && direction !== 'egress')) return null;
  return {device: device.replaceAll('%2e', '.').replaceAll('%25', '%'), direction};
}
