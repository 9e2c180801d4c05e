// The policy rule of CiliumNetworkPolicy and CiliumClusterwideNetworkPolicy: the one copy of it that both files are made from.

import {
  AGE, cidr, conditionColumn, conditions, crd, flag, int32, int64, integer, labelSelector, list, map, object, oneOfWords, presence,
  root, text, type Schema,
} from './schema-parts.js';

const ENTITIES = [
  'all', 'world', 'cluster', 'host', 'init', 'ingress', 'unmanaged', 'remote-node', 'health', 'none', 'kube-apiserver',
];
/** A number in Go's notation (`010` is octal, `1_000` is 1000); what is too large by its underscores is refused by the sanitiser. */
const PORT_NUMBER = '^(6553[0-5]|655[0-2][0-9]|65[0-4][0-9]{2}|6[0-4][0-9]{3}|[1-5][0-9]{4}|[1-9][0-9]{0,3}|0[0-7_]*|[1-9][0-9]*(_[0-9]+)+)$';
const PORT_NAME = '^([a-zA-Z0-9]-?)*[a-zA-Z](-?[a-zA-Z0-9])*$';
const PORT_ZERO = '^0[0_]*$';
const PROTOCOLS_WITH_PORTS = ['TCP', 'UDP', 'SCTP', 'ANY'];
const EXTENDED_PROTOCOLS = ['VRRP', 'IGMP', 'GRE', 'IPIP', 'IPV6', 'ESP', 'AH'];
const LABEL_VALUE = '^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$';
const ICMP_NAMES = [
  'EchoReply', 'DestinationUnreachable', 'Redirect', 'Echo', 'EchoRequest', 'RouterAdvertisement', 'RouterSelection', 'TimeExceeded', 'ParameterProblem',
  'Timestamp', 'TimestampReply', 'Photuris', 'ExtendedEchoRequest', 'ExtendedEcho Reply', 'ExtendedEchoReply',
];
const ICMPV6_NAMES = [
  'DestinationUnreachable', 'PacketTooBig', 'TimeExceeded', 'ParameterProblem', 'EchoRequest', 'EchoReply', 'MulticastListenerQuery', 'MulticastListenerReport',
  'MulticastListenerDone', 'RouterSolicitation', 'RouterAdvertisement', 'NeighborSolicitation', 'NeighborAdvertisement', 'RedirectMessage', 'RouterRenumbering',
  'ICMPNodeInformationQuery', 'ICMPNodeInformationResponse', 'InverseNeighborDiscoverySolicitation', 'InverseNeighborDiscoveryAdvertisement',
  'HomeAgentAddressDiscoveryRequest', 'HomeAgentAddressDiscoveryReply', 'MobilePrefixSolicitation', 'MobilePrefixAdvertisement', 'DuplicateAddressRequestCodeSuffix',
  'DuplicateAddressConfirmationCodeSuffix', 'ExtendedEchoRequest', 'ExtendedEcho Reply', 'ExtendedEchoReply',
];

function icmpType(names: readonly string[]): string {
  return `^([0-9]|[1-9][0-9]|1[0-9]{2}|2[0-4][0-9]|25[0-5]|${names.join('|')})$`;
}

const DNS_1123_SUBDOMAIN = '^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$';
const FQDN_NAME = '^([-a-zA-Z0-9_]+[.]?)+$';
const FQDN_PATTERN = '^([-a-zA-Z0-9_*]+[.]?)+$';

/** A list that is there and has an item. */
function filled(name: string): Schema {
  return {required: [name], properties: {[name]: {minItems: 1}}};
}

/** As `oneOf`: none of the lists has an item, or exactly one has. */
function atMostOneFilled(names: readonly string[]): readonly Schema[] {
  return [{not: {anyOf: names.map(filled)}}, ...names.map(filled)];
}

/** As Kubernetes has it for its own selectors: values where the operator takes some, and only there. */
function selector(description: string): Schema {
  return labelSelector(description, {
    values: {type: 'string', maxLength: 63, pattern: LABEL_VALUE},
    anyOf: [
      {properties: {operator: {enum: ['In', 'NotIn']}, values: {minItems: 1}}, required: ['values']},
      {properties: {operator: {enum: ['Exists', 'DoesNotExist']}, values: {maxItems: 0}}},
    ],
  });
}

interface Direction {
  readonly prefix: 'from' | 'to';
  readonly peer: string;
}

const INGRESS: Direction = {prefix: 'from', peer: 'source'};
const EGRESS: Direction = {prefix: 'to', peer: 'destination'};

function secret(description: string): Schema {
  return object(description, {'name*': text('Name of the Secret.'), namespace: text('Its namespace.')});
}

function cidrRule(): Schema {
  return object('A prefix, or a group of prefixes, with exceptions.', {
    cidr: cidr('The prefix.'),
    cidrGroupRef: text('Name of a CiliumCIDRGroup.', {maxLength: 253, pattern: DNS_1123_SUBDOMAIN}),
    cidrGroupSelector: selector('CiliumCIDRGroups by their labels.'),
    except: list('Prefixes inside `cidr` that do not match.', {type: 'string', format: 'cidr'}),
  }, {oneOf: presence('cidr', 'cidrGroupRef', 'cidrGroupSelector')});
}

function groups(): Schema {
  return object('Addresses that a cloud provider names.', {
    aws: object('AWS instances.', {
      labels: map('Instance tags.', {type: 'string'}),
      region: text('AWS region.'),
      securityGroupsIds: list('Security groups by id.', {type: 'string'}),
      securityGroupsNames: list('Security groups by name.', {type: 'string'}),
    }),
  });
}

/** Peers that ingress and egress, allow and deny have in common. At most one of these lists may have members. */
function peers({prefix, peer}: Direction): Record<string, Schema> {
  return {
    [`${prefix}CIDR`]: list(`Prefixes outside the cluster as ${peer}.`, {type: 'string', format: 'cidr'}),
    [`${prefix}CIDRSet`]: list(`Prefixes outside the cluster as ${peer}, with exceptions.`, cidrRule()),
    [`${prefix}Endpoints`]: list(`Pods as ${peer}, by labels; of the policy's own namespace unless they name another.`,
      selector('Selects endpoints.')),
    [`${prefix}Entities`]: list(`Peers with a fixed name as ${peer}.`, {type: 'string', enum: ENTITIES}),
    [`${prefix}Groups`]: list(`Peers that are looked up outside as ${peer}.`, groups()),
    [`${prefix}Nodes`]: list(`Nodes as ${peer}, by labels.`, selector('Selects nodes.')),
    [`${prefix}Requires`]: list('Not supported any more; must be empty.', {type: 'string'}, {maxItems: 0}),
  };
}

function ports(): Schema {
  return list('Ports and protocols; any of them matches.', object('A port with its protocol.', {
    endPort: int32('Last port of a range that begins at `port`.', 0, 65535),
    port: text('Number or name; 0 is every port. Nothing for protocols without ports.', {anyOf: [{pattern: PORT_NUMBER}, {pattern: PORT_NAME, maxLength: 15}]}),
    protocol: oneOfWords('Protocol; nothing is ANY (TCP, UDP, SCTP).', [...PROTOCOLS_WITH_PORTS, ...EXTENDED_PROTOCOLS]),
  }, {
    anyOf: [
      {required: ['port'], properties: {protocol: {enum: PROTOCOLS_WITH_PORTS}}},
      {required: ['protocol'], properties: {protocol: {enum: EXTENDED_PROTOCOLS}, port: {enum: ['0']}}},
    ],
    not: {required: ['port', 'endPort'], properties: {port: {pattern: PORT_ZERO}, endPort: {minimum: 1}}},
  }), {maxItems: 40});
}

function httpRule(): Schema {
  return object('One HTTP request that is allowed: all members must match.', {
    headerMatches: list('Headers that must have a value.', object('One header.', {
      mismatch: oneOfWords('What is done instead of a refusal when it does not match.', ['LOG', 'ADD', 'DELETE', 'REPLACE']),
      'name*': text('Name of the header.', {minLength: 1}),
      secret: secret('Where the value is kept.'),
      value: text('The value, in the clear.'),
    })),
    headers: list('Headers that must be there: `Name: value`, or `Name`.', {type: 'string'}),
    host: text('Regular expression for the Host header.'),
    method: text('Regular expression for the method.'),
    path: text('Regular expression for the path.'),
  });
}

function fqdn(description: string): Schema {
  return object(description, {
    matchName: text('A name, as it is asked for.', {maxLength: 255, pattern: FQDN_NAME}),
    matchPattern: text('A name in which `*` stands for any characters but dots.', {maxLength: 255, pattern: FQDN_PATTERN}),
  }, {oneOf: presence('matchName', 'matchPattern')});
}

/**
 * Kinds that newer releases do not have (kafka, l7proto) stay in the schema: cut off by the API server, a rule that is
 * limited to them would allow every request.
 */
function l7Rules(): Schema {
  return object('Requests that are allowed inside the connection; all others are refused.', {
    dns: list('DNS names that may be asked for.', fqdn('One name or pattern.')),
    http: list('HTTP requests.', httpRule()),
    kafka: list('Kafka requests (not supported: the object is refused with a reason).', object('One request.', {
      apiKey: text('Name of the request.'), apiVersion: text('Version of the request.'), clientID: text('Client id.'),
      role: oneOfWords('Group of requests.', ['produce', 'consume']), topic: text('Topic.', {maxLength: 255}),
    })),
    l7: list('Requests of `l7proto` (not supported: the object is refused with a reason).', map('Key and value pairs.', {type: 'string'})),
    l7proto: text('Name of a protocol parser (not supported: the object is refused with a reason).'),
  }, {oneOf: presence('http', 'kafka', 'dns', ['l7proto', 'l7'])});
}

function tls(description: string): Schema {
  return object(description, {
    certificate: text('Key of the certificate in the Secret.'),
    privateKey: text('Key of the private key in the Secret.'),
    'secret*': secret('The Secret with the keys.'),
    trustedCA: text('Key of the trusted authorities in the Secret.'),
  });
}

function filledRules(kind: string): Schema {
  return {required: ['rules'], properties: {rules: filled(kind)}};
}

const ANY_L7: Schema = {anyOf: ['http', 'dns', 'kafka', 'l7'].map(filledRules)};

/** What an L7 rule demands of its ports, and what excludes it. */
function l7Bounds(direction: Direction): Schema {
  const portsOf = (item: Schema): Schema => ({properties: {ports: {items: item}}});
  const dnsPorts = {required: ['ports'], properties: {ports: {minItems: 1, items: {properties: {protocol: {enum: ['TCP', 'UDP', 'ANY']}}}}}};
  return {
    allOf: [
      {anyOf: [{not: filledRules('http')}, portsOf({required: ['protocol'], properties: {protocol: {enum: ['TCP']}}})]},
      {anyOf: [{not: filledRules('dns')}, dnsPorts]},
      {anyOf: [{not: ANY_L7}, portsOf({properties: {port: {not: {pattern: PORT_ZERO}}}})]},
    ],
    not: {anyOf: [
      {required: ['listener'], ...ANY_L7},
      {...filled('serverNames'), ...ANY_L7, not: {required: ['terminatingTLS']}},
      ...(direction === INGRESS ? [{required: ['listener']}, filledRules('dns')] : []),
    ]},
  };
}

function allowedPorts(direction: Direction): Schema {
  return list('Ports, and what may be asked for on them.', object('Ports with their rules.', {
    listener: object('Sends the traffic to a listener of an Envoy configuration.', {
      'envoyConfig*': object('Where the listener is defined.', {
        kind: oneOfWords('Kind of the configuration object.', ['CiliumEnvoyConfig', 'CiliumClusterwideEnvoyConfig']),
        'name*': text('Name of the configuration object.', {minLength: 1}),
      }),
      'name*': text('Name of the listener.', {minLength: 1}),
      priority: integer('Among several listeners for one port the lowest number counts.', {minimum: 1, maximum: 100}),
    }),
    originatingTLS: tls('TLS towards the destination.'),
    ports: ports(),
    rules: l7Rules(),
    serverNames: list('TLS server names that are allowed.', {type: 'string', maxLength: 255, minLength: 1, pattern: FQDN_PATTERN},
      {minItems: 1, 'x-kubernetes-list-type': 'set'}),
    terminatingTLS: tls('TLS towards the source.'),
  }, l7Bounds(direction)));
}

function deniedPorts(): Schema {
  return list('Ports.', object('Ports.', {ports: ports()}));
}

function icmps(): Schema {
  return list('ICMP messages. Not together with toPorts.', object('Some ICMP messages.', {
    fields: list('Types; any of them matches.', object('One type.', {
      family: oneOfWords('IPv4 or IPv6.', ['IPv4', 'IPv6'], {default: 'IPv4'}),
      'type*': {
        description: 'Number, or name as in `EchoRequest`.', 'x-kubernetes-int-or-string': true,
        anyOf: [{type: 'integer'}, {type: 'string'}], pattern: icmpType([...new Set([...ICMP_NAMES, ...ICMPV6_NAMES])]), minimum: 0, maximum: 255,
      },
    }, {
      anyOf: [
        {properties: {family: {enum: ['IPv4']}, type: {pattern: icmpType(ICMP_NAMES)}}},
        {properties: {family: {enum: ['IPv6']}, type: {pattern: icmpType(ICMPV6_NAMES)}}, required: ['family']},
      ],
    }), {maxItems: 40}),
  }));
}

function authentication(): Schema {
  return object('Mutual authentication of the allowed traffic.', {
    'mode*': oneOfWords('What is demanded.', ['disabled', 'required', 'test-always-fail']),
  });
}

function services(): Schema {
  return list('Services outside the cluster as destination.', object('A Service, or several by labels.', {
    k8sService: object('One Service.', {namespace: text('Its namespace.'), 'serviceName*': text('Its name.', {minLength: 1})}),
    k8sServiceSelector: object('Services by labels.', {namespace: text('Their namespace.'), 'selector*': selector('Selects Services.')}),
  }, {oneOf: presence('k8sService', 'k8sServiceSelector')}));
}

/** One kind of peers; ports or ICMP messages. */
function itemBounds({prefix}: Direction, more: readonly string[] = []): Schema {
  const kinds = ['CIDR', 'CIDRSet', 'Endpoints', 'Entities', 'Groups', 'Nodes'].map((name) => `${prefix}${name}`);
  return {
    oneOf: atMostOneFilled([...kinds, ...more]),
    not: {required: ['icmps', 'toPorts'], properties: {icmps: {minItems: 1}, toPorts: {minItems: 1}}},
  };
}

function ingress(): Schema {
  return list('Who may reach the subjects. An item without peers means everybody.', object('Peers and ports; all members must match.', {
    authentication: authentication(), ...peers(INGRESS), icmps: icmps(), toPorts: allowedPorts(INGRESS),
  }, itemBounds(INGRESS)));
}

function egress(): Schema {
  return list('Whom the subjects may reach. An item without peers means everybody.', object('Peers and ports; all members must match.', {
    authentication: authentication(), icmps: icmps(), ...peers(EGRESS),
    toFQDNs: list('Addresses that DNS answers named.', fqdn('One name or pattern.')),
    toPorts: allowedPorts(EGRESS), toServices: services(),
  }, itemBounds(EGRESS, ['toServices', 'toFQDNs'])));
}

function denied(direction: Direction, description: string): Schema {
  const more = direction === EGRESS ? {toServices: services()} : {};
  return list(description, object('Peers and ports; all members must match.', {icmps: icmps(), ...peers(direction), toPorts: deniedPorts(), ...more},
    itemBounds(direction, Object.keys(more))));
}

/** Nodes have no L7 rules at ingress, and no HTTP rules at all. */
function nodeBounds(): Schema {
  const portRules = (list: string, excluded: Schema): Schema => ({properties: {[list]: {items: {properties: {toPorts: {items: {not: excluded}}}}}}});
  return {allOf: [portRules('ingress', ANY_L7), portRules('egress', filledRules('http'))].map((bound) => ({anyOf: [{not: {required: ['nodeSelector']}}, bound]}))};
}

/** `namespaced`: of a CiliumNetworkPolicy, which has no rules for nodes. */
export function ruleSchema(description: string, namespaced: boolean): Schema {
  return object(description, {
    description: text('What the rule is for, in the words of its author.'),
    egress: egress(),
    egressDeny: denied(EGRESS, 'Whom the subjects may not reach, whatever is allowed.'),
    enableDefaultDeny: object('Whether what no rule allows is denied; by default in each direction that this rule speaks of.', {
      egress: flag('For traffic that leaves the subjects.'), ingress: flag('For traffic to the subjects.'),
    }),
    endpointSelector: selector('The pods this rule is about.'),
    ingress: ingress(),
    ingressDeny: denied(INGRESS, 'Who may not reach the subjects, whatever is allowed.'),
    labels: list('Labels of the rule itself.', object('One label.', {
      'key*': text('Key.'), source: text('Where the label comes from.'), value: text('Value.'),
    })),
    log: object('What flow records of this rule carry.', {
      value: text('Text that is put into the records.', {maxLength: 32, pattern: '^\\PC*$'}),
    }),
    nodeSelector: selector('The nodes this rule is about. Only in CiliumClusterwideNetworkPolicy.'),
  }, {
    anyOf: ['ingress', 'ingressDeny', 'egress', 'egressDeny'].map(filled), oneOf: presence('endpointSelector', 'nodeSelector'),
    ...(namespaced ? {not: {required: ['nodeSelector']}} : nodeBounds()),
  });
}

function status(): Schema {
  return object('What became of the policy.', {
    conditions: conditions('Valid: the policy is understood. stentor.io/Enforced: every node concerned has it in its kernel.'),
    derivativePolicies: map('Policies made from this one.', object('One of them.', {
      annotations: map('Annotations of the policy it speaks of.', {type: 'string'}),
      enforcing: flag('Whether it is in force.'), error: text('Why it is not.'),
      lastUpdated: text('When this was written.', {format: 'date-time'}),
      localPolicyRevision: int64('Revision of the policy repository.'), ok: flag('Whether it could be read.'),
    })),
  });
}

function policySchema(description: string, namespaced: boolean): Schema {
  return root(description, {
    description: text('What the policy is for. Not in Cilium; taken because manifests have it.'),
    spec: ruleSchema('One rule.', namespaced),
    specs: list('Several rules.', ruleSchema('One rule.', namespaced)),
    status: status(),
  }, {'x-kubernetes-validations': [{rule: 'has(self.spec) || has(self.specs)', message: 'a policy needs spec or specs'}]});
}

const COLUMNS = [AGE, conditionColumn('Valid', 'Valid'), conditionColumn('Enforced', 'stentor.io/Enforced')];

export const ciliumNetworkPolicy = crd({
  kind: 'CiliumNetworkPolicy', plural: 'ciliumnetworkpolicies', shortNames: ['cnp', 'ciliumnp'], categories: ['cilium', 'ciliumpolicy'],
  scope: 'Namespaced', version: 'v2', columns: COLUMNS, statusSubresource: true,
  schema: policySchema('Rules for the traffic of the pods of one namespace: by identity, prefix, name, port and request.', true),
});

export const ciliumClusterwideNetworkPolicy = crd({
  kind: 'CiliumClusterwideNetworkPolicy', plural: 'ciliumclusterwidenetworkpolicies', shortNames: ['ccnp'],
  categories: ['cilium', 'ciliumpolicy'], scope: 'Cluster', version: 'v2', columns: COLUMNS, statusSubresource: true,
  schema: policySchema('Rules for the traffic of pods of all namespaces, or of nodes.', false),
});

