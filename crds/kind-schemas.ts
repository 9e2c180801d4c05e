// Schemas of the kinds that are neither policies nor BGP's: identities, endpoints, nodes.

import {AGE, cidr, crd, flag, int64, integer, list, map, object, oneOfWords, opaque, root, text, type Schema} from './schema-parts.js';

export const ciliumIdentity = crd({
  kind: 'CiliumIdentity', plural: 'ciliumidentities', shortNames: ['ciliumid'], categories: ['cilium'], scope: 'Cluster', version: 'v2',
  columns: [{name: 'Namespace', type: 'string', jsonPath: '.metadata.labels.io\\.kubernetes\\.pod\\.namespace',
    description: 'Namespace of the pods with this identity'}, AGE],
  statusSubresource: true,
  schema: root('A security identity: the number (the name of the object) that stands for a set of labels.', {
    'security-labels*': map('The labels: `source:key` and value. Alone decisive; metadata.labels are for people.', {type: 'string'}),
  }),
});

export const ciliumCIDRGroup = crd({
  kind: 'CiliumCIDRGroup', plural: 'ciliumcidrgroups', shortNames: ['ccg'], categories: ['cilium'], scope: 'Cluster', version: 'v2', olderVersions: ['v2alpha1'],
  columns: [AGE], statusSubresource: false,
  schema: root('Prefixes outside the cluster that policies name together.', {
    'spec*': object('The group.', {'externalCIDRs*': list('The prefixes.', {type: 'string', format: 'cidr'})}),
  }),
});

function enforcement(direction: string): Schema {
  const identities = (description: string): Schema => list(description, object('A peer and a port.', {
    'dest-port': integer('Port.', {format: 'int32'}), identity: integer('Number of the identity.', {format: 'int64'}),
    'identity-labels': map('Its labels.', {type: 'string'}), protocol: integer('Protocol number.'),
  }));
  return object(`Policy for traffic ${direction} the endpoint.`, {
    adding: identities('Peers about to be allowed.'), allowed: identities('Peers that are allowed.'), denied: identities('Peers that are denied.'),
    'enforcing*': flag('Whether anything is denied by default.'), removing: identities('Peers about to be removed.'),
    state: text('Stage of the policy: enforcing, non-enforcing, disabled.'),
  });
}

const STATES = [
  'creating', 'waiting-for-identity', 'not-ready', 'waiting-to-regenerate', 'regenerating', 'restoring', 'ready', 'disconnecting', 'disconnected',
  'invalid',
];

function endpointStatus(): Schema {
  return object('The endpoint as its node reports it.', {
    controllers: list('Background work for the endpoint.', object('One of them.', {
      configuration: opaque('How it is run.'), name: text('Name.'), status: opaque('How it goes.'), uuid: text('Identifier.'),
    })),
    encryption: object('Encryption of its traffic.', {key: integer('Index of the key; 0 is none.')}),
    'external-identifiers': object('What others call the endpoint.', {
      'cni-attachment-id': text('Container and interface, as the container runtime names them.'), 'container-id': text('Container.'),
      'container-name': text('Name of the container.'), 'docker-endpoint-id': text('Docker endpoint.'), 'docker-network-id': text('Docker network.'),
      'k8s-namespace': text('Namespace of the pod.'), 'k8s-pod-name': text('Name of the pod.'), 'pod-name': text('Namespace and name of the pod.'),
    }),
    health: object('How it does.', {
      bpf: text('State of its programs.'), connected: flag('Whether it is reachable.'), overallHealth: text('Worst of the others.'),
      policy: text('State of its policy.'),
    }),
    id: int64('Number of the endpoint on its node.'),
    identity: object('Security identity.', {id: int64('Number.'), labels: list('Labels behind it.', {type: 'string'})}),
    log: list('Last changes of state.', object('One change.', {
      code: text('Whether it went well.'), message: text('What happened.'), state: text('New state.'), timestamp: text('When.'),
    })),
    'named-ports': list('Ports that policies may name.', object('One port.', {
      name: text('Name.'), port: integer('Number.', {format: 'int32', minimum: 0, maximum: 65535}), protocol: text('Protocol.'),
    })),
    networking: object('Where it is.', {
      'addressing*': list('Its addresses.', object('One pair.', {ipv4: text('IPv4 address.'), ipv6: text('IPv6 address.')})),
      node: text('Internal address of its node: the far end of tunnels to the endpoint.'),
    }),
    policy: object('Policy in force.', {egress: enforcement('from'), ingress: enforcement('to')}),
    'service-account': text('Service account of the pod.'),
    state: oneOfWords('Where the endpoint is in its life.', STATES),
    'visibility-policy-status': text('Only in old releases.'),
  });
}

const wide = (name: string, jsonPath: string): {name: string; type: 'string'; jsonPath: string; priority: number} =>
  ({name, type: 'string', jsonPath, priority: 1});

export const ciliumEndpoint = crd({
  kind: 'CiliumEndpoint', plural: 'ciliumendpoints', shortNames: ['cep', 'ciliumep'], categories: ['cilium'], scope: 'Namespaced', version: 'v2',
  columns: [
    {name: 'Security Identity', type: 'integer', jsonPath: '.status.identity.id', description: 'Number of its identity'},
    wide('Ingress Enforcement', '.status.policy.ingress.state'), wide('Egress Enforcement', '.status.policy.egress.state'),
    {name: 'Endpoint State', type: 'string', jsonPath: '.status.state'},
    {name: 'IPv4', type: 'string', jsonPath: '.status.networking.addressing[0].ipv4'},
    {name: 'IPv6', type: 'string', jsonPath: '.status.networking.addressing[0].ipv6'},
  ],
  statusSubresource: false,
  schema: root('A pod on the network: named like the pod and owned by it.', {status: endpointStatus()}),
});

const addressPair = (description: string): Schema => object(description, {ipv4: text('IPv4 address.'), ipv6: text('IPv6 address.')});
const ownedAddresses = (description: string): Schema => map(description, object('One address.', {
  owner: text('Who uses it.'), resource: text('What it belongs to.'),
}));
const count = (description: string): Schema => integer(description, {minimum: 0});

function ipam(): Schema {
  return object('Where the addresses of its pods come from.', {
    'ipv6-pool': ownedAddresses('IPv6 addresses that the node may give out.'),
    'max-above-watermark': count('Addresses that may be held above pre-allocate.'), 'max-allocate': count('Most addresses the node may hold.'),
    'min-allocate': count('Addresses that the node starts with.'),
    'pod-cidr-allocation-threshold': count('Only in old releases.'), 'pod-cidr-release-threshold': count('Only in old releases.'),
    podCIDRs: list('Prefixes of its pods.', cidr('One prefix.')),
    pool: ownedAddresses('IPv4 addresses that the node may give out.'),
    pools: object('Pools by name.', {
      allocated: list('Prefixes given to the node.', object('Those of one pool.', {
        allowFirstIP: flag('Whether the first address may be given out.'), allowLastIP: flag('Whether the last address may be given out.'),
        cidrs: list('Prefixes.', cidr('One prefix.')), 'pool*': text('Name of the pool.', {minLength: 1}),
      })),
      requested: list('What the node asks for.', object('From one pool.', {
        needed: object('How many.', {'ipv4-addrs': count('IPv4 addresses.'), 'ipv6-addrs': count('IPv6 addresses.')}),
        'pool*': text('Name of the pool.', {minLength: 1}),
      })),
    }),
    'pre-allocate': count('Addresses to keep ready.'), 'static-ip-tags': map('Tags of static addresses.', {type: 'string'}),
  });
}

function nodeSpec(): Schema {
  return object('The node.', {
    addresses: list('Its addresses.', object('One address.', {
      ip: text('Address.'), type: text('InternalIP, ExternalIP, Hostname or CiliumInternalIP (the router of its pods).'),
    })),
    'alibaba-cloud': opaque('Of one cloud provider; kept, not used.'), azure: opaque('Of one cloud provider; kept, not used.'),
    bootid: text('Identifier of the running boot.'),
    encryption: object('Encryption between nodes.', {key: integer('Index of the key; 0 is none.')}),
    eni: opaque('Of one cloud provider; kept, not used.'),
    health: addressPair('Where its health is asked for.'), ingress: addressPair('Where its ingress listens.'),
    'instance-id': text('Name that the hardware owner gives the machine.'), ipam: ipam(), nodeidentity: int64('Only in old releases.'),
  });
}

function nodeStatus(): Schema {
  return object('State of its addresses.', {
    'alibaba-cloud': opaque('Of one cloud provider; kept, not used.'), azure: opaque('Of one cloud provider; kept, not used.'),
    eni: opaque('Of one cloud provider; kept, not used.'),
    ipam: object('Addresses in use.', {
      'assigned-static-ip': text('Static address of the node.'), 'ipv6-used': ownedAddresses('IPv6 addresses in use.'),
      'operator-status': object('What went wrong.', {error: text('The error.')}),
      'pod-cidrs': map('State of each prefix.', object('One prefix.', {
        status: oneOfWords('Its state.', ['released', 'depleted', 'in-use']),
      })),
      'release-ips': map('Addresses to be given back.', {type: 'string', enum: ['marked-for-release', 'ready-for-release', 'do-not-release', 'released']}),
      'release-ipv6s': map('IPv6 addresses to be given back.', {type: 'string', enum: ['marked-for-release', 'ready-for-release', 'do-not-release', 'released']}),
      used: ownedAddresses('IPv4 addresses in use.'),
    }),
  });
}

export const ciliumNode = crd({
  kind: 'CiliumNode', plural: 'ciliumnodes', shortNames: ['cn', 'ciliumn'], categories: ['cilium'], scope: 'Cluster', version: 'v2',
  columns: [
    {name: 'CiliumInternalIP', type: 'string', jsonPath: '.spec.addresses[?(@.type=="CiliumInternalIP")].ip', description: 'Router of the pods of the node'},
    {name: 'InternalIP', type: 'string', jsonPath: '.spec.addresses[?(@.type=="InternalIP")].ip', description: 'Address of the node'},
    AGE,
  ],
  statusSubresource: true,
  schema: root('A node of the network, named like its Node.', {'spec*': nodeSpec(), status: nodeStatus()}),
});
