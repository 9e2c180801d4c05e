// The datapath's object set: loaded once per (objects, .rodata, maps), pinned, found again by a process without memory.

import {createHash} from 'node:crypto';
import {existsSync, mkdirSync, readdirSync, renameSync, rmdirSync} from 'node:fs';
import {keepLast} from '../../lib/core/keep-last.js';
import {compareStrings, sortedEntries} from '../../lib/core/order.js';
import {StentorError} from '../../lib/core/errors.js';
import type {Log} from '../../lib/run/log.js';
import {BpfObject, BpfProgram, type BpfMap} from '../kernel/bpf.js';
import {unpin} from '../kernel/fd.js';
import {hex} from './bpf-map.js';

export interface ObjectFile {
  /** As libbpf names it, up to 15 bytes: `st_endpoint`. */
  readonly name: string;
  readonly bytes: Uint8Array;
}

export type ProgramConfig = ReadonlyMap<string, number | bigint | Uint8Array>;

export interface LoadedProgram {
  readonly program: BpfProgram;
  /** The kernel's. */
  readonly id: number;
}

export interface ProgramSet {
  /** Hash of all that went into it: equal id, equal programs. */
  readonly id: string;
  readonly programs: ReadonlyMap<string, LoadedProgram>;
}

export interface ProgramSetsParts {
  readonly objects: readonly ObjectFile[];
  readonly maps: ReadonlyMap<string, BpfMap>;
  readonly log: Log;
}

export class ProgramSets {
  readonly #directory: string;
  readonly #parts: ProgramSetsParts;
  readonly #objectsHash: string;
  readonly #idOf = keepLast((config: ProgramConfig) => this.#hash(config));
  #current: ProgramSet | null = null;
  #loads = 0;

  constructor(options: {readonly root: string}, parts: ProgramSetsParts) {
    this.#directory = `${options.root}/progs`;
    this.#parts = parts;
    this.#objectsHash = hashObjects(parts.objects);
  }

  /** Sets loaded into the kernel since start: none when all were found pinned. */
  get loads(): number {
    return this.#loads;
  }

  /** The set for `config`: the one in hand, the one a process before this one has pinned, or a new one. */
  async ensure(config: ProgramConfig): Promise<ProgramSet> {
    const id = this.#idOf(config);
    if (this.#current?.id === id) return this.#current;
    const set = this.#openPinned(id) ?? await this.#load(id, config);
    this.close();
    this.#current = set;
    return set;
  }

  /** To be called when nothing is attached from another set any more: its tail-call maps empty themselves without a pin. */
  removeOthers(): void {
    if (!existsSync(this.#directory)) return;
    for (const name of readdirSync(this.#directory)) {
      if (name !== this.#current?.id) removeDirectory(`${this.#directory}/${name}`);
    }
  }

  close(): void {
    for (const {program} of this.#current?.programs.values() ?? []) program.close();
    this.#current = null;
  }

  #hash(config: ProgramConfig): string {
    const hash = createHash('sha256').update(this.#objectsHash);
    for (const [name, value] of sortedEntries(config)) hash.update(`${name}=${value instanceof Uint8Array ? hex(value) : value.toString()}\n`);
    // A map that was made anew is another map: programs keep the one they were loaded with.
    for (const [name, map] of sortedEntries(this.#parts.maps)) hash.update(`${name}#${map.info().id}\n`);
    return hash.digest('hex').slice(0, 16);
  }

  #openPinned(id: string): ProgramSet | null {
    const directory = `${this.#directory}/${id}`;
    if (!existsSync(directory)) return null;
    const programs = new Map<string, LoadedProgram>();
    for (const name of readdirSync(directory)) {
      if (isMapPin(name)) continue;
      const program = BpfProgram.openPinned(`${directory}/${name}`);
      if (program !== null) programs.set(name, {program, id: program.info().id});
    }
    return {id, programs};
  }

  /** A directory under its final name is whole: it is filled under another and renamed. */
  async #load(id: string, config: ProgramConfig): Promise<ProgramSet> {
    const loading = `${this.#directory}/loading-${id}`;
    if (existsSync(loading)) removeDirectory(loading);
    mkdirSync(loading, {recursive: true, mode: 0o700});
    const programs = new Map<string, LoadedProgram>();
    const objects: BpfObject[] = [];
    try {
      for (const file of this.#parts.objects) objects.push(this.#open(file));
      setVariables(objects, config);
      for (const object of objects) {
        await object.loadAsync();
        this.#pin(object, loading, programs);
      }
      renameSync(loading, `${this.#directory}/${id}`);
    } catch (error) {
      for (const {program} of programs.values()) program.close();
      removeDirectory(loading);
      throw error;
    } finally {
      for (const object of objects) object.close();
    }
    this.#loads++;
    this.#parts.log.info('programs loaded', {set: id, programs: programs.size});
    return {id, programs};
  }

  #open(file: ObjectFile): BpfObject {
    const object = BpfObject.open(file.bytes, {name: file.name, rodata: new Map(), maps: new Map()});
    try {
      for (const name of object.mapNames()) {
        const map = this.#parts.maps.get(name);
        if (map !== undefined) object.reuseMap(name, map);
      }
      return object;
    } catch (error) {
      object.close();
      throw error;
    }
  }

  #pin(object: BpfObject, directory: string, programs: Map<string, LoadedProgram>): void {
    for (const name of object.mapNames()) {
      if (this.#parts.maps.has(name)) continue;
      const map = object.map(name);
      try {
        map.pin(`${directory}/${MAP_PIN_PREFIX}${name}`);
      } finally {
        map.close();
      }
    }
    for (const name of object.programNames()) {
      if (programs.has(name)) throw new StentorError('DUPLICATE_PROGRAM', `two objects have a program ${name}`, {program: name});
      const program = object.program(name);
      programs.set(name, {program, id: program.info().id});
      program.pin(`${directory}/${name}`);
    }
  }
}

/** Maps of the set's own (tail calls): in the set's directory, and gone with it. */
const MAP_PIN_PREFIX = 'map-';

function isMapPin(name: string): boolean {
  return name.startsWith(MAP_PIN_PREFIX);
}

function hashObjects(objects: readonly ObjectFile[]): string {
  const hash = createHash('sha256');
  for (const {name, bytes} of [...objects].sort((a, b) => compareStrings(a.name, b.name))) hash.update(`${name} ${bytes.length}\n`).update(bytes);
  return hash.digest('hex');
}

/** Each object has the variables it uses; one that none has is a mistake somewhere. */
function setVariables(objects: readonly BpfObject[], config: ProgramConfig): void {
  for (const [name, value] of config) {
    const users = objects.filter((object) => object.hasVariable(name));
    if (users.length === 0) throw new StentorError('UNKNOWN_VARIABLE', `no object has the variable ${name}`, {variable: name});
    for (const object of users) object.setVariable(name, value);
  }
}

function removeDirectory(directory: string): void {
  for (const name of readdirSync(directory)) unpin(`${directory}/${name}`);
  rmdirSync(directory);
}
