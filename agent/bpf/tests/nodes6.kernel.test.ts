// IPv6 on real devices, as nodes.kernel.test.ts: what BPF_PROG_TEST_RUN does not show.

import {spawnSync} from 'node:child_process';
import type {ChildProcess} from 'node:child_process';

import {afterAll, beforeAll, describe, expect, test} from '@jest/globals';

import {inside, ping, script, sh, start, TestNode} from './node.js';
import type {RunResult} from './node.js';

const CLIENT = 'fd00:1:5::200';
const RUN = `six${process.pid % 100_000}`;
const BRIDGE = `${RUN}b`;
const CLIENT_NS = `${RUN}c`;

/** Tells every peer who it is, over TCP and UDP. */
const WHO = `
  const {createServer} = require('node:net'); const {createSocket} = require('node:dgram');
  createServer((s) => { s.on('error', () => {}); s.end(s.remoteAddress); }).listen(7000, '::');
  const u = createSocket('udp6'); u.on('message', (_m, from) => u.send(from.address, from.port, from.address)); u.bind(7000);
  console.log('ready');`;

const askTcp = (address: string): string => `
  const s = require('node:net').connect({host: '${address}', port: 7000}); s.setTimeout(1500, () => { console.log('timeout'); s.destroy(); });
  s.on('data', (d) => console.log(String(d))); s.on('error', (e) => console.log(e.code));`;
const askUdp = (address: string, port = 7000): string => `
  const s = require('node:dgram').createSocket('udp6'); const end = (t) => { console.log(t); process.exit(); };
  s.on('error', (e) => end(e.code)); s.on('message', (m) => end(String(m))); s.connect(${port}, '${address}', () => s.send('x')); setTimeout(() => end('timeout'), 1500);`;

const said = (result: RunResult): string => result.output.trim();
const pod = (node: TestNode): string => node.pod.ipv6 ?? '';

describe.each(['native', 'tunnel'] as const)('two nodes and a client, %s routing', (routingMode) => {
  let one: TestNode;
  let two: TestNode;
  const servers: ChildProcess[] = [];

  beforeAll(async () => {
    sh(`ip netns add ${BRIDGE}; ip -n ${BRIDGE} link add br0 type bridge; ip -n ${BRIDGE} link set br0 up
      ip netns add ${CLIENT_NS}; ip -n ${CLIENT_NS} link add eth0 type veth peer name client netns ${BRIDGE}
      ip -n ${BRIDGE} link set client master br0 up; ip -n ${CLIENT_NS} link set eth0 up; ip -n ${CLIENT_NS} link set lo up
      ip -n ${CLIENT_NS} addr add ${CLIENT}/64 dev eth0 nodad`);
    one = new TestNode(BRIDGE, {name: `${RUN}1`, address: '10.1.5.10', podNet: '10.98.1', identity: 300, routingMode, ipv6: {address: 'fd00:1:5::10', podNet: 'fd00:98:1'}});
    two = new TestNode(BRIDGE, {name: `${RUN}2`, address: '10.1.5.11', podNet: '10.98.2', identity: 500, routingMode, ipv6: {address: 'fd00:1:5::11', podNet: 'fd00:98:2'}});
    one.meet(two);
    two.meet(one);
    for (const netns of [CLIENT_NS, one.pod.netns, two.pod.netns, one.netns, two.netns]) {
      const server = start(netns, process.execPath, '-e', WHO);
      servers.push(server);
      await new Promise((resolve) => server.stdout?.once('data', resolve));
    }
  }, 20_000);

  afterAll(() => {
    for (const server of servers.splice(0)) server.kill('SIGKILL');
    one.close();
    two.close();
    for (const netns of [BRIDGE, CLIENT_NS]) spawnSync('ip', ['netns', 'del', netns]);
  });

  test('pod to pod across nodes, source unchanged', () => {
    expect(ping(one.pod.netns, pod(two))).toBe(true);
    expect(said(script(one.pod.netns, askTcp(pod(two))))).toBe(pod(one));
    expect(said(script(two.pod.netns, askUdp(pod(one))))).toBe(pod(two));
  });

  test('the receiving node knows the sender\'s identity', () => {
    two.datapath.policy(two.pod.id, [{direction: 'ingress', identity: 300, protocol: 6, port: 7000}, {direction: 'egress', identity: 0}]);
    expect(said(script(one.pod.netns, askTcp(pod(two))))).toBe(pod(one));
    two.datapath.policy(two.pod.id, [{direction: 'ingress', identity: 301}, {direction: 'egress', identity: 0}]);
    expect(said(script(one.pod.netns, askTcp(pod(two))))).toBe('timeout');
    expect(two.datapath.counted(133, 1)).toBeGreaterThan(0);
    two.datapath.policy(two.pod.id, 'open');
  });

  test('bulk TCP with segmentation offload, between pods and through the masquerade', async () => {
    for (const [netns, address] of [[two.pod.netns, pod(two)], [CLIENT_NS, CLIENT]] as const) {
      const server = start(netns, 'iperf3', '-s', '-1', '--forceflush');
      await new Promise((resolve) => server.stdout?.once('data', resolve));
      const result = inside(one.pod.netns, 'iperf3', '-c', address, '-n', '50M', '-J');
      server.kill('SIGKILL');
      expect(result.status).toBe(0);
      expect(Number(/"bits_per_second":\s*([\d.]+)/.exec(result.output)?.[1])).toBeGreaterThan(1e8);
    }
  });

  test('pings bigger than the MTU', () => {
    expect(ping(one.pod.netns, pod(two), '-s', '4000')).toBe(true);
    expect(ping(one.pod.netns, CLIENT, '-s', '4000')).toBe(true);
  });

  test('the world sees the node, and answers arrive', () => {
    expect(said(script(one.pod.netns, askTcp(CLIENT)))).toBe('fd00:1:5::10');
    expect(said(script(one.pod.netns, askUdp(CLIENT)))).toBe('fd00:1:5::10');
    expect(ping(one.pod.netns, CLIENT)).toBe(true);
    one.datapath.ipmasq(`${CLIENT}/128`);
    sh(`ip -n ${CLIENT_NS} route add fd00:98:1::/64 via fd00:1:5::10`);
    expect(said(script(one.pod.netns, askTcp(CLIENT)))).toBe(pod(one));
    expect(said(script(CLIENT_NS, askTcp(pod(one))))).toBe(CLIENT);
    sh(`ip -n ${CLIENT_NS} route del fd00:98:1::/64`);
    for (const [key] of one.datapath.map('cilium_ipmasq_v6').entries()) one.datapath.map('cilium_ipmasq_v6').delete(key);
  });

  test('a refused datagram is refused in the pod, through the masquerade', () => {
    expect(said(script(one.pod.netns, askUdp(CLIENT, 7001)))).toBe('ECONNREFUSED');
  });

  test('node and pod reach each other, on one node and across', () => {
    expect(ping(one.netns, pod(one))).toBe(true);
    expect(said(script(one.pod.netns, askTcp('fd00:1:5::10')))).toBe(pod(one));
    expect(said(script(one.netns, askTcp(pod(two))))).toBe(routingMode === 'native' ? 'fd00:1:5::10' : one.router6);
    expect(said(script(one.pod.netns, askTcp('fd00:1:5::11')))).toBe(routingMode === 'native' ? pod(one) : 'fd00:1:5::10');
  });

  test('the node\'s own connections work', () => {
    expect(said(script(one.netns, askTcp(CLIENT)))).toBe('fd00:1:5::10');
    expect(said(script(CLIENT_NS, askTcp('fd00:1:5::10')))).toBe(CLIENT);
    expect(said(script(one.netns, askTcp('fd00:1:5::11')))).toBe('fd00:1:5::10');
  });

  test('the kernel\'s ICMPv6 reaches the pod: too big, and no route', () => {
    sh(`ip -n ${one.netns} route add 2001:db8:1::/64 via ${CLIENT} dev eth0 mtu lock 1300; ip -n ${one.netns} route add unreachable 2001:db8:2::/64`);
    expect(inside(one.pod.netns, 'ping', '-c1', '-W1', '-n', '2001:db8:2::1').output).toMatch(/unreachable|No route/i);
    expect(inside(one.pod.netns, 'ping', '-c1', '-W1', '-n', '-M', 'do', '-s', '1380', '2001:db8:1::1').output).toMatch(/Packet too big: mtu=1300|message too long/i);
  });
});
