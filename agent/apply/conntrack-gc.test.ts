import {describe, expect, test} from '@jest/globals';
import {realClock} from '../../lib/run/clock.js';
import {silentLog} from '../../lib/run/log.js';
import {CT_ENTRY, CT_TUPLE, CT_TUPLE6} from '../maps/ct.js';
import {NAT_ENTRY, NAT_ENTRY6, NAT_IN, NAT_OUT} from '../maps/nat.js';
import type {SweptMap} from './conntrack-gc.js';
import {ConntrackGc, nextInterval} from './conntrack-gc.js';

/** A map in memory, given out in slices of two. */
class MemoryMap implements SweptMap {
  readonly entries = new Map<string, {key: Uint8Array; value: Uint8Array}>();

  put(key: Uint8Array, value: Uint8Array): void {
    this.entries.set(Buffer.from(key).toString('hex'), {key, value});
  }

  * slices() {
    const all = [...this.entries.values()];
    for (let at = 0; at < all.length; at += 2) {
      const part = all.slice(at, at + 2);
      yield {count: part.length, keys: Buffer.concat(part.map(({key}) => key)), values: Buffer.concat(part.map(({value}) => value))};
    }
  }

  lookup(key: Uint8Array): Uint8Array | null {
    return this.entries.get(Buffer.from(key).toString('hex'))?.value ?? null;
  }

  deleteBatch(keys: readonly Uint8Array[]): void {
    for (const key of keys) this.entries.delete(Buffer.from(key).toString('hex'));
  }
}

const NOW = 10_000;
const OPTIONS = {intervalMs: 300_000, intervalMinMs: 10_000, intervalMaxMs: 43_200_000};

type Tuple = Parameters<typeof CT_TUPLE.encode>[0];
const TCP: Tuple = {source: '10.98.0.5', destination: '1.1.1.1', sourcePort: 40000, destinationPort: 443, protocol: 6, flags: 0};

function connection(map: MemoryMap, tuple: Partial<Tuple>, lifetime: number): void {
  const none = {judged: 0n, backendId: 0n, packets: 0n, bytes: 0n, flags: 0, revNat: 0, ifindex: 0, txFlagsSeen: 0, rxFlagsSeen: 0, sourceIdentity: 0, lastTxReport: 0, lastRxReport: 0};
  map.put(CT_TUPLE.encode({...TCP, ...tuple}), CT_ENTRY.encode({...none, lifetime}));
}

function translation(map: MemoryMap, out: Partial<Tuple>, createdSeconds: number, to = {address: '10.1.5.10', port: 50000}): void {
  const key = {...TCP, ...out, flags: NAT_OUT};
  const created = BigInt(createdSeconds) * 1_000_000_000n;
  map.put(CT_TUPLE.encode(key), NAT_ENTRY.encode({created, needsCt: 0n, toAddress: to.address, toPort: to.port}));
  const back = {...key, source: key.destination, sourcePort: key.destinationPort, destination: to.address, destinationPort: to.port, flags: NAT_IN};
  map.put(CT_TUPLE.encode(back), NAT_ENTRY.encode({created, needsCt: 0n, toAddress: key.source, toPort: key.sourcePort}));
}

function started() {
  const [tcp, any, nat] = [new MemoryMap(), new MemoryMap(), new MemoryMap()];
  const ipv6 = {tcp: new MemoryMap(), any: new MemoryMap(), nat: new MemoryMap()};
  const gc = new ConntrackGc(OPTIONS, {tcp, any, nat, ipv6, clock: realClock, bootSeconds: () => NOW, log: silentLog});
  return {tcp, any, nat, ipv6, gc, sweep: () => gc.sweep(new AbortController().signal)};
}

describe('ConntrackGc', () => {
  test('what has outlived its time goes, the rest stays, over any number of slices', async () => {
    const {tcp, any, sweep} = started();
    for (let i = 0; i < 5; i++) connection(tcp, {sourcePort: 100 + i}, i % 2 === 0 ? NOW - 1 : NOW + 1);
    connection(any, {protocol: 17}, NOW);
    expect(await sweep()).toMatchObject({tcp: {alive: 2, deleted: 3}, any: {alive: 1, deleted: 0}});
    expect([...tcp.entries.values()].map(({key}) => CT_TUPLE.decode(key).sourcePort).sort((a, b) => a - b)).toEqual([101, 103]);
  });

  test('a translation goes with its connection, both halves; young ones and the node’s own stay', async () => {
    const {tcp, any, nat, sweep} = started();
    connection(tcp, {sourcePort: 1}, NOW + 100);
    translation(nat, {sourcePort: 1}, NOW - 1000);
    translation(nat, {sourcePort: 2}, NOW - 1000, {address: '10.1.5.10', port: 50002});
    translation(nat, {sourcePort: 3}, NOW - 10, {address: '10.1.5.10', port: 50003});
    translation(nat, {source: '10.1.5.10', sourcePort: 4}, NOW - 1000, {address: '10.1.5.10', port: 4});
    connection(any, {protocol: 1, sourcePort: 0, destinationPort: 77}, NOW + 100);
    translation(nat, {protocol: 1, sourcePort: 77, destinationPort: 0}, NOW - 1000, {address: '10.1.5.10', port: 50077});
    expect(await sweep()).toMatchObject({nat: {alive: 8, deleted: 2}});
    const left = [...nat.entries.values()].map(({key}) => CT_TUPLE.decode(key)).filter(({flags}) => flags === NAT_OUT).map(({sourcePort}) => sourcePort);
    expect(left.sort((a, b) => a - b)).toEqual([1, 3, 4, 77]);
  });

  test('a released address takes all its connections along, once', async () => {
    const {tcp, gc, sweep} = started();
    connection(tcp, {}, NOW + 100);
    connection(tcp, {source: '1.1.1.1', destination: '10.98.0.5'}, NOW + 100);
    connection(tcp, {source: '10.98.0.6'}, NOW + 100);
    gc.purge('10.98.0.5');
    expect(await sweep()).toMatchObject({tcp: {alive: 1, deleted: 2}});
    connection(tcp, {}, NOW + 100);
    expect(await sweep()).toMatchObject({tcp: {alive: 2, deleted: 0}});
  });

  test('IPv6: the same in its own maps, the echo of its own protocol, addresses to their last bit', async () => {
    const {ipv6, gc, sweep} = started();
    const none = {judged: 0n, backendId: 0n, packets: 0n, bytes: 0n, flags: 0, revNat: 0, ifindex: 0, txFlagsSeen: 0, rxFlagsSeen: 0, sourceIdentity: 0, lastTxReport: 0, lastRxReport: 0};
    const flow = {source: 'fd00:98::5', destination: '2001:db8::1', sourcePort: 1, destinationPort: 443, protocol: 6, flags: 0};
    const put = (map: MemoryMap, key: Partial<typeof flow>, lifetime: number): void => map.put(CT_TUPLE6.encode({...flow, ...key}), CT_ENTRY.encode({...none, lifetime}));
    put(ipv6.tcp, {}, NOW - 1);
    put(ipv6.tcp, {sourcePort: 2}, NOW + 100);
    put(ipv6.any, {protocol: 58, sourcePort: 0, destinationPort: 77}, NOW + 100);
    put(ipv6.any, {source: 'fd00:98::6', protocol: 17}, NOW + 100);
    const created = BigInt(NOW - 1000) * 1_000_000_000n;
    for (const key of [{...flow, protocol: 58, sourcePort: 77, destinationPort: 0}, {...flow, protocol: 58, sourcePort: 78, destinationPort: 0}]) {
      ipv6.nat.put(CT_TUPLE6.encode({...key, flags: NAT_OUT}), NAT_ENTRY6.encode({created, needsCt: 0n, toAddress: 'fd00:1:5::10', toPort: 50_000}));
    }
    expect(await sweep()).toMatchObject({tcp: {alive: 1, deleted: 1}, any: {alive: 2, deleted: 0}, nat: {alive: 1, deleted: 1}});
    gc.purge('fd00:98::5');
    expect(await sweep()).toMatchObject({tcp: {alive: 0, deleted: 1}, any: {alive: 1, deleted: 1}});
  });

  test('a released address is not forgotten when the sweep fails', async () => {
    const [tcp, nat] = [new MemoryMap(), new MemoryMap()];
    let broken = true;
    const any: SweptMap = {
      slices: () => {
        if (broken) throw new Error('EIO');
        return [];
      },
      lookup: () => null, deleteBatch: () => undefined,
    };
    const gc = new ConntrackGc(OPTIONS, {tcp, any, nat, ipv6: {tcp: new MemoryMap(), any: new MemoryMap(), nat: new MemoryMap()}, clock: realClock, bootSeconds: () => NOW, log: silentLog});
    gc.purge('10.98.0.5');
    await expect(gc.sweep(new AbortController().signal)).rejects.toThrow('EIO');
    broken = false;
    connection(tcp, {}, NOW + 100);
    expect(await gc.sweep(new AbortController().signal)).toMatchObject({tcp: {alive: 0, deleted: 1}});
  });

  test('the interval follows the yield, within its limits', () => {
    const next = (alive: number, deleted: number, from = OPTIONS.intervalMs): number => nextInterval(from, OPTIONS, [{alive, deleted}, {alive: 0, deleted: 0}]);
    expect([next(50, 50), next(90, 10), next(100, 0), next(0, 100), next(100, 0, 43_000_000)]).toEqual([150_000, 300_000, 450_000, 10_000, 43_200_000]);
  });
});
