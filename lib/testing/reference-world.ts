// Random small clusters with policies of all three kinds, and flows in them: for the engine and for the slow reference.

import fc from 'fast-check';

export type KubeJson = Readonly<Record<string, unknown>>;

export interface RefPod {
  readonly namespace: string;
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly ips: readonly string[];
  readonly node: string;
  readonly ports: readonly {readonly name: string; readonly protocol: string; readonly port: number}[];
}

export interface RefWorld {
  readonly pods: readonly RefPod[];
  /** Labels by name. */
  readonly namespaces: Readonly<Record<string, Readonly<Record<string, string>>>>;
  readonly nodes: readonly {readonly name: string; readonly addresses: readonly string[]; readonly podCidrs: readonly string[]}[];
  readonly apiServers: readonly string[];
  readonly groups: readonly {readonly name: string; readonly labels: Readonly<Record<string, string>>; readonly cidrs: readonly string[]}[];
  readonly services: readonly {
    readonly namespace: string; readonly name: string; readonly labels: Readonly<Record<string, string>>;
    readonly selector: Readonly<Record<string, string>> | null; readonly backends: readonly string[];
  }[];
  /** Addresses by DNS name, with the dot of the root. */
  readonly names: Readonly<Record<string, readonly string[]>>;
  /** Pods of the host network. */
  readonly hostPods: readonly {readonly namespace: string; readonly name: string; readonly node: string}[];
  readonly policies: readonly KubeJson[];
  readonly mode: 'default' | 'always' | 'never';
  readonly allowLocalhost: boolean;
  readonly ipv6: boolean;
}

/** `peer`: a pod as `namespace/name`, an address, or a reserved identity as `#4`. For ICMP `port` is the type. */
export interface RefFlow {
  readonly direction: 'ingress' | 'egress';
  readonly subject: string;
  readonly peer: string;
  readonly protocol: string;
  readonly port: number;
}

const HTTP = {name: 'http', protocol: 'TCP', port: 8080};
const PORT_SETS: readonly RefPod['ports'][] = [
  [], [HTTP], [{...HTTP, port: 81}], [{...HTTP, protocol: 'UDP'}], [HTTP, {name: 'dns', protocol: 'UDP', port: 53}, {name: 'dns', protocol: 'TCP', port: 53}],
];
/** Three addresses each, two of them IPv4. */
const addressesOf = (node: number, index: number): readonly string[] => [`10.98.${node}.${10 + index}`, `10.98.${node}.${110 + index}`, `fd00:${node}::${10 + index}`];
const HOST_PODS = [{namespace: 'kube-system', name: 'near', node: 'node0'}, {namespace: 'kube-system', name: 'far', node: 'node1'}];
const NAMESPACES = {shop: {team: 'a', 'kubernetes.io/metadata.name': 'shop'}, bank: {team: 'b', 'kubernetes.io/metadata.name': 'bank'}};
const NODES = [
  {name: 'node0', addresses: ['10.1.5.10', 'fd00:5::10'], podCidrs: ['10.98.0.0/24', 'fd00:0::/32']},
  {name: 'node1', addresses: ['10.1.5.11', 'fd00:5::11'], podCidrs: ['10.98.1.0/24', 'fd00:1::/32']},
];
const GROUPS = [
  {name: 'offices', labels: {kind: 'office'}, cidrs: ['192.0.2.0/24', '10.1.2.0/24', '2001:db8:1::/48']},
  {name: 'labs', labels: {kind: 'lab'}, cidrs: ['192.0.2.128/25', '203.0.113.0/24']},
  {name: 'inside', labels: {kind: 'lab'}, cidrs: ['10.98.0.0/16', '10.1.5.11/32', '0.0.0.0/0']},
];
const SERVICES = [
  {namespace: 'shop', name: 'db', labels: {kind: 'data'}, selector: {app: 'db'}, backends: []},
  {namespace: 'bank', name: 'db', labels: {kind: 'data'}, selector: {app: 'web'}, backends: []},
  {namespace: 'shop', name: 'old', labels: {kind: 'old'}, selector: null, backends: ['192.0.2.7', '203.0.113.1', '2001:db8:1::1', '10.1.5.11']},
];
const DNS = {'api.example.com.': ['192.0.2.7', '2001:db8:2::1'], 'www.example.com.': ['203.0.113.1'], 'a.b.example.com.': ['10.200.0.1']};
const CIDRS4 = ['0.0.0.0/0', '10.0.0.0/8', '10.1.0.0/16', '10.1.2.0/24', '192.0.2.0/24', '192.0.2.7/32', '10.98.0.0/16', '128.0.0.0/1', '10.1.5.11/32'];
const CIDRS6 = ['::/0', '2001:db8::/32', '2001:db8:1::/48'];
const ADDRESSES4 = ['10.1.2.3', '10.1.9.9', '10.200.0.1', '192.0.2.7', '192.0.2.200', '203.0.113.1', '172.18.0.2', '10.98.0.77', '10.1.5.10', '10.1.5.11'];
const ADDRESSES6 = ['2001:db8:1::1', '2001:db8:2::1', '2001:dead::1', 'fd00:1::77', 'fd00:5::10', 'fd00:5::11'];
const PORTS = [53, 79, 80, 81, 88, 90, 443, 8080, 65535];

const key = fc.constantFrom('app', 'tier');
const value = fc.constantFrom('web', 'db', 'front', 'back');
const plainExpression = fc.oneof(
  fc.record({key, operator: fc.constantFrom('In', 'NotIn'), values: fc.uniqueArray(value, {minLength: 1, maxLength: 2})}),
  fc.record({key, operator: fc.constantFrom('Exists', 'DoesNotExist')}),
);
const plainSelector = fc.oneof(
  fc.constant({}),
  fc.record({matchLabels: fc.dictionary(key, value, {minKeys: 1, maxKeys: 2})}),
  fc.record({matchExpressions: fc.array(plainExpression, {minLength: 1, maxLength: 2})}),
);
const NAMESPACE = 'io.kubernetes.pod.namespace';
const endpointSelector = fc.oneof(
  {weight: 4, arbitrary: plainSelector},
  {weight: 1, arbitrary: fc.record({matchLabels: fc.record({[`k8s:${NAMESPACE}`]: fc.constantFrom('shop', 'bank'), app: value}, {requiredKeys: [`k8s:${NAMESPACE}`]})})},
  {weight: 1, arbitrary: fc.constantFrom('a', 'b').map((team) => ({matchLabels: {'io.cilium.k8s.namespace.labels.team': team}}))},
  {weight: 1, arbitrary: fc.constant({matchExpressions: [{key: `k8s:${NAMESPACE}`, operator: 'NotIn', values: ['shop']}]})},
  {weight: 1, arbitrary: fc.constantFrom('host', 'remote-node', 'kube-apiserver', 'health').map((label) => ({matchLabels: {[`reserved:${label}`]: ''}}))},
);
const entity = fc.constantFrom('all', 'world', 'cluster', 'host', 'remote-node', 'kube-apiserver', 'init', 'ingress', 'unmanaged', 'health', 'none');
const cidr = fc.constantFrom(...CIDRS4, ...CIDRS6);
const cidrRule = fc.oneof(
  {weight: 3, arbitrary: cidr.chain((outer) => fc.subarray([...CIDRS4, ...CIDRS6].filter((inner) => isInside(inner, outer)))
    .map((except) => (except.length === 0 ? {cidr: outer} : {cidr: outer, except})))},
  {weight: 1, arbitrary: fc.record({cidrGroupRef: fc.constantFrom('offices', 'labs', 'gone'), except: fc.subarray(['192.0.2.128/25', '10.1.0.0/16'])})},
  {weight: 1, arbitrary: fc.record({cidrGroupSelector: fc.constantFrom<object>({}, {matchLabels: {kind: 'lab'}}, {matchExpressions: [{key: 'kind', operator: 'NotIn', values: ['lab']}]})})},
);

function isInside(inner: string, outer: string): boolean {
  const order = inner.includes(':') ? [['2001:db8:1::/48', '2001:db8::/32'], ['2001:db8:1::/48', '::/0'], ['2001:db8::/32', '::/0']]
    : [['10.1.0.0/16', '10.0.0.0/8'], ['10.1.2.0/24', '10.0.0.0/8'], ['10.1.2.0/24', '10.1.0.0/16'], ['192.0.2.7/32', '192.0.2.0/24'],
      ['192.0.2.0/24', '128.0.0.0/1'], ...['10.0.0.0/8', '10.1.0.0/16', '192.0.2.0/24', '128.0.0.0/1'].map((one) => [one, '0.0.0.0/0'])];
  return order.some(([a, b]) => a === inner && b === outer);
}

const portNumber = fc.constantFrom(...PORTS);
const ciliumPort = fc.oneof(
  {weight: 4, arbitrary: fc.record({port: portNumber.map(String), protocol: fc.constantFrom('TCP', 'UDP', 'ANY', 'SCTP')})},
  {weight: 2, arbitrary: fc.tuple(fc.constantFrom(79, 80, 81, 88), fc.constantFrom(81, 90, 443, 8080)).map(([port, endPort]) => ({port: String(port), endPort, protocol: 'TCP'}))},
  {weight: 1, arbitrary: fc.record({port: fc.constant('http'), protocol: fc.constantFrom('TCP', 'UDP', 'ANY')})},
  {weight: 1, arbitrary: fc.constantFrom<object>({port: '80'}, {port: '0', protocol: 'TCP'}, {port: 'http', protocol: 'TCP', endPort: 8090}, {port: 'dns'}, {port: '0120'})},
  {weight: 1, arbitrary: fc.constantFrom<object>({protocol: 'VRRP'}, {protocol: 'IGMP', port: '0'}, {protocol: 'GRE'})},
);
const portFields = fc.oneof(
  {weight: 3, arbitrary: fc.constant({})},
  {weight: 4, arbitrary: fc.array(fc.array(ciliumPort, {maxLength: 2}).map((ports) => ({ports})), {maxLength: 2}).map((toPorts) => ({toPorts}))},
  {weight: 1, arbitrary: fc.constantFrom<object>({type: 8}, {type: 0}, {type: 3}, {type: '8'}, {family: 'IPv6', type: 128}, {family: 'IPv6', type: 0}).map((field) => ({icmps: [{fields: [field]}]}))},
  {weight: 1, arbitrary: fc.constant({toPorts: [{ports: [{port: '80', protocol: 'TCP'}], rules: {http: [{method: 'GET'}]}}]})},
);
const peerFields = (side: 'from' | 'to'): fc.Arbitrary<object> => fc.oneof(
  {weight: 1, arbitrary: fc.constantFrom<object>({}, {[`${side}CIDR`]: null}, {[`${side}Endpoints`]: [{}], [`${side}Entities`]: null}, {[`${side}Requires`]: []})},
  {weight: 5, arbitrary: fc.array(endpointSelector, {maxLength: 2}).map((list) => ({[`${side}Endpoints`]: list}))},
  {weight: 2, arbitrary: fc.array(entity, {maxLength: 2}).map((list) => ({[`${side}Entities`]: list}))},
  {weight: 2, arbitrary: fc.array(cidr, {maxLength: 2}).map((list) => ({[`${side}CIDR`]: list}))},
  {weight: 3, arbitrary: fc.array(cidrRule, {maxLength: 2}).map((list) => ({[`${side}CIDRSet`]: list}))},
  {weight: side === 'to' ? 2 : 0, arbitrary: fc.constantFrom({serviceName: 'db'}, {serviceName: 'db', namespace: 'bank'}, {serviceName: 'old'}, {serviceName: 'gone'})
    .map((k8sService) => ({toServices: [{k8sService}]}))},
  {weight: side === 'to' ? 1 : 0, arbitrary: fc.constantFrom<object>({selector: {matchLabels: {kind: 'data'}}}, {selector: {matchLabels: {'x:kind': 'old'}}}, {selector: {}, namespace: 'shop'})
    .map((k8sServiceSelector) => ({toServices: [{k8sServiceSelector}]}))},
  // Not in a deny: the schema has them not.
  {weight: side === 'to' ? 1 : 0, arbitrary: fc.constantFrom({matchName: 'api.example.com'}, {matchName: 'gone.example.com'}, {matchPattern: '*.example.com'}, {matchPattern: '**.example.com'})
    .map((name) => ({toFQDNs: [name]}))},
  // What makes an object refused, or a part of it unsupported.
  {weight: 1, arbitrary: fc.oneof(
    {weight: 2, arbitrary: fc.constant({[`${side}Groups`]: [{aws: {region: 'x'}}]})},
    {weight: 1, arbitrary: fc.constantFrom<object>({[`${side}Nodes`]: [{}]}, {[`${side}Endpoints`]: [{}], [`${side}CIDR`]: ['10.0.0.0/8']}, {[`${side}CIDR`]: ['10.0.0.1/33']})},
  )},
);
const authentication = fc.oneof({weight: 8, arbitrary: fc.constant({})}, {weight: 1, arbitrary: fc.constantFrom('disabled', 'required').map((mode) => ({authentication: {mode}}))});
const items = (side: 'from' | 'to'): fc.Arbitrary<object[]> =>
  fc.array(fc.tuple(peerFields(side), portFields, authentication).map(([peers, ports, more]) => ({...peers, ...ports, ...more})), {minLength: 1, maxLength: 2});
const ciliumRule = fc.record({
  endpointSelector: plainSelector, ingress: items('from'), egress: items('to'), ingressDeny: items('from'), egressDeny: items('to'),
  enableDefaultDeny: fc.record({ingress: fc.boolean(), egress: fc.boolean()}, {requiredKeys: []}),
}, {requiredKeys: ['endpointSelector']}).map((rule) => {
  const {enableDefaultDeny, ...rest} = rule;
  const said = enableDefaultDeny === undefined ? rest : {...rest, enableDefaultDeny};
  return Object.keys(rest).length > 1 ? withoutL7InDeny(said) : {...said, ingress: [{}]};
});

/** The schema has no L7 rules and no names in a deny. */
function withoutL7InDeny(rule: KubeJson): KubeJson {
  const clean = (field: string): object => (rule[field] === undefined ? {} : {[field]: (rule[field] as KubeJson[]).map((item) => {
    const {toFQDNs: _, authentication: __, ...rest} = item;
    const toPorts = item['toPorts'] as KubeJson[] | undefined;
    return toPorts === undefined ? rest : {...rest, toPorts: toPorts.map(({ports}) => ({ports}))};
  })});
  return {...rule, ...clean('ingressDeny'), ...clean('egressDeny')};
}

const kubernetesPort = fc.oneof(
  fc.record({port: portNumber, protocol: fc.constantFrom('TCP', 'UDP', 'SCTP')}, {requiredKeys: []}),
  fc.constantFrom({port: 'http'}, {port: 80, endPort: 90}, {port: 79, endPort: 8080, protocol: 'SCTP'}),
);
const kubernetesPeer = fc.oneof(
  fc.record({podSelector: plainSelector}),
  fc.record({podSelector: plainSelector, namespaceSelector: fc.constantFrom({}, {matchLabels: {team: 'a'}}, {matchExpressions: [{key: 'team', operator: 'NotIn', values: ['a']}]})},
    {requiredKeys: ['namespaceSelector']}),
  fc.constantFrom({ipBlock: {cidr: '10.0.0.0/8', except: ['10.1.0.0/16']}}, {ipBlock: {cidr: '0.0.0.0/0'}}, {ipBlock: {cidr: '2001:db8::/32'}}),
);
const kubernetesItems = (field: 'from' | 'to'): fc.Arbitrary<object[]> => fc.array(
  fc.record({[field]: fc.array(kubernetesPeer, {maxLength: 2}), ports: fc.array(kubernetesPort, {maxLength: 2})}, {requiredKeys: []}), {maxLength: 2});
const kubernetesSpec = fc.record({
  podSelector: plainSelector, policyTypes: fc.subarray(['Ingress', 'Egress']), ingress: kubernetesItems('from'), egress: kubernetesItems('to'),
}, {requiredKeys: ['podSelector']});

const more = fc.oneof({weight: 5, arbitrary: fc.constant({})}, {weight: 1, arbitrary: fc.array(ciliumRule, {minLength: 1, maxLength: 2}).map((specs) => ({specs}))});

const policy = fc.oneof(
  {weight: 4, arbitrary: fc.record({kind: fc.constant('CiliumNetworkPolicy'), spec: ciliumRule, namespace: fc.constantFrom('shop', 'bank'), more})},
  {weight: 2, arbitrary: fc.record({kind: fc.constant('CiliumClusterwideNetworkPolicy'), spec: ciliumRule, namespace: fc.constant(''), more})},
  {weight: 3, arbitrary: fc.record({kind: fc.constant('NetworkPolicy'), spec: kubernetesSpec, namespace: fc.constantFrom('shop', 'bank'), more: fc.constant({})})},
);

const pods: fc.Arbitrary<readonly RefPod[]> = fc.array(fc.record({
  namespace: fc.constantFrom('shop', 'bank'), labels: fc.dictionary(key, value, {maxKeys: 2}), node: fc.constantFrom(0, 1), ports: fc.constantFrom(...PORT_SETS),
}), {minLength: 3, maxLength: 7}).map((list) => list.map((one, i) => ({...one, name: `p${i}`, node: `node${one.node}`, ips: addressesOf(one.node, i)})));

export const refWorld: fc.Arbitrary<RefWorld> = fc.record({
  pods, policies: fc.array(policy, {minLength: 1, maxLength: 5}),
  mode: fc.oneof({weight: 8, arbitrary: fc.constant('default' as const)}, {weight: 1, arbitrary: fc.constant('always' as const)}, {weight: 1, arbitrary: fc.constant('never' as const)}),
  allowLocalhost: fc.boolean(), ipv6: fc.boolean(), apiServers: fc.constantFrom([], ['172.18.0.2'], ['10.1.5.11'], ['10.1.5.10']),
}).map(({policies, ...rest}) => ({
  ...rest, namespaces: NAMESPACES, nodes: NODES, groups: GROUPS, services: SERVICES, names: DNS, hostPods: HOST_PODS,
  policies: policies.map(({kind, spec, namespace, more: specs}, i) => ({kind, spec, ...specs, metadata: {name: `p${i}`, uid: `uid-${i}`, ...(namespace === '' ? {} : {namespace})}})),
}));

/** Addresses outside the cluster, of nodes, and of nobody. */
export const REF_ADDRESSES: Readonly<Record<4 | 6, readonly string[]>> = {4: ADDRESSES4, 6: ADDRESSES6};

/** `count` flows of a world, spread over all its pairs, ports and directions; which ones follows from `seed`. */
export function refFlows(world: RefWorld, seed: number, count: number): RefFlow[] {
  const names = world.pods.map((one) => `${one.namespace}/${one.name}`);
  const families = [4, ...(world.ipv6 ? [6] : [])];
  const owned = world.pods.flatMap(({ips}) => ips.filter((ip) => families.includes(ip.includes(':') ? 6 : 4)));
  const peers = [
    ...names, ...owned, ...world.hostPods.map((one) => `${one.namespace}/${one.name}`), ...ADDRESSES4, ...(world.ipv6 ? ADDRESSES6 : []), '#4', '#5', '#8',
  ];
  const ports = [...PORTS.flatMap((port) => [{protocol: 'TCP', port}, {protocol: 'UDP', port}, {protocol: 'SCTP', port}]),
    {protocol: 'ICMP', port: 8}, {protocol: 'ICMP', port: 0}, {protocol: 'ICMPv6', port: 128}, {protocol: 'ICMPv6', port: 0}, ...['GRE', 'VRRP', 'IGMP'].map((protocol) => ({protocol, port: 0}))];
  const total = names.length * peers.length * ports.length * 2;
  return Array.from({length: count}, (_, i): RefFlow => {
    // A prime step visits every combination before it repeats one.
    let n = (seed + i * 7919) % total;
    const take = <T>(list: readonly T[]): T => {
      const chosen = list[n % list.length];
      n = Math.floor(n / list.length);
      if (chosen === undefined) throw new Error('an empty list of choices');
      return chosen;
    };
    return {direction: take(['ingress', 'egress'] as const), subject: take(names), peer: take(peers), ...take(ports)};
  });
}
