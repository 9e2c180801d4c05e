// Two pods on real veths: BPF_PROG_TEST_RUN does not show whether a redirect arrives.

import {spawnSync} from 'node:child_process';

import {afterAll, beforeAll, describe, expect, test} from '@jest/globals';

import {attachTcx} from '../../kernel/attach.js';
import type {BpfLink} from '../../kernel/attach.js';
import {openNetns} from '../../kernel/netns.js';
import {Datapath, NODE} from '../probe/datapath.js';
import {ifindex, mac, ping, sh} from './node.js';

const RUN = `bpf${process.pid}`;
const NODE_NS = `${RUN}n`;
const PODS = [{ns: `${RUN}a`, ip: '10.98.1.11', id: 11, identity: 300}, {ns: `${RUN}b`, ip: '10.98.1.12', id: 12, identity: 400}] as const;

describe('two pods of one node', () => {
  let datapath: Datapath;
  const links: BpfLink[] = [];

  beforeAll(() => {
    datapath = new Datapath({}, 'production');
    sh(`ip netns add ${NODE_NS}; ip -n ${NODE_NS} link set lo up; ip -n ${NODE_NS} addr add ${NODE}/32 dev lo`);
    const netns = openNetns(`/run/netns/${NODE_NS}`);
    for (const pod of PODS) {
      sh(`ip netns add ${pod.ns}; ip -n ${NODE_NS} link add lxc${pod.id} type veth peer name eth0 netns ${pod.ns}
        ip -n ${pod.ns} addr add ${pod.ip}/32 dev eth0; ip -n ${pod.ns} link set eth0 up; ip -n ${pod.ns} link set lo up
        ip -n ${pod.ns} route add 10.98.1.1 dev eth0 scope link; ip -n ${pod.ns} route add default via 10.98.1.1
        ip -n ${NODE_NS} link set lxc${pod.id} up`);
      const host = ifindex(NODE_NS, `lxc${pod.id}`);
      datapath.pod({id: pod.id, ip: pod.ip, identity: pod.identity, ifindex: host,
        macs: {mac: mac(pod.ns, 'eth0'), nodeMac: mac(NODE_NS, `lxc${pod.id}`)}});
      links.push(attachTcx(datapath.program('cil_from_container'), host, 'ingress', netns));
    }
    netns.close();
  });

  afterAll(() => {
    for (const link of links) link.close();
    datapath.close();
    for (const ns of [NODE_NS, ...PODS.map((pod) => pod.ns)]) spawnSync('ip', ['netns', 'del', ns]);
  });

  test('ping both ways, and every connection is seen', () => {
    expect(ping(PODS[0].ns, PODS[1].ip)).toBe(true);
    expect(ping(PODS[1].ns, PODS[0].ip)).toBe(true);
    expect(datapath.connections().map(({key}) => `${key.source}>${key.destination} ${key.flags}`).sort()).toEqual([
      '10.98.1.11>10.98.1.12 0', '10.98.1.11>10.98.1.12 1', '10.98.1.12>10.98.1.11 0', '10.98.1.12>10.98.1.11 1',
    ]);
    expect(datapath.counted(0)).toBeGreaterThanOrEqual(8);
  });

  test('a policy swap cuts one direction at once, answers still pass', () => {
    datapath.policy(PODS[1].id, [{direction: 'egress', identity: 0}]);
    expect(ping(PODS[0].ns, PODS[1].ip)).toBe(false);
    expect(ping(PODS[1].ns, PODS[0].ip)).toBe(true);
    expect(datapath.counted(133, 1)).toBeGreaterThan(0);
    datapath.policy(PODS[1].id, 'open');
    expect(ping(PODS[0].ns, PODS[1].ip)).toBe(true);
  });

  test('fragments of a big ping', () => {
    expect(ping(PODS[0].ns, PODS[1].ip, '-s', '4000')).toBe(true);
  });

  test('a pod that takes another address is not heard', () => {
    const before = datapath.counted(132);
    sh(`ip -n ${PODS[0].ns} addr add 10.98.1.99/32 dev eth0`);
    expect(ping(PODS[0].ns, PODS[1].ip, '-I', '10.98.1.99')).toBe(false);
    expect(datapath.counted(132)).toBeGreaterThan(before);
  });
});
