// Tests only: policies that Cilium's sanitiser would not take, one table for all who must refuse them: the API server where a schema can say
// it (`apply`; `strict` when the field itself is unknown there), offline validation, and the decoder for every one.

type Json = Readonly<Record<string, unknown>>;

/** Ids of statements, what it is, the rule of a CiliumNetworkPolicy, path and code of the decoder's refusal, and where it is refused first. */
export type RefusedRow = readonly [ids: string, what: string, spec: Json, path: string, code: string, first: 'apply' | 'strict' | 'decode'];

const SUBJECT = {endpointSelector: {matchLabels: {app: 'web'}}};
const A = {matchLabels: {app: 'a'}};
const TCP80 = {ports: [{port: '80', protocol: 'TCP'}]};
const SECRET = {secret: {name: 's'}};
const LISTENER = {name: 'x', envoyConfig: {name: 'c'}};

const ingress = (item: unknown): Json => ({...SUBJECT, ingress: [item]});
const egress = (item: unknown): Json => ({...SUBJECT, egress: [item]});
const ports = (...list: readonly unknown[]): Json => ingress({toPorts: [{ports: list}]});
const icmp = (...fields: readonly unknown[]): Json => ingress({icmps: [{fields}]});
const http = (rule: unknown): Json => ingress({toPorts: [{...TCP80, rules: {http: [rule]}}]});
const expression = (one: unknown): Json => ingress({fromEndpoints: [{matchExpressions: [one]}]});

const IN = 'spec.ingress[0]';
const OUT = 'spec.egress[0]';
const PORT = `${IN}.toPorts[0].ports[0].port`;
const FIELD = `${IN}.icmps[0].fields[0]`;
const HTTP = `${IN}.toPorts[0].rules.http[0]`;

const PEERS: Json = {
  Endpoints: [A], Entities: ['world'], CIDR: ['10.0.0.0/8'], CIDRSet: [{cidr: '10.0.0.0/8'}], Nodes: [{}], Groups: [{aws: {region: 'x'}}],
};
const EGRESS_PEERS: Json = {toServices: [{k8sService: {serviceName: 'a'}}], toFQDNs: [{matchName: 'a.example'}]};

/** Two kinds of peers in one item: every pair of each direction. */
function pairs(): RefusedRow[] {
  const from = Object.entries(PEERS).map(([name, value]) => [`from${name}`, value] as const);
  const to = [...Object.entries(PEERS).map(([name, value]) => [`to${name}`, value] as const), ...Object.entries(EGRESS_PEERS)];
  return ([[from, ingress, IN], [to, egress, OUT]] as const).flatMap(([fields, item, path]) => fields.flatMap(([a, first], i) =>
    fields.slice(i + 1).map(([b, second]): RefusedRow => ['2.3-04', `${a} with ${b}`, item({[a]: first, [b]: second}), path, 'CombinedPeers', 'apply'])));
}

const L7: readonly RefusedRow[] = [
  ['2.3-05', 'DNS rules at ingress', ingress({toPorts: [{ports: [{port: '53', protocol: 'UDP'}], rules: {dns: [{matchName: 'a.b'}]}}]}), `${IN}.toPorts[0].rules.dns`, 'InvalidL7', 'apply'],
  ['2.3-08', 'DNS rules without ports', egress({toPorts: [{rules: {dns: [{matchPattern: '*'}]}}]}), `${OUT}.toPorts[0].rules.dns`, 'InvalidL7', 'apply'],
  ['2.3-08', 'DNS rules with a range', egress({toPorts: [{ports: [{port: '53', endPort: 60}], rules: {dns: [{matchPattern: '*'}]}}]}), `${OUT}.toPorts[0].rules.dns`, 'InvalidL7', 'decode'],
  ['2.3-08', 'DNS rules over SCTP', egress({toPorts: [{ports: [{port: '53', protocol: 'SCTP'}], rules: {dns: [{matchPattern: '*'}]}}]}), `${OUT}.toPorts[0].rules.dns`, 'InvalidL7', 'apply'],
  ['2.3-07', 'HTTP rules on any protocol', ingress({toPorts: [{ports: [{port: '80', protocol: 'ANY'}], rules: {http: [{}]}}]}), `${IN}.toPorts[0].rules.http`, 'InvalidL7', 'apply'],
  ['2.3-07', 'HTTP rules without a protocol', ingress({toPorts: [{ports: [{port: '80'}], rules: {http: [{}]}}]}), `${IN}.toPorts[0].rules.http`, 'InvalidL7', 'apply'],
  ['2.3-07', 'HTTP rules over UDP', egress({toPorts: [{ports: [{port: '80', protocol: 'UDP'}], rules: {http: [{}]}}]}), `${OUT}.toPorts[0].rules.http`, 'InvalidL7', 'apply'],
  ['2.3-06', 'HTTP rules on port 0', ingress({toPorts: [{ports: [{port: '0', protocol: 'TCP'}], rules: {http: [{}]}}]}), `${IN}.toPorts[0].rules.http`, 'InvalidL7', 'apply'],
  ['2.3-06', 'DNS rules on port 0', egress({toPorts: [{ports: [{port: '0', protocol: 'UDP'}], rules: {dns: [{matchPattern: '*'}]}}]}), `${OUT}.toPorts[0].rules.dns`, 'InvalidL7', 'apply'],
  ['2.3-09', 'two kinds of L7 rules', egress({toPorts: [{...TCP80, rules: {http: [{}], dns: [{matchName: 'a'}]}}]}), `${OUT}.toPorts[0].rules`, 'InvalidL7', 'apply'],
  ['2.3-11', 'a listener at ingress', ingress({toPorts: [{...TCP80, listener: LISTENER}]}), `${IN}.toPorts[0].listener`, 'InvalidListener', 'apply'],
  ['2.3-11', 'a listener beside L7 rules', egress({toPorts: [{...TCP80, listener: LISTENER, rules: {http: [{}]}}]}), `${OUT}.toPorts[0].listener`, 'InvalidListener', 'apply'],
  ['2.3-10', 'an empty server name', egress({toPorts: [{...TCP80, serverNames: ['']}]}), `${OUT}.toPorts[0].serverNames[0]`, 'InvalidTLS', 'apply'],
  ['2.3-10', 'server names beside HTTP rules', egress({toPorts: [{...TCP80, serverNames: ['a.b'], rules: {http: [{}]}}]}), `${OUT}.toPorts[0].serverNames`, 'InvalidTLS', 'apply'],
  ['2.3-10', 'TLS without a Secret', ingress({toPorts: [{...TCP80, terminatingTLS: {}}]}), `${IN}.toPorts[0].terminatingTLS.secret`, 'InvalidTLS', 'apply'],
  ['2.3-23', 'an HTTP path that does not compile', http({path: '(a'}), `${HTTP}.path`, 'InvalidL7', 'decode'],
  ['2.3-23', 'an HTTP method that does not compile', http({method: '[z-a]'}), `${HTTP}.method`, 'InvalidL7', 'decode'],
  ['2.3-23', 'a back reference, which RE2 has not', http({path: '(a)\\1'}), `${HTTP}.path`, 'InvalidL7', 'decode'],
  ['2.3-24', 'a header match without a name', http({headerMatches: [{value: 'x'}]}), `${HTTP}.headerMatches[0].name`, 'InvalidL7', 'apply'],
  ['2.3-24', 'a header mismatch', http({headerMatches: [{name: 'x', mismatch: 'DROP'}]}), `${HTTP}.headerMatches[0].mismatch`, 'InvalidL7', 'apply'],
  ['2.3-23', 'a header that is no text', http({headers: [1]}), `${HTTP}.headers[0]`, 'InvalidL7', 'apply'],
  ['2.3-22', 'a DNS rule with two matches', egress({toPorts: [{ports: [{port: '53'}], rules: {dns: [{matchName: 'a', matchPattern: 'b'}]}}]}), `${OUT}.toPorts[0].rules.dns[0]`, 'InvalidFQDN', 'apply'],
];

const PORTS: readonly RefusedRow[] = [
  ['2.3-12', '41 ports', ports(...Array.from({length: 41}, (_, i) => ({port: String(i + 1)}))), `${IN}.toPorts[0].ports`, 'TooManyPorts', 'apply'],
  ['2.3-14', 'ports with icmps', ingress({toPorts: [TCP80], icmps: [{fields: [{type: 8}]}]}), IN, 'CombinedPorts', 'apply'],
  ['2.3-13', '41 ICMP fields', icmp(...Array.from({length: 41}, () => ({type: 8}))), `${IN}.icmps[0].fields`, 'TooManyFields', 'apply'],
  ['2.3-15', 'an ICMP family', icmp({family: 'IPv5', type: 8}), `${FIELD}.family`, 'InvalidICMP', 'apply'],
  ['2.3-15', 'an ICMP name of the other family', icmp({type: 'PacketTooBig'}), `${FIELD}.type`, 'InvalidICMP', 'apply'],
  ['2.3-15', 'an ICMPv6 name that IPv4 alone has', icmp({family: 'IPv6', type: 'Timestamp'}), `${FIELD}.type`, 'InvalidICMP', 'apply'],
  ['2.3-15', 'an ICMP type of 256', icmp({type: 256}), `${FIELD}.type`, 'InvalidICMP', 'apply'],
  ['2.3-15', 'an ICMP type of 256 as a text', icmp({type: '256'}), `${FIELD}.type`, 'InvalidICMP', 'apply'],
  ['2.3-15', 'a prototype key as ICMP name', icmp({type: 'constructor'}), `${FIELD}.type`, 'InvalidICMP', 'apply'],
  ['2.3-16', 'port 65536', ports({port: '65536'}), PORT, 'InvalidPort', 'apply'],
  ['2.3-16', 'port 70_000', ports({port: '70_000'}), PORT, 'InvalidPort', 'decode'],
  ['2.3-17', 'an empty port', ports({port: '', protocol: 'TCP'}), PORT, 'InvalidPort', 'apply'],
  ['2.3-17', 'no port', ports({protocol: 'TCP'}), PORT, 'InvalidPort', 'apply'],
  ['2.3-16', 'a number for a port', ports({port: 80}), PORT, 'InvalidPort', 'apply'],
  ['2.3-16', 'bad octal', ports({port: '089'}), PORT, 'InvalidPort', 'apply'],
  ['2.3-16', 'a name of 16 characters', ports({port: 'abcdefghijklmnop'}), PORT, 'InvalidPort', 'apply'],
  ['2.3-16', 'a name with two hyphens', ports({port: 'a--b'}), PORT, 'InvalidPort', 'apply'],
  ['2.3-16', 'a number with a rest', ports({port: '80/tcp'}), PORT, 'InvalidPort', 'apply'],
  ['2.3-16', 'a negative port', ports({port: '-1'}), PORT, 'InvalidPort', 'apply'],
  ['2.5-17', 'a range from port 0', ports({port: '0', endPort: 100}), `${IN}.toPorts[0].ports[0].endPort`, 'InvalidPort', 'apply'],
  ['2.3-16', 'an endPort of 65536', ports({port: '1', endPort: 65536}), `${IN}.toPorts[0].ports[0].endPort`, 'InvalidPort', 'apply'],
  ['2.3-16', 'a protocol', ports({port: '80', protocol: 'ICMP'}), `${IN}.toPorts[0].ports[0].protocol`, 'InvalidProtocol', 'apply'],
  ['2.3-17', 'a port of a protocol without ports', ports({port: '80', protocol: 'VRRP'}), PORT, 'InvalidPort', 'apply'],
];

const NAMES: readonly RefusedRow[] = [
  ['2.3-18', 'a CIDR', ingress({fromCIDR: ['10.0.0/8']}), `${IN}.fromCIDR[0]`, 'InvalidCIDR', 'apply'],
  ['2.3-19', 'a bare address in a set', ingress({fromCIDRSet: [{cidr: '10.0.0.1'}]}), `${IN}.fromCIDRSet[0].cidr`, 'InvalidCIDR', 'apply'],
  ['2.3-20', 'an except outside', ingress({fromCIDRSet: [{cidr: '10.0.0.0/8', except: ['11.0.0.0/16']}]}), `${IN}.fromCIDRSet[0].except[0]`, 'InvalidCIDR', 'decode'],
  ['2.3-20', 'an except wider than its CIDR', ingress({fromCIDRSet: [{cidr: '20.0.0.0/16', except: ['20.0.0.0/8']}]}), `${IN}.fromCIDRSet[0].except[0]`, 'InvalidCIDR', 'decode'],
  ['2.3-20', 'an except of the other family', ingress({fromCIDRSet: [{cidr: '10.0.0.0/8', except: ['fd00::/16']}]}), `${IN}.fromCIDRSet[0].except[0]`, 'InvalidCIDR', 'decode'],
  ['2.3-21', 'cidr and cidrGroupRef', ingress({fromCIDRSet: [{cidr: '10.0.0.0/8', cidrGroupRef: 'g'}]}), `${IN}.fromCIDRSet[0]`, 'InvalidCIDR', 'apply'],
  ['2.3-21', 'cidr and cidrGroupSelector', ingress({fromCIDRSet: [{cidr: '10.0.0.0/8', cidrGroupSelector: {}}]}), `${IN}.fromCIDRSet[0]`, 'InvalidCIDR', 'apply'],
  ['2.3-21', 'an empty item of a CIDR set', ingress({fromCIDRSet: [{}]}), `${IN}.fromCIDRSet[0]`, 'InvalidCIDR', 'apply'],
  ['2.3-27', 'a group by a bad name', ingress({fromCIDRSet: [{cidrGroupRef: 'A_B'}]}), `${IN}.fromCIDRSet[0].cidrGroupRef`, 'InvalidCIDR', 'apply'],
  ['2.3-25', 'a bad selector of groups', ingress({fromCIDRSet: [{cidrGroupSelector: {matchLabels: {a: ' '}}}]}), `${IN}.fromCIDRSet[0].cidrGroupSelector.matchLabels[a]`, 'InvalidSelector', 'apply'],
  ['2.3-20', 'a bad except of a group', ingress({fromCIDRSet: [{cidrGroupRef: 'g', except: ['x']}]}), `${IN}.fromCIDRSet[0].except[0]`, 'InvalidCIDR', 'apply'],
  ['2.3-27', 'an entity', ingress({fromEntities: ['everyone']}), `${IN}.fromEntities[0]`, 'UnknownEntity', 'apply'],
  ['2.3-22', 'matchName and matchPattern', egress({toFQDNs: [{matchName: 'a', matchPattern: 'b'}]}), `${OUT}.toFQDNs[0]`, 'InvalidFQDN', 'apply'],
  ['2.3-22', 'neither matchName nor matchPattern', egress({toFQDNs: [{}]}), `${OUT}.toFQDNs[0]`, 'InvalidFQDN', 'apply'],
  ['2.3-22', 'a DNS name', egress({toFQDNs: [{matchName: 'a b'}]}), `${OUT}.toFQDNs[0]`, 'InvalidFQDN', 'apply'],
  ['2.3-22', 'a DNS name of 256 characters', egress({toFQDNs: [{matchName: 'a.'.repeat(128)}]}), `${OUT}.toFQDNs[0]`, 'InvalidFQDN', 'apply'],
  ['2.3-26', 'names to be denied', {...SUBJECT, egressDeny: [{toFQDNs: [{matchName: 'a.b'}]}]}, 'spec.egressDeny[0].toFQDNs', 'InvalidFQDN', 'strict'],
  ['2.3-25', 'a label key', ingress({fromEndpoints: [{matchLabels: {'a b': 'c'}}]}), `${IN}.fromEndpoints[0].matchLabels`, 'InvalidSelector', 'decode'],
  ['2.3-25', 'a label key after its source', ingress({fromEndpoints: [{matchLabels: {'k8s:a:b': 'c'}}]}), `${IN}.fromEndpoints[0].matchLabels`, 'InvalidSelector', 'decode'],
  ['2.3-25', 'a source that is no word', expression({key: '!k8s:app', operator: 'Exists'}), `${IN}.fromEndpoints[0].matchExpressions[0].key`, 'InvalidSelector', 'decode'],
  ['2.3-25', 'a label value', ingress({fromEndpoints: [{matchLabels: {a: 'b c'}}]}), `${IN}.fromEndpoints[0].matchLabels[a]`, 'InvalidSelector', 'apply'],
  ['2.3-25', 'an operator', expression({key: 'a', operator: 'Gt', values: ['1']}), `${IN}.fromEndpoints[0].matchExpressions[0].operator`, 'InvalidSelector', 'apply'],
  ['2.3-25', 'In without values', expression({key: 'a', operator: 'In'}), `${IN}.fromEndpoints[0].matchExpressions[0].values`, 'InvalidSelector', 'apply'],
  ['2.3-25', 'Exists with values', expression({key: 'a', operator: 'Exists', values: ['x']}), `${IN}.fromEndpoints[0].matchExpressions[0].values`, 'InvalidSelector', 'apply'],
  ['2.3-25', 'a value of an expression', expression({key: 'a', operator: 'In', values: ['x y']}), `${IN}.fromEndpoints[0].matchExpressions[0].values[0]`, 'InvalidSelector', 'apply'],
  ['2.2-18', 'nodes', ingress({fromNodes: [{}]}), `${IN}.fromNodes`, 'NodeSelectorsDisabled', 'decode'],
  ['2.2-18', 'nodes at egress', egress({toNodes: [{matchLabels: {rack: 'a'}}]}), `${OUT}.toNodes`, 'NodeSelectorsDisabled', 'decode'],
  ['2.3-27', 'fromRequires', ingress({fromRequires: [A]}), `${IN}.fromRequires`, 'Removed', 'apply'],
  ['2.3-27', 'an authentication mode', ingress({authentication: {mode: 'maybe'}}), `${IN}.authentication`, 'InvalidAuthentication', 'apply'],
  ['2.3-27', 'a service of both kinds', egress({toServices: [{k8sService: {serviceName: 'a'}, k8sServiceSelector: {selector: {}}}]}), `${OUT}.toServices[0]`, 'InvalidService', 'apply'],
  ['2.3-27', 'a service of neither kind', egress({toServices: [{}]}), `${OUT}.toServices[0]`, 'InvalidService', 'apply'],
  ['2.3-27', 'a service without a name', egress({toServices: [{k8sService: {namespace: 'x'}}]}), `${OUT}.toServices[0].k8sService.serviceName`, 'InvalidService', 'apply'],
];

const RULES: readonly RefusedRow[] = [
  ['2.3-01', 'no lists', SUBJECT, 'spec', 'EmptyRule', 'apply'],
  ['2.3-01', 'four empty lists', {...SUBJECT, ingress: [], egress: [], ingressDeny: [], egressDeny: []}, 'spec', 'EmptyRule', 'apply'],
  ['2.3-01', 'one empty list', {...SUBJECT, egress: []}, 'spec', 'EmptyRule', 'apply'],
  ['2.3-02', 'no subject', {ingress: [{}]}, 'spec', 'InvalidSubject', 'apply'],
  ['2.3-02', 'both subjects', {...SUBJECT, nodeSelector: {}, ingress: [{}]}, 'spec', 'InvalidSubject', 'apply'],
  ['2.3-03', 'nodeSelector in a namespace', {nodeSelector: {}, ingress: [{}]}, 'spec.nodeSelector', 'InvalidSubject', 'apply'],
  ['', 'a list that is none', {...SUBJECT, ingress: {}}, 'spec.ingress', 'InvalidType', 'apply'],
  ['', 'an item that is no object', ingress('x'), 'spec.ingress[0]', 'InvalidType', 'apply'],
  ['', 'a list of peers that is none', ingress({fromEndpoints: {}}), `${IN}.fromEndpoints`, 'InvalidType', 'apply'],
  ['', 'enableDefaultDeny', {...SUBJECT, ingress: [{}], enableDefaultDeny: {ingress: 'yes'}}, 'spec.enableDefaultDeny.ingress', 'InvalidType', 'apply'],
  ['2.3-27', 'a log text of 33 characters', {...SUBJECT, ingress: [{}], log: {value: 'x'.repeat(33)}}, 'spec.log', 'InvalidLog', 'apply'],
  ['2.3-27', 'a log text with a control character', {...SUBJECT, ingress: [{}], log: {value: 'a\u0007'}}, 'spec.log', 'InvalidLog', 'apply'],
];

export const REFUSED: readonly RefusedRow[] = [...RULES, ...pairs(), ...L7, ...PORTS, ...NAMES];

/** What is close to a refusal and is taken: by the API server, offline, and by the decoder without a rejection unless it is one of `unsupported`. */
export const TAKEN: readonly (readonly [ids: string, what: string, spec: Json, unsupported: readonly string[]])[] = [
  ['2.3-01', 'an empty list beside a filled one', {...SUBJECT, ingress: [], egress: [{}]}, []],
  ['2.3-04', 'empty lists of peers beside a filled one', ingress({fromEndpoints: [A], fromCIDR: [], fromEntities: []}), []],
  ['2.3-14', 'empty icmps beside ports', ingress({toPorts: [TCP80], icmps: []}), []],
  ['2.3-05 2.3-07', 'empty L7 rules', ingress({toPorts: [{ports: [{port: '80'}], rules: {http: []}}, {ports: [{port: '53'}], rules: {dns: []}}]}), []],
  ['2.3-08', 'DNS rules for ANY', egress({toPorts: [{ports: [{port: '53', protocol: 'ANY'}], rules: {dns: [{matchPattern: '*'}]}}]}), [`${OUT}.toPorts[0].rules.dns`]],
  ['2.3-08', 'DNS rules with an endPort that is no range', egress({toPorts: [{ports: [{port: '53', endPort: 53}], rules: {dns: [{matchPattern: '*'}]}}]}), [`${OUT}.toPorts[0].rules.dns`]],
  ['2.3-07', 'HTTP rules on a named port', ingress({toPorts: [{ports: [{port: 'http', protocol: 'TCP'}], rules: {http: [{}]}}]}), [`${IN}.toPorts[0].rules.http`]],
  ['2.3-10', 'server names beside L7 rules and terminatingTLS', egress({toPorts: [{...TCP80, serverNames: ['a.b'], terminatingTLS: SECRET, rules: {http: [{}]}}]}),
    ['rules.http', 'serverNames', 'terminatingTLS'].map((part) => `${OUT}.toPorts[0].${part}`)],
  ['2.3-11', 'a listener at egress', egress({toPorts: [{...TCP80, listener: {...LISTENER, priority: 100}}]}), [`${OUT}.toPorts[0].listener`]],
  ['2.3-23', 'host and headers that do not compile', http({host: '(', headers: ['(']}), [`${IN}.toPorts[0].rules.http`]],
  ['2.3-12', '40 ports', ports(...Array.from({length: 40}, (_, i) => ({port: String(i + 1)}))), []],
  ['2.3-13', '40 ICMP fields', icmp(...Array.from({length: 40}, (_, type) => ({type}))), []],
  ['2.3-15', 'ICMP names of each family', icmp({type: 'Photuris'}, {family: 'IPv4', type: 'EchoRequest'}, {family: 'IPv6', type: 'EchoRequest'}, {family: 'IPv6', type: 'NeighborSolicitation'}, {family: 'IPv6', type: 255}), []],
  ['2.3-16', 'ports in Go’s notation', ports({port: '010'}, {port: '1_000'}, {port: '0x50'}, {port: '0b11'}, {port: '65535'}, {port: 'HTTP'}, {port: 'a-b-c'}, {port: '99999x'}), []],
  ['2.3-17', 'extended protocols with port 0 or none', ports({protocol: 'VRRP'}, {protocol: 'IGMP', port: '0'}, {protocol: 'GRE'}), []],
  ['2.3-18', 'a prefix with host bits', ingress({fromCIDR: ['10.1.5.1/24', '::1/128']}), []],
  ['2.3-20', 'an except that is all of its CIDR', ingress({fromCIDRSet: [{cidr: '10.0.0.0/8', except: ['10.0.0.0/8']}]}), []],
  ['2.3-22', 'names with underscores and hyphens', egress({toFQDNs: [{matchName: '_sip._tcp.a-b.example.'}]}), [`${OUT}.toFQDNs`]],
  ['2.3-25', 'selectors with sources', ingress({fromEndpoints: [{matchLabels: {'k8s:app': 'a', 'any:b': '', $host: ''}, matchExpressions: [{key: 'reserved:x', operator: 'Exists'}, {key: 'k8s:y', operator: 'NotIn', values: ['z']}]}]}), []],
  ['2.2-18', 'an empty list of nodes', ingress({fromNodes: []}), []],
];

/** The same of a CiliumClusterwideNetworkPolicy. */
export const REFUSED_CLUSTERWIDE: readonly RefusedRow[] = [
  ['2.3-28', 'HTTP rules for nodes at ingress', {nodeSelector: {}, ingress: [{toPorts: [{...TCP80, rules: {http: [{}]}}]}]}, `${IN}.toPorts[0].rules.http`, 'InvalidL7', 'apply'],
  ['2.3-28', 'HTTP rules for nodes at egress', {nodeSelector: {}, egress: [{toPorts: [{...TCP80, rules: {http: [{}]}}]}]}, `${OUT}.toPorts[0].rules.http`, 'InvalidL7', 'apply'],
  ['2.3-28', 'Kafka rules for nodes at ingress', {nodeSelector: {}, ingress: [{toPorts: [{...TCP80, rules: {kafka: [{topic: 't'}]}}]}]}, `${IN}.toPorts[0].rules.kafka`, 'InvalidL7', 'apply'],
  ['2.3-02', 'both subjects, cluster-wide', {...SUBJECT, nodeSelector: {}, ingress: [{}]}, 'spec', 'InvalidSubject', 'apply'],
  ['2.3-01', 'no lists, cluster-wide', {nodeSelector: {}}, 'spec', 'EmptyRule', 'apply'],
  ['2.3-04', 'two kinds of peers, cluster-wide', ingress({fromEndpoints: [A], fromEntities: ['world']}), IN, 'CombinedPeers', 'apply'],
];

/** What stays: DNS rules of nodes at egress, and L7 rules of pods. */
export const TAKEN_CLUSTERWIDE: readonly (readonly [what: string, spec: Json])[] = [
  ['DNS rules for nodes at egress', {nodeSelector: {}, egress: [{toPorts: [{ports: [{port: '53', protocol: 'UDP'}], rules: {dns: [{matchPattern: '*'}]}}]}]}],
  ['HTTP rules for pods', ingress({toPorts: [{...TCP80, rules: {http: [{}]}}]})],
  ['ports for nodes', {nodeSelector: {}, ingress: [{toPorts: [TCP80]}], egress: [{toPorts: [TCP80]}]}],
];
