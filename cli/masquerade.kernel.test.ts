// `masq check` against the programs: the same facts, the same packets, the same answer (root).

import {afterAll, describe, expect, test} from '@jest/globals';
import type {MasqueradeFamily} from '../lib/domain/masquerade.js';
import {lxcCodec} from '../agent/maps/endpoint.js';
import {ipcacheCodec} from '../agent/maps/ipcache.js';
import {NODE, REMOTE, ROUTER, WORLD, CONFIG, type Datapath} from '../agent/bpf/probe/datapath.js';
import {parse, TCP_FLAGS, tcp} from '../agent/bpf/tests/packets.js';
import {parse6, tcp6} from '../agent/bpf/tests/packets6.js';
import {A, B, closeAll, CONFIG6, dualStack, NODE6, REMOTE6, ROUTER6, WORLD6} from '../agent/bpf/tests/world6.js';
import type {ProgramConfig} from '../agent/maps/program-config.js';
import {masqueradeAnswer, type MasqueradeFacts} from './masquerade.js';
import {longestOf} from './rows.js';

const LISTED = ['20.0.0.0/8', '20.1.1.0/24', '20.1.1.7/32', '169.254.0.0/16', '2001:db8:20::/48', '2001:db8:20:1::/64', 'fe80::/10'];
/** Another node, which the tunnel would lead to. */
const BY_TUNNEL = '10.1.5.77';
const SOURCES = {4: [A.ip, B.ip, NODE, ROUTER, REMOTE.ip], 6: [A.ipv6, B.ipv6, NODE6, ROUTER6, REMOTE6.ip]};
const DESTINATIONS = {
  4: [WORLD, '20.1.1.7', '20.1.1.8', '20.9.9.9', '21.0.0.1', '169.254.1.1', '10.98.77.1', REMOTE.node, BY_TUNNEL],
  6: [WORLD6, '2001:db8:20:1::1', '2001:db8:20:2::1', '2001:db8:21::1', 'fd00:98:77::1', REMOTE6.node],
};
const CONFIGS: readonly (readonly [string, Partial<ProgramConfig>])[] = [
  ['native', {}],
  ['tunnel', {routingMode: 'tunnel'}],
  ['towards nodes as well', {masqueradeRemoteNodes: true}],
  ['no native-routing CIDR', {masqueradeExclusions: ['10.98.1.0/24'], ipv6: {...CONFIG6.ipv6, masqueradeExclusions: ['fd00:98:1::/64']}}],
  ['IPv4 alone', {ipv6: {...CONFIG6.ipv6, masquerade: false}}],
  ['off', {masquerade: false, ipv6: {...CONFIG6.ipv6, masquerade: false}}],
];

afterAll(closeAll);

function world(config: Partial<ProgramConfig>): Datapath {
  const d = dualStack(config);
  d.ipmasq(...LISTED);
  d.ipcache(`${BY_TUNNEL}/32`, 6, BY_TUNNEL);
  return d;
}

function factsOf(d: Datapath, config: Partial<ProgramConfig>): MasqueradeFacts {
  const program = {...CONFIG, ...CONFIG6, ...config};
  const ipv6 = program.ipv6 ?? CONFIG6.ipv6;
  const local = new Map(d.entries(lxcCodec).map(({key, value}) => [key, value]));
  const remote = longestOf(d.entries(ipcacheCodec).map(({key, value}) => [key, value] as const));
  const family = (enabled: boolean, exclusions: readonly string[]): MasqueradeFamily => ({enabled, exclusions});
  return {
    settings: {
      ipv4: family(program.masquerade, program.masqueradeExclusions), ipv6: family(ipv6.masquerade, ipv6.masqueradeExclusions),
      uplinks: [{name: 'lo', ipv4: NODE, ipv6: NODE6}], remoteNodes: program.masqueradeRemoteNodes,
    },
    routingMode: program.routingMode, nonMasqueradeCidrs: LISTED, opened: () => 0,
    local: (address) => local.get(address) ?? null, remote: (address) => remote(address)?.value ?? null,
  };
}

describe.each(CONFIGS)('%s', (_what, config) => {
  test.each([4, 6] as const)('IPv%i: every source to every destination', (family) => {
    const d = world(config);
    const facts = factsOf(d, config);
    const decided = new Map<string, number>();
    for (const source of SOURCES[family]) {
      for (const destination of DESTINATIONS[family]) {
        const answer = masqueradeAnswer(facts, source, destination);
        decided.set(answer.decidedBy, (decided.get(answer.decidedBy) ?? 0) + 1);
        // Never seen by an uplink but inside the tunnel's packet.
        if (answer.decidedBy === 'tunnel' || answer.decidedBy === 'stays-on-node') continue;
        const flow = {source, destination, sourcePort: 40_000, destinationPort: 443};
        const {verdict, packet} = d.run('cil_to_netdev', family === 4 ? tcp(flow, TCP_FLAGS.SYN) : tcp6(flow, TCP_FLAGS.SYN));
        const left = family === 4 ? parse(packet).source : parse6(packet).source;
        expect({source, destination, verdict, left}).toEqual({source, destination, verdict: 'pass', left: answer.masqueraded === true ? answer.addresses[0]?.address : source});
      }
    }
    // The control: the flows tell the exclusions apart.
    expect(decided.size).toBeGreaterThan(_what === 'off' || (_what === 'IPv4 alone' && family === 6) ? 0 : 3);
  });
});

test('the first that matches decides, and names the longest prefix', () => {
  const facts = factsOf(world({}), {});
  expect(masqueradeAnswer(facts, A.ip, '20.1.1.7')).toMatchObject({masqueraded: false, decidedBy: 'ip-masq-agent', prefix: '20.1.1.7/32'});
  expect(masqueradeAnswer(facts, A.ip, '20.1.1.8')).toMatchObject({decidedBy: 'ip-masq-agent', prefix: '20.1.1.0/24'});
  expect(masqueradeAnswer(facts, A.ip, '10.98.77.1')).toMatchObject({decidedBy: 'native-routing-cidr', prefix: '10.98.0.0/16'});
  expect(masqueradeAnswer(facts, A.ip, WORLD)).toMatchObject({masqueraded: true, decidedBy: 'local-pod', addresses: [{uplink: 'lo', address: NODE}]});
  expect(masqueradeAnswer(facts, A.ip, '20.1.1.7').exclusions.map(({name}) => name)).toEqual([
    'masquerading-off', 'stays-on-node', 'tunnel', 'uplink-address', 'reply', 'egress-gateway', 'native-routing-cidr', 'host-endpoint', 'ip-masq-agent', 'remote-node', 'no-local-pod',
  ]);
  // Both would match: the earlier one is named.
  expect(masqueradeAnswer({...facts, nonMasqueradeCidrs: ['10.0.0.0/8']}, A.ip, '10.98.77.1')).toMatchObject({decidedBy: 'native-routing-cidr'});
});

test('without an agent nothing is guessed', () => {
  const facts = {...factsOf(world({}), {}), settings: null, routingMode: null};
  expect(masqueradeAnswer(facts, A.ip, WORLD)).toMatchObject({masqueraded: null, decidedBy: 'masquerading-off'});
});
