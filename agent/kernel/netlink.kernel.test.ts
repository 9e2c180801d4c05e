// rtnetlink against the kernel, with `ip -j` as the second opinion; clsact and tcx on the same devices.

import {afterAll, beforeAll, describe, expect, test} from '@jest/globals';
import {execFileSync} from 'node:child_process';
import {openSync, closeSync, readFileSync} from 'node:fs';
import {eventually, makeNetns, type TestNetns} from '../../lib/testing/netns.js';
import {attachTcx, attachTcxAsync, BpfLink, queryTcx} from './attach.js';
import {attachClsact, detachClsact, queryClsact} from './clsact.js';
import {currentNetns, inNetns, openNetns} from './netns.js';
import {Netlink} from './netlink.js';
import type {NetlinkChange} from './netlink-watch.js';
import {RTPROT_STENTOR, RT_TABLE_MAIN} from './rtnetlink.js';
import {passProgram} from './smallest-program.js';

let node: TestNetns;
let pod: TestNetns;
let netlink: Netlink;

beforeAll(() => {
  node = makeNetns('native-node');
  pod = makeNetns('native-pod');
  netlink = Netlink.open({netns: node.path});
});
afterAll(() => {
  netlink.close();
  pod.remove();
  node.remove();
});

describe('links', () => {
  test('a veth whose peer is in another namespace', async () => {
    const fd = openSync(pod.path, 'r');
    await netlink.createVeth({name: 'lxc1', peer: 'eth0', mtu: 1400, mac: '02:00:00:00:00:01', peerMac: '02:00:00:00:00:02', peerNetnsFd: fd});
    closeSync(fd);
    const link = await netlink.link('lxc1');
    expect(link).toMatchObject({name: 'lxc1', kind: 'veth', mtu: 1400, mac: '02:00:00:00:00:01', up: false, loopback: false});
    expect(link?.peerNetnsId).not.toBeNull();
    expect(node.ip('link', 'show', 'lxc1')[0]).toMatchObject({ifindex: link?.ifindex, ifname: 'lxc1', mtu: 1400, address: '02:00:00:00:00:01'});
    expect(pod.ip('link', 'show', 'eth0')[0]).toMatchObject({ifindex: link?.peerIfindex, mtu: 1400, address: '02:00:00:00:00:02'});
    await expect(netlink.createVeth({name: 'lxc1', peer: 'x', mtu: 1400})).rejects.toMatchObject({code: 'EEXIST'});
  });

  test('set up, mtu, mac, name, noarp; and the namespace', async () => {
    await netlink.createVeth({name: 'a0', peer: 'a1', mtu: 1500});
    const a0 = (await netlink.link('a0'))?.ifindex ?? 0;
    await netlink.setLink(a0, {mtu: 1450, mac: '02:00:00:00:00:0a', noArp: true});
    await netlink.setLink(a0, {name: 'cilium_host'});
    await netlink.setLink(a0, {up: true});
    expect(await netlink.link('cilium_host')).toMatchObject({ifindex: a0, mtu: 1450, mac: '02:00:00:00:00:0a', noArp: true, up: true});
    expect(node.ip('link', 'show', 'cilium_host')[0]).toMatchObject({flags: expect.arrayContaining(['UP', 'NOARP'])});
    const fd = openSync(pod.path, 'r');
    await netlink.setLink((await netlink.link('a1'))?.ifindex ?? 0, {netnsFd: fd});
    closeSync(fd);
    expect(await netlink.link('a1')).toBeNull();
    expect(pod.ip('link', 'show', 'a1')).toHaveLength(1);
    expect(await netlink.deleteLink('cilium_host')).toBe(true);
    expect(await netlink.deleteLink('cilium_host')).toBe(false);
  });

  test('vxlan in metadata mode', async () => {
    await netlink.createVxlan({name: 'cilium_vxlan', port: 8472, mtu: 1450});
    expect(await netlink.link('cilium_vxlan')).toMatchObject({kind: 'vxlan', mtu: 1450, vxlan: {port: 8472, external: true}});
    const shown = node.ip('link', 'show', 'cilium_vxlan')[0];
    expect(shown).toMatchObject({linkinfo: {info_kind: 'vxlan', info_data: {external: true, learning: false, port: 8472}}});
  });

  test('the list is what ip lists', async () => {
    const links = await netlink.links();
    const shown = node.ip('link', 'show');
    expect(links.length).toBeGreaterThan(2);
    expect(links.map((link) => [link.ifindex, link.name, link.mtu])).toEqual(shown.map((link) => [link['ifindex'], link['ifname'], link['mtu']]));
  });

  test('the reason of a refusal is the kernel\'s', async () => {
    await expect(netlink.setLink(999_999, {up: true})).rejects.toMatchObject({code: 'ENODEV'});
    await expect(netlink.createVxlan({name: 'other_vxlan', port: 8472, mtu: 10})).rejects.toMatchObject({data: {call: 'RTM_NEWLINK other_vxlan'}});
    expect(await netlink.link('nothing')).toBeNull();
    expect(await netlink.link(999_999)).toBeNull();
  });
});

describe('addresses, routes, rules, neighbours', () => {
  let ifindex = 0;
  beforeAll(async () => {
    await netlink.createVeth({name: 'up0', peer: 'up1', mtu: 1500});
    for (const name of ['up0', 'up1']) await netlink.setLink((await netlink.link(name))?.ifindex ?? 0, {up: true});
    ifindex = (await netlink.link('up0'))?.ifindex ?? 0;
  });

  test('addresses', async () => {
    await netlink.addAddress(ifindex, '10.1.5.10/24');
    await netlink.addAddress(ifindex, '10.98.0.1/32');
    await netlink.addAddress(ifindex, '10.98.0.1/32');
    const own = (await netlink.addresses(ifindex)).filter((address) => !address.address.includes(':'));
    expect(own).toEqual([{ifindex, address: '10.1.5.10/24', scope: 'global'}, {ifindex, address: '10.98.0.1/32', scope: 'global'}]);
    expect(await netlink.deleteAddress(ifindex, '10.98.0.1/32')).toBe(true);
    expect(await netlink.deleteAddress(ifindex, '10.98.0.1/32')).toBe(false);
    expect(node.run('ip', '-4', 'addr', 'show', 'dev', 'up0')).not.toContain('10.98.0.1');
  });

  test('routes of protocol 78, and no others', async () => {
    const mine = {table: RT_TABLE_MAIN, protocol: RTPROT_STENTOR, scope: 'global', ifindex} as const;
    await netlink.replaceRoute({...mine, prefix: '10.98.1.0/24', via: '10.1.5.11', source: '10.1.5.10', mtu: 1450});
    await netlink.replaceRoute({...mine, prefix: '10.98.2.0/24', via: '192.0.2.1', onLink: true});
    await netlink.replaceRoute({...mine, prefix: '10.98.3.0/24', scope: 'link', table: 2004});
    node.run('ip', 'route', 'add', '10.97.0.0/16', 'via', '10.1.5.99', 'proto', 'bird');
    expect(await netlink.routes({protocol: RTPROT_STENTOR, table: RT_TABLE_MAIN})).toEqual([
      expect.objectContaining({prefix: '10.98.1.0/24', via: '10.1.5.11', source: '10.1.5.10', mtu: 1450, ifindex, onLink: false, scope: 'global', type: 1}),
      expect.objectContaining({prefix: '10.98.2.0/24', via: '192.0.2.1', onLink: true, mtu: null}),
    ]);
    expect(await netlink.routes({protocol: RTPROT_STENTOR, table: 2004})).toEqual([expect.objectContaining({prefix: '10.98.3.0/24', scope: 'link', table: 2004})]);
    expect(node.ip('route', 'show', 'proto', '78').map((route) => [route['dst'], route['gateway'], route['prefsrc'] ?? null])).toEqual([
      ['10.98.1.0/24', '10.1.5.11', '10.1.5.10'], ['10.98.2.0/24', '192.0.2.1', null],
    ]);
    await netlink.replaceRoute({...mine, prefix: '10.98.1.0/24', via: '10.1.5.12'});
    expect((await netlink.routes({protocol: RTPROT_STENTOR, table: RT_TABLE_MAIN}))[0]).toMatchObject({via: '10.1.5.12', mtu: null});
    expect(await netlink.deleteRoute({...mine, prefix: '10.98.1.0/24', via: '10.1.5.12'})).toBe(true);
    expect(await netlink.deleteRoute({...mine, prefix: '10.98.1.0/24', via: '10.1.5.12'})).toBe(false);
    expect((await netlink.routes({table: RT_TABLE_MAIN})).some((route) => route.prefix === '10.97.0.0/16' && route.protocol === 12)).toBe(true);
  });

  test('the way to an address, as the kernel would take it', async () => {
    const mine = {table: RT_TABLE_MAIN, protocol: RTPROT_STENTOR, scope: 'global', ifindex} as const;
    await netlink.replaceRoute({...mine, prefix: '10.94.1.0/24', via: '10.1.5.11'});
    expect(await netlink.routeTo('10.94.1.7')).toMatchObject({via: '10.1.5.11', ifindex});
    expect(await netlink.routeTo('10.1.5.99')).toMatchObject({via: null, ifindex});
    expect(await netlink.routeTo('203.0.113.9')).toBeNull();
    expect(await netlink.routeTo('2001:db8::1')).toBeNull();
    await netlink.deleteRoute({...mine, prefix: '10.94.1.0/24', via: '10.1.5.11'});
  });

  test('a multipath route of another protocol is read with its next hops', async () => {
    node.run('ip', 'route', 'add', '10.96.0.0/16', 'proto', 'bird', 'nexthop', 'via', '10.1.5.20', 'nexthop', 'via', '10.1.5.21');
    const route = (await netlink.routes({protocol: 12})).find((candidate) => candidate.prefix === '10.96.0.0/16');
    expect(route?.nextHops).toEqual([{ifindex, via: '10.1.5.20'}, {ifindex, via: '10.1.5.21'}]);
  });

  test('many routes in one run are all there', async () => {
    const mine = {table: 2005, protocol: RTPROT_STENTOR, scope: 'global', ifindex, via: '10.1.5.11'} as const;
    const prefixes = Array.from({length: 2000}, (_unused, i) => `10.64.${i >> 8}.${i & 255}/32`);
    await Promise.all(prefixes.map((prefix) => netlink.replaceRoute({...mine, prefix})));
    expect(new Set((await netlink.routes({table: 2005})).map((route) => route.prefix))).toEqual(new Set(prefixes));
  });

  test('rules', async () => {
    const rule = {family: 4, priority: 9, table: 2004, mark: 0x200, mask: 0xf00, protocol: RTPROT_STENTOR} as const;
    await netlink.addRule(rule);
    await netlink.addRule(rule);
    expect((await netlink.rules()).filter((candidate) => candidate.protocol === RTPROT_STENTOR)).toEqual([rule]);
    expect(node.run('ip', 'rule', 'show')).toContain('9:\tfrom all fwmark 0x200/0xf00 lookup 2004');
    expect(await netlink.deleteRule(rule)).toBe(true);
    expect(await netlink.deleteRule(rule)).toBe(false);
  });

  test('neighbours', async () => {
    await netlink.replaceNeighbour(ifindex, '10.1.5.50', '02:00:00:00:00:50');
    expect(await netlink.neighbours(ifindex)).toEqual([expect.objectContaining({address: '10.1.5.50', mac: '02:00:00:00:00:50', permanent: true})]);
    expect(node.run('ip', 'neigh', 'show', 'dev', 'up0')).toContain('10.1.5.50 lladdr 02:00:00:00:00:50 PERMANENT');
    expect(await netlink.deleteNeighbour(ifindex, '10.1.5.50')).toBe(true);
    expect(await netlink.deleteNeighbour(ifindex, '10.1.5.99')).toBe(false);
  });
});

test('changes are announced until the subscription ends', async () => {
  const changes: NetlinkChange[] = [];
  const end = netlink.subscribe(['link', 'address4', 'route4'], (change) => changes.push(change));
  node.run('ip', 'link', 'add', 's0', 'type', 'veth', 'peer', 'name', 's1');
  node.run('ip', 'addr', 'add', '10.3.0.1/24', 'dev', 's0');
  const {ifindex} = node.ip('link', 'show', 's0')[0] ?? {};
  await eventually(() => (changes.some((change) => change.kind === 'link' && change.ifindex === ifindex) ? true : null));
  await eventually(() => (changes.some((change) => change.kind === 'address' && change.ifindex === ifindex) ? true : null));
  node.run('ip', 'link', 'del', 's0');
  await eventually(() => (changes.some((change) => change.kind === 'link' && change.removed && change.ifindex === ifindex) ? true : null));
  end();
  end();
  const seen = changes.length;
  node.run('ip', 'link', 'add', 's2', 'type', 'veth', 'peer', 'name', 's3');
  await netlink.links();
  expect(changes).toHaveLength(seen);
});

test('link changes are there when they are asked for', async () => {
  const changes = netlink.linkChanges();
  expect([...changes.take() ?? [-1]]).toEqual([]);
  await netlink.createVeth({name: 'l0', peer: 'l1', mtu: 1500});
  const {ifindex} = await netlink.link('l0') ?? {};
  expect(changes.take()).toContain(ifindex);
  await netlink.deleteLink('l0');
  expect(changes.take()).toContain(ifindex);
  expect([...changes.take() ?? [-1]]).toEqual([]);
  changes.close();
  expect(() => changes.take()).toThrow(expect.objectContaining({code: 'EBADF'}));
});

describe('namespaces', () => {
  test('the thread returns, also when the body throws', () => {
    const before = currentNetns();
    const there = openNetns(node.path);
    expect(inNetns(there, () => {
      const inside = currentNetns();
      inside.close();
      return inside.inode;
    })).toBe(there.inode);
    expect(() => inNetns(there, () => {
      throw new Error('inside');
    })).toThrow('inside');
    const after = currentNetns();
    expect(after.inode).toBe(before.inode);
    expect(there.inode).not.toBe(before.inode);
    for (const handle of [before, after, there]) handle.close();
    expect(() => there.fd).toThrow(expect.objectContaining({code: 'EBADF'}));
  });

  test('a sysctl is of the namespace', () => {
    const there = openNetns(node.path);
    node.run('sysctl', '-q', '-w', 'net.ipv4.ip_default_ttl=77');
    expect(inNetns(there, () => readFileSync('/proc/sys/net/ipv4/ip_default_ttl', 'utf8'))).toBe('77\n');
    expect(readFileSync('/proc/sys/net/ipv4/ip_default_ttl', 'utf8')).not.toBe('77\n');
    there.close();
  });

  test('what is not a namespace is refused', () => {
    expect(() => openNetns('/run/netns/native-none')).toThrow(expect.objectContaining({code: 'ENOENT'}));
    expect(() => Netlink.open({netns: '/dev/null'})).toThrow(expect.objectContaining({code: 'EINVAL'}));
  });
});

describe('programs on a device', () => {
  test('clsact: attach, replace in place, query, detach', async () => {
    await netlink.createVeth({name: 'c0', peer: 'c1', mtu: 1500});
    const ifindex = (await netlink.link('c0'))?.ifindex ?? 0;
    const [first, second] = [passProgram('first'), passProgram('second')];
    expect(await queryClsact(netlink, ifindex, 'ingress')).toBeNull();
    await attachClsact(netlink, first, {ifindex, direction: 'ingress'}, 'cil_from_container-c0');
    expect(await queryClsact(netlink, ifindex, 'ingress')).toEqual({programId: first.info().id, name: 'cil_from_container-c0'});
    expect(await queryClsact(netlink, ifindex, 'egress')).toBeNull();
    await attachClsact(netlink, second, {ifindex, direction: 'ingress'}, 'cil_from_container-c0');
    expect(await queryClsact(netlink, ifindex, 'ingress')).toMatchObject({programId: second.info().id});
    const shown = node.run('tc', 'filter', 'show', 'dev', 'c0', 'ingress');
    expect(shown).toContain('direct-action');
    expect(shown.match(/handle 0x1/g)).toHaveLength(1);
    expect(await detachClsact(netlink, ifindex, 'ingress')).toBe(true);
    expect(await detachClsact(netlink, ifindex, 'ingress')).toBe(false);
    expect(await queryClsact(netlink, ifindex, 'ingress')).toBeNull();
    await expect(attachClsact(netlink, first, {ifindex: 999_999, direction: 'ingress'}, 'x')).rejects.toMatchObject({code: 'ENODEV'});
    expect(await queryClsact(netlink, 999_999, 'ingress')).toBeNull();
    for (const program of [first, second]) program.close();
  });

  test('tcx: a pinned link outlives its descriptor, is updated in place, and goes', async () => {
    await netlink.createVeth({name: 't0', peer: 't1', mtu: 1500});
    const ifindex = (await netlink.link('t0'))?.ifindex ?? 0;
    const netns = openNetns(node.path);
    const [first, second] = [passProgram('first'), passProgram('second')];
    const path = `/sys/fs/bpf/${node.name}/links/t0-ingress`;
    const link = await attachTcxAsync(first, ifindex, 'ingress', netns);
    expect(() => attachTcx(first, ifindex, 'ingress', netns)).toThrow(expect.objectContaining({code: 'EEXIST'}));
    link.pin(path);
    link.close();
    expect(queryTcx(ifindex, 'ingress', netns)).toEqual([first.info().id]);
    const again = BpfLink.openPinned(path);
    expect(again?.info()).toMatchObject({type: 11, programId: first.info().id, ifindex, attachType: 46});
    expect(() => again?.update(second, second)).toThrow(expect.objectContaining({code: 'EPERM'}));
    again?.update(second, first);
    expect(queryTcx(ifindex, 'ingress', netns)).toEqual([second.info().id]);
    again?.detach();
    expect(queryTcx(ifindex, 'ingress', netns)).toEqual([]);
    await again?.closeAsync();
    execFileSync('rm', ['-r', `/sys/fs/bpf/${node.name}`]);
    await expect(attachTcxAsync(first, 999_999, 'ingress', netns)).rejects.toMatchObject({code: 'ENODEV'});
    for (const program of [first, second]) program.close();
    netns.close();
  });
});
