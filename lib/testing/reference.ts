// A second, slow implementation of the documented policy rules: one flow at a time, rule by rule, straight from the objects. It knows no
// identities, no map entries, and uses no code of the engine, so that both can be wrong only independently.

import type {KubeJson, RefFlow, RefPod, RefWorld} from './reference-world.js';

type Direction = 'ingress' | 'egress';

/** Who is at one end of a flow, as a rule may ask. */
interface Party {
  /** `source:key` → value. */
  readonly labels: ReadonlyMap<string, string>;
  /** Only of what is outside the cluster: nothing else matches a CIDR. */
  readonly address: string | null;
  readonly pod: RefPod | null;
}

interface Item {
  readonly item: KubeJson;
  readonly deny: boolean;
  readonly isolates: boolean;
  /** Of the policy; empty = cluster-wide. */
  readonly namespace: string;
  readonly kubernetes: boolean;
  /** What becomes of an item that cannot be taken as it is: an allow is nobody's, a deny is everybody's. */
  readonly instead?: 'everybody' | 'nobody';
}

const PROTOCOLS_WITH_PORTS = ['TCP', 'UDP', 'SCTP'];

export function referenceVerdict(world: RefWorld, flow: RefFlow): 'allow' | 'deny' {
  const subject = world.pods.find((pod) => `${pod.namespace}/${pod.name}` === flow.subject);
  if (subject === undefined || world.mode === 'never') return 'allow';
  const items = world.policies.flatMap((object) => itemsOf(object, flow.direction, subject, world));
  if (items.length === 0 && world.mode === 'default') return 'allow';
  const peer = partyOf(flow.peer, subject, world);
  const hits = items.filter((one) => (one.instead === undefined ? matches(one, flow, {subject, peer, world}) : one.instead === 'everybody'));
  if (hits.some((one) => one.deny)) return 'deny';
  if (hits.length > 0) return 'allow';
  if (flow.direction === 'ingress' && world.allowLocalhost && peer.labels.has('reserved:host')) return 'allow';
  return world.mode === 'default' && !items.some((one) => one.isolates) ? 'allow' : 'deny';
}

function matches(one: Item, flow: RefFlow, {subject, peer, world}: {readonly subject: RefPod; readonly peer: Party; readonly world: RefWorld}): boolean {
  return peerMatches(one, flow.direction, peer, world) && portMatches(one, flow, flow.direction === 'ingress' ? [subject] : alike(peer, world));
}

/** Every pod that has the peer's labels: a name stands for one number among them. */
function alike({pod, labels}: Party, world: RefWorld): readonly RefPod[] {
  const texts = (map: ReadonlyMap<string, string>): string => [...map].map(([key, value]) => `${key}=${value}`).sort().join(';');
  return pod === null ? [] : world.pods.filter((one) => texts(labelsOf(one, world)) === texts(labels));
}

function partyOf(given: string, subject: RefPod, world: RefWorld): Party {
  // A pod of the host network is its node.
  const host = world.hostPods.find((one) => `${one.namespace}/${one.name}` === given);
  const name = host === undefined ? given : world.nodes.find((node) => node.name === host.node)?.addresses[0] ?? given;
  const pod = world.pods.find((one) => `${one.namespace}/${one.name}` === name || one.ips.includes(name));
  if (pod !== undefined) return {labels: labelsOf(pod, world), address: null, pod};
  const of = (...labels: string[]): Party => ({labels: new Map(labels.map((label) => [`reserved:${label}`, ''])), address: null, pod: null});
  if (name.startsWith('#')) return of(...RESERVED[name] ?? []);
  const isApiServer = world.apiServers.includes(name);
  const node = world.nodes.find((one) => one.addresses.includes(name));
  if (node !== undefined) {
    const runsApiServer = node.addresses.some((address) => world.apiServers.includes(address));
    return of(node.name === subject.node ? 'host' : 'remote-node', ...(runsApiServer ? ['kube-apiserver'] : []));
  }
  if (world.nodes.some((one) => one.podCidrs.some((cidr) => within(name, cidr)))) return of('unmanaged');
  const worldLabel = world.ipv6 ? `world-ipv${name.includes(':') ? 6 : 4}` : 'world';
  return {...of(worldLabel, ...(isApiServer ? ['kube-apiserver'] : [])), address: name};
}

const RESERVED: Readonly<Record<string, readonly string[]>> = {
  '#4': ['health'], '#5': ['init'], '#8': ['ingress'], '#7': ['kube-apiserver', 'remote-node'],
};

function labelsOf(pod: RefPod, world: RefWorld): Map<string, string> {
  return new Map([
    ...Object.entries(pod.labels).map(([key, value]): [string, string] => [`k8s:${key}`, value]),
    ...Object.entries(world.namespaces[pod.namespace] ?? {}).map(([key, value]): [string, string] => [`k8s:io.cilium.k8s.namespace.labels.${key}`, value]),
    ['k8s:io.kubernetes.pod.namespace', pod.namespace], ['k8s:io.cilium.k8s.policy.cluster', 'default'],
    ['k8s:io.cilium.k8s.policy.serviceaccount', 'default'],
  ]);
}

/** Items that say something about the subject in this direction. */
function itemsOf(object: KubeJson, direction: Direction, subject: RefPod, world: RefWorld): Item[] {
  const namespace = textAt(recordAt(object, 'metadata'), 'namespace');
  if (object['kind'] === 'NetworkPolicy') return kubernetesItems(recordAt(object, 'spec'), namespace, direction, subject);
  const specs = [...(object['spec'] === undefined ? [] : [recordAt(object, 'spec')]), ...listAt(object, 'specs')];
  const refused = specs.some((spec) => LISTS.some((field) => listAt(spec, field).some(isRefused)));
  return specs.flatMap((spec) => {
    if (namespace !== '' && subject.namespace !== namespace) return [];
    if (!selects(recordAt(spec, 'endpointSelector'), labelsOf(subject, world), 'any')) return [];
    const isolates = recordAt(spec, 'enableDefaultDeny')[direction] !== false;
    const of = (field: string, deny: boolean): Item[] => listAt(spec, field).map((item) => {
      const closed = deny ? isRefused(item) || isUnsupported(item) : refused || isUnsupported(item);
      return {item, deny, isolates, namespace, kubernetes: false, ...(closed ? {instead: deny ? 'everybody' as const : 'nobody' as const} : {})};
    });
    return [...of(direction, false), ...of(`${direction}Deny`, true)];
  });
}

const LISTS = ['ingress', 'ingressDeny', 'egress', 'egressDeny'];
const PEER_FIELDS = ['Endpoints', 'Entities', 'CIDR', 'CIDRSet', 'Nodes', 'Groups'].flatMap((name) => [`from${name}`, `to${name}`]).concat('toServices', 'toFQDNs');

/** Two kinds of peers, peers by nodes (an option that is off), or something that is no prefix. */
function isRefused(item: KubeJson): boolean {
  const filled = PEER_FIELDS.filter((field) => rawList(item, field).length > 0);
  return filled.length > 1 || filled.some((field) => field.endsWith('Nodes')) || [...rawList(item, 'fromCIDR'), ...rawList(item, 'toCIDR')].some((cidr) => !isCidr(String(cidr)));
}

/** Cloud groups select nothing, and nobody can be authenticated. */
function isUnsupported(item: KubeJson): boolean {
  return rawList(item, 'fromGroups').length + rawList(item, 'toGroups').length > 0 || recordAt(item, 'authentication')['mode'] === 'required';
}

function isCidr(text: string): boolean {
  return Number(text.split('/')[1]) <= (text.includes(':') ? 128 : 32);
}

function kubernetesItems(spec: KubeJson, namespace: string, direction: Direction, subject: RefPod): Item[] {
  if (subject.namespace !== namespace) return [];
  const labels = new Map(Object.entries(subject.labels).map(([key, value]) => [`k8s:${key}`, value]));
  if (!selects(recordAt(spec, 'podSelector'), labels, 'k8s')) return [];
  const items = listAt(spec, direction).map((item): Item => ({item, deny: false, isolates: true, namespace, kubernetes: true}));
  if (items.length > 0) return items;
  const types = Array.isArray(spec['policyTypes']) ? (spec['policyTypes'] as readonly unknown[]) : [];
  const isolated = direction === 'ingress' ? types.includes('Ingress') || !types.includes('Egress') : types.includes('Egress');
  // An item that nobody matches.
  const nobody = {[direction === 'ingress' ? 'from' : 'to']: [{}]};
  return isolated ? [{item: nobody, deny: false, isolates: true, namespace, kubernetes: true}] : [];
}

function peerMatches(one: Item, direction: Direction, peer: Party, world: RefWorld): boolean {
  const {item} = one;
  if (one.kubernetes) {
    const list = listAt(item, direction === 'ingress' ? 'from' : 'to');
    return list.length === 0 || list.some((from) => kubernetesPeerMatches(from, one.namespace, peer));
  }
  const side = direction === 'ingress' ? 'from' : 'to';
  const fields: Readonly<Record<string, (entry: unknown) => boolean>> = {
    [`${side}Endpoints`]: (entry) => endpointMatches(entry, one.namespace, peer),
    [`${side}Entities`]: (entry) => entityMatches(String(entry), peer),
    [`${side}CIDR`]: (entry) => peer.address !== null && within(peer.address, String(entry)),
    [`${side}CIDRSet`]: (entry) => cidrRuleMatches(entry, peer, world),
    toServices: (entry) => serviceMatches(entry, peer, world),
    toFQDNs: (entry) => nameMatches(asRecord(entry), peer, world),
  };
  const given = Object.entries(fields).filter(([field]) => item[field] !== undefined && item[field] !== null);
  if (given.some(([field]) => rawList(item, field).length === 0)) return false;
  if (given.length > 0) return given.some(([field, test]) => rawList(item, field).some(test));
  return listAt(item, 'toPorts').length + listAt(item, 'icmps').length > 0;
}

function kubernetesPeerMatches(from: KubeJson, namespace: string, peer: Party): boolean {
  if (from['ipBlock'] !== undefined) {
    return cidrMatches(recordAt(from, 'ipBlock'), peer.address);
  }
  if (from['podSelector'] === undefined && from['namespaceSelector'] === undefined) return false;
  if (peer.pod === null) return false;
  const podLabels = new Map(Object.entries(peer.pod.labels).map(([key, value]) => [`k8s:${key}`, value]));
  if (!selects(recordAt(from, 'podSelector'), podLabels, 'k8s')) return false;
  if (from['namespaceSelector'] === undefined) return peer.pod.namespace === namespace;
  const namespaceLabels = new Map<string, string>();
  for (const [name, value] of peer.labels) {
    const prefix = 'k8s:io.cilium.k8s.namespace.labels.';
    if (name.startsWith(prefix)) namespaceLabels.set(`k8s:${name.slice(prefix.length)}`, value);
  }
  return selects(recordAt(from, 'namespaceSelector'), namespaceLabels, 'k8s');
}

/** By labels only pods are peers, of the policy's own namespace unless the selector speaks of namespaces; `reserved:` ones stay as written. */
function endpointMatches(entry: unknown, namespace: string, peer: Party): boolean {
  const selector = asRecord(entry);
  const keys = requirementsOf(selector, 'any').map(({name}) => name);
  if (!selects(selector, peer.labels, 'any')) return false;
  if (keys.some((name) => name.startsWith('reserved:'))) return true;
  if (peer.pod === null) return false;
  const speaksOfNamespaces = keys.some((name) => /^(k8s|any):(io\.kubernetes\.pod\.namespace$|io\.cilium\.k8s\.namespace\.labels\.)/.test(name));
  return namespace === '' || speaksOfNamespaces || peer.pod.namespace === namespace;
}

function entityMatches(entity: string, {labels}: Party): boolean {
  const is = (label: string): boolean => labels.has(`reserved:${label}`);
  switch (entity) {
    case 'all':
      return true;
    case 'none':
      return false;
    case 'world':
      return is('world') || is('world-ipv4') || is('world-ipv6');
    case 'cluster':
      return ['host', 'remote-node', 'init', 'ingress', 'health', 'unmanaged', 'kube-apiserver'].some(is) || labels.has('k8s:io.cilium.k8s.policy.cluster');
    default:
      return is(entity);
  }
}

function cidrRuleMatches(entry: unknown, peer: Party, world: RefWorld): boolean {
  const rule = asRecord(entry);
  if (rule['cidr'] !== undefined) return cidrMatches(rule, peer.address);
  const groups = world.groups.filter((group) => (rule['cidrGroupRef'] !== undefined ? group.name === rule['cidrGroupRef']
    : selects(recordAt(rule, 'cidrGroupSelector'), new Map(Object.entries(group.labels).map(([key, value]) => [`cidrgroup:${key}`, value])), 'any')));
  return groups.some((group) => group.cidrs.some((cidr) => cidrMatches({cidr, except: rule['except']}, peer.address)));
}

function cidrMatches(rule: KubeJson, address: string | null): boolean {
  return address !== null && within(address, String(rule['cidr'])) && !rawList(rule, 'except').some((hole) => within(address, String(hole)));
}

/** Somebody has said which addresses the names have. */
function nameMatches(entry: KubeJson, peer: Party, {names}: RefWorld): boolean {
  const {address} = peer;
  const wanted = textAt(entry, 'matchName') === '' ? textAt(entry, 'matchPattern') : textAt(entry, 'matchName');
  const anyDepth = wanted.startsWith('**.');
  const labels = `${wanted.replace('**.', '*.')}.`.split('.');
  const fits = (name: string): boolean => {
    const parts = name.split('.');
    const tail = anyDepth ? parts.slice(parts.length - labels.length) : parts;
    return parts.length >= labels.length && tail.length === labels.length && labels.every((label, i) => label === '*' || label === tail[i]);
  };
  return address !== null && Object.entries(names).some(([name, addresses]) => fits(name) && addresses.includes(address));
}

function serviceMatches(entry: unknown, peer: Party, world: RefWorld): boolean {
  const byName = asRecord(entry)['k8sService'] === undefined ? null : recordAt(asRecord(entry), 'k8sService');
  const byLabels = recordAt(asRecord(entry), 'k8sServiceSelector');
  return world.services.some((service) => {
    const namespace = textAt(byName ?? byLabels, 'namespace');
    const plain = Object.entries(recordAt(recordAt(byLabels, 'selector'), 'matchLabels')).map(([key, value]) => [key.slice(key.indexOf(':') + 1), value] as const);
    const selected = byName === null ? plain.every(([key, value]) => service.labels[key] === value) : service.name === byName['serviceName'];
    if (!selected || (namespace !== '' && namespace !== service.namespace)) return false;
    if (service.selector === null) return peer.address !== null && service.backends.includes(peer.address);
    return peer.pod !== null && peer.pod.namespace === service.namespace
      && Object.entries(service.selector).every(([key, value]) => peer.pod?.labels[key] === value);
  });
}

/** `owners`: whose names of ports count. */
function portMatches(one: Item, flow: RefFlow, owners: readonly RefPod[]): boolean {
  if (one.kubernetes) {
    const list = listAt(one.item, 'ports');
    return list.length === 0 || list.some((port) => onePortMatches({...port, protocol: port['protocol'] ?? 'TCP'}, flow, owners));
  }
  const portRules = listAt(one.item, 'toPorts');
  const icmps = listAt(one.item, 'icmps');
  if (portRules.length + icmps.length === 0) return true;
  // What an L7 engine would have to check passes for nobody.
  const plain = portRules.filter((rule) => one.deny || rule['rules'] === undefined);
  return plain.some((rule) => listAt(rule, 'ports').some((port) => onePortMatches(port, flow, owners)))
    || icmps.some((rule) => listAt(rule, 'fields').some((field) => icmpMatches(field, flow)));
}

function onePortMatches(port: KubeJson, flow: RefFlow, owners: readonly RefPod[]): boolean {
  const protocol = textAt(port, 'protocol');
  if (protocol === '' || protocol === 'ANY' ? !PROTOCOLS_WITH_PORTS.includes(flow.protocol) : protocol !== flow.protocol) return false;
  if (!PROTOCOLS_WITH_PORTS.includes(flow.protocol)) return true;
  const written = port['port'];
  const end = typeof port['endPort'] === 'number' ? port['endPort'] : 0;
  if (written === undefined || written === null || written === '0') return true;
  const number = typeof written === 'number' ? written : typeof written === 'string' && /^\d+$/.test(written) ? numberOf(written) : null;
  if (number !== null) return flow.port >= number && flow.port <= Math.max(end, number);
  const numbers = owners.flatMap(({ports}) => ports.filter((named) => named.name === written && named.protocol === flow.protocol).map((named) => named.port));
  const [resolved] = numbers;
  if (resolved === undefined || new Set(numbers).size > 1) return false;
  return flow.port >= resolved && flow.port <= (flow.direction === 'ingress' ? Math.max(resolved, end) : resolved);
}

/** A leading 0 is octal. */
function numberOf(text: string): number {
  return text.length > 1 && text.startsWith('0') ? Number.parseInt(text, 8) : Number(text);
}

function icmpMatches(field: KubeJson, flow: RefFlow): boolean {
  return flow.protocol === (field['family'] === 'IPv6' ? 'ICMPv6' : 'ICMP') && Number(field['type']) === flow.port;
}

interface Requirement {
  readonly name: string;
  readonly operator: string;
  readonly values: readonly string[];
}

function requirementsOf(selector: KubeJson, source: string): Requirement[] {
  const named = (key: string): string => (source === 'any' && key.includes(':') ? key : `${source}:${key}`);
  return [
    ...Object.entries(recordAt(selector, 'matchLabels')).map(([key, value]) => ({name: named(key), operator: 'In', values: [String(value)]})),
    ...listAt(selector, 'matchExpressions').map((one) => ({
      name: named(textAt(one, 'key')), operator: textAt(one, 'operator'), values: rawList(one, 'values').map(String),
    })),
  ];
}

function selects(selector: KubeJson, labels: ReadonlyMap<string, string>, source: string): boolean {
  return requirementsOf(selector, source).every(({name, operator, values}) => {
    const found = [...labels].filter(([label]) => (name.startsWith('any:') ? label.slice(label.indexOf(':') + 1) === name.slice(4) : label === name)).map(([, value]) => value);
    const hit = operator === 'In' || operator === 'NotIn' ? found.some((value) => values.includes(value)) : found.length > 0;
    return operator === 'In' || operator === 'Exists' ? hit : !hit;
  });
}

/** By binary digits. */
function within(address: string, cidr: string): boolean {
  const [base = '', length] = cidr.split('/');
  if (address.includes(':') !== base.includes(':')) return false;
  const [a, b] = [digits(address), digits(base)];
  return a.slice(0, Number(length ?? a.length)) === b.slice(0, Number(length ?? b.length));
}

function digits(address: string): string {
  if (!address.includes(':')) return address.split('.').map((part) => Number(part).toString(2).padStart(8, '0')).join('');
  const [left = '', right] = address.split('::');
  const groups = (text: string): string[] => (text === '' ? [] : text.split(':'));
  const [head, tail] = [groups(left), groups(right ?? '')];
  const all = right === undefined ? head : [...head, ...Array.from({length: 8 - head.length - tail.length}, () => '0'), ...tail];
  return all.map((group) => Number.parseInt(group, 16).toString(2).padStart(16, '0')).join('');
}

function asRecord(value: unknown): KubeJson {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as KubeJson) : {};
}

function recordAt(json: KubeJson, field: string): KubeJson {
  return asRecord(json[field]);
}

function rawList(json: KubeJson, field: string): readonly unknown[] {
  const value = json[field];
  return Array.isArray(value) ? (value as readonly unknown[]) : [];
}

function listAt(json: KubeJson, field: string): KubeJson[] {
  return rawList(json, field).map(asRecord);
}

function textAt(json: KubeJson, field: string): string {
  const value = json[field];
  return typeof value === 'string' ? value : '';
}
