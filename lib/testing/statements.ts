// The documented statements about policies, by id, and the test that shows each: file and title. Only those that are listed are claimed.

const CILIUM = 'operator/model/decode/cilium-network-policy.test.ts';
const OFFLINE = 'lib/policy/offline.test.ts';
const SOURCES = 'lib/policy/sources.test.ts';
const REFERENCE = 'lib/policy/reference.property.test.ts';

export interface Statement {
  readonly id: string;
  readonly says: string;
  readonly shownBy: readonly (readonly [file: string, title: string])[];
}

function statement(id: string, says: string, file: string, ...titles: readonly string[]): Statement {
  return {id, says, shownBy: titles.map((title) => [file, title])};
}

export const STATEMENTS: readonly Statement[] = [
  statement('S2.2-01', 'a CNP subject is in its namespace', CILIUM, 'the subject of a CNP is in its namespace, whatever is written'),
  statement('S2.2-02', 'peers of a CNP are of its namespace unless they name another', CILIUM, 'a CNP peer with %s', 'the namespace by k8s:', 'namespace labels'),
  statement('S2.2-03', 'peers of a CCNP are any pod', CILIUM, 'a CCNP peer is any pod'),
  statement('S2.2-04', 'peers by absent labels are pods', CILIUM, 'a CNP peer by what is absent never matches world'),
  statement('S2.2-05', 'NotIn and DoesNotExist match an absent key', REFERENCE, 'NotIn does not match an absent key'),
  statement('S2.2-06', 'nodes as peers need an option', CILIUM, 'nodes', 'nodes at egress'),
  statement('S2.3-01', 'at least one list, exactly one subject', CILIUM, 'no lists', 'four empty lists', 'no subject', 'both subjects'),
  statement('S2.3-02', 'one L3 field in an item', CILIUM, 'two kinds of peers', 'FQDNs with entities', 'services with entities'),
  statement('S2.3-03', 'L7: direction, ports, kinds, server names, listeners', CILIUM, 'DNS rules at ingress', 'DNS rules without ports', 'DNS rules with a range',
    'HTTP rules without TCP', 'HTTP rules on port 0', 'two kinds of L7 rules', 'an empty server name', 'server names beside HTTP rules', 'a listener at ingress', 'a listener beside L7 rules'),
  statement('S2.3-04', '40 ports, 40 ICMP fields, not both, two families', CILIUM, '41 ports', '41 ICMP fields', 'ports with icmps', 'an ICMP family'),
  statement('S2.3-05', 'ports as Go reads them', CILIUM, 'port 65536', 'an empty port', 'bad octal', 'a port of a protocol without ports', 'port %s is read as Go reads it'),
  statement('S2.3-06', 'CIDRs, exceptions, groups', CILIUM, 'a bare address in a set', 'an except outside', 'an except wider than its CIDR', 'an except of the other family',
    'cidr and cidrGroupRef', 'cidr and cidrGroupSelector', 'an empty item of a CIDR set'),
  statement('S2.3-06g', 'exceptions of groups count; an empty selector is every group', SOURCES, 'with an exception', 'by an empty selector: every group and nothing else'),
  statement('S2.3-07', 'one of matchName and matchPattern', CILIUM, 'matchName and matchPattern', 'a DNS name', 'a DNS name of 256 characters'),
  statement('S2.3-08', 'method and path compile, header matches have names', CILIUM, 'an HTTP path that does not compile', 'an HTTP method that does not compile', 'a header match without a name'),
  statement('S2.3-09', 'label selectors are checked', CILIUM, 'a selector', 'an operator', 'In without values', 'Exists with values'),
  statement('S2.4-01', 'default deny is per direction', CILIUM, 'default deny is per direction'),
  statement('S2.4-02', 'enableDefaultDeny', CILIUM, 'enableDefaultDeny false', 'enableDefaultDeny false with a deny', 'enableDefaultDeny true without items'),
  statement('S2.5-01', 'an absent list says nothing', CILIUM, 'ingress absent'),
  statement('S2.5-02', 'an empty list is as an absent one', CILIUM, 'ingress: [] beside another list'),
  statement('S2.5-03', 'an empty item isolates', CILIUM, 'ingress: [{}]'),
  statement('S2.5-04', 'an empty peer list selects nothing', CILIUM, 'fromEndpoints: []', 'fromEndpoints: [] with ports', 'fromNodes: [] with ports', 'fromEntities: [] with ports', 'fromCIDR: [] with ports', 'fromCIDRSet: [] with ports'),
  statement('S2.5-05', 'an empty selector is every pod', CILIUM, 'fromEndpoints: [{}]'),
  statement('S2.5-06', 'ports alone are any peer', CILIUM, 'toPorts only'),
  statement('S2.5-07', 'empty ports are every port', CILIUM, 'fromEndpoints with toPorts: []'),
  statement('S2.5-08', 'a port rule without ports allows nothing', CILIUM, 'fromEndpoints with toPorts: [{}]', 'fromEndpoints with toPorts: [{ports: []}]'),
  statement('S2.5-09', 'an empty list beside a filled one selects nothing', CILIUM, 'a filled list beside an empty one'),
  statement('S2.5-10', 'empty icmps', CILIUM, 'icmps: [] with peers', 'icmps: [{}] with peers'),
  statement('S2.5-11', 'an empty deny isolates and denies nothing', CILIUM, 'ingressDeny: [{}]', 'ingressDeny: [{toPorts: [{}]}]', 'ingressDeny: [{fromEndpoints: []}]'),
  statement('S2.5-12', 'empty FQDNs, services and groups select nothing', CILIUM, '%s: [] with ports selects nothing', 'fromGroups: [] with ports selects nothing here'),
  statement('S2.5-13', 'a service without backends selects nothing', SOURCES, 'without backends: nothing', 'that is not there: nothing'),
  statement('S2.5-14', 'empty L7 rules ask for nothing', CILIUM, 'rules: {}', 'rules.http: []'),
  statement('S2.5-15', 'port 0 is every port', CILIUM, 'port 0, TCP', 'port 0, any protocol that has ports', 'a range from port 0'),
  statement('S2.6-01', 'entities', OFFLINE, 'world', 'cluster', 'none', 'remote-node', 'kube-apiserver'),
  statement('S2.6-02', 'CIDRs never are pods or nodes; /0 is world', OFFLINE, 'peers by labels are pods, peers by CIDR never are'),
  statement('S2.6-03', 'a /0 with host bits', CILIUM, 'a CIDR of length 0 with host bits matches nothing, in a set it is world'),
  statement('S2.6-04', 'CIDR groups', SOURCES, 'by name', 'that overlap another: the address is in both', 'by label'),
  statement('S2.6-05', 'FQDN patterns', SOURCES, '*.cilium.io: one label', '*cilium.io: no label', '**.cilium.io: one or more labels', '*: every name'),
  statement('S2.6-06', 'services', SOURCES, 'by name and namespace: the pods of that namespace', 'by name in any namespace', 'without a selector: the addresses behind it', 'by labels, the source does not matter'),
  statement('S2.6-07', 'two families, two worlds', SOURCES, '::/0', 'world-ipv4', 'world-ipv6', 'with IPv6 alone there is one world'),
  statement('S2.7-01', 'ANY is TCP, UDP and SCTP', REFERENCE, 'ANY is TCP and no more'),
  statement('S2.7-02', 'ranges', REFERENCE, 'a range is its first port', 'a range ends one port early'),
  statement('S2.7-03', 'named ports', REFERENCE, 'named ports are every port'),
  statement('S2.7-04', 'ICMP types are exact', REFERENCE, 'ICMP type 0 is every type'),
  statement('S2.8-01', 'deny beats allow', REFERENCE, 'what a deny overrules is left in the map', 'deny rules are forgotten'),
  statement('S2.10-01', 'NetworkPolicy, as the reference reads it', REFERENCE, 'the engine and the reference agree in ${WORLDS} worlds'),
  statement('S2.11-01', 'the local host', OFFLINE, 'reaches an isolated pod'),
  statement('S2.11-02', 'pods of the host network speak as their node', SOURCES, 'pods of the host network speak as their node'),
  statement('S2.12-01', 'L7 rules are kept, and allow nothing yet', CILIUM, 'L7 rules are kept as rule sets', 'HTTP rules are refused by path and let nobody in'),
];

export const STATEMENT_FILES: readonly string[] = [CILIUM, OFFLINE, SOURCES, REFERENCE];
