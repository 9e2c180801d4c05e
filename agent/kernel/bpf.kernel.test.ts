// Maps, programs and ring buffers through their doors, on the real kernel.

import {afterAll, describe, expect, test} from '@jest/globals';
import {execFileSync} from 'node:child_process';
import {mkdtempSync, readFileSync, rmSync, writeFileSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {native} from '../../bpf-native/index.js';
import {eventually} from '../../lib/testing/netns.js';
import {BpfMap, BpfObject, BpfProgram, type MapSpec} from './bpf.js';
import {RingBuffer} from './ringbuf.js';
import {passProgram} from './smallest-program.js';

const scratch = mkdtempSync(`${tmpdir()}/native-bpf-`);
const root = '/sys/fs/bpf/native-bpf-test';
afterAll(() => {
  rmSync(scratch, {recursive: true});
  rmSync(root, {recursive: true, force: true});
});

function u32(value: number): Uint8Array {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, value, true);
  return bytes;
}
function word(bytes: Uint8Array, at = 0): number {
  return new DataView(bytes.buffer, bytes.byteOffset).getUint32(at, true);
}
const prefix = (bits: number, last: number): Uint8Array => Uint8Array.of(bits, 0, 0, 0, 10, 0, last >> 8, last & 255);

describe('maps', () => {
  const kinds: readonly (readonly [string, Omit<MapSpec, 'name'>, (i: number) => Uint8Array])[] = [
    ['hash', {type: 'hash', keySize: 4, valueSize: 4, maxEntries: 20_000, flags: 0}, u32],
    ['hash without preallocation', {type: 'hash', keySize: 4, valueSize: 4, maxEntries: 20_000, flags: 1}, u32],
    ['lru_hash', {type: 'lru_hash', keySize: 4, valueSize: 4, maxEntries: 60_000, flags: 0}, u32],
    ['lpm_trie', {type: 'lpm_trie', keySize: 8, valueSize: 4, maxEntries: 20_000, flags: 1}, (i) => prefix(32, i)],
  ];
  test.each(kinds)('%s: what is written in one batch is read back, and deleted, gaps passed over', (_name, spec, key) => {
    const map = BpfMap.create({name: 'batch', ...spec});
    const count = 10_000;
    map.updateBatch(Array.from({length: count}, (_unused, i) => [key(i), u32(i + 1)] as const));
    const entries = map.entries();
    expect(entries).toHaveLength(count);
    expect(new Set(entries.map(([, value]) => word(value))).size).toBe(count);
    expect(map.lookup(key(77))).toEqual(u32(78));
    expect(map.delete(key(1))).toBe(true);
    expect(map.delete(key(1))).toBe(false);
    expect(map.lookup(key(1))).toBeNull();
    map.deleteBatch([0, 1, 2, 1, 3].map(key));
    expect(map.dump().count).toBe(count - 4);
    map.close();
    expect(() => map.fd).toThrow(expect.objectContaining({code: 'EBADF'}));
    map.close();
  });

  test('an array has all its keys', () => {
    const map = BpfMap.create({name: 'array', type: 'array', keySize: 4, valueSize: 8, maxEntries: 5_000, flags: 0});
    expect(map.dump().count).toBe(5_000);
    map.close();
  });

  test('a per-CPU value is that of all CPUs', () => {
    const map = BpfMap.create({name: 'percpu', type: 'percpu_hash', keySize: 4, valueSize: 4, maxEntries: 10, flags: 0});
    expect(map.valueBytes).toBe(8 * native().possibleCpus());
    const value = new Uint8Array(map.valueBytes).fill(3);
    map.update(u32(1), value);
    expect(map.entries()[0]?.[1].filter((_byte, i) => i % 8 < 4).every((byte) => byte === 3)).toBe(true);
    map.close();
  });

  test('a batch stops at what is refused and says where', () => {
    const map = BpfMap.create({name: 'full', type: 'hash', keySize: 4, valueSize: 4, maxEntries: 2, flags: 0});
    const flat = map.flatten([0, 1, 2, 3].map((i) => [u32(i), u32(i)] as const));
    expect(map.updateFlat(flat)).toEqual({done: 2, error: expect.objectContaining({code: 'E2BIG', data: expect.objectContaining({map: 'full'})})});
    expect(() => map.updateBatch([[u32(9), u32(9)]])).toThrow(expect.objectContaining({code: 'E2BIG'}));
    map.close();
  });

  test('sizes are checked before the kernel reads or writes', () => {
    const map = BpfMap.create({name: 'sizes', type: 'hash', keySize: 4, valueSize: 4, maxEntries: 2, flags: 0});
    for (const call of [() => map.lookup(new Uint8Array(3)), () => map.update(u32(1), new Uint8Array(5)), () => map.delete(new Uint8Array(8)),
      () => map.updateFlat({count: 2, keys: new Uint8Array(4), values: new Uint8Array(8)})]) expect(call).toThrow('size');
    map.close();
  });

  test('slots of a map of maps, in one batch', async () => {
    const inner = (): BpfMap => BpfMap.create({name: 'inner', type: 'lpm_trie', keySize: 8, valueSize: 4, maxEntries: 4, flags: 1});
    const [first, second] = [inner(), inner()];
    const outer = BpfMap.create({name: 'outer', type: 'array_of_maps', keySize: 4, valueSize: 4, maxEntries: 100, flags: 0, innerMap: first});
    await outer.updateFlatAsync(outer.flatten([3, 4, 5].map((slot) => [u32(slot), u32(slot === 5 ? second.fd : first.fd)] as const)));
    expect(outer.entries().map(([slot, id]) => [word(slot), word(id)])).toEqual([[3, first.info().id], [4, first.info().id], [5, second.info().id]]);
    expect(await outer.deleteAsync(u32(4))).toBe(true);
    expect(await outer.deleteAsync(u32(4))).toBe(false);
    await expect(outer.updateFlatAsync(outer.flatten([[u32(100), u32(first.fd)]]))).rejects.toMatchObject({code: 'E2BIG'});
    for (const map of [first, second, outer]) map.close();
  });

  test('a pin is found again, another name is not', () => {
    const map = BpfMap.create({name: 'a_very_long_name_of_a_map', type: 'hash', keySize: 4, valueSize: 4, maxEntries: 2, flags: 0});
    map.pin(`${root}/maps/pinned`);
    const again = BpfMap.openPinned(`${root}/maps/pinned`);
    expect(again?.info()).toEqual(map.info());
    expect(map.info().name).toBe('a_very_long_nam');
    expect(BpfMap.openPinned(`${root}/maps/other`)).toBeNull();
    expect(() => map.pin(`${root}/maps/pinned`)).toThrow(expect.objectContaining({code: 'EEXIST'}));
    expect(() => BpfMap.byId(0x7fffffff)).toThrow(expect.objectContaining({code: 'ENOENT'}));
    again?.close();
    map.close();
  });

  test('one update from JavaScript costs a system call and little more', () => {
    const map = BpfMap.create({name: 'speed', type: 'hash', keySize: 4, valueSize: 8, maxEntries: 50_000, flags: 0});
    const [key, value] = [new Uint8Array(4), new Uint8Array(8)];
    const view = new DataView(key.buffer);
    const rounds = Array.from({length: 5}, () => {
      const start = performance.now();
      for (let i = 0; i < 20_000; i++) {
        view.setUint32(0, i, true);
        map.update(key, value);
      }
      return (performance.now() - start) / 20_000;
    });
    // About 1.2 µs on the test machine; the bound only catches a conversion or an allocation that crept in.
    expect(Math.min(...rounds) * 1000).toBeLessThan(6);
    map.close();
  });
});

describe('objects and ring buffers', () => {
  writeFileSync(`${scratch}/ring.c`, `
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
struct {__uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 1 << 16);} events SEC(".maps");
struct {__uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 1); __uint(key_size, 4); __uint(value_size, 8);} sequence SEC(".maps");
volatile const __u64 tag;
volatile const __u8 bytes[4];
SEC("tc") int emit(struct __sk_buff *skb)
{
	__u32 zero = 0;
	__u64 *n = bpf_map_lookup_elem(&sequence, &zero), *record = bpf_ringbuf_reserve(&events, 24, 0);
	if (!record) return 1;
	record[0] = tag; record[1] = n ? (*n)++ : 0; record[2] = bytes[3];
	if (n && *n % 10 == 0) bpf_ringbuf_discard(record, 0); else bpf_ringbuf_submit(record, 0);
	return 0;
}
char licence_text[] SEC("license") = "GPL";
`);
  execFileSync('clang-19', ['-O2', '-g', '--target=bpf', '-mcpu=v3', `-I/usr/include/${process.arch === 'arm64' ? 'aarch64' : 'x86_64'}-linux-gnu`, '-c', `${scratch}/ring.c`, '-o', `${scratch}/ring.o`]);
  const elf = new Uint8Array(readFileSync(`${scratch}/ring.o`));

  test('records arrive whole, in order, without those discarded; what does not fit is refused to the program', async () => {
    const object = BpfObject.open(elf, {name: 'ring', maps: new Map(), rodata: new Map<string, bigint | Uint8Array>([['tag', 2n ** 60n], ['bytes', Uint8Array.of(1, 2, 3, 4)]])});
    await object.loadAsync();
    const [program, map] = [object.program('emit'), object.map('events')];
    object.close();
    const records: Uint8Array[] = [];
    const ring = RingBuffer.open(map, (some) => records.push(...some));
    expect(program.testRun({data: new Uint8Array(64), repeat: 100}).retval).toBe(0);
    await eventually(() => (records.length === 90 ? true : null));
    const numbers = records.map((record) => Number(new DataView(record.buffer, record.byteOffset).getBigUint64(8, true)));
    expect(numbers).toEqual(Array.from({length: 100}, (_unused, i) => i).filter((i) => i % 10 !== 9));
    expect(new DataView(records[0]?.buffer ?? new ArrayBuffer(24), records[0]?.byteOffset).getBigUint64(0, true)).toBe(2n ** 60n);
    expect(records[0]?.[16]).toBe(4);
    // 65,536 bytes hold 2,048 records of 32: the ring wraps many times when it is drained in between.
    for (let i = 0; i < 20; i++) {
      program.testRun({data: new Uint8Array(64), repeat: 1_000});
      ring.drain();
    }
    expect(records).toHaveLength(90 + 18_000);
    expect(program.testRun({data: new Uint8Array(64), repeat: 5_000}).retval).toBe(1);
    ring.close();
    ring.close();
    expect(() => ring.drain()).toThrow(expect.objectContaining({code: 'EBADF'}));
    program.close();
    map.close();
  });

  test('with a rest between drains nothing is lost, and a ring that fell silent is waited for again', async () => {
    const object = BpfObject.open(elf, {name: 'ring', maps: new Map(), rodata: new Map()});
    await object.loadAsync();
    const [program, map] = [object.program('emit'), object.map('events')];
    object.close();
    const rests: (() => void)[] = [];
    let drained = 0;
    const ring = RingBuffer.open(map, (records) => void (drained += records.length), {rest: () => new Promise((resolve) => void rests.push(resolve))});
    const emit = (records: number): number => program.testRun({data: new Uint8Array(64), repeat: records}).retval;
    const endRest = async (): Promise<void> => (await eventually(() => rests.shift() ?? null))();
    try {
      for (const burst of [1, 2]) {
        const before = drained;
        emit(5);
        await eventually(() => (rests.length === 1 ? true : null));
        const atWakeUp = drained;
        expect(atWakeUp).toBeGreaterThan(before);
        // Nobody looks while it rests; what came is handed over together after it.
        emit(4);
        expect(drained).toBe(atWakeUp);
        await endRest();
        await eventually(() => (rests.length === 1 ? true : null));
        // The program discards its tenth record: the first of the second burst.
        expect(drained - before).toBe(burst === 1 ? 9 : 8);
        await endRest();
      }
    } finally {
      ring.close();
      program.close();
      map.close();
    }
    expect(rests).toEqual([]);
  });

  test('what the object does not have is an error, and so is a value of another size or a map of another layout', () => {
    const options = {name: 'ring', maps: new Map(), rodata: new Map()};
    expect(() => BpfObject.open(elf, {...options, rodata: new Map([['none', 1]])})).toThrow(expect.objectContaining({code: 'ENOENT'}));
    expect(() => BpfObject.open(elf, {...options, rodata: new Map([['bytes', new Uint8Array(3)]])})).toThrow(expect.objectContaining({code: 'EINVAL'}));
    expect(() => BpfObject.open(new Uint8Array(100), options)).toThrow(expect.objectContaining({code: expect.any(String)}));
    const other = BpfMap.create({name: 'sequence', type: 'array', keySize: 4, valueSize: 16, maxEntries: 1, flags: 0});
    expect(() => BpfObject.open(elf, {...options, maps: new Map([['sequence', other]])})).toThrow(expect.objectContaining({code: 'MAP_LAYOUT'}));
    other.close();
    const object = BpfObject.open(elf, options);
    expect(object.hasVariable('tag')).toBe(true);
    expect(object.hasVariable('licence_text')).toBe(false);
    expect(() => object.setVariable('tag', 2n ** 64n)).toThrow('fits');
    object.close();
    expect(() => object.programNames()).toThrow(expect.objectContaining({code: 'EBADF'}));
  });

  test('a pinned program is found again and has the same id', () => {
    const program = passProgram('pinned', 3);
    program.pin(`${root}/progs/pinned`);
    const again = BpfProgram.openPinned(`${root}/progs/pinned`);
    expect(again?.info()).toEqual(program.info());
    expect(again?.testRun({data: new Uint8Array(64), context: new Uint8Array(192)})).toMatchObject({retval: 3, context: expect.any(Uint8Array)});
    expect(() => again?.testRun({data: new Uint8Array(64), context: new Uint8Array(192).fill(1, 0, 4)})).toThrow(expect.objectContaining({code: 'EINVAL'}));
    again?.close();
    program.close();
    expect(BpfProgram.openPinned(`${root}/progs/none`)).toBeNull();
  });
});
