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

export class MapWriteTrace {
  readonly #child: ChildProcess;
  readonly #file: string;

  private constructor(child: ChildProcess, file: string) {
    this.#child = child;
    this.#file = file;
  }

  /** Resolves when every process is being traced. */
  static async start(pids: readonly number[], run: RunDirectory): Promise<MapWriteTrace> {
    const file = run.file('captures', `bpf-${process.hrtime.bigint().toString(36)}.strace`);
    const child = spawn('setpriv', ['--pdeathsig', 'INT', '--', 'strace', '-f', '-qq', '-e', 'trace=bpf', '-o', file, ...pids.flatMap((pid) => ['-p', String(pid)])], {stdio: 'ignore'});
    await until('strace is attached', {timeoutMs: 10_000, intervalMs: 20}, () =>
      pids.every((pid) => /^TracerPid:\s+[1-9]/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'))) ? true : null);
    return new MapWriteTrace(child, file);
  }

  /** Ends the trace. Descriptors are looked up while the processes live. */
  async stop(): Promise<readonly MapWrite[]> {
    const closed = new Promise<void>((resolve) => {
      this.#child.once('close', () => resolve());
    });
    this.#child.kill('SIGINT');
    await closed;
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
