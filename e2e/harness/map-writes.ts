// Counts writes to BPF maps from outside: by tracing the bpf(2) calls of the agents, not by asking them.

import {spawn, type ChildProcess} from 'node:child_process';
import {existsSync, readFileSync, rmSync} from 'node:fs';
import type {RunDirectory} from './run-dir.js';
import {must, until} from './shell.js';

export interface MapWrite {
  readonly pid: number;
  /** Kernel name of the map, at most 15 characters; empty when the descriptor is gone. */
  readonly map: string;
  readonly call: string;
}

/** Maps whose entries belong to connections, not to the desired state. */
const CONNECTION_MAPS = /^cilium_(ct|nat|snat|metrics|events|nodeport)|_ct\d?_|any\d_global/;

const STRACE = ['strace', '-f', '-qq', '-e', 'trace=bpf'] as const;

export class MapWriteTrace {
  /** Null where the traced process was started by its tracer. */
  readonly #child: ChildProcess | null;
  readonly #file: string;

  private constructor(child: ChildProcess | null, file: string) {
    this.#child = child;
    this.#file = file;
  }

  /** Resolves when every process is being traced. */
  static async start(pids: readonly number[], run: RunDirectory): Promise<MapWriteTrace> {
    const file = run.file('captures', `bpf-${process.hrtime.bigint().toString(36)}.strace`);
    const child = spawn('setpriv', ['--pdeathsig', 'INT', '--', ...STRACE, '-o', file, ...pids.flatMap((pid) => ['-p', String(pid)])], {stdio: 'ignore'});
    await until('strace is attached', {timeoutMs: 10_000, intervalMs: 20}, () =>
      pids.every((pid) => /^TracerPid:\s+[1-9]/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'))) ? true : null);
    return new MapWriteTrace(child, file);
  }

  /** From the first instruction of a process on: its command goes behind `wrapper`. The tracer ends with it. */
  static wrapping(run: RunDirectory): {readonly wrapper: readonly string[]; readonly trace: MapWriteTrace} {
    const file = run.file('captures', `bpf-${process.hrtime.bigint().toString(36)}.strace`);
    return {wrapper: [...STRACE, '-D', '--seccomp-bpf', '-o', file, '--'], trace: new MapWriteTrace(null, file)};
  }

  /** Ends the trace. Descriptors are looked up while the processes live. */
  async stop(): Promise<readonly MapWrite[]> {
    const child = this.#child;
    if (child !== null) {
      const closed = new Promise<void>((resolve) => {
        child.once('close', () => resolve());
      });
      child.kill('SIGINT');
      await closed;
    }
    const lines = existsSync(this.#file) ? readFileSync(this.#file, 'utf8').split('\n') : [];
    const names = await mapNames();
    rmSync(this.#file, {force: true});
    return lines.flatMap((line) => {
      const match = /^(\d+)\s+bpf\((BPF_MAP_(?:UPDATE_ELEM|DELETE_ELEM|UPDATE_BATCH|DELETE_BATCH|LOOKUP_AND_DELETE_ELEM|FREEZE|CREATE)).*?(?:map_fd=(\d+))?[,}]/.exec(line);
      if (match === null) return [];
      const fd = /map_fd=(\d+)/.exec(line)?.[1];
      return [{pid: Number(match[1]), call: match[2] ?? '', map: fd === undefined ? '' : nameOf(Number(match[1]), fd, names)}];
    });
  }
}

/** Writes to maps that hold desired state. */
export function stateWrites(writes: readonly MapWrite[]): readonly MapWrite[] {
  return writes.filter((write) => !CONNECTION_MAPS.test(write.map));
}

async function mapNames(): Promise<ReadonlyMap<string, string>> {
  const maps = JSON.parse(await must(['bpftool', '-j', 'map', 'show'])) as readonly {readonly id: number; readonly name?: string}[];
  return new Map(maps.map((map) => [String(map.id), map.name ?? '']));
}

/** Thread ids have their process's descriptors. */
function nameOf(pid: number, fd: string, names: ReadonlyMap<string, string>): string {
  try {
    const id = /^map_id:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/fdinfo/${fd}`, 'utf8'))?.[1];
    return names.get(id ?? '') ?? '';
  } catch {
    return '';
  }
}
