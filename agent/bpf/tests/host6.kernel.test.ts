import {afterAll, beforeEach, describe, expect, test} from '@jest/globals';

import type {ProgramConfig} from '../../maps/program-config.js';
import type {Datapath, Outcome} from '../probe/datapath.js';
import {LO, REMOTE} from '../probe/datapath.js';
import {echo6, icmp6, icmp6Message, neighbour, padding, parse6, rawIp6, routing, tcp6, udp6} from './packets6.js';
import {MACS} from '../probe/macs.js';
import {tcp, TCP_FLAGS} from './packets.js';
import {A, B, closeAll, dualStack, NODE6, REMOTE6, ROUTER6, WORLD6} from './world6.js';

const {SYN} = TCP_FLAGS;
const toA = (source: string): Uint8Array => tcp6({source, destination: A.ipv6, sourcePort: 50_000, destinationPort: 80}, SYN);

let d: Datapath;
beforeEach(() => reopen());
afterAll(closeAll);

function reopen(config: Partial<ProgramConfig> = {}): void {
  d = dualStack(config);
}

function expectDrop(outcome: Outcome, reason: number, direction: number): void {
  expect({verdict: outcome.verdict, reason: outcome.reason}).toEqual({verdict: 'drop', reason});
  expect(outcome.events.filter(({kind}) => kind === 'drop').length).toBe(1);
  expect(d.counted(reason, direction)).toBe(1);
}

/** Who A's ingress policy was asked about. */
function peer(outcome: Outcome): number | null {
  const verdict = outcome.events.find((event) => event.kind === 'policy-verdict');
  return verdict?.kind === 'policy-verdict' ? verdict.message.remoteIdentity : null;
}

const stack = (outcome: Outcome, packet: Uint8Array): void => {
  expect(outcome).toMatchObject({verdict: 'pass', action: 'none', reason: null});
  expect(outcome.packet).toEqual(packet);
};

describe('announced addresses of Services that nothing here serves', () => {
  const VIP = '2001:db8:20::1';
  const UPLINK = {ingressIfindex: LO};
  const to = (destination: string, source = WORLD6): Uint8Array => tcp6({source, destination, sourcePort: 50_000, destinationPort: 80}, SYN);
  beforeEach(() => d.announced(`${VIP}/128`, '2001:db8:21::/64'));

  test.each([VIP, '2001:db8:21::77'])('from the wire to %s: not back to the wire, and counted', (address) => {
    expectDrop(d.run('cil_to_netdev', to(address), UPLINK), 158, 2);
  });

  test.each([
    ['to an address that is not announced', to('2001:db8:20::2'), UPLINK],
    ['from this node itself', to(VIP, NODE6), {}],
    ['what somebody served: it has another destination now', to(REMOTE6.ip), UPLINK],
  ])('%s: the way is free', (_what, packet, context) => stack(d.run('cil_to_netdev', packet, context), packet));
});

describe('from the wire', () => {
  const arrive = (packet: Uint8Array): Outcome => d.run('cil_from_netdev', packet);

  test('to a pod: past the stack, one hop older', () => {
    const outcome = arrive(toA(REMOTE6.ip));
    expect(outcome).toMatchObject({verdict: 'redirect', action: 'redirect_peer'});
    expect(outcome.probe.ifindex).toBe(A.ifindex);
    expect(parse6(outcome.packet)).toMatchObject({hopLimit: 63, checksumRight: true, destinationMac: MACS.pod, sourceMac: MACS.lxc});
  });

  test.each([[REMOTE6.ip, REMOTE6.identity], [REMOTE6.node, 6], [WORLD6, 10]])('%s is identity %i', (source, identity) => {
    expect(peer(arrive(toA(source)))).toBe(identity);
  });

  test.each([NODE6, ROUTER6, 'fe80::5', '::', '::1', 'ff02::1'])('nobody out there is %s', (source) => expectDrop(arrive(toA(source)), 132, 1));

  test('an address of the PodCIDR without a pod does not go round in circles', () => {
    expectDrop(arrive(tcp6({source: WORLD6, destination: 'fd00:98:1::200', sourcePort: 1, destinationPort: 2}, SYN)), 151, 1);
  });

  test('the hop limit runs out', () => {
    expectDrop(arrive(tcp6({source: WORLD6, destination: A.ipv6, sourcePort: 1, destinationPort: 2}, SYN, {hopLimit: 1})), 196, 1);
  });

  test.each([
    ['for the node', echo6({source: WORLD6, destination: NODE6}, 1)], ['for the router address', echo6({source: WORLD6, destination: ROUTER6}, 1)],
    ['for somebody else', echo6({source: WORLD6, destination: '2001:db8:9::1'}, 1)],
    ['a neighbour of the node', neighbour({source: 'fe80::9', destination: 'ff02::1:ff00:10'}, {type: 135, target: NODE6})],
    ['a router', icmp6({source: 'fe80::1', destination: 'ff02::1'}, {type: 134, body: new Uint8Array(8)}, {hopLimit: 255})],
    ['with routing type 0, for the node', udp6({source: WORLD6, destination: NODE6, sourcePort: 1, destinationPort: 2}, {extensions: [routing(0, 1)]})],
    ['listeners of a group', rawIp6({source: 'fe80::1', destination: 'ff02::16'}, 58, icmp6Message({source: 'fe80::1', destination: 'ff02::16'}, {type: 143}), {extensions: [padding(0)]})],
  ])('%s: the stack\'s, untouched and uncounted', (_what, packet) => {
    stack(arrive(packet), packet);
    expect(d.map('cilium_metrics').entries()).toEqual([]);
  });

  test('routing type 0 for a pod', () => {
    expectDrop(arrive(udp6({source: WORLD6, destination: A.ipv6, sourcePort: 1, destinationPort: 2}, {extensions: [routing(0, 1)]})), 156, 1);
  });

  test.each([134, 135, 136, 137])('a pod is told type %i by nobody', (type) => {
    expectDrop(arrive(icmp6({source: WORLD6, destination: A.ipv6}, {type, body: new Uint8Array(24)}, {hopLimit: 255})), 176, 1);
  });

  test('IPv4 beside it', () => {
    expect(arrive(tcp({source: REMOTE.ip, destination: A.ip, sourcePort: 1, destinationPort: 2}, SYN)).action).toBe('redirect_peer');
  });
});

describe('from the host', () => {
  const leave = (packet: Uint8Array): Outcome => d.run('cil_from_host', packet);

  test('the node itself is identity 1; the veth is crossed, no hop is made', () => {
    for (const source of [NODE6, ROUTER6]) {
      const outcome = leave(toA(source));
      expect(outcome).toMatchObject({verdict: 'redirect', action: 'redirect'});
      expect([outcome.probe.ifindex, peer(outcome)]).toEqual([A.ifindex, 1]);
      expect(parse6(outcome.packet)).toMatchObject({hopLimit: 64, checksumRight: true, destinationMac: MACS.pod});
    }
  });

  test.each([[REMOTE6.ip, REMOTE6.identity], [B.ipv6, B.identity], [WORLD6, 10]])('what it forwards from %s is identity %i', (source, identity) => {
    expect(peer(leave(toA(source)))).toBe(identity);
  });

  test('allow-localhost is an entry like any other', () => {
    d.policy(A.id, []);
    expectDrop(leave(toA(NODE6)), 133, 1);
    d.policy(A.id, [{direction: 'ingress', identity: 1}]);
    expect(leave(toA(NODE6)).action).toBe('redirect');
    expect(leave(toA(WORLD6)).reason).toBe(133);
  });

  test('an answer to a pod passes', () => {
    d.run('cil_from_container', echo6({source: A.ipv6, destination: NODE6}, 5));
    d.policy(A.id, []);
    expect(leave(toA(NODE6)).reason).toBe(133);
    expect(leave(icmp6({source: NODE6, destination: A.ipv6}, {type: 129, id: 5})).action).toBe('redirect');
  });

  test('an address of the PodCIDR without a pod', () => {
    expectDrop(leave(tcp6({source: NODE6, destination: 'fd00:98:1::200', sourcePort: 1, destinationPort: 2}, SYN)), 151, 2);
  });

  test('elsewhere does not come here in native mode', () => {
    expectDrop(leave(tcp6({source: NODE6, destination: REMOTE6.ip, sourcePort: 1, destinationPort: 2}, SYN)), 150, 2);
  });

  test.each([
    ['multicast', udp6({source: NODE6, destination: 'ff02::fb', sourcePort: 1, destinationPort: 2})],
    ['its link', udp6({source: 'fe80::1', destination: 'fe80::2', sourcePort: 1, destinationPort: 2})],
    ['for the node', udp6({source: NODE6, destination: ROUTER6, sourcePort: 1, destinationPort: 2})],
  ])('%s passes', (_what, packet) => stack(leave(packet), packet));

  describe('in tunnel mode', () => {
    beforeEach(() => {
      reopen({routingMode: 'tunnel'});
    });
    const toRemote = (source: string): Uint8Array => tcp6({source, destination: REMOTE6.ip, sourcePort: 1, destinationPort: 2}, SYN);

    test.each([
      [ROUTER6, 6, 'the node is a remote node to others'], [B.ipv6, B.identity, 'a pod is itself'], [WORLD6, 2, 'there is one world on the wire'],
      ['2001:db8:5::1', 2, 'a number of this node only is the world'],
    ])('%s has VNI %i: %s', (source, vni) => {
      d.ipcache('2001:db8:5::/48', 0x01000001);
      const outcome = leave(toRemote(source));
      expect(outcome).toMatchObject({verdict: 'redirect', action: 'redirect'});
      expect(outcome.probe).toMatchObject({ifindex: 77, setTunnelId: vni, setTunnelRemote: 0x0a01050b});
    });

    test('without a node behind the address', () => {
      expectDrop(leave(tcp6({source: NODE6, destination: REMOTE6.node, sourcePort: 1, destinationPort: 2}, SYN)), 160, 2);
    });
  });
});

describe('from the tunnel', () => {
  beforeEach(() => {
    reopen({routingMode: 'tunnel'});
    d.answers({tunnelId: REMOTE6.identity, tunnelRemote: REMOTE.node});
  });
  const arrive = (packet: Uint8Array): Outcome => d.run('cil_from_overlay', packet);

  test('the VNI says who; the packet becomes this host\'s and goes into the pod', () => {
    const outcome = arrive(toA(REMOTE6.ip));
    expect(outcome).toMatchObject({verdict: 'redirect', action: 'redirect_peer'});
    expect([outcome.probe.setPacketType, peer(outcome)]).toEqual([1, REMOTE6.identity]);
    expect(parse6(outcome.packet)).toMatchObject({hopLimit: 63, checksumRight: true});
  });

  test('the world that travelled is that of its family again', () => {
    d.answers({tunnelId: 2});
    expect(peer(arrive(toA(WORLD6)))).toBe(10);
    expect(peer(arrive(tcp({source: '198.18.0.7', destination: A.ip, sourcePort: 1, destinationPort: 2}, SYN)))).toBe(9);
  });

  test.each([1, 0])('VNI %i is nobody', (tunnelId) => {
    d.answers({tunnelId});
    expectDrop(arrive(toA(REMOTE6.ip)), 171, 1);
  });

  test('a remote node: the ipcache knows which', () => {
    d.answers({tunnelId: 6});
    d.ipcache('fd00:98:2::1/128', 7);
    expect(peer(arrive(toA('fd00:98:2::1')))).toBe(7);
    expectDrop(arrive(toA(NODE6)), 132, 1);
  });

  test('not from a link', () => expectDrop(arrive(toA('fe80::1')), 132, 1));
  test('for nobody here', () => expectDrop(arrive(tcp6({source: REMOTE6.ip, destination: 'fd00:98:1::200', sourcePort: 1, destinationPort: 2}, SYN)), 151, 1));
  test('not forwarded to others', () => expectDrop(arrive(tcp6({source: REMOTE6.ip, destination: WORLD6, sourcePort: 1, destinationPort: 2}, SYN)), 151, 1));

  test('for the router address: the stack\'s', () => {
    const outcome = arrive(echo6({source: REMOTE6.ip, destination: ROUTER6}, 3));
    expect(outcome).toMatchObject({verdict: 'pass', action: 'none'});
    expect(outcome.probe.setPacketType).toBe(1);
  });
});
