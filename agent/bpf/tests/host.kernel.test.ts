import {afterEach, beforeEach, describe, expect, test} from '@jest/globals';

import type {ProgramConfig} from '../../maps/program-config.js';
import {A, B, Datapath, LO, NODE, REMOTE, ROUTER, WORLD} from '../probe/datapath.js';
import type {Outcome} from '../probe/datapath.js';
import {MACS} from '../probe/macs.js';
import {arp, echo, ethernet, parse, rawIp, tcp, TCP_FLAGS, udp} from './packets.js';

const {SYN} = TCP_FLAGS;
const toA = (source: string): Uint8Array => tcp({source, destination: A.ip, sourcePort: 50_000, destinationPort: 80}, SYN);

let d: Datapath;
beforeEach(() => reopen());
afterEach(() => d.close());

function reopen(config: Partial<ProgramConfig> = {}): void {
  d = new Datapath(config);
  d.cluster();
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
  const VIP = '10.20.10.1';
  const UPLINK = {ingressIfindex: LO};
  const to = (destination: string, source = WORLD): Uint8Array => tcp({source, destination, sourcePort: 50_000, destinationPort: 80}, SYN);
  beforeEach(() => d.announced(`${VIP}/32`, '10.20.11.0/24'));

  test.each([VIP, '10.20.11.77'])('from the wire to %s: not back to the wire, and counted', (address) => {
    expectDrop(d.run('cil_to_netdev', to(address), UPLINK), 158, 2);
  });

  test('whatever the protocol', () => {
    expectDrop(d.run('cil_to_netdev', rawIp({source: WORLD, destination: VIP}, 47, new Uint8Array(8)), UPLINK), 158, 2);
  });

  test('without masquerading as well', () => {
    d.close();
    reopen({masquerade: false});
    d.announced(`${VIP}/32`);
    expectDrop(d.run('cil_to_netdev', to(VIP), UPLINK), 158, 2);
  });

  test.each([
    ['to an address that is not announced', to('10.20.10.2'), UPLINK],
    ['from this node itself', to(VIP, NODE), {}],
    ['from a device that is no uplink', to(VIP), {ingressIfindex: 99}],
    ['what somebody served: it has another destination now', to(REMOTE.ip), UPLINK],
  ])('%s: the way is free', (_what, packet, context) => stack(d.run('cil_to_netdev', packet, context), packet));
});

describe('from the wire', () => {
  const arrive = (packet: Uint8Array): Outcome => d.run('cil_from_netdev', packet);

  test('to a pod: past the stack, one hop older', () => {
    const outcome = arrive(toA(REMOTE.ip));
    expect(outcome).toMatchObject({verdict: 'redirect', action: 'redirect_peer'});
    expect(outcome.probe.ifindex).toBe(A.ifindex);
    expect(parse(outcome.packet)).toMatchObject({ttl: 63, checksumsRight: true, destinationMac: MACS.pod, sourceMac: MACS.lxc});
  });

  test.each([[REMOTE.ip, REMOTE.identity], [REMOTE.node, 6], [WORLD, 2]])('%s is identity %i', (source, identity) => {
    expect(peer(arrive(toA(source)))).toBe(identity);
  });

  test('a pod of another node that nobody told of yet is not the world', () => {
    d.ipcache('10.98.3.0/24', 3);
    expect(peer(arrive(toA('10.98.3.9')))).toBe(3);
  });

  test.each([NODE, ROUTER])('nobody out there is %s', (source) => expectDrop(arrive(toA(source)), 132, 1));

  test('an uplink\'s address is no source even when the ipcache does not know it', () => {
    d.ipcache(`${NODE}/32`, 2);
    expectDrop(arrive(toA(NODE)), 132, 1);
  });

  test('an address of the PodCIDR without a pod does not go round in circles', () => {
    expectDrop(arrive(tcp({source: WORLD, destination: '10.98.1.200', sourcePort: 1, destinationPort: 2}, SYN)), 151, 1);
  });

  test('the TTL runs out', () => {
    expectDrop(arrive(tcp({source: WORLD, destination: A.ip, sourcePort: 1, destinationPort: 2}, SYN, {ttl: 1})), 196, 1);
  });

  test.each([
    ['for the node', echo({source: WORLD, destination: NODE}, 1)], ['for the router address', echo({source: WORLD, destination: ROUTER}, 1)],
    ['for somebody else', echo({source: WORLD, destination: '203.0.113.1'}, 1)], ['ARP', arp({operation: 1, senderMac: MACS.other, sender: WORLD, target: NODE})],
    ['IPv6', ethernet(0x86dd, new Uint8Array(40))], ['nonsense', tcp({source: WORLD, destination: A.ip, sourcePort: 1, destinationPort: 2}, SYN, {versionIhl: 0x44})],
    ['IGMP-like multicast', udp({source: WORLD, destination: '224.0.0.251', sourcePort: 5353, destinationPort: 5353})],
  ])('%s: the stack\'s, untouched and uncounted', (_what, packet) => {
    stack(arrive(packet), packet);
    expect(d.map('cilium_metrics').entries()).toEqual([]);
  });

  test('a tunnel packet is the stack\'s also when its ports would fit a masqueraded flow', () => {
    d.close();
    reopen({routingMode: 'tunnel', tunnelPort: 40_000});
    d.run('cil_to_netdev', udp({source: A.ip, destination: WORLD, sourcePort: 40_000, destinationPort: 7}));
    const packet = udp({source: WORLD, destination: NODE, sourcePort: 7, destinationPort: 40_000});
    stack(arrive(packet), packet);
  });

  test('L4 headers that are cut off', () => {
    expectDrop(arrive(rawIp({source: WORLD, destination: A.ip}, 6, new Uint8Array(10))), 135, 1);
    const cut = toA(WORLD).slice(0, 40);
    stack(arrive(cut), cut);
  });
});

describe('from the host', () => {
  const leave = (packet: Uint8Array): Outcome => d.run('cil_from_host', packet);

  test('the node itself is identity 1; the veth is crossed, no hop is made', () => {
    for (const source of [NODE, ROUTER]) {
      const outcome = leave(toA(source));
      expect(outcome).toMatchObject({verdict: 'redirect', action: 'redirect'});
      expect([outcome.probe.ifindex, peer(outcome)]).toEqual([A.ifindex, 1]);
      expect(parse(outcome.packet)).toMatchObject({ttl: 64, checksumsRight: true, destinationMac: MACS.pod});
    }
  });

  test.each([[REMOTE.ip, REMOTE.identity], [B.ip, B.identity], [WORLD, 2]])('what it forwards from %s is identity %i', (source, identity) => {
    expect(peer(leave(toA(source)))).toBe(identity);
  });

  test('allow-localhost is an entry like any other', () => {
    d.policy(A.id, []);
    expectDrop(leave(toA(NODE)), 133, 1);
    d.policy(A.id, [{direction: 'ingress', identity: 1}]);
    expect(leave(toA(NODE)).action).toBe('redirect');
    expect(leave(toA(WORLD)).reason).toBe(133);
  });

  test('an answer to a pod passes', () => {
    d.run('cil_from_container', echo({source: A.ip, destination: NODE}, 5));
    d.policy(A.id, []);
    expect(leave(toA(NODE)).reason).toBe(133);
    const reply = echo({source: NODE, destination: A.ip}, 5);
    reply[34] = 0;
    expect(leave(reply).action).toBe('redirect');
  });

  test('an address of the PodCIDR without a pod', () => {
    expectDrop(leave(tcp({source: NODE, destination: '10.98.1.200', sourcePort: 1, destinationPort: 2}, SYN)), 151, 2);
  });

  test('elsewhere does not come here in native mode', () => {
    expectDrop(leave(tcp({source: NODE, destination: REMOTE.ip, sourcePort: 1, destinationPort: 2}, SYN)), 150, 2);
  });

  test.each([
    ['multicast', udp({source: NODE, destination: '224.0.0.251', sourcePort: 1, destinationPort: 2})],
    ['broadcast', udp({source: NODE, destination: '255.255.255.255', sourcePort: 1, destinationPort: 2})],
    ['IPv6', ethernet(0x86dd, new Uint8Array(40))], ['for the node', udp({source: NODE, destination: ROUTER, sourcePort: 1, destinationPort: 2})],
  ])('%s passes', (_what, packet) => stack(leave(packet), packet));

  describe('in tunnel mode', () => {
    beforeEach(() => {
      d.close();
      reopen({routingMode: 'tunnel'});
    });
    const toRemote = (source: string): Uint8Array => tcp({source, destination: REMOTE.ip, sourcePort: 1, destinationPort: 2}, SYN);

    test.each([
      [ROUTER, 6, 'the node is a remote node to others'], [B.ip, B.identity, 'a pod is itself'], [WORLD, 2, 'the world is the world'],
      ['172.16.3.4', 2, 'a number of this node only is the world'],
    ])('%s has VNI %i: %s', (source, vni) => {
      d.ipcache('172.16.0.0/12', 0x01000001);
      const outcome = leave(toRemote(source));
      expect(outcome).toMatchObject({verdict: 'redirect', action: 'redirect'});
      expect(outcome.probe).toMatchObject({ifindex: 77, setTunnelId: vni, setTunnelRemote: 0x0a01050b});
    });

    test('without a node behind the address', () => {
      expectDrop(leave(tcp({source: NODE, destination: REMOTE.node, sourcePort: 1, destinationPort: 2}, SYN)), 160, 2);
    });
  });

  test('cilium_net hands over to the stack', () => stack(d.run('cil_to_host', toA(NODE)), toA(NODE)));
});

describe('from the tunnel', () => {
  beforeEach(() => {
    d.close();
    reopen({routingMode: 'tunnel'});
    d.answers({tunnelId: REMOTE.identity, tunnelRemote: REMOTE.node});
  });
  const arrive = (packet: Uint8Array): Outcome => d.run('cil_from_overlay', packet);

  test('the VNI says who; the packet becomes this host\'s and goes into the pod', () => {
    const outcome = arrive(toA(REMOTE.ip));
    expect(outcome).toMatchObject({verdict: 'redirect', action: 'redirect_peer'});
    expect([outcome.probe.setPacketType, peer(outcome)]).toEqual([1, REMOTE.identity]);
    expect(parse(outcome.packet)).toMatchObject({ttl: 63, checksumsRight: true});
  });

  test('the VNI counts, not what the ipcache says of the address', () => {
    d.answers({tunnelId: 777});
    d.policy(A.id, [{direction: 'ingress', identity: REMOTE.identity}]);
    expectDrop(arrive(toA(REMOTE.ip)), 133, 1);
  });

  test.each([1, 0])('VNI %i is nobody', (tunnelId) => {
    d.answers({tunnelId});
    expectDrop(arrive(toA(REMOTE.ip)), 171, 1);
  });

  test('a remote node: the ipcache knows which', () => {
    d.answers({tunnelId: 6});
    expect(peer(arrive(toA('10.98.2.1')))).toBe(6);
    d.ipcache('10.98.2.1/32', 7);
    d.policy(A.id, [{direction: 'ingress', identity: 7, cookie: 1}]);
    expect(peer(arrive(tcp({source: '10.98.2.1', destination: A.ip, sourcePort: 3, destinationPort: 4}, SYN)))).toBe(7);
  });

  test('a remote node does not speak as this one', () => {
    d.answers({tunnelId: 6});
    expectDrop(arrive(toA(NODE)), 132, 1);
  });

  test('no key', () => {
    d.answers({tunnelResult: -22});
    expectDrop(arrive(toA(REMOTE.ip)), 147, 1);
  });

  test('not IPv4', () => expectDrop(arrive(ethernet(0x86dd, new Uint8Array(40))), 139, 1));
  test('for nobody here', () => expectDrop(arrive(tcp({source: REMOTE.ip, destination: '10.98.1.200', sourcePort: 1, destinationPort: 2}, SYN)), 151, 1));
  test('not forwarded to others', () => expectDrop(arrive(tcp({source: REMOTE.ip, destination: WORLD, sourcePort: 1, destinationPort: 2}, SYN)), 151, 1));

  test('for the router address: the stack\'s', () => {
    const outcome = arrive(echo({source: REMOTE.ip, destination: ROUTER}, 3));
    expect(outcome).toMatchObject({verdict: 'pass', action: 'none'});
    expect(outcome.probe.setPacketType).toBe(1);
  });

  test('what goes in is marked: no masquerading of the outer packet', () => {
    const outcome = d.run('cil_to_overlay', toA(REMOTE.ip), {mark: 7});
    expect(outcome).toMatchObject({verdict: 'pass', mark: 0x400});
    expect(d.run('cil_to_netdev', udp({source: NODE, destination: REMOTE.node, sourcePort: 50_000, destinationPort: 8472}), {mark: 0x400}).verdict).toBe('pass');
    expect(d.translations()).toEqual([]);
  });
});
