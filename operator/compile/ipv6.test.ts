// What IPv6 changes in the nodes' state, and that without it nothing does.

import {describe, expect, test} from '@jest/globals';
import type {Resource} from '../../lib/desired/node-state.js';
import {DesiredStore} from '../desired/store.js';
import {decoders} from '../model/decoders.js';
import {applyBatch, applyRows, emptyTables} from '../model/tables.js';
import type {Change, KubeObject, WatchedKind} from '../watch/feed-types.js';
import {Compiler, type CompileOptions} from './graph.js';

const OFF: CompileOptions = {
  clusterName: 'default', routingMode: 'tunnel', ipv4NativeRoutingCidr: null, enableIPv4Masquerade: true, tunnelPort: 8472, enforcement: 'default', allowLocalhost: true,
};
const ON: CompileOptions = {...OFF, ipv6: {nativeRoutingCidr: 'fd00:10::/32', enableMasquerade: true}};

function change(kind: WatchedKind, object: KubeObject): Change {
  const {namespace, name} = object.metadata;
  return {kind, key: namespace === undefined ? name : `${namespace}/${name}`, object: {...object, kind}};
}

const OBJECTS: readonly Change[] = [
  change('Namespace', {apiVersion: 'v1', metadata: {name: 'default', uid: 'ns'}}),
  ...['n1', 'n2'].map((name, i) => change('Node', {
    apiVersion: 'v1', metadata: {name, uid: name}, spec: {podCIDRs: [`10.98.${i}.0/24`, `fd00:10:98:${i}::/64`]},
    status: {addresses: [{type: 'InternalIP', address: `10.1.5.1${i}`}, {type: 'InternalIP', address: `fd00:1:5::1${i}`}]},
  })),
  change('Pod', {apiVersion: 'v1', metadata: {name: 'p', namespace: 'default', uid: 'p', labels: {app: 'p'}}, spec: {nodeName: 'n1', containers: []}}),
  change('CiliumNetworkPolicy', {apiVersion: 'cilium.io/v2', metadata: {name: 'cnp', namespace: 'default', uid: 'cnp'}, spec: {
    endpointSelector: {matchLabels: {app: 'p'}}, egress: [{toCIDR: ['2001:db8::/32', '192.0.2.0/24']}, {toEntities: ['world']}],
  }}),
  change('ConfigMap', {apiVersion: 'v1', metadata: {name: 'ip-masq-agent', namespace: 'kube-system', uid: 'm'}, data: {config: 'nonMasqueradeCIDRs: [10.0.0.0/8, "fd00:20::/32"]'}}),
];

function compiled(options: CompileOptions) {
  const compiler = new Compiler(options);
  const store = new DesiredStore();
  const definitions = decoders({clusterName: 'default', masquerade: {namespace: 'kube-system', name: 'ip-masq-agent'}, invalidPolicy: 'isolate', ipv6: options.ipv6 !== undefined});
  const batch = applyBatch(emptyTables(), {changes: OBJECTS, inSync: true, receivedAtMs: 0}, definitions);
  store.apply(compiler.update(batch.tables, batch.changed));
  const named = applyBatch(batch.tables, {changes: [...compiler.identities.desired()].map(([name, labels]) => change('CiliumIdentity', {
    apiVersion: 'cilium.io/v2', metadata: {name}, 'security-labels': Object.fromEntries(labels.all.map((label) => [`${label.source}:${label.key}`, label.value])),
  })), inSync: true, receivedAtMs: 0}, definitions);
  store.apply(compiler.update(named.tables, named.changed));
  const reports = applyRows(named.tables, 'nodeReports', [['n2', {
    node: 'n2', devices: [], addresses: [], routerAddress: '10.98.1.1', routerAddress6: 'fd00:10:98:1::1', routerMac: '', kernel: '', features: [],
  }]]);
  store.apply(compiler.update(reports.tables, reports.changed));
  return {
    on: (id: string): Resource['value'] | null => store.get('n1', id)?.value ?? null,
    selectors: () => [...store.nodeState('n1').values()].flatMap((item) => (item.kind === 'selector' ? [item.value] : [])),
  };
}

describe('with IPv6', () => {
  const {on, selectors} = compiled(ON);

  test('the node is told, with its router and its peers’', () => {
    expect(on('node-config/node-config')).toMatchObject({podCidrs: ['10.98.0.0/24', 'fd00:10:98::/64'], nodeAddress: '10.1.5.10', ipv6: ON.ipv6});
    expect(on('ipcache/fd00:10:98:1::1/128')).toMatchObject({identity: 6, tunnelEndpoint: '10.1.5.11'});
    expect(on('ipcache/fd00:10:98:1::/64')).toMatchObject({identity: 3, tunnelEndpoint: '10.1.5.11'});
    expect(on('ipcache/fd00:1:5::11/128')).toMatchObject({identity: 6, tunnelEndpoint: null});
  });

  test('two worlds, prefixes of both families', () => {
    expect(on('ipcache/2001:db8::/32')).toMatchObject({identity: null, labels: ['cidr:2001:db8::/32', 'reserved:world-ipv6']});
    expect(on('ipcache/192.0.2.0/24')).toMatchObject({labels: ['cidr:192.0.2.0/24', 'reserved:world-ipv4']});
    expect(selectors().flatMap(({identities}) => identities).sort((a, b) => a - b)).toEqual(expect.arrayContaining([9, 10]));
  });

  test('masquerading leaves both link-local prefixes alone', () => {
    expect(on('masquerade/masquerade')).toMatchObject({nonMasqueradeCidrs: ['10.0.0.0/8', '169.254.0.0/16', 'fd00:20::/32', 'fe80::/10']});
  });
});

describe('without', () => {
  const {on, selectors} = compiled(OFF);

  test('the node is not told, there is one world, and IPv6 prefixes select nothing', () => {
    expect(on('node-config/node-config')).not.toHaveProperty('ipv6');
    expect(on('ipcache/2001:db8::/32')).toBeNull();
    expect(selectors().flatMap(({identities}) => identities)).toContain(2);
    expect(selectors().flatMap(({identities}) => identities)).not.toContain(10);
    expect(on('masquerade/masquerade')).toMatchObject({nonMasqueradeCidrs: ['10.0.0.0/8', '169.254.0.0/16']});
  });
});
