import {describe, expect, test} from '@jest/globals';
import {resource} from '../../lib/desired/diff.js';
import type {NodeConfigResource, Resource} from '../../lib/desired/node-state.js';
import type {NodeTables} from '../../lib/desired/tables.js';
import {EMPTY_TABLES, changeTables} from '../../lib/desired/tables.js';
import {identityId} from '../../lib/domain/identity.js';
import {PRECEDENCE_ALLOW, PRECEDENCE_DENY} from '../../lib/domain/policy.js';
import type {PolicyEntry} from '../../lib/domain/policy.js';
import {endpointConfigCodec, ifToEndpointCodec, lxcCodec} from '../maps/endpoint.js';
import {ipcacheCodec} from '../maps/ipcache.js';
import type {MapCodec} from '../maps/layout.js';
import type {Advertisement} from '../../lib/domain/bgp.js';
import {announced6Codec, announcedCodec, ipmasq6Codec, ipmasqCodec} from '../maps/masq.js';
import {decodePolicyKey, decodePolicyValue} from '../maps/policy.js';
import type {LocalEndpoint, LocalFacts} from '../model/local.js';
import {NO_LOCAL_IDENTITIES} from '../model/local-identities.js';
import type {Compiled} from './compile.js';
import {CompileMemo, compileNode} from './compile.js';
import type {CompileOptions} from './input.js';
import {numberLocalIdentities} from './ipcache.js';
import type {KernelState, ReconciledMap} from './kernel-state.js';
import {cookieOf} from './policy.js';

const OPTIONS: CompileOptions = {
  devices: [], policyEntriesMax: 16_384, monitorAggregation: 3, masqueradeRemoteNodes: false, snatPorts: {min: 32_768, max: 65_535},
  timeouts: {tcpSeconds: 8000, tcpSynSeconds: 60, tcpCloseSeconds: 10, anySeconds: 60}, captureBytes: 128, mtu: 0, enableIpv6: true,
};

const CONFIG: NodeConfigResource = {
  nodeName: 'n1', routingMode: 'native', podCidrs: ['10.98.0.0/24'], nodeAddress: '10.1.5.10', ipv4NativeRoutingCidr: null,
  enableIPv4Masquerade: true, tunnelPort: 8472, clusterName: 'default',
};

const ORIGIN = {kind: 'CiliumNetworkPolicy', namespace: 'default', name: 'p', uid: 'u', ruleIndex: 0};

function entry(selector: string, port: number, deny = false): PolicyEntry {
  return {direction: 'ingress', deny, selector, protocol: 6, port, portPrefixLength: 16, precedence: deny ? PRECEDENCE_DENY : PRECEDENCE_ALLOW, origins: [ORIGIN]};
}

function pod(id: number, name: string, more: Partial<LocalEndpoint> = {}): LocalEndpoint {
  return {
    id, containerId: `c${id}`, containerIfname: 'eth0', netns: `/run/netns/p${id}`, hostIfname: `lxc${id}`, hostIfindex: 100 + id,
    mac: `02:00:00:00:01:0${id}`, hostMac: `02:00:00:00:02:0${id}`, ipv4: `10.98.0.${10 + id}`, ipv6: null, namespace: 'default', name, uid: `uid-${name}`,
    state: 'ready', ...more,
  };
}

const LINK = {mac: '02:00:00:00:00:01', mtu: 1500, up: true};
const FACTS: LocalFacts = {
  endpoints: new Map([[1, pod(1, 'web')], [2, pod(2, 'client')]]),
  links: new Map([
    ['lo', {...LINK, ifindex: 1, name: 'lo', addresses: ['127.0.0.1/8']}],
    ['eth0', {...LINK, ifindex: 2, name: 'eth0', addresses: ['10.1.5.10/24', 'fe80::1/64']}],
    ['eth1', {...LINK, ifindex: 3, name: 'eth1', addresses: ['192.168.0.1/24']}],
    ['cilium_vxlan', {...LINK, ifindex: 9, name: 'cilium_vxlan', addresses: []}],
  ]),
  localIdentities: new Map(),
};

const RESOURCES: readonly Resource[] = [
  resource('node-config', 'node-config', CONFIG),
  resource('node', 'n1', {name: 'n1', addresses: ['10.1.5.10'], podCidrs: ['10.98.0.0/24'], routerAddress: '10.98.0.1'}),
  resource('node', 'n2', {name: 'n2', addresses: ['10.1.8.10'], podCidrs: ['10.98.1.0/24'], routerAddress: null}),
  resource('identity', '256', {id: identityId(256), labels: ['k8s:app=web']}),
  resource('identity', '257', {id: identityId(257), labels: ['k8s:app=client'], namedPorts: [{name: 'metrics', protocol: 6, port: 9090}]}),
  resource('ipcache', '10.98.1.0/24', {prefix: '10.98.1.0/24', identity: identityId(3), labels: ['reserved:unmanaged'], tunnelEndpoint: '10.1.8.10', local: false}),
  resource('ipcache', '10.98.0.0/24', {prefix: '10.98.0.0/24', identity: identityId(3), labels: ['reserved:unmanaged'], tunnelEndpoint: '10.1.5.10', local: false}),
  resource('ipcache', '10.98.1.7/32', {prefix: '10.98.1.7/32', identity: identityId(256), labels: [], tunnelEndpoint: '10.1.8.10', local: false}),
  resource('ipcache', '10.1.5.10/32', {prefix: '10.1.5.10/32', identity: identityId(1), labels: [], tunnelEndpoint: null, local: true}),
  resource('ipcache', '10.96.0.0/12', {prefix: '10.96.0.0/12', identity: null, labels: ['cidr:10.96.0.0/12', 'reserved:world'], tunnelEndpoint: null, local: false}),
  resource('ipcache', '0.0.0.0/0', {prefix: '0.0.0.0/0', identity: null, labels: ['cidr:0.0.0.0/0', 'reserved:world'], tunnelEndpoint: null, local: false}),
  resource('selector', 'clients', {id: 'clients', identities: [identityId(257)], prefixes: []}),
  resource('selector', 'range', {id: 'range', identities: [], prefixes: ['10.96.0.0/12']}),
  resource('policy', '256', {subject: identityId(256), ingressEnforced: true, egressEnforced: false, entries: [entry('clients', 80), entry('range', 443, true)]}),
  resource('policy', '257', {subject: identityId(257), ingressEnforced: false, egressEnforced: false, entries: []}),
  resource('endpoint', 'default/web', {namespace: 'default', name: 'web', uid: 'uid-web', identity: identityId(256), labels: [], namedPorts: {http: {port: 8080, protocol: 6}}}),
  resource('endpoint', 'default/client', {namespace: 'default', name: 'client', uid: 'uid-client', identity: identityId(257), labels: [], namedPorts: {}}),
  resource('masquerade', 'masquerade', {hold: null, nonMasqueradeCidrs: ['10.0.0.0/8', '169.254.0.0/16'], source: 'configmap'}),
];

function tablesOf(changes: readonly Resource[] = [], removed: readonly Resource[] = []): NodeTables {
  return changeTables(changeTables(EMPTY_TABLES, RESOURCES, []), changes, removed);
}

function compiled(tables: NodeTables, facts: LocalFacts = FACTS, memo = new CompileMemo(), options = OPTIONS): Compiled {
  const localIdentities = numberLocalIdentities(NO_LOCAL_IDENTITIES, tables).byPrefix;
  const result = compileNode(tables, {...facts, localIdentities}, options, memo);
  if (result === null) throw new Error('nothing compiled');
  return result;
}

function decoded<K, V>(state: KernelState, map: ReconciledMap, codec: MapCodec<K, V>): [K, V][] {
  return [...(state.maps.get(map) ?? new Map<string, never>()).values()].map(({key, value}) => [codec.decodeKey(key), codec.decodeValue(value)]);
}

function ipcache(state: KernelState): Record<string, string> {
  return Object.fromEntries(decoded(state, 'cilium_ipcache', ipcacheCodec).map(([prefix, {identity, tunnelEndpoint}]) => [prefix, `${identity} ${tunnelEndpoint ?? '-'}`]));
}

function policyOf(state: KernelState, id: number): string[] {
  return [...(state.policySlots.get(id)?.entries.values() ?? [])].map(({key, value}) => {
    const k = decodePolicyKey(key);
    const v = decodePolicyValue(value);
    return `${v.deny ? 'deny' : 'allow'} ${k.direction} ${k.identity} ${k.protocol}/${k.port}/${k.portPrefixLength} ${v.cookie === 0 ? '-' : 'cookie'}`;
  });
}

const withConfig = (change: Partial<NodeConfigResource>): NodeTables => tablesOf([resource('node-config', 'node-config', {...CONFIG, ...change})]);

describe('compileNode', () => {
  test('nothing is compiled before the node’s own configuration is there', () => {
    expect(compileNode(tablesOf([], RESOURCES.slice(0, 1)), FACTS, OPTIONS, new CompileMemo())).toBeNull();
  });

  test('ipcache in native routing: no tunnel endpoints, own pods and addresses, local numbers, world', () => {
    expect(ipcache(compiled(tablesOf()).kernel)).toEqual({
      '0.0.0.0/0': '2 -', '10.98.1.0/24': '3 -', '10.98.0.0/24': '3 -', '10.98.1.7/32': '256 -', '10.1.5.10/32': '1 -', '10.96.0.0/12': '16777217 -',
      '10.98.0.11/32': '256 -', '10.98.0.12/32': '257 -',
    });
  });

  test('ipcache in tunnel mode: the other nodes’ prefixes have their endpoint, ours never', () => {
    expect(ipcache(compiled(withConfig({routingMode: 'tunnel'})).kernel)).toMatchObject({
      '10.98.1.0/24': '3 10.1.8.10', '10.98.0.0/24': '3 -', '10.98.1.7/32': '256 10.1.8.10', '10.98.0.11/32': '256 -',
    });
  });

  test('endpoints: own addresses are the host, pods carry identity and enforcement', () => {
    const {kernel} = compiled(tablesOf());
    const lxc = Object.fromEntries(decoded(kernel, 'cilium_lxc', lxcCodec).map(([address, {host, identity, endpointId}]) => [address, {host, identity, endpointId}]));
    expect(lxc).toEqual({
      '10.1.5.10': {host: true, identity: 1, endpointId: 0}, '192.168.0.1': {host: true, identity: 1, endpointId: 0}, '10.98.0.1': {host: true, identity: 1, endpointId: 0},
      '10.98.0.11': {host: false, identity: 256, endpointId: 1}, '10.98.0.12': {host: false, identity: 257, endpointId: 2},
    });
    expect(decoded(kernel, 'cilium_ep_config', endpointConfigCodec).map(([id, config]) => [id, config?.identity, config?.ingressEnforced, config?.egressEnforced]))
      .toEqual([[1, 256, true, false], [2, 257, false, false]]);
    expect(decoded(kernel, 'cilium_if_to_ep', ifToEndpointCodec)).toEqual([[101, 1], [102, 2]]);
  });

  test('policy: deny and allow with their origins, one allow-all entry where nothing is enforced', () => {
    const {kernel, policies} = compiled(tablesOf());
    expect(policyOf(kernel, 1).sort()).toEqual(['allow egress 0 0/0/0 -', 'allow ingress 257 6/80/16 cookie', 'deny ingress 16777217 6/443/16 cookie']);
    expect(policyOf(kernel, 2).sort()).toEqual(['allow egress 0 0/0/0 -', 'allow ingress 0 0/0/0 -']);
    const cookie = cookieOf([ORIGIN]);
    expect(policies.flatMap(({origins}) => [...origins])).toEqual([[cookie, [ORIGIN]]]);
    expect(cookieOf([{...ORIGIN}])).toBe(cookie);
    expect(cookieOf([])).toBe(0);
  });

  test('what the operator has not said is closed', () => {
    const unknownPod = {...FACTS, endpoints: new Map([[3, pod(3, 'stranger')]])};
    const {kernel} = compiled(tablesOf(), unknownPod);
    expect(policyOf(kernel, 3)).toEqual([]);
    expect(kernel.policySlots.get(3)?.subject).toBe(5);
    expect(decoded(kernel, 'cilium_ep_config', endpointConfigCodec)[0]?.[1]).toMatchObject({identity: 5, ingressEnforced: true, egressEnforced: true});
    const anotherUid = {...FACTS, endpoints: new Map([[1, pod(1, 'web', {uid: 'older'})]])};
    expect(compiled(tablesOf(), anotherUid).kernel.policySlots.get(1)?.subject).toBe(5);
  });

  test('endpoints of one identity share a map unless their named ports differ', () => {
    const named: PolicyEntry = {...entry('clients', 0), portPrefixLength: 0, portName: 'http'};
    const twin = resource('endpoint', 'default/twin', {namespace: 'default', name: 'twin', uid: 'uid-twin', identity: identityId(256), labels: [], namedPorts: {http: {port: 9999, protocol: 6}}});
    const tables = tablesOf([twin, resource('policy', '256', {subject: identityId(256), ingressEnforced: true, egressEnforced: false, entries: [named]})]);
    const facts = {...FACTS, endpoints: new Map([[1, pod(1, 'web')], [3, pod(3, 'twin')], [4, pod(4, 'web')]])};
    const {kernel} = compiled(tables, facts);
    expect(policyOf(kernel, 1)).toContain('allow ingress 257 6/8080/16 cookie');
    expect(policyOf(kernel, 3)).toContain('allow ingress 257 6/9999/16 cookie');
    expect(kernel.policySlots.get(4)).toBe(kernel.policySlots.get(1));
  });

  test('a named port at egress is each peer’s own', () => {
    const named: PolicyEntry = {...entry('clients', 0), direction: 'egress', portPrefixLength: 0, portName: 'metrics'};
    const tables = tablesOf([resource('policy', '256', {subject: identityId(256), ingressEnforced: false, egressEnforced: true, entries: [named]})]);
    expect(policyOf(compiled(tables).kernel, 1)).toContain('allow egress 257 6/9090/16 cookie');
  });

  test('a policy that does not fit is reported, and what is left out is denied', () => {
    const {findings, kernel} = compiled(tablesOf(), FACTS, new CompileMemo(), {...OPTIONS, policyEntriesMax: 2});
    expect(findings).toEqual([expect.objectContaining({kind: 'policy', key: '256', code: 'POLICY_MAP_FULL'})]);
    expect(policyOf(kernel, 1)).toContain('deny ingress 16777217 6/443/16 cookie');
  });

  test('masquerade: the configured prefixes, or a hold with the closed default', () => {
    const {kernel} = compiled(tablesOf());
    expect(decoded(kernel, 'cilium_ipmasq_v4', ipmasqCodec).map(([prefix]) => prefix)).toEqual(['10.0.0.0/8', '169.254.0.0/16']);
    expect(kernel.holds).toEqual([]);
    const held = compiled(tablesOf([resource('masquerade', 'masquerade', {hold: {reason: 'bad YAML'}, nonMasqueradeCidrs: [], source: 'configmap'})])).kernel;
    expect(held.holds).toEqual(['cilium_ipmasq_v4', 'cilium_ipmasq_v6'].map((map) => ({map, reason: 'bad YAML'})));
    expect(decoded(held, 'cilium_ipmasq_v4', ipmasqCodec).map(([prefix]) => prefix)).toEqual(['169.254.0.0/16']);
  });

  test('announced addresses: those of Services, or a hold while the speaker is held', () => {
    const advertisement = (kind: string, prefix: string): Advertisement =>
      ({prefix, peers: [], localPreference: null, communities: [], largeCommunities: [], origin: {kind, namespace: '', name: 'x', uid: ''}});
    const advertisements = [advertisement('Service', '10.20.10.1/32'), advertisement('Service', '2001:db8::1/128'), advertisement('Node', '10.98.1.0/24')];
    const speaker = {instances: [{name: 'i', asn: 1, routerId: '10.1.5.10', listenPort: -1, peers: [], advertisements}], source: null};
    const {kernel} = compiled(tablesOf([resource('speaker', 'speaker', speaker)]));
    expect(decoded(kernel, 'cilium_announced_v4', announcedCodec).map(([prefix]) => prefix)).toEqual(['10.20.10.1/32']);
    const held = compiled(tablesOf([resource('speaker', 'speaker', {...speaker, instances: [], holds: [{instance: null, peer: null, reason: 'broken'}]})])).kernel;
    expect(decoded(kernel, 'cilium_announced_v6', announced6Codec).map(([prefix]) => prefix)).toEqual(['2001:db8::1/128']);
    expect(held.holds).toEqual(['cilium_announced_v4', 'cilium_announced_v6'].map((map) => ({map, reason: 'broken'})));
  });

  test('devices, routes and programs by routing mode', () => {
    const native = compiled(tablesOf()).kernel;
    expect(native.links.map(({name, addresses}) => [name, ...addresses])).toEqual([['cilium_host', '10.98.0.1/32']]);
    expect(native.routes).toEqual([{prefix: '10.98.0.0/24', device: 'cilium_host', via: null, source: '10.98.0.1', scope: 'link', mtu: null}]);
    expect(native.attachments.map(({device, direction, program}) => `${device} ${direction} ${program}`)).toEqual([
      'cilium_host egress cil_from_host', 'cilium_net ingress cil_to_host',
      'eth0 ingress cil_from_netdev', 'eth0 egress cil_to_netdev', 'lxc1 ingress cil_from_container', 'lxc2 ingress cil_from_container',
    ]);
    const tunnel = compiled(withConfig({routingMode: 'tunnel'})).kernel;
    expect(tunnel.links.map(({name, mtu}) => [name, mtu])).toEqual([['cilium_host', 1500], ['cilium_vxlan', 1500]]);
    expect(tunnel.routes.at(-1)).toEqual({prefix: '10.98.1.0/24', device: 'cilium_host', via: null, source: '10.98.0.1', scope: 'link', mtu: 1450});
    expect(tunnel.programConfig.get('config_overlay_ifindex')).toBe(9);
    expect(native.programConfig.get('config_device_count')).toBe(1);
    expect(compiled(tablesOf(), FACTS, new CompileMemo(), {...OPTIONS, devices: ['eth0', 'eth1', 'gone']}).kernel.programConfig.get('config_device_count')).toBe(2);
  });

  test('a node without PodCIDR has no router and no routes', () => {
    const {kernel} = compiled(withConfig({podCidrs: []}));
    expect(kernel.routes).toEqual([]);
    expect(kernel.links[0]?.addresses).toEqual([]);
  });

  test('what does not change is the same object: with the memory of earlier runs or without, the content is equal', () => {
    const memo = new CompileMemo();
    const walk = [
      tablesOf(), tablesOf([resource('selector', 'clients', {id: 'clients', identities: [identityId(256), identityId(257)], prefixes: []})]),
      tablesOf([], RESOURCES.filter(({kind}) => kind === 'policy')), tablesOf(),
    ];
    for (const tables of walk) {
      expect(compiled(tables, FACTS, memo).kernel).toEqual(compiled(tables).kernel);
    }
    const localIdentities = numberLocalIdentities(NO_LOCAL_IDENTITIES, walk[0] ?? EMPTY_TABLES).byPrefix;
    const facts = {...FACTS, localIdentities};
    const first = compileNode(walk[0] ?? EMPTY_TABLES, facts, OPTIONS, memo)?.kernel;
    const changed = changeTables(walk[0] ?? EMPTY_TABLES, [resource('node', 'n3', {name: 'n3', addresses: [], podCidrs: [], routerAddress: null})], []);
    const second = compileNode(changed, facts, OPTIONS, memo)?.kernel;
    for (const name of ['cilium_ipcache', 'cilium_lxc', 'cilium_ipmasq_v4'] as const) expect(second?.maps.get(name)).toBe(first?.maps.get(name));
    expect(second?.policySlots.get(1)).toBe(first?.policySlots.get(1));
  });
});

describe('IPv6', () => {
  const IPV6 = {nativeRoutingCidr: null, enableMasquerade: true} as const;
  const DUAL: readonly Resource[] = [
    resource('node-config', 'node-config', {...CONFIG, routingMode: 'tunnel', podCidrs: ['10.98.0.0/24', 'fd00:98::/64'], ipv6: IPV6}),
    resource('node', 'n2', {name: 'n2', addresses: ['10.1.8.10', 'fd00:1:8::10'], podCidrs: ['10.98.1.0/24', 'fd00:98:0:1::/64'], routerAddress: null}),
    resource('ipcache', 'fd00:98:0:1::/64', {prefix: 'fd00:98:0:1::/64', identity: identityId(3), labels: [], tunnelEndpoint: '10.1.8.10', local: false}),
    resource('ipcache', 'fd00:1:5::10/128', {prefix: 'fd00:1:5::10/128', identity: identityId(1), labels: [], tunnelEndpoint: null, local: true}),
    resource('ipcache', '2001:db8::/32', {prefix: '2001:db8::/32', identity: null, labels: ['cidr:2001:db8::/32', 'reserved:world-ipv6'], tunnelEndpoint: null, local: false}),
    resource('masquerade', 'masquerade', {hold: null, nonMasqueradeCidrs: ['10.0.0.0/8', 'fe80::/10'], source: 'configmap'}),
  ];
  const facts: LocalFacts = {
    ...FACTS,
    endpoints: new Map([[1, pod(1, 'web', {ipv6: 'fd00:98::11'})], [2, pod(2, 'client', {ipv4: null, ipv6: 'fd00:98::12'})]]),
    links: new Map([...FACTS.links, ['eth0', {...LINK, ifindex: 2, name: 'eth0', addresses: ['10.1.5.10/24', 'fe80::1/64', 'fd00:1:5::10/64']}]]),
  };

  test('pods of both families and of one, addresses of the node, worlds', () => {
    const {kernel} = compiled(tablesOf(DUAL), facts);
    expect(Object.fromEntries(decoded(kernel, 'cilium_lxc', lxcCodec).map(([address, {endpointId, host}]) => [address, host ? 'host' : endpointId]))).toEqual({
      '10.1.5.10': 'host', '192.168.0.1': 'host', '10.98.0.1': 'host', 'fd00:1:5::10': 'host', 'fd00:98::1': 'host', '10.98.0.11': 1, 'fd00:98::11': 1, 'fd00:98::12': 2,
    });
    expect(decoded(kernel, 'cilium_ep_config', endpointConfigCodec).map(([id, config]) => [id, config?.ipv4, config?.ipv6])).toEqual([
      [1, '10.98.0.11', 'fd00:98::11'], [2, null, 'fd00:98::12'],
    ]);
    expect(ipcache(kernel)).toMatchObject({
      '0.0.0.0/0': '9 -', '::/0': '10 -', 'fd00:98:0:1::/64': '3 10.1.8.10', 'fd00:98::11/128': '256 -', 'fd00:98::12/128': '257 -', 'fd00:1:5::10/128': '1 -',
    });
    expect(ipcache(kernel)['2001:db8::/32']).toMatch(/^167772\d\d -$/);
  });

  test('routes, addresses, settings, exclusions and constants', () => {
    const {kernel, findings} = compiled(tablesOf(DUAL), facts);
    expect(findings).toEqual([]);
    expect(kernel.routes.filter(({prefix}) => prefix.includes(':')).map(({prefix, source, scope, mtu}) => [prefix, source, scope, mtu])).toEqual([
      ['fd00:98::/64', 'fd00:98::1', 'global', null], ['fd00:98:0:1::/64', 'fd00:98::1', 'global', 1450],
    ]);
    expect(kernel.links[0]?.addresses).toEqual(['10.98.0.1/32', 'fd00:98::1/128']);
    expect([kernel.sysctls.get('net.ipv6.conf.all.forwarding'), kernel.sysctls.get('net.ipv6.conf.cilium_host.disable_ipv6')]).toEqual(['1', '0']);
    expect(decoded(kernel, 'cilium_ipmasq_v6', ipmasq6Codec).map(([prefix]) => prefix)).toEqual(['fe80::/10']);
    expect(['config_ipv6', 'config_masquerade6', 'config_world_ipv6', 'config_pod_cidr6_count'].map((name) => kernel.programConfig.get(name))).toEqual([1, 1, 10, 1]);
  });

  test.each([['the cluster', OPTIONS, undefined], ['this agent', {...OPTIONS, enableIpv6: false}, IPV6]] as const)('off in %s: nothing of it, anywhere', (_where, options, ipv6) => {
    const {ipv6: _on, ...config} = {...CONFIG, podCidrs: ['10.98.0.0/24', 'fd00:98::/64'], ipv6: IPV6};
    const tables = tablesOf([...DUAL, resource('node-config', 'node-config', {...config, ...(ipv6 === undefined ? {} : {ipv6})})]);
    const {kernel, findings} = compiled(tables, {...facts, endpoints: FACTS.endpoints}, new CompileMemo(), options);
    const keys = [...decoded(kernel, 'cilium_lxc', lxcCodec), ...decoded(kernel, 'cilium_ipcache', ipcacheCodec), ...decoded(kernel, 'cilium_ipmasq_v6', ipmasq6Codec)].map(([key]) => key);
    expect(keys.filter((key) => key.includes(':'))).toEqual([]);
    expect([...kernel.routes.map(({prefix}) => prefix), ...kernel.links.flatMap(({addresses}) => addresses)].filter((text) => text.includes(':'))).toEqual([]);
    expect([...kernel.sysctls.keys()].filter((key) => key.includes('ipv6'))).toEqual([]);
    expect(kernel.programConfig.get('config_ipv6')).toBe(0);
    expect(ipcache(kernel)['0.0.0.0/0']).toBe('2 -');
    expect(findings.map(({code}) => code)).toEqual(ipv6 === undefined ? [] : ['IPV6_OFF']);
  });
});
