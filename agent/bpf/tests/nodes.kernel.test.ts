import {spawnSync} from 'node:child_process';
import type {ChildProcess} from 'node:child_process';

import {afterAll, beforeAll, describe, expect, test} from '@jest/globals';

import {inside, ping, script, sh, start, TestNode} from './node.js';
import type {RunResult} from './node.js';

const CLIENT = '10.1.5.200';
const RUN = `bpf${process.pid % 100_000}`;
const BRIDGE = `${RUN}b`;
const CLIENT_NS = `${RUN}c`;

/** Tells every peer who it is, over TCP and UDP. */
const WHO = `
  const {createServer} = require('node:net'); const {createSocket} = require('node:dgram');
  createServer((s) => { s.on('error', () => {}); s.end(s.remoteAddress.replace('::ffff:', '')); }).listen(7000, '0.0.0.0');
  const u = createSocket('udp4'); u.on('message', (_m, from) => u.send(from.address, from.port, from.address)); u.bind(7000);
  console.log('ready');`;

const askTcp = (address: string): string => `
  const s = require('node:net').connect({host: '${address}', port: 7000}); s.setTimeout(1500, () => { console.log('timeout'); s.destroy(); });
  s.on('data', (d) => console.log(String(d))); s.on('error', (e) => console.log(e.code));`;
const askUdp = (address: string, port = 7000): string => `
  const s = require('node:dgram').createSocket('udp4'); const end = (t) => { console.log(t); process.exit(); };
  s.on('error', (e) => end(e.code)); s.on('message', (m) => end(String(m))); s.connect(${port}, '${address}', () => s.send('x')); setTimeout(() => end('timeout'), 1500);`;

const said = (result: RunResult): string => result.output.trim();

describe.each(['native', 'tunnel'] as const)('two nodes and a client, %s routing', (routingMode) => {
  let one: TestNode;
  let two: TestNode;
  const servers: ChildProcess[] = [];

  beforeAll(async () => {
    sh(`ip netns add ${BRIDGE}; ip -n ${BRIDGE} link add br0 type bridge; ip -n ${BRIDGE} link set br0 up
      ip netns add ${CLIENT_NS}; ip -n ${CLIENT_NS} link add eth0 type veth peer name client netns ${BRIDGE}
      ip -n ${BRIDGE} link set client master br0 up; ip -n ${CLIENT_NS} addr add ${CLIENT}/24 dev eth0; ip -n ${CLIENT_NS} link set eth0 up; ip -n ${CLIENT_NS} link set lo up`);
    one = new TestNode(BRIDGE, {name: `${RUN}1`, address: '10.1.5.10', podNet: '10.98.1', identity: 300, routingMode});
    two = new TestNode(BRIDGE, {name: `${RUN}2`, address: '10.1.5.11', podNet: '10.98.2', identity: 500, routingMode});
    one.meet(two);
    two.meet(one);
    for (const netns of [CLIENT_NS, one.pod.netns, two.pod.netns, one.netns, two.netns]) {
      const server = start(netns, process.execPath, '-e', WHO);
      servers.push(server);
      await new Promise((resolve) => server.stdout?.once('data', resolve));
    }
  });

  afterAll(() => {
    for (const server of servers.splice(0)) server.kill('SIGKILL');
    one.close();
    two.close();
    for (const netns of [BRIDGE, CLIENT_NS]) spawnSync('ip', ['netns', 'del', netns]);
  });

  test('pod to pod across nodes, source unchanged', () => {
    expect(ping(one.pod.netns, two.pod.ip)).toBe(true);
    expect(said(script(one.pod.netns, askTcp(two.pod.ip)))).toBe(one.pod.ip);
    expect(said(script(two.pod.netns, askUdp(one.pod.ip)))).toBe(two.pod.ip);
  });

  test('the receiving node knows the sender\'s identity', () => {
    two.datapath.policy(two.pod.id, [{direction: 'ingress', identity: 300, protocol: 6, port: 7000}, {direction: 'egress', identity: 0}]);
    expect(said(script(one.pod.netns, askTcp(two.pod.ip)))).toBe(one.pod.ip);
    two.datapath.policy(two.pod.id, [{direction: 'ingress', identity: 301}, {direction: 'egress', identity: 0}]);
    expect(said(script(one.pod.netns, askTcp(two.pod.ip)))).toBe('timeout');
    expect(two.datapath.counted(133, 1)).toBeGreaterThan(0);
    two.datapath.policy(two.pod.id, 'open');
  });

  test('what is on the wire', async () => {
    const dump = start(BRIDGE, 'tcpdump', '-lnni', 'br0', '-c', '2', 'icmp or udp port 8472');
    await new Promise((resolve) => dump.stderr?.once('data', resolve));
    const output = new Promise<string>((resolve) => {
      let text = '';
      dump.stdout?.on('data', (data: Buffer) => { text += data.toString(); });
      dump.on('close', () => resolve(text));
    });
    const deadline = Date.now() + 5000;
    while (dump.exitCode === null && Date.now() < deadline) {
      ping(one.pod.netns, two.pod.ip);
      await new Promise(setImmediate);
    }
    const text = await output;
    // tcpdump takes this port for OTV, which has the VXLAN header: the instance is the VNI.
    if (routingMode === 'native') expect(text).not.toContain('8472');
    else expect(text).toMatch(/10\.1\.5\.10\.\d+ > 10\.1\.5\.11\.8472: .* instance 300\n/);
    expect(text).toContain(`${one.pod.ip} > ${two.pod.ip}: ICMP echo request`);
  });

  test('bulk TCP with segmentation offload', async () => {
    const server = start(two.pod.netns, 'iperf3', '-s', '-1', '--forceflush');
    await new Promise((resolve) => server.stdout?.once('data', resolve));
    const result = inside(one.pod.netns, 'iperf3', '-c', two.pod.ip, '-n', '50M', '-J');
    server.kill('SIGKILL');
    expect(result.status).toBe(0);
    expect(Number(/"bits_per_second":\s*([\d.]+)/.exec(result.output)?.[1])).toBeGreaterThan(1e8);
  });

  test('pings bigger than the MTU', () => {
    expect(ping(one.pod.netns, two.pod.ip, '-s', '4000')).toBe(true);
    expect(ping(one.pod.netns, CLIENT, '-s', '4000')).toBe(true);
  });

  test('the world sees the node, and answers arrive', () => {
    expect(said(script(one.pod.netns, askTcp(CLIENT)))).toBe('10.1.5.10');
    expect(said(script(one.pod.netns, askUdp(CLIENT)))).toBe('10.1.5.10');
    expect(ping(one.pod.netns, CLIENT)).toBe(true);
    one.datapath.ipmasq('10.1.5.200/32');
    sh(`ip -n ${CLIENT_NS} route add 10.98.1.0/24 via 10.1.5.10`);
    expect(said(script(one.pod.netns, askTcp(CLIENT)))).toBe(one.pod.ip);
    expect(said(script(CLIENT_NS, askTcp(one.pod.ip)))).toBe(CLIENT);
    sh(`ip -n ${CLIENT_NS} route del 10.98.1.0/24`);
    one.datapath.map('cilium_ipmasq_v4').deleteBatch(one.datapath.map('cilium_ipmasq_v4').entries().map(([key]) => key));
  });

  test('a refused datagram is refused in the pod, through the masquerade', () => {
    expect(said(script(one.pod.netns, askUdp(CLIENT, 7001)))).toBe('ECONNREFUSED');
  });

  test('bulk TCP through the masquerade, checksums by the device', async () => {
    const server = start(CLIENT_NS, 'iperf3', '-s', '-1', '--forceflush');
    await new Promise((resolve) => server.stdout?.once('data', resolve));
    const result = inside(one.pod.netns, 'iperf3', '-c', CLIENT, '-n', '50M');
    server.kill('SIGKILL');
    expect(result.status).toBe(0);
  });

  test('node and pod reach each other, on one node and across', () => {
    expect(ping(one.netns, one.pod.ip)).toBe(true);
    expect(said(script(one.netns, askTcp(one.pod.ip)))).toBe(one.router);
    expect(said(script(one.pod.netns, askTcp('10.1.5.10')))).toBe(one.pod.ip);
    expect(said(script(one.netns, askTcp(two.pod.ip)))).toBe(routingMode === 'native' ? '10.1.5.10' : one.router);
    expect(said(script(one.pod.netns, askTcp('10.1.5.11')))).toBe(routingMode === 'native' ? one.pod.ip : '10.1.5.10');
  });

  test('the node\'s own connections work', () => {
    expect(said(script(one.netns, askTcp(CLIENT)))).toBe('10.1.5.10');
    expect(said(script(CLIENT_NS, askTcp('10.1.5.10')))).toBe(CLIENT);
    expect(said(script(one.netns, askTcp('10.1.5.11')))).toBe('10.1.5.10');
  });

  test('the kernel\'s ICMP reaches the pod: too big, and no route', () => {
    sh(`ip -n ${one.netns} route add 203.0.113.0/24 via ${CLIENT} dev eth0 mtu lock 1000; ip -n ${one.netns} route add unreachable 203.0.114.0/24`);
    expect(inside(one.pod.netns, 'ping', '-c1', '-W1', '-n', '203.0.114.1').output).toContain('Unreachable');
    expect(inside(one.pod.netns, 'ping', '-c1', '-W1', '-n', '-M', 'do', '-s', '1200', '203.0.113.1').output).toContain('Frag needed and DF set (mtu = 1000)');
  });
});
