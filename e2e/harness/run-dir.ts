// The folder of one run: everything that has to be found again by whoever cleans up, also after a crash.

import {appendFileSync, existsSync, mkdirSync, readFileSync, readdirSync, rmSync, symlinkSync, writeFileSync, renameSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {dirname, join} from 'node:path';
import {fileURLToPath} from 'node:url';

/** The checkout: `dist/e2e/harness/run-dir.js` lies three folders below it. */
export const ROOT = join(dirname(fileURLToPath(import.meta.url)), '..', '..', '..');

const RUNS = process.env['STENTOR_LAB_RUNS'] ?? join(tmpdir(), 'stentor-lab');
const CURRENT = 'current';

export interface RunRecord {
  /** First part of every name outside the folder: namespaces, bpffs folders, cgroups. */
  readonly prefix: string;
  readonly path: string;
  /** The process that owns the run. */
  readonly ownerPid: number;
}

export class RunDirectory {
  readonly prefix: string;
  readonly path: string;

  constructor(prefix: string, path: string) {
    this.prefix = prefix;
    this.path = path;
  }

  /** A new run of this process. `tag` tells several runs of one process apart. */
  static create(tag = ''): RunDirectory {
    const prefix = `lab${process.pid.toString(36)}${tag}`;
    const path = join(RUNS, prefix);
    if (existsSync(path)) throw new Error(`${path} exists: a former run was not cleaned up (make lab-down)`);
    mkdirSync(join(path, 'logs'), {recursive: true});
    const record: RunRecord = {prefix, path, ownerPid: process.pid};
    writeFileSync(join(path, 'run.json'), `${JSON.stringify(record)}\n`);
    return new RunDirectory(prefix, path);
  }

  /** Every run that has a folder, whoever owns it. */
  static all(): readonly RunRecord[] {
    if (!existsSync(RUNS)) return [];
    return readdirSync(RUNS)
      .filter((name) => name !== CURRENT && existsSync(join(RUNS, name, 'run.json')))
      .map((name) => JSON.parse(readFileSync(join(RUNS, name, 'run.json'), 'utf8')) as RunRecord);
  }

  /** The lab that `./lab` and `make lab-down` mean. */
  static current(): RunDirectory | null {
    const path = join(RUNS, CURRENT, 'run.json');
    if (!existsSync(path)) return null;
    const record = JSON.parse(readFileSync(path, 'utf8')) as RunRecord;
    return new RunDirectory(record.prefix, record.path);
  }

  makeCurrent(): void {
    const link = join(RUNS, CURRENT);
    rmSync(link, {force: true});
    symlinkSync(this.path, link);
  }

  file(...parts: readonly string[]): string {
    const path = join(this.path, ...parts);
    mkdirSync(dirname(path), {recursive: true});
    return path;
  }

  folder(...parts: readonly string[]): string {
    const path = join(this.path, ...parts);
    mkdirSync(path, {recursive: true});
    return path;
  }

  log(name: string): string {
    return this.file('logs', `${name}.log`);
  }

  /** Namespace `name` of this run. */
  netnsName(name: string): string {
    return `${this.prefix}-${name}`;
  }

  netnsPath(name: string): string {
    return `/run/netns/${this.netnsName(name)}`;
  }

  /** This run's folder in the BPF file system. */
  get bpfRoot(): string {
    return `/sys/fs/bpf/${this.prefix}`;
  }

  /** This run's cgroup. */
  get cgroupRoot(): string {
    const unified = existsSync('/sys/fs/cgroup/unified') ? '/sys/fs/cgroup/unified' : '/sys/fs/cgroup';
    return join(unified, this.prefix);
  }

  append(name: string, line: string): void {
    appendFileSync(this.file(name), `${line}\n`);
  }

  writeJson(name: string, value: unknown): void {
    const path = this.file(name);
    writeFileSync(`${path}.new`, `${JSON.stringify(value, null, 2)}\n`);
    renameSync(`${path}.new`, path);
  }

  remove(): void {
    const link = join(RUNS, CURRENT);
    const current = RunDirectory.current();
    if (current === null || current.path === this.path) rmSync(link, {force: true});
    rmSync(this.path, {recursive: true, force: true});
    if (existsSync(RUNS) && readdirSync(RUNS).length === 0) rmSync(RUNS, {recursive: true});
  }
}
