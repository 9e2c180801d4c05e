// Doors to bpf(2): maps, programs, and ELF objects through libbpf. Typed, and without any policy.

import {native, type NativeObject} from '../../bpf-native/index.js';
import {StentorError} from '../../lib/core/errors.js';
import {invariant} from '../../lib/core/invariant.js';
import {FlatParts, type FlatEntries} from './flat.js';
import {encodeInteger} from './integer.js';
import {check, EINVAL, ENOENT, ENOSPC, ENOTSUPP, kernelError} from './errno.js';
import {Fd, openPin, pin} from './fd.js';
import {readMapInfo, readProgramInfo, type MapInfo, type ProgramInfo} from './info.js';
import {isPerCpu, MAP_TYPES, mapTypeOf, type MapType} from './map-type.js';

export type {MapType} from './map-type.js';
export type {FlatEntries} from './flat.js';
export type {MapInfo, ProgramInfo} from './info.js';

export interface MapSpec {
  /** Cut to 15 bytes by the kernel's limit. */
  readonly name: string;
  readonly type: MapType;
  readonly keySize: number;
  readonly valueSize: number;
  readonly maxEntries: number;
  readonly flags: number;
  /** Of a map of maps: any map of the inner layout. */
  readonly innerMap?: BpfMap;
}

export type Entry = readonly [key: Uint8Array, value: Uint8Array];

const UPDATE_ANY = 0;
const BATCH_ENTRIES = 4096;
const KIND_PROGRAM = 0;
const KIND_MAP = 1;

export class BpfMap {
  readonly #fd: Fd;
  readonly #info: MapInfo;
  /** Bytes of a value as user space sees it: of all CPUs in a per-CPU map. */
  readonly valueBytes: number;

  private constructor(fd: Fd) {
    this.#fd = fd;
    this.#info = readMapInfo(fd);
    const {type, valueSize} = this.#info;
    this.valueBytes = isPerCpu(type) ? ((valueSize + 7) & ~7) * native().possibleCpus() : valueSize;
  }

  static create(spec: MapSpec): BpfMap {
    const inner = spec.innerMap?.fd ?? -1;
    const name = spec.name.slice(0, 15);
    const result = native().mapCreate(MAP_TYPES[spec.type], spec.keySize, spec.valueSize, spec.maxEntries, spec.flags, inner, name);
    return new BpfMap(new Fd(check(result, 'BPF_MAP_CREATE', {map: spec.name}), spec.name));
  }

  static openPinned(path: string): BpfMap | null {
    const fd = openPin(path);
    return fd === null ? null : BpfMap.own(fd);
  }

  /** Takes over `fd`; closes it when it is not a map's. */
  static own(fd: Fd): BpfMap {
    try {
      return new BpfMap(fd);
    } catch (error) {
      fd.close();
      throw error;
    }
  }

  static byId(id: number): BpfMap {
    return BpfMap.own(new Fd(check(native().fdById(KIND_MAP, id), 'BPF_MAP_GET_FD_BY_ID', {id}), `map ${id}`));
  }

  get fd(): number {
    return this.#fd.number;
  }

  info(): MapInfo {
    return this.#info;
  }

  lookup(key: Uint8Array): Uint8Array | null {
    const value = new Uint8Array(this.valueBytes);
    return this.lookupInto(key, value) ? value : null;
  }

  /** Without allocation. False when there is no such key. */
  lookupInto(key: Uint8Array, value: Uint8Array): boolean {
    this.#checkKey(key);
    this.#checkValue(value);
    const result = native().mapLookup(this.fd, key, value);
    if (result === -ENOENT) return false;
    this.#check(result, 'BPF_MAP_LOOKUP_ELEM');
    return true;
  }

  update(key: Uint8Array, value: Uint8Array, flags = UPDATE_ANY): void {
    this.#checkKey(key);
    this.#checkValue(value);
    const result = native().mapUpdate(this.#fd.number, key, value, flags);
    if (result < 0) this.#check(result, 'BPF_MAP_UPDATE_ELEM');
  }

  /** False when it was not there. */
  delete(key: Uint8Array): boolean {
    this.#checkKey(key);
    const result = native().mapDelete(this.fd, key);
    if (result === -ENOENT) return false;
    this.#check(result, 'BPF_MAP_DELETE_ELEM');
    return true;
  }

  entries(): Entry[] {
    const {count, keys, values} = this.dump();
    const {keySize} = this.#info;
    return Array.from({length: count}, (_unused, i): Entry => [
      keys.subarray(i * keySize, (i + 1) * keySize),
      values.subarray(i * this.valueBytes, (i + 1) * this.valueBytes),
    ]);
  }

  /** All entries, in batches where the map's type allows. Not a snapshot: the kernel may change the map meanwhile. */
  dump(): FlatEntries {
    const parts = new FlatParts(this.#info.keySize, this.valueBytes);
    for (const slice of this.slices(BATCH_ENTRIES)) parts.add(slice);
    return parts.take();
  }

  /** The same, and other work of the process runs between two batches. */
  async dumpAsync(): Promise<FlatEntries> {
    const parts = new FlatParts(this.#info.keySize, this.valueBytes);
    for (const slice of this.slices(BATCH_ENTRIES)) {
      parts.add(slice);
      await nextTurn();
    }
    return parts.take();
  }

  /** Part by part, for maps too large to hold the event loop for. A part is good until the next one is asked for. */
  * slices(entriesMax: number): Generator<FlatEntries> {
    const {keySize, maxEntries} = this.#info;
    // A hash bucket must fit into one batch; the cursor of generic maps is a key.
    let room = Math.min(maxEntries, entriesMax);
    let cursorIn: Uint8Array | null = null;
    let cursorOut: Uint8Array = new Uint8Array(Math.max(keySize, 8));
    const counter = new Uint32Array(1);
    let [keys, values] = [new Uint8Array(room * keySize), new Uint8Array(room * this.valueBytes)];
    for (;;) {
      counter[0] = room;
      const result = native().mapLookupBatch(this.fd, cursorIn, cursorOut, keys, values, bytesOf(counter));
      if (result === -ENOSPC && room < maxEntries) {
        room = Math.min(maxEntries, 2 * room);
        [keys, values] = [new Uint8Array(room * keySize), new Uint8Array(room * this.valueBytes)];
        continue;
      }
      if (cursorIn === null && isUnsupported(result)) {
        yield this.#dumpByKey();
        return;
      }
      if (result < 0 && result !== -ENOENT) throw this.#error(result, 'BPF_MAP_LOOKUP_BATCH');
      const count = counter[0] ?? 0;
      yield {count, keys: keys.subarray(0, count * keySize), values: values.subarray(0, count * this.valueBytes)};
      if (result === -ENOENT) return;
      [cursorIn, cursorOut] = [cursorOut, cursorIn ?? new Uint8Array(cursorOut.length)];
    }
  }

  updateBatch(entries: Iterable<Entry>): void {
    const flat = this.flatten(entries);
    const {done, error} = this.updateFlat(flat);
    if (error !== null) throw new StentorError(error.code, error.message, {...error.data, done});
  }

  /** Stops at the first entry that fails: `done` is its index. */
  updateFlat({keys, values, count}: FlatEntries, flags = UPDATE_ANY): {done: number; error: StentorError | null} {
    this.#checkFlat(keys, values, count);
    if (count === 0) return {done: 0, error: null};
    const counter = Uint32Array.of(count);
    const result = native().mapUpdateBatch(this.fd, keys, values, bytesOf(counter), flags);
    if (result === 0) return {done: count, error: null};
    const done = counter[0] ?? 0;
    if (done > 0 || !isUnsupported(result)) return {done, error: this.#error(result, 'BPF_MAP_UPDATE_BATCH')};
    return this.#updateSingly({keys, values, count}, flags);
  }

  /** In a worker: a map of maps waits for an RCU grace period once per batch. Resolves when all are written. */
  async updateFlatAsync({keys, values, count}: FlatEntries, flags = UPDATE_ANY): Promise<void> {
    this.#checkFlat(keys, values, count);
    if (count === 0) return;
    const result = await native().mapUpdateBatchAsync(this.fd, keys, values, count, flags);
    if (result < 0) throw this.#error(result, 'BPF_MAP_UPDATE_BATCH');
    invariant(result === count, 'a batch that succeeds is whole', {result, count});
  }

  /** In a worker: a slot of a map of maps waits for an RCU grace period. False when it was not there. */
  async deleteAsync(key: Uint8Array): Promise<boolean> {
    this.#checkKey(key);
    const result = await native().mapDeleteAsync(this.fd, key);
    if (result === -ENOENT) return false;
    this.#check(result, 'BPF_MAP_DELETE_ELEM');
    return true;
  }

  /** Keys that are not there are passed over. */
  deleteBatch(keys: readonly Uint8Array[]): void {
    const {keySize} = this.#info;
    const flat = new Uint8Array(keys.length * keySize);
    for (const [i, key] of keys.entries()) {
      this.#checkKey(key);
      flat.set(key, i * keySize);
    }
    const counter = new Uint32Array(1);
    for (let at = 0; at < keys.length;) {
      counter[0] = keys.length - at;
      const result = native().mapDeleteBatch(this.fd, flat.subarray(at * keySize), bytesOf(counter));
      const done = counter[0] ?? 0;
      if (at === 0 && done === 0 && isUnsupported(result)) {
        for (const key of keys) this.delete(key);
        return;
      }
      if (result !== -ENOENT) this.#check(result, 'BPF_MAP_DELETE_BATCH');
      // The kernel stops at a key that is not there.
      at += result === -ENOENT ? done + 1 : done;
    }
  }

  flatten(entries: Iterable<Entry>): FlatEntries {
    const list = [...entries];
    const {keySize} = this.#info;
    const keys = new Uint8Array(list.length * keySize);
    const values = new Uint8Array(list.length * this.valueBytes);
    for (const [i, [key, value]] of list.entries()) {
      this.#checkKey(key);
      this.#checkValue(value);
      keys.set(key, i * keySize);
      values.set(value, i * this.valueBytes);
    }
    return {count: list.length, keys, values};
  }

  pin(path: string): void {
    pin(this.#fd, path);
  }

  close(): void {
    this.#fd.close();
  }

  #updateSingly({keys, values, count}: FlatEntries, flags: number): {done: number; error: StentorError | null} {
    const {keySize} = this.#info;
    for (let i = 0; i < count; i++) {
      const key = keys.subarray(i * keySize, (i + 1) * keySize);
      const value = values.subarray(i * this.valueBytes, (i + 1) * this.valueBytes);
      const result = native().mapUpdate(this.fd, key, value, flags);
      if (result < 0) return {done: i, error: this.#error(result, 'BPF_MAP_UPDATE_ELEM')};
    }
    return {done: count, error: null};
  }

  #dumpByKey(): FlatEntries {
    const {keySize} = this.#info;
    const parts = new FlatParts(keySize, this.valueBytes);
    let key: Uint8Array | null = null;
    const value = new Uint8Array(this.valueBytes);
    for (;;) {
      const next = new Uint8Array(keySize);
      const result = native().mapNextKey(this.fd, key, next);
      if (result === -ENOENT) return parts.take();
      this.#check(result, 'BPF_MAP_GET_NEXT_KEY');
      key = next;
      // A key that went away between the two calls is not in the map.
      if (native().mapLookup(this.fd, key, value) === 0) parts.add({count: 1, keys: key, values: value});
    }
  }

  #checkKey(key: Uint8Array): void {
    if (key.length !== this.#info.keySize) invariant(false, 'the key has the map\'s key size', {map: this.#info.name, length: key.length});
  }

  #checkValue(value: Uint8Array): void {
    if (value.length !== this.valueBytes) invariant(false, 'the value has the map\'s value size', {map: this.#info.name, length: value.length});
  }

  #checkFlat(keys: Uint8Array, values: Uint8Array, count: number): void {
    const {keySize, name} = this.#info;
    invariant(keys.length >= count * keySize && values.length >= count * this.valueBytes, 'the batch holds its entries', {map: name, count});
  }

  #check(result: number, call: string): void {
    if (result < 0) throw this.#error(result, call);
  }

  #error(result: number, call: string): StentorError {
    return kernelError(result, call, {map: this.#info.name, id: this.#info.id});
  }
}

/** About 10 µs each: with more the kernel's own grace period, which does not hold the event loop, is the better choice. */
const VISITED_CPUS_MAX = 64;

/** True when every program of the network stack that was running at the time of the call is over (docs/adr/0004); false when that cannot be shown. */
export function programsEnded(): boolean {
  return native().cpusVisit(VISITED_CPUS_MAX) === 0;
}

/** Lets other work of the process run. */
export function nextTurn(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve);
  });
}

function bytesOf(words: Uint32Array): Uint8Array {
  return new Uint8Array(words.buffer, words.byteOffset, words.byteLength);
}

function isUnsupported(result: number): boolean {
  return result === -ENOTSUPP || result === -EINVAL;
}

export interface TestRunOptions {
  readonly data: Uint8Array;
  /** struct __sk_buff or xdp_md; the fields the kernel refuses must be zero. */
  readonly context?: Uint8Array;
  readonly repeat?: number;
}

export interface TestRunResult {
  readonly retval: number;
  readonly data: Uint8Array;
  readonly context: Uint8Array;
  /** Mean of one run. */
  readonly durationNs: number;
}

/** More than any program here adds to a packet. */
const TEST_RUN_HEADROOM = 512;

export class BpfProgram {
  readonly #fd: Fd;

  /** Takes over `fd`. */
  constructor(fd: Fd) {
    this.#fd = fd;
  }

  static openPinned(path: string): BpfProgram | null {
    const fd = openPin(path);
    return fd === null ? null : new BpfProgram(fd);
  }

  static byId(id: number): BpfProgram {
    return new BpfProgram(new Fd(check(native().fdById(KIND_PROGRAM, id), 'BPF_PROG_GET_FD_BY_ID', {id}), `program ${id}`));
  }

  get fd(): number {
    return this.#fd.number;
  }

  info(): ProgramInfo {
    return readProgramInfo(this.#fd);
  }

  pin(path: string): void {
    pin(this.#fd, path);
  }

  testRun(options: TestRunOptions): TestRunResult {
    const data = new Uint8Array(options.data.length + TEST_RUN_HEADROOM);
    const context = options.context === undefined ? null : new Uint8Array(options.context.length);
    const result = new Uint32Array(4);
    check(
      native().programTestRun(this.fd, options.data, data, options.context ?? null, context, options.repeat ?? 1, bytesOf(result)),
      'BPF_PROG_TEST_RUN',
    );
    const [retval = 0, durationNs = 0, dataLength = 0, contextLength = 0] = result;
    return {
      retval,
      durationNs,
      data: data.subarray(0, dataLength),
      context: context?.subarray(0, contextLength) ?? new Uint8Array(0),
    };
  }

  close(): void {
    this.#fd.close();
  }
}

export type VariableValue = number | bigint | Uint8Array;

export interface ObjectOptions {
  readonly name: string;
  /** `.rodata` variables by name; one that the object does not have is an error. */
  readonly rodata: ReadonlyMap<string, VariableValue>;
  /** Maps to use instead of creating them; one that the object does not have is an error. */
  readonly maps: ReadonlyMap<string, BpfMap>;
}

/** An ELF object through libbpf. Programs and maps taken from it have descriptors of their own and outlive it. */
export class BpfObject {
  readonly #native: NativeObject;
  readonly #name: string;

  private constructor(object: NativeObject, name: string) {
    this.#native = object;
    this.#name = name;
  }

  static open(bytes: Uint8Array, options: ObjectOptions): BpfObject {
    const result = native().objectOpen(bytes, options.name);
    if (typeof result === 'number') throw kernelError(result, 'bpf_object__open_mem', {object: options.name});
    const object = new BpfObject(result, options.name);
    try {
      for (const [name, value] of options.rodata) object.setVariable(name, value);
      for (const [name, map] of options.maps) object.reuseMap(name, map);
    } catch (error) {
      object.close();
      throw error;
    }
    return object;
  }

  hasVariable(name: string): boolean {
    const size = native().objectVariableSize(this.#native, name);
    if (size === -ENOENT) return false;
    this.#check(size, 'variable', {variable: name});
    return true;
  }

  setVariable(name: string, value: VariableValue): void {
    const size = this.#check(native().objectVariableSize(this.#native, name), 'variable', {variable: name});
    const bytes = value instanceof Uint8Array ? value : encodeInteger(value, size);
    this.#check(native().objectSetVariable(this.#native, name, bytes), 'variable', {variable: name, size, given: bytes.length});
  }

  /** Refuses a map of another layout: the program would read it wrongly. */
  reuseMap(name: string, map: BpfMap): void {
    const spec = new Uint32Array(5);
    this.#check(native().objectMapSpec(this.#native, name, bytesOf(spec)), 'map', {map: name});
    const [type = 0, keySize = 0, valueSize = 0] = spec;
    const has = map.info();
    if (type !== MAP_TYPES[has.type] || keySize !== has.keySize || valueSize !== has.valueSize) {
      const wanted = {type: mapTypeOf(type) ?? type, keySize, valueSize};
      throw new StentorError('MAP_LAYOUT', `${this.#name} and the existing map ${name} differ in layout`, {object: this.#name, map: name, wanted, has});
    }
    this.#check(native().objectReuseMap(this.#native, name, map.fd), 'bpf_map__reuse_fd', {map: name});
  }

  setAutoload(program: string, autoload: boolean): void {
    this.#check(native().objectSetAutoload(this.#native, program, autoload), 'bpf_program__set_autoload', {program});
  }

  /** Throws with the verifier's log in `data.log`. Blocks for milliseconds: the agent uses `loadAsync`. */
  load(): void {
    this.#loaded(native().objectLoad(this.#native));
  }

  async loadAsync(): Promise<void> {
    this.#loaded(await native().objectLoadAsync(this.#native));
  }

  program(name: string): BpfProgram {
    const fd = this.#check(native().objectProgramFd(this.#native, name), 'program', {program: name});
    return new BpfProgram(new Fd(fd, name));
  }

  map(name: string): BpfMap {
    const fd = this.#check(native().objectMapFd(this.#native, name), 'map', {map: name});
    return BpfMap.own(new Fd(fd, name));
  }

  programNames(): string[] {
    return this.#names(native().objectPrograms(this.#native));
  }

  mapNames(): string[] {
    return this.#names(native().objectMaps(this.#native));
  }

  close(): void {
    native().objectClose(this.#native);
  }

  #loaded(result: number): void {
    const log = native().objectLog(this.#native);
    if (result < 0) throw kernelError(result, 'bpf_object__load', {object: this.#name, log: typeof log === 'string' ? log : ''});
  }

  #names(result: string[] | number): string[] {
    if (typeof result === 'number') throw kernelError(result, 'bpf_object', {object: this.#name});
    return result;
  }

  #check(result: number, call: string, data: Readonly<Record<string, unknown>>): number {
    return check(result, call, {object: this.#name, ...data});
  }
}
