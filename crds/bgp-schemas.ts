// Schemas of the BGP kinds, of both generations.

import {
  AGE, cidr, conditions, crd, flag, int32, int64, labelSelector, list, object, oneOfWords, root, text, type Schema,
} from './schema-parts.js';

const AFIS = ['ipv4', 'ipv6', 'l2vpn', 'ls', 'opaque'];
const SAFIS = [
  'unicast', 'multicast', 'mpls_label', 'encapsulation', 'vpls', 'evpn', 'ls', 'sr_policy', 'mup', 'mpls_vpn', 'mpls_vpn_multicast',
  'route_target_constraints', 'flowspec_unicast', 'flowspec_vpn', 'key_value',
];
const WELL_KNOWN_COMMUNITIES = [
  'internet', 'planned-shut', 'accept-own', 'route-filter-translated-v4', 'route-filter-v4', 'route-filter-translated-v6', 'route-filter-v6',
  'llgr-stale', 'no-llgr', 'blackhole', 'no-export', 'no-advertise', 'no-export-subconfed', 'no-peer',
];
/** u16, and u32 in decimal, without leading zeros. */
const U16 = '([0-9]|[1-9][0-9]{1,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])';
const U32 = '([0-9]|[1-9][0-9]{1,8}|[1-3][0-9]{9}|4[0-1][0-9]{8}|42[0-8][0-9]{7}|429[0-3][0-9]{6}|4294[0-8][0-9]{5}|42949[0-5][0-9]{4}'
  + '|429496[0-6][0-9]{3}|4294967[0-1][0-9]{2}|42949672[0-8][0-9]|429496729[0-5])';
const ASN = {minimum: 0, maximum: 4294967295};

/** Of both generations. */
const ATTRIBUTES: Readonly<Record<string, Schema>> = {
  communities: object('Communities that are added.', {
    large: list('Large communities: `global:local:local`.', {type: 'string', pattern: `^${U32}:${U32}:${U32}$`}),
    standard: list('Communities: `asn:value`, or a 32-bit number.', {type: 'string', pattern: `^${U16}:${U16}$|^${U32}$`}),
    wellKnown: list('Communities by name.', {type: 'string', enum: WELL_KNOWN_COMMUNITIES}),
  }),
  localPreference: int64('LOCAL_PREF towards peers of the same autonomous system.', {minimum: 0, maximum: 4294967295}),
};
const ADDRESS_TYPES = {type: 'string', enum: ['LoadBalancerIP', 'ClusterIP', 'ExternalIP']};

const connectRetryTime = int32('Time between attempts to connect.', 1, 2147483647, {default: 120});
const holdTime = int32('Silence after which the session is over.', 3, 65535, {default: 90});
const keepAliveTime = int32('Time between keepalives.', 1, 65535, {default: 30});
const peerPort = int32('TCP port of the peer.', 1, 65535, {default: 179});
const multihop = int32('Hops to a peer of another autonomous system; 1 = a direct neighbour.', 1, 255, {default: 1});
const authSecretRef = text('Secret with the TCP MD5 password, key `password`.');

function gracefulRestart(): Schema {
  return object('Graceful restart (RFC 4724).', {
    'enabled*': flag('Whether it is offered.'),
    restartTimeSeconds: int32('How long the peer keeps our paths.', 1, 4095, {default: 120}),
  });
}

function families(description: string, advertisements: string): Schema {
  return list(description, object('One family.', {
    advertisements: labelSelector(advertisements),
    'afi*': oneOfWords('Address family.', AFIS), 'safi*': oneOfWords('Subsequent address family.', SAFIS),
  }));
}

function pathAttributes(): Schema {
  return object('Attributes of some of the advertised paths.', {
    ...ATTRIBUTES,
    selector: labelSelector('Which of them; all when absent.'),
    'selectorType*': oneOfWords('Kind of object that the paths come from.', ['PodCIDR', 'CiliumLoadBalancerIPPool', 'CiliumPodIPPool']),
  });
}

function neighbor(): Schema {
  return object('One BGP peer.', {
    advertisedPathAttributes: list('Attributes of advertised paths.', pathAttributes()),
    authSecretRef,
    connectRetryTimeSeconds: connectRetryTime,
    eBGPMultihopTTL: multihop,
    families: families('Address families; IPv4 and IPv6 unicast when absent.', 'Only for the newer BGP kinds; ignored here.'),
    gracefulRestart: gracefulRestart(),
    holdTimeSeconds: holdTime,
    keepAliveTimeSeconds: keepAliveTime,
    'peerASN*': int64('Autonomous system of the peer.', ASN),
    'peerAddress*': cidr('Address of the peer with a length; only the address counts.'),
    peerPort,
  });
}

function virtualRouter(): Schema {
  return object('One BGP instance on each selected node.', {
    exportPodCIDR: flag('Whether the PodCIDRs of the node are advertised.', {default: false}),
    'localASN*': int64('Our autonomous system.', ASN),
    'neighbors*': list('Its peers.', neighbor(), {minItems: 1}),
    podIPPoolSelector: labelSelector('CiliumPodIPPools whose prefixes are advertised; none when absent.'),
    serviceAdvertisements: list('Which addresses of the selected Services are advertised.', ADDRESS_TYPES, {default: ['LoadBalancerIP']}),
    serviceSelector: labelSelector('Services whose addresses are advertised; none when absent.'),
  });
}

/** Sessions that are up, of all: `6/6`. */
const ESTABLISHED = {name: 'Established', type: 'string', jsonPath: ".status.conditions[?(@.type=='stentor.io/Established')].message"} as const;

export const ciliumBGPPeeringPolicy = crd({
  kind: 'CiliumBGPPeeringPolicy', plural: 'ciliumbgppeeringpolicies', shortNames: ['bgpp'], categories: ['cilium', 'ciliumbgp'],
  scope: 'Cluster', version: 'v2alpha1', columns: [ESTABLISHED, AGE], statusSubresource: true,
  schema: root('Which BGP sessions the selected nodes have, and what they advertise.', {
    spec: object('The sessions.', {
      nodeSelector: labelSelector('The nodes; all when absent.'),
      'virtualRouters*': list('BGP instances.', virtualRouter(), {minItems: 1}),
    }),
    status: object('What became of it. Not in Cilium.', {conditions: conditions('Whether it is understood and in force.')}),
  }),
});

const NAME = {minLength: 1, maxLength: 255};
/** By `name`: what one writer says of one entry does not touch the others. */
const BY_NAME = {'x-kubernetes-list-type': 'map', 'x-kubernetes-list-map-keys': ['name']};
const ADDRESS = {pattern: '((^\\s*((([0-9]|[1-9][0-9]|1[0-9]{2}|2[0-4][0-9]|25[0-5])\\.){3}([0-9]|[1-9][0-9]|1[0-9]{2}|2[0-4][0-9]|25[0-5]))\\s*$)|(^\\s*[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*(%.+)?\\s*$))'};
const V2 = {categories: ['cilium', 'ciliumbgp'], scope: 'Cluster', version: 'v2', olderVersions: ['v2alpha1']} as const;
const peerConfigRef = object('The CiliumBGPPeerConfig.', {
  group: text('Only in v2alpha1.'), kind: text('Only in v2alpha1.'), 'name*': text('Its name.'),
});

function autoDiscovery(): Schema {
  return object('How the address of the peer is found.', {
    defaultGateway: object('The gateway of the default route.', {'addressFamily*': oneOfWords('Of this family.', ['ipv4', 'ipv6'])}),
    'mode*': oneOfWords('What is looked for.', ['DefaultGateway']),
  }, {'x-kubernetes-validations': [{rule: "self.mode != 'DefaultGateway' || has(self.defaultGateway)", message: 'defaultGateway is required when mode is DefaultGateway'}]});
}

export const ciliumBGPClusterConfig = crd({
  ...V2, kind: 'CiliumBGPClusterConfig', plural: 'ciliumbgpclusterconfigs', shortNames: ['cbgpcluster'], columns: [ESTABLISHED, AGE], statusSubresource: true,
  schema: root('BGP instances and peers of the selected nodes.', {
    'spec*': object('The instances.', {
      'bgpInstances*': list('BGP instances of each node.', object('One instance.', {
        localASN: int64('Our autonomous system.', {minimum: 1, maximum: 4294967295}),
        localPort: int32('TCP port that it listens on; absent = it does not.', 1, 65535),
        'name*': text('Name of the instance.', NAME),
        peers: list('Its peers.', object('One peer.', {
          autoDiscovery: autoDiscovery(),
          'name*': text('Name of the peer.', NAME),
          peerASN: int64('Its autonomous system; 0 = whatever it says.', {...ASN, default: 0}),
          peerAddress: text('Its address, without a length.', ADDRESS),
          peerConfigRef,
        }), BY_NAME),
      }), {...BY_NAME, minItems: 1, maxItems: 16}),
      nodeSelector: labelSelector('The nodes; all when absent.'),
    }),
    status: object('What became of it.', {conditions: conditions('Whether it is understood and in force.')}),
  }),
});

export const ciliumBGPPeerConfig = crd({
  ...V2, kind: 'CiliumBGPPeerConfig', plural: 'ciliumbgppeerconfigs', shortNames: ['cbgppeer'], columns: [AGE], statusSubresource: true,
  schema: root('How sessions with some peers are run, and what they are told.', {
    'spec*': object('The session.', {
      authSecretRef,
      ebgpMultihop: multihop,
      families: families('Address families; IPv4 and IPv6 unicast when absent.', 'CiliumBGPAdvertisements by their labels; none when absent.'),
      gracefulRestart: gracefulRestart(),
      timers: object('Timers.', {connectRetryTimeSeconds: connectRetryTime, holdTimeSeconds: holdTime, keepAliveTimeSeconds: keepAliveTime}, {
        'x-kubernetes-validations': [{rule: 'self.keepAliveTimeSeconds <= self.holdTimeSeconds', message: 'keepAliveTimeSeconds can not be larger than holdTimeSeconds'}],
      }),
      transport: object('The TCP connection.', {
        localPort: int32('Only in v2alpha1.', 1, 65535), peerPort, sourceInterface: text('Interface whose address is the source.', NAME),
      }),
    }),
    status: object('What became of it.', {conditions: conditions('Whether it is understood, and its Secret is there.')}),
  }),
});

function advertisementItem(): Schema {
  return object('One kind of prefixes.', {
    'advertisementType*': oneOfWords('Where the prefixes come from.', ['PodCIDR', 'CiliumPodIPPool', 'Service', 'Interface']),
    attributes: object('Attributes of the paths.', ATTRIBUTES),
    interface: object('The interface whose addresses are advertised.', {'name*': text('Its name.', NAME)}),
    selector: labelSelector('Which Services or pools; none when absent.'),
    service: object('Which addresses of the Services.', {
      'addresses*': list('Kinds of addresses.', ADDRESS_TYPES, {minItems: 1}),
      aggregationLengthIPv4: int32('Length of the advertised prefix instead of 32.', 0, 31),
      aggregationLengthIPv6: int32('Length of the advertised prefix instead of 128.', 0, 127),
    }),
  }, {'x-kubernetes-validations': [
    {rule: "self.advertisementType != 'Service' || has(self.service)", message: "service field is required for the 'Service' advertisementType"},
    {rule: "self.advertisementType == 'Service' || !has(self.service)", message: "service field is not allowed for non-'Service' advertisementType"},
    {rule: "self.advertisementType != 'Interface' || has(self.interface)", message: "interface field is required for the 'Interface' advertisementType"},
    {rule: "self.advertisementType == 'Interface' || !has(self.interface)", message: "interface field is not allowed for non-'Interface' advertisementType"},
    {rule: "self.advertisementType != 'PodCIDR' || !has(self.selector)", message: "selector field is not allowed for the 'PodCIDR' advertisementType"},
  ]});
}

export const ciliumBGPAdvertisement = crd({
  ...V2, kind: 'CiliumBGPAdvertisement', plural: 'ciliumbgpadvertisements', shortNames: ['cbgpadvert'], columns: [AGE], statusSubresource: false,
  schema: root('Prefixes that peers are told, by the labels of this object.', {
    'spec*': object('The prefixes.', {'advertisements*': list('Kinds of prefixes.', advertisementItem())}),
  }),
});

function nodeConfigStatus(): Schema {
  return object('How the sessions of the node stand.', {
    bgpInstances: list('Instances.', object('One instance.', {
      localASN: int64('Our autonomous system.'),
      'name*': text('Name of the instance.'),
      peers: list('Its peers.', object('One peer.', {
        establishedTime: text('Since when the session is up.'),
        'name*': text('Name of the peer.'),
        peerASN: int64('Its autonomous system.'),
        'peerAddress*': text('Its address.'),
        peeringState: text('State of the session: idle, connect, active, open_sent, open_confirm, established.'),
        reason: text('Why the session is not up. Not in Cilium.'),
        routeCount: list('Routes by family.', object('One family.', {
          advertised: int32('Told to the peer.', 0, 2147483647), 'afi*': oneOfWords('Address family.', AFIS),
          received: int32('Heard from the peer.', 0, 2147483647), 'safi*': oneOfWords('Subsequent address family.', SAFIS),
        })),
        timers: object('Timers as agreed on.', {
          appliedHoldTimeSeconds: int32('Silence after which the session is over.', 0, 65535), appliedKeepaliveSeconds: int32('Time between keepalives.', 0, 65535),
        }),
      }), BY_NAME),
    }), BY_NAME),
    conditions: conditions('Whether the node does what it should.'),
  });
}

export const ciliumBGPNodeConfig = crd({
  ...V2, kind: 'CiliumBGPNodeConfig', plural: 'ciliumbgpnodeconfigs', shortNames: ['cbgpnode'], columns: [ESTABLISHED, AGE], statusSubresource: true,
  schema: root('BGP instances and peers of one node, and how they stand. Written by the operator.', {
    'spec*': object('The instances.', {
      'bgpInstances*': list('BGP instances.', object('One instance.', {
        localASN: int64('Our autonomous system.', {minimum: 1, maximum: 4294967295}),
        localPort: int32('TCP port that it listens on.', 1, 65535),
        'name*': text('Name of the instance.', NAME),
        peers: list('Its peers.', object('One peer.', {
          autoDiscovery: autoDiscovery(),
          localAddress: text('Source address of the session.', ADDRESS),
          'name*': text('Name of the peer.', NAME),
          peerASN: int64('Its autonomous system.', ASN),
          peerAddress: text('Its address.', ADDRESS),
          peerConfigRef,
        }), BY_NAME),
        routerID: text('Router id.', {format: 'ipv4'}),
      }), {...BY_NAME, minItems: 1, maxItems: 16}),
    }),
    status: nodeConfigStatus(),
  }),
});

export const ciliumBGPNodeConfigOverride = crd({
  ...V2, kind: 'CiliumBGPNodeConfigOverride', plural: 'ciliumbgpnodeconfigoverrides', shortNames: ['cbgpnodeoverride'], columns: [AGE], statusSubresource: false,
  schema: root('What differs on the node of this name from what its CiliumBGPClusterConfig says.', {
    'spec*': object('The instances.', {
      'bgpInstances*': list('BGP instances.', object('One instance.', {
        localASN: int64('Our autonomous system.', {minimum: 1, maximum: 4294967295}),
        localPort: int32('TCP port that it listens on.', 1, 65535),
        'name*': text('Name of the instance.', NAME),
        peers: list('Its peers.', object('One peer.', {
          localAddress: text('Source address of the session.', ADDRESS), localPort: int32('Source port of the session.', 1, 65535), 'name*': text('Name of the peer.', NAME),
        }), BY_NAME),
        routerID: text('Router id.', {format: 'ipv4'}),
      }), {...BY_NAME, minItems: 1}),
    }),
  }),
});
