// What this kernel offers, found by asking it: one line per feature that something here depends on or falls back from.

import {statfsSync} from 'node:fs';
import {native} from '../../bpf-native/index.js';
import {StentorError} from '../../lib/core/errors.js';
import {BpfMap, type MapSpec} from './bpf.js';
import {check, codeOf, ENODEV, kernelError} from './errno.js';
import {Fd} from './fd.js';
import {MAP_FLAG_NO_PREALLOC} from './map-type.js';
import {Netlink} from './netlink.js';
import {passProgram} from './smallest-program.js';

export interface Feature {
  readonly name: string;
  readonly available: boolean;
  /** Why not: the call and its errno. Empty when available. */
  readonly reason: string;
}

const BPF_PROG_TYPE_SCHED_CLS = 3;
const TCX_INGRESS = 46;
const NO_SUCH_IFINDEX = 0x7ffffff0;
const BPF_FS_MAGIC = 0xcafe4a11;

/** Helpers by number, with the arguments that make the verifier accept the call. */
const HELPERS = {
  bpf_redirect_neigh: {id: 152, instructions: [mov(1, 1), mov(2, 0), mov(3, 0), mov(4, 0)]},
  bpf_redirect_peer: {id: 155, instructions: [mov(1, 1), mov(2, 0)]},
  bpf_ktime_get_boot_ns: {id: 125, instructions: []},
} as const;

export interface ProbeOptions {
  /** Where objects are to be pinned. */
  readonly bpfRoot: string;
}

/** Makes nothing that lasts and touches no device. */
export async function probeFeatures(options: ProbeOptions): Promise<Feature[]> {
  return [
    feature('bpf', () => passProgram('probe').close()),
    feature('bpffs', () => probeBpffs(options.bpfRoot)),
    feature('lpm_trie', () => probeMap({type: 'lpm_trie', keySize: 8, valueSize: 4, flags: MAP_FLAG_NO_PREALLOC})),
    feature('lru_hash', () => probeMap({type: 'lru_hash', keySize: 4, valueSize: 4, flags: 0})),
    feature('ringbuf', () => probeMap({type: 'ringbuf', keySize: 0, valueSize: 0, flags: 0, maxEntries: 4096})),
    feature('map_in_map', probeMapInMap),
    feature('map_batch', probeBatch),
    ...Object.entries(HELPERS).map(([name, {id, instructions}]) => feature(name, () => probeHelper(id, instructions))),
    feature('tcx', probeTcx),
    await asyncFeature('rtnetlink', async () => {
      const netlink = Netlink.open();
      try {
        await netlink.links();
      } finally {
        netlink.close();
      }
    }),
  ];
}

/** The names of `wanted` that are not available, with their reasons. */
export function missingFeatures(features: readonly Feature[], wanted: readonly string[]): readonly Feature[] {
  return wanted.flatMap((name) => {
    const found = features.find((candidate) => candidate.name === name);
    if (found === undefined) return [{name, available: false, reason: 'not probed'}];
    return found.available ? [] : [found];
  });
}

function feature(name: string, body: () => void): Feature {
  try {
    body();
    return {name, available: true, reason: ''};
  } catch (error) {
    return {name, available: false, reason: reasonOf(error)};
  }
}

async function asyncFeature(name: string, body: () => Promise<void>): Promise<Feature> {
  try {
    await body();
    return {name, available: true, reason: ''};
  } catch (error) {
    return {name, available: false, reason: reasonOf(error)};
  }
}

function reasonOf(error: unknown): string {
  if (error instanceof StentorError) return error.message;
  return codeOf(error) ?? String(error);
}

function probeBpffs(root: string): void {
  for (let path = root; path !== ''; path = path.slice(0, path.lastIndexOf('/'))) {
    const type = filesystemOf(path);
    if (type === null) continue;
    if (type !== BPF_FS_MAGIC) throw new StentorError('NOT_BPFFS', `${path} is not on a BPF file system: mount -t bpf bpf ${path}`, {path});
    return;
  }
  throw new StentorError('NOT_BPFFS', `${root} does not exist`, {path: root});
}

/** Null when there is no such path yet. */
function filesystemOf(path: string): number | null {
  try {
    return statfsSync(path).type;
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return null;
    throw error;
  }
}

function probeMap(spec: Omit<MapSpec, 'name' | 'maxEntries'> & {readonly maxEntries?: number}): void {
  BpfMap.create({name: 'probe', maxEntries: 1, ...spec}).close();
}

function probeMapInMap(): void {
  const inner = BpfMap.create({name: 'probe', type: 'lpm_trie', keySize: 8, valueSize: 4, maxEntries: 1, flags: MAP_FLAG_NO_PREALLOC});
  try {
    probeMap({type: 'array_of_maps', keySize: 4, valueSize: 4, flags: 0, innerMap: inner});
  } finally {
    inner.close();
  }
}

function probeBatch(): void {
  const map = BpfMap.create({name: 'probe', type: 'hash', keySize: 4, valueSize: 4, maxEntries: 1, flags: 0});
  try {
    const count = Uint8Array.of(1, 0, 0, 0);
    check(native().mapUpdateBatch(map.fd, new Uint8Array(4), new Uint8Array(4), count, 0), 'BPF_MAP_UPDATE_BATCH');
  } finally {
    map.close();
  }
}

/** A kernel with tcx misses the device; one without refuses the attach type before it looks. */
function probeTcx(): void {
  const program = passProgram('probe');
  try {
    const result = native().linkCreate(program.fd, NO_SUCH_IFINDEX, TCX_INGRESS, -1);
    if (result >= 0) new Fd(result, 'probe').close();
    if (result !== -ENODEV) throw kernelError(result, 'BPF_LINK_CREATE');
  } finally {
    program.close();
  }
}

function probeHelper(id: number, setup: readonly Uint8Array[]): void {
  const program = Buffer.concat([...setup, call(id), mov(0, 0), Uint8Array.of(0x95, 0, 0, 0, 0, 0, 0, 0)]);
  const instructions = new Uint8Array(program.buffer, program.byteOffset, program.length);
  const fd = check(native().programLoad(BPF_PROG_TYPE_SCHED_CLS, 0, instructions, 'GPL', 'probe'), 'BPF_PROG_LOAD');
  new Fd(fd, 'probe').close();
}

/** rN = value */
function mov(register: number, value: number): Uint8Array {
  return Uint8Array.of(0xb7, register, 0, 0, value, 0, 0, 0);
}

function call(helper: number): Uint8Array {
  return Uint8Array.of(0x85, 0, 0, 0, helper, 0, 0, 0);
}
