// Layouts: our tables, and Cilium's to the byte.

import {describe, expect, test} from '@jest/globals';
import {identityId} from '../lib/domain/identity.js';
import type {BgpPeerStatus} from '../lib/domain/bgp.js';
import type {AgentEndpoint, AgentStatus, MonitorRecord} from '../lib/domain/agent-api.js';
import {ctRows, ipcacheRows, namesOf, policyRows, portText, tunnelRows} from './rows.js';
import * as shim from './shim/tables.js';
import {table} from './table.js';
import {displayWidth, tabwriter} from './tabwriter.js';
import {nextWords} from './verbs/completion.js';
import {durationText} from './verbs/common.js';
import {monitorLine} from './verbs/monitor.js';
import {differs} from './verbs/state.js';
import {statusText} from './verbs/status.js';
import {VERBS} from './verbs.js';

const PEER: BgpPeerStatus = {
  instance: '65005', localAsn: 65005, peerAsn: 65005, address: '10.1.5.1', port: 179, session: 'established', establishedAt: 0, holdTimeSeconds: 90, keepaliveSeconds: 30, uptimeSeconds: 1315, reason: '',
  families: [{family: 'ipv4/unicast', received: 2, accepted: 2, advertised: 2}, {family: 'ipv6/unicast', received: 0, accepted: 0, advertised: 0}],
};

const ENDPOINT: AgentEndpoint = {
  id: 343, namespace: 'default', name: 'server', containerId: 'c1', identity: 15773, labels: ['k8s:app=server', 'k8s:io.kubernetes.pod.namespace=default'], ipv4: '10.98.1.5', ipv6: '',
  ifname: 'lxc1', mac: '02:00:00:00:00:01', policy: {ingress: true, egress: false}, state: 'ready',
};

const STATUS: AgentStatus = {
  ok: true, node: 'worker', version: '0.1.0', operator: {connected: true, address: '10.0.0.1:7443', version: '0.1.0', lastAckSequence: 12, stateVersion: 'abc'},
  certificate: {expires: '2027-01-02T03:04:05.000Z', lastError: null},
  routingMode: 'native', devices: ['net0'], masquerade: {enabled: true, mode: 'BPF', entries: 12, source: 'configmap', hold: null, revision: 'r1', settings: null},
  ipam: {podCidrs: ['10.98.1.0/24'], allocated: 5, capacity: 254, addresses: [{ip: '10.98.1.1', owner: 'router'}]}, endpoints: {total: 3, ready: 3},
  maps: [{name: 'cilium_ipcache', entries: 40, maxEntries: 512000}], bgp: [{instance: '65005', asn: 65005, peers: 1, established: 1}], features: [], errors: [], controllers: [],
};

const lines = (...rows: readonly string[]): string => rows.map((row) => `${row}\n`).join('');

describe('Cilium’s layouts', () => {
  test('bgp peers', () => expect(shim.bgpPeers([PEER])).toBe(lines(
    'Local AS   Peer AS   Peer Address   Session       Uptime   Family         Received   Advertised',
    '65005      65005     10.1.5.1:179   established   21m55s   ipv4/unicast   2          2',
    '                                                           ipv6/unicast   0          0',
  )));

  test('bgp route-policies', () => expect(shim.routePolicies([
    {vrouter: 65005, prefix: '10.98.0.0/24', type: 'export', peers: ['10.1.5.1'], action: 'accept', pathActions: ['SetLocalPreference: 150', 'AddCommunities: [65005:99]']},
  ])).toBe(lines(
    'VRouter   Policy Name           Type     Match Peers   Match Prefixes (Min..Max Len)   RIB Action   Path Actions',
    '65005     export-10.98.0.0/24   export   10.1.5.1      10.98.0.0/24 (24..24)           accept       {SetLocalPreference: 150 AddCommunities: [65005:99]}',
  )));

  test('bgp routes', () => expect(shim.bgpRoutes([
    {vrouter: 65005, peer: '10.1.5.1', prefix: '10.98.1.0/24', nextHop: '10.1.5.10', ageSeconds: 61, attrs: ['{Origin: i}', '{AsPath: }', '{Nexthop: 10.1.5.10}', '{LocalPref: 100}']},
  ], true)).toBe(lines(
    'VRouter   Peer       Prefix         NextHop     Age    Attrs',
    '65005     10.1.5.1   10.98.1.0/24   10.1.5.10   1m1s   [{Origin: i} {AsPath: } {Nexthop: 10.1.5.10} {LocalPref: 100}]',
  )));

  test('bpf ipmasq list', () => expect(shim.ipmasq(['10.0.0.0/8', '192.168.0.0/16'])).toBe(lines(
    'IP PREFIX/ADDRESS   ',
    '10.0.0.0/8          ',
    '192.168.0.0/16      ',
  )));

  test('bpf tunnel list', () => expect(shim.tunnels([{prefix: '10.42.0.0/24', tunnelEndpoint: '192.168.1.13'}])).toBe(lines(
    'TUNNEL      VALUE            ',
    '10.42.0.0   192.168.1.13:0   ',
  )));

  test('map get and bpf ipcache list', () => {
    const [row] = ipcacheRows([['10.42.0.51/32', {identity: identityId(15773), tunnelEndpoint: '192.168.1.13', skipTunnel: false}]], namesOf([], []));
    if (row === undefined) throw new Error('no row');
    expect(shim.mapEntries([[row.prefix, shim.ipcacheValue(row)]])).toBe(lines(
      'Key             Value                                                                     State   Error',
      '10.42.0.51/32   identity=15773 encryptkey=0 tunnelendpoint=192.168.1.13 flags=hastunnel   sync    ',
    ));
    expect(shim.ipcache([row])).toContain('10.42.0.51/32       identity=15773 encryptkey=0 tunnelendpoint=192.168.1.13 flags=hastunnel   \n');
  });

  test('node list', () => expect(shim.nodeList([{name: 'b', ipv4: '10.0.0.2', podCidr: '10.98.1.0/24', routerAddress: '10.98.1.1'}, {name: 'a', ipv4: '10.0.0.1', podCidr: '10.98.0.0/24', routerAddress: null}], 'a')).toBe(lines(
    'Name   IPv4 Address   Endpoint CIDR   IPv6 Address   Endpoint CIDR   Source',
    'a      10.0.0.1       10.98.0.0/24                                   local',
    'b      10.0.0.2       10.98.1.0/24                                   custom-resource',
  )));

  test('endpoint list', () => expect(shim.endpointList([ENDPOINT, {...ENDPOINT, id: 7, labels: []}])).toBe(lines(
    'ENDPOINT   POLICY (ingress)   POLICY (egress)   IDENTITY   LABELS (source:key[=value])               IPv6   IPv4        STATUS   ',
    '           ENFORCEMENT        ENFORCEMENT                                                                                        ',
    '7          Enabled            Disabled          15773      no labels                                        10.98.1.5   ready    ',
    '343        Enabled            Disabled          15773      k8s:app=server                                   10.98.1.5   ready    ',
    '                                                           k8s:io.kubernetes.pod.namespace=default                               ',
  )));

  test('identity list', () => expect(shim.identityList([{id: 15773, labels: ['k8s:b=1', 'k8s:a=1']}, {id: 1, labels: ['reserved:host']}])).toBe(lines(
    'ID      LABELS',
    '1       reserved:host',
    '15773   k8s:a=1',
    '        k8s:b=1',
  )));

  test('status', () => {
    const text = shim.status(STATUS, false);
    expect(text).toContain('IPAM:                    IPv4: 5/254 allocated from 10.98.1.0/24, \n');
    expect(text).toContain('Masquerading:            BPF (ip-masq-agent)');
  });
});

test('tabwriter: a column is as wide as its run of lines, and text after the last tab is none', () => {
  expect(tabwriter([['a', 'bb', 'c'], ['long cell', 'x', 'y'], ['no tab'], ['s', 'z']], {minWidth: 5, padding: 2})).toBe(lines(
    'a          bb   c', 'long cell  x    y', 'no tab', 's    z',
  ));
  expect(displayWidth('日本')).toBe(4);
  expect(displayWidth('e\u0301')).toBe(1);
});

test('our tables: several lines per row, cut only where there is a terminal', () => {
  const items = [{name: 'a', labels: ['k8s:app=server', 'k8s:team=payments']}, {name: 'bb', labels: []}];
  const columns = [{title: 'NAME', cell: ({name}: (typeof items)[number]) => name}, {title: 'LABELS', cell: ({labels}: (typeof items)[number]) => labels}, {title: 'N', cell: ({labels}: (typeof items)[number]) => labels.length, right: true}];
  expect(table(columns, items, null)).toBe(lines('NAME   LABELS              N', 'a      k8s:app=server      2', '       k8s:team=payments', 'bb                         0'));
  expect(table(columns, items, 22)).toBe(lines('NAME   LABELS        N', 'a      k8s:app=se…   2', '       k8s:team=p…', 'bb                   0'));
});

describe('rows', () => {
  const names = namesOf([{id: 300, labels: ['k8s:app=client']}], [{subject: 400, cookie: 9, origins: [{kind: 'CiliumNetworkPolicy', namespace: 'default', name: 'p', uid: 'u', ruleIndex: 0}]}]);

  test('a policy entry has its labels and the object it comes from', () => {
    const key = {identity: identityId(300), direction: 'ingress', protocol: 6, port: 80, portPrefixLength: 16} as const;
    const [row] = policyRows([{id: 5, identity: 400, entries: [[key, {deny: false, precedence: 1, cookie: 9, proxyPort: 0}]]}], names);
    expect(row).toMatchObject({endpoint: 5, labels: ['k8s:app=client'], port: 80, portPrefixLen: 16, derivedFrom: [{name: 'p'}]});
  });

  test.each([[6, 80, 16, '80/TCP'], [6, 64, 10, '64-127/TCP'], [17, 0, 0, 'UDP'], [0, 0, 0, 'ANY'], [99, 1, 16, '1/99']])('port %i/%i/%i is %s', (protocol, port, portPrefixLen, text) =>
    expect(portText({protocol, port, portPrefixLen})).toBe(text));

  test('tunnels are the PodCIDRs, not single addresses', () => {
    const entry = {identity: identityId(3), tunnelEndpoint: '10.0.0.2', skipTunnel: false};
    expect(tunnelRows([['10.98.1.0/24', entry], ['10.98.1.5/32', entry], ['10.97.0.0/24', {...entry, tunnelEndpoint: null}]])).toEqual([{prefix: '10.98.1.0/24', tunnelEndpoint: '10.0.0.2'}]);
  });

  test('a connection expires on the clock of the map', () => {
    const tuple = {destination: '10.0.0.2', source: '10.0.0.1', destinationPort: 80, sourcePort: 4000, protocol: 6, flags: 1};
    const entry = {judged: 0n, backendId: 0n, packets: 7n, bytes: 700n, lifetime: 1060, flags: 1, revNat: 0, ifindex: 3, txFlagsSeen: 2, rxFlagsSeen: 2, sourceIdentity: 300, lastTxReport: 0, lastRxReport: 0};
    expect(ctRows('cilium_ct4_global', [[tuple, entry]], 1000)[0]).toMatchObject({direction: 'in', protocol: 'TCP', source: '10.0.0.1', expiresSeconds: 60, packets: 7, closing: true});
  });
});

describe('monitor lines', () => {
  const record: MonitorRecord = {
    time: '2026-01-01T00:00:00.000Z', node: 'n', type: 'drop', reason: 133, reasonText: 'Policy denied', direction: 'ingress', protocol: 'TCP', endpointId: 12, ifindex: 33, bytes: 74, derivedFrom: [],
    source: {identity: 261, labels: [], ip: '10.11.13.37', port: 5000}, destination: {identity: 264, labels: [], ip: '10.11.101.61', port: 80, pod: 'default/server'},
  };

  test.each<[string, Partial<MonitorRecord>, string]>([
    ['drop', {}, 'xx drop (Policy denied) to endpoint 12, ifindex 33, identity 261->264: 10.11.13.37:5000 -> 10.11.101.61:80 (default/server) tcp by no rule that allows it'],
    ['isolated by an object', {derivedFrom: [{kind: 'CiliumNetworkPolicy', namespace: 'default', name: 'isolate', ruleIndex: 0}]},
      'xx drop (Policy denied) to endpoint 12, ifindex 33, identity 261->264: 10.11.13.37:5000 -> 10.11.101.61:80 (default/server) tcp isolated by CiliumNetworkPolicy default/isolate rule 0, no rule allows it'],
    ['denied by an object', {reason: 181, reasonText: 'Policy denied by denylist', derivedFrom: [{kind: 'CiliumNetworkPolicy', namespace: 'default', name: 'deny', ruleIndex: 1}]},
      'xx drop (Policy denied by denylist) to endpoint 12, ifindex 33, identity 261->264: 10.11.13.37:5000 -> 10.11.101.61:80 (default/server) tcp by CiliumNetworkPolicy default/deny rule 1'],
    ['trace', {type: 'trace', point: 'to-endpoint', reason: 0, reasonText: 'new'}, '-> endpoint 12 identity 261->264 state new ifindex 33: 10.11.13.37:5000 -> 10.11.101.61:80 (default/server) tcp'],
    ['verdict', {type: 'policy-verdict', verdict: 'allowed', matchType: 'L3-L4', reason: 0}, 'Policy verdict log: local EP ID 12, remote ID 261, proto 6, ingress, action allow, auth: disabled, match L3-L4, 10.11.13.37:5000 -> 10.11.101.61:80 (default/server) tcp'],
    ['a packet whose addresses are not known', {reason: 166, reasonText: 'Unsupported L3 protocol', protocol: 'ANY', destination: {identity: 0, labels: [], ip: '', port: 0}, source: {identity: 261, labels: [], ip: '', port: 0}},
      'xx drop (Unsupported L3 protocol) to endpoint 12, ifindex 33, identity 261->0: no IPv4 packet'],
    ['lost', {type: 'lost', count: 3}, '!! 3 events lost'],
  ])('%s', (_name, change, line) => expect(monitorLine({...record, ...change})).toBe(line));
});

test('status for people', () => {
  const refused = {...STATUS, operator: {...STATUS.operator, connected: false}, controllers: [{name: 'operator-session', ok: false, lastError: 'its certificate is not for 10.0.0.1'}]};
  expect(statusText(refused, true)).toContain('not connected (last 10.0.0.1:7443); the node goes on with what it holds: its certificate is not for 10.0.0.1\n');
  expect(statusText({...STATUS, routingMode: null, operator: {...STATUS.operator, version: null, lastAckSequence: null}}, false)).not.toContain('null');
  expect(statusText(STATUS, false)).toContain('BGP:             AS 65005: 1/1 established\n');
  expect(statusText(STATUS, false)).toContain('Certificate:     valid until 2027-01-02T03:04:05.000Z\n');
  expect(statusText({...STATUS, certificate: {expires: null, lastError: 'TOKEN_REFUSED'}}, false)).toContain('Certificate:     none: TOKEN_REFUSED\n');
  expect(statusText({...STATUS, certificate: null}, false)).toContain('Certificate:     none needed\n');
});

test('small things', () => {
  expect([durationText(0), durationText(59), durationText(1315), durationText(3600)]).toEqual(['0s', '59s', '21m55s', '1h0m0s']);
  const same = {name: 'cilium_ipcache', held: false, missing: [], different: [], extra: []};
  expect([differs(same), differs({...same, extra: ['00']})]).toEqual([false, true]);
  expect(nextWords(VERBS).get('bpf')).toContain('ipcache');
  expect(nextWords(VERBS).get('bpf policy')).toEqual(['list']);
});
