// Every export of the addon: each wrong argument throws and names it, errnos come back as numbers, closing twice is an error.

import {afterAll, describe, expect, test} from '@jest/globals';
import {execFileSync} from 'node:child_process';
import {closeSync, mkdtempSync, openSync, readFileSync, readdirSync, rmSync, writeFileSync} from 'node:fs';
import {constants, tmpdir} from 'node:os';
import {fileURLToPath} from 'node:url';
import {native, type NativeObject, type NativeRing, type NativeWatch} from './index.js';

const {EBADF, EEXIST, EINVAL, ENOENT, EAGAIN, ENODEV, EPERM, EBUSY, E2BIG} = constants.errno;
const api = native();
const table: Readonly<Record<string, unknown>> = {...api};

const HASH = 1;
const RINGBUF = 27;
const SCHED_CLS = 3;
const opened: number[] = [];
const scratch = mkdtempSync(`${tmpdir()}/native-`);
const pins = '/sys/fs/bpf/native-addon-test';

function bytes(...values: number[]): Uint8Array {
  return Uint8Array.from(values);
}
function hash(maxEntries = 8): number {
  const fd = api.mapCreate(HASH, 4, 4, maxEntries, 0, -1, 'addon_test');
  expect(fd).toBeGreaterThan(0);
  opened.push(fd);
  return fd;
}
function program(): number {
  const fd = api.programLoad(SCHED_CLS, 0, bytes(0xb7, 0, 0, 0, 7, 0, 0, 0, 0x95, 0, 0, 0, 0, 0, 0, 0), 'GPL', 'addon_test');
  expect(fd).toBeGreaterThan(0);
  opened.push(fd);
  return fd;
}
function compiled(): Uint8Array {
  writeFileSync(`${scratch}/t.c`, `
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
struct {__uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 2); __uint(key_size, 4); __uint(value_size, 8); __uint(pinning, LIBBPF_PIN_BY_NAME);} counts SEC(".maps");
volatile const __u32 answer = 1;
volatile const __u8 small = 1;
SEC("tc") int first(struct __sk_buff *skb) { __u32 zero = 0; __u64 *count = bpf_map_lookup_elem(&counts, &zero); if (count) (*count)++; return answer + small; }
SEC("tc") int broken(struct __sk_buff *skb) { return *(volatile int *)1; }
char licence_text[] SEC("license") = "GPL";
`);
  execFileSync('clang-19', ['-O2', '-g', '--target=bpf', '-mcpu=v3', `-I/usr/include/${process.arch === 'arm64' ? 'aarch64' : 'x86_64'}-linux-gnu`, '-c', `${scratch}/t.c`, '-o', `${scratch}/t.o`]);
  return new Uint8Array(readFileSync(`${scratch}/t.o`));
}

afterAll(() => {
  for (const name of ['objectLoad', 'objectLoadAsync'] as const) call('objectClose', CALLS[name]);
  for (const fd of opened) closeSync(fd);
  rmSync(scratch, {recursive: true});
  rmSync(pins, {recursive: true, force: true});
});

const map = hash();
const prog = program();
const ringFd = api.mapCreate(RINGBUF, 0, 0, 4096, 0, -1, 'addon_ring');
opened.push(ringFd);
const elf = compiled();
const four = new Uint8Array(4);
const object = must<NativeObject>(api.objectOpen(elf, 'addon_test'));
const ring = must<NativeRing>(api.ringOpen(ringFd, 4096));
const watch = must<NativeWatch>(api.watchOpen(ringFd, () => undefined));

function must<T extends object>(value: T | number): T {
  if (typeof value === 'number') throw new Error(`opened, not ${value}`);
  return value;
}

/** A right argument list for each export: every wrong one below is made from it. No call with it leaves anything open. */
const CALLS: Readonly<Record<keyof typeof api, readonly unknown[]>> = {
  mapCreate: [HASH, 0, 4, 1, 0, -1, 'refused'],
  mapLookup: [map, four, four],
  mapUpdate: [map, four, four, 0],
  mapDelete: [map, four],
  mapNextKey: [map, null, four],
  mapLookupBatch: [map, null, new Uint8Array(8), new Uint8Array(32), new Uint8Array(32), bytes(8, 0, 0, 0)],
  mapUpdateBatch: [map, four, four, bytes(1, 0, 0, 0), 0],
  mapDeleteBatch: [map, four, bytes(1, 0, 0, 0)],
  mapUpdateBatchAsync: [map, four, four, 1, 0],
  mapDeleteAsync: [map, four],
  objPin: [map, '/nowhere/map'],
  objGet: ['/sys/fs/bpf/native-none'],
  objInfo: [map, new Uint8Array(88)],
  fdById: [1, 0x7fffffff],
  programLoad: [SCHED_CLS, 0, new Uint8Array(8), 'GPL', 'refused'],
  programTestRun: [prog, new Uint8Array(64), null, null, null, 1, new Uint8Array(16)],
  possibleCpus: [],
  objectOpen: [bytes(1, 2, 3), 'refused'],
  objectVariableSize: [object, 'answer'],
  objectSetVariable: [object, 'answer', four],
  objectMapSpec: [object, 'counts', new Uint8Array(20)],
  objectReuseMap: [object, 'none', map],
  objectSetAutoload: [object, 'none', false],
  objectLoad: [must<NativeObject>(api.objectOpen(elf, 'broken'))],
  objectLoadAsync: [must<NativeObject>(api.objectOpen(elf, 'broken'))],
  objectLog: [object],
  objectPrograms: [object],
  objectMaps: [object],
  objectProgramFd: [object, 'first'],
  objectMapFd: [object, 'none'],
  objectClose: [must<NativeObject>(api.objectOpen(elf, 'closed'))],
  linkCreate: [prog, 0x7ffffff0, 46, -1],
  linkCreateAsync: [prog, 0x7ffffff0, 46, -1],
  linkUpdate: [map, prog, -1],
  linkDetach: [map],
  programQuery: [1, 46, -1, new Uint8Array(16)],
  ringOpen: [map, 4096],
  ringAvailable: [ring],
  ringDrain: [ring, new Uint8Array(8)],
  ringClose: [must<NativeRing>(api.ringOpen(ringFd, 4096))],
  netlinkOpen: [-1, 99, 0],
  netlinkExchange: [map, new Uint8Array(16), 1],
  netlinkReceive: [map, four],
  setns: [map],
  watchOpen: [-1, () => undefined],
  watchClose: [must<NativeWatch>(api.watchOpen(ringFd, () => undefined))],
  mallocSettings: [8, 128 << 10],
  mallocTrim: [],
  cpusVisit: [64],
};

function call(name: string, args: readonly unknown[]): unknown {
  const fn = table[name];
  if (typeof fn !== 'function') throw new Error(`no export ${name}`);
  return (fn as (...all: unknown[]) => unknown)(...args);
}

/** For an argument like `right`: values of other types, and out of range. */
function wrongFor(name: string, right: unknown): readonly unknown[] {
  const others: unknown[] = [undefined, Symbol('x'), [], {}];
  if (typeof right === 'number') return [...others, 'x', null, 1.5, 2 ** 53, -(2 ** 40), Number.NaN];
  if (typeof right === 'string') return [...others, 1, null, 'x'.repeat(5000), 'nul\0inside'];
  if (typeof right === 'boolean') return [...others, 1, null];
  if (typeof right === 'function') return [...others, 1, null];
  if (right instanceof Uint8Array) return [...others, 1, new Uint32Array(4), new Uint8Array(0), new ArrayBuffer(8)];
  if (right === null) return [...others, 1, new Uint32Array(4)];
  return [...others, 1, null, name.startsWith('ring') ? watch : ring];
}

test('the declared exports are the exports, in the same order', () => {
  const declared = [...readFileSync(fileURLToPath(new URL('../../bpf-native/native.d.ts', import.meta.url)), 'utf8').matchAll(/^ {2}(\w+)\(/gm)].map((match) => match[1]);
  expect(declared.length).toBeGreaterThan(40);
  expect(declared).toEqual(Object.keys(table));
  expect(Object.keys(CALLS)).toEqual(declared);
});

describe.each(Object.entries(CALLS))('%s', (name, right) => {
  test('another number of arguments', () => {
    expect(() => call(name, [...right, 0])).toThrow(expect.objectContaining({code: 'ERR_INVALID_ARG'}));
    if (right.length > 0) expect(() => call(name, right.slice(1))).toThrow(expect.objectContaining({code: 'ERR_INVALID_ARG'}));
  });

  for (const [i, value] of right.entries()) {
    test(`argument ${i}`, () => {
      for (const wrong of wrongFor(name, value)) {
        expect(() => call(name, right.with(i, wrong))).toThrow(expect.objectContaining({code: 'ERR_INVALID_ARG'}));
      }
    });
  }

  test('the right arguments do not throw', async () => {
    const result = await call(name, right);
    expect(['number', 'string', 'object']).toContain(typeof result);
  });
});

describe('errnos', () => {
  test('memory', () => {
    expect(api.mallocSettings(0, 4096)).toBe(-EINVAL);
    expect(api.mallocSettings(1, -1)).toBe(-EINVAL);
    expect(api.mallocSettings(8, 128 << 10)).toBe(0);
  });

  test('maps', async () => {
    const full = hash(1);
    expect(api.mapLookup(full, four, new Uint8Array(4))).toBe(-ENOENT);
    expect(api.mapDelete(full, four)).toBe(-ENOENT);
    expect(await api.mapDeleteAsync(full, four)).toBe(-ENOENT);
    expect(api.mapNextKey(full, null, new Uint8Array(4))).toBe(-ENOENT);
    expect(api.mapUpdate(full, four, four, 0)).toBe(0);
    expect(api.mapUpdate(full, four, four, 1)).toBe(-EEXIST);
    expect(api.mapUpdate(full, bytes(1, 0, 0, 0), four, 0)).toBe(-E2BIG);
    expect(api.mapUpdate(full, four, four, 99)).toBe(-EINVAL);
    expect(api.mapUpdate(9999, four, four, 0)).toBe(-EBADF);
    expect(await api.mapUpdateBatchAsync(9999, four, four, 1, 0)).toBe(-EBADF);
    expect(api.mapCreate(HASH, 4, 4, 0, 0, -1, 'x')).toBe(-EINVAL);
    const count = bytes(2, 0, 0, 0);
    expect(api.mapUpdateBatch(full, bytes(0, 0, 0, 0, 1, 0, 0, 0), new Uint8Array(8), count, 0)).toBe(-E2BIG);
    expect(count[0]).toBe(1);
    const refused = bytes(2, 0, 0, 0);
    expect(api.mapUpdateBatch(full, new Uint8Array(8), new Uint8Array(8), refused, 0x8000)).toBe(-EINVAL);
    expect(refused[0]).toBe(0);
  });

  test('pins and ids', () => {
    expect(api.objPin(map, '/tmp/native-not-bpffs')).toBe(-EPERM);
    expect(api.objPin(9999, '/sys/fs/bpf/native-none')).toBe(-EINVAL);
    expect(api.objGet('/sys/fs/bpf/native-none')).toBe(-ENOENT);
    expect(api.fdById(1, 0x7fffffff)).toBe(-ENOENT);
    expect(() => api.fdById(3, 1)).toThrow(expect.objectContaining({code: 'ERR_INVALID_ARG'}));
  });

  test('objects', async () => {
    expect(api.objectOpen(bytes(1, 2, 3), 'x')).toBeLessThan(0);
    expect(api.objectVariableSize(object, 'none')).toBe(-ENOENT);
    expect(api.objectSetVariable(object, 'small', four)).toBe(-EINVAL);
    expect(api.objectProgramFd(object, 'first')).toBe(-ENOENT);
    expect(api.objectMaps(object)).toEqual(['counts']);
    expect(api.objectPrograms(object)).toEqual(['first', 'broken']);
    const loading = api.objectLoadAsync(object);
    expect(api.objectLoad(object)).toBe(-EBUSY);
    expect(await api.objectLoadAsync(object)).toBe(-EBUSY);
    expect(api.objectClose(object)).toBe(-EBUSY);
    expect(api.objectLog(object)).toBe(-EBUSY);
    expect(await loading).toBeLessThan(0);
    expect(api.objectLog(object)).toContain('BEGIN PROG LOAD LOG');
    expect(api.objectClose(object)).toBe(0);
    expect(api.objectClose(object)).toBe(-EBADF);
    expect(api.objectLoad(object)).toBe(-EBADF);
    expect(await api.objectLoadAsync(object)).toBe(-EBADF);
    expect(api.objectPrograms(object)).toBe(-EBADF);
  });

  test('an object whose broken program is left out: values, reuse, pins of its own', () => {
    const good = must<NativeObject>(api.objectOpen(elf, 'good'));
    const counts = api.mapCreate(2, 4, 8, 2, 0, -1, 'counts');
    opened.push(counts);
    expect(api.objectSetAutoload(good, 'broken', false)).toBe(0);
    expect(api.objectSetVariable(good, 'answer', bytes(40, 0, 0, 0))).toBe(0);
    expect(api.objectSetVariable(good, 'small', bytes(2))).toBe(0);
    expect(api.objectReuseMap(good, 'counts', counts)).toBe(0);
    expect(api.objectLoad(good)).toBe(0);
    const first = api.objectProgramFd(good, 'first');
    expect(api.objectClose(good)).toBe(0);
    const result = new Uint32Array(4);
    expect(api.programTestRun(first, new Uint8Array(64), null, null, null, 3, new Uint8Array(result.buffer))).toBe(0);
    expect(result[0]).toBe(42);
    const value = new Uint8Array(8);
    expect(api.mapLookup(counts, four, value)).toBe(0);
    expect(value[0]).toBe(3);
    // The object asks to be pinned by name; where things are pinned is the caller's.
    expect(api.objGet('/sys/fs/bpf/counts')).toBe(-ENOENT);
    closeSync(first);
  });

  test('links, rings, sockets, watches', async () => {
    expect(api.linkCreate(prog, 0x7ffffff0, 46, -1)).toBe(-ENODEV);
    expect(await api.linkCreateAsync(prog, 0x7ffffff0, 46, -1)).toBe(-ENODEV);
    expect(api.linkCreate(prog, 1, 46, map)).toBe(-EINVAL);
    expect(api.linkDetach(9999)).toBe(-EBADF);
    expect(api.ringOpen(9999, 4096)).toBe(-EBADF);
    expect(api.ringAvailable(ring)).toBe(0);
    expect(api.ringClose(ring)).toBe(0);
    for (const again of [api.ringClose(ring), api.ringAvailable(ring), api.ringDrain(ring, new Uint8Array(8))]) expect(again).toBe(-EBADF);
    expect(api.netlinkOpen(map, 0, 0)).toBe(-EINVAL);
    expect(api.setns(map)).toBe(-EINVAL);
    const socket = api.netlinkOpen(-1, 0, 0);
    opened.push(socket);
    expect(api.netlinkReceive(socket, new Uint8Array(64))).toBe(-EAGAIN);
    expect(api.watchClose(watch)).toBe(0);
    expect(api.watchClose(watch)).toBe(-EBADF);
    const file = openSync(`${scratch}/t.c`, 'r');
    expect(api.watchOpen(file, () => undefined)).toBe(-EPERM);
    closeSync(file);
  });

  test('a visit is made by a thread of its own, which leaves this one as it was', () => {
    const affinity = (): string => field(readFileSync('/proc/thread-self/status', 'utf8'), 'Cpus_allowed');
    const before = affinity();
    expect(api.cpusVisit(0)).toBe(-E2BIG);
    expect(api.cpusVisit(1024)).toBe(0);
    const switches = Number(field(visitor(), 'voluntary_ctxt_switches'));
    for (let i = 0; i < 10; i++) expect(api.cpusVisit(1024)).toBe(0);
    expect(Number(field(visitor(), 'voluntary_ctxt_switches')) - switches).toBeGreaterThanOrEqual(10);
    expect(affinity()).toBe(before);
  });
});

/** `/proc/…/status` of the thread that visits. */
function visitor(): string {
  const all = readdirSync('/proc/self/task').map((id) => readFileSync(`/proc/self/task/${id}/status`, 'utf8'));
  return all.find((status) => field(status, 'Name') === 'cpus-visit') ?? '';
}

function field(status: string, name: string): string {
  return new RegExp(`^${name}:\\s*(.*)$`, 'm').exec(status)?.[1] ?? '';
}
