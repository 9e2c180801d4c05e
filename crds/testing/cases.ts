// Tests only: objects that are taken or refused, the same offline and by a real API server.

import type {CrdKind} from '../schema.js';

/** Each entry: kind, content beside apiVersion/kind/metadata, and path and part of the message of the offline refusal (null = taken). */
export const CASES: readonly (readonly [string, CrdKind, Record<string, unknown>, readonly [string, string] | null])[] = [
  ['an L4 rule', 'CiliumNetworkPolicy', {spec: {endpointSelector: {}, ingress: [{fromEndpoints: [{matchLabels: {'k8s:org': 'empire'}}],
    toPorts: [{ports: [{port: '80', protocol: 'TCP'}]}]}]}}, null],
  ['description at the root', 'CiliumNetworkPolicy', {description: 'x', spec: {endpointSelector: {}, egress: []}}, null],
  ['specs', 'CiliumNetworkPolicy', {specs: [{endpointSelector: {}, egress: []}, {endpointSelector: {}, ingressDeny: [{}]}]}, null],
  ['ICMP by number and by name', 'CiliumNetworkPolicy', {spec: {endpointSelector: {}, ingress: [{icmps: [{fields: [{type: 8}, {type: 'EchoRequest', family: 'IPv6'}]}]}]}}, null],
  ['a CIDR with host bits', 'CiliumNetworkPolicy', {spec: {endpointSelector: {}, egress: [{toCIDR: ['10.1.5.1/24']}]}}, null],
  ['a named port and a range', 'CiliumNetworkPolicy', {spec: {endpointSelector: {}, ingress: [{toPorts: [{ports: [{port: 'http'}, {port: '80', endPort: 90}]}]}]}}, null],
  ['HTTP, DNS and Kafka rules', 'CiliumNetworkPolicy', {spec: {endpointSelector: {}, egress: [
    {toPorts: [{ports: [{port: '80', protocol: 'TCP'}], rules: {http: [{method: 'GET', path: '/v1/.*'}]}}]},
    {toPorts: [{ports: [{port: '53', protocol: 'ANY'}], rules: {dns: [{matchPattern: '*.example.com'}]}}]},
    {toPorts: [{ports: [{port: '9092', protocol: 'TCP'}], rules: {kafka: [{role: 'produce', topic: 't'}]}}]}]}}, null],
  ['FQDNs', 'CiliumNetworkPolicy', {spec: {endpointSelector: {}, egress: [{toFQDNs: [{matchName: 'a.example.com'}]}]}}, null],
  ['a node policy', 'CiliumClusterwideNetworkPolicy', {spec: {nodeSelector: {matchLabels: {rack: 'rack0'}}, ingress: [{fromEntities: ['world']}]}}, null],
  ['neither spec nor specs', 'CiliumNetworkPolicy', {}, ['', 'a policy needs spec or specs']],
  ['both selectors', 'CiliumNetworkPolicy', {spec: {endpointSelector: {}, nodeSelector: {}, ingress: []}}, ['spec', 'exactly one of endpointSelector']],
  ['no direction', 'CiliumNetworkPolicy', {spec: {endpointSelector: {}}}, ['spec', 'one of ingress, ingressDeny']],
  ['an unknown entity', 'CiliumNetworkPolicy', {spec: {endpointSelector: {}, ingress: [{fromEntities: ['everybody']}]}}, ['spec.ingress[0].fromEntities[0]', 'must be one of']],
  ['an address without a length', 'CiliumNetworkPolicy', {spec: {endpointSelector: {}, ingress: [{fromCIDR: ['10.0.0.1']}]}}, ['spec.ingress[0].fromCIDR[0]', 'must be a cidr']],
  ['a protocol in small letters', 'CiliumNetworkPolicy', {spec: {endpointSelector: {}, ingress: [{toPorts: [{ports: [{port: '80', protocol: 'tcp'}]}]}]}},
    ['spec.ingress[0].toPorts[0].ports[0].protocol', 'must be one of']],
  ['an end port out of range', 'CiliumNetworkPolicy', {spec: {endpointSelector: {}, ingress: [{toPorts: [{ports: [{port: '1', endPort: 65536}]}]}]}},
    ['spec.ingress[0].toPorts[0].ports[0].endPort', 'must be <= 65535']],
  ['41 ports', 'CiliumNetworkPolicy', {spec: {endpointSelector: {}, ingress: [{toPorts: [{ports: Array.from({length: 41}, (_, i) => ({port: String(i + 1)}))}]}]}},
    ['spec.ingress[0].toPorts[0].ports', 'must NOT have more than 40 items']],
  ['two kinds of L7 rules', 'CiliumNetworkPolicy', {spec: {endpointSelector: {}, ingress: [{toPorts: [{rules: {http: [], dns: []}}]}]}},
    ['spec.ingress[0].toPorts[0].rules', 'exactly one of http']],
  ['a number out of range for ICMP, as text', 'CiliumNetworkPolicy', {spec: {endpointSelector: {}, ingress: [{icmps: [{fields: [{type: '256'}]}]}]}},
    ['spec.ingress[0].icmps[0].fields[0].type', 'must match pattern']],
  ['CIDR and group together', 'CiliumNetworkPolicy', {spec: {endpointSelector: {}, egress: [{toCIDRSet: [{cidr: '10.0.0.0/8', cidrGroupRef: 'a'}]}]}},
    ['spec.egress[0].toCIDRSet[0]', 'exactly one of cidr']],
  ['fromRequires', 'CiliumNetworkPolicy', {spec: {endpointSelector: {}, ingress: [{fromRequires: ['x']}]}}, ['spec.ingress[0].fromRequires', 'must NOT have more than 0 items']],
  ['a label value with a space', 'CiliumNetworkPolicy', {spec: {endpointSelector: {matchLabels: {a: 'b c'}}, ingress: []}}, ['spec.endpointSelector.matchLabels.a', 'must match pattern']],
  ['a log text with a control character', 'CiliumNetworkPolicy', {spec: {endpointSelector: {}, ingress: [], log: {value: 'a\u0007'}}}, ['spec.log.value', 'must match pattern']],
  ['a CIDR group', 'CiliumCIDRGroup', {spec: {externalCIDRs: ['192.0.2.0/24', '2001:db8::/32']}}, null],
  ['an empty CIDR group', 'CiliumCIDRGroup', {spec: {externalCIDRs: []}}, null],
  ['an address in a CIDR group', 'CiliumCIDRGroup', {spec: {externalCIDRs: ['192.0.2.1']}}, ['spec.externalCIDRs[0]', 'must be a cidr']],
  ['an identity', 'CiliumIdentity', {'security-labels': {'k8s:app': 'x'}}, null],
  ['an identity without labels', 'CiliumIdentity', {}, ['', 'security-labels is missing']],
  ['an endpoint in an unknown state', 'CiliumEndpoint', {status: {state: 'sleeping'}}, ['status.state', 'must be one of']],
  ['an endpoint', 'CiliumEndpoint', {status: {id: 7, state: 'ready', identity: {id: 4711, labels: ['k8s:app=x']},
    networking: {addressing: [{ipv4: '10.98.0.7'}], node: '10.1.5.10'}}}, null],
  ['a node', 'CiliumNode', {spec: {addresses: [{type: 'InternalIP', ip: '10.1.5.10'}], ipam: {podCIDRs: ['10.98.0.0/24']}, eni: {anything: [1]}}}, null],
  ['a node with a broken PodCIDR', 'CiliumNode', {spec: {ipam: {podCIDRs: ['10.98.0.0']}}}, ['spec.ipam.podCIDRs[0]', 'must be a cidr']],
  ['a peer without a length', 'CiliumBGPPeeringPolicy', {spec: {virtualRouters: [{localASN: 1, neighbors: [{peerASN: 1, peerAddress: '10.1.5.1'}]}]}},
    ['spec.virtualRouters[0].neighbors[0].peerAddress', 'must be a cidr']],
  ['no peer', 'CiliumBGPPeeringPolicy', {spec: {virtualRouters: [{localASN: 1, neighbors: []}]}}, ['spec.virtualRouters[0].neighbors', 'must NOT have fewer than 1 items']],
  ['an AS number above 32 bits', 'CiliumBGPPeeringPolicy', {spec: {virtualRouters: [{localASN: 4294967296, neighbors: [{peerASN: 1, peerAddress: '10.1.5.1/24'}]}]}},
    ['spec.virtualRouters[0].localASN', 'must be <= 4294967295']],
  ['a hold time below 3', 'CiliumBGPPeeringPolicy', {spec: {virtualRouters: [{localASN: 1, neighbors: [{peerASN: 1, peerAddress: '10.1.5.1/24', holdTimeSeconds: 2}]}]}},
    ['spec.virtualRouters[0].neighbors[0].holdTimeSeconds', 'must be >= 3']],
  ['communities', 'CiliumBGPPeeringPolicy', {spec: {virtualRouters: [{localASN: 1, neighbors: [{peerASN: 1, peerAddress: '10.1.5.1/24', advertisedPathAttributes: [
    {selectorType: 'PodCIDR', localPreference: 150, communities: {standard: ['65000:100', '4294967295'], large: ['1:2:3'], wellKnown: ['no-export']}}]}]}]}}, null],
  ['a community out of range', 'CiliumBGPPeeringPolicy', {spec: {virtualRouters: [{localASN: 1, neighbors: [{peerASN: 1, peerAddress: '10.1.5.1/24', advertisedPathAttributes: [
    {selectorType: 'PodCIDR', communities: {standard: ['65536:1']}}]}]}]}},
    ['spec.virtualRouters[0].neighbors[0].advertisedPathAttributes[0].communities.standard[0]', 'must match pattern']],
  ['a pool of blocks', 'CiliumLoadBalancerIPPool', {spec: {blocks: [{cidr: '10.0.10.0/24'}, {start: '20.0.20.100', stop: '20.0.20.200'}, {cidr: '2001:db8::/112'}],
    allowFirstLastIPs: 'No', serviceSelector: {matchLabels: {color: 'red'}}}}, null],
  ['a pool of cidrs, as in 1.14', 'CiliumLoadBalancerIPPool', {spec: {cidrs: [{cidr: '10.0.10.1/24'}], disabled: true}}, null],
  ['a pool block without a length', 'CiliumLoadBalancerIPPool', {spec: {blocks: [{cidr: '10.0.10.0'}]}}, ['spec.blocks[0].cidr', 'must be a cidr']],
  ['a pool that says maybe', 'CiliumLoadBalancerIPPool', {spec: {blocks: [], allowFirstLastIPs: 'Maybe'}}, ['spec.allowFirstLastIPs', 'must be one of']],
  ['a pool without a spec', 'CiliumLoadBalancerIPPool', {}, ['', 'spec is missing']],
  ['a pool of pods', 'CiliumPodIPPool', {spec: {ipv4: {cidrs: ['10.20.0.0/16'], maskSize: 27}, ipv6: {cidrs: ['fd00:20::/104'], maskSize: 120}}}, null],
  ['a pool of pods with a mask of 33', 'CiliumPodIPPool', {spec: {ipv4: {cidrs: ['10.20.0.0/16'], maskSize: 33}}}, ['spec.ipv4.maskSize', 'must be <= 32']],
];

/** Kinds whose newest version is still v2alpha1. */
const ALPHA: ReadonlySet<CrdKind> = new Set(['CiliumBGPPeeringPolicy', 'CiliumPodIPPool']);

export function objectOf(kind: CrdKind, content: Record<string, unknown>, name: string): Record<string, unknown> & {metadata: {name: string}} {
  return {apiVersion: ALPHA.has(kind) ? 'cilium.io/v2alpha1' : 'cilium.io/v2', kind, metadata: {name}, ...content};
}

