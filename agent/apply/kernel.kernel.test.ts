// The whole of a node's kernel state on real maps, programs and devices: made, left alone when equal, repaired, removed.

import {afterAll, afterEach, beforeAll, beforeEach, describe, expect, test} from '@jest/globals';
import {existsSync, readdirSync, readFileSync, rmSync, unlinkSync} from 'node:fs';
import {fileURLToPath} from 'node:url';
import {makeNetns, type TestNetns} from '../../lib/testing/netns.js';
import {silentLog} from '../../lib/run/log.js';
import type {KernelState, MapEntry, PolicyMapContent, ReconciledMap} from '../compile/kernel-state.js';
import {queryTcx} from '../kernel/attach.js';
import {BpfMap, BpfProgram} from '../kernel/bpf.js';
import {queryClsact} from '../kernel/clsact.js';
import {Netlink} from '../kernel/netlink.js';
import {openNetns, type NetnsHandle} from '../kernel/netns.js';
import {EPOCH_CLOSED, policyEpochCodec} from '../maps/epoch.js';
import {encodeU32 as u32} from '../maps/layout.js';
import {encodeProgramConfig, PROGRAM_DEFAULTS} from '../maps/program-config.js';
import {IPV6_OFF_SIZES, SMALL_SIZES, type MapSizes} from '../maps/registry.js';
import {hex} from './bpf-map.js';
import {defaultAttachMode, KernelApply, type ApplyRound} from './kernel.js';
import {closeMapSet, openMapSet, type MapSet} from './map-set.js';
import {PolicyMapsTarget} from './policy-maps.js';
import type {ObjectFile} from './programs.js';
import {allowEntry, endpointConfig, entry, ipcacheEntry, policy} from './testing/entries.js';

const objects: ObjectFile[] = ['st_endpoint', 'st_host', 'st_overlay'].map((name) => ({
  name, bytes: readFileSync(fileURLToPath(new URL(`../../../build/bpf/${name}.bpf.o`, import.meta.url))),
}));

let node: TestNetns;
let netns: NetnsHandle;
let netlink: Netlink;
let root: string;
let maps: MapSet;
let kernel: KernelApply;

beforeAll(() => {
  node = makeNetns('native-apply');
  netns = openNetns(node.path);
  netlink = Netlink.open({netns: node.path});
  root = `/sys/fs/bpf/${node.name}`;
});
afterAll(() => {
  netlink.close();
  netns.close();
  node.remove();
});
beforeEach(() => {
  node.run('ip', 'link', 'add', 'eth0', 'type', 'veth', 'peer', 'name', 'wire');
  node.run('ip', 'link', 'add', 'lxc1', 'type', 'veth', 'peer', 'name', 'pod1');
  for (const name of ['eth0', 'wire', 'lxc1', 'pod1']) node.run('ip', 'link', 'set', name, 'up');
  node.run('ip', 'addr', 'add', '10.1.5.10/24', 'dev', 'eth0');
  start();
});
afterEach(async () => {
  await stop();
  rmSync(root, {recursive: true, force: true});
  for (const name of ['eth0', 'lxc1', 'cilium_host', 'cilium_vxlan']) await netlink.deleteLink(name);
});

function start(): void {
  maps = openMapSet({root, sizes: SMALL_SIZES}, {log: silentLog});
  kernel = new KernelApply({root, backoff: {baseMs: 10, maxMs: 100}, attachMode: defaultAttachMode}, {
    maps, objects, netlink, netns, log: silentLog, random: () => 0, clock: {monotonicMs: () => performance.now()},
  });
}

async function stop(): Promise<void> {
  await kernel.close();
  closeMapSet(maps);
}

const WEB = policy(1001, [80, 443]);

function state(overrides: Partial<KernelState> = {}): KernelState {
  return {
    maps: new Map<ReconciledMap, ReadonlyMap<string, MapEntry>>([
      ['cilium_ipcache', new Map([ipcacheEntry(2, 1001), ipcacheEntry(3, 300)])],
      ['cilium_ep_config', new Map([endpointConfig(7)])],
      ['cilium_lxc', new Map()], ['cilium_if_to_ep', new Map()], ['cilium_ipmasq_v4', new Map()], ['cilium_runtime_config', new Map()],
    ]),
    policySlots: new Map([[7, WEB], [8, WEB]]),
    links: [{name: 'cilium_host', kind: 'veth', peer: 'cilium_net', mtu: 1500, addresses: ['10.98.0.1/32'], noArp: true}],
    routes: [{prefix: '10.98.0.0/24', device: 'cilium_host', via: null, source: '10.98.0.1', scope: 'link', mtu: null}],
    sysctls: new Map([['net.ipv4.ip_forward', '1'], ['net.ipv4.conf.cilium_host.rp_filter', '0']]),
    attachments: [
      {device: 'eth0', direction: 'ingress', program: 'cil_from_netdev'}, {device: 'eth0', direction: 'egress', program: 'cil_to_netdev'},
      {device: 'cilium_host', direction: 'egress', program: 'cil_from_host'}, {device: 'lxc1', direction: 'ingress', program: 'cil_from_container'},
    ],
    programConfig: programConfig('native'),
    speaker: {instances: [], source: null},
    holds: [],
    ...overrides,
  };
}

function withMap(name: ReconciledMap, content: ReadonlyMap<string, MapEntry>): KernelState['maps'] {
  return new Map([...state().maps, [name, content]]);
}

function programConfig(routingMode: 'native' | 'tunnel'): KernelState['programConfig'] {
  return encodeProgramConfig({
    ...PROGRAM_DEFAULTS, nodeIpv4: '10.1.5.10', routingMode, overlayIfindex: 0, podCidrs: ['10.98.0.0/24'], devices: [], masquerade: true,
    masqueradeExclusions: ['10.98.0.0/24'],
  });
}

function apply(next: KernelState): Promise<ApplyRound> {
  return kernel.apply(next, {prune: true});
}

/** Slot → inner map id, as the kernel says. */
function slots(): Record<number, number> {
  const outer = maps.get('cilium_policy');
  const word = (bytes: Uint8Array): number => new DataView(bytes.buffer, bytes.byteOffset).getUint32(0, true);
  return Object.fromEntries((outer?.entries() ?? []).map(([key, value]) => [word(key), word(value)]).filter(([, id]) => id !== 0));
}

function innerEntries(slot: number): string[] {
  const inner = BpfMap.byId(slots()[slot] ?? 0);
  const keys = inner.entries().map(([key, value]) => `${hex(key)}=${hex(value)}`);
  inner.close();
  return keys.toSorted();
}

function expected(content: PolicyMapContent): string[] {
  return [...content.entries.values()].map(({key, value}) => `${hex(key)}=${hex(value)}`).toSorted();
}

async function attached(): Promise<Record<string, string>> {
  const found: Record<string, string> = {};
  for (const link of await netlink.links()) {
    for (const direction of ['ingress', 'egress'] as const) {
      const ids = [...queryTcx(link.ifindex, direction, netns)];
      const filter = await queryClsact(netlink, link.ifindex, direction);
      if (filter !== null) ids.push(filter.programId);
      if (ids.length > 0) found[`${link.name}/${direction}`] = ids.map((id) => `${filter === null ? 'tcx' : 'clsact'} ${programName(id)}`).join();
    }
  }
  return found;
}

function programName(id: number): string {
  const program = BpfProgram.byId(id);
  const {name} = program.info();
  program.close();
  return name;
}

test('a state is made, and a process without memory writes nothing', async () => {
  const first = await apply(state());
  expect(first).toEqual({errors: [], writes: expect.any(Number), retryAtMs: null});
  expect(first.writes).toBeGreaterThan(10);
  expect(maps.get('cilium_ipcache')?.dump().count).toBe(2);
  expect(slots()[7]).toBe(slots()[8]);
  expect(innerEntries(7)).toEqual(expected(WEB));
  expect(node.ip('route', 'show', 'proto', '78').map((route) => [route['dst'], route['dev'], route['prefsrc']])).toEqual([['10.98.0.0/24', 'cilium_host', '10.98.0.1']]);
  expect(node.run('sysctl', '-n', 'net.ipv4.conf.cilium_host.rp_filter')).toBe('0\n');
  expect(await attached()).toEqual({
    'eth0/ingress': 'tcx cil_from_netdev', 'eth0/egress': 'tcx cil_to_netdev', 'cilium_host/egress': 'tcx cil_from_host',
    'lxc1/ingress': 'clsact cil_from_contai',
  });
  expect((await apply(state())).writes).toBe(0);

  const before = {slots: slots(), programs: readdirSync(`${root}/progs`), links: node.ip('link', 'show'), attached: await attached()};
  await stop();
  expect(await attached()).toEqual(before.attached);
  start();
  expect(await apply(state())).toEqual({errors: [], writes: 0, retryAtMs: null});
  expect({slots: slots(), programs: readdirSync(`${root}/progs`), links: node.ip('link', 'show'), attached: await attached()}).toEqual(before);
});

describe('policy', () => {
  test('keys of which no packet meets two change in place, others by swap, for all endpoints of the identity at once', async () => {
    await apply(state());
    const original = slots()[7];
    const disjoint = policy(1001, [80, 8080, 8081, 8082]);
    expect(await apply(state({policySlots: new Map([[7, disjoint], [8, disjoint]])}))).toMatchObject({errors: [], writes: 2});
    expect(slots()).toEqual({7: original, 8: original});
    expect(innerEntries(7)).toEqual(expected(disjoint));
    const everyPort = {subject: 1001, entries: new Map([allowEntry(0, 0), allowEntry(80, 16), allowEntry(443, 16)])};
    await apply(state({policySlots: new Map([[7, everyPort], [8, everyPort]])}));
    expect(slots()[7]).not.toBe(original);
    expect(slots()[7]).toBe(slots()[8]);
    expect(innerEntries(8)).toEqual(expected(everyPort));
    const many = policy(1001, Array.from({length: 40}, (_unused, i) => 9000 + i));
    const swapped = slots()[7];
    await apply(state({policySlots: new Map([[7, many], [8, many]])}));
    expect(slots()[7]).not.toBe(swapped);
    expect(innerEntries(8)).toEqual(expected(many));
  });

  test('where it cannot be shown that programs have ended, edits and swaps wait for the kernel', async () => {
    await apply(state());
    const outer = maps.get('cilium_policy');
    if (outer === undefined) throw new Error('no map');
    const original = slots();
    let asked = 0;
    const target = new PolicyMapsTarget({outer, programsEnded: () => {
      asked++;
      return false;
    }});
    await target.load();
    const edited = policy(1001, [80, 9001, 9002]);
    expect(await target.upsert([[7, edited], [8, edited]])).toEqual([]);
    expect([slots(), innerEntries(7)]).toEqual([original, expected(edited)]);
    const swapped = {subject: 1001, entries: new Map([allowEntry(0, 0), allowEntry(9003, 16)])};
    expect(await target.upsert([[7, swapped], [8, swapped]])).toEqual([]);
    expect(innerEntries(7)).toEqual(expected(swapped));
    expect(slots()[7]).not.toBe(original[7]);
    expect(asked).toBeGreaterThan(0);
    target.close();
  });

  test('a slot that the kernel refuses is blamed, and keeps its map', async () => {
    await apply(state());
    const outer = maps.get('cilium_policy');
    if (outer === undefined) throw new Error('no map');
    const before = slots();
    node.run('bpftool', 'map', 'freeze', 'id', String(outer.info().id));
    const other = {subject: 1001, entries: new Map([allowEntry(0, 0), allowEntry(9003, 16)])};
    const {errors} = await apply(state({policySlots: new Map([[7, other], [8, other]])}));
    expect(errors).toEqual([{kind: 'policy', key: '1001', code: 'EPERM', message: expect.stringContaining('cilium_policy')}]);
    expect(slots()).toEqual(before);
  });

  test('a further endpoint shares the map; an endpoint that goes has an empty slot', async () => {
    await apply(state());
    const id = slots()[7];
    await apply(state({policySlots: new Map([[7, WEB], [8, WEB], [9, policy(1001, [80, 443])]])}));
    expect(slots()).toEqual({7: id, 8: id, 9: id});
    await apply(state({policySlots: new Map([[9, WEB]])}));
    expect(slots()).toEqual({9: id});
    await apply(state({policySlots: new Map([[9, WEB], [10, policy(1002, [22])]])}));
    expect(slots()[10]).not.toBe(id);
    expect(innerEntries(10)).toEqual(expected(policy(1002, [22])));
  });

  test('endpoints of one identity whose policies differ (named ports) have maps of their own', async () => {
    const [a, b] = [policy(1001, [8080, 1]), policy(1001, [9090, 2])];
    await apply(state({policySlots: new Map([[7, a], [8, b], [9, a]])}));
    expect(slots()[7]).toBe(slots()[9]);
    expect(slots()[7]).not.toBe(slots()[8]);
    expect([innerEntries(7), innerEntries(8)]).toEqual([expected(a), expected(b)]);
  });

  test('a policy that does not fit is blamed; the endpoint keeps the one it has, a new endpoint drops', async () => {
    await apply(state());
    const before = slots();
    const tooLarge = policy(1001, Array.from({length: 16_385}, (_unused, i) => i + 1));
    const round = await apply(state({policySlots: new Map([[7, tooLarge], [8, tooLarge], [9, tooLarge]])}));
    expect(round.errors).toEqual([{kind: 'policy', key: '1001', code: 'ENOSPC', message: expect.stringContaining('cilium_policy')}]);
    expect(round.retryAtMs).not.toBeNull();
    expect(slots()).toEqual(before);
    expect(innerEntries(7)).toEqual(expected(WEB));
    expect((await apply(state())).errors).toEqual([]);
  });
});

describe('the epoch of judgements', () => {
  const epoch = (): bigint => policyEpochCodec.decodeValue(maps.get('cilium_policy_epoch')?.lookup(u32(0)) ?? new Uint8Array(8));
  const bigger = policy(1001, [80, 8080]);

  test('is another one after every round that wrote something that verdicts come from, and open', async () => {
    await apply(state());
    const seen = [epoch()];
    const changes: readonly Partial<KernelState>[] = [
      {policySlots: new Map([[7, bigger], [8, bigger]])}, {policySlots: new Map()}, {maps: withMap('cilium_ipcache', new Map([ipcacheEntry(2, 9)]))},
      {maps: withMap('cilium_ep_config', new Map())}, {programConfig: programConfig('tunnel')},
    ];
    for (const change of changes) {
      expect((await apply(state(change))).errors).toEqual([]);
      seen.push(epoch());
    }
    expect(seen.every((value, i) => value > (seen[i - 1] ?? 0n) && value < EPOCH_CLOSED)).toBe(true);
  });

  test('stays when nothing of that was written', async () => {
    await apply(state());
    const before = epoch();
    await apply(state());
    await apply(state({routes: []}));
    await apply(state({maps: withMap('cilium_ipmasq_v4', new Map())}));
    await stop();
    start();
    await apply(state({routes: []}));
    expect(epoch()).toBe(before);
  });

  test('is raised by the agent that follows one that was killed while it was closed', async () => {
    await apply(state());
    const before = epoch();
    await stop();
    start();
    maps.get('cilium_policy_epoch')?.update(u32(0), policyEpochCodec.encodeValue(before | EPOCH_CLOSED));
    await stop();
    start();
    await apply(state());
    expect(epoch()).toBeGreaterThan(before);
    expect(epoch()).toBeLessThan(EPOCH_CLOSED);
  });

  test('while it cannot be closed nothing that verdicts come from is written', async () => {
    await apply(state());
    node.run('bpftool', 'map', 'freeze', 'id', String(maps.get('cilium_policy_epoch')?.info().id));
    const {errors} = await apply(state({policySlots: new Map([[7, bigger], [8, bigger]])}));
    expect(errors).toMatchObject([{kind: 'policy', key: '1001', code: 'EPERM'}]);
    expect(innerEntries(7)).toEqual(expected(WEB));
  });
});

describe('maps', () => {
  test('only what differs is written, what is too much goes', async () => {
    await apply(state());
    const ipcache = new Map([ipcacheEntry(2, 1001), ipcacheEntry(4, 400)]);
    expect(await apply(state({maps: withMap('cilium_ipcache', ipcache)}))).toMatchObject({errors: [], writes: 2});
    expect(maps.get('cilium_ipcache')?.entries().map(([key]) => key[11]).toSorted()).toEqual([2, 4]);
    expect((await apply(state({maps: withMap('cilium_ep_config', new Map())}))).errors).toEqual([]);
    expect(maps.get('cilium_ep_config')?.lookup(u32(7))?.every((byte) => byte === 0)).toBe(true);
  });

  test('an entry that does not fit is blamed by name, the others are written', async () => {
    const many = new Map(Array.from({length: 16_390}, (_unused, i) => {
      const [, item] = ipcacheEntry(0, 9);
      const key = item.key.slice();
      key.set([i >> 8, i & 255], 10);
      return entry(key, item.value, [{kind: 'ipcache', key: String(i)}]);
    }));
    const round = await apply(state({maps: withMap('cilium_ipcache', many)}));
    expect(round.errors).toHaveLength(6);
    expect(round.errors[0]).toEqual({kind: 'ipcache', key: '16384', code: 'ENOSPC', message: expect.any(String)});
    expect(maps.get('cilium_ipcache')?.dump().count).toBe(16_384);
    const fits = await apply(state());
    expect(fits.errors).toEqual([]);
    expect(maps.get('cilium_ipcache')?.dump().count).toBe(2);
  });

  test('a held map is left as it is', async () => {
    await apply(state());
    const round = await apply(state({maps: withMap('cilium_ipcache', new Map()), holds: [{map: 'cilium_ipcache', reason: 'broken'}]}));
    expect(round.writes).toBe(0);
    expect(maps.get('cilium_ipcache')?.dump().count).toBe(2);
  });

  test('a map that was off gives way to one with room, and keeps that when it is off again', async () => {
    const room = (): number | undefined => maps.get('cilium_ct6_global')?.info().maxEntries;
    const reopen = async (sizes: MapSizes): Promise<void> => {
      await stop();
      maps = openMapSet({root, sizes}, {log: silentLog});
    };
    await reopen(SMALL_SIZES);
    rmSync(`${root}/maps/cilium_ct6_global`);
    const seen: (number | undefined)[] = [];
    for (const sizes of [{...SMALL_SIZES, ...IPV6_OFF_SIZES}, SMALL_SIZES, {...SMALL_SIZES, ...IPV6_OFF_SIZES}]) {
      await reopen(sizes);
      seen.push(room());
    }
    expect(seen).toEqual([1, SMALL_SIZES.cilium_ct6_global, SMALL_SIZES.cilium_ct6_global]);
  });

  test('maps of former layouts stay until the programs are others, then they go; maps of later ones are refused, and nothing is touched', async () => {
    const pin = (name: string): string => {
      const path = `${root}/maps/${name}`;
      const other = BpfMap.create({name: 'former', type: 'hash', keySize: 8, valueSize: 8, maxEntries: 8, flags: 0});
      other.pin(path);
      other.close();
      return path;
    };
    const former = pin('cilium_ep_config');
    await stop();
    start();
    expect(existsSync(former)).toBe(true);
    expect((await apply(state())).errors).toEqual([]);
    expect(existsSync(former)).toBe(false);
    // Names that end like a version, and those of nobody we know.
    const others = ['cilium_ipmasq_v4', 'cilium_ep_config_v2'].map((name) => `${root}/maps/${name}`).concat(pin('somebody_v9'), pin('cilium_lxc_version2'));
    expect(others.filter((path) => !existsSync(path))).toEqual([]);
    const later = pin('cilium_lxc_v2');
    const before = readdirSync(`${root}/maps`).toSorted();
    expect(() => openMapSet({root, sizes: SMALL_SIZES}, {log: silentLog})).toThrow(expect.objectContaining({code: 'MAP_LAYOUT_NEWER', data: expect.objectContaining({path: later})}));
    expect(readdirSync(`${root}/maps`).toSorted()).toEqual(before);
  });

  test('a pin of another layout is refused, with its path', () => {
    const path = `${root}/maps/cilium_lxc`;
    unlinkSync(path);
    const other = BpfMap.create({name: 'cilium_lxc', type: 'hash', keySize: 8, valueSize: 8, maxEntries: 8, flags: 0});
    other.pin(path);
    other.close();
    expect(() => openMapSet({root, sizes: SMALL_SIZES}, {log: silentLog})).toThrow(expect.objectContaining({code: 'MAP_LAYOUT', data: expect.objectContaining({path})}));
  });
});

describe('programs', () => {
  test('another configuration replaces the set in place, and the old one goes', async () => {
    await apply(state());
    const [before] = readdirSync(`${root}/progs`);
    const links = readdirSync(`${root}/links`).toSorted();
    const ids = new Map((await netlink.links()).map((link) => [link.name, queryTcx(link.ifindex, 'ingress', netns)]));
    expect((await apply(state({programConfig: programConfig('tunnel')}))).errors).toEqual([]);
    expect(readdirSync(`${root}/progs`)).toHaveLength(1);
    expect(readdirSync(`${root}/progs`)).not.toEqual([before]);
    expect(readdirSync(`${root}/links`).toSorted()).toEqual(links);
    const eth0 = await netlink.link('eth0');
    expect(queryTcx(eth0?.ifindex ?? 0, 'ingress', netns)).toHaveLength(1);
    expect(queryTcx(eth0?.ifindex ?? 0, 'ingress', netns)).not.toEqual(ids.get('eth0'));
    expect(Object.keys(await attached())).toHaveLength(4);
  });

  test('a configuration that no object knows changes nothing and is blamed', async () => {
    await apply(state());
    const before = {attached: await attached(), sets: readdirSync(`${root}/progs`)};
    const round = await apply(state({programConfig: new Map([['config_unknown', 1]])}));
    expect(round.errors).toEqual([expect.objectContaining({kind: 'node-config', code: 'UNKNOWN_VARIABLE'})]);
    expect({attached: await attached(), sets: readdirSync(`${root}/progs`)}).toEqual(before);
  });

  test('a device that is not there is blamed and attached when it comes; one not wanted is detached', async () => {
    const pod: KernelState['attachments'][number] = {device: 'lxc2', direction: 'ingress', program: 'cil_from_container', because: [{kind: 'endpoint', key: 'default/web'}]};
    const wanted = state({attachments: [...state().attachments, pod]});
    expect((await apply(wanted)).errors).toEqual([expect.objectContaining({kind: 'endpoint', key: 'default/web', code: 'ENODEV'})]);
    node.run('ip', 'link', 'add', 'lxc2', 'type', 'veth', 'peer', 'name', 'pod2');
    expect((await apply(wanted)).errors).toEqual([]);
    expect((await attached())['lxc2/ingress']).toBe('clsact cil_from_contai');
    expect((await apply(state({attachments: []}))).errors).toEqual([]);
    expect(await attached()).toEqual({});
    expect(readdirSync(`${root}/links`)).toEqual([]);
    await netlink.deleteLink('lxc2');
  });

  test('a device of the same name that was made anew is attached again', async () => {
    await apply(state());
    for (const name of ['lxc1', 'eth0']) {
      await netlink.deleteLink(name);
      node.run('ip', 'link', 'add', name, 'type', 'veth', 'peer', 'name', `${name}p`);
    }
    expect((await attached())['lxc1/ingress']).toBeUndefined();
    expect((await apply(state())).errors).toEqual([]);
    expect(await attached()).toMatchObject({'lxc1/ingress': 'clsact cil_from_contai', 'eth0/ingress': 'tcx cil_from_netdev', 'eth0/egress': 'tcx cil_to_netdev'});
  });
});

test('what others took away comes back at the next resync', async () => {
  await apply(state());
  node.run('ip', 'route', 'del', '10.98.0.0/24', 'dev', 'cilium_host');
  node.run('ip', 'addr', 'del', '10.98.0.1/32', 'dev', 'cilium_host');
  node.run('sysctl', '-q', '-w', 'net.ipv4.ip_forward=0');
  node.run('tc', 'filter', 'del', 'dev', 'lxc1', 'ingress');
  unlinkSync(`${root}/links/eth0-ingress`);
  maps.get('cilium_ipcache')?.delete(ipcacheEntry(2, 0)[1].key);
  expect((await apply(state())).writes).toBe(0);
  expect((await kernel.resync()).errors).toEqual([]);
  expect(node.ip('route', 'show', 'proto', '78')).toHaveLength(1);
  expect(node.run('sysctl', '-n', 'net.ipv4.ip_forward')).toBe('1\n');
  expect(Object.keys(await attached())).toHaveLength(4);
  expect(maps.get('cilium_ipcache')?.dump().count).toBe(2);
  expect((await kernel.resync()).writes).toBe(0);
});

test('routes that went with the device going down come back in the next round', async () => {
  await apply(state());
  node.run('ip', 'link', 'set', 'cilium_host', 'down');
  node.run('ip', 'link', 'set', 'cilium_host', 'up');
  expect(node.ip('route', 'show', 'proto', '78')).toHaveLength(0);
  expect((await apply(state())).errors).toEqual([]);
  expect(node.ip('route', 'show', 'proto', '78')).toHaveLength(1);
});

test('routes of others stay, ours that are not wanted go', async () => {
  await apply(state());
  node.run('ip', 'route', 'add', '10.97.0.0/16', 'dev', 'eth0', 'proto', 'bird');
  node.run('ip', 'route', 'add', '10.98.9.0/24', 'dev', 'eth0', 'proto', '78');
  await kernel.resync();
  expect(node.ip('route', 'show').map((route) => route['dst'])).toEqual(expect.arrayContaining(['10.97.0.0/16', '10.98.0.0/24', '10.1.5.0/24']));
  expect(node.ip('route', 'show', 'proto', '78')).toHaveLength(1);
});

test('the overlay device comes and goes with its specification', async () => {
  const overlay = state({links: [...state().links, {name: 'cilium_vxlan', kind: 'vxlan', mtu: 1450, addresses: [], vxlanPort: 8472}]});
  expect((await apply(overlay)).errors).toEqual([]);
  const first = await netlink.link('cilium_vxlan');
  expect(first).toMatchObject({up: true, mtu: 1450, vxlan: {port: 8472, external: true}});
  expect((await kernel.resync()).writes).toBe(0);
  await apply(state({links: [...state().links, {name: 'cilium_vxlan', kind: 'vxlan', mtu: 1450, addresses: [], vxlanPort: 8473}]}));
  expect(await netlink.link('cilium_vxlan')).toMatchObject({vxlan: {port: 8473}});
  expect((await apply(state())).errors).toEqual([]);
  expect(await netlink.link('cilium_vxlan')).toBeNull();
  expect(existsSync(`${root}/links`)).toBe(true);
});
